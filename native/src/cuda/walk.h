// A reduction as host and device see it: dimensions merged so that kept and reduced ones alternate (cpu/reduce.h has the same walk).
#pragma once
#include <cstdint>

namespace anneal {

/** All but the innermost dimension: the kept ones and the reduced ones, from the inside out. */
struct Dims {
  int32_t n;
  int32_t unused;
  int64_t size[4], stride[4];  // a stride of 0 first where there are none
};

struct Walk {
  int64_t inner, outer, count;  // the innermost dimension; the products of the others, kept and reduced
  int32_t rows;                 // is the innermost dimension reduced?
  int32_t unused;
  Dims kept, reduced;
};

/** What a reduction writes, and what it must know; each op uses what it needs. */
struct ReduceTo {
  void* out;
  float *mean, *rest;  // moments: the mean rounded, and what rounding took from it
  const void* saved;   // per output: means, extremes
  float scale;
  int32_t flags;
};
constexpr int32_t kWideOut = 1, kAccumulate = 2, kLeast = 4;

}  // namespace anneal
