// Random numbers: uniforms, normals, integers, permutations. Each number depends on its place alone (core/philox.h), so neither threads nor
// tiles nor instruction sets change it. For the normals that asks for arithmetic which no compiler may contract into fused multiply-adds:
#pragma GCC optimize("fp-contract=off")
#include "cpu/random.h"

#include "cpu/math.h"

ANNEAL_KERNELS_BEGIN
namespace {

/** attr: draw. out i32: the words as they are. With two more, a block's low and high half: that block's words, for known answers. */
void randomWords(const Call& c) {
  const Draw d(c);
  require(c.out[0].dtype == DType::i32, "randomWords: i32");
  int32_t* y = c.out[0].as<int32_t>();
  if (c.nAttr > kDrawAttributes) {
    require(c.nAttr == kDrawAttributes + 2 && c.out[0].n == 4, "randomWords: block");
    const uint64_t block = static_cast<uint64_t>(c.attr[kDrawAttributes + 1]) << 32 | static_cast<uint64_t>(c.attr[kDrawAttributes]);
    const Philox p = philox(block, d.stream, d.attempt, d.key0, d.key1);
    for (int i = 0; i < 4; ++i) y[i] = static_cast<int32_t>(p.word[i]);
    return;
  }
  parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
    forWords(d, begin, end, [=](int64_t i, int64_t n, const uint32_t* w) {
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) y[i + k] = static_cast<int32_t>(w[k]);
    });
  });
}

/** How many bits of a word the dtype's numbers in [0, 1) have: rounding up to 1 must not happen. */
template <class T>
constexpr int kBits = std::is_same_v<T, bf16> ? 8 : std::is_same_v<T, f16> ? 11 : 24;

/** attr: draw, low, high. low + (high - low) u with u = the word's high bits in [0, 1); f32 arithmetic, f64 for f64. */
void uniform(const Call& c) {
  const Draw d(c);
  dispatchFloat(c.out[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    T* y = c.out[0].as<T>();
    const A low = static_cast<A>(c.attr[kDrawAttributes]), high = static_cast<A>(c.attr[kDrawAttributes + 1]), range = high - low;
    constexpr int bits = kBits<T>;
    constexpr float unit = 1.f / (1 << bits);
    parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
      forWords(d, begin, end, [=](int64_t i, int64_t n, const uint32_t* w) {
#pragma omp simd
        for (int64_t k = 0; k < n; ++k) {
          const T u = T(low + range * A(static_cast<float>(static_cast<int32_t>(w[k] >> (32 - bits))) * unit));
          y[i + k] = A(u) < high ? u : T(low);  // the sum may round up to high, which is excluded
        }
      });
    });
  });
}

// ---- normals ----------------------------------------------------------------------------------------------------------------
// Box and Muller (1958) on the two uniforms of a pair of words (elements 2j and 2j + 1): r = sqrt(-2 ln u), u in (0, 1]; the pair is
// r cos(2 pi v), r sin(2 pi v). Every operation below is one IEEE f32 operation in the order written: the sequence is the specification, and
// lib/tensor/philox.ts's words with it give the same bits on every device.

/** ln u for u = k 2^-24, 1 <= k <= 2^24: Cephes' polynomial, as in cpu/math.h, for positive normal numbers only. */
ANNEAL_ALWAYS float logOfUniform(float u) {
  const uint32_t bits = asBits(u);
  float e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126);
  float m = asFloat((bits & 0x007fffffu) | 0x3f000000u);
  const bool low = m < 0.707106781186547524f;
  e = low ? e - 1.f : e;
  m = (low ? m + m : m) - 1.f;
  const float z = m * m;
  float p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  float y = p * m * z;
  y = y + e * -2.12194440e-4f;
  y = y - 0.5f * z;
  return m + y + e * 0.693359375f;
}

/** cos and sin of 2 pi v, v = k 2^-24 in [0, 1): the nearest quarter turn q and the rest t, |t| <= pi/4, both exact before the product. */
ANNEAL_ALWAYS void turn(uint32_t word, float& cosine, float& sine) {
  const int32_t k = static_cast<int32_t>(word >> 8);  // v 2^24
  const int32_t q = (k + (1 << 21)) >> 22;  // quarter turns, 0 to 4
  const float t = static_cast<float>(k - (q << 22)) * (6.283185307179586f * 0x1p-24f);
  const float z = t * t;
  float s = -1.9515295891e-4f;  // Cephes' sinf and cosf
  s = s * z + 8.3321608736e-3f;
  s = s * z - 1.6666654611e-1f;
  s = s * z * t + t;
  float o = 2.443315711809948e-5f;
  o = o * z - 1.388731625493765e-3f;
  o = o * z + 4.166664568298827e-2f;
  o = o * z * z;
  o = o - 0.5f * z;
  o = o + 1.f;
  const bool swap = q & 1;
  const float a = swap ? s : o, b = swap ? o : s;
  cosine = ((q + 1) & 2) ? -a : a;
  sine = (q & 2) ? -b : b;
}

/** Normals of `pairs` pairs of words, interleaved. */
ANNEAL_ALWAYS void boxMuller(const uint32_t* w, float* z, int64_t pairs) {
#pragma omp simd
  for (int64_t j = 0; j < pairs; ++j) {
    // (word >> 8) + 1 puts u in (0, 1], so that its logarithm is finite.
    const float u = static_cast<float>((w[2 * j] >> 8) + 1) * 0x1p-24f;
    const float r = msqrt(-2.f * logOfUniform(u));
    float cosine, sine;
    turn(w[2 * j + 1], cosine, sine);
    z[2 * j] = r * cosine;
    z[2 * j + 1] = r * sine;
  }
}

/** attr: draw, mean, std. The standard normals are f32 for every dtype; mean + std z in the dtype's arithmetic. */
void normal(const Call& c) {
  const Draw d(c);
  dispatchFloat(c.out[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    T* y = c.out[0].as<T>();
    const A mean = static_cast<A>(c.attr[kDrawAttributes]), deviation = static_cast<A>(c.attr[kDrawAttributes + 1]);
    parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
      float z[kTile + 8];
      // A pair may begin one element before the tile and end one behind it; both its words are in the blocks that were made.
      forWords(d, begin, end, [&](int64_t i, int64_t n, const uint32_t* w) {
        const int64_t lead = static_cast<int64_t>((d.first + static_cast<uint64_t>(i)) & 1);
        boxMuller(w - lead, z, (n + lead + 1) / 2);
#pragma omp simd
        for (int64_t k = 0; k < n; ++k) y[i + k] = T(mean + deviation * A(z[k + lead]));
      });
    });
  });
}

// ---- integers ---------------------------------------------------------------------------------------------------------------

/** attr: draw, low, range (1 to 2^32). low + floor(word range / 2^32): one word each, so the bias is below range / 2^32. */
void randint(const Call& c) {
  const Draw d(c);
  const int64_t low = c.integer(kDrawAttributes);
  const uint64_t range = static_cast<uint64_t>(c.attr[kDrawAttributes + 1]);
  dispatchAny(c.out[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    T* y = c.out[0].as<T>();
    parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
      forWords(d, begin, end, [=](int64_t i, int64_t n, const uint32_t* w) {
#pragma omp simd
        for (int64_t k = 0; k < n; ++k)
          y[i + k] = T(static_cast<Acc<T>>(low + static_cast<int64_t>((static_cast<uint64_t>(w[k]) * range) >> 32)));
      });
    });
  });
}

/** attr: draw, threshold (p 2^32). in: probabilities per element instead, f32. 1 iff word < threshold. */
void bernoulli(const Call& c) {
  const Draw d(c);
  const uint64_t threshold = static_cast<uint64_t>(c.attr[kDrawAttributes]);
  const float* p = c.has(0) ? c.in[0].as<float>() : nullptr;
  if (p) require(c.in[0].dtype == DType::f32 && c.in[0].n == c.out[0].n, "bernoulli: probabilities");
  dispatchAny(c.out[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    T* y = c.out[0].as<T>();
    parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
      forWords(d, begin, end, [=](int64_t i, int64_t n, const uint32_t* w) {
        for (int64_t k = 0; k < n; ++k) {
          const bool one = p ? uniform01(w[k]) < p[i + k] : w[k] < threshold;
          y[i + k] = T(static_cast<Acc<T>>(one));
        }
      });
    });
  });
}

/** attr: draw. in f32, out bf16: up with the chance of what is cut off, by the word's low half. Inf and NaN stay. */
void stochasticRound(const Call& c) {
  const Draw d(c);
  require(c.in[0].dtype == DType::f32 && c.out[0].dtype == DType::bf16 && c.in[0].n == c.out[0].n, "stochasticRound: operands");
  const float* x = c.in[0].as<float>();
  bf16* y = c.out[0].as<bf16>();
  parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
    forWords(d, begin, end, [=](int64_t i, int64_t n, const uint32_t* w) {
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) {
        const uint32_t bits = asBits(x[i + k]);
        const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
        y[i + k] = bf16(finite ? asFloat((bits + (w[k] & 0xffffu)) & 0xffff0000u) : x[i + k]);
      }
    });
  });
}

/** An unbiased integer in [0, n): Lemire's multiply with rejection, as PhiloxStream.below. `at` moves past the words used. */
uint32_t below(const Draw& d, uint64_t& at, Words& words, uint64_t& held, uint32_t n) {
  const auto next = [&] {
    const uint64_t start = at / kTile * kTile;
    if (start != held) {
      words.fill(d, start, kTile);
      held = start;
    }
    return words.word[at++ - start];
  };
  uint32_t w = next();
  if (w * n < n) {
    const uint32_t least = (0u - n) % n;
    while (w * n < least) w = next();
  }
  return static_cast<uint32_t>((static_cast<uint64_t>(w) * n) >> 32);
}

/** attr: draw. out i32 [n]: 0 to n-1 by Fisher-Yates from the back, the very order of PhiloxStream.permutation. One thread: it is a chain. */
void permutation(const Call& c) {
  const Draw d(c);
  require(c.out[0].dtype == DType::i32, "permutation: i32");
  int32_t* y = c.out[0].as<int32_t>();
  const int64_t n = c.out[0].n;
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<int32_t>(i);
  Words words;
  uint64_t at = d.first, held = ~uint64_t{0};
  for (int64_t i = n - 1; i > 0; --i) {
    const int64_t j = below(d, at, words, held, static_cast<uint32_t>(i + 1));
    const int32_t kept = y[i];
    y[i] = y[j];
    y[j] = kept;
  }
}

}  // namespace

void registerRandom(OpTable& t) {
  t.cpu("randomWords", randomWords);
  t.cpu("uniform", uniform);
  t.cpu("normal", normal);
  t.cpu("randint", randint);
  t.cpu("bernoulli", bernoulli);
  t.cpu("permutation", permutation);
  t.cpu("stochasticRound", stochasticRound);
}

ANNEAL_KERNELS_END
