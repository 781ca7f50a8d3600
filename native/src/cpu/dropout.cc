// Inverted dropout. The mask is a function of the element's place in the logical tensor (core/philox.h): forward and backward compute it anew,
// and nothing is stored. An element is kept iff its word >= floor(p 2^32), and is then multiplied by 1 / (1 - p).
#include "cpu/math.h"
#include "cpu/random.h"

ANNEAL_KERNELS_BEGIN
#include "ops/functors.h"
#include "cpu/gelu.h"

namespace {

/** attr after the draw: threshold, scale. */
struct Rate {
  uint32_t threshold;
  double scale;
  Rate(const Call& c, int at) : threshold(static_cast<uint32_t>(c.attr[at])), scale(c.attr[at + 1]) {}
};

/** in: x (or its gradient), accumulated? (may be the output); out: dropped. */
void dropout(const Call& c) {
  const Draw d(c);
  const Rate rate(c, kDrawAttributes);
  require(c.in[0].n == c.out[0].n && (!c.has(1) || c.in[1].n == c.out[0].n), "dropout: sizes");
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T *x = c.in[0].as<T>(), *more = c.has(1) ? c.in[1].as<T>() : nullptr;
    T* y = c.out[0].as<T>();
    const A scale = static_cast<A>(rate.scale);
    const uint32_t threshold = rate.threshold;
    parallelFor(c.out[0].n, kGrain, [=](int64_t begin, int64_t end) {
      forWords(d, begin, end, [=](int64_t i, int64_t n, const uint32_t* w) {
        if (more) {
#pragma omp simd
          for (int64_t k = 0; k < n; ++k) y[i + k] = T((w[k] >= threshold ? A(x[i + k]) * scale : A(0)) + A(more[i + k]));
        } else {
#pragma omp simd
          for (int64_t k = 0; k < n; ++k) y[i + k] = T(w[k] >= threshold ? A(x[i + k]) * scale : A(0));
        }
      });
    });
  });
}

/** Whole channels. attr after the rate: N, C, H W, channelsLast. The element index is the channel's: n C + c. */
void dropout2d(const Call& c) {
  const Draw d(c);
  const Rate rate(c, kDrawAttributes);
  const double* shape = c.attr + kDrawAttributes + 2;
  const int64_t samples = static_cast<int64_t>(shape[0]), channels = static_cast<int64_t>(shape[1]), area = static_cast<int64_t>(shape[2]);
  const bool last = shape[3] != 0;
  require(c.in[0].n == samples * channels * area && c.out[0].n == c.in[0].n, "dropout2d: sizes");
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T* x = c.in[0].as<T>();
    T* y = c.out[0].as<T>();
    const uint32_t threshold = rate.threshold;
    const A scale = static_cast<A>(rate.scale);
    parallelRows(samples, channels * area, [=](int64_t s) {
      const int64_t base = s * channels;
      forWords(d, base, base + channels, [=](int64_t i, int64_t n, const uint32_t* w) {
        const int64_t c0 = i - base;
        if (last) {
          for (int64_t a = 0; a < area; ++a) {
            const T* from = x + (s * area + a) * channels + c0;
            T* to = y + (s * area + a) * channels + c0;
#pragma omp simd
            for (int64_t k = 0; k < n; ++k) to[k] = T(w[k] >= threshold ? A(from[k]) * scale : A(0));
          }
          return;
        }
        for (int64_t k = 0; k < n; ++k) {
          const bool keep = w[k] >= threshold;
          const T* from = x + (i + k) * area;
          T* to = y + (i + k) * area;
#pragma omp simd
          for (int64_t a = 0; a < area; ++a) to[a] = T(keep ? A(from[a]) * scale : A(0));
        }
      });
    });
  });
}

// ---- bias, activation, dropout, residual in one pass ------------------------------------------------------------------------
// y = residual + dropout(act(x + bias)) over rows of `width`. Each tile goes through a buffer in the nearest cache, one short loop per part:
// as fast as one fused loop, without a copy of the code for every combination.

enum Activation { kNone, kRelu, kGelu, kGeluTanh };  // lib/ops/dropout.ts has the same

template <class F, class A>
ANNEAL_ALWAYS void applyF(A* h, int64_t n) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) h[k] = F::template f<A>(h[k], A(0), A(0));
}
template <class A>
void activate(int activation, A* h, int64_t n) {
  if (activation == kRelu) applyF<Relu>(h, n);
  if (activation == kGelu) applyF<Gelu>(h, n);
  if (activation == kGeluTanh) applyF<GeluTanh>(h, n);
}

/** g *= act'(h); h is what went into the activation (relu's rule on its input is that on its output). */
template <class F, class A>
ANNEAL_ALWAYS void applyDf(A* g, const A* h, int64_t n) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) g[k] = F::template df<A>(g[k], h[k], A(0), A(0));
}
template <class A>
void deactivate(int activation, A* g, const A* h, int64_t n) {
  if (activation == kRelu) applyDf<Relu>(g, h, n);
  if (activation == kGelu) applyDf<Gelu>(g, h, n);
  if (activation == kGeluTanh) applyDf<GeluTanh>(g, h, n);
}

template <class A>
ANNEAL_ALWAYS void mask(A* h, const uint32_t* w, uint32_t threshold, A scale, int64_t n) {
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) h[k] = w[k] >= threshold ? h[k] * scale : A(0);
}

/** h = x + bias. */
template <class T, class A>
ANNEAL_ALWAYS void load(A* h, const T* x, const A* bias, int64_t n) {
  if (bias) {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) h[k] = A(x[k]) + bias[k];
  } else {
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) h[k] = A(x[k]);
  }
}

struct Fused {
  int64_t rows, width;
  int activation;
  bool drops;
  Draw draw;
  Rate rate;
  explicit Fused(const Call& c)
      : rows(c.integer(7)), width(c.integer(8)), activation(static_cast<int>(c.integer(9))), drops(c.attr[5] > 0), draw(c), rate(c, kDrawAttributes) {
    require(c.nAttr >= 10 && rows >= 0 && width >= 0, "fusedBias: attributes");
  }
};

/** in: x, bias?, residual?; out: y; attr: draw, rate, rows, width, activation. */
void fusedBias(const Call& c) {
  const Fused f(c);
  require(c.in[0].n == f.rows * f.width && c.out[0].n == c.in[0].n && (!c.has(1) || c.in[1].n == f.width) && (!c.has(2) || c.in[2].n == c.in[0].n),
          "fusedBias: sizes");
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T *x = c.in[0].as<T>(), *residual = c.has(2) ? c.in[2].as<T>() : nullptr;
    const A* bias = c.has(1) ? c.in[1].as<A>() : nullptr;
    T* y = c.out[0].as<T>();
    const A scale = static_cast<A>(f.rate.scale);
    parallelRows(f.rows, f.width, [&](int64_t r) {
      A h[kTile];
      Words words;
      for (int64_t at = 0; at < f.width; at += kTile) {
        const int64_t n = f.width - at < kTile ? f.width - at : kTile, i = r * f.width + at;
        load(h, x + i, bias ? bias + at : nullptr, n);
        activate(f.activation, h, n);
        if (f.drops) mask(h, words.fill(f.draw, f.draw.first + static_cast<uint64_t>(i), n), f.rate.threshold, scale, n);
        if (residual) {
#pragma omp simd
          for (int64_t k = 0; k < n; ++k) y[i + k] = T(h[k] + A(residual[i + k]));
        } else {
#pragma omp simd
          for (int64_t k = 0; k < n; ++k) y[i + k] = T(h[k]);
        }
      }
    });
  });
}

/**
 * in: g, x?, bias?, accumulated dbias?; out: dx?, dbias?, partials [chunks, width]; attr: as forward, then rows per chunk.
 * dx = act'(x + bias) mask g; dbias = column sums of dx, of fixed chunks of rows and then over the chunks in order.
 */
void fusedBiasGrad(const Call& c) {
  const Fused f(c);
  const int64_t n = f.rows * f.width, perChunk = c.integer(10), chunks = perChunk > 0 ? (f.rows + perChunk - 1) / perChunk : 0;
  require(perChunk > 0 && c.in[0].n == n && (!c.has(1) || c.in[1].n == n) && (!c.has(2) || c.in[2].n == f.width) && (c.has(1) || f.activation == kNone),
          "fusedBias.grad: sizes");
  require((!c.hasOut(0) || c.out[0].n == n) && (!c.hasOut(1) || (c.out[1].n == f.width && c.hasOut(2) && c.out[2].n >= chunks * f.width)),
          "fusedBias.grad: outputs");
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const T *g = c.in[0].as<T>(), *x = c.has(1) ? c.in[1].as<T>() : nullptr;
    const A* bias = c.has(2) ? c.in[2].as<A>() : nullptr;
    T* dx = c.hasOut(0) ? c.out[0].as<T>() : nullptr;
    A* partials = c.hasOut(1) ? c.out[2].as<A>() : nullptr;
    const A scale = static_cast<A>(f.rate.scale);
    parallelRows(chunks, perChunk * f.width, [&](int64_t chunk) {
      A d[kTile], h[kTile];
      Words words;
      const int64_t last = (chunk + 1) * perChunk < f.rows ? (chunk + 1) * perChunk : f.rows;
      for (int64_t r = chunk * perChunk; r < last; ++r) {
        for (int64_t at = 0; at < f.width; at += kTile) {
          const int64_t m = f.width - at < kTile ? f.width - at : kTile, i = r * f.width + at;
          load<T, A>(d, g + i, nullptr, m);
          if (f.drops) mask(d, words.fill(f.draw, f.draw.first + static_cast<uint64_t>(i), m), f.rate.threshold, scale, m);
          if (f.activation != kNone) {
            load(h, x + i, bias ? bias + at : nullptr, m);
            deactivate(f.activation, d, h, m);
          }
          if (dx) {
#pragma omp simd
            for (int64_t k = 0; k < m; ++k) dx[i + k] = T(d[k]);
          }
          if (!partials) continue;
          A* sum = partials + chunk * f.width + at;
          const bool first = r == chunk * perChunk;
#pragma omp simd
          for (int64_t k = 0; k < m; ++k) sum[k] = (first ? A(0) : sum[k]) + d[k];
        }
      }
    });
    if (!partials) return;
    const A* more = c.has(3) ? c.in[3].as<A>() : nullptr;
    A* db = c.out[1].as<A>();
    const int64_t width = f.width;
    parallelFor(width, kGrain / (chunks < 1 ? 1 : chunks) + 1, [=](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) db[k] = more ? more[k] : A(0);
      for (int64_t q = 0; q < chunks; ++q) {
#pragma omp simd
        for (int64_t k = begin; k < end; ++k) db[k] += partials[q * width + k];
      }
    });
  });
}

}  // namespace

void registerDropout(OpTable& t) {
  t.cpu("dropout", dropout);
  t.cpu("dropout2d", dropout2d);
  t.cpu("fusedBias", fusedBias);
  t.cpu("fusedBias.grad", fusedBiasGrad);
}

ANNEAL_KERNELS_END
