// Reductions over any axes. lib/ops/reduce.ts merges neighbouring dimensions, so that kept and reduced ones alternate; the innermost
// dimension is then either reduced (rows) or kept (columns). Both walks cut long reductions into chunks that depend on the shape alone,
// and combine the chunks in order: results do not depend on the number of threads.
#include "cpu/kernel.h"
#include "cpu/math.h"

namespace anneal::cpu {
char* scratch(int slot, size_t bytes);
}

ANNEAL_KERNELS_BEGIN
namespace {

constexpr int kTile = 512, kRows = 8, kMaxRank = 8, kScratch = 7;
constexpr int64_t kChunk = 65536, kBlock = 4096;

/** attr from `at`: rank, dims, flags (1: reduced). */
struct Walk {
  int64_t keptDim[kMaxRank], keptStride[kMaxRank], dim[kMaxRank], stride[kMaxRank];
  int kept = 0, reduced = 0;
  bool rows = true;
  int64_t inner = 1, outer = 1, count = 1;  // innermost dimension; products of the others, kept and reduced

  Walk(const Call& c, int at) {
    const int rank = static_cast<int>(c.integer(at));
    require(rank >= 0 && rank <= kMaxRank && c.nAttr >= at + 1 + 2 * rank, "reduce: attributes");
    const double *dims = c.attr + at + 1, *flags = dims + rank;
    int64_t step = 1;
    for (int d = rank - 1; d >= 0; --d) {
      const int64_t size = static_cast<int64_t>(dims[d]);
      require(size >= 0, "reduce: dimension");
      if (d == rank - 1) {
        inner = size;
        rows = flags[d] != 0;
      } else if (flags[d] != 0) {
        dim[reduced] = size, stride[reduced++] = step;
        count *= size;
      } else {
        keptDim[kept] = size, keptStride[kept++] = step;
        outer *= size;
      }
      step *= size;
    }
    require(c.in[0].n == step && c.out[0].n == outer * (rows ? 1 : inner), "reduce: sizes");
  }
  static int64_t offset(int64_t index, int n, const int64_t* dims, const int64_t* strides) {
    if (n == 0) return 0;
    int64_t at = 0;
    for (int d = 0; d < n - 1; ++d) {
      at += index % dims[d] * strides[d];
      index /= dims[d];
    }
    return at + index * strides[n - 1];
  }
  int64_t keptOffset(int64_t index) const { return offset(index, kept, keptDim, keptStride); }
  int64_t reducedOffset(int64_t index) const { return offset(index, reduced, dim, stride); }
};

/** Stores one value as the output's dtype. */
template <class V>
ANNEAL_ALWAYS void store(const View& out, int64_t i, V v) {
  switch (out.dtype) {
    case DType::f32: out.as<float>()[i] = static_cast<float>(v); break;
    case DType::f64: out.as<double>()[i] = static_cast<double>(v); break;
    case DType::bf16: out.as<bf16>()[i] = bf16(static_cast<float>(v)); break;
    case DType::f16: out.as<f16>()[i] = f16(static_cast<float>(v)); break;
    case DType::i32: out.as<int32_t>()[i] = static_cast<int32_t>(static_cast<int64_t>(v)); break;
    default: out.as<uint8_t>()[i] = static_cast<uint8_t>(v);
  }
}
template <class V>
ANNEAL_ALWAYS V loadAs(const View& out, int64_t i) {
  switch (out.dtype) {
    case DType::f32: return static_cast<V>(out.as<float>()[i]);
    case DType::f64: return static_cast<V>(out.as<double>()[i]);
    default: fail("accumulation into this dtype");
  }
}

/**
 * out = finish(combined states). Op: State, start(), row(state, x, n, index of the first), block(states, rows, n <= kRows, width, index),
 * combine(state, state), finish(state).
 */
template <class T, class Op>
void reduce(const Call& c, int at, const Op op, bool accumulate = false) {
  using S = typename Op::State;
  const Walk w(c, at);
  const View out = c.out[0];
  if (out.n == 0) return;
  const T* x = c.in[0].as<T>();
  const int64_t width = w.rows ? 1 : (w.inner < kTile ? w.inner : kTile), tiles = w.rows ? 1 : (w.inner + kTile - 1) / kTile;
  const int64_t length = w.rows ? w.count * w.inner : w.count, cells = w.outer * tiles;
  const bool split = cells < 64 && length * width > 2 * kChunk;
  const int64_t chunk = split ? (kChunk / width + kRows - 1) / kRows * kRows : length, chunks = split ? (length + chunk - 1) / chunk : 1;
  S* partials = split ? reinterpret_cast<S*>(scratch(kScratch, sizeof(S) * static_cast<size_t>(cells * chunks * width))) : nullptr;

  const auto write = [&](int64_t cell, const S* s) {
    const int64_t first = w.rows ? cell : cell / tiles * w.inner + cell % tiles * kTile;
    const int64_t n = w.rows ? 1 : (w.inner - cell % tiles * kTile < kTile ? w.inner - cell % tiles * kTile : kTile);
    for (int64_t j = 0; j < n; ++j) {
      auto v = op.finish(s[j]);
      if (accumulate) v += loadAs<decltype(v)>(out, first + j);
      store(out, first + j, v);
    }
  };
  const auto rowTask = [&](int64_t cell, int64_t begin, int64_t end, S* s) {
    const T* base = x + w.keptOffset(cell);
    *s = op.start();
    for (int64_t i = begin; i < end;) {
      const int64_t k = i / w.inner, j = i - k * w.inner, n = w.inner - j < end - i ? w.inner - j : end - i;
      op.row(*s, base + w.reducedOffset(k) + j, n, i);
      i += n;
    }
  };
  const auto columnTask = [&](int64_t cell, int64_t begin, int64_t end, S* s) {
    const int64_t first = cell % tiles * kTile, n = w.inner - first < kTile ? w.inner - first : kTile;
    const T* base = x + w.keptOffset(cell / tiles) + first;
    for (int64_t j = 0; j < n; ++j) s[j] = op.start();
    const T* rows[kRows];
    for (int64_t i = begin; i < end; i += kRows) {
      const int many = static_cast<int>(end - i < kRows ? end - i : kRows);
      for (int r = 0; r < many; ++r) rows[r] = base + w.reducedOffset(i + r);
      op.block(s, rows, many, static_cast<int>(n), i);
    }
  };
  const auto run = [&](int64_t cell, int64_t begin, int64_t end, S* s) {
    if (w.rows) rowTask(cell, begin, end, s);
    else columnTask(cell, begin, end, s);
  };

  parallelRows(cells * chunks, (length < chunk ? length : chunk) * width, [&](int64_t task) {
    const int64_t cell = task / chunks, begin = task % chunks * chunk, end = begin + chunk < length ? begin + chunk : length;
    if (split) return run(cell, begin, end, partials + task * width);
    if (w.rows) {
      S s;
      rowTask(cell, begin, end, &s);
      return write(cell, &s);
    }
    S states[kTile];
    columnTask(cell, begin, end, states);
    write(cell, states);
  });
  if (!split) return;
  parallelRows(cells, chunks * width, [&](int64_t cell) {
    S* s = partials + cell * chunks * width;
    const int64_t first = cell % tiles * kTile, n = w.rows ? 1 : (w.inner - first < kTile ? w.inner - first : kTile);
    for (int64_t k = 1; k < chunks; ++k)
      for (int64_t j = 0; j < n; ++j) op.combine(s[j], s[k * width + j]);
    write(cell, s);
  });
}

/** scale * sum. Short runs add up in f32, the runs in f64. */
template <class T>
struct Sum {
  using A = std::conditional_t<std::is_integral_v<T>, int64_t, Acc<T>>;
  using State = std::conditional_t<std::is_integral_v<T>, int64_t, double>;
  double scale;
  State start() const { return State(0); }
  void row(State& s, const T* x, int64_t n, int64_t) const {
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t m = n - i < kBlock ? n - i : kBlock, quarter = m / 4;
      const T *a = x + i, *b = a + quarter, *d = b + quarter, *e = d + quarter;
      A s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
      for (int64_t j = 0; j < quarter; ++j) {
        s0 += A(a[j]);
        s1 += A(b[j]);
        s2 += A(d[j]);
        s3 += A(e[j]);
      }
      for (int64_t j = 4 * quarter; j < m; ++j) s0 += A(a[j]);
      s += State(s0 + s1) + State(s2 + s3);
    }
  }
  void block(State* s, const T* const* r, int n, int width, int64_t) const {
    if (n == kRows) {
      const T *a = r[0], *b = r[1], *d = r[2], *e = r[3], *f = r[4], *g = r[5], *h = r[6], *k = r[7];
#pragma omp simd
      for (int j = 0; j < width; ++j)
        s[j] += State(((A(a[j]) + A(b[j])) + (A(d[j]) + A(e[j]))) + ((A(f[j]) + A(g[j])) + (A(h[j]) + A(k[j]))));
      return;
    }
    for (int i = 0; i < n; ++i) {
      const T* a = r[i];
#pragma omp simd
      for (int j = 0; j < width; ++j) s[j] += State(A(a[j]));
    }
  }
  void combine(State& s, const State& t) const { s += t; }
  State finish(const State& s) const {
    if constexpr (std::is_integral_v<T>) return s;
    else return s * scale;
  }
};

/** attr: scale, rank, dims, flags. Integers add up to i32. */
void sum(const Call& c) {
  dispatchAny(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    reduce<T>(c, 1, Sum<T>{c.attr[0]});
  });
}

/** out [n] (+)= sum over rows of in [rows, n]. attr: rows, n, accumulate. out is f32, or f64 for f64. */
void columnSum(const Call& c) {
  const bool wide = c.in[0].dtype == DType::f64;
  require(c.out[0].dtype == (wide ? DType::f64 : DType::f32), "columnSum: dtype of the result");
  const double attr[] = {2, c.attr[0], c.attr[1], 1, 0};
  Call shaped = c;
  shaped.attr = attr;
  shaped.nAttr = 5;
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    reduce<T>(shaped, 0, Sum<T>{1}, c.flag(2));
  });
}

}  // namespace

void registerReduce(OpTable& t) {
  t.cpu("sum", sum);
  t.cpu("columnSum", columnSum);
}

ANNEAL_KERNELS_END
