// A walk over a block of elements that several operands see with strides of their own. Host launchers make it, kernels on a GPU take it by value.
#pragma once
#include <cstdint>

namespace anneal {

constexpr int kWalkRank = 12;

/** Element i of the block, row-major over `size`, is at offset + sum of index stride in each of K operands. */
template <int K>
struct Walk {
  int64_t n;
  int64_t size[kWalkRank], stride[K][kWalkRank], offset[K];
  // Division by size[d] of numbers below 2^31: (x + high word of x magic) >> shift.
  uint32_t magic[kWalkRank], shift[kWalkRank];
  int32_t rank;
  int32_t narrow;  // n is below 2^31
};

/** To be called once sizes are final. */
template <int K>
inline void prepare(Walk<K>& w) {
  w.n = 1;
  for (int d = 0; d < w.rank; ++d) {
    w.n *= w.size[d];
    const uint64_t size = static_cast<uint64_t>(w.size[d] > 0 ? w.size[d] : 1);
    uint32_t shift = 0;
    while (shift < 31 && (uint64_t{1} << shift) < size) ++shift;
    w.shift[d] = shift;
    w.magic[d] = size >> 31 ? 0 : static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift) - size)) / size + 1);
  }
  w.narrow = w.n >> 31 == 0;
}

/** How an elementwise kernel goes through a walk. */
enum class Pace : int32_t {
  flat,  // one dimension, strides 0 or 1
  packs,  // the last dimension in packs of N (size and strides count packs there), each contiguous or one element repeated
  each,  // element by element
};

}  // namespace anneal
