// Attention without tensor cores: f32, and heads too wide for the others' registers. A warp owns R rows (queries; or keys, for dK and dV), whose
// vectors stand in shared memory; tiles of 32 rows of the other side stream by in pieces of 64 columns, a lane to a row for the scores, a lane to
// two columns for the sums.
#pragma once
#include "cuda/attention.cuh"

namespace anneal::gpu {

constexpr int kOthers = 32, kPiece = 64, kPieceLd = kPiece + 1;

/** Columns [c0, c0 + kPiece) of rows [j0, j0 + kOthers) into shared memory; zeros outside. For the whole block, between barriers of its own. */
template <class T>
ANNEAL_FN void stage(float* piece, const T* x, const AttentionStrides& s, int64_t b, int64_t h, int64_t j0, int64_t rows, int64_t c0, int64_t d) {
  __syncthreads();  // the piece before is still being read
  for (int i = threadIdx.x; i < kOthers * kPiece; i += blockDim.x) {
    const int64_t j = j0 + i / kPiece, c = c0 + i % kPiece;
    piece[i / kPiece * kPieceLd + i % kPiece] = j < rows && c < d ? widen(x[rowAt(s, b, h, j) + c]) : 0.f;
  }
  __syncthreads();
}

/** This warp's rows into its part of shared memory, times `scale`; stage() has the barrier before they are read. */
template <class T, int R>
ANNEAL_FN void own(float* to, const T* x, const AttentionStrides& s, int64_t b, int64_t h, int64_t i0, int64_t rows, int64_t d, float scale) {
#pragma unroll 1
  for (int r = 0; r < R; ++r)
    for (int64_t c = threadIdx.x & 31; c < d; c += 32) to[r * d + c] = i0 + r < rows ? widen(x[rowAt(s, b, h, i0 + r) + c]) * scale : 0.f;
}
template <int R>
ANNEAL_FN void clear(float* to, int64_t d) {
  for (int64_t c = threadIdx.x & 31; c < R * d; c += 32) to[c] = 0.f;
}
template <class T, int R>
ANNEAL_FN void give(T* to, const float* x, const AttentionStrides& s, int64_t b, int64_t h, int64_t i0, int64_t rows, int64_t d, const float (&scale)[R]) {
#pragma unroll
  for (int r = 0; r < R; ++r)
    for (int64_t c = threadIdx.x & 31; c < d && i0 + r < rows; c += 32) to[rowAt(s, b, h, i0 + r) + c] = narrow<T>(x[r * d + c] * scale[r]);
}

/** sum[r] += own row r . this lane's row, over a piece. */
template <int R>
ANNEAL_FN void dots(float (&sum)[R], const float* mine, const float* piece, int64_t c0, int64_t d) {
  const float* theirs = piece + (threadIdx.x & 31) * kPieceLd;
  const int n = static_cast<int>(d - c0 < kPiece ? d - c0 : kPiece);
#pragma unroll 4
  for (int c = 0; c < n; ++c)
#pragma unroll
    for (int r = 0; r < R; ++r) sum[r] = fmaf(mine[r * d + c0 + c], theirs[c], sum[r]);
}
/** to[r] = to[r] shrink[r] + sum over the tile's rows j of weight[r] (lane j's) x row j, over a piece. */
template <int R>
ANNEAL_FN void gatherRows(float* to, const float (&weight)[R], const float (&shrink)[R], const float* piece, int64_t c0, int64_t d) {
  const int lane = threadIdx.x & 31;
#pragma unroll
  for (int r = 0; r < R; ++r) {
    float low = 0.f, high = 0.f;
#pragma unroll 4
    for (int j = 0; j < kOthers; ++j) {
      const float w = __shfl_sync(kWholeWarp, weight[r], j);
      low = fmaf(w, piece[j * kPieceLd + lane], low);
      high = fmaf(w, piece[j * kPieceLd + 32 + lane], high);
    }
    float* at = to + r * d + c0 + lane;
    if (c0 + lane < d) at[0] = at[0] * shrink[r] + low;
    if (c0 + 32 + lane < d) at[32] = at[32] * shrink[r] + high;
  }
}

template <class T, int R>
ANNEAL_FN void attendSimt(const Attention& a) {
  extern __shared__ float memory[];
  const int warp = threadIdx.x >> 5, warps = blockDim.x >> 5, lane = threadIdx.x & 31;
  const AttentionPlace at = placeOf((a.tq + warps * R - 1) / (warps * R), a.heads);
  const int64_t first = at.tile * warps * R, i0 = first + warp * R, kv = at.h / a.group, d = a.d;
  float *piece = memory, *q = piece + kOthers * kPieceLd + warp * 2 * R * d, *o = q + R * d;
  own<T, R>(q, static_cast<const T*>(a.queries), a.q, at.b, at.h, i0, a.tq, d, a.scale * kLog2e);
  clear<R>(o, d);
  float top[R], sum[R];
#pragma unroll
  for (int r = 0; r < R; ++r) top[r] = kNone, sum[r] = 0.f;

  const int64_t lastRow = first + warps * R < a.tq ? first + warps * R - 1 : a.tq - 1, last = keysSeen(a, lastRow);
#pragma unroll 1
  for (int64_t j0 = 0; j0 < last; j0 += kOthers) {
    float p[R] = {}, shrink[R], keep[R];
#pragma unroll 1
    for (int64_t c = 0; c < d; c += kPiece) {
      stage(piece, static_cast<const T*>(a.keys), a.k, at.b, kv, j0, a.tk, c, d);
      dots<R>(p, q, piece, c, d);
    }
    const int64_t j = j0 + lane;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const bool allowed = i0 + r < a.tq && j < keysSeen(a, i0 + r) && maskAllows(a, at.b, at.h, i0 + r, j);
      const float x = allowed ? p[r] : kNone, m = fmaxf(top[r], warpMax(x)), base = m == kNone ? 0.f : m;
      p[r] = exp2f(x - base);
      shrink[r] = exp2f(top[r] - base);
      sum[r] = sum[r] * shrink[r] + warpSum(p[r]);
      top[r] = m;
      keep[r] = allowed ? keepOf(a, at.b, at.h, i0 + r, j) : 0.f;
      p[r] *= keep[r];
    }
#pragma unroll 1
    for (int64_t c = 0; c < d; c += kPiece) {
      stage(piece, static_cast<const T*>(a.values), a.v, at.b, kv, j0, a.tk, c, d);
      gatherRows<R>(o, p, shrink, piece, c, d);
    }
  }
  float inverse[R];
#pragma unroll
  for (int r = 0; r < R; ++r) {
    // A row that may attend to nothing is zero, and +inf as its log-sum-exp makes every probability zero in backward.
    const bool none = sum[r] == 0.f;
    inverse[r] = none ? 0.f : 1.f / sum[r];
    if (lane == 0 && i0 + r < a.tq) a.lse[(at.b * a.heads + at.h) * a.tq + i0 + r] = none ? INFINITY : top[r] * kLn2 + logf(sum[r]);
  }
  __syncwarp();
  give<T, R>(static_cast<T*>(a.out), o, a.o, at.b, at.h, i0, a.tq, d, inverse);
}

/** p becomes P with dropout, ds = P (dP keep - delta); this lane's (i, j). */
ANNEAL_FN void weigh(const Attention& a, int64_t b, int64_t h, int64_t i, int64_t j, float& p, float& ds) {
  if (i >= a.tq || j >= keysSeen(a, i) || !maskAllows(a, b, h, i, j)) {
    p = ds = 0.f;
    return;
  }
  const int64_t row = (b * a.heads + h) * a.tq + i;
  const float e = exp2f(p - a.lse[row] * kLog2e), keep = keepOf(a, b, h, i, j);
  p = e * keep;
  ds = e * (ds * keep - a.delta[row]);
}

/** dQ: a warp owns queries. */
template <class T, int R>
ANNEAL_FN void queryGradSimt(const Attention& a) {
  extern __shared__ float memory[];
  const int warp = threadIdx.x >> 5, warps = blockDim.x >> 5, lane = threadIdx.x & 31;
  const AttentionPlace at = placeOf((a.tq + warps * R - 1) / (warps * R), a.heads);
  const int64_t first = at.tile * warps * R, i0 = first + warp * R, kv = at.h / a.group, d = a.d;
  float *piece = memory, *q = piece + kOthers * kPieceLd + warp * 3 * R * d, *g = q + R * d, *dq = g + R * d;
  own<T, R>(q, static_cast<const T*>(a.queries), a.q, at.b, at.h, i0, a.tq, d, a.scale * kLog2e);
  own<T, R>(g, static_cast<const T*>(a.grad), a.o, at.b, at.h, i0, a.tq, d, 1.f);
  clear<R>(dq, d);
  float one[R], scale[R];
#pragma unroll
  for (int r = 0; r < R; ++r) one[r] = 1.f, scale[r] = a.scale;
  const int64_t lastRow = first + warps * R < a.tq ? first + warps * R - 1 : a.tq - 1, last = keysSeen(a, lastRow);
#pragma unroll 1
  for (int64_t j0 = 0; j0 < last; j0 += kOthers) {
    float p[R] = {}, ds[R] = {};
#pragma unroll 1
    for (int64_t c = 0; c < d; c += kPiece) {
      stage(piece, static_cast<const T*>(a.keys), a.k, at.b, kv, j0, a.tk, c, d);
      dots<R>(p, q, piece, c, d);
      stage(piece, static_cast<const T*>(a.values), a.v, at.b, kv, j0, a.tk, c, d);
      dots<R>(ds, g, piece, c, d);
    }
#pragma unroll
    for (int r = 0; r < R; ++r) weigh(a, at.b, at.h, i0 + r, j0 + lane, p[r], ds[r]);
#pragma unroll 1
    for (int64_t c = 0; c < d; c += kPiece) {
      stage(piece, static_cast<const T*>(a.keys), a.k, at.b, kv, j0, a.tk, c, d);
      gatherRows<R>(dq, ds, one, piece, c, d);
    }
  }
  __syncwarp();
  give<T, R>(static_cast<T*>(a.dq), dq, a.q, at.b, at.h, i0, a.tq, d, scale);
}

/** dK and dV: a warp owns keys, and meets the queries of every head of its group, in order. */
template <class T, int R>
ANNEAL_FN void keyGradSimt(const Attention& a) {
  extern __shared__ float memory[];
  const int warp = threadIdx.x >> 5, warps = blockDim.x >> 5, lane = threadIdx.x & 31;
  const AttentionPlace at = placeOf((a.tk + warps * R - 1) / (warps * R), a.kvHeads);
  const int64_t first = at.tile * warps * R, j0 = first + warp * R, d = a.d;
  float *piece = memory, *k = piece + kOthers * kPieceLd + warp * 4 * R * d, *v = k + R * d, *dk = v + R * d, *dv = dk + R * d;
  own<T, R>(k, static_cast<const T*>(a.keys), a.k, at.b, at.h, j0, a.tk, d, a.scale * kLog2e);
  own<T, R>(v, static_cast<const T*>(a.values), a.v, at.b, at.h, j0, a.tk, d, 1.f);
  clear<2 * R>(dk, d);
  float one[R], scale[R];
#pragma unroll
  for (int r = 0; r < R; ++r) one[r] = 1.f, scale[r] = a.scale;
  const int64_t from = firstQuery(a, first) / kOthers * kOthers;
#pragma unroll 1
  for (int64_t h = at.h * a.group; h < (at.h + 1) * a.group; ++h) {
#pragma unroll 1
    for (int64_t i0 = from; i0 < a.tq; i0 += kOthers) {
      float p[R] = {}, ds[R] = {};
#pragma unroll 1
      for (int64_t c = 0; c < d; c += kPiece) {
        stage(piece, static_cast<const T*>(a.queries), a.q, at.b, h, i0, a.tq, c, d);
        dots<R>(p, k, piece, c, d);
        stage(piece, static_cast<const T*>(a.grad), a.o, at.b, h, i0, a.tq, c, d);
        dots<R>(ds, v, piece, c, d);
      }
#pragma unroll
      for (int r = 0; r < R; ++r) weigh(a, at.b, h, i0 + lane, j0 + r, p[r], ds[r]);
#pragma unroll 1
      for (int64_t c = 0; c < d; c += kPiece) {
        stage(piece, static_cast<const T*>(a.queries), a.q, at.b, h, i0, a.tq, c, d);
        gatherRows<R>(dk, ds, one, piece, c, d);
        stage(piece, static_cast<const T*>(a.grad), a.o, at.b, h, i0, a.tq, c, d);
        gatherRows<R>(dv, p, one, piece, c, d);
      }
    }
  }
  __syncwarp();
  if (a.dk) give<T, R>(static_cast<T*>(a.dk), dk, a.k, at.b, at.h, j0, a.tk, d, scale);
  if (a.dv) give<T, R>(static_cast<T*>(a.dv), dv, a.v, at.b, at.h, j0, a.tk, d, one);
}

}  // namespace anneal::gpu
