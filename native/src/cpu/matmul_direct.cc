// Gradients of weights in registers, for AVX2 without AVX-512: out (+)= a^T b with some hundred rows to sum over. There oneDNN 2.6 reaches 59 to 72
// GFLOP/s of a Zen 3 core's 100, this 77 to 82. Other forms and longer sums are oneDNN's: it does those at 82 to 88. With AVX-512 it is near the
// processor's peak in every form, and this is not compiled.
//
// A tile of 6 x 16 sums lives in 12 registers. b is packed into panels of 16 columns, a slab of the inner dimension at a time, a into strips of 6,
// block by block. A sum adds up in the order of the inner dimension whoever computes it: the result does not depend on the number of threads.
#include <cstring>

#include "cpu/kernel.h"
#include "cpu/matmul.h"

namespace anneal::cpu {
char* scratch(int slot, size_t bytes);
}

ANNEAL_KERNELS_BEGIN

#if defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__)

namespace {

constexpr int kRows = 6, kLanes = 16;  // of a tile
constexpr int64_t kDepth = 384;  // inner dimension of a slab: a panel of it fills three quarters of the nearest cache
constexpr int64_t kHeight = 96;  // rows of a block: they stay in the second cache while the panels pass
constexpr int64_t kPacked = 1 << 20;  // floats of b packed between two barriers
constexpr int64_t kAhead = 8;  // rows that packing fetches before their turn
constexpr int kRoomSlot = 5, kPanelSlot = 6;  // scratch

typedef float V __attribute__((vector_size(32)));
typedef float Loose __attribute__((vector_size(32), aligned(4), may_alias));
ANNEAL_ALWAYS V load(const float* p) { return *reinterpret_cast<const Loose*>(p); }
ANNEAL_ALWAYS void store(float* p, V v) { *reinterpret_cast<Loose*>(p) = v; }
constexpr int64_t ceilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/** c [R, 16] (+)= a strip by a panel. */
template <int R>
__attribute__((noinline)) void tile(const float* a, const float* b, int64_t depth, bool add, float* c, int64_t ldc) {
  V s[R][2];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    __builtin_prefetch(c + i * ldc, 1);
    __builtin_prefetch(c + i * ldc + kLanes - 1, 1);
    s[i][0] = s[i][1] = V{};
  }
  if (add) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) s[i][0] = load(c + i * ldc), s[i][1] = load(c + i * ldc + 8);
  }
#pragma GCC unroll 4
  for (int64_t p = 0; p < depth; ++p, a += kRows, b += kLanes) {
    const V y0 = load(b), y1 = load(b + 8);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      s[i][0] += a[i] * y0;
      s[i][1] += a[i] * y1;
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) store(c + i * ldc, s[i][0]), store(c + i * ldc + 8, s[i][1]);
}

constexpr decltype(&tile<1>) kTiles[kRows] = {tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>};

/** One call: operands, and how it is cut up. */
struct Direct {
  MatmulShape s;
  const float *a, *b;  // [k, m], [k, n]
  float* out;
  int64_t slabs, depth, together;  // of the inner dimension; how many are packed between two barriers
  int64_t all, blocks, height, ranges;  // panels; tasks: blocks of rows by ranges of panels
  float *panels, *rooms;
  int64_t panelFloats, roomFloats;

  Direct(const Call& c, int threads) : s(c), a(c.in[0].as<float>()), b(c.in[1].as<float>()), out(c.out[0].as<float>()) {
    slabs = ceilDiv(s.k, kDepth), depth = ceilDiv(s.k, slabs);
    all = ceilDiv(s.n, kLanes), panelFloats = all * kLanes * depth;
    together = least(slabs, panelFloats < kPacked ? kPacked / panelFloats : 1);
    // A block or more for each thread, if of some height; else ranges of at least eight panels.
    const int64_t tall = ceilDiv(s.m, kHeight), shared = least(threads, ceilDiv(s.m, 4 * kRows)), wanted = tall > shared ? tall : shared;
    height = ceilDiv(ceilDiv(s.m, wanted), kRows) * kRows, blocks = ceilDiv(s.m, height);
    ranges = threads > 1 ? least(ceilDiv(all, 8), ceilDiv(4 * threads, blocks)) : 1;
    roomFloats = height * depth + 8;
    panels = reinterpret_cast<float*>(scratch(kPanelSlot, static_cast<size_t>(panelFloats * together * (slabs > together ? 2 : 1)) * sizeof(float)));
    rooms = reinterpret_cast<float*>(scratch(kRoomSlot, static_cast<size_t>(roomFloats * threads) * sizeof(float)));
  }

  int64_t depthOf(int64_t slab) const { return least(depth, s.k - slab * depth); }

  /** 16 columns of b: [count][16]; behind the last column 0. */
  void packPanel(int64_t slab, int64_t panel, float* to) const {
    const int64_t count = depthOf(slab), column = panel * kLanes, lanes = least(kLanes, s.n - column);
    const float* from = b + slab * depth * s.n + column;
    if (lanes == kLanes) {
      for (int64_t p = 0; p < count; ++p, from += s.n, to += kLanes) store(to, load(from)), store(to + 8, load(from + 8));
    } else {
      std::memset(to, 0, static_cast<size_t>(count * kLanes) * sizeof(float));
      for (int64_t p = 0; p < count; ++p, from += s.n, to += kLanes) std::memcpy(to, from, static_cast<size_t>(lanes) * sizeof(float));
    }
  }

  /** Columns i0 to i1 of a: strips of [count][6]. Columns behind the last stay unwritten and unused. */
  void packBlock(int64_t i0, int64_t i1, int64_t slab, float* to) const {
    const int64_t count = depthOf(slab);
    for (int64_t p = 0; p < count; ++p) {
      const float* from = a + (slab * depth + p) * s.m;
      // Rows lie far apart: the processor does not see the next one coming.
      if (p + kAhead < count)
        for (int64_t i = i0; i < i1; i += kLanes) __builtin_prefetch(from + kAhead * s.m + i);
      float* strip = to + p * kRows;
      int64_t i = i0;
      // Eight at once: the next p writes over the last two. Where nothing comes after, one by one.
      for (const int64_t wide = p + 1 < count ? least(i1, s.m - 7) : i0; i < wide; i += kRows, strip += count * kRows) store(strip, load(from + i));
      for (; i < i1; i += kRows, strip += count * kRows)
        for (int64_t r = i; r < least(i + kRows, i1); ++r) strip[r - i] = from[r];
    }
  }

  /** One block of rows by one range of panels, over one slab. */
  void task(int64_t which, int64_t slab, const float* packed) const {
    const int64_t i0 = which / ranges * height, i1 = least(i0 + height, s.m), count = depthOf(slab), range = which % ranges;
    const bool add = s.accumulate || slab > 0;
    float* room = rooms + omp_get_thread_num() * roomFloats;
    packBlock(i0, i1, slab, room);
    for (int64_t panel = all * range / ranges; panel < all * (range + 1) / ranges; ++panel) {
      const int64_t column = panel * kLanes, lanes = least(kLanes, s.n - column);
      for (int64_t i = i0; i < i1; i += kRows) {
        const int64_t rows = least(kRows, i1 - i);
        const float *left = room + (i - i0) * count, *right = packed + panel * count * kLanes;
        float* c = out + i * s.n + column;
        if (lanes == kLanes) {
          kTiles[rows - 1](left, right, count, add, c, s.n);
          continue;
        }
        float sums[kRows * kLanes] = {};  // a panel that is not full
        for (int64_t r = 0; add && r < rows; ++r) std::memcpy(sums + r * kLanes, c + r * s.n, static_cast<size_t>(lanes) * sizeof(float));
        kTiles[rows - 1](left, right, count, add, sums, kLanes);
        for (int64_t r = 0; r < rows; ++r) std::memcpy(c + r * s.n, sums + r * kLanes, static_cast<size_t>(lanes) * sizeof(float));
      }
    }
  }

  /** By every thread of a team. Packed slabs alternate between two buffers, so that one barrier behind the packing is enough. */
  void run() const {
    for (int64_t step = 0, first = 0; first < slabs; ++step, first += together) {
      const int64_t end = least(first + together, slabs);
      float* packed = panels + step % 2 * together * panelFloats;
#pragma omp for schedule(static)
      for (int64_t i = 0; i < all * (end - first); ++i)
        packPanel(first + i / all, i % all, packed + i / all * panelFloats + i % all * depthOf(first + i / all) * kLanes);
      // Who is free takes the next: a core that is busy elsewhere holds nobody up.
#pragma omp for schedule(dynamic) nowait
      for (int64_t t = 0; t < blocks * ranges; ++t)
        for (int64_t slab = first; slab < end; ++slab) task(t, slab, packed + (slab - first) * panelFloats);
    }
  }
};

/** As matmul, of f32 and one matrix on each side: out (+)= a^T b. */
void weightGradient(const Call& c) {
  const int threads = threadsFor(c.integer(0) * c.integer(1) * c.integer(2), 32 * kGrain);
  const Direct d(c, threads);
  if (threads == 1) return d.run();
#pragma omp parallel num_threads(threads)
  d.run();
}

}  // namespace

void registerDirectMatmul() { directWeightGradient = weightGradient; }

#else

void registerDirectMatmul() {}

#endif

ANNEAL_KERNELS_END
