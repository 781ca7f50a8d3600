// Launches the gradients of reductions (native/cuda/reduce_grad.cu).
#include "cuda/reduce.h"

namespace anneal::cuda {
namespace {

/** As native/cuda/reduce_grad.cu's. */
struct GradFrom {
  const void *g, *saved, *prepared;
  float scale;
};

/** in: gradient and (as the rule needs) x, saved outputs, the gradient so far. out: dx. attr: scale, rank, dims, flags. */
template <bool kReads>
void gradient(const Call& c, const void* prepared = nullptr) {
  const Walk w = walkOf(c, 1);
  const DType t = c.out[0].dtype;
  require(c.in[0].n == outputsOf(w) && c.out[0].n == elementsOf(w), "reduce gradient: sizes");
  require(!kReads || (c.has(1) && c.in[1].n == elementsOf(w)) || elementsOf(w) == 0, "reduce gradient: input");
  if (elementsOf(w) == 0) return;
  const Cut cut = cutOf(w, elementsPerPack(t));
  const GradFrom from{c.in[0].data, c.has(2) ? c.in[2].data : nullptr, prepared, static_cast<float>(c.attr[0])};
  const void *x = kReads ? c.in[1].data : nullptr, *have = c.has(3) ? c.in[3].data : nullptr;
  std::string name = c.op->name;  // "sum.grad"
  name = name.substr(0, name.find('.')) + (w.rows ? "_grad_rows_" : "_grad_columns_") + suffix(t);
  const Plan plan{name, cut.grid, {kThreads}, 0, bytesOf(c)};
  if (w.rows) gpu().launch(plan, from, x, have, c.out[0].data, w, cut.chunk, cut.chunks, static_cast<int>(cut.wide));
  else gpu().launch(plan, from, x, have, c.out[0].data, w, cut.chunk, cut.logWidth);
}

/** Rules that must know something of all elements first: scratch slot 1 holds it. */
void prepared(const Call& c, const char* kernel, int stateBytes) {
  const Walk w = walkOf(c, 1);
  require(c.in[0].n == outputsOf(w) && c.out[0].n == elementsOf(w) && (c.in[1].n == elementsOf(w)), "reduce gradient: sizes");
  if (elementsOf(w) == 0) return;
  void* room = gpu().scratch(outputsOf(w) * stateBytes, 1);
  reduce(kernel, c.out[0].dtype, w, c.in[1].data, nullptr, {room, nullptr, nullptr, c.has(2) ? c.in[2].data : nullptr, 1.f, 0}, stateBytes);
  gradient<true>(c, room);
}

}  // namespace

void registerReduceGradients(OpTable& t) {
  t.cuda("sum.grad", [](const Call& c) { gradient<false>(c); });
  t.cuda("logSumExp.grad", [](const Call& c) { gradient<true>(c); });
  t.cuda("variance.grad", [](const Call& c) { gradient<true>(c); });
  t.cuda("extreme.grad", [](const Call& c) { prepared(c, "winners", 4); });
  t.cuda("prod.grad", [](const Call& c) { prepared(c, "rest", 16); });
}

}  // namespace anneal::cuda
