// A thread's share of an elementwise kernel: a pack of N neighbours where 16-byte accesses are possible, else N elements spread so that
// neighbouring threads touch neighbours. Either way the arithmetic stands once in the kernel, and heavy arithmetic in a short loop: the size of
// the code, times functions and dtypes, is what this saves.
#pragma once
#include "cuda/common.cuh"

namespace anneal::gpu {

/** Elements first + k step, k < count, of which a whole pack where `whole`. */
struct Share {
  int64_t first;
  uint32_t step;
  int count;
  bool whole;
  ANNEAL_FN int64_t at(int k) const { return first + static_cast<int64_t>(k) * step; }
};

/** Of n elements of which every block takes blockDim.x N, this is `block`. */
template <int N> ANNEAL_FN Share shareOf(int64_t n, bool vector, uint32_t block) {
  Share s;
  s.step = vector ? 1 : blockDim.x;
  s.first = static_cast<int64_t>(block) * blockDim.x * N + (vector ? threadIdx.x * N : threadIdx.x);
  const int64_t left = s.first < n ? (n - s.first + s.step - 1) / s.step : 0;
  s.count = left < N ? static_cast<int>(left) : N;
  s.whole = vector && s.count == N;
  return s;
}
template <int N> ANNEAL_FN Share shareOf(int64_t n, bool vector) { return shareOf<N>(n, vector, blockIdx.x); }

template <class T, int N> ANNEAL_FN void load(T (&to)[N], const T* from, const Share& s) {
  if (s.whole) {
    if constexpr (sizeof(T) * N > 16) {  // the wider side of a conversion
      constexpr int M = 16 / sizeof(T);
#pragma unroll
      for (int j = 0; j < N; j += M) {
        const Pack<T, M> p = *reinterpret_cast<const Pack<T, M>*>(from + s.first + j);
#pragma unroll
        for (int k = 0; k < M; ++k) to[j + k] = p.v[k];
      }
    } else {
      const Pack<T, N> p = *reinterpret_cast<const Pack<T, N>*>(from + s.first);
#pragma unroll
      for (int k = 0; k < N; ++k) to[k] = p.v[k];
    }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) to[k] = k < s.count ? from[s.at(k)] : T{};
  }
}
/** A whole pack. 16 bytes by a store of their own: left to the compiler, some are cut into single elements again. */
template <class T, int N> ANNEAL_FN void storePack(T* to, const Pack<T, N>& p) {
  if constexpr (sizeof p == 16) {
    uint4 v;
    memcpy(&v, &p, 16);
    asm volatile("st.global.v4.b32 [%0], {%1,%2,%3,%4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
  } else {
    *reinterpret_cast<Pack<T, N>*>(to) = p;
  }
}
template <class T, int N> ANNEAL_FN void store(T* to, const T (&from)[N], const Share& s) {
  if (s.whole) {
    if constexpr (sizeof(T) * N > 16) {
      constexpr int M = 16 / sizeof(T);
#pragma unroll
      for (int j = 0; j < N; j += M) {
        Pack<T, M> p;
#pragma unroll
        for (int k = 0; k < M; ++k) p.v[k] = from[j + k];
        storePack(to + s.first + j, p);
      }
    } else {
      Pack<T, N> p;
#pragma unroll
      for (int k = 0; k < N; ++k) p.v[k] = from[k];
      storePack(to + s.first, p);
    }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (k < s.count) to[s.at(k)] = from[k];
  }
}

/** As values to compute with. */
template <class T, int N> ANNEAL_FN void loadWide(Acc<T> (&to)[N], const T* from, const Share& s) {
  T raw[N];
  load(raw, from, s);
#pragma unroll
  for (int k = 0; k < N; ++k) to[k] = toAcc(raw[k]);
}
template <class T, int N> ANNEAL_FN void storeNarrow(T* to, const Acc<T> (&from)[N], const Share& s) {
  T raw[N];
#pragma unroll
  for (int k = 0; k < N; ++k) raw[k] = fromAcc<T>(from[k]);
  store(to, raw, s);
}

template <class A, int N> ANNEAL_FN A rotate(A (&h)[N], A in) {
  const A out = h[0];
#pragma unroll
  for (int k = 0; k + 1 < N; ++k) h[k] = h[k + 1];
  h[N - 1] = in;
  return out;
}

/** h = f(h). Heavy: a loop over elements that pass by in registers, two at a time. */
template <bool kHeavy, class A, int N, class F> ANNEAL_FN void map(A (&h)[N], F f) {
  if constexpr (kHeavy && N > 2 && N % 2 == 0) {
#pragma unroll 1
    for (int r = 0; r < N / 2; ++r) {
      const A a = f(h[0]), b = f(h[1]);
      rotate(h, a);
      rotate(h, b);
    }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) h[k] = f(h[k]);
  }
}
/** h = f(h, s). */
template <bool kHeavy, class A, class B, int N, class F> ANNEAL_FN void map(A (&h)[N], B (&s)[N], F f) {
  if constexpr (kHeavy && N > 2 && N % 2 == 0) {
#pragma unroll 1
    for (int r = 0; r < N / 2; ++r) {
      const A a = f(h[0], s[0]), b = f(h[1], s[1]);
      rotate(h, a);
      rotate(h, b);
      rotate(s, s[0]);
      rotate(s, s[0]);
    }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) h[k] = f(h[k], s[k]);
  }
}

}  // namespace anneal::gpu
