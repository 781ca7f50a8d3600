// Launches dropout and the fused bias (native/cuda/dropout.cu).
#include "cuda/draw.h"
#include "cuda/register.h"
#include "ops/dropout.h"
#include "ops/walk.h"

namespace anneal::cuda {
namespace {

/** attr after the draw: threshold, scale. */
Mask maskOf(const Call& c) {
  return {drawOf(c), static_cast<uint32_t>(c.attr[kDrawAttributes]), static_cast<float>(c.attr[kDrawAttributes + 1])};
}

Plan plan(const Call& c, std::string name) {
  return {std::move(name), {blocksFor(c.out[0].n, int64_t{kThreads} * elementsPerPack(c.in[0].dtype))}, {kThreads}, 0, bytesOf(c)};
}
const void* optional(const Call& c, int i) { return c.has(i) ? c.in[i].data : nullptr; }

/** in: x (or its gradient), accumulated? (may be the output); out: dropped. */
void dropout(const Call& c) {
  require(c.in[0].n == c.out[0].n && (!c.has(1) || c.in[1].n == c.out[0].n), "dropout: sizes");
  gpu().launch(plan(c, kernelName(c, c.in[0].dtype)), c.in[0].data, optional(c, 1), c.out[0].data, c.out[0].n, maskOf(c));
}

/** Whole channels. attr after the rate: N, C, H W, channelsLast. */
void dropout2d(const Call& c) {
  const double* shape = c.attr + kDrawAttributes + 2;
  const int64_t samples = static_cast<int64_t>(shape[0]), channels = static_cast<int64_t>(shape[1]), area = static_cast<int64_t>(shape[2]);
  const bool last = shape[3] != 0;
  require(c.in[0].n == samples * channels * area && c.out[0].n == c.in[0].n, "dropout2d: sizes");
  Walk<1> w{};
  w.rank = 3;
  const int64_t sizes[] = {samples, last ? area : channels, last ? channels : area}, strides[] = {channels, last ? 0 : 1, last ? 1 : 0};
  for (int d = 0; d < 3; ++d) {
    w.size[d] = sizes[d];
    w.stride[0][d] = strides[d];
  }
  prepare(w);
  gpu().launch(plan(c, kernelName(c, c.in[0].dtype)), c.in[0].data, c.out[0].data, maskOf(c), w);
}

// ---- bias, activation, dropout, residual ------------------------------------------------------------------------------------

/** attr: draw, rate, rows, width, activation. */
struct Fused {
  int64_t rows, width;
  int activation;
  Mask mask;
  explicit Fused(const Call& c) : rows(c.integer(7)), width(c.integer(8)), activation(static_cast<int>(c.integer(9))), mask(maskOf(c)) {
    require(c.nAttr >= 10 && rows >= 0 && width >= 0 && activation >= 0 && activation < 4, "fusedBias: attributes");
  }
  std::string kernel(const char* op, DType t) const {
    constexpr const char* names[] = {"none", "relu", "gelu", "geluTanh"};
    return std::string(op) + "_" + names[activation] + "_" + suffix(t);
  }
};

/** in: x, bias?, residual?; out: y. */
void fusedBias(const Call& c) {
  const Fused f(c);
  require(c.in[0].n == f.rows * f.width && c.out[0].n == c.in[0].n && (!c.has(1) || c.in[1].n == f.width) && (!c.has(2) || c.in[2].n == c.in[0].n),
          "fusedBias: sizes");
  Walk<1> columns{};
  columns.rank = 2;
  columns.size[0] = f.rows;
  columns.size[1] = f.width;
  columns.stride[0][1] = 1;
  prepare(columns);
  gpu().launch(plan(c, f.kernel("fusedBias", c.in[0].dtype)), c.in[0].data, optional(c, 1), optional(c, 2), c.out[0].data, columns, f.mask);
}

/**
 * in: g, x?, bias?, accumulated dbias?; out: dx?, dbias?, partials [chunks, width]; attr: as forward, then rows per chunk.
 * dx = act'(x + bias) mask g; dbias = column sums of dx, of fixed chunks of rows and then over the chunks in order.
 */
void fusedBiasGrad(const Call& c) {
  const Fused f(c);
  const int64_t n = f.rows * f.width, perChunk = c.integer(10), chunks = perChunk > 0 ? (f.rows + perChunk - 1) / perChunk : 0;
  require(perChunk > 0 && c.in[0].n == n && (!c.has(1) || c.in[1].n == n) && (!c.has(2) || c.in[2].n == f.width) && (c.has(1) || f.activation == 0),
          "fusedBias.grad: sizes");
  require((!c.hasOut(0) || c.out[0].n == n) && (!c.hasOut(1) || (c.out[1].n == f.width && c.hasOut(2) && c.out[2].n >= chunks * f.width)),
          "fusedBias.grad: outputs");
  require(chunks < 65536, "fusedBias.grad: chunks");
  const DType t = c.in[0].dtype;
  const int64_t N = elementsPerPack(t);
  void *dx = c.hasOut(0) ? c.out[0].data : nullptr, *partials = c.hasOut(1) ? c.out[2].data : nullptr;
  const bool active = f.activation != 0;
  const double sums = partials ? 4.0 * static_cast<double>(chunks * f.width) : 0;
  const double bytes = bytesOf(c.in[0]) + (active ? bytesOf(c.in[1]) + (c.has(2) ? bytesOf(c.in[2]) : 0) : 0) + (dx ? bytesOf(c.out[0]) : 0) + sums;
  const Plan plan{f.kernel("fusedBias_grad", t), {blocksFor(f.width, kBiasColumns * N), static_cast<uint32_t>(chunks)}, {kBiasColumns * kBiasRows}, 0, bytes};
  gpu().launch(plan, c.in[0].data, active ? optional(c, 1) : nullptr, active ? optional(c, 2) : nullptr, dx, partials, f.rows, f.width, perChunk, f.mask);
  if (!partials) return;
  const Plan finish{"fusedBias_finish", {blocksFor(f.width, kThreads)}, {kThreads}, 0, sums + bytesOf(c.out[1]) * (c.has(3) ? 2 : 1)};
  gpu().launch(finish, partials, optional(c, 3), c.out[1].data, f.width, chunks);
}

}  // namespace

void registerDropout(OpTable& t) {
  t.cuda("dropout", dropout);
  t.cuda("dropout2d", dropout2d);
  t.cuda("fusedBias", fusedBias);
  t.cuda("fusedBias.grad", fusedBiasGrad);
}

}  // namespace anneal::cuda
