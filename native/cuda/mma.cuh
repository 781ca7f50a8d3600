// Tensor-core instructions, and how their fragments lie. Used by matrix products, attention and convolution; PTX's own names and layouts.
//
// g = lane >> 2, t = lane & 3. Two 16-bit values to a register, the lower index in the low half.
//   A (16 x 16, by rows)     a0..a7: row g + 8 ((i >> 1) & 1), column 2t + (i & 1) + 8 (i >> 2)
//   B (16 x 8, by columns)   b0..b3: k = 2t + (i & 1) + 8 (i >> 1), n = g
//   C, D (16 x 8, f32)       c0..c3: row g + 8 (i >> 1), column 2t + (i & 1)
//   ldmatrix.x4              lanes 8m .. 8m + 7 give the addresses of matrix m's rows; register m of a lane is M_m[g][2t], M_m[g][2t + 1];
//                            .trans: M_m[2t][g], M_m[2t + 1][g]
#pragma once
#include "cuda/common.cuh"

namespace anneal::gpu {

/** d += a b. */
template <class T> ANNEAL_FN void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t* b);
template <> ANNEAL_FN void mma<f16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t* b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <> ANNEAL_FN void mma<bf16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t* b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

ANNEAL_FN uint32_t sharedAddress(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

ANNEAL_FN void ldmatrix(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(sharedAddress(row)) : "memory");
}
ANNEAL_FN void ldmatrixTrans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(sharedAddress(row)) : "memory");
}

/** 16 bytes to shared memory, past the registers and the L1 cache; zeros where `real` is false (`from` is then not read). */
ANNEAL_FN void copyAsync(void* to, const void* from, bool real) {
  const uint32_t bytes = real ? 16 : 0;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(to)), "l"(from), "r"(bytes) : "memory");
}
ANNEAL_FN void copyCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/** Waits until at most N groups of this thread's copies are under way. */
template <int N> ANNEAL_FN void copyWait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

/** Two f32 as a register of a fragment, rounded to nearest even. */
template <class T> ANNEAL_FN uint32_t packPair(float low, float high);
template <> ANNEAL_FN uint32_t packPair<f16>(float low, float high) {
  uint32_t r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
template <> ANNEAL_FN uint32_t packPair<bf16>(float low, float high) {
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

// Stores that must stay whole: left to the compiler, some are cut into single elements again.
ANNEAL_FN void storeShared(float* to, float a, float b) {
  asm volatile("st.shared.v2.f32 [%0], {%1,%2};" ::"r"(sharedAddress(to)), "f"(a), "f"(b) : "memory");
}
ANNEAL_FN void storeShared(void* to, const uint4& v) {
  asm volatile("st.shared.v4.b32 [%0], {%1,%2,%3,%4};" ::"r"(sharedAddress(to)), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
ANNEAL_FN void storeGlobal(void* to, const uint4& v) {
  asm volatile("st.global.v4.b32 [%0], {%1,%2,%3,%4};" ::"l"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}

/**
 * A tile of 16-bit elements in shared memory, rows of `kChunks` chunks of 16 bytes. Chunks change places within their row so that 8 rows of one
 * column (ldmatrix), and rows written whole (cp.async), meet all banks.
 */
template <int kChunks>
struct Swizzle {
  static_assert(kChunks == 4 || kChunks % 8 == 0);
  /** What is xor-ed into the chunk of a row. */
  ANNEAL_FN static int key(int row) { return kChunks == 4 ? (row >> 1) & 3 : row & 7; }
  /** Elements from the tile's start. */
  ANNEAL_FN static int at(int row, int chunk) { return (row * kChunks + (chunk ^ key(row))) * 8; }
};

/** Which of an operand's two directions lies contiguous in memory: the one summed over, or its own (a's rows, b's columns). */
enum class Along { k, x };

/** Where this lane's ldmatrix rows of a warp's part begin: `low` and `high` are the steps of matrices 1, 3 and of 2, 3 (1: along x, 0: along k). */
template <Along along, int kPerLine, bool rows>
struct Fragments {
  int origin, turned;  // elements before the lane's line; its chunk, swizzled
  ANNEAL_FN explicit Fragments(int x0) {
    const int lane = threadIdx.x & 31, r = lane & 7, m = lane >> 3;
    // a's four matrices go down first, b's along k first.
    const int byX = rows ? m & 1 : m >> 1, byK = rows ? m >> 1 : m & 1;
    const int line = along == Along::k ? x0 + 8 * byX + r : 8 * byK + r, chunk = along == Along::k ? byK : x0 / 8 + byX;
    origin = line * kPerLine * 8;
    turned = chunk ^ Swizzle<kPerLine>::key(line);
  }
  /** 16 along x from `x`, 16 along k from `k`, both multiples of 16: they do not touch the swizzle's key, and are xor-ed or added. */
  template <class T>
  ANNEAL_FN void load(uint32_t (&f)[4], const T* tile, int x, int k) const {
    if constexpr (along == Along::k) ldmatrix(f, tile + origin + x * kPerLine * 8 + ((turned ^ (k / 8)) * 8));
    else ldmatrixTrans(f, tile + origin + k * kPerLine * 8 + ((turned ^ (x / 8)) * 8));
  }
};

}  // namespace anneal::gpu
