// Launches the optimizer's stages (native/cuda/optim.cu): one launch each over all tensors of a list.
#include <vector>

#include "cuda/launch.h"
#include "cuda/register.h"
#include "ops/step_state.h"
#include "ops/update_rows.h"

namespace anneal::cuda {
namespace {

/** The list's tensors that have a gradient, in device memory. The table goes along with every call: it is small, and gradients move. */
struct Table {
  struct {
    const UpdateRow* rows = nullptr;
    const int32_t* rowOf = nullptr;  // of each chunk
  } device;
  int count = 0;
  int64_t chunks = 0;
  double elements = 0;
};

class Builder {
 public:
  Builder() {
    rows().clear();
    rowOf().clear();
  }
  UpdateRow& add(int64_t n) {
    const int64_t chunks = (n + kUpdateChunk - 1) / kUpdateChunk;
    rowOf().insert(rowOf().end(), static_cast<size_t>(chunks), table_.count++);
    rows().push_back(UpdateRow{});
    UpdateRow& row = rows().back();
    row.first = table_.chunks;
    row.n = n;
    table_.chunks += chunks;
    table_.elements += static_cast<double>(n);
    return row;
  }
  Table done() {
    if (!table_.count) return table_;
    table_.device.rows = static_cast<const UpdateRow*>(gpu().constants(rows().data(), table_.count * static_cast<int64_t>(sizeof(UpdateRow))));
    table_.device.rowOf = static_cast<const int32_t*>(gpu().constants(rowOf().data(), table_.chunks * static_cast<int64_t>(sizeof(int32_t))));
    return table_;
  }

 private:
  static std::vector<UpdateRow>& rows() {
    static thread_local std::vector<UpdateRow> kept;
    return kept;
  }
  static std::vector<int32_t>& rowOf() {
    static thread_local std::vector<int32_t> kept;
    return kept;
  }
  Table table_;
};

void requireMaster(const View& v) { require(v.dtype == DType::f32, "optim: parameters on a GPU are f32"); }

Table gradientsOf(const TensorList& list) {
  Builder b;
  for (int r = 0; r < list.rows; ++r) {
    const View& g = list.at(r, 0);
    if (!g.data || g.n == 0) continue;
    requireMaster(g);
    b.add(g.n).g = g.as<float>();
  }
  return b.done();
}

double* stateOf(const View& v) {
  require(v.dtype == DType::f64 && v.n == kStepSlots, "optim: step state");
  return v.as<double>();
}

/** As native/cuda/optim.cu's. */
struct Scalars {
  const void* at[kReports] = {};
  int32_t dtype[kReports] = {};
  int32_t n = 0;
  void add(const Call& c, int input) {
    if (c.has(input)) {
      require(c.in[input].n == 1, "optim: a device scalar has one element");
      at[n] = c.in[input].data;
      dtype[n] = static_cast<int32_t>(c.in[input].dtype);
    }
    ++n;
  }
};

std::string describe(const Trouble&) {
  return "the table of rates begins after the step to be taken: setLearningRates was given a start that lies ahead";
}

/** in: table of rates f64, count?, scale?; out: state; attr: inverseScale, the table's first step. */
void stepBegin(const Call& c) {
  require(c.in[0].dtype == DType::f64 && c.in[0].n > 0, "stepBegin: table");
  Scalars scalars;
  scalars.add(c, 1);
  scalars.add(c, 2);
  const uint32_t call = gpu().watch(c, describe);
  gpu().launch(Plan{"stepBegin_f64", {1}, {1}, 0, 128}, c.in[0].as<double>(), c.in[0].n, scalars, c.attr[0], c.attr[1], stateOf(c.out[0]),
               gpu().trouble(), call);
}

/** in: scalars to report; out: state. */
void stepEnd(const Call& c) {
  require(c.nIn <= kReports, "stepEnd: reports");
  Scalars scalars;
  for (int i = 0; i < c.nIn; ++i) scalars.add(c, i);
  gpu().launch(Plan{"stepEnd_f64", {1}, {1}, 0, 128}, scalars, stateOf(c.out[0]));
}

/** in: state; out: scale, good steps (f32 [2]); attr: growth, backoff, interval, floor, ceiling. */
void lossScale(const Call& c) {
  require(c.out[0].dtype == DType::f32 && c.out[0].n == 2, "lossScale: scaler");
  const auto number = [&](int i) { return static_cast<float>(c.attr[i]); };
  gpu().launch(Plan{"lossScale_f32", {1}, {1}, 0, 24}, static_cast<const double*>(stateOf(c.in[0])), c.out[0].as<float>(), number(0), number(1), number(2),
               number(3), number(4));
}

/** in: gradients; out: state, (partials of the CPU,) norm? (one element); attr: first list of the step, last list, maxNorm (0: no clipping). */
void gradNorm(const Call& c) {
  const Table t = gradientsOf(c.list(0));
  double* partials = static_cast<double*>(gpu().scratch(8 * (t.chunks + 1), 0));
  gpu().launch(Plan{"gradNorm_f32", {static_cast<uint32_t>(t.chunks)}, {kThreads}, 0, 4 * t.elements}, t.device, partials);
  const bool writes = c.hasOut(2);
  require(!writes || c.out[2].dtype == DType::f32 || c.out[2].dtype == DType::f16 || c.out[2].dtype == DType::bf16, "gradNorm: the norm's dtype");
  gpu().launch(Plan{"gradNorm_finish_f64", {1}, {kThreads}, 0, 8.0 * static_cast<double>(t.chunks + kStepSlots)}, static_cast<const double*>(partials),
               t.chunks, stateOf(c.out[0]), writes ? c.out[2].data : nullptr, writes ? static_cast<int>(c.out[2].dtype) : 0,
               static_cast<int>(c.flag(0)), static_cast<int>(c.flag(1)), c.attr[2], static_cast<const Trouble*>(gpu().trouble()));
}

/** Gradients in place times the state's clip factor. in: gradients, state. */
void gradScale(const Call& c) {
  const Table t = gradientsOf(c.list(0));
  gpu().launch(Plan{"gradScale_f32", {static_cast<uint32_t>(t.chunks)}, {kThreads}, 0, 8 * t.elements}, t.device,
               static_cast<const double*>(stateOf(c.in[1])));
}

enum Column { kParam, kStep, kShadow, kState, kColumns = kState + 3 };  // lib/optim/lists.ts has the same

struct Group {
  Table table;
  double bytes = 0;  // of a pass that reads and writes everything
};

/** in: the group's list, gradients, state?. attr: the group's first row in the list of gradients, lr, weightDecay, maximize, then the rule's own. */
Group groupOf(const Call& c, int states) {
  const TensorList &list = c.list(0), &grads = c.list(1);
  const int64_t offset = c.integer(0);
  require(list.columns == kColumns && offset >= 0 && offset + list.rows <= grads.rows, "optim: lists");
  Builder b;
  double bytes = 0;
  for (int r = 0; r < list.rows; ++r) {
    const View &p = list.at(r, kParam), &g = grads.at(static_cast<int>(offset) + r, 0), &shadow = list.at(r, kShadow), &step = list.at(r, kStep);
    if (!g.data || p.n == 0) continue;
    requireMaster(p);
    require(g.n == p.n && g.dtype == p.dtype, "optim: gradient");
    require(step.data && step.dtype == DType::f64 && step.n == 1, "optim: step");
    require(!shadow.data || (shadow.n == p.n && (shadow.dtype == DType::bf16 || shadow.dtype == DType::f16)), "optim: a shadow is bf16 or f16");
    UpdateRow& row = b.add(p.n);
    row.p = p.as<float>();
    row.g = g.as<float>();
    row.step = step.as<double>();
    row.shadow = shadow.data;
    row.shadowIsF16 = shadow.dtype == DType::f16;
    for (int k = 0; k < states; ++k) {
      const View& state = list.at(r, kState + k);
      require(state.n == p.n && state.dtype == p.dtype, "optim: state");
      row.state[k] = state.as<float>();
    }
    bytes += static_cast<double>(p.n) * (12 + 8 * states + (shadow.data ? 2 : 0));
  }
  return {b.done(), bytes};
}

uint32_t* ticketsFor(const Table& t) { return static_cast<uint32_t*>(gpu().zeroed(4 * int64_t{t.count} + 4, 0)); }
const double* stepStateOf(const Call& c) { return c.has(2) ? stateOf(c.in[2]) : nullptr; }

void update(const Call& c, const char* kernel, int states, const UpdateRule& rule) {
  const auto [t, bytes] = groupOf(c, states);
  gpu().launch(Plan{kernel, {static_cast<uint32_t>(t.chunks)}, {kThreads}, 0, bytes}, t.device, stepStateOf(c), rule, ticketsFor(t));
}

/** attr from 4: momentum, dampening, nesterov. State: the momentum buffer, if there is momentum. */
void sgd(const Call& c) {
  update(c, "sgd_f32", c.attr[4] != 0 ? 1 : 0, {c.attr[1], c.attr[2], c.attr[4], c.attr[5], 0, c.flag(3), c.flag(6), 0, 0});
}

/** attr from 4: beta1, beta2, eps, decoupled, amsgrad. State: m, v and, with amsgrad, the largest v. */
void adam(const Call& c) {
  update(c, "adam_f32", c.flag(8) ? 3 : 2, {c.attr[1], c.attr[2], c.attr[4], c.attr[5], c.attr[6], c.flag(3), c.flag(7), c.flag(8), 0});
}

/** attr from 4: alpha, momentum, eps, centered. State: mean square, then momentum and mean gradient, as far as there are. */
void rmsprop(const Call& c) {
  update(c, "rmsprop_f32", 1 + (c.attr[5] != 0) + c.flag(7), {c.attr[1], c.attr[2], c.attr[4], c.attr[5], c.attr[6], c.flag(3), c.flag(7), 0, 0});
}

/** attr from 4: decay of the rate, unused, eps, unused. State: the sum of squares. */
void adagrad(const Call& c) { update(c, "adagrad_f32", 1, {c.attr[1], c.attr[2], c.attr[4], 0, c.attr[6], c.flag(3), 0, 0, 0}); }

/** attr from 4: beta1, beta2, unused, unused. State: the momentum. */
void lion(const Call& c) { update(c, "lion_f32", 1, {c.attr[1], c.attr[2], c.attr[4], c.attr[5], 0, c.flag(3), 0, 0, 0}); }

/** attr from 4: decay or first update, warm-up or period, unused, equal weights. The list's parameters are the averages, its gradients the weights. */
void average(const Call& c) { update(c, "average_f32", 0, {c.attr[1], c.attr[2], c.attr[4], c.attr[5], 0, c.flag(3), c.flag(7), 0, 0}); }

/** attr from 4: momentum, unused, unused, nesterov. State: the momentum, and what is to be orthogonalised. */
void muonMomentum(const Call& c) { update(c, "muonMomentum_f32", 2, {c.attr[1], c.attr[2], c.attr[4], 0, 0, c.flag(3), c.flag(7), 0, 0}); }

/** The list's gradients are what is subtracted. */
void muon(const Call& c) { update(c, "muon_f32", 0, {c.attr[1], c.attr[2], 0, 0, 0, c.flag(3), 0, 0, 0}); }

/** attr from 4: beta1, beta2, eps, whether the rate is adapted. State: m, v. (The partials that it is given are the CPU's.) */
void lamb(const Call& c) {
  const bool adapts = c.flag(7);
  const UpdateRule rule = {c.attr[1], c.attr[2], c.attr[4], c.attr[5], c.attr[6], c.flag(3), 0, 0, 0};
  const auto [t, bytes] = groupOf(c, 2);
  const double* state = stepStateOf(c);
  double* partials = static_cast<double*>(gpu().scratch(8 * (2 * t.chunks + t.count + 1), 0));
  double* trust = partials + 2 * t.chunks;
  const uint32_t blocks = static_cast<uint32_t>(t.chunks);
  gpu().launch(Plan{"lambMoments_f32", {blocks}, {kThreads}, 0, 24 * t.elements}, t.device, state, rule, partials);
  if (adapts)
    gpu().launch(Plan{"lambTrust_f64", {static_cast<uint32_t>(t.count)}, {kThreads}, 0, 16.0 * static_cast<double>(t.chunks)}, t.device.rows,
                 static_cast<const double*>(partials), trust);
  gpu().launch(Plan{"lamb_f32", {blocks}, {kThreads}, 0, bytes - 12 * t.elements}, t.device, state, rule,
               static_cast<const double*>(adapts ? trust : nullptr), ticketsFor(t));
}

}  // namespace

void registerOptim(OpTable& t) {
  t.cuda("stepBegin", stepBegin);
  t.cuda("stepEnd", stepEnd);
  t.cuda("lossScale", lossScale);
  t.cuda("gradNorm", gradNorm);
  t.cuda("gradScale", gradScale);
  t.cuda("sgd", sgd);
  t.cuda("adam", adam);
  t.cuda("rmsprop", rmsprop);
  t.cuda("adagrad", adagrad);
  t.cuda("lion", lion);
  t.cuda("lamb", lamb);
  t.cuda("muonMomentum", muonMomentum);
  t.cuda("muon", muon);
  t.cuda("average", average);
}

}  // namespace anneal::cuda
