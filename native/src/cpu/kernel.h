// What every CPU kernel uses. Files in cpu/ are compiled once per instruction set (CMakeLists.txt), each time in a namespace of its own.
// Plain loops under `omp simd` become that set's vectors. Use no std:: containers here: their code would be shared between the sets.
#pragma once
#include <omp.h>

#include <cstdint>
#include <type_traits>

#include "core/call.h"
#include "core/half.h"
#include "core/table.h"

#ifndef ANNEAL_ISA
#define ANNEAL_ISA generic
#endif
#define ANNEAL_KERNELS_BEGIN namespace anneal::cpu::ANNEAL_ISA {
#define ANNEAL_KERNELS_END }

ANNEAL_KERNELS_BEGIN

#define ANNEAL_ALWAYS inline __attribute__((always_inline))

/** Sums, products and functions of T are computed in this. */
template <class T>
using Acc = std::conditional_t<std::is_same_v<T, double>, double, std::conditional_t<std::is_integral_v<T>, T, float>>;

/** Elements below which a second thread costs more than it gives. */
constexpr int64_t kGrain = 16384;

inline int threadsFor(int64_t n, int64_t grain) {
  const int most = omp_get_max_threads();
  const int64_t useful = grain > 0 ? (n + grain - 1) / grain : n;
  return static_cast<int>(useful < most ? (useful < 1 ? 1 : useful) : most);
}

/** body(begin, end) over [0, n), split evenly; for work whose result does not depend on the split. */
template <class Body>
inline void parallelFor(int64_t n, int64_t grain, Body&& body) {
  const int threads = threadsFor(n, grain);
  if (n <= 0) return;
  if (threads == 1) return body(int64_t{0}, n);
#pragma omp parallel num_threads(threads)
  {
    const int64_t t = omp_get_thread_num(), count = omp_get_num_threads();
    // Boundaries on multiples of 64 elements: no two threads write one cache line.
    const auto bound = [&](int64_t i) { return i == count ? n : (n * i / count) / 64 * 64; };
    const int64_t begin = bound(t), end = bound(t + 1);
    if (begin < end) body(begin, end);
  }
}

/** body(i) for i in [0, n), rows of work of roughly `cost` element operations each. */
template <class Body>
inline void parallelRows(int64_t n, int64_t cost, Body&& body) {
  const int threads = threadsFor(n * (cost < 1 ? 1 : cost), kGrain);
  const int used = static_cast<int>(n < threads ? (n < 1 ? 1 : n) : threads);
  if (used == 1) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(used)
  for (int64_t i = 0; i < n; ++i) body(i);
}

/** f(T{}) for the float dtype; the rejection names the dtype. */
template <class F>
inline void dispatchFloat(DType t, F&& f) {
  switch (t) {
    case DType::f32: return f(float{});
    case DType::f16: return f(f16{});
    case DType::bf16: return f(bf16{});
    case DType::f64: return f(double{});
    default: fail(std::string("no kernel for dtype ") + nameOf(t));
  }
}

/** f(T{}) for any dtype; bool is stored as uint8_t. */
template <class F>
inline void dispatchAny(DType t, F&& f) {
  switch (t) {
    case DType::i32: return f(int32_t{});
    case DType::u8:
    case DType::boolean: return f(uint8_t{});
    default: return dispatchFloat(t, static_cast<F&&>(f));
  }
}

ANNEAL_KERNELS_END
