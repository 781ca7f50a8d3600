// Launches what moves elements (native/cuda/strided.cu).
#include "cuda/broadcast.h"
#include "cuda/register.h"

namespace anneal::cuda {
namespace {

/** attr: rank, offset in, offset out, add, dims, strides in, strides out. Guards memory: every element touched lies within its operand. */
Walk<2> walkOf(const Call& c) {
  Walk<2> w{};
  w.rank = static_cast<int>(c.integer(0));
  require(w.rank >= 0 && w.rank <= kWalkRank && c.nAttr == 4 + 3 * w.rank, "strided: attributes");
  bool empty = false;
  int64_t low[2], high[2];
  for (int o = 0; o < 2; ++o) w.offset[o] = low[o] = high[o] = c.integer(1 + o);
  for (int d = 0; d < w.rank; ++d) {
    w.size[d] = c.integer(4 + d);
    empty = empty || w.size[d] == 0;
    for (int o = 0; o < 2; ++o) {
      w.stride[o][d] = c.integer(4 + w.rank * (o + 1) + d);
      const int64_t reach = (w.size[d] - 1) * w.stride[o][d];
      (reach < 0 ? low[o] : high[o]) += reach;
    }
  }
  require(empty || (low[0] >= 0 && low[1] >= 0 && high[0] < c.in[0].n && high[1] < c.out[0].n), "strided: bounds");
  return w;
}

/** Can the walk go in units of `count` elements of `size` bytes? Then it does. */
bool widen(Walk<2>& w, int64_t count, int64_t size, const void* const (&data)[2], int64_t unit) {
  const int last = w.rank - 1;
  if (w.rank == 0 || w.stride[0][last] != 1 || w.stride[1][last] != 1 || w.size[last] % count) return false;
  for (int o = 0; o < 2; ++o) {
    if (!aligned(data[o], count * size) || w.offset[o] % count) return false;
    for (int d = 0; d < last; ++d)
      if (w.stride[o][d] % count) return false;
  }
  w.size[last] /= count;
  for (int o = 0; o < 2; ++o) {
    w.offset[o] /= unit;
    for (int d = 0; d < last; ++d) w.stride[o][d] /= unit;
    w.stride[o][last] = count / unit;
  }
  return true;
}

/** x[from + i + j pitchX] to y[to + i pitchY + j], for every place of the walk. */
void transpose(const Call& c, int64_t rows, int64_t columns, int64_t pitchX, int64_t pitchY, Walk<2>& places) {
  const int64_t size = static_cast<int64_t>(sizeOf(c.in[0].dtype)), edge = size < 4 ? 64 : 32;
  prepare(places);
  const int64_t blocks = places.n * ((rows + edge - 1) / edge) * ((columns + edge - 1) / edge);
  require(blocks < int64_t{1} << 31, "transpose: more tiles than a launch has blocks");
  const double bytes = 2.0 * static_cast<double>(places.n) * static_cast<double>(rows * columns * size);
  gpu().launch(Plan{"transpose_b" + std::to_string(8 * size), {static_cast<uint32_t>(blocks)}, {kThreads}, 0, bytes}, c.in[0].data, c.out[0].data,
               rows, columns, pitchX, pitchY, places);
}

/** The last dimension is contiguous in the output and another in the input: true, and launched. */
bool asTranspose(const Call& c, const Walk<2>& w) {
  const int last = w.rank - 1;
  if (w.rank < 2 || w.stride[1][last] != 1 || w.stride[0][last] == 0 || w.size[last] < 4) return false;
  for (int across = last - 1; across >= 0; --across) {
    if (w.stride[0][across] != 1 || w.size[across] < 4) continue;
    Walk<2> places = w;
    places.rank = 0;
    for (int d = 0; d < last; ++d) {
      if (d == across) continue;
      places.size[places.rank] = w.size[d];
      for (int o = 0; o < 2; ++o) places.stride[o][places.rank] = w.stride[o][d];
      ++places.rank;
    }
    transpose(c, w.size[across], w.size[last], w.stride[0][last], w.stride[1][across], places);
    return true;
  }
  return false;
}

void add(const Call& c, Walk<2> w, double bytes) {
  const DType t = c.in[0].dtype;
  const int64_t size = static_cast<int64_t>(sizeOf(t)), pack = 16 / size;
  const bool packs = widen(w, pack, size, {c.in[0].data, c.out[0].data}, 1);
  prepare(w);
  const Plan plan{std::string("strided_add_") + suffix(t), {blocksFor(w.n, packs ? kThreads : kThreads * 4)}, {kThreads}, 0, 1.5 * bytes};
  gpu().launch(plan, c.in[0].data, c.out[0].data, w, static_cast<int32_t>(packs));
}

/** out[block] = (or +=) in[block]. */
void strided(const Call& c) {
  Walk<2> w = walkOf(c);
  const DType t = c.in[0].dtype;
  require(t == c.out[0].dtype, "strided: dtypes");
  prepare(w);
  if (w.n == 0) return;
  const int64_t size = static_cast<int64_t>(sizeOf(t));
  double read = static_cast<double>(size);  // what repeats is read once
  for (int d = 0; d < w.rank; ++d)
    if (w.stride[0][d]) read *= static_cast<double>(w.size[d]);
  const double written = static_cast<double>(w.n) * static_cast<double>(size);
  if (c.flag(3)) return add(c, w, 2 * written);
  if (asTranspose(c, w)) return;
  int64_t unit = size;
  for (int64_t wide = 16; wide > size && unit == size; wide /= 2)
    if (widen(w, wide / size, size, {c.in[0].data, c.out[0].data}, wide / size)) unit = wide;
  prepare(w);
  gpu().launch(Plan{"strided_b" + std::to_string(8 * unit), {blocksFor(w.n, kThreads * 4)}, {kThreads}, 0, read + written}, c.in[0].data, c.out[0].data, w);
}

/** attr: n, rows, columns, bytes per element. Each of n matrices is transposed. */
void layout(const Call& c) {
  const int64_t n = c.integer(0), rows = c.integer(1), columns = c.integer(2), size = c.integer(3);
  require(c.in[0].n == n * rows * columns && c.out[0].n == c.in[0].n, "layout: sizes");
  require(size == static_cast<int64_t>(sizeOf(c.in[0].dtype)) && c.in[0].dtype == c.out[0].dtype, "layout: dtypes");
  if (c.in[0].n == 0) return;
  if (rows == 1 || columns == 1) return gpu().copy(c.out[0].data, c.in[0].data, c.in[0].n * size);
  Walk<2> places{};
  places.rank = 1;
  places.size[0] = n;
  places.stride[0][0] = places.stride[1][0] = rows * columns;
  transpose(c, columns, rows, columns, rows, places);
}

}  // namespace

void registerStrided(OpTable& t) {
  t.cuda("strided", strided);
  t.cuda("layout", layout);
}

}  // namespace anneal::cuda
