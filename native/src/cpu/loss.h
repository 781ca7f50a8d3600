// What the loss kernels share.
#pragma once
#include "cpu/kernel.h"
#include "cpu/math.h"

ANNEAL_KERNELS_BEGIN

/**
 * The sum of part(begin, end) over [0, n), cut into at most 1024 pieces that depend on n alone and are added in order: the same bits whatever the
 * number of threads. `cost`: element operations per item.
 */
template <class Part>
inline double orderedSum(int64_t n, int64_t least, int64_t cost, Part part) {
  constexpr int64_t kMost = 1024;
  double partial[kMost];
  const int64_t even = (n + kMost - 1) / kMost, size = even < least ? least : even, pieces = (n + size - 1) / size;
  parallelRows(pieces, size * cost, [&](int64_t i) { partial[i] = part(i * size, (i + 1) * size < n ? (i + 1) * size : n); });
  double sum = 0;
  for (int64_t i = 0; i < pieces; ++i) sum += partial[i];
  return sum;
}

/**
 * e^d for d <= 0 (a difference to a maximum), about 1e-7 relative: 2^(d / ln 2) as an exponent and a minimax polynomial on [-1/2, 1/2]. A third of
 * mexp's work, which also serves the other half of the line. Below e^-87 it gives 0; NaN stays.
 */
ANNEAL_FN float expNegative(float d) {
  const float magic = 12582912.f, log2e = 1.44269504088896341f;
  const float clamped = d < -87.f ? -87.f : d;
  const float shifted = clamped * log2e + magic, n = shifted - magic, f = clamped * log2e - n;
  float p = 1.534581201e-4f;
  p = p * f + 1.339993122e-3f;
  p = p * f + 9.618488957e-3f;
  p = p * f + 5.550328777e-2f;
  p = p * f + 2.402264689e-1f;
  p = p * f + 6.931472057e-1f;
  p = p * f + 1.f;
  const float y = asFloat(asBits(p) + (asBits(shifted) << 23));  // n stands in the low bits of `shifted`
  return d < -87.f ? 0.f : y;
}
ANNEAL_FN double expNegative(double d) { return exp(d); }

template <class A>
constexpr DType dtypeOfAcc() { return std::is_same_v<A, double> ? DType::f64 : DType::f32; }

ANNEAL_KERNELS_END
