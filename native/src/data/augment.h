// A batch's samples on their way out of the dataset: moved, coloured, scaled, disturbed. Runs where the batch is gathered: on a loader's thread, or
// on the main thread, a few samples at a time. Everything random was drawn before (lib/data/augment/plan.ts) or is drawn here by (seed, epoch, sample id).
#pragma once
#include <cstdint>

namespace anneal::data {

enum class Element { u8, u16, i32, f32, f64 };  // u16: the bits of f16 and bf16

/** lib/data/augment/instructions.ts has the same numbers. */
enum class Step {
  end, crop, flipHorizontal, flipVertical, resizedCrop, affine, erase, eraseNoise,
  brightness = 10, contrast, saturation, hue, sharpness, posterize, solarize, autocontrast, equalize,
  noise = 30, mask,  // of the numbers that come out
};

/**
 * One column of a batch. `program` has `stride` numbers for each sample: (step, count, count arguments) ... end. `constants` are lists that all
 * samples share, named by their place.
 */
struct Work {
  const void* data;
  Element element;
  int64_t elements;  // in data
  const uint32_t* positions;
  int64_t samples;
  int64_t step, shift;
  int channels, height, width;
  void* out;
  int64_t outSize;  // of one sample
  bool encoded;     // out is f32: (v scale - mean[c]) / std[c]
  double scale;
  const double *mean, *std;
  const double* program;
  int64_t stride;
  const double* constants;
  int64_t constantCount;
};

/** Samples `from` to `to` - 1. Throws std::runtime_error for a program that does not fit. */
void augment(const Work& work, int64_t from, int64_t to);

/** Row k becomes lambda row k + (1 - lambda) row k - 1, the first's partner being the last: torchvision's batch.roll(1, 0). */
void mixup(float* at, int64_t rows, int64_t size, double lambda);
/** The rectangle of row k becomes that of row k - 1. */
void cutmix(char* at, int64_t rows, int64_t size, int64_t elementBytes, int height, int width, const double* box);

}  // namespace anneal::data
