// Launches layer norm and RMS norm (native/cuda/norm.cu).
#include <algorithm>

#include "cuda/register.h"
#include "cuda/rows.h"

namespace anneal::cuda {
namespace {

constexpr int kNormThreads = 512;

bool aligned(const void* p) { return (reinterpret_cast<uintptr_t>(p) & 15) == 0; }

/** in: x, gamma?, beta?. out: y, mean (layer norm only), rstd. attr: rows, n, eps. */
template <bool kRms>
void forward(const Call& c) {
  const int64_t rows = c.integer(0), n = c.integer(1);
  const DType t = c.in[0].dtype;
  require(c.in[0].n == rows * n && c.out[0].n == rows * n && c.out[2].n == rows && (kRms || c.out[1].n == rows), "norm: sizes");
  require((!c.has(1) || c.in[1].n == n) && (!c.has(2) || c.in[2].n == n), "norm: parameters");
  if (rows * n == 0) return;
  const bool wide = n > kWarpRow;
  const int64_t teams = wide ? 1 : kNormThreads / 32, row = keptBytes(n, t) * teams, parameters = (n + 3) / 4 * 32;
  const bool keep = row <= kKeptBytes, stage = (keep ? row : 0) + parameters <= kKeptBytes;
  // Blocks go through many rows, so that gamma and beta are read seldom; but every processor has some.
  const int64_t units = (rows + teams - 1) / teams, all = gpu().processors();
  const int64_t blocks = stage ? std::max(std::min(units, all), std::min((rows + 127) / 128, 2 * all)) : units;
  const int run = wide ? 1 : static_cast<int>(std::clamp<int64_t>(rows / (blocks * teams), 1, 8));
  const Plan plan{std::string("norm_") + suffix(t), {static_cast<uint32_t>(blocks)}, {kNormThreads},
                  static_cast<uint32_t>((keep ? row : 0) + (stage ? parameters : 0)), bytesOf(c)};
  gpu().launch(plan, c.in[0].data, input<float>(c, 1), input<float>(c, 2), c.out[0].data, kRms ? nullptr : c.out[1].as<float>(), c.out[2].as<float>(),
               rows, n, static_cast<float>(c.attr[2]), static_cast<int>(wide), static_cast<int>(keep), static_cast<int>(stage), run);
}

/** Sums for dgamma, and for dbeta where anyone wants it. */
int halvesOf(const Call& c) { return c.hasOut(2) ? 2 : 1; }

void finish(const Call& c, const float* partials, int64_t chunks, int64_t n) {
  const int halves = halvesOf(c);
  const Plan plan{"norm_finish_f32", {blocksFor(halves * n, 32)}, {kThreads}, 0, 4.0 * halves * static_cast<double>((chunks + 1) * n)};
  gpu().launch(plan, partials, chunks, n, halves, c.hasOut(1) ? c.out[1].as<float>() : nullptr, c.hasOut(2) ? c.out[2].as<float>() : nullptr,
               static_cast<int>(c.flag(2)), static_cast<int>(c.flag(3)));
}

struct Operands {
  const void *g, *x;
  const float *means, *rstds, *gamma;
  const void* have;
  void* dx;
};

/** In one pass, with columns in registers. The blocks depend on the shape alone, so sums do. */
void fused(const Call& c, const Operands& o, int64_t rows, int64_t n) {
  constexpr int64_t kLeastBlocks = 108, kRowsEach = 64;
  const DType t = c.in[0].dtype;
  const int64_t packs = n / elementsPerPack(t);
  const int threads = static_cast<int>(std::min<int64_t>(kThreads, (packs + 31) / 32 * 32));
  const int held = packs <= threads ? 1 : packs <= 2 * threads ? 2 : 4, together = 4 / held;
  int64_t blocks = std::min((rows + together - 1) / together, std::max(kLeastBlocks, std::min<int64_t>(1024, rows / kRowsEach)));
  const int64_t per = ((rows + blocks - 1) / blocks + together - 1) / together * together;
  blocks = (rows + per - 1) / per;
  const bool parameters = c.hasOut(1) || c.hasOut(2);
  float* partials = parameters ? static_cast<float*>(gpu().scratch(blocks * halvesOf(c) * n * 4, 0)) : nullptr;
  const Plan plan{"norm_grad" + std::to_string(held) + "_" + suffix(t), {static_cast<uint32_t>(blocks)}, {static_cast<uint32_t>(threads)}, 0, bytesOf(c)};
  gpu().launch(plan, o.g, o.x, o.means, o.rstds, o.gamma, o.have, o.dx, partials, rows, n, per, halvesOf(c));
  if (parameters) finish(c, partials, blocks, n);
}

void plain(const Call& c, const Operands& o, int64_t rows, int64_t n) {
  const DType t = c.in[0].dtype;
  // Parameters first: dx may stand where something they need stood.
  if (c.hasOut(1) || c.hasOut(2)) {
    const int64_t chunks = std::min<int64_t>((rows + 31) / 32, 128), per = (rows + chunks - 1) / chunks;
    float* partials = static_cast<float*>(gpu().scratch(chunks * halvesOf(c) * n * 4, 0));
    const Plan plan{std::string("norm_parameters_") + suffix(t), {blocksFor(n, 32), static_cast<uint32_t>(chunks)}, {kThreads}, 0,
                    bytesOf(c.in[0]) + bytesOf(c.in[1])};
    gpu().launch(plan, o.g, o.x, o.means, o.rstds, partials, rows, n, per, halvesOf(c));
    finish(c, partials, chunks, n);
  }
  if (!o.dx) return;
  const Plan plan{std::string("norm_gradPlain_") + suffix(t), {static_cast<uint32_t>(rows)}, {kThreads}, 0, bytesOf(c)};
  gpu().launch(plan, o.g, o.x, o.means, o.rstds, o.gamma, o.have, o.dx, n);
}

/** in: g, x, mean (layer norm only), rstd, gamma?, gradient of x so far?. out: dx?, dgamma?, dbeta?. attr: rows, n, add to dgamma, add to dbeta. */
template <bool kRms>
void backward(const Call& c) {
  const int64_t rows = c.integer(0), n = c.integer(1);
  require(c.in[0].n == rows * n && c.in[1].n == rows * n && c.in[3].n == rows && (kRms || c.in[2].n == rows), "norm gradient: sizes");
  require((!c.has(4) || c.in[4].n == n) && (!c.has(5) || c.in[5].n == rows * n), "norm gradient: inputs");
  require((!c.hasOut(0) || c.out[0].n == rows * n) && (!c.hasOut(1) || c.out[1].n == n) && (!c.hasOut(2) || c.out[2].n == n), "norm gradient: outputs");
  const Operands o{c.in[0].data, c.in[1].data, kRms ? nullptr : c.in[2].as<float>(), c.in[3].as<float>(), input<float>(c, 4),
                   c.has(5) ? c.in[5].data : nullptr, c.hasOut(0) ? c.out[0].data : nullptr};
  if (n == 0) return;
  if (rows == 0) return finish(c, nullptr, 0, n);
  const int64_t pack = elementsPerPack(c.in[0].dtype);
  const bool whole = n % pack == 0 && n <= 4 * kThreads * pack && aligned(o.g) && aligned(o.x) && aligned(o.gamma) && aligned(o.have) && aligned(o.dx);
  if (whole) fused(c, o, rows, n);
  else plain(c, o, rows, n);
}

}  // namespace

void registerChannelNorm(OpTable& t);

void registerNorm(OpTable& t) {
  t.cuda("layerNorm", forward<false>);
  t.cuda("rmsNorm", forward<true>);
  t.cuda("layerNorm.grad", backward<false>);
  t.cuda("rmsNorm.grad", backward<true>);
  registerChannelNorm(t);
}

}  // namespace anneal::cuda
