// The k best of each row, with a heap in the output itself: no memory of its own, O(n log k).
#include "cpu/kernel.h"

ANNEAL_KERNELS_BEGIN
namespace {

/** Does (a, i) come before (b, j)? Better value first, NaN above every number, then the lower index. */
template <class T>
ANNEAL_ALWAYS bool before(T a, int32_t i, T b, int32_t j, bool largest) {
  const Acc<T> x(a), y(b);
  const bool nx = x != x, ny = y != y;
  if (nx != ny) return largest ? nx : ny;
  if (nx || x == y) return i < j;
  return largest ? x > y : x < y;
}

/** values and index are a heap of `size` whose root comes last of all; puts (v, i) in the place of the root and lets it sink. */
template <class T>
void sink(T* values, int32_t* index, int64_t size, int64_t at, T v, int32_t i, bool largest) {
  for (int64_t child = 2 * at + 1; child < size; child = 2 * at + 1) {
    if (child + 1 < size && before(values[child], index[child], values[child + 1], index[child + 1], largest)) ++child;
    if (!before(v, i, values[child], index[child], largest)) break;
    values[at] = values[child];
    index[at] = index[child];
    at = child;
  }
  values[at] = v;
  index[at] = i;
}

template <class T>
void best(const T* x, int64_t n, int64_t k, T* values, int32_t* index, bool largest) {
  for (int64_t i = 0; i < k; ++i) {
    values[i] = x[i];
    index[i] = static_cast<int32_t>(i);
  }
  for (int64_t at = k / 2 - 1; at >= 0; --at) sink(values, index, k, at, values[at], index[at], largest);
  // Most elements do not come near: blocks in which none beats the worst kept are passed over. (A NaN beats nothing here, and is looked at.)
  constexpr int64_t kBlock = 64;
  for (int64_t at = k; at < n; at += kBlock) {
    const int64_t end = at + kBlock < n ? at + kBlock : n;
    const Acc<T> worst(values[0]);
    bool any = false;
    if (largest) {
#pragma omp simd reduction(| : any)
      for (int64_t i = at; i < end; ++i) any |= !(Acc<T>(x[i]) <= worst);
    } else {
#pragma omp simd reduction(| : any)
      for (int64_t i = at; i < end; ++i) any |= !(Acc<T>(x[i]) >= worst);
    }
    for (int64_t i = at; i < end && any; ++i)
      if (before(x[i], static_cast<int32_t>(i), values[0], index[0], largest)) sink(values, index, k, 0, x[i], static_cast<int32_t>(i), largest);
  }
  // The root is the worst: to the back with it, again and again.
  for (int64_t size = k - 1; size > 0; --size) {
    const T v = values[size];
    const int32_t i = index[size];
    values[size] = values[0];
    index[size] = index[0];
    sink(values, index, size, 0, v, i, largest);
  }
}

/** attr: n, k, largest. x [rows, n]; out: values [rows, k], indices [rows, k] i32. */
void topK(const Call& c) {
  const int64_t n = c.integer(0), k = c.integer(1), rows = n ? c.in[0].n / n : 0;
  require(k <= n && c.in[0].n == rows * n && c.out[0].n == rows * k && c.out[1].n == rows * k, "topK: sizes");
  require(c.out[0].dtype == c.in[0].dtype && c.out[1].dtype == DType::i32, "topK: dtypes");
  if (k == 0) return;
  const bool largest = c.flag(2);
  dispatchAny(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    const T* x = c.in[0].as<T>();
    T* values = c.out[0].as<T>();
    int32_t* index = c.out[1].as<int32_t>();
    parallelRows(rows, n, [=](int64_t r) { best(x + r * n, n, k, values + r * k, index + r * k, largest); });
  });
}

}  // namespace

void registerTopK(OpTable& t) { t.cpu("topK", topK); }

ANNEAL_KERNELS_END
