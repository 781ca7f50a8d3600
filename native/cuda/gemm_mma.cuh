// Matrix products of f16 and bf16 on tensor cores, sums in f32. A block makes BM x BN in steps of 32 along k; each warp WM x WN of it. Three steps'
// operands are in shared memory: one being multiplied, two on their way by cp.async. Rows that do not begin on 16 bytes come element by element,
// through registers; everything else is the same.
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
};
using BigTile = MmaTile<128, 128, 64, 64, 2>;
using MiddleTile = MmaTile<128, 64, 64, 32, 3>;
using SmallTile = MmaTile<64, 64, 32, 32, 4>;

/** One operand: from memory to shared memory ([x][k] or [k][x], as it lies), and from there to fragments. */
template <class T, class Source, Along along, int X, int threads>
struct MmaOperand {
  static constexpr int kElements = X * kMmaStep, kChunks = kElements / 8 / threads;
  static constexpr int kPerLine = along == Along::k ? kMmaStep / 8 : X / 8;
  static constexpr int kOwnX = along == Along::k ? kChunks : 1, kOwnK = along == Along::k ? 1 : kChunks;
  static_assert(threads % kPerLine == 0);  // so that a thread's chunks stand in one column
  using Places = Swizzle<kPerLine>;

  const Source& source;
  bool vector;
  int64_t x0;
  T* tiles;  // kMmaStages of them, kElements apart
  typename Source::X xs[kOwnX];

  ANNEAL_FN static int line(int i) { return static_cast<int>(threadIdx.x) / kPerLine + i * (threads / kPerLine); }
  ANNEAL_FN static int chunk() { return static_cast<int>(threadIdx.x) % kPerLine; }

  ANNEAL_FN MmaOperand(const Source& source, bool vector, int64_t x0, T* tiles) : source(source), vector(vector), x0(x0), tiles(tiles) {
#pragma unroll
    for (int i = 0; i < kOwnX; ++i) xs[i] = source.atX(x0 + (along == Along::k ? line(i) : chunk() * 8));
  }

  ANNEAL_FN void fetch(int stage, int64_t k0) const {
    T* tile = tiles + stage * kElements;
    if (!vector) return gather(tile, k0);
    typename Source::K k = source.atK(k0 + (along == Along::k ? chunk() * 8 : line(0)));
#pragma unroll
    for (int i = 0; i < kChunks; ++i) {
      if (along == Along::x && i > 0) k = source.atK(k0 + line(i));
      const T* p = source.find(xs[along == Along::k ? i : 0], k);
      copyAsync(tile + Places::at(line(i), chunk()), p ? p : source.p, p != nullptr);
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
template <class Tile, class R, int N>
ANNEAL_FN void storeStrip(const Gemm& g, const Task& t, const float* scratch, int64_t row0, int64_t column0) {
  constexpr int kLanes = Tile::WN / N, kRows = 32 / kLanes;  // of a row; at a time
  const int lane = threadIdx.x & 31, column = lane % kLanes * N;
  // A lane stays in its columns: it reads their bias once.
  float bias[N];
#pragma unroll
  for (int i = 0; i < N; ++i) bias[i] = g.bias && !g.partials && column0 + column + i < g.n ? g.bias[t.z * g.strideBias + column0 + column + i] : 0.f;
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
#pragma unroll
    for (int i = 0; i < N; ++i) y[i] += bias[i];
    storeSums<R, N, false>(g, t, y, row0 + row, column0 + column);
  }
}

/** The same where c's rows do not begin on 16 bytes: neighbours to neighbouring lanes. */
template <class Tile, class R>
ANNEAL_FN void storeRagged(const Gemm& g, const Task& t, const float* scratch, int64_t row0, int64_t column0) {
#pragma unroll 1
  for (int i = threadIdx.x & 31; i < Tile::kOutRows * Tile::WN; i += 32) {
    float y[1] = {scratch[i / Tile::WN * Tile::kOutLd + i % Tile::WN]};
    const int64_t row = row0 + i / Tile::WN, column = column0 + i % Tile::WN;
    if (row >= g.m || column >= g.n) continue;
    if (g.partials) *partialAt(g, t, row, column) = y[0];
    else static_cast<R*>(g.c)[t.z * g.strideC + row * g.ldc + column] = narrow<R>(finishOne<R>(g, y[0], t.z, row * g.ldc + column, column));
  }
}

template <class T, class Tile, Along alongA, Along alongB, class A, class B>
ANNEAL_FN void mmaGemm(const Gemm& g, const Task& t, const A& a, const B& b) {
  using Left = MmaOperand<T, A, alongA, Tile::BM, Tile::kThreads>;
  using Right = MmaOperand<T, B, alongB, Tile::BN, Tile::kThreads>;
  __shared__ __align__(128) unsigned char memory[Tile::kBytes];
  T* tiles = reinterpret_cast<T*>(memory);
  const Left left(a, g.alignedA != 0, t.row, tiles);
  const Right right(b, g.alignedB != 0, t.column, tiles + kMmaStages * Left::kElements);
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  const int down = warp / Tile::kWarpsAcross * Tile::WM, across = warp % Tile::kWarpsAcross * Tile::WN;
  const Fragments<alongA, Left::kPerLine, true> fa(down);
  const Fragments<alongB, Right::kPerLine, false> fb(across);

  float sum[Tile::WM / 16][Tile::WN / 8][4] = {};
  const int64_t steps = (t.kEnd - t.kBegin + kMmaStep - 1) / kMmaStep;
  const auto fetch = [&](int64_t step, int stage) {
    if (step < steps) {
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
    copyWait<kMmaStages - 2>();
    __syncthreads();  // everyone's copies of this step have arrived, and nobody reads the stage that is filled next
    fetch(step + kMmaStages - 1, stage == 0 ? kMmaStages - 1 : stage - 1);
    const T *ta = left.tiles + stage * Left::kElements, *tb = right.tiles + stage * Right::kElements;
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
    stage = stage == kMmaStages - 1 ? 0 : stage + 1;
  }
  copyWait<0>();
  __syncthreads();  // the tiles become scratch

  float* scratch = reinterpret_cast<float*>(memory) + warp * Tile::kOutRows * Tile::kOutLd;
  const bool ragged = g.partials ? !g.alignedPartials : !g.alignedC;
#pragma unroll
  for (int i = 0; i < Tile::WM / 16; i += Tile::kOutRows / 16) {
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
    const int64_t row = t.row + down + i * 16, column = t.column + across;
    if (ragged) g.wide ? storeRagged<Tile, float>(g, t, scratch, row, column) : storeRagged<Tile, T>(g, t, scratch, row, column);
    else if (g.wide || g.partials) storeStrip<Tile, float, 4>(g, t, scratch, row, column);
    else storeStrip<Tile, T, 8>(g, t, scratch, row, column);
    __syncwarp();
  }
}

}  // namespace anneal::gpu
