// Sums, products, extremes, log-sum-exp, variance over any axes, and their gradients. The walk is in reduce.h.
#include "cpu/reduce.h"

#include "cpu/math.h"

ANNEAL_KERNELS_BEGIN
namespace {

constexpr int64_t kRun = 4096;
constexpr double kInfinity = __builtin_inf();

/** What all ops with one plane share. */
struct OnePlane {
  static constexpr int kPlanes = 1;
  View out;
};

/** scale * sum (added to out where `accumulate`). Runs add up in the arithmetic of T, runs to one another in f64. */
template <class T>
struct Sum : OnePlane {
  using A = std::conditional_t<std::is_integral_v<T>, int64_t, Acc<T>>;
  const T* x;
  double scale;
  bool accumulate;
  void start(double* s, int64_t, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) s[j] = 0;
  }
  void row(double* s, int64_t offset, int64_t n, const Place&) const {
    constexpr int64_t kShort = 1024;
    for (int64_t i = 0; i < n; i += kShort) {
      const T* p = x + offset + i;
      s[0] += double(sumRun<A>(n - i < kShort ? n - i : kShort, [&](int64_t j) ANNEAL_INLINED { return A(p[j]); }));
    }
  }
  void block(double* s, int64_t, const int64_t* o, int n, int width, const Place&) const {
    if (n == kRows) {
      const T *a = x + o[0], *b = x + o[1], *d = x + o[2], *e = x + o[3], *f = x + o[4], *g = x + o[5], *h = x + o[6], *k = x + o[7];
#pragma omp simd
      for (int j = 0; j < width; ++j)
        s[j] += double(((A(a[j]) + A(b[j])) + (A(d[j]) + A(e[j]))) + ((A(f[j]) + A(g[j])) + (A(h[j]) + A(k[j]))));
      return;
    }
    for (int i = 0; i < n; ++i) {
      const T* a = x + o[i];
#pragma omp simd
      for (int j = 0; j < width; ++j) s[j] += double(A(a[j]));
    }
  }
  void combine(double* s, const double* t, int64_t, int64_t n, int64_t, int64_t) const {
    for (int64_t j = 0; j < n; ++j) s[j] += t[j];
  }
  void write(const double* s, int64_t, int64_t n, int64_t at) const {
    if (out.dtype == DType::f32) {
      float* y = out.as<float>() + at;
      for (int64_t j = 0; j < n; ++j) y[j] = static_cast<float>(s[j] * scale + (accumulate ? double(y[j]) : 0.0));
    } else if (out.dtype == DType::f64) {
      double* y = out.as<double>() + at;
      for (int64_t j = 0; j < n; ++j) y[j] = s[j] * scale + (accumulate ? y[j] : 0.0);
    } else {
      for (int64_t j = 0; j < n; ++j) storeAs(out, at + j, s[j] * scale);
    }
  }
};

/** The product, in f64. */
template <class T>
struct Product : OnePlane {
  const T* x;
  void start(double* s, int64_t, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) s[j] = 1;
  }
  void row(double* s, int64_t offset, int64_t n, const Place&) const {
    const T* p = x + offset;
    double product = 1;
#pragma omp simd reduction(* : product)
    for (int64_t j = 0; j < n; ++j) product *= double(Acc<T>(p[j]));
    s[0] *= product;
  }
  void block(double* s, int64_t, const int64_t* o, int n, int width, const Place&) const {
    for (int r = 0; r < n; ++r) {
      const T* p = x + o[r];
#pragma omp simd
      for (int j = 0; j < width; ++j) s[j] *= double(Acc<T>(p[j]));
    }
  }
  void combine(double* s, const double* t, int64_t, int64_t n, int64_t, int64_t) const {
    for (int64_t j = 0; j < n; ++j) s[j] *= t[j];
  }
  void write(const double* s, int64_t, int64_t n, int64_t at) const {
    for (int64_t j = 0; j < n; ++j) storeAs(out, at + j, s[j]);
  }
};

/** The maximum of sign * x: sign is 1, or -1 for the minimum. Integers are wide enough to change sign. */
template <class T>
struct Extreme : OnePlane {
  using A = std::conditional_t<std::is_integral_v<T>, int64_t, Acc<T>>;
  const T* x;
  A sign;
  ANNEAL_ALWAYS A of(const T* p, int64_t n) const {
    return maxRun(n, sign * A(p[0]), [&](int64_t j) ANNEAL_INLINED { return sign * A(p[j]); });
  }
  void start(double* s, int64_t, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) s[j] = -kInfinity;
  }
  void row(double* s, int64_t offset, int64_t n, const Place&) const { s[0] = better(s[0], double(of(x + offset, n))); }
  void block(double* s, int64_t, const int64_t* o, int n, int width, const Place&) const {
    if (n == kRows) {
      const T *a = x + o[0], *b = x + o[1], *d = x + o[2], *e = x + o[3], *f = x + o[4], *g = x + o[5], *h = x + o[6], *k = x + o[7];
#pragma omp simd
      for (int j = 0; j < width; ++j) {
        const A l = better(better(sign * A(a[j]), sign * A(b[j])), better(sign * A(d[j]), sign * A(e[j])));
        const A r = better(better(sign * A(f[j]), sign * A(g[j])), better(sign * A(h[j]), sign * A(k[j])));
        s[j] = better(s[j], double(better(l, r)));
      }
      return;
    }
    for (int i = 0; i < n; ++i) {
      const T* a = x + o[i];
#pragma omp simd
      for (int j = 0; j < width; ++j) s[j] = better(s[j], double(sign * A(a[j])));
    }
  }
  void combine(double* s, const double* t, int64_t, int64_t n, int64_t, int64_t) const {
    for (int64_t j = 0; j < n; ++j) s[j] = better(s[j], t[j]);
  }
  void write(const double* s, int64_t, int64_t n, int64_t at) const {
    for (int64_t j = 0; j < n; ++j) storeAs(out, at + j, double(sign) * s[j]);
  }
};

/** Planes: value, index of the first element that has it. */
template <class T>
struct ArgExtreme {
  static constexpr int kPlanes = 2;
  Extreme<T> values;
  void start(double* s, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) s[j] = -kInfinity, s[ld + j] = 0;
  }
  void row(double* s, int64_t offset, int64_t n, const Place& at) const {
    constexpr int64_t kStep = 512;
    for (int64_t i = 0; i < n; i += kStep) {
      const int64_t m = n - i < kStep ? n - i : kStep;
      const T* p = values.x + offset + i;
      const auto v = values.of(p, m);
      if (!beats(double(v), s[0])) continue;
      int64_t j = 0;
      while (beats(v, decltype(v)(values.sign * decltype(v)(p[j])))) ++j;
      s[0] = double(v);
      s[1] = double(at.index + i + j);
    }
  }
  void block(double* s, int64_t ld, const int64_t* o, int n, int width, const Place& at) const {
    double* where = s + ld;
    for (int r = 0; r < n; ++r) {
      const T* p = values.x + o[r];
      const double index = double(at.index + r), sign = double(values.sign);
#pragma omp simd
      for (int j = 0; j < width; ++j) {
        const double v = sign * double(Acc<T>(p[j]));
        const bool take = beats(v, s[j]);
        s[j] = take ? v : s[j];
        where[j] = take ? index : where[j];
      }
    }
  }
  void combine(double* s, const double* t, int64_t ld, int64_t n, int64_t, int64_t) const {
    for (int64_t j = 0; j < n; ++j)
      if (beats(t[j], s[j])) s[j] = t[j], s[ld + j] = t[ld + j];
  }
  void write(const double* s, int64_t ld, int64_t n, int64_t at) const {
    for (int64_t j = 0; j < n; ++j) values.out.template as<int32_t>()[at + j] = static_cast<int32_t>(s[ld + j]);
  }
};

/** f(T{}) for floats and i32; lib widens smaller integers. */
template <class F>
void dispatchWide(DType t, F&& f) {
  if (t == DType::i32) return f(int32_t{});
  dispatchFloat(t, static_cast<F&&>(f));
}

/** log(sum(e^x)). Planes: the largest x so far, the sum of e^(x - it). Infinite maxima are not subtracted. */
template <class T>
struct LogSumExp {
  using A = Acc<T>;
  static constexpr int kPlanes = 2;
  View out;
  const T* x;
  static ANNEAL_ALWAYS double shift(double m) { return m < kInfinity && m > -kInfinity ? m : 0; }
  static ANNEAL_ALWAYS double rescaled(double s, double from, double to) { return s == 0 ? 0 : s * double(mexp(A(shift(from) - shift(to)))); }
  void start(double* s, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) s[j] = -kInfinity, s[ld + j] = 0;
  }
  void row(double* s, int64_t offset, int64_t n, const Place&) const {
    for (int64_t i = 0; i < n; i += kRun) {
      const int64_t m = n - i < kRun ? n - i : kRun;
      const T* p = x + offset + i;
      const A most = maxRun(m, -A(kInfinity), [&](int64_t j) ANNEAL_INLINED { return A(p[j]); });
      if (double(most) > s[0]) {
        s[1] = rescaled(s[1], s[0], double(most));
        s[0] = double(most);
      }
      const A by = A(shift(s[0]));
      s[1] += double(sumRun<A>(m, [&](int64_t j) ANNEAL_INLINED { return mexp(A(p[j]) - by); }));
    }
  }
  void block(double* s, int64_t ld, const int64_t* o, int n, int width, const Place&) const {
    for (int j = 0; j < width; ++j) {
      double most = s[j];
      for (int r = 0; r < n; ++r) {
        const double v = double(A(x[o[r] + j]));
        most = v > most ? v : most;
      }
      s[ld + j] = rescaled(s[ld + j], s[j], most);
      s[j] = most;
    }
    for (int r = 0; r < n; ++r) {
      const T* p = x + o[r];
#pragma omp simd
      for (int j = 0; j < width; ++j) s[ld + j] += double(mexp(A(p[j]) - A(shift(s[j]))));
    }
  }
  void combine(double* s, const double* t, int64_t ld, int64_t n, int64_t, int64_t) const {
    for (int64_t j = 0; j < n; ++j) {
      const double most = t[j] > s[j] ? t[j] : s[j];
      s[ld + j] = rescaled(s[ld + j], s[j], most) + rescaled(t[ld + j], t[j], most);
      s[j] = most;
    }
  }
  void write(const double* s, int64_t ld, int64_t n, int64_t at) const {
    for (int64_t j = 0; j < n; ++j) storeAs(out, at + j, shift(s[j]) + log(s[ld + j]));
  }
};

/** M2 * scale, and the mean as a second output. */
template <class T>
struct Variance : Moments<T> {
  View out, means;
  double scale;
  void write(const double* s, int64_t ld, int64_t n, int64_t at) const {
    for (int64_t j = 0; j < n; ++j) {
      storeAs(out, at + j, s[ld + j] * scale);
      storeAs(means, at + j, s[j]);
    }
  }
};

Walk checkedWalk(const Call& c, int at) {
  const Walk w = Walk::from(c, at);
  require(c.in[0].n == w.elements() && c.out[0].n == w.outputs(), "reduce: sizes");
  return w;
}

/** attr: scale, rank, dims, flags. Integers add up to i32. */
void sum(const Call& c) {
  const Walk w = checkedWalk(c, 1);
  dispatchAny(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    reduce(w, Sum<T>{{c.out[0]}, c.in[0].as<T>(), c.attr[0], false});
  });
}

/** out [n] (+)= sum over rows of in [rows, n]. attr: rows, n, accumulate. out is f32, or f64 for f64. */
void columnSum(const Call& c) {
  const double flags[] = {1, 0};
  const Walk w(2, c.attr, flags);
  require(c.in[0].n == w.elements() && c.out[0].n == w.outputs(), "columnSum: sizes");
  require(c.out[0].dtype == (c.in[0].dtype == DType::f64 ? DType::f64 : DType::f32), "columnSum: dtype of the result");
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    reduce(w, Sum<T>{{c.out[0]}, c.in[0].as<T>(), 1, c.flag(2)});
  });
}

void product(const Call& c) {
  const Walk w = checkedWalk(c, 0);
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    reduce(w, Product<T>{{c.out[0]}, c.in[0].as<T>()});
  });
}

/** attr: sign, rank, dims, flags. */
void extreme(const Call& c) {
  const Walk w = checkedWalk(c, 1);
  dispatchWide(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    reduce(w, Extreme<T>{{c.out[0]}, c.in[0].as<T>(), typename Extreme<T>::A(c.attr[0])});
  });
}

void argExtreme(const Call& c) {
  const Walk w = checkedWalk(c, 1);
  require(c.out[0].dtype == DType::i32, "argmax: indices are i32");
  dispatchWide(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    reduce(w, ArgExtreme<T>{{{c.out[0]}, c.in[0].as<T>(), typename Extreme<T>::A(c.attr[0])}});
  });
}

void logSumExp(const Call& c) {
  const Walk w = checkedWalk(c, 0);
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    reduce(w, LogSumExp<T>{c.out[0], c.in[0].as<T>()});
  });
}

/** attr: 1 / (n - correction), rank, dims, flags. out: variance, mean. */
void variance(const Call& c) {
  const Walk w = checkedWalk(c, 1);
  require(c.out[1].n == w.outputs(), "variance: sizes");
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    reduce(w, Variance<T>{{c.in[0].as<T>()}, c.out[0], c.out[1], c.attr[0]});
  });
}

}  // namespace

void registerReduce(OpTable& t) {
  t.cpu("sum", sum);
  t.cpu("columnSum", columnSum);
  t.cpu("prod", product);
  t.cpu("extreme", extreme);
  t.cpu("argExtreme", argExtreme);
  t.cpu("logSumExp", logSumExp);
  t.cpu("variance", variance);
}

ANNEAL_KERNELS_END
