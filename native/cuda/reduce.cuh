// The reductions' shape: warps or blocks along rows, threads down columns, partial states, and a finish that merges them in order.
#pragma once
#include "cuda/packs.cuh"
#include "cuda/walk.h"

namespace anneal::gpu {

ANNEAL_FN int64_t offsetOf(const Dims& d, int64_t i) {
  int64_t at = 0;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (k + 1 >= d.n) return at + i * d.stride[k];
    at += i % d.size[k] * d.stride[k];
    i /= d.size[k];
  }
  return at;
}
/** Where an output's first element lies. */
ANNEAL_FN int64_t firstOf(const Walk& w, int64_t out) {
  return w.rows ? offsetOf(w.kept, out) : offsetOf(w.kept, out / w.inner) + out % w.inner;
}
ANNEAL_FN int64_t outputsOf(const Walk& w) { return w.outer * (w.rows ? 1 : w.inner); }

template <class S>
ANNEAL_FN S shuffledDown(const S& s, int d) {
  static_assert(sizeof(S) % 4 == 0);
  union U { uint32_t words[sizeof(S) / 4]; S s; ANNEAL_FN U() {} } from, to;
  from.s = s;
#pragma unroll
  for (int i = 0; i < int(sizeof(S) / 4); ++i) to.words[i] = __shfl_down_sync(kWholeWarp, from.words[i], d);
  return to.s;
}

/** Elements [begin, end) of a row of the walk: whole(offset, index) for packs, single(offset, index); this thread is `lane` of `width`. */
template <int N, class Whole, class Single>
ANNEAL_FN void alongRow(const Walk& w, int64_t base, int64_t begin, int64_t end, int lane, int width, bool vector, Whole whole, Single single) {
  if (begin >= end) return;
  const int unit = vector ? N : 1;
  int64_t i = begin + static_cast<int64_t>(lane) * unit;
  const int64_t step = static_cast<int64_t>(width) * unit;
  if (w.count == 1) {
    if (vector) {
#pragma unroll 2
      for (; i + N <= end; i += step) whole(base + i, i);
      i = end - (end - begin) % N + lane;
    }
#pragma unroll 1
    for (; i < end; i += vector ? width : step) single(base + i, i);
    return;
  }
  // Runs of `inner` elements: the place within them is counted on, not divided out. Whole packs lie within one run.
  const int64_t steps = step / w.inner, left = step % w.inner;
  int64_t k = i / w.inner, j = i % w.inner;
#pragma unroll 1
  for (; i < end; i += step) {
    const int64_t at = base + offsetOf(w.reduced, k) + j;
    if (vector) whole(at, i);
    else single(at, i);
    k += steps;
    j += left;
    if (j >= w.inner) j -= w.inner, ++k;
  }
}

template <class T> ANNEAL_FN bool rowsInPacks(const Walk& w, const T* x, const T* x2) {
  return aligned16(x, x2) && (w.inner % kPack<T> == 0 || (w.count == 1 && w.outer == 1));
}

/** One task per block (wide) or warp: the whole of an output, or a chunk of it whose state goes to `partials` [chunks, outputs]. */
template <class Op, class T>
ANNEAL_FN void reduceRows(const T* x, const T* x2, const Walk& w, const ReduceTo& to, int64_t chunk, int64_t chunks, bool wide, typename Op::State* partials) {
  using State = typename Op::State;
  constexpr int N = kPack<T>;
  __shared__ State fromWarps[kThreads / 32];
  const int lane = wide ? threadIdx.x : threadIdx.x & 31, width = wide ? kThreads : 32;
  const int64_t task = wide ? blockIdx.x : static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + (threadIdx.x >> 5);
  if (task >= w.outer * chunks) return;  // whole blocks, or warps that meet no barrier
  const int64_t out = task / chunks, part = task % chunks, length = w.count * w.inner;
  const int64_t begin = part * chunk, end = begin + chunk < length ? begin + chunk : length, base = offsetOf(w.kept, out);
  const Op op(to);
  const auto extra = op.extra(x, out, base, length);
  State s = op.none();
  int64_t seen = 0;
  alongRow<N>(w, base, begin, end, lane, width, rowsInPacks(w, x, x2), [&](int64_t at, int64_t i) {
    const Pack<T> a = *reinterpret_cast<const Pack<T>*>(x + at);
    Pack<T> b = a;
    if constexpr (Op::kInputs == 2) b = *reinterpret_cast<const Pack<T>*>(x2 + at);
    op.template addPack<N>(s, a.v, b.v, i, seen, extra);
    seen += N;
  }, [&](int64_t at, int64_t i) {
    const T a = x[at], b = Op::kInputs == 2 ? x2[at] : a;
    op.add(s, toAcc(a), toAcc(b), i, 1.f / float(++seen), extra);
  });
  op.close(s, seen);
#pragma unroll
  for (int d = 16; d; d >>= 1) op.merge(s, shuffledDown(s, d));
  if (wide) {
    if ((threadIdx.x & 31) == 0) fromWarps[threadIdx.x >> 5] = s;
    __syncthreads();
    if (threadIdx.x == 0)
#pragma unroll 1
      for (int i = 1; i < kThreads / 32; ++i) op.merge(s, fromWarps[i]);
  }
  if (lane != 0) return;
  if (chunks == 1) op.template write<T>(s, out, extra);
  else partials[part * w.outer + out] = s;
}

/** States of a block of 2^logWidth columns by kThreads >> logWidth rows (`planes` of them, 256 apart) merged down the columns into row 0. */
template <class Op>
ANNEAL_FN void mergeDown(const Op& op, typename Op::State* states, int planes, int logWidth) {
  __syncthreads();
#pragma unroll 1
  for (int half = kThreads >> logWidth >> 1; half; half >>= 1) {
    if (static_cast<int>(threadIdx.x >> logWidth) < half)
#pragma unroll 1
      for (int v = 0; v < planes; ++v) op.merge(states[v * kThreads + threadIdx.x], states[v * kThreads + threadIdx.x + (half << logWidth)]);
    __syncthreads();
  }
}

/** Block: a tile of columns; blockIdx.y: a chunk of rows; each thread takes a pack of columns. */
template <class Op, class T>
ANNEAL_FN void reduceColumns(const T* x, const T* x2, const Walk& w, const ReduceTo& to, int64_t chunk, int logWidth, typename Op::State* partials) {
  using State = typename Op::State;
  constexpr int N = kPack<T>;
  __shared__ State states[N * kThreads];
  const int64_t tileWidth = static_cast<int64_t>(N) << logWidth, tiles = (w.inner + tileWidth - 1) / tileWidth;
  const int64_t o = blockIdx.x / tiles, column = blockIdx.x % tiles * tileWidth + static_cast<int64_t>(threadIdx.x & ((1 << logWidth) - 1)) * N;
  const int mine = column >= w.inner ? 0 : (w.inner - column < N ? static_cast<int>(w.inner - column) : N);
  const int64_t base = offsetOf(w.kept, o) + column, first = o * w.inner + column;
  const int64_t begin = blockIdx.y * chunk, end = begin + chunk < w.count ? begin + chunk : w.count;
  const bool vector = aligned16(x, x2) && w.inner % N == 0;
  const Op op(to);
  State s[N];
  decltype(op.extra(x, first, base, w.count)) extra[N];
#pragma unroll
  for (int v = 0; v < N; ++v) {
    s[v] = op.none();
    if (v < mine) extra[v] = op.extra(x, first + v, base + v, w.count);
    else extra[v] = {};
  }
  int64_t seen = 0;
#pragma unroll 1
  for (int64_t r = mine ? begin + (threadIdx.x >> logWidth) : end; r < end; r += kThreads >> logWidth) {
    const int64_t at = base + offsetOf(w.reduced, r);
    Pack<T> a{}, b{};
    if (vector) {
      a = *reinterpret_cast<const Pack<T>*>(x + at);
      if constexpr (Op::kInputs == 2) b = *reinterpret_cast<const Pack<T>*>(x2 + at);
    } else {
#pragma unroll
      for (int v = 0; v < N; ++v)
        if (v < mine) {
          a.v[v] = x[at + v];
          if constexpr (Op::kInputs == 2) b.v[v] = x2[at + v];
        }
    }
    const float share = 1.f / float(++seen);
#pragma unroll
    for (int v = 0; v < N; ++v) op.add(s[v], toAcc(a.v[v]), toAcc(b.v[v]), r, share, extra[v]);
  }
#pragma unroll
  for (int v = 0; v < N; ++v) {
    op.close(s[v], seen);
    states[v * kThreads + threadIdx.x] = s[v];
  }
  mergeDown(op, states, N, logWidth);
  if (threadIdx.x >> logWidth) return;
#pragma unroll
  for (int v = 0; v < N; ++v)
    if (v < mine) {
      const State& all = states[v * kThreads + threadIdx.x];
      if (gridDim.y == 1) op.template write<T>(all, first + v, extra[v]);
      else partials[blockIdx.y * outputsOf(w) + first + v] = all;
    }
}

/** partials [chunks, outputs] merged over the chunks, and written. */
template <class Op, class T>
ANNEAL_FN void reduceFinish(const T* x, const Walk& w, const ReduceTo& to, int64_t chunks, int logWidth, const typename Op::State* partials) {
  __shared__ typename Op::State states[kThreads];
  const int64_t outputs = outputsOf(w);
  const int64_t out = (static_cast<int64_t>(blockIdx.x) << logWidth) + (threadIdx.x & ((1 << logWidth) - 1));
  const Op op(to);
  typename Op::State s = op.none();
  if (out < outputs)
#pragma unroll 1
    for (int64_t c = threadIdx.x >> logWidth; c < chunks; c += kThreads >> logWidth) op.merge(s, partials[c * outputs + out]);
  states[threadIdx.x] = s;
  mergeDown(op, states, 1, logWidth);
  if (threadIdx.x >> logWidth || out >= outputs) return;
  op.template write<T>(states[threadIdx.x], out, op.extra(x, out, firstOf(w, out), w.count));
}

// Two blocks to a processor are asked for where ptxas, left alone, aims at more and spills.
#define ANNEAL_REDUCE(name, Op, T, suffix)                                                                                              \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                \
      name##_rows_##suffix(const T* x, const T* x2, Walk w, ReduceTo to, int64_t chunk, int64_t chunks, int wide, Op::State* partials) { \
    reduceRows<Op, T>(x, x2, w, to, chunk, chunks, wide != 0, partials);                                                                \
  }                                                                                                                                     \
  extern "C" __global__ void __launch_bounds__(kThreads, 2)                                                                             \
      name##_columns_##suffix(const T* x, const T* x2, Walk w, ReduceTo to, int64_t chunk, int logWidth, Op::State* partials) {         \
    reduceColumns<Op, T>(x, x2, w, to, chunk, logWidth, partials);                                                                      \
  }                                                                                                                                     \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                \
      name##_finish_##suffix(const T* x, Walk w, ReduceTo to, int64_t chunks, int logWidth, const Op::State* partials) {                \
    reduceFinish<Op, T>(x, w, to, chunks, logWidth, partials);                                                                          \
  }

/** What ops have unless they say otherwise. */
struct ReduceOp {
  static constexpr int kInputs = 1;
  struct Extra {};
  template <class T> ANNEAL_FN Extra extra(const T*, int64_t, int64_t, int64_t) const { return {}; }
  template <class S> ANNEAL_FN void close(S&, int64_t) const {}
};
#define ANNEAL_ADD_PACK                                                                                                        \
  template <int N, class In, class E>                                                                                          \
  ANNEAL_FN void addPack(State& s, const In (&a)[N], const In (&b)[N], int64_t i, int64_t, const E& e) const {                 \
    _Pragma("unroll") for (int k = 0; k < N; ++k) add(s, toAcc(a[k]), toAcc(b[k]), i + k, 0.f, e);                             \
  }

/** Mean and sum of squared deviations about it, of deviations from the output's first element: a far mean costs no digits. */
struct Moments : ReduceOp {
  struct State { float mean, m2, n; };
  struct Extra { float shift; };
  ReduceTo to;
  ANNEAL_FN explicit Moments(const ReduceTo& t) : to(t) {}
  template <class T> ANNEAL_FN Extra extra(const T* x, int64_t, int64_t base, int64_t n) const { return {n > 0 ? widen(x[base]) : 0.f}; }
  ANNEAL_FN State none() const { return {0.f, 0.f, 0.f}; }
  ANNEAL_FN void add(State& s, float a, float, int64_t, float share, const Extra& e) const {
    const float d = a - e.shift - s.mean;
    s.mean += d * share;
    s.m2 += d * (a - e.shift - s.mean);
  }
  ANNEAL_FN void close(State& s, int64_t seen) const { s.n = float(seen); }
  template <int N, class T>
  ANNEAL_FN void addPack(State& s, const T (&a)[N], const T (&)[N], int64_t, int64_t seen, const Extra& e) const {
    float sum = 0.f, m2 = 0.f;
#pragma unroll
    for (int k = 0; k < N; ++k) sum += widen(a[k]) - e.shift;
    const float mean = sum * (1.f / N);
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float d = widen(a[k]) - e.shift - mean;
      m2 += d * d;
    }
    s.n = float(seen);
    merge(s, {mean, m2, float(N)});
  }
  /** Chan, Golub and LeVeque. */
  ANNEAL_FN void merge(State& s, const State& t) const {
    if (t.n == 0.f) return;
    const float n = s.n + t.n, delta = t.mean - s.mean, share = __fdividef(t.n, n);
    s.mean += delta * share;
    s.m2 += t.m2 + delta * delta * s.n * share;
    s.n = n;
  }
  template <class T> ANNEAL_FN void write(const State& s, int64_t i, const Extra& e) const {
    if (to.flags & kWideOut) static_cast<float*>(to.out)[i] = s.m2 * to.scale;
    else static_cast<T*>(to.out)[i] = narrow<T>(s.m2 * to.scale);
    const float mean = e.shift + s.mean;
    to.mean[i] = mean;
    if (to.rest) to.rest[i] = s.mean - (mean - e.shift);
  }
};

}  // namespace anneal::gpu
