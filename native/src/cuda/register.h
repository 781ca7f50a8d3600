// One line per family: its launchers join the op table.
#pragma once
#include "core/table.h"

namespace anneal::cuda {

void registerUnary(OpTable& t);
void registerBinary(OpTable& t);      // functions and comparisons of two
void registerMemory(OpTable& t);      // fill, cast, copy, where
void registerStrided(OpTable& t);     // strided, layout
void registerReduce(OpTable& t);      // reduce and their gradients, argExtreme, topK, gather
void registerSoftmax(OpTable& t);     // softmax, logSoftmax
void registerNorm(OpTable& t);        // layerNorm, rmsNorm, groupNorm, batchNorm
void registerLoss(OpTable& t);        // cross-entropy and the elementwise losses
void registerIndex(OpTable& t);       // gather, embedding, their gradients, topK
void registerRandom(OpTable& t);      // words, uniform, normal, integers, permutation
void registerDropout(OpTable& t);     // dropout, fused bias
void registerMatmul(OpTable& t);
void registerAttention(OpTable& t);
void registerConv(OpTable& t);
void registerPool(OpTable& t);
void registerRecurrent(OpTable& t);  // time steps of LSTM, GRU, RNN
void registerOptim(OpTable& t);       // step state, norm, multi-tensor updates

inline void registerKernels(OpTable& t) {
  registerUnary(t);
  registerBinary(t);
  registerMemory(t);
  registerStrided(t);
  registerIndex(t);
  registerRandom(t);
  registerDropout(t);
  registerMatmul(t);
  registerAttention(t);
  registerConv(t);
  registerReduce(t);
  registerSoftmax(t);
  registerNorm(t);
  registerLoss(t);
  registerPool(t);
  registerRecurrent(t);
  registerOptim(t);
}

}  // namespace anneal::cuda
