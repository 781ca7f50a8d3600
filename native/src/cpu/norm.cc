// Layer norm and RMS norm: rows of [rows, n], one parameter vector of length n for all of them. Batch and group norm are in
// channel_norm.cc.
#include "cpu/kernel.h"
#include "cpu/math.h"
#include "cpu/sums.h"

namespace anneal::cpu {
char* scratch(int slot, size_t bytes);
}

ANNEAL_KERNELS_BEGIN
namespace {

/** Sums over a row: runs of the arithmetic's own width, added up in f64. */
constexpr int64_t kRun = 2048;

/** The mean, rounded; what rounding took from it; 1 / standard deviation. */
template <class A>
struct Statistics {
  A mean, rest, rstd;
};

template <class A>
ANNEAL_ALWAYS A reciprocalRoot(double x) { return A(1) / msqrt(A(x)); }

/** Deviations are taken about the mean, and what its rounding left is taken off again: a far mean costs no digits. */
template <class T>
Statistics<Acc<T>> layerStatistics(const T* x, int64_t n, double inverse, double eps) {
  using A = Acc<T>;
  double total = 0;
  for (int64_t i = 0; i < n; i += kRun) {
    const T* p = x + i;
    total += double(sumRun<A>(n - i < kRun ? n - i : kRun, [&](int64_t j) ANNEAL_INLINED { return A(p[j]); }));
  }
  const A shift = A(total * inverse);
  double first = 0, second = 0;
  for (int64_t i = 0; i < n; i += kRun) {
    const T* p = x + i;
    const Two<A> sums = sumRun2<A>(n - i < kRun ? n - i : kRun, [&](int64_t j) ANNEAL_INLINED {
      const A d = A(p[j]) - shift;
      return Two<A>{d, d * d};
    });
    first += double(sums.first);
    second += double(sums.second);
  }
  const double off = first * inverse;
  return {shift, A(off), reciprocalRoot<A>((second - off * first) * inverse + eps)};
}

template <class T>
Statistics<Acc<T>> rmsStatistics(const T* x, int64_t n, double inverse, double eps) {
  using A = Acc<T>;
  double second = 0;
  for (int64_t i = 0; i < n; i += kRun) {
    const T* p = x + i;
    second += double(sumRun<A>(n - i < kRun ? n - i : kRun, [&](int64_t j) ANNEAL_INLINED { return A(p[j]) * A(p[j]); }));
  }
  return {A(0), A(0), reciprocalRoot<A>(second * inverse + eps)};
}

/** y = (x - mean) rstd gamma + beta. in: x, gamma?, beta?. out: y, mean (layer norm only), rstd. attr: rows, n, eps. */
template <bool kRms>
void forward(const Call& c) {
  const int64_t rows = c.integer(0), n = c.integer(1);
  const double eps = c.attr[2], inverse = 1 / double(n);
  require(c.in[0].n == rows * n && c.out[0].n == rows * n && c.out[2].n == rows && (kRms || c.out[1].n == rows), "norm: sizes");
  require((!c.has(1) || c.in[1].n == n) && (!c.has(2) || c.in[2].n == n), "norm: parameters");
  requireInputs(c, 1, 3, wideOf(c.in[0].dtype));
  requireOutputs(c, 0, 1, c.in[0].dtype);
  requireOutputs(c, 1, 3, wideOf(c.in[0].dtype));
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T* x = c.in[0].as<T>();
    const A *gamma = c.has(1) ? c.in[1].as<A>() : nullptr, *beta = c.has(2) ? c.in[2].as<A>() : nullptr;
    T* y = c.out[0].as<T>();
    A *means = kRms ? nullptr : c.out[1].as<A>(), *rstds = c.out[2].as<A>();
    parallelRows(rows, 4 * n, [=](int64_t r) {
      const T* p = x + r * n;
      T* q = y + r * n;
      const Statistics<A> s = kRms ? rmsStatistics(p, n, inverse, eps) : layerStatistics(p, n, inverse, eps);
      if (!kRms) means[r] = s.mean;
      rstds[r] = s.rstd;
      const A mean = s.mean, rest = s.rest, rstd = s.rstd;
      if (gamma && beta) {
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) q[j] = T((A(p[j]) - mean - rest) * rstd * gamma[j] + beta[j]);
      } else {
#pragma omp simd
        for (int64_t j = 0; j < n; ++j) q[j] = T((A(p[j]) - mean - rest) * rstd * (gamma ? gamma[j] : A(1)) + (beta ? beta[j] : A(0)));
      }
    });
  });
}

/** The rows that one task sums parameter gradients over: enough work for a task, few enough for f32 sums. Depends on the shape alone. */
int64_t rowsPerTask(int64_t rows, int64_t n) {
  int64_t r = 32768 / (n < 1 ? 1 : n);
  r = r < 8 ? 8 : (r > 128 ? 128 : r);
  return r < rows ? r : (rows < 1 ? 1 : rows);
}

template <class T>
struct Backward {
  using A = Acc<T>;
  const T *g, *x, *have;
  const A *means, *rstds, *gamma;
  T* dx;
  double inverse;  // 1 / n
  bool parameters;

  // with h = (x - mean) rstd, u = g gamma: dx = rstd (u - mean(u) - h mean(u h)); RMS norm has no middle term.
  // dgamma = sum g h, dbeta = sum g over rows, into `dgamma` and `dbeta` of this task.
  template <bool kRms>
  __attribute__((noinline)) void row(int64_t r, int64_t n, A* dgamma, A* dbeta) const {
    const T *pg = g + r * n, *px = x + r * n, *ph = have ? have + r * n : nullptr;
    const A mean = kRms ? A(0) : means[r], rstd = rstds[r];
    double total1 = 0, total2 = 0;
    for (int64_t i = 0; i < n; i += kRun) {
      const int64_t m = n - i < kRun ? n - i : kRun;
      Two<A> sums;
      if (parameters && gamma) {
        sums = sumRun2<A>(m, [&](int64_t k) ANNEAL_INLINED {
          const int64_t j = i + k;
          const A gj = A(pg[j]), h = (A(px[j]) - mean) * rstd, u = gj * gamma[j];
          dgamma[j] += gj * h;
          dbeta[j] += gj;
          return Two<A>{u, u * h};
        });
      } else {
        sums = sumRun2<A>(m, [&](int64_t k) ANNEAL_INLINED {
          const int64_t j = i + k;
          const A u = A(pg[j]) * (gamma ? gamma[j] : A(1));
          return Two<A>{u, u * ((A(px[j]) - mean) * rstd)};
        });
      }
      total1 += double(sums.first);
      total2 += double(sums.second);
    }
    if (parameters && !gamma)
      for (int64_t j = 0; j < n; ++j) {
        dgamma[j] += A(pg[j]) * ((A(px[j]) - mean) * rstd);
        dbeta[j] += A(pg[j]);
      }
    if (!dx) return;
    const A m1 = kRms ? A(0) : A(total1 * inverse), m2 = A(total2 * inverse);
    T* q = dx + r * n;
    if (gamma && !ph) {
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) q[j] = T(rstd * (A(pg[j]) * gamma[j] - m1 - (A(px[j]) - mean) * rstd * m2));
    } else {
#pragma omp simd
      for (int64_t j = 0; j < n; ++j)
        q[j] = T(rstd * (A(pg[j]) * (gamma ? gamma[j] : A(1)) - m1 - (A(px[j]) - mean) * rstd * m2) + (ph ? A(ph[j]) : A(0)));
    }
  }
};

/** out [n] (+)= the tasks' partial sums, in order. */
template <class A>
void finish(const View& out, const A* partials, int64_t tasks, int64_t step, int64_t n, bool accumulate) {
  A* y = out.as<A>();
  parallelRows((n + 63) / 64, 64 * tasks, [=](int64_t strip) {
    const int64_t first = strip * 64, width = n - first < 64 ? n - first : 64;
    double sum[64];
    for (int64_t j = 0; j < width; ++j) sum[j] = accumulate ? double(y[first + j]) : 0.0;
    for (int64_t t = 0; t < tasks; ++t) {
      const A* p = partials + t * step + first;
#pragma omp simd
      for (int64_t j = 0; j < width; ++j) sum[j] += double(p[j]);
    }
    for (int64_t j = 0; j < width; ++j) y[first + j] = A(sum[j]);
  });
}

/**
 * One pass over g and x: each task takes some rows, writes their dx and its partial sums for dgamma and dbeta.
 * in: g, x, mean (layer norm only), rstd, gamma?, gradient of x so far?. out: dx?, dgamma?, dbeta?.
 * attr: rows, n, add to dgamma, add to dbeta.
 */
template <bool kRms>
void backward(const Call& c) {
  const int64_t rows = c.integer(0), n = c.integer(1);
  require(c.in[0].n == rows * n && c.in[1].n == rows * n && c.in[3].n == rows && (kRms || c.in[2].n == rows), "norm gradient: sizes");
  require((!c.has(4) || c.in[4].n == n) && (!c.has(5) || c.in[5].n == rows * n), "norm gradient: inputs");
  require((!c.hasOut(0) || c.out[0].n == rows * n) && (!c.hasOut(1) || c.out[1].n == n) && (!c.hasOut(2) || c.out[2].n == n), "norm gradient: outputs");
  requireInputs(c, 1, 2, c.in[0].dtype);
  requireInputs(c, 2, 5, wideOf(c.in[0].dtype));
  requireInputs(c, 5, 6, c.in[0].dtype);
  requireOutputs(c, 0, 1, c.in[0].dtype);
  requireOutputs(c, 1, 3, wideOf(c.in[0].dtype));
  const bool parameters = c.hasOut(1) || c.hasOut(2);
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const Backward<T> op{c.in[0].as<T>(), c.in[1].as<T>(), c.has(5) ? c.in[5].as<T>() : nullptr, kRms ? nullptr : c.in[2].as<A>(), c.in[3].as<A>(),
                         c.has(4) ? c.in[4].as<A>() : nullptr, c.hasOut(0) ? c.out[0].as<T>() : nullptr, 1 / double(n), parameters};
    const int64_t each = rowsPerTask(rows, n), tasks = (rows + each - 1) / each;
    A* partials = parameters ? reinterpret_cast<A*>(scratch(7, sizeof(A) * static_cast<size_t>(tasks * 2 * n + 1))) : nullptr;
    parallelRows(tasks, 8 * each * n, [&](int64_t t) {
      A *dgamma = partials + t * 2 * n, *dbeta = dgamma + n;
      if (parameters)
        for (int64_t j = 0; j < 2 * n; ++j) dgamma[j] = 0;
      const int64_t end = (t + 1) * each < rows ? (t + 1) * each : rows;
      for (int64_t r = t * each; r < end; ++r) op.template row<kRms>(r, n, dgamma, dbeta);
    });
    if (c.hasOut(1)) finish(c.out[1], partials, tasks, 2 * n, n, c.flag(2));
    if (c.hasOut(2)) finish(c.out[2], partials + n, tasks, 2 * n, n, c.flag(3));
  });
}

}  // namespace

void registerNorm(OpTable& t) {
  t.cpu("layerNorm", forward<false>);
  t.cpu("rmsNorm", forward<true>);
  t.cpu("layerNorm.grad", backward<false>);
  t.cpu("rmsNorm.grad", backward<true>);
}

ANNEAL_KERNELS_END
