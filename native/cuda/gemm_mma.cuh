// Matrix products of f16 and bf16 on tensor cores, sums in f32. A block makes BM x BN in steps of 32 along k; each warp WM x WN of it. Three steps'
// operands are in shared memory: one being multiplied, two on their way by cp.async. Matrices whose rows do not begin on 16 bytes have a loader of
// their own (gemm_ragged.cuh); a convolution's pixels that do not come element by element. Everything else is the same.
#pragma once
#include "cuda/gemm.cuh"

namespace anneal::gpu {

constexpr int kMmaStep = 32, kMmaStages = 3;

template <int BM_, int BN_, int WM_, int WN_, int blocks>
struct MmaTile {
  static constexpr int kBlocks = blocks;  // on a processor at a time; with fewer registers than that leaves, ptxas spills
  static constexpr int BM = BM_, BN = BN_, WM = WM_, WN = WN_;
  static constexpr int kWarpsAcross = BN / WN, kThreads = BM / WM * kWarpsAcross * 32;
  static constexpr int kElements = (BM + BN) * kMmaStep * kMmaStages;
  static constexpr int kOutLd = WN + 8;  // rows of the epilogue's scratch: 8 banks apart
  static constexpr int kOutRows = 32;  // at a time: fewer passes are less code
  static constexpr int kOutFloats = kOutRows * kOutLd * (kThreads / 32);
  static constexpr int kBytes = kElements * 2 > kOutFloats * 4 ? kElements * 2 : kOutFloats * 4;
  /** Where a warp's part begins. */
  ANNEAL_FN static int down(int warp) { return warp / kWarpsAcross * WM; }
  ANNEAL_FN static int across(int warp) { return warp % kWarpsAcross * WN; }
};
using BigTile = MmaTile<128, 128, 64, 64, 2>;
using MiddleTile = MmaTile<128, 64, 64, 32, 3>;
using SmallTile = MmaTile<64, 64, 32, 32, 4>;
// Where registers hold words on their way (gemm_ragged.cuh).
using RaggedMiddleTile = MmaTile<128, 64, 64, 32, 2>;
using RaggedSmallTile = MmaTile<64, 64, 32, 32, 3>;

ANNEAL_FN int stageAfter(int stage) { return stage == kMmaStages - 1 ? 0 : stage + 1; }
ANNEAL_FN int stageBefore(int stage) { return stage == 0 ? kMmaStages - 1 : stage - 1; }

/** The 16 bytes from (x, k) on, or zeros. */
template <class T, class Source>
ANNEAL_FN void copyChunk(T* to, const Source& source, const typename Source::X& x, const typename Source::K& k) {
  const T* p = source.find(x, k);
  copyAsync(to, p ? p : source.p, p != nullptr);
}
/** The same without a branch. */
template <class T, Along along>
ANNEAL_FN void copyChunk(T* to, const MatrixSource<T, along>& source, int64_t x, int64_t k) {
  const bool real = (x | k) >= 0;
  copyAsync(to, source.p + (real ? x + k : 0), real);
}

/**
 * How an operand's rows begin. whole: on a sector of memory. late: on 16 bytes; a matrix's rows along k are then read from their sector's begin on, and a
 * step ends with the first chunk of the next one's fetch, so that sectors are read once. any: a convolution's, if need be element by element.
 */
enum class Rows { whole, late, any };

/** One operand: from memory to shared memory ([x][k] or [k][x], as it lies). */
template <class T, class Source, Along along, int X, int threads, Rows rows>
struct MmaOperand {
  static constexpr int kElements = X * kMmaStep, kChunks = kElements / 8 / threads;
  static constexpr int kPerLine = along == Along::k ? kMmaStep / 8 : X / 8;
  static constexpr int kOwnX = along == Along::k ? kChunks : 1, kOwnK = along == Along::k ? 1 : kChunks;
  static_assert(threads % kPerLine == 0);  // so that a thread's chunks stand in one column
  static_assert(threads / kPerLine % 16 == 0 || along == Along::x);  // and begin alike
  using Places = Swizzle<kPerLine>;

  const Source& source;
  bool vector;
  int behind;  // chunks, of Rows::late
  int64_t x0;
  T* tiles;  // kMmaStages of them, kElements apart
  typename Source::X xs[kOwnX];

  ANNEAL_FN static int line(int i) { return static_cast<int>(threadIdx.x) / kPerLine + i * (threads / kPerLine); }
  ANNEAL_FN static int chunk() { return static_cast<int>(threadIdx.x) % kPerLine; }

  ANNEAL_FN MmaOperand(const Source& source, bool vector, int64_t x0, T* tiles) : source(source), vector(vector), behind(0), x0(x0), tiles(tiles) {
#pragma unroll
    for (int i = 0; i < kOwnX; ++i) xs[i] = source.atX(x0 + (along == Along::k ? line(i) : chunk() * 8));
    if constexpr (along == Along::k && rows == Rows::late) behind = reinterpret_cast<uintptr_t>(source.p + (x0 + line(0)) * source.ld) >> 4 & 1;
  }

  ANNEAL_FN void fetch(int stage, int64_t k0) const {
    T* tile = tiles + stage * kElements;
    if (rows == Rows::any && !vector) return gather(tile, k0);
    int to = chunk();
    if constexpr (along == Along::k && rows == Rows::late) {
      to = (chunk() - behind) & (kPerLine - 1);
      if (to > chunk()) tile = tiles + stageBefore(stage) * kElements;
    }
    typename Source::K k = source.atK(k0 + (along == Along::k ? (chunk() - behind) * 8 : line(0)));
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      if (along == Along::x && i > 0) k = source.atK(k0 + line(i));
      copyChunk(tile + Places::at(line(i), to), source, xs[along == Along::k ? i : 0], k);
    }
  }
  /** Element by element, neighbours to neighbouring threads: a warp still reads whole sectors. */
  ANNEAL_FN void gather(T* tile, int64_t k0) const {
    constexpr int kLine = kPerLine * 8;
    static_assert(threads % kLine == 0);
    const int at = static_cast<int>(threadIdx.x) % kLine, first = static_cast<int>(threadIdx.x) / kLine;
#pragma unroll 4
    for (int row = first; row < kElements / kLine; row += threads / kLine) {
      const T* p = along == Along::k ? source.find(source.atX(x0 + row), source.atK(k0 + at)) : source.find(source.atX(x0 + at), source.atK(k0 + row));
      tile[Places::at(row, at / 8) + at % 8] = p ? *p : narrow<T>(0.f);
    }
  }
};

/** The warp's sums through its scratch in shared memory to c, a few rows at a time, so that rows are stored whole. N neighbours to a lane. */
template <class Tile, class R, int N, int ends>
ANNEAL_FN void storeStrip(const Gemm& g, const Task& t, const float* scratch, int64_t row0, int64_t column0) {
  constexpr int kLanes = Tile::WN / N, kRows = 32 / kLanes;  // of a row; at a time
  const int lane = threadIdx.x & 31, column = lane % kLanes * N;
  // A lane stays in its columns: it reads their bias once.
  float bias[N] = {};
#pragma unroll
  for (int i = 0; i < N && (ends & kEndBias); ++i)
    bias[i] = g.bias && !g.partials && column0 + column + i < g.n ? g.bias[t.z * g.strideBias + column0 + column + i] : 0.f;
#pragma unroll 1
  for (int row = lane / kLanes; row < Tile::kOutRows; row += kRows) {
    const float* from = scratch + row * Tile::kOutLd + column;
    float y[N];
    if constexpr (N == 4) {
      *reinterpret_cast<float4*>(y) = *reinterpret_cast<const float4*>(from);
    } else {
      // Every other four lanes read their halves the other way round: 8 lanes meet all banks.
      const int first = lane & 4;
      const float4 a = *reinterpret_cast<const float4*>(from + first), b = *reinterpret_cast<const float4*>(from + (first ^ 4));
      *reinterpret_cast<float4*>(y) = first ? b : a;
      *reinterpret_cast<float4*>(y + 4) = first ? a : b;
    }
    if constexpr ((ends & kEndBias) != 0) {
#pragma unroll
      for (int i = 0; i < N; ++i) y[i] += bias[i];
    }
    if (row0 + row < g.m && column0 + column < g.n) storePack<R, N, ends & ~kEndBias>(g, t, y, row0 + row, column0 + column);
  }
}

/** The same where c's rows do not begin on 16 bytes: neighbours to neighbouring lanes, from sector to sector, so that each is written once. */
template <class Tile, class R, int ends>
ANNEAL_FN void storeRagged(const Gemm& g, const Task& t, const float* scratch, int64_t row0, int64_t column0) {
  constexpr int kSector = 32 / sizeof(R);
  const int lane = threadIdx.x & 31;
  const int64_t rows = g.m - row0 < Tile::kOutRows ? g.m - row0 : Tile::kOutRows, columns = g.n - column0 < Tile::WN ? g.n - column0 : Tile::WN;
  const bool parts = sizeof(R) == 4 && ((ends & kEndPartsOnly) || g.partials);
#pragma unroll 1
  for (int i = 0; i < rows; ++i) {
    const int64_t row = row0 + i;
    R* to = parts ? reinterpret_cast<R*>(partialAt(g, t, row, column0)) : static_cast<R*>(g.c) + t.z * g.strideC + row * g.ldc + column0;
    const int before = static_cast<int>(reinterpret_cast<uintptr_t>(to) / sizeof(R) % kSector);
#pragma unroll 1
    for (int j = lane - before; j < columns; j += 32) {
      if (j < 0) continue;
      const float y = scratch[i * Tile::kOutLd + j];
      to[j] = parts ? narrow<R>(y) : narrow<R>(finishOne<R, ends>(g, y, t.z, row * g.ldc + column0 + j, column0 + j));
    }
  }
}

/** All of a block's sums to c. `memory`: the tiles, which nobody reads any more. */
template <class T, class Tile, int ends>
ANNEAL_FN void storeTile(const Gemm& g, const Task& t, unsigned char* memory, const float (&sum)[Tile::WM / 16][Tile::WN / 8][4]) {
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  float* scratch = reinterpret_cast<float*>(memory) + warp * Tile::kOutRows * Tile::kOutLd;
  const bool parts = (ends & kEndPartsOnly) || g.partials, ragged = parts ? !g.alignedPartials : !g.alignedC;
  const bool floats = parts || ((ends & kEndWide) && g.wide);
  constexpr int kFloatEnds = ends & kEndWide ? ends : kEndPartsOnly;
#pragma unroll
  for (int i = 0; i < Tile::WM / 16; i += Tile::kOutRows / 16) {
    if (i) __syncwarp();  // the rows before have been read
#pragma unroll
    for (int h = 0; h < Tile::kOutRows / 16; ++h)
#pragma unroll
      for (int j = 0; j < Tile::WN / 8; ++j) {
        const float(&s)[4] = sum[i + h][j];
        float* to = scratch + (h * 16 + (lane >> 2)) * Tile::kOutLd + j * 8 + (lane & 3) * 2;
        storeShared(to, s[0], s[1]);
        storeShared(to + 8 * Tile::kOutLd, s[2], s[3]);
      }
    __syncwarp();
    const int64_t row = t.row + Tile::down(warp) + i * 16, column = t.column + Tile::across(warp);
    if (ragged && floats) storeRagged<Tile, float, kFloatEnds>(g, t, scratch, row, column);
    else if (ragged) storeRagged<Tile, T, ends>(g, t, scratch, row, column);
    else if (floats) storeStrip<Tile, float, 4, kFloatEnds>(g, t, scratch, row, column);
    else storeStrip<Tile, T, 8, ends>(g, t, scratch, row, column);
  }
}

/** A warp's part of one step: its fragments of both tiles, and their products added to its sums. */
template <class T, class Tile, class A, class B>
ANNEAL_FN void multiply(float (&sum)[Tile::WM / 16][Tile::WN / 8][4], const A& fa, const B& fb, const T* ta, const T* tb) {
#pragma unroll
  for (int k = 0; k < kMmaStep; k += 16) {
    uint32_t x[Tile::WM / 16][4], y[Tile::WN / 16][4];
#pragma unroll
    for (int i = 0; i < Tile::WM / 16; ++i) fa.load(x[i], ta, i * 16, k);
#pragma unroll
    for (int j = 0; j < Tile::WN / 16; ++j) fb.load(y[j], tb, j * 16, k);
#pragma unroll
    for (int i = 0; i < Tile::WM / 16; ++i)
#pragma unroll
      for (int j = 0; j < Tile::WN / 8; ++j) mma<T>(sum[i][j], x[i], &y[j / 2][j % 2 * 2]);
  }
}


template <class T, class Tile, Along alongA, Along alongB, int ends, Rows rows, class A, class B>
ANNEAL_FN void mmaGemm(const Gemm& g, const Task& t, const A& a, const B& b) {
  using Left = MmaOperand<T, A, alongA, Tile::BM, Tile::kThreads, rows>;
  using Right = MmaOperand<T, B, alongB, Tile::BN, Tile::kThreads, rows>;
  __shared__ __align__(128) unsigned char memory[Tile::kBytes];
  T* tiles = reinterpret_cast<T*>(memory);
  const Left left(a, g.alignedA != 0, t.row, tiles);
  const Right right(b, g.alignedB != 0, t.column, tiles + kMmaStages * Left::kElements);
  const Fragments<alongA, Left::kPerLine, true> fa(Tile::down(threadIdx.x >> 5));
  const Fragments<alongB, Right::kPerLine, false> fb(Tile::across(threadIdx.x >> 5));

  float sum[Tile::WM / 16][Tile::WN / 8][4] = {};
  const int64_t steps = (t.kEnd - t.kBegin + kMmaStep - 1) / kMmaStep;
  constexpr int kLate = rows == Rows::late;  // fetches that a step waits for beyond its own
  const auto fetch = [&](int64_t step, int stage) {
    if (step < steps + kLate) {
      left.fetch(stage, t.kBegin + step * kMmaStep);
      right.fetch(stage, t.kBegin + step * kMmaStep);
    }
    copyCommit();
  };
#pragma unroll
  for (int s = 0; s < kMmaStages - 1; ++s) fetch(s, s);
  int stage = 0;
#pragma unroll 1
  for (int64_t step = 0; step < steps; ++step) {
    copyWait<kMmaStages - 2 - kLate>();
    __syncthreads();  // everyone's copies of this step have arrived, and nobody reads the stage that is filled next
    fetch(step + kMmaStages - 1, stageBefore(stage));
    multiply<T, Tile>(sum, fa, fb, left.tiles + stage * Left::kElements, right.tiles + stage * Right::kElements);
    stage = stageAfter(stage);
  }
  if constexpr (kLate) copyWait<0>();  // where there was no step, one was fetched
  __syncthreads();  // the tiles become scratch
  storeTile<T, Tile, ends>(g, t, memory, sum);
}

}  // namespace anneal::gpu
