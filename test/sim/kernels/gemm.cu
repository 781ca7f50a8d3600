// C = A B^T (A: M x K, B: N x K, both by rows), bf16, f32 sums: 128 x 128 x 32 tiles, mma.sync, ldmatrix, three stages of cp.async.
#include <cuda_bf16.h>

#include <cstdint>

namespace {
__device__ __forceinline__ uint32_t sharedAddress(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }
__device__ __forceinline__ void copy16(uint32_t to, const void* from, bool valid) {
  int bytes = valid ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to), "l"(from), "r"(bytes));
}
constexpr int BM = 128, BN = 128, BK = 32, STAGES = 3;
__device__ __forceinline__ uint32_t at(uint32_t base, int row, int chunk) { return base + row * 64 + ((chunk ^ ((row >> 1) & 3)) << 4); }
}  // namespace

#ifndef WAIT
#define WAIT STAGES - 2
#endif
extern "C" __global__ void __launch_bounds__(128) gemm(float* C, const __nv_bfloat16* A, const __nv_bfloat16* B, int M, int N, int K) {
  extern __shared__ __align__(128) char memory[];
  uint32_t base = sharedAddress(memory);
  int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5, wm = (warp & 1) * 64, wn = (warp >> 1) * 64;
  int m0 = blockIdx.y * BM, n0 = blockIdx.x * BN, steps = (K + BK - 1) / BK;
  auto fetch = [&](int step) {
    uint32_t a = base + (step % STAGES) * (BM + BN) * 64, b = a + BM * 64;
    for (int i = 0; i < 4; ++i) {
      int id = thread + i * 128, row = id >> 2, chunk = id & 3, k = step * BK + chunk * 8;
      bool va = m0 + row < M && k < K, vb = n0 + row < N && k < K;
      copy16(at(a, row, chunk), va ? A + size_t(m0 + row) * K + k : A, va);
      copy16(at(b, row, chunk), vb ? B + size_t(n0 + row) * K + k : B, vb);
    }
  };
  float c[4][8][4] = {};
  for (int s = 0; s < STAGES - 1; ++s) {
    if (s < steps) fetch(s);
    asm volatile("cp.async.commit_group;\n");
  }
  for (int step = 0; step < steps; ++step) {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(WAIT) : "memory");
#ifndef NO_BARRIER
    __syncthreads();
#endif
    if (step + STAGES - 1 < steps) fetch(step + STAGES - 1);
    asm volatile("cp.async.commit_group;\n");
    uint32_t a = base + (step % STAGES) * (BM + BN) * 64, b = a + BM * 64;
#pragma unroll
    for (int k = 0; k < BK / 16; ++k) {
      uint32_t fa[4][4], fb[4][4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(fa[i][0]), "=r"(fa[i][1]), "=r"(fa[i][2]), "=r"(fa[i][3])
                     : "r"(at(a, wm + i * 16 + (lane & 15), k * 2 + (lane >> 4))));
#pragma unroll
      for (int j = 0; j < 4; ++j)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(fb[j][0]), "=r"(fb[j][1]), "=r"(fb[j][2]), "=r"(fb[j][3])
                     : "r"(at(b, wn + j * 16 + (lane & 7) + (lane >> 4) * 8, k * 2 + (lane >> 3 & 1))));
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j)
          asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                       : "+f"(c[i][j][0]), "+f"(c[i][j][1]), "+f"(c[i][j][2]), "+f"(c[i][j][3])
                       : "r"(fa[i][0]), "r"(fa[i][1]), "r"(fa[i][2]), "r"(fa[i][3]), "r"(fb[j >> 1][(j & 1) * 2]), "r"(fb[j >> 1][(j & 1) * 2 + 1]));
    }
  }
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 8; ++j)
      for (int e = 0; e < 4; ++e) {
        int row = m0 + wm + i * 16 + (lane >> 2) + 8 * (e >> 1), column = n0 + wn + j * 8 + 2 * (lane & 3) + (e & 1);
        if (row < M && column < N) C[size_t(row) * N + column] = c[i][j][e];
      }
}
