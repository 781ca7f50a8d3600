// Each kernel does one thing wrong (the ones called good... do not).
#include <cstdint>

namespace { __device__ __forceinline__ uint32_t sharedAddress(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); } }

extern "C" __global__ void pastTheEnd(float* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i <= n) x[i] = 1;
}
extern "C" __global__ void readsPastTheEnd(float* y, const float* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i + 1];
}
extern "C" __global__ void misalignedVector(float4* y, const float* x) { y[threadIdx.x] = *reinterpret_cast<const float4*>(x + 4 * threadIdx.x + 1); }
extern "C" __global__ void readsUnwritten(float* y, const float* x) { y[threadIdx.x] = x[threadIdx.x]; }
extern "C" __global__ void readsUnwrittenShared(float* y) {
  __shared__ float s[64];
  if (threadIdx.x < 63) s[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = s[63 - threadIdx.x];
}
extern "C" __global__ void unwrittenRegister(uint32_t* y, int n) {
  uint32_t r;
  asm volatile("{.reg .pred p;\n setp.gt.s32 p, %1, 5;\n @p mov.u32 %0, 3;}" : "=r"(r) : "r"(n + int(threadIdx.x)));
  y[threadIdx.x] = r + 1;
}
template <bool barrier> __device__ void exchange(int* y) {
  __shared__ int s[128];
  s[threadIdx.x] = threadIdx.x;
  if (barrier) __syncthreads();
  y[threadIdx.x] = s[127 - threadIdx.x];
}
extern "C" __global__ void goodExchange(int* y) { exchange<true>(y); }
extern "C" __global__ void raceWithoutBarrier(int* y) { exchange<false>(y); }
extern "C" __global__ void raceOnReuse(int* y) {
  __shared__ int s[64];
  int v = 0;
  for (int k = 0; k < 3; ++k) {
    s[threadIdx.x] = k;
    __syncthreads();
    v += s[(threadIdx.x + 33) % 64];  // a second barrier is missing
  }
  y[threadIdx.x] = v;
}
template <bool sync> __device__ void warpExchange(int* y) {
  __shared__ volatile int dummy;
  __shared__ int s[32];
  if (threadIdx.x == 99) dummy = 1;
  s[threadIdx.x] = threadIdx.x;
  if (sync) __syncwarp();
  else asm volatile("" ::: "memory");
  y[threadIdx.x] = s[31 - threadIdx.x];
}
extern "C" __global__ void goodWarpExchange(int* y) { warpExchange<true>(y); }
extern "C" __global__ void raceInWarp(int* y) { warpExchange<false>(y); }
extern "C" __global__ void barrierInBranch(int* y) {
  if (threadIdx.x < 16) __syncthreads();
  y[threadIdx.x] = 1;
}
extern "C" __global__ void barrierAfterExit(int* y, int n) {
  if (int(threadIdx.x) >= n) return;
  __syncthreads();
  y[threadIdx.x] = 1;
}
extern "C" __global__ void shuffleFromIdle(int* y) {
  int v = threadIdx.x;
  if (threadIdx.x < 16) v = __shfl_sync(0xFFFFu, v, threadIdx.x + 8);
  y[threadIdx.x] = v;
}
extern "C" __global__ void shuffleOfAbsent(int* y) {
  int v = threadIdx.x;
  if (threadIdx.x < 16) v = __shfl_sync(0xFFFFFFFFu, v, 0);
  __syncwarp();
  y[threadIdx.x] = v;
}
template <int wait> __device__ void stage(int* y, const int* x) {
  __shared__ __align__(16) int s[2][128];
  for (int k = 0; k < 2; ++k) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;\n" ::"r"(sharedAddress(&s[k][threadIdx.x])), "l"(x + k * 128 + threadIdx.x));
    asm volatile("cp.async.commit_group;\n");
  }
  if (wait >= 0) asm volatile("cp.async.wait_group %0;\n" ::"n"(wait < 0 ? 0 : wait) : "memory");
  y[threadIdx.x] = s[1][threadIdx.x];
}
extern "C" __global__ void goodStage(int* y, const int* x) { stage<0>(y, x); }
extern "C" __global__ void copyWithoutWait(int* y, const int* x) { stage<-1>(y, x); }
extern "C" __global__ void copyWaitTooFew(int* y, const int* x) { stage<1>(y, x); }
extern "C" __global__ void copyWithoutBarrier(int* y, const int* x) {
  __shared__ __align__(16) int s[128];
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;\n" ::"r"(sharedAddress(&s[threadIdx.x])), "l"(x + threadIdx.x));
  asm volatile("cp.async.wait_all;\n" ::: "memory");
  y[threadIdx.x] = s[127 - threadIdx.x];
}
extern "C" __global__ void sharedPastTheEnd(int* y, int n) {
  extern __shared__ int s[];
  s[threadIdx.x + n] = 1;
  y[threadIdx.x] = s[threadIdx.x + n];
}
extern "C" __global__ void localPastTheEnd(int* y, int n) {
  int a[4] = {1, 2, 3, 4};
  a[n & 7] = 5;
  y[threadIdx.x] = a[(n + threadIdx.x) & 7];
}
extern "C" __global__ void endless(int* y, int n) {
  while (*(volatile int*)y != n) {}
}
extern "C" __global__ void trapped() { asm volatile("trap;"); }
