// The first attributes of every op that draws.
#pragma once
#include "cuda/launch.h"
#include "ops/draw.h"

namespace anneal::cuda {

constexpr int kDrawAttributes = 5;

/** attr: the key's halves, stream, attempt, index of the first element. */
inline Draw drawOf(const Call& c) {
  require(c.nAttr >= kDrawAttributes, "draw: attributes");
  return {static_cast<uint32_t>(c.attr[0]), static_cast<uint32_t>(c.attr[1]), static_cast<uint32_t>(c.attr[2]), static_cast<uint32_t>(c.attr[3]),
          static_cast<uint64_t>(c.attr[4])};
}

}  // namespace anneal::cuda
