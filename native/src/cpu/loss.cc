// Elementwise losses, summed in one pass; and the division of sums by counts.
#include "cpu/loss.h"

ANNEAL_KERNELS_BEGIN
namespace {

#include "ops/losses.h"

/** inputs from `at`: x, target, weight (absent: 1), weight of positives (absent: 1), each of x's size. attr: p. */
template <class T>
struct Elements {
  using A = Acc<T>;
  int64_t n;
  const T *x, *t;
  const A *weight = nullptr, *positive = nullptr;
  A p;
  Elements(const Call& c, int at) : n(c.in[at].n), x(c.in[at].as<T>()), t(c.in[at + 1].as<T>()), p(static_cast<A>(c.attr[0])) {
    require(c.in[at + 1].n == n && c.in[at + 1].dtype == c.in[at].dtype, "loss: target");
    for (int i = 2; i < 4; ++i) require(!c.has(at + i) || (c.in[at + i].n == n && c.in[at + i].dtype == dtypeOfAcc<A>()), "loss: weight");
    if (c.has(at + 2)) weight = c.in[at + 2].as<A>();
    if (c.has(at + 3)) positive = c.in[at + 3].as<A>();
  }
  bool plain() const { return !weight && !positive; }
  A weightAt(int64_t i) const { return weight ? weight[i] : A(1); }
  A positiveAt(int64_t i) const { return positive ? positive[i] : A(1); }
};

/** out: the sum over elements. */
template <class F>
void lossSum(const Call& c) {
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const Elements<T> e(c, 0);
    require(c.out[0].n == 1 && c.out[0].dtype == dtypeOfAcc<A>(), "loss: output");
    constexpr int64_t kBlock = 512;  // added up in A; blocks are added in double
    const double sum = orderedSum(e.n, 4096, 4, [&](int64_t begin, int64_t end) {
      double part = 0;
      const T *x = e.x, *t = e.t;
      const A p = e.p;
      for (int64_t at = begin; at < end; at += kBlock) {
        const int64_t stop = at + kBlock < end ? at + kBlock : end;
        A block = 0;
        if (e.plain()) {
#pragma omp simd reduction(+ : block)
          for (int64_t i = at; i < stop; ++i) block += F::template f<A>(A(x[i]), A(t[i]), p, A(1));
        } else {
          for (int64_t i = at; i < stop; ++i) block += e.weightAt(i) * F::template f<A>(A(x[i]), A(t[i]), p, e.positiveAt(i));
        }
        part += static_cast<double>(block);
      }
      return part;
    });
    *c.out[0].as<A>() = static_cast<A>(sum);
  });
}

/** in: gradient of the sum, then as above; out: gradients of x and of the target, either absent. */
template <class F>
void lossGrad(const Call& c) {
  dispatchFloat(c.in[1].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const Elements<T> e(c, 1);
    require(c.in[0].n == 1 && c.in[0].dtype == dtypeOfAcc<A>(), "loss.grad: gradient");
    for (int k = 0; k < 2; ++k) require(!c.hasOut(k) || (c.out[k].n == e.n && c.out[k].dtype == c.in[1].dtype), "loss.grad: output");
    T *dx = c.hasOut(0) ? c.out[0].as<T>() : nullptr, *dt = c.hasOut(1) ? c.out[1].as<T>() : nullptr;
    const A g = *c.in[0].as<A>();
    parallelFor(e.n, kGrain, [=](int64_t begin, int64_t end) {
      const T *x = e.x, *t = e.t;
      const A p = e.p;
      if (dx && e.plain()) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) dx[i] = T(g * F::template dx<A>(A(x[i]), A(t[i]), p, A(1)));
      } else if (dx) {
        for (int64_t i = begin; i < end; ++i) dx[i] = T(g * e.weightAt(i) * F::template dx<A>(A(x[i]), A(t[i]), p, e.positiveAt(i)));
      }
      for (int64_t i = begin; i < end && dt; ++i)
        dt[i] = T(g * e.weightAt(i) * F::template dt<A>(A(x[i]), A(t[i]), p, e.positiveAt(i)));
    });
  });
}

/** sum / count; nothing over nothing is 0. */
ANNEAL_ALWAYS double over(double sum, double count) { return sum == 0 && count == 0 ? 0 : sum / count; }

/** Terms of a loss, at most 4. attr: terms, weights, counts (where they are host numbers). */
struct Terms {
  int n;
  const Call& c;
  explicit Terms(const Call& call) : n(static_cast<int>(call.integer(0))), c(call) {
    require(n >= 1 && n <= 4 && c.nAttr == 1 + 2 * n, "loss.mean: attributes");
  }
  double weight(int i) const { return c.attr[1 + i]; }
  double count(int i, int input) const { return c.has(input) ? value(c.in[input]) : c.attr[1 + n + i]; }
  static double value(const View& v) {
    require(v.n == 1 && (v.dtype == DType::f32 || v.dtype == DType::f64), "loss.mean: scalar");
    return v.dtype == DType::f64 ? *v.as<double>() : static_cast<double>(*v.as<float>());
  }
};
void store(const View& v, double x) {
  require(v.n == 1 && (v.dtype == DType::f32 || v.dtype == DType::f64), "loss.mean: output");
  if (v.dtype == DType::f64) *v.as<double>() = x;
  else *v.as<float>() = static_cast<float>(x);
}

/** out = sum over terms of weight sum / count. in: sum, count of each term. */
void mean(const Call& c) {
  const Terms t(c);
  require(c.nIn == 2 * t.n, "loss.mean: inputs");
  double total = 0;
  for (int i = 0; i < t.n; ++i) total += t.weight(i) * over(Terms::value(c.in[2 * i]), t.count(i, 2 * i + 1));
  store(c.out[0], total);
}

/** out[i] = g weight / count, 0 for a count of 0. in: g, the counts. */
void meanGrad(const Call& c) {
  const Terms t(c);
  require(c.nIn == 1 + t.n, "loss.mean.grad: inputs");
  for (int i = 0; i < t.n; ++i) {
    if (!c.hasOut(i)) continue;
    const double count = t.count(i, 1 + i);
    store(c.out[i], count == 0 ? 0 : Terms::value(c.in[0]) * t.weight(i) / count);
  }
}

}  // namespace

void registerLoss(OpTable& t) {
#define ANNEAL_ROW(name, F)     \
  t.cpu(#name, lossSum<F>);     \
  t.cpu(#name ".grad", lossGrad<F>);
  ANNEAL_LOSSES(ANNEAL_ROW)
#undef ANNEAL_ROW
  t.cpu("loss.mean", mean);
  t.cpu("loss.mean.grad", meanGrad);
}

ANNEAL_KERNELS_END
