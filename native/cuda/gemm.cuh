// What every matrix product and convolution is made of: where operands come from, and what happens to a sum before it is stored.
//
// A source answers where element (x, k) of an operand lies, x being a row of a or a column of b. Half of the question is asked once per tile (x or
// k, whichever stays), the other half at each step. Null means zero: outside of the matrix, or in a convolution's padding.
#pragma once
#include "cuda/gemm.h"
#include "cuda/mma.cuh"

namespace anneal::gpu {

/** A matrix in memory. */
template <class T, Along along>
struct MatrixSource {
  const T* p;
  int64_t ld, xs, ks;  // extents
  using X = int64_t;
  using K = int64_t;
  ANNEAL_FN X atX(int64_t x) const { return x < xs ? (along == Along::k ? x * ld : x) : -1; }
  ANNEAL_FN K atK(int64_t k) const { return k < ks ? (along == Along::k ? k : k * ld) : -1; }
  ANNEAL_FN const T* find(X x, K k) const { return (x | k) < 0 ? nullptr : p + x + k; }
};

struct Pixel {
  int64_t image;  // elements before it; -1: no such pixel
  int32_t row, column;
};
struct Inner {
  int32_t i, j, channel;  // i and j dilated; channel -1: no such place
};

/** The implicit matrix of a convolution: pixels by places of the window. */
template <class T, bool kTurned>
struct WindowSource {
  const T* p;
  Window w;
  int64_t pixels, inners;  // extents
  ANNEAL_FN Pixel pixel(int64_t at) const {
    if (at >= pixels) return {-1, 0, 0};
    const uint32_t index = static_cast<uint32_t>(at), columns = w.columns, rows = w.rows;
    const int32_t column = index % columns, row = index / columns % rows;
    const int64_t image = index / columns / rows;
    const int64_t before = image * w.h * w.w * w.pitch;
    return kTurned ? Pixel{before, row + w.padH, column + w.padW} : Pixel{before, row * w.strideH - w.padH, column * w.strideW - w.padW};
  }
  ANNEAL_FN Inner inner(int64_t at) const {
    if (at >= inners) return {0, 0, -1};
    const uint32_t index = static_cast<uint32_t>(at), channels = w.channels, kw = w.kw;
    const uint32_t place = index / channels;
    return {static_cast<int32_t>(place / kw) * w.dilH, static_cast<int32_t>(place % kw) * w.dilW, static_cast<int32_t>(index % channels)};
  }
  ANNEAL_FN const T* element(const Pixel& at, const Inner& in) const {
    if (at.image < 0 || in.channel < 0) return nullptr;
    int32_t row = kTurned ? at.row - in.i : at.row + in.i, column = kTurned ? at.column - in.j : at.column + in.j;
    if ((row | column) < 0) return nullptr;
    if (kTurned && (w.strideH > 1 || w.strideW > 1)) {
      if (row % w.strideH || column % w.strideW) return nullptr;
      row /= w.strideH;
      column /= w.strideW;
    }
    if (row >= w.h || column >= w.w) return nullptr;
    return p + at.image + (static_cast<int64_t>(row) * w.w + column) * w.pitch + in.channel;
  }
};

/** Pixels are rows of a: forward, and the gradient of the input. */
template <class T, bool kTurned>
struct PixelRows : WindowSource<T, kTurned> {
  using X = Pixel;
  using K = Inner;
  ANNEAL_FN X atX(int64_t x) const { return this->pixel(x); }
  ANNEAL_FN K atK(int64_t k) const { return this->inner(k); }
  ANNEAL_FN const T* find(const X& x, const K& k) const { return this->element(x, k); }
};

/** Places of the window are columns of b, pixels are summed over: the gradient of the weights. */
template <class T>
struct PlaceColumns : WindowSource<T, false> {
  using X = Inner;
  using K = Pixel;
  ANNEAL_FN X atX(int64_t x) const { return this->inner(x); }
  ANNEAL_FN K atK(int64_t k) const { return this->pixel(k); }
  ANNEAL_FN const T* find(const X& x, const K& k) const { return this->element(k, x); }
};

/** Which tile of which product, and which part of its k, this block makes. */
struct Task {
  int64_t row, column, z, kBegin, kEnd;
  int64_t split;
};

/** Blocks that run together work on neighbouring tiles (groups of 8 rows of tiles), so that operands are met again in the L2 cache. */
template <int BM, int BN>
ANNEAL_FN Task taskOf(const Gemm& g) {
  constexpr uint32_t kGroup = 8;
  const uint32_t down = static_cast<uint32_t>((g.m + BM - 1) / BM), across = static_cast<uint32_t>((g.n + BN - 1) / BN);
  const uint32_t perGroup = kGroup * across, group = blockIdx.x / perGroup, first = group * kGroup;
  const uint32_t height = down - first < kGroup ? down - first : kGroup, inside = blockIdx.x % perGroup;
  Task t;
  t.row = static_cast<int64_t>(first + inside % height) * BM;
  t.column = static_cast<int64_t>(inside / height) * BN;
  t.split = blockIdx.z;
  t.z = blockIdx.y;
  t.kBegin = t.split * g.perSplit;
  t.kEnd = t.kBegin + g.perSplit < g.k ? t.kBegin + g.perSplit : g.k;
  return t;
}

/** The operand's matrix of batch z, ending where this block's part of k ends. */
template <class T, Along along>
ANNEAL_FN MatrixSource<T, along> matrixOf(const void* p, int64_t z, int64_t stride, int64_t ld, int64_t xs, int64_t kEnd) {
  return {static_cast<const T*>(p) + z * stride, ld, xs, kEnd};
}

// ---- epilogue ---------------------------------------------------------------------------------------------------------------

template <int ends>
ANNEAL_FN float withExtra(const Gemm& g, float y, float e) {
  if constexpr (!(ends & kEndMultiply)) return y + e;
  else if constexpr (!(ends & kEndAdd)) return y * e;
  else return g.multiply ? y * e : y + e;
}

/** In the CPU's order: what stands there, bias, relu (NaN passes), residual or multiplier. `r`: row * ldc + column of batch z. */
template <class R, int ends>
ANNEAL_FN float finishOne(const Gemm& g, float y, int64_t z, int64_t r, int64_t column) {
  const int64_t at = z * g.strideC + r;
  if ((ends & kEndAccumulate) && g.accumulate) y += widen(static_cast<const R*>(g.c)[at]);
  if ((ends & kEndBias) && g.bias) y += g.bias[z * g.strideBias + column];
  if ((ends & kEndRelu) && g.relu) y = y > 0.f ? y : (y != y ? y : 0.f);
  if ((ends & (kEndAdd | kEndMultiply)) && g.extra) y = withExtra<ends>(g, y, widen(static_cast<const R*>(g.extra)[at]));
  return y;
}

/** The same for N neighbours, 16 bytes of c, stored whole. */
template <class R, int N, int ends>
ANNEAL_FN void finishPack(const Gemm& g, float (&y)[N], int64_t z, int64_t row, int64_t column) {
  static_assert(sizeof(R) * N == 16);
  const int64_t at = z * g.strideC + row * g.ldc + column;
  R* c = static_cast<R*>(g.c) + at;
  if ((ends & kEndAccumulate) && g.accumulate) {
    const Pack<R, N> before = *reinterpret_cast<const Pack<R, N>*>(c);
#pragma unroll
    for (int i = 0; i < N; ++i) y[i] += widen(before.v[i]);
  }
  if ((ends & kEndBias) && g.bias) {
    const float* bias = g.bias + z * g.strideBias + column;
#pragma unroll
    for (int i = 0; i < N; i += 4) {
      const Pack<float> b = *reinterpret_cast<const Pack<float>*>(bias + i);
#pragma unroll
      for (int j = 0; j < 4; ++j) y[i + j] += b.v[j];
    }
  }
  if ((ends & kEndRelu) && g.relu) {
#pragma unroll
    for (int i = 0; i < N; ++i) y[i] = y[i] > 0.f ? y[i] : (y[i] != y[i] ? y[i] : 0.f);
  }
  if ((ends & (kEndAdd | kEndMultiply)) && g.extra) {
    const Pack<R, N> e = *reinterpret_cast<const Pack<R, N>*>(static_cast<const R*>(g.extra) + at);
#pragma unroll
    for (int i = 0; i < N; ++i) y[i] = withExtra<ends>(g, y[i], widen(e.v[i]));
  }
  Pack<R, N> out;
#pragma unroll
  for (int i = 0; i < N; ++i) out.v[i] = narrow<R>(y[i]);
  storeGlobal(c, *reinterpret_cast<const uint4*>(&out));
}

ANNEAL_FN float* partialAt(const Gemm& g, const Task& t, int64_t row, int64_t column) {
  return g.partials + ((t.split * g.batch + t.z) * g.m + row) * g.n + column;
}

/** Stores N neighbours, a pack of an aligned row of c or of the parts: through the epilogue, or as this split's partial sums. */
template <class R, int N, int ends>
ANNEAL_FN void storePack(const Gemm& g, const Task& t, float (&y)[N], int64_t row, int64_t column) {
  if constexpr (N == 4) {
    if ((ends & kEndPartsOnly) || g.partials) return storeGlobal(partialAt(g, t, row, column), *reinterpret_cast<const uint4*>(y));
  }
  finishPack<R, N, ends>(g, y, t.z, row, column);
}

/** The same wherever the row begins, as far as they lie inside. An aligned row is whole packs. */
template <class R, int N, int ends>
ANNEAL_FN void storeSums(const Gemm& g, const Task& t, float (&y)[N], int64_t row, int64_t column) {
  if (row >= g.m || column >= g.n) return;
  const bool parts = (ends & kEndPartsOnly) || g.partials;
  if (parts ? g.alignedPartials : g.alignedC) return storePack<R, N, ends>(g, t, y, row, column);
  if (parts) {
    float* to = partialAt(g, t, row, column);
#pragma unroll
    for (int i = 0; i < N; ++i)
      if (column + i < g.n) to[i] = y[i];
    return;
  }
  R* c = static_cast<R*>(g.c) + t.z * g.strideC + row * g.ldc;
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (column + i < g.n) c[column + i] = narrow<R>(finishOne<R, ends>(g, y[i], t.z, row * g.ldc + column + i, column + i));
}

}  // namespace anneal::gpu
