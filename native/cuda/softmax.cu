// Softmax and log-softmax along one axis of [outer, n, inner]: along rows where inner is 1, else a thread per column.
#include "cuda/rows.cuh"

namespace anneal::gpu {
namespace {

extern __shared__ uint4 dynamicShared[];
template <class T> ANNEAL_FN T* keptRows() { return reinterpret_cast<T*>(dynamicShared); }

/** e^(x - most) by, or x - most - by. */
template <bool kLog> ANNEAL_FN float finished(float x, float most, float by) { return kLog ? x - most - by : mexp(x - most) * by; }

template <class T, bool kLog>
ANNEAL_FN void softmaxRow(const T* x, T* y, int64_t rows, int64_t n, bool wide, bool keep) {
  constexpr int N = kPack<T>;
  __shared__ float scratch[64];
  const Team team(wide);
  const int64_t r = team.first();
  if (r >= rows) return;
  const T* from = x + r * n;
  T *to = y + r * n, *kept = keptRows<T>() + team.index() * keptSize<T>(n);
  const int head = headOf(from, n, congruent(x, y));
  Online all;
  eachInRow<N>(n, head, team, [&](int64_t i, int64_t slot) {
    const Pack<T> p = packAt(from + i);
    if (keep) putPack(kept + slot, p);
    float v[N];
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] = widen(p.v[k]);
    all.add(v);
  }, [&](int64_t i, int64_t slot) {
    const T p = from[i];
    if (keep) kept[slot] = p;
    const float v[1] = {widen(p)};
    all.add(v);
  });
  all.join(team, scratch);
  const float most = all.most, by = kLog ? mlog(all.sum) : 1.f / all.sum;
  eachInRow<N>(n, head, team, [&](int64_t i, int64_t slot) {
    Pack<T> p = keep ? packAt(kept + slot) : packAt(from + i);
#pragma unroll
    for (int k = 0; k < N; ++k) p.v[k] = narrow<T>(finished<kLog>(widen(p.v[k]), most, by));
    putPack(to + i, p);
  }, [&](int64_t i, int64_t slot) { to[i] = narrow<T>(finished<kLog>(widen(keep ? kept[slot] : from[i]), most, by)); });
}

template <class T, bool kLog>
ANNEAL_FN void softmaxColumn(const T* x, T* y, int64_t outer, int64_t n, int64_t inner) {
  const int64_t task = globalThread();
  if (task >= outer * inner) return;
  const int64_t base = task / inner * n * inner + task % inner;
  Online all;
#pragma unroll 1
  for (int64_t i = 0; i < n; ++i) {
    const float v[1] = {widen(x[base + i * inner])};
    all.add(v);
  }
  const float by = kLog ? mlog(all.sum) : 1.f / all.sum;
#pragma unroll 1
  for (int64_t i = 0; i < n; ++i) y[base + i * inner] = narrow<T>(finished<kLog>(widen(x[base + i * inner]), all.most, by));
}

// softmax: dx = y (g - sum(g y)); log-softmax: dx = g - e^y sum(g)
template <bool kLog> ANNEAL_FN float term(float g, float y) { return kLog ? g : g * y; }
template <bool kLog> ANNEAL_FN float slope(float g, float y, float sum) { return kLog ? g - mexp(y) * sum : y * (g - sum); }

template <class T, bool kLog>
ANNEAL_FN void gradientRow(const T* g, const T* y, const T* have, T* dx, int64_t rows, int64_t n, bool wide, bool keep) {
  constexpr int N = kPack<T>;
  __shared__ float scratch[32];
  const Team team(wide);
  const int64_t r = team.first();
  if (r >= rows) return;
  const T *fromG = g + r * n, *fromY = y + r * n, *before = have + r * n;
  T *to = dx + r * n, *keptG = keptRows<T>() + 2 * team.index() * keptSize<T>(n), *keptY = keptG + keptSize<T>(n);
  const int head = headOf(fromG, n, congruent(g, y, have, dx));
  float sum = 0.f;
  eachInRow<N>(n, head, team, [&](int64_t i, int64_t slot) {
    const Pack<T> a = packAt(fromG + i), b = packAt(fromY + i);
    if (keep) putPack(keptG + slot, a), putPack(keptY + slot, b);
#pragma unroll
    for (int k = 0; k < N; ++k) sum += term<kLog>(widen(a.v[k]), widen(b.v[k]));
  }, [&](int64_t i, int64_t slot) {
    const T a = fromG[i], b = fromY[i];
    if (keep) keptG[slot] = a, keptY[slot] = b;
    sum += term<kLog>(widen(a), widen(b));
  });
  sum = team.sum(sum, scratch);
  eachInRow<N>(n, head, team, [&](int64_t i, int64_t slot) {
    Pack<T> a = keep ? packAt(keptG + slot) : packAt(fromG + i);
    const Pack<T> b = keep ? packAt(keptY + slot) : packAt(fromY + i);
    Pack<T> h{};
    if (have) h = packAt(before + i);
#pragma unroll
    for (int k = 0; k < N; ++k) a.v[k] = narrow<T>(slope<kLog>(widen(a.v[k]), widen(b.v[k]), sum) + (have ? widen(h.v[k]) : 0.f));
    putPack(to + i, a);
  }, [&](int64_t i, int64_t slot) {
    const T a = keep ? keptG[slot] : fromG[i], b = keep ? keptY[slot] : fromY[i];
    to[i] = narrow<T>(slope<kLog>(widen(a), widen(b), sum) + (have ? widen(before[i]) : 0.f));
  });
}

template <class T, bool kLog>
ANNEAL_FN void gradientColumn(const T* g, const T* y, const T* have, T* dx, int64_t outer, int64_t n, int64_t inner) {
  const int64_t task = globalThread();
  if (task >= outer * inner) return;
  const int64_t base = task / inner * n * inner + task % inner;
  float sum = 0.f;
#pragma unroll 1
  for (int64_t i = 0; i < n; ++i) sum += term<kLog>(widen(g[base + i * inner]), widen(y[base + i * inner]));
#pragma unroll 1
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = base + i * inner;
    dx[at] = narrow<T>(slope<kLog>(widen(g[at]), widen(y[at]), sum) + (have ? widen(have[at]) : 0.f));
  }
}

}  // namespace

#define ANNEAL_ROW(name, kLog, T, suffix)                                                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads, 2) name##_##suffix(const T* x, T* y, int64_t rows, int64_t n, int wide, int keep) {    \
    softmaxRow<T, kLog>(x, y, rows, n, wide != 0, keep != 0);                                                                               \
  }                                                                                                                                         \
  extern "C" __global__ void __launch_bounds__(kThreads, 2) name##_columns_##suffix(const T* x, T* y, int64_t outer, int64_t n, int64_t inner) { \
    softmaxColumn<T, kLog>(x, y, outer, n, inner);                                                                                          \
  }                                                                                                                                         \
  extern "C" __global__ void __launch_bounds__(kThreads, 2)                                                                                    \
      name##_grad_##suffix(const T* g, const T* y, const T* have, T* dx, int64_t rows, int64_t n, int wide, int keep) {                      \
    gradientRow<T, kLog>(g, y, have, dx, rows, n, wide != 0, keep != 0);                                                                    \
  }                                                                                                                                         \
  extern "C" __global__ void __launch_bounds__(kThreads, 2)                                                                                    \
      name##_grad_columns_##suffix(const T* g, const T* y, const T* have, T* dx, int64_t outer, int64_t n, int64_t inner) {                  \
    gradientColumn<T, kLog>(g, y, have, dx, outer, n, inner);                                                                               \
  }
#define ANNEAL_BOTH(T, suffix) ANNEAL_ROW(softmax, false, T, suffix) ANNEAL_ROW(logSoftmax, true, T, suffix)
ANNEAL_BOTH(float, f32)
ANNEAL_BOTH(f16, f16)
ANNEAL_BOTH(bf16, bf16)

}  // namespace anneal::gpu
