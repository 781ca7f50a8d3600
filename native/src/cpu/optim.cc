// The optimizer's side of a step: norm, update, bookkeeping. One call covers a whole list of tensors, in fixed chunks of kChunk elements, so
// that sums do not depend on the number of threads. Everything the host would have to wait for is in the step state (ops/step_state.h).
#include "cpu/kernel.h"
#include "cpu/math.h"
#include "ops/step_state.h"

ANNEAL_KERNELS_BEGIN
namespace {

#include "ops/update_rules.h"

constexpr int64_t kChunk = 32768;  // lib/optim/lists.ts has the same
constexpr int64_t kBlock = 1024;  // within a chunk: what stays in the nearest cache between the update and its shadow

ANNEAL_ALWAYS int64_t chunksOf(int64_t n) { return (n + kChunk - 1) / kChunk; }

/** body(row, begin, end, chunk) for every chunk of the list's first column, threads taking chunks in turn. */
template <class Body>
void forChunks(const TensorList& list, Body&& body) {
  int64_t chunks = 0, elements = 0;
  for (int r = 0; r < list.rows; ++r) {
    chunks += chunksOf(list.at(r, 0).n);
    elements += list.at(r, 0).n;
  }
  const int useful = threadsFor(elements, kGrain), threads = static_cast<int>(chunks < useful ? (chunks < 1 ? 1 : chunks) : useful);
  const auto some = [&](int64_t chunk, int& row, int64_t& first) {
    for (; chunk - first >= chunksOf(list.at(row, 0).n); ++row) first += chunksOf(list.at(row, 0).n);
    const int64_t begin = (chunk - first) * kChunk, n = list.at(row, 0).n;
    body(row, begin, begin + kChunk < n ? begin + kChunk : n, chunk);
  };
  if (threads == 1) {
    int row = 0;
    int64_t first = 0;
    for (int64_t c = 0; c < chunks; ++c) some(c, row, first);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    int row = 0;
    int64_t first = 0;
    // Monotonic: a thread's chunks only go up, so its place in the list does too.
#pragma omp for schedule(monotonic : dynamic, 1)
    for (int64_t c = 0; c < chunks; ++c) some(c, row, first);
  }
}

/** Masters and their gradients are f32, or f64 for reference runs. Checked before threads start: nothing may throw among them. */
void requireMasters(const TensorList& list) {
  for (int r = 0; r < list.rows; ++r) require(list.at(r, 0).dtype == DType::f32 || list.at(r, 0).dtype == DType::f64, "optim: parameters are f32 or f64");
}

template <class F>
ANNEAL_ALWAYS void dispatchMaster(DType t, F&& f) {
  if (t == DType::f64) return f(double{});
  f(float{});
}

// ---- the step's beginning and end -------------------------------------------------------------------------------------------

double scalar(const View& v) {
  require(v.n == 1, "optim: a device scalar has one element");
  double value = 0;
  dispatchAny(v.dtype, [&](auto tag) {
    using T = decltype(tag);
    value = static_cast<double>(static_cast<Acc<T>>(*v.as<T>()));
  });
  return value;
}

double* stateOf(const View& v) {
  require(v.dtype == DType::f64 && v.n == kStepSlots, "optim: step state");
  return v.as<double>();
}

/** in: table of rates f64, count?, scale?; out: state; attr: inverseScale, the table's first step. */
void stepBegin(const Call& c) {
  double* s = stateOf(c.out[0]);
  require(c.in[0].dtype == DType::f64 && c.in[0].n > 0, "stepBegin: table");
  const double count = c.has(1) ? scalar(c.in[1]) : 1, scale = c.has(2) ? scalar(c.in[2]) : 1;
  s[kSkip] = count > 0 ? 0 : 2;
  s[kUnscale] = count > 0 ? c.attr[0] / (scale * count) : 0;
  s[kGradNorm] = s[kSumSquares] = 0;
  s[kClipFactor] = 1;
  s[kAttempts] += 1;
  const double at = s[kApplied] - c.attr[1], last = static_cast<double>(c.in[0].n - 1);
  if (at < 0) fail("the table of rates begins after the step to be taken: setLearningRates was given a start that lies ahead");
  s[kRateFactor] = c.in[0].as<double>()[static_cast<int64_t>(at < last ? at : last)];
}

/** in: scalars to report; out: state. */
void stepEnd(const Call& c) {
  double* s = stateOf(c.out[0]);
  require(c.nIn <= kReports, "stepEnd: reports");
  const bool applied = s[kSkip] == 0;
  s[kWasApplied] = applied;
  s[kApplied] += applied;
  for (int i = 0; i < c.nIn; ++i) s[kReported + i] = scalar(c.in[i]);
}

/** Dynamic loss scaling. in: state; out: scale, good steps (f32 [2]); attr: growth, backoff, interval, floor, ceiling. A step without targets says nothing. */
void lossScale(const Call& c) {
  const double* s = stateOf(c.in[0]);
  require(c.out[0].dtype == DType::f32 && c.out[0].n == 2, "lossScale: scaler");
  float* scaler = c.out[0].as<float>();
  const float growth = static_cast<float>(c.attr[0]), backoff = static_cast<float>(c.attr[1]), interval = static_cast<float>(c.attr[2]);
  const float floor = static_cast<float>(c.attr[3]), ceiling = static_cast<float>(c.attr[4]);
  if (s[kSkip] == 1) {
    const float less = scaler[0] * backoff;
    scaler[0] = less > floor ? less : floor;
    scaler[1] = 0;
  } else if (s[kSkip] == 0 && ++scaler[1] >= interval) {
    const float more = scaler[0] * growth;
    scaler[0] = more < ceiling ? more : ceiling;
    scaler[1] = 0;
  }
}

// ---- norm and clipping ------------------------------------------------------------------------------------------------------

/**
 * Sum of squares in f64. Squares of f32 numbers neither overflow nor vanish there, so the sum is finite exactly if every element is. Four
 * streams: one chain of additions alone would wait for itself.
 */
template <class T>
ANNEAL_ALWAYS double sumSquares(const T* g, int64_t n) {
  const int64_t quarter = n / 4;
  const T *g1 = g + quarter, *g2 = g1 + quarter, *g3 = g2 + quarter;
  double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
#pragma omp simd reduction(+ : s0, s1, s2, s3)
  for (int64_t i = 0; i < quarter; ++i) {
    const double a = static_cast<double>(g[i]), b = static_cast<double>(g1[i]), c = static_cast<double>(g2[i]), d = static_cast<double>(g3[i]);
    s0 += a * a;
    s1 += b * b;
    s2 += c * c;
    s3 += d * d;
  }
  for (int64_t i = 4 * quarter; i < n; ++i) s0 += static_cast<double>(g[i]) * static_cast<double>(g[i]);
  return (s0 + s1) + (s2 + s3);
}

/** PyTorch's clip_grad_norm_: NaN stays NaN. */
ANNEAL_ALWAYS double clipFactor(double maxNorm, double norm) {
  const double f = maxNorm / (norm + 1e-6);
  return f > 1 ? 1 : f;
}

/** in: gradients; out: state, partials [chunks] f64, norm? (one element); attr: first list of the step, last list, maxNorm (0: no clipping). */
void gradNorm(const Call& c) {
  const TensorList& g = c.list(0);
  double* s = stateOf(c.out[0]);
  double* partials = c.out[1].as<double>();
  requireMasters(g);
  int64_t chunks = 0;
  for (int r = 0; r < g.rows; ++r) chunks += chunksOf(g.at(r, 0).n);
  require(c.out[1].dtype == DType::f64 && c.out[1].n >= chunks, "gradNorm: partials");
  forChunks(g, [&](int row, int64_t begin, int64_t end, int64_t chunk) {
    const View& v = g.at(row, 0);
    dispatchMaster(v.dtype, [&](auto tag) { partials[chunk] = sumSquares(v.as<decltype(tag)>() + begin, end - begin); });
  });
  double sum = 0;
  for (int64_t i = 0; i < chunks; ++i) sum += partials[i];
  const double squares = (c.flag(0) ? 0 : s[kSumSquares]) + sum;
  s[kSumSquares] = squares;
  if (!c.flag(1)) return;
  const double unscale = s[kUnscale], norm = msqrt(squares) * (unscale < 0 ? -unscale : unscale);
  s[kGradNorm] = norm;
  if (c.attr[2] > 0) s[kClipFactor] = clipFactor(c.attr[2], norm);
  if (!(norm - norm == 0) && s[kSkip] == 0) s[kSkip] = 1;
  if (c.hasOut(2)) dispatchFloat(c.out[2].dtype, [&](auto tag) { *c.out[2].as<decltype(tag)>() = decltype(tag)(static_cast<Acc<decltype(tag)>>(norm)); });
}

/** Gradients in place times the state's clip factor. in: gradients, state. */
void gradScale(const Call& c) {
  const TensorList& g = c.list(0);
  const double factor = stateOf(c.in[1])[kClipFactor];
  requireMasters(g);
  forChunks(g, [&](int row, int64_t begin, int64_t end, int64_t) {
    const View& v = g.at(row, 0);
    dispatchMaster(v.dtype, [&](auto tag) {
      using T = decltype(tag);
      T* x = v.as<T>();
      const T f = static_cast<T>(factor);
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) x[i] *= f;
    });
  });
}

// ---- updates ----------------------------------------------------------------------------------------------------------------

enum Column { kParam, kStep, kShadow, kState, kColumns = kState + 3 };  // lib/optim/optimizer.ts has the same

/** What all updates share. attr: the group's first row in the list of gradients, lr, weightDecay, maximize, then the rule's own. */
struct Update {
  const TensorList& rows;
  const TensorList& grads;
  int64_t offset;
  double lr, weightDecay, gradientFactor;
  bool skip;

  /** @param states how many tensors of state the rule reads */
  Update(const Call& c, int states) : rows(c.list(0)), grads(c.list(1)), offset(c.integer(0)) {
    require(rows.columns == kColumns && offset >= 0 && offset + rows.rows <= grads.rows, "optim: lists");
    requireMasters(rows);
    const double* s = c.has(2) ? stateOf(c.in[2]) : nullptr;
    skip = s && s[kSkip] != 0;
    lr = c.attr[1] * (s ? s[kRateFactor] : 1);
    weightDecay = c.attr[2];
    gradientFactor = (s ? s[kUnscale] * s[kClipFactor] : 1) * (c.flag(3) ? -1 : 1);
    for (int r = 0; r < rows.rows; ++r) {
      const View &p = rows.at(r, kParam), &g = grad(r), &shadow = rows.at(r, kShadow), &step = rows.at(r, kStep);
      if (!g.data || p.n == 0) continue;
      require(g.n == p.n && g.dtype == p.dtype, "optim: gradient");
      require(step.data && step.dtype == DType::f64 && step.n == 1, "optim: step");
      require(!shadow.data || (shadow.n == p.n && (shadow.dtype == DType::bf16 || shadow.dtype == DType::f16)), "optim: a shadow is bf16 or f16");
      for (int k = 0; k < states; ++k) require(rows.at(r, kState + k).n == p.n && rows.at(r, kState + k).dtype == p.dtype, "optim: state");
    }
  }
  const View& grad(int row) const { return grads.at(static_cast<int>(offset) + row, 0); }
  double steps(int row) const { return *rows.at(row, kStep).as<double>(); }
  template <class T>
  T* state(int row, int i, int64_t begin) const {
    return rows.at(row, kState + i).as<T>() + begin;
  }
};

template <class T, class S>
ANNEAL_ALWAYS void convert(const T* p, S* s, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) s[i] = S(static_cast<float>(p[i]));
}

template <class T>
void writeShadow(const View& shadow, const T* p, int64_t begin, int64_t n) {
  if (shadow.dtype == DType::bf16) return convert(p, shadow.as<bf16>() + begin, n);
  convert(p, shadow.as<f16>() + begin, n);
}

/** Runs `rule(T{}, row, begin)` to get a function of (p, g, i, n) for each chunk, block by block, each block's shadow right after it. */
template <class Rule>
void update(const Update& u, Rule&& rule) {
  if (u.skip) return;
  forChunks(u.rows, [&](int row, int64_t begin, int64_t end, int64_t) {
    const View &p = u.rows.at(row, kParam), &shadow = u.rows.at(row, kShadow), &g = u.grad(row);
    if (!g.data) return;
    dispatchMaster(p.dtype, [&](auto tag) {
      using T = decltype(tag);
      const auto block = rule(tag, row, begin);
      for (int64_t at = begin; at < end; at += kBlock) {
        const int64_t n = end - at < kBlock ? end - at : kBlock;
        block(p.as<T>() + at, g.as<T>() + at, at - begin, n);
        if (shadow.data) writeShadow(shadow, p.as<T>() + at, at, n);
      }
    });
  });
  // After all chunks: each of them reads the count.
  for (int r = 0; r < u.rows.rows; ++r)
    if (u.grad(r).data) *u.rows.at(r, kStep).as<double>() += 1;
}

/** attr from 4: momentum, dampening, nesterov. State: the momentum buffer, if there is momentum. */
void sgd(const Call& c) {
  const Update u(c, c.attr[4] != 0 ? 1 : 0);
  const double momentum = c.attr[4], dampening = c.attr[5];
  const bool nesterov = c.flag(6);
  update(u, [&](auto tag, int row, int64_t begin) {
    using T = decltype(tag);
    T* buffer = momentum != 0 ? u.template state<T>(row, 0, begin) : nullptr;
    const bool first = u.steps(row) == 0;
    // The first gradient is taken whole: b = g.
    const T mu = first ? T(0) : T(momentum), in = first ? T(1) : T(1 - dampening), look = T(momentum);
    const T f = T(u.gradientFactor), decay = T(u.weightDecay), lr = T(u.lr);
    return [=](T* __restrict p, const T* __restrict g, int64_t i0, int64_t n) {
      if (!buffer) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) p[i] -= lr * (g[i] * f + decay * p[i]);
        return;
      }
      T* __restrict b = buffer + i0;
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        const T d = g[i] * f + decay * p[i];
        b[i] = mu * b[i] + in * d;
        p[i] -= lr * (nesterov ? d + look * b[i] : b[i]);
      }
    };
  });
}

/** attr from 4: beta1, beta2, eps, decoupled, amsgrad. State: m, v and, with amsgrad, the largest v. */
void adam(const Call& c) {
  const Update u(c, c.flag(8) ? 3 : 2);
  const double beta1 = c.attr[4], beta2 = c.attr[5], eps = c.attr[6];
  const bool decoupled = c.flag(7), amsgrad = c.flag(8);
  update(u, [&](auto tag, int row, int64_t begin) {
    using T = decltype(tag);
    T *ms = u.template state<T>(row, 0, begin), *vs = u.template state<T>(row, 1, begin);
    T* largest = amsgrad ? u.template state<T>(row, 2, begin) : nullptr;
    const double t = u.steps(row) + 1;
    const double correction1 = 1 - pow(beta1, t), correction2 = 1 - pow(beta2, t);
    // p -= lr / correction1 * m / (sqrt(v) / sqrt(correction2) + eps)
    const T size = T(u.lr / correction1), scale = T(1 / sqrt(correction2)), e = T(eps);
    const T b1 = T(1 - beta1), b2 = T(beta2), c2 = T(1 - beta2), f = T(u.gradientFactor);
    const T keep = T(decoupled ? 1 - u.lr * u.weightDecay : 1), decay = T(decoupled ? 0 : u.weightDecay);
    return [=](T* __restrict p, const T* __restrict g, int64_t i0, int64_t n) {
      T *__restrict m = ms + i0, *__restrict v = vs + i0;
      if (!largest) {
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) {
          const T d = g[i] * f + decay * p[i];
          const T mi = m[i] + b1 * (d - m[i]), vi = b2 * v[i] + c2 * d * d;
          m[i] = mi;
          v[i] = vi;
          p[i] = p[i] * keep - size * mi / (msqrt(vi) * scale + e);
        }
        return;
      }
      T* __restrict w = largest + i0;
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        const T d = g[i] * f + decay * p[i];
        const T mi = m[i] + b1 * (d - m[i]), vi = b2 * v[i] + c2 * d * d, most = w[i] > vi || w[i] != w[i] ? w[i] : vi;
        m[i] = mi;
        v[i] = vi;
        w[i] = most;
        p[i] = p[i] * keep - size * mi / (msqrt(most) * scale + e);
      }
    };
  });
}

template <template <class> class Rule, int N>
void updateBy(const Call& c) {
  const Update u(c, N);
  update(u, [&](auto tag, int row, int64_t begin) {
    using T = decltype(tag);
    Rule<T> rule;
    rule.set({u.lr, u.weightDecay, u.gradientFactor, u.steps(row) + 1, c.attr[4], c.attr[5], c.attr[6], c.flag(7)});
    T *first = u.template state<T>(row, 0, begin), *second = nullptr, *third = nullptr;
    if constexpr (N > 1) second = u.template state<T>(row, 1, begin);
    if constexpr (N > 2) third = u.template state<T>(row, 2, begin);
    return [=](T* __restrict p, const T* __restrict g, int64_t i0, int64_t n) {
      T *__restrict a = first + i0, *__restrict b = N > 1 ? second + i0 : nullptr, *__restrict c3 = N > 2 ? third + i0 : nullptr;
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        T pi = p[i], ai = a[i], bi = 0, ci = 0;
        if constexpr (N > 1) bi = b[i];
        if constexpr (N > 2) ci = c3[i];
        rule(pi, g[i], ai, bi, ci);
        p[i] = pi;
        a[i] = ai;
        if constexpr (N > 1) b[i] = bi;
        if constexpr (N > 2) c3[i] = ci;
      }
    };
  });
}

/** attr from 4: alpha, momentum, eps, centered. */
void rmsprop(const Call& c) {
  const int states = 1 + (c.attr[5] != 0) + c.flag(7);
  (states == 1 ? updateBy<RMSprop, 1> : states == 2 ? updateBy<RMSprop, 2> : updateBy<RMSprop, 3>)(c);
}
/** attr from 4: decay of the rate, unused, eps, unused. */
void adagrad(const Call& c) { updateBy<Adagrad, 1>(c); }
/** attr from 4: beta1, beta2, unused, unused. */
void lion(const Call& c) { updateBy<Lion, 1>(c); }

}  // namespace

void registerOptim(OpTable& t) {
  t.cpu("stepBegin", stepBegin);
  t.cpu("stepEnd", stepEnd);
  t.cpu("lossScale", lossScale);
  t.cpu("gradNorm", gradNorm);
  t.cpu("gradScale", gradScale);
  t.cpu("sgd", sgd);
  t.cpu("adam", adam);
  t.cpu("rmsprop", rmsprop);
  t.cpu("adagrad", adagrad);
  t.cpu("lion", lion);
}

ANNEAL_KERNELS_END
