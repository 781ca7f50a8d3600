// Matrix products in f32 without tensor cores: blocks of BM x BN, each warp 32 x 64, each thread 8 x 8 as four 4 x 4 corners, so that shared memory
// is read 16 bytes at a time without conflicts. Steps of 8 along k, two buffers: the next step's operands travel while this one's are multiplied.
#pragma once
#include "cuda/gemm.cuh"

namespace anneal::gpu {

constexpr int kSimtStep = 8;
template <int BM, int BN> constexpr int kSimtThreads = BM / 32 * (BN / 64) * 32;
/** On a processor at a time. Two of the big ones would leave 128 registers to a thread, six of the small ones 168: ptxas spills a dozen. */
template <int BM, int BN> constexpr int kSimtBlocks = BM == 128 ? 1 : 4;

/** One operand's way into shared memory: [k][x], rows of X + 4 floats, with which the scattered stores of a matrix along k meet all banks. */
template <class Source, Along along, int X, int threads>
struct SimtOperand {
  static constexpr int kLd = X + 4, kChunks = X * kSimtStep / 4 / threads, kFloats = kSimtStep * kLd;
  static constexpr int kPerLine = along == Along::k ? kSimtStep / 4 : X / 4;  // chunks of four side by side
  static constexpr int kOwnX = along == Along::k ? kChunks : 1;
  static_assert(threads % kPerLine == 0);  // so that a thread's chunks stand in one column
  const Source& source;
  bool vector;
  int64_t x0;
  typename Source::X xs[kOwnX];
  float4 held[kChunks];

  ANNEAL_FN static int line(int i) { return static_cast<int>(threadIdx.x) / kPerLine + i * (threads / kPerLine); }
  ANNEAL_FN static int place() { return static_cast<int>(threadIdx.x) % kPerLine * 4; }

  ANNEAL_FN SimtOperand(const Source& source, bool vector, int64_t x0) : source(source), vector(vector), x0(x0) {
#pragma unroll
    for (int i = 0; i < kOwnX; ++i) xs[i] = source.atX(x0 + (along == Along::k ? line(i) : place()));
  }
  ANNEAL_FN void fetch(int64_t k0) {
    if (!vector) return gather(k0);
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const auto* p = source.find(xs[along == Along::k ? i : 0], source.atK(k0 + (along == Along::k ? place() : line(i))));
      held[i] = p ? *reinterpret_cast<const float4*>(p) : make_float4(0.f, 0.f, 0.f, 0.f);
    }
  }
  ANNEAL_FN void store(float* tile) const {
    if (!vector) return scatter(tile);
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      if constexpr (along == Along::k) {
        float* to = tile + place() * kLd + line(i);
        to[0] = held[i].x, to[kLd] = held[i].y, to[2 * kLd] = held[i].z, to[3 * kLd] = held[i].w;
      } else {
        *reinterpret_cast<float4*>(tile + line(i) * kLd + place()) = held[i];
      }
    }
  }

  // Element by element, neighbours to neighbouring threads: a warp still reads whole sectors.
  static constexpr int kLine = kPerLine * 4;
  ANNEAL_FN static int row(int e) { return (static_cast<int>(threadIdx.x) + e * threads) / kLine; }
  ANNEAL_FN static int at(int e) { return (static_cast<int>(threadIdx.x) + e * threads) % kLine; }
  ANNEAL_FN void gather(int64_t k0) {
#pragma unroll
    for (int e = 0; e < kChunks * 4; ++e) {
      const auto* p = along == Along::k ? source.find(source.atX(x0 + row(e)), source.atK(k0 + at(e))) : source.find(source.atX(x0 + at(e)), source.atK(k0 + row(e)));
      reinterpret_cast<float*>(held)[e] = p ? *p : 0.f;
    }
  }
  ANNEAL_FN void scatter(float* tile) const {
#pragma unroll
    for (int e = 0; e < kChunks * 4; ++e) tile[along == Along::k ? at(e) * kLd + row(e) : row(e) * kLd + at(e)] = reinterpret_cast<const float*>(held)[e];
  }
};

/** sum += the outer products of one step. */
template <int ldA, int ldB>
ANNEAL_FN void simtStep(float (&sum)[8][8], const float* a, const float* b) {
#pragma unroll
  for (int k = 0; k < kSimtStep; ++k) {
    float x[8], y[8];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      *reinterpret_cast<float4*>(x + 4 * h) = *reinterpret_cast<const float4*>(a + k * ldA + 16 * h);
      *reinterpret_cast<float4*>(y + 4 * h) = *reinterpret_cast<const float4*>(b + k * ldB + 32 * h);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j < 8; ++j) sum[i][j] = fmaf(x[i], y[j], sum[i][j]);
  }
}

template <int BM, int BN, Along alongA, Along alongB, int ends, class A, class B>
ANNEAL_FN void simtGemm(const Gemm& g, const Task& t, const A& a, const B& b) {
  constexpr int threads = kSimtThreads<BM, BN>;
  using Left = SimtOperand<A, alongA, BM, threads>;
  using Right = SimtOperand<B, alongB, BN, threads>;
  __shared__ __align__(16) float left[2][Left::kFloats], right[2][Right::kFloats];
  Left l(a, g.alignedA != 0, t.row);
  Right r(b, g.alignedB != 0, t.column);
  // A warp's lanes: 4 down, 8 across.
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  const int down = warp / (BN / 64) * 32 + (lane >> 3) * 4, across = warp % (BN / 64) * 64 + (lane & 7) * 4;

  float sum[8][8] = {};
  l.fetch(t.kBegin);
  r.fetch(t.kBegin);
  l.store(left[0]);
  r.store(right[0]);
  __syncthreads();
  int now = 0;
#pragma unroll 1
  for (int64_t k = t.kBegin; k < t.kEnd; k += kSimtStep, now ^= 1) {
    const bool more = k + kSimtStep < t.kEnd;
    if (more) {
      l.fetch(k + kSimtStep);
      r.fetch(k + kSimtStep);
    }
    simtStep<Left::kLd, Right::kLd>(sum, left[now] + down, right[now] + across);
    if (more) {
      l.store(left[now ^ 1]);
      r.store(right[now ^ 1]);
      __syncthreads();
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i)
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float y[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) y[j] = sum[i][4 * h + j];
      storeSums<float, 4, ends>(g, t, y, t.row + down + (i >> 2) * 16 + (i & 3), t.column + across + 32 * h);
    }
}

}  // namespace anneal::gpu
