// The kernels of this instruction set: one line per family.
#include "cpu/kernel.h"

ANNEAL_KERNELS_BEGIN

void registerElementwise(OpTable& t);
void registerMemory(OpTable& t);
void registerMatmul(OpTable& t);
void registerAttention(OpTable& t);
void registerReduce(OpTable& t);
void registerReduceGradients(OpTable& t);
void registerSoftmax(OpTable& t);
void registerNorm(OpTable& t);
void registerChannelNorm(OpTable& t);
void registerPermute(OpTable& t);
void registerGather(OpTable& t);
void registerTopK(OpTable& t);
void registerCrossEntropy(OpTable& t);
void registerLoss(OpTable& t);
void registerLayout(OpTable& t);
void registerConv(OpTable& t);
void registerPool(OpTable& t);
void registerRecurrent(OpTable& t);
void registerOptim(OpTable& t);
void registerRandom(OpTable& t);
void registerDropout(OpTable& t);
void registerPeak(OpTable& t);

void registerKernels(OpTable& t) {
  registerElementwise(t);
  registerMemory(t);
  registerMatmul(t);
  registerAttention(t);
  registerReduce(t);
  registerReduceGradients(t);
  registerSoftmax(t);
  registerNorm(t);
  registerChannelNorm(t);
  registerPermute(t);
  registerGather(t);
  registerTopK(t);
  registerCrossEntropy(t);
  registerLoss(t);
  registerLayout(t);
  registerConv(t);
  registerPool(t);
  registerRecurrent(t);
  registerOptim(t);
  registerRandom(t);
  registerDropout(t);
  registerPeak(t);
}

ANNEAL_KERNELS_END
