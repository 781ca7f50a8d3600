// Attention forward on tensor cores: a block has 64 queries of a head, and meets the keys 64 at a time with a running maximum and sum. While a tile's
// scores are made its values are on their way, and while those are summed, the next keys. Only the log-sum-exp is kept besides the result.
#pragma once
#include "cuda/attention_mma.cuh"

namespace anneal::gpu {

constexpr int kKeys = 64;

/** Scores that (i, j) may not have become -inf. For tiles at an edge only. */
ANNEAL_FN void hideScores(const Attention& a, float (&s)[kKeys / 8][4], int64_t b, int64_t h, int64_t i, int64_t j0) {
  const int64_t seen[2] = {keysSeen(a, i), keysSeen(a, i + 8)};
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const int64_t row = i + 8 * (e >> 1), j = j0 + n * 8 + (threadIdx.x & 3) * 2 + (e & 1);
      if (j >= seen[e >> 1] || row >= a.tq || !maskAllows(a, b, h, row, j)) s[n][e] = kNone;
    }
}

/** Of the two rows of a lane: maxima of the raw scores, and this lane's part of the sums. */
struct Running {
  float top[2], sum[2];
};

/** Scores become weights, up to the row's sum; what was summed before shrinks to the new maximum. `c`: scale in powers of two, positive. */
template <int D>
ANNEAL_FN void softmaxTile(float (&s)[kKeys / 8][4], float (&o)[D / 8][4], Running& run, float c) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float most = s[0][2 * r];
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) most = fmaxf(most, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
    most = fmaxf(run.top[r], quadMax(most));
    const float base = most == kNone ? 0.f : most * c;  // nothing allowed yet
    const float shrink = fastExp2(fmaf(run.top[r], c, -base));
    run.top[r] = most;
    run.sum[r] *= shrink;
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (int e = 2 * r; e < 2 * r + 2; ++e) {
        s[n][e] = fastExp2(fmaf(s[n][e], c, -base));
        run.sum[r] += s[n][e];
      }
#pragma unroll
    for (int n = 0; n < D / 8; ++n) o[n][2 * r] *= shrink, o[n][2 * r + 1] *= shrink;
  }
}

ANNEAL_FN void dropWeights(const Attention& a, float (&s)[kKeys / 8][4], int64_t b, int64_t h, int64_t i, int64_t j0) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const uint64_t first = elementOf(a, b, h, i + 8 * r, j0 + (threadIdx.x & 3) * 2);
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
      const Pair keep = keepPair(a, first + n * 8);
      s[n][2 * r] *= keep.a;
      s[n][2 * r + 1] *= keep.b;
    }
  }
}

template <class T, int D>
ANNEAL_FN void attendMma(const Attention& a) {
  constexpr int kChunks = D / 8;
  __shared__ __align__(128) T mine[kOwnRows * D], keys[kKeys * D], values[kKeys * D];
  // Later queries see more keys: they go first.
  const int64_t pairs = a.batch * a.heads, tiles = (a.tq + kOwnRows - 1) / kOwnRows, pair = blockIdx.x % pairs, tile = tiles - 1 - blockIdx.x / pairs;
  const int64_t b = pair / a.heads, h = pair % a.heads, kv = h / a.group, i0 = tile * kOwnRows;
  const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
  const int64_t lastRow = i0 + kOwnRows < a.tq ? i0 + kOwnRows - 1 : a.tq - 1, last = keysSeen(a, lastRow), whole = keysSeen(a, i0);
  const int64_t i = i0 + warp * 16 + (lane >> 2);
  const Fragments<Along::k, kChunks, true> fq(warp * 16);
  const Fragments<Along::k, kChunks, false> fk(0);
  const Fragments<Along::x, kChunks, false> fv(0);

  float o[kChunks][4] = {};
  Running run = {{kNone, kNone}, {0.f, 0.f}};
  fetchRows<T, D, kOwnRows>(mine, a.queries, a.q, b, h, i0, a.tq, a);
  if (last > 0) fetchRows<T, D, kKeys>(keys, a.keys, a.k, b, kv, 0, a.tk, a);
  copyCommit();
#pragma unroll 1
  for (int64_t j0 = 0; j0 < last; j0 += kKeys) {
    copyWait<0>();
    __syncthreads();  // keys are here; the values before have been read
    fetchRows<T, D, kKeys>(values, a.values, a.v, b, kv, j0, a.tk, a);
    copyCommit();
    float s[kKeys / 8][4] = {};
    dotRows<T, D, kKeys>(s, mine, fq, keys, fk);
    if (a.mask || j0 + kKeys > whole) hideScores(a, s, b, h, i, j0);
    softmaxTile<D>(s, o, run, a.scale * kLog2e);
    if (a.threshold) dropWeights(a, s, b, h, i, j0);
    copyWait<0>();
    __syncthreads();  // values are here; the keys have been read
    if (j0 + kKeys < last) fetchRows<T, D, kKeys>(keys, a.keys, a.k, b, kv, j0 + kKeys, a.tk, a);
    copyCommit();
    sumRows<T, D, kKeys>(o, s, values, fv);
  }
  copyWait<0>();
  __syncthreads();  // queries have arrived even where there was no tile

  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = quadSum(run.sum[r]);
    // A row that may attend to nothing is zero, and +inf as its log-sum-exp makes every probability zero in backward.
    const bool none = sum == 0.f;
    inverse[r] = none ? 0.f : 1.f / sum;
    if ((lane & 3) == 0 && i + 8 * r < a.tq) a.lse[pair * a.tq + i + 8 * r] = none ? INFINITY : fmaf(run.top[r], a.scale, logf(sum));
  }
  storeRows<T, D>(mine, o, inverse[0], inverse[1], a.out, a.o, b, h, i0, a.tq, a);
}

}  // namespace anneal::gpu
