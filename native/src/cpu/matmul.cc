// Plain matrix products: the f64 reference, and sizes too small for a primitive's overhead.
#include "ops/matmul_shape.h"

#include "cpu/kernel.h"

ANNEAL_KERNELS_BEGIN
namespace {

/** Elements of a right operand that is turned before use, so that the inner loop runs along memory: 128 KiB of f32. */
constexpr int64_t kTurned = 1 << 15;

/** The one right matrix [n, k] as [k, n] in the accumulator's type; null where there are several, or it is large. */
template <class A, class B>
const A* turned(const B* b, const MatmulShape& s) {
  if (!s.transposeB || s.k * s.n > kTurned || (s.batch > 1 && s.strideB)) return nullptr;
  static thread_local A buffer[kTurned];
  for (int64_t j = 0; j < s.n; ++j)
    for (int64_t p = 0; p < s.k; ++p) buffer[p * s.n + j] = A(b[j * s.k + p]);
  return buffer;
}

template <class T, class B, class R>
void product(const Call& c, const MatmulShape& s) {
  using A = Acc<T>;
  const A* along = turned<A>(c.in[1].as<B>(), s);
  const float* bias32 = s.bias && c.in[2].dtype != DType::f64 ? c.in[2].as<float>() : nullptr;
  const double* bias64 = s.bias && c.in[2].dtype == DType::f64 ? c.in[2].as<double>() : nullptr;
  const R* extra = c.has(3) ? c.in[3].as<R>() : nullptr;
  const int64_t rows = s.batch * s.m;
  parallelRows(rows, s.n * s.k, [&](int64_t row) {
    const int64_t batch = row / s.m, i = row % s.m;
    const T* a = c.in[0].as<T>() + batch * s.strideA;
    const B* b = c.in[1].as<B>() + batch * s.strideB;
    R* out = c.out[0].as<R>() + row * s.n;
    constexpr int64_t kTile = 64;
    for (int64_t j0 = 0; j0 < s.n; j0 += kTile) {
      const int64_t width = s.n - j0 < kTile ? s.n - j0 : kTile;
      A sum[kTile];
      for (int64_t j = 0; j < width; ++j) sum[j] = A(0);
      if (along) {
        for (int64_t p = 0; p < s.k; ++p) {
          const A x = A(s.transposeA ? a[p * s.m + i] : a[i * s.k + p]);
          const A* bp = along + p * s.n + j0;
#pragma omp simd
          for (int64_t j = 0; j < width; ++j) sum[j] += x * bp[j];
        }
      } else if (s.transposeB) {
        for (int64_t j = 0; j < width; ++j) {
          const B* bj = b + (j0 + j) * s.k;
          A dot = A(0);
          if (!s.transposeA) {
#pragma omp simd reduction(+ : dot)
            for (int64_t p = 0; p < s.k; ++p) dot += A(a[i * s.k + p]) * A(bj[p]);
          } else {
            for (int64_t p = 0; p < s.k; ++p) dot += A(a[p * s.m + i]) * A(bj[p]);
          }
          sum[j] = dot;
        }
      } else {
        for (int64_t p = 0; p < s.k; ++p) {
          const A x = A(s.transposeA ? a[p * s.m + i] : a[i * s.k + p]);
          const B* bp = b + p * s.n + j0;
#pragma omp simd
          for (int64_t j = 0; j < width; ++j) sum[j] += x * A(bp[j]);
        }
      }
      for (int64_t j = 0; j < width; ++j) {
        A y = sum[j];
        if (s.accumulate) y += A(out[j0 + j]);
        if (bias32) y += A(bias32[j0 + j]);
        if (bias64) y += A(bias64[j0 + j]);
        if (s.activation == kRelu) y = y > A(0) ? y : (y != y ? y : A(0));
        if (s.residual) y += A(extra[row * s.n + j0 + j]);
        if (s.multiplier) y *= A(extra[row * s.n + j0 + j]);
        out[j0 + j] = R(y);
      }
    }
  });
}

void matmul(const Call& c) {
  const MatmulShape s(c);
  const DType a = c.in[0].dtype, b = c.in[1].dtype, out = c.out[0].dtype;
  dispatchFloat(a, [&](auto tag) {
    using T = decltype(tag);
    require(a == b, "matmul: operands of two dtypes");
    if (out == a) return product<T, T, T>(c, s);
    if constexpr (sizeof(T) == 2) {
      if (out == DType::f32) return product<T, T, float>(c, s);
    }
    fail(std::string("no matmul of ") + nameOf(a) + " into " + nameOf(out));
  });
}

}  // namespace

void registerDirectMatmul();

void registerMatmul(OpTable& t) {
  t.cpu("matmul.plain", matmul);
  registerDirectMatmul();
}

ANNEAL_KERNELS_END
