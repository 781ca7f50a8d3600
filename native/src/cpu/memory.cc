// Fills, casts, copies: work that computes nothing.
#include <cstring>

#include "cpu/kernel.h"

ANNEAL_KERNELS_BEGIN
namespace {

/** out = attr[0] everywhere. */
void fill(const Call& c) {
  dispatchAny(c.out[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    T* y = c.out[0].as<T>();
    const T value = T(static_cast<Acc<T>>(c.attr[0]));
    parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) y[i] = value;
    });
  });
}

/** From a float to an integer truncates and saturates; NaN gives 0 (as CUDA does). To bool: nonzero. */
template <class To, class From>
ANNEAL_ALWAYS To convert(From x, bool toBool) {
  if (toBool) return To(Acc<From>(x) != Acc<From>(0));
  if constexpr (std::is_integral_v<To> && !std::is_integral_v<From>) {
    const double v = static_cast<double>(Acc<From>(x));
    constexpr double low = std::is_same_v<To, int32_t> ? -2147483648.0 : 0.0, high = std::is_same_v<To, int32_t> ? 2147483647.0 : 255.0;
    return v != v ? To(0) : To(v < low ? low : (v > high ? high : v));
  } else {
    return To(static_cast<Acc<To>>(Acc<From>(x)));
  }
}

void cast(const Call& c) {
  const bool toBool = c.out[0].dtype == DType::boolean;
  dispatchAny(c.in[0].dtype, [&](auto from) {
    using From = decltype(from);
    dispatchAny(c.out[0].dtype, [&](auto to) {
      using To = decltype(to);
      const From* x = c.in[0].as<From>();
      To* y = c.out[0].as<To>();
      parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) y[i] = convert<To, From>(x[i], toBool);
      });
    });
  });
}

/** Same dtype, same number of elements. */
void copy(const Call& c) {
  const int64_t size = static_cast<int64_t>(sizeOf(c.in[0].dtype));
  const char* x = c.in[0].as<char>();
  char* y = c.out[0].as<char>();
  require(c.in[0].n == c.out[0].n, "copy: sizes");
  parallelFor(c.in[0].n * size, 1 << 18, [=](int64_t begin, int64_t end) { std::memcpy(y + begin, x + begin, end - begin); });
}

}  // namespace

void registerMemory(OpTable& t) {
  t.cpu("fill", fill);
  t.cpu("cast", cast);
  t.cpu("copy", copy);
}

ANNEAL_KERNELS_END
