// Sums, products, extremes, log-sum-exp and variance over any axes.
#include "cuda/reduce.cuh"

#include "cuda/math.cuh"

namespace anneal::gpu {
namespace {

constexpr float kInfinity = __builtin_huge_valf();

/** Integers add up modulo 2^32, as the CPU's end up. */
template <class T>
struct Sum : ReduceOp {
  using A = Acc<T>;
  static constexpr bool kWhole = sizeof(A) != 4 || !(A(0.5f) > A(0));
  struct State { std::conditional_t<kWhole, uint32_t, float> sum; };
  ReduceTo to;
  ANNEAL_FN explicit Sum(const ReduceTo& t) : to(t) {}
  ANNEAL_FN State none() const { return {0}; }
  ANNEAL_FN void add(State& s, A a, A, int64_t, float, const Extra&) const { s.sum += a; }
  ANNEAL_ADD_PACK
  ANNEAL_FN void merge(State& s, const State& t) const { s.sum += t.sum; }
  template <class U> ANNEAL_FN void write(const State& s, int64_t i, const Extra&) const {
    if constexpr (kWhole) static_cast<uint32_t*>(to.out)[i] = s.sum;
    else if (to.flags & kWideOut) {
      float* y = static_cast<float*>(to.out) + i;
      *y = s.sum * to.scale + (to.flags & kAccumulate ? *y : 0.f);
    } else static_cast<T*>(to.out)[i] = narrow<T>(s.sum * to.scale);
  }
};

/** In f64: a product leaves f32's range long before its end comes back to it. */
struct Product : ReduceOp {
  struct State { double product; };
  ReduceTo to;
  ANNEAL_FN explicit Product(const ReduceTo& t) : to(t) {}
  ANNEAL_FN State none() const { return {1.0}; }
  ANNEAL_FN void add(State& s, float a, float, int64_t, float, const Extra&) const { s.product *= a; }
  ANNEAL_ADD_PACK
  ANNEAL_FN void merge(State& s, const State& t) const { s.product *= t.product; }
  template <class T> ANNEAL_FN void write(const State& s, int64_t i, const Extra&) const { static_cast<T*>(to.out)[i] = narrow<T>(float(s.product)); }
};

/** NaN wins over all else. */
template <class A> ANNEAL_FN bool beats(A b, A a, bool least) {
  if constexpr (sizeof(A) == 4 && A(0.5f) > A(0)) return (least ? b < a : b > a) || (b != b && a == a);
  else return least ? b < a : b > a;
}
template <class A> ANNEAL_FN A worst(bool least) {
  if constexpr (A(0.5f) > A(0)) return least ? kInfinity : -kInfinity;
  else return least ? INT32_MAX : INT32_MIN;
}

template <class T>
struct Extreme : ReduceOp {
  using A = Acc<T>;
  struct State { A best; };
  ReduceTo to;
  bool least;
  ANNEAL_FN explicit Extreme(const ReduceTo& t) : to(t), least(t.flags & kLeast) {}
  ANNEAL_FN State none() const { return {worst<A>(least)}; }
  ANNEAL_FN void add(State& s, A a, A, int64_t, float, const Extra&) const { s.best = beats(a, s.best, least) ? a : s.best; }
  ANNEAL_ADD_PACK
  ANNEAL_FN void merge(State& s, const State& t) const { s.best = beats(t.best, s.best, least) ? t.best : s.best; }
  template <class U> ANNEAL_FN void write(const State& s, int64_t i, const Extra&) const { static_cast<T*>(to.out)[i] = fromAcc<T>(s.best); }
};

/** The first element that has the extreme. */
template <class T>
struct ArgExtreme : ReduceOp {
  using A = Acc<T>;
  struct State { A best; int32_t at; };
  ReduceTo to;
  bool least;
  ANNEAL_FN explicit ArgExtreme(const ReduceTo& t) : to(t), least(t.flags & kLeast) {}
  ANNEAL_FN State none() const { return {worst<A>(least), INT32_MAX}; }
  ANNEAL_FN void take(State& s, A a, int32_t at) const {
    const bool same = a == s.best || (a != a && s.best != s.best);
    if (beats(a, s.best, least) || (same && at < s.at)) s = {a, at};
  }
  ANNEAL_FN void add(State& s, A a, A, int64_t i, float, const Extra&) const { take(s, a, static_cast<int32_t>(i)); }
  ANNEAL_ADD_PACK
  ANNEAL_FN void merge(State& s, const State& t) const { take(s, t.best, t.at); }
  template <class U> ANNEAL_FN void write(const State& s, int64_t i, const Extra&) const { static_cast<int32_t*>(to.out)[i] = s.at; }
};

/** The largest x, and the sum of e^(x - it). */
struct LogSumExp : ReduceOp {
  struct State { float most, sum; };
  ReduceTo to;
  ANNEAL_FN explicit LogSumExp(const ReduceTo& t) : to(t) {}
  ANNEAL_FN State none() const { return {-kInfinity, 0.f}; }
  ANNEAL_FN void add(State& s, float a, float, int64_t, float, const Extra&) const {
    const float d = a == s.most ? 0.f : a - s.most, e = mexp(-fabsf(d));
    s.sum = d > 0.f ? s.sum * e + 1.f : s.sum + e;
    s.most = d > 0.f ? a : s.most;
  }
  ANNEAL_ADD_PACK
  ANNEAL_FN void merge(State& s, const State& t) const {
    const float most = t.most > s.most ? t.most : s.most;
    s.sum = (s.most == most ? s.sum : s.sum * mexp(s.most - most)) + (t.most == most ? t.sum : t.sum * mexp(t.most - most));
    s.most = most;
  }
  template <class T> ANNEAL_FN void write(const State& s, int64_t i, const Extra&) const { static_cast<float*>(to.out)[i] = s.most + mlog(s.sum); }
};

}  // namespace

#define ANNEAL_FLOATS(name, Op) ANNEAL_REDUCE(name, Op, float, f32) ANNEAL_REDUCE(name, Op, f16, f16) ANNEAL_REDUCE(name, Op, bf16, bf16)
#define ANNEAL_FLOATS_OF(name, Op) ANNEAL_REDUCE(name, Op<float>, float, f32) ANNEAL_REDUCE(name, Op<f16>, f16, f16) ANNEAL_REDUCE(name, Op<bf16>, bf16, bf16)
ANNEAL_FLOATS_OF(sum, Sum)
ANNEAL_REDUCE(sum, Sum<int32_t>, int32_t, i32)
ANNEAL_REDUCE(sum, Sum<uint8_t>, uint8_t, u8)
ANNEAL_FLOATS(prod, Product)
ANNEAL_FLOATS_OF(extreme, Extreme)
ANNEAL_REDUCE(extreme, Extreme<int32_t>, int32_t, i32)
ANNEAL_FLOATS_OF(argExtreme, ArgExtreme)
ANNEAL_REDUCE(argExtreme, ArgExtreme<int32_t>, int32_t, i32)
ANNEAL_FLOATS(logSumExp, LogSumExp)
ANNEAL_FLOATS(variance, Moments)

}  // namespace anneal::gpu
