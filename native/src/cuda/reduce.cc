// Launches reductions (native/cuda/reduce.cu).
#include "cuda/reduce.h"

#include "cuda/register.h"

namespace anneal::cuda {

namespace {

void add(Dims& d, int64_t size, int64_t stride) {
  require(d.n < 4, "reduce: dimensions must alternate");
  d.size[d.n] = size;
  d.stride[d.n++] = stride;
}

}  // namespace

Walk walkOf(int rank, const double* dims, const double* flags) {
  require(rank >= 0 && rank <= 8, "reduce: rank");
  Walk w{1, 1, 1, 1, 0, {}, {}};
  int64_t elements = 1;
  for (int d = rank - 1; d >= 0; --d) {
    const int64_t size = static_cast<int64_t>(dims[d]);
    require(size >= 0, "reduce: dimension");
    if (d == rank - 1) {
      w.inner = size;
      w.rows = flags[d] != 0;
    } else if (flags[d] != 0) {
      add(w.reduced, size, elements);
      w.count *= size;
    } else {
      add(w.kept, size, elements);
      w.outer *= size;
    }
    elements *= size;
  }
  return w;
}

Walk walkOf(const Call& c, int at) {
  const int rank = static_cast<int>(c.integer(at));
  require(c.nAttr >= at + 1 + 2 * rank, "reduce: attributes");
  return walkOf(rank, c.attr + at + 1, c.attr + at + 1 + rank);
}

int logWidthFor(int64_t packs) {
  int log = 0;
  while (log < 5 && int64_t{1} << log < packs) ++log;
  return log;
}

Cut cutOf(const Walk& w, int perPack) {
  constexpr int64_t kTasks = 1024, kFew = 512, kUnit = 2048;
  Cut cut;
  const auto divided = [](int64_t n, int64_t by) { return (n + by - 1) / by; };
  if (w.rows) {
    const int64_t length = w.count * w.inner;
    cut.wide = length > kUnit;
    cut.chunk = length;
    if (w.outer < kFew && length > 8 * kUnit) {
      const int64_t even = divided(length, divided(kTasks, w.outer));
      cut.chunk = divided(even < 4 * kUnit ? 4 * kUnit : even, kUnit) * kUnit;
      cut.chunks = divided(length, cut.chunk);
    }
    const int64_t tasks = w.outer * cut.chunks;
    cut.grid = {blocksFor(tasks, cut.wide ? 1 : kThreads / 32)};
    return cut;
  }
  cut.logWidth = logWidthFor(divided(w.inner, perPack));
  const int64_t deep = kThreads >> cut.logWidth, tiles = w.outer * divided(w.inner, int64_t{perPack} << cut.logWidth);
  cut.chunk = w.count;
  if (tiles < kFew && w.count > 32 * deep) {
    const int64_t even = divided(w.count, divided(kTasks, tiles));
    cut.chunk = even < 16 * deep ? 16 * deep : even;
    cut.chunks = divided(w.count, cut.chunk);
  }
  cut.grid = {static_cast<uint32_t>(tiles), static_cast<uint32_t>(cut.chunks)};
  return cut;
}

void reduce(const std::string& kernel, DType t, const Walk& w, const void* x, const void* x2, const ReduceTo& to, int stateBytes) {
  const int64_t outputs = outputsOf(w);
  if (outputs == 0) return;
  const Cut cut = cutOf(w, elementsPerPack(t));
  void* partials = cut.chunks > 1 ? gpu().scratch(outputs * cut.chunks * stateBytes, 0) : nullptr;
  const double bytes = static_cast<double>(elementsOf(w)) * static_cast<double>(sizeOf(t)) * (x2 ? 2 : 1);
  const double written = static_cast<double>(outputs) * (cut.chunks > 1 ? 0 : 4);
  const Plan plan{kernel + (w.rows ? "_rows_" : "_columns_") + suffix(t), cut.grid, {kThreads}, 0, bytes + written};
  if (w.rows) gpu().launch(plan, x, x2, w, to, cut.chunk, cut.chunks, static_cast<int>(cut.wide), partials);
  else gpu().launch(plan, x, x2, w, to, cut.chunk, cut.logWidth, partials);
  if (cut.chunks == 1) return;
  const int log = logWidthFor(outputs);
  const Plan finish{kernel + "_finish_" + suffix(t), {blocksFor(outputs, int64_t{1} << log)}, {kThreads}, 0,
                    static_cast<double>(outputs * cut.chunks * stateBytes + outputs * 4)};
  gpu().launch(finish, x, w, to, cut.chunks, log, static_cast<const void*>(partials));
}

namespace {

Walk checked(const Call& c, int at) {
  const Walk w = walkOf(c, at);
  require(c.in[0].n == elementsOf(w) && c.out[0].n == outputsOf(w), "reduce: sizes");
  return w;
}

/** attr: scale, rank, dims, flags. Integers add up to i32. */
void sum(const Call& c) {
  const DType t = c.in[0].dtype, out = c.out[0].dtype;
  const bool whole = t == DType::i32 || t == DType::u8 || t == DType::boolean;
  require(whole ? out == DType::i32 : out == t || out == DType::f32, "sum: dtype of the result");
  reduce("sum", t, checked(c, 1), c.in[0].data, nullptr,
         {c.out[0].data, nullptr, nullptr, nullptr, static_cast<float>(c.attr[0]), out == t ? 0 : kWideOut}, 4);
}

/** out [n] (+)= sum over rows of in [rows, n]. attr: rows, n, accumulate. */
void columnSum(const Call& c) {
  const double flags[] = {1, 0};
  const Walk w = walkOf(2, c.attr, flags);
  require(c.in[0].n == elementsOf(w) && c.out[0].n == outputsOf(w) && c.out[0].dtype == DType::f32, "columnSum: sizes");
  reduce("sum", c.in[0].dtype, w, c.in[0].data, nullptr, {c.out[0].data, nullptr, nullptr, nullptr, 1.f, kWideOut | (c.flag(2) ? kAccumulate : 0)}, 4);
}

void product(const Call& c) {
  reduce("prod", c.in[0].dtype, checked(c, 0), c.in[0].data, nullptr, {c.out[0].data, nullptr, nullptr, nullptr, 1.f, 0}, 8);
}

/** attr: sign, rank, dims, flags. */
void extreme(const Call& c) {
  reduce("extreme", c.in[0].dtype, checked(c, 1), c.in[0].data, nullptr,
         {c.out[0].data, nullptr, nullptr, nullptr, 1.f, c.attr[0] < 0 ? kLeast : 0}, 4);
}

void argExtreme(const Call& c) {
  require(c.out[0].dtype == DType::i32, "argmax: indices are i32");
  reduce("argExtreme", c.in[0].dtype, checked(c, 1), c.in[0].data, nullptr,
         {c.out[0].data, nullptr, nullptr, nullptr, 1.f, c.attr[0] < 0 ? kLeast : 0}, 8);
}

void logSumExp(const Call& c) {
  require(c.out[0].dtype == DType::f32, "logSumExp: the result is f32");
  reduce("logSumExp", c.in[0].dtype, checked(c, 0), c.in[0].data, nullptr, {c.out[0].data, nullptr, nullptr, nullptr, 1.f, 0}, 8);
}

/** attr: 1 / (n - correction), rank, dims, flags. out: variance, mean. */
void variance(const Call& c) {
  const Walk w = checked(c, 1);
  require(c.out[1].n == outputsOf(w) && c.out[1].dtype == DType::f32, "variance: sizes");
  reduce("variance", c.in[0].dtype, w, c.in[0].data, nullptr,
         {c.out[0].data, c.out[1].as<float>(), nullptr, nullptr, static_cast<float>(c.attr[0]), 0}, 12);
}

}  // namespace

void registerReduceGradients(OpTable& t);

void registerReduce(OpTable& t) {
  t.cuda("sum", sum);
  t.cuda("columnSum", columnSum);
  t.cuda("prod", product);
  t.cuda("extreme", extreme);
  t.cuda("argExtreme", argExtreme);
  t.cuda("logSumExp", logSumExp);
  t.cuda("variance", variance);
  registerReduceGradients(t);
}

}  // namespace anneal::cuda
