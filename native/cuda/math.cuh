// The functions that ops/functors.h is written in, for f32 on the GPU: CUDA's accurate versions (no fast-math).
#pragma once
#include <type_traits>

#include "cuda/common.cuh"

namespace anneal::gpu {

ANNEAL_FN float mexp(float x) { return expf(x); }
ANNEAL_FN float mexpm1(float x) { return expm1f(x); }
ANNEAL_FN float mlog(float x) { return logf(x); }
ANNEAL_FN float mlog1p(float x) { return log1pf(x); }
ANNEAL_FN float msqrt(float x) { return sqrtf(x); }
ANNEAL_FN float mtanh(float x) { return tanhf(x); }
ANNEAL_FN float msigmoid(float x) { return 1.f / (1.f + expf(-x)); }
ANNEAL_FN float merf(float x) { return erff(x); }
ANNEAL_FN float mfloor(float x) { return floorf(x); }
ANNEAL_FN float mceil(float x) { return ceilf(x); }
ANNEAL_FN float mround(float x) { return rintf(x); }
ANNEAL_FN float mpow(float x, float y) { return powf(x, y); }

/** Integer power by squaring; a negative exponent gives 0 unless the base is 1 or -1. As on the CPU. */
ANNEAL_FN int32_t mpow(int32_t x, int32_t y) {
  if (y < 0) return x == 1 ? 1 : (x == -1 ? (y % 2 ? -1 : 1) : 0);
  uint32_t result = 1, base = static_cast<uint32_t>(x);
#pragma unroll 1
  for (uint32_t e = static_cast<uint32_t>(y); e; e >>= 1) {
    if (e & 1) result *= base;
    base *= base;
  }
  return static_cast<int32_t>(result);
}
ANNEAL_FN uint8_t mpow(uint8_t x, uint8_t y) { return static_cast<uint8_t>(mpow(static_cast<int32_t>(x), static_cast<int32_t>(y))); }

// ---- sine and cosine --------------------------------------------------------------------------------------------------------
// CUDA's own keep the product with 2/pi in local memory; these keep it in registers.

/** floor(2/pi 2^(8 k)) mod 2^32 for k = 2, 3, ... */
__constant__ const uint32_t kTwoOverPi[] = {
    0x0000a2f9u, 0x00a2f983u, 0xa2f9836eu, 0xf9836e4eu, 0x836e4e44u, 0x6e4e4415u, 0x4e441529u, 0x441529fcu, 0x1529fc27u,
    0x29fc2757u, 0xfc2757d1u, 0x2757d1f5u, 0x57d1f534u, 0xd1f534ddu, 0xf534ddc0u, 0x34ddc0dbu, 0xddc0db62u, 0xc0db6295u,
    0xdb629599u, 0x6295993cu, 0x95993c43u, 0x993c4390u, 0x3c439041u};

/** x = (4 n + q) pi/2 + r with |r| <= pi/4 (about); r, and q modulo 4. */
ANNEAL_FN float quarterTurns(float x, int& q) {
  if (fabsf(x) < 71476.f) {  // Cody and Waite: three parts of pi/2, exact products by fma (after N. Juffa)
    q = __float2int_rn(x * 0.636619747f);
    const float n = static_cast<float>(q);  // never -0, so that sin(-0) stays -0
    float r = fmaf(n, -1.57079601e+00f, x);
    r = fmaf(n, -3.13916473e-07f, r);
    return fmaf(n, -5.39030253e-15f, r);
  }
  // Payne and Hanek: x 2/pi in quarter turns modulo 4, 62 bits behind the point, from the 96 bits of 2/pi that matter for x's exponent.
  const uint32_t bits = __float_as_uint(x), exponent = (bits >> 23) & 255u;
  if (exponent == 255u) {
    q = 0;
    return x - x;
  }
  const uint32_t m = ((bits & 0x7fffffu) | 0x800000u) << (exponent & 7u);
  const uint32_t* word = kTwoOverPi + ((exponent >> 3) - 17u);  // from |x| >= 2^16
  uint64_t turns = static_cast<uint64_t>(m * word[0]) << 32;
  turns += static_cast<uint64_t>(m) * word[4] + (static_cast<uint64_t>(m) * word[8] >> 32);
  const uint64_t nearest = (turns + (uint64_t{1} << 61)) >> 62;
  const int64_t rest = static_cast<int64_t>(turns - (nearest << 62));
  const float r = static_cast<float>(rest) * 3.40612158008655e-19f;  // pi/2 2^-62
  const bool negative = bits >> 31;
  q = negative ? -static_cast<int>(nearest) : static_cast<int>(nearest);
  return negative ? -r : r;
}
/** sin(r + q pi/2). */
ANNEAL_FN float sineOf(float r, int q) {
  const float z = r * r;
  float s = fmaf(2.86567956e-6f, z, -1.98559923e-4f);
  s = fmaf(s, z, 8.33338592e-3f);
  s = fmaf(s, z, -1.66666672e-1f);
  s = fmaf(s, z * r, r);
  float c = fmaf(2.44677067e-5f, z, -1.38877297e-3f);
  c = fmaf(c, z, 4.16666567e-2f);
  c = fmaf(c, z, -5.00000000e-1f);
  c = fmaf(c, z, 1.f);
  const float y = (q & 1) ? c : s;
  return (q & 2) ? -y : y;
}
ANNEAL_FN float msin(float x) {
  int q;
  const float r = quarterTurns(x, q);
  return sineOf(r, q);
}
ANNEAL_FN float mcos(float x) {
  int q;
  const float r = quarterTurns(x, q);
  return sineOf(r, q + 1);
}
ANNEAL_FN float mtan(float x) {
  int q;
  const float r = quarterTurns(x, q);
  return sineOf(r, q) / sineOf(r, q + 1);
}

// ---- the rest of the usual functions ----------------------------------------------------------------------------------------

ANNEAL_FN float masin(float x) { return asinf(x); }
ANNEAL_FN float macos(float x) { return acosf(x); }
ANNEAL_FN float matan(float x) { return atanf(x); }
ANNEAL_FN float matan2(float y, float x) { return atan2f(y, x); }
ANNEAL_FN float msinh(float x) { return sinhf(x); }
ANNEAL_FN float mcosh(float x) { return coshf(x); }
ANNEAL_FN float mexp2(float x) { return exp2f(x); }
ANNEAL_FN float mlog2(float x) { return log2f(x); }
ANNEAL_FN float mlog10(float x) { return log10f(x); }
ANNEAL_FN float mfmod(float a, float b) { return fmodf(a, b); }

// ---- quotients and remainders -----------------------------------------------------------------------------------------------

/** The remainder with the divisor's sign, from the one with the dividend's. */
template <class A> ANNEAL_FN A remainderOf(A r, A b) { return r != A(0) && (r < A(0)) != (b < A(0)) ? r + b : r; }
ANNEAL_FN float mremainder(float a, float b) { return remainderOf(mfmod(a, b), b); }
/** floor(a / b), exact where the quotient itself would round up to the next whole number (after CPython's float_floor_div). */
template <class A> ANNEAL_FN A floorQuotient(A a, A b) {
  const A r = mfmod(a, b), q = (a - r) / b - (r != A(0) && (r < A(0)) != (b < A(0)) ? A(1) : A(0)), down = mfloor(q);
  return b == A(0) ? a / b : (q - down > A(0.5) ? down + A(1) : down);
}
ANNEAL_FN float mfloorDivide(float a, float b) { return floorQuotient(a, b); }
// -1 apart: the least number divided by it is no number.
template <class I, std::enable_if_t<std::is_integral_v<I>, int> = 0>
ANNEAL_FN I mfmod(I a, I b) { return b == 0 || static_cast<int64_t>(b) == -1 ? I(0) : I(a % b); }
template <class I, std::enable_if_t<std::is_integral_v<I>, int> = 0>
ANNEAL_FN I mremainder(I a, I b) { return remainderOf(mfmod(a, b), b); }
template <class I, std::enable_if_t<std::is_integral_v<I>, int> = 0>
ANNEAL_FN I mfloorDivide(I a, I b) {
  if (b == 0) return I(0);
  if (static_cast<int64_t>(b) == -1) return static_cast<I>(0u - static_cast<uint32_t>(a));
  return static_cast<I>(a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0));
}

}  // namespace anneal::gpu
