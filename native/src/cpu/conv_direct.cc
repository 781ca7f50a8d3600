// Convolution in registers, for AVX2 without AVX-512: there oneDNN's NHWC kernels reach 77 (forward), 61 (gradient of x) and 53 (of w) GFLOP/s of
// a Zen 3 core's 100, these 93, 90 and 84. With AVX-512 oneDNN is at the processor's peak, and these are not compiled.
//
// Both loops hold 6 x 16 sums in 12 registers. Sweep (forward, and the gradient of x as a convolution with the flipped kernel): 6 pixels by 16
// output channels, one broadcast input and 16 packed weights at a time. GradWeight: 6 weights by 16 output channels, along the pixels. Tasks
// depend on the shape alone and no two add to one sum, so results do not depend on the number of threads, nor on which thread does what.
#include <cstring>

#include "cpu/conv.h"
#include "cpu/kernel.h"

namespace anneal::cpu {
char* scratch(int slot, size_t bytes);
}

ANNEAL_KERNELS_BEGIN

#if defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__)

namespace {

constexpr int kRows = 6, kLanes = 16;  // of a tile
constexpr int kWeights = 4, kRooms = 5, kTables = 6;  // scratch

typedef float V __attribute__((vector_size(32)));
typedef float Loose __attribute__((vector_size(32), aligned(4), may_alias));
ANNEAL_ALWAYS V load(const float* p) { return *reinterpret_cast<const Loose*>(p); }
ANNEAL_ALWAYS void store(float* p, V v) { *reinterpret_cast<Loose*>(p) = v; }
ANNEAL_ALWAYS V spread(float x) { return V{x, x, x, x, x, x, x, x}; }

constexpr int64_t roundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/** body(i) for i in [0, n), whoever is free takes the next: a core that something else keeps busy does not hold the others up. */
template <class Body>
void eachTask(int64_t n, int64_t work, Body&& body) {
  const int threads = threadsFor(work, 8 * kGrain);
  if (threads == 1 || n == 1) {
    for (int64_t i = 0; i < n; ++i) body(i);
    return;
  }
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t i = 0; i < n; ++i) body(i);
}

/** Output rows taken together: few enough for their inputs to stay in the near caches. Where padding is needed, the inputs are copied into a frame of zeros. */
struct Block {
  int64_t rows, perImage, wide, tall;
  bool padded;

  Block(const ConvShape& s, int64_t pixels) {
    rows = pixels / s.ow < 1 ? 1 : pixels / s.ow;
    if (rows > s.oh) rows = s.oh;
    perImage = (s.oh + rows - 1) / rows;
    rows = (s.oh + perImage - 1) / perImage;  // evenly
    wide = s.w + 2 * s.pw;
    tall = (rows - 1) * s.sh + (s.kh - 1) * s.dh + 1;
    padded = s.ph > 0 || s.pw > 0;
  }
  int64_t rowsOf(const ConvShape& s, int64_t i) const { return (i + 1) * rows <= s.oh ? rows : s.oh - i * rows; }
  /** Floats of one thread's copy. */
  int64_t room(const ConvShape& s) const { return padded ? roundUp(tall * wide * s.c, 16) : 0; }

  /** The input under block `i` of an image: rows of `wide` pixels. */
  const float* input(const ConvShape& s, const float* image, int64_t i, float* to) const {
    const int64_t top = i * rows * s.sh - s.ph, line = wide * s.c;
    if (!padded) return image + top * line;
    const int64_t used = (rowsOf(s, i) - 1) * s.sh + (s.kh - 1) * s.dh + 1;
    for (int64_t r = 0; r < used; ++r) {
      const int64_t h = top + r;
      float* row = to + r * line;
      if (h < 0 || h >= s.h) {
        std::memset(row, 0, line * sizeof(float));
        continue;
      }
      std::memset(row, 0, s.pw * s.c * sizeof(float));
      std::memcpy(row + s.pw * s.c, image + h * s.w * s.c, s.w * s.c * sizeof(float));
      std::memset(row + (s.pw + s.w) * s.c, 0, s.pw * s.c * sizeof(float));
    }
    return to;
  }
};

// ---- forward, and the gradient of x -----------------------------------------------------------------------------------------

/** Stretches of input that lie in one piece under a pixel's window: a kernel row, or where it is dilated, a pixel. */
struct Runs {
  int64_t count, length, perRow;
  int64_t* starts;
};

struct Sweep {
  const ConvShape& s;
  const float *x, *weights, *bias;  // weights: [o / 16][kh][kw][c][16]; bias: of a multiple of 16, or null
  float* y;
  bool relu;
  Block block;
  Runs runs;
  const int64_t* offsets;  // of a block's pixels in its input
};

struct Range {
  int64_t begin, end;
};

/** 6 pixels by 16 channels, over some of the runs. */
__attribute__((noinline)) void sweepTile(const Sweep& w, Range runs, const float* const* pixels, const float* weights, const float* bias, float* const* out) {
  V sum[kRows][2];
  const V b0 = bias ? load(bias) : V{}, b1 = bias ? load(bias + 8) : V{};
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) sum[i][0] = b0, sum[i][1] = b1;
  weights += runs.begin * w.runs.length * kLanes;
  for (int64_t k = runs.begin; k < runs.end; ++k) {
    const float* p[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) p[i] = pixels[i] + w.runs.starts[k];
    for (int64_t r = 0; r < w.runs.length; ++r, weights += kLanes) {
      const V w0 = load(weights), w1 = load(weights + 8);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const V v = spread(p[i][r]);
        sum[i][0] += v * w0;
        sum[i][1] += v * w1;
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    // NaN <= 0 is false: NaN stays.
    if (w.relu) sum[i][0] = sum[i][0] <= 0.f ? V{} : sum[i][0], sum[i][1] = sum[i][1] <= 0.f ? V{} : sum[i][1];
    store(out[i], sum[i][0]);
    store(out[i] + 8, sum[i][1]);
  }
}

/** The runs that meet the input, not only padding, for some of the output rows `first` to `last`. */
Range meeting(const Sweep& w, int64_t first, int64_t last) {
  const ConvShape& s = w.s;
  const int64_t above = s.ph - last * s.sh, below = s.h + s.ph - first * s.sh;  // kernel rows k with above <= k * dilation < below
  const int64_t begin = above <= 0 ? 0 : (above + s.dh - 1) / s.dh, end = below <= 0 ? 0 : (below + s.dh - 1) / s.dh;
  const int64_t to = end < s.kh ? end : s.kh;
  return {(begin < to ? begin : to) * w.runs.perRow, to * w.runs.perRow};
}

/** One block of output rows, all channels. */
void sweepBlock(const Sweep& w, int64_t task, float* room) {
  const ConvShape& s = w.s;
  const int64_t image = task / w.block.perImage, i = task % w.block.perImage, pixels = w.block.rowsOf(s, i) * s.ow;
  const float* x = w.block.input(s, w.x + image * s.h * s.w * s.c, i, room);
  float* y = w.y + (image * s.oh + i * w.block.rows) * s.ow * s.o;
  float spare[kRows][kLanes];
  for (int64_t o = 0; o < s.o; o += kLanes) {
    const float* weights = w.weights + o * w.runs.count * w.runs.length;
    const bool whole = o + kLanes <= s.o;
    for (int64_t p = 0; p < pixels; p += kRows) {
      const float* from[kRows];
      float* to[kRows];
      for (int r = 0; r < kRows; ++r) {  // behind the last pixel: the last again, its result dropped
        const bool real = p + r < pixels;
        from[r] = x + w.offsets[real ? p + r : pixels - 1];
        to[r] = real && whole ? y + (p + r) * s.o + o : spare[r];
      }
      const int64_t top = i * w.block.rows;
      const Range runs = w.block.padded ? meeting(w, top + p / s.ow, top + ((p + kRows < pixels ? p + kRows : pixels) - 1) / s.ow) : Range{0, w.runs.count};
      sweepTile(w, runs, from, weights, w.bias ? w.bias + o : nullptr, to);
      if (whole) continue;
      for (int r = 0; r < kRows && p + r < pixels; ++r) std::memcpy(y + (p + r) * s.o + o, spare[r], (s.o - o) * sizeof(float));
    }
  }
}

/** y = relu?(x * packed + bias), tables and threads' copies in scratch. */
void sweep(const ConvShape& s, const float* x, const float* packed, const float* bias, bool relu, float* y) {
  const Block block(s, 96);
  const bool lines = s.dw == 1;
  const int64_t count = lines ? s.kh : s.kh * s.kw, pixels = block.rows * s.ow, o16 = roundUp(s.o, kLanes);
  int64_t* tables = reinterpret_cast<int64_t*>(scratch(kTables, (count + pixels) * sizeof(int64_t) + o16 * sizeof(float)));
  for (int64_t k = 0; k < count; ++k) tables[k] = ((lines ? k : k / s.kw) * s.dh * block.wide + (lines ? 0 : k % s.kw * s.dw)) * s.c;
  int64_t* offsets = tables + count;
  for (int64_t p = 0; p < pixels; ++p) offsets[p] = (p / s.ow * s.sh * block.wide + p % s.ow * s.sw) * s.c;
  float* wideBias = reinterpret_cast<float*>(offsets + pixels);
  if (bias)
    for (int64_t o = 0; o < o16; ++o) wideBias[o] = o < s.o ? bias[o] : 0.f;
  const Sweep w{s, x, packed, bias ? wideBias : nullptr, y, relu, block, Runs{count, lines ? s.kw * s.c : s.c, lines ? 1 : s.kw, tables}, offsets};
  const int64_t room = block.room(s);
  float* rooms = reinterpret_cast<float*>(scratch(kRooms, static_cast<size_t>(omp_get_max_threads() * room + 16) * sizeof(float)));
  eachTask(s.n * block.perImage, s.outputs() * s.kh * s.kw * s.c, [&](int64_t task) { sweepBlock(w, task, rooms + omp_get_thread_num() * room); });
}

/** to[lane block][k][r][16 lanes] = w[lane * laneStep + r * rowStep + (k, or counted from the end)]; lanes beyond the last are 0. */
const float* packWeights(const float* w, int64_t lanes, int64_t laneStep, int64_t rows, int64_t rowStep, int64_t kernel, bool flipped) {
  float* packed = reinterpret_cast<float*>(scratch(kWeights, static_cast<size_t>(roundUp(lanes, kLanes) * rows * kernel) * sizeof(float)));
  parallelRows(roundUp(lanes, kLanes) / kLanes, rows * kernel * kLanes, [=](int64_t block) {
    float* to = packed + block * kernel * rows * kLanes;
    for (int64_t k = 0; k < kernel; ++k) {
      const float* from = w + (flipped ? kernel - 1 - k : k) + block * kLanes * laneStep;
      const int64_t real = lanes - block * kLanes < kLanes ? lanes - block * kLanes : kLanes;
      for (int64_t r = 0; r < rows; ++r, to += kLanes)
        for (int64_t lane = 0; lane < kLanes; ++lane) to[lane] = lane < real ? from[lane * laneStep + r * rowStep] : 0.f;
    }
  });
  return packed;
}

void forward(const Call& c) {
  const ConvShape s(c);
  const int64_t kernel = s.kh * s.kw;
  const float* packed = packWeights(c.in[1].as<float>(), s.o, s.c * kernel, s.c, kernel, kernel, false);
  sweep(s, c.in[0].as<float>(), packed, c.has(2) ? c.in[2].as<float>() : nullptr, s.flag, c.out[0].as<float>());
}

/** dx = g * the flipped kernel with inputs and outputs changed over, g padded so that every place of the kernel meets every pixel. Stride 1 only. */
void gradInput(const Call& c) {
  const ConvShape s(c);
  const int64_t kernel = s.kh * s.kw;
  const float* packed = packWeights(c.in[1].as<float>(), s.c, kernel, s.o, s.c * kernel, kernel, true);
  sweep(s.turned(), c.in[0].as<float>(), packed, nullptr, false, c.out[0].as<float>());
}

// ---- the gradient of w ------------------------------------------------------------------------------------------------------

struct GradWeight {
  const ConvShape& s;
  const float *g, *x;
  float* sums;  // [chunk][o / 16][kh, kw, c, up to a multiple of 6][16]
  Block block;
  int64_t k, chunks, imagesPerChunk, outs;
  const int64_t* offsets;  // of the kernel's elements in a block's input
};

/** 6 weights by 16 channels, over the pixels of a block: `g` holds those channels packed. */
__attribute__((noinline)) void weightTile(const ConvShape& s, const float* x, const int64_t* offsets, int64_t rows, int64_t rowStep, const float* g, float* sums) {
  V sum[kRows][2];
  const float* p[kRows];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
    sum[i][0] = load(sums + i * kLanes), sum[i][1] = load(sums + i * kLanes + 8);
    p[i] = x + offsets[i];
  }
  const int64_t step = s.sw * s.c, end = s.ow * step;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t at = 0; at < end; at += step, g += kLanes) {
      const V g0 = load(g), g1 = load(g + 8);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const V v = spread(p[i][at]);
        sum[i][0] += v * g0;
        sum[i][1] += v * g1;
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) p[i] += rowStep;
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) store(sums + i * kLanes, sum[i][0]), store(sums + i * kLanes + 8, sum[i][1]);
}

/** One chunk of images, 16 output channels. */
void gradWeightTask(const GradWeight& w, int64_t task, float* packed, float* room) {
  const ConvShape& s = w.s;
  const int64_t chunk = task / w.outs, o = task % w.outs * kLanes, lanes = s.o - o < kLanes ? s.o - o : kLanes;
  float* sums = w.sums + task * w.k * kLanes;
  std::memset(sums, 0, w.k * kLanes * sizeof(float));
  const int64_t last = (chunk + 1) * w.imagesPerChunk < s.n ? (chunk + 1) * w.imagesPerChunk : s.n;
  for (int64_t image = chunk * w.imagesPerChunk; image < last; ++image) {
    for (int64_t i = 0; i < w.block.perImage; ++i) {
      const int64_t rows = w.block.rowsOf(s, i), pixels = rows * s.ow;
      const float* g = w.g + (image * s.oh + i * w.block.rows) * s.ow * s.o + o;
      for (int64_t p = 0; p < pixels; ++p)
        for (int64_t lane = 0; lane < kLanes; ++lane) packed[p * kLanes + lane] = lane < lanes ? g[p * s.o + lane] : 0.f;
      const float* x = w.block.input(s, w.x + image * s.h * s.w * s.c, i, room);
      for (int64_t k = 0; k < w.k; k += kRows) weightTile(s, x, w.offsets + k, rows, s.sh * w.block.wide * s.c, packed, sums + k * kLanes);
    }
  }
}

/** dw in OIHW from the chunks' sums, in order. */
void addChunks(const GradWeight& w, float* dw) {
  const int64_t kernel = w.s.kh * w.s.kw, perOut = w.s.c * kernel;
  parallelRows(w.s.o, perOut * w.chunks, [&](int64_t o) {
    for (int64_t k = 0; k < kernel; ++k) {
      for (int64_t c = 0; c < w.s.c; ++c) {
        float* to = dw + o * perOut + c * kernel + k;
        float sum = w.s.flag ? *to : 0.f;
        for (int64_t chunk = 0; chunk < w.chunks; ++chunk) sum += w.sums[((chunk * w.outs + o / kLanes) * w.k + k * w.s.c + c) * kLanes + o % kLanes];
        *to = sum;
      }
    }
  });
}

void gradWeight(const Call& c) {
  const ConvShape s(c);
  const Block block(s, 192);
  const int64_t real = s.kh * s.kw * s.c, k = roundUp(real, kRows), outs = roundUp(s.o, kLanes) / kLanes;
  // About 16 tasks: work for many cores, and few copies of the sums.
  int64_t chunks = (16 + outs - 1) / outs < s.n ? (16 + outs - 1) / outs : s.n;
  const int64_t perChunk = (s.n + chunks - 1) / chunks;
  chunks = (s.n + perChunk - 1) / perChunk;
  float* sums = reinterpret_cast<float*>(scratch(kWeights, static_cast<size_t>(chunks * outs * k * kLanes) * sizeof(float)));
  int64_t* offsets = reinterpret_cast<int64_t*>(scratch(kTables, static_cast<size_t>(k) * sizeof(int64_t)));
  for (int64_t i = 0; i < k; ++i) {  // behind the last weight: the last again
    const int64_t at = i < real ? i : real - 1;
    offsets[i] = (at / s.c / s.kw * s.dh * block.wide + at / s.c % s.kw * s.dw) * s.c + at % s.c;
  }
  const int64_t packed = block.rows * s.ow * kLanes, room = packed + block.room(s);
  float* rooms = reinterpret_cast<float*>(scratch(kRooms, static_cast<size_t>(omp_get_max_threads() * room) * sizeof(float)));
  const GradWeight w{s, c.in[0].as<float>(), c.in[1].as<float>(), sums, block, k, chunks, perChunk, outs, offsets};
  eachTask(chunks * outs, s.outputs() * real, [&](int64_t task) {
    float* mine = rooms + omp_get_thread_num() * room;
    gradWeightTask(w, task, mine, mine + packed);
  });
  addChunks(w, c.out[0].as<float>());
}

}  // namespace

void registerDirectConv(ConvKernels& k) { k.directForward = forward, k.directGradInput = gradInput, k.directGradWeight = gradWeight; }

#else

void registerDirectConv(ConvKernels&) {}

#endif

ANNEAL_KERNELS_END
