// The CPU's matrix products, chosen per instruction set.
#pragma once
#include "ops/matmul_shape.h"

namespace anneal::cpu {

/** This instruction set's own out (+)= a^T b (cpu/matmul_direct.cc), of f32 and one matrix on each side; null where oneDNN is as fast. */
extern Kernel directWeightGradient;

}  // namespace anneal::cpu
