#include "cuda/gemm_plan.h"

#include <algorithm>

namespace anneal::cuda {
namespace {

constexpr int64_t kStep = 32;  // of the tensor-core kernels; a multiple of the f32 kernels'
constexpr int64_t kLeastPart = 256;  // of k
constexpr int64_t kMostParts = 64;
constexpr int64_t kMostBatches = 65535;  // a grid's y

int64_t tilesOf(const Gemm& g, int rows, int columns) { return (g.m + rows - 1) / rows * ((g.n + columns - 1) / columns); }

}  // namespace

Tiling tilingOf(const Gemm& g, DType t, bool smallOnly) {
  const Tiling floats[] = {{"big", 128, 128, 256}, {"small", 64, 64, 64}};
  const Tiling halves[] = {{"big", 128, 128, 128}, {"middle", 128, 64, 128}, {"small", 64, 64, 128}};
  const Tiling* sizes = t == DType::f32 ? floats : halves;
  const int count = t == DType::f32 ? 2 : 3;
  const int64_t want = gpu().processors();
  for (int i = smallOnly ? count - 1 : 0; i < count - 1; ++i) {
    // A long k makes up for few tiles: it is cut.
    const int64_t parts = std::max<int64_t>(1, g.k / (4 * kLeastPart));
    if (g.m > sizes[i].rows / 2 && g.n > sizes[i].columns / 2 && tilesOf(g, sizes[i].rows, sizes[i].columns) * g.batch * parts >= want) return sizes[i];
  }
  return sizes[count - 1];
}

void cutAlongK(Gemm& g, const Tiling& tiling) {
  const int64_t tiles = tilesOf(g, tiling.rows, tiling.columns) * g.batch, want = gpu().processors();
  int64_t parts = tiles > 0 && tiles < want ? std::min({want / tiles, g.k / kLeastPart, kMostParts}) : 1;
  parts = std::max<int64_t>(parts, 1);
  g.perSplit = std::max(kStep, (g.k + parts - 1) / parts);
  g.perSplit = (g.perSplit + kStep - 1) / kStep * kStep;
  g.splits = std::max<int64_t>(1, (g.k + g.perSplit - 1) / g.perSplit);
  g.partials = g.splits > 1 ? static_cast<float*>(gpu().scratch(g.splits * g.batch * g.m * g.n * 4, kParts)) : nullptr;
}

bool aligned(const void* p, int64_t ld, int64_t stride, size_t size, int64_t unit) {
  const int64_t bytes = static_cast<int64_t>(size);
  return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p)) % unit == 0 && ld * bytes % unit == 0 && stride * bytes % unit == 0;
}

int endsOf(const Gemm& g, DType t) {
  return (g.bias ? kEndBias : 0) | (g.relu ? kEndRelu : 0) | (g.extra ? (g.multiply ? kEndMultiply : kEndAdd) : 0) |
         (g.accumulate ? kEndAccumulate : 0) | (g.wide && t != DType::f32 ? kEndWide : 0);
}

void alignResult(Gemm& g, DType t) {
  const size_t size = g.wide ? 4 : sizeOf(t);
  g.alignedC = aligned(g.c, g.ldc, g.strideC, size) && aligned(g.extra, g.ldc, g.strideC, size) && aligned(g.bias, 0, g.strideBias, 4);
  g.alignedPartials = g.n % 4 == 0;
}

void finishParts(const Gemm& g, DType t) {
  const int64_t n = g.batch * g.m * g.n;
  const double moved = static_cast<double>(n) * (4.0 * static_cast<double>(g.splits) + static_cast<double>(g.wide ? 4 : sizeOf(t)));
  gpu().launch(Plan{kernelName("matmul.finish", g.wide ? DType::f32 : t), {blocksFor(n, kThreads)}, {kThreads}, 0, moved}, g);
}

void runGemm(const Gemm& g, const std::string& kernel, const Tiling& tiling, DType t, double bytes) {
  const int64_t tiles = tilesOf(g, tiling.rows, tiling.columns);
  require(tiles < (int64_t{1} << 31), "matrix product: tiles");
  const double flops = 2.0 * static_cast<double>(g.m) * static_cast<double>(g.n) * static_cast<double>(g.k);
  const size_t in = sizeOf(t), out = g.wide ? 4 : in;
  for (int64_t z = 0; z < g.batch; z += kMostBatches) {
    Gemm part = g;
    part.batch = std::min(kMostBatches, g.batch - z);
    part.a = static_cast<const char*>(g.a) + z * g.strideA * static_cast<int64_t>(in);
    part.b = static_cast<const char*>(g.b) + z * g.strideB * static_cast<int64_t>(in);
    part.c = static_cast<char*>(g.c) + z * g.strideC * static_cast<int64_t>(out);
    if (g.bias) part.bias = g.bias + z * g.strideBias;
    if (g.extra) part.extra = static_cast<const char*>(g.extra) + z * g.strideC * static_cast<int64_t>(out);
    const double share = static_cast<double>(part.batch) / static_cast<double>(g.batch);
    const Dim3 grid{static_cast<uint32_t>(tiles), static_cast<uint32_t>(part.batch), static_cast<uint32_t>(g.splits)};
    gpu().launch(Plan{kernel, grid, {tiling.threads}, 0, bytes * share, flops * static_cast<double>(part.batch)}, part);
    if (g.partials) finishParts(part, t);
  }
}

}  // namespace anneal::cuda
