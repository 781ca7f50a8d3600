// Branch-free float functions that compilers turn into vectors; double goes to libm. Errors (against f64) are bounded by test/ops.
#pragma once
#include <cmath>
#include <cstring>

#include "cpu/kernel.h"

ANNEAL_KERNELS_BEGIN

#define ANNEAL_FN inline __attribute__((always_inline))

ANNEAL_FN float asFloat(uint32_t u) { float x; std::memcpy(&x, &u, 4); return x; }
ANNEAL_FN uint32_t asBits(float x) { uint32_t u; std::memcpy(&u, &x, 4); return u; }

/** e^x: 2^n times a polynomial on [-ln2/2, ln2/2] (coefficients of Cephes' expf). About 1 ulp; overflow gives inf, NaN stays. */
ANNEAL_FN float mexp(float x) {
  const float clamped = x > 89.f ? 89.f : (x < -104.f ? -104.f : x);
  const float magic = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer
  const float shifted = clamped * 1.44269504088896341f + magic;
  const float n = shifted - magic;
  float r = clamped - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.f;
  // 2^n in two factors, so that results near both ends of the range come out right.
  const int32_t ni = static_cast<int32_t>(n), half = ni >> 1;
  const float y = p * asFloat(static_cast<uint32_t>(half + 127) << 23) * asFloat(static_cast<uint32_t>(ni - half + 127) << 23);
  return x != x ? x : y;
}

/** ln x (Cephes' logf). Negative: NaN; zero: -inf. */
ANNEAL_FN float mlog(float x) {
  const bool subnormal = x < 1.17549435e-38f;
  const float scaled = subnormal ? x * 8388608.f : x;
  const uint32_t u = asBits(scaled);
  float e = static_cast<float>(static_cast<int32_t>(u >> 23) - 126 - (subnormal ? 23 : 0));
  float m = asFloat((u & 0x007fffffu) | 0x3f000000u);
  const bool low = m < 0.707106781186547524f;
  e = low ? e - 1.f : e;
  m = (low ? m + m : m) - 1.f;
  const float z = m * m;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  float y = p * m * z;
  y = y + e * -2.12194440e-4f;
  y = y - 0.5f * z;
  float result = m + y + e * 0.693359375f;
  const float infinity = asFloat(0x7f800000u);
  result = x == infinity ? x : result;
  result = x == 0.f ? -infinity : result;
  return x >= 0.f ? result : asFloat(0x7fc00000u);
}

/** log(1 + x), accurate near zero: log(u) corrected for the rounding of u = 1 + x. */
ANNEAL_FN float mlog1p(float x) {
  const float u = 1.f + x;
  const float corrected = mlog(u) + (x - (u - 1.f)) / u;
  const float infinity = asFloat(0x7f800000u);
  return u == 1.f ? x : (u == infinity || u <= 0.f ? mlog(u) : corrected);
}

ANNEAL_FN float mexpm1(float x) {
  // Taylor near zero, where e^x - 1 would cancel.
  float p = 1.f / 5040.f;
  p = p * x + 1.f / 720.f;
  p = p * x + 1.f / 120.f;
  p = p * x + 1.f / 24.f;
  p = p * x + 1.f / 6.f;
  p = p * x + 0.5f;
  p = p * x * x + x;
  return (x < 0.35f && x > -0.35f) ? p : mexp(x) - 1.f;
}

ANNEAL_FN float msigmoid(float x) { return 1.f / (1.f + mexp(-x)); }

ANNEAL_FN float mtanh(float x) {
  const float z = x * x;
  float p = -5.70498872745e-3f;  // Cephes' tanhf below 0.625
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  p = p * z * x + x;
  const float a = x < 0 ? -x : x;
  const float big = 1.f - 2.f / (mexp(a + a) + 1.f);
  return a < 0.625f ? p : (x < 0 ? -big : (x != x ? x : big));
}

/** erf: two minimax polynomials joined at 0.9277 (after N. Juffa). About 1 ulp. */
ANNEAL_FN float merf(float x) {
  const float t = x < 0 ? -x : x, s = x * x;
  float r = -1.72853470e-5f * t + 3.83197126e-4f;
  const float u = -3.88396438e-3f * t + 2.42546219e-2f;
  r = r * s + u;
  r = r * t - 1.06777877e-1f;
  r = r * t - 6.34846687e-1f;
  r = r * t - 1.28717512e-1f;
  r = r * t - t;
  const float tail = 1.f - mexp(r);
  float q = -5.96761703e-4f;
  q = q * s + 4.99119423e-3f;
  q = q * s - 2.67681349e-2f;
  q = q * s + 1.12819925e-1f;
  q = q * s - 3.76125336e-1f;
  q = q * s + 1.28379166e-1f;
  q = q * x + x;
  return t > 0.927734375f ? (x < 0 ? -tail : tail) : q;
}

ANNEAL_FN float msqrt(float x) { return __builtin_sqrtf(x); }
ANNEAL_FN float mpow(float x, float y) { return powf(x, y); }
ANNEAL_FN float msin(float x) { return sinf(x); }
ANNEAL_FN float mcos(float x) { return cosf(x); }
ANNEAL_FN float mtan(float x) { return tanf(x); }
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
ANNEAL_FN float mfloor(float x) { return __builtin_floorf(x); }
ANNEAL_FN float mceil(float x) { return __builtin_ceilf(x); }
ANNEAL_FN float mround(float x) { return __builtin_rintf(x); }

ANNEAL_FN double mexp(double x) { return exp(x); }
ANNEAL_FN double mlog(double x) { return log(x); }
ANNEAL_FN double mlog1p(double x) { return log1p(x); }
ANNEAL_FN double mexpm1(double x) { return expm1(x); }
ANNEAL_FN double msigmoid(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }
ANNEAL_FN double mtanh(double x) { return tanh(x); }
ANNEAL_FN double merf(double x) { return erf(x); }
ANNEAL_FN double msqrt(double x) { return sqrt(x); }
ANNEAL_FN double mpow(double x, double y) { return pow(x, y); }
ANNEAL_FN double msin(double x) { return sin(x); }
ANNEAL_FN double mcos(double x) { return cos(x); }
ANNEAL_FN double mtan(double x) { return tan(x); }
ANNEAL_FN double masin(double x) { return asin(x); }
ANNEAL_FN double macos(double x) { return acos(x); }
ANNEAL_FN double matan(double x) { return atan(x); }
ANNEAL_FN double matan2(double y, double x) { return atan2(y, x); }
ANNEAL_FN double msinh(double x) { return sinh(x); }
ANNEAL_FN double mcosh(double x) { return cosh(x); }
ANNEAL_FN double mexp2(double x) { return exp2(x); }
ANNEAL_FN double mlog2(double x) { return log2(x); }
ANNEAL_FN double mlog10(double x) { return log10(x); }
ANNEAL_FN double mfmod(double a, double b) { return fmod(a, b); }
ANNEAL_FN double mfloor(double x) { return floor(x); }
ANNEAL_FN double mceil(double x) { return ceil(x); }
ANNEAL_FN double mround(double x) { return rint(x); }

// ---- quotients and remainders -----------------------------------------------------------------------------------------------

/** The remainder with the divisor's sign, from the one with the dividend's. */
template <class A> ANNEAL_FN A remainderOf(A r, A b) { return r != A(0) && (r < A(0)) != (b < A(0)) ? r + b : r; }
ANNEAL_FN float mremainder(float a, float b) { return remainderOf(mfmod(a, b), b); }
ANNEAL_FN double mremainder(double a, double b) { return remainderOf(mfmod(a, b), b); }
/** floor(a / b), exact where the quotient itself would round up to the next whole number (after CPython's float_floor_div). */
template <class A> ANNEAL_FN A floorQuotient(A a, A b) {
  const A r = mfmod(a, b), q = (a - r) / b - (r != A(0) && (r < A(0)) != (b < A(0)) ? A(1) : A(0)), down = mfloor(q);
  return b == A(0) ? a / b : (q - down > A(0.5) ? down + A(1) : down);
}
ANNEAL_FN float mfloorDivide(float a, float b) { return floorQuotient(a, b); }
ANNEAL_FN double mfloorDivide(double a, double b) { return floorQuotient(a, b); }
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


/** Integer power by squaring; a negative exponent gives 0 unless the base is 1 or -1. */
template <class I, std::enable_if_t<std::is_integral_v<I>, int> = 0>
ANNEAL_FN I mpow(I x, I y) {
  if (y < 0) return x == 1 ? I(1) : (static_cast<int64_t>(x) == -1 ? I(y % 2 ? -1 : 1) : I(0));
  uint32_t result = 1, base = static_cast<uint32_t>(x);
  for (uint32_t e = static_cast<uint32_t>(y); e; e >>= 1) {
    if (e & 1) result *= base;
    base *= base;
  }
  return static_cast<I>(result);
}

ANNEAL_KERNELS_END
