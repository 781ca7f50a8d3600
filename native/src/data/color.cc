// What changes colours. Bytes are computed in f32 and cut off, as torchvision does; grey is 0.2989 r + 0.587 g + 0.114 b.
#include <string>

#include "data/image.h"

namespace anneal::data {
namespace {

template <class T>
constexpr bool kBytes = std::is_same_v<T, uint8_t>;

/** The grey of a pixel; that of bytes is a whole number. */
template <class T>
inline float grey(T r, T g, T b) {
  const float v = static_cast<float>(r) * 0.2989f + static_cast<float>(g) * 0.587f + static_cast<float>(b) * 0.114f;
  if constexpr (kBytes<T>) return static_cast<float>(static_cast<int32_t>(v));
  else return v;
}

template <class T>
void requireColours(const Image<T>& x) {
  need(x.c == 1 || x.c == 3, "colours need 1 or 3 channels");
}

/** A function of single bytes, as a table. */
template <class F>
void byTable(uint8_t* at, int64_t n, F&& f) {
  uint8_t table[256];
  for (int v = 0; v < 256; ++v) table[v] = f(static_cast<uint8_t>(v));
  for (int64_t i = 0; i < n; ++i) at[i] = table[at[i]];
}

/** at[i] = f(at[i]). */
template <class T, class F>
void each(T* at, int64_t n, F&& f) {
  if constexpr (kBytes<T>) {
    byTable(at, n, f);
  } else {
    for (int64_t i = 0; i < n; ++i) at[i] = f(at[i]);
  }
}

/**
 * The hue of one pixel of channels in [0, 1], turned. hsv to rgb as v - v s max(0, min(k, 4 - k, 1)), k = (n + 6 h) mod 6 with n = 5, 3, 1 for r, g, b:
 * the same numbers as the six cases, without branches.
 */
inline void turnHue(float& r, float& g, float& b, float shift) {
  const float high = std::max(r, std::max(g, b)), low = std::min(r, std::min(g, b)), range = high - low;
  const float unit = 1.f / (range == 0.f ? 1.f : range);
  const float rc = (high - r) * unit, gc = (high - g) * unit, bc = (high - b) * unit;
  const float sector = high == r ? bc - gc : high == g ? 2.f + rc - bc : 4.f + gc - rc;
  float h = sector * (1.f / 6.f) + 2.f + shift;  // positive, so that the cast is the floor
  h = 6.f * (h - static_cast<float>(static_cast<int32_t>(h)));
  const auto channel = [&](float n) {
    float k = n + h;
    k = k >= 6.f ? k - 6.f : k;
    return high - range * std::max(0.f, std::min(1.f, std::min(k, 4.f - k)));
  };
  r = channel(5.f);
  g = channel(3.f);
  b = channel(1.f);
}

}  // namespace

template <class T>
void brightness(Image<T>& x, float factor) {
  requireColours(x);
  each(x.writable(), x.size(), [=](T v) { return clamped<T>(static_cast<float>(v) * factor); });
}

template <class T>
void contrast(Image<T>& x, double factor) {
  requireColours(x);
  T* at = x.writable();
  const int64_t n = x.plane();
  double total = 0;
  if (x.c == 3) {
    constexpr int64_t kTile = 256;  // sums of so many greys are exact in i32, and near enough in f32
    for (int64_t from = 0; from < n; from += kTile) {
      const int64_t to = std::min(n, from + kTile);
      std::conditional_t<kBytes<T>, int32_t, float> part = 0;
      for (int64_t i = from; i < to; ++i) part += static_cast<decltype(part)>(grey(at[i], at[n + i], at[2 * n + i]));
      total += part;
    }
  } else {
    for (int64_t i = 0; i < n; ++i) total += at[i];
  }
  const float ratio = static_cast<float>(factor), rest = static_cast<float>(1.0 - factor) * static_cast<float>(total / static_cast<double>(n));
  each(at, x.size(), [=](T v) { return clamped<T>(static_cast<float>(v) * ratio + rest); });
}

template <class T>
void saturation(Image<T>& x, double factor) {
  requireColours(x);
  if (x.c == 1) return;
  T* r = x.writable();
  const int64_t n = x.plane();
  T *g = r + n, *b = g + n;
  const float ratio = static_cast<float>(factor), rest = static_cast<float>(1.0 - factor);
  for (int64_t i = 0; i < n; ++i) {
    const float add = rest * grey(r[i], g[i], b[i]);
    r[i] = clamped<T>(static_cast<float>(r[i]) * ratio + add);
    g[i] = clamped<T>(static_cast<float>(g[i]) * ratio + add);
    b[i] = clamped<T>(static_cast<float>(b[i]) * ratio + add);
  }
}

template <class T>
void hue(Image<T>& x, float shift) {
  requireColours(x);
  if (x.c == 1) return;
  T* at = x.writable();
  const int64_t n = x.plane();
  constexpr float in = kBytes<T> ? 1.f / 255.f : 1.f, out = kBytes<T> ? 255.999f : 1.f;
  constexpr int64_t kTile = 256;
  float r[kTile], g[kTile], b[kTile];
  for (int64_t from = 0; from < n; from += kTile) {
    const int64_t m = std::min(kTile, n - from);
    T *pr = at + from, *pg = pr + n, *pb = pg + n;
    for (int64_t i = 0; i < m; ++i) {
      r[i] = static_cast<float>(pr[i]) * in;
      g[i] = static_cast<float>(pg[i]) * in;
      b[i] = static_cast<float>(pb[i]) * in;
    }
#pragma omp simd
    for (int64_t i = 0; i < m; ++i) turnHue(r[i], g[i], b[i], shift);
    for (int64_t i = 0; i < m; ++i) {
      pr[i] = clamped<T>(clamped<float>(r[i]) * out);
      pg[i] = clamped<T>(clamped<float>(g[i]) * out);
      pb[i] = clamped<T>(clamped<float>(b[i]) * out);
    }
  }
}

template <class T>
void sharpness(Image<T>& x, double factor) {
  requireColours(x);
  if (x.h <= 2 || x.w <= 2) return;
  const float rest = static_cast<float>(1.0 - factor);
  constexpr float a = 1.f / 13.f, middle = 5.f / 13.f;
  const int w = x.w;
  T* out = x.room(x.h, w);
  std::memcpy(out, x.at(), sizeof(T) * x.size());
  for (int c = 0; c < x.c; ++c)
    for (int y = 1; y < x.h - 1; ++y) {
      const T *here = x.plane(c) + int64_t{y} * w, *up = here - w, *down = here + w;
      T* to = out + c * x.plane() + int64_t{y} * w;
      for (int i = 1; i < w - 1; ++i) {
        const auto f = [](T v) { return static_cast<float>(v); };
        const float ring = f(up[i - 1]) + f(up[i]) + f(up[i + 1]) + f(here[i - 1]) + f(here[i + 1]) + f(down[i - 1]) + f(down[i]) + f(down[i + 1]);
        float blurred = a * ring + middle * f(here[i]);
        if constexpr (kBytes<T>) blurred = std::nearbyint(blurred);
        to[i] = clamped<T>(f(here[i]) + rest * (blurred - f(here[i])));
      }
    }
  // Pixels of the rim are kept, but clamped like the others.
  if constexpr (!kBytes<T>)
    for (int64_t i = 0; i < x.size(); ++i) out[i] = clamped<T>(out[i]);
  x.become(x.h, w);
}

template <class T>
void posterize(Image<T>& x, int bits) {
  need(bits >= 0 && bits <= 8, "posterize: bits");
  if constexpr (kBytes<T>) {
    const uint8_t mask = static_cast<uint8_t>(0xff << (8 - bits));
    each(x.writable(), x.size(), [=](uint8_t v) { return static_cast<uint8_t>(v & mask); });
  } else {
    const float levels = static_cast<float>(1 << bits);
    each(x.writable(), x.size(), [=](float v) { return std::min(levels - 1, std::max(0.f, std::floor(v * levels))) * (1.f / levels); });
  }
}

template <class T>
void solarize(Image<T>& x, float threshold) {
  each(x.writable(), x.size(), [=](T v) { return static_cast<float>(v) >= threshold ? static_cast<T>(T(kBound<T>) - v) : v; });
}

template <class T>
void autocontrast(Image<T>& x) {
  T* at = x.writable();
  for (int c = 0; c < x.c; ++c, at += x.plane()) {
    const auto [least, most] = std::minmax_element(at, at + x.plane());
    const float low = static_cast<float>(*least), high = static_cast<float>(*most);
    if (low == high) continue;
    const float unit = (high - low) * (1.f / kBound<T>);
    each(at, x.plane(), [=](T v) { return clamped<T>((static_cast<float>(v) - low) / unit); });
  }
}

template <class T>
void equalize(Image<T>& x) {
  T* at = x.writable();
  const int64_t n = x.plane();
  const auto level = [](T v) { return static_cast<uint8_t>(kBytes<T> ? static_cast<float>(v) : clamped<float>(v) * 255.999f); };
  for (int c = 0; c < x.c; ++c, at += n) {
    int64_t histogram[256] = {};
    for (int64_t i = 0; i < n; ++i) ++histogram[level(at[i])];
    int last = 255;
    while (!histogram[last]) --last;
    const int64_t step = (n - histogram[last]) / 255;
    uint8_t table[256];
    int64_t below = 0;
    for (int v = 0; v < 256; ++v) {
      // torchvision's table: how many pixels are darker, in steps; without any step the image stays.
      table[v] = step == 0 ? static_cast<uint8_t>(v) : static_cast<uint8_t>(std::min<int64_t>(255, (below + step / 2) / step));
      below += histogram[v];
    }
    if constexpr (kBytes<T>) {
      for (int64_t i = 0; i < n; ++i) at[i] = table[at[i]];
    } else {
      for (int64_t i = 0; i < n; ++i) at[i] = static_cast<float>(table[level(at[i])]) * (1.f / 255.f);
    }
  }
}

#define ANNEAL_COLOURS(T) \
  template void brightness(Image<T>&, float); \
  template void contrast(Image<T>&, double); \
  template void saturation(Image<T>&, double); \
  template void hue(Image<T>&, float); \
  template void sharpness(Image<T>&, double); \
  template void posterize(Image<T>&, int); \
  template void solarize(Image<T>&, float); \
  template void autocontrast(Image<T>&); \
  template void equalize(Image<T>&);
ANNEAL_COLOURS(uint8_t)
ANNEAL_COLOURS(float)

}  // namespace anneal::data
