// Keys sorted with the places they came from: stable, by 8 bits at a time (count, scan, scatter), so equal keys stay in the order of their places.
#include "cuda/index.cuh"
#include "cuda/walk.cuh"

namespace anneal::gpu {
namespace {

constexpr int kWarps = kThreads / 32, kDigits = 256, kRounds = 8, kTile = kThreads * kRounds;  // src/cuda/index.cc has the tile too

/** The warp's r-th row of 32 keys in this block's tile; a digit that no key has where there is no key. */
struct Row {
  int64_t at;
  uint32_t key, digit;
};
ANNEAL_FN Row rowOf(const uint32_t* keys, int64_t n, int shift, int round) {
  Row row{static_cast<int64_t>(blockIdx.x) * kTile + (threadIdx.x / 32 * kRounds + round) * 32 + threadIdx.x % 32, 0, kDigits};
  if (row.at < n) {
    row.key = keys[row.at];
    row.digit = (row.key >> shift) & (kDigits - 1);
  }
  return row;
}

/** How often each warp of the block has each digit. Ends with a barrier. */
ANNEAL_FN void countDigits(uint32_t (&count)[kWarps][kDigits], const uint32_t* keys, int64_t n, int shift) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int d = lane; d < kDigits; d += 32) count[warp][d] = 0;
  __syncwarp();
#pragma unroll 1
  for (int round = 0; round < kRounds; ++round) {
    const Row row = rowOf(keys, n, shift, round);
    const unsigned same = __match_any_sync(kWholeWarp, row.digit);
    if (row.digit < kDigits && lane == __ffs(same) - 1) count[warp][row.digit] += __popc(same);
    __syncwarp();
  }
  __syncthreads();
}

}  // namespace

#define ANNEAL_KERNEL extern "C" __global__ void __launch_bounds__(kThreads)

/** Keys are the indices; one that is out of range is reported, and sorts behind all others as `size`. */
ANNEAL_KERNEL sort_rows(const int32_t* index, uint32_t* keys, int64_t n, int64_t size, Trouble* trouble, uint32_t call) {
  const int64_t r = globalThread();
  if (r < n) keys[r] = static_cast<uint32_t>(checkIndex(index, n, index[r], size, trouble, call) ? index[r] : size);
}

/** Keys are places in [outer, length, inner]; the walk over [outer, k, inner] gives the place of (o, 0, i). */
ANNEAL_KERNEL sort_places(const int32_t* index, uint32_t* keys, int64_t length, int64_t inner, uint32_t places, const __grid_constant__ Walk<1> w,
                          Trouble* trouble, uint32_t call) {
  const int64_t e = globalThread();
  if (e >= w.n) return;
  int64_t at[1];
  placeOf(w, e, at);
  keys[e] = checkIndex(index, w.n, index[e], length, trouble, call) ? static_cast<uint32_t>(at[0] + index[e] * inner) : places;
}

/** Keys are the rows, of `length` elements each, that sorted elements came from. */
ANNEAL_KERNEL sort_segments(const uint32_t* from, uint32_t* keys, int64_t n, uint32_t length) {
  const int64_t e = globalThread();
  if (e < n) keys[e] = from[e] / length;
}

/** counts[digit][tile]. */
ANNEAL_KERNEL sort_count(const uint32_t* keys, uint32_t* counts, int64_t n, int32_t shift) {
  __shared__ uint32_t count[kWarps][kDigits];
  countDigits(count, keys, n, shift);
  uint32_t sum = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) sum += count[w][threadIdx.x];
  counts[static_cast<int64_t>(threadIdx.x) * gridDim.x + blockIdx.x] = sum;
}

/** Exclusive sums in place, by one block. */
ANNEAL_KERNEL sort_scan(uint32_t* counts, int64_t n) {
  constexpr int kEach = 8;
  __shared__ uint32_t sums[kWarps];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  uint32_t carry = 0;
#pragma unroll 1
  for (int64_t start = 0; start < n; start += kThreads * kEach) {
    const int64_t first = start + threadIdx.x * kEach;
    uint32_t own[kEach], sum = 0;
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      own[k] = first + k < n ? counts[first + k] : 0;
      sum += own[k];
    }
    uint32_t upTo = sum;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const uint32_t below = __shfl_up_sync(kWholeWarp, upTo, d);
      if (lane >= d) upTo += below;
    }
    if (lane == 31) sums[warp] = upTo;
    __syncthreads();
    uint32_t before = carry + upTo - sum, all = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) before += sums[w];
      all += sums[w];
    }
    carry += all;
#pragma unroll
    for (int k = 0; k < kEach; ++k) {
      if (first + k < n) counts[first + k] = before;
      before += own[k];
    }
    __syncthreads();
  }
}

/** To their places by this digit. `from` null: the keys stand where they came from. */
ANNEAL_KERNEL sort_scatter(const uint32_t* keys, const uint32_t* from, uint32_t* keysOut, uint32_t* fromOut, const uint32_t* offsets, int64_t n,
                           int32_t shift) {
  __shared__ uint32_t place[kWarps][kDigits];
  countDigits(place, keys, n, shift);
  uint32_t next = offsets[static_cast<int64_t>(threadIdx.x) * gridDim.x + blockIdx.x];
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    const uint32_t count = place[w][threadIdx.x];
    place[w][threadIdx.x] = next;
    next += count;
  }
  __syncthreads();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll 1
  for (int round = 0; round < kRounds; ++round) {
    const Row row = rowOf(keys, n, shift, round);
    const unsigned same = __match_any_sync(kWholeWarp, row.digit);
    uint32_t to = 0;
    if (row.digit < kDigits) to = place[warp][row.digit] + __popc(same & ((1u << lane) - 1));
    __syncwarp();
    if (row.digit < kDigits) {
      if (lane == __ffs(same) - 1) place[warp][row.digit] += __popc(same);
      keysOut[to] = row.key;
      fromOut[to] = from ? from[row.at] : static_cast<uint32_t>(row.at);
    }
    __syncwarp();
  }
}

}  // namespace anneal::gpu
