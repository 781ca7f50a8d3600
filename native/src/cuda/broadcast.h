// Broadcast operands: from an op's attributes to what its kernel takes.
#pragma once
#include <cmath>
#include <cstring>

#include "core/half.h"
#include "cuda/launch.h"
#include "ops/broadcast.h"

namespace anneal::cuda {

inline bool aligned(const void* p, int64_t bytes) { return reinterpret_cast<uintptr_t>(p) % static_cast<uint64_t>(bytes) == 0; }

/** A number as integers of a dtype take it. */
inline int64_t wholeOf(double v) { return std::isfinite(v) ? static_cast<int64_t>(v) : 0; }

/** attr from `at`: dims, then the strides of each operand; guards memory: every element touched lies within its operand. */
template <int K>
Broadcast<K> broadcastOf(const Call& c, int rank, int at, const int (&inputs)[K]) {
  require(rank >= 0 && rank <= kWalkRank && c.nAttr >= at + rank * (K + 1), "broadcast: attributes");
  Broadcast<K> b{};
  Walk<K>& w = b.walk;
  w.rank = rank;
  int64_t reach[K] = {};
  b.n = 1;
  for (int d = 0; d < rank; ++d) {
    w.size[d] = c.integer(at + d);
    b.n *= w.size[d];
    for (int o = 0; o < K; ++o) {
      w.stride[o][d] = c.integer(at + rank * (o + 1) + d);
      require(w.stride[o][d] >= 0 && w.size[d] >= 0, "broadcast: strides");
      reach[o] += (w.size[d] - 1) * w.stride[o][d];
    }
  }
  require(b.n == c.out[0].n, "broadcast: size");
  for (int o = 0; o < K; ++o) require(b.n == 0 || !c.has(inputs[o]) || reach[o] < c.in[inputs[o]].n, "broadcast: bounds");
  return b;
}

/** Chooses the pace for kernels that take N elements at a time; `sizes` are the bytes of an element of each operand, of the output last. */
template <int K>
void setPace(Broadcast<K>& b, int64_t N, const void* const (&data)[K + 1], const int64_t (&sizes)[K + 1]) {
  Walk<K>& w = b.walk;
  const int last = w.rank - 1;
  bool simple = true, packs = w.rank > 1 && w.size[last] % N == 0 && aligned(data[K], N * sizes[K]);
  for (int o = 0; o < K; ++o) {
    const int64_t inner = w.rank ? w.stride[o][last] : 0;
    b.once[o] = inner == 0;
    simple = simple && inner <= 1;
    if (inner == 0) continue;
    packs = packs && aligned(data[o], N * sizes[o]);
    for (int d = 0; d < last; ++d) packs = packs && w.stride[o][d] % N == 0;
  }
  b.pace = !simple ? Pace::each : w.rank <= 1 ? Pace::flat : packs ? Pace::packs : Pace::each;
  if (b.pace == Pace::packs) {
    w.size[last] /= N;
    for (int o = 0; o < K; ++o) w.stride[o][last] *= N;
    b.n /= N;
  }
  prepare(w);
}

/** Blocks for a kernel that takes N elements, or one pack, a thread. */
template <int K>
uint32_t blocksOf(const Broadcast<K>& b, int64_t N) {
  return blocksFor(b.n, b.pace == Pace::packs ? kThreads : int64_t{kThreads} * N);
}

}  // namespace anneal::cuda
