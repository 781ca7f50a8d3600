// The walk that every reduction shares. lib/ops/reduce.ts merges neighbouring dimensions, so that kept and reduced ones alternate; the
// innermost one is then either reduced (rows) or kept (columns). Long reductions are cut into chunks that depend on the shape alone, and
// chunks are combined in order: results do not depend on the number of threads.
#pragma once
#include "cpu/kernel.h"
#include "cpu/sums.h"

namespace anneal::cpu {
char* scratch(int slot, size_t bytes);
}

ANNEAL_KERNELS_BEGIN

constexpr int kTile = 512;  // columns that one task walks together
constexpr int kRows = 8;  // rows that it takes at a time
constexpr int64_t kChunk = 65536;  // elements of one chunk

class Walk {
 public:
  int64_t inner = 1, outer = 1, count = 1;  // the innermost dimension; the products of the others, kept and reduced
  bool rows = true;  // is the innermost dimension reduced?

  Walk(int rank, const double* dims, const double* flags) {
    require(rank >= 0 && rank <= kMaxRank, "reduce: rank");
    for (int d = rank - 1; d >= 0; --d) {
      const int64_t size = static_cast<int64_t>(dims[d]);
      require(size >= 0, "reduce: dimension");
      if (d == rank - 1) {
        inner = size;
        rows = flags[d] != 0;
      } else if (flags[d] != 0) {
        reduced_.add(size, elements_);
        count *= size;
      } else {
        kept_.add(size, elements_);
        outer *= size;
      }
      elements_ *= size;
    }
  }
  /** From attributes: rank, dims, flags (1: reduced). */
  static Walk from(const Call& c, int at) {
    require(c.nAttr > at && c.integer(at) <= kMaxRank && c.nAttr >= at + 1 + 2 * c.integer(at), "reduce: attributes");
    const int rank = static_cast<int>(c.integer(at));
    return Walk(rank, c.attr + at + 1, c.attr + at + 1 + rank);
  }
  int64_t elements() const { return elements_; }
  int64_t outputs() const { return outer * (rows ? 1 : inner); }
  int64_t keptOffset(int64_t i) const { return kept_.offset(i); }
  int64_t reducedOffset(int64_t i) const { return reduced_.offset(i); }

  // A task's share of the outputs: one in rows, up to kTile neighbours in columns.
  int64_t width() const { return rows ? 1 : (inner < kTile ? inner : kTile); }
  int64_t tiles() const { return rows ? 1 : (inner + kTile - 1) / kTile; }
  int64_t cells() const { return outer * tiles(); }
  int64_t length() const { return rows ? count * inner : count; }
  int64_t firstColumn(int64_t cell) const { return cell % tiles() * kTile; }
  int64_t firstOutput(int64_t cell) const { return rows ? cell : cell / tiles() * inner + firstColumn(cell); }
  int64_t columns(int64_t cell) const {
    const int64_t left = inner - firstColumn(cell);
    return rows ? 1 : (left < kTile ? left : kTile);
  }
  /** Where the cell's elements begin. */
  int64_t base(int64_t cell) const { return rows ? keptOffset(cell) : keptOffset(cell / tiles()) + firstColumn(cell); }

  /** body(offset, n, index) for each contiguous run of [begin, end) of a cell in rows. */
  template <class Body>
  ANNEAL_ALWAYS void runs(int64_t cell, int64_t begin, int64_t end, Body&& body) const {
    const int64_t at = base(cell);
    for (int64_t i = begin; i < end;) {
      const int64_t k = i / inner, j = i - k * inner, n = inner - j < end - i ? inner - j : end - i;
      body(at + reducedOffset(k) + j, n, i);
      i += n;
    }
  }

 private:
  static constexpr int kMaxRank = 8;
  struct Dims {
    int n = 0;
    int64_t size[kMaxRank], stride[kMaxRank];
    void add(int64_t s, int64_t step) { size[n] = s, stride[n++] = step; }
    int64_t offset(int64_t i) const {
      if (n == 0) return 0;
      int64_t at = 0;
      for (int d = 0; d < n - 1; ++d) {
        at += i % size[d] * stride[d];
        i /= size[d];
      }
      return at + i * stride[n - 1];
    }
  };
  Dims kept_, reduced_;
  int64_t elements_ = 1;
};

/** Where in the reduction a run or block stands: its index, elements that the state has seen, and the output it belongs to. */
struct Place {
  int64_t index, done, out;
};

/** Steps [begin, end) of one cell into `s`. Out of line: it holds all of the op's loops. */
template <class Op>
__attribute__((noinline)) void reducePart(const Walk& w, const Op& op, int64_t cell, int64_t begin, int64_t end, double* s) {
  const int64_t out = w.firstOutput(cell), n = w.columns(cell), ld = w.width();
  op.start(s, ld, n);
  if (w.rows) {
    w.runs(cell, begin, end, [&](int64_t offset, int64_t many, int64_t i) { op.row(s, offset, many, Place{i, i - begin, out}); });
    return;
  }
  const int64_t base = w.base(cell);
  int64_t offsets[kRows];
  for (int64_t i = begin; i < end; i += kRows) {
    const int many = static_cast<int>(end - i < kRows ? end - i : kRows);
    for (int r = 0; r < many; ++r) offsets[r] = base + w.reducedOffset(i + r);
    op.block(s, ld, offsets, many, static_cast<int>(n), Place{i, i - begin, out});
  }
}

/**
 * Reduces by `op`, whose state is Op::kPlanes doubles for each output, plane k of output j at s[k * ld + j]:
 *   start(s, ld, n); row(s, offset, n, place): n neighbours into one state; block(s, ld, offsets, rows, width, place): rows <= kRows;
 *   combine(s, t, ld, n, seen by s, seen by t); write(s, ld, n, first output).
 * Offsets count elements of the input; op reads it by itself.
 */
template <class Op>
void reduce(const Walk& w, const Op& op) {
  constexpr int kPlanes = Op::kPlanes;
  if (w.outputs() == 0) return;
  const int64_t width = w.width(), length = w.length(), cells = w.cells();
  const bool split = cells < 64 && length * width > 2 * kChunk;
  const int64_t chunk = split ? (kChunk / width + kRows - 1) / kRows * kRows : length, chunks = split ? (length + chunk - 1) / chunk : 1;
  double* partials = split ? reinterpret_cast<double*>(scratch(7, sizeof(double) * static_cast<size_t>(cells * chunks * width * kPlanes))) : nullptr;
  const auto partial = [&](int64_t task) { return partials + task * width * kPlanes; };

  parallelRows(cells * chunks, chunk * width, [&](int64_t task) {
    const int64_t cell = task / chunks, begin = task % chunks * chunk, end = begin + chunk < length ? begin + chunk : length;
    if (split) return reducePart(w, op, cell, begin, end, partial(task));
    double state[kTile * Op::kPlanes];
    reducePart(w, op, cell, 0, length, state);
    op.write(state, width, w.columns(cell), w.firstOutput(cell));
  });
  if (!split) return;
  parallelRows(cells, chunks * width, [&](int64_t cell) {
    double* s = partial(cell * chunks);
    for (int64_t k = 1; k < chunks; ++k)
      op.combine(s, partial(cell * chunks + k), width, w.columns(cell), k * chunk, (k + 1 < chunks ? chunk : length - k * chunk));
    op.write(s, width, w.columns(cell), w.firstOutput(cell));
  });
}

/** Stores a value as the view's dtype. */
template <class V>
ANNEAL_ALWAYS void storeAs(const View& out, int64_t i, V v) {
  switch (out.dtype) {
    case DType::f32: out.as<float>()[i] = static_cast<float>(v); break;
    case DType::f64: out.as<double>()[i] = static_cast<double>(v); break;
    case DType::bf16: out.as<bf16>()[i] = bf16(static_cast<float>(v)); break;
    case DType::f16: out.as<f16>()[i] = f16(static_cast<float>(v)); break;
    case DType::i32: out.as<int32_t>()[i] = static_cast<int32_t>(static_cast<int64_t>(v)); break;
    default: out.as<uint8_t>()[i] = static_cast<uint8_t>(v);
  }
}

/** Mean and sum of squared deviations of runs and blocks, each taken about its own mean in the arithmetic of T, merged in f64 (Chan et al.). */
template <class T>
struct Moments {
  using A = Acc<T>;
  static constexpr int kPlanes = 2;
  const T* x;

  static ANNEAL_ALWAYS void merge(double& mean, double& m2, double n, double mean2, double m22, double n2) {
    const double delta = mean2 - mean, share = n2 / (n + n2);
    mean += delta * share;
    m2 += m22 + delta * delta * n * share;
  }
  void start(double* s, int64_t ld, int64_t n) const {
    for (int64_t j = 0; j < n; ++j) s[j] = s[ld + j] = 0;
  }
  void row(double* s, int64_t offset, int64_t n, const Place& at) const {
    constexpr int64_t kRun = 4096;
    for (int64_t i = 0; i < n; i += kRun) {
      const int64_t m = n - i < kRun ? n - i : kRun;
      const T* p = x + offset + i;
      const A shift = sumRun<A>(m, [&](int64_t j) ANNEAL_INLINED { return A(p[j]); }) / A(m);
      const Two<A> d = sumRun2<A>(m, [&](int64_t j) ANNEAL_INLINED {
        const A v = A(p[j]) - shift;
        return Two<A>{v, v * v};
      });
      const double off = double(d.first) / double(m);  // what rounding left between the shift and the mean
      merge(s[0], s[1], double(at.done + i), double(shift) + off, double(d.second) - off * double(d.first), double(m));
    }
  }
  void block(double* s, int64_t ld, const int64_t* offsets, int n, int width, const Place& at) const {
    const double seen = double(at.done);
    double *mean = s, *m2 = s + ld;
    if (n < kRows) {
      for (int r = 0; r < n; ++r) {
        const T* p = x + offsets[r];
#pragma omp simd
        for (int j = 0; j < width; ++j) merge(mean[j], m2[j], seen + r, double(A(p[j])), 0, 1);
      }
      return;
    }
    const T *a = x + offsets[0], *b = x + offsets[1], *d = x + offsets[2], *e = x + offsets[3], *f = x + offsets[4], *g = x + offsets[5], *h = x + offsets[6],
            *k = x + offsets[7];
#pragma omp simd
    for (int j = 0; j < width; ++j) {
      const A shift = A(0.125) * (((A(a[j]) + A(b[j])) + (A(d[j]) + A(e[j]))) + ((A(f[j]) + A(g[j])) + (A(h[j]) + A(k[j]))));
      const A va = A(a[j]) - shift, vb = A(b[j]) - shift, vd = A(d[j]) - shift, ve = A(e[j]) - shift, vf = A(f[j]) - shift, vg = A(g[j]) - shift,
              vh = A(h[j]) - shift, vk = A(k[j]) - shift;
      const A first = ((va + vb) + (vd + ve)) + ((vf + vg) + (vh + vk));
      const A second = ((va * va + vb * vb) + (vd * vd + ve * ve)) + ((vf * vf + vg * vg) + (vh * vh + vk * vk));
      const double off = double(first) * 0.125;
      merge(mean[j], m2[j], seen, double(shift) + off, double(second) - off * double(first), 8);
    }
  }
  void combine(double* s, const double* t, int64_t ld, int64_t n, int64_t seenS, int64_t seenT) const {
    for (int64_t j = 0; j < n; ++j) merge(s[j], s[ld + j], double(seenS), t[j], t[ld + j], double(seenT));
  }
};

ANNEAL_KERNELS_END
