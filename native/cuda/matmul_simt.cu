// f32 matrix products: n and t say how each operand lies (t: its transpose is in memory); big and small tiles.
#include "cuda/gemm_simt.cuh"

namespace anneal::gpu {
namespace {

template <int BM, int BN, Along alongA, Along alongB, int ends>
ANNEAL_FN void product(const Gemm& g) {
  const Task t = taskOf<BM, BN>(g);
  simtGemm<BM, BN, alongA, alongB, ends>(g, t, matrixOf<float, alongA>(g.a, t.z, g.strideA, g.lda, g.m, t.kEnd),
                                   matrixOf<float, alongB>(g.b, t.z, g.strideB, g.ldb, g.n, t.kEnd));
}

}  // namespace

#define ANNEAL_TILE(layout, alongA, alongB, ends, size, BM, BN)                                                                        \
  extern "C" __global__ void __launch_bounds__((kSimtThreads<BM, BN>), (kSimtBlocks<BM, BN>)) matmul_##layout##_##size##_f32(const __grid_constant__ Gemm g) { \
    product<BM, BN, Along::alongA, Along::alongB, ends>(g);                                                                            \
  }
#define ANNEAL_LAYOUT(layout, alongA, alongB, ends) \
  ANNEAL_TILE(layout, alongA, alongB, ends, big, 128, 128) ANNEAL_TILE(layout, alongA, alongB, ends, small, 64, 64)
ANNEAL_LAYOUT(nn, k, x, kEndNN) ANNEAL_LAYOUT(nt, k, k, kEndNT) ANNEAL_LAYOUT(tn, x, x, kEndTN) ANNEAL_LAYOUT(tt, x, k, kEndNone)

namespace {

/** The parts of a product that was cut along k, added in order, and finished. */
template <class R>
ANNEAL_FN void finish(const Gemm& g) {
  const int64_t one = g.m * g.n, all = one * g.batch, i = globalThread();
  if (i >= all) return;
  float y = 0.f;
#pragma unroll 4
  for (int64_t s = 0; s < g.splits; ++s) y += g.partials[s * all + i];
  const int64_t z = i / one, row = i % one / g.n, column = i % g.n;
  const int64_t r = row * g.ldc + column;
  static_cast<R*>(g.c)[z * g.strideC + r] = narrow<R>(finishOne<R, kEndAll>(g, y, z, r, column));
}

}  // namespace

extern "C" __global__ void __launch_bounds__(kThreads) matmul_finish_f32(const __grid_constant__ Gemm g) { finish<float>(g); }
extern "C" __global__ void __launch_bounds__(kThreads) matmul_finish_f16(const __grid_constant__ Gemm g) { finish<f16>(g); }
extern "C" __global__ void __launch_bounds__(kThreads) matmul_finish_bf16(const __grid_constant__ Gemm g) { finish<bf16>(g); }

}  // namespace anneal::gpu
