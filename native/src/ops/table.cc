// The op table's rows: every op that TypeScript can name, with its kind. test/ops/registry.test.ts holds it against lib/ops.
#include <cstring>
#include <stdexcept>

#include "comm/groups.h"
#include "core/environment.h"
#include "core/executor.h"
#include "cuda/register.h"

namespace anneal {

namespace cpu {
void registerOneDnn(OpTable& t);
#define ANNEAL_VARIANT(isa) \
  namespace isa { void registerKernels(OpTable& t); }
#ifdef ANNEAL_HAVE_V2
ANNEAL_VARIANT(v2)
#endif
#ifdef ANNEAL_HAVE_V3
ANNEAL_VARIANT(v3)
#endif
#ifdef ANNEAL_HAVE_V4
ANNEAL_VARIANT(v4)
#endif
#ifdef ANNEAL_HAVE_GENERIC
ANNEAL_VARIANT(generic)
#endif
#undef ANNEAL_VARIANT
}  // namespace cpu

namespace {

struct Row {
  const char *kind, *names;
};

// names are separated by blanks
constexpr Row rows[] = {
    {"memory", "fill cast copy"},
    {"elementwise",
     "neg abs exp expm1 log log1p sqrt rsqrt square reciprocal sin cos tanh sigmoid relu leakyRelu elu silu softplus erf gelu geluTanh floor "
     "ceil round sign clamp powScalar tan asin acos atan sinh cosh exp2 log2 log10"},
    {"elementwise",
     "neg.grad abs.grad exp.grad expm1.grad log.grad log1p.grad sqrt.grad rsqrt.grad square.grad reciprocal.grad sin.grad cos.grad tanh.grad "
     "sigmoid.grad relu.grad leakyRelu.grad elu.grad silu.grad softplus.grad erf.grad gelu.grad geluTanh.grad floor.grad ceil.grad round.grad "
     "sign.grad clamp.grad powScalar.grad tan.grad asin.grad acos.grad atan.grad sinh.grad cosh.grad exp2.grad log2.grad log10.grad"},
    {"elementwise", "gelu.both geluTanh.both"},
    {"elementwise", "add sub mul div pow maximum minimum eq ne lt le gt ge atan2 fmod remainder floorDivide bitwiseAnd bitwiseOr bitwiseXor"},
    {"matmul", "matmul matmul.plain"},
    {"attention", "attention attention.grad"},
    {"reduce", "sum columnSum prod extreme argExtreme logSumExp variance"},
    {"reduce", "sum.grad prod.grad extreme.grad logSumExp.grad variance.grad"},
    {"norm", "softmax logSoftmax layerNorm rmsNorm groupNorm batchNorm"},
    {"norm", "softmax.grad logSoftmax.grad layerNorm.grad rmsNorm.grad groupNorm.grad batchNorm.grad"},
    {"index", "strided where gather gather.grad topK embedding embedding.grad"},
    {"loss",
     "crossEntropy crossEntropy.grad crossEntropy.target mse mse.grad l1 l1.grad huber huber.grad bceWithLogits bceWithLogits.grad kl kl.grad "
     "klLog klLog.grad loss.mean loss.mean.grad"},
    {"layout", "layout"},
    {"conv", "conv2d conv2d.gradInput conv2d.gradWeight relu.gradSum"},
    {"pool", "maxPool2d maxPool2d.grad avgPool2d avgPool2d.grad"},
    {"recurrent", "lstmStep lstmStep.grad gruStep gruStep.grad rnnStep rnnStep.grad"},
    {"collective", "collective"},
    {"bench", "peak"},
    {"random", "randomWords uniform normal randint bernoulli permutation stochasticRound dropout dropout2d fusedBias fusedBias.grad"},
    {"optim", "stepBegin stepEnd lossScale gradNorm gradScale sgd adam rmsprop adagrad lion lamb muonMomentum muon average"},
};

void declareAll(OpTable& t) {
  for (const Row& row : rows) {
    for (const char* at = row.names; *at;) {
      const size_t length = std::strcspn(at, " ");
      t.declare(strndup(at, length), row.kind);  // names live as long as the process
      at += length;
      while (*at == ' ') ++at;
    }
  }
}

void registerVariant(OpTable& t, const char* isa) {
#ifdef ANNEAL_HAVE_V4
  if (!std::strcmp(isa, "v4")) return cpu::v4::registerKernels(t);
#endif
#ifdef ANNEAL_HAVE_V3
  if (!std::strcmp(isa, "v4") || !std::strcmp(isa, "v3")) return cpu::v3::registerKernels(t);
#endif
#ifdef ANNEAL_HAVE_V2
  return cpu::v2::registerKernels(t);
#elif defined(ANNEAL_HAVE_GENERIC)
  return cpu::generic::registerKernels(t);
#endif
  throw std::logic_error(std::string("this build has no kernels for instruction set ") + isa);
}

}  // namespace

const OpTable& table() {
  static const OpTable* made = [] {
    auto* t = new OpTable;
    declareAll(*t);
    registerVariant(*t, cpuFeatures().isa);
    cpu::registerOneDnn(*t);
    cuda::registerKernels(*t);
    t->cpu("collective", comm::collective);
    return t;
  }();
  return *made;
}

}  // namespace anneal
