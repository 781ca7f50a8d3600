// Unary and binary drivers: one loop per kind, every functor of ops/functors.h.
#include "cpu/kernel.h"
#include "cpu/math.h"

ANNEAL_KERNELS_BEGIN
#include "ops/functors.h"
#include "cpu/gelu.h"

namespace {

/** The functions that integers have too. */
template <class F>
constexpr bool kWhole = std::is_same_v<F, Neg> || std::is_same_v<F, Abs> || std::is_same_v<F, Square> || std::is_same_v<F, Sign>;

/** out = f(x). attr: p, q. */
template <class F>
void unary(const Call& c) {
  const auto body = [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T* x = c.in[0].as<T>();
    T* y = c.out[0].as<T>();
    const A p = static_cast<A>(c.attr[0]), q = static_cast<A>(c.attr[1]);
    parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) y[i] = T(F::template f<A>(A(x[i]), p, q));
    });
  };
  if constexpr (kWhole<F>) return dispatchAny(c.in[0].dtype, body);
  dispatchFloat(c.in[0].dtype, body);
}

/** out = g * f'(saved) (+ accumulated, which may be out itself). */
template <class F>
void unaryGrad(const Call& c) {
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T* g = c.in[0].as<T>();
    const T* s = c.has(1) ? c.in[1].as<T>() : g;
    const T* acc = c.has(2) ? c.in[2].as<T>() : nullptr;
    T* dx = c.out[0].as<T>();
    const A p = static_cast<A>(c.attr[0]), q = static_cast<A>(c.attr[1]);
    parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
      if (acc) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) dx[i] = T(F::template df<A>(A(g[i]), A(s[i]), p, q) + A(acc[i]));
      } else {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) dx[i] = T(F::template df<A>(A(g[i]), A(s[i]), p, q));
      }
    });
  });
}

/** Function and derivative in one pass: out 0 = f(x) (which may lie over x), out 1 = f'(x). For ops whose backward multiplies by the derivative inside a product. */
template <class F>
void unaryWithGrad(const Call& c) {
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T* x = c.in[0].as<T>();
    T *y = c.out[0].as<T>(), *d = c.out[1].as<T>();
    require(c.in[0].n == c.out[0].n && c.in[0].n == c.out[1].n, "unary with gradient: sizes");
    parallelFor(c.out[0].n, kGrain / 4, [=](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) {
        const A v = A(x[i]);
        d[i] = T(F::template df<A>(A(1), v, A(0), A(0)));
        y[i] = T(F::template f<A>(v, A(0), A(0)));
      }
    });
  });
}

/** Broadcast walk. attr: rank, dims, strides of a, strides of b (elements; 0 where broadcast), already collapsed by lib/tensor/shape.ts. */
template <class T, class R, class F>
void broadcast(const Call& c, F f) {
  const int rank = static_cast<int>(c.integer(0));
  const double *dims = c.attr + 1, *sa = dims + rank, *sb = sa + rank;
  const T *a = c.in[0].as<T>(), *b = c.in[1].as<T>();
  R* y = c.out[0].as<R>();
  const int64_t inner = rank ? static_cast<int64_t>(dims[rank - 1]) : 1, n = c.out[0].n;
  if (n == 0) return;
  const int64_t ia = rank ? static_cast<int64_t>(sa[rank - 1]) : 0, ib = rank ? static_cast<int64_t>(sb[rank - 1]) : 0;
  const auto row = [=](int64_t r, int64_t begin, int64_t end) {
    int64_t oa = 0, ob = 0, rest = r;
    for (int d = rank - 2; d >= 0; --d) {
      const int64_t size = static_cast<int64_t>(dims[d]), k = rest % size;
      rest /= size;
      oa += k * static_cast<int64_t>(sa[d]);
      ob += k * static_cast<int64_t>(sb[d]);
    }
    const T *pa = a + oa, *pb = b + ob;
    R* py = y + r * inner;
    if (ia == 1 && ib == 1) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) py[i] = f(pa[i], pb[i]);
    } else if (ia == 1 && ib == 0) {
      const T right = *pb;
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) py[i] = f(pa[i], right);
    } else if (ia == 0 && ib == 1) {
      const T left = *pa;
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) py[i] = f(left, pb[i]);
    } else {
      for (int64_t i = begin; i < end; ++i) py[i] = f(pa[i * ia], pb[i * ib]);
    }
  };
  if (rank <= 1) return parallelFor(n, kGrain, [=](int64_t begin, int64_t end) { row(0, begin, end); });
  parallelRows(n / inner, inner, [=](int64_t r) { row(r, 0, inner); });
}

/** With one input the other operand is the scalar attr[0]; attr[1] says that the scalar stands left. */
template <class T, class R, class F>
void withScalar(const Call& c, F f) {
  const T* x = c.in[0].as<T>();
  R* y = c.out[0].as<R>();
  using A = Acc<T>;
  const A s = static_cast<A>(c.attr[0]);
  const bool left = c.flag(1);
  parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
    if (left) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) y[i] = R(f(s, A(x[i])));
    } else {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) y[i] = R(f(A(x[i]), s));
    }
  });
}

template <class F>
void binary(const Call& c) {
  const auto body = [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    if (c.nIn == 1) return withScalar<T, T>(c, [](A a, A b) { return F::template f<A>(a, b); });
    broadcast<T, T>(c, [](T a, T b) { return T(F::template f<A>(A(a), A(b))); });
  };
  if constexpr (std::is_same_v<F, Atan2>) return dispatchFloat(c.in[0].dtype, body);
  else dispatchAny(c.in[0].dtype, body);
}

template <class F>
void bitwise(const Call& c) {
  const auto body = [&](auto tag) {
    using T = decltype(tag);
    if (c.nIn == 1) return withScalar<T, T>(c, [](T a, T b) { return T(F::template f<T>(a, b)); });
    broadcast<T, T>(c, [](T a, T b) { return T(F::template f<T>(a, b)); });
  };
  const DType t = c.in[0].dtype;
  if (t == DType::i32) return body(int32_t{});
  require(t == DType::u8 || t == DType::boolean, "bitwise: whole numbers");
  body(uint8_t{});
}

/** Integer division by zero has no value to give; floats have infinity. */
void divide(const Call& c) {
  const DType t = c.in[0].dtype;
  if (t == DType::i32 || t == DType::u8 || t == DType::boolean) fail("division of integers: convert to a float dtype first, for example x.to('f32')");
  binary<Div>(c);
}

template <class F>
void compare(const Call& c) {
  dispatchAny(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    if (c.nIn == 1) return withScalar<T, uint8_t>(c, [](A a, A b) { return F::template f<A>(a, b); });
    broadcast<T, uint8_t>(c, [](T a, T b) { return uint8_t(F::template f<A>(A(a), A(b))); });
  });
}

}  // namespace

void registerElementwise(OpTable& t) {
#define ANNEAL_ROW(name, F) \
  t.cpu(#name, unary<F>);   \
  t.cpu(#name ".grad", unaryGrad<F>);
  ANNEAL_UNARY_OPS(ANNEAL_ROW)
#undef ANNEAL_ROW
  t.cpu("gelu.both", unaryWithGrad<Gelu>);
  t.cpu("geluTanh.both", unaryWithGrad<GeluTanh>);
#define ANNEAL_ROW(name, F) t.cpu(#name, Kernel(std::is_same_v<F, Div> ? &divide : &binary<F>));
  ANNEAL_BINARY_OPS(ANNEAL_ROW)
#undef ANNEAL_ROW
#define ANNEAL_ROW(name, F) t.cpu(#name, bitwise<F>);
  ANNEAL_BITWISE_OPS(ANNEAL_ROW)
#undef ANNEAL_ROW
#define ANNEAL_ROW(name, F) t.cpu(#name, compare<F>);
  ANNEAL_COMPARE_OPS(ANNEAL_ROW)
#undef ANNEAL_ROW
}

ANNEAL_KERNELS_END
