// Convolutions as matrix products that never make their matrix: activations [n, h, w, c] are read where they lie, weights come in the order that
// the sums run in (conv_order.cu). Groups are the product's batches.
#pragma once
#include "cuda/gemm_mma.cuh"
#include "cuda/gemm_simt.cuh"

namespace anneal::gpu {

enum class Pass { forward, gradInput, gradWeight };
/** Gradients of weights always go through parts: the sums' order is not the weights'. */
template <Pass pass> constexpr int kEndsOf = pass == Pass::forward ? kEndBias | kEndRelu : pass == Pass::gradInput ? kEndNone : kEndPartsOnly;

/** go(a, alongA, b, alongB): both operands of a pass. Forward: pixels of x by weights [o][kh][kw][c]; gradInput: pixels of g by weights [c][kh][kw][o]. */
template <class T, bool kTurned>
ANNEAL_FN PixelRows<T, kTurned> pixelsOf(const Convolution& c, const Task& t) {
  return {{static_cast<const T*>(c.g.a) + t.z * c.g.strideA, c.w, c.g.m, t.kEnd}};
}
template <class T>
ANNEAL_FN MatrixSource<T, Along::k> weightsOf(const Convolution& c, const Task& t) {
  return matrixOf<T, Along::k>(c.g.b, t.z, c.g.strideB, c.g.ldb, c.g.n, t.kEnd);
}
/** gradWeight: g turned, by x. */
template <class T>
ANNEAL_FN MatrixSource<T, Along::x> gradientsOf(const Convolution& c, const Task& t) {
  return matrixOf<T, Along::x>(c.g.a, t.z, c.g.strideA, c.g.lda, c.g.m, t.kEnd);
}
template <class T>
ANNEAL_FN PlaceColumns<T> placesOf(const Convolution& c, const Task& t) {
  return {{static_cast<const T*>(c.g.b) + t.z * c.g.strideB, c.w, t.kEnd, c.g.n}};
}

template <class T, class Tile, Pass pass>
ANNEAL_FN void convolveMma(const Convolution& c) {
  const Task t = taskOf<Tile::BM, Tile::BN>(c.g);
  if constexpr (pass == Pass::gradWeight) mmaGemm<T, Tile, Along::x, Along::x, kEndsOf<pass>, Rows::any>(c.g, t, gradientsOf<T>(c, t), placesOf<T>(c, t));
  else mmaGemm<T, Tile, Along::k, Along::k, kEndsOf<pass>, Rows::any>(c.g, t, pixelsOf<T, pass == Pass::gradInput>(c, t), weightsOf<T>(c, t));
}

template <int BM, int BN, Pass pass>
ANNEAL_FN void convolveSimt(const Convolution& c) {
  const Task t = taskOf<BM, BN>(c.g);
  if constexpr (pass == Pass::gradWeight) simtGemm<BM, BN, Along::x, Along::x, kEndsOf<pass>>(c.g, t, gradientsOf<float>(c, t), placesOf<float>(c, t));
  else simtGemm<BM, BN, Along::k, Along::k, kEndsOf<pass>>(c.g, t, pixelsOf<float, pass == Pass::gradInput>(c, t), weightsOf<float>(c, t));
}

}  // namespace anneal::gpu

#define ANNEAL_CONV_MMA(op, pass, size, Tile, T)                                                                                   \
  extern "C" __global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks) op##_##size##_##T(const __grid_constant__ Convolution c) {           \
    convolveMma<T, Tile, Pass::pass>(c);                                                                                           \
  }
#define ANNEAL_CONV_SIMT(op, pass, size, BM, BN)                                                                                   \
  extern "C" __global__ void __launch_bounds__((kSimtThreads<BM, BN>), (kSimtBlocks<BM, BN>)) op##_##size##_f32(const __grid_constant__ Convolution c) {   \
    convolveSimt<BM, BN, Pass::pass>(c);                                                                                           \
  }
#define ANNEAL_CONV_SIZES(op, pass, T)               \
  ANNEAL_CONV_MMA(op, pass, big, BigTile, T)         \
  ANNEAL_CONV_MMA(op, pass, middle, MiddleTile, T)   \
  ANNEAL_CONV_MMA(op, pass, small, SmallTile, T)
#define ANNEAL_CONVS(T)                                     \
  ANNEAL_CONV_SIZES(conv2d, forward, T)                     \
  ANNEAL_CONV_SIZES(conv2d_gradInput, gradInput, T)         \
  ANNEAL_CONV_SIZES(conv2d_gradWeight, gradWeight, T)
