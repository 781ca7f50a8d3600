// Launches functions and comparisons of two operands (native/cuda/binary.cu).
#include "cuda/broadcast.h"
#include "cuda/register.h"

namespace anneal::cuda {
namespace {

/** A scalar operand as the kernel computes with it: 16-bit floats take it in f32. */
uint32_t scalarBits(double v, DType t) {
  if (t == DType::i32) return static_cast<uint32_t>(wholeOf(v));
  if (t == DType::u8 || t == DType::boolean) return static_cast<uint8_t>(wholeOf(v));
  const float f = static_cast<float>(v);
  uint32_t bits;
  std::memcpy(&bits, &f, sizeof bits);
  return bits;
}

/** With one input the other operand is the scalar attr[0]; attr[1] says that the scalar stands left. Else attr: rank, dims, strides of a and b. */
void binary(const Call& c) {
  const DType t = c.in[0].dtype;
  const int64_t N = elementsPerPack(t);
  Broadcast<2> b{};
  const void *x = c.in[0].data, *y = nullptr;
  if (c.nIn == 1) {
    require(c.in[0].n == c.out[0].n, "binary: sizes");
    b.n = c.out[0].n;
    b.scalar[0] = b.scalar[1] = scalarBits(c.attr[0], t);
    if (c.flag(1)) std::swap(x, y);
  } else {
    require(c.in[1].dtype == t, "binary: dtypes");
    b = broadcastOf<2>(c, static_cast<int>(c.integer(0)), 1, {0, 1});
    y = c.in[1].data;
    const int64_t size = static_cast<int64_t>(sizeOf(t));
    setPace<2>(b, N, {x, y, c.out[0].data}, {size, size, static_cast<int64_t>(sizeOf(c.out[0].dtype))});
  }
  gpu().launch(Plan{kernelName(c, t), {blocksOf(b, N)}, {kThreads}, 0, bytesOf(c)}, x, y, c.out[0].data, b);
}

/** Integer division by zero has no value to give; floats have infinity. */
void divide(const Call& c) {
  const DType t = c.in[0].dtype;
  if (t == DType::i32 || t == DType::u8 || t == DType::boolean) fail("division of integers: convert to a float dtype first, for example x.to('f32')");
  binary(c);
}

#define ANNEAL_FN inline
#include "ops/functors.h"

}  // namespace

void registerBinary(OpTable& t) {
#define ANNEAL_ROW(name, F) t.cuda(#name, std::is_same_v<F, Div> ? Kernel(divide) : Kernel(binary));
  ANNEAL_BINARY_OPS(ANNEAL_ROW)
#undef ANNEAL_ROW
#define ANNEAL_ROW(name, F) t.cuda(#name, binary);
  ANNEAL_COMPARE_OPS(ANNEAL_ROW)
  ANNEAL_BITWISE_OPS(ANNEAL_ROW)
#undef ANNEAL_ROW
}

}  // namespace anneal::cuda
