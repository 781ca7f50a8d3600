// Functions and comparisons of two operands, broadcast by strides, or of one and a scalar.
#include <type_traits>

#include "cuda/math.cuh"
#include "cuda/walk.cuh"
#include "ops/broadcast.h"

namespace anneal::gpu {
#include "ops/functors.h"

namespace {

template <class F> constexpr bool kHeavy = false;
#define ANNEAL_HEAVY(F) template <> constexpr bool kHeavy<F> = true;
ANNEAL_HEAVY(Pow) ANNEAL_HEAVY(Atan2) ANNEAL_HEAVY(Fmod) ANNEAL_HEAVY(Remainder) ANNEAL_HEAVY(FloorDivide)
#undef ANNEAL_HEAVY

template <class A> ANNEAL_FN A scalarOf(uint32_t bits) {
  if constexpr (std::is_same_v<A, float>) return __uint_as_float(bits);
  else return static_cast<A>(bits);
}

template <class T> ANNEAL_FN void operands(Acc<T> (&a)[kPack<T>], Acc<T> (&b)[kPack<T>], const T* x, const T* y, const Share& s, const Broadcast<2>& o) {
  constexpr int N = kPack<T>;
  T ra[N] = {}, rb[N] = {};
  if (o.pace == Pace::each) {
#pragma unroll 1
    for (int k = 0; k < N; ++k) {
      T va{}, vb{};
      if (k < s.count) {
        int64_t at[2];
        placeOf(o.walk, s.at(k), at);
        va = x[at[0]];
        vb = y[at[1]];
      }
      rotate(ra, va);
      rotate(rb, vb);
    }
  } else {
    int64_t at[2] = {o.once[0] ? 0 : s.first, o.once[1] ? 0 : s.first};
    if (o.pace == Pace::packs && s.count > 0) placeOf(o.walk, s.first / N, at);
    if (x) loadAt(ra, x, at[0], o.once[0], s);
    if (y) loadAt(rb, y, at[1], o.once[1], s);
  }
#pragma unroll
  for (int k = 0; k < N; ++k) {
    a[k] = x ? toAcc(ra[k]) : scalarOf<Acc<T>>(o.scalar[0]);
    b[k] = y ? toAcc(rb[k]) : scalarOf<Acc<T>>(o.scalar[1]);
  }
}

template <class T, class F> ANNEAL_FN void binary(const T* x, const T* y, T* out, const Broadcast<2>& o) {
  constexpr int N = kPack<T>;
  const Share s = shareOf<N>(o.n, o.pace, aligned16(o.once[0] ? nullptr : x, o.once[1] ? nullptr : y, out));
  Acc<T> a[N], b[N];
  operands<T>(a, b, x, y, s, o);
  map<kHeavy<F>>(a, b, [](Acc<T> p, Acc<T> q) { return static_cast<Acc<T>>(F::template f<Acc<T>>(p, q)); });
  storeNarrow<T>(out, a, s);
}

template <class T, class F> ANNEAL_FN void compare(const T* x, const T* y, uint8_t* out, const Broadcast<2>& o) {
  constexpr int N = kPack<T>;
  const Share s = shareOf<N>(o.n, o.pace, aligned16(o.once[0] ? nullptr : x, o.once[1] ? nullptr : y, out));
  Acc<T> a[N], b[N];
  operands<T>(a, b, x, y, s, o);
  uint8_t truth[N];
#pragma unroll
  for (int k = 0; k < N; ++k) truth[k] = F::template f<Acc<T>>(a[k], b[k]);
  store(out, truth, s);
}

}  // namespace

#define ANNEAL_KERNEL(name, suffix, T, R, DRIVER, F)                                                                            \
  extern "C" __global__ void __launch_bounds__(kThreads) name##_##suffix(const T* x, const T* y, R* out, const __grid_constant__ Broadcast<2> o) { \
    DRIVER<T, F>(x, y, out, o);                                                                                                 \
  }
#define ANNEAL_FLOATS(name, F)                          \
  ANNEAL_KERNEL(name, f32, float, float, binary, F)     \
  ANNEAL_KERNEL(name, f16, f16, f16, binary, F)         \
  ANNEAL_KERNEL(name, bf16, bf16, bf16, binary, F)
#define ANNEAL_WHOLE(name, F)                               \
  ANNEAL_KERNEL(name, i32, int32_t, int32_t, binary, F)     \
  ANNEAL_KERNEL(name, u8, uint8_t, uint8_t, binary, F)
ANNEAL_BINARY_OPS(ANNEAL_FLOATS)
// Integers have all but division and angles.
ANNEAL_WHOLE(add, Add) ANNEAL_WHOLE(sub, Sub) ANNEAL_WHOLE(mul, Mul) ANNEAL_WHOLE(pow, Pow) ANNEAL_WHOLE(maximum, Maximum) ANNEAL_WHOLE(minimum, Minimum)
ANNEAL_WHOLE(fmod, Fmod) ANNEAL_WHOLE(remainder, Remainder) ANNEAL_WHOLE(floorDivide, FloorDivide)
ANNEAL_BITWISE_OPS(ANNEAL_WHOLE)

#define ANNEAL_ROW(name, F)                                 \
  ANNEAL_KERNEL(name, f32, float, uint8_t, compare, F)      \
  ANNEAL_KERNEL(name, f16, f16, uint8_t, compare, F)        \
  ANNEAL_KERNEL(name, bf16, bf16, uint8_t, compare, F)      \
  ANNEAL_KERNEL(name, i32, int32_t, uint8_t, compare, F)    \
  ANNEAL_KERNEL(name, u8, uint8_t, uint8_t, compare, F)
ANNEAL_COMPARE_OPS(ANNEAL_ROW)
#undef ANNEAL_ROW

}  // namespace anneal::gpu
