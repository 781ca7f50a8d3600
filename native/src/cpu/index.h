// Checks of indices that come from data.
#pragma once
#include <cstdio>

#include "cpu/kernel.h"

ANNEAL_KERNELS_BEGIN

/** Fails naming the first of `n` indices outside [0, size). Called before threads start: an exception cannot leave a parallel region. */
inline void checkIndices(const int32_t* index, int64_t n, int64_t size) {
  int32_t low = 0, high = -1;
#pragma omp simd reduction(min : low) reduction(max : high)
  for (int64_t i = 0; i < n; ++i) {
    low = index[i] < low ? index[i] : low;
    high = index[i] > high ? index[i] : high;
  }
  if (low >= 0 && high < size) return;
  int64_t at = 0;
  while (index[at] >= 0 && index[at] < size) ++at;
  char text[128];
  std::snprintf(text, sizeof text, "data: index %d is outside [0, %lld) at position %lld", index[at], static_cast<long long>(size),
                static_cast<long long>(at));
  fail(text);
}

ANNEAL_KERNELS_END
