// The optimizer's side of a step over lists of tensors: one launch per stage, a table of the list in device memory, a block per chunk. What
// the host would have to wait for is in the step state (ops/step_state.h).
#include "cuda/math.cuh"
#include "cuda/packs.cuh"
#include "ops/step_state.h"
#include "ops/update_rows.h"

namespace anneal::gpu {
namespace {

/** The list, and which of its rows each chunk belongs to. */
struct Table {
  const UpdateRow* rows;
  const int32_t* rowOf;
};

/** This block's part of the list: the row, copied to shared memory by one request. */
struct Part {
  const UpdateRow& row;
  int index;
  int64_t begin, n;
};
ANNEAL_FN Part partOf(const Table& table) {
  constexpr int kWords = sizeof(UpdateRow) / 8;
  __shared__ UpdateRow row;
  __shared__ int index;
  if (threadIdx.x < kWords) {
    const int found = table.rowOf[blockIdx.x];
    reinterpret_cast<uint64_t*>(&row)[threadIdx.x] = reinterpret_cast<const uint64_t*>(table.rows + found)[threadIdx.x];
    if (threadIdx.x == 0) index = found;
  }
  __syncthreads();
  const int64_t begin = (blockIdx.x - row.first) * kUpdateChunk, left = row.n - begin;
  return {row, index, begin, left < kUpdateChunk ? left : kUpdateChunk};
}

/** body(i, four) over a chunk: `four` elements from i on where everything is aligned, else one. */
template <class Body>
ANNEAL_FN void eachOfChunk(int64_t n, bool vector, Body body) {
  int64_t done = 0;
  if (vector) {
    done = n / 4 * 4;
#pragma unroll 2
    for (int64_t i = threadIdx.x * 4; i < done; i += kThreads * 4) body(i, std::integral_constant<int, 4>());
  }
#pragma unroll 1
  for (int64_t i = done + threadIdx.x; i < n; i += kThreads) body(i, std::integral_constant<int, 1>());
}
template <int N> ANNEAL_FN void load(const float* p, float (&v)[N]) {
  if constexpr (N == 4) {
    const Pack<float> four = *reinterpret_cast<const Pack<float>*>(p);
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = four.v[k];
  } else v[0] = *p;
}
template <int N> ANNEAL_FN void save(float* p, const float (&v)[N]) {
  if constexpr (N == 4) putPack(p, Pack<float>{v[0], v[1], v[2], v[3]});
  else *p = v[0];
}
template <int N> ANNEAL_FN void saveShadow(const UpdateRow& row, int64_t i, const float (&v)[N]) {
  Pack<uint16_t, 4> bits;
#pragma unroll
  for (int k = 0; k < N; ++k) bits.v[k] = row.shadowIsF16 ? __half_as_ushort(narrow<f16>(v[k])) : __bfloat16_as_ushort(narrow<bf16>(v[k]));
  uint16_t* to = static_cast<uint16_t*>(row.shadow) + i;
  if constexpr (N == 4) {  // one store, as putPack's of 16 bytes
    uint2 two;
    memcpy(&two, &bits, 8);
    asm volatile("st.v2.b32 [%0], {%1, %2};" ::"l"(to), "r"(two.x), "r"(two.y) : "memory");
  }
  else *to = bits.v[0];
}

ANNEAL_FN double blockSumWide(double x) {
  __shared__ double sums[kThreads];
  sums[threadIdx.x] = x;
  __syncthreads();
#pragma unroll 1
  for (int half = kThreads / 2; half; half >>= 1) {
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  return sums[0];
}

/** beta^t by squaring. */
ANNEAL_FN double power(double beta, double t) {
  double result = 1;
#pragma unroll 1
  for (int64_t e = static_cast<int64_t>(t); e; e >>= 1, beta *= beta)
    if (e & 1) result *= beta;
  return result;
}

/** What a block needs to know, in f32: worked out in f64 by one thread. */
struct Factors {
  float gradient, lr, decay, a, b, c, d, e;
};

/** The state's share of a rule: false if the step is to be skipped. */
ANNEAL_FN bool begins(const double* state, const UpdateRule& rule, double& lr, double& gradient) {
  lr = rule.lr * (state ? state[kRateFactor] : 1.0);
  gradient = (state ? state[kUnscale] * state[kClipFactor] : 1.0) * (rule.maximize ? -1.0 : 1.0);
  return !state || state[kSkip] == 0;
}

/** Counts the update once all of the row's chunks have read the count, which thread 0 alone does: the last of them to come by counts. */
ANNEAL_FN void countStep(const UpdateRow& row, uint32_t* tickets, int index) {
  if (threadIdx.x != 0) return;
  const uint32_t chunks = static_cast<uint32_t>((row.n + kUpdateChunk - 1) / kUpdateChunk);
  if (atomicAdd(&tickets[index], 1u) + 1 != chunks) return;
  *row.step += 1;
  tickets[index] = 0;
}

#include "ops/update_rules.h"

/** A rule over this block's chunk. */
template <class Rule> ANNEAL_FN void updateBy(const Table& table, const double* state, const UpdateRule& rule, uint32_t* tickets) {
  __shared__ Rule shared;
  double lr, gradient;
  if (!begins(state, rule, lr, gradient)) return;
  const Part part = partOf(table);
  const UpdateRow& row = part.row;
  if (threadIdx.x == 0) shared.set({lr, rule.weightDecay, gradient, *row.step + 1, rule.a, rule.b, rule.c, rule.first != 0});
  __syncthreads();
  const Rule apply = shared;
  constexpr int kStates = Rule::kStates;
  float* at[3] = {};
#pragma unroll
  for (int s = 0; s < kStates; ++s) at[s] = row.state[s] ? row.state[s] + part.begin : nullptr;
  float* p = row.p + part.begin;
  const float* g = row.g + part.begin;
  eachOfChunk(part.n, aligned16(p, g, at[0], at[1], at[2]) && (reinterpret_cast<uintptr_t>(row.shadow) & 7) == 0, [&](int64_t i, auto width) {
    float pv[width], gv[width], sv[3][width] = {};
    load(p + i, pv);
    load(g + i, gv);
#pragma unroll
    for (int s = 0; s < kStates; ++s)
      if (at[s]) load(at[s] + i, sv[s]);
#pragma unroll
    for (int k = 0; k < width; ++k) apply(pv[k], gv[k], sv[0][k], sv[1][k], sv[2][k]);
#pragma unroll
    for (int s = 0; s < kStates; ++s)
      if (at[s]) save(at[s] + i, sv[s]);
    save(p + i, pv);
    if (row.shadow) saveShadow(row, part.begin + i, pv);
  });
  if constexpr (Rule::kCounts) countStep(row, tickets, part.index);
}

ANNEAL_FN double scalarAt(const void* p, int dtype) {
  switch (dtype) {  // the order of DType
    case 0: return *static_cast<const float*>(p);
    case 1: return widen(*static_cast<const f16*>(p));
    case 2: return widen(*static_cast<const bf16*>(p));
    case 3: return *static_cast<const double*>(p);
    case 4: return *static_cast<const int32_t*>(p);
    default: return *static_cast<const uint8_t*>(p);
  }
}

}  // namespace

struct Scalars {
  const void* at[kReports];
  int32_t dtype[kReports];
  int32_t n;
};

/** scalars: count?, scale?. One thread. */
extern "C" __global__ void stepBegin_f64(const double* table, int64_t length, Scalars scalars, double inverseScale, double start, double* s,
                                         Trouble* trouble, uint32_t call) {
  const double count = scalars.at[0] ? scalarAt(scalars.at[0], scalars.dtype[0]) : 1, scale = scalars.at[1] ? scalarAt(scalars.at[1], scalars.dtype[1]) : 1;
  s[kSkip] = count > 0 ? 0 : 2;
  s[kUnscale] = count > 0 ? inverseScale / (scale * count) : 0;
  s[kGradNorm] = s[kSumSquares] = 0;
  s[kClipFactor] = 1;
  s[kAttempts] += 1;
  const double at = s[kApplied] - start, last = static_cast<double>(length - 1);
  if (at < 0) return report(trouble, call, 1, 0);
  s[kRateFactor] = table[static_cast<int64_t>(at < last ? at : last)];
}

extern "C" __global__ void stepEnd_f64(Scalars scalars, double* s) {
  const bool applied = s[kSkip] == 0;
  s[kWasApplied] = applied;
  s[kApplied] += applied;
#pragma unroll
  for (int i = 0; i < kReports; ++i)
    if (i < scalars.n) s[kReported + i] = scalarAt(scalars.at[i], scalars.dtype[i]);
}

/** Dynamic loss scaling. scaler: scale, good steps. A step without targets says nothing. One thread. */
extern "C" __global__ void lossScale_f32(const double* state, float* scaler, float growth, float backoff, float interval, float floor, float ceiling) {
  if (state[kSkip] == 1) {
    scaler[0] = fmaxf(scaler[0] * backoff, floor);
    scaler[1] = 0.f;
  } else if (state[kSkip] == 0) {
    const float good = scaler[1] + 1.f;
    if (good >= interval) scaler[0] = fminf(scaler[0] * growth, ceiling);
    scaler[1] = good >= interval ? 0.f : good;
  }
}

/** Squares add up in f64: there those of f32 numbers neither overflow nor vanish, so the sum is finite exactly if every element is. */
extern "C" __global__ void __launch_bounds__(kThreads) gradNorm_f32(Table table, double* partials) {
  const Part part = partOf(table);
  const float* g = part.row.g + part.begin;
  double sum = 0;
  eachOfChunk(part.n, aligned16(g), [&](int64_t i, auto width) {
    float v[width];
    load(g + i, v);
#pragma unroll
    for (int k = 0; k < width; ++k) sum += double(v[k]) * double(v[k]);
  });
  sum = blockSumWide(sum);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

/** One block. The norm, whether it is finite, and the clip factor: PyTorch's clip_grad_norm_, NaN stays NaN. */
extern "C" __global__ void __launch_bounds__(kThreads)
    gradNorm_finish_f64(const double* partials, int64_t n, double* s, void* out, int outType, int first, int last, double maxNorm,
                        const Trouble* trouble) {
  double sum = 0;
#pragma unroll 4
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum += partials[i];
  sum = blockSumWide(sum);
  if (threadIdx.x != 0) return;
  const double squares = (first ? 0 : s[kSumSquares]) + sum;
  s[kSumSquares] = squares;
  if (!last) return;
  const double norm = sqrt(squares) * fabs(s[kUnscale]);
  s[kGradNorm] = norm;
  if (maxNorm > 0) {
    const double f = maxNorm / (norm + 1e-6);
    s[kClipFactor] = f > 1 ? 1 : f;
  }
  if (!(norm - norm == 0) && s[kSkip] == 0) s[kSkip] = 1;
  if (trouble->code != 0) s[kSkip] = 2;  // data that are wrong train nothing; the host hears of it at its next await
  if (!out) return;
  if (outType == 0) *static_cast<float*>(out) = float(norm);
  else if (outType == 1) *static_cast<f16*>(out) = narrow<f16>(float(norm));
  else *static_cast<bf16*>(out) = narrow<bf16>(float(norm));
}

extern "C" __global__ void __launch_bounds__(kThreads) gradScale_f32(Table table, const double* state) {
  const Part part = partOf(table);
  float* g = part.row.g + part.begin;
  const float f = float(state[kClipFactor]);
  eachOfChunk(part.n, aligned16(g), [&](int64_t i, auto width) {
    float v[width];
    load(g + i, v);
#pragma unroll
    for (int k = 0; k < width; ++k) v[k] *= f;
    save(g + i, v);
  });
}

/** b = momentum b + (1 - dampening) g, at first g whole; p -= lr b, or with Nesterov lr (g + momentum b). */
extern "C" __global__ void __launch_bounds__(kThreads) sgd_f32(Table table, const double* state, UpdateRule rule, uint32_t* tickets) {
  __shared__ Factors shared;
  double lr, gradient;
  if (!begins(state, rule, lr, gradient)) return;
  const Part part = partOf(table);
  const UpdateRow& row = part.row;
  if (threadIdx.x == 0) {
    const bool first = *row.step == 0;
    shared = {float(gradient), float(lr), float(rule.weightDecay), first ? 0.f : float(rule.a), first ? 1.f : float(1 - rule.b), float(rule.a), 0.f, 0.f};
  }
  __syncthreads();
  const Factors f = shared;
  float *p = row.p + part.begin, *b = row.state[0];
  const float* g = row.g + part.begin;
  if (b) b += part.begin;
  const bool nesterov = rule.first != 0;
  eachOfChunk(part.n, aligned16(p, g, b) && (reinterpret_cast<uintptr_t>(row.shadow) & 7) == 0, [&](int64_t i, auto width) {
    float pv[width], gv[width], bv[width];
    load(p + i, pv);
    load(g + i, gv);
    if (b) load(b + i, bv);
#pragma unroll
    for (int k = 0; k < width; ++k) {
      float d = gv[k] * f.gradient + f.decay * pv[k];
      if (b) {
        bv[k] = f.a * bv[k] + f.b * d;
        d = nesterov ? d + f.c * bv[k] : bv[k];
      }
      pv[k] -= f.lr * d;
    }
    if (b) save(b + i, bv);
    save(p + i, pv);
    if (row.shadow) saveShadow(row, part.begin + i, pv);
  });
  countStep(row, tickets, part.index);
}

/** p -= lr / correction1 * m / (sqrt(v) / sqrt(correction2) + eps). */
extern "C" __global__ void __launch_bounds__(kThreads) adam_f32(Table table, const double* state, UpdateRule rule, uint32_t* tickets) {
  __shared__ Factors shared;
  double lr, gradient;
  if (!begins(state, rule, lr, gradient)) return;
  const Part part = partOf(table);
  const UpdateRow& row = part.row;
  const bool decoupled = rule.first != 0;
  if (threadIdx.x == 0) {
    const double t = *row.step + 1;
    shared.gradient = float(gradient);
    shared.lr = float(lr / (1 - power(rule.a, t)));
    shared.decay = float(decoupled ? 0 : rule.weightDecay);
    shared.a = float(1 - rule.a);
    shared.b = float(rule.b);
    shared.c = float(1 - rule.b);
    shared.d = float(1 / sqrt(1 - power(rule.b, t)));
    shared.e = float(decoupled ? 1 - lr * rule.weightDecay : 1);
  }
  __syncthreads();
  const Factors f = shared;
  const float eps = float(rule.c);
  float *p = row.p + part.begin, *m = row.state[0] + part.begin, *v = row.state[1] + part.begin, *w = rule.second ? row.state[2] + part.begin : nullptr;
  const float* g = row.g + part.begin;
  eachOfChunk(part.n, aligned16(p, g, m, v, w) && (reinterpret_cast<uintptr_t>(row.shadow) & 7) == 0, [&](int64_t i, auto width) {
    float pv[width], gv[width], mv[width], vv[width], wv[width];
    load(p + i, pv);
    load(g + i, gv);
    load(m + i, mv);
    load(v + i, vv);
    if (w) load(w + i, wv);
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float d = gv[k] * f.gradient + f.decay * pv[k];
      mv[k] += f.a * (d - mv[k]);
      vv[k] = f.b * vv[k] + f.c * d * d;
      if (w) wv[k] = nanMax(wv[k], vv[k]);
      pv[k] = pv[k] * f.e - f.lr * mv[k] / (sqrtf(w ? wv[k] : vv[k]) * f.d + eps);
    }
    save(m + i, mv);
    save(v + i, vv);
    if (w) save(w + i, wv);
    save(p + i, pv);
    if (row.shadow) saveShadow(row, part.begin + i, pv);
  });
  countStep(row, tickets, part.index);
}

#define ANNEAL_UPDATE(name, Rule)                                                                                                         \
  extern "C" __global__ void __launch_bounds__(kThreads) name(Table table, const double* state, UpdateRule rule, uint32_t* tickets) {     \
    updateBy<Rule<float>>(table, state, rule, tickets);                                                                                  \
  }
ANNEAL_UPDATE(rmsprop_f32, RMSprop)
ANNEAL_UPDATE(adagrad_f32, Adagrad)
ANNEAL_UPDATE(lion_f32, Lion)
ANNEAL_UPDATE(muonMomentum_f32, MuonMomentum)
ANNEAL_UPDATE(muon_f32, Muon)
ANNEAL_UPDATE(average_f32, Average)

/** LAMB's first pass: moments, and for each chunk the sums of squares of the parameter and of the direction. */
extern "C" __global__ void __launch_bounds__(kThreads) lambMoments_f32(Table table, const double* state, UpdateRule rule, double* partials) {
  __shared__ Lamb<float> shared;
  double lr, gradient;
  if (!begins(state, rule, lr, gradient)) return;
  const Part part = partOf(table);
  const UpdateRow& row = part.row;
  if (threadIdx.x == 0) shared.set({lr, rule.weightDecay, gradient, *row.step + 1, rule.a, rule.b, rule.c, false});
  __syncthreads();
  const Lamb<float> apply = shared;
  const float *p = row.p + part.begin, *g = row.g + part.begin;
  float *m = row.state[0] + part.begin, *v = row.state[1] + part.begin;
  double own = 0, away = 0;
  eachOfChunk(part.n, aligned16(p, g, m, v), [&](int64_t i, auto width) {
    float pv[width], gv[width], mv[width], vv[width];
    load(p + i, pv);
    load(g + i, gv);
    load(m + i, mv);
    load(v + i, vv);
#pragma unroll
    for (int k = 0; k < width; ++k) {
      apply.moments(gv[k], mv[k], vv[k]);
      const float d = apply.direction(pv[k], mv[k], vv[k]);
      own += double(pv[k]) * double(pv[k]);
      away += double(d) * double(d);
    }
    save(m + i, mv);
    save(v + i, vv);
  });
  own = blockSumWide(own);
  __syncthreads();  // the sum's room is used again
  away = blockSumWide(away);
  if (threadIdx.x != 0) return;
  partials[2 * blockIdx.x] = own;
  partials[2 * blockIdx.x + 1] = away;
}

/** A block for each tensor: what LAMB multiplies its rate by. */
extern "C" __global__ void __launch_bounds__(kThreads) lambTrust_f64(const UpdateRow* rows, const double* partials, double* trust) {
  const int64_t first = rows[blockIdx.x].first, chunks = (rows[blockIdx.x].n + kUpdateChunk - 1) / kUpdateChunk;
  double own = 0, away = 0;
#pragma unroll 4
  for (int64_t i = first + threadIdx.x; i < first + chunks; i += kThreads) {
    own += partials[2 * i];
    away += partials[2 * i + 1];
  }
  own = blockSumWide(own);
  __syncthreads();
  away = blockSumWide(away);
  if (threadIdx.x == 0) trust[blockIdx.x] = lambTrust(own, away);
}

/** LAMB's second pass. trust: null where the rate is not adapted. */
extern "C" __global__ void __launch_bounds__(kThreads)
    lamb_f32(Table table, const double* state, UpdateRule rule, const double* trust, uint32_t* tickets) {
  __shared__ Lamb<float> shared;
  __shared__ float rate;
  double lr, gradient;
  if (!begins(state, rule, lr, gradient)) return;
  const Part part = partOf(table);
  const UpdateRow& row = part.row;
  if (threadIdx.x == 0) {
    shared.set({lr, rule.weightDecay, gradient, *row.step + 1, rule.a, rule.b, rule.c, false});
    rate = float(trust ? lr * trust[part.index] : lr);
  }
  __syncthreads();
  const Lamb<float> apply = shared;
  const float step = rate;
  float* p = row.p + part.begin;
  const float *m = row.state[0] + part.begin, *v = row.state[1] + part.begin;
  eachOfChunk(part.n, aligned16(p, m, v) && (reinterpret_cast<uintptr_t>(row.shadow) & 7) == 0, [&](int64_t i, auto width) {
    float pv[width], mv[width], vv[width];
    load(p + i, pv);
    load(m + i, mv);
    load(v + i, vv);
#pragma unroll
    for (int k = 0; k < width; ++k) pv[k] -= step * apply.direction(pv[k], mv[k], vv[k]);
    save(p + i, pv);
    if (row.shadow) saveShadow(row, part.begin + i, pv);
  });
  countStep(row, tickets, part.index);
}

}  // namespace anneal::gpu
