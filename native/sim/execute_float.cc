// Arithmetic on f32 and f64. What the device only approximates (ex2, lg2, sin, cos, tanh, rcp, rsqrt, sqrt, div with .approx) is computed
// as exactly as the host can: more accurate than the device.
#include "lanes.h"

namespace sim::SIM_ISA {
namespace {

template <class T> struct BitsOf;
template <> struct BitsOf<float> { using type = uint32_t; };
template <> struct BitsOf<double> { using type = uint64_t; };
template <class T> using Bits = typename BitsOf<T>::type;
template <class T> constexpr Bits<T> signBit = Bits<T>(1) << (sizeof(T) * 8 - 1);

struct AddF { template <class T> static T f(T a, T b) { return a + b; } };
struct SubF { template <class T> static T f(T a, T b) { return a - b; } };
struct MulF { template <class T> static T f(T a, T b) { return a * b; } };
struct DivF { template <class T> static T f(T a, T b) { return a / b; } };
struct FmaF {
  static float f(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
  static double f(double a, double b, double c) { return __builtin_fma(a, b, c); }
};
template <bool max> struct MinMaxF {
  template <class T> static T f(T a, T b) {
    Bits<T> x = bits<Bits<T>>(a), y = bits<Bits<T>>(b);
    T equal = bits<T>(max ? Bits<T>(x & y) : Bits<T>(x | y));  // -0 < +0
    T r = (max ? a > b : a < b) ? a : (max ? b > a : b < a) ? b : equal;
    r = b != b ? a : r;
    return a != a ? b : r;
  }
};
struct NegF { template <class T> static T f(T a) { return bits<T>(Bits<T>(bits<Bits<T>>(a) ^ signBit<T>)); } };
struct AbsF { template <class T> static T f(T a) { return bits<T>(Bits<T>(bits<Bits<T>>(a) & ~signBit<T>)); } };
struct CopysignF {
  template <class T> static T f(T a, T b) {
    return bits<T>(Bits<T>((bits<Bits<T>>(a) & signBit<T>) | (bits<Bits<T>>(b) & ~signBit<T>)));
  }
};
struct RcpF { template <class T> static T f(T a) { return T(1) / a; } };
struct SqrtF {
  static float f(float a) { return __builtin_sqrtf(a); }
  static double f(double a) { return __builtin_sqrt(a); }
};
struct RsqrtF { template <class T> static T f(T a) { return T(1.0 / __builtin_sqrt(double(a))); } };
struct Ex2F {
  // 2^n 2^f by Taylor's series in double: right to the last bit of a float but for ties.
  static float f(float a) {
    double x = double(a < -160.f ? -160.f : a > 130.f ? 130.f : a);
    const double magic = 6755399441055744.0;
    double shifted = x + magic, n = shifted - magic, z = (x - n) * 0.6931471805599453;
    double p = 1 + z * (1 + z * (1. / 2 + z * (1. / 6 + z * (1. / 24 + z * (1. / 120 + z * (1. / 720 + z * (1. / 5040 + z * (1. / 40320 + z * (1. / 362880)))))))));
    double scale = bits<double>((bits<uint64_t>(shifted) + 1023) << 52);
    float r = float(p * scale);
    return a != a ? a : r;
  }
};
struct Lg2F { static float f(float a) { return std::log2(a); } };
struct SinF { static float f(float a) { return std::sin(a); } };
struct CosF { static float f(float a) { return std::cos(a); } };
struct TanhF { static float f(float a) { return std::tanh(a); } };

template <class T> inline T saturate(T v) { return v > T(0) ? (v < T(1) ? v : T(1)) : T(0); }

template <class T, class F, int n, bool special>
void loop(Warp& w, const Inst& in, uint32_t mask) {
  const T* a = w.in<T>(in.op[1]);
  const T* b = n > 1 ? w.in<T>(in.op[2]) : a;
  const T* c = n > 2 ? w.in<T>(in.op[3]) : a;
  bool ftz = in.flags & flagFtz, sat = in.flags & flagSat;
  auto value = [=](int i) {
    T x = a[i], y = b[i], z = c[i];
    if constexpr (special && sizeof(T) == 4) {
      x = ftz ? flush(x) : x;
      y = ftz ? flush(y) : y;
      z = ftz ? flush(z) : z;
    }
    T r;
    if constexpr (n == 1) r = F::f(x);
    else if constexpr (n == 2) r = F::f(x, y);
    else r = F::f(x, y, z);
    if constexpr (special) {
      if constexpr (sizeof(T) == 4) r = ftz ? flush(r) : r;
      r = sat ? saturate(r) : r;
    }
    return r;
  };
  write<T>(w, in.op[0], mask, value);
}

template <class T, class F, int n>
int apply(Warp& w, const Inst& in, uint32_t mask) {
  if (in.mode == uint8_t(Round::Nearest)) {
    if (in.flags & (flagFtz | flagSat)) loop<T, F, n, true>(w, in, mask);
    else loop<T, F, n, false>(w, in, mask);
  } else {
    Rounding scope{Round(in.mode)};
    loop<T, F, n, true>(w, in, mask);
  }
  if (n == 3 && w.counters) w.counters->flops += 2 * uint64_t(__builtin_popcount(mask));
  return Next;
}

/** mode: minMaxNan, minMaxAbs, minMaxXorsign. */
template <class T, bool max> int minMax(Warp& w, const Inst& in, uint32_t mask) {
  const T *a = w.in<T>(in.op[1]), *b = w.in<T>(in.op[2]), *c = in.srcs > 2 ? w.in<T>(in.op[3]) : nullptr;
  bool ftz = in.flags & flagFtz;
  if (!in.mode && !ftz && !c) {
    write<T>(w, in.op[0], mask, [=](int i) { return MinMaxF<max>::f(a[i], b[i]); });
    return Next;
  }
  int mode = in.mode;
  auto two = [=](T x, T y) {
    if constexpr (sizeof(T) == 4) {
      if (ftz) x = flush(x), y = flush(y);
    }
    Bits<T> sign = (bits<Bits<T>>(x) ^ bits<Bits<T>>(y)) & signBit<T>;
    if (mode & minMaxAbs) x = AbsF::f(x), y = AbsF::f(y);
    T r = MinMaxF<max>::f(x, y);
    if ((mode & minMaxNan) && (x != x || y != y)) r = bits<T>(Bits<T>(sizeof(T) == 4 ? 0x7FFFFFFFull : 0x7FFFFFFFFFFFFFFFull));
    if (mode & minMaxXorsign) r = bits<T>(Bits<T>(bits<Bits<T>>(r) | sign));
    return r;
  };
  write<T>(w, in.op[0], mask, [=](int i) { return c ? two(two(a[i], b[i]), c[i]) : two(a[i], b[i]); });
  return Next;
}

/** mode: 0 finite, 1 infinite, 2 number, 3 notanumber, 4 normal, 5 subnormal. */
template <class T> int testp(Warp& w, const Inst& in, uint32_t mask) {
  const T* a = w.in<T>(in.op[1]);
  uint32_t r = 0;
  for (int i = 0; i < 32; ++i) {
    int c = std::fpclassify(a[i]);
    bool yes = false;
    switch (in.mode) {
      case 0: yes = c != FP_INFINITE && c != FP_NAN; break;
      case 1: yes = c == FP_INFINITE; break;
      case 2: yes = c != FP_NAN; break;
      case 3: yes = c == FP_NAN; break;
      case 4: yes = c == FP_NORMAL; break;
      case 5: yes = c == FP_SUBNORMAL; break;
    }
    r |= uint32_t(yes) << i;
  }
  w.setPredicate(in.op[0], mask, r);
  return Next;
}

template <class T> Handler common(Op op) {
  switch (op) {
    case Op::Add: return apply<T, AddF, 2>;
    case Op::Sub: return apply<T, SubF, 2>;
    case Op::Mul: return apply<T, MulF, 2>;
    case Op::Div: return apply<T, DivF, 2>;
    case Op::Fma: return apply<T, FmaF, 3>;
    case Op::Min: return minMax<T, false>;
    case Op::Max: return minMax<T, true>;
    case Op::Neg: return apply<T, NegF, 1>;
    case Op::Abs: return apply<T, AbsF, 1>;
    case Op::Copysign: return apply<T, CopysignF, 2>;
    case Op::Rcp: return apply<T, RcpF, 1>;
    case Op::Sqrt: return apply<T, SqrtF, 1>;
    case Op::Rsqrt: return apply<T, RsqrtF, 1>;
    case Op::Testp: return testp<T>;
    default: return nullptr;
  }
}

}  // namespace

Handler floatHandler(Op op, Type type) {
  if (type == Type::F64) return common<double>(op);
  if (type != Type::F32) return nullptr;
  switch (op) {
    case Op::Ex2: return apply<float, Ex2F, 1>;
    case Op::Lg2: return apply<float, Lg2F, 1>;
    case Op::Sin: return apply<float, SinF, 1>;
    case Op::Cos: return apply<float, CosF, 1>;
    case Op::Tanh: return apply<float, TanhF, 1>;
    default: return common<float>(op);
  }
}

}  // namespace sim::SIM_ISA
