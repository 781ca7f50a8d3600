// Batch norm and group norm: the vectors between the sums by channel (reduce.cu, reduce_grad.cu) and the pass that applies them.
// A vector of four per channel, or per sample and channel: out = (x - v.mean) v.a + v.b (+ g v.p) (+ have).
#include "cuda/packs.cuh"

namespace anneal::gpu {
namespace {

struct alignas(16) Vector { float mean, a, b, p; };
ANNEAL_FN float at(const float* p, int64_t i, float absent) { return p ? p[i] : absent; }
ANNEAL_FN float applied(const Vector& v, float x, float g, float before) { return (x - v.mean) * v.a + v.b + g * v.p + before; }

/** Rows of S neighbours that share a vector, number row % channels. Each block takes a stretch of the whole. */
template <class T>
ANNEAL_FN void applyRows(const T* x, const T* g, const T* have, T* out, const Vector* vectors, int64_t channels, int64_t pixels, int64_t n) {
  constexpr int N = kPack<T>;
  const auto single = [&](int64_t i) {
    out[i] = narrow<T>(applied(vectors[i / pixels % channels], widen(x[i]), g ? widen(g[i]) : 0.f, have ? widen(have[i]) : 0.f));
  };
  eachPack<T>(n, aligned16(x, g, have, out) && pixels % N == 0, [&](int64_t i) {
    const Vector v = vectors[i / pixels % channels];
    const Pack<T> xs = *reinterpret_cast<const Pack<T>*>(x + i);
    Pack<T> gs{}, before{}, y;
    if (g) gs = *reinterpret_cast<const Pack<T>*>(g + i);
    if (have) before = *reinterpret_cast<const Pack<T>*>(have + i);
#pragma unroll
    for (int k = 0; k < N; ++k) y.v[k] = narrow<T>(applied(v, widen(xs.v[k]), widen(gs.v[k]), widen(before.v[k])));
    putPack(out + i, y);
  }, single);
}

/** Channels side by side: a thread keeps the vectors of a pack of channels and goes down the rows of its chunk. blockIdx.x: sample and tile. */
template <class T>
ANNEAL_FN void applyColumns(const T* x, const T* g, const T* have, T* out, const Vector* vectors, int64_t channels, int64_t rows, int64_t chunk, int logWidth) {
  constexpr int N = kPack<T>;
  const int64_t tileWidth = static_cast<int64_t>(N) << logWidth, tiles = (channels + tileWidth - 1) / tileWidth, sample = blockIdx.x / tiles;
  const int64_t column = blockIdx.x % tiles * tileWidth + static_cast<int64_t>(threadIdx.x & ((1 << logWidth) - 1)) * N;
  if (column >= channels) return;
  const int mine = channels - column < N ? static_cast<int>(channels - column) : N;
  const int64_t begin = blockIdx.y * chunk, end = begin + chunk < rows ? begin + chunk : rows, base = sample * rows * channels + column;
  const bool vector = aligned16(x, g, have, out) && channels % N == 0;
  Vector v[N];
#pragma unroll
  for (int k = 0; k < N; ++k) {
    if (k < mine) v[k] = vectors[sample * channels + column + k];
    else v[k] = {};
  }
#pragma unroll 1
  for (int64_t r = begin + (threadIdx.x >> logWidth); r < end; r += kThreads >> logWidth) {
    const int64_t i = base + r * channels;
    Pack<T> xs{}, gs{}, before{};
    if (vector) {
      xs = *reinterpret_cast<const Pack<T>*>(x + i);
      if (g) gs = *reinterpret_cast<const Pack<T>*>(g + i);
      if (have) before = *reinterpret_cast<const Pack<T>*>(have + i);
    } else {
#pragma unroll
      for (int k = 0; k < N; ++k)
        if (k < mine) {
          xs.v[k] = x[i + k];
          if (g) gs.v[k] = g[i + k];
          if (have) before.v[k] = have[i + k];
        }
    }
#pragma unroll
    for (int k = 0; k < N; ++k) xs.v[k] = narrow<T>(applied(v[k], widen(xs.v[k]), widen(gs.v[k]), widen(before.v[k])));
    if (vector) putPack(out + i, xs);
    else
#pragma unroll
      for (int k = 0; k < N; ++k)
        if (k < mine) out[i + k] = xs.v[k];
  }
}

}  // namespace

#define ANNEAL_APPLY(T, suffix)                                                                                                            \
  extern "C" __global__ void __launch_bounds__(kThreads) channelNorm_rows_##suffix(const T* x, const T* g, const T* have, T* out,          \
                                                                                   const Vector* vectors, int64_t channels, int64_t pixels, \
                                                                                   int64_t n) {                                            \
    applyRows<T>(x, g, have, out, vectors, channels, pixels, n);                                                                           \
  }                                                                                                                                        \
  extern "C" __global__ void __launch_bounds__(kThreads) channelNorm_columns_##suffix(const T* x, const T* g, const T* have, T* out,       \
                                                                                      const Vector* vectors, int64_t channels,             \
                                                                                      int64_t rows, int64_t chunk, int logWidth) {         \
    applyColumns<T>(x, g, have, out, vectors, channels, rows, chunk, logWidth);                                                            \
  }
ANNEAL_APPLY(float, f32)
ANNEAL_APPLY(f16, f16)
ANNEAL_APPLY(bf16, bf16)

/** Means and sums of squared deviations of the batch (null in evaluation) to vectors; statistics [2, C]; running statistics, read or updated. */
extern "C" __global__ void __launch_bounds__(kThreads)
    batchNorm_vectors_f32(const float* mean, const float* rest, const float* m2, const float* gamma, const float* beta, float* runningMean,
                          float* runningVar, float* statistics, Vector* vectors, int64_t channels, float count, float eps, float momentum) {
  const int64_t j = globalThread();
  if (j >= channels) return;
  const bool training = mean != nullptr;
  const float middle = training ? mean[j] : runningMean[j], left = training ? rest[j] : 0.f;
  const float rstd = 1.f / sqrtf((training ? m2[j] / count : runningVar[j]) + eps), a = at(gamma, j, 1.f) * rstd;
  statistics[j] = middle;
  statistics[channels + j] = rstd;
  vectors[j] = {middle, a, at(beta, j, 0.f) - left * a, 0.f};
  if (!training) return;
  if (runningMean) runningMean[j] += momentum * ((middle - runningMean[j]) + left);
  if (runningVar) runningVar[j] += momentum * (m2[j] / (count - 1.f) - runningVar[j]);
}

/** sums: of g and of g (x - mean) per channel; null where neither is needed. dgamma = sum g h, dbeta = sum g. */
extern "C" __global__ void __launch_bounds__(kThreads)
    batchNorm_gradVectors_f32(const float2* sums, const float* statistics, const float* gamma, float* dgamma, float* dbeta, Vector* vectors,
                              int64_t channels, float count, int training, int addGamma, int addBeta) {
  const int64_t j = globalThread();
  if (j >= channels) return;
  const float rstd = statistics[channels + j], p = at(gamma, j, 1.f) * rstd;
  float2 sum{0.f, 0.f};
  if (sums) sum = sums[j];
  vectors[j] = {statistics[j], training ? -p * rstd * rstd * sum.y / count : 0.f, training ? -p * sum.x / count : 0.f, p};
  if (dgamma) dgamma[j] = sum.y * rstd + (addGamma ? dgamma[j] : 0.f);
  if (dbeta) dbeta[j] = sum.x + (addBeta ? dbeta[j] : 0.f);
}

/** A thread per group: the moments of its channels merged in order. */
extern "C" __global__ void __launch_bounds__(kThreads)
    groupNorm_vectors_f32(const float* mean, const float* rest, const float* m2, const float* gamma, const float* beta, float* statistics,
                          Vector* vectors, int64_t groups, int64_t each, int64_t channels, float pixels, float eps) {
  const int64_t s = globalThread();
  if (s >= groups) return;
  const int64_t first = s * each, channel = first % channels;
  // From the first channel's mean, so that a far one costs no digits.
  const float shift = mean[first];
  float off = 0.f, squares = 0.f;
#pragma unroll 1
  for (int64_t j = 0; j < each; ++j) {
    const float seen = float(j) * pixels, delta = mean[first + j] - shift + rest[first + j] - off, share = pixels / (seen + pixels);
    off += delta * share;
    squares += m2[first + j] + delta * delta * seen * share;
  }
  const float middle = shift + off, left = off - (middle - shift), rstd = 1.f / sqrtf(squares / (float(each) * pixels) + eps);
  statistics[s] = middle;
  statistics[groups + s] = rstd;
#pragma unroll 1
  for (int64_t j = 0; j < each; ++j) {
    const float a = at(gamma, channel + j, 1.f) * rstd;
    vectors[first + j] = {middle, a, at(beta, channel + j, 0.f) - left * a, 0.f};
  }
}

/** A thread per group. */
extern "C" __global__ void __launch_bounds__(kThreads)
    groupNorm_gradVectors_f32(const float2* sums, const float* statistics, const float* gamma, Vector* vectors, int64_t groups, int64_t each,
                              int64_t channels, float count) {
  const int64_t s = globalThread();
  if (s >= groups) return;
  const int64_t first = s * each, channel = first % channels;
  const float rstd = statistics[groups + s];
  float sum = 0.f, product = 0.f;
#pragma unroll 1
  for (int64_t j = 0; j < each; ++j) {
    const float scale = at(gamma, channel + j, 1.f);
    sum += scale * sums[first + j].x;
    product += scale * sums[first + j].y;
  }
  const float a = -rstd * rstd * rstd * product / count, b = -rstd * sum / count;
#pragma unroll 1
  for (int64_t j = 0; j < each; ++j) vectors[first + j] = {statistics[s], a, b, at(gamma, channel + j, 1.f) * rstd};
}

/** A warp per channel adds up its samples. */
extern "C" __global__ void __launch_bounds__(kThreads)
    groupNorm_parameters_f32(const float2* sums, const float* rstds, float* dgamma, float* dbeta, int64_t samples, int64_t channels, int64_t each,
                             int addGamma, int addBeta) {
  const int64_t j = globalThread() >> 5;
  if (j >= channels) return;
  const int lane = threadIdx.x & 31;
  float gamma = 0.f, beta = 0.f;
#pragma unroll 1
  for (int64_t n = lane; n < samples; n += 32) {
    const float2 sum = sums[n * channels + j];
    gamma += sum.y * rstds[(n * channels + j) / each];
    beta += sum.x;
  }
  gamma = warpSum(gamma);
  beta = warpSum(beta);
  if (lane) return;
  if (dgamma) dgamma[j] = gamma + (addGamma ? dgamma[j] : 0.f);
  if (dbeta) dbeta[j] = beta + (addBeta ? dbeta[j] : 0.f);
}

}  // namespace anneal::gpu
