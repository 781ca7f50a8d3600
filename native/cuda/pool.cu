// Pooling over [n, h, w, c]: a thread per pixel and pack of channels. Backward gathers: each input pixel looks at the windows over it.
#include "cuda/packs.cuh"

namespace anneal::gpu {

struct Pool {
  int64_t n, c, h, w, kh, kw, oh, ow, sh, sw, ph, pw;
  int32_t flag;  // max: relu on the result; average: padding counts
  int32_t unused;
};

namespace {

/** [begin, end) of something, clipped. */
struct Range {
  int64_t begin, end;
  ANNEAL_FN int64_t size() const { return end - begin; }
};
ANNEAL_FN Range clip(int64_t begin, int64_t end, int64_t size) { return {begin < 0 ? 0 : begin, end > size ? size : end}; }
/** Input rows under output i. */
ANNEAL_FN Range under(int64_t i, int64_t stride, int64_t k, int64_t padding, int64_t in) { return clip(i * stride - padding, i * stride - padding + k, in); }
/** Outputs whose window covers input row i. */
ANNEAL_FN Range over(int64_t i, int64_t stride, int64_t k, int64_t padding, int64_t out) {
  const int64_t first = i + padding - k + 1;
  return clip(first <= 0 ? 0 : (first + stride - 1) / stride, (i + padding) / stride + 1, out);
}

/** The pixel and first channel of this thread, of an image of h x w. */
struct Place {
  int64_t image, y, x, c;
  bool inside;
  ANNEAL_FN Place(const Pool& s, int64_t h, int64_t w, int width) {
    const int64_t packs = s.c / width, i = globalThread(), pixel = i / packs;
    c = i % packs * width;
    x = pixel % w;
    y = pixel / w % h;
    image = pixel / w / h;
    inside = i < s.n * h * w * packs;
  }
};

template <int N, class T> ANNEAL_FN Pack<T, N> packOf(const T* p) { return *reinterpret_cast<const Pack<T, N>*>(p); }
/** The largest of each window and, where asked, its place in the window (row-major). The first of equals wins; NaN wins over all. */
template <int N, class T, class I>
ANNEAL_FN void maxForward(const Pool& s, const T* x, T* y, I* places) {
  const Place at(s, s.oh, s.ow, N);
  if (!at.inside) return;
  const int64_t top = at.y * s.sh - s.ph, left = at.x * s.sw - s.pw;
  const Range rows = under(at.y, s.sh, s.kh, s.ph, s.h), columns = under(at.x, s.sw, s.kw, s.pw, s.w);
  const T* image = x + at.image * s.h * s.w * s.c + at.c;
  float best[N];
  int32_t place[N];
#pragma unroll
  for (int k = 0; k < N; ++k) best[k] = -__builtin_huge_valf(), place[k] = -1;
#pragma unroll 1
  for (int64_t ih = rows.begin; ih < rows.end; ++ih)
#pragma unroll 1
    for (int64_t iw = columns.begin; iw < columns.end; ++iw) {
      const Pack<T, N> from = packOf<N>(image + (ih * s.w + iw) * s.c);
      const int32_t here = static_cast<int32_t>((ih - top) * s.kw + iw - left);
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float v = widen(from.v[k]);
        if (place[k] < 0 || v > best[k] || v != v) best[k] = v, place[k] = here;
      }
    }
  Pack<T, N> out;
  Pack<I, N> where;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    if (s.flag) {
      if (!(best[k] > 0.f)) place[k] = -1;  // its gradient goes nowhere
      if (best[k] <= 0.f) best[k] = 0.f;
    }
    out.v[k] = narrow<T>(best[k]);
    where.v[k] = static_cast<I>(place[k]);
  }
  const int64_t to = ((at.image * s.oh + at.y) * s.ow + at.x) * s.c + at.c;
  putPack(y + to, out);
  if (places) putPack(places + to, where);
}

/** dx = the sum of share(window) of g over the windows that cover the pixel, plus what waits on the input. */
template <int N, class T, class Share>
ANNEAL_FN void gather(const Pool& s, const T* g, const T* have, T* dx, Share share) {
  const Place at(s, s.h, s.w, N);
  if (!at.inside) return;
  const Range rows = over(at.y, s.sh, s.kh, s.ph, s.oh), columns = over(at.x, s.sw, s.kw, s.pw, s.ow);
  const int64_t to = ((at.image * s.h + at.y) * s.w + at.x) * s.c + at.c;
  float sum[N] = {};
  if (have) {
    const Pack<T, N> before = packOf<N>(have + to);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] = widen(before.v[k]);
  }
#pragma unroll 1
  for (int64_t oh = rows.begin; oh < rows.end; ++oh)
#pragma unroll 1
    for (int64_t ow = columns.begin; ow < columns.end; ++ow) {
      const int64_t from = ((at.image * s.oh + oh) * s.ow + ow) * s.c + at.c;
      const Pack<T, N> gs = packOf<N>(g + from);
      share(sum, gs, from, at, oh, ow);
    }
  Pack<T, N> out;
#pragma unroll
  for (int k = 0; k < N; ++k) out.v[k] = narrow<T>(sum[k]);
  putPack(dx + to, out);
}

/** Windows that neither overlap nor begin in padding: each thread reads one output's gradient and writes all of its window, the last also what is left of the image. */
template <int N, class T, class Share>
ANNEAL_FN void scatter(const Pool& s, const T* g, const T* have, T* dx, Share share) {
  const Place at(s, s.oh, s.ow, N);
  if (!at.inside) return;
  const int64_t from = ((at.image * s.oh + at.y) * s.ow + at.x) * s.c + at.c;
  const int64_t top = at.y * s.sh, left = at.x * s.sw, bottom = at.y + 1 == s.oh ? s.h : top + s.kh, right = at.x + 1 == s.ow ? s.w : left + s.kw;
  const Pack<T, N> gs = packOf<N>(g + from);
  const auto shares = share(gs, from, at);
#pragma unroll 1
  for (int64_t ih = top; ih < bottom; ++ih)
#pragma unroll 1
    for (int64_t iw = left; iw < right; ++iw) {
      const int64_t to = ((at.image * s.h + ih) * s.w + iw) * s.c + at.c;
      const bool inWindow = ih < top + s.kh && iw < left + s.kw;
      const int32_t here = static_cast<int32_t>((ih - top) * s.kw + iw - left);
      Pack<T, N> before{}, out;
      if (have) before = packOf<N>(have + to);
#pragma unroll
      for (int k = 0; k < N; ++k) out.v[k] = narrow<T>((have ? widen(before.v[k]) : 0.f) + (inWindow ? shares(k, here) : 0.f));
      putPack(dx + to, out);
    }
}

template <int N, class T, class I>
ANNEAL_FN void maxBackward(const Pool& s, const T* g, const I* places, const T* have, T* dx) {
  gather<N>(s, g, have, dx, [&](float (&sum)[N], const Pack<T, N>& gs, int64_t from, const Place& at, int64_t oh, int64_t ow) {
    const I here = static_cast<I>((at.y + s.ph - oh * s.sh) * s.kw + at.x + s.pw - ow * s.sw);
    const Pack<I, N> place = packOf<N>(places + from);
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (place.v[k] == here) sum[k] += widen(gs.v[k]);
  });
}

template <int N, class T, class I>
ANNEAL_FN void maxScatter(const Pool& s, const T* g, const I* places, const T* have, T* dx) {
  scatter<N>(s, g, have, dx, [&](const Pack<T, N>& gs, int64_t from, const Place&) {
    return [gs, place = packOf<N>(places + from)](int k, int32_t here) { return place.v[k] == static_cast<I>(here) ? widen(gs.v[k]) : 0.f; };
  });
}

ANNEAL_FN float shareOf(const Pool& s, int64_t oh, int64_t ow) {
  return __fdividef(1.f, float(s.flag ? s.kh * s.kw : under(oh, s.sh, s.kh, s.ph, s.h).size() * under(ow, s.sw, s.kw, s.pw, s.w).size()));
}

template <int N, class T>
ANNEAL_FN void averageForward(const Pool& s, const T* x, T* y) {
  const Place at(s, s.oh, s.ow, N);
  if (!at.inside) return;
  const Range rows = under(at.y, s.sh, s.kh, s.ph, s.h), columns = under(at.x, s.sw, s.kw, s.pw, s.w);
  const T* image = x + at.image * s.h * s.w * s.c + at.c;
  float sum[N] = {};
#pragma unroll 1
  for (int64_t ih = rows.begin; ih < rows.end; ++ih)
#pragma unroll 1
    for (int64_t iw = columns.begin; iw < columns.end; ++iw) {
      const Pack<T, N> from = packOf<N>(image + (ih * s.w + iw) * s.c);
#pragma unroll
      for (int k = 0; k < N; ++k) sum[k] += widen(from.v[k]);
    }
  const float scale = shareOf(s, at.y, at.x);
  Pack<T, N> out;
#pragma unroll
  for (int k = 0; k < N; ++k) out.v[k] = narrow<T>(sum[k] * scale);
  putPack(y + ((at.image * s.oh + at.y) * s.ow + at.x) * s.c + at.c, out);
}

template <int N, class T>
ANNEAL_FN void averageBackward(const Pool& s, const T* g, const T* have, T* dx) {
  gather<N>(s, g, have, dx, [&](float (&sum)[N], const Pack<T, N>& gs, int64_t, const Place&, int64_t oh, int64_t ow) {
    const float scale = shareOf(s, oh, ow);
#pragma unroll
    for (int k = 0; k < N; ++k) sum[k] += widen(gs.v[k]) * scale;
  });
}

template <int N, class T>
ANNEAL_FN void averageScatter(const Pool& s, const T* g, const T* have, T* dx) {
  scatter<N>(s, g, have, dx, [&](const Pack<T, N>& gs, int64_t, const Place& at) {
    return [gs, scale = shareOf(s, at.y, at.x)](int k, int32_t) { return widen(gs.v[k]) * scale; };
  });
}

}  // namespace

// `packs`: the launcher counted packs of channels, not channels.
// Two blocks to a processor are asked for where ptxas, left alone, aims at more and spills.
#define ANNEAL_MAX(T, suffix, I, places)                                                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads) maxPool2d_##places##_##suffix(Pool s, const T* x, T* y, I* at, int packs) {        \
    if (packs) maxForward<kPack<T>>(s, x, y, at);                                                                                          \
    else maxForward<1>(s, x, y, at);                                                                                                       \
  }                                                                                                                                        \
  extern "C" __global__ void __launch_bounds__(kThreads, 2)                                                                                \
      maxPool2d_grad_##places##_##suffix(Pool s, const T* g, const I* at, const T* have, T* dx, int packs, int disjoint) {                 \
    if (packs && disjoint) maxScatter<kPack<T>>(s, g, at, have, dx);                                                                       \
    else if (packs) maxBackward<kPack<T>>(s, g, at, have, dx);                                                                             \
    else maxBackward<1>(s, g, at, have, dx);                                                                                               \
  }
#define ANNEAL_POOL(T, suffix)                                                                                                             \
  ANNEAL_MAX(T, suffix, uint8_t, u8) ANNEAL_MAX(T, suffix, int32_t, i32)                                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads) avgPool2d_##suffix(Pool s, const T* x, T* y, int packs) {                          \
    if (packs) averageForward<kPack<T>>(s, x, y);                                                                                          \
    else averageForward<1>(s, x, y);                                                                                                       \
  }                                                                                                                                        \
  extern "C" __global__ void __launch_bounds__(kThreads) avgPool2d_grad_##suffix(Pool s, const T* g, const T* have, T* dx, int packs,       \
                                                                                         int disjoint) {                                   \
    if (packs && disjoint) averageScatter<kPack<T>>(s, g, have, dx);                                                                       \
    else if (packs) averageBackward<kPack<T>>(s, g, have, dx);                                                                             \
    else averageBackward<1>(s, g, have, dx);                                                                                               \
  }
ANNEAL_POOL(float, f32)
ANNEAL_POOL(f16, f16)
ANNEAL_POOL(bf16, bf16)

}  // namespace anneal::gpu
