#include "data/augment.h"

#include <string>

#include "data/image.h"

namespace anneal::data {
namespace {

/** The arguments of one step, checked for their number. */
struct Arguments {
  const double* at;
  int64_t count;
  const double* need(int64_t n) const {
    data::need(count >= n, "too few arguments");
    return at;
  }
  int whole(int i) const { return static_cast<int>(at[i]); }
};

/** What bytes and f32 alone can do. */
template <class T>
void change(Image<T>& x, Step step, const Arguments& a) {
  const double* v = a.at;
  const int c = x.c;
  switch (step) {
    case Step::resizedCrop: a.need(6); return resizedCrop(x, a.whole(0), a.whole(1), a.whole(2), a.whole(3), a.whole(4), a.whole(5));
    case Step::affine: a.need(7 + c); return affine(x, v, v[6] != 0, v + 7);
    case Step::erase: a.need(4 + c); return erase(x, a.whole(0), a.whole(1), a.whole(2), a.whole(3), v + 4);
    case Step::eraseNoise:
      a.need(4 + Draws::kNumbers + 2 * c);
      return eraseNoise(x, a.whole(0), a.whole(1), a.whole(2), a.whole(3), Draws(v + 4), v + 4 + Draws::kNumbers, v + 4 + Draws::kNumbers + c);
    case Step::brightness: return brightness(x, static_cast<float>(*a.need(1)));
    case Step::contrast: return contrast(x, *a.need(1));
    case Step::saturation: return saturation(x, *a.need(1));
    case Step::hue: return hue(x, static_cast<float>(*a.need(1)));
    case Step::sharpness: return sharpness(x, *a.need(1));
    case Step::posterize: return posterize(x, static_cast<int>(*a.need(1)));
    case Step::solarize: return solarize(x, static_cast<float>(*a.need(1)));
    case Step::autocontrast: return autocontrast(x);
    case Step::equalize: return equalize(x);
    default: throw std::runtime_error("augment: no such step");
  }
}

/** (v scale - mean) / std per channel; bytes by a table of their 256 results. */
template <class T>
class Encoder {
 public:
  explicit Encoder(const Work& w) : w_(w) {
    if constexpr (std::is_same_v<T, uint8_t>)
      for (int c = 0; c < w.channels && w.encoded; ++c)
        for (int v = 0; v < 256; ++v) tables_.push_back(one(v, c));
  }
  void write(const Image<T>& x, float* out) const {
    const int64_t n = x.plane();
    for (int c = 0; c < x.c; ++c, out += n) {
      const T* from = x.plane(c);
      if constexpr (std::is_same_v<T, uint8_t>) {
        const float* table = tables_.data() + 256 * c;
        for (int64_t i = 0; i < n; ++i) out[i] = table[from[i]];
      } else {
        for (int64_t i = 0; i < n; ++i) out[i] = one(from[i], c);
      }
    }
  }

 private:
  float one(double v, int c) const { return static_cast<float>((v * w_.scale - w_.mean[c]) / w_.std[c]); }
  const Work& w_;
  std::vector<float> tables_;
};

/** A list of one number or one per feature among the constants: arguments (place, count). */
struct Values {
  const double* at;
  bool single;
  Values(const Work& w, double place, double count) : at(w.constants + static_cast<int64_t>(place)), single(count == 1) {
    need(place >= 0 && (single || count == static_cast<double>(w.outSize)) && static_cast<int64_t>(place + count) <= w.constantCount, "a list of numbers");
  }
  double operator[](int64_t i) const { return at[single ? 0 : i]; }
};

/** Steps on the numbers that come out: noise (draws, place, count of std) and mask (draws, p, place, count of values). */
void disturb(const Work& w, float* out, Step step, const Arguments& a) {
  const double* v = a.need(Draws::kNumbers + (step == Step::noise ? 2 : 3));
  const Draws d(v);
  v += Draws::kNumbers;
  if (step == Step::noise) {
    const Values std(w, v[0], v[1]);
    double z[2];
    for (int64_t i = 0; i < w.outSize; ++i) {
      if (!(i & 1)) d.normals(i >> 1, z[0], z[1]);
      out[i] = static_cast<float>(out[i] + std[i] * z[i & 1]);
    }
  } else {
    const Values value(w, v[1], v[2]);
    for (int64_t i = 0; i < w.outSize; ++i)
      if (d.uniform(i) < v[0]) out[i] = static_cast<float>(value[i]);
  }
}

template <class T>
void samples(const Work& w, int64_t from, int64_t to) {
  constexpr bool changes = std::is_same_v<T, uint8_t> || std::is_same_v<T, float>;
  const int64_t size = int64_t{w.channels} * w.height * w.width;
  const Encoder<T> encoder(w);
  Image<T> x;
  for (int64_t k = from; k < to; ++k) {
    const int64_t start = int64_t{w.positions[k]} * w.step + w.shift;
    need(start >= 0 && start + size <= w.elements, "a sample outside the column");
    x.begin(static_cast<const T*>(w.data) + start, w.channels, w.height, w.width);
    const double *at = w.program + k * w.stride, *end = at + w.stride;
    bool written = false;
    const auto write = [&] {
      need(x.size() == w.outSize, "the samples do not have the batch's shape");
      if (w.encoded) encoder.write(x, static_cast<float*>(w.out) + k * w.outSize);
      else std::memcpy(static_cast<T*>(w.out) + k * w.outSize, x.at(), sizeof(T) * w.outSize);
      written = true;
    };
    while (at + 2 <= end && *at != 0) {
      const Step step = static_cast<Step>(static_cast<int>(at[0]));
      const Arguments a{at + 2, static_cast<int64_t>(at[1])};
      need(a.count >= 0 && a.count <= end - at - 2, "a broken program");
      at += 2 + a.count;
      if (step == Step::crop) {
        a.need(5 + x.c);
        need(a.at[4] >= 0 && a.at[4] <= 3, "a kind of padding");
        crop(x, static_cast<int64_t>(a.at[0]), static_cast<int64_t>(a.at[1]), a.whole(2), a.whole(3), static_cast<Padding>(a.whole(4)), a.at + 5);
      } else if (step == Step::flipHorizontal) {
        flipHorizontal(x);
      } else if (step == Step::flipVertical) {
        flipVertical(x);
      } else if (step == Step::noise || step == Step::mask) {
        need(w.encoded || std::is_same_v<T, float>, "noise needs numbers in f32");
        if (!written) write();
        disturb(w, static_cast<float*>(w.out) + k * w.outSize, step, a);
      } else if constexpr (changes) {
        need(!written, "images are changed before their numbers");
        change(x, step, a);
      } else {
        throw std::runtime_error("augment: a step for bytes and f32 only");
      }
    }
    if (!written) write();
  }
}

}  // namespace

void augment(const Work& w, int64_t from, int64_t to) {
  need(from >= 0 && from <= to && to <= w.samples && w.channels >= 1 && w.height >= 1 && w.width >= 1, "sizes");
  switch (w.element) {
    case Element::u8: return samples<uint8_t>(w, from, to);
    case Element::u16: return samples<uint16_t>(w, from, to);
    case Element::i32: return samples<int32_t>(w, from, to);
    case Element::f32: return samples<float>(w, from, to);
    case Element::f64: return samples<double>(w, from, to);
  }
}

void mixup(float* at, int64_t rows, int64_t size, double lambda) {
  if (rows == 0) return;
  const float own = static_cast<float>(lambda), other = static_cast<float>(1.0 - lambda);
  const std::vector<float> last(at + (rows - 1) * size, at + rows * size);
  for (int64_t k = rows - 1; k >= 0; --k) {
    float* x = at + k * size;
    const float* partner = k > 0 ? x - size : last.data();
    for (int64_t i = 0; i < size; ++i) x[i] = partner[i] * other + x[i] * own;
  }
}

void cutmix(char* at, int64_t rows, int64_t size, int64_t bytes, int height, int width, const double* box) {
  const int64_t plane = int64_t{height} * width;
  need(plane > 0 && size % plane == 0 && box[0] >= 0 && box[1] >= 0 && box[2] <= width && box[3] <= height, "cutmix: the box");
  const int64_t x1 = static_cast<int64_t>(box[0]), y1 = static_cast<int64_t>(box[1]), x2 = static_cast<int64_t>(box[2]), y2 = static_cast<int64_t>(box[3]);
  if (rows == 0 || x2 <= x1 || y2 <= y1) return;
  const std::vector<char> last(at + (rows - 1) * size * bytes, at + rows * size * bytes);
  for (int64_t k = rows - 1; k >= 0; --k) {
    char* x = at + k * size * bytes;
    const char* partner = k > 0 ? x - size * bytes : last.data();
    for (int64_t c = 0; c < size / plane; ++c)
      for (int64_t y = y1; y < y2; ++y) {
        const int64_t from = (c * plane + y * width + x1) * bytes;
        std::memcpy(x + from, partner + from, (x2 - x1) * bytes);
      }
  }
}

}  // namespace anneal::data
