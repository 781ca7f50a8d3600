// Unary functions and their gradients: every functor of ops/functors.h.
#include "cuda/math.cuh"

namespace anneal::gpu {
#include "ops/functors.h"

namespace {

template <class T, class F>
ANNEAL_FN void unary(const T* x, T* y, int64_t n, float p, float q) {
  using A = Acc<T>;
  const A pa = static_cast<A>(p), qa = static_cast<A>(q);
  const auto f = [&](T v) { return fromAcc<T>(F::template f<A>(toAcc(v), pa, qa)); };
  eachPack<T>(n, aligned16(x, y), [&](int64_t i) {
    const Pack<T> in = *reinterpret_cast<const Pack<T>*>(x + i);
    Pack<T> out;
#pragma unroll
    for (int k = 0; k < kPack<T>; ++k) out.v[k] = f(in.v[k]);
    *reinterpret_cast<Pack<T>*>(y + i) = out;
  }, [&](int64_t i) { y[i] = f(x[i]); });
}

/** dx = g f'(saved) (+ accumulated, which may be dx itself). `s` and `acc` may be null. */
template <class T, class F>
ANNEAL_FN void unaryGrad(const T* g, const T* s, const T* acc, T* dx, int64_t n, float p, float q) {
  const auto df = [&](T gv, T sv, float before) { return narrow<T>(F::template df<float>(widen(gv), widen(sv), p, q) + before); };
  eachPack<T>(n, aligned16(g, s, acc, dx), [&](int64_t i) {
    const Pack<T> gs = *reinterpret_cast<const Pack<T>*>(g + i), ss = s ? *reinterpret_cast<const Pack<T>*>(s + i) : gs;
    Pack<T> before{}, out;
    if (acc) before = *reinterpret_cast<const Pack<T>*>(acc + i);
#pragma unroll
    for (int k = 0; k < kPack<T>; ++k) out.v[k] = df(gs.v[k], ss.v[k], acc ? widen(before.v[k]) : 0.f);
    *reinterpret_cast<Pack<T>*>(dx + i) = out;
  }, [&](int64_t i) { dx[i] = df(g[i], s ? s[i] : g[i], acc ? widen(acc[i]) : 0.f); });
}

}  // namespace

#define ANNEAL_FORWARD(name, F, T, suffix)                                                                                       \
  extern "C" __global__ void __launch_bounds__(kThreads) name##_##suffix(const T* x, T* y, int64_t n, float p, float q) {         \
    unary<T, F>(x, y, n, p, q);                                                                                                   \
  }
#define ANNEAL_BACKWARD(name, F, T, suffix)                                                                                      \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                          \
      name##_grad_##suffix(const T* g, const T* s, const T* acc, T* dx, int64_t n, float p, float q) {                            \
    unaryGrad<T, F>(g, s, acc, dx, n, p, q);                                                                                      \
  }
#define ANNEAL_ROW(name, F)                                                                        \
  ANNEAL_FORWARD(name, F, float, f32) ANNEAL_FORWARD(name, F, f16, f16) ANNEAL_FORWARD(name, F, bf16, bf16)      \
  ANNEAL_BACKWARD(name, F, float, f32) ANNEAL_BACKWARD(name, F, f16, f16) ANNEAL_BACKWARD(name, F, bf16, bf16)
ANNEAL_UNARY_OPS(ANNEAL_ROW)
#undef ANNEAL_ROW
// Integers have these four.
#define ANNEAL_ROW(name, F) ANNEAL_FORWARD(name, F, int32_t, i32) ANNEAL_FORWARD(name, F, uint8_t, u8)
ANNEAL_ROW(neg, Neg) ANNEAL_ROW(abs, Abs) ANNEAL_ROW(square, Square) ANNEAL_ROW(sign, Sign)
#undef ANNEAL_ROW

}  // namespace anneal::gpu
