// Philox words in element order, for kernels that draw. Element e has word e & 3 of block e >> 2; see core/philox.h.
#pragma once
#if defined(__SSE2__)
// GCC 12 warns of its own _mm512_undefined inside.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif
#include <cstring>

#include "core/philox.h"
#include "cpu/kernel.h"

ANNEAL_KERNELS_BEGIN

/** A place in the random number space: the first attributes of every op that draws. */
struct Draw {
  uint32_t key0, key1, stream, attempt;
  uint64_t first;  // the index of the operand's first element in the logical tensor
  explicit Draw(const Call& c)
      : key0(static_cast<uint32_t>(c.attr[0])), key1(static_cast<uint32_t>(c.attr[1])), stream(static_cast<uint32_t>(c.attr[2])),
        attempt(static_cast<uint32_t>(c.attr[3])), first(static_cast<uint64_t>(c.attr[4])) {}
};
constexpr int kDrawAttributes = 5;

constexpr int64_t kTile = 512;  // elements whose words are made at a time

// Philox in 64-bit lanes, one block each. Only the low half of a lane counts between rounds: the widening multiply ignores the high half and
// nothing else lets it down, so no lane is ever masked. Three times as fast as what the compiler makes of the plain loop.
#if defined(__AVX512F__)
using Lanes = uint64_t __attribute__((vector_size(64)));
ANNEAL_ALWAYS Lanes wide(Lanes a, Lanes b) { return (Lanes)_mm512_mul_epu32((__m512i)a, (__m512i)b); }
#define ANNEAL_LOW_LANES(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define ANNEAL_HIGH_LANES(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
constexpr Lanes kLane = {0, 1, 2, 3, 4, 5, 6, 7};
#elif defined(__AVX2__)
using Lanes = uint64_t __attribute__((vector_size(32)));
ANNEAL_ALWAYS Lanes wide(Lanes a, Lanes b) { return (Lanes)_mm256_mul_epu32((__m256i)a, (__m256i)b); }
#define ANNEAL_LOW_LANES(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define ANNEAL_HIGH_LANES(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
constexpr Lanes kLane = {0, 1, 2, 3};
#else
using Lanes = uint64_t __attribute__((vector_size(16)));
#if defined(__SSE2__)
ANNEAL_ALWAYS Lanes wide(Lanes a, Lanes b) { return (Lanes)_mm_mul_epu32((__m128i)a, (__m128i)b); }
#else
ANNEAL_ALWAYS Lanes wide(Lanes a, Lanes b) { return (a & 0xffffffffu) * (b & 0xffffffffu); }
#endif
#define ANNEAL_LOW_LANES(a, b) __builtin_shufflevector(a, b, 0, 2)
#define ANNEAL_HIGH_LANES(a, b) __builtin_shufflevector(a, b, 1, 3)
constexpr Lanes kLane = {0, 1};
#endif
constexpr int kBlocks = sizeof(Lanes) / 8;  // per vector

/** Words of the blocks first, first + 1, ... (kBlocks of them) to `to`. */
ANNEAL_ALWAYS void philoxLanes(const Draw& d, uint64_t first, uint32_t* to) {
  const Lanes zero = {}, block = zero + first + kLane, m0 = zero + 0xD2511F53u, m1 = zero + 0xCD9E8D57u;
  Lanes c0 = block, c1 = block >> 32, c2 = zero + d.stream, c3 = zero + d.attempt;
  uint32_t key0 = d.key0, key1 = d.key1;
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const Lanes p0 = wide(m0, c0), p1 = wide(m1, c2);
    c0 = (p1 >> 32) ^ c1 ^ (zero + key0);
    c2 = (p0 >> 32) ^ c3 ^ (zero + key1);
    c1 = p1;
    c3 = p0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  const Lanes a = (c0 & 0xffffffffu) | (c1 << 32), b = (c2 & 0xffffffffu) | (c3 << 32);
  const Lanes low = ANNEAL_LOW_LANES(a, b), high = ANNEAL_HIGH_LANES(a, b);
  std::memcpy(to, &low, sizeof low);
  std::memcpy(to + 2 * kBlocks, &high, sizeof high);
}

/** Words of a tile, at the buffer's start plus a shift. */
struct Words {
  alignas(64) uint32_t word[kTile + 8 + 8 * kBlocks];
  ANNEAL_ALWAYS const uint32_t* fill(const Draw& d, uint64_t element, int64_t n) {
    const uint64_t block = element >> 2;
    const int shift = static_cast<int>(element & 3), blocks = static_cast<int>((shift + n + 3) >> 2);
    // Two vectors at a time hide the latency of the multiply; what is made too much stays in the buffer.
    for (int b = 0; b < blocks; b += 2 * kBlocks) {
      philoxLanes(d, block + static_cast<uint64_t>(b), word + 4 * b);
      philoxLanes(d, block + static_cast<uint64_t>(b + kBlocks), word + 4 * (b + kBlocks));
    }
    return word + shift;
  }
};

/** body(i, n, words) for tiles of [begin, end): words[k] belongs to element i + k of the operand. */
template <class Body>
ANNEAL_ALWAYS void forWords(const Draw& d, int64_t begin, int64_t end, Body&& body) {
  Words words;
  for (int64_t i = begin; i < end; i += kTile) {
    const int64_t n = end - i < kTile ? end - i : kTile;
    body(i, n, words.fill(d, d.first + static_cast<uint64_t>(i), n));
  }
}

ANNEAL_KERNELS_END
