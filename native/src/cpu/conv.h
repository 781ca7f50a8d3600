// The CPU's convolution kernels, chosen per instruction set.
#pragma once
#include "ops/conv_shape.h"

namespace anneal::cpu {

/** The kernels that this instruction set has beside oneDNN's. The plain ones take every dtype; the direct ones f32, and are null where oneDNN is as fast. */
struct ConvKernels {
  Kernel plainForward = nullptr, plainGradInput = nullptr, plainGradWeight = nullptr;
  Kernel directForward = nullptr, directGradInput = nullptr, directGradWeight = nullptr;
};
extern ConvKernels convKernels;

}  // namespace anneal::cpu
