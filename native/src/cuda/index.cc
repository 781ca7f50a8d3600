// Launches gathers, embeddings and their gradients (native/cuda/index.cu, sort.cu).
#include "cuda/broadcast.h"
#include "cuda/register.h"

namespace anneal::cuda {
namespace {

/** The sentence for what checkIndex (native/cuda/index.cuh) reports; the same as the CPU's. */
std::string outOfRange(const Trouble& t) {
  const int32_t index = static_cast<int32_t>(t.a & 0xffffffff);
  return "data: index " + std::to_string(index) + " is outside [0, " + std::to_string(t.a >> 32) + ") at position " + std::to_string(t.b);
}

Plan plan(std::string name, int64_t n, int64_t perBlock, double bytes) { return {std::move(name), {blocksFor(n, perBlock)}, {kThreads}, 0, bytes}; }

/** [outer, n, inner] picked at index [outer, k, inner]. */
struct Picks {
  int64_t outer, n, k, inner;
  explicit Picks(const Call& c) : outer(c.integer(0)), n(c.integer(1)), k(c.integer(2)), inner(c.integer(3)) {
    require(c.in[1].dtype == DType::i32 && c.in[1].n == outer * k * inner, "gather: index");
  }
  /** Over the index; the place of row 0 of each in x. */
  Walk<1> walk() const {
    Walk<1> w{};
    w.rank = 3;
    const int64_t sizes[] = {outer, k, inner}, strides[] = {n * inner, 0, 1};
    for (int d = 0; d < 3; ++d) {
      w.size[d] = sizes[d];
      w.stride[0][d] = strides[d];
    }
    prepare(w);
    return w;
  }
};

/** out[o][j][i] = x[o][index[o][j][i]][i]. attr: outer, n, k, inner. */
void gather(const Call& c) {
  const Picks p(c);
  require(c.in[0].n == p.outer * p.n * p.inner && c.out[0].n == c.in[1].n && c.in[0].dtype == c.out[0].dtype, "gather: sizes");
  const uint32_t call = gpu().watch(c, outOfRange);
  const double picked = bytesOf(c.out[0]), all = bytesOf(c.in[0]);
  const std::string name = "gather_b" + std::to_string(8 * sizeOf(c.in[0].dtype));
  gpu().launch(plan(name, c.out[0].n, kThreads * 4, bytesOf(c.in[1]) + picked + (picked < all ? picked : all)), c.in[0].data, c.in[1].data, c.out[0].data,
               p.n, p.inner, p.walk(), gpu().trouble(), call);
}

// ---- sorting ----------------------------------------------------------------------------------------------------------------

/** Scratch for n keys: twice keys and where they came from, and the counts of digits. */
struct Sort {
  static constexpr int64_t kTile = 2048, kDigits = 256;  // as in sort.cu
  int64_t n, tiles, counts;
  uint32_t *keys[2], *from[2], *digits;
  explicit Sort(int64_t n) : n(n), tiles((n + kTile - 1) / kTile), counts(tiles * kDigits) {
    require(n < int64_t{1} << 31, "sort: more than 2^31 keys");
    uint32_t* at = static_cast<uint32_t*>(gpu().scratch((4 * n + counts) * 4));
    for (int i = 0; i < 2; ++i) {
      keys[i] = at + 2 * i * n;
      from[i] = keys[i] + n;
    }
    digits = at + 4 * n;
  }
  /** Sorts keys[now], none above `largest`; gives which half holds the result. `moved`: the keys came from from[now], not from where they stand. */
  int run(uint64_t largest, int now = 0, bool moved = false) {
    int shift = 0;
    const double bytes = static_cast<double>(n) * 4;
    do {
      const uint32_t* before = shift || moved ? from[now] : nullptr;
      gpu().launch(plan("sort_count", n, kTile, bytes), keys[now], digits, n, shift);
      gpu().launch(Plan{"sort_scan", {1}, {kThreads}, 0, static_cast<double>(counts) * 8}, digits, counts);
      gpu().launch(plan("sort_scatter", n, kTile, bytes * (before ? 4 : 3)), keys[now], before, keys[1 - now], from[1 - now], digits, n, shift);
      now = 1 - now;
      shift += 8;
    } while (shift < 32 && largest >> shift);
    return now;
  }
};

/** dx[o][index[o][j][i]][i] += g[o][j][i], in f32. attr: outer, n, k, inner, accumulate. */
void gatherGrad(const Call& c) {
  const Picks p(c);
  const int64_t sources = c.in[1].n, places = p.outer * p.n * p.inner, columns = p.outer * p.inner;
  require(c.in[0].n == sources && c.out[0].n == places && c.out[0].dtype == DType::f32, "gather.grad: sizes");
  if (!c.flag(4) && places) gpu().clear(c.out[0].data, places * 4);
  if (!sources) return;
  const uint32_t call = gpu().watch(c, outOfRange);
  const char* t = suffix(c.in[0].dtype);
  const double bytes = bytesOf(c.in[0]) + 4.0 * static_cast<double>(2 * (sources < places ? sources : places));
  // A thread for each column, unless the columns are few and long.
  constexpr int64_t kEnough = 4096, kShort = 128;
  if (columns >= kEnough || p.k <= kShort || places >= 0xffffffffLL || sources >> 31) {
    gpu().launch(plan(std::string("gather_columns_") + t, columns, kThreads, bytes + bytesOf(c.in[1])), c.in[0].data, c.in[1].data, c.out[0].data, p.outer,
                 p.n, p.k, p.inner, gpu().trouble(), call);
    return;
  }
  Sort sort(sources);
  gpu().launch(plan("sort_places", sources, kThreads, 2 * bytesOf(c.in[1])), c.in[1].data, sort.keys[0], p.n, p.inner, static_cast<uint32_t>(places), p.walk(),
               gpu().trouble(), call);
  const int at = sort.run(static_cast<uint64_t>(places));
  gpu().launch(plan(std::string("gather_sorted_") + t, sources, kThreads, bytes + 2 * bytesOf(c.in[1])), c.in[0].data, sort.keys[at], sort.from[at],
               c.out[0].data, sources, static_cast<uint32_t>(places));
}

/** out[r] = weight[index[r]], rounded to the output's dtype. attr: rows of the weight, width. */
void embedding(const Call& c) {
  const int64_t v = c.integer(0), d = c.integer(1), rows = c.in[0].n;
  require(c.in[0].dtype == DType::i32 && c.in[1].n == v * d && c.out[0].n == rows * d, "embedding: sizes");
  const int64_t from = static_cast<int64_t>(sizeOf(c.in[1].dtype)), to = static_cast<int64_t>(sizeOf(c.out[0].dtype)), N = 16 / (from > to ? from : to);
  const bool packs = d % N == 0 && aligned(c.in[1].data, N * from) && aligned(c.out[0].data, N * to);
  Walk<2> w{};
  w.rank = 2;
  w.size[0] = rows;
  w.size[1] = packs ? d / N : d;
  w.stride[0][0] = 1;
  w.stride[1][1] = packs ? N : 1;
  prepare(w);
  const uint32_t call = gpu().watch(c, outOfRange);
  const double taken = static_cast<double>((rows < v ? rows : v) * d * from);
  const std::string name = std::string("embedding_") + suffix(c.in[1].dtype) + "_" + suffix(c.out[0].dtype);
  gpu().launch(plan(name, w.n, packs ? kThreads : kThreads * 4, bytesOf(c.in[0]) + bytesOf(c.out[0]) + taken), c.in[0].data, c.in[1].data, c.out[0].data, v, d, w,
               static_cast<int32_t>(packs), gpu().trouble(), call);
}

/** Sorted rows of a block; as native/cuda/index.cu's. */
constexpr int64_t kRun = 8;

/** dW[index[r]] += g[r], or from zero. attr: rows of the weight, width, row without gradient (-1: none), accumulate. */
void embeddingGrad(const Call& c) {
  const int64_t v = c.integer(0), d = c.integer(1), padding = c.integer(2), rows = c.in[1].n;
  require(c.in[1].dtype == DType::i32 && c.in[0].n == rows * d && c.out[0].n == v * d && c.out[0].dtype == DType::f32 && v < 0xffffffffLL,
          "embedding.grad: sizes");
  if (!c.flag(3) && c.out[0].n) gpu().clear(c.out[0].data, v * d * 4);
  if (rows * d == 0) return;
  const uint32_t call = gpu().watch(c, outOfRange);
  Sort sort(rows);
  gpu().launch(plan("sort_rows", rows, kThreads, 2 * bytesOf(c.in[1])), c.in[1].data, sort.keys[0], rows, v, gpu().trouble(), call);
  const int at = sort.run(static_cast<uint64_t>(v));
  const DType t = c.in[0].dtype;
  const int64_t N = elementsPerPack(t), packs = (d + N - 1) / N, threads = packs >= kThreads ? kThreads : (packs + 31) / 32 * 32;
  const double bytes = bytesOf(c.in[0]) + 2 * bytesOf(c.in[1]) + 8.0 * static_cast<double>((rows < v ? rows : v) * d);
  gpu().launch(Plan{kernelName(c, t), {blocksFor(rows, kRun), blocksFor(packs, threads)}, {static_cast<uint32_t>(threads)}, 0, bytes}, c.in[0].data,
               sort.keys[at], sort.from[at], c.out[0].data, rows, d, static_cast<uint32_t>(v), padding);
}

// ---- top k ------------------------------------------------------------------------------------------------------------------

/** So many are ranked by comparing each with each. */
constexpr int64_t kRanked = 1024;

/** All elements sorted by their keys and then, which keeps that order, by their rows. */
void sortRows(const Call& c, int64_t n, int64_t k, int64_t rows) {
  const int64_t all = rows * n;
  const std::string t = suffix(c.in[0].dtype);
  Sort sort(all);
  gpu().launch(plan("topK_keys_" + t, all, kThreads, bytesOf(c.in[0]) + 4.0 * static_cast<double>(all)), c.in[0].data, sort.keys[0], all,
               static_cast<int32_t>(c.flag(2)));
  int at = sort.run(0xffffffffu);
  if (rows > 1) {
    gpu().launch(plan("sort_segments", all, kThreads, 8.0 * static_cast<double>(all)), sort.from[at], sort.keys[at], all, static_cast<uint32_t>(n));
    at = sort.run(static_cast<uint64_t>(rows - 1), at, true);
  }
  gpu().launch(plan("topK_take_" + t, rows * k, kThreads, 2 * bytesOf(c.out[0]) + 2 * bytesOf(c.out[1])), c.in[0].data, sort.from[at], c.out[0].data,
               c.out[1].data, rows * k, static_cast<int32_t>(n), static_cast<int32_t>(k));
}

/** attr: n, k, largest. x [rows, n]; out: values [rows, k], indices [rows, k] i32. */
void topK(const Call& c) {
  const int64_t n = c.integer(0), k = c.integer(1), rows = n ? c.in[0].n / n : 0;
  require(k <= n && c.in[0].n == rows * n && c.out[0].n == rows * k && c.out[1].n == rows * k && n < int64_t{1} << 31, "topK: sizes");
  require(c.out[0].dtype == c.in[0].dtype && c.out[1].dtype == DType::i32, "topK: dtypes");
  if (k == 0 || rows == 0) return;
  if (k > kRanked && c.in[0].n < int64_t{1} << 31) return sortRows(c, n, k, rows);
  // On chip where they fit: the row's keys, and the candidates (key and index each).
  const int64_t keys = n * 4 <= 32 << 10 ? n * 4 : 0, candidates = k * 8 <= 12 << 10 ? k * 8 : 0;
  void* outside = candidates ? nullptr : gpu().scratch(rows * k * 8);
  gpu().launch(Plan{kernelName(c, c.in[0].dtype), {static_cast<uint32_t>(rows)}, {kThreads}, static_cast<uint32_t>(keys + candidates), bytesOf(c)}, c.in[0].data,
               c.out[0].data, c.out[1].data, static_cast<int32_t>(n), static_cast<int32_t>(k), static_cast<int32_t>(c.flag(2)), static_cast<int32_t>(keys > 0),
               outside);
}

}  // namespace

void registerIndex(OpTable& t) {
  t.cuda("gather", gather);
  t.cuda("gather.grad", gatherGrad);
  t.cuda("embedding", embedding);
  t.cuda("embedding.grad", embeddingGrad);
  t.cuda("topK", topK);
}

}  // namespace anneal::cuda
