// Launches batch norm and group norm (native/cuda/channel_norm.cu): sums by channel, vectors from them, one pass that applies those.
#include <algorithm>

#include "cuda/reduce.h"

namespace anneal::cuda {
namespace {

constexpr int kVectorBytes = 16, kSumBytes = 8;

/** attr: N, C, S, channelsLast. */
struct Layout {
  int64_t samples, channels, pixels;
  bool last;
  explicit Layout(const Call& c) : samples(c.integer(0)), channels(c.integer(1)), pixels(c.integer(2)), last(c.flag(3) || c.integer(2) == 1) {
    require(samples >= 0 && channels >= 0 && pixels >= 0, "norm: dimensions");
  }
  int64_t size() const { return samples * channels * pixels; }
  Walk byChannel() const {
    const double n = static_cast<double>(samples), ch = static_cast<double>(channels), s = static_cast<double>(pixels);
    const double lastDims[] = {n * s, ch}, lastFlags[] = {1, 0}, dims[] = {n, ch, s}, flags[] = {1, 0, 1};
    return last ? walkOf(2, lastDims, lastFlags) : walkOf(3, dims, flags);
  }
  Walk bySample() const {
    const double n = static_cast<double>(samples), ch = static_cast<double>(channels), s = static_cast<double>(pixels);
    const double lastDims[] = {n, s, ch}, lastFlags[] = {0, 1, 0}, dims[] = {n * ch, s}, flags[] = {0, 1};
    return last ? walkOf(3, lastDims, lastFlags) : walkOf(2, dims, flags);
  }
};

/** Scratch of this file: slot 1 vectors, slot 2 moments [mean, rest, m2] or sums. Slot 0 is the reduction's. */
void* vectorsOf(int64_t n) { return gpu().scratch(n * kVectorBytes, 1); }

struct MomentsOf {
  float *mean, *rest, *m2;
};
MomentsOf moments(DType t, const Walk& w, const void* x) {
  const int64_t n = outputsOf(w);
  float* room = static_cast<float*>(gpu().scratch(3 * n * 4, 2));
  const MomentsOf m{room, room + n, room + 2 * n};
  reduce("variance", t, w, x, nullptr, {m.m2, m.mean, m.rest, nullptr, 1.f, kWideOut}, 12);
  return m;
}
/** @param each outputs that share a mean */
const void* gradientSums(DType t, const Walk& w, const void* x, const void* g, const float* means, int64_t each) {
  void* room = gpu().scratch(outputsOf(w) * kSumBytes, 2);
  reduce("gradientSums", t, w, x, g, {room, nullptr, nullptr, means, 1.f, static_cast<int32_t>(each)}, kSumBytes);
  return room;
}

void apply(const Layout& l, bool perSample, DType t, const void* x, const void* g, const void* have, void* out, const void* vectors) {
  const int64_t n = l.size();
  if (n == 0) return;
  const double bytes = static_cast<double>(n) * static_cast<double>(sizeOf(t)) * (2 + (g ? 1 : 0) + (have ? 1 : 0));
  const int pack = elementsPerPack(t);
  if (!l.last) {
    const Plan plan{std::string("channelNorm_rows_") + suffix(t), {blocksFor(n, int64_t{kThreads} * pack)}, {kThreads}, 0, bytes};
    return gpu().launch(plan, x, g, have, out, vectors, perSample ? l.samples * l.channels : l.channels, l.pixels, n);
  }
  const int64_t packs = (l.channels + pack - 1) / pack, blocks = perSample ? l.samples : 1, rows = perSample ? l.pixels : l.samples * l.pixels;
  const int log = logWidthFor(packs);
  const int64_t tiles = (packs + (1 << log) - 1) >> log, deep = kThreads >> log;
  // A thread's vectors weigh as much as eight of its packs: many rows each, as long as there are blocks enough.
  const int64_t even = rows * tiles * blocks / 512 / deep * deep;
  const int64_t chunk = std::max<int64_t>((rows + 32767) / 32768, std::min(32 * deep, std::max(4 * deep, even)));
  const Plan plan{std::string("channelNorm_columns_") + suffix(t),
                  {static_cast<uint32_t>(tiles * blocks), static_cast<uint32_t>((rows + chunk - 1) / chunk)}, {kThreads}, 0, bytes};
  gpu().launch(plan, x, g, have, out, vectors, l.channels, rows, chunk, log);
}

float* output(const Call& c, int i) { return c.hasOut(i) ? c.out[i].as<float>() : nullptr; }
Plan small(const char* kernel, int64_t threads, double bytes) { return {kernel, {blocksFor(threads, kThreads)}, {kThreads}, 0, bytes}; }

/**
 * in: x, gamma?, beta?, and in evaluation the running mean and variance. out: y, statistics [2, C] (mean, 1 / standard deviation), and in
 * training the running mean and variance?, updated in place. attr: N, C, S, channelsLast, training, eps, momentum.
 */
void batchNorm(const Call& c) {
  const Layout l(c);
  const bool training = c.flag(4);
  const int64_t channels = l.channels;
  require(c.in[0].n == l.size() && c.out[0].n == l.size() && c.out[1].n == 2 * channels, "batchNorm: sizes");
  require(training || (c.has(3) && c.has(4) && c.in[3].n == channels && c.in[4].n == channels), "batchNorm: running statistics");
  require((!c.hasOut(2) || c.out[2].n == channels) && (!c.hasOut(3) || c.out[3].n == channels), "batchNorm: running statistics");
  require((!c.has(1) || c.in[1].n == channels) && (!c.has(2) || c.in[2].n == channels), "norm: parameters");
  if (channels == 0) return;
  const DType t = c.in[0].dtype;
  const MomentsOf m = training ? moments(t, l.byChannel(), c.in[0].data) : MomentsOf{};
  void* vectors = vectorsOf(channels);
  float *mean = training ? output(c, 2) : c.in[3].as<float>(), *var = training ? output(c, 3) : c.in[4].as<float>();
  gpu().launch(small("batchNorm_vectors_f32", channels, 48.0 * static_cast<double>(channels)), static_cast<const float*>(m.mean),
               static_cast<const float*>(m.rest), static_cast<const float*>(m.m2), input<float>(c, 1), input<float>(c, 2), mean, var,
               c.out[1].as<float>(), vectors, channels, static_cast<float>(l.samples * l.pixels), static_cast<float>(c.attr[5]),
               static_cast<float>(c.attr[6]));
  apply(l, false, t, c.in[0].data, nullptr, nullptr, c.out[0].data, vectors);
}

/** in: g, x, statistics, gamma?, gradient of x so far?. out: dx?, dgamma?, dbeta?. attr: N, C, S, channelsLast, training, add to dgamma, to dbeta. */
void batchNormGradient(const Call& c) {
  const Layout l(c);
  const bool training = c.flag(4);
  const int64_t channels = l.channels;
  require(c.in[0].n == l.size() && c.in[1].n == l.size() && c.in[2].n == 2 * channels && (!c.has(4) || c.in[4].n == l.size()), "batchNorm gradient: sizes");
  require((!c.hasOut(0) || c.out[0].n == l.size()) && (!c.hasOut(1) || c.out[1].n == channels) && (!c.hasOut(2) || c.out[2].n == channels),
          "batchNorm gradient: outputs");
  if (channels == 0) return;
  const DType t = c.in[0].dtype;
  const float* statistics = c.in[2].as<float>();
  const void* sums = nullptr;
  if (training || c.hasOut(1) || c.hasOut(2)) sums = gradientSums(t, l.byChannel(), c.in[1].data, c.in[0].data, statistics, 1);
  void* vectors = vectorsOf(channels);
  gpu().launch(small("batchNorm_gradVectors_f32", channels, 44.0 * static_cast<double>(channels)), sums, statistics, input<float>(c, 3), output(c, 1),
               output(c, 2), vectors, channels, static_cast<float>(l.samples * l.pixels), static_cast<int>(training), static_cast<int>(c.flag(5)),
               static_cast<int>(c.flag(6)));
  if (c.hasOut(0)) apply(l, false, t, c.in[1].data, c.in[0].data, c.has(4) ? c.in[4].data : nullptr, c.out[0].data, vectors);
}

struct Groups {
  int64_t n, each, all;  // groups of a sample, channels of one, groups of all samples
  Groups(const Layout& l, int64_t groups) : n(groups), each(groups > 0 ? l.channels / groups : 0), all(l.samples * groups) {
    require(groups > 0 && each * groups == l.channels, "groupNorm: groups");
  }
};

/** in: x, gamma?, beta?. out: y, statistics [2, N, groups]. attr: N, C, S, channelsLast, groups, eps. */
void groupNorm(const Call& c) {
  const Layout l(c);
  const Groups groups(l, c.integer(4));
  require(c.in[0].n == l.size() && c.out[0].n == l.size() && c.out[1].n == 2 * groups.all, "groupNorm: sizes");
  require((!c.has(1) || c.in[1].n == l.channels) && (!c.has(2) || c.in[2].n == l.channels), "norm: parameters");
  if (l.size() == 0) return;
  const DType t = c.in[0].dtype;
  const MomentsOf m = moments(t, l.bySample(), c.in[0].data);
  void* vectors = vectorsOf(l.samples * l.channels);
  gpu().launch(small("groupNorm_vectors_f32", groups.all, 28.0 * static_cast<double>(l.samples * l.channels)), static_cast<const float*>(m.mean),
               static_cast<const float*>(m.rest), static_cast<const float*>(m.m2), input<float>(c, 1), input<float>(c, 2), c.out[1].as<float>(), vectors,
               groups.all, groups.each, l.channels, static_cast<float>(l.pixels), static_cast<float>(c.attr[5]));
  apply(l, true, t, c.in[0].data, nullptr, nullptr, c.out[0].data, vectors);
}

/** in: g, x, statistics, gamma?, gradient of x so far?. out: dx?, dgamma?, dbeta?. attr: N, C, S, channelsLast, groups, add to dgamma, to dbeta. */
void groupNormGradient(const Call& c) {
  const Layout l(c);
  const Groups groups(l, c.integer(4));
  const int64_t channels = l.channels;
  require(c.in[0].n == l.size() && c.in[1].n == l.size() && c.in[2].n == 2 * groups.all && (!c.has(4) || c.in[4].n == l.size()), "groupNorm gradient: sizes");
  require((!c.hasOut(0) || c.out[0].n == l.size()) && (!c.hasOut(1) || c.out[1].n == channels) && (!c.hasOut(2) || c.out[2].n == channels),
          "groupNorm gradient: outputs");
  if (channels == 0) return;
  const DType t = c.in[0].dtype;
  const float* statistics = c.in[2].as<float>();
  const void* sums = gradientSums(t, l.bySample(), c.in[1].data, c.in[0].data, statistics, groups.each);
  if (c.hasOut(1) || c.hasOut(2))
    gpu().launch(small("groupNorm_parameters_f32", 32 * channels, 8.0 * static_cast<double>(l.samples * channels)), sums, statistics + groups.all,
                 output(c, 1), output(c, 2), l.samples, channels, groups.each, static_cast<int>(c.flag(5)), static_cast<int>(c.flag(6)));
  if (!c.hasOut(0) || l.size() == 0) return;
  void* vectors = vectorsOf(l.samples * channels);
  gpu().launch(small("groupNorm_gradVectors_f32", groups.all, 24.0 * static_cast<double>(l.samples * channels)), sums, statistics, input<float>(c, 3),
               vectors, groups.all, groups.each, channels, static_cast<float>(groups.each * l.pixels));
  apply(l, true, t, c.in[1].data, c.in[0].data, c.has(4) ? c.in[4].data : nullptr, c.out[0].data, vectors);
}

}  // namespace

void registerChannelNorm(OpTable& t) {
  t.cuda("batchNorm", batchNorm);
  t.cuda("batchNorm.grad", batchNormGradient);
  t.cuda("groupNorm", groupNorm);
  t.cuda("groupNorm.grad", groupNormGradient);
}

}  // namespace anneal::cuda
