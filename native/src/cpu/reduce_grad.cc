// Gradients of reductions: one walk over the input, each element from the gradient (and the value) of the output it went into.
#include "cpu/math.h"
#include "cpu/reduce.h"

ANNEAL_KERNELS_BEGIN
namespace {

/** What some rules must know of a whole reduction first: two numbers for each output. */
struct Nothing {
  static constexpr bool kPrepares = false;
  static constexpr double kA = 0, kB = 0;
  template <class A>
  static ANNEAL_ALWAYS void prepare(A, A, double&, double&) {}
};

// d(scale * sum x)/dx = scale
struct SumRule : Nothing {
  template <class A>
  static ANNEAL_ALWAYS A value(A g, A, A, A scale, double, double) { return g * scale; }
};

// Elements equal to the extreme share evenly; NaN counts as equal to NaN.
struct ExtremeRule {
  static constexpr bool kPrepares = true;
  static constexpr double kA = 0, kB = 0;
  template <class A>
  static ANNEAL_ALWAYS bool wins(A x, A y) { return x == y || (x != x && y != y); }
  template <class A>
  static ANNEAL_ALWAYS void prepare(A x, A y, double& winners, double&) { winners += wins(x, y) ? 1.0 : 0.0; }
  template <class A>
  static ANNEAL_ALWAYS A value(A g, A x, A y, A, double winners, double) { return wins(x, y) ? g / A(winners) : A(0); }
};

// The product of the others: y/x, or with one zero, for that one, the product of the rest.
struct ProductRule {
  static constexpr bool kPrepares = true;
  static constexpr double kA = 1, kB = 0;
  template <class A>
  static ANNEAL_ALWAYS void prepare(A x, A, double& rest, double& zeros) {
    rest *= x == A(0) ? 1.0 : double(x);
    zeros += x == A(0) ? 1.0 : 0.0;
  }
  template <class A>
  static ANNEAL_ALWAYS A value(A g, A x, A, A, double rest, double zeros) {
    const double others = x == A(0) ? (zeros == 1 ? rest : 0.0) : (zeros == 0 ? rest / double(x) : 0.0);
    return A(double(g) * others);
  }
};

// d log(sum e^x)/dx = e^(x - y)
struct LogSumExpRule : Nothing {
  template <class A>
  static ANNEAL_ALWAYS A value(A g, A x, A y, A, double, double) {
    const A e = mexp(x - y);
    return x == -A(__builtin_inf()) ? A(0) : g * e;
  }
};

// d var/dx = 2 (x - mean) / (n - correction)
struct VarianceRule : Nothing {
  template <class A>
  static ANNEAL_ALWAYS A value(A g, A x, A mean, A scale, double, double) { return g * scale * (x - mean); }
};

/** Y: the dtype of the saved value of each output; void where none is. */
template <class Rule, class T, class Y>
struct Gradient {
  using A = Acc<T>;
  const T *g, *x;
  const Y* y;
  const T* have;
  T* dx;
  A scale;

  ANNEAL_ALWAYS A saved(int64_t i) const { return y ? A(y[i]) : A(0); }

  __attribute__((noinline)) void rows(const Walk& w, int64_t cell, int64_t begin, int64_t end) const {
    const A gv = A(g[cell]), yv = saved(cell), factor = scale;
    double a = Rule::kA, b = Rule::kB;
    if constexpr (Rule::kPrepares)
      w.runs(cell, 0, w.length(), [&](int64_t offset, int64_t n, int64_t) {
        for (int64_t i = 0; i < n; ++i) Rule::prepare(A(x[offset + i]), yv, a, b);
      });
    w.runs(cell, begin, end, [&](int64_t offset, int64_t n, int64_t) {
      const T *px = x ? x + offset : dx + offset, *ph = have + offset;
      T* out = dx + offset;
      if (have) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) out[i] = T(Rule::value(gv, A(px[i]), yv, factor, a, b) + A(ph[i]));
      } else {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) out[i] = T(Rule::value(gv, A(px[i]), yv, factor, a, b));
      }
    });
  }

  __attribute__((noinline)) void columns(const Walk& w, int64_t cell, int64_t begin, int64_t end) const {
    const int64_t first = w.firstOutput(cell), base = w.base(cell);
    const int n = static_cast<int>(w.columns(cell));
    A gv[kTile], yv[kTile];
    double a[kTile], b[kTile];
    const A factor = scale;
    for (int j = 0; j < n; ++j) gv[j] = A(g[first + j]), yv[j] = saved(first + j), a[j] = Rule::kA, b[j] = Rule::kB;
    if constexpr (Rule::kPrepares)
      for (int64_t i = 0; i < w.length(); ++i) {
        const T* px = x + base + w.reducedOffset(i);
#pragma omp simd
        for (int j = 0; j < n; ++j) Rule::prepare(A(px[j]), yv[j], a[j], b[j]);
      }
    for (int64_t i = begin; i < end; ++i) {
      const int64_t offset = base + w.reducedOffset(i);
      const T *px = x ? x + offset : dx + offset, *ph = have + offset;
      T* out = dx + offset;
      if (have) {
#pragma omp simd
        for (int j = 0; j < n; ++j) out[j] = T(Rule::value(gv[j], A(px[j]), yv[j], factor, a[j], b[j]) + A(ph[j]));
      } else {
#pragma omp simd
        for (int j = 0; j < n; ++j) out[j] = T(Rule::value(gv[j], A(px[j]), yv[j], factor, a[j], b[j]));
      }
    }
  }

  void run(const Walk& w) const {
    const int64_t width = w.width(), length = w.length();
    const bool split = !Rule::kPrepares && length * width > kChunk;
    const int64_t chunk = split ? (kChunk / width + 63) / 64 * 64 : length, chunks = split ? (length + chunk - 1) / chunk : 1;
    if (length == 0) return;
    parallelRows(w.cells() * chunks, chunk * width, [&](int64_t task) {
      const int64_t cell = task / chunks, begin = task % chunks * chunk, end = begin + chunk < length ? begin + chunk : length;
      if (w.rows) rows(w, cell, begin, end);
      else columns(w, cell, begin, end);
    });
  }
};

/** in: gradient and (as the rule needs) x, saved outputs, the gradient so far. out: dx. attr: scale, rank, dims, flags. kWide: saved values are Acc<T>. */
template <class Rule, bool kWide, bool kReads = true>
void gradient(const Call& c) {
  const Walk w = Walk::from(c, 1);
  require(c.in[0].n == w.outputs() && c.out[0].n == w.elements(), "reduce gradient: sizes");
  require(!kReads || (c.has(1) && c.in[1].n == w.elements()) || w.elements() == 0, "reduce gradient: input");
  require(!c.has(2) || c.in[2].n == w.outputs(), "reduce gradient: saved outputs");
  require(!c.has(3) || c.in[3].n == w.elements(), "reduce gradient: gradient so far");
  requireInputs(c, 0, 2, c.out[0].dtype);
  requireInputs(c, 2, 3, kWide ? wideOf(c.out[0].dtype) : c.out[0].dtype);
  requireInputs(c, 3, 4, c.out[0].dtype);
  dispatchFloat(c.out[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using Y = std::conditional_t<kWide, Acc<T>, T>;
    const Gradient<Rule, T, Y> op{c.in[0].as<T>(), c.has(1) ? c.in[1].as<T>() : nullptr, c.has(2) ? c.in[2].as<Y>() : nullptr,
                                  c.has(3) ? c.in[3].as<T>() : nullptr, c.out[0].as<T>(), Acc<T>(c.attr[0])};
    op.run(w);
  });
}

}  // namespace

void registerReduceGradients(OpTable& t) {
  t.cpu("sum.grad", gradient<SumRule, false, false>);
  t.cpu("extreme.grad", gradient<ExtremeRule, false>);
  t.cpu("prod.grad", gradient<ProductRule, false>);
  t.cpu("logSumExp.grad", gradient<LogSumExpRule, true>);
  t.cpu("variance.grad", gradient<VarianceRule, true>);
}

ANNEAL_KERNELS_END
