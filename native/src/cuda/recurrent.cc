// Launches the time steps of recurrent layers (native/cuda/recurrent.cu): operands and attributes as the CPU's (cpu/recurrent.cc).
#include "cuda/register.h"

#include "cuda/launch.h"

namespace anneal::cuda {
namespace {

struct Step {
  int64_t n, width, at;
  int32_t relu;
  Plan plan;

  Step(const Call& c, int lengths) : n(c.integer(0) * c.integer(1)), width(c.integer(1)), at(c.integer(2)), relu(c.flag(3)) {
    require(c.nAttr == 4 && n >= 0 && width >= 0, "recurrent: attributes");
    require(!c.has(lengths) || (c.in[lengths].n == c.integer(0) && c.in[lengths].dtype == DType::i32), "recurrent: lengths");
    plan = {kernelName(c, c.in[0].dtype), {blocksFor(n, kThreads)}, {kThreads}, 0, bytesOf(c)};
  }
  const void* in(const Call& c, int i, int64_t parts, DType t, bool optional = false) const {
    require(c.has(i) ? c.in[i].n == n * parts && c.in[i].dtype == t : optional, "recurrent: operand");
    return c.has(i) ? c.in[i].data : nullptr;
  }
  void* out(const Call& c, int i, int64_t parts, DType t, bool optional = false) const {
    require(c.hasOut(i) ? c.out[i].n == n * parts && c.out[i].dtype == t : optional, "recurrent: result");
    return c.hasOut(i) ? c.out[i].data : nullptr;
  }
};

const void* lengthsOf(const Call& c, int i) { return c.has(i) ? c.in[i].data : nullptr; }
constexpr DType kWide = DType::f32;

void lstmStep(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 3);
  gpu().launch(s.plan, s.in(c, 0, 4, t), s.in(c, 1, 1, kWide), s.in(c, 2, 1, t), lengthsOf(c, 3), s.out(c, 0, 1, t), s.out(c, 1, 1, kWide), s.out(c, 2, 4, t),
               s.n, s.width, s.at);
}

void lstmStepGrad(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 6);
  gpu().launch(s.plan, s.in(c, 0, 4, t), s.in(c, 1, 1, kWide), s.in(c, 2, 1, kWide), s.in(c, 3, 1, t, true), s.in(c, 4, 1, t, true),
               s.in(c, 5, 1, kWide, true), lengthsOf(c, 6), s.out(c, 0, 4, t), s.out(c, 1, 1, kWide), s.out(c, 2, 1, t, !c.has(6)), s.n, s.width, s.at);
}

void gruStep(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 3);
  gpu().launch(s.plan, s.in(c, 0, 3, t), s.in(c, 1, 3, t), s.in(c, 2, 1, t), lengthsOf(c, 3), s.out(c, 0, 1, t), s.out(c, 1, 4, t), s.n, s.width, s.at);
}

void gruStepGrad(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 4);
  gpu().launch(s.plan, s.in(c, 0, 4, t), s.in(c, 1, 1, t), s.in(c, 2, 1, t, true), s.in(c, 3, 1, t, true), lengthsOf(c, 4), s.out(c, 0, 3, t),
               s.out(c, 1, 3, t), s.out(c, 2, 1, t), s.n, s.width, s.at);
}

void rnnStep(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 2);
  gpu().launch(s.plan, s.in(c, 0, 1, t), s.in(c, 1, 1, t), lengthsOf(c, 2), s.out(c, 0, 1, t), s.n, s.width, s.at, s.relu);
}

void rnnStepGrad(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 3);
  gpu().launch(s.plan, s.in(c, 0, 1, t), s.in(c, 1, 1, t, true), s.in(c, 2, 1, t, true), lengthsOf(c, 3), s.out(c, 0, 1, t),
               s.out(c, 1, 1, t, !c.has(3)), s.n, s.width, s.at, s.relu);
}

}  // namespace

void registerRecurrent(OpTable& t) {
  t.cuda("lstmStep", lstmStep);
  t.cuda("lstmStep.grad", lstmStepGrad);
  t.cuda("gruStep", gruStep);
  t.cuda("gruStep.grad", gruStepGrad);
  t.cuda("rnnStep", rnnStep);
  t.cuda("rnnStep.grad", rnnStepGrad);
}

}  // namespace anneal::cuda
