// Batch norm and group norm: statistics and parameters by channel of [N, C, S] (contiguous) or [N, S, C] (channelsLast) memory. Both are
// one ordered reduction, a little arithmetic per channel, and one pass that applies three or four vectors of that length.
#include "cpu/math.h"
#include "cpu/reduce.h"

ANNEAL_KERNELS_BEGIN
namespace {

/** attr: N, C, S, channelsLast. */
struct Layout {
  int64_t samples, channels, pixels;
  bool last;
  explicit Layout(const Call& c) : samples(c.integer(0)), channels(c.integer(1)), pixels(c.integer(2)), last(c.flag(3) || c.integer(2) == 1) {
    require(samples >= 0 && channels >= 0 && pixels >= 0, "norm: dimensions");
  }
  int64_t size() const { return samples * channels * pixels; }
  /** One output per channel. */
  Walk byChannel() const {
    if (last) {
      const double dims[] = {double(samples * pixels), double(channels)}, flags[] = {1, 0};
      return Walk(2, dims, flags);
    }
    const double dims[] = {double(samples), double(channels), double(pixels)}, flags[] = {1, 0, 1};
    return Walk(3, dims, flags);
  }
  /** One output per sample and channel. */
  Walk bySample() const {
    if (last) {
      const double dims[] = {double(samples), double(pixels), double(channels)}, flags[] = {0, 1, 0};
      return Walk(3, dims, flags);
    }
    const double dims[] = {double(samples * channels), double(pixels)}, flags[] = {0, 1};
    return Walk(2, dims, flags);
  }
};

/** Vectors in scratch, `n` long each: `wide` of double, then `narrow` of A. */
template <class A>
struct Vectors {
  int64_t n;
  double* wide;
  A* narrow;
  Vectors(int64_t length, int wides, int narrows) : n(length) {
    wide = reinterpret_cast<double*>(scratch(6, static_cast<size_t>(n * (wides * int64_t(sizeof(double)) + narrows * int64_t(sizeof(A))) + 64)));
    narrow = reinterpret_cast<A*>(wide + n * wides);
  }
  double* operator()(int i) const { return wide + i * n; }
  A* operator[](int i) const { return narrow + i * n; }
};

/** out = (x - mean) a + b, + g p where kGrad, + have where given. Vectors are by channel, or by sample and channel. */
template <class T, bool kGrad>
struct Apply {
  using A = Acc<T>;
  const T *x, *g, *have;
  const A *mean, *a, *b, *p;
  T* out;

  ANNEAL_ALWAYS A at(A xv, A gv, A m, A av, A bv, A pv) const {
    const A y = (xv - m) * av + bv;
    return kGrad ? y + gv * pv : y;
  }
  __attribute__((noinline)) void row(int64_t offset, int64_t n, int64_t v) const {
    const T *px = x + offset, *pg = kGrad ? g + offset : px, *ph = have ? have + offset : nullptr;
    T* y = out + offset;
    const A m = mean[v], av = a[v], bv = b[v], pv = kGrad ? p[v] : A(0);
    if (ph) {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) y[i] = T(at(A(px[i]), A(pg[i]), m, av, bv, pv) + A(ph[i]));
    } else {
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) y[i] = T(at(A(px[i]), A(pg[i]), m, av, bv, pv));
    }
  }
  /** `n` elements that run through the `width` values of each vector again and again. */
  __attribute__((noinline)) void pixels(int64_t offset, int64_t n, int64_t width, const A* vm, const A* va, const A* vb, const A* vp) const {
    for (int64_t i = 0; i < n; i += width) {
      const int64_t many = n - i < width ? n - i : width;
      const T *px = x + offset + i, *pg = kGrad ? g + offset + i : px, *ph = have ? have + offset + i : nullptr;
      T* y = out + offset + i;
      if (ph) {
#pragma omp simd
        for (int64_t j = 0; j < many; ++j) y[j] = T(at(A(px[j]), A(pg[j]), vm[j], va[j], vb[j], kGrad ? vp[j] : A(0)) + A(ph[j]));
      } else {
#pragma omp simd
        for (int64_t j = 0; j < many; ++j) y[j] = T(at(A(px[j]), A(pg[j]), vm[j], va[j], vb[j], kGrad ? vp[j] : A(0)));
      }
    }
  }
  void run(const Layout& l, bool perSample) const {
    const int64_t c = l.channels;
    if (l.size() == 0) return;
    if (!l.last) return parallelRows(l.samples * c, l.pixels, [&](int64_t r) { row(r * l.pixels, l.pixels, perSample ? r : r % c); });
    // Short vectors are repeated, so that inner loops are long.
    constexpr int64_t kLong = 256;
    const int64_t repeats = c < kLong ? kLong / c : 1, width = c * repeats;
    const int64_t blocks = perSample ? l.samples : 1, perBlock = l.size() / blocks, step = (32768 / width + 1) * width;
    const int64_t tasks = (perBlock + step - 1) / step;
    parallelRows(blocks * tasks, step, [&](int64_t t) {
      const int64_t block = t / tasks, begin = t % tasks * step, n = perBlock - begin < step ? perBlock - begin : step, v = block * c;
      if (repeats == 1) return pixels(block * perBlock + begin, n, width, mean + v, a + v, b + v, kGrad ? p + v : nullptr);
      A vm[kLong], va[kLong], vb[kLong], vp[kLong];
      for (int64_t i = 0; i < repeats; ++i)
        for (int64_t j = 0; j < c; ++j) {
          const int64_t k = i * c + j;
          vm[k] = mean[v + j], va[k] = a[v + j], vb[k] = b[v + j], vp[k] = kGrad ? p[v + j] : A(0);
        }
      pixels(block * perBlock + begin, n, width, vm, va, vb, vp);
    });
  }
};

/** Means and sums of squared deviations, as doubles. */
template <class T>
struct RawMoments : Moments<T> {
  double *means, *m2s;
  void write(const double* s, int64_t ld, int64_t n, int64_t at) const {
    for (int64_t j = 0; j < n; ++j) means[at + j] = s[j], m2s[at + j] = s[ld + j];
  }
};

/** Sums of g and of g (x - mean), with a mean for each output. */
template <class T>
struct GradientSums {
  using A = Acc<T>;
  static constexpr int kPlanes = 2;
  const T *g, *x;
  const A* mean;
  double *plain, *products;
  void start(double* s, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) s[j] = s[ld + j] = 0;
  }
  void row(double* s, int64_t offset, int64_t n, const Place& at) const {
    constexpr int64_t kRun = 4096;
    const A m = mean[at.out];
    for (int64_t i = 0; i < n; i += kRun) {
      const T *pg = g + offset + i, *px = x + offset + i;
      const Two<A> sums = sumRun2<A>(n - i < kRun ? n - i : kRun, [&](int64_t j) ANNEAL_INLINED {
        const A v = A(pg[j]);
        return Two<A>{v, v * (A(px[j]) - m)};
      });
      s[0] += double(sums.first);
      s[1] += double(sums.second);
    }
  }
  void block(double* s, int64_t ld, const int64_t* o, int n, int width, const Place& at) const {
    const A* m = mean + at.out;
    double* t = s + ld;
    int r = 0;
    for (; r + 4 <= n; r += 4) {
      const T *g0 = g + o[r], *g1 = g + o[r + 1], *g2 = g + o[r + 2], *g3 = g + o[r + 3];
      const T *x0 = x + o[r], *x1 = x + o[r + 1], *x2 = x + o[r + 2], *x3 = x + o[r + 3];
#pragma omp simd
      for (int j = 0; j < width; ++j) {
        const A mj = m[j];
        s[j] += double((A(g0[j]) + A(g1[j])) + (A(g2[j]) + A(g3[j])));
        t[j] += double((A(g0[j]) * (A(x0[j]) - mj) + A(g1[j]) * (A(x1[j]) - mj)) + (A(g2[j]) * (A(x2[j]) - mj) + A(g3[j]) * (A(x3[j]) - mj)));
      }
    }
    for (; r < n; ++r) {
      const T *pg = g + o[r], *px = x + o[r];
#pragma omp simd
      for (int j = 0; j < width; ++j) {
        s[j] += double(A(pg[j]));
        t[j] += double(A(pg[j]) * (A(px[j]) - m[j]));
      }
    }
  }
  void combine(double* s, const double* t, int64_t ld, int64_t n, int64_t, int64_t) const {
    for (int64_t j = 0; j < n; ++j) s[j] += t[j], s[ld + j] += t[ld + j];
  }
  void write(const double* s, int64_t ld, int64_t n, int64_t at) const {
    for (int64_t j = 0; j < n; ++j) plain[at + j] = s[j], products[at + j] = s[ld + j];
  }
};

/** A parameter vector that may be absent. */
template <class A>
struct Parameter {
  const A* data;
  A absent;
  A operator[](int64_t i) const { return data ? data[i] : absent; }
};
/** in: `activations` of one dtype, then `wides` of its parameters', then another activation?. out: an activation, then `outs` wide ones. */
void requireTypes(const Call& c, int activations, int wides, int outs) {
  const DType t = c.in[0].dtype;
  requireInputs(c, 0, activations, t);
  requireInputs(c, activations, activations + wides, wideOf(t));
  requireInputs(c, activations + wides, activations + wides + 1, t);
  requireOutputs(c, 0, 1, t);
  requireOutputs(c, 1, 1 + outs, wideOf(t));
}

template <class A>
Parameter<A> parameter(const Call& c, int i, double absent, int64_t n) {
  require(!c.has(i) || c.in[i].n == n, "norm: parameters");
  return {c.has(i) ? c.in[i].as<A>() : nullptr, A(absent)};
}

void addTo(const Call& c, int i, int64_t at, double v, bool accumulate) {
  if (!c.hasOut(i)) return;
  storeAs(c.out[i], at, v + (!accumulate ? 0.0 : c.out[i].dtype == DType::f64 ? c.out[i].as<double>()[at] : double(c.out[i].as<float>()[at])));
}

/**
 * in: x, gamma?, beta?, and in evaluation the running mean and variance. out: y, statistics [2, C] (mean, 1 / standard deviation), and in
 * training the running mean and variance?, updated in place. attr: N, C, S, channelsLast, training, eps, momentum.
 */
void batchNorm(const Call& c) {
  const Layout l(c);
  const bool training = c.flag(4);
  const double eps = c.attr[5], momentum = c.attr[6], count = double(l.samples * l.pixels);
  const int64_t channels = l.channels;
  require(c.in[0].n == l.size() && c.out[0].n == l.size() && c.out[1].n == 2 * channels, "batchNorm: sizes");
  require(training || (c.has(3) && c.has(4) && c.in[3].n == channels && c.in[4].n == channels), "batchNorm: running statistics");
  require((!c.hasOut(2) || c.out[2].n == channels) && (!c.hasOut(3) || c.out[3].n == channels), "batchNorm: running statistics");
  requireTypes(c, 1, 4, 3);
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T* x = c.in[0].as<T>();
    const Vectors<A> v(channels, 2, 2);
    const Parameter<A> gamma = parameter<A>(c, 1, 1, channels), beta = parameter<A>(c, 2, 0, channels);
    A *means = c.out[1].as<A>(), *rstds = means + channels;
    if (training) reduce(l.byChannel(), RawMoments<T>{{x}, v(0), v(1)});
    for (int64_t j = 0; j < channels; ++j) {
      const double mean = training ? v(0)[j] : double(c.in[3].as<A>()[j]), variance = training ? v(1)[j] / count : double(c.in[4].as<A>()[j]);
      const double rstd = 1 / sqrt(variance + eps), a = double(gamma[j]) * rstd;
      means[j] = A(mean);
      rstds[j] = A(rstd);
      v[0][j] = A(a);
      v[1][j] = A(double(beta[j]) - (mean - double(means[j])) * a);  // what rounding took from the mean
      if (!training) continue;
      if (c.hasOut(2)) addTo(c, 2, j, momentum * (mean - double(c.out[2].as<A>()[j])), true);
      if (c.hasOut(3)) addTo(c, 3, j, momentum * (v(1)[j] / (count - 1) - double(c.out[3].as<A>()[j])), true);
    }
    Apply<T, false>{x, nullptr, nullptr, means, v[0], v[1], nullptr, c.out[0].as<T>()}.run(l, false);
  });
}

// with n values per channel, h = (x - mean) rstd: dx = gamma rstd (g - mean(g) - h mean(g h)) in training, gamma rstd g in evaluation;
// dgamma = sum g h, dbeta = sum g
/** in: g, x, statistics, gamma?, gradient of x so far?. out: dx?, dgamma?, dbeta?. attr: N, C, S, channelsLast, training, add to dgamma, to dbeta. */
void batchNormGradient(const Call& c) {
  const Layout l(c);
  const bool training = c.flag(4);
  const double count = double(l.samples * l.pixels);
  const int64_t channels = l.channels;
  require(c.in[0].n == l.size() && c.in[1].n == l.size() && c.in[2].n == 2 * channels && (!c.has(4) || c.in[4].n == l.size()), "batchNorm gradient: sizes");
  require((!c.hasOut(0) || c.out[0].n == l.size()) && (!c.hasOut(1) || c.out[1].n == channels) && (!c.hasOut(2) || c.out[2].n == channels), "batchNorm gradient: outputs");
  requireTypes(c, 2, 2, 2);
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T *g = c.in[0].as<T>(), *x = c.in[1].as<T>();
    const A *means = c.in[2].as<A>(), *rstds = means + channels;
    const Parameter<A> gamma = parameter<A>(c, 3, 1, channels);
    const Vectors<A> v(channels, 2, 3);
    if (training || c.hasOut(1) || c.hasOut(2)) reduce(l.byChannel(), GradientSums<T>{g, x, means, v(0), v(1)});
    for (int64_t j = 0; j < channels; ++j) {
      const double rstd = double(rstds[j]), p = double(gamma[j]) * rstd;
      v[0][j] = A(training ? -p * rstd * rstd * v(1)[j] / count : 0);
      v[1][j] = A(training ? -p * v(0)[j] / count : 0);
      v[2][j] = A(p);
      addTo(c, 1, j, v(1)[j] * rstd, c.flag(5));
      addTo(c, 2, j, v(0)[j], c.flag(6));
    }
    if (c.hasOut(0)) Apply<T, true>{x, g, c.has(4) ? c.in[4].as<T>() : nullptr, means, v[0], v[1], v[2], c.out[0].as<T>()}.run(l, false);
  });
}

struct Groups {
  int64_t n, each;  // groups, channels of one
  Groups(const Layout& l, int64_t groups) : n(groups), each(groups > 0 ? l.channels / groups : 0) {
    require(groups > 0 && each * groups == l.channels, "groupNorm: groups");
  }
};

/** in: x, gamma?, beta?. out: y, statistics [2, N, groups]. attr: N, C, S, channelsLast, groups, eps. */
void groupNorm(const Call& c) {
  const Layout l(c);
  const Groups groups(l, c.integer(4));
  const double eps = c.attr[5], pixels = double(l.pixels);
  const int64_t statistics = l.samples * groups.n;
  require(c.in[0].n == l.size() && c.out[0].n == l.size() && c.out[1].n == 2 * statistics, "groupNorm: sizes");
  requireTypes(c, 1, 2, 1);
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T* x = c.in[0].as<T>();
    const Vectors<A> v(l.samples * l.channels, 2, 3);
    const Parameter<A> gamma = parameter<A>(c, 1, 1, l.channels), beta = parameter<A>(c, 2, 0, l.channels);
    A *means = c.out[1].as<A>(), *rstds = means + statistics;
    reduce(l.bySample(), RawMoments<T>{{x}, v(0), v(1)});
    for (int64_t s = 0; s < statistics; ++s) {
      const int64_t first = s * groups.each, channel = first % l.channels;
      double mean = 0, m2 = 0;
      for (int64_t j = 0; j < groups.each; ++j) Moments<T>::merge(mean, m2, double(j) * pixels, v(0)[first + j], v(1)[first + j], pixels);
      const double rstd = 1 / sqrt(m2 / (double(groups.each) * pixels) + eps);
      means[s] = A(mean);
      rstds[s] = A(rstd);
      for (int64_t j = 0; j < groups.each; ++j) {
        const double a = double(gamma[channel + j]) * rstd;
        v[0][first + j] = means[s];
        v[1][first + j] = A(a);
        v[2][first + j] = A(double(beta[channel + j]) - (mean - double(means[s])) * a);
      }
    }
    Apply<T, false>{x, nullptr, nullptr, v[0], v[1], v[2], nullptr, c.out[0].as<T>()}.run(l, true);
  });
}

// as layer norm over each group; dgamma and dbeta add up over samples in order
/** in: g, x, statistics, gamma?, gradient of x so far?. out: dx?, dgamma?, dbeta?. attr: N, C, S, channelsLast, groups, add to dgamma, to dbeta. */
void groupNormGradient(const Call& c) {
  const Layout l(c);
  const Groups groups(l, c.integer(4));
  const int64_t statistics = l.samples * groups.n, channels = l.channels;
  require(c.in[0].n == l.size() && c.in[1].n == l.size() && c.in[2].n == 2 * statistics && (!c.has(4) || c.in[4].n == l.size()), "groupNorm gradient: sizes");
  require((!c.hasOut(0) || c.out[0].n == l.size()) && (!c.hasOut(1) || c.out[1].n == channels) && (!c.hasOut(2) || c.out[2].n == channels), "groupNorm gradient: outputs");
  requireTypes(c, 2, 2, 2);
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T *g = c.in[0].as<T>(), *x = c.in[1].as<T>();
    const A *means = c.in[2].as<A>(), *rstds = means + statistics;
    const Parameter<A> gamma = parameter<A>(c, 3, 1, channels);
    const Vectors<A> v(l.samples * channels, 2, 4);
    for (int64_t i = 0; i < v.n; ++i) v[0][i] = means[i / groups.each];
    reduce(l.bySample(), GradientSums<T>{g, x, v[0], v(0), v(1)});
    const double count = double(groups.each * l.pixels);
    for (int64_t s = 0; s < statistics; ++s) {
      const int64_t first = s * groups.each, channel = first % channels;
      const double rstd = double(rstds[s]);
      double sum = 0, product = 0;
      for (int64_t j = 0; j < groups.each; ++j) {
        sum += double(gamma[channel + j]) * v(0)[first + j];
        product += double(gamma[channel + j]) * v(1)[first + j];
      }
      for (int64_t j = 0; j < groups.each; ++j) {
        v[1][first + j] = A(-rstd * rstd * rstd * product / count);
        v[2][first + j] = A(-rstd * sum / count);
        v[3][first + j] = A(double(gamma[channel + j]) * rstd);
      }
    }
    for (int64_t j = 0; j < channels; ++j) {
      double dgamma = 0, dbeta = 0;
      for (int64_t n = 0; n < l.samples; ++n) {
        dgamma += v(1)[n * channels + j] * double(rstds[(n * channels + j) / groups.each]);
        dbeta += v(0)[n * channels + j];
      }
      addTo(c, 1, j, dgamma, c.flag(5));
      addTo(c, 2, j, dbeta, c.flag(6));
    }
    if (c.hasOut(0)) Apply<T, true>{x, g, c.has(4) ? c.in[4].as<T>() : nullptr, v[0], v[1], v[2], v[3], c.out[0].as<T>()}.run(l, true);
  });
}

}  // namespace

void registerChannelNorm(OpTable& t) {
  t.cpu("batchNorm", batchNorm);
  t.cpu("batchNorm.grad", batchNormGradient);
  t.cpu("groupNorm", groupNorm);
  t.cpu("groupNorm.grad", groupNormGradient);
}

ANNEAL_KERNELS_END
