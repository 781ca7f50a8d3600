// How kernels along rows are laid out (native/cuda/rows.cuh).
#pragma once
#include "cuda/launch.h"

namespace anneal::cuda {

constexpr int64_t kWarpRow = 2048;           // the longest row that a warp takes by itself
constexpr int64_t kKeptBytes = 96 << 10;     // shared memory that every architecture grants a block

/** Bytes of one kept row: keptSize in rows.cuh. */
inline int64_t keptBytes(int64_t n, DType t) {
  const int64_t pack = elementsPerPack(t);
  return (n + 3 * pack - 1) / pack * 16;
}

struct RowPlan {
  bool wide, keep;
  uint32_t blocks, shared;
};
/** `arrays`: how many rows are kept together. Warps share a block of kThreads. */
inline RowPlan rowPlan(int64_t rows, int64_t n, DType t, int arrays) {
  const int64_t one = keptBytes(n, t) * arrays, warps = kThreads / 32;
  if (n <= kWarpRow / arrays) return {false, one * warps <= kKeptBytes, blocksFor(rows, warps), static_cast<uint32_t>(one * warps)};
  const bool keep = one <= kKeptBytes;
  return {true, keep, blocksFor(rows, 1), keep ? static_cast<uint32_t>(one) : 0u};
}

}  // namespace anneal::cuda
