// Plain convolutions, one loop nest each: the f64 reference, and what sizes of 0 come to in every dtype. And what comes before a
// convolution's gradients where it ended in relu.
#include "cpu/conv.h"

#include "cpu/kernel.h"

namespace anneal::cpu {
char* scratch(int slot, size_t bytes);
}

ANNEAL_KERNELS_BEGIN
namespace {

/** Where a window begins: the input row (or column) that kernel row k of output i reads is i * stride + k * dilation - padding. */
ANNEAL_ALWAYS int64_t place(int64_t i, int64_t stride, int64_t k, int64_t dilation, int64_t padding) { return i * stride + k * dilation - padding; }

/** y[n, p, o] = b[o] + sum over k, c of x[n, place(p, k), c] w[o, c, k]; then relu where asked. in: x, w, bias?. */
template <class T>
void forward(const Call& call, const ConvShape& s) {
  using A = Acc<T>;
  const T *x = call.in[0].as<T>(), *w = call.in[1].as<T>();
  const A* bias = call.has(2) ? call.in[2].as<A>() : nullptr;
  T* y = call.out[0].as<T>();
  const int64_t perGroup = s.c / s.groups, outs = s.o / s.groups;
  parallelRows(s.n * s.oh * s.ow, s.weights(), [&](int64_t pixel) {
    const int64_t ow = pixel % s.ow, oh = pixel / s.ow % s.oh, n = pixel / (s.ow * s.oh);
    for (int64_t o = 0; o < s.o; ++o) {
      A sum = bias ? bias[o] : A(0);
      for (int64_t kh = 0; kh < s.kh; ++kh) {
        const int64_t ih = place(oh, s.sh, kh, s.dh, s.ph);
        if (ih < 0 || ih >= s.h) continue;
        for (int64_t kw = 0; kw < s.kw; ++kw) {
          const int64_t iw = place(ow, s.sw, kw, s.dw, s.pw);
          if (iw < 0 || iw >= s.w) continue;
          const T* xp = x + ((n * s.h + ih) * s.w + iw) * s.c + o / outs * perGroup;
          const T* wp = w + (o * perGroup * s.kh + kh) * s.kw + kw;
          for (int64_t c = 0; c < perGroup; ++c) sum += A(xp[c]) * A(wp[c * s.kh * s.kw]);
        }
      }
      y[pixel * s.o + o] = T(s.flag ? (sum > A(0) ? sum : (sum != sum ? sum : A(0))) : sum);
    }
  });
}

/** dx[n, i, c] = sum over the outputs p and kernel places k with place(p, k) = i, and over o, of g[n, p, o] w[o, c, k]. in: g, w. */
template <class T>
void gradInput(const Call& call, const ConvShape& s) {
  using A = Acc<T>;
  const T *g = call.in[0].as<T>(), *w = call.in[1].as<T>();
  T* dx = call.out[0].as<T>();
  const int64_t perGroup = s.c / s.groups, outs = s.o / s.groups;
  parallelRows(s.n * s.h * s.w, s.weights(), [&](int64_t pixel) {
    const int64_t iw = pixel % s.w, ih = pixel / s.w % s.h, n = pixel / (s.w * s.h);
    for (int64_t c = 0; c < s.c; ++c) {
      const int64_t group = c / perGroup;
      A sum = A(0);
      for (int64_t kh = 0; kh < s.kh; ++kh) {
        const int64_t up = ih + s.ph - kh * s.dh;
        if (up < 0 || up % s.sh || up / s.sh >= s.oh) continue;
        for (int64_t kw = 0; kw < s.kw; ++kw) {
          const int64_t left = iw + s.pw - kw * s.dw;
          if (left < 0 || left % s.sw || left / s.sw >= s.ow) continue;
          const T* gp = g + ((n * s.oh + up / s.sh) * s.ow + left / s.sw) * s.o;
          const T* wp = w + (c % perGroup * s.kh + kh) * s.kw + kw;
          for (int64_t o = group * outs; o < (group + 1) * outs; ++o) sum += A(gp[o]) * A(wp[o * perGroup * s.kh * s.kw]);
        }
      }
      dx[pixel * s.c + c] = T(sum);
    }
  });
}

/** dw[o, c, k] = sum over n, p of g[n, p, o] x[n, place(p, k), c]. in: g, x. */
template <class T>
void gradWeight(const Call& call, const ConvShape& s) {
  using A = Acc<T>;
  const T *g = call.in[0].as<T>(), *x = call.in[1].as<T>();
  A* dw = call.out[0].as<A>();
  const int64_t perGroup = s.c / s.groups, outs = s.o / s.groups;
  parallelRows(s.weights(), s.n * s.oh * s.ow, [&](int64_t i) {
    const int64_t kw = i % s.kw, kh = i / s.kw % s.kh, o = i / (perGroup * s.kh * s.kw);
    const int64_t c = i / (s.kw * s.kh) % perGroup + o / outs * perGroup;
    A sum = s.flag ? dw[i] : A(0);
    for (int64_t n = 0; n < s.n; ++n) {
      for (int64_t oh = 0; oh < s.oh; ++oh) {
        const int64_t ih = place(oh, s.sh, kh, s.dh, s.ph);
        if (ih < 0 || ih >= s.h) continue;
        for (int64_t ow = 0; ow < s.ow; ++ow) {
          const int64_t iw = place(ow, s.sw, kw, s.dw, s.pw);
          if (iw < 0 || iw >= s.w) continue;
          sum += A(g[((n * s.oh + oh) * s.ow + ow) * s.o + o]) * A(x[((n * s.h + ih) * s.w + iw) * s.c + c]);
        }
      }
    }
    dw[i] = sum;
  });
}

/** Operands are of one dtype; sums (bias, dw) are of what it is computed in. */
constexpr DType sums(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

/**
 * The gradient of relu(conv(x) + b) on its way back: masked = g where y > 0, else 0, and the bias gradient is its column sums, in one pass.
 * Rows are cut into chunks that depend on the shape alone, and chunks are added in order. masked may be g itself.
 */
template <class T>
void reluGradSum(const Call& call, int64_t rows, int64_t n, bool add) {
  using A = Acc<T>;
  constexpr int64_t kTile = 256, kChunks = 64;
  const T *g = call.in[0].as<T>(), *y = call.in[1].as<T>();
  T* masked = call.out[0].as<T>();
  A* sum = call.out[1].as<A>();
  const int64_t chunk = (rows + kChunks - 1) / kChunks < 16 ? 16 : (rows + kChunks - 1) / kChunks, chunks = (rows + chunk - 1) / chunk;
  A* partials = reinterpret_cast<A*>(scratch(7, static_cast<size_t>(chunks * n + 1) * sizeof(A)));
  parallelRows(chunks, chunk * n, [=](int64_t k) {
    const int64_t begin = k * chunk, end = begin + chunk < rows ? begin + chunk : rows;
    for (int64_t j0 = 0; j0 < n; j0 += kTile) {
      const int64_t width = n - j0 < kTile ? n - j0 : kTile;
      A part[kTile];
      for (int64_t j = 0; j < width; ++j) part[j] = A(0);
      for (int64_t r = begin; r < end; ++r) {
        const T *gr = g + r * n + j0, *yr = y + r * n + j0;
        T* to = masked + r * n + j0;
#pragma omp simd
        for (int64_t j = 0; j < width; ++j) {
          const A v = A(yr[j]) > A(0) ? A(gr[j]) : A(0);
          to[j] = T(v);
          part[j] += v;
        }
      }
      for (int64_t j = 0; j < width; ++j) partials[k * n + j0 + j] = part[j];
    }
  });
  for (int64_t j = 0; j < n; ++j) {
    double total = add ? double(sum[j]) : 0;
    for (int64_t k = 0; k < chunks; ++k) total += double(partials[k * n + j]);
    sum[j] = A(total);
  }
}

}  // namespace

void registerDirectConv(ConvKernels& k);

void registerConv(OpTable& t) {
  registerDirectConv(convKernels);
  convKernels.plainForward = [](const Call& c) {
    const ConvShape s(c);
    const DType type = c.in[0].dtype;
    require(c.in[0].n == s.inputs() && c.in[1].n == s.weights() && c.out[0].n == s.outputs(), "conv2d: sizes");
    require(c.in[1].dtype == type && c.out[0].dtype == type && (!c.has(2) || (c.in[2].n == s.o && c.in[2].dtype == sums(type))), "conv2d: dtypes");
    dispatchFloat(type, [&](auto tag) { forward<decltype(tag)>(c, s); });
  };
  convKernels.plainGradInput = [](const Call& c) {
    const ConvShape s(c);
    require(c.in[0].n == s.outputs() && c.in[1].n == s.weights() && c.out[0].n == s.inputs(), "conv2d.gradInput: sizes");
    require(c.in[1].dtype == c.in[0].dtype && c.out[0].dtype == c.in[0].dtype, "conv2d.gradInput: dtypes");
    dispatchFloat(c.in[0].dtype, [&](auto tag) { gradInput<decltype(tag)>(c, s); });
  };
  convKernels.plainGradWeight = [](const Call& c) {
    const ConvShape s(c);
    require(c.in[0].n == s.outputs() && c.in[1].n == s.inputs() && c.out[0].n == s.weights(), "conv2d.gradWeight: sizes");
    require(c.in[1].dtype == c.in[0].dtype && c.out[0].dtype == sums(c.in[0].dtype), "conv2d.gradWeight: dtypes");
    dispatchFloat(c.in[0].dtype, [&](auto tag) { gradWeight<decltype(tag)>(c, s); });
  };
  t.cpu("relu.gradSum", [](const Call& c) {  // in: g, y; out: masked, sums; attr: rows, columns, add to the sums
    const int64_t rows = c.integer(0), n = c.integer(1);
    require(c.in[0].n == rows * n && c.in[1].n == rows * n && c.out[0].n == rows * n && c.out[1].n == n, "relu.gradSum: sizes");
    require(c.in[1].dtype == c.in[0].dtype && c.out[0].dtype == c.in[0].dtype && c.out[1].dtype == sums(c.in[0].dtype), "relu.gradSum: dtypes");
    dispatchFloat(c.in[0].dtype, [&](auto tag) { reluGradSum<decltype(tag)>(c, rows, n, c.flag(2)); });
  });
}

ANNEAL_KERNELS_END
