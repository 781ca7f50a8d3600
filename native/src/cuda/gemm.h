// A matrix product as its kernels (native/cuda/gemm*.cuh) are told of it. Plain data: the launcher fills it in, the kernel gets it by value.
#pragma once
#include <cstdint>

namespace anneal {

/**
 * c[z] = finish(a[z] b[z]) for z in [0, batch). Rows of c are `ldc` elements apart. Cut along k into `splits` parts of `perSplit` each (a multiple
 * of the kernels' step), which meet in `partials` [split][batch][m][n] and are added in order by a kernel of their own.
 */
struct Gemm {
  int64_t m, n, k, batch, perSplit, splits;
  int64_t lda, ldb, ldc, strideA, strideB, strideC, strideBias;  // strides: from one z to the next, in elements
  const void *a, *b;
  void* c;
  const float* bias;  // [n], or null
  const void* extra;  // as c, added; or multiplied by, where `multiply`; or null
  float* partials;
  // What may be moved 16 bytes at a time (operands; the ragged kernels do not ask), or a pack of 16-bit elements or four f32 at a time
  // (c, bias, extra, partials).
  uint8_t alignedA, alignedB, alignedC, alignedPartials;
  uint8_t accumulate, relu, multiply;
  uint8_t wide;  // c (and extra) are f32 whatever the operands are
};

/**
 * What may happen to a sum before it is stored. A kernel is compiled with what its callers ask for and no more: what nobody can reach nobody can test.
 */
enum End : int { kEndBias = 1, kEndRelu = 2, kEndAdd = 4, kEndMultiply = 8, kEndAccumulate = 16, kEndWide = 32, kEndPartsOnly = 64 };
constexpr int kEndNone = 0;
constexpr int kEndAll = kEndBias | kEndRelu | kEndAdd | kEndMultiply | kEndAccumulate | kEndWide;  // of what a caller may ask for
constexpr int kEndNN = kEndMultiply | kEndAccumulate;  // gradients of a layer's input
constexpr int kEndNT = kEndBias | kEndRelu | kEndAdd;  // layers
constexpr int kEndTN = kEndAccumulate | kEndWide;      // gradients of weights

/**
 * Which element of an image [images, h, w, pitch] a place of the implicit matrix is: place (pixel, inner) with pixel = (image, row, column) of a grid
 * rows x columns and inner = (i, j, channel) of a window kh x kw x channels. Forward, it lies at row * stride + i * dilation - padding; turned (the
 * gradient of the input, whose "image" is the gradient of the output), at (row + padding - i * dilation) / stride where that divides.
 */
struct Window {
  int32_t h, w, pitch, channels, kh, kw, rows, columns;
  int32_t strideH, strideW, padH, padW, dilH, dilW;
};

struct Convolution {
  Gemm g;  // its batches are the groups
  Window w;
};

}  // namespace anneal
