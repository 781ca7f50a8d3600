// Inverted dropout, and bias, activation, dropout and residual in one pass. The mask is a function of the element's place in the logical tensor:
// forward and backward compute it anew, and nothing is stored.
#include <type_traits>

#include "cuda/math.cuh"
#include "cuda/random.cuh"
#include "cuda/walk.cuh"
#include "ops/dropout.h"

namespace anneal::gpu {
#include "ops/functors.h"

namespace {

template <int N> ANNEAL_FN void mask(float (&h)[N], const Mask& m, int64_t first) {
  uint32_t w[N];
  drawWords(w, m.draw, first);
#pragma unroll
  for (int k = 0; k < N; ++k) h[k] = w[k] >= m.threshold ? h[k] * m.scale : 0.f;
}

/** y = dropped x (+ more, which may be y). */
template <class T> ANNEAL_FN void dropout(const T* x, const T* more, T* y, int64_t n, const Mask& m) {
  constexpr int N = kPack<T>;
  const Share s = neighbours<N>(n, aligned16(x, more, y));
  if (s.count == 0) return;
  float h[N];
  loadWide<T>(h, x, s);
  mask(h, m, s.first);
  if (more) {
    float add[N];
    loadWide<T>(add, more, s);
#pragma unroll
    for (int k = 0; k < N; ++k) h[k] += add[k];
  }
  storeNarrow<T>(y, h, s);
}

/** Whole channels. The walk over memory gives each element's channel in the whole tensor, n C + c; a word serves as long as the channel does. */
template <class T> ANNEAL_FN void dropout2d(const T* x, T* y, const Mask& m, const Walk<1>& channels) {
  constexpr int N = kPack<T>;
  const Share s = neighbours<N>(channels.n, aligned16(x, y));
  if (s.count == 0) return;
  float h[N];
  loadWide<T>(h, x, s);
  uint64_t held = ~uint64_t{0};
  Block b{};
#pragma unroll 1
  for (int k = 0; k < N; ++k) {
    if (k < s.count) {
      int64_t channel[1];
      placeOf(channels, s.first + k, channel);
      const uint64_t e = m.draw.first + static_cast<uint64_t>(channel[0]);
      if (e >> 2 != held) {
        held = e >> 2;
        b = philox(m.draw, held);
      }
      const int at = static_cast<int>(e & 3);
      const uint32_t word = at == 0 ? b.word[0] : at == 1 ? b.word[1] : at == 2 ? b.word[2] : b.word[3];
      h[0] = word >= m.threshold ? h[0] * m.scale : 0.f;
    }
    rotate(h, h[0]);
  }
  storeNarrow<T>(y, h, s);
}

// ---- bias, activation, dropout, residual ------------------------------------------------------------------------------------

template <class F> constexpr bool kHeavy = !std::is_same_v<F, Relu>;
struct None {};

template <class F, int N> ANNEAL_FN void activate(float (&h)[N]) {
  if constexpr (!std::is_same_v<F, None>) map<kHeavy<F>>(h, [](float v) { return F::template f<float>(v, 0.f, 0.f); });
}

/** bias of the columns `column`, column + 1, ...; whole rows of packs where `vector`, else they may run over a row's end. */
template <int N> ANNEAL_FN void addBias(float (&h)[N], const float* bias, int64_t column, int64_t width, bool vector) {
  if (!bias) return;
  if (vector) {
#pragma unroll
    for (int j = 0; j < N; j += 4) {
      const Pack<float> b = *reinterpret_cast<const Pack<float>*>(bias + column + j);
#pragma unroll
      for (int k = 0; k < 4; ++k) h[j + k] += b.v[k];
    }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      h[k] += bias[column];
      column = column + 1 == width ? 0 : column + 1;
    }
  }
}

/** y = residual + dropout(act(x + bias)); the walk over [rows, width] gives an element's column. */
template <class T, class F>
ANNEAL_FN void fusedBias(const T* x, const float* bias, const T* residual, T* y, const Walk<1>& columns, const Mask& m) {
  constexpr int N = kPack<T>;
  const int64_t width = columns.size[1];
  const Share s = neighbours<N>(columns.n, aligned16(x, residual, y));
  if (s.count == 0) return;
  float h[N];
  loadWide<T>(h, x, s);
  if (bias) {
    int64_t column[1];
    placeOf(columns, s.first, column);
    addBias(h, bias, column[0], width, aligned16(bias) && width % N == 0);
  }
  activate<F>(h);
  if (m.threshold) mask(h, m, s.first);
  if (residual) {
    float add[N];
    loadWide<T>(add, residual, s);
#pragma unroll
    for (int k = 0; k < N; ++k) h[k] += add[k];
  }
  storeNarrow<T>(y, h, s);
}

/**
 * dx = act'(x + bias) mask g, and the column sums of dx over each chunk of `perChunk` rows (blockIdx.y). A block has kBiasColumns packs of columns;
 * its kBiasRows threads of one pack take every kBiasRows-th row, and are summed in order at the end.
 */
template <class T, class F>
ANNEAL_FN void fusedBiasGrad(const T* g, const T* x, const float* bias, T* dx, float* partials, int64_t rows, int64_t width, int64_t perChunk, const Mask& m) {
  constexpr int N = kPack<T>;
  __shared__ float sums[kBiasRows][kBiasColumns * N + 1];
  const int group = threadIdx.x % kBiasColumns, lane = threadIdx.x / kBiasColumns;
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kBiasColumns + group) * N, left = width - column;
  const int count = left <= 0 ? 0 : (left < N ? static_cast<int>(left) : N);
  const bool vector = width % N == 0 && aligned16(g, x, dx);
  const int64_t first = blockIdx.y * perChunk, end = first + perChunk < rows ? first + perChunk : rows;
  float own[N], sum[N];
#pragma unroll
  for (int k = 0; k < N; ++k) own[k] = sum[k] = 0.f;
  if (bias) {
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (k < count) own[k] = bias[column + k];
  }
#pragma unroll 1
  for (int64_t r = first + lane; r < end && count > 0; r += kBiasRows) {
    const Share s{r * width + column, 1, count, vector && count == N};
    float d[N];
    loadWide<T>(d, g, s);
    if (m.threshold) mask(d, m, s.first);
    if constexpr (!std::is_same_v<F, None>) {
      float h[N];
      loadWide<T>(h, x, s);
#pragma unroll
      for (int k = 0; k < N; ++k) h[k] += own[k];
      map<kHeavy<F>>(d, h, [](float gv, float hv) { return F::template df<float>(gv, hv, 0.f, 0.f); });
    }
    if (dx) storeNarrow<T>(dx, d, s);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] += d[k];
  }
  if (!partials) return;
#pragma unroll
  for (int k = 0; k < N; ++k) sums[lane][k * kBiasColumns + group] = sum[k];
  __syncthreads();
  for (int at = threadIdx.x; at < kBiasColumns * N; at += kThreads) {
    // Column c of the block stands in group c / N, element c % N.
    const int64_t c = static_cast<int64_t>(blockIdx.x) * kBiasColumns * N + at;
    float total = 0.f;
#pragma unroll
    for (int l = 0; l < kBiasRows; ++l) total += sums[l][at % N * kBiasColumns + at / N];
    if (c < width) partials[blockIdx.y * width + c] = total;
  }
}

}  // namespace

#define ANNEAL_KERNEL extern "C" __global__ void __launch_bounds__(kThreads)

/** dbias = more + the chunks' sums in order. `more` may be dbias. */
ANNEAL_KERNEL fusedBias_finish(const float* partials, const float* more, float* dbias, int64_t width, int64_t chunks) {
  const int64_t c = globalThread();
  if (c >= width) return;
  float sum = more ? more[c] : 0.f;
#pragma unroll 4
  for (int64_t q = 0; q < chunks; ++q) sum += partials[q * width + c];
  dbias[c] = sum;
}

#define ANNEAL_DROPOUT(suffix, T)                                                                                            \
  ANNEAL_KERNEL dropout_##suffix(const T* x, const T* more, T* y, int64_t n, Mask m) { dropout(x, more, y, n, m); }          \
  ANNEAL_KERNEL dropout2d_##suffix(const T* x, T* y, Mask m, const __grid_constant__ Walk<1> channels) { dropout2d(x, y, m, channels); }
ANNEAL_DROPOUT(f32, float) ANNEAL_DROPOUT(f16, f16) ANNEAL_DROPOUT(bf16, bf16)

#define ANNEAL_FUSED(name, F, suffix, T)                                                                                                       \
  ANNEAL_KERNEL fusedBias_##name##_##suffix(const T* x, const float* bias, const T* residual, T* y, const __grid_constant__ Walk<1> columns, Mask m) { \
    fusedBias<T, F>(x, bias, residual, y, columns, m);                                                                                         \
  }                                                                                                                                            \
  ANNEAL_KERNEL fusedBias_grad_##name##_##suffix(const T* g, const T* x, const float* bias, T* dx, float* partials, int64_t rows, int64_t width, \
                                                 int64_t perChunk, Mask m) {                                                                   \
    fusedBiasGrad<T, F>(g, x, bias, dx, partials, rows, width, perChunk, m);                                                                   \
  }
#define ANNEAL_ROW(name, F) ANNEAL_FUSED(name, F, f32, float) ANNEAL_FUSED(name, F, f16, f16) ANNEAL_FUSED(name, F, bf16, bf16)
ANNEAL_ROW(none, None) ANNEAL_ROW(relu, Relu) ANNEAL_ROW(gelu, Gelu) ANNEAL_ROW(geluTanh, GeluTanh)
#undef ANNEAL_ROW

}  // namespace anneal::gpu
