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

template <class A>
constexpr DType dtypeOfAcc() { return std::is_same_v<A, double> ? DType::f64 : DType::f32; }

ANNEAL_KERNELS_END
