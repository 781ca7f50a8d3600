// What the launchers of ops with broadcast operands hand to their kernels.
#pragma once
#include "ops/walk.h"

namespace anneal {

/** Operands of a function of K. An absent one is `scalar` (the bits of a float, or the integer itself). */
template <int K>
struct Broadcast {
  Walk<K> walk;
  int64_t n;  // elements, or packs where that is the pace
  Pace pace;
  uint32_t scalar[K];
  bool once[K];  // one element repeated along the last dimension
};

}  // namespace anneal
