// Between NCHW and NHWC: many small matrices transposed.
#include <cstring>

#include "cpu/transpose.h"

ANNEAL_KERNELS_BEGIN
namespace {

/** Columns [begin, end) of a rows x columns matrix become rows of the result. */
template <class E>
void transposeColumns(const E* x, E* y, int64_t rows, int64_t columns, int64_t begin, int64_t end) {
  constexpr int64_t kTile = 64 / sizeof(E);  // a tile is a cache line wide both ways
  for (int64_t c0 = begin; c0 < end; c0 += kTile) {
    const int64_t c1 = c0 + kTile < end ? c0 + kTile : end;
    for (int64_t r0 = 0; r0 < rows; r0 += kTile) {
      const int64_t r1 = r0 + kTile < rows ? r0 + kTile : rows;
      transposeTile(x + r0 * columns + c0, columns, r1 - r0, c1 - c0, y + c0 * rows + r0, rows);
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
