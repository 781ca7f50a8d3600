// Moving elements: permute, broadcast, slices, concatenation, padding, and NCHW to NHWC and back. By bits, whatever they mean.
#include "cuda/walk.cuh"

namespace anneal::gpu {
namespace {

constexpr int kUnits = 4;  // of a thread

/** y[place in operand 1] = x[place in operand 0]; units of up to 16 bytes, as large as the walk allows. */
template <class U> ANNEAL_FN void strided(const U* x, U* y, const Walk<2>& w) {
  const Share s = shareOf<kUnits>(w.n, false);
#pragma unroll 1
  for (int k = 0; k < s.count; ++k) {
    int64_t at[2];
    placeOf(w, s.at(k), at);
    y[at[1]] = x[at[0]];
  }
}

/** The same, added. `packs`: the walk counts packs. */
template <class T> ANNEAL_FN void stridedAdd(const T* x, T* y, const Walk<2>& w, int32_t packs) {
  if (packs) {
    constexpr int N = kPack<T>;
    const int64_t i = globalThread();
    if (i >= w.n) return;
    int64_t at[2];
    placeOf(w, i, at);
    const Pack<T> a = *reinterpret_cast<const Pack<T>*>(x + at[0]);
    Pack<T> b = *reinterpret_cast<const Pack<T>*>(y + at[1]);
#pragma unroll
    for (int k = 0; k < N; ++k) b.v[k] = narrow<T>(widen(b.v[k]) + widen(a.v[k]));
    *reinterpret_cast<Pack<T>*>(y + at[1]) = b;
  } else {
    const Share s = shareOf<kUnits>(w.n, false);
#pragma unroll 1
    for (int k = 0; k < s.count; ++k) {
      int64_t at[2];
      placeOf(w, s.at(k), at);
      y[at[1]] = narrow<T>(widen(y[at[1]]) + widen(x[at[0]]));
    }
  }
}

/**
 * Tiles through shared memory. x[from + i + j pitchX] goes to y[to + i pitchY + j], i < rows, j < columns, for every place (from, to) of the walk.
 * Rows of the tile are an odd number of banks long, so that neither way conflicts.
 */
template <class U> ANNEAL_FN void transpose(const U* x, U* y, int64_t rows, int64_t columns, int64_t pitchX, int64_t pitchY, const Walk<2>& w) {
  constexpr int kEdge = sizeof(U) < 4 ? 64 : 32, kPad = sizeof(U) < 4 ? 4 / sizeof(U) : 1, kLanes = 32, kRows = kThreads / kLanes;
  __shared__ U tile[kEdge][kEdge + kPad];
  const int64_t down = (rows + kEdge - 1) / kEdge, across = (columns + kEdge - 1) / kEdge;
  const int64_t block = blockIdx.x, i0 = block % down * kEdge, j0 = block / down % across * kEdge;
  int64_t at[2];
  placeOf(w, block / (down * across), at);
  const int lane = threadIdx.x % kLanes, row = threadIdx.x / kLanes;
#pragma unroll 4
  for (int j = row; j < kEdge; j += kRows)
#pragma unroll
    for (int i = lane; i < kEdge; i += kLanes)
      if (i0 + i < rows && j0 + j < columns) tile[j][i] = x[at[0] + i0 + i + (j0 + j) * pitchX];
  __syncthreads();
#pragma unroll 4
  for (int i = row; i < kEdge; i += kRows)
#pragma unroll
    for (int j = lane; j < kEdge; j += kLanes)
      if (i0 + i < rows && j0 + j < columns) y[at[1] + (i0 + i) * pitchY + j0 + j] = tile[j][i];
}

}  // namespace

#define ANNEAL_KERNEL extern "C" __global__ void __launch_bounds__(kThreads)

#define ANNEAL_MOVE(bits, U) \
  ANNEAL_KERNEL strided_b##bits(const U* x, U* y, const __grid_constant__ Walk<2> w) { strided(x, y, w); }
ANNEAL_MOVE(8, uint8_t) ANNEAL_MOVE(16, uint16_t) ANNEAL_MOVE(32, uint32_t) ANNEAL_MOVE(64, uint64_t) ANNEAL_MOVE(128, uint4)

#define ANNEAL_ADD(suffix, T) \
  ANNEAL_KERNEL strided_add_##suffix(const T* x, T* y, const __grid_constant__ Walk<2> w, int32_t packs) { stridedAdd(x, y, w, packs); }
ANNEAL_ADD(f32, float) ANNEAL_ADD(f16, f16) ANNEAL_ADD(bf16, bf16)

#define ANNEAL_TRANSPOSE(bits, U)                                                                                                     \
  ANNEAL_KERNEL transpose_b##bits(const U* x, U* y, int64_t rows, int64_t columns, int64_t pitchX, int64_t pitchY,                     \
                                  const __grid_constant__ Walk<2> w) {                                                                \
    transpose(x, y, rows, columns, pitchX, pitchY, w);                                                                                \
  }
ANNEAL_TRANSPOSE(8, uint8_t) ANNEAL_TRANSPOSE(16, uint16_t) ANNEAL_TRANSPOSE(32, uint32_t) ANNEAL_TRANSPOSE(64, uint64_t)

}  // namespace anneal::gpu
