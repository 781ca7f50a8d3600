// cvt, mov, selp. Conversions that kernels do often have loops of their own; the rest goes through double or int64, which hold every source.
#include "lanes.h"

namespace sim::SIM_ISA {
namespace {

template <class R> void loadRaw(const Warp& w, uint32_t op, uint64_t* t) {
  const R* p = w.in<R>(op);
  SIM_LANES t[i] = p[i];
}
void loadRaw(const Warp& w, uint32_t op, int bytes, uint64_t* t) {
  if (bytes == 2) loadRaw<uint16_t>(w, op, t);
  else if (bytes == 4) loadRaw<uint32_t>(w, op, t);
  else loadRaw<uint64_t>(w, op, t);
}
void storeRaw(Warp& w, uint32_t op, int bytes, uint32_t mask, const uint64_t* t) {
  if (bytes == 2) write<uint16_t>(w, op, mask, [=](int i) { return uint16_t(t[i]); });
  else if (bytes == 4) write<uint32_t>(w, op, mask, [=](int i) { return uint32_t(t[i]); });
  else write<uint64_t>(w, op, mask, [=](int i) { return t[i]; });
}

int64_t extend(uint64_t v, Type t) {
  int spare = 64 - 8 * ptx::sizeOf(t);
  return ptx::isSigned(t) ? int64_t(v << spare) >> spare : int64_t(v << spare >> spare);
}

double toDouble(uint64_t v, Type t) {
  switch (t) {
    case Type::F16: return fromF16(uint16_t(v));
    case Type::BF16: return fromBf16(uint16_t(v));
    case Type::F64: return bits<double>(v);
    default: return bits<float>(uint32_t(v));
  }
}

double toIntegral(double v, Round mode) {
  switch (mode) {
    case Round::Zero: return std::trunc(v);
    case Round::Down: return std::floor(v);
    case Round::Up: return std::ceil(v);
    default: return std::nearbyint(v);
  }
}

uint64_t toInteger(double v, Type t) {
  if (v != v) return 0;
  int n = 8 * ptx::sizeOf(t);
  if (ptx::isSigned(t)) {
    double limit = std::ldexp(1.0, n - 1);
    if (v >= limit) return (1ull << (n - 1)) - 1;
    if (v < -limit) return uint64_t(-1) << (n - 1);
    return uint64_t(int64_t(v));
  }
  if (v >= std::ldexp(1.0, n)) return n == 64 ? ~0ull : (1ull << n) - 1;
  return v <= 0 ? 0 : uint64_t(v);
}

uint16_t towardZero(double v, bool bf) {
  uint16_t r = bf ? toBf16(toOdd(v)) : toF16(toOdd(v));
  double back = bf ? fromBf16(r) : fromF16(r);
  return v == v && std::fabs(back) > std::fabs(v) ? uint16_t(r - 1) : r;
}

/** Rounds to a 16-bit float as in.mode says. */
uint16_t roundHalf(double v, Type t, Round mode) {
  bool bf = t == Type::BF16;
  if (mode == Round::Nearest) return bf ? toBf16(toOdd(v)) : toF16(toOdd(v));
  uint16_t r = towardZero(v, bf);
  double back = bf ? fromBf16(r) : fromF16(r);
  bool away = back != v && v == v && ((mode == Round::Down && v < 0) || (mode == Round::Up && v > 0));
  return away ? uint16_t(r + 1) : r;
}

uint64_t fromDouble(double v, Type t, Round mode, bool integral) {
  if (integral) v = toIntegral(v, mode);
  switch (t) {
    case Type::F16: case Type::BF16: return roundHalf(v, t, integral ? Round::Nearest : mode);
    case Type::F64: return bits<uint64_t>(v);
    case Type::TF32: {
      // 10 bits of fraction: rna rounds ties away from zero.
      uint32_t b = bits<uint32_t>(float(v));
      if ((b & 0x7F800000u) == 0x7F800000u) return b;
      return mode == Round::Nearest ? (b + 0xFFF + (b >> 13 & 1)) & ~0x1FFFu : mode == Round::Zero ? b & ~0x1FFFu : (b + 0x1000) & ~0x1FFFu;
    }
    default: return bits<uint32_t>(float(v));
  }
}

/** mode: rounding; mode2 bit 0: to an integral value, bit 1: relu, bit 2: satfinite. */
int convert(Warp& w, const Inst& in, uint32_t mask) {
  alignas(64) uint64_t t[32];
  loadRaw(w, in.op[1], in.srcBytes, t);
  Round mode = Round(in.mode);
  bool fromFloat = ptx::isFloat(in.from), toFloat = ptx::isFloat(in.type), sat = in.flags & flagSat, integral = in.mode2 & 1;
  bool ftz = in.flags & flagFtz;
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    if (fromFloat) {
      double v = toDouble(t[i], in.from);
      if (ftz && in.from == Type::F32) v = flush(float(v));
      if (!toFloat) {
        t[i] = uint64_t(extend(toInteger(toIntegral(v, mode), in.type), in.type));
        continue;
      }
      if (sat) v = v > 0 ? (v < 1 ? v : 1) : 0;
      if (in.mode2 & 2) v = v != v || v > 0 ? v : 0;
      if (mode == Round::Nearest || in.type != Type::F32 || integral) {
        t[i] = fromDouble(v, in.type, mode, integral);
      } else {
        Rounding scope(mode);
        volatile double d = v;
        volatile float f = float(d);
        t[i] = bits<uint32_t>(float(f));
      }
      if (ftz && in.type == Type::F32) t[i] = bits<uint32_t>(flush(bits<float>(uint32_t(t[i]))));
      continue;
    }
    int64_t v = extend(t[i], in.from);
    if (!toFloat) {
      if (sat) {
        int n = 8 * ptx::sizeOf(in.type);
        __int128 x = ptx::isSigned(in.from) ? __int128(v) : __int128(uint64_t(v));
        __int128 low = ptx::isSigned(in.type) ? -(__int128(1) << (n - 1)) : 0;
        __int128 high = (__int128(1) << (ptx::isSigned(in.type) ? n - 1 : n)) - 1;
        v = int64_t(x < low ? low : x > high ? high : x);
      }
      t[i] = uint64_t(extend(uint64_t(v), in.type));
      continue;
    }
    Rounding scope(mode);
    volatile int64_t source = v;
    bool isUnsigned = !ptx::isSigned(in.from);
    if (in.type == Type::F64) {
      volatile double d = isUnsigned ? double(uint64_t(source)) : double(source);
      t[i] = bits<uint64_t>(double(d));
    } else if (in.type == Type::F32) {
      volatile float f = isUnsigned ? float(uint64_t(source)) : float(source);
      t[i] = bits<uint32_t>(float(f));
    } else {
      // Exact in double but for 64-bit values far past a half's range.
      t[i] = roundHalf(isUnsigned ? double(uint64_t(source)) : double(source), in.type, mode);
    }
  }
  storeRaw(w, in.op[0], in.dstBytes, mask, t);
  return Next;
}

template <class To, class From> int simple(Warp& w, const Inst& in, uint32_t mask) {
  const From* a = w.in<From>(in.op[1]);
  write<To>(w, in.op[0], mask, [=](int i) { return To(a[i]); });
  return Next;
}
template <Type T> int widenHalf(Warp& w, const Inst& in, uint32_t mask) {
  const uint16_t* a = w.in<uint16_t>(in.op[1]);
  write<float>(w, in.op[0], mask, [=](int i) { return fromHalf<T>(a[i]); });
  return Next;
}
template <Type T> int narrowHalf(Warp& w, const Inst& in, uint32_t mask) {
  const float* a = w.in<float>(in.op[1]);
  bool relu = in.mode2 & 2;
  write<uint16_t>(w, in.op[0], mask, [=](int i) { return toHalf<T>(relu && a[i] < 0 ? 0.f : a[i]); });
  return Next;
}
/** d, a, b: a goes to the high half. */
template <Type T> int pair(Warp& w, const Inst& in, uint32_t mask) {
  const float *a = w.in<float>(in.op[1]), *b = w.in<float>(in.op[2]);
  bool relu = in.mode2 & 2, zero = Round(in.mode) == Round::Zero;
  if (zero || relu) {
    write<uint32_t>(w, in.op[0], mask, [=](int i) {
      float x = relu && a[i] < 0 ? 0.f : a[i], y = relu && b[i] < 0 ? 0.f : b[i];
      if (zero) return uint32_t(towardZero(x, T == Type::BF16)) << 16 | towardZero(y, T == Type::BF16);
      return uint32_t(toHalf<T>(x)) << 16 | toHalf<T>(y);
    });
  } else {
    write<uint32_t>(w, in.op[0], mask, [=](int i) { return uint32_t(toHalf<T>(a[i])) << 16 | toHalf<T>(b[i]); });
  }
  return Next;
}
int truncated(Warp& w, const Inst& in, uint32_t mask) {  // f32 -> s32 toward zero; out of range saturates, NaN is 0
  const float* a = w.in<float>(in.op[1]);
  write<int32_t>(w, in.op[0], mask, [=](int i) {
    float v = a[i];
    int32_t r = int32_t(v < 2147483648.f && v >= -2147483648.f ? v : 0.f);
    r = v >= 2147483648.f ? INT32_MAX : r;
    r = v < -2147483648.f ? INT32_MIN : r;
    return r;
  });
  return Next;
}

template <class T> int select(Warp& w, const Inst& in, uint32_t mask) {
  const T *a = w.in<T>(in.op[1]), *b = w.in<T>(in.op[2]);
  uint32_t p = w.predicate(in.op[3]);
  Bytes32 m = spread(in.flags & flagNegateC ? ~p : p);
  write<T>(w, in.op[0], mask, [=](int i) { return m.b[i] ? a[i] : b[i]; });
  return Next;
}

}  // namespace

Handler convertHandler(const Inst& in) {
  bool plain = !in.flags && !in.mode2 && in.dstBytes == ptx::sizeOf(in.type) && in.srcBytes == ptx::sizeOf(in.from);
  Round mode = Round(in.mode);
  if (in.srcs == 2) return in.type == Type::BF16x2 ? Handler(pair<Type::BF16>) : in.type == Type::F16x2 ? Handler(pair<Type::F16>) : nullptr;
  if (plain) {
    int to = ptx::sizeOf(in.type), from = ptx::sizeOf(in.from);
    if (!ptx::isFloat(in.type) && !ptx::isFloat(in.from)) {
      if (to == from) return moveHandler(to);
      if (to == 8 && from == 4) return in.from == Type::S32 ? Handler(simple<int64_t, int32_t>) : Handler(simple<uint64_t, uint32_t>);
      if (to == 4 && from == 8) return simple<uint32_t, uint64_t>;
      if (to == 4 && from == 2) return in.from == Type::S16 ? Handler(simple<int32_t, int16_t>) : Handler(simple<uint32_t, uint16_t>);
      if (to == 2 && from == 4) return simple<uint16_t, uint32_t>;
      if (to == 8 && from == 2) return in.from == Type::S16 ? Handler(simple<int64_t, int16_t>) : Handler(simple<uint64_t, uint16_t>);
    }
    if (in.type == Type::F32 && in.from == Type::F16) return widenHalf<Type::F16>;
    if (in.type == Type::F32 && in.from == Type::BF16) return widenHalf<Type::BF16>;
    if (in.type == Type::F64 && in.from == Type::F32) return simple<double, float>;
    if (mode == Round::Nearest) {
      if (in.type == Type::F16 && in.from == Type::F32) return narrowHalf<Type::F16>;
      if (in.type == Type::BF16 && in.from == Type::F32) return narrowHalf<Type::BF16>;
      if (in.type == Type::F32 && in.from == Type::S32) return simple<float, int32_t>;
      if (in.type == Type::F32 && in.from == Type::U32) return simple<float, uint32_t>;
      if (in.type == Type::F32 && in.from == Type::F64) return simple<float, double>;
    }
    if (in.type == Type::S32 && in.from == Type::F32 && mode == Round::Zero) return truncated;
  }
  return convert;
}

Handler moveHandler(int bytes) {
  switch (bytes) {
    case 2: return simple<uint16_t, uint16_t>;
    case 4: return simple<uint32_t, uint32_t>;
    case 8: return simple<uint64_t, uint64_t>;
    default: return nullptr;
  }
}

Handler selectHandler(int bytes) {
  switch (bytes) {
    case 2: return select<uint16_t>;
    case 4: return select<uint32_t>;
    case 8: return select<uint64_t>;
    default: return nullptr;
  }
}

}  // namespace sim::SIM_ISA
