// Fills, casts, choices: values moved by their bits, or converted.
#include <type_traits>

#include "cuda/walk.cuh"
#include "ops/broadcast.h"

namespace anneal::gpu {
namespace {

template <class U> ANNEAL_FN void fill(U* y, int64_t n, U value) {
  constexpr int N = kPack<U>;
  U v[N];
#pragma unroll
  for (int k = 0; k < N; ++k) v[k] = value;
  store(y, v, shareOf<N>(n, aligned16(y)));
}

struct Bool {};  // a target: any other than 0 is 1

template <class To, class From> ANNEAL_FN auto convert(From x) {
  if constexpr (std::is_same_v<To, Bool>) {
    if constexpr (sizeof(From) == 2) return static_cast<uint8_t>(widen(x) != 0.f);
    else return static_cast<uint8_t>(x != From(0));
  } else if constexpr (std::is_integral_v<To> && !std::is_integral_v<From>) {
    int32_t v;  // both truncate, saturate, and give 0 for NaN
    if constexpr (std::is_same_v<From, double>) v = __double2int_rz(x);
    else v = __float2int_rz(toAcc(x));
    if constexpr (sizeof(To) == 4) return v;
    else return static_cast<uint8_t>(v < 0 ? 0 : (v > 255 ? 255 : v));
  } else if constexpr (sizeof(To) == 2) {
    return fromAcc<To>(static_cast<float>(toAcc(x)));
  } else if constexpr (std::is_same_v<From, double>) {
    return static_cast<To>(x);
  } else {
    return static_cast<To>(toAcc(x));
  }
}

template <class T> using Stored = std::conditional_t<std::is_same_v<T, Bool>, uint8_t, T>;

/** As many elements a thread as make 16 bytes on the wider side. */
template <class From, class To> ANNEAL_FN void cast(const From* x, Stored<To>* y, int64_t n) {
  constexpr int N = 16 / (sizeof(From) > sizeof(Stored<To>) ? sizeof(From) : sizeof(Stored<To>));
  const Share s = shareOf<N>(n, aligned16(x, y));
  From in[N];
  load(in, x, s);
  Stored<To> out[N];
#pragma unroll
  for (int k = 0; k < N; ++k) out[k] = convert<To>(in[k]);
  store(y, out, s);
}

/** y = condition ? a : b, by bits. */
template <class U> ANNEAL_FN void where(const uint8_t* condition, const U* a, const U* b, U* y, const Broadcast<3>& o) {
  constexpr int N = kPack<U>;
  const Share s = shareOf<N>(o.n, o.pace, aligned16(o.once[0] ? nullptr : condition, o.once[1] ? nullptr : a, o.once[2] ? nullptr : b, y));
  const U scalarA = static_cast<U>(o.scalar[1]), scalarB = static_cast<U>(o.scalar[2]);
  U out[N] = {};
  if (o.pace == Pace::each) {
#pragma unroll 1
    for (int k = 0; k < N; ++k) {
      U v{};
      if (k < s.count) {
        int64_t at[3];
        placeOf(o.walk, s.at(k), at);
        v = condition[at[0]] ? (a ? a[at[1]] : scalarA) : (b ? b[at[2]] : scalarB);
      }
      rotate(out, v);
    }
  } else {
    int64_t at[3] = {o.once[0] ? 0 : s.first, o.once[1] ? 0 : s.first, o.once[2] ? 0 : s.first};
    if (o.pace == Pace::packs && s.count > 0) placeOf(o.walk, s.first / N, at);
    uint8_t take[N];
    U other[N];
#pragma unroll
    for (int k = 0; k < N; ++k) {
      out[k] = scalarA;
      other[k] = scalarB;
    }
    loadAt(take, condition, at[0], o.once[0], s);
    if (a) loadAt(out, a, at[1], o.once[1], s);
    if (b) loadAt(other, b, at[2], o.once[2], s);
#pragma unroll
    for (int k = 0; k < N; ++k) out[k] = take[k] ? out[k] : other[k];
  }
  store(y, out, s);
}

}  // namespace

#define ANNEAL_KERNEL extern "C" __global__ void __launch_bounds__(kThreads)

#define ANNEAL_FILL(bits, U) \
  ANNEAL_KERNEL fill_b##bits(U* y, int64_t n, U value) { fill(y, n, value); }
ANNEAL_FILL(8, uint8_t) ANNEAL_FILL(16, uint16_t) ANNEAL_FILL(32, uint32_t) ANNEAL_FILL(64, uint64_t)

#define ANNEAL_CAST(from, From, to, To) \
  ANNEAL_KERNEL cast_##from##_##to(const From* x, Stored<To>* y, int64_t n) { cast<From, To>(x, y, n); }
ANNEAL_CAST(f32, float, f16, f16) ANNEAL_CAST(f32, float, bf16, bf16) ANNEAL_CAST(f32, float, i32, int32_t) ANNEAL_CAST(f32, float, u8, uint8_t)
ANNEAL_CAST(f16, f16, f32, float) ANNEAL_CAST(f16, f16, bf16, bf16) ANNEAL_CAST(f16, f16, i32, int32_t) ANNEAL_CAST(f16, f16, u8, uint8_t)
ANNEAL_CAST(bf16, bf16, f32, float) ANNEAL_CAST(bf16, bf16, f16, f16) ANNEAL_CAST(bf16, bf16, i32, int32_t) ANNEAL_CAST(bf16, bf16, u8, uint8_t)
ANNEAL_CAST(i32, int32_t, f32, float) ANNEAL_CAST(i32, int32_t, f16, f16) ANNEAL_CAST(i32, int32_t, bf16, bf16) ANNEAL_CAST(i32, int32_t, u8, uint8_t)
ANNEAL_CAST(u8, uint8_t, f32, float) ANNEAL_CAST(u8, uint8_t, f16, f16) ANNEAL_CAST(u8, uint8_t, bf16, bf16) ANNEAL_CAST(u8, uint8_t, i32, int32_t)
ANNEAL_CAST(f32, float, bool, Bool) ANNEAL_CAST(f16, f16, bool, Bool) ANNEAL_CAST(bf16, bf16, bool, Bool) ANNEAL_CAST(i32, int32_t, bool, Bool)
ANNEAL_CAST(u8, uint8_t, bool, Bool)
// f64 is not computed with here, but counters and norms are read in it.
ANNEAL_CAST(f64, double, f32, float) ANNEAL_CAST(f32, float, f64, double)

#define ANNEAL_WHERE(bits, U)                                                                                                            \
  ANNEAL_KERNEL where_b##bits(const uint8_t* condition, const U* a, const U* b, U* y, const __grid_constant__ Broadcast<3> o) {           \
    where(condition, a, b, y, o);                                                                                                        \
  }
ANNEAL_WHERE(8, uint8_t) ANNEAL_WHERE(16, uint16_t) ANNEAL_WHERE(32, uint32_t)

}  // namespace anneal::gpu
