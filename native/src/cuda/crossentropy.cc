// Launches cross-entropy (native/cuda/crossentropy.cu).
#include <cstdio>

#include "cuda/rows.h"

namespace anneal::cuda {
namespace {

/** As native/cuda/crossentropy.cu's. */
struct Logits {
  const void* x;
  const int32_t* hard;
  const void* soft;
  const float *weight, *total;
  int64_t rows, n;
  float keep, spread;
  int32_t ignore;
  int stride() const { return hard ? 2 : 3; }
  bool wide() const { return n > kWarpRow; }
  uint32_t blocks() const { return blocksFor(rows, wide() ? 1 : kThreads / 32); }
};

/** inputs from `at`: logits, target, weight?; attr: rows, classes, label smoothing, ignored index. */
Logits logits(const Call& c, int at) {
  const View &x = c.in[at], &target = c.in[at + 1];
  const bool indices = target.dtype == DType::i32;
  Logits l{x.data, nullptr, nullptr, input<float>(c, at + 2), nullptr, c.integer(0), c.integer(1), static_cast<float>(1 - c.attr[2]),
           static_cast<float>(c.attr[2] / static_cast<double>(c.integer(1))), static_cast<int32_t>(c.integer(3))};
  require(x.n == l.rows * l.n && target.n == (indices ? l.rows : x.n), "crossEntropy: sizes");
  require(indices || target.dtype == x.dtype, "crossEntropy: target dtype");
  require(!c.has(at + 2) || (c.in[at + 2].n == l.n && c.in[at + 2].dtype == DType::f32), "crossEntropy: weight");
  if (indices) l.hard = target.as<int32_t>();
  else l.soft = target.data;
  return l;
}

/** The kernel reports classes as the code, target and ignored index in `a`, the row in `b`. */
std::string describe(const Trouble& t) {
  char text[160];
  std::snprintf(text, sizeof text, "data: target %d is outside [0, %lld) at row %lld, and is not the ignored index %d", static_cast<int32_t>(t.a),
                static_cast<long long>(t.code), static_cast<long long>(t.b), static_cast<int32_t>(t.a >> 32));
  return text;
}

std::string kernel(const Logits& l, const char* what, DType t) {
  return std::string("crossEntropy_") + (l.hard ? "hard" : "soft") + what + "_" + suffix(t);
}

/** in: logits, target, weight; out: sum, count (the weights of the rows that are not ignored), statistics per row. */
void crossEntropy(const Call& c) {
  const Logits l = logits(c, 0);
  require(c.out[0].n == 1 && c.out[1].n == 1 && c.out[2].n == l.rows * l.stride(), "crossEntropy: outputs");
  for (int i = 0; i < 3; ++i) require(c.out[i].dtype == DType::f32, "crossEntropy: dtypes");
  const int64_t blocks = l.blocks();
  float* partials = static_cast<float*>(gpu().scratch(2 * blocks * 4 + 4, 0));
  const uint32_t call = gpu().watch(c, describe);
  gpu().launch(Plan{kernel(l, "", c.in[0].dtype), {l.blocks()}, {kThreads}, 0, bytesOf(c)}, l, c.out[2].as<float>(), partials,
               static_cast<int>(l.wide()), gpu().trouble(), call);
  gpu().launch(Plan{"loss_finish_f32", {2}, {kThreads}, 0, 8.0 * static_cast<double>(blocks)}, static_cast<const float*>(partials), blocks,
               c.out[0].as<float>(), c.out[1].as<float>());
}

/** in: gradient of the sum, logits, target, weight, statistics; out: gradient of the logits, which may be written over them. */
void crossEntropyGrad(const Call& c) {
  Logits l = logits(c, 1);
  require(c.in[0].n == 1 && c.in[0].dtype == DType::f32 && c.in[4].n == l.rows * l.stride() && c.out[0].n == c.in[1].n && c.out[0].dtype == c.in[1].dtype,
          "crossEntropy.grad: sizes");
  if (l.hard && l.weight && l.spread != 0) {
    float* total = static_cast<float*>(gpu().scratch(4, 0));
    gpu().launch(Plan{"crossEntropy_total_f32", {1}, {kThreads}, 0, 4.0 * static_cast<double>(l.n)}, l.weight, l.n, total);
    l.total = total;
  }
  const uint32_t call = gpu().watch(c, describe);
  gpu().launch(Plan{kernel(l, "_grad", c.in[1].dtype), {l.blocks()}, {kThreads}, 0, bytesOf(c)}, l, c.in[0].as<float>(), c.in[4].as<float>(),
               c.out[0].data, static_cast<int>(l.wide()), gpu().trouble(), call);
}

/** in: gradient of the sum, logits, target, weight, statistics; out: gradient of the target distribution. */
void targetGrad(const Call& c) {
  const Logits l = logits(c, 1);
  require(c.in[0].n == 1 && c.in[0].dtype == DType::f32 && c.in[4].n == l.rows * l.stride() && c.out[0].n == c.in[1].n && c.out[0].dtype == c.in[1].dtype &&
              l.soft, "crossEntropy.target: sizes");
  gpu().launch(Plan{std::string("crossEntropy_target_") + suffix(c.in[1].dtype), {l.blocks()}, {kThreads}, 0, bytesOf(c) - bytesOf(c.in[2])}, l,
               c.in[0].as<float>(), c.in[4].as<float>(), c.out[0].data, static_cast<int>(l.wide()));
}

}  // namespace

void registerCrossEntropy(OpTable& t) {
  t.cuda("crossEntropy", crossEntropy);
  t.cuda("crossEntropy.grad", crossEntropyGrad);
  t.cuda("crossEntropy.target", targetGrad);
}

}  // namespace anneal::cuda
