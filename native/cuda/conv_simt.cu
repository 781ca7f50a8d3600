// f32 convolutions; and, for every dtype, weights from their own order [o, c, kh, kw] to the one that sums run in, and back.
#include "cuda/conv.cuh"

namespace anneal::gpu {

#define ANNEAL_BOTH(op, pass) ANNEAL_CONV_SIMT(op, pass, big, 128, 128) ANNEAL_CONV_SIMT(op, pass, small, 64, 64)
ANNEAL_BOTH(conv2d, forward)
ANNEAL_BOTH(conv2d_gradInput, gradInput)
ANNEAL_BOTH(conv2d_gradWeight, gradWeight)
#undef ANNEAL_BOTH

namespace {

/** to[o][place][c] = w[o][c][place]; turned: to[group][c][place][o], o within the group of `outs`. n: elements, c: of a group. */
template <class T>
ANNEAL_FN void order(const T* w, T* to, int64_t n, int64_t outs, int64_t channels, int64_t area, bool turned) {
  const int64_t i = globalThread();
  if (i >= n) return;
  int64_t o, c, place;
  if (turned) {
    o = i / (outs * area * channels) * outs + i % outs;
    place = i / outs % area;
    c = i / (outs * area) % channels;
  } else {
    o = i / (channels * area);
    c = i % channels;
    place = i / channels % area;
  }
  to[i] = w[(o * channels + c) * area + place];
}

}  // namespace

#define ANNEAL_ORDER(T, suffix)                                                                                                    \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                           \
      conv2d_order_##suffix(const T* w, T* to, int64_t n, int64_t outs, int64_t channels, int64_t area, int32_t turned) {          \
    order<T>(w, to, n, outs, channels, area, turned != 0);                                                                         \
  }
ANNEAL_ORDER(float, f32) ANNEAL_ORDER(f16, f16) ANNEAL_ORDER(bf16, bf16)

/** dw[o][c][place] (+)= the parts [split][o][place][c], in order. In the order of the parts, which are more than what is written. */
extern "C" __global__ void __launch_bounds__(kThreads)
    conv2d_gradWeight_finish_f32(const float* partials, float* dw, int64_t n, int64_t splits, int64_t channels, int64_t area, int32_t add) {
  const int64_t i = globalThread();
  if (i >= n) return;
  const int64_t c = i % channels, place = i / channels % area, o = i / (channels * area);
  float sum = 0.f;
#pragma unroll 4
  for (int64_t s = 0; s < splits; ++s) sum += partials[s * n + i];
  float* to = dw + (o * channels + c) * area + place;
  *to = add ? *to + sum : sum;
}

}  // namespace anneal::gpu
