// f32 convolutions; and, for every dtype, weights from their own order [o, c, kh, kw] to the one that sums run in, and back.
#include "cuda/conv.cuh"

namespace anneal::gpu {

#define ANNEAL_BOTH(op, pass) ANNEAL_CONV_SIMT(op, pass, big, 128, 128) ANNEAL_CONV_SIMT(op, pass, small, 64, 64)
ANNEAL_BOTH(conv2d, forward)
ANNEAL_BOTH(conv2d_gradInput, gradInput)
ANNEAL_BOTH(conv2d_gradWeight, gradWeight)
#undef ANNEAL_BOTH

namespace {

/** Matrices [rows, columns] of a batch, turned to [columns, rows]: a block takes `height` x `width` of each of `each` matrices. As src/cuda/conv.cc's. */
struct Turning {
  int64_t batch, rows, columns;
  int32_t height, width, each;
};
constexpr int kTurned = 2112;

/**
 * write(i, read(j)): i counts elements of the turned matrices, j of the others. Threads go along whatever is contiguous on either side, also from
 * row to row: the few places of a window would leave most of a sector unused.
 */
template <class Read, class Write>
ANNEAL_FN void turn(const Turning& t, Read read, Write write) {
  __shared__ uint32_t tile[kTurned];
  const int64_t down = (t.rows + t.height - 1) / t.height, across = (t.columns + t.width - 1) / t.width;
  const int64_t first = blockIdx.x / (down * across) * t.each, r0 = blockIdx.x / across % down * t.height, c0 = blockIdx.x % across * t.width;
  const int height = static_cast<int>(t.rows - r0 < t.height ? t.rows - r0 : t.height);
  const int width = static_cast<int>(t.columns - c0 < t.width ? t.columns - c0 : t.width);
  const int each = static_cast<int>(t.batch - first < t.each ? t.batch - first : t.each), pitch = width | 1;
#pragma unroll 1
  for (int e = threadIdx.x; e < each * height * width; e += kThreads) {
    const int row = e / width, c = e % width;  // of all the block's matrices
    tile[row * pitch + c] = read(((first + row / height) * t.rows + r0 + row % height) * t.columns + c0 + c);
  }
  __syncthreads();
#pragma unroll 1
  for (int e = threadIdx.x; e < each * height * width; e += kThreads) {
    const int column = e / height, r = e % height, b = column / width, c = column % width;
    write(((first + b) * t.columns + c0 + c) * t.rows + r0 + r, tile[(b * height + r) * pitch + c]);
  }
}

}  // namespace

#define ANNEAL_ORDER(T, suffix)                                                                                                    \
  extern "C" __global__ void __launch_bounds__(kThreads) conv2d_order_##suffix(const T* w, T* to, const __grid_constant__ Turning t) { \
    turn(t, [&](int64_t i) { return static_cast<uint32_t>(w[i]); }, [&](int64_t i, uint32_t v) { to[i] = static_cast<T>(v); });    \
  }
ANNEAL_ORDER(uint32_t, f32) ANNEAL_ORDER(uint16_t, f16) ANNEAL_ORDER(uint16_t, bf16)

/** dw[o][c][place] (+)= the parts [split][o][place][c], in order. n: elements of a part. */
extern "C" __global__ void __launch_bounds__(kThreads)
    conv2d_gradWeight_finish_f32(const float* partials, float* dw, int64_t n, int64_t splits, int32_t add, const __grid_constant__ Turning t) {
  turn(t, [&](int64_t i) {
    float sum = 0.f;
#pragma unroll 4
    for (int64_t s = 0; s < splits; ++s) sum += partials[s * n + i];
    return __float_as_uint(sum);
  }, [&](int64_t i, uint32_t v) { dw[i] = add ? dw[i] + __uint_as_float(v) : __uint_as_float(v); });
}

}  // namespace anneal::gpu
