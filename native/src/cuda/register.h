// One line per family: its launchers join the op table.
#pragma once
#include "core/table.h"

namespace anneal::cuda {

void registerUnary(OpTable& t);
void registerBinary(OpTable& t);      // binary, comparisons, where, fill, cast, copy, layout, strided
void registerReduce(OpTable& t);      // reduce and their gradients, argExtreme, topK, gather
void registerSoftmax(OpTable& t);     // softmax, logSoftmax
void registerNorm(OpTable& t);        // layerNorm, rmsNorm, groupNorm, batchNorm
void registerLoss(OpTable& t);        // cross-entropy and the elementwise losses
void registerIndex(OpTable& t);       // embedding and its gradient, gather, topK
void registerRandom(OpTable& t);      // Philox, dropout, fused bias
void registerMatmul(OpTable& t);
void registerAttention(OpTable& t);
void registerConv(OpTable& t);
void registerPool(OpTable& t);
void registerOptim(OpTable& t);       // step state, norm, multi-tensor updates

inline void registerKernels(OpTable& t) {
  registerUnary(t);
  registerMatmul(t);
  registerAttention(t);
  registerConv(t);
}

}  // namespace anneal::cuda
