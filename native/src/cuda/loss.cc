// Launches the elementwise losses, the means of losses and relu's gradient with column sums (native/cuda/loss.cu).
#include <algorithm>

#include "cuda/register.h"
#include "cuda/launch.h"

namespace anneal::cuda {
namespace {

/** inputs from `at`: x, target, weight?, weight of positives?, each of x's size. attr: p. */
struct Elements {
  int64_t n, per;
  uint32_t blocks;
  const void *x, *t;
  const float *weight, *positive;
  float p;
  Elements(const Call& c, int at)
      : n(c.in[at].n), x(c.in[at].data), t(c.in[at + 1].data), weight(input<float>(c, at + 2)), positive(input<float>(c, at + 3)),
        p(static_cast<float>(c.attr[0])) {
    require(c.in[at + 1].n == n && c.in[at + 1].dtype == c.in[at].dtype, "loss: target");
    for (int i = 2; i < 4; ++i) require(!c.has(at + i) || (c.in[at + i].n == n && c.in[at + i].dtype == DType::f32), "loss: weight");
    // Depends on n alone, so the sum does.
    constexpr int64_t kUnit = 4096, kBlocks = 1024;
    per = std::max<int64_t>(1, (n + kUnit * kBlocks - 1) / (kUnit * kBlocks)) * kUnit;
    blocks = blocksFor(n, per);
  }
};

/** out: the sum over elements. */
void lossSum(const Call& c) {
  const Elements e(c, 0);
  require(c.out[0].n == 1 && c.out[0].dtype == DType::f32, "loss: output");
  float* partials = static_cast<float*>(gpu().scratch((e.blocks + 1) * int64_t{4}, 0));
  gpu().launch(Plan{kernelName(c, c.in[0].dtype), {e.blocks}, {kThreads}, 0, bytesOf(c)}, e.x, e.t, e.weight, e.positive, e.p, partials, e.n, e.per);
  gpu().launch(Plan{"loss_finish_f32", {1}, {kThreads}, 0, 4.0 * e.blocks}, static_cast<const float*>(partials), static_cast<int64_t>(e.blocks),
               c.out[0].as<float>(), static_cast<float*>(nullptr));
}

/** in: gradient of the sum, then as above; out: gradients of x and of the target, either absent. */
void lossGrad(const Call& c) {
  const Elements e(c, 1);
  require(c.in[0].n == 1 && c.in[0].dtype == DType::f32, "loss.grad: gradient");
  for (int k = 0; k < 2; ++k) require(!c.hasOut(k) || (c.out[k].n == e.n && c.out[k].dtype == c.in[1].dtype), "loss.grad: output");
  void *dx = c.hasOut(0) ? c.out[0].data : nullptr, *dt = c.hasOut(1) ? c.out[1].data : nullptr;
  gpu().launch(Plan{kernelName(c, c.in[1].dtype), {e.blocks}, {kThreads}, 0, bytesOf(c)}, c.in[0].as<float>(), e.x, e.t, e.weight, e.positive, e.p, dx,
               dt, e.n, e.per);
}

/** As native/cuda/loss.cu's. attr: terms, weights, counts (where they are host numbers). */
struct Terms {
  const float *sum[4] = {}, *count[4] = {};
  float weight[4] = {}, number[4] = {};
};
int termsOf(const Call& c) {
  const int n = static_cast<int>(c.integer(0));
  require(n >= 1 && n <= 4 && c.nAttr == 1 + 2 * n, "loss.mean: attributes");
  for (int i = 0; i < c.nIn; ++i) require(!c.has(i) || (c.in[i].n == 1 && c.in[i].dtype == DType::f32), "loss.mean: scalars");
  return n;
}
Terms terms(const Call& c, int n) {
  Terms t;
  for (int i = 0; i < n; ++i) {
    t.weight[i] = static_cast<float>(c.attr[1 + i]);
    t.number[i] = static_cast<float>(c.attr[1 + n + i]);
  }
  return t;
}

/** out = sum over terms of weight sum / count. in: sum, count of each term. */
void mean(const Call& c) {
  const int n = termsOf(c);
  require(c.nIn == 2 * n, "loss.mean: inputs");
  Terms t = terms(c, n);
  for (int i = 0; i < n; ++i) t.sum[i] = c.in[2 * i].as<float>(), t.count[i] = input<float>(c, 2 * i + 1);
  gpu().launch(Plan{"loss_mean_f32", {1}, {1}, 0, bytesOf(c)}, t, n, c.out[0].as<float>());
}

/** out[i] = g weight / count, 0 for a count of 0. in: g, the counts. */
void meanGrad(const Call& c) {
  const int n = termsOf(c);
  require(c.nIn == 1 + n, "loss.mean.grad: inputs");
  Terms t = terms(c, n);
  struct Outputs { float* at[4]; } out{};
  for (int i = 0; i < n; ++i) {
    t.count[i] = input<float>(c, 1 + i);
    if (c.hasOut(i)) out.at[i] = c.out[i].as<float>();
  }
  gpu().launch(Plan{"loss_mean_grad_f32", {1}, {1}, 0, bytesOf(c)}, c.in[0].as<float>(), t, n, out);
}

/** in: g, y; out: masked, sums; attr: rows, columns, add to the sums. */
void reluGradSum(const Call& c) {
  const int64_t rows = c.integer(0), n = c.integer(1);
  const DType t = c.in[0].dtype;
  require(c.in[0].n == rows * n && c.in[1].n == rows * n && c.out[0].n == rows * n && c.out[1].n == n, "relu.gradSum: sizes");
  require(c.in[1].dtype == t && c.out[0].dtype == t && c.out[1].dtype == DType::f32, "relu.gradSum: dtypes");
  if (n == 0) return;
  const int64_t tiles = (n + 32 * elementsPerPack(t) - 1) / (32 * elementsPerPack(t));
  // Partial sums are a small part of the traffic from 128 rows on; a few columns need more chunks to fill a GPU.
  const int64_t chunk = std::max<int64_t>({128, (rows * tiles + 2047) / 2048, (rows + 32767) / 32768}), chunks = (rows + chunk - 1) / chunk;
  float* partials = static_cast<float*>(gpu().scratch(chunks * n * 4 + 4, 0));
  gpu().launch(Plan{std::string("relu_gradSum_") + suffix(t), {static_cast<uint32_t>(tiles), static_cast<uint32_t>(chunks)}, {kThreads}, 0, bytesOf(c)},
               c.in[0].data, c.in[1].data, c.out[0].data, partials, rows, n, chunk);
  gpu().launch(Plan{"relu_gradSum_finish_f32", {blocksFor(n, 32)}, {kThreads}, 0, 4.0 * static_cast<double>((chunks + 1) * n)},
               static_cast<const float*>(partials), chunks, n, c.out[1].as<float>(), static_cast<int>(c.flag(2)));
}

#define ANNEAL_FN inline
template <class A> A mexp(A x);
template <class A> A mlog(A x);
template <class A> A msigmoid(A x);
template <class A> A expNegative(A x);
#include "ops/losses.h"

}  // namespace

void registerCrossEntropy(OpTable& t);

void registerLoss(OpTable& t) {
#define ANNEAL_ROW(name, F) \
  t.cuda(#name, lossSum);   \
  t.cuda(#name ".grad", lossGrad);
  ANNEAL_LOSSES(ANNEAL_ROW)
#undef ANNEAL_ROW
  t.cuda("loss.mean", mean);
  t.cuda("loss.mean.grad", meanGrad);
  t.cuda("relu.gradSum", reluGradSum);
  registerCrossEntropy(t);
}

}  // namespace anneal::cuda
