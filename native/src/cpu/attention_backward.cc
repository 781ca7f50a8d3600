// Attention backward. With S = scale q k^T, P = e^(S - lse), O = P v and g the gradient of O:
//   dV = P^T g,   dP = g v^T,   dS = P (dP - delta), delta = rowsum(g O),   dQ = scale dS k,   dK = scale dS^T q.
// Dropout multiplies P by keep = 0 or 1/(1-p) in O and dV, and dP by the same. P is computed again, tile by tile, from the log-sum-exp.
// dK and dV of a (batch, kv head) belong to one task, which adds up its group of query heads and their blocks in order.
#include "cpu/attention.h"

ANNEAL_KERNELS_BEGIN
namespace {

using namespace attend;

/** Operands of the call. Absent k, v (and dk, dv) lie in q's (dq's) view. An absent output is not wanted. */
template <class T>
struct Operands {
  const T *q, *k, *v, *o, *g;
  T *dq, *dk, *dv;
  explicit Operands(const Call& c)
      : q(c.in[0].as<T>()), k((c.has(1) ? c.in[1] : c.in[0]).as<T>()), v((c.has(2) ? c.in[2] : c.in[0]).as<T>()), o(c.in[4].as<T>()), g(c.in[6].as<T>()) {
    const bool packed = !c.has(1);
    dq = c.out[0].as<T>();
    dk = packed ? dq : c.out[1].as<T>();
    dv = packed ? dq : c.out[2].as<T>();
  }
};

/** One (batch, kv head). */
struct Backward {
  const Shape& s;
  int64_t b, wide, tall;  // d rounded up to whole panels; queries
  bool wantQ, wantK, wantV;
  float *q, *g, *dq, *dk, *dv, *delta, *lse;  // of all rows
  float *k, *kt, *vt, *p, *ds, *temp;  // of a tile
  Dropped dropped;

  Backward(const Shape& s, int64_t b) : s(s), b(b), wide(roundUp(s.d, kWide)), tall(s.tq) {}

  bool allocate() {
    Pieces count{nullptr};
    cut(count);
    Pieces pieces{Scratch::get(count.used)};
    cut(pieces);
    return pieces.base != nullptr;
  }
  void cut(Pieces& pieces) {
    q = pieces.take(tall * wide);
    g = pieces.take(tall * wide);
    dq = pieces.take(tall * wide);
    dk = pieces.take(s.tk * wide);
    dv = pieces.take(s.tk * wide);
    delta = pieces.take(tall);
    lse = pieces.take(tall);
    k = pieces.take(kKeys * wide);
    kt = pieces.take(kKeys * s.d);
    vt = pieces.take(kKeys * s.d);
    p = pieces.take(kRows * kLd);
    ds = pieces.take(kRows * kLd);
    temp = pieces.take(kWide * s.d);
  }

  int64_t seen(int64_t i, int64_t j, int64_t n) const {
    const int64_t k = s.limit(i) - j;
    return k < 0 ? 0 : least(k, n);
  }

  /** What the whole head needs: q (scaled, in powers of two) and g in panels, delta, the log-sum-exp in powers of two. */
  template <class T>
  void head(int64_t h, const Operands<T>& x, const float* lseIn) {
    packPanels(x.q + s.q.at(b, h, 0), s.q.row, tall, s.d, static_cast<float>(s.scale) * kLog2e, q, tall);
    packPanels(x.g + s.o.at(b, h, 0), s.o.row, tall, s.d, 1.f, g, tall);
    for (int64_t i = 0; i < tall; ++i) {
      const T *o = x.o + s.o.at(b, h, i), *go = x.g + s.o.at(b, h, i);
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < s.d; ++c) sum += static_cast<float>(o[c]) * static_cast<float>(go[c]);
      delta[i] = sum;
      lse[i] = lseIn[(b * s.heads + h) * s.tq + i] * kLog2e;
    }
    std::memset(dq, 0, sizeof(float) * static_cast<size_t>(tall * wide));
  }

  template <class T>
  void tile(int64_t h, int64_t j0, int64_t n, const Operands<T>& x) {
    const int64_t kv = h / s.group;
    packPanels(x.k + s.k.at(b, kv, j0), s.k.row, n, s.d, 1.f, k, kKeys);
    packTransposed(x.k + s.k.at(b, kv, j0), s.k.row, n, s.d, kt, temp);
    packTransposed(x.v + s.v.at(b, kv, j0), s.v.row, n, s.d, vt, temp);
    for (int64_t i0 = s.firstQuery(j0) / kRows * kRows; i0 < s.tq; i0 += kRows) block(h, i0, least(kRows, s.tq - i0), j0, n);
  }

  /** Scores into p and dP into ds, for the keys that each strip sees. */
  void scores(int64_t i0, int64_t rows, int64_t j0, int64_t n) {
    for (int64_t j = 0; j < n; j += kWide) {
      for (int64_t r = 0; r < rows; r += kStrip) {
        const int64_t count = least(kStrip, rows - r), at = (i0 + r) * kWide;
        if (j >= seen(i0 + r + count - 1, j0, n)) continue;
        withRows(count, [&](auto R) {
          productOfPanels<R.value>(q + at, tall * kWide, kt + j * s.d, s.d, p + r * kLd + j, kLd);
          productOfPanels<R.value>(g + at, tall * kWide, vt + j * s.d, s.d, ds + r * kLd + j, kLd);
        });
      }
    }
  }

  /** p becomes P (with dropout), ds becomes dS; both 0 for the keys behind those seen, as far as a strip reaches. */
  void softmaxGradient(int64_t h, int64_t i0, int64_t rows, int64_t j0, int64_t n) {
    for (int64_t r = 0; r < rows; ++r) {
      float *x = p + r * kLd, *y = ds + r * kLd;
      const int64_t i = i0 + r, count = seen(i, j0, n), whole = count / kLanes * kLanes, rest = count - whole;
      if (s.mask) maskScores(s, b, h, i, j0, x, count);
      store(x + whole, firstOf(load(x + whole), rest, Vec{} - __builtin_inff()));
      const float base = lse[i], less = delta[i];
      if (s.threshold) {
        dropped.row(s, b, h, i, j0, count);
        for (int64_t c = 0; c <= whole; c += kLanes) {
          const Vec e = exp2Of(load(x + c) - base), stays = dropped[c];
          store(x + c, e * stays);
          store(y + c, e * (load(y + c) * stays - less));
        }
      } else {
        for (int64_t c = 0; c <= whole; c += kLanes) {
          const Vec e = exp2Of(load(x + c) - base);
          store(x + c, e);
          store(y + c, e * (load(y + c) - less));
        }
      }
      store(y + whole, firstOf(load(y + whole), rest, Vec{}));
      store(x + whole + kLanes, Vec{});
      store(y + whole + kLanes, Vec{});
    }
  }

  void block(int64_t h, int64_t i0, int64_t rows, int64_t j0, int64_t n) {
    n = seen(i0 + rows - 1, j0, n);
    if (n == 0) return;
    scores(i0, rows, j0, n);
    softmaxGradient(h, i0, rows, j0, n);
    for (int64_t c = 0; c < wide; c += kWide) {
      const float *gPanel = g + c * tall + i0 * kWide, *qPanel = q + c * tall + i0 * kWide;
      for (int64_t j = 0; j < n; j += kStrip) {
        const int64_t seenFrom = s.firstQuery(j0 + j) - i0, from = seenFrom < 0 ? 0 : seenFrom;  // earlier rows hold zeros
        withRows(least(kStrip, n - j), [&](auto R) {
          const int64_t at = from * kLd + j, to = (j0 + j) * wide + c;
          if (wantV) product<R.value, 1, kLd>(p + at, gPanel + from * kWide, rows - from, dv + to, wide, true);
          if (wantK) product<R.value, 1, kLd>(ds + at, qPanel + from * kWide, rows - from, dk + to, wide, true);
        });
      }
      for (int64_t r = 0; wantQ && r < rows; r += kStrip) {
        const int64_t count = least(kStrip, rows - r), sees = seen(i0 + r + count - 1, j0, n);
        withRows(count, [&](auto R) { product<R.value, kLd, 1>(ds + r * kLd, k + c * kKeys, sees, dq + (i0 + r) * wide + c, wide, true); });
      }
    }
  }
};

template <class T>
bool backward(const Call& c, const Shape& s) {
  const Operands<T> x(c);
  const float* lse = c.in[5].as<float>();
  const int64_t threads = threadsFor(s.batch * s.heads * s.tq * s.tk * s.d, 4 * kGrain);
  return eachTask(s.batch * s.kvHeads, threads, [&](int64_t task) {
    const int64_t b = task / s.kvHeads, kv = task % s.kvHeads;
    Backward w(s, b);
    w.wantQ = x.dq, w.wantK = x.dk, w.wantV = x.dv;
    if (!w.allocate()) return false;
    std::memset(w.dk, 0, sizeof(float) * static_cast<size_t>(s.tk * w.wide));
    std::memset(w.dv, 0, sizeof(float) * static_cast<size_t>(s.tk * w.wide));
    for (int64_t h = kv * s.group; h < (kv + 1) * s.group; ++h) {
      w.head(h, x, lse);
      for (int64_t j = 0; j < s.tk; j += kKeys) w.tile(h, j, least(kKeys, s.tk - j), x);
      for (int64_t i = 0; x.dq && i < s.tq; ++i) storeRow(x.dq + s.q.at(b, h, i), w.dq + i * w.wide, s.d, static_cast<float>(s.scale));
    }
    for (int64_t j = 0; j < s.tk; ++j) {
      // q was packed in powers of two
      if (x.dk) storeRow(x.dk + s.k.at(b, kv, j), w.dk + j * w.wide, s.d, kLn2);
      if (x.dv) storeRow(x.dv + s.v.at(b, kv, j), w.dv + j * w.wide, s.d, 1.f);
    }
    return true;
  });
}

/** The definition, row by row. */
template <>
bool backward<double>(const Call& c, const Shape& s) {
  const Operands<double> x(c);
  const double* lse = c.in[5].as<double>();
  return eachTask(s.batch * s.kvHeads, threadsFor(s.batch * s.heads * s.tq * s.tk * s.d, kGrain), [&](int64_t task) {
    const int64_t b = task / s.kvHeads, kv = task % s.kvHeads;
    for (int64_t j = 0; j < s.tk; ++j)
      for (int64_t d = 0; d < s.d; ++d) {
        if (x.dk) x.dk[s.k.at(b, kv, j) + d] = 0;
        if (x.dv) x.dv[s.v.at(b, kv, j) + d] = 0;
      }
    for (int64_t h = kv * s.group; h < (kv + 1) * s.group; ++h) {
      for (int64_t i = 0; i < s.tq; ++i) {
        const double *q = x.q + s.q.at(b, h, i), *g = x.g + s.o.at(b, h, i), *o = x.o + s.o.at(b, h, i);
        double* dq = x.dq ? x.dq + s.q.at(b, h, i) : nullptr;
        double delta = 0;
        for (int64_t d = 0; d < s.d; ++d) {
          delta += g[d] * o[d];
          if (dq) dq[d] = 0;
        }
        for (int64_t j = 0; j < s.limit(i); ++j) {
          const double p = exp(plainScore(s, x.q, x.k, b, h, i, j) - lse[(b * s.heads + h) * s.tq + i]), keep = plainKeep(s, b, h, i, j);
          const double *k = x.k + s.k.at(b, kv, j), *v = x.v + s.v.at(b, kv, j);
          double dp = 0;
          for (int64_t d = 0; d < s.d; ++d) dp += g[d] * v[d];
          const double ds = p * (dp * keep - delta) * s.scale;
          for (int64_t d = 0; d < s.d; ++d) {
            if (dq) dq[d] += ds * k[d];
            if (x.dk) x.dk[s.k.at(b, kv, j) + d] += ds * q[d];
            if (x.dv) x.dv[s.v.at(b, kv, j) + d] += p * keep * g[d];
          }
        }
      }
    }
    return true;
  });
}

}  // namespace

/** in: q, k?, v?, mask?, o, log-sum-exp, gradient of o. out: dq, dk, dv; with k absent dq's view holds all three. attr: Shape. */
void attentionGrad(const Call& c) {
  const Shape s(c);
  const bool packed = !c.has(1);
  require(c.nIn == 7 && c.nOut == 3 && (!packed || c.hasOut(0)), "attention.grad: operands");
  const DType t = c.in[0].dtype;
  for (int i : {4, 6}) {
    require(c.in[i].dtype == t, "attention.grad: dtypes");
    s.check(c.in[i], s.o, s.heads, s.tq);
  }
  require(s.empty() || c.in[5].n >= s.batch * s.heads * s.tq, "attention.grad: log-sum-exp");
  const auto output = [&](int i, const Strides& strides, int64_t h, int64_t rows) {
    if (!packed && !c.hasOut(i)) return;
    const View& view = c.out[packed ? 0 : i];
    require(view.dtype == t, "attention.grad: dtypes");
    s.check(view, strides, h, rows);
  };
  output(0, s.q, s.heads, s.tq);
  output(1, s.k, s.kvHeads, s.tk);
  output(2, s.v, s.kvHeads, s.tk);
  if (s.batch == 0 || s.d == 0) return;
  dispatchFloat(t, [&](auto tag) {
    using T = decltype(tag);
    require(c.in[5].dtype == (std::is_same_v<T, double> ? DType::f64 : DType::f32), "attention.grad: dtypes");
    if (!backward<T>(c, s)) fail("out of memory for scratch");
  });
}

ANNEAL_KERNELS_END
