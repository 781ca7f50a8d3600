// The optimizer's updates: one call covers a group's parameters.
#include "cpu/optim.h"

ANNEAL_KERNELS_BEGIN
namespace {

ANNEAL_ALWAYS double power(double beta, double t) { return pow(beta, t); }
#include "ops/update_rules.h"

constexpr int64_t kBlock = 1024;  // within a chunk: what stays in the nearest cache between the update and its shadow

enum Column { kParam, kStep, kShadow, kState, kColumns = kState + 3 };  // lib/optim/lists.ts has the same

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
void update(const Update& u, Rule&& rule, bool counts = true) {
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
  if (!counts) return;
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
    T *first = nullptr, *second = nullptr, *third = nullptr;
    if constexpr (N > 0) first = u.template state<T>(row, 0, begin);
    if constexpr (N > 1) second = u.template state<T>(row, 1, begin);
    if constexpr (N > 2) third = u.template state<T>(row, 2, begin);
    return [=](T* __restrict p, const T* __restrict g, int64_t i0, int64_t n) {
      T *__restrict a = N > 0 ? first + i0 : nullptr, *__restrict b = N > 1 ? second + i0 : nullptr, *__restrict c3 = N > 2 ? third + i0 : nullptr;
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        T pi = p[i], ai = 0, bi = 0, ci = 0;
        if constexpr (N > 0) ai = a[i];
        if constexpr (N > 1) bi = b[i];
        if constexpr (N > 2) ci = c3[i];
        rule(pi, g[i], ai, bi, ci);
        p[i] = pi;
        if constexpr (N > 0) a[i] = ai;
        if constexpr (N > 1) b[i] = bi;
        if constexpr (N > 2) c3[i] = ci;
      }
    };
  }, Rule<float>::kCounts);
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
/** attr from 4: decay or first update, warm-up or period, unused, equal weights. The list's parameters are the averages, its gradients the weights. */
void average(const Call& c) { updateBy<Average, 0>(c); }
/** attr from 4: momentum, unused, unused, nesterov. */
void muonMomentum(const Call& c) { updateBy<MuonMomentum, 2>(c); }
/** attr from 4: unused. The list's gradients are what is subtracted. */
void muon(const Call& c) { updateBy<Muon, 0>(c); }

/** attr from 4: beta1, beta2, eps, whether the rate is adapted. out: f64, two for each chunk of the group. State: m, v. */
void lamb(const Call& c) {
  const Update u(c, 2);
  if (u.skip) return;
  const bool adapts = c.flag(7);
  int64_t chunks = 0;
  for (int r = 0; r < u.rows.rows; ++r) chunks += chunksOf(u.rows.at(r, kParam).n);
  require(c.out[0].dtype == DType::f64 && c.out[0].n >= 2 * chunks, "lamb: partials");
  double* partials = c.out[0].as<double>();
  const auto ruleOf = [&](auto tag, int row) {
    Lamb<decltype(tag)> rule;
    rule.set({u.lr, u.weightDecay, u.gradientFactor, u.steps(row) + 1, c.attr[4], c.attr[5], c.attr[6], adapts});
    return rule;
  };
  forChunks(u.rows, [&](int row, int64_t begin, int64_t end, int64_t chunk) {
    if (!u.grad(row).data) return;
    dispatchMaster(u.rows.at(row, kParam).dtype, [&](auto tag) {
      using T = decltype(tag);
      const auto rule = ruleOf(tag, row);
      const T *__restrict p = u.rows.at(row, kParam).as<T>() + begin, *__restrict g = u.grad(row).as<T>() + begin;
      T *__restrict m = u.template state<T>(row, 0, begin), *__restrict v = u.template state<T>(row, 1, begin);
      double own = 0, away = 0;
#pragma omp simd reduction(+ : own, away)
      for (int64_t i = 0; i < end - begin; ++i) {
        T mi = m[i], vi = v[i];
        rule.moments(g[i], mi, vi);
        m[i] = mi;
        v[i] = vi;
        const double pi = static_cast<double>(p[i]), d = static_cast<double>(rule.direction(p[i], mi, vi));
        own += pi * pi;
        away += d * d;
      }
      partials[2 * chunk] = own;
      partials[2 * chunk + 1] = away;
    });
  });
  int64_t first = 0;
  for (int r = 0; r < u.rows.rows; ++r) {
    const int64_t n = chunksOf(u.rows.at(r, kParam).n);
    double own = 0, away = 0;
    for (int64_t i = first; u.grad(r).data && i < first + n; ++i) {
      own += partials[2 * i];
      away += partials[2 * i + 1];
    }
    for (int64_t i = first; i < first + n; ++i) partials[2 * i] = adapts ? lambTrust(own, away) : 1;
    first += n;
  }
  forChunks(u.rows, [&](int row, int64_t begin, int64_t end, int64_t chunk) {
    const View& shadow = u.rows.at(row, kShadow);
    if (!u.grad(row).data) return;
    dispatchMaster(u.rows.at(row, kParam).dtype, [&](auto tag) {
      using T = decltype(tag);
      const auto rule = ruleOf(tag, row);
      T* __restrict p = u.rows.at(row, kParam).as<T>() + begin;
      const T *__restrict m = u.template state<T>(row, 0, begin), *__restrict v = u.template state<T>(row, 1, begin);
      const T lr = T(u.lr * partials[2 * chunk]);
#pragma omp simd
      for (int64_t i = 0; i < end - begin; ++i) p[i] -= lr * rule.direction(p[i], m[i], v[i]);
      if (shadow.data) writeShadow(shadow, p, begin, end - begin);
    });
  });
  for (int r = 0; r < u.rows.rows; ++r)
    if (u.grad(r).data) *u.rows.at(r, kStep).as<double>() += 1;
}

}  // namespace

void registerUpdates(OpTable& t) {
  t.cpu("sgd", sgd);
  t.cpu("adam", adam);
  t.cpu("rmsprop", rmsprop);
  t.cpu("adagrad", adagrad);
  t.cpu("lion", lion);
  t.cpu("lamb", lamb);
  t.cpu("muonMomentum", muonMomentum);
  t.cpu("muon", muon);
  t.cpu("average", average);
}

ANNEAL_KERNELS_END
