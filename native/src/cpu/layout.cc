// Between NCHW and NHWC: many small matrices transposed.
#include <cstring>
#include <utility>

#include "cpu/kernel.h"

ANNEAL_KERNELS_BEGIN
namespace {

/** A square of kWidth rows is transposed by log2(kWidth) rounds, each interleaving the rows of the upper half with those of the lower. */
template <class E>
struct Square {
  static constexpr int kWidth = 16 / sizeof(E);
  typedef E V __attribute__((vector_size(16)));

  template <int... I>
  static ANNEAL_ALWAYS V low(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shuffle(a, b, V{E(I % 2 ? kWidth + I / 2 : I / 2)...});
  }
  template <int... I>
  static ANNEAL_ALWAYS V high(V a, V b, std::integer_sequence<int, I...>) {
    return __builtin_shuffle(a, b, V{E(kWidth / 2 + (I % 2 ? kWidth + I / 2 : I / 2))...});
  }
  /** to[j][i] = from[i][j]; strides count elements. */
  static ANNEAL_ALWAYS void transpose(const E* from, int64_t fromStride, E* to, int64_t toStride) {
    constexpr auto lanes = std::make_integer_sequence<int, kWidth>();
    V a[kWidth], b[kWidth];
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) std::memcpy(&a[i], from + i * fromStride, 16);
#pragma GCC unroll 4
    for (int round = 1; round < kWidth; round *= 2) {
#pragma GCC unroll 8
      for (int i = 0; i < kWidth / 2; ++i) {
        b[2 * i] = low(a[i], a[i + kWidth / 2], lanes);
        b[2 * i + 1] = high(a[i], a[i + kWidth / 2], lanes);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) a[i] = b[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) std::memcpy(to + i * toStride, &a[i], 16);
  }
};

/** Columns [begin, end) of a rows x columns matrix become rows of the result. */
template <class E>
void transposeColumns(const E* x, E* y, int64_t rows, int64_t columns, int64_t begin, int64_t end) {
  constexpr int64_t kWidth = Square<E>::kWidth, kTile = 64 / sizeof(E);  // a tile is a cache line wide both ways
  for (int64_t c0 = begin; c0 < end; c0 += kTile) {
    const int64_t c1 = c0 + kTile < end ? c0 + kTile : end;
    for (int64_t r0 = 0; r0 < rows; r0 += kTile) {
      const int64_t r1 = r0 + kTile < rows ? r0 + kTile : rows;
      int64_t c = c0;
      for (; c + kWidth <= c1; c += kWidth) {
        int64_t r = r0;
        for (; r + kWidth <= r1; r += kWidth) Square<E>::transpose(x + r * columns + c, columns, y + c * rows + r, rows);
        for (; r < r1; ++r)
          for (int64_t j = c; j < c + kWidth; ++j) y[j * rows + r] = x[r * columns + j];
      }
      for (; c < c1; ++c)
        for (int64_t r = r0; r < r1; ++r) y[c * rows + r] = x[r * columns + c];
    }
  }
}

template <class E>
void transposeAll(const Call& c, int64_t n, int64_t rows, int64_t columns) {
  const E* x = c.in[0].as<E>();
  E* y = c.out[0].as<E>();
  constexpr int64_t kStrip = 256 / sizeof(E);
  const int64_t strips = (columns + kStrip - 1) / kStrip;
  parallelRows(n * strips, rows * (columns < kStrip ? columns : kStrip), [=](int64_t unit) {
    const int64_t image = unit / strips * rows * columns, begin = unit % strips * kStrip;
    transposeColumns(x + image, y + image, rows, columns, begin, begin + kStrip < columns ? begin + kStrip : columns);
  });
}

/** attr: n, rows, columns, bytes per element. Each of n matrices is transposed. */
void layout(const Call& c) {
  const int64_t n = c.integer(0), rows = c.integer(1), columns = c.integer(2), size = c.integer(3);
  require(c.in[0].n == n * rows * columns && c.out[0].n == c.in[0].n, "layout: sizes");
  require(size == static_cast<int64_t>(sizeOf(c.in[0].dtype)) && c.in[0].dtype == c.out[0].dtype, "layout: dtypes");
  if (c.in[0].n == 0) return;
  if (rows == 1 || columns == 1) {
    const char* x = c.in[0].as<char>();
    char* y = c.out[0].as<char>();
    return parallelFor(c.in[0].n * size, 1 << 18, [=](int64_t begin, int64_t end) { std::memcpy(y + begin, x + begin, end - begin); });
  }
  switch (size) {
    case 1: return transposeAll<uint8_t>(c, n, rows, columns);
    case 2: return transposeAll<uint16_t>(c, n, rows, columns);
    case 4: return transposeAll<uint32_t>(c, n, rows, columns);
    default: return transposeAll<uint64_t>(c, n, rows, columns);
  }
}

}  // namespace

void registerLayout(OpTable& t) { t.cpu("layout", layout); }

ANNEAL_KERNELS_END
