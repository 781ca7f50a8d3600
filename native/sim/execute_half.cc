// Arithmetic on f16, bf16 and pairs of them: computed in f32 (f64 for fma) and rounded once.
#include "lanes.h"

namespace sim::SIM_ISA {
namespace {

enum : uint8_t { reluMode = 8 };  // beside minMaxNan and its like in Inst::mode

template <Type T, int pack, class F>
void element(Warp& w, const Inst& in, uint32_t mask, int n, F f) {
  const uint16_t* a = w.in<uint16_t>(in.op[1]);
  const uint16_t* b = n > 1 ? w.in<uint16_t>(in.op[2]) : a;
  const uint16_t* c = n > 2 ? w.in<uint16_t>(in.op[3]) : a;
  alignas(64) uint16_t t[64];
  bool sat = in.flags & flagSat, relu = in.mode & reluMode;
  if (sat || relu) {
    for (int i = 0; i < 32 * pack; ++i) {
      float v = fromHalf<T>(f(a[i], b[i], c[i]));
      if (sat) v = v > 0 ? (v < 1 ? v : 1) : 0;
      if (relu) v = v != v || v > 0 ? v : 0;
      t[i] = toHalf<T>(v);
    }
  } else {
    _Pragma("GCC ivdep") for (int i = 0; i < 32 * pack; ++i) t[i] = f(a[i], b[i], c[i]);
  }
  if (pack == 1) write<uint16_t>(w, in.op[0], mask, [&](int i) { return t[i]; });
  else write<uint32_t>(w, in.op[0], mask, [&](int i) { return reinterpret_cast<const uint32_t*>(t)[i]; });
}

inline float orderedMin(float a, float b) {
  float equal = bits<float>(bits<uint32_t>(a) | bits<uint32_t>(b));
  float r = a < b ? a : b < a ? b : equal;
  r = b != b ? a : r;
  return a != a ? b : r;
}
inline float orderedMax(float a, float b) {
  float equal = bits<float>(bits<uint32_t>(a) & bits<uint32_t>(b));
  float r = a > b ? a : b > a ? b : equal;
  r = b != b ? a : r;
  return a != a ? b : r;
}

template <Type T, int pack, Op op> int apply(Warp& w, const Inst& in, uint32_t mask) {
  auto from = [](uint16_t h) { return fromHalf<T>(h); };
  auto to = [](float f) { return toHalf<T>(f); };
  if constexpr (op == Op::Add) element<T, pack>(w, in, mask, 2, [=](auto a, auto b, auto) { return to(from(a) + from(b)); });
  if constexpr (op == Op::Sub) element<T, pack>(w, in, mask, 2, [=](auto a, auto b, auto) { return to(from(a) - from(b)); });
  if constexpr (op == Op::Mul) element<T, pack>(w, in, mask, 2, [=](auto a, auto b, auto) { return to(from(a) * from(b)); });
  if constexpr (op == Op::Fma)
    element<T, pack>(w, in, mask, 3, [=](auto a, auto b, auto c) { return to(toOdd(double(from(a)) * double(from(b)) + double(from(c)))); });
  if constexpr (op == Op::Neg) element<T, pack>(w, in, mask, 1, [=](auto a, auto, auto) { return uint16_t(a ^ 0x8000); });
  if constexpr (op == Op::Abs) element<T, pack>(w, in, mask, 1, [=](auto a, auto, auto) { return uint16_t(a & 0x7FFF); });
  if constexpr (op == Op::Ex2) element<T, pack>(w, in, mask, 1, [=](auto a, auto, auto) { return to(std::exp2(from(a))); });
  if constexpr (op == Op::Tanh) element<T, pack>(w, in, mask, 1, [=](auto a, auto, auto) { return to(std::tanh(from(a))); });
  if constexpr (op == Op::Min || op == Op::Max) {
    bool nan = in.mode & minMaxNan, magnitude = in.mode & minMaxAbs, xorsign = in.mode & minMaxXorsign;
    element<T, pack>(w, in, mask, 2, [=](uint16_t x, uint16_t y, auto) {
      float a = from(magnitude ? x & 0x7FFF : x), b = from(magnitude ? y & 0x7FFF : y);
      uint16_t r = to(op == Op::Min ? orderedMin(a, b) : orderedMax(a, b));
      if (nan && (a != a || b != b)) r = 0x7FFF;
      return xorsign ? uint16_t(r | ((x ^ y) & 0x8000)) : r;
    });
  }
  if (op == Op::Fma && w.counters) w.counters->flops += 2 * pack * uint64_t(__builtin_popcount(mask));
  return Next;
}

template <Type T, int pack> Handler choose(Op op) {
  switch (op) {
    case Op::Add: return apply<T, pack, Op::Add>;
    case Op::Sub: return apply<T, pack, Op::Sub>;
    case Op::Mul: return apply<T, pack, Op::Mul>;
    case Op::Fma: return apply<T, pack, Op::Fma>;
    case Op::Neg: return apply<T, pack, Op::Neg>;
    case Op::Abs: return apply<T, pack, Op::Abs>;
    case Op::Min: return apply<T, pack, Op::Min>;
    case Op::Max: return apply<T, pack, Op::Max>;
    case Op::Ex2: return apply<T, pack, Op::Ex2>;
    case Op::Tanh: return apply<T, pack, Op::Tanh>;
    default: return nullptr;
  }
}

}  // namespace

Handler halfHandler(Op op, Type type) {
  switch (type) {
    case Type::F16: return choose<Type::F16, 1>(op);
    case Type::BF16: return choose<Type::BF16, 1>(op);
    case Type::F16x2: return choose<Type::F16, 2>(op);
    case Type::BF16x2: return choose<Type::BF16, 2>(op);
    default: return nullptr;
  }
}

}  // namespace sim::SIM_ISA
