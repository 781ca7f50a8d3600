// Random numbers. Each depends on its place alone, and has the CPU's bits: where there is arithmetic, it is one IEEE operation after another in
// the order of cpu/random.cc, which the compiler may not contract.
#include <type_traits>

#include "cuda/random.cuh"

namespace anneal::gpu {
namespace {

/** A float whose operators stay what they are: no fused multiply-adds. */
struct Exact {
  float v;
  ANNEAL_FN Exact(float x) : v(x) {}
};
ANNEAL_FN Exact operator+(Exact a, Exact b) { return __fadd_rn(a.v, b.v); }
ANNEAL_FN Exact operator-(Exact a, Exact b) { return __fsub_rn(a.v, b.v); }
ANNEAL_FN Exact operator*(Exact a, Exact b) { return __fmul_rn(a.v, b.v); }

/** How many bits of a word the dtype's numbers in [0, 1) have: rounding up to 1 must not happen. */
template <class T> constexpr int kBits = std::is_same_v<T, bf16> ? 8 : std::is_same_v<T, f16> ? 11 : 24;

template <class T> ANNEAL_FN void uniform(T* y, int64_t n, const Draw& d, float low, float high) {
  constexpr int N = kPack<T>;
  const Share s = neighbours<N>(n, aligned16(y));
  if (s.count == 0) return;
  uint32_t w[N];
  drawWords(w, d, s.first);
  const Exact range = Exact(high) - Exact(low);
  T out[N];
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const Exact unit = Exact(static_cast<float>(w[k] >> (32 - kBits<T>))) * Exact(1.f / (1 << kBits<T>));
    const T u = narrow<T>((Exact(low) + range * unit).v);
    out[k] = widen(u) < high ? u : narrow<T>(low);  // the sum may round up to high, which is excluded
  }
  store(y, out, s);
}

/** ln u for u = k 2^-24, 1 <= k <= 2^24. */
ANNEAL_FN Exact logOfUniform(float u) {
  const uint32_t bits = __float_as_uint(u);
  Exact e = static_cast<float>(static_cast<int32_t>(bits >> 23) - 126);
  Exact m = __uint_as_float((bits & 0x007fffffu) | 0x3f000000u);
  const bool low = m.v < 0.707106781186547524f;
  e = low ? e - 1.f : e;
  m = (low ? m + m : m) - 1.f;
  const Exact z = m * m;
  Exact p = 7.0376836292e-2f;
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  Exact y = p * m * z;
  y = y + e * -2.12194440e-4f;
  y = y - Exact(0.5f) * z;
  return m + y + e * 0.693359375f;
}

/** cos and sin of 2 pi v, v the word's high 24 bits. */
ANNEAL_FN void turn(uint32_t word, Exact& cosine, Exact& sine) {
  const int32_t k = static_cast<int32_t>(word >> 8), q = (k + (1 << 21)) >> 22;
  const Exact t = Exact(static_cast<float>(k - (q << 22))) * (6.283185307179586f * 0x1p-24f), z = t * t;
  Exact s = -1.9515295891e-4f;
  s = s * z + 8.3321608736e-3f;
  s = s * z - 1.6666654611e-1f;
  s = s * z * t + t;
  Exact o = 2.443315711809948e-5f;
  o = o * z - 1.388731625493765e-3f;
  o = o * z + 4.166664568298827e-2f;
  o = o * z * z;
  o = o - Exact(0.5f) * z;
  o = o + 1.f;
  const bool swap = q & 1;
  const Exact a = swap ? s : o, b = swap ? o : s;
  cosine = ((q + 1) & 2) ? -a.v : a.v;
  sine = (q & 2) ? -b.v : b.v;
}

/** mean + std z, z by Box and Muller from the two words of a pair. A pair lies within a block. */
template <class T> ANNEAL_FN void normal(T* y, int64_t n, const Draw& d, float mean, float deviation) {
  constexpr int N = kPack<T>;
  const Share s = neighbours<N>(n, aligned16(y));
  if (s.count == 0) return;
  float z[N];
  drawn(z, d, s.first, [](const Block& b, float (&v)[4]) {
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      const Exact u = Exact(static_cast<float>((b.word[j] >> 8) + 1)) * Exact(0x1p-24f);
      const Exact r = __fsqrt_rn((Exact(-2.f) * logOfUniform(u.v)).v);
      Exact cosine(0.f), sine(0.f);
      turn(b.word[j + 1], cosine, sine);
      v[j] = (r * cosine).v;
      v[j + 1] = (r * sine).v;
    }
  });
  T out[N];
#pragma unroll
  for (int k = 0; k < N; ++k) out[k] = narrow<T>((Exact(mean) + Exact(deviation) * Exact(z[k])).v);
  store(y, out, s);
}

template <class T> ANNEAL_FN T fromWhole(int64_t v) {
  if constexpr (std::is_integral_v<T>) return static_cast<T>(v);
  else return narrow<T>(static_cast<float>(v));
}

/** low + floor(word range / 2^32). */
template <class T> ANNEAL_FN void randint(T* y, int64_t n, const Draw& d, int64_t low, uint64_t range) {
  constexpr int N = kPack<T>;
  const Share s = neighbours<N>(n, aligned16(y));
  if (s.count == 0) return;
  uint32_t w[N];
  drawWords(w, d, s.first);
  T out[N];
#pragma unroll
  for (int k = 0; k < N; ++k) out[k] = fromWhole<T>(low + static_cast<int64_t>((w[k] * range) >> 32));
  store(y, out, s);
}

/** 1 iff word < threshold, or uniform < p. */
template <class T> ANNEAL_FN void bernoulli(const float* p, T* y, int64_t n, const Draw& d, uint64_t threshold) {
  constexpr int N = kPack<T>;
  const Share s = neighbours<N>(n, aligned16(p, y));
  if (s.count == 0) return;
  uint32_t w[N];
  drawWords(w, d, s.first);
  T out[N];
  if (p) {
    float chance[N];
    load(chance, p, s);
#pragma unroll
    for (int k = 0; k < N; ++k) out[k] = fromWhole<T>(uniform01(w[k]) < chance[k]);
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) out[k] = fromWhole<T>(w[k] < threshold);
  }
  store(y, out, s);
}

/** bf16 by a word's low half: a number goes up with the chance of what is cut off. Inf and NaN stay. */
ANNEAL_FN void stochasticRound(const float* x, bf16* y, int64_t n, const Draw& d) {
  constexpr int N = kPack<bf16>;
  const Share s = neighbours<N>(n, aligned16(x, y));
  if (s.count == 0) return;
  uint32_t w[N];
  drawWords(w, d, s.first);
  float v[N];
  load(v, x, s);
  bf16 out[N];
#pragma unroll
  for (int k = 0; k < N; ++k) {
    const uint32_t bits = __float_as_uint(v[k]);
    const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
    out[k] = narrow<bf16>(finite ? __uint_as_float((bits + (w[k] & 0xffffu)) & 0xffff0000u) : v[k]);
  }
  store(y, out, s);
}

/** Words of a sequence, one after another. */
struct Sequence {
  const Draw& d;
  uint64_t at;
  Block held;
  ANNEAL_FN uint32_t next() {
    const int k = static_cast<int>(at & 3);
    if (k == 0) held = philox(d, at >> 2);
    ++at;
    return k == 0 ? held.word[0] : k == 1 ? held.word[1] : k == 2 ? held.word[2] : held.word[3];
  }
};

}  // namespace

#define ANNEAL_KERNEL extern "C" __global__ void __launch_bounds__(kThreads)

ANNEAL_KERNEL randomWords_i32(int32_t* y, int64_t n, Draw d) {
  const Share s = neighbours<4>(n, aligned16(y));
  if (s.count == 0) return;
  uint32_t w[4];
  drawWords(w, d, s.first);
  store(reinterpret_cast<uint32_t*>(y), w, s);
}

/** One block's words, for known answers. */
ANNEAL_KERNEL randomWords_block(uint32_t* y, uint64_t block, Draw d) {
  const Block b = philox(d, block);
  for (int k = 0; k < 4; ++k) y[k] = b.word[k];
}

ANNEAL_KERNEL stochasticRound_bf16(const float* x, bf16* y, int64_t n, Draw d) { stochasticRound(x, y, n, d); }

/** Fisher and Yates from the back, with Lemire's unbiased integers: a chain, so one thread walks it. */
ANNEAL_KERNEL permutation_i32(int32_t* y, int64_t n, Draw d) {
#pragma unroll 1
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) y[i] = static_cast<int32_t>(i);
  __syncthreads();
  if (threadIdx.x > 0) return;
  Sequence words{d, d.first, {}};
  if (d.first & 3) words.held = philox(d, d.first >> 2);
#pragma unroll 1
  for (int64_t i = n - 1; i > 0; --i) {
    const uint32_t range = static_cast<uint32_t>(i + 1);
    uint32_t w = words.next();
    if (w * range < range) {
      const uint32_t least = (0u - range) % range;
#pragma unroll 1
      while (w * range < least) w = words.next();
    }
    const int64_t j = __umulhi(w, range);
    const int32_t kept = y[i];
    y[i] = y[j];
    y[j] = kept;
  }
}

#define ANNEAL_FLOAT(suffix, T)                                                                                              \
  ANNEAL_KERNEL uniform_##suffix(T* y, int64_t n, Draw d, float low, float high) { uniform(y, n, d, low, high); }            \
  ANNEAL_KERNEL normal_##suffix(T* y, int64_t n, Draw d, float mean, float deviation) { normal(y, n, d, mean, deviation); }
ANNEAL_FLOAT(f32, float) ANNEAL_FLOAT(f16, f16) ANNEAL_FLOAT(bf16, bf16)

#define ANNEAL_ANY(suffix, T)                                                                                                        \
  ANNEAL_KERNEL randint_##suffix(T* y, int64_t n, Draw d, int64_t low, uint64_t range) { randint(y, n, d, low, range); }             \
  ANNEAL_KERNEL bernoulli_##suffix(const float* p, T* y, int64_t n, Draw d, uint64_t threshold) { bernoulli(p, y, n, d, threshold); }
ANNEAL_ANY(f32, float) ANNEAL_ANY(f16, f16) ANNEAL_ANY(bf16, bf16) ANNEAL_ANY(i32, int32_t) ANNEAL_ANY(u8, uint8_t)

}  // namespace anneal::gpu
