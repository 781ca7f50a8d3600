// What kernels along contiguous rows share: a warp or a block per row, 16-byte accesses between the row's ragged ends, and the row kept in
// shared memory between two looks at it. Each thread finds there only what it put there itself, so no barrier is needed.
#pragma once
#include "cuda/math.cuh"
#include "cuda/packs.cuh"

namespace anneal::gpu {

constexpr float kInfinity = __builtin_huge_valf();

/** The threads that work on one row together. */
struct Team {
  bool wide;  // the whole block, else a warp
  int lane, width;
  ANNEAL_FN explicit Team(bool w) : wide(w), lane(w ? threadIdx.x : threadIdx.x & 31), width(w ? blockDim.x : 32) {}
  ANNEAL_FN int index() const { return wide ? 0 : threadIdx.x >> 5; }
  ANNEAL_FN int perBlock() const { return wide ? 1 : blockDim.x >> 5; }
  ANNEAL_FN int64_t first() const { return static_cast<int64_t>(blockIdx.x) * perBlock() + index(); }
  ANNEAL_FN void sync() const {
    if (wide) __syncthreads();
    else __syncwarp();
  }
  /** `scratch`: 32 floats, used by blocks only, that nobody reads any more; all threads of a block come here together. */
  ANNEAL_FN float sum(float x, float* scratch) const { return wide ? blockSum(x, scratch) : warpSum(x); }
};

/** Do rows of these tensors begin at the same place between 16-byte boundaries? Absent ones do. */
template <class A, class... B>
ANNEAL_FN bool congruent(const A* a, const B*... b) {
  return (((b ? reinterpret_cast<uintptr_t>(a) ^ reinterpret_cast<uintptr_t>(b) : uintptr_t{0}) | ... | uintptr_t{0}) & 15) == 0;
}
/** Elements before the row's first 16-byte boundary; -1: one at a time. */
template <class T>
ANNEAL_FN int headOf(const T* row, int64_t n, bool vector) {
  if (!vector) return -1;
  const int head = static_cast<int>((16 - (reinterpret_cast<uintptr_t>(row) & 15)) & 15) / static_cast<int>(sizeof(T));
  return head < n ? head : static_cast<int>(n);
}
/** Room for a kept row, in elements. */
template <class T> constexpr int64_t keptSize(int64_t n) { return (n + 3 * kPack<T> - 1) / kPack<T> * kPack<T>; }

/** whole(i, slot) for packs and single(i, slot) for the rest of [0, n); slots are places in a kept row, aligned for packs. */
template <int N, class Whole, class Single>
ANNEAL_FN void eachInRow(int64_t n, int head, const Team& team, Whole whole, Single single) {
  if (head < 0) {
#pragma unroll 1
    for (int64_t i = team.lane; i < n; i += team.width) single(i, i);
    return;
  }
  const int64_t packs = (n - head) / N, rest = n - head - packs * N;
#pragma unroll 2
  for (int64_t k = team.lane; k < packs; k += team.width) whole(head + k * N, (k + 1) * N);
  // Both ends at once: fewer than 2 N <= 32 elements.
  if (team.lane < head + rest) {
    const int64_t i = team.lane < head ? team.lane : packs * N + team.lane;
    single(i, i - head + N);
  }
}


/** The f32 parameters of a pack at i; `vector`: p + i is aligned. */
template <int N> ANNEAL_FN void floatsAt(const float* p, int64_t i, bool vector, float absent, float (&out)[N]) {
  if (!p) {
#pragma unroll
    for (int k = 0; k < N; ++k) out[k] = absent;
  } else if (vector) {
#pragma unroll
    for (int k = 0; k < N; k += 4) {
      const Pack<float> four = packAt(p + i + k);
#pragma unroll
      for (int m = 0; m < 4; ++m) out[k + m] = four.v[m];
    }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) out[k] = p[i + k];
  }
}

/** The largest value so far, and the sum of e^(x - it). A NaN stays in the sum. */
struct Online {
  float most = -kInfinity, sum = 0.f;
  ANNEAL_FN static float shift(float m) { return m == -kInfinity ? 0.f : m; }
  template <int N> ANNEAL_FN void add(const float (&v)[N]) {
    float high = most;
#pragma unroll
    for (int k = 0; k < N; ++k) high = fmaxf(high, v[k]);
    const float by = shift(high);
    sum *= mexp(most - by);
#pragma unroll
    for (int k = 0; k < N; ++k) sum += mexp(v[k] - by);
    most = high;
  }
  ANNEAL_FN void merge(float m, float s) {
    const float high = fmaxf(most, m), by = shift(high);
    sum = sum * mexp(most - by) + s * mexp(m - by);
    most = high;
  }
  /** What the whole team saw, the same bits for all of it. `scratch`: 64 floats. */
  ANNEAL_FN void join(const Team& team, float* scratch) {
#pragma unroll
    for (int d = 16; d; d >>= 1) merge(__shfl_down_sync(kWholeWarp, most, d), __shfl_down_sync(kWholeWarp, sum, d));
    most = __shfl_sync(kWholeWarp, most, 0);
    sum = __shfl_sync(kWholeWarp, sum, 0);
    if (!team.wide) return;
    const int warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    if ((threadIdx.x & 31) == 0) scratch[warp] = most, scratch[32 + warp] = sum;
    __syncthreads();
    most = scratch[0], sum = scratch[32];
#pragma unroll 1
    for (int i = 1; i < warps; ++i) merge(scratch[i], scratch[32 + i]);
  }
};

}  // namespace anneal::gpu
