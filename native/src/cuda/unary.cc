// Launches unary functions and their gradients (native/cuda/unary.cu).
#include "cuda/launch.h"
#include "cuda/register.h"

namespace anneal::cuda {
namespace {

Plan plan(const Call& c) {
  const DType t = c.in[0].dtype;
  const int64_t n = c.out[0].n;
  return {kernelName(c, t), {blocksFor(n, int64_t{kThreads} * elementsPerPack(t))}, {kThreads}, 0, bytesOf(c)};
}

/** out = f(x). attr: p, q. */
void unary(const Call& c) {
  gpu().launch(plan(c), c.in[0].data, c.out[0].data, c.out[0].n, static_cast<float>(c.attr[0]), static_cast<float>(c.attr[1]));
}

/** out = g f'(saved) (+ accumulated). */
void unaryGrad(const Call& c) {
  const void *s = c.has(1) ? c.in[1].data : nullptr, *acc = c.has(2) ? c.in[2].data : nullptr;
  gpu().launch(plan(c), c.in[0].data, s, acc, c.out[0].data, c.out[0].n, static_cast<float>(c.attr[0]), static_cast<float>(c.attr[1]));
}

/** Function and derivative at once: out 0 = f(x), which may lie over x, out 1 = f'(x). */
void unaryWithGrad(const Call& c) {
  require(c.in[0].n == c.out[0].n && c.in[0].n == c.out[1].n, "unary with gradient: sizes");
  gpu().launch(plan(c), c.in[0].data, c.out[0].data, c.out[1].data, c.out[0].n);
}

#define ANNEAL_FN inline
#include "ops/functors.h"

}  // namespace

void registerUnary(OpTable& t) {
#define ANNEAL_ROW(name, F) \
  t.cuda(#name, unary);     \
  t.cuda(#name ".grad", unaryGrad);
  ANNEAL_UNARY_OPS(ANNEAL_ROW)
#undef ANNEAL_ROW
  t.cuda("gelu.both", unaryWithGrad);
  t.cuda("geluTanh.both", unaryWithGrad);
}

}  // namespace anneal::cuda
