// Launches convolutions (native/cuda/conv*.cu): attributes and operands as the CPU's (ops/conv_shape.h).
#include "ops/conv_shape.h"

#include <algorithm>

#include "cuda/gemm_plan.h"
#include "cuda/register.h"

namespace anneal::cuda {
namespace {

/** Scratch slots beside the product's own parts. */
constexpr int kOrdered = 1;

int32_t narrow(int64_t n) {
  require(n >= 0 && n < (int64_t{1} << 31), "conv2d: a dimension of 2^31 or more");
  return static_cast<int32_t>(n);
}

/** Windows over images of h x w x pitch, of which a group reads `channels`, placed on a grid of rows x columns. */
Window windowOf(const ConvShape& s, int64_t h, int64_t w, int64_t pitch, int64_t channels, int64_t rows, int64_t columns) {
  narrow(s.n * s.oh * s.ow), narrow(s.n * s.h * s.w), narrow(s.kh * s.kw * channels);
  narrow(h * s.sh + s.ph + s.kh * s.dh), narrow(w * s.sw + s.pw + s.kw * s.dw), narrow(rows * s.sh + s.ph), narrow(columns * s.sw + s.pw);
  return {narrow(h), narrow(w), narrow(pitch), narrow(channels), narrow(s.kh), narrow(s.kw), narrow(rows), narrow(columns),
          narrow(s.sh), narrow(s.sw), narrow(s.ph), narrow(s.pw), narrow(s.dh), narrow(s.dw)};
}

/** Matrices [rows, columns] of a batch to be turned, and what a block takes of them: whole short sides, and small matrices together. */
struct Turning {
  int64_t batch, rows, columns;
  int32_t height, width, each = 1;

  Turning(int64_t b, int64_t r, int64_t c) : batch(b), rows(r), columns(c) {
    constexpr int64_t kTile = 1024, kShort = 64;
    const int64_t shorter = std::min(r, c), longer = std::max(r, c);
    int64_t brief = std::min(shorter, kShort), along = std::min(longer, std::max<int64_t>(32, kTile / brief / 32 * 32));
    if (shorter > kShort) brief = 32, along = 64;  // 64 elements of 16 bits are a whole line
    height = static_cast<int32_t>(r < c ? brief : along);
    width = static_cast<int32_t>(r < c ? along : brief);
    // As many matrices as begin on a sector, or a half.
    if (height == r && width == c)
      while (2 * each * r * c <= kTile) each *= 2;
  }
  Plan plan(std::string kernel, double bytes) const {
    const int64_t blocks = (batch + each - 1) / each * ((rows + height - 1) / height) * ((columns + width - 1) / width);
    require(blocks < (int64_t{1} << 31), "conv2d: weights");
    return {std::move(kernel), {static_cast<uint32_t>(blocks)}, {kThreads}, 0, bytes};
  }
};

/** The weights in the order of the sums: [o][kh][kw][c], or turned [group][c][kh][kw][o]. */
const void* ordered(const ConvShape& s, const View& w, bool turned) {
  const int64_t area = s.kh * s.kw, channels = s.c / s.groups, outs = s.o / s.groups;
  if (w.n == 0 || (area == 1 && !turned)) return w.data;
  void* to = gpu().scratch(w.n * static_cast<int64_t>(sizeOf(w.dtype)), kOrdered);
  const Turning t = turned ? Turning(s.groups, outs, channels * area) : Turning(s.o, channels, area);
  const void* from = w.data;
  gpu().launch(t.plan(kernelName("conv2d.order", w.dtype), 2 * bytesOf(w)), from, to, t);
  return to;
}

void launchTiles(const Call& c, const Convolution& v, DType t, const Tiling& tiling) {
  const Gemm& g = v.g;
  require(g.batch <= 65535, "conv2d: groups");
  const int64_t tiles = (g.m + tiling.rows - 1) / tiling.rows * ((g.n + tiling.columns - 1) / tiling.columns);
  require(tiles < (int64_t{1} << 31), "conv2d: tiles");
  const Dim3 grid{static_cast<uint32_t>(tiles), static_cast<uint32_t>(g.batch), static_cast<uint32_t>(g.splits)};
  std::string name = c.op->name;
  if (const auto dot = name.find('.'); dot != std::string::npos) name[dot] = '_';
  const double flops = 2.0 * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k) * static_cast<double>(g.batch);
  gpu().launch(Plan{name + "_" + tiling.size + "_" + suffix(t), grid, {tiling.threads}, 0, bytesOf(c), flops}, v);
}

/** Forward, and the gradient of the input: pixels by weights, out [pixels, columns of all groups]. */
void pixelsByWeights(const Call& c, Convolution v, const ConvShape& s, int64_t inner) {
  const DType t = c.in[0].dtype;
  Gemm& g = v.g;
  g.k = s.kh * s.kw * inner, g.batch = s.groups;
  g.lda = v.w.pitch, g.ldb = g.k, g.ldc = g.n * s.groups;
  g.strideA = inner, g.strideB = g.n * g.k, g.strideC = g.strideBias = g.n;
  g.a = c.in[0].data, g.c = c.out[0].data;
  g.alignedA = aligned(g.a, g.lda, inner, sizeOf(t));  // a chunk stays within a place of the window
  g.alignedB = aligned(g.b, g.ldb, g.strideB, sizeOf(t));
  alignResult(g, t);
  const Tiling tiling = tilingOf(g, t, false);
  cutAlongK(g, tiling);
  launchTiles(c, v, t, tiling);
  if (g.partials) finishParts(g, t);
}

/** y = relu?(x * w + bias). in: x, w, bias?; flag: relu. */
void forward(const Call& c) {
  const ConvShape s(c);
  require(c.in[0].n == s.inputs() && c.in[1].n == s.weights() && c.out[0].n == s.outputs(), "conv2d: sizes");
  require(c.in[1].dtype == c.in[0].dtype && c.out[0].dtype == c.in[0].dtype && (!c.has(2) || (c.in[2].n == s.o && c.in[2].dtype == DType::f32)), "conv2d: dtypes");
  if (s.outputs() == 0) return;
  Convolution v{};
  v.w = windowOf(s, s.h, s.w, s.c, s.c / s.groups, s.oh, s.ow);
  v.g.m = s.n * s.oh * s.ow, v.g.n = s.o / s.groups;
  v.g.bias = input<float>(c, 2), v.g.relu = s.flag;
  v.g.b = ordered(s, c.in[1], false);
  pixelsByWeights(c, v, s, s.c / s.groups);
}

/** in: gradient of y, w; out: dx. */
void gradInput(const Call& c) {
  const ConvShape s(c);
  require(c.in[0].n == s.outputs() && c.in[1].n == s.weights() && c.out[0].n == s.inputs(), "conv2d.gradInput: sizes");
  require(c.in[1].dtype == c.in[0].dtype && c.out[0].dtype == c.in[0].dtype, "conv2d.gradInput: dtypes");
  if (s.inputs() == 0) return;
  Convolution v{};
  v.w = windowOf(s, s.oh, s.ow, s.o, s.o / s.groups, s.h, s.w);
  v.g.m = s.n * s.h * s.w, v.g.n = s.c / s.groups;
  v.g.b = ordered(s, c.in[1], true);
  pixelsByWeights(c, v, s, s.o / s.groups);
}

/** in: gradient of y, x; out: dw, f32; flag: add to it. */
void gradWeight(const Call& c) {
  const ConvShape s(c);
  const DType t = c.in[0].dtype;
  require(c.in[0].n == s.outputs() && c.in[1].n == s.inputs() && c.out[0].n == s.weights(), "conv2d.gradWeight: sizes");
  require(c.in[1].dtype == t && c.out[0].dtype == DType::f32, "conv2d.gradWeight: dtypes");
  if (s.weights() == 0) return;
  const int64_t channels = s.c / s.groups, area = s.kh * s.kw;
  Convolution v{};
  v.w = windowOf(s, s.h, s.w, s.c, channels, s.oh, s.ow);
  Gemm& g = v.g;
  g.m = s.o / s.groups, g.n = area * channels, g.k = s.n * s.oh * s.ow, g.batch = s.groups;
  g.lda = s.o, g.ldb = s.c, g.ldc = g.n, g.strideA = g.m, g.strideB = channels, g.strideC = g.m * g.n;
  g.a = c.in[0].data, g.b = c.in[1].data, g.wide = 1;
  g.alignedA = aligned(g.a, g.lda, g.strideA, sizeOf(t));
  g.alignedB = aligned(g.b, g.ldb, g.strideB, sizeOf(t));
  g.alignedPartials = g.n % 4 == 0;
  const Tiling tiling = tilingOf(g, t, false);
  cutAlongK(g, tiling);
  // Always through parts: the sums' order is not the weights'.
  if (!g.partials) g.partials = static_cast<float*>(gpu().scratch(c.out[0].n * 4, kParts));
  launchTiles(c, v, t, tiling);
  const int64_t n = c.out[0].n;
  const double moved = 4.0 * static_cast<double>(n) * static_cast<double>(g.splits + 1 + s.flag);
  const float* partials = g.partials;
  const Turning turning(s.o, area, channels);
  gpu().launch(turning.plan("conv2d_gradWeight_finish_f32", moved), partials, c.out[0].data, n, g.splits, static_cast<int32_t>(s.flag), turning);
}

}  // namespace

void registerConv(OpTable& t) {
  t.cuda("conv2d", forward);
  t.cuda("conv2d.gradInput", gradInput);
  t.cuda("conv2d.gradWeight", gradWeight);
}

}  // namespace anneal::cuda
