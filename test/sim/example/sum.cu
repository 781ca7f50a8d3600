// The sum of each block's part of x. -DMISTAKE=1 forgets a barrier, -DMISTAKE=2 the bound, -DMISTAKE=3 to fill the shared array.
extern "C" __global__ void sum(const float* x, float* sums, int n) {
  __shared__ float part[256];
  const int i = blockIdx.x * 256 + threadIdx.x;
#if MISTAKE == 2
  part[threadIdx.x] = x[i];
#elif MISTAKE == 3
  if (i < n) part[threadIdx.x] = x[i];
#else
  part[threadIdx.x] = i < n ? x[i] : 0;
#endif
  for (int half = 128; half > 0; half /= 2) {
#if MISTAKE == 1
    if (half == 128)
#endif
      __syncthreads();
    if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = part[0];
}
