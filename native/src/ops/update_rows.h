// A list of tensors as the GPU's optimizer kernels see it: the table that a launcher writes and native/cuda/optim.cu reads.
#pragma once
#include <cstdint>

namespace anneal {

constexpr int kUpdateChunk = 8192;  // elements that a block takes

/** A tensor of the list. `first`: chunks before it; tensors without a gradient are left out. A second table gives each chunk's row. */
struct UpdateRow {
  int64_t first, n;
  float *p, *g;
  void* shadow;
  float* state[3];
  double* step;
  int32_t shadowIsF16, unused;
};

struct UpdateRule {
  double lr, weightDecay;
  double a, b, c;  // SGD: momentum, dampening; Adam: beta1, beta2, eps; update_rules.h has the rest
  int32_t maximize, first, second;  // SGD: nesterov; Adam: decoupled, amsgrad; RMSprop: centered
  int32_t unused;
};

}  // namespace anneal
