// Sums and maxima along a run in a fixed order: lane l of kLanes takes elements l, l + kLanes, ..., the lanes fold in halves. The order is the same for
// every instruction set, several vectors wide (one vector alone would wait for each step), and as good as pairwise for short runs.
#pragma once
#include "cpu/kernel.h"

#pragma GCC diagnostic ignored "-Wpsabi"  // wide vectors passed between functions that are all inlined

ANNEAL_KERNELS_BEGIN

constexpr int kLanes = 32;

/** The dtype of Acc<T>: what parameters and statistics of such tensors are stored as. */
inline DType wideOf(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

/** Inputs and outputs [from, to) that are present have this dtype. */
inline void requireInputs(const Call& c, int from, int to, DType t) {
  for (int i = from; i < to; ++i) require(!c.has(i) || c.in[i].dtype == t, "dtype of an input");
}
inline void requireOutputs(const Call& c, int from, int to, DType t) {
  for (int i = from; i < to; ++i) require(!c.hasOut(i) || c.out[i].dtype == t, "dtype of an output");
}

/** Eight values that lie in registers, whatever the instruction set makes of them. */
template <class A>
struct Vector {
  typedef A Eight __attribute__((vector_size(8 * sizeof(A)), may_alias));
  typedef std::conditional_t<sizeof(A) == 8, int64_t, int32_t> Mask __attribute__((vector_size(8 * sizeof(A))));
};

/** The sum of kLanes values, by halves. In registers: through memory, each half would wait for the one before it to be stored. */
template <class A>
ANNEAL_ALWAYS A fold(const typename Vector<A>::Eight* v) {
  using Mask = typename Vector<A>::Mask;
  typename Vector<A>::Eight e = (v[0] + v[2]) + (v[1] + v[3]);
  e += __builtin_shuffle(e, Mask{4, 5, 6, 7, 0, 1, 2, 3});
  e += __builtin_shuffle(e, Mask{2, 3, 0, 1, 6, 7, 4, 5});
  return e[0] + e[1];
}

/** On lambdas given to the functions below: each stands in two loops there, both of which must see through it to become vectors. */
#define ANNEAL_INLINED __attribute__((always_inline))

/** Lanes that start at zero. Set vector by vector: a loop over A would become a call of memset. */
template <class A>
struct Lanes {
  typename Vector<A>::Eight vectors[kLanes / 8];
  ANNEAL_ALWAYS Lanes() {
    for (int j = 0; j < kLanes / 8; ++j) vectors[j] = typename Vector<A>::Eight{};
  }
  ANNEAL_ALWAYS A* values() { return reinterpret_cast<A*>(vectors); }
};

/** The sum of f(i) over i in [0, n). */
template <class A, class F>
ANNEAL_ALWAYS A sumRun(int64_t n, F&& f) {
  Lanes<A> lanes;
  A* sum = lanes.values();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int l = 0; l < kLanes; ++l) sum[l] += f(i + l);
  }
  const int rest = static_cast<int>(n - i);
#pragma omp simd
  for (int l = 0; l < rest; ++l) sum[l] += f(i + l);
  return fold<A>(lanes.vectors);
}

template <class A>
struct Two {
  A first, second;
};

/** Two sums in one pass: f gives a Two. */
template <class A, class F>
ANNEAL_ALWAYS Two<A> sumRun2(int64_t n, F&& f) {
  Lanes<A> one, two;
  A *first = one.values(), *second = two.values();
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int l = 0; l < kLanes; ++l) {
      const Two<A> v = f(i + l);
      first[l] += v.first;
      second[l] += v.second;
    }
  }
  const int rest = static_cast<int>(n - i);
#pragma omp simd
  for (int l = 0; l < rest; ++l) {
    const Two<A> v = f(i + l);
    first[l] += v.first;
    second[l] += v.second;
  }
  return {fold<A>(one.vectors), fold<A>(two.vectors)};
}

/** Is b to be taken rather than a? NaN wins over all else, the first one over later ones. */
template <class A>
ANNEAL_ALWAYS bool beats(A b, A a) {
  return (b > a) | ((b != b) & (a == a));
}
template <class A>
ANNEAL_ALWAYS A better(A a, A b) {
  return beats(b, a) ? b : a;
}

/** The largest f(i) for i in [0, n), at least `start`; NaN if there is one. */
template <class A, class F>
ANNEAL_ALWAYS A maxRun(int64_t n, A start, F&& f) {
  typename Vector<A>::Eight v[kLanes / 8];
  for (int j = 0; j < kLanes / 8; ++j) v[j] = typename Vector<A>::Eight{} + start;
  A* lanes = reinterpret_cast<A*>(v);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
#pragma omp simd
    for (int l = 0; l < kLanes; ++l) lanes[l] = better(lanes[l], A(f(i + l)));
  }
  const int rest = static_cast<int>(n - i);
  for (int l = 0; l < rest; ++l) lanes[l] = better(lanes[l], A(f(i + l)));
  using Mask = typename Vector<A>::Mask;
  const auto pick = [](typename Vector<A>::Eight a, typename Vector<A>::Eight b) ANNEAL_INLINED { return (b > a) | (b != b) ? b : a; };
  typename Vector<A>::Eight e = pick(pick(v[0], v[2]), pick(v[1], v[3]));
  e = pick(e, __builtin_shuffle(e, Mask{4, 5, 6, 7, 0, 1, 2, 3}));
  e = pick(e, __builtin_shuffle(e, Mask{2, 3, 0, 1, 6, 7, 4, 5}));
  return better(e[0], e[1]);
}

ANNEAL_KERNELS_END
