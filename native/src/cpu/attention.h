// What both directions of attention stand on: the call's shape, register-blocked products, packing, masks, scratch. Everything is f32 inside;
// 16-bit operands are converted while they are packed and rounded once when stored. (f64 takes the plain path at the end of each .cc file.)
#pragma once
#include <cstdlib>

#include "cpu/kernel.h"
#include "cpu/math.h"
#include "cpu/random.h"

ANNEAL_KERNELS_BEGIN
namespace attend {

// ---- the call ---------------------------------------------------------------------------------------------------------------

/** Where element (batch, head, row, 0) of an operand lies: elements from the view's start. A row's D elements are neighbours. */
struct Strides {
  int64_t offset, batch, head, row;
  int64_t at(int64_t b, int64_t h, int64_t r) const { return offset + b * batch + h * head + r * row; }
};

/** Attributes of `attention` and `attention.grad`; lib/ops/attention.ts writes them in this order. k and v absent: they lie in q's view. */
struct Shape {
  Draw draw;  // dropout's place among random numbers; its elements are those of [B, heads, Tq, Tk]
  int64_t batch, heads, kvHeads, tq, tk, d, group;
  double scale;
  bool causal;
  Strides q, k, v, o;
  const uint8_t* mask;  // true: attend
  int64_t maskStride[4];  // batch, head, query, key; 0 repeats
  uint32_t threshold;  // dropout: a weight whose word is below it is dropped; 0: none
  double keep;  // 1 / (1 - p)

  explicit Shape(const Call& c) : draw(c) {
    require(c.nAttr == kDrawAttributes + 30 && c.nIn >= 4 && c.nOut >= 1 && c.has(0), "attention: operands");
    int at = kDrawAttributes;
    const auto next = [&] { return c.integer(at++); };
    batch = next(), heads = next(), kvHeads = next(), tq = next(), tk = next(), d = next();
    require(batch >= 0 && heads >= 0 && kvHeads > 0 && tq >= 0 && tk >= 0 && d >= 0 && heads % kvHeads == 0, "attention: sizes");
    group = heads / kvHeads;
    scale = c.attr[at++];
    causal = c.flag(at++);
    for (Strides* s : {&q, &k, &v, &o}) *s = {c.integer(at), c.integer(at + 1), c.integer(at + 2), c.integer(at + 3)}, at += 4;
    for (int64_t& s : maskStride) s = next();
    const double words = c.attr[at++];
    threshold = words >= 4294967295.0 ? 4294967295u : static_cast<uint32_t>(words);
    keep = c.attr[at++];

    mask = c.has(3) ? c.in[3].as<uint8_t>() : nullptr;
    if (mask) {
      const int64_t last = (batch - 1) * maskStride[0] + (heads - 1) * maskStride[1] + (tq - 1) * maskStride[2] + (tk - 1) * maskStride[3];
      require(empty() || tk == 0 || (c.in[3].dtype == DType::boolean && last < c.in[3].n), "attention: mask");
    }
    for (int i = 1; i < 3; ++i) require(!c.has(i) || c.in[i].dtype == c.in[0].dtype, "attention: dtypes");
    check(c.in[0], q, heads, tq);
    check(c.has(1) ? c.in[1] : c.in[0], k, kvHeads, tk);
    check(c.has(2) ? c.in[2] : c.in[0], v, kvHeads, tk);
  }

  bool empty() const { return batch == 0 || heads == 0 || tq == 0 || d == 0; }
  /** The operand's last element must lie inside its view. */
  void check(const View& view, const Strides& s, int64_t h, int64_t rows) const {
    require(s.offset >= 0 && s.batch >= 0 && s.head >= 0 && s.row >= 0, "attention: strides");
    require(batch == 0 || h == 0 || rows == 0 || d == 0 || s.at(batch - 1, h - 1, rows - 1) + d <= view.n, "attention: operand size");
  }
  /** How many keys, from the first, query i may see. Causal is aligned at the bottom right: the last query sees every key. */
  int64_t limit(int64_t i) const {
    if (!causal) return tk;
    const int64_t n = i + 1 + tk - tq;
    return n < 0 ? 0 : (n > tk ? tk : n);
  }
  /** The first query that sees key j. */
  int64_t firstQuery(int64_t j) const {
    const int64_t i = causal ? j + tq - tk : 0;
    return i < 0 ? 0 : i;
  }
  const uint8_t* maskRow(int64_t b, int64_t h, int64_t i, int64_t j) const {
    return mask + b * maskStride[0] + h * maskStride[1] + i * maskStride[2] + j * maskStride[3];
  }
  uint64_t element(int64_t b, int64_t h, int64_t i, int64_t j) const {
    return draw.first + static_cast<uint64_t>(((b * heads + h) * tq + i) * tk + j);
  }
};

// ---- scratch ----------------------------------------------------------------------------------------------------------------

/** This thread's scratch: grown on demand, freed with the thread. Contents do not survive a second call of `get`. */
struct Scratch {
  float* data = nullptr;
  int64_t floats = 0;
  ~Scratch() { std::free(data); }
  static float* get(int64_t floats) {
    static thread_local Scratch mine;
    if (mine.floats < floats) {
      std::free(mine.data);
      mine.floats = 0;
      mine.data = static_cast<float*>(std::aligned_alloc(64, (static_cast<size_t>(floats) * 4 + 63) / 64 * 64));
      if (mine.data) mine.floats = floats;
    }
    return mine.data;
  }
};

/** Cuts scratch into aligned pieces; with no memory it only counts. */
struct Pieces {
  float* base;
  int64_t used = 0;
  float* take(int64_t floats) {
    float* p = base ? base + used : nullptr;
    used += (floats + 15) / 16 * 16;
    return p;
  }
};

/** body(task) for each task, handed out as threads come free: what a task writes must not depend on who runs it. False: out of memory. */
template <class Body>
inline bool eachTask(int64_t tasks, int64_t threads, Body&& body) {
  bool ok = true;
  if (threads <= 1) {
    for (int64_t t = 0; t < tasks; ++t) ok = body(t) && ok;
    return ok;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(static_cast<int>(threads)) reduction(&& : ok)
  for (int64_t t = 0; t < tasks; ++t) ok = body(t) && ok;
  return ok;
}

// ---- vectors ----------------------------------------------------------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
constexpr int kWide = 2 * kLanes;  // columns of a panel
constexpr int kStrip = 6;  // rows of a strip: 6 x 2 sums, 2 loads and a broadcast fill 15 of AVX2's 16 registers
// Tried: 96 queries, 64 or 256 keys, prefetching rows while packing. All within 3 % of this.
constexpr int kRows = 48;  // queries of a block
constexpr int kKeys = 128;  // keys of a tile
constexpr int64_t kLd = kKeys + 2 * kLanes;  // row stride of a block of scores: room for the zeros behind them, and no power of two

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef float VecU __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef int32_t VecI __attribute__((vector_size(kLanes * 4)));
typedef uint32_t VecW __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

ANNEAL_ALWAYS Vec load(const float* p) { return *reinterpret_cast<const VecU*>(p); }
ANNEAL_ALWAYS void store(float* p, Vec x) { *reinterpret_cast<VecU*>(p) = x; }
constexpr float kLog2e = 1.44269504088896341f, kLn2 = 0.693147180559945309f;
ANNEAL_ALWAYS float sumOf(Vec x) {
  float t[kLanes];
  store(t, x);
#pragma GCC unroll 4
  for (int w = kLanes / 2; w > 0; w /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < w; ++i) t[i] += t[i + w];
  return t[0];
}
ANNEAL_ALWAYS float mostOf(Vec x) {
  float t[kLanes];
  store(t, x);
#pragma GCC unroll 4
  for (int w = kLanes / 2; w > 0; w /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < w; ++i) t[i] = t[i + w] > t[i] ? t[i + w] : t[i];
  return t[0];
}

/**
 * 2^x for x <= 0, or hardly above: below -126.5 it is 0; NaN stays. n = round(x) by adding 1.5 * 2^23 + 127, whose low bits are then the
 * biased exponent; 2^(x-n) by a minimax polynomial on [-1/2, 1/2], error 0.7 ulp.
 */
ANNEAL_ALWAYS Vec exp2Of(Vec x) {
  const Vec low = Vec{} - 127.f;
  x = x < low ? low : x;
  const float magic = 12582912.f + 127.f;
  const Vec shifted = x + magic;
  const Vec r = x - (shifted - magic);
  Vec p = Vec{} + 0x1.41fbbcp-13f;
  p = p * r + 0x1.5f3e54p-10f;
  p = p * r + 0x1.3b2d4cp-7f;
  p = p * r + 0x1.c6aee8p-5f;
  p = p * r + 0x1.ebfbdcp-3f;
  p = p * r + 0x1.62e430p-1f;
  p = p * r + 1.f;
  return p * reinterpret_cast<Vec>(reinterpret_cast<VecI>(shifted) << 23);
}

// ---- products ---------------------------------------------------------------------------------------------------------------
// c [R, kWide] (+)= a b. A panel holds kWide columns, row by row, so that b is read in order.

template <int R>
ANNEAL_ALWAYS void begin(Vec (&s)[R][2], const float* c, int64_t ldc, bool add) {
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    s[i][0] = add ? load(c + i * ldc) : Vec{};
    s[i][1] = add ? load(c + i * ldc + kLanes) : Vec{};
  }
}
template <int R>
ANNEAL_ALWAYS void end(const Vec (&s)[R][2], float* c, int64_t ldc) {
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) store(c + i * ldc, s[i][0]), store(c + i * ldc + kLanes, s[i][1]);
}
/** One step of the inner dimension: the outer product of R numbers `stride` apart and a panel's row. */
template <int R>
ANNEAL_ALWAYS void step(Vec (&s)[R][2], const float* a, int64_t stride, const float* b) {
  const Vec b0 = load(b), b1 = load(b + kLanes);
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
    const float x = a[i * stride];
    s[i][0] += x * b0;
    s[i][1] += x * b1;
  }
}

/** a(i, k) at a[i * kRow + k * kInner]. */
template <int R, int64_t kRow, int64_t kInner>
__attribute__((noinline)) void product(const float* a, const float* b, int64_t n, float* c, int64_t ldc, bool add) {
  Vec s[R][2];
  begin<R>(s, c, ldc, add);
#pragma GCC unroll 2
  for (int64_t k = 0; k < n; ++k) step<R>(s, a + k * kInner, kRow, b + k * kWide);
  end<R>(s, c, ldc);
}

/** a in panels, `panel` floats apart, each holding kWide of the n inner columns. */
template <int R>
__attribute__((noinline)) void productOfPanels(const float* a, int64_t panel, const float* b, int64_t n, float* c, int64_t ldc) {
  Vec s[R][2];
  begin<R>(s, c, ldc, false);
  for (; n >= kWide; n -= kWide, a += panel, b += kWide * kWide) {
#pragma GCC unroll 2
    for (int k = 0; k < kWide; ++k) step<R>(s, a + k, kWide, b + k * kWide);
  }
  for (int64_t k = 0; k < n; ++k) step<R>(s, a + k, kWide, b + k * kWide);
  end<R>(s, c, ldc);
}

template <int N>
struct Const {
  static constexpr int value = N;
};
/** f(Const<rows>{}) for rows of 1 to kStrip. */
template <class F>
ANNEAL_ALWAYS void withRows(int64_t rows, F&& f) {
  switch (rows) {
    case 1: return f(Const<1>{});
    case 2: return f(Const<2>{});
    case 3: return f(Const<3>{});
    case 4: return f(Const<4>{});
    case 5: return f(Const<5>{});
    default: return f(Const<6>{});
  }
}
ANNEAL_ALWAYS int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
ANNEAL_ALWAYS int64_t roundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// ---- packing ----------------------------------------------------------------------------------------------------------------

/** rows x d into panels [d / kWide][height][kWide], times `scale`; columns past d become 0. `height` is at least rows. */
template <class T>
inline void packPanels(const T* x, int64_t stride, int64_t rows, int64_t d, float scale, float* out, int64_t height) {
  for (int64_t r = 0; r < rows; ++r, x += stride) {
    float* to = out + r * kWide;
    int64_t c = 0;
    for (; c + kWide <= d; c += kWide, to += height * kWide) {
#pragma omp simd
      for (int i = 0; i < kWide; ++i) to[i] = static_cast<float>(x[c + i]) * scale;
    }
    if (c < d)
      for (int i = 0; i < kWide; ++i) to[i] = c + i < d ? static_cast<float>(x[c + i]) * scale : 0.f;
  }
}

typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));

/** Up to kWide rows of d columns, transposed: out [d][kWide]; missing rows become 0. */
inline void transposeRows(const float* x, int64_t stride, int64_t rows, int64_t d, float* out) {
  int64_t c = 0;
  const int64_t whole = rows / 4 * 4;
  for (; c + 4 <= d; c += 4) {
    for (int64_t r = 0; r < whole; r += 4) {
      const float* p = x + r * stride + c;
      const Four a = *(const Four*)p, b = *(const Four*)(p + stride), e = *(const Four*)(p + 2 * stride), f = *(const Four*)(p + 3 * stride);
      const Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), AB = __builtin_shufflevector(a, b, 2, 6, 3, 7);
      const Four ef = __builtin_shufflevector(e, f, 0, 4, 1, 5), EF = __builtin_shufflevector(e, f, 2, 6, 3, 7);
      float* to = out + c * kWide + r;
      *(Four*)to = __builtin_shufflevector(ab, ef, 0, 1, 4, 5);
      *(Four*)(to + kWide) = __builtin_shufflevector(ab, ef, 2, 3, 6, 7);
      *(Four*)(to + 2 * kWide) = __builtin_shufflevector(AB, EF, 0, 1, 4, 5);
      *(Four*)(to + 3 * kWide) = __builtin_shufflevector(AB, EF, 2, 3, 6, 7);
    }
    for (int64_t r = whole; r < kWide; ++r)
      for (int i = 0; i < 4; ++i) out[(c + i) * kWide + r] = r < rows ? x[r * stride + c + i] : 0.f;
  }
  for (; c < d; ++c)
    for (int64_t r = 0; r < kWide; ++r) out[c * kWide + r] = r < rows ? x[r * stride + c] : 0.f;
}

/** rows x d, transposed into panels [rows / kWide][d][kWide]. `temp`: kWide x d floats, for what is not f32 already. */
template <class T>
inline void packTransposed(const T* x, int64_t stride, int64_t rows, int64_t d, float* out, float* temp) {
  for (int64_t r = 0; r < rows; r += kWide, x += kWide * stride, out += d * kWide) {
    const int64_t n = least(kWide, rows - r);
    if constexpr (std::is_same_v<T, float>) {
      transposeRows(x, stride, n, d, out);
    } else {
      for (int64_t i = 0; i < n; ++i) {
#pragma omp simd
        for (int64_t c = 0; c < d; ++c) temp[i * d + c] = static_cast<float>(x[i * stride + c]);
      }
      transposeRows(temp, d, n, d, out);
    }
  }
}

template <class T>
inline void storeRow(T* out, const float* x, int64_t d, float scale) {
#pragma omp simd
  for (int64_t c = 0; c < d; ++c) out[c] = T(x[c] * scale);
}

// ---- masks ------------------------------------------------------------------------------------------------------------------

/** x in the first `n` lanes, y in the rest. */
ANNEAL_ALWAYS Vec firstOf(Vec x, int64_t n, Vec y) {
  VecI lane{};
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  return lane < static_cast<int32_t>(n) ? x : y;
}

/** Scores that the mask forbids become -inf. */
ANNEAL_ALWAYS void maskScores(const Shape& s, int64_t b, int64_t h, int64_t i, int64_t j, float* x, int64_t n) {
  const float low = -__builtin_inff();
  const uint8_t* m = s.maskRow(b, h, i, j);
  const int64_t step = s.maskStride[3];
  if (step == 1) {
#pragma omp simd
    for (int64_t c = 0; c < n; ++c) x[c] = m[c] ? x[c] : low;
  } else {
    for (int64_t c = 0; c < n; ++c) x[c] = m[c * step] ? x[c] : low;
  }
}

/** Dropout of one row of a tile: its words, from key j on. */
struct Dropped {
  static_assert(kKeys + 2 * kLanes <= kTile);
  Words words;
  const uint32_t* at;
  uint32_t threshold;
  float keep;
  ANNEAL_ALWAYS void row(const Shape& s, int64_t b, int64_t h, int64_t i, int64_t j, int64_t n) {
    at = words.fill(s.draw, s.element(b, h, i, j), n);
    threshold = s.threshold;
    keep = static_cast<float>(s.keep);
  }
  /** 1 / (1 - p) for the weights that stay, else 0. Lanes behind the row's end are either. */
  ANNEAL_ALWAYS Vec operator[](int64_t c) const {
    const VecW w = *reinterpret_cast<const VecW*>(at + c);
    return w >= threshold ? Vec{} + keep : Vec{};
  }
};

// ---- f64: the definition ----------------------------------------------------------------------------------------------------

/** q_i . k_j scale; -inf where the mask forbids. Causality is the caller's, through `limit`. */
inline double plainScore(const Shape& s, const double* q, const double* k, int64_t b, int64_t h, int64_t i, int64_t j) {
  if (s.mask && !s.maskRow(b, h, i, 0)[j * s.maskStride[3]]) return -__builtin_inf();
  const double *x = q + s.q.at(b, h, i), *y = k + s.k.at(b, h / s.group, j);
  double sum = 0;
  for (int64_t d = 0; d < s.d; ++d) sum += x[d] * y[d];
  return sum * s.scale;
}
inline double plainKeep(const Shape& s, int64_t b, int64_t h, int64_t i, int64_t j) {
  if (!s.threshold) return 1;
  const uint64_t e = s.element(b, h, i, j);
  return philox(e >> 2, s.draw.stream, s.draw.attempt, s.draw.key0, s.draw.key1).word[e & 3] >= s.threshold ? s.keep : 0;
}

}  // namespace attend
ANNEAL_KERNELS_END
