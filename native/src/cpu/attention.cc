// Attention forward: o = softmax(q k^T scale, where allowed) v by query blocks and key tiles with a running maximum (Dao et al.,
// FlashAttention, 2022), so that memory is O(T). Besides o only the log-sum-exp of each row is kept.
#include "cpu/attention.h"

ANNEAL_KERNELS_BEGIN

void attentionGrad(const Call& c);

namespace {

using namespace attend;

/** One (batch, kv head): keys packed once, then every query block of its group. */
struct Forward {
  const Shape& s;
  int64_t b, keys, wide;  // keys in use; d rounded up to whole panels
  float *kt, *v, *q, *p, *o, *temp;
  float top[kRows], sum[kRows];  // running maximum (in powers of two) and sum of each row
  Dropped dropped;

  Forward(const Shape& s, int64_t b, int64_t keys) : s(s), b(b), keys(keys), wide(roundUp(s.d, kWide)) {}

  bool allocate() {
    Pieces count{nullptr};
    cut(count);
    Pieces pieces{Scratch::get(count.used)};
    cut(pieces);
    return pieces.base != nullptr;
  }
  void cut(Pieces& pieces) {
    kt = pieces.take(roundUp(keys, kWide) * s.d);
    v = pieces.take(keys * wide);
    q = pieces.take(kRows * wide);
    p = pieces.take(kRows * kLd);
    o = pieces.take(kRows * wide);
    temp = pieces.take(kWide * s.d);
  }

  /** Keys of the tile at j that row i of the block at i0 sees. */
  int64_t seen(int64_t i, int64_t j, int64_t n) const {
    const int64_t k = s.limit(i) - j;
    return k < 0 ? 0 : least(k, n);
  }

  void scores(int64_t i0, int64_t rows, int64_t j0, int64_t n) {
    for (int64_t j = 0; j < n; j += kWide) {
      for (int64_t r = 0; r < rows; r += kStrip) {
        const int64_t count = least(kStrip, rows - r);
        if (j >= seen(i0 + r + count - 1, j0, n)) continue;
        withRows(count, [&](auto R) {
          productOfPanels<R.value>(q + r * kWide, kRows * kWide, kt + (j0 + j) * s.d, s.d, p + r * kLd + j, kLd);
        });
      }
    }
  }

  /** Scores become probabilities, up to the row's sum; what was summed before is rescaled to the new maximum. */
  void softmax(int64_t h, int64_t i0, int64_t rows, int64_t j0, int64_t n) {
    for (int64_t r = 0; r < rows; ++r) {
      float* x = p + r * kLd;
      const int64_t k = seen(i0 + r, j0, n), whole = k / kLanes * kLanes;
      if (s.mask) maskScores(s, b, h, i0 + r, j0, x, k);
      Vec most = firstOf(load(x + whole), k - whole, Vec{} - __builtin_inff());
      store(x + whole, most);
      for (int64_t c = 0; c < whole; c += kLanes) {
        const Vec y = load(x + c);
        most = y > most ? y : most;
      }
      const float here = mostOf(most), m = here > top[r] ? here : top[r];
      const float base = m == -__builtin_inff() ? 0.f : m;  // nothing allowed yet
      Vec total{};
      for (int64_t c = 0; c <= whole; c += kLanes) {
        const Vec y = exp2Of(load(x + c) - base);
        store(x + c, y);
        total += y;
      }
      // The strip's other rows see at most kStrip - 1 keys more, for which this row has zeros.
      store(x + whole + kLanes, Vec{});
      if (j0 > 0 && m != top[r]) {
        const float shrink = exp2Of(Vec{} + (top[r] - base))[0];
        sum[r] *= shrink;
        for (int64_t c = 0; c < wide; ++c) o[r * wide + c] *= shrink;
      }
      top[r] = m;
      sum[r] += sumOf(total);
      if (s.threshold) {
        dropped.row(s, b, h, i0 + r, j0, k);
        for (int64_t c = 0; c < k; c += kLanes) store(x + c, load(x + c) * dropped[c]);
      }
    }
  }

  void values(int64_t i0, int64_t rows, int64_t j0, int64_t n) {
    for (int64_t c = 0; c < wide; c += kWide) {
      const float* panel = v + c * keys + j0 * kWide;
      for (int64_t r = 0; r < rows; r += kStrip) {
        const int64_t count = least(kStrip, rows - r), k = seen(i0 + r + count - 1, j0, n);
        withRows(count, [&](auto R) { product<R.value, kLd, 1>(p + r * kLd, panel, k, o + r * wide + c, wide, j0 > 0); });
      }
    }
  }

  template <class T>
  void block(int64_t h, int64_t i0, int64_t rows, const T* queries, T* out, float* lse) {
    packPanels(queries + s.q.at(b, h, i0), s.q.row, rows, s.d, static_cast<float>(s.scale) * kLog2e, q, kRows);
    for (int64_t r = 0; r < rows; ++r) top[r] = -__builtin_inff(), sum[r] = 0.f;
    const int64_t last = s.limit(i0 + rows - 1);
    for (int64_t j0 = 0; j0 < last; j0 += kKeys) {
      const int64_t n = least(kKeys, last - j0);
      scores(i0, rows, j0, n);
      softmax(h, i0, rows, j0, n);
      values(i0, rows, j0, n);
    }
    for (int64_t r = 0; r < rows; ++r) {
      T* to = out + s.o.at(b, h, i0 + r);
      // A row that may attend to nothing is zero, and +inf as its log-sum-exp makes every probability zero in backward.
      const bool none = sum[r] == 0.f;
      lse[(b * s.heads + h) * s.tq + i0 + r] = none ? __builtin_inff() : top[r] * kLn2 + mlog(sum[r]);
      if (none) {
        for (int64_t c = 0; c < s.d; ++c) to[c] = T(0.f);
      } else {
        storeRow(to, o + r * wide, s.d, 1.f / sum[r]);
      }
    }
  }
};

/** Queries per task: all of them where (batch, head) pairs are many enough; the result does not depend on it. */
int64_t rowsPerTask(const Shape& s, int64_t threads) {
  const int64_t pairs = s.batch * s.kvHeads, want = 4 * threads;
  if (threads <= 1 || pairs >= want) return s.tq;
  const int64_t cuts = (want + pairs - 1) / pairs;
  const int64_t rows = roundUp((s.tq + cuts - 1) / cuts, kRows);
  return rows < 2 * kRows ? 2 * kRows : rows;
}

template <class T>
bool forward(const Call& c, const Shape& s) {
  const T *q = c.in[0].as<T>(), *k = (c.has(1) ? c.in[1] : c.in[0]).as<T>(), *v = (c.has(2) ? c.in[2] : c.in[0]).as<T>();
  T* out = c.out[0].as<T>();
  float* lse = c.out[1].as<float>();
  const int64_t threads = threadsFor(s.batch * s.heads * s.tq * s.tk * s.d, 8 * kGrain);
  const int64_t per = rowsPerTask(s, threads), chunks = (s.tq + per - 1) / per;
  return eachTask(s.batch * s.kvHeads * chunks, threads, [&](int64_t task) {
    // Later rows see more keys: hand them out first.
    const int64_t chunk = chunks - 1 - task / (s.batch * s.kvHeads), pair = task % (s.batch * s.kvHeads);
    const int64_t b = pair / s.kvHeads, kv = pair % s.kvHeads;
    const int64_t first = chunk * per, last = least(first + per, s.tq);
    Forward f(s, b, s.limit(last - 1));
    if (!f.allocate()) return false;
    packTransposed(k + s.k.at(b, kv, 0), s.k.row, f.keys, s.d, f.kt, f.temp);
    packPanels(v + s.v.at(b, kv, 0), s.v.row, f.keys, s.d, 1.f, f.v, f.keys);
    for (int64_t h = kv * s.group; h < (kv + 1) * s.group; ++h)
      for (int64_t i = first; i < last; i += kRows) f.block(h, i, least(kRows, last - i), q, out, lse);
    return true;
  });
}

/** The definition, row by row. */
template <>
bool forward<double>(const Call& c, const Shape& s) {
  const double *q = c.in[0].as<double>(), *k = (c.has(1) ? c.in[1] : c.in[0]).as<double>(), *v = (c.has(2) ? c.in[2] : c.in[0]).as<double>();
  double *out = c.out[0].as<double>(), *lse = c.out[1].as<double>();
  return eachTask(s.batch * s.heads, threadsFor(s.batch * s.heads * s.tq * s.tk * s.d, kGrain), [&](int64_t task) {
    const int64_t b = task / s.heads, h = task % s.heads, kv = h / s.group;
    double* p = reinterpret_cast<double*>(Scratch::get(2 * s.tk + 2));
    if (!p) return false;
    for (int64_t i = 0; i < s.tq; ++i) {
      const int64_t n = s.limit(i);
      double top = -__builtin_inf(), sum = 0;
      for (int64_t j = 0; j < n; ++j) {
        p[j] = plainScore(s, q, k, b, h, i, j);
        top = p[j] > top ? p[j] : top;
      }
      for (int64_t j = 0; j < n; ++j) sum += p[j] = top == -__builtin_inf() ? 0 : exp(p[j] - top);
      lse[task * s.tq + i] = sum == 0 ? __builtin_inf() : top + log(sum);
      double* o = out + s.o.at(b, h, i);
      for (int64_t d = 0; d < s.d; ++d) o[d] = 0;
      for (int64_t j = 0; j < n && sum != 0; ++j) {
        const double w = p[j] / sum * plainKeep(s, b, h, i, j);
        for (int64_t d = 0; d < s.d; ++d) o[d] += w * v[s.v.at(b, kv, j) + d];
      }
    }
    return true;
  });
}

/** in: q, k?, v?, mask?. out: o, log-sum-exp [B, H, Tq] in f32 (f64 for f64). attr: Shape. */
void attention(const Call& c) {
  const Shape s(c);
  require(c.nOut == 2, "attention: outputs");
  if (s.empty()) return;
  s.check(c.out[0], s.o, s.heads, s.tq);
  require(c.out[1].n >= s.batch * s.heads * s.tq, "attention: log-sum-exp");
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    require(c.out[0].dtype == c.in[0].dtype && c.out[1].dtype == (std::is_same_v<T, double> ? DType::f64 : DType::f32), "attention: dtypes");
    if (!forward<T>(c, s)) fail("out of memory for scratch");
  });
}

}  // namespace

void registerAttention(OpTable& t) {
  t.cpu("attention", attention);
  t.cpu("attention.grad", attentionGrad);
}

ANNEAL_KERNELS_END
