// 16-bit floats as storage types. Arithmetic happens in f32; storing rounds to nearest even, once.
#pragma once
#include <cstdint>
#include <cstring>

namespace anneal {

struct bf16 {
  uint16_t bits;
  bf16() = default;
  __attribute__((always_inline)) bf16(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1)) >> 16;
    const uint32_t nan = (u >> 16) | 0x40u;
    bits = static_cast<uint16_t>(x != x ? nan : rounded);
  }
  // Written out, since GCC 12 turns no loop that assigns whole structs into vectors (every bf16 kernel stores this way).
  bf16(const bf16&) = default;
  __attribute__((always_inline)) bf16& operator=(const bf16& other) {
    bits = other.bits;
    return *this;
  }
  __attribute__((always_inline)) operator float() const {
    const uint32_t u = static_cast<uint32_t>(bits) << 16;
    float x;
    std::memcpy(&x, &u, 4);
    return x;
  }
};

/** IEEE binary16. The compiler uses the processor's conversions where it has them. */
struct f16 {
  _Float16 value;
  f16() = default;
  __attribute__((always_inline)) f16(float x) : value(static_cast<_Float16>(x)) {}
  __attribute__((always_inline)) operator float() const { return static_cast<float>(value); }
};

static_assert(sizeof(bf16) == 2 && sizeof(f16) == 2);

}  // namespace anneal
