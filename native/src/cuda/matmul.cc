// Launches matrix products (native/cuda/matmul*.cu): attributes and operands as the CPU's (ops/matmul_shape.h).
#include "ops/matmul_shape.h"

#include "cuda/gemm_plan.h"
#include "cuda/register.h"

namespace anneal::cuda {
namespace {

struct Layout {
  const char* name;
  int ends;  // with which its kernels are compiled
};
/** By transposeA, transposeB. */
constexpr Layout layouts[2][2] = {{{"nn", kEndNN}, {"nt", kEndNT}}, {{"tn", kEndTN}, {"tt", kEndNone}}};

/** Which loader the rows of 16-bit operands need: none of them begins in a sector's middle, or some do on 16 bytes, or anywhere (gemm_mma.cuh, gemm_ragged.cuh). */
const char* rowsOf(const Gemm& g, const MatmulShape& s, DType t) {
  if (!g.alignedA || !g.alignedB) return "_ragged";
  const bool whole = (s.transposeA || aligned(g.a, g.lda, g.strideA, sizeOf(t), 32)) && (!s.transposeB || aligned(g.b, g.ldb, g.strideB, sizeOf(t), 32));
  return whole ? "" : "_late";  // along x there is nothing to gain
}

/** out = relu?(a b + bias) (+ residual | * multiplier); accumulate: out += a b. in: a, b, bias?, residual or multiplier?. */
void matmul(const Call& c) {
  const MatmulShape s(c);
  const DType t = c.in[0].dtype, out = c.out[0].dtype;
  require(c.in[1].dtype == t && (out == t || out == DType::f32), "matmul: dtypes");
  require(!s.bias || c.in[2].dtype == DType::f32, "matmul: bias");
  require(!c.has(3) || c.in[3].dtype == out, "matmul: residual");
  if (s.batch * s.m * s.n == 0) return;

  Gemm g{};
  g.m = s.m, g.n = s.n, g.k = s.k, g.batch = s.batch;
  g.lda = s.transposeA ? s.m : s.k, g.ldb = s.transposeB ? s.k : s.n, g.ldc = s.n;
  g.strideA = s.strideA, g.strideB = s.strideB, g.strideC = s.m * s.n;
  g.a = c.in[0].data, g.b = c.in[1].data, g.c = c.out[0].data;
  g.bias = input<float>(c, 2), g.extra = input<void>(c, 3);
  g.accumulate = s.accumulate, g.relu = s.activation == kRelu, g.multiply = s.multiplier;
  g.wide = out == DType::f32;
  g.alignedA = aligned(g.a, g.lda, g.strideA, sizeOf(t));
  g.alignedB = aligned(g.b, g.ldb, g.strideB, sizeOf(t));
  alignResult(g, t);

  const bool bothTurned = s.transposeA && s.transposeB;
  const Tiling tiling = tilingOf(g, t, bothTurned && t != DType::f32);
  cutAlongK(g, tiling);
  const Layout& layout = layouts[s.transposeA][s.transposeB];
  require((endsOf(g, t) & ~layout.ends) == 0, "matmul: no kernel of this layout ends so");
  const char* rows = t == DType::f32 ? "" : bothTurned ? "_ragged" : rowsOf(g, s, t);
  runGemm(g, std::string("matmul_") + layout.name + rows + "_" + tiling.size + "_" + suffix(t), tiling, t, bytesOf(c) + (s.accumulate ? bytesOf(c.out[0]) : 0));
}

}  // namespace

void registerMatmul(OpTable& t) {
  t.cuda("matmul", matmul);
  t.cuda("matmul.plain", matmul);
}

}  // namespace anneal::cuda
