// Loops over the 32 lanes of a warp, for the groups that are compiled per instruction set. SIM_ISA is v2 or v3.
#pragma once
#include <immintrin.h>

#include <cmath>

#include "execute.h"
#include "warp.h"

#ifndef SIM_ISA
#define SIM_ISA v2
#endif
#define SIM_LANES _Pragma("GCC ivdep") for (int i = 0; i < 32; ++i)

namespace sim::SIM_ISA {

Handler integerHandler(Op op, Type type);
Handler floatHandler(Op op, Type type);
Handler halfHandler(Op op, Type type);
Handler compareHandler(Type type);
Handler convertHandler(const Inst& in);
Handler moveHandler(int bytes);
Handler selectHandler(int bytes);
Handler mmaHandler(Type a, Type d, int k);

namespace {

/** Bit i of the mask spread to byte i: 0xFF or 0. */
struct Bytes32 {
  alignas(32) uint8_t b[32];
};
inline Bytes32 spread(uint32_t mask) {
  Bytes32 out;
  for (int k = 0; k < 4; ++k) {
    uint64_t x = (mask >> (8 * k)) & 0xFF;
    x = ((x * 0x0101010101010101ull) & 0x8040201008040201ull);
    x = ((x + 0x00406070787c7e7full) >> 7) & 0x0101010101010101ull;
    x *= 0xFF;
    std::memcpy(out.b + 8 * k, &x, 8);
  }
  return out;
}
inline uint32_t gatherBits(const uint8_t* bytes) {  // from 0 or 0xFF
  uint32_t lo = uint32_t(_mm_movemask_epi8(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes))));
  uint32_t hi = uint32_t(_mm_movemask_epi8(_mm_load_si128(reinterpret_cast<const __m128i*>(bytes + 16))));
  return lo | hi << 16;
}

/** d[i] = f(i) for the lanes of the mask. f may look at lanes that are not active; it must not fault on what it finds there. */
template <class D, class F>
inline void write(Warp& w, uint32_t op, uint32_t mask, F f) {
  D* d = w.out<D>(op);
  if (mask == ~0u) {
    SIM_LANES d[i] = f(i);
    return;
  }
  alignas(64) D t[32];
  SIM_LANES t[i] = f(i);
  Bytes32 m = spread(mask);
  SIM_LANES d[i] = m.b[i] ? t[i] : d[i];
}

/** The lanes' answers as a mask. */
template <class F>
inline uint32_t test(F f) {
  alignas(32) uint8_t t[32];
  SIM_LANES t[i] = f(i) ? 0xFF : 0;
  return gatherBits(t);
}

template <class To, class From>
inline To bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To out;
  __builtin_memcpy(&out, &v, sizeof out);
  return out;
}

// ---- 16-bit floats -----------------------------------------------------------------------------------------------------------

inline float fromBf16(uint16_t h) { return bits<float>(uint32_t(h) << 16); }
inline float fromF16(uint16_t h) {
  uint32_t sign = uint32_t(h & 0x8000) << 16, magnitude = uint32_t(h & 0x7FFF) << 13;
  // 2^112 scales the exponent; subnormals come out right because the product is exact.
  float scaled = bits<float>(magnitude) * bits<float>(0x77800000u);
  uint32_t special = (bits<uint32_t>(scaled) | 0x7F800000u);
  uint32_t value = (h & 0x7C00) == 0x7C00 ? special : bits<uint32_t>(scaled);
  return bits<float>(value | sign);
}

/** The double rounded to odd to float, so that a second rounding to 16 bits is as if done once. */
inline float toOdd(double v) {
  float f = float(v);
  double back = double(f);
  uint32_t b = bits<uint32_t>(f);
  if (back != v && back == back && (b & 0x7F800000u) != 0x7F800000u) {
    // One towards zero where rounding went away from it, then set the last bit.
    if ((v > 0) == (back > v)) --b;
    b |= 1;
  } else if ((b & 0x7FFFFFFFu) == 0x7F800000u && v == v && v - v == 0) {
    b = (b & 0x80000000u) | 0x7F7FFFFFu;
  }
  return bits<float>(b);
}

inline uint16_t toBf16(float f) {
  uint32_t b = bits<uint32_t>(f);
  uint32_t rounded = (b + 0x7FFF + ((b >> 16) & 1)) >> 16;
  return uint16_t((b & 0x7FFFFFFF) > 0x7F800000 ? 0x7FFF : rounded);
}
inline uint16_t toF16(float f) {
  uint32_t b = bits<uint32_t>(f), sign = (b >> 16) & 0x8000, a = b & 0x7FFFFFFF;
  uint32_t normal = (a + 0xFFF + ((a >> 13) & 1) - 0x38000000u) >> 13;
  // Below the normal range: adding 0.5 leaves the rounded multiple of 2^-24 in the low bits.
  uint32_t small = bits<uint32_t>(bits<float>(a) + 0.5f) - 0x3F000000u;
  uint32_t r = a < 0x38800000u ? small : normal;
  r = a >= 0x477FF000u ? 0x7C00u : r;
  r = a > 0x7F800000u ? 0x7FFFu : r;
  return uint16_t(a > 0x7F800000u ? 0x7FFFu : (r | sign));
}

template <Type T> inline float fromHalf(uint16_t h) { return T == Type::BF16 ? fromBf16(h) : fromF16(h); }
template <Type T> inline uint16_t toHalf(float f) { return T == Type::BF16 ? toBf16(f) : toF16(f); }

inline float flush(float f) {
  uint32_t b = bits<uint32_t>(f);
  return bits<float>((b & 0x7F800000u) ? b : b & 0x80000000u);
}

/** Sets the processor's rounding for a scope; the loops inside work on memory, so that they are not moved out of it. */
struct Rounding {
  unsigned saved;
  explicit Rounding(Round r) : saved(_mm_getcsr()) {
    static const unsigned mode[] = {0x0000, 0x6000, 0x2000, 0x4000, 0x0000};
    _mm_setcsr((saved & ~0x6000u) | mode[int(r)]);
    asm volatile("" ::: "memory");
  }
  ~Rounding() {
    asm volatile("" ::: "memory");
    _mm_setcsr(saved);
  }
};

}  // namespace
}  // namespace sim::SIM_ISA
