// A place in the random number space, as launchers hand it to kernels (see core/philox.h).
#pragma once
#include <cstdint>

namespace anneal {

struct Draw {
  uint32_t key0, key1, stream, attempt;
  uint64_t first;  // the index of the operand's first element in the logical tensor
};

}  // namespace anneal
