// An image in the hands of a loader's thread, and what can be done to it. The semantics are torchvision v2's functional transforms, with the
// arithmetic of its tensor path: bytes are computed in f32 and end on whole numbers the way each transform says there.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace anneal::data {

/** A sample being worked on, [channels, height, width]. Until something is done to it, it is the dataset's own memory. */
template <class T>
class Image {
 public:
  void begin(const T* source, int channels, int height, int width) {
    at_ = source;
    owned_ = false;
    c = channels;
    h = height;
    w = width;
  }
  const T* at() const { return at_; }
  const T* plane(int channel) const { return at_ + channel * plane(); }
  int64_t plane() const { return int64_t{h} * w; }
  int64_t size() const { return c * plane(); }

  /** The pixels, to be changed in place. */
  T* writable() {
    if (!owned_) {
      spare_.resize(size());
      std::memcpy(spare_.data(), at_, sizeof(T) * size());
      adopt();
    }
    return held_.data();
  }
  /** Room for an image of another size; the present one stays readable until `become`. */
  T* room(int height, int width) {
    spare_.resize(int64_t{c} * height * width);
    return spare_.data();
  }
  void become(int height, int width) {
    adopt();
    h = height;
    w = width;
  }

  int c = 0, h = 0, w = 0;

 private:
  void adopt() {
    held_.swap(spare_);
    at_ = held_.data();
    owned_ = true;
  }
  const T* at_ = nullptr;
  bool owned_ = false;
  std::vector<T> held_, spare_;
};

/** What an image's values go up to. */
template <class T>
constexpr float kBound = std::is_same_v<T, uint8_t> ? 255.f : 1.f;

/** torchvision's `clamp_(0, bound)` and cast: bytes are cut off, not rounded. */
template <class T>
inline T clamped(float v) {
  v = v > 0.f ? v : 0.f;
  v = v < kBound<T> ? v : kBound<T>;
  if constexpr (std::is_same_v<T, uint8_t>) return static_cast<uint8_t>(static_cast<int32_t>(v));
  else return v;
}

inline void need(bool holds, const char* what) {
  if (!holds) throw std::runtime_error(std::string("augment: ") + what);
}

// ---- any type of pixel (geometry.cc) ----------------------------------------------------------------------------------------

enum class Padding { constant, edge, reflect, symmetric };

/** Rows top to top + height - 1 and the columns alike of the image with padding all around; `fill`: one value per channel. */
template <class T>
void crop(Image<T>& x, int64_t top, int64_t left, int height, int width, Padding padding, const double* fill);
template <class T>
void flipHorizontal(Image<T>& x);
template <class T>
void flipVertical(Image<T>& x);

// ---- bytes and f32 ----------------------------------------------------------------------------------------------------------

/** The rectangle, resized by triangles as wide as the scale (bilinear with antialias). */
template <class T>
void resizedCrop(Image<T>& x, int top, int left, int height, int width, int outHeight, int outWidth);
/** Pixel (i, j) shows what lies at m (offset from the centre) in the source; outside is `fill`. */
template <class T>
void affine(Image<T>& x, const double* m, bool bilinear, const double* fill);
template <class T>
void erase(Image<T>& x, int top, int left, int height, int width, const double* values);

/** Random numbers of one sample: its words are those of blocks (id, again << 24 | k), k = 0, 1, ... (lib/data/draws.ts has the same). */
struct Draws {
  uint32_t key0, key1, stream, attempt, id, again;
  explicit Draws(const double* a)
      : key0(static_cast<uint32_t>(a[0])), key1(static_cast<uint32_t>(a[1])), stream(static_cast<uint32_t>(a[2])),
        attempt(static_cast<uint32_t>(a[3])), id(static_cast<uint32_t>(a[4])), again(static_cast<uint32_t>(a[5])) {}
  static constexpr int kNumbers = 6;
  /** Standard normals 2 j and 2 j + 1, by Box and Muller. */
  void normals(int64_t j, double& a, double& b) const;
  double uniform(int64_t e) const;
};

/** values[c] + spread[c] z, z standard normal, in place of the rectangle's pixels. */
template <class T>
void eraseNoise(Image<T>& x, int top, int left, int height, int width, const Draws& d, const double* values, const double* spread);

// ---- colours of bytes and f32 with 1 or 3 channels (color.cc) ----------------------------------------------------------------

template <class T>
void brightness(Image<T>& x, float factor);
template <class T>
void contrast(Image<T>& x, double factor);
template <class T>
void saturation(Image<T>& x, double factor);
/** `shift` in turns of the colour wheel. */
template <class T>
void hue(Image<T>& x, float shift);
template <class T>
void sharpness(Image<T>& x, double factor);
template <class T>
void posterize(Image<T>& x, int bits);
template <class T>
void solarize(Image<T>& x, float threshold);
template <class T>
void autocontrast(Image<T>& x);
template <class T>
void equalize(Image<T>& x);

}  // namespace anneal::data
