// Column sums: partial sums [chunks, n] added up in order of the chunks, eight chunks at a time side by side.
#pragma once
#include "cuda/common.cuh"

namespace anneal::gpu {

/** store(j, the sum of partials[c * n + j] over c). A block of kThreads takes 32 columns. */
template <class Store>
ANNEAL_FN void finishColumns(const float* partials, int64_t chunks, int64_t n, Store store) {
  __shared__ float sums[kThreads / 32][32];
  const int x = threadIdx.x & 31, y = threadIdx.x >> 5;
  const int64_t j = static_cast<int64_t>(blockIdx.x) * 32 + x;
  float sum = 0.f;
  if (j < n)
#pragma unroll 4
    for (int64_t c = y; c < chunks; c += kThreads / 32) sum += partials[c * n + j];
  sums[y][x] = sum;
  __syncthreads();
  if (y || j >= n) return;
#pragma unroll
  for (int k = 1; k < kThreads / 32; ++k) sum += sums[k][x];
  store(j, sum);
}

}  // namespace anneal::gpu
