// Cross-entropy over rows of logits [rows, classes]: one online pass forward, one pass over logits and statistics backward.
// A row's loss is mass log(sum of e^(x - m)) - sum_c q[c] (x[c] - m), with mass = sum_c q[c] for target weights q:
//   class indices: q[c] = [c = y] (1-s) w[y] + s/K w[c];  distributions: q[c] = w[c] ((1-s) t[c] + s/K).
// Statistics per row: m, the sum of e^(x - m), and for distributions the mass.
#include "cuda/loss.cuh"

namespace anneal::gpu {
namespace {

/** What both directions read. */
template <class T>
struct Logits {
  const T* x;
  const int32_t* hard;  // one of the two
  const T* soft;
  const float* weight;
  const float* total;  // the sum of the weights, where there are any
  int64_t rows, n;
  float keep, spread;  // 1 - s, s / K
  int32_t ignore;
  ANNEAL_FN float weightOf(int64_t c) const { return weight ? weight[c] : 1.f; }
  ANNEAL_FN float sumOfWeights() const { return total ? *total : float(n); }
};

enum class Target { counts, ignored };
/** The row's class, checked: one that is none is told, and passed over. */
template <class T>
ANNEAL_FN Target targetOf(const Logits<T>& l, int64_t r, int32_t& y, bool tells, Trouble* trouble, uint32_t call) {
  y = l.hard[r];
  if (y == l.ignore) return Target::ignored;
  if (y >= 0 && y < l.n) return Target::counts;
  if (tells) report(trouble, call, static_cast<uint32_t>(l.n), (static_cast<int64_t>(l.ignore) << 32) | static_cast<uint32_t>(y), r);
  return Target::ignored;
}

/** Sums of a row beside its exponentials, of x from a shift near it: q and q (x - shift); for class indices over the spread part, unscaled. */
struct Weighted {
  float mass = 0.f, shifted = 0.f;
  ANNEAL_FN void add(float q, float x, float shift) {
    mass += q;
    shifted += q * (x - shift);
  }
};

template <class T, bool kSoft>
ANNEAL_FN void scanRow(const Logits<T>& l, int64_t r, const Team& team, float shift, Online& online, Weighted& sums) {
  constexpr int N = kPack<T>;
  const T *x = l.x + r * l.n, *t = kSoft ? l.soft + r * l.n : nullptr;
  const int head = headOf(x, l.n, congruent(l.x, l.soft));
  const bool weighs = kSoft || l.spread != 0.f, vector = head == 0 && aligned16(l.weight);
  eachInRow<N>(l.n, head, team, [&](int64_t i, int64_t) {
    const Pack<T> p = packAt(x + i);
    float v[N];
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] = widen(p.v[k]);
    online.add(v);
    if (!weighs) return;
    float w[N];
    floatsAt(l.weight, i, vector, 1.f, w);
    Pack<T> q{};
    if (kSoft) q = packAt(t + i);
#pragma unroll
    for (int k = 0; k < N; ++k) sums.add(kSoft ? w[k] * (l.keep * widen(q.v[k]) + l.spread) : w[k], v[k], shift);
  }, [&](int64_t i, int64_t) {
    const float v[1] = {widen(x[i])};
    online.add(v);
    if (weighs) sums.add(kSoft ? l.weightOf(i) * (l.keep * widen(t[i]) + l.spread) : l.weightOf(i), v[0], shift);
  });
}

/** The row's loss; statistics are written. `counted`: the weight that it counts with. */
template <class T, bool kSoft>
ANNEAL_FN float rowLoss(const Logits<T>& l, int64_t r, const Team& team, float* stats, float& counted, float* scratch, Trouble* trouble, uint32_t call) {
  int32_t y = 0;
  if (!kSoft && targetOf(l, r, y, team.lane == 0, trouble, call) == Target::ignored) {
    if (team.lane == 0) stats[2 * r] = 0.f, stats[2 * r + 1] = 1.f;
    counted = 0.f;
    return 0.f;
  }
  const T* x = l.x + r * l.n;
  const bool weighs = kSoft || l.spread != 0.f;
  float shift = weighs ? widen(x[0]) : 0.f;
  if (!(shift - shift == 0.f)) shift = 0.f;
  Online online;
  Weighted sums;
  scanRow<T, kSoft>(l, r, team, shift, online, sums);
  online.join(team, scratch);
  const float m = online.most;
  float mass = 0.f, shifted = 0.f;
  if (weighs) {
    mass = team.sum(sums.mass, scratch + 64);
    shifted = team.sum(sums.shifted, scratch + 96) + (shift - m) * mass;
  }
  counted = 1.f;
  if (!kSoft) {
    counted = l.weightOf(y);
    const float own = l.keep * counted;
    mass = own + l.spread * mass;
    shifted = own * (widen(x[y]) - m) + (weighs ? l.spread * shifted : 0.f);
  }
  if (team.lane == 0) {
    float* to = stats + r * (kSoft ? 3 : 2);
    to[0] = m;
    to[1] = online.sum;
    if (kSoft) to[2] = mass;
  }
  return mass * mlog(online.sum) - shifted;
}

/** partials [2, blocks]: the losses of a block's rows, and what they count. */
template <class T, bool kSoft>
ANNEAL_FN void forward(const Logits<T>& l, float* stats, float* partials, bool wide, Trouble* trouble, uint32_t call) {
  __shared__ float scratch[128], losses[kThreads / 32], counts[kThreads / 32];
  const Team team(wide);
  const int64_t r = team.first();
  float counted = 0.f, loss = 0.f;
  if (r < l.rows) loss = rowLoss<T, kSoft>(l, r, team, stats, counted, scratch, trouble, call);
  if (team.lane == 0) losses[team.index()] = loss, counts[team.index()] = counted;
  __syncthreads();
  if (threadIdx.x != 0) return;
#pragma unroll 1
  for (int i = 1; i < team.perBlock(); ++i) loss += losses[i], counted += counts[i];
  partials[blockIdx.x] = loss;
  partials[gridDim.x + blockIdx.x] = counted;
}

/** dx = a e^(x - m) - b(c), less g own at the target. dx may be x: each thread writes what it has read. */
template <class T, bool kSoft>
ANNEAL_FN void backward(const Logits<T>& l, const float* gradient, const float* stats, T* dx, bool wide, Trouble* trouble, uint32_t call) {
  constexpr int N = kPack<T>;
  const Team team(wide);
  const int64_t r = team.first();
  if (r >= l.rows) return;
  const T *x = l.x + r * l.n, *t = kSoft ? l.soft + r * l.n : nullptr;
  T* to = dx + r * l.n;
  const float g = *gradient, *stat = stats + r * (kSoft ? 3 : 2), m = stat[0], keep = g * l.keep, spread = g * l.spread;
  const int head = headOf(x, l.n, congruent(l.x, dx, l.soft));
  int32_t y = -1;
  float own = 0.f, a = 0.f;
  if (kSoft) a = g * stat[2] / stat[1];
  else if (targetOf(l, r, y, team.lane == 0, trouble, call) == Target::counts) {
    own = l.keep * l.weightOf(y);
    a = g * (own + l.spread * (l.spread != 0.f ? l.sumOfWeights() : 0.f)) / stat[1];
  } else {
    eachInRow<N>(l.n, head, team, [&](int64_t i, int64_t) { putPack(to + i, Pack<T>{}); }, [&](int64_t i, int64_t) { to[i] = narrow<T>(0.f); });
    return;
  }
  const bool vector = head == 0 && aligned16(l.weight), weighs = kSoft || spread != 0.f;
  const auto slope = [&](int64_t i, float xv, float tv, float w) {
    const float v = a * mexp(xv - m) - w * (kSoft ? keep * tv + spread : spread);
    return narrow<T>(!kSoft && i == y ? v - g * own : v);
  };
  eachInRow<N>(l.n, head, team, [&](int64_t i, int64_t) {
    Pack<T> p = packAt(x + i), q{};
    if (kSoft) q = packAt(t + i);
    float w[N];
    floatsAt(weighs ? l.weight : nullptr, i, vector, 1.f, w);
#pragma unroll
    for (int k = 0; k < N; ++k) p.v[k] = slope(i + k, widen(p.v[k]), widen(q.v[k]), w[k]);
    putPack(to + i, p);
  }, [&](int64_t i, int64_t) { to[i] = slope(i, widen(x[i]), kSoft ? widen(t[i]) : 0.f, weighs ? l.weightOf(i) : 1.f); });
}

/** dt[c] = g (1-s) w[c] (-log p[c]). */
template <class T>
ANNEAL_FN void targetGrad(const Logits<T>& l, const float* gradient, const float* stats, T* dt, bool wide) {
  constexpr int N = kPack<T>;
  const Team team(wide);
  const int64_t r = team.first();
  if (r >= l.rows) return;
  const T* x = l.x + r * l.n;
  T* to = dt + r * l.n;
  const float keep = l.keep * *gradient, m = stats[3 * r], logSum = mlog(stats[3 * r + 1]);
  const int head = headOf(x, l.n, congruent(l.x, dt));
  const bool vector = head == 0 && aligned16(l.weight);
  eachInRow<N>(l.n, head, team, [&](int64_t i, int64_t) {
    Pack<T> p = packAt(x + i);
    float w[N];
    floatsAt(l.weight, i, vector, 1.f, w);
#pragma unroll
    for (int k = 0; k < N; ++k) p.v[k] = narrow<T>(keep * w[k] * (logSum - (widen(p.v[k]) - m)));
    putPack(to + i, p);
  }, [&](int64_t i, int64_t) { to[i] = narrow<T>(keep * l.weightOf(i) * (logSum - (widen(x[i]) - m))); });
}

}  // namespace

/** The sum of the class weights; one block. */
extern "C" __global__ void __launch_bounds__(kThreads) crossEntropy_total_f32(const float* weight, int64_t n, float* total) {
  const double sum = sumOfPartials(weight, n);
  if (threadIdx.x == 0) *total = float(sum);
}

#define ANNEAL_DIRECTIONS(T, suffix, kind, kSoft)                                                                                                \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                         \
      crossEntropy_##kind##_##suffix(Logits<T> l, float* stats, float* partials, int wide, Trouble* trouble, uint32_t call) {                    \
    forward<T, kSoft>(l, stats, partials, wide != 0, trouble, call);                                                                             \
  }                                                                                                                                              \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                         \
      crossEntropy_##kind##_grad_##suffix(Logits<T> l, const float* g, const float* stats, T* dx, int wide, Trouble* trouble, uint32_t call) {   \
    backward<T, kSoft>(l, g, stats, dx, wide != 0, trouble, call);                                                                               \
  }
#define ANNEAL_CROSS(T, suffix)                                                                                                                  \
  ANNEAL_DIRECTIONS(T, suffix, hard, false) ANNEAL_DIRECTIONS(T, suffix, soft, true)                                                             \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                         \
      crossEntropy_target_##suffix(Logits<T> l, const float* g, const float* stats, T* dt, int wide) {                                           \
    targetGrad<T>(l, g, stats, dt, wide != 0);                                                                                                   \
  }
ANNEAL_CROSS(float, f32)
ANNEAL_CROSS(f16, f16)
ANNEAL_CROSS(bf16, bf16)

}  // namespace anneal::gpu
