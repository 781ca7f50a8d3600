// The tensor-core matrix products of one dtype: n and t say how each operand lies (t: its transpose is in memory); three sizes of tile. With both
// transposed (rare) there is one size.
#pragma once
#include "cuda/gemm_mma.cuh"

namespace anneal::gpu {

template <class T, class Tile, Along alongA, Along alongB>
ANNEAL_FN void product(const Gemm& g) {
  const Task t = taskOf<Tile::BM, Tile::BN>(g);
  mmaGemm<T, Tile, alongA, alongB>(g, t, matrixOf<T, alongA>(g.a, t.z, g.strideA, g.lda, g.m, t.kEnd),
                                   matrixOf<T, alongB>(g.b, t.z, g.strideB, g.ldb, g.n, t.kEnd));
}

}  // namespace anneal::gpu

#define ANNEAL_TILE(layout, alongA, alongB, size, Tile, T)                                                                    \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) matmul_##layout##_##size##_##T(const __grid_constant__ Gemm g) { \
    product<T, Tile, Along::alongA, Along::alongB>(g);                                                                        \
  }
#define ANNEAL_SIZES(layout, alongA, alongB, T)              \
  ANNEAL_TILE(layout, alongA, alongB, big, BigTile, T)       \
  ANNEAL_TILE(layout, alongA, alongB, middle, MiddleTile, T) \
  ANNEAL_TILE(layout, alongA, alongB, small, SmallTile, T)
#define ANNEAL_MATMULS(T)     \
  ANNEAL_SIZES(nn, k, x, T)   \
  ANNEAL_SIZES(nt, k, k, T)   \
  ANNEAL_SIZES(tn, x, x, T)   \
  ANNEAL_TILE(tt, x, k, small, SmallTile, T)
