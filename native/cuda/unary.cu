// Unary functions and their gradients: every functor of ops/functors.h.
#include "cuda/elementwise.cuh"
#include "cuda/math.cuh"

namespace anneal::gpu {
#include "ops/functors.h"

namespace {

/** Functions of few instructions; the others go through a loop. */
template <class F> constexpr bool kHeavy = true;
#define ANNEAL_LIGHT(F) template <> constexpr bool kHeavy<F> = false;
ANNEAL_LIGHT(Neg) ANNEAL_LIGHT(Abs) ANNEAL_LIGHT(Square) ANNEAL_LIGHT(Relu) ANNEAL_LIGHT(LeakyRelu) ANNEAL_LIGHT(Floor)
ANNEAL_LIGHT(Ceil) ANNEAL_LIGHT(Round) ANNEAL_LIGHT(Sign) ANNEAL_LIGHT(Clamp)
#undef ANNEAL_LIGHT
/** Gradients from the output, or without a function in them. */
template <class F> constexpr bool kHeavyGrad = kHeavy<F>;
#define ANNEAL_LIGHT(F) template <> constexpr bool kHeavyGrad<F> = false;
ANNEAL_LIGHT(Exp) ANNEAL_LIGHT(Expm1) ANNEAL_LIGHT(Rsqrt) ANNEAL_LIGHT(Reciprocal) ANNEAL_LIGHT(Tanh) ANNEAL_LIGHT(Sigmoid)
#undef ANNEAL_LIGHT

template <class T, class F>
ANNEAL_FN void unary(const T* x, T* y, int64_t n, float p, float q) {
  using A = Acc<T>;
  constexpr int N = kPack<T>;
  const Share s = shareOf<N>(n, aligned16(x, y));
  const A pa = static_cast<A>(p), qa = static_cast<A>(q);
  A h[N];
  loadWide<T>(h, x, s);
  map<kHeavy<F>>(h, [&](A v) { return F::template f<A>(v, pa, qa); });
  storeNarrow<T>(y, h, s);
}

/** dx = g f'(saved) (+ accumulated, which may be dx itself). `saved` and `acc` may be null. */
template <class T, class F>
ANNEAL_FN void unaryGrad(const T* g, const T* saved, const T* acc, T* dx, int64_t n, float p, float q) {
  constexpr int N = kPack<T>;
  const Share s = shareOf<N>(n, aligned16(g, saved, acc, dx));
  float d[N], v[N];
  loadWide<T>(d, g, s);
  if constexpr (F::saves != Saves::nothing) loadWide<T>(v, saved, s);
  else (void)saved;
  map<kHeavyGrad<F>>(d, v, [&](float gv, float sv) { return F::template df<float>(gv, sv, p, q); });
  if (acc) {
    float before[N];
    loadWide<T>(before, acc, s);
#pragma unroll
    for (int k = 0; k < N; ++k) d[k] += before[k];
  }
  storeNarrow<T>(dx, d, s);
}

/** y = f(x), which may lie over x, and d = f'(x). */
template <class T, class F>
ANNEAL_FN void unaryBoth(const T* x, T* y, T* d, int64_t n) {
  constexpr int N = kPack<T>;
  const Share s = shareOf<N>(n, aligned16(x, y, d));
  float value[N], slope[N];
  loadWide<T>(value, x, s);
#pragma unroll
  for (int k = 0; k < N; ++k) slope[k] = value[k];
  map<true>(slope, [](float v) { return F::template df<float>(1.f, v, 0.f, 0.f); });
  map<true>(value, [](float v) { return F::template f<float>(v, 0.f, 0.f); });
  storeNarrow<T>(d, slope, s);
  storeNarrow<T>(y, value, s);
}

}  // namespace

#define ANNEAL_KERNEL extern "C" __global__ void __launch_bounds__(kThreads)
#define ANNEAL_FORWARD(name, F, T, suffix) \
  ANNEAL_KERNEL name##_##suffix(const T* x, T* y, int64_t n, float p, float q) { unary<T, F>(x, y, n, p, q); }
#define ANNEAL_BACKWARD(name, F, T, suffix)                                                                                          \
  ANNEAL_KERNEL name##_grad_##suffix(const T* g, const T* saved, const T* acc, T* dx, int64_t n, float p, float q) {                 \
    unaryGrad<T, F>(g, saved, acc, dx, n, p, q);                                                                                     \
  }
#define ANNEAL_BOTH(name, F, T, suffix) \
  ANNEAL_KERNEL name##_both_##suffix(const T* x, T* y, T* d, int64_t n) { unaryBoth<T, F>(x, y, d, n); }
#define ANNEAL_FLOATS(KIND, name, F) KIND(name, F, float, f32) KIND(name, F, f16, f16) KIND(name, F, bf16, bf16)

#define ANNEAL_ROW(name, F) ANNEAL_FLOATS(ANNEAL_FORWARD, name, F) ANNEAL_FLOATS(ANNEAL_BACKWARD, name, F)
ANNEAL_UNARY_OPS(ANNEAL_ROW)
#undef ANNEAL_ROW
ANNEAL_FLOATS(ANNEAL_BOTH, gelu, Gelu)
ANNEAL_FLOATS(ANNEAL_BOTH, geluTanh, GeluTanh)
// Whole numbers with a sign have these four.
#define ANNEAL_ROW(name, F) ANNEAL_FORWARD(name, F, int32_t, i32)
ANNEAL_ROW(neg, Neg) ANNEAL_ROW(abs, Abs) ANNEAL_ROW(square, Square) ANNEAL_ROW(sign, Sign)
#undef ANNEAL_ROW

}  // namespace anneal::gpu
