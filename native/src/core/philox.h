// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11; Random123's known answers are our tests).
// House rule: key = seed; counter = (element block, 64 bits; stream; attempt); block = element index >> 2, word = index & 3.
// lib/tensor/philox.ts gives the same words.
#pragma once
#include <cstdint>

namespace anneal {

struct Philox {
  uint32_t word[4];
};

inline __attribute__((always_inline)) Philox philox(uint64_t block, uint32_t stream, uint32_t attempt, uint32_t key0, uint32_t key1) {
  uint32_t c0 = static_cast<uint32_t>(block), c1 = static_cast<uint32_t>(block >> 32), c2 = stream, c3 = attempt;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ key0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ key1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/** A word as a float in [0, 1): 24 bits, exact. */
inline __attribute__((always_inline)) float uniform01(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

}  // namespace anneal
