// Gradients of reductions, and the sums over outputs that some of them need first.
#include "cuda/math.cuh"
#include "cuda/reduce.cuh"

namespace anneal::gpu {
namespace {

/** How many elements equal the extreme; NaN counts as equal to NaN. */
template <class T>
struct Winners : ReduceOp {
  struct State { float n; };
  struct Extra { float extreme; };
  ReduceTo to;
  ANNEAL_FN explicit Winners(const ReduceTo& t) : to(t) {}
  template <class U> ANNEAL_FN Extra extra(const U*, int64_t out, int64_t, int64_t) const { return {widen(static_cast<const T*>(to.saved)[out])}; }
  ANNEAL_FN State none() const { return {0.f}; }
  ANNEAL_FN void add(State& s, float a, float, int64_t, float, const Extra& e) const {
    s.n += a == e.extreme || (a != a && e.extreme != e.extreme) ? 1.f : 0.f;
  }
  ANNEAL_ADD_PACK
  ANNEAL_FN void merge(State& s, const State& t) const { s.n += t.n; }
  template <class U> ANNEAL_FN void write(const State& s, int64_t i, const Extra&) const { static_cast<float*>(to.out)[i] = s.n; }
};

/** The product of all that are not zero, and how many are. */
struct Rest : ReduceOp {
  struct State { double rest, zeros; };
  ReduceTo to;
  ANNEAL_FN explicit Rest(const ReduceTo& t) : to(t) {}
  ANNEAL_FN State none() const { return {1.0, 0.0}; }
  ANNEAL_FN void add(State& s, float a, float, int64_t, float, const Extra&) const {
    if (a == 0.f) s.zeros += 1.0;
    else s.rest *= a;
  }
  ANNEAL_ADD_PACK
  ANNEAL_FN void merge(State& s, const State& t) const {
    s.rest *= t.rest;
    s.zeros += t.zeros;
  }
  template <class T> ANNEAL_FN void write(const State& s, int64_t i, const Extra&) const { static_cast<State*>(to.out)[i] = s; }
};

/** Sums of g (the second input) and of g (x - mean), with a mean for each output. */
struct GradientSums : ReduceOp {
  static constexpr int kInputs = 2;
  struct State { float plain, product; };
  struct Extra { float mean; };
  ReduceTo to;
  ANNEAL_FN explicit GradientSums(const ReduceTo& t) : to(t) {}
  template <class T> ANNEAL_FN Extra extra(const T*, int64_t out, int64_t, int64_t) const { return {static_cast<const float*>(to.saved)[out / to.flags]}; }
  ANNEAL_FN State none() const { return {0.f, 0.f}; }
  ANNEAL_FN void add(State& s, float x, float g, int64_t, float, const Extra& e) const {
    s.plain += g;
    s.product += g * (x - e.mean);
  }
  ANNEAL_ADD_PACK
  ANNEAL_FN void merge(State& s, const State& t) const {
    s.plain += t.plain;
    s.product += t.product;
  }
  template <class T> ANNEAL_FN void write(const State& s, int64_t i, const Extra&) const { static_cast<State*>(to.out)[i] = s; }
};

// What each rule knows of an output: `load`; dx = value(x, known).
struct GradFrom {
  const void *g, *saved, *prepared;
  float scale;
};

// d(scale * sum x)/dx = scale
struct SumRule {
  struct Known { float slope; };
  template <class T> ANNEAL_FN static Known load(const GradFrom& f, int64_t i) { return {widen(static_cast<const T*>(f.g)[i]) * f.scale}; }
  ANNEAL_FN static float value(float, const Known& k) { return k.slope; }
};
// Elements equal to the extreme share evenly.
struct ExtremeRule {
  struct Known { float share, extreme; };
  template <class T> ANNEAL_FN static Known load(const GradFrom& f, int64_t i) {
    return {widen(static_cast<const T*>(f.g)[i]) / static_cast<const float*>(f.prepared)[i], widen(static_cast<const T*>(f.saved)[i])};
  }
  ANNEAL_FN static float value(float x, const Known& k) { return x == k.extreme || (x != x && k.extreme != k.extreme) ? k.share : 0.f; }
};
// The product of the others: y/x, or with one zero, for that one, the product of the rest.
struct ProductRule {
  struct Known { double atZero, elsewhere; };
  template <class T> ANNEAL_FN static Known load(const GradFrom& f, int64_t i) {
    const Rest::State s = static_cast<const Rest::State*>(f.prepared)[i];
    const double g = widen(static_cast<const T*>(f.g)[i]);
    return {s.zeros == 1.0 ? g * s.rest : g * 0.0, s.zeros == 0.0 ? g * s.rest : g * 0.0};
  }
  ANNEAL_FN static float value(float x, const Known& k) { return x == 0.f ? float(k.atZero) : float(k.elsewhere / double(x)); }
};
// d log(sum e^x)/dx = e^(x - y)
struct LogSumExpRule {
  struct Known { float g, y; };
  template <class T> ANNEAL_FN static Known load(const GradFrom& f, int64_t i) {
    return {widen(static_cast<const T*>(f.g)[i]), static_cast<const float*>(f.saved)[i]};
  }
  ANNEAL_FN static float value(float x, const Known& k) { return x == -__builtin_huge_valf() ? 0.f : k.g * mexp(x - k.y); }
};
// d var/dx = 2 (x - mean) / (n - correction)
struct VarianceRule {
  struct Known { float slope, mean; };
  template <class T> ANNEAL_FN static Known load(const GradFrom& f, int64_t i) {
    return {widen(static_cast<const T*>(f.g)[i]) * f.scale, static_cast<const float*>(f.saved)[i]};
  }
  ANNEAL_FN static float value(float x, const Known& k) { return k.slope * (x - k.mean); }
};

template <class Rule, class T>
ANNEAL_FN void spreadRows(const GradFrom& from, const T* x, const T* have, T* dx, const Walk& w, int64_t chunk, int64_t chunks, bool wide) {
  constexpr int N = kPack<T>;
  const int lane = wide ? threadIdx.x : threadIdx.x & 31, width = wide ? kThreads : 32;
  const int64_t task = wide ? blockIdx.x : static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + (threadIdx.x >> 5);
  if (task >= w.outer * chunks) return;
  const int64_t out = task / chunks, begin = task % chunks * chunk, length = w.count * w.inner, end = begin + chunk < length ? begin + chunk : length;
  if (begin >= end) return;
  const auto known = Rule::template load<T>(from, out);
  alongRow<N>(w, offsetOf(w.kept, out), begin, end, lane, width, rowsInPacks(w, x, dx) && aligned16(have), [&](int64_t at, int64_t) {
    Pack<T> a{}, before{}, result;
    if (x) a = *reinterpret_cast<const Pack<T>*>(x + at);
    if (have) before = *reinterpret_cast<const Pack<T>*>(have + at);
#pragma unroll
    for (int k = 0; k < N; ++k) result.v[k] = narrow<T>(Rule::value(x ? widen(a.v[k]) : 0.f, known) + (have ? widen(before.v[k]) : 0.f));
    putPack(dx + at, result);
  }, [&](int64_t at, int64_t) {
    dx[at] = narrow<T>(Rule::value(x ? widen(x[at]) : 0.f, known) + (have ? widen(have[at]) : 0.f));
  });
}

template <class Rule, class T>
ANNEAL_FN void spreadColumns(const GradFrom& from, const T* x, const T* have, T* dx, const Walk& w, int64_t chunk, int logWidth) {
  constexpr int N = kPack<T>;
  const int64_t tileWidth = static_cast<int64_t>(N) << logWidth, tiles = (w.inner + tileWidth - 1) / tileWidth;
  const int64_t o = blockIdx.x / tiles, first = blockIdx.x % tiles * tileWidth;
  const int inTile = static_cast<int>(threadIdx.x & ((1 << logWidth) - 1)) * N;
  const int64_t column = first + inTile;
  // What is known of the columns is read once by the block, not by each of its rows.
  __shared__ typename Rule::Known shared[32 * N];
#pragma unroll 1
  for (int i = threadIdx.x; i < (N << logWidth) && first + i < w.inner; i += kThreads) shared[i] = Rule::template load<T>(from, o * w.inner + first + i);
  __syncthreads();
  if (column >= w.inner) return;
  const int mine = w.inner - column < N ? static_cast<int>(w.inner - column) : N;
  const int64_t base = offsetOf(w.kept, o) + column, begin = blockIdx.y * chunk, end = begin + chunk < w.count ? begin + chunk : w.count;
  const bool vector = aligned16(x, dx, have) && w.inner % N == 0;
  typename Rule::Known known[N];
#pragma unroll
  for (int v = 0; v < N; ++v) {
    if (v < mine) known[v] = shared[inTile + v];
    else known[v] = {};
  }
#pragma unroll 1
  for (int64_t r = begin + (threadIdx.x >> logWidth); r < end; r += kThreads >> logWidth) {
    const int64_t at = base + offsetOf(w.reduced, r);
    Pack<T> a{}, before{}, result;
    if (vector) {
      if (x) a = *reinterpret_cast<const Pack<T>*>(x + at);
      if (have) before = *reinterpret_cast<const Pack<T>*>(have + at);
    } else {
#pragma unroll
      for (int v = 0; v < N; ++v)
        if (v < mine) {
          if (x) a.v[v] = x[at + v];
          if (have) before.v[v] = have[at + v];
        }
    }
#pragma unroll
    for (int v = 0; v < N; ++v) result.v[v] = narrow<T>(Rule::value(x ? widen(a.v[v]) : 0.f, known[v]) + (have ? widen(before.v[v]) : 0.f));
    if (vector) putPack(dx + at, result);
    else
#pragma unroll
      for (int v = 0; v < N; ++v)
        if (v < mine) dx[at + v] = result.v[v];
  }
}

}  // namespace

#define ANNEAL_SPREAD(name, Rule, T, suffix)                                                                                                        \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                            \
      name##_grad_rows_##suffix(GradFrom from, const T* x, const T* have, T* dx, Walk w, int64_t chunk, int64_t chunks, int wide) {                 \
    spreadRows<Rule, T>(from, x, have, dx, w, chunk, chunks, wide != 0);                                                                            \
  }                                                                                                                                                 \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                            \
      name##_grad_columns_##suffix(GradFrom from, const T* x, const T* have, T* dx, Walk w, int64_t chunk, int logWidth) {                          \
    spreadColumns<Rule, T>(from, x, have, dx, w, chunk, logWidth);                                                                                  \
  }
#define ANNEAL_RULE(name, Rule) ANNEAL_SPREAD(name, Rule, float, f32) ANNEAL_SPREAD(name, Rule, f16, f16) ANNEAL_SPREAD(name, Rule, bf16, bf16)
ANNEAL_RULE(sum, SumRule)
ANNEAL_RULE(extreme, ExtremeRule)
ANNEAL_RULE(prod, ProductRule)
ANNEAL_RULE(logSumExp, LogSumExpRule)
ANNEAL_RULE(variance, VarianceRule)

ANNEAL_REDUCE(winners, Winners<float>, float, f32)
ANNEAL_REDUCE(winners, Winners<f16>, f16, f16)
ANNEAL_REDUCE(winners, Winners<bf16>, bf16, bf16)
#define ANNEAL_FLOATS(name, Op) ANNEAL_REDUCE(name, Op, float, f32) ANNEAL_REDUCE(name, Op, f16, f16) ANNEAL_REDUCE(name, Op, bf16, bf16)
ANNEAL_FLOATS(rest, Rest)
ANNEAL_FLOATS(gradientSums, GradientSums)

}  // namespace anneal::gpu
