// What the loss kernels share.
#pragma once
#include "cuda/rows.cuh"

namespace anneal::gpu {

ANNEAL_FN float expNegative(float d) { return expf(d); }

/** Sum of partials in f64 and in order; a block of kThreads. */
ANNEAL_FN double sumOfPartials(const float* partials, int64_t n) {
  __shared__ double sums[kThreads];
  double sum = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += partials[i];
  sums[threadIdx.x] = sum;
  __syncthreads();
#pragma unroll 1
  for (int half = kThreads / 2; half; half >>= 1) {
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  return sums[0];
}

}  // namespace anneal::gpu
