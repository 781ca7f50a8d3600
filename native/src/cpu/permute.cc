// Moving elements: one strided copy serves permute, broadcast, slices, concatenation and padding.
#include <cstring>

#include "cpu/transpose.h"

ANNEAL_KERNELS_BEGIN
namespace {

constexpr int kMaxRank = 12;

/** A block of `dims` elements in two tensors. */
struct Walk {
  int rank;
  int64_t from, to;  // offsets of the first element
  int64_t dims[kMaxRank], source[kMaxRank], target[kMaxRank];  // strides in elements
  int64_t n;
};

/** attr: rank, offset in, offset out, add, dims, strides in, strides out. Guards memory: every element touched lies within its operand. */
Walk walkOf(const Call& c) {
  Walk w;
  w.rank = static_cast<int>(c.integer(0));
  require(w.rank >= 0 && w.rank <= kMaxRank && c.nAttr == 4 + 3 * w.rank, "strided: attributes");
  w.from = c.integer(1);
  w.to = c.integer(2);
  w.n = 1;
  int64_t low[2] = {w.from, w.to}, high[2] = {w.from, w.to};
  for (int d = 0; d < w.rank; ++d) {
    w.dims[d] = c.integer(4 + d);
    w.source[d] = c.integer(4 + w.rank + d);
    w.target[d] = c.integer(4 + 2 * w.rank + d);
    w.n *= w.dims[d];
    const int64_t reach[2] = {(w.dims[d] - 1) * w.source[d], (w.dims[d] - 1) * w.target[d]};
    for (int s = 0; s < 2; ++s) (reach[s] < 0 ? low[s] : high[s]) += reach[s];
  }
  require(w.n == 0 || (low[0] >= 0 && low[1] >= 0 && high[0] < c.in[0].n && high[1] < c.out[0].n), "strided: bounds");
  if (w.rank == 0) {
    w.rank = 1;
    w.dims[0] = w.source[0] = w.target[0] = 1;
  }
  return w;
}

/** run(from, to, count) for every piece of a row of the last dimension, split evenly over threads. */
template <class Run>
void overRows(const Walk& w, Run run) {
  const int last = w.rank - 1;
  const int64_t inner = w.dims[last];
  parallelFor(w.n, kGrain, [&](int64_t begin, int64_t end) {
    int64_t index[kMaxRank], from = w.from, to = w.to, row = begin / inner, at = begin % inner;
    for (int d = last - 1; d >= 0; --d) {
      index[d] = row % w.dims[d];
      row /= w.dims[d];
      from += index[d] * w.source[d];
      to += index[d] * w.target[d];
    }
    for (int64_t left = end - begin; left > 0; at = 0) {
      const int64_t count = inner - at < left ? inner - at : left;
      run(from + at * w.source[last], to + at * w.target[last], count);
      left -= count;
      for (int d = last - 1; d >= 0; --d) {
        from += w.source[d];
        to += w.target[d];
        if (++index[d] < w.dims[d]) break;
        from -= w.source[d] * w.dims[d];
        to -= w.target[d] * w.dims[d];
        index[d] = 0;
      }
    }
  });
}

/** The last dimension is contiguous in the output and dimension `across` in the input: a transpose for each place in the other dimensions. */
template <class T>
void transposed(const Walk& w, int across, const T* x, T* y) {
  constexpr int64_t kStrip = 256 / sizeof(T);
  const int last = w.rank - 1;
  const int64_t rows = w.dims[across], columns = w.dims[last], strips = (rows + kStrip - 1) / kStrip;
  // Threads share strips of `across`.
  parallelRows(w.n / (rows * columns) * strips, (rows < kStrip ? rows : kStrip) * columns, [&](int64_t task) {
    int64_t rest = task / strips, from = w.from, to = w.to;
    for (int d = last - 1; d >= 0; --d) {
      if (d == across) continue;
      const int64_t k = rest % w.dims[d];
      rest /= w.dims[d];
      from += k * w.source[d];
      to += k * w.target[d];
    }
    const int64_t begin = task % strips * kStrip, end = begin + kStrip < rows ? begin + kStrip : rows;
    transposeMatrix(x + from + begin, w.source[last], columns, end - begin, y + to + begin * w.target[across], w.target[across]);
  });
}

/** Elements of one size, whatever they mean. */
template <class T>
void move(const Walk& w, const T* x, T* y) {
  const int last = w.rank - 1;
  const int64_t s = w.source[last], t = w.target[last];
  if (t == 1 && s == 1)
    return overRows(w, [=](int64_t from, int64_t to, int64_t count) { std::memcpy(y + to, x + from, count * sizeof(T)); });
  if (t == 1 && s == 0)
    return overRows(w, [=](int64_t from, int64_t to, int64_t count) {
      const T value = x[from];
#pragma omp simd
      for (int64_t i = 0; i < count; ++i) y[to + i] = value;
    });
  if (t == 1)
    for (int d = last - 1; d >= 0; --d)
      if (w.source[d] == 1 && w.dims[d] >= 4) return transposed(w, d, x, y);
  overRows(w, [=](int64_t from, int64_t to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[to + i * t] = x[from + i * s];
  });
}

void addInto(const Call& c, const Walk& w) {
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    const T* x = c.in[0].as<T>();
    T* y = c.out[0].as<T>();
    const int64_t s = w.source[w.rank - 1], t = w.target[w.rank - 1];
    overRows(w, [=](int64_t from, int64_t to, int64_t count) {
      if (s == 1 && t == 1) {
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) y[to + i] = T(Acc<T>(y[to + i]) + Acc<T>(x[from + i]));
      } else {
        for (int64_t i = 0; i < count; ++i) y[to + i * t] = T(Acc<T>(y[to + i * t]) + Acc<T>(x[from + i * s]));
      }
    });
  });
}

/** out[block] = (or +=) in[block]. */
void strided(const Call& c) {
  const Walk w = walkOf(c);
  require(c.in[0].dtype == c.out[0].dtype, "strided: dtypes");
  if (w.n == 0) return;
  if (c.flag(3)) return addInto(c, w);
  switch (sizeOf(c.in[0].dtype)) {
    case 1: return move(w, c.in[0].as<uint8_t>(), c.out[0].as<uint8_t>());
    case 2: return move(w, c.in[0].as<uint16_t>(), c.out[0].as<uint16_t>());
    case 4: return move(w, c.in[0].as<uint32_t>(), c.out[0].as<uint32_t>());
    default: return move(w, c.in[0].as<uint64_t>(), c.out[0].as<uint64_t>());
  }
}

}  // namespace

void registerPermute(OpTable& t) { t.cpu("strided", strided); }

ANNEAL_KERNELS_END
