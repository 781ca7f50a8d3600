// Integer arithmetic, logic, shifts and bit fields.
#include "lanes.h"

namespace sim::SIM_ISA {
namespace {

template <class T> struct Wide;
template <> struct Wide<uint16_t> { using type = uint32_t; };
template <> struct Wide<int16_t> { using type = int32_t; };
template <> struct Wide<uint32_t> { using type = uint64_t; };
template <> struct Wide<int32_t> { using type = int64_t; };
template <> struct Wide<uint64_t> { using type = unsigned __int128; };
template <> struct Wide<int64_t> { using type = __int128; };
template <class T> using Unsigned = std::make_unsigned_t<T>;
template <class T> constexpr int width = int(sizeof(T)) * 8;

template <class T> T high(T a, T b) { return T((typename Wide<T>::type(a) * typename Wide<T>::type(b)) >> width<T>); }
template <class T> T divide(T a, T b) {
  if (b == 0) return T(~T(0));
  if (std::is_signed_v<T> && b == T(-1)) return T(Unsigned<T>(0) - Unsigned<T>(a));
  return T(a / b);
}
template <class T> T remain(T a, T b) {
  if (b == 0) return a;
  if (std::is_signed_v<T> && b == T(-1)) return 0;
  return T(a % b);
}
template <class T> int leading(T v) {
  if (v == 0) return width<T>;
  if constexpr (sizeof(T) == 8) return __builtin_clzll(uint64_t(v));
  else return __builtin_clz(uint32_t(v));
}
template <class T> uint32_t findHigh(T v, bool shiftAmount) {
  Unsigned<T> u = std::is_signed_v<T> && v < 0 ? Unsigned<T>(~v) : Unsigned<T>(v);
  if (u == 0) return ~0u;
  uint32_t at = uint32_t(width<T> - 1 - leading<Unsigned<T>>(u));
  return shiftAmount ? uint32_t(width<T> - 1) - at : at;
}
template <class T> T reverse(T v) {
  T out = 0;
  for (int i = 0; i < width<T>; ++i) out = T(out << 1 | (v >> i & 1));
  return out;
}
/** bfe: bits past the top, or past `length`, are copies of the field's sign (0 where T is unsigned). */
template <class T> T field(T a, uint32_t position, uint32_t length) {
  using U = Unsigned<T>;
  constexpr uint32_t n = uint32_t(width<T>);
  position &= 0xFF;
  length &= 0xFF;
  U u = U(a), sign = 0;
  if (std::is_signed_v<T> && length) sign = U(u >> (position + length - 1 < n ? position + length - 1 : n - 1) & 1);
  uint32_t room = position < n ? n - position : 0, kept = length < room ? length : room;
  U shifted = position < n ? U(u >> (position & (n - 1))) : U(0);
  U low = kept < n ? U((U(1) << (kept & (n - 1))) - 1) : U(~U(0));
  return T((shifted & low) | (sign ? U(~low) : U(0)));
}
template <class T> T insertField(T a, T b, uint32_t position, uint32_t length) {
  constexpr uint32_t n = uint32_t(width<T>);
  position &= 0xFF;
  length &= 0xFF;
  T mask = length < n ? T((T(1) << (length & (n - 1))) - 1) : T(~T(0));
  mask = position < n ? T(mask << (position & (n - 1))) : T(0);
  return T((b & T(~mask)) | (T(a << (position & (n - 1))) & mask));
}
inline uint32_t permute(uint32_t a, uint32_t b, uint32_t c, int mode) {
  uint64_t bytes = uint64_t(b) << 32 | a;
  uint32_t out = 0;
  for (int i = 0; i < 4; ++i) {
    uint32_t s, k = c & 3;
    switch (mode) {
      case 1: s = uint32_t(i) + k; break;                          // f4e
      case 2: s = (k - uint32_t(i)) & 7; break;                    // b4e
      case 3: s = k; break;                                        // rc8
      case 4: s = uint32_t(i) > k ? uint32_t(i) : k; break;        // ecl
      case 5: s = uint32_t(i) < k ? uint32_t(i) : k; break;        // ecr
      case 6: s = (c & 1) * 2 + (uint32_t(i) & 1); break;          // rc16
      default: s = c >> (4 * i) & 15;
    }
    uint32_t byte = uint32_t(bytes >> (8 * (s & 7))) & 0xFF;
    if (s & 8) byte = byte & 0x80 ? 0xFF : 0;
    out |= byte << (8 * i);
  }
  return out;
}

#define SIM_UNARY(NAME, D, EXPR)                                       \
  template <class T> int NAME(Warp& w, const Inst& in, uint32_t mask) { \
    const T* pa = w.in<T>(in.op[1]);                                   \
    write<D>(w, in.op[0], mask, [=](int i) { T a = pa[i]; return D(EXPR); }); \
    return Next;                                                       \
  }
#define SIM_BINARY(NAME, D, B, EXPR)                                    \
  template <class T> int NAME(Warp& w, const Inst& in, uint32_t mask) { \
    const T* pa = w.in<T>(in.op[1]);                                   \
    const B* pb = w.in<B>(in.op[2]);                                   \
    write<D>(w, in.op[0], mask, [=](int i) { T a = pa[i]; B b = pb[i]; return D(EXPR); }); \
    return Next;                                                       \
  }
#define SIM_TERNARY(NAME, D, B, C, EXPR)                                \
  template <class T> int NAME(Warp& w, const Inst& in, uint32_t mask) { \
    const T* pa = w.in<T>(in.op[1]);                                   \
    const B* pb = w.in<B>(in.op[2]);                                   \
    const C* pc = w.in<C>(in.op[3]);                                   \
    write<D>(w, in.op[0], mask, [=](int i) { T a = pa[i]; B b = pb[i]; C c = pc[i]; return D(EXPR); }); \
    return Next;                                                       \
  }
using W16 = Wide<uint16_t>;

SIM_UNARY(absolute, T, a < T(0) ? Unsigned<T>(0) - Unsigned<T>(a) : Unsigned<T>(a))
SIM_UNARY(negate, T, Unsigned<T>(0) - Unsigned<T>(a))
SIM_UNARY(invert, T, ~a)
SIM_UNARY(zeroTest, T, a == 0 ? 1 : 0)
SIM_UNARY(population, uint32_t, __builtin_popcountll(a))
SIM_UNARY(leadingZeros, uint32_t, leading<T>(a))
SIM_UNARY(reversed, T, reverse<T>(a))
SIM_UNARY(highest, uint32_t, findHigh<T>(a, false))
SIM_UNARY(highestShift, uint32_t, findHigh<T>(a, true))
SIM_BINARY(add, T, T, Unsigned<T>(a) + Unsigned<T>(b))
SIM_BINARY(sub, T, T, Unsigned<T>(a) - Unsigned<T>(b))
SIM_BINARY(mulLo, T, T, uint64_t(a) * uint64_t(b))
SIM_BINARY(mulHi, T, T, high<T>(a, b))
SIM_BINARY(mulWide, typename Wide<T>::type, T, typename Wide<T>::type(a) * typename Wide<T>::type(b))
SIM_BINARY(mul24, T, T, (std::is_signed_v<T> ? int32_t(uint32_t(a) << 8) >> 8 : int32_t(a & 0xFFFFFF)) * int64_t(std::is_signed_v<T> ? int32_t(uint32_t(b) << 8) >> 8 : int32_t(b & 0xFFFFFF)))
SIM_TERNARY(mad24, T, T, T, (std::is_signed_v<T> ? int32_t(uint32_t(a) << 8) >> 8 : int32_t(a & 0xFFFFFF)) * int64_t(std::is_signed_v<T> ? int32_t(uint32_t(b) << 8) >> 8 : int32_t(b & 0xFFFFFF)) + c)
SIM_BINARY(div, T, T, divide<T>(a, b))
SIM_BINARY(rem, T, T, remain<T>(a, b))
SIM_BINARY(minimum, T, T, a < b ? a : b)
SIM_BINARY(maximum, T, T, a > b ? a : b)
SIM_BINARY(bitAnd, T, T, a & b)
SIM_BINARY(bitOr, T, T, a | b)
SIM_BINARY(bitXor, T, T, a ^ b)
SIM_BINARY(shiftLeft, T, uint32_t, b >= uint32_t(width<T>) ? T(0) : T(Unsigned<T>(a) << (b & (width<T> - 1))))
SIM_BINARY(shiftRight, T, uint32_t, a >> (b >= uint32_t(width<T>) ? uint32_t(width<T> - 1) : b) >> (b >= uint32_t(width<T>) ? 1 : 0))
SIM_TERNARY(madLo, T, T, T, uint64_t(a) * uint64_t(b) + uint64_t(c))
SIM_TERNARY(madHi, T, T, T, Unsigned<T>(high<T>(a, b)) + Unsigned<T>(c))
SIM_TERNARY(madWide, typename Wide<T>::type, T, typename Wide<T>::type, Unsigned<typename Wide<T>::type>(typename Wide<T>::type(a) * typename Wide<T>::type(b)) + Unsigned<typename Wide<T>::type>(c))
SIM_TERNARY(sad, T, T, T, Unsigned<T>(c) + (a > b ? Unsigned<T>(a) - Unsigned<T>(b) : Unsigned<T>(b) - Unsigned<T>(a)))
SIM_TERNARY(bitField, T, uint32_t, uint32_t, field<T>(a, b, c))
SIM_TERNARY(select, T, T, int32_t, c >= 0 ? a : b)
SIM_BINARY(maskClamp, T, T, (b > 31 ? (a > 31 ? 0u : ~0u << a) : a > 31 ? 0u : (b + a > 31 ? ~0u : (1u << (b + a)) - 1) & ~((1u << a) - 1)))

template <class T> int bitInsert(Warp& w, const Inst& in, uint32_t mask) {
  const T *a = w.in<T>(in.op[1]), *b = w.in<T>(in.op[2]);
  const uint32_t *c = w.in<uint32_t>(in.op[3]), *d = w.in<uint32_t>(in.op[4]);
  write<T>(w, in.op[0], mask, [=](int i) { return insertField<T>(a[i], b[i], c[i], d[i]); });
  return Next;
}

template <class T> int lop3(Warp& w, const Inst& in, uint32_t mask) {
  const T *pa = w.in<T>(in.op[1]), *pb = w.in<T>(in.op[2]), *pc = w.in<T>(in.op[3]);
  T k[8];
  for (int j = 0; j < 8; ++j) k[j] = in.imm >> j & 1 ? ~T(0) : T(0);
  write<T>(w, in.op[0], mask, [=](int i) {
    T a = pa[i], b = pb[i], c = pc[i], na = ~a, nb = ~b, nc = ~c;
    return T((na & ((nb & ((nc & k[0]) | (c & k[1]))) | (b & ((nc & k[2]) | (c & k[3]))))) |
             (a & ((nb & ((nc & k[4]) | (c & k[5]))) | (b & ((nc & k[6]) | (c & k[7]))))));
  });
  return Next;
}

/** mode 1: clamp; 0: wrap. */
template <bool left> int funnel(Warp& w, const Inst& in, uint32_t mask) {
  const uint32_t *lo = w.in<uint32_t>(in.op[1]), *hi = w.in<uint32_t>(in.op[2]), *amount = w.in<uint32_t>(in.op[3]);
  bool clamp = in.mode;
  write<uint32_t>(w, in.op[0], mask, [=](int i) {
    uint32_t n = clamp ? (amount[i] < 32 ? amount[i] : 32) : amount[i] & 31;
    uint64_t both = uint64_t(hi[i]) << 32 | lo[i];
    return left ? uint32_t((both << n) >> 32) : uint32_t(both >> n);
  });
  return Next;
}

int prmt(Warp& w, const Inst& in, uint32_t mask) {
  const uint32_t *a = w.in<uint32_t>(in.op[1]), *b = w.in<uint32_t>(in.op[2]), *c = w.in<uint32_t>(in.op[3]);
  int mode = in.mode;
  write<uint32_t>(w, in.op[0], mask, [=](int i) { return permute(a[i], b[i], c[i], mode); });
  return Next;
}

/** mode bit 0: a is signed, bit 1: b is; mode2: dp2a's half of b. */
template <int n> int dot(Warp& w, const Inst& in, uint32_t mask) {
  const uint32_t *a = w.in<uint32_t>(in.op[1]), *b = w.in<uint32_t>(in.op[2]), *c = w.in<uint32_t>(in.op[3]);
  int sa = in.mode & 1, sb = in.mode & 2, upper = in.mode2;
  write<uint32_t>(w, in.op[0], mask, [=](int i) {
    int64_t sum = int32_t(c[i]);
    for (int k = 0; k < n; ++k) {
      uint32_t bb = b[i] >> (8 * (k + (n == 2 && upper ? 2 : 0))) & 0xFF;
      uint32_t aa = n == 4 ? a[i] >> (8 * k) & 0xFF : a[i] >> (16 * k) & 0xFFFF;
      int64_t x = n == 4 ? (sa ? int8_t(aa) : int(aa)) : (sa ? int16_t(aa) : int(aa));
      sum += x * (sb ? int8_t(bb) : int(bb));
    }
    return uint32_t(sum);
  });
  return Next;
}

int fns(Warp& w, const Inst& in, uint32_t mask) {
  const uint32_t *value = w.in<uint32_t>(in.op[1]), *from = w.in<uint32_t>(in.op[2]);
  const int32_t* nth = w.in<int32_t>(in.op[3]);
  write<uint32_t>(w, in.op[0], mask, [=](int i) {
    int n = nth[i], at = int(from[i] & 31);
    if (n == 0) return value[i] >> at & 1 ? uint32_t(at) : ~0u;
    int dir = n > 0 ? 1 : -1, found = 0;
    for (; at >= 0 && at < 32; at += dir)
      if (value[i] >> at & 1 && ++found == n * dir) return uint32_t(at);
    return ~0u;
  });
  return Next;
}

template <bool isSigned> int szext(Warp& w, const Inst& in, uint32_t mask) {
  const uint32_t *a = w.in<uint32_t>(in.op[1]), *b = w.in<uint32_t>(in.op[2]);
  bool wrap = in.mode;
  write<uint32_t>(w, in.op[0], mask, [=](int i) {
    uint32_t n = wrap ? b[i] & 31 : b[i];
    if (n >= 32) return a[i];
    if (n == 0) return 0u;
    return isSigned ? uint32_t(int32_t(a[i] << (32 - n)) >> (32 - n)) : a[i] & ((1u << n) - 1);
  });
  return Next;
}

int saturatingAdd(Warp& w, const Inst& in, uint32_t mask) {
  const int32_t *a = w.in<int32_t>(in.op[1]), *b = w.in<int32_t>(in.op[2]);
  bool subtract = in.mode;
  write<int32_t>(w, in.op[0], mask, [=](int i) {
    int64_t s = subtract ? int64_t(a[i]) - b[i] : int64_t(a[i]) + b[i];
    return int32_t(s > INT32_MAX ? INT32_MAX : s < INT32_MIN ? INT32_MIN : s);
  });
  return Next;
}

/** mode bit 0: takes the carry, bit 1: sets it. */
template <class T, Op op> int carried(Warp& w, const Inst& in, uint32_t mask) {
  using U = unsigned __int128;
  const T *a = w.in<T>(in.op[1]), *b = w.in<T>(in.op[2]), *c = in.srcs > 2 ? w.in<T>(in.op[3]) : nullptr;
  T* d = w.out<T>(in.op[0]);
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    U carry = in.mode & 1 ? w.carry >> i & 1 : 0, sum;
    if (op == Op::AddCarry) sum = U(a[i]) + b[i] + carry;
    else if (op == Op::SubCarry) sum = U(a[i]) - b[i] - carry;
    else if (op == Op::MadLoCarry) sum = U(T(U(a[i]) * b[i])) + c[i] + carry;
    else sum = U(T((U(a[i]) * b[i]) >> width<T>)) + c[i] + carry;
    d[i] = T(sum);
    if (in.mode & 2) w.carry = (w.carry & ~(1u << i)) | uint32_t(sum >> width<T> & 1) << i;
  }
  return Next;
}

template <class T> Handler signedOp(Op op) {
  switch (op) {
    case Op::Add: return add<Unsigned<T>>;
    case Op::Sub: return sub<Unsigned<T>>;
    case Op::MulLo: return mulLo<Unsigned<T>>;
    case Op::MadLo: return madLo<Unsigned<T>>;
    case Op::MulHi: return mulHi<T>;
    case Op::MadHi: return madHi<T>;
    case Op::Div: return div<T>;
    case Op::Rem: return rem<T>;
    case Op::Min: return minimum<T>;
    case Op::Max: return maximum<T>;
    case Op::Abs: return absolute<T>;
    case Op::Neg: return negate<T>;
    case Op::Shr: return shiftRight<T>;
    case Op::Sad: return sad<T>;
    default: return nullptr;
  }
}
template <class T> Handler wideOp(Op op) {
  switch (op) {
    case Op::MulWide: return mulWide<T>;
    case Op::MadWide: return madWide<T>;
    default: return signedOp<T>(op);
  }
}
template <class T> Handler bitOp(Op op) {
  switch (op) {
    case Op::And: return bitAnd<T>;
    case Op::Or: return bitOr<T>;
    case Op::Xor: return bitXor<T>;
    case Op::Not: return invert<T>;
    case Op::Cnot: return zeroTest<T>;
    case Op::Shl: return shiftLeft<T>;
    case Op::Shr: return shiftRight<T>;
    case Op::Slct: return select<T>;
    default: return nullptr;
  }
}
template <class T> Handler wordOp(Op op) {
  switch (op) {
    case Op::Popc: return population<T>;
    case Op::Clz: return leadingZeros<T>;
    case Op::Brev: return reversed<T>;
    case Op::Bfi: return bitInsert<T>;
    case Op::Lop3: return lop3<T>;
    case Op::AddCarry: return carried<T, Op::AddCarry>;
    case Op::SubCarry: return carried<T, Op::SubCarry>;
    case Op::MadLoCarry: return carried<T, Op::MadLoCarry>;
    case Op::MadHiCarry: return carried<T, Op::MadHiCarry>;
    default: return bitOp<T>(op);
  }
}
template <class T> Handler fieldOp(Op op) {
  switch (op) {
    case Op::Bfind: return highest<T>;
    case Op::BfindShift: return highestShift<T>;
    case Op::Bfe: return bitField<T>;
    default: return nullptr;
  }
}

}  // namespace

Handler integerHandler(Op op, Type type) {
  switch (op) {
    case Op::ShfLeft: return funnel<true>;
    case Op::ShfRight: return funnel<false>;
    case Op::Prmt: return prmt;
    case Op::Dp4a: return dot<4>;
    case Op::Dp2a: return dot<2>;
    case Op::Fns: return fns;
    case Op::Szext: return type == Type::S32 ? szext<true> : szext<false>;
    case Op::Bmsk: return maskClamp<uint32_t>;
    case Op::Mul24: return type == Type::S32 ? Handler(mul24<int32_t>) : Handler(mul24<uint32_t>);
    case Op::Mad24: return type == Type::S32 ? Handler(mad24<int32_t>) : Handler(mad24<uint32_t>);
    case Op::Mov: return saturatingAdd;  // add.sat.s32, sub.sat.s32
    default: break;
  }
  Handler h = nullptr;
  switch (type) {
    case Type::U16: h = wideOp<uint16_t>(op); break;
    case Type::S16: h = wideOp<int16_t>(op); break;
    case Type::U32: h = wideOp<uint32_t>(op); break;
    case Type::S32: h = wideOp<int32_t>(op); break;
    case Type::U64: h = signedOp<uint64_t>(op); break;
    case Type::S64: h = signedOp<int64_t>(op); break;
    default: break;
  }
  if (h) return h;
  switch (type) {
    case Type::U32: h = fieldOp<uint32_t>(op); break;
    case Type::S32: h = fieldOp<int32_t>(op); break;
    case Type::U64: h = fieldOp<uint64_t>(op); break;
    case Type::S64: h = fieldOp<int64_t>(op); break;
    default: break;
  }
  if (h) return h;
  switch (ptx::sizeOf(type)) {
    case 2: return bitOp<uint16_t>(op);
    case 4: return wordOp<uint32_t>(op);
    case 8: return wordOp<uint64_t>(op);
    default: return nullptr;
  }
}

}  // namespace sim::SIM_ISA
