// Products of f16 and bf16 matrices whose rows begin anywhere (gemm_mma.cuh: on 16 bytes). A line of a tile (a row of the matrix as it lies in memory)
// is read in whole aligned words of 16 bytes, two neighbouring lanes a sector, so that a block reads each sector of its lines once; chunks of 16
// bytes are cut from two neighbouring words, in registers, on the way to shared memory. Loads of a step are under way while an earlier one is multiplied.
#pragma once
#include "cuda/gemm_mma.cuh"

namespace anneal::gpu {

ANNEAL_FN uint4 loadGlobal(const char* from) {
  uint4 v;
  asm volatile("ld.global.v4.b32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(from) : "memory");
  return v;
}
ANNEAL_FN uint4 shuffled(const uint4& v, int lane) {
  return make_uint4(__shfl_sync(kWholeWarp, v.x, lane), __shfl_sync(kWholeWarp, v.y, lane), __shfl_sync(kWholeWarp, v.z, lane), __shfl_sync(kWholeWarp, v.w, lane));
}

/** Bytes [shift, shift + 16) of two neighbouring words; shift is even. */
ANNEAL_FN uint4 cut(const uint4& low, const uint4& high, int shift) {
  const bool eight = shift & 8, four = shift & 4;
  const uint32_t s[6] = {eight ? low.z : low.x, eight ? low.w : low.y, eight ? high.x : low.z, eight ? high.y : low.w, eight ? high.z : high.x,
                         eight ? high.w : high.y};
  uint32_t r[5];
#pragma unroll
  for (int i = 0; i < 5; ++i) r[i] = four ? s[i + 1] : s[i];
  const uint32_t bits = shift % 4 * 8;
  return make_uint4(__funnelshift_r(r[0], r[1], bits), __funnelshift_r(r[1], r[2], bits), __funnelshift_r(r[2], r[3], bits), __funnelshift_r(r[3], r[4], bits));
}

/**
 * The word `at` bytes behind `line` (which begins on 32), zeros from `end` bytes on, for words at the ends of a line, [begin, end). What lies beyond
 * an end is read along where it is `between` two lines; elsewhere it may be no memory at all.
 */
ANNEAL_FN uint4 loadEdge(const char* line, int at, int begin, int end, bool between) {
  uint4 v = make_uint4(0, 0, 0, 0);
  if (at >= end) return v;
  if (between || (at >= begin && at + 16 <= end)) {
    v = loadGlobal(line + at);
  } else {
#pragma unroll 1
    for (int i = at; i < at + 16; i += 2) {
      const uint32_t one = i >= begin && i < end ? *reinterpret_cast<const uint16_t*>(line + i) : 0;
      v = make_uint4(__funnelshift_r(v.x, v.y, 16), __funnelshift_r(v.y, v.z, 16), __funnelshift_r(v.z, v.w, 16), v.w >> 16 | one << 16);
    }
  }
  uint32_t* words = reinterpret_cast<uint32_t*>(&v);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int real = end - at - 4 * i;
    words[i] = real >= 4 ? words[i] : (real >= 2 ? words[i] & 0xffff : 0);
  }
  return v;
}

/**
 * One operand. As many neighbouring lanes as a line has chunks share a line: each loads a word, and gets from the lane before it the word that
 * its chunk begins in. The first of them lacks one word:
 *  along k, the one that the last of them had in the step before (lines go on from step to step, always two words ahead of whole chunks);
 *  along x, the line's first or its last, in whichever of its sectors only half is needed.
 * Which lane is first turns from line to line of a thread, so that each lane keeps one such word (`spare`).
 */
template <class T, Along along, int X, int threads>
struct RaggedOperand {
  static constexpr int kElements = X * kMmaStep, kChunks = kElements / 8 / threads;
  static constexpr int kPerLine = along == Along::k ? kMmaStep / 8 : X / 8;
  static constexpr int kApart = threads / kPerLine;  // lines between two of a thread's
  static constexpr int kAhead = along == Along::k ? 1 : 0;  // steps to begin before the first
  static_assert(kChunks <= kPerLine && kApart % 8 == 0 && 32 % kPerLine == 0);  // a thread's lines begin alike, up to half a sector
  using Places = Swizzle<kPerLine>;

  const char* line;  // the thread's first in step 0, down to a sector
  T* tiles;
  int64_t pitch;  // bytes from line to line
  int64_t count;  // along k: of bytes of a line, from `line` on; along x: of lines
  int width;      // along k: of lines; along x: of bytes of a line
  int offset;     // bytes from `line` to where the tile begins
  int whole;      // steps before this one (along x, from the second on) lie inside: their words are loaded unasked
  uint4 held[kChunks], spare;

  ANNEAL_FN static int lane() { return static_cast<int>(threadIdx.x) % kPerLine; }
  ANNEAL_FN static int own(int i) { return static_cast<int>(threadIdx.x) / kPerLine + i * kApart; }
  /** Which of its line's lanes this one is. */
  ANNEAL_FN static int place(int i) { return (lane() - i) & (kPerLine - 1); }

  ANNEAL_FN RaggedOperand(const MatrixSource<T, along>& m, int64_t x0, int64_t kBegin, T* tiles) : tiles(tiles), pitch(m.ld * 2), spare() {
    const int64_t xs = m.xs - x0 < X ? m.xs - x0 : X, ks = m.ks - kBegin;
    const char* begin = reinterpret_cast<const char*>(m.p) + (along == Along::k ? (x0 + own(0)) * pitch + kBegin * 2 : (kBegin + own(0)) * pitch + x0 * 2);
    offset = static_cast<int>(reinterpret_cast<uintptr_t>(begin) & 31);
    line = begin - offset;
    count = along == Along::k && ks > 0 ? ks * 2 + offset : ks;
    width = static_cast<int>(along == Along::k ? xs : xs * 2);
    whole = xs < X ? 0 : limited(along == Along::k ? (ks * 2 - 32) / (kMmaStep * 2) : (ks - 1) / kMmaStep);
  }
  ANNEAL_FN static int limited(int64_t n) { return static_cast<int>(n < 1 << 30 ? n : 1 << 30); }

  /** Offset of line i: lines lie a multiple of 16 bytes apart. */
  ANNEAL_FN int offsetOf(int i) const { return kApart * 2 % 32 ? offset ^ (static_cast<int>(pitch * kApart) * i & 16) : offset; }
  /** Whether a sector before and behind a line belongs to the tile's other lines. Lines may be short. */
  ANNEAL_FN bool between(int64_t index, int64_t lines) const { return index * pitch >= 32 && (lines - 1 - index) * pitch >= 32; }
  template <bool inside>
  ANNEAL_FN uint4 word(int i, int64_t step, int at) const {
    if constexpr (along == Along::k) {
      const char* from = line + i * kApart * pitch + step * (kMmaStep * 2);
      if constexpr (inside) return loadGlobal(from + at);
      const int before = step < 0 ? kMmaStep * 2 : 0, begin = before ? before + offset : 0;
      if (own(i) >= width || at < before) return make_uint4(0, 0, 0, 0);
      return loadEdge(from, at, begin, limited(count - step * (kMmaStep * 2)), between(own(i), width));
    } else {
      const int begin = offsetOf(i);
      const char* from = line + (step * kMmaStep + i * kApart) * pitch + offset - begin;
      if constexpr (inside) return loadGlobal(from + at);
      const int64_t index = step * kMmaStep + own(i);
      if (index >= count) return make_uint4(0, 0, 0, 0);
      return loadEdge(from, at, begin, begin + width, between(index, count));
    }
  }

  ANNEAL_FN void load(int64_t step) {
    if (step >= (along == Along::k ? 0 : 1) && step < whole) loadStep<true>(step);
    else loadStep<false>(step);
  }
  template <bool inside>
  ANNEAL_FN void loadStep(int64_t step) {
#pragma unroll
    for (int i = 0; i < kChunks; ++i) held[i] = word<inside>(i, step, 16 * place(i) + (along == Along::k ? 32 : 2 * (offsetOf(i) & 16)));
    if constexpr (along == Along::x) {
      const int i = lane(), begin = offsetOf(i);
      if (i < kChunks && begin) spare = word<inside>(i, step, begin & 16 ? 16 : 16 * kPerLine);
    }
  }

  /** What was loaded for a step, to its stage; along k the last chunk of lines that begin in a sector's first half belongs to the stage after. */
  ANNEAL_FN void store(int64_t step, int stage) {
    const int before = (static_cast<int>(threadIdx.x) & 31 & ~(kPerLine - 1)) | place(1);
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      const int at = place(i), half = offsetOf(i) >> 4;
      uint4 high = held[i], low = high;
      if (along == Along::k && at == kPerLine - 1) low = spare, spare = high;
      low = shuffled(low, before);
      if (along == Along::x && at == 0) (half ? low : high) = spare;
      const int chunk = along == Along::k ? at + 1 - half : (at - 1 + half) & (kPerLine - 1);
      const bool next = chunk == kPerLine;
      T* tile = tiles + (next ? stageAfter(stage) : stage) * kElements;
      const uint4 v = cut(low, high, offset & 15);
      if (step >= 0 || next) storeShared(tile + Places::at(own(i), next ? 0 : chunk), v);
    }
  }
};

template <class T, class Tile, Along alongA, Along alongB, int ends>
ANNEAL_FN void raggedGemm(const Gemm& g, const Task& t, const MatrixSource<T, alongA>& a, const MatrixSource<T, alongB>& b) {
  using Left = RaggedOperand<T, alongA, Tile::BM, Tile::kThreads>;
  using Right = RaggedOperand<T, alongB, Tile::BN, Tile::kThreads>;
  __shared__ __align__(128) unsigned char memory[Tile::kBytes];
  T* tiles = reinterpret_cast<T*>(memory);
  Left left(a, t.row, t.kBegin, tiles);
  Right right(b, t.column, t.kBegin, tiles + kMmaStages * Left::kElements);
  const Fragments<alongA, Left::kPerLine, true> fa(Tile::down(threadIdx.x >> 5));
  const Fragments<alongB, Right::kPerLine, false> fb(Tile::across(threadIdx.x >> 5));

  float sum[Tile::WM / 16][Tile::WN / 8][4] = {};
  const int64_t steps = (t.kEnd - t.kBegin + kMmaStep - 1) / kMmaStep;
  constexpr int kBefore = 2 + (Left::kAhead | Right::kAhead);
  int stage = (2 * kMmaStages - kBefore) % kMmaStages;
  // Rounds before step 0 load and store only: one loop is half the code.
#pragma unroll 1
  for (int64_t step = -kBefore; step < steps; ++step) {
    __syncthreads();  // everyone has stored this step, and nobody reads the stages that are filled next
    const int next = stageAfter(stage);
    if (step + 1 >= -Left::kAhead && step + 1 < steps) left.store(step + 1, next);
    if (step + 1 >= -Right::kAhead && step + 1 < steps) right.store(step + 1, next);
    if (step + 2 >= -Left::kAhead && step + 2 < steps) left.load(step + 2);
    if (step + 2 >= -Right::kAhead && step + 2 < steps) right.load(step + 2);
    if (step >= 0) multiply<T, Tile>(sum, fa, fb, left.tiles + stage * Left::kElements, right.tiles + stage * Right::kElements);
    stage = next;
  }
  __syncthreads();  // the tiles become scratch
  storeTile<T, Tile, ends>(g, t, memory, sum);
}

}  // namespace anneal::gpu
