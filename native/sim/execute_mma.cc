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
  alignas(32) float c[16][8];  // read as 128 numbers in a row, too
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

template <Type A> inline void widen(const uint16_t* from, float* to) {
  for (int i = 0; i < 8; ++i) to[i] = fromHalf<A>(from[i]);
}

template <Type A, Type D, int k> int mma(Warp& w, const Inst& in, uint32_t mask) {
  if (!w.gather(in, mask, ~0u)) return Reschedule;
  if (mask != ~0u) w.fault(in, -1, "mma.sync needs all 32 lanes of the warp");
  Tile t;
  const uint32_t* op = in.op.data() + in.dsts;
  constexpr bool tf = A == Type::TF32;
  constexpr int aRegs = tf ? k / 2 : k / 4, bRegs = tf ? k / 4 : k / 8, cRegs = D == Type::F32 ? 4 : 2;
  // A register over the lanes is a matrix of 8 rows by rows (see GPU.md's layouts), so it is read as one.
  for (int r = 0; r < aRegs; ++r) {
    if constexpr (tf) {
      const uint32_t* v = w.in<uint32_t>(op[r]);
      for (int i = 0; i < 32; ++i) t.a[(i >> 2) + 8 * (r & 1)][(i & 3) + 4 * (r >> 1)] = bits<float>(v[i] & ~0x1FFFu);
    } else {
      const uint16_t* v = w.in<uint16_t>(op[r]);
      for (int g = 0; g < 8; ++g) widen<A>(v + 8 * g, &t.a[g + 8 * (r & 1)][8 * (r >> 1)]);
    }
  }
  for (int r = 0; r < bRegs; ++r) {
    if constexpr (tf) {
      const uint32_t* v = w.in<uint32_t>(op[aRegs + r]);
      for (int i = 0; i < 32; ++i) t.b[(i & 3) + 4 * r][i >> 2] = bits<float>(v[i] & ~0x1FFFu);
    } else {
      const uint16_t* v = w.in<uint16_t>(op[aRegs + r]);
      alignas(32) uint16_t turned[8][8];
      for (int x = 0; x < 8; ++x)
        for (int y = 0; y < 8; ++y) turned[y][x] = v[8 * x + y];
      for (int g = 0; g < 8; ++g) widen<A>(turned[g], t.b[8 * r + g]);
    }
  }
  if constexpr (D == Type::F32) {
    for (int h = 0; h < 2; ++h) {
      const float *even = w.in<float>(op[aRegs + bRegs + 2 * h]), *odd = w.in<float>(op[aRegs + bRegs + 2 * h + 1]);
      float* c = &t.c[0][0] + 64 * h;
      for (int i = 0; i < 32; ++i) {
        c[2 * i] = even[i];
        c[2 * i + 1] = odd[i];
      }
    }
  } else {
    for (int r = 0; r < cRegs; ++r)
      for (int g = 0; g < 8; ++g) widen<Type::F16>(w.in<uint16_t>(op[aRegs + bRegs + r]) + 8 * g, t.c[g + 8 * r]);
  }
  multiply<k>(t);
  if constexpr (D == Type::F32) {
    for (int h = 0; h < 2; ++h) {
      float *even = w.out<float>(in.op[2 * h]), *odd = w.out<float>(in.op[2 * h + 1]);
      const float* c = &t.c[0][0] + 64 * h;
      for (int i = 0; i < 32; ++i) {
        even[i] = c[2 * i];
        odd[i] = c[2 * i + 1];
      }
    }
  } else {
    for (int r = 0; r < cRegs; ++r) {
      uint16_t* v = w.out<uint16_t>(in.op[r]);
      for (int i = 0; i < 64; ++i) v[i] = toF16((&t.c[0][0])[64 * r + i]);
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
