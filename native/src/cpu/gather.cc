// Values picked by a condition or an index, and their gradients. Sums over repeated indices run in index order on one thread each.
#include "cpu/index.h"

ANNEAL_KERNELS_BEGIN
namespace {

/** out = in[0] ? a : b; a and b are in[1], in[2], or scalars where absent. attr: rank, scalar a, scalar b, dims, strides of condition, a, b. */
void where(const Call& c) {
  const int rank = static_cast<int>(c.integer(0));
  require(c.nAttr == 3 + 4 * rank && c.nIn == 3, "where: attributes");
  const double *dims = c.attr + 3, *strides = dims + rank;
  int64_t reach[3] = {0, 0, 0}, n = 1;
  for (int d = 0; d < rank; ++d) {
    n *= static_cast<int64_t>(dims[d]);
    for (int o = 0; o < 3; ++o) reach[o] += static_cast<int64_t>((dims[d] - 1) * strides[o * rank + d]);
  }
  require(n == c.out[0].n, "where: size");
  if (n == 0) return;
  for (int o = 0; o < 3; ++o) require(!c.has(o) || (reach[o] < c.in[o].n && (o == 0 || c.in[o].dtype == c.out[0].dtype)), "where: bounds");
  dispatchAny(c.out[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    const uint8_t* condition = c.in[0].as<uint8_t>();
    const T scalar[2] = {T(static_cast<Acc<T>>(c.attr[1])), T(static_cast<Acc<T>>(c.attr[2]))};
    const T* a = c.has(1) ? c.in[1].as<T>() : &scalar[0];
    const T* b = c.has(2) ? c.in[2].as<T>() : &scalar[1];
    T* y = c.out[0].as<T>();
    const int64_t inner = rank ? static_cast<int64_t>(dims[rank - 1]) : 1;
    const auto step = [&](int o) { return rank ? static_cast<int64_t>(strides[o * rank + rank - 1]) : int64_t{0}; };
    const int64_t sc = step(0), sa = step(1), sb = step(2);
    const auto row = [=](int64_t r, int64_t begin, int64_t end) {
      int64_t at[3] = {0, 0, 0}, rest = r;
      for (int d = rank - 2; d >= 0; --d) {
        const int64_t size = static_cast<int64_t>(dims[d]), k = rest % size;
        rest /= size;
        for (int o = 0; o < 3; ++o) at[o] += k * static_cast<int64_t>(strides[o * rank + d]);
      }
      const uint8_t* pc = condition + at[0];
      const T *pa = a + at[1], *pb = b + at[2];
      T* py = y + r * inner;
      if (sc == 1 && sa == 1 && sb == 1) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) py[i] = pc[i] ? pa[i] : pb[i];
      } else if (sc == 1 && sa == 1 && sb == 0) {
        const T other = *pb;
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) py[i] = pc[i] ? pa[i] : other;
      } else if (sc == 1 && sa == 0 && sb == 1) {
        const T other = *pa;
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) py[i] = pc[i] ? other : pb[i];
      } else {
        for (int64_t i = begin; i < end; ++i) py[i] = pc[i * sc] ? pa[i * sa] : pb[i * sb];
      }
    };
    if (rank <= 1) return parallelFor(n, kGrain, [=](int64_t begin, int64_t end) { row(0, begin, end); });
    parallelRows(n / inner, inner, [=](int64_t r) { row(r, 0, inner); });
  });
}

/** [outer, n, inner] picked at index [outer, k, inner]. */
struct Picks {
  int64_t outer, n, k, inner;
  explicit Picks(const Call& c) : outer(c.integer(0)), n(c.integer(1)), k(c.integer(2)), inner(c.integer(3)) {
    require(c.in[1].dtype == DType::i32 && c.in[1].n == outer * k * inner, "gather: index");
  }
};

/** out[o][j][i] = x[o][index[o][j][i]][i]. attr: outer, n, k, inner. */
void gather(const Call& c) {
  const Picks p(c);
  require(c.in[0].n == p.outer * p.n * p.inner && c.out[0].n == c.in[1].n && c.in[0].dtype == c.out[0].dtype, "gather: sizes");
  const int32_t* index = c.in[1].as<int32_t>();
  checkIndices(index, c.in[1].n, p.n);
  dispatchAny(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    const T* x = c.in[0].as<T>();
    T* y = c.out[0].as<T>();
    parallelRows(p.outer * p.k, p.inner, [=](int64_t r) {
      const T* px = x + r / p.k * p.n * p.inner;
      for (int64_t i = 0; i < p.inner; ++i) y[r * p.inner + i] = px[index[r * p.inner + i] * p.inner + i];
    });
  });
}

/** dx[o][index[o][j][i]][i] += g[o][j][i], in f32 or f64. attr: outer, n, k, inner, accumulate. */
void gatherGrad(const Call& c) {
  const Picks p(c);
  require(c.in[0].n == c.in[1].n && c.out[0].n == p.outer * p.n * p.inner, "gather.grad: sizes");
  const int32_t* index = c.in[1].as<int32_t>();
  checkIndices(index, c.in[1].n, p.n);
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    require(c.out[0].dtype == (std::is_same_v<A, double> ? DType::f64 : DType::f32), "gather.grad: dtype");
    const T* g = c.in[0].as<T>();
    A* dx = c.out[0].as<A>();
    const bool keep = c.flag(4);
    const auto columns = [=](int64_t o, int64_t begin, int64_t end) {
      A* out = dx + o * p.n * p.inner;
      for (int64_t r = 0; r < p.n && !keep; ++r)
        for (int64_t i = begin; i < end; ++i) out[r * p.inner + i] = 0;
      for (int64_t j = o * p.k; j < (o + 1) * p.k; ++j)
        for (int64_t i = begin; i < end; ++i) out[index[j * p.inner + i] * p.inner + i] += A(g[j * p.inner + i]);
    };
    if (p.outer == 1) return parallelFor(p.inner, kGrain / (p.n + p.k + 1) + 1, [=](int64_t begin, int64_t end) { columns(0, begin, end); });
    parallelRows(p.outer, (p.n + p.k) * p.inner, [=](int64_t o) { columns(o, 0, p.inner); });
  });
}

/** out[r] = weight[index[r]], rounded to the output's dtype. attr: rows of the weight, width. */
void embedding(const Call& c) {
  const int64_t v = c.integer(0), d = c.integer(1), rows = c.in[0].n;
  require(c.in[0].dtype == DType::i32 && c.in[1].n == v * d && c.out[0].n == rows * d, "embedding: sizes");
  const int32_t* index = c.in[0].as<int32_t>();
  checkIndices(index, rows, v);
  dispatchFloat(c.in[1].dtype, [&](auto from) {
    using W = decltype(from);
    dispatchFloat(c.out[0].dtype, [&](auto to) {
      using T = decltype(to);
      const W* w = c.in[1].as<W>();
      T* y = c.out[0].as<T>();
      parallelRows(rows, d, [=](int64_t r) {
        const W* px = w + index[r] * d;
        T* py = y + r * d;
#pragma omp simd
        for (int64_t i = 0; i < d; ++i) py[i] = T(static_cast<Acc<T>>(Acc<W>(px[i])));
      });
    });
  });
}

/**
 * dW[index[r]] += g[r], or from zero. attr: rows of the weight, width, row without gradient (-1: none), accumulate. Each element of dW belongs to one
 * task, which walks the rows of g in order: the same sums whatever the number of threads. Tasks are chunks of columns; where these are fewer than
 * the threads, each is cut again by index modulo `ways` (frequent tokens have neighbouring numbers).
 */
void embeddingGrad(const Call& c) {
  const int64_t v = c.integer(0), d = c.integer(1), padding = c.integer(2), rows = c.in[1].n;
  require(c.in[1].dtype == DType::i32 && c.in[0].n == rows * d && c.out[0].n == v * d, "embedding.grad: sizes");
  const int32_t* index = c.in[1].as<int32_t>();
  checkIndices(index, rows, v);
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    require(c.out[0].dtype == (std::is_same_v<A, double> ? DType::f64 : DType::f32), "embedding.grad: dtype");
    const T* g = c.in[0].as<T>();
    A* dw = c.out[0].as<A>();
    if (!c.flag(3))
      parallelFor(v * d, kGrain, [=](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) dw[i] = 0;
      });
    constexpr int64_t kColumns = 64;
    const int64_t threads = threadsFor(rows * d, kGrain), most = (d + kColumns - 1) / kColumns;
    const int64_t chunks = most < threads ? (most < 1 ? 1 : most) : threads, ways = (threads + chunks - 1) / chunks;
    parallelRows(chunks * ways, rows * d / (chunks * ways), [=](int64_t task) {
      const int64_t chunk = task / ways, way = task % ways;
      const int64_t begin = d * chunk / chunks / 16 * 16, end = chunk + 1 == chunks ? d : d * (chunk + 1) / chunks / 16 * 16;
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t at = index[r];
        if (at == padding || (ways > 1 && at % ways != way)) continue;
        const T* pg = g + r * d;
        A* out = dw + at * d;
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) out[i] += A(pg[i]);
      }
    });
  });
}

}  // namespace

void registerGather(OpTable& t) {
  t.cpu("where", where);
  t.cpu("gather", gather);
  t.cpu("gather.grad", gatherGrad);
  t.cpu("embedding", embedding);
  t.cpu("embedding.grad", embeddingGrad);
}

ANNEAL_KERNELS_END
