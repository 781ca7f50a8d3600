// Softmax and log-softmax along one axis of [outer, n, inner]. inner = 1: a row per task, vectors along it; else a strip of neighbouring
// columns per task, vectors across them.
#include "cpu/kernel.h"
#include "cpu/math.h"
#include "cpu/sums.h"

ANNEAL_KERNELS_BEGIN
namespace {

constexpr int kStrip = 64;

struct Shape {
  int64_t outer, n, inner, strips;
  explicit Shape(const Call& c) : outer(c.integer(0)), n(c.integer(1)), inner(c.integer(2)), strips((inner + kStrip - 1) / kStrip) {
    require(outer >= 0 && n >= 0 && inner >= 0 && c.out[0].n == outer * n * inner, "softmax: sizes");
    for (int i = 0; i < c.nIn; ++i) require(!c.has(i) || c.in[i].n == c.out[0].n, "softmax: sizes");
    requireInputs(c, 0, c.nIn, c.out[0].dtype);
  }
  /** row(offset), or strip(offset, width), in parallel. */
  template <class Row, class Strip>
  void each(Row&& row, Strip&& strip) const {
    if (outer * n * inner == 0) return;
    // An exponential costs about eight simple operations.
    if (inner == 1) return parallelRows(outer, 8 * n, [&](int64_t i) { row(i * n); });
    parallelRows(outer * strips, 8 * n * (inner < kStrip ? inner : kStrip), [&](int64_t task) {
      const int64_t first = task % strips * kStrip;
      strip(task / strips * n * inner + first, static_cast<int>(inner - first < kStrip ? inner - first : kStrip));
    });
  }
};

/** y = e^(x - max) / sum, or x - max - log sum. */
template <class T, bool kLog>
void softmaxRow(const T* x, T* y, int64_t n) {
  using A = Acc<T>;
  constexpr int64_t kKept = 2048;
  A kept[std::is_same_v<T, A> ? 1 : kKept];
  const A most = maxRun(n, -A(__builtin_inf()), [&](int64_t i) ANNEAL_INLINED { return A(x[i]); });
  if constexpr (kLog) {
    const A by = mlog(sumRun<A>(n, [&](int64_t i) ANNEAL_INLINED { return mexp(A(x[i]) - most); }));
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = T(A(x[i]) - most - by);
    return;
  }
  // The exponentials stay in y; 16-bit results are rounded once, so theirs stay aside, or are computed again where they are many.
  A* e = std::is_same_v<T, A> ? reinterpret_cast<A*>(y) : kept;
  if (!std::is_same_v<T, A> && n > kKept) {
    const A by = A(1) / sumRun<A>(n, [&](int64_t i) ANNEAL_INLINED { return mexp(A(x[i]) - most); });
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = T(mexp(A(x[i]) - most) * by);
    return;
  }
  const A by = A(1) / sumRun<A>(n, [&](int64_t i) ANNEAL_INLINED { return e[i] = mexp(A(x[i]) - most); });
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = T(e[i] * by);
}

template <class T, bool kLog>
void softmaxStrip(const T* x, T* y, int64_t n, int64_t inner, int width) {
  using A = Acc<T>;
  A most[kStrip], sum[kStrip];
  for (int j = 0; j < width; ++j) most[j] = -A(__builtin_inf()), sum[j] = 0;
  for (int64_t i = 0; i < n; ++i) {
    const T* p = x + i * inner;
#pragma omp simd
    for (int j = 0; j < width; ++j) most[j] = A(p[j]) > most[j] ? A(p[j]) : most[j];
  }
  for (int64_t i = 0; i < n; ++i) {
    const T* p = x + i * inner;
#pragma omp simd
    for (int j = 0; j < width; ++j) sum[j] += mexp(A(p[j]) - most[j]);
  }
  for (int j = 0; j < width; ++j) sum[j] = kLog ? mlog(sum[j]) : A(1) / sum[j];
  for (int64_t i = 0; i < n; ++i) {
    const T* p = x + i * inner;
    T* q = y + i * inner;
#pragma omp simd
    for (int j = 0; j < width; ++j) q[j] = T(kLog ? A(p[j]) - most[j] - sum[j] : mexp(A(p[j]) - most[j]) * sum[j]);
  }
}

/** attr: outer, n, inner. */
template <bool kLog>
void softmax(const Call& c) {
  const Shape s(c);
  dispatchFloat(c.out[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    const T* x = c.in[0].as<T>();
    T* y = c.out[0].as<T>();
    s.each([&](int64_t at) { softmaxRow<T, kLog>(x + at, y + at, s.n); },
           [&](int64_t at, int width) { softmaxStrip<T, kLog>(x + at, y + at, s.n, s.inner, width); });
  });
}

// softmax: dx = y (g - sum(g y)); log-softmax: dx = g - e^y sum(g)
template <bool kLog, class A>
ANNEAL_ALWAYS A term(A g, A y) { return kLog ? g : g * y; }
template <bool kLog, class A>
ANNEAL_ALWAYS A slope(A g, A y, A sum) { return kLog ? g - mexp(y) * sum : y * (g - sum); }

template <class T, bool kLog>
void gradientRow(const T* g, const T* y, const T* have, T* dx, int64_t n) {
  using A = Acc<T>;
  const A sum = sumRun<A>(n, [&](int64_t i) ANNEAL_INLINED { return term<kLog>(A(g[i]), A(y[i])); });
  if (have) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = T(slope<kLog>(A(g[i]), A(y[i]), sum) + A(have[i]));
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = T(slope<kLog>(A(g[i]), A(y[i]), sum));
  }
}

template <class T, bool kLog>
void gradientStrip(const T* g, const T* y, const T* have, T* dx, int64_t n, int64_t inner, int width) {
  using A = Acc<T>;
  A sum[kStrip];
  for (int j = 0; j < width; ++j) sum[j] = 0;
  for (int64_t i = 0; i < n; ++i) {
    const T *pg = g + i * inner, *py = y + i * inner;
#pragma omp simd
    for (int j = 0; j < width; ++j) sum[j] += term<kLog>(A(pg[j]), A(py[j]));
  }
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = i * inner;
    const T *pg = g + at, *py = y + at;
    T* out = dx + at;
#pragma omp simd
    for (int j = 0; j < width; ++j) out[j] = T(slope<kLog>(A(pg[j]), A(py[j]), sum[j]) + (have ? A(have[at + j]) : A(0)));
  }
}

/** in: g, y, gradient so far?. attr: outer, n, inner. */
template <bool kLog>
void gradient(const Call& c) {
  const Shape s(c);
  dispatchFloat(c.out[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    const T *g = c.in[0].as<T>(), *y = c.in[1].as<T>(), *have = c.has(2) ? c.in[2].as<T>() : nullptr;
    T* dx = c.out[0].as<T>();
    const auto from = [&](int64_t at) { return have ? have + at : nullptr; };
    s.each([&](int64_t at) { gradientRow<T, kLog>(g + at, y + at, from(at), dx + at, s.n); },
           [&](int64_t at, int width) { gradientStrip<T, kLog>(g + at, y + at, from(at), dx + at, s.n, s.inner, width); });
  });
}

}  // namespace

void registerSoftmax(OpTable& t) {
  t.cpu("softmax", softmax<false>);
  t.cpu("logSoftmax", softmax<true>);
  t.cpu("softmax.grad", gradient<false>);
  t.cpu("logSoftmax.grad", gradient<true>);
}

ANNEAL_KERNELS_END
