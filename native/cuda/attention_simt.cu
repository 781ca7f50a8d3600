// Attention without tensor cores, for every dtype; and delta, which every backward begins with.
#include "cuda/attention_simt.cuh"

namespace anneal::gpu {
namespace {

/** delta = rowsum(gradient of o * o): a warp to a row. */
template <class T>
ANNEAL_FN void deltas(const Attention& a) {
  const int64_t row = globalThread() >> 5;
  if (row >= a.batch * a.heads * a.tq) return;
  const int64_t i = row % a.tq, h = row / a.tq % a.heads, b = row / a.tq / a.heads, at = rowAt(a.o, b, h, i);
  const T *o = static_cast<const T*>(a.forwardOut) + at, *g = static_cast<const T*>(a.grad) + at;
  float sum = 0.f;
  if (a.aligned) {
#pragma unroll 1
    for (int64_t c = (threadIdx.x & 31) * kPack<T>; c < a.d; c += 32 * kPack<T>) {
      const Pack<T> x = *reinterpret_cast<const Pack<T>*>(o + c), y = *reinterpret_cast<const Pack<T>*>(g + c);
#pragma unroll
      for (int k = 0; k < kPack<T>; ++k) sum = fmaf(widen(x.v[k]), widen(y.v[k]), sum);
    }
  } else {
#pragma unroll 1
    for (int64_t c = threadIdx.x & 31; c < a.d; c += 32) sum = fmaf(widen(o[c]), widen(g[c]), sum);
  }
  sum = warpSum(sum);
  if ((threadIdx.x & 31) == 0) a.delta[row] = sum;
}

}  // namespace

#define ANNEAL_ROWS(T, R, suffix)                                                                                                        \
  extern "C" __global__ void __launch_bounds__(kThreads, 2) attention_rows##R##_##suffix(const __grid_constant__ Attention a) { attendSimt<T, R>(a); }             \
  extern "C" __global__ void __launch_bounds__(kThreads, 2) attention_grad_queries##R##_##suffix(const __grid_constant__ Attention a) { queryGradSimt<T, R>(a); }  \
  extern "C" __global__ void __launch_bounds__(kThreads, 2) attention_grad_keys##R##_##suffix(const __grid_constant__ Attention a) { keyGradSimt<T, R>(a); }
#define ANNEAL_DTYPE(T, suffix)                                                                                                          \
  ANNEAL_ROWS(T, 4, suffix) ANNEAL_ROWS(T, 1, suffix)                                                                                    \
  extern "C" __global__ void __launch_bounds__(kThreads, 2) attention_grad_delta_##suffix(const __grid_constant__ Attention a) { deltas<T>(a); }
ANNEAL_DTYPE(float, f32)
ANNEAL_DTYPE(f16, f16)
ANNEAL_DTYPE(bf16, bf16)

}  // namespace anneal::gpu
