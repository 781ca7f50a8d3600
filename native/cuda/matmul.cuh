// The tensor-core matrix products of one dtype: n and t say how each operand lies (t: its transpose is in memory); three sizes of tile; late and ragged
// where rows begin on 16 bytes, or anywhere (gemm_mma.cuh, gemm_ragged.cuh). With both transposed (rare) there is one kernel for all.
#pragma once
#include "cuda/gemm_ragged.cuh"

namespace anneal::gpu {

template <class T, class Tile, Along alongA, Along alongB, int ends, Rows rows>
ANNEAL_FN void product(const Gemm& g) {
  const Task t = taskOf<Tile::BM, Tile::BN>(g);
  const auto a = matrixOf<T, alongA>(g.a, t.z, g.strideA, g.lda, g.m, t.kEnd);
  const auto b = matrixOf<T, alongB>(g.b, t.z, g.strideB, g.ldb, g.n, t.kEnd);
  if constexpr (rows == Rows::any) raggedGemm<T, Tile, alongA, alongB, ends>(g, t, a, b);
  else mmaGemm<T, Tile, alongA, alongB, ends, rows>(g, t, a, b);
}

}  // namespace anneal::gpu

#define ANNEAL_TILE(layout, alongA, alongB, ends, size, Tile, rows, T)                                                        \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) matmul_##layout##_##size##_##T(const __grid_constant__ Gemm g) { \
    product<T, Tile, Along::alongA, Along::alongB, ends, Rows::rows>(g);                                                      \
  }
#define ANNEAL_SIZES(layout, alongA, alongB, ends, Middle, Small, rows, T) \
  ANNEAL_TILE(layout, alongA, alongB, ends, big, BigTile, rows, T)         \
  ANNEAL_TILE(layout, alongA, alongB, ends, middle, Middle, rows, T)       \
  ANNEAL_TILE(layout, alongA, alongB, ends, small, Small, rows, T)
#define ANNEAL_MATMULS(T)                                                          \
  ANNEAL_SIZES(nn, k, x, kEndNN, MiddleTile, SmallTile, whole, T)                  \
  ANNEAL_SIZES(nt, k, k, kEndNT, MiddleTile, SmallTile, whole, T)                  \
  ANNEAL_SIZES(tn, x, x, kEndTN, MiddleTile, SmallTile, whole, T)                  \
  ANNEAL_SIZES(nn_late, k, x, kEndNN, MiddleTile, SmallTile, late, T)              \
  ANNEAL_SIZES(nt_late, k, k, kEndNT, MiddleTile, SmallTile, late, T)              \
  ANNEAL_SIZES(nn_ragged, k, x, kEndNN, MiddleTile, RaggedSmallTile, any, T)       \
  ANNEAL_SIZES(nt_ragged, k, k, kEndNT, MiddleTile, RaggedSmallTile, any, T)       \
  ANNEAL_SIZES(tn_ragged, x, x, kEndTN, RaggedMiddleTile, RaggedSmallTile, any, T) \
  ANNEAL_TILE(tt_ragged, x, k, kEndNone, small, RaggedSmallTile, any, T)
