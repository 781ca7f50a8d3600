// Values picked by an index, and their gradients: sums over repeated indices run in the order of the indices, over keys sorted before (sort.cu).
#include "cuda/index.cuh"
#include "cuda/walk.cuh"

namespace anneal::gpu {
namespace {

constexpr int kUnits = 4;  // elements of a thread

/** y[o][j][i] = x[o][index[o][j][i]][i]; the walk over [outer, k, inner] gives the place of x[o][0][i]. By bits. */
template <class U>
ANNEAL_FN void gather(const U* x, const int32_t* index, U* y, int64_t length, int64_t inner, const Walk<1>& w, Trouble* trouble, uint32_t call) {
  const Share s = shareOf<kUnits>(w.n, false);
#pragma unroll 1
  for (int k = 0; k < s.count; ++k) {
    const int64_t e = s.at(k);
    const int32_t at = index[e];
    int64_t from[1];
    placeOf(w, e, from);
    U v{};
    if (checkIndex(index, w.n, at, length, trouble, call)) v = x[from[0] + at * inner];
    y[e] = v;
  }
}

/** dx[o][index[o][j][i]][i] += g[o][j][i] in the order of j, one thread for each (o, i). dx was cleared, or is added to. */
template <class T>
ANNEAL_FN void gatherColumns(const T* g, const int32_t* index, float* dx, int64_t outer, int64_t length, int64_t k, int64_t inner, Trouble* trouble,
                             uint32_t call) {
  const int64_t column = globalThread();
  if (column >= outer * inner) return;
  const int64_t o = column / inner, i = column - o * inner;
  float* to = dx + o * length * inner + i;
#pragma unroll 1
  for (int64_t j = 0; j < k; ++j) {
    const int64_t e = (o * k + j) * inner + i;
    const int32_t at = index[e];
    if (checkIndex(index, outer * k * inner, at, length, trouble, call)) to[at * inner] += widen(g[e]);
  }
}

/** Sorted by place: the first thread of each place adds up all that goes there. */
template <class T> ANNEAL_FN void gatherSorted(const T* g, const uint32_t* keys, const uint32_t* from, float* dx, int64_t n, uint32_t places) {
  const int64_t r = globalThread();
  if (r >= n) return;
  const uint32_t key = keys[r];
  if (key >= places || (r > 0 && keys[r - 1] == key)) return;
  float sum = dx[key];
#pragma unroll 1
  for (int64_t at = r; at < n && keys[at] == key; ++at) sum += widen(g[from[at]]);
  dx[key] = sum;
}

/** y[r] = weight[index[r]], rounded to T. The walk over [rows, units of a row] gives row and column; a unit is a pack or an element. */
template <class W, class T>
ANNEAL_FN void embedding(const int32_t* index, const W* weight, T* y, int64_t v, int64_t d, const Walk<2>& w, int32_t packs, Trouble* trouble,
                         uint32_t call) {
  constexpr int N = 16 / (sizeof(W) > sizeof(T) ? sizeof(W) : sizeof(T));
  const int64_t rows = w.size[0];
  if (packs) {
    const int64_t unit = globalThread();
    if (unit >= w.n) return;
    int64_t at[2];
    placeOf(w, unit, at);
    const int32_t row = index[at[0]];
    Share s{static_cast<int64_t>(row) * d + at[1], 1, N, true};
    W in[N] = {};
    if (checkIndex(index, rows, row, v, trouble, call)) load(in, weight, s);
    T out[N];
#pragma unroll
    for (int k = 0; k < N; ++k) out[k] = narrow<T>(widen(in[k]));
    s.first = unit * N;
    store(y, out, s);
  } else {
    const Share s = shareOf<kUnits>(w.n, false);
#pragma unroll 1
    for (int k = 0; k < s.count; ++k) {
      int64_t at[2];
      placeOf(w, s.at(k), at);
      const int32_t row = index[at[0]];
      float value = 0.f;
      if (checkIndex(index, rows, row, v, trouble, call)) value = widen(weight[row * d + at[1]]);
      y[s.at(k)] = narrow<T>(value);
    }
  }
}

/**
 * dW[key] += g[from] over the sorted rows of one key, in order. A block has kRun sorted rows and does the keys that begin there; blockIdx.y counts
 * blocks of columns. Each warp reads the run's keys and places at once and passes them around.
 */
constexpr int kRun = 8;
template <class T>
ANNEAL_FN void embeddingGrad(const T* g, const uint32_t* keys, const uint32_t* from, float* dw, int64_t rows, int64_t d, uint32_t v, int64_t padding) {
  constexpr int N = kPack<T>;
  const int64_t r0 = static_cast<int64_t>(blockIdx.x) * kRun;
  const int lane = threadIdx.x & 31;
  const int64_t before = r0 - 1 + lane;  // lane 0 has the key before the run
  const uint32_t mineKey = lane <= kRun && before >= 0 && before < rows ? keys[before] : v, mineFrom = lane < kRun && r0 + lane < rows ? from[r0 + lane] : 0;
  const Share columns = shareOf<N>(d, aligned16(g, dw) && d % N == 0, blockIdx.y);
  Share place = columns;
#pragma unroll 1
  for (int j = 0; j < kRun && r0 + j < rows; ++j) {
    const uint32_t key = __shfl_sync(kWholeWarp, mineKey, j + 1), last = __shfl_sync(kWholeWarp, mineKey, j);
    if (key >= v || key == padding || (r0 + j > 0 && last == key)) continue;
    float sum[N];
    float* to = dw + key * d;
    load(sum, to, columns);
#pragma unroll 1
    for (int64_t at = r0 + j; at < rows; ++at) {
      const int near = static_cast<int>(at - r0 < kRun ? at - r0 : kRun);
      const uint32_t here = __shfl_sync(kWholeWarp, mineKey, near + 1), source = __shfl_sync(kWholeWarp, mineFrom, near);
      if ((near < kRun ? here : keys[at]) != key) break;
      float add[N];
      place.first = (near < kRun ? source : from[at]) * d + columns.first;
      loadWide<T>(add, g, place);
#pragma unroll
      for (int k = 0; k < N; ++k) sum[k] += add[k];
    }
    store(to, sum, columns);
  }
}

}  // namespace

#define ANNEAL_KERNEL extern "C" __global__ void __launch_bounds__(kThreads)

#define ANNEAL_GATHER(bits, U)                                                                                                     \
  ANNEAL_KERNEL gather_b##bits(const U* x, const int32_t* index, U* y, int64_t length, int64_t inner, const __grid_constant__ Walk<1> w, \
                               Trouble* trouble, uint32_t call) {                                                                  \
    gather(x, index, y, length, inner, w, trouble, call);                                                                          \
  }
ANNEAL_GATHER(8, uint8_t) ANNEAL_GATHER(16, uint16_t) ANNEAL_GATHER(32, uint32_t)

#define ANNEAL_GRADIENTS(suffix, T)                                                                                                        \
  ANNEAL_KERNEL gather_columns_##suffix(const T* g, const int32_t* index, float* dx, int64_t outer, int64_t length, int64_t k, int64_t inner, \
                                        Trouble* trouble, uint32_t call) {                                                                 \
    gatherColumns(g, index, dx, outer, length, k, inner, trouble, call);                                                                   \
  }                                                                                                                                        \
  ANNEAL_KERNEL gather_sorted_##suffix(const T* g, const uint32_t* keys, const uint32_t* from, float* dx, int64_t n, uint32_t places) {     \
    gatherSorted(g, keys, from, dx, n, places);                                                                                            \
  }                                                                                                                                        \
  ANNEAL_KERNEL embedding_grad_##suffix(const T* g, const uint32_t* keys, const uint32_t* from, float* dw, int64_t rows, int64_t d, uint32_t v, \
                                        int64_t padding) {                                                                                 \
    embeddingGrad(g, keys, from, dw, rows, d, v, padding);                                                                                 \
  }
ANNEAL_GRADIENTS(f32, float) ANNEAL_GRADIENTS(f16, f16) ANNEAL_GRADIENTS(bf16, bf16)

#define ANNEAL_EMBEDDING(from, W, to, T)                                                                                                  \
  ANNEAL_KERNEL embedding_##from##_##to(const int32_t* index, const W* weight, T* y, int64_t v, int64_t d, const __grid_constant__ Walk<2> w, \
                                        int32_t packs, Trouble* trouble, uint32_t call) {                                                 \
    embedding(index, weight, y, v, d, w, packs, trouble, call);                                                                           \
  }
#define ANNEAL_ROW(to, T) ANNEAL_EMBEDDING(f32, float, to, T) ANNEAL_EMBEDDING(f16, f16, to, T) ANNEAL_EMBEDDING(bf16, bf16, to, T)
ANNEAL_ROW(f32, float) ANNEAL_ROW(f16, f16) ANNEAL_ROW(bf16, bf16)
#undef ANNEAL_ROW

}  // namespace anneal::gpu
