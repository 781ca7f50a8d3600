// mma.sync m16n8k{4,8,16}. As on the device: products are exact, aligned to the largest exponent among them and the accumulator, cut off
// below 24 fraction bits, summed, and the sum cut off to f32; k16 is two such sums (sm_80, sm_89).
#include "lanes.h"

namespace sim::SIM_ISA {
namespace {

typedef float F8 __attribute__((vector_size(32)));
typedef int32_t I8 __attribute__((vector_size(32)));

struct Tile {
  alignas(32) float a[16][16];  // row, k
  alignas(32) float b[16][8];   // k, column
  alignas(32) float c[16][8];
};

template <class To, class From> inline To as(From v) {
  To out;
  __builtin_memcpy(&out, &v, sizeof out);
  return out;
}
inline I8 larger(I8 a, I8 b) { return a > b ? a : b; }

/** c += sum of n products for one row; the largest exponent goes to `seen`. */
template <int n> inline F8 row(const float* a, const F8* b, F8 c, I8& seen) {
  const I8 exponent = I8{} + 0x7F800000;
  F8 p[n];
  I8 top = as<I8>(c) & exponent;
  for (int k = 0; k < n; ++k) {
    p[k] = a[k] * b[k];
    top = larger(top, as<I8>(p[k]) & exponent);
  }
  seen = larger(seen, top);
  top = larger(top, I8{} + (25 << 23));
  F8 scale = as<F8>(I8{} + int32_t(278u << 23) - top), back = as<F8>(top - (24 << 23));
  I8 sum = __builtin_convertvector(c * scale, I8);
  for (int k = 0; k < n; ++k) sum += __builtin_convertvector(p[k] * scale, I8);
  // To float, towards zero.
  F8 f = __builtin_convertvector(sum, F8);
  I8 again = __builtin_convertvector(f, I8), sign = sum >> 31;
  I8 over = ((again ^ sign) - sign) > ((sum ^ sign) - sign);
  return as<F8>(as<I8>(f) + over) * back;
}

template <int k> void multiply(Tile& t) {
  constexpr int part = k < 8 ? k : 8;
  I8 seen{};
  F8 out[16], b[k];
  for (int j = 0; j < k; ++j) __builtin_memcpy(&b[j], t.b[j], sizeof b[j]);
  for (int r = 0; r < 16; ++r) {
    F8 c;
    __builtin_memcpy(&c, t.c[r], sizeof c);
    for (int j = 0; j < k; j += part) c = row<part>(t.a[r] + j, b + j, c, seen);
    out[r] = c;
  }
  bool special = false;
  for (int i = 0; i < 8; ++i) special |= seen[i] == 0x7F800000;
  if (!special) {
    __builtin_memcpy(t.c, out, sizeof out);
    return;
  }
  for (int r = 0; r < 16; ++r)
    for (int n = 0; n < 8; ++n) {
      bool infinite = false;
      float plain = t.c[r][n];
      infinite |= !(std::fabs(plain) < INFINITY);
      for (int j = 0; j < k; ++j) {
        plain += t.a[r][j] * t.b[j][n];
        infinite |= !(std::fabs(t.a[r][j] * t.b[j][n]) < INFINITY);
      }
      t.c[r][n] = infinite ? plain : out[r][n];
    }
}

template <Type A> inline void unpack(uint32_t v, float& lo, float& hi) {
  lo = fromHalf<A>(uint16_t(v));
  hi = fromHalf<A>(uint16_t(v >> 16));
}

template <Type A, Type D, int k> int mma(Warp& w, const Inst& in, uint32_t mask) {
  if (!w.gather(in, mask, ~0u)) return Reschedule;
  if (mask != ~0u) w.fault(in, -1, "mma.sync needs all 32 lanes of the warp");
  Tile t;
  const uint32_t* op = in.op.data() + in.dsts;
  constexpr bool tf = A == Type::TF32;
  constexpr int aRegs = tf ? k / 2 : k / 4, bRegs = tf ? k / 4 : k / 8, cRegs = D == Type::F32 ? 4 : 2;
  for (int r = 0; r < aRegs; ++r) {
    const uint32_t* v = w.in<uint32_t>(op[r]);
    for (int i = 0; i < 32; ++i) {
      int g = (i >> 2) + 8 * (r & 1), q = i & 3;
      if constexpr (tf) t.a[g][q + 4 * (r >> 1)] = bits<float>(v[i] & ~0x1FFFu);
      else unpack<A>(v[i], t.a[g][2 * q + 8 * (r >> 1)], t.a[g][2 * q + 1 + 8 * (r >> 1)]);
    }
  }
  for (int r = 0; r < bRegs; ++r) {
    const uint32_t* v = w.in<uint32_t>(op[aRegs + r]);
    for (int i = 0; i < 32; ++i) {
      int g = i >> 2, q = i & 3;
      if constexpr (tf) t.b[q + 4 * r][g] = bits<float>(v[i] & ~0x1FFFu);
      else unpack<A>(v[i], t.b[2 * q + 8 * r][g], t.b[2 * q + 1 + 8 * r][g]);
    }
  }
  for (int r = 0; r < cRegs; ++r) {
    const uint32_t* v = w.in<uint32_t>(op[aRegs + bRegs + r]);
    for (int i = 0; i < 32; ++i) {
      int g = i >> 2, q = i & 3;
      if constexpr (D == Type::F32) t.c[g + 8 * (r >> 1)][2 * q + (r & 1)] = bits<float>(v[i]);
      else unpack<Type::F16>(v[i], t.c[g + 8 * r][2 * q], t.c[g + 8 * r][2 * q + 1]);
    }
  }
  multiply<k>(t);
  for (int r = 0; r < cRegs; ++r) {
    uint32_t* v = w.out<uint32_t>(in.op[r]);
    for (int i = 0; i < 32; ++i) {
      int g = i >> 2, q = i & 3;
      if constexpr (D == Type::F32) v[i] = bits<uint32_t>(t.c[g + 8 * (r >> 1)][2 * q + (r & 1)]);
      else v[i] = uint32_t(toF16(t.c[g + 8 * r][2 * q + 1])) << 16 | toF16(t.c[g + 8 * r][2 * q]);
    }
  }
  if (w.counters) {
    ++w.counters->mma;
    w.counters->flops += 2 * 16 * 8 * k;
  }
  return Next;
}

}  // namespace

Handler mmaHandler(Type a, Type d, int k) {
  if (a == Type::F16 && d == Type::F32) return k == 16 ? mma<Type::F16, Type::F32, 16> : k == 8 ? mma<Type::F16, Type::F32, 8> : nullptr;
  if (a == Type::F16 && d == Type::F16) return k == 16 ? mma<Type::F16, Type::F16, 16> : k == 8 ? mma<Type::F16, Type::F16, 8> : nullptr;
  if (a == Type::BF16 && d == Type::F32) return k == 16 ? mma<Type::BF16, Type::F32, 16> : k == 8 ? mma<Type::BF16, Type::F32, 8> : nullptr;
  if (a == Type::TF32 && d == Type::F32) return k == 8 ? mma<Type::TF32, Type::F32, 8> : k == 4 ? mma<Type::TF32, Type::F32, 4> : nullptr;
  return nullptr;
}

const Executors& executors() {
  static const Executors all{integerHandler, floatHandler, halfHandler, compareHandler, convertHandler, moveHandler, selectHandler, mmaHandler};
  return all;
}

}  // namespace sim::SIM_ISA
