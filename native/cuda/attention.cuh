// What every attention kernel asks of the call: where rows lie, which keys a query sees, dropout.
#pragma once
#include "cuda/attention.h"
#include "cuda/common.cuh"

namespace anneal::gpu {

constexpr float kLog2e = 1.44269504088896341f, kLn2 = 0.693147180559945309f;
constexpr float kNone = -INFINITY;

ANNEAL_FN int64_t rowAt(const AttentionStrides& s, int64_t b, int64_t h, int64_t row) { return s.offset + b * s.batch + h * s.head + row * s.row; }

/** How many keys, from the first, query i may see. Causal is aligned at the bottom right: the last query sees every key. */
ANNEAL_FN int64_t keysSeen(const Attention& a, int64_t i) {
  if (!a.causal) return a.tk;
  const int64_t n = i + 1 + a.tk - a.tq;
  return n < 0 ? 0 : (n > a.tk ? a.tk : n);
}
/** The first query that sees key j. */
ANNEAL_FN int64_t firstQuery(const Attention& a, int64_t j) {
  const int64_t i = a.causal ? j + a.tq - a.tk : 0;
  return i < 0 ? 0 : i;
}
ANNEAL_FN bool maskAllows(const Attention& a, int64_t b, int64_t h, int64_t i, int64_t j) {
  return !a.mask || a.mask[b * a.maskBatch + h * a.maskHead + i * a.maskRow + j * a.maskColumn];
}

struct Words {
  uint32_t x, y, z, w;
};
/** core/philox.h's words. */
ANNEAL_FN Words philoxWords(uint64_t block, uint32_t stream, uint32_t attempt, uint32_t key0, uint32_t key1) {
  uint32_t c0 = static_cast<uint32_t>(block), c1 = static_cast<uint32_t>(block >> 32), c2 = stream, c3 = attempt;
#pragma unroll 1
  for (int round = 0; round < 10; ++round) {
    const uint32_t h0 = __umulhi(0xD2511F53u, c0), l0 = 0xD2511F53u * c0, h1 = __umulhi(0xCD9E8D57u, c2), l1 = 0xCD9E8D57u * c2;
    c0 = h1 ^ c1 ^ key0;
    c2 = h0 ^ c3 ^ key1;
    c1 = l1;
    c3 = l0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {c0, c1, c2, c3};
}
/** What dropout multiplies the weight of (i, j) by. */
ANNEAL_FN float keepOf(const Attention& a, int64_t b, int64_t h, int64_t i, int64_t j) {
  if (!a.threshold) return 1.f;
  const uint64_t e = a.first + static_cast<uint64_t>(((b * a.heads + h) * a.tq + i) * a.tk + j);
  const Words w = philoxWords(e >> 2, a.stream, a.attempt, a.key0, a.key1);
  const uint32_t part = e & 3, word = part < 2 ? (part ? w.y : w.x) : (part == 2 ? w.z : w.w);
  return word >= a.threshold ? a.keep : 0.f;
}

/** A block's place: blocks count tiles fastest, then heads, then batches. */
struct AttentionPlace {
  int64_t b, h, tile;
};
ANNEAL_FN AttentionPlace placeOf(int64_t tiles, int64_t heads) {
  const int64_t i = blockIdx.x, pair = i / tiles;
  return {pair / heads, pair % heads, i % tiles};
}

}  // namespace anneal::gpu
