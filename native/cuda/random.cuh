// Philox4x32-10 on the GPU: the words of core/philox.h. Element e has word e & 3 of block e >> 2.
#pragma once
#include "cuda/elementwise.cuh"
#include "ops/draw.h"

namespace anneal::gpu {

struct Block {
  uint32_t word[4];
};
ANNEAL_FN Block philox(const Draw& d, uint64_t block) {
  uint32_t c0 = static_cast<uint32_t>(block), c1 = static_cast<uint32_t>(block >> 32), c2 = d.stream, c3 = d.attempt, key0 = d.key0, key1 = d.key1;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t n0 = __umulhi(0xCD9E8D57u, c2) ^ c1 ^ key0, n2 = __umulhi(0xD2511F53u, c0) ^ c3 ^ key1;
    c1 = 0xCD9E8D57u * c2;
    c3 = 0xD2511F53u * c0;
    c0 = n0;
    c2 = n2;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/** A word as a float in [0, 1): 24 bits, exact. */
ANNEAL_FN float uniform01(uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

/**
 * What `make` makes of the blocks of N (a multiple of 4) elements from element `first` of the operand: value k belongs to element first + k. One
 * call of Philox for 4 words, and one more where the elements lie across blocks.
 */
template <class V, int N, class Make> ANNEAL_FN void drawn(V (&to)[N], const Draw& d, int64_t first, Make make) {
  const uint64_t e = d.first + static_cast<uint64_t>(first);
  const int lead = static_cast<int>(e & 3);
#pragma unroll
  for (int k = 0; k < N; ++k) to[k] = V{};
#pragma unroll 1
  for (int b = 0; b < N / 4; ++b) {
    V v[4];
    make(philox(d, (e >> 2) + b), v);
#pragma unroll
    for (int k = 0; k < 4; ++k) rotate(to, v[k]);
  }
  if (lead) {
    V v[4];
    make(philox(d, (e >> 2) + N / 4), v);
    // The first `lead` values belong to elements before these.
#pragma unroll
    for (int k = 0; k < 3; ++k)
      if (k < lead) rotate(to, v[k]);
  }
}
template <int N> ANNEAL_FN void drawWords(uint32_t (&to)[N], const Draw& d, int64_t first) {
  drawn(to, d, first, [](const Block& b, uint32_t (&v)[4]) {
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = b.word[k];
  });
}

/** The share of a thread of elements that are drawn: always neighbours; `vector` where they may move as one. */
template <int N> ANNEAL_FN Share neighbours(int64_t n, bool vector) {
  Share s = shareOf<N>(n, true);
  s.whole = s.whole && vector;
  return s;
}

}  // namespace anneal::gpu
