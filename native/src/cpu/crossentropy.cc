// Cross-entropy over rows of logits [rows, classes]: forward and backward in one pass over memory each (a row stays in the cache between its
// maximum and its exponentials). Losses and gradients are computed in f32 (f64 for f64) whatever the dtype of the logits.
#include <cstdio>

#include "cpu/loss.h"

ANNEAL_KERNELS_BEGIN
namespace {

/** Class indices, or a distribution per row. */
struct Shape {
  int64_t rows, classes;
  double smoothing;
  int32_t ignore;
};

template <class T>
struct Operands {
  using A = Acc<T>;
  Shape shape;
  const T* x;
  const int32_t* hard = nullptr;  // one of the two
  const T* soft = nullptr;
  const A* weight = nullptr;
  A keep, spread;  // 1 - s, s / K
  A total;  // the sum of the class weights

  /** inputs from `at`: logits, target, weight; attr: rows, classes, label smoothing, ignored index. */
  Operands(const Call& c, int at) {
    shape = {c.integer(0), c.integer(1), c.attr[2], static_cast<int32_t>(c.integer(3))};
    const View &logits = c.in[at], &target = c.in[at + 1];
    const bool indices = target.dtype == DType::i32;
    require(logits.n == shape.rows * shape.classes && target.n == (indices ? shape.rows : logits.n), "crossEntropy: sizes");
    require(indices || target.dtype == logits.dtype, "crossEntropy: target dtype");
    x = logits.as<T>();
    if (indices) hard = target.as<int32_t>();
    else soft = target.as<T>();
    if (c.has(at + 2)) {
      require(c.in[at + 2].n == shape.classes && c.in[at + 2].dtype == dtypeOfAcc<A>(), "crossEntropy: weight");
      weight = c.in[at + 2].as<A>();
    }
    keep = A(1 - shape.smoothing);
    spread = A(shape.smoothing / static_cast<double>(shape.classes));
    total = A(shape.classes);
    if (weight) {
      double sum = 0;
      for (int64_t k = 0; k < shape.classes; ++k) sum += static_cast<double>(weight[k]);
      total = A(sum);
    }
  }
  A weightOf(int64_t k) const { return weight ? weight[k] : A(1); }
  /** What saved statistics hold per row: the maximum m, the sum of e^(x - m), and for distributions the sum of the weighted target. */
  int64_t stride() const { return hard ? 2 : 3; }
};

/** Before any thread starts: an exception cannot leave a parallel region. */
void checkTargets(const int32_t* target, const Shape& s) {
  bool bad = false;
#pragma omp simd reduction(| : bad)
  for (int64_t r = 0; r < s.rows; ++r) bad |= (target[r] < 0 || target[r] >= s.classes) & (target[r] != s.ignore);
  if (!bad) return;
  int64_t r = 0;
  while (target[r] == s.ignore || (target[r] >= 0 && target[r] < s.classes)) ++r;
  char text[160];
  std::snprintf(text, sizeof text, "data: target %d is outside [0, %lld) at row %lld, and is not the ignored index %d", target[r],
                static_cast<long long>(s.classes), static_cast<long long>(r), s.ignore);
  fail(text);
}

template <class T>
ANNEAL_ALWAYS Acc<T> maximum(const T* x, int64_t n) {
  Acc<T> m = -__builtin_inff();
#pragma omp simd reduction(max : m)
  for (int64_t i = 0; i < n; ++i) m = Acc<T>(x[i]) > m ? Acc<T>(x[i]) : m;
  return m;
}

/** The sum of e^(x - m). */
template <class T>
ANNEAL_ALWAYS Acc<T> exponentials(const T* x, int64_t n, Acc<T> m) {
  Acc<T> s = 0;
#pragma omp simd reduction(+ : s)
  for (int64_t i = 0; i < n; ++i) s += expNegative(Acc<T>(x[i]) - m);
  return s;
}

/** The same, while the row that follows in memory comes into the cache: a third off the time of long rows. */
template <class T>
Acc<T> exponentialsAhead(const T* x, int64_t n, Acc<T> m) {
  constexpr int64_t kPiece = 512;
  Acc<T> s = 0;
  for (int64_t at = 0; at < n; at += kPiece) {
    const int64_t end = at + kPiece < n ? at + kPiece : n;
    for (int64_t i = at; i < end; i += 64 / sizeof(T)) __builtin_prefetch(x + n + i, 0, 2);
    s += exponentials(x + at, end - at, m);
  }
  return s;
}

constexpr int64_t kBlock = 32, kFew = 32;

/** Maximum and sum of a block of rows of few classes: vectors run across the rows. */
template <class T>
void fewClasses(const T* x, int64_t rows, int64_t n, Acc<T>* m, Acc<T>* s) {
  using A = Acc<T>;
  A column[kFew][kBlock] = {};
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < n; ++k) column[k][r] = A(x[r * n + k]);
#pragma omp simd
  for (int64_t r = 0; r < kBlock; ++r) {
    m[r] = -__builtin_inff();
    s[r] = 0;
  }
  for (int64_t k = 0; k < n; ++k)
#pragma omp simd
    for (int64_t r = 0; r < kBlock; ++r) m[r] = column[k][r] > m[r] ? column[k][r] : m[r];
  for (int64_t k = 0; k < n; ++k)
#pragma omp simd
    for (int64_t r = 0; r < kBlock; ++r) s[r] += expNegative(column[k][r] - m[r]);
}

/** A row's loss is mass * log(sum of exponentials) - shifted, with shifted = sum_c q[c] (x[c] - m) and mass = sum_c q[c] for target weights q. */
template <class A>
struct Parts {
  A mass, shifted;
};

/** q[c] = [c = y] (1-s) w[y] + s/K w[c]. */
template <class T>
Parts<Acc<T>> hardParts(const Operands<T>& o, const T* x, int64_t y, Acc<T> m) {
  using A = Acc<T>;
  const A own = o.keep * o.weightOf(y);
  A all = 0;
  if (o.spread != 0 && o.weight) {
#pragma omp simd reduction(+ : all)
    for (int64_t i = 0; i < o.shape.classes; ++i) all += o.weight[i] * (A(x[i]) - m);
  } else if (o.spread != 0) {
#pragma omp simd reduction(+ : all)
    for (int64_t i = 0; i < o.shape.classes; ++i) all += A(x[i]) - m;
  }
  return {own + o.spread * o.total, own * (A(x[y]) - m) + (o.spread != 0 ? o.spread * all : A(0))};
}

/** q[c] = w[c] ((1-s) t[c] + s/K). */
template <class T>
Parts<Acc<T>> softParts(const Operands<T>& o, const T* x, const T* t, Acc<T> m) {
  using A = Acc<T>;
  const A keep = o.keep, spread = o.spread;
  A mass = 0, shifted = 0;
  if (o.weight) {
#pragma omp simd reduction(+ : mass, shifted)
    for (int64_t i = 0; i < o.shape.classes; ++i) {
      const A q = o.weight[i] * (keep * A(t[i]) + spread);
      mass += q;
      shifted += q * (A(x[i]) - m);
    }
  } else {
#pragma omp simd reduction(+ : mass, shifted)
    for (int64_t i = 0; i < o.shape.classes; ++i) {
      const A q = keep * A(t[i]) + spread;
      mass += q;
      shifted += q * (A(x[i]) - m);
    }
  }
  return {mass, shifted};
}

/** The loss of rows [r0, r0 + rows), at most kBlock of them. */
template <class T>
Acc<T> blockLoss(const Operands<T>& o, int64_t r0, int64_t rows, Acc<T>* stats) {
  using A = Acc<T>;
  const int64_t n = o.shape.classes;
  A m[kBlock], s[kBlock], mass[kBlock] = {}, shifted[kBlock] = {};
  const T* x = o.x + r0 * n;
  const auto counts = [&](int64_t r) { return o.soft || o.hard[r0 + r] != o.shape.ignore; };
  const bool few = n <= kFew;
  if (few) fewClasses(x, rows, n, m, s);
  for (int64_t r = 0; r < kBlock; ++r) {
    if (r >= rows || !counts(r)) {
      m[r] = 0;
      s[r] = 1;
      continue;
    }
    const T* row = x + r * n;
    if (!few) {
      m[r] = maximum(row, n);
      s[r] = n < 1024 ? exponentials(row, n, m[r]) : exponentialsAhead(row, n, m[r]);
    }
    const Parts<A> p = o.soft ? softParts(o, row, o.soft + (r0 + r) * n, m[r]) : hardParts(o, row, o.hard[r0 + r], m[r]);
    mass[r] = p.mass;
    shifted[r] = p.shifted;
  }
  A loss = 0;
#pragma omp simd reduction(+ : loss)
  for (int64_t r = 0; r < kBlock; ++r) loss += mass[r] * mlog(s[r]) - shifted[r];
  for (int64_t r = 0; r < rows; ++r) {
    A* out = stats + (r0 + r) * o.stride();
    out[0] = m[r];
    out[1] = s[r];
    if (o.soft) out[2] = mass[r];
  }
  return loss;
}

/** in: logits, target, weight; out: sum, count (the weights of the rows that are not ignored), statistics per row. */
void crossEntropy(const Call& c) {
  dispatchFloat(c.in[0].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const Operands<T> o(c, 0);
    const int64_t rows = o.shape.rows;
    require(c.out[0].n == 1 && c.out[1].n == 1 && c.out[2].n == rows * o.stride(), "crossEntropy: outputs");
    require(c.out[0].dtype == dtypeOfAcc<A>() && c.out[1].dtype == c.out[0].dtype && c.out[2].dtype == c.out[0].dtype, "crossEntropy: dtypes");
    A* stats = c.out[2].as<A>();
    double count = static_cast<double>(rows);
    if (o.hard) {
      checkTargets(o.hard, o.shape);
      count = orderedSum(rows, 1024, 1, [&](int64_t begin, int64_t end) {
        double sum = 0;
        for (int64_t r = begin; r < end; ++r) sum += o.hard[r] == o.shape.ignore ? 0.0 : static_cast<double>(o.weightOf(o.hard[r]));
        return sum;
      });
    }
    const int64_t cost = 4 * o.shape.classes + 16;  // an exponential is worth several plain operations
    const double sum = orderedSum(rows, kBlock, cost, [&](int64_t begin, int64_t end) {
      double part = 0;
      for (int64_t r = begin; r < end; r += kBlock) part += static_cast<double>(blockLoss(o, r, r + kBlock < end ? kBlock : end - r, stats));
      return part;
    });
    *c.out[0].as<A>() = static_cast<A>(sum);
    *c.out[1].as<A>() = static_cast<A>(count);
  });
}

/** dx = g (a p - b w[c]), p the softmax; the target's own part follows apart. */
template <class T>
ANNEAL_ALWAYS void gradientRow(const T* x, T* dx, int64_t n, Acc<T> m, Acc<T> a, Acc<T> b, const Acc<T>* weight) {
  using A = Acc<T>;
  if (weight && b != 0) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = T(a * expNegative(A(x[i]) - m) - b * weight[i]);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) dx[i] = T(a * expNegative(A(x[i]) - m) - b);
  }
}

/** dx[c] = g (p[c] ((1-s) w[y] + s W / K) - s/K w[c] - [c = y] (1-s) w[y]), W the sum of the weights. */
template <class T>
void hardGradient(const Operands<T>& o, Acc<T> g, const T* x, int64_t y, const Acc<T>* stats, T* dx) {
  using A = Acc<T>;
  const A own = o.keep * o.weightOf(y), a = g * (own + o.spread * o.total) / stats[1], b = g * o.spread;
  const A atTarget = a * expNegative(A(x[y]) - stats[0]) - b * o.weightOf(y) - g * own;  // first: dx may be x
  gradientRow(x, dx, o.shape.classes, stats[0], a, b, o.weight);
  dx[y] = T(atTarget);
}

/** dx[c] = g (p[c] sum_k w[k] t'[k] - w[c] t'[c]). */
template <class T>
void softGradient(const Operands<T>& o, Acc<T> g, const T* x, const T* t, const Acc<T>* stats, T* dx) {
  using A = Acc<T>;
  const A m = stats[0], a = g * stats[2] / stats[1], keep = g * o.keep, spread = g * o.spread;
  if (o.weight) {
#pragma omp simd
    for (int64_t i = 0; i < o.shape.classes; ++i) dx[i] = T(a * expNegative(A(x[i]) - m) - o.weight[i] * (keep * A(t[i]) + spread));
  } else {
#pragma omp simd
    for (int64_t i = 0; i < o.shape.classes; ++i) dx[i] = T(a * expNegative(A(x[i]) - m) - (keep * A(t[i]) + spread));
  }
}

/** in: gradient of the sum, logits, target, weight, statistics; out: gradient of the logits, which may be written over them. */
void crossEntropyGrad(const Call& c) {
  dispatchFloat(c.in[1].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const Operands<T> o(c, 1);
    const int64_t n = o.shape.classes;
    require(c.in[0].n == 1 && c.in[0].dtype == dtypeOfAcc<A>() && c.in[4].n == o.shape.rows * o.stride() && c.out[0].n == c.in[1].n &&
                c.out[0].dtype == c.in[1].dtype, "crossEntropy.grad: sizes");
    if (o.hard) checkTargets(o.hard, o.shape);
    const A g = *c.in[0].as<A>();
    const A* stats = c.in[4].as<A>();
    T* dx = c.out[0].as<T>();
    parallelRows(o.shape.rows, 4 * n + 16, [&](int64_t r) {
      const T* x = o.x + r * n;
      const A* row = stats + r * o.stride();
      if (o.soft) return softGradient(o, g, x, o.soft + r * n, row, dx + r * n);
      if (o.hard[r] != o.shape.ignore) return hardGradient(o, g, x, o.hard[r], row, dx + r * n);
      for (int64_t i = 0; i < n; ++i) dx[r * n + i] = T(A(0));
    });
  });
}

/** dt[c] = g (1-s) w[c] (-log p[c]). in: gradient of the sum, logits, target, weight, statistics; out: gradient of the target distribution. */
void targetGrad(const Call& c) {
  dispatchFloat(c.in[1].dtype, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const Operands<T> o(c, 1);
    const int64_t n = o.shape.classes;
    require(c.in[0].n == 1 && c.in[0].dtype == dtypeOfAcc<A>() && c.in[4].n == o.shape.rows * o.stride() && c.out[0].n == c.in[1].n &&
                c.out[0].dtype == c.in[1].dtype && o.soft, "crossEntropy.target: sizes");
    const A keep = o.keep * *c.in[0].as<A>();
    const A* stats = c.in[4].as<A>();
    T* dt = c.out[0].as<T>();
    parallelRows(o.shape.rows, n, [&](int64_t r) {
      const A m = stats[3 * r], logSum = mlog(stats[3 * r + 1]);
      for (int64_t i = 0; i < n; ++i) dt[r * n + i] = T(keep * o.weightOf(i) * (logSum - (A(o.x[r * n + i]) - m)));
    });
  });
}

}  // namespace

void registerCrossEntropy(OpTable& t) {
  t.cpu("crossEntropy", crossEntropy);
  t.cpu("crossEntropy.grad", crossEntropyGrad);
  t.cpu("crossEntropy.target", targetGrad);
}

ANNEAL_KERNELS_END
