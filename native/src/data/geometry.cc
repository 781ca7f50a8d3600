// What moves pixels: crops, flips, resizing, affine maps, erasing.
#include <string>

#include "core/philox.h"
#include "data/image.h"

namespace anneal::data {
namespace {

/** The source index that padding shows at i of a line of n pixels, or -1 for the fill. */
int64_t mirrored(int64_t i, int64_t n, Padding padding) {
  if (i >= 0 && i < n) return i;
  switch (padding) {
    case Padding::constant: return -1;
    case Padding::edge: return i < 0 ? 0 : n - 1;
    case Padding::reflect: return i < 0 ? -i : 2 * n - 2 - i;
    case Padding::symmetric: return i < 0 ? -1 - i : 2 * n - 1 - i;
  }
  return -1;
}

template <class T>
void requireInside(const Image<T>& x, int top, int left, int height, int width) {
  need(top >= 0 && left >= 0 && height >= 1 && width >= 1 && top + height <= x.h && left + width <= x.w, "a rectangle outside the image");
}

/** Whole bytes are rounded to even where torchvision rounds. */
template <class T>
T rounded(float v) {
  if constexpr (std::is_same_v<T, uint8_t>) return static_cast<uint8_t>(std::min(255.f, std::max(0.f, std::nearbyint(v))));
  else return v;
}

/** One direction of a resize: output i is the sum of `count[i]` inputs from first[i], weighted. */
struct Taps {
  std::vector<int> first, count;
  std::vector<float> weight;
  int widest = 0;

  /** PIL's and PyTorch's antialiased bilinear: a triangle of the scale's width around each output's centre, cut off at the ends. */
  Taps(int in, int out) : first(out), count(out) {
    const double scale = static_cast<double>(in) / out, support = scale >= 1 ? scale : 1, inverse = scale >= 1 ? 1 / scale : 1;
    widest = static_cast<int>(std::ceil(support)) * 2 + 1;
    weight.assign(static_cast<size_t>(widest) * out, 0.f);
    std::vector<double> w(widest);
    for (int i = 0; i < out; ++i) {
      const double center = scale * (i + 0.5);
      const int low = std::max(static_cast<int>(center - support + 0.5), 0), high = std::min(static_cast<int>(center + support + 0.5), in);
      const int n = std::min(high - low, widest);
      double total = 0;
      for (int j = 0; j < n; ++j) {
        const double t = std::abs((j + low - center + 0.5) * inverse);
        w[j] = t < 1 ? 1 - t : 0;
        total += w[j];
      }
      first[i] = low;
      count[i] = n;
      for (int j = 0; j < n; ++j) weight[static_cast<size_t>(i) * widest + j] = static_cast<float>(w[j] / total);
    }
  }
};

/** Bytes are rounded half up after each direction, as PIL's fixed point does. */
template <class T>
T resampled(float v) {
  if constexpr (std::is_same_v<T, uint8_t>) return clamped<uint8_t>(v + 0.5f);
  else return v;
}

}  // namespace

template <class T>
void crop(Image<T>& x, int64_t top, int64_t left, int height, int width, Padding padding, const double* fill) {
  if (top == 0 && left == 0 && height == x.h && width == x.w) return;
  need(height >= 1 && width >= 1, "an empty crop");
  if (padding == Padding::reflect || padding == Padding::symmetric) {
    const int64_t most = padding == Padding::reflect ? 1 : 0;
    need(top >= most - x.h && left >= most - x.w && top + height <= 2 * int64_t{x.h} - most && left + width <= 2 * int64_t{x.w} - most,
         "padding beyond the image's mirror");
  }
  T* out = x.room(height, width);
  const int64_t inLeft = std::clamp<int64_t>(-left, 0, width), inRight = std::clamp<int64_t>(x.w - left, inLeft, width);
  for (int c = 0; c < x.c; ++c) {
    const T* plane = x.plane(c);
    const T blank = static_cast<T>(fill[c]);
    for (int y = 0; y < height; ++y, out += width) {
      const int64_t row = mirrored(top + y, x.h, padding);
      if (row < 0) {
        std::fill_n(out, width, blank);
        continue;
      }
      const T* line = plane + row * x.w;
      for (int64_t i = 0; i < inLeft; ++i) {
        const int64_t from = mirrored(left + i, x.w, padding);
        out[i] = from < 0 ? blank : line[from];
      }
      if (inRight > inLeft) std::memcpy(out + inLeft, line + left + inLeft, sizeof(T) * (inRight - inLeft));
      for (int64_t i = inRight; i < width; ++i) {
        const int64_t from = mirrored(left + i, x.w, padding);
        out[i] = from < 0 ? blank : line[from];
      }
    }
  }
  x.become(height, width);
}

template <class T>
void flipHorizontal(Image<T>& x) {
  T* at = x.writable();
  for (int64_t row = 0; row < int64_t{x.c} * x.h; ++row, at += x.w) std::reverse(at, at + x.w);
}

template <class T>
void flipVertical(Image<T>& x) {
  T* at = x.writable();
  for (int c = 0; c < x.c; ++c, at += x.plane())
    for (int y = 0; y < x.h / 2; ++y) std::swap_ranges(at + int64_t{y} * x.w, at + int64_t{y + 1} * x.w, at + int64_t{x.h - 1 - y} * x.w);
}

template <class T>
void resizedCrop(Image<T>& x, int top, int left, int height, int width, int outHeight, int outWidth) {
  requireInside(x, top, left, height, width);
  need(outHeight >= 1 && outWidth >= 1, "an empty size");
  const Taps across(width, outWidth), down(height, outHeight);
  std::vector<T> lines(static_cast<size_t>(height) * outWidth);
  std::vector<float> sum(outWidth);
  T* out = x.room(outHeight, outWidth);
  for (int c = 0; c < x.c; ++c) {
    for (int y = 0; y < height; ++y) {
      const T* line = x.plane(c) + int64_t{top + y} * x.w + left;
      for (int i = 0; i < outWidth; ++i) {
        const float* w = across.weight.data() + static_cast<size_t>(i) * across.widest;
        const T* from = line + across.first[i];
        float v = 0;
        for (int j = 0; j < across.count[i]; ++j) v += w[j] * static_cast<float>(from[j]);
        lines[static_cast<size_t>(y) * outWidth + i] = resampled<T>(v);
      }
    }
    for (int y = 0; y < outHeight; ++y, out += outWidth) {
      const float* w = down.weight.data() + static_cast<size_t>(y) * down.widest;
      std::fill(sum.begin(), sum.end(), 0.f);
      for (int j = 0; j < down.count[y]; ++j) {
        const T* from = lines.data() + static_cast<size_t>(down.first[y] + j) * outWidth;
        for (int i = 0; i < outWidth; ++i) sum[i] += w[j] * static_cast<float>(from[i]);
      }
      for (int i = 0; i < outWidth; ++i) out[i] = resampled<T>(sum[i]);
    }
  }
  x.become(outHeight, outWidth);
}

template <class T>
void affine(Image<T>& x, const double* m, bool bilinear, const double* fill) {
  const int h = x.h, w = x.w;
  const int64_t plane = x.plane();
  const double middleX = (w - 1) * 0.5, middleY = (h - 1) * 0.5;
  T* out = x.room(h, w);
  for (int i = 0; i < h; ++i) {
    const double dy = i - middleY;
    for (int j = 0; j < w; ++j) {
      const double dx = j - middleX, sx = m[0] * dx + m[1] * dy + m[2] + middleX, sy = m[3] * dx + m[4] * dy + m[5] + middleY;
      T* to = out + int64_t{i} * w + j;
      if (!bilinear) {
        const double nx = std::nearbyint(sx), ny = std::nearbyint(sy);
        const bool inside = nx >= 0 && nx < w && ny >= 0 && ny < h;
        const int64_t from = inside ? static_cast<int64_t>(ny) * w + static_cast<int64_t>(nx) : 0;
        for (int c = 0; c < x.c; ++c) to[c * plane] = inside ? x.plane(c)[from] : static_cast<T>(fill[c]);
        continue;
      }
      const double fx = std::floor(sx), fy = std::floor(sy), tx = sx - fx, ty = sy - fy;
      const double weights[4] = {(1 - tx) * (1 - ty), tx * (1 - ty), (1 - tx) * ty, tx * ty};
      int64_t from[4];
      double inside = 0;
      for (int k = 0; k < 4; ++k) {
        const double px = fx + (k & 1), py = fy + (k >> 1);
        from[k] = px >= 0 && px < w && py >= 0 && py < h ? static_cast<int64_t>(py) * w + static_cast<int64_t>(px) : -1;
        if (from[k] >= 0) inside += weights[k];
      }
      for (int c = 0; c < x.c; ++c) {
        double v = 0;
        for (int k = 0; k < 4; ++k)
          if (from[k] >= 0) v += weights[k] * x.plane(c)[from[k]];
        // torchvision samples the image with zeros outside and then blends by the part inside: at the border both weigh.
        to[c * plane] = rounded<T>(static_cast<float>((v - fill[c]) * inside + fill[c]));
      }
    }
  }
  x.become(h, w);
}

template <class T>
void erase(Image<T>& x, int top, int left, int height, int width, const double* values) {
  requireInside(x, top, left, height, width);
  T* at = x.writable();
  for (int c = 0; c < x.c; ++c)
    for (int y = top; y < top + height; ++y) std::fill_n(at + c * x.plane() + int64_t{y} * x.w + left, width, static_cast<T>(values[c]));
}

template <class T>
void eraseNoise(Image<T>& x, int top, int left, int height, int width, const Draws& d, const double* values, const double* spread) {
  requireInside(x, top, left, height, width);
  T* at = x.writable();
  int64_t drawn = 0;
  double z[2];
  for (int c = 0; c < x.c; ++c)
    for (int y = top; y < top + height; ++y)
      for (int i = left; i < left + width; ++i, ++drawn) {
        if (!(drawn & 1)) d.normals(drawn >> 1, z[0], z[1]);
        at[c * x.plane() + int64_t{y} * x.w + i] = rounded<T>(static_cast<float>(values[c] + spread[c] * z[drawn & 1]));
      }
}

void Draws::normals(int64_t j, double& a, double& b) const {
  const Philox p = philox(static_cast<uint64_t>(again << 24 | static_cast<uint32_t>(j >> 1)) << 32 | id, stream, attempt, key0, key1);
  const uint32_t* word = p.word + 2 * (j & 1);
  // (word >> 8) + 1 puts u in (0, 1], so that its logarithm is finite.
  const double r = std::sqrt(-2 * std::log(((word[0] >> 8) + 1) * 0x1p-24)), turn = (word[1] >> 8) * (6.283185307179586 * 0x1p-24);
  a = r * std::cos(turn);
  b = r * std::sin(turn);
}

double Draws::uniform(int64_t e) const {
  const Philox p = philox(static_cast<uint64_t>(again << 24 | static_cast<uint32_t>(e >> 2)) << 32 | id, stream, attempt, key0, key1);
  return uniform01(p.word[e & 3]);
}

#define ANNEAL_MOVES(T)                                                                 \
  template void crop(Image<T>&, int64_t, int64_t, int, int, Padding, const double*);    \
  template void flipHorizontal(Image<T>&);                                              \
  template void flipVertical(Image<T>&);
ANNEAL_MOVES(uint8_t)
ANNEAL_MOVES(uint16_t)
ANNEAL_MOVES(int32_t)
ANNEAL_MOVES(float)
ANNEAL_MOVES(double)
#define ANNEAL_CHANGES(T)                                                \
  template void resizedCrop(Image<T>&, int, int, int, int, int, int);    \
  template void affine(Image<T>&, const double*, bool, const double*);   \
  template void erase(Image<T>&, int, int, int, int, const double*);     \
  template void eraseNoise(Image<T>&, int, int, int, int, const Draws&, const double*, const double*);
ANNEAL_CHANGES(uint8_t)
ANNEAL_CHANGES(float)

}  // namespace anneal::data
