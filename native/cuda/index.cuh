// Checks of indices that come from data.
#pragma once
#include "cuda/common.cuh"

namespace anneal::gpu {

/**
 * True where index[position] lies in [0, size). Else reports the first of all n indices that does not, whichever thread finds one: the report does
 * not depend on the order of threads. (a: size in the high half, the index in the low one; b: its position.)
 */
ANNEAL_FN bool checkIndex(const int32_t* index, int64_t n, int32_t at, int64_t size, Trouble* trouble, uint32_t call) {
  if (at >= 0 && at < size) return true;
  int64_t first = 0;
#pragma unroll 1
  while (first + 1 < n && index[first] >= 0 && index[first] < size) ++first;
  const int64_t shown = size < 0x7fffffff ? size : 0x7fffffff;
  report(trouble, call, 1, shown << 32 | static_cast<uint32_t>(index[first]), first);
  return false;
}

}  // namespace anneal::gpu
