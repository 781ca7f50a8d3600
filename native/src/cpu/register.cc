// The kernels of this instruction set: one line per family.
#include "cpu/kernel.h"

ANNEAL_KERNELS_BEGIN

void registerElementwise(OpTable& t);
void registerMemory(OpTable& t);
void registerMatmul(OpTable& t);
void registerReduce(OpTable& t);
void registerPermute(OpTable& t);
void registerGather(OpTable& t);
void registerTopK(OpTable& t);
void registerLayout(OpTable& t);
void registerOptim(OpTable& t);

void registerKernels(OpTable& t) {
  registerElementwise(t);
  registerMemory(t);
  registerMatmul(t);
  registerReduce(t);
  registerPermute(t);
  registerGather(t);
  registerTopK(t);
  registerLayout(t);
  registerOptim(t);
}

ANNEAL_KERNELS_END
