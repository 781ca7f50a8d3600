// Attention backward on tensor cores, in two passes, so that nothing is added up by atomics. With P from the log-sum-exp, dP = g v^T and
// dS = P (dP keep - delta):  dQ = scale dS k by blocks that own 64 queries;  dK = scale dS^T q and dV = (P keep)^T g by blocks that own 64 keys.
// The weights stay in registers: the accumulators of one product are, rounded, the operand of the next.
#pragma once
#include "cuda/attention_mma.cuh"

namespace anneal::gpu {

/** Rows of the other side at a time: both sides' four tiles fill 48 KiB where D is 128. */
template <int D> constexpr int kOtherRows = D > 64 ? 32 : 64;

constexpr int kFar = 1 << 20;
ANNEAL_FN int within(int64_t n) { return static_cast<int>(n < -kFar ? -kFar : (n > kFar ? kFar : n)); }

/** One weight: p becomes P keep, ds (so far dP) becomes dS. `base`: the log-sum-exp in powers of two. */
ANNEAL_FN void weightGradient(float& p, float& ds, float c, float base, float delta, float keep) {
  const float e = fastExp2(fmaf(p, c, -base));
  p = e * keep;
  ds = e * fmaf(ds, keep, -delta);
}

template <class T, int D>
ANNEAL_FN void queryGradMma(const Attention& a) {
  constexpr int kChunks = D / 8, N = kOtherRows<D>;
  __shared__ __align__(128) T queries[kOwnRows * D], grads[kOwnRows * D], keys[N * D], values[N * D];
  const int64_t pairs = a.batch * a.heads, tiles = (a.tq + kOwnRows - 1) / kOwnRows, pair = blockIdx.x % pairs, tile = tiles - 1 - blockIdx.x / pairs;
  const int64_t b = pair / a.heads, h = pair % a.heads, kv = h / a.group, i0 = tile * kOwnRows;
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  const int64_t lastRow = i0 + kOwnRows < a.tq ? i0 + kOwnRows - 1 : a.tq - 1, last = keysSeen(a, lastRow), whole = keysSeen(a, i0);
  const int64_t i = i0 + warp * 16 + (lane >> 2);
  const Fragments<Along::k, kChunks, true> fa(warp * 16);
  const Fragments<Along::k, kChunks, false> fb(0);
  const Fragments<Along::x, kChunks, false> fk(0);

  float dq[kChunks][4] = {}, base[2], delta[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const bool real = i + 8 * r < a.tq;
    base[r] = real ? a.lse[pair * a.tq + i + 8 * r] * kLog2e : INFINITY;
    delta[r] = real ? a.delta[pair * a.tq + i + 8 * r] : 0.f;
  }
  fetchRows<T, D, kOwnRows>(queries, a.queries, a.q, b, h, i0, a.tq, a);
  fetchRows<T, D, kOwnRows>(grads, a.grad, a.o, b, h, i0, a.tq, a);
  copyCommit();
#pragma unroll 1
  for (int64_t j0 = 0; j0 < last; j0 += N) {
    __syncthreads();  // the tiles before have been read
    fetchRows<T, D, N>(keys, a.keys, a.k, b, kv, j0, a.tk, a);
    copyCommit();
    fetchRows<T, D, N>(values, a.values, a.v, b, kv, j0, a.tk, a);
    copyCommit();
    float p[N / 8][4] = {}, ds[N / 8][4] = {};
    copyWait<1>();
    __syncthreads();
    dotRows<T, D, N>(p, queries, fa, keys, fb);
    copyWait<0>();
    __syncthreads();
    dotRows<T, D, N>(ds, grads, fa, values, fb);
    const bool edge = a.mask || j0 + N > whole;
#pragma unroll
    for (int n = 0; n < N / 8; ++n)
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int64_t j = j0 + n * 8 + (lane & 3) * 2, row = i + 8 * r;
        const Pair keep = a.threshold ? keepPair(a, elementOf(a, b, h, row, j)) : Pair{1.f, 1.f};
        weightGradient(p[n][2 * r], ds[n][2 * r], a.scale * kLog2e, base[r], delta[r], keep.a);
        weightGradient(p[n][2 * r + 1], ds[n][2 * r + 1], a.scale * kLog2e, base[r], delta[r], keep.b);
        if (edge) {
          const int64_t seen = row < a.tq ? keysSeen(a, row) : 0;
          if (j >= seen || !maskAllows(a, b, h, row, j)) ds[n][2 * r] = 0.f;
          if (j + 1 >= seen || !maskAllows(a, b, h, row, j + 1)) ds[n][2 * r + 1] = 0.f;
        }
      }
    sumRows<T, D, N>(dq, ds, keys, fk);
  }
  copyWait<0>();
  __syncthreads();
  storeRows<T, D>(queries, dq, a.scale, a.scale, a.dq, a.q, b, h, i0, a.tq, a);
}

/** The log-sum-exp in powers of two, and delta, of a tile's queries; rows that are not there get no weight. */
template <int N>
ANNEAL_FN void fetchRowSums(const Attention& a, float* base, float* delta, int64_t pair, int64_t i0) {
  for (int k = threadIdx.x; k < N; k += kAttentionThreads) {
    const bool real = i0 + k < a.tq;
    base[k] = real ? a.lse[pair * a.tq + i0 + k] * kLog2e : INFINITY;
    delta[k] = real ? a.delta[pair * a.tq + i0 + k] : 0.f;
  }
}

template <class T, int D>
ANNEAL_FN void keyGradMma(const Attention& a) {
  constexpr int kChunks = D / 8, N = kOtherRows<D>;
  extern __shared__ __align__(128) unsigned char memory[];
  T *keys = reinterpret_cast<T*>(memory), *values = keys + kOwnRows * D, *queries = values + kOwnRows * D, *grads = queries + N * D;
  float *base = reinterpret_cast<float*>(grads + N * D), *delta = base + N;
  const int64_t pairs = a.batch * a.kvHeads, pair = blockIdx.x % pairs, b = pair / a.kvHeads, kv = pair % a.kvHeads;
  const int64_t j0 = blockIdx.x / pairs * kOwnRows;  // earlier keys meet more queries: they go first
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  const int64_t j = j0 + warp * 16 + (lane >> 2), from = firstQuery(a, j0) / N * N;
  const int64_t full = firstQuery(a, j0 + kOwnRows - 1);  // queries from here on see all of the block's keys
  const Fragments<Along::k, kChunks, true> fa(warp * 16);
  const Fragments<Along::k, kChunks, false> fb(0);
  const Fragments<Along::x, kChunks, false> fx(0);

  float dk[kChunks][4] = {}, dv[kChunks][4] = {};
  fetchRows<T, D, kOwnRows>(keys, a.keys, a.k, b, kv, j0, a.tk, a);
  fetchRows<T, D, kOwnRows>(values, a.values, a.v, b, kv, j0, a.tk, a);
  copyCommit();
  // The group's heads one after the other, each from the first query that sees a key of the block.
  const int64_t perHead = a.tq > from ? (a.tq - from + N - 1) / N : 0;
#pragma unroll 1
  for (int64_t step = 0; step < perHead * a.group; ++step) {
    const int64_t h = kv * a.group + step / perHead, i0 = from + step % perHead * N;
    __syncthreads();  // the tiles before have been read
    fetchRows<T, D, N>(queries, a.queries, a.q, b, h, i0, a.tq, a);
    copyCommit();
    fetchRows<T, D, N>(grads, a.grad, a.o, b, h, i0, a.tq, a);
    copyCommit();
    fetchRowSums<N>(a, base, delta, b * a.heads + h, i0);
    float p[N / 8][4] = {}, ds[N / 8][4] = {};
    copyWait<1>();
    __syncthreads();
    dotRows<T, D, N>(p, keys, fa, queries, fb);
    copyWait<0>();
    __syncthreads();
    dotRows<T, D, N>(ds, values, fa, grads, fb);
    const bool edge = a.mask || i0 < full || i0 + N > a.tq || j0 + kOwnRows > a.tk;
    // Small numbers suffice inside a tile: rows and keys that are left, and how far the first query sees past this lane's first key.
    const int rows = within(a.tq - i0), left = within(a.tk - j), sight = a.causal ? within(i0 + a.tk - a.tq - j) : kFar;
#pragma unroll
    for (int n = 0; n < N / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int at = n * 8 + (lane & 3) * 2 + (e & 1), key = 8 * (e >> 1);
        const float keep = a.threshold ? keepOf(a, b, h, i0 + at, j + key) : 1.f;
        weightGradient(p[n][e], ds[n][e], a.scale * kLog2e, base[at], delta[at], keep);
        if (edge && (at >= rows || key >= left || key > sight + at || !maskAllows(a, b, h, i0 + at, j + key))) p[n][e] = ds[n][e] = 0.f;
      }
    sumRows<T, D, N>(dv, p, grads, fx);
    sumRows<T, D, N>(dk, ds, queries, fx);
  }
  copyWait<0>();
  __syncthreads();
  if (a.dk) storeRows<T, D>(keys, dk, a.scale, a.scale, a.dk, a.k, b, kv, j0, a.tk, a);
  if (a.dv) storeRows<T, D>(values, dv, 1.f, 1.f, a.dv, a.v, b, kv, j0, a.tk, a);
}

}  // namespace anneal::gpu
