// The optimizer's side of a step: norm and bookkeeping; the updates are in update.cc. One call covers a whole list of tensors. Everything the host
// would have to wait for is in the step state (ops/step_state.h).
#include "cpu/optim.h"

ANNEAL_KERNELS_BEGIN
namespace {

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

}  // namespace

void registerUpdates(OpTable& t);

void registerOptim(OpTable& t) {
  t.cpu("stepBegin", stepBegin);
  t.cpu("stepEnd", stepEnd);
  t.cpu("lossScale", lossScale);
  t.cpu("gradNorm", gradNorm);
  t.cpu("gradScale", gradScale);
  registerUpdates(t);
}

ANNEAL_KERNELS_END
