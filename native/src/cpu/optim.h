// What the optimizer's kernels share: lists of tensors in fixed chunks of kChunk elements, so that sums do not depend on the number of threads.
#pragma once
#include "cpu/kernel.h"
#include "cpu/math.h"
#include "ops/step_state.h"

ANNEAL_KERNELS_BEGIN

constexpr int64_t kChunk = 32768;  // lib/optim/lists.ts has the same

ANNEAL_ALWAYS int64_t chunksOf(int64_t n) { return (n + kChunk - 1) / kChunk; }

/** body(row, begin, end, chunk) for every chunk of the list's first column, threads taking chunks in turn. */
template <class Body>
inline void forChunks(const TensorList& list, Body&& body) {
  int64_t chunks = 0, elements = 0;
  for (int r = 0; r < list.rows; ++r) {
    chunks += chunksOf(list.at(r, 0).n);
    elements += list.at(r, 0).n;
  }
  const int useful = threadsFor(elements, kGrain), threads = static_cast<int>(chunks < useful ? (chunks < 1 ? 1 : chunks) : useful);
  const auto some = [&](int64_t chunk, int& row, int64_t& first) {
    for (; chunk - first >= chunksOf(list.at(row, 0).n); ++row) first += chunksOf(list.at(row, 0).n);
    const int64_t begin = (chunk - first) * kChunk, n = list.at(row, 0).n;
    body(row, begin, begin + kChunk < n ? begin + kChunk : n, chunk);
  };
  if (threads == 1) {
    int row = 0;
    int64_t first = 0;
    for (int64_t c = 0; c < chunks; ++c) some(c, row, first);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    int row = 0;
    int64_t first = 0;
    // Monotonic: a thread's chunks only go up, so its place in the list does too.
#pragma omp for schedule(monotonic : dynamic, 1)
    for (int64_t c = 0; c < chunks; ++c) some(c, row, first);
  }
}

/** Masters and their gradients are f32, or f64 for reference runs. Checked before threads start: nothing may throw among them. */
inline void requireMasters(const TensorList& list) {
  for (int r = 0; r < list.rows; ++r) require(list.at(r, 0).dtype == DType::f32 || list.at(r, 0).dtype == DType::f64, "optim: parameters are f32 or f64");
}

template <class F>
ANNEAL_ALWAYS void dispatchMaster(DType t, F&& f) {
  if (t == DType::f64) return f(double{});
  f(float{});
}

inline double* stateOf(const View& v) {
  require(v.dtype == DType::f64 && v.n == kStepSlots, "optim: step state");
  return v.as<double>();
}

ANNEAL_KERNELS_END
