// Elementwise losses, summed in one pass; the division of sums by counts; the gradient of relu with its column sums.
#include "cuda/loss.cuh"

#include "cuda/columns.cuh"

namespace anneal::gpu {
namespace {

#include "ops/losses.h"

/** x, target, weight (absent: 1), weight of positives (absent: 1). */
template <class T>
struct Elements {
  const T *x, *t;
  const float *weight, *positive;
  float p;
};

/** f(i, x, t, weight, positive) for elements [begin, end) of a block, in packs or one at a time. */
template <class T, class F>
ANNEAL_FN void eachElement(const Elements<T>& e, int64_t begin, int64_t end, bool vector, F f) {
  constexpr int N = kPack<T>;
  int64_t i = begin + threadIdx.x;
  if (vector) {
    const int64_t whole = begin + (end - begin) / N * N;
#pragma unroll 1
    for (i = begin + threadIdx.x * N; i < whole; i += kThreads * N) {
      const Pack<T> xs = packAt(e.x + i), ts = packAt(e.t + i);
      float w[N], q[N];
      floatsAt(e.weight, i, true, 1.f, w);
      floatsAt(e.positive, i, true, 1.f, q);
      f(i, xs.v, ts.v, w, q);
    }
    i = whole + threadIdx.x;
  }
#pragma unroll 1
  for (; i < end; i += kThreads) {
    const T x[1] = {e.x[i]}, t[1] = {e.t[i]};
    const float w[1] = {e.weight ? e.weight[i] : 1.f}, q[1] = {e.positive ? e.positive[i] : 1.f};
    f(i, x, t, w, q);
  }
}

template <class T, class F>
ANNEAL_FN void lossSum(const Elements<T>& e, float* partials, int64_t n, int64_t per) {
  __shared__ float scratch[32];
  const int64_t begin = blockIdx.x * per, end = begin + per < n ? begin + per : n;
  float sum = 0.f;
  eachElement(e, begin, end, aligned16(e.x, e.t, e.weight, e.positive), [&](int64_t, const auto& x, const auto& t, const auto& w, const auto& q) {
#pragma unroll
    for (int k = 0; k < int(sizeof(w) / 4); ++k) sum += w[k] * F::template f<float>(widen(x[k]), widen(t[k]), e.p, q[k]);
  });
  sum = blockSum(sum, scratch);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

template <class T, int N> ANNEAL_FN void store(T* to, int64_t i, const float (&v)[N]) {
  if constexpr (N == 1) to[i] = narrow<T>(v[0]);
  else {
    Pack<T> p;
#pragma unroll
    for (int k = 0; k < N; ++k) p.v[k] = narrow<T>(v[k]);
    putPack(to + i, p);
  }
}

template <class T, class F>
ANNEAL_FN void lossGrad(const Elements<T>& e, const float* gradient, T* dx, T* dt, int64_t n, int64_t per) {
  const int64_t begin = blockIdx.x * per, end = begin + per < n ? begin + per : n;
  const float g = *gradient;
  eachElement(e, begin, end, aligned16(e.x, e.t, e.weight, e.positive) && aligned16(dx, dt), [&](int64_t i, const auto& x, const auto& t, const auto& w, const auto& q) {
    constexpr int N = sizeof(w) / 4;
    float out[N];
    if (dx) {
#pragma unroll
      for (int k = 0; k < N; ++k) out[k] = g * w[k] * F::template dx<float>(widen(x[k]), widen(t[k]), e.p, q[k]);
      store(dx, i, out);
    }
    if (dt) {
#pragma unroll
      for (int k = 0; k < N; ++k) out[k] = g * w[k] * F::template dt<float>(widen(x[k]), widen(t[k]), e.p, q[k]);
      store(dt, i, out);
    }
  });
}

/** masked = g where y > 0, else 0 (masked may be g); partials [chunks, n]: its column sums over a chunk of rows. */
template <class T>
ANNEAL_FN void reluGradSum(const T* g, const T* y, T* masked, float* partials, int64_t rows, int64_t n, int64_t chunk) {
  constexpr int N = kPack<T>;
  __shared__ float sums[kThreads / 32][32 * N + 1];
  const int lane = threadIdx.x & 31, deep = threadIdx.x >> 5;
  const int64_t tile = static_cast<int64_t>(blockIdx.x) * 32 * N, begin = blockIdx.y * chunk, end = begin + chunk < rows ? begin + chunk : rows;
  const bool vector = aligned16(g, y, masked) && n % N == 0;
  float sum[N] = {};
#pragma unroll 2
  for (int64_t r = begin + deep; r < end; r += kThreads / 32) {
    if (vector) {
      const int64_t j = tile + lane * N;
      if (j >= n) continue;
      Pack<T> p = packAt(g + r * n + j);
      const Pack<T> q = packAt(y + r * n + j);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        if (!(widen(q.v[k]) > 0.f)) p.v[k] = narrow<T>(0.f);
        sum[k] += widen(p.v[k]);
      }
      putPack(masked + r * n + j, p);
    } else {
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const int64_t j = tile + k * 32 + lane;
        if (j >= n) continue;
        const T v = widen(y[r * n + j]) > 0.f ? g[r * n + j] : narrow<T>(0.f);
        masked[r * n + j] = v;
        sum[k] += widen(v);
      }
    }
  }
#pragma unroll
  for (int k = 0; k < N; ++k) sums[deep][vector ? lane * N + k : k * 32 + lane] = sum[k];
  __syncthreads();
#pragma unroll 1
  for (int c = threadIdx.x; c < 32 * N; c += kThreads) {
    if (tile + c >= n) break;
    float total = 0.f;
#pragma unroll
    for (int k = 0; k < kThreads / 32; ++k) total += sums[k][c];
    partials[blockIdx.y * n + tile + c] = total;
  }
}

/** Terms of a loss, at most 4: sums, counts (null: `number`), weights. */
struct Terms {
  const float *sum[4], *count[4];
  float weight[4], number[4];
};
ANNEAL_FN float countOf(const Terms& t, int i) { return t.count[i] ? *t.count[i] : t.number[i]; }

}  // namespace

/** out = sum over terms of weight sum / count; nothing over nothing is 0. One thread. */
extern "C" __global__ void loss_mean_f32(Terms t, int n, float* out) {
  double total = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (i < n) {
      const float sum = *t.sum[i], count = countOf(t, i);
      total += sum == 0.f && count == 0.f ? 0.0 : double(t.weight[i]) * (double(sum) / double(count));
    }
  *out = float(total);
}

struct Outputs { float* at[4]; };
/** out[i] = g weight / count, 0 for a count of 0. One thread. */
extern "C" __global__ void loss_mean_grad_f32(const float* g, Terms t, int n, Outputs out) {
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (i < n && out.at[i]) {
      const float count = countOf(t, i);
      *out.at[i] = count == 0.f ? 0.f : float(double(*g) * double(t.weight[i]) / double(count));
    }
}

/** A block for each of two lists of partials [2, n], or one. */
extern "C" __global__ void __launch_bounds__(kThreads) loss_finish_f32(const float* partials, int64_t n, float* first, float* second) {
  const double sum = sumOfPartials(partials + blockIdx.x * n, n);
  if (threadIdx.x == 0) *(blockIdx.x ? second : first) = float(sum);
}

extern "C" __global__ void __launch_bounds__(kThreads) relu_gradSum_finish_f32(const float* partials, int64_t chunks, int64_t n, float* out, int add) {
  finishColumns(partials, chunks, n, [&](int64_t j, float sum) { out[j] = sum + (add ? out[j] : 0.f); });
}

#define ANNEAL_LOSS(name, F, T, suffix)                                                                                                           \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                          \
      name##_##suffix(const T* x, const T* t, const float* weight, const float* positive, float p, float* partials, int64_t n, int64_t per) {     \
    lossSum<T, F>({x, t, weight, positive, p}, partials, n, per);                                                                                 \
  }                                                                                                                                               \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                          \
      name##_grad_##suffix(const float* g, const T* x, const T* t, const float* weight, const float* positive, float p, T* dx, T* dt, int64_t n,  \
                           int64_t per) {                                                                                                         \
    lossGrad<T, F>({x, t, weight, positive, p}, g, dx, dt, n, per);                                                                               \
  }
#define ANNEAL_ROW(name, F) ANNEAL_LOSS(name, F, float, f32) ANNEAL_LOSS(name, F, f16, f16) ANNEAL_LOSS(name, F, bf16, bf16)
ANNEAL_LOSSES(ANNEAL_ROW)
#undef ANNEAL_ROW
#define ANNEAL_RELU(T, suffix)                                                                                                     \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                           \
      relu_gradSum_##suffix(const T* g, const T* y, T* masked, float* partials, int64_t rows, int64_t n, int64_t chunk) {          \
    reluGradSum<T>(g, y, masked, partials, rows, n, chunk);                                                                        \
  }
ANNEAL_RELU(float, f32) ANNEAL_RELU(f16, f16) ANNEAL_RELU(bf16, bf16)

}  // namespace anneal::gpu
