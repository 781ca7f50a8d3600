// Launches attention and its gradient (native/cuda/attention*.cu): attributes and operands as the CPU's (cpu/attention.h).
#include "cuda/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/launch.h"
#include "cuda/register.h"

namespace anneal::cuda {
namespace {

constexpr int kDrawAttributes = 5;  // cpu/random.h

/** An operand of `heads` heads and `rows` rows of a.d must lie inside its view. */
void check(const Attention& a, const View& view, const AttentionStrides& s, int64_t heads, int64_t rows) {
  require(s.offset >= 0 && s.batch >= 0 && s.head >= 0 && s.row >= 0, "attention: strides");
  const int64_t last = s.offset + (a.batch - 1) * s.batch + (heads - 1) * s.head + (rows - 1) * s.row;
  require(a.batch == 0 || heads == 0 || rows == 0 || a.d == 0 || last + a.d <= view.n, "attention: operand size");
}

bool aligned(const Attention& a, const void* p, const AttentionStrides& s, size_t size) {
  const int64_t all = (s.offset | s.batch | s.head | s.row | a.d) * static_cast<int64_t>(size);
  return reinterpret_cast<uintptr_t>(p) % 16 == 0 && all % 16 == 0;
}

void maskOf(Attention& a, const Call& c) {
  if (!c.has(3)) return;
  a.mask = input<uint8_t>(c, 3);
  const int64_t last = (a.batch - 1) * a.maskBatch + (a.heads - 1) * a.maskHead + (a.tq - 1) * a.maskRow + (a.tk - 1) * a.maskColumn;
  const bool empty = a.batch == 0 || a.heads == 0 || a.tq == 0 || a.d == 0 || a.tk == 0;
  require(empty || (c.in[3].dtype == DType::boolean && last < c.in[3].n), "attention: mask");
}

/** What both directions share. k and v absent: they lie in q's view. */
Attention read(const Call& c) {
  require(c.nAttr == kDrawAttributes + 30 && c.nIn >= 4 && c.nOut >= 1 && c.has(0), "attention: operands");
  Attention a{};
  a.key0 = static_cast<uint32_t>(c.attr[0]), a.key1 = static_cast<uint32_t>(c.attr[1]);
  a.stream = static_cast<uint32_t>(c.attr[2]), a.attempt = static_cast<uint32_t>(c.attr[3]), a.first = static_cast<uint64_t>(c.attr[4]);
  int at = kDrawAttributes;
  const auto next = [&] { return c.integer(at++); };
  a.batch = next(), a.heads = next(), a.kvHeads = next(), a.tq = next(), a.tk = next(), a.d = next();
  require(a.batch >= 0 && a.heads >= 0 && a.kvHeads > 0 && a.tq >= 0 && a.tk >= 0 && a.d >= 0 && a.heads % a.kvHeads == 0, "attention: sizes");
  a.group = a.heads / a.kvHeads;
  a.scale = static_cast<float>(c.attr[at++]);
  a.causal = c.flag(at++);
  for (AttentionStrides* s : {&a.q, &a.k, &a.v, &a.o}) {
    s->offset = next(), s->batch = next(), s->head = next(), s->row = next();
  }
  a.maskBatch = next(), a.maskHead = next(), a.maskRow = next(), a.maskColumn = next();
  const double words = c.attr[at++];
  a.threshold = words >= 4294967295.0 ? 4294967295u : static_cast<uint32_t>(words);
  a.keep = static_cast<float>(c.attr[at++]);
  maskOf(a, c);

  const View &q = c.in[0], &k = c.has(1) ? c.in[1] : q, &v = c.has(2) ? c.in[2] : q;
  require(k.dtype == q.dtype && v.dtype == q.dtype, "attention: dtypes");
  check(a, q, a.q, a.heads, a.tq);
  check(a, k, a.k, a.kvHeads, a.tk);
  check(a, v, a.v, a.kvHeads, a.tk);
  a.queries = q.data, a.keys = k.data, a.values = v.data;
  const size_t size = sizeOf(q.dtype);
  a.aligned = aligned(a, q.data, a.q, size) && aligned(a, k.data, a.k, size) && aligned(a, v.data, a.v, size) && aligned(a, c.out[0].data, a.o, size);
  return a;
}

/** Pairs of (query, key) that are looked at, of all heads. */
double pairsOf(const Attention& a) {
  double seen = static_cast<double>(a.tq) * static_cast<double>(a.tk);
  if (a.causal) {
    const double few = static_cast<double>(std::min(a.tq, a.tk));
    seen -= few * (few - 1) / 2 + (a.tq > a.tk ? static_cast<double>(a.tq - a.tk) * static_cast<double>(a.tk) : 0);
  }
  return seen * static_cast<double>(a.batch) * static_cast<double>(a.heads);
}

/** Warps' rows and their number, so that what they keep (`vectors` of d floats a row) fits into 48 KiB beside a piece of the other side. */
struct Rows {
  int perWarp, warps;
  uint32_t shared;
};
Rows rowsOf(const Attention& a, int vectors) {
  constexpr int64_t kShared = 48 * 1024, kPiece = 32 * 65 * 4;
  const int64_t row = std::max<int64_t>(1, vectors * a.d * 4), room = (kShared - kPiece) / row;
  if (room == 0) fail("attention: heads of " + std::to_string(a.d) + " numbers are too wide for the GPU (at most " + std::to_string((kShared - kPiece) / 16) + ")");
  const int perWarp = room >= 4 ? 4 : 1;
  const int warps = static_cast<int>(std::min<int64_t>(8, room / perWarp));
  return {perWarp, warps, static_cast<uint32_t>(kPiece + warps * perWarp * row)};
}

uint32_t gridOf(int64_t tiles, int64_t heads, int64_t batch) {
  const int64_t blocks = tiles * heads * batch;
  require(blocks < (int64_t{1} << 31), "attention: blocks");
  return static_cast<uint32_t>(blocks);
}

void launchRows(const Attention& a, DType t, const char* name, int vectors, int64_t rows, int64_t heads, double bytes, double flops) {
  const Rows r = rowsOf(a, vectors);
  const int64_t per = r.perWarp * r.warps;
  const Plan plan{std::string(name) + std::to_string(r.perWarp) + "_" + suffix(t), {gridOf((rows + per - 1) / per, heads, a.batch)},
                  {static_cast<uint32_t>(r.warps * 32)}, r.shared, bytes, flops};
  gpu().launch(plan, a);
}

/** The tensor-core kernels' width of tile for these heads; 0: none. */
int widthOf(const Attention& a, DType t) { return t == DType::f32 || a.d > 128 ? 0 : a.d > 64 ? 128 : a.d > 32 ? 64 : 32; }

/** Blocks of 64 rows on tensor cores. */
void launchTiles(const Attention& a, DType t, const char* name, int width, int64_t rows, int64_t heads, uint32_t shared, double bytes, double flops) {
  const Plan plan{std::string(name) + std::to_string(width) + "_" + suffix(t), {gridOf((rows + 63) / 64, heads, a.batch)}, {128}, shared, bytes, flops};
  gpu().launch(plan, a);
}

/** in: q, k?, v?, mask?. out: o, log-sum-exp [B, H, Tq] in f32. */
void attention(const Call& c) {
  Attention a = read(c);
  require(c.nOut == 2, "attention: outputs");
  const DType t = c.in[0].dtype;
  if (a.batch == 0 || a.heads == 0 || a.tq == 0 || a.d == 0) return;
  check(a, c.out[0], a.o, a.heads, a.tq);
  require(c.out[1].n >= a.batch * a.heads * a.tq, "attention: log-sum-exp");
  require(c.out[0].dtype == t && c.out[1].dtype == DType::f32, "attention: dtypes");
  a.out = c.out[0].data, a.lse = c.out[1].as<float>();
  const double flops = 4.0 * pairsOf(a) * static_cast<double>(a.d);
  // On tensor cores the maximum is taken before scaling, which a scale that is not positive would turn round.
  const int width = a.scale > 0 ? widthOf(a, t) : 0;
  if (width) launchTiles(a, t, "attention_", width, a.tq, a.heads, 0, bytesOf(c), flops);
  else launchRows(a, t, "attention_rows", 2, a.tq, a.heads, bytesOf(c), flops);
}

/** Where the gradients go; with k absent dq's view holds all three. */
void gradients(Attention& a, const Call& c) {
  const DType t = c.in[0].dtype;
  const bool packed = !c.has(1);
  const auto output = [&](int i, const AttentionStrides& s, int64_t heads, int64_t rows) -> void* {
    if (!packed && !c.hasOut(i)) return nullptr;
    const View& view = c.out[packed ? 0 : i];
    require(view.dtype == t, "attention.grad: dtypes");
    check(a, view, s, heads, rows);
    a.aligned = a.aligned && aligned(a, view.data, s, sizeOf(t));
    return view.data;
  };
  a.dq = output(0, a.q, a.heads, a.tq);
  a.dk = output(1, a.k, a.kvHeads, a.tk);
  a.dv = output(2, a.v, a.kvHeads, a.tk);
}

/** in: q, k?, v?, mask?, o, log-sum-exp, gradient of o. out: dq, dk, dv. */
void attentionGrad(const Call& c) {
  Attention a = read(c);
  const bool packed = !c.has(1);
  require(c.nIn == 7 && c.nOut == 3 && (!packed || c.hasOut(0)), "attention.grad: operands");
  const DType t = c.in[0].dtype;
  for (int i : {4, 6}) {
    require(c.in[i].dtype == t, "attention.grad: dtypes");
    check(a, c.in[i], a.o, a.heads, a.tq);
    a.aligned = a.aligned && aligned(a, c.in[i].data, a.o, sizeOf(t));
  }
  const int64_t rows = a.batch * a.heads * a.tq;
  require(rows == 0 || a.d == 0 || (c.in[5].n >= rows && c.in[5].dtype == DType::f32), "attention.grad: log-sum-exp");
  a.forwardOut = c.in[4].data, a.lse = c.in[5].as<float>(), a.grad = c.in[6].data;
  gradients(a, c);
  if (a.batch == 0 || a.d == 0) return;

  const double size = static_cast<double>(sizeOf(t)), flops = 2.0 * pairsOf(a) * static_cast<double>(a.d);
  const double queries = static_cast<double>(rows * a.d) * size, keys = static_cast<double>(a.batch * a.kvHeads * a.tk * a.d) * size, perRow = 4.0 * static_cast<double>(rows);
  if (rows > 0) {
    a.delta = static_cast<float*>(gpu().scratch(rows * 4));
    gpu().launch(Plan{kernelName("attention.grad.delta", t), {blocksFor(rows, kThreads / 32)}, {kThreads}, 0, 2 * queries + perRow}, a);
  }
  const double forQueries = 3 * queries + 2 * keys + 2 * perRow, forKeys = 2 * queries + 4 * keys + 2 * perRow;
  const int width = widthOf(a, t);
  // Without queries the gradients of keys and values are zeros, and the second writes them.
  const bool wantQ = a.dq && rows > 0, wantK = (a.dk || a.dv) && a.tk > 0;
  if (width) {
    const int others = width > 64 ? 32 : 64;  // native/cuda/attention_backward.cuh: rows of the other side at a time
    const uint32_t shared = static_cast<uint32_t>(2 * (64 + others) * width * 2 + 2 * others * 4);
    if (wantQ) launchTiles(a, t, "attention_grad_queries_", width, a.tq, a.heads, 0, forQueries, 3 * flops);
    if (wantK) launchTiles(a, t, "attention_grad_keys_", width, a.tk, a.kvHeads, shared, forKeys, 4 * flops);
  } else {
    if (wantQ) launchRows(a, t, "attention_grad_queries", 3, a.tq, a.heads, forQueries, 3 * flops);
    if (wantK) launchRows(a, t, "attention_grad_keys", 4, a.tk, a.kvHeads, forKeys, 4 * flops);
  }
}

}  // namespace

void registerAttention(OpTable& t) {
  t.cuda("attention", attention);
  t.cuda("attention.grad", attentionGrad);
}

}  // namespace anneal::cuda
