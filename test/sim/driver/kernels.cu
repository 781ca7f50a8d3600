// Kernels of the tests of the simulated driver. kernels.ptx is what nvcc makes of them, kept so that the tests need no nvcc:
//   nvcc -ptx -arch=compute_80 -lineinfo kernels.cu -o - | sed 's,"/.*/,",' > kernels.ptx
#include <cstdint>

struct Line {
  float slope;
  double offset;
};

extern "C" {

__device__ int32_t counters[4] = {10, 20, 30, 40};

__global__ void fill(int32_t* p, int32_t value, int32_t n) {
  const int32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) p[i] = value;
}

__global__ void add(int32_t* out, const int32_t* a, int32_t n) {
  const int32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] += a[i];
}

/** Takes its time (`rounds` trips of one thread), then writes what came out, which is `rounds`. */
__global__ void slow(int32_t* p, int32_t rounds) {
  volatile int32_t n = 0;
  for (int32_t i = 0; i < rounds; ++i) n = n + 1;
  *p = n;
}

/** Reverses a block's worth through dynamic shared memory. */
__global__ void reverse(int32_t* p) {
  extern __shared__ int32_t buffer[];
  buffer[threadIdx.x] = p[threadIdx.x];
  __syncthreads();
  p[threadIdx.x] = buffer[blockDim.x - 1 - threadIdx.x];
}

/** Twice: once as above, then in place, the barrier between reading and writing forgotten. */
__global__ void reverseRacing(int32_t* p) {
  extern __shared__ int32_t buffer[];
  buffer[threadIdx.x] = p[threadIdx.x];
  __syncthreads();
  const int32_t value = buffer[blockDim.x - 1 - threadIdx.x];
  buffer[threadIdx.x] = value;
  p[threadIdx.x] = buffer[threadIdx.x];
}

__global__ void apply(float* p, Line line, int32_t n) {
  const int32_t i = threadIdx.x;
  if (i < n) p[i] = static_cast<float>(line.slope * p[i] + line.offset);
}

__global__ void count(int32_t by) { counters[threadIdx.x] += by; }
}
