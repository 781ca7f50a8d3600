// Launches fills, casts, copies and choices (native/cuda/memory.cu).
#include "cuda/broadcast.h"
#include "cuda/register.h"

namespace anneal::cuda {
namespace {

/** "fill" of 16-bit elements: fill_b16. What only moves bits is named by their number. */
std::string nameByBits(const char* op, DType t) { return std::string(op) + "_b" + std::to_string(8 * sizeOf(t)); }

/** The element that a number becomes, in the low bytes. */
uint64_t elementBits(double v, DType t) {
  uint64_t bits = 0;
  const auto put = [&](auto x) { std::memcpy(&bits, &x, sizeof x); };
  switch (t) {
    case DType::f32: put(static_cast<float>(v)); break;
    case DType::f16: put(f16(static_cast<float>(v))); break;
    case DType::bf16: put(bf16(static_cast<float>(v))); break;
    case DType::f64: put(v); break;
    case DType::i32: put(static_cast<int32_t>(wholeOf(v))); break;
    default: put(static_cast<uint8_t>(wholeOf(v)));
  }
  return bits;
}

/** out = attr[0] everywhere. */
void fill(const Call& c) {
  const View& y = c.out[0];
  const uint64_t value = elementBits(c.attr[0], y.dtype);
  const Plan plan{nameByBits("fill", y.dtype), {blocksFor(y.n, int64_t{kThreads} * elementsPerPack(y.dtype))}, {kThreads}, 0, bytesOf(y)};
  switch (sizeOf(y.dtype)) {
    case 1: return gpu().launch(plan, y.data, y.n, static_cast<uint8_t>(value));
    case 2: return gpu().launch(plan, y.data, y.n, static_cast<uint16_t>(value));
    case 4: return gpu().launch(plan, y.data, y.n, static_cast<uint32_t>(value));
    default: return gpu().launch(plan, y.data, y.n, value);
  }
}

/** From a float to an integer truncates and saturates; NaN gives 0. To bool: nonzero. */
void cast(const Call& c) {
  const View &x = c.in[0], &y = c.out[0];
  require(x.n == y.n, "cast: sizes");
  const bool sameBits = x.dtype == y.dtype || (x.dtype == DType::boolean && y.dtype == DType::u8);
  if (sameBits) return y.n ? gpu().copy(y.data, x.data, static_cast<int64_t>(bytesOf(y))) : void();
  const int64_t wide = static_cast<int64_t>(sizeOf(x.dtype) > sizeOf(y.dtype) ? sizeOf(x.dtype) : sizeOf(y.dtype));
  const std::string name = std::string("cast_") + suffix(x.dtype) + "_" + (y.dtype == DType::boolean ? "bool" : suffix(y.dtype));
  gpu().launch(Plan{name, {blocksFor(y.n, kThreads * 16 / wide)}, {kThreads}, 0, bytesOf(c)}, x.data, y.data, y.n);
}

/** Same dtype, same number of elements. */
void copy(const Call& c) {
  require(c.in[0].n == c.out[0].n && c.in[0].dtype == c.out[0].dtype, "copy: sizes");
  if (c.out[0].n) gpu().copy(c.out[0].data, c.in[0].data, static_cast<int64_t>(bytesOf(c.out[0])));
}

/** out = in[0] ? a : b; a and b are in[1], in[2], or scalars where absent. attr: rank, scalar a, scalar b, dims, strides of condition, a, b. */
void where(const Call& c) {
  require(c.nIn == 3 && sizeOf(c.in[0].dtype) == 1, "where: condition");
  const DType t = c.out[0].dtype;
  for (int o = 1; o < 3; ++o) require(!c.has(o) || c.in[o].dtype == t, "where: dtypes");
  Broadcast<3> b = broadcastOf<3>(c, static_cast<int>(c.integer(0)), 3, {0, 1, 2});
  const void *condition = c.in[0].data, *p = c.has(1) ? c.in[1].data : nullptr, *q = c.has(2) ? c.in[2].data : nullptr;
  const int64_t N = elementsPerPack(t), size = static_cast<int64_t>(sizeOf(t));
  setPace<3>(b, N, {condition, p, q, c.out[0].data}, {1, size, size, size});
  b.scalar[1] = static_cast<uint32_t>(elementBits(c.attr[1], t));
  b.scalar[2] = static_cast<uint32_t>(elementBits(c.attr[2], t));
  gpu().launch(Plan{nameByBits("where", t), {blocksOf(b, N)}, {kThreads}, 0, bytesOf(c)}, condition, p, q, c.out[0].data, b);
}

}  // namespace

void registerMemory(OpTable& t) {
  t.cuda("fill", fill);
  t.cuda("cast", cast);
  t.cuda("copy", copy);
  t.cuda("where", where);
}

}  // namespace anneal::cuda
