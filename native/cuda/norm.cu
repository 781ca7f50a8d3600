// Layer norm and RMS norm over rows of [rows, n]. RMS norm is layer norm with no mean: `rms`.
#include "cuda/columns.cuh"
#include "cuda/rows.cuh"

namespace anneal::gpu {
namespace {

extern __shared__ uint4 dynamicShared[];
constexpr int kNormThreads = 512;

/** Mean and sum of squared deviations of what was seen (Chan, Golub and LeVeque), or the sum of squares alone. */
struct Spread {
  float mean = 0.f, m2 = 0.f, n = 0.f;
  ANNEAL_FN void merge(float mean2, float m22, float n2) {
    if (n2 == 0.f) return;
    const float all = n + n2, delta = mean2 - mean, share = __fdividef(n2, all);
    mean += delta * share;
    m2 += m22 + delta * delta * n * share;
    n = all;
  }
  template <int N> ANNEAL_FN void add(const float (&v)[N], bool rms) {
    float sum = 0.f, squares = 0.f;
#pragma unroll
    for (int k = 0; k < N; ++k) sum += v[k];
    const float middle = rms ? 0.f : sum * (1.f / N);
#pragma unroll
    for (int k = 0; k < N; ++k) squares += (v[k] - middle) * (v[k] - middle);
    if (rms) m2 += squares;
    else merge(middle, squares, float(N));
  }
  /** What the team saw, the same bits for all of it. `scratch`: 96 floats that nobody reads any more. */
  ANNEAL_FN void join(const Team& team, float* scratch, bool rms) {
    if (rms) {
      m2 = team.sum(m2, scratch);
      return;
    }
#pragma unroll
    for (int d = 16; d; d >>= 1) {
      const float a = __shfl_down_sync(kWholeWarp, mean, d), b = __shfl_down_sync(kWholeWarp, m2, d), c = __shfl_down_sync(kWholeWarp, n, d);
      merge(a, b, c);
    }
    mean = __shfl_sync(kWholeWarp, mean, 0);
    m2 = __shfl_sync(kWholeWarp, m2, 0);
    n = __shfl_sync(kWholeWarp, n, 0);
    if (!team.wide) return;
    const int warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    if ((threadIdx.x & 31) == 0) scratch[warp] = mean, scratch[32 + warp] = m2, scratch[64 + warp] = n;
    __syncthreads();
    mean = scratch[0], m2 = scratch[32], n = scratch[64];
#pragma unroll 1
    for (int i = 1; i < warps; ++i) merge(scratch[i], scratch[32 + i], scratch[64 + i]);
  }
};

/** Copies a parameter vector to shared memory. */
ANNEAL_FN float* staged(const float* from, float* to, int64_t n) {
  if (!from) return nullptr;
#pragma unroll 1
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) to[i] = from[i];
  return to;
}

/**
 * y = (x - mean) rstd gamma + beta. Deviations are taken from the row's first element, so that a far mean costs no digits. Blocks go through
 * the rows in strides; gamma and beta stay in shared memory meanwhile (`stage`). A team takes `run` rows in a row and stores their figures at once.
 */
template <class T>
ANNEAL_FN void normForward(const T* x, const float* gamma, const float* beta, T* y, float* means, float* rstds, int64_t rows, int64_t n, float eps, bool wide,
                           bool keep, bool stage, int run) {
  constexpr int N = kPack<T>;
  const bool rms = means == nullptr;
  __shared__ float scratch[96];
  const Team team(wide);
  float* room = reinterpret_cast<float*>(dynamicShared);
  if (stage) {
    const int64_t padded = (n + 3) / 4 * 4;
    gamma = staged(gamma, room, n);
    beta = staged(beta, room + padded, n);
    room += 2 * padded;
    __syncthreads();
  }
  T* kept = reinterpret_cast<T*>(room) + team.index() * keptSize<T>(n);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * team.perBlock() * run;
#pragma unroll 1
  for (int64_t r0 = team.first() * run; r0 < rows; r0 += stride) {
    const int count = static_cast<int>(rows - r0 < run ? rows - r0 : run);
    float meanKept = 0.f, rstdKept = 0.f;  // lane i: of row r0 + i
#pragma unroll 1
    for (int row = 0; row < count; ++row) {
      team.sync();  // the last row's scratch has been read; and a row may begin elsewhere between 16-byte boundaries than the last one, and so share its places out otherwise
      const T* from = x + (r0 + row) * n;
      T* to = y + (r0 + row) * n;
      const int head = headOf(from, n, congruent(x, y));
      const float shift = rms ? 0.f : widen(from[0]);
      Spread s;
      eachInRow<N>(n, head, team, [&](int64_t i, int64_t slot) {
        const Pack<T> p = packAt(from + i);
        if (keep) putPack(kept + slot, p);
        float v[N];
#pragma unroll
        for (int k = 0; k < N; ++k) v[k] = widen(p.v[k]) - shift;
        s.add(v, rms);
      }, [&](int64_t i, int64_t slot) {
        const T p = from[i];
        if (keep) kept[slot] = p;
        const float v[1] = {widen(p) - shift};
        s.add(v, rms);
      });
      s.join(team, scratch, rms);
      const float off = s.mean, rstd = 1.f / sqrtf(s.m2 / float(n) + eps);
      if (team.lane == row) meanKept = shift + off, rstdKept = rstd;
      const bool vector = head == 0 && aligned16(gamma, beta);
      eachInRow<N>(n, head, team, [&](int64_t i, int64_t slot) {
        Pack<T> p = keep ? packAt(kept + slot) : packAt(from + i);
        float scale[N], add[N];
        floatsAt(gamma, i, vector, 1.f, scale);
        floatsAt(beta, i, vector, 0.f, add);
#pragma unroll
        for (int k = 0; k < N; ++k) p.v[k] = narrow<T>((widen(p.v[k]) - shift - off) * rstd * scale[k] + add[k]);
        putPack(to + i, p);
      }, [&](int64_t i, int64_t slot) {
        to[i] = narrow<T>((widen(keep ? kept[slot] : from[i]) - shift - off) * rstd * (gamma ? gamma[i] : 1.f) + (beta ? beta[i] : 0.f));
      });
    }
    if (team.lane < count) {
      if (!rms) means[r0 + team.lane] = meanKept;
      rstds[r0 + team.lane] = rstdKept;
    }
  }
}

// With h = (x - mean) rstd, u = g gamma: dx = rstd (u - mean(u) - h mean(u h)); RMS norm has no middle term.
// dgamma = sum g h, dbeta = sum g over rows.

/** What backward knows of a row. */
struct Row {
  float mean, rstd;
  ANNEAL_FN Row() {}
  ANNEAL_FN Row(const float* means, const float* rstds, int64_t r) : mean(means ? means[r] : 0.f), rstd(rstds[r]) {}
  ANNEAL_FN float h(float x) const { return (x - mean) * rstd; }
};

/** The rows [r0, r0 + R) before `end`, by one request of the warp's first lanes. */
template <int R> ANNEAL_FN void loadRows(const float* means, const float* rstds, int64_t r0, int64_t end, Row (&rows)[R]) {
  const int lane = threadIdx.x & 31;
  Row mine;
  mine.mean = mine.rstd = 0.f;
  if (lane < R && r0 + lane < end) mine = Row(means, rstds, r0 + lane);
#pragma unroll
  for (int r = 0; r < R; ++r) {
    rows[r].mean = __shfl_sync(kWholeWarp, mine.mean, r);
    rows[r].rstd = __shfl_sync(kWholeWarp, mine.rstd, r);
  }
}

/** Sums of R pairs over the block; `sums` is one of two buffers in turn, so one barrier is enough. */
template <int R> ANNEAL_FN void pairSums(float (&a)[R], float (&b)[R], float (*sums)[2 * R]) {
#pragma unroll
  for (int r = 0; r < R; ++r) {
    a[r] = warpSum(a[r]);
    b[r] = warpSum(b[r]);
  }
  const int warps = blockDim.x >> 5;
  if (warps == 1) return;
  if ((threadIdx.x & 31) == 0)
#pragma unroll
    for (int r = 0; r < R; ++r) sums[threadIdx.x >> 5][2 * r] = a[r], sums[threadIdx.x >> 5][2 * r + 1] = b[r];
  __syncthreads();
#pragma unroll
  for (int r = 0; r < R; ++r) a[r] = 0.f, b[r] = 0.f;
#pragma unroll 1
  for (int w = 0; w < warps; ++w)
#pragma unroll
    for (int r = 0; r < R; ++r) a[r] += sums[w][2 * r], b[r] += sums[w][2 * r + 1];
}

/**
 * The f32 figures of a thread's pack k of 16-bit elements, from p. Each lane's 32 bytes would be two requests of half sectors: the lanes of a pair
 * load each other's halves instead. All lanes of the warp come here, also those without a pack.
 */
ANNEAL_FN void pairLoad(const float* p, int64_t k, int64_t packs, float (&out)[8]) {
  const int odd = threadIdx.x & 1;
  const int64_t even = k - odd;
  Pack<float> a{}, b{};
  if (even < packs) a = packAt(p + even * 8 + odd * 4);
  if (even + 1 < packs) b = packAt(p + even * 8 + 8 + odd * 4);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float got = __shfl_xor_sync(kWholeWarp, odd ? a.v[i] : b.v[i], 1);
    out[i] = odd ? got : a.v[i];
    out[4 + i] = odd ? b.v[i] : got;
  }
}
ANNEAL_FN void pairStore(float* p, int64_t k, int64_t packs, const float (&v)[8]) {
  const int odd = threadIdx.x & 1;
  const int64_t even = k - odd;
  Pack<float> a, b;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float got = __shfl_xor_sync(kWholeWarp, odd ? v[i] : v[4 + i], 1);
    a.v[i] = odd ? got : v[i];
    b.v[i] = odd ? v[4 + i] : got;
  }
  if (even < packs) putPack(p + even * 8 + odd * 4, a);
  if (even + 1 < packs) putPack(p + even * 8 + 8 + odd * 4, b);
}
ANNEAL_FN void pairLoad(const float* p, int64_t k, int64_t packs, float (&out)[4]) {
  if (k >= packs) return;
  const Pack<float> a = packAt(p + k * 4);
#pragma unroll
  for (int i = 0; i < 4; ++i) out[i] = a.v[i];
}
ANNEAL_FN void pairStore(float* p, int64_t k, int64_t packs, const float (&v)[4]) {
  if (k < packs) putPack(p + k * 4, Pack<float>{v[0], v[1], v[2], v[3]});
}

/**
 * One pass over g and x: each block takes `per` rows, R at a time, with P packs of columns in each thread's registers; writes dx, and its sums
 * for dgamma and, where `halves` is 2, dbeta to partials [blocks, halves, n]. n is a multiple of the pack, all pointers are aligned.
 */
template <class T, int P, int R>
ANNEAL_FN void normBackward(const T* g, const T* x, const float* means, const float* rstds, const float* gamma, const T* have, T* dx, float* partials,
                            int64_t rows, int64_t n, int64_t per, int halves) {
  constexpr int N = kPack<T>;
  __shared__ float sums[2][kThreads / 32][2 * R];
  const int64_t packs = n / N, end = (blockIdx.x + 1) * per < rows ? (blockIdx.x + 1) * per : rows;
  const float inverse = 1.f / float(n);
  float scale[P][N], dgamma[P][N] = {}, dbeta[P][N] = {};
#pragma unroll
  for (int p = 0; p < P; ++p) {
#pragma unroll
    for (int i = 0; i < N; ++i) scale[p][i] = 1.f;
    if (gamma) pairLoad(gamma, threadIdx.x + p * blockDim.x, packs, scale[p]);
  }
  int turn = 0;
#pragma unroll 1
  for (int64_t r0 = blockIdx.x * per; r0 < end; r0 += R, turn ^= 1) {
    Pack<T> gs[R][P], xs[R][P];
    Row row[R];
    float u[R] = {}, uh[R] = {};
    loadRows<R>(means, rstds, r0, end, row);
#pragma unroll
    for (int r = 0; r < R; ++r)
#pragma unroll
      for (int p = 0; p < P; ++p) {
        const int64_t k = threadIdx.x + p * blockDim.x, at = (r0 + r) * n + k * N;
        gs[r][p] = xs[r][p] = {};
        if (k < packs && r0 + r < end) gs[r][p] = packAt(g + at), xs[r][p] = packAt(x + at);
      }
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (r0 + r >= end) continue;
#pragma unroll
      for (int p = 0; p < P; ++p) {
        if (threadIdx.x + p * blockDim.x >= packs) continue;
#pragma unroll
        for (int k = 0; k < N; ++k) {
          const float gv = widen(gs[r][p].v[k]), h = row[r].h(widen(xs[r][p].v[k])), v = gv * scale[p][k];
          u[r] += v;
          uh[r] += v * h;
          dgamma[p][k] += gv * h;
          dbeta[p][k] += gv;
        }
      }
    }
    if (!dx) continue;
    pairSums<R>(u, uh, sums[turn]);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      if (r0 + r >= end) continue;
      const float m1 = means ? u[r] * inverse : 0.f, m2 = uh[r] * inverse;
#pragma unroll
      for (int p = 0; p < P; ++p) {
        const int64_t k = threadIdx.x + p * blockDim.x, at = (r0 + r) * n + k * N;
        if (k >= packs) continue;
        Pack<T> before{}, out;
        if (have) before = packAt(have + at);
#pragma unroll
        for (int i = 0; i < N; ++i)
          out.v[i] = narrow<T>(row[r].rstd * (widen(gs[r][p].v[i]) * scale[p][i] - m1 - row[r].h(widen(xs[r][p].v[i])) * m2) + (have ? widen(before.v[i]) : 0.f));
        putPack(dx + at, out);
      }
    }
  }
  if (!partials) return;
#pragma unroll
  for (int p = 0; p < P; ++p) {
    const int64_t k = threadIdx.x + p * blockDim.x;
    float* to = partials + static_cast<int64_t>(blockIdx.x) * halves * n;
    pairStore(to, k, packs, dgamma[p]);
    if (halves == 2) pairStore(to + n, k, packs, dbeta[p]);
  }
}

/** Any n and any alignment: a row per block, read twice. */
template <class T>
ANNEAL_FN void normBackwardPlain(const T* g, const T* x, const float* means, const float* rstds, const float* gamma, const T* have, T* dx, int64_t n) {
  __shared__ float scratch[2][32];
  const int64_t at = blockIdx.x * n;
  const Row row(means, rstds, blockIdx.x);
  float u = 0.f, uh = 0.f;
#pragma unroll 2
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const float v = widen(g[at + i]) * (gamma ? gamma[i] : 1.f);
    u += v;
    uh += v * row.h(widen(x[at + i]));
  }
  u = blockSum(u, scratch[0]);
  uh = blockSum(uh, scratch[1]);
  const float m1 = means ? u / float(n) : 0.f, m2 = uh / float(n);
#pragma unroll 2
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x)
    dx[at + i] = narrow<T>(row.rstd * (widen(g[at + i]) * (gamma ? gamma[i] : 1.f) - m1 - row.h(widen(x[at + i])) * m2) + (have ? widen(have[at + i]) : 0.f));
}

/** The sums for dgamma and dbeta of `per` rows and 32 columns per block. */
template <class T>
ANNEAL_FN void normParameters(const T* g, const T* x, const float* means, const float* rstds, float* partials, int64_t rows, int64_t n, int64_t per,
                              int halves) {
  __shared__ float sums[2][kThreads / 32][32];
  const int lane = threadIdx.x & 31, deep = threadIdx.x >> 5;
  const int64_t j = static_cast<int64_t>(blockIdx.x) * 32 + lane, end = (blockIdx.y + 1) * per < rows ? (blockIdx.y + 1) * per : rows;
  float dgamma = 0.f, dbeta = 0.f;
  if (j < n)
#pragma unroll 2
    for (int64_t r = blockIdx.y * per + deep; r < end; r += kThreads / 32) {
      const float gv = widen(g[r * n + j]);
      dgamma += gv * Row(means, rstds, r).h(widen(x[r * n + j]));
      dbeta += gv;
    }
  sums[0][deep][lane] = dgamma;
  sums[1][deep][lane] = dbeta;
  __syncthreads();
  if (deep || j >= n) return;
#pragma unroll
  for (int k = 1; k < kThreads / 32; ++k) dgamma += sums[0][k][lane], dbeta += sums[1][k][lane];
  float* to = partials + static_cast<int64_t>(blockIdx.y) * halves * n + j;
  to[0] = dgamma;
  if (halves == 2) to[n] = dbeta;
}

}  // namespace

/** partials [chunks, halves, n] to dgamma and dbeta, either absent, each added to what is there where asked. */
extern "C" __global__ void __launch_bounds__(kThreads)
    norm_finish_f32(const float* partials, int64_t chunks, int64_t n, int halves, float* dgamma, float* dbeta, int addGamma, int addBeta) {
  finishColumns(partials, chunks, halves * n, [&](int64_t j, float sum) {
    const bool first = j < n;
    float* to = first ? dgamma : dbeta;
    if (!to) return;
    to += first ? j : j - n;
    *to = sum + ((first ? addGamma : addBeta) ? *to : 0.f);
  });
}

// Blocks to a processor are asked for where ptxas, left alone, aims at more and spills.
#define ANNEAL_BACKWARD(T, suffix, P, R)                                                                                                               \
  extern "C" __global__ void __launch_bounds__(kThreads, P == 4 ? 1 : 2)                                                                                \
      norm_grad##P##_##suffix(const T* g, const T* x, const float* means, const float* rstds, const float* gamma, const T* have, T* dx,                \
                              float* partials, int64_t rows, int64_t n, int64_t per, int halves) {                                                     \
    normBackward<T, P, R>(g, x, means, rstds, gamma, have, dx, partials, rows, n, per, halves);                                                                \
  }
#define ANNEAL_NORM(T, suffix)                                                                                                                         \
  extern "C" __global__ void __launch_bounds__(kNormThreads)                                                                                           \
      norm_##suffix(const T* x, const float* gamma, const float* beta, T* y, float* means, float* rstds, int64_t rows, int64_t n, float eps,           \
                    int wide, int keep, int stage, int run) {                                                                                                 \
    normForward<T>(x, gamma, beta, y, means, rstds, rows, n, eps, wide != 0, keep != 0, stage != 0, run);                                                \
  }                                                                                                                                                    \
  ANNEAL_BACKWARD(T, suffix, 1, 4) ANNEAL_BACKWARD(T, suffix, 2, 2) ANNEAL_BACKWARD(T, suffix, 4, 1)                                                   \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                               \
      norm_gradPlain_##suffix(const T* g, const T* x, const float* means, const float* rstds, const float* gamma, const T* have, T* dx, int64_t n) {   \
    normBackwardPlain<T>(g, x, means, rstds, gamma, have, dx, n);                                                                                      \
  }                                                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(kThreads)                                                                                               \
      norm_parameters_##suffix(const T* g, const T* x, const float* means, const float* rstds, float* partials, int64_t rows, int64_t n, int64_t per, int halves) { \
    normParameters<T>(g, x, means, rstds, partials, rows, n, per, halves);                                                                                     \
  }
ANNEAL_NORM(float, f32)
ANNEAL_NORM(f16, f16)
ANNEAL_NORM(bf16, bf16)

}  // namespace anneal::gpu
