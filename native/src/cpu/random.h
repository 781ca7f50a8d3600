// Philox words in element order, for kernels that draw. Element e has word e & 3 of block e >> 2; see core/philox.h.
#pragma once
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

/** Words of a tile, at buffer + the returned shift. Blocks are independent, so the loop becomes vectors. */
struct Words {
  uint32_t word[kTile + 8];
  ANNEAL_ALWAYS const uint32_t* fill(const Draw& d, uint64_t element, int64_t n) {
    const uint64_t block = element >> 2;
    const int shift = static_cast<int>(element & 3), blocks = static_cast<int>((shift + n + 3) >> 2);
#pragma omp simd
    for (int b = 0; b < blocks; ++b) {
      const Philox p = philox(block + static_cast<uint64_t>(b), d.stream, d.attempt, d.key0, d.key1);
      word[4 * b] = p.word[0];
      word[4 * b + 1] = p.word[1];
      word[4 * b + 2] = p.word[2];
      word[4 * b + 3] = p.word[3];
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
