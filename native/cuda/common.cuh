// What every CUDA kernel uses. Rules of this folder:
//  * A kernel is extern "C" and named <op>_<dtype> (f32, f16, bf16; i32, u8 where the op has them): the host finds it by that name.
//  * Arithmetic on 16-bit floats happens in f32 and is rounded once. No float atomics: partials, and an ordered finish.
//  * Memory moves 16 bytes at a time where addresses allow it; operands may start at any element.
//  * Sizes are 64-bit; a kernel accepts n == 0 and grids that are too large.
//  * What only the data can show (an index out of range) goes to `report`, never to a trap.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "core/trouble.h"

namespace anneal::gpu {

using f16 = __half;
using bf16 = __nv_bfloat16;

#define ANNEAL_FN __device__ __forceinline__

template <class T> ANNEAL_FN float widen(T x) { return static_cast<float>(x); }
template <> ANNEAL_FN float widen(f16 x) { return __half2float(x); }
template <> ANNEAL_FN float widen(bf16 x) { return __bfloat162float(x); }

/** Rounds to nearest even. */
template <class T> ANNEAL_FN T narrow(float x) { return static_cast<T>(x); }
template <> ANNEAL_FN f16 narrow<f16>(float x) { return __float2half_rn(x); }
template <> ANNEAL_FN bf16 narrow<bf16>(float x) { return __float2bfloat16_rn(x); }

/** What elements of T are computed in. */
template <class T> struct Compute { using type = float; };
template <> struct Compute<int32_t> { using type = int32_t; };
template <> struct Compute<uint8_t> { using type = uint8_t; };
template <class T> using Acc = typename Compute<T>::type;

template <class T> ANNEAL_FN Acc<T> toAcc(T x) {
  if constexpr (sizeof(T) == 2) return widen(x);
  else return x;
}
template <class T> ANNEAL_FN T fromAcc(Acc<T> x) {
  if constexpr (sizeof(T) == 2) return narrow<T>(x);
  else return x;
}

/** 16 bytes of elements. */
template <class T> constexpr int kPack = 16 / sizeof(T);
template <class T, int N = kPack<T>> struct alignas(sizeof(T) * N) Pack { T v[N]; };

template <class... P> ANNEAL_FN bool aligned16(const P*... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) | ...) & 15) == 0;
}

constexpr int kThreads = 256;
ANNEAL_FN int64_t globalThread() { return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

/**
 * body(first, count) for this thread's share of n elements, `count` up to the pack width: full packs where `vector` says that all pointers
 * are aligned, else single elements spread so that neighbours touch neighbours.
 */
template <class T, class Whole, class Single>
ANNEAL_FN void eachPack(int64_t n, bool vector, Whole whole, Single single) {
  constexpr int N = kPack<T>;
  if (vector) {
    const int64_t first = globalThread() * N;
    if (first + N <= n) whole(first);
    else {
#pragma unroll 1
      for (int64_t i = first; i < n; ++i) single(i);
    }
  } else {
    const int64_t base = static_cast<int64_t>(blockIdx.x) * blockDim.x * N + threadIdx.x;
#pragma unroll 1
    for (int k = 0; k < N; ++k)
      if (const int64_t i = base + static_cast<int64_t>(k) * blockDim.x; i < n) single(i);
  }
}

constexpr unsigned kWholeWarp = 0xffffffffu;

ANNEAL_FN float warpSum(float x) {
#pragma unroll
  for (int d = 16; d; d >>= 1) x += __shfl_xor_sync(kWholeWarp, x, d);
  return x;
}
/** NaN wins, as in PyTorch. */
ANNEAL_FN float nanMax(float a, float b) { return a > b || a != a ? a : b; }
ANNEAL_FN float nanMin(float a, float b) { return a < b || a != a ? a : b; }
ANNEAL_FN float warpMax(float x) {
#pragma unroll
  for (int d = 16; d; d >>= 1) x = nanMax(x, __shfl_xor_sync(kWholeWarp, x, d));
  return x;
}

/** Sum over the block in a fixed order, known to every thread. `scratch`: 32 floats of shared memory that nobody reads any more. blockDim.x is a multiple of 32. */
ANNEAL_FN float blockSum(float x, float* scratch) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
  x = warpSum(x);
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  return warpSum(lane < warps ? scratch[lane] : 0.f);
}

/** Tells the host, at the next await, what only the data could show. The first report counts. */
ANNEAL_FN void report(Trouble* trouble, uint32_t call, uint32_t code, int64_t a, int64_t b = 0) {
  if (atomicCAS(&trouble->code, 0u, code) == 0u) {
    trouble->call = call;
    trouble->a = a;
    trouble->b = b;
  }
}

}  // namespace anneal::gpu
