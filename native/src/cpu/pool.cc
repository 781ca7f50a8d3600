// Pooling over [n, h, w, c]. Backward gathers: each input pixel looks at the windows over it, so that nothing is zeroed first, threads
// never share a pixel, and the order of additions is fixed.
#include <type_traits>

#include "cpu/kernel.h"

namespace anneal::cpu {
char* scratch(int slot, size_t bytes);
}

ANNEAL_KERNELS_BEGIN
namespace {

constexpr int64_t kTile = 32;  // channels that stay in registers together

/** f(first channel, how many) over all channels; whole tiles with the number as a constant, so that their loops unroll. */
template <class F>
ANNEAL_ALWAYS void eachTile(int64_t channels, F&& f) {
  int64_t c = 0;
  for (; c + kTile <= channels; c += kTile) f(c, std::integral_constant<int64_t, kTile>());
  if (c < channels) f(c, channels - c);
}

/** attr: n, c, h, w, kh, kw, oh, ow, stride (h, w), padding (h, w), flag. */
struct PoolShape {
  int64_t n, c, h, w, kh, kw, oh, ow, sh, sw, ph, pw;
  bool flag;  // max: relu on the result; average: padding counts

  explicit PoolShape(const Call& k)
      : n(k.integer(0)), c(k.integer(1)), h(k.integer(2)), w(k.integer(3)), kh(k.integer(4)), kw(k.integer(5)), oh(k.integer(6)),
        ow(k.integer(7)), sh(k.integer(8)), sw(k.integer(9)), ph(k.integer(10)), pw(k.integer(11)), flag(k.flag(12)) {
    require(k.nAttr == 13 && kh > 0 && kw > 0 && sh > 0 && sw > 0 && ph >= 0 && pw >= 0, "pool: attributes");
    // Every window covers at least one input pixel.
    require(ph < kh && pw < kw && (oh - 1) * sh - ph < h && (ow - 1) * sw - pw < w, "pool: window");
  }
  int64_t inputs() const { return n * c * h * w; }
  int64_t outputs() const { return n * c * oh * ow; }
};

/** Values as they are computed with: `from` itself, or converted into `room`. Apart from other work, which then stays in vectors (f16's does not). */
template <class T, class W>
ANNEAL_ALWAYS const Acc<T>* widen(const T* from, Acc<T>* room, W width) {
  if constexpr (std::is_same_v<T, Acc<T>>) {
    return from;
  } else {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) room[j] = Acc<T>(from[j]);
    return room;
  }
}

/** [begin, end) of something, clipped. */
struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};
ANNEAL_ALWAYS Range clip(int64_t begin, int64_t end, int64_t size) { return {begin < 0 ? 0 : begin, end > size ? size : end}; }
/** Input rows under output i. */
ANNEAL_ALWAYS Range under(int64_t i, int64_t stride, int64_t k, int64_t padding, int64_t in) { return clip(i * stride - padding, i * stride - padding + k, in); }
/** Outputs whose window covers input row i. */
ANNEAL_ALWAYS Range over(int64_t i, int64_t stride, int64_t k, int64_t padding, int64_t out) {
  const int64_t first = i + padding - k + 1;
  return clip(first <= 0 ? 0 : (first + stride - 1) / stride, (i + padding) / stride + 1, out);
}

/** The windows over each input column, worked out once: divisions are dear in a loop over pixels. */
const Range* columnsOver(const PoolShape& s) {
  Range* table = reinterpret_cast<Range*>(scratch(7, static_cast<size_t>(s.w + 1) * sizeof(Range)));
  for (int64_t iw = 0; iw < s.w; ++iw) table[iw] = over(iw, s.sw, s.kw, s.pw, s.ow);
  return table;
}

// ---- max --------------------------------------------------------------------------------------------------------------------

/** The place of a window whose gradient goes nowhere: the relu cut it off. */
template <class I>
constexpr I kNowhere = I(-1);

/** The largest of each window and, where asked, its place in the window (row-major). The first of equals wins; NaN wins over all. */
template <class T, class I>
void maxForward(const Call& call, const PoolShape& s) {
  using A = Acc<T>;
  const T* x = call.in[0].as<T>();
  T* y = call.out[0].as<T>();
  I* at = call.hasOut(1) ? call.out[1].as<I>() : nullptr;
  parallelRows(s.n * s.oh, s.ow * s.c * s.kh * s.kw, [=](int64_t row) {
    const T* image = x + row / s.oh * s.h * s.w * s.c;
    const int64_t top = row % s.oh * s.sh - s.ph;
    const Range rows = under(row % s.oh, s.sh, s.kh, s.ph, s.h);
    for (int64_t ow = 0; ow < s.ow; ++ow) {
      const int64_t left = ow * s.sw - s.pw;
      const Range columns = under(ow, s.sw, s.kw, s.pw, s.w);
      eachTile(s.c, [&](int64_t c0, auto width) {
        const int64_t out = (row * s.ow + ow) * s.c + c0;
        A best[kTile], place[kTile], room[kTile];  // places as floats: lanes of one width
        const A start = A((rows.begin - top) * s.kw + columns.begin - left);
        const A* first = widen(image + (rows.begin * s.w + columns.begin) * s.c + c0, room, width);
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) {
          best[j] = first[j];
          place[j] = start;
        }
        for (int64_t ih = rows.begin; ih < rows.end; ++ih) {
          for (int64_t iw = columns.begin; iw < columns.end; ++iw) {
            const A* from = widen(image + (ih * s.w + iw) * s.c + c0, room, width);
            const A here = A((ih - top) * s.kw + iw - left);
            if (here == start) continue;
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) {
              const A v = from[j];
              const bool wins = v > best[j] || v != v;
              best[j] = wins ? v : best[j];
              place[j] = wins ? here : place[j];
            }
          }
        }
        if (s.flag) {
#pragma omp simd
          for (int64_t j = 0; j < width; ++j) {
            place[j] = best[j] > A(0) ? place[j] : A(kNowhere<I>);
            best[j] = best[j] <= A(0) ? A(0) : best[j];
          }
        }
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) y[out + j] = T(best[j]);
        if (!at) return;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) at[out + j] = static_cast<I>(static_cast<int32_t>(place[j]));
      });
    }
  });
}

/** dx = g where the window's largest stood here, plus what waits on the input. in: g, places, waiting?. */
template <class T, class I>
void maxBackward(const Call& call, const PoolShape& s) {
  using A = Acc<T>;
  const T* g = call.in[0].as<T>();
  const I* at = call.in[1].as<I>();
  const T* have = call.has(2) ? call.in[2].as<T>() : nullptr;
  T* dx = call.out[0].as<T>();
  const Range* table = columnsOver(s);
  parallelRows(s.n * s.h, s.w * s.c, [=](int64_t row) {
    const int64_t ih = row % s.h, image = row / s.h * s.oh;
    const Range rows = over(ih, s.sh, s.kh, s.ph, s.oh);
    for (int64_t iw = 0; iw < s.w; ++iw) {
      const Range columns = table[iw];
      eachTile(s.c, [&](int64_t c0, auto width) {
        const int64_t in = (row * s.w + iw) * s.c + c0;
        A sum[kTile];
        bool fresh = have == nullptr;  // the first window sets, the others add: no pass of zeros
        if (have) {
#pragma omp simd
          for (int64_t j = 0; j < width; ++j) sum[j] = A(have[in + j]);
        }
        for (int64_t oh = rows.begin; oh < rows.end; ++oh) {
          for (int64_t ow = columns.begin; ow < columns.end; ++ow) {
            const int64_t out = ((image + oh) * s.ow + ow) * s.c + c0;
            const int32_t here = static_cast<int32_t>((ih + s.ph - oh * s.sh) * s.kw + iw + s.pw - ow * s.sw);
            A room[kTile];
            const A* from = widen(g + out, room, width);
            const I* place = at + out;
            const auto visit = [&](auto first) {
#pragma omp simd
              for (int64_t j = 0; j < width; ++j) {
                const A v = from[j];  // loaded whether it is wanted or not: a conditional load is no vector
                const A mine = static_cast<int32_t>(place[j]) == here ? v : A(0);
                sum[j] = first ? mine : sum[j] + mine;
              }
            };
            fresh ? visit(std::true_type()) : visit(std::false_type());
            fresh = false;
          }
        }
        if (fresh)
          for (int64_t j = 0; j < width; ++j) sum[j] = A(0);
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) dx[in + j] = T(sum[j]);
      });
    }
  });
}

// ---- average ----------------------------------------------------------------------------------------------------------------

/** One over the number that a window's sum is divided by. */
template <class A>
ANNEAL_ALWAYS A share(const PoolShape& s, int64_t oh, int64_t ow) {
  return A(1) / A(s.flag ? s.kh * s.kw : under(oh, s.sh, s.kh, s.ph, s.h).size() * under(ow, s.sw, s.kw, s.pw, s.w).size());
}

template <class T>
void averageForward(const Call& call, const PoolShape& s) {
  using A = Acc<T>;
  const T* x = call.in[0].as<T>();
  T* y = call.out[0].as<T>();
  parallelRows(s.n * s.oh, s.ow * s.c * s.kh * s.kw, [=](int64_t row) {
    const T* image = x + row / s.oh * s.h * s.w * s.c;
    const Range rows = under(row % s.oh, s.sh, s.kh, s.ph, s.h);
    for (int64_t ow = 0; ow < s.ow; ++ow) {
      const Range columns = under(ow, s.sw, s.kw, s.pw, s.w);
      const A scale = share<A>(s, row % s.oh, ow);
      eachTile(s.c, [&](int64_t c0, auto width) {
        const int64_t out = (row * s.ow + ow) * s.c + c0;
        A sum[kTile];
        for (int64_t j = 0; j < width; ++j) sum[j] = A(0);
        for (int64_t ih = rows.begin; ih < rows.end; ++ih) {
          for (int64_t iw = columns.begin; iw < columns.end; ++iw) {
            const T* from = image + (ih * s.w + iw) * s.c + c0;
#pragma omp simd
            for (int64_t j = 0; j < width; ++j) sum[j] += A(from[j]);
          }
        }
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) y[out + j] = T(sum[j] * scale);
      });
    }
  });
}

/** dx = sum of g / divisor over the windows that cover the pixel, plus what waits on the input. in: g, waiting?. */
template <class T>
void averageBackward(const Call& call, const PoolShape& s) {
  using A = Acc<T>;
  const T* g = call.in[0].as<T>();
  const T* have = call.has(1) ? call.in[1].as<T>() : nullptr;
  T* dx = call.out[0].as<T>();
  const Range* table = columnsOver(s);
  const bool even = s.flag || (s.ph == 0 && s.pw == 0);
  const A scaleOfAll = A(1) / A(s.kh * s.kw);
  parallelRows(s.n * s.h, s.w * s.c, [=](int64_t row) {
    const int64_t ih = row % s.h, image = row / s.h * s.oh;
    const Range rows = over(ih, s.sh, s.kh, s.ph, s.oh);
    for (int64_t iw = 0; iw < s.w; ++iw) {
      const Range columns = table[iw];
      eachTile(s.c, [&](int64_t c0, auto width) {
        const int64_t in = (row * s.w + iw) * s.c + c0;
        A sum[kTile];
        bool fresh = have == nullptr;  // the first window sets, the others add: no pass of zeros
        if (have) {
#pragma omp simd
          for (int64_t j = 0; j < width; ++j) sum[j] = A(have[in + j]);
        }
        for (int64_t oh = rows.begin; oh < rows.end; ++oh) {
          for (int64_t ow = columns.begin; ow < columns.end; ++ow) {
            const T* from = g + ((image + oh) * s.ow + ow) * s.c + c0;
            const A scale = even ? scaleOfAll : share<A>(s, oh, ow);
            const auto visit = [&](auto first) {
#pragma omp simd
              for (int64_t j = 0; j < width; ++j) sum[j] = first ? A(from[j]) * scale : sum[j] + A(from[j]) * scale;
            };
            fresh ? visit(std::true_type()) : visit(std::false_type());
            fresh = false;
          }
        }
        if (fresh)
          for (int64_t j = 0; j < width; ++j) sum[j] = A(0);
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) dx[in + j] = T(sum[j]);
      });
    }
  });
}

/** f(T{}, I{}): the dtype of values, and that of the places in a window: u8 while they fit, else i32. */
template <class F>
void dispatchPlaces(DType values, DType places, F&& f) {
  dispatchFloat(values, [&](auto tag) { places == DType::u8 ? f(tag, uint8_t{}) : f(tag, int32_t{}); });
}

bool placesFit(const PoolShape& s, DType t) { return t == DType::i32 || (t == DType::u8 && s.kh * s.kw <= 255); }

}  // namespace

void registerPool(OpTable& t) {
  t.cpu("maxPool2d", [](const Call& c) {  // in: x; out: y, places?
    const PoolShape s(c);
    require(c.in[0].n == s.inputs() && c.out[0].n == s.outputs() && c.in[0].dtype == c.out[0].dtype, "maxPool2d: sizes");
    require(!c.hasOut(1) || (c.out[1].n == s.outputs() && placesFit(s, c.out[1].dtype)), "maxPool2d: places");
    dispatchPlaces(c.in[0].dtype, c.hasOut(1) ? c.out[1].dtype : DType::u8, [&](auto v, auto i) { maxForward<decltype(v), decltype(i)>(c, s); });
  });
  t.cpu("maxPool2d.grad", [](const Call& c) {
    const PoolShape s(c);
    require(c.in[0].n == s.outputs() && c.out[0].n == s.inputs() && c.in[0].dtype == c.out[0].dtype, "maxPool2d.grad: sizes");
    require(c.in[1].n == s.outputs() && placesFit(s, c.in[1].dtype), "maxPool2d.grad: places");
    require(!c.has(2) || (c.in[2].n == s.inputs() && c.in[2].dtype == c.out[0].dtype), "maxPool2d.grad: waiting gradient");
    dispatchPlaces(c.in[0].dtype, c.in[1].dtype, [&](auto v, auto i) { maxBackward<decltype(v), decltype(i)>(c, s); });
  });
  t.cpu("avgPool2d", [](const Call& c) {
    const PoolShape s(c);
    require(c.in[0].n == s.inputs() && c.out[0].n == s.outputs() && c.in[0].dtype == c.out[0].dtype, "avgPool2d: sizes");
    dispatchFloat(c.in[0].dtype, [&](auto tag) { averageForward<decltype(tag)>(c, s); });
  });
  t.cpu("avgPool2d.grad", [](const Call& c) {
    const PoolShape s(c);
    require(c.in[0].n == s.outputs() && c.out[0].n == s.inputs() && c.in[0].dtype == c.out[0].dtype, "avgPool2d.grad: sizes");
    require(!c.has(1) || (c.in[1].n == s.inputs() && c.in[1].dtype == c.out[0].dtype), "avgPool2d.grad: waiting gradient");
    dispatchFloat(c.in[0].dtype, [&](auto tag) { averageBackward<decltype(tag)>(c, s); });
  });
}

ANNEAL_KERNELS_END
