// Attention on tensor cores (FlashAttention-2: Dao, 2023): tiles of 16-bit rows in shared memory, sums in registers. D: the heads' width as the
// tiles hold it; columns from a.d on are zeros. Four warps to a block, each with 16 rows of its own.
#pragma once
#include "cuda/attention.cuh"
#include "cuda/mma.cuh"

namespace anneal::gpu {

constexpr int kAttentionThreads = 128, kOwnRows = 64;  // of a block

/** 2^x, by the hardware's approximation: the result is rounded to 16 bits, or multiplied with what was. */
ANNEAL_FN float fastExp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/** Rows [row0, row0 + rows) of one head on their way into a tile; zeros from row `end` and from column a.d on. */
template <class T, int D, int rows>
ANNEAL_FN void fetchRows(T* tile, const void* x, const AttentionStrides& s, int64_t b, int64_t h, int64_t row0, int64_t end, const Attention& a) {
  constexpr int kChunks = D / 8;
  const T* from = static_cast<const T*>(x) + rowAt(s, b, h, row0);
  const int left = static_cast<int>(end - row0 < rows ? end - row0 : rows), d = static_cast<int>(a.d);
  if (a.aligned) {
#pragma unroll
    for (int i = 0; i < rows * kChunks / kAttentionThreads; ++i) {
      const int at = threadIdx.x + i * kAttentionThreads, row = at / kChunks, chunk = at % kChunks;
      const bool real = row < left && chunk * 8 < d;
      copyAsync(tile + Swizzle<kChunks>::at(row, chunk), real ? from + row * s.row + chunk * 8 : from, real);
    }
    return;
  }
#pragma unroll 1
  for (int at = threadIdx.x; at < rows * kChunks; at += kAttentionThreads) {
    const int row = at / kChunks, chunk = at % kChunks;
    Pack<T> held;
#pragma unroll
    for (int j = 0; j < 8; ++j) held.v[j] = row < left && chunk * 8 + j < d ? from[row * s.row + chunk * 8 + j] : narrow<T>(0.f);
    *reinterpret_cast<Pack<T>*>(tile + Swizzle<kChunks>::at(row, chunk)) = held;
  }
}

/** A warp's 16 rows of sums, times `low` (rows g) and `high` (rows g + 8), through its rows of a tile to memory. */
template <class T, int D>
ANNEAL_FN void storeRows(T* tile, const float (&sum)[D / 8][4], float low, float high, void* x, const AttentionStrides& s, int64_t b, int64_t h, int64_t row0,
                         int64_t end, const Attention& a) {
  constexpr int kChunks = D / 8;
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31, g = warp * 16 + (lane >> 2), t = lane & 3;
  __syncwarp();  // other lanes have read these rows
#pragma unroll
  for (int n = 0; n < kChunks; ++n) {
    *reinterpret_cast<uint32_t*>(tile + Swizzle<kChunks>::at(g, n) + 2 * t) = packPair<T>(sum[n][0] * low, sum[n][1] * low);
    *reinterpret_cast<uint32_t*>(tile + Swizzle<kChunks>::at(g + 8, n) + 2 * t) = packPair<T>(sum[n][2] * high, sum[n][3] * high);
  }
  __syncwarp();
  T* to = static_cast<T*>(x) + rowAt(s, b, h, row0);
  const int left = static_cast<int>(end - row0 < kOwnRows ? end - row0 : kOwnRows), d = static_cast<int>(a.d);
#pragma unroll 1
  for (int at = lane; at < 16 * kChunks; at += 32) {
    const int row = warp * 16 + at / kChunks, chunk = at % kChunks;
    if (row >= left || chunk * 8 >= d) continue;
    const T* held = tile + Swizzle<kChunks>::at(row, chunk);
    T* p = to + row * s.row + chunk * 8;
    if (a.aligned) {
      storeGlobal(p, *reinterpret_cast<const uint4*>(held));
    } else {
#pragma unroll 1
      for (int j = 0; j < 8 && chunk * 8 + j < d; ++j) p[j] = held[j];
    }
  }
}

/** s = own rows . N rows of a tile, both along d: own from `mine` (this warp's 16 rows), as accumulators [N / 8][4]. */
template <class T, int D, int N>
ANNEAL_FN void dotRows(float (&s)[N / 8][4], const T* mine, const Fragments<Along::k, D / 8, true>& fa, const T* tile, const Fragments<Along::k, D / 8, false>& fb) {
#pragma unroll
  for (int k = 0; k < D; k += 16) {
    uint32_t x[4];
    fa.load(x, mine, 0, k);
#pragma unroll
    for (int n = 0; n < N; n += 16) {
      uint32_t y[4];
      fb.load(y, tile, n, k);
      mma<T>(s[n / 8], x, y);
      mma<T>(s[n / 8 + 1], x, y + 2);
    }
  }
}

/** sum += w (16 x N, accumulators of another product, rounded to T) times N rows of a tile. */
template <class T, int D, int N>
ANNEAL_FN void sumRows(float (&sum)[D / 8][4], const float (&w)[N / 8][4], const T* tile, const Fragments<Along::x, D / 8, false>& fb) {
#pragma unroll
  for (int n = 0; n < N; n += 16) {
    const float(&lo)[4] = w[n / 8], (&hi)[4] = w[n / 8 + 1];
    const uint32_t x[4] = {packPair<T>(lo[0], lo[1]), packPair<T>(lo[2], lo[3]), packPair<T>(hi[0], hi[1]), packPair<T>(hi[2], hi[3])};
#pragma unroll
    for (int c = 0; c < D; c += 16) {
      uint32_t y[4];
      fb.load(y, tile, c, n);
      mma<T>(sum[c / 8], x, y);
      mma<T>(sum[c / 8 + 1], x, y + 2);
    }
  }
}

/** Over the four lanes that share a row. */
ANNEAL_FN float quadSum(float x) {
  x += __shfl_xor_sync(kWholeWarp, x, 1);
  return x + __shfl_xor_sync(kWholeWarp, x, 2);
}
ANNEAL_FN float quadMax(float x) {
  x = fmaxf(x, __shfl_xor_sync(kWholeWarp, x, 1));
  return fmaxf(x, __shfl_xor_sync(kWholeWarp, x, 2));
}

/** What dropout multiplies the weights of (i, j) and its neighbour by: (i, j + 1), one random block for both where one holds them. */
struct Pair {
  float a, b;
};
ANNEAL_FN Pair keepPair(const Attention& a, uint64_t e) {
  const Words w = philoxWords(e >> 2, a.stream, a.attempt, a.key0, a.key1);
  const uint32_t part = e & 3;
  const uint32_t one = part < 2 ? (part ? w.y : w.x) : (part == 2 ? w.z : w.w);
  uint32_t two = part < 2 ? (part ? w.z : w.y) : w.w;
  if (part == 3) two = philoxWords((e >> 2) + 1, a.stream, a.attempt, a.key0, a.key1).x;
  return {one >= a.threshold ? a.keep : 0.f, two >= a.threshold ? a.keep : 0.f};
}
ANNEAL_FN uint64_t elementOf(const Attention& a, int64_t b, int64_t h, int64_t i, int64_t j) {
  return a.first + static_cast<uint64_t>(((b * a.heads + h) * a.tq + i) * a.tk + j);
}

}  // namespace anneal::gpu
