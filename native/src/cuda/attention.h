// Attention as its kernels (native/cuda/attention*.cu) are told of it. Plain data, passed by value. Strides and masks as in cpu/attention.h.
#pragma once
#include <cstdint>

namespace anneal {

/** Where element (batch, head, row, 0) of an operand lies: elements from the operand's start. */
struct AttentionStrides {
  int64_t offset, batch, head, row;
};

struct Attention {
  int64_t batch, heads, kvHeads, tq, tk, d, group;
  AttentionStrides q, k, v, o;  // dq, dk, dv, and the gradient of o, lie as these
  const void *queries, *keys, *values;
  void* out;
  float* lse;  // [batch, heads, tq]
  // backward
  const void *forwardOut, *grad;
  void *dq, *dk, *dv;  // null: not wanted
  float* delta;  // [batch, heads, tq]: rowsum(grad * out)
  const uint8_t* mask;  // or null; not zero: attend
  int64_t maskBatch, maskHead, maskRow, maskColumn;
  float scale;
  float keep;  // 1 / (1 - dropout)
  uint32_t threshold;  // of dropout; 0: none
  uint32_t key0, key1, stream, attempt;
  uint64_t first;  // random element of (0, 0, 0, 0)
  int32_t causal;
  int32_t aligned;  // rows of every operand begin on 16 bytes, and d fills whole chunks
};

}  // namespace anneal
