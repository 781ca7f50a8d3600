// The k best of each row, a block a row: the k-th best by radix selection, those before it collected, and each put in the place that its rank says.
// Where k is large (a sort) the ranks would cost k^2: then keys for sort.cu, and what it found.
#include <type_traits>

#include "cuda/common.cuh"

namespace anneal::gpu {
namespace {

constexpr int kWarps = kThreads / 32, kDigits = 256;

/** Of two elements the better has the lower key. NaN is above every number; zeros are equal. */
template <class T> ANNEAL_FN uint32_t keyOf(T x, bool largest) {
  uint32_t up;
  if constexpr (std::is_same_v<T, int32_t>) up = static_cast<uint32_t>(x) ^ 0x80000000u;
  else if constexpr (std::is_same_v<T, uint8_t>) up = x;
  else {
    const float v = widen(x) + 0.f;  // -0 + 0 is 0
    const uint32_t bits = __float_as_uint(v);
    up = v != v ? 0xffffffffu : (bits >> 31 ? ~bits : bits | 0x80000000u);
  }
  return largest ? ~up : up;
}

struct Shared {
  uint32_t count[kDigits];
  uint32_t warp[2][kWarps];
  uint32_t digit, before;
};

/** In which digit the wanted-th key (from 1) lies, and how many keys lie in those before. To shared memory, between barriers. */
ANNEAL_FN void findDigit(Shared& s, uint32_t wanted) {
  constexpr int kEach = kDigits / 32;
  __syncthreads();
  if (threadIdx.x < 32) {
    uint32_t sum = 0;
#pragma unroll
    for (int k = 0; k < kEach; ++k) sum += s.count[threadIdx.x * kEach + k];
    uint32_t upTo = sum;
#pragma unroll
    for (int d = 1; d < 32; d *= 2) {
      const uint32_t below = __shfl_up_sync(kWholeWarp, upTo, d);
      if (static_cast<int>(threadIdx.x) >= d) upTo += below;
    }
    uint32_t before = upTo - sum;
    if (before < wanted && wanted <= upTo) {
      int digit = threadIdx.x * kEach;
#pragma unroll 1
      while (before + s.count[digit] < wanted) before += s.count[digit++];
      s.digit = digit;
      s.before = before;
    }
  }
  __syncthreads();
}

template <class T>
ANNEAL_FN void topK(const T* x, T* values, int32_t* index, int n, int k, bool largest, bool staged, uint32_t* outside) {
  extern __shared__ uint32_t memory[];
  __shared__ Shared s;
  const int tid = threadIdx.x, lane = tid & 31, warp = tid >> 5;
  const int64_t row = blockIdx.x;
  x += row * n;
  uint32_t* candidateKey = outside ? outside + row * 2 * k : memory + (staged ? n : 0);
  uint32_t* candidateIndex = candidateKey + k;
  if (staged)
    for (int i = tid; i < n; i += kThreads) memory[i] = keyOf(x[i], largest);  // read behind the first barrier below
  const auto key = [&](int i) { return staged ? memory[i] : keyOf(x[i], largest); };

  // The k-th key, a digit at a time from the top; then `wanted` counts how many of the keys that equal it are taken.
  uint32_t limit = 0, wanted = k;
#pragma unroll 1
  for (int shift = 24; shift >= 0; shift -= 8) {
    s.count[tid] = 0;
    __syncthreads();
    for (int i = tid; i < n; i += kThreads) {
      const uint32_t u = key(i);
      if (shift == 24 || u >> (shift + 8) == limit >> (shift + 8)) atomicAdd(&s.count[(u >> shift) & (kDigits - 1)], 1u);
    }
    findDigit(s, wanted);
    limit |= s.digit << shift;  // written again only behind the next round's first barrier
    wanted -= s.before;
  }

  // Collected in the order of indices.
  uint32_t taken = 0, ties = 0;
#pragma unroll 1
  for (int start = 0; start < n; start += kThreads) {
    const int i = start + tid;
    const uint32_t u = i < n ? key(i) : 0xffffffffu;
    const bool better = i < n && u < limit, equal = i < n && u == limit;
    const unsigned betterMask = __ballot_sync(kWholeWarp, better), equalMask = __ballot_sync(kWholeWarp, equal), below = (1u << lane) - 1;
    if (lane == 0) {
      s.warp[0][warp] = __popc(betterMask);
      s.warp[1][warp] = __popc(equalMask);
    }
    __syncthreads();
    uint32_t betterBefore = taken + __popc(betterMask & below), equalBefore = ties + __popc(equalMask & below);
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      if (w < warp) {
        betterBefore += s.warp[0][w];
        equalBefore += s.warp[1][w];
      }
      taken += s.warp[0][w];
      ties += s.warp[1][w];
    }
    if (better || (equal && equalBefore < wanted)) {
      const uint32_t slot = betterBefore + (equalBefore < wanted ? equalBefore : wanted);
      candidateKey[slot] = u;
      candidateIndex[slot] = i;
    }
    __syncthreads();
  }

  for (int c = tid; c < k; c += kThreads) {
    const uint32_t own = candidateKey[c], at = candidateIndex[c];
    int rank = 0;
#pragma unroll 4
    for (int j = 0; j < k; ++j) {
      const uint32_t other = candidateKey[j];
      rank += other < own || (other == own && j < c);
    }
    values[row * k + rank] = x[at];
    index[row * k + rank] = static_cast<int32_t>(at);
  }
}

}  // namespace

#define ANNEAL_TOPK(suffix, T)                                                                                                              \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                    \
      topK_##suffix(const T* x, T* values, int32_t* index, int32_t n, int32_t k, int32_t largest, int32_t staged, uint32_t* outside) {       \
    topK(x, values, index, n, k, largest, staged, outside);                                                                                 \
  }
#define ANNEAL_SORT(suffix, T)                                                                                                              \
  extern "C" __global__ void __launch_bounds__(kThreads) topK_keys_##suffix(const T* x, uint32_t* keys, int64_t n, int32_t largest) {         \
    const int64_t i = globalThread();                                                                                                       \
    if (i < n) keys[i] = keyOf(x[i], largest);                                                                                               \
  }                                                                                                                                         \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                    \
      topK_take_##suffix(const T* x, const uint32_t* from, T* values, int32_t* index, int64_t all, int32_t n, int32_t k) {                   \
    const int64_t e = globalThread();                                                                                                       \
    if (e >= all) return;                                                                                                                   \
    const int64_t first = e / k * n;                                                                                                        \
    const uint32_t at = from[first + e % k];                                                                                                \
    values[e] = x[at];                                                                                                                      \
    index[e] = static_cast<int32_t>(at - first);                                                                                            \
  }
#define ANNEAL_BOTH(suffix, T) ANNEAL_TOPK(suffix, T) ANNEAL_SORT(suffix, T)
ANNEAL_BOTH(f32, float) ANNEAL_BOTH(f16, f16) ANNEAL_BOTH(bf16, bf16) ANNEAL_BOTH(i32, int32_t) ANNEAL_BOTH(u8, uint8_t)

}  // namespace anneal::gpu
