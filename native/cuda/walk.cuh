// Places of elements in operands with strides (ops/walk.h).
#pragma once
#include "cuda/elementwise.cuh"
#include "ops/walk.h"

namespace anneal::gpu {

template <int K> ANNEAL_FN void placeOf(const Walk<K>& w, int64_t i, int64_t (&at)[K]) {
#pragma unroll
  for (int o = 0; o < K; ++o) at[o] = w.offset[o];
#pragma unroll 1
  for (int d = w.rank - 1; d >= 0; --d) {
    int64_t rest = 0, index = i;
    if (d > 0 && w.narrow) {
      const uint32_t x = static_cast<uint32_t>(i), q = (x + __umulhi(x, w.magic[d])) >> w.shift[d];
      rest = q;
      index = x - q * static_cast<uint32_t>(w.size[d]);
    } else if (d > 0) {
      rest = i / w.size[d];
      index = i - rest * w.size[d];
    }
#pragma unroll
    for (int o = 0; o < K; ++o) at[o] += index * w.stride[o][d];
    i = rest;
  }
}

/** The share of a thread: of elements, or (pace packs) one pack. */
template <int N> ANNEAL_FN Share shareOf(int64_t n, Pace pace, bool vector) {
  if (pace != Pace::packs) return shareOf<N>(n, pace == Pace::flat && vector);
  const int64_t first = globalThread();
  return {first * N, 1, first < n ? N : 0, first < n};
}

/** One operand's elements for a share: contiguous from `at`, or the one there repeated. */
template <class T, int N> ANNEAL_FN void loadAt(T (&to)[N], const T* from, int64_t at, bool once, Share s) {
  if (once) {
    const T v = s.count > 0 ? from[at] : T{};
#pragma unroll
    for (int k = 0; k < N; ++k) to[k] = v;
  } else {
    s.first = at;
    load(to, from, s);
  }
}

}  // namespace anneal::gpu
