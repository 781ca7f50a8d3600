// What the launchers of dropout and of the fused bias hand to their kernels on a GPU.
#pragma once
#include "ops/draw.h"

namespace anneal {

/** An element is kept iff its word >= threshold, and is then multiplied by scale. */
struct Mask {
  Draw draw;
  uint32_t threshold;
  float scale;
};

enum class Activation : int32_t { none, relu, gelu, geluTanh };  // lib/ops/dropout.ts has the same

/** Column groups of a block of fusedBias.grad, and the rows that it works on at a time. */
constexpr int kBiasColumns = 32, kBiasRows = 8;

}  // namespace anneal
