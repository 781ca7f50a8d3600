// Launches softmax and log-softmax (native/cuda/softmax.cu).
#include "cuda/register.h"
#include "cuda/rows.h"

namespace anneal::cuda {
namespace {

struct Shape {
  int64_t outer, n, inner;
  explicit Shape(const Call& c) : outer(c.integer(0)), n(c.integer(1)), inner(c.integer(2)) {
    require(outer >= 0 && n >= 0 && inner >= 0 && c.out[0].n == outer * n * inner, "softmax: sizes");
    for (int i = 0; i < c.nIn; ++i) require(!c.has(i) || (c.in[i].n == c.out[0].n && c.in[i].dtype == c.out[0].dtype), "softmax: operands");
  }
  bool empty() const { return outer * n * inner == 0; }
};

std::string columns(const Call& c, DType t) {
  std::string name = kernelName(c, t);
  return name.insert(name.rfind('_'), "_columns");
}

/** attr: outer, n, inner. */
void softmax(const Call& c) {
  const Shape s(c);
  const DType t = c.out[0].dtype;
  if (s.empty()) return;
  if (s.inner > 1) {
    const Plan plan{columns(c, t), {blocksFor(s.outer * s.inner, kThreads)}, {kThreads}, 0, bytesOf(c)};
    return gpu().launch(plan, c.in[0].data, c.out[0].data, s.outer, s.n, s.inner);
  }
  const RowPlan r = rowPlan(s.outer, s.n, t, 1);
  gpu().launch(Plan{kernelName(c, t), {r.blocks}, {kThreads}, r.shared, bytesOf(c)}, c.in[0].data, c.out[0].data, s.outer, s.n,
               static_cast<int>(r.wide), static_cast<int>(r.keep));
}

/** in: g, y, gradient so far?. attr: outer, n, inner. */
void gradient(const Call& c) {
  const Shape s(c);
  const DType t = c.out[0].dtype;
  if (s.empty()) return;
  const void* have = c.has(2) ? c.in[2].data : nullptr;
  if (s.inner > 1) {
    const Plan plan{columns(c, t), {blocksFor(s.outer * s.inner, kThreads)}, {kThreads}, 0, bytesOf(c)};
    return gpu().launch(plan, c.in[0].data, c.in[1].data, have, c.out[0].data, s.outer, s.n, s.inner);
  }
  const RowPlan r = rowPlan(s.outer, s.n, t, 2);
  gpu().launch(Plan{kernelName(c, t), {r.blocks}, {kThreads}, r.shared, bytesOf(c)}, c.in[0].data, c.in[1].data, have, c.out[0].data, s.outer, s.n,
               static_cast<int>(r.wide), static_cast<int>(r.keep));
}

}  // namespace

void registerSoftmax(OpTable& t) {
  t.cuda("softmax", softmax);
  t.cuda("logSoftmax", softmax);
  t.cuda("softmax.grad", gradient);
  t.cuda("logSoftmax.grad", gradient);
}

}  // namespace anneal::cuda
