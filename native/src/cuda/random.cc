// Launches random numbers (native/cuda/random.cu).
#include "cuda/draw.h"
#include "cuda/register.h"

namespace anneal::cuda {
namespace {

Plan plan(const Call& c) {
  const View& y = c.out[0];
  return {kernelName(c, y.dtype), {blocksFor(y.n, int64_t{kThreads} * elementsPerPack(y.dtype))}, {kThreads}, 0, bytesOf(c)};
}

/** attr: draw. out i32: the words as they are. With two more, a block's low and high half: that block's words, for known answers. */
void randomWords(const Call& c) {
  const View& y = c.out[0];
  require(y.dtype == DType::i32, "randomWords: i32");
  if (c.nAttr == kDrawAttributes) return gpu().launch(plan(c), y.data, y.n, drawOf(c));
  require(c.nAttr == kDrawAttributes + 2 && y.n == 4, "randomWords: block");
  const uint64_t block = static_cast<uint64_t>(c.attr[kDrawAttributes + 1]) << 32 | static_cast<uint64_t>(c.attr[kDrawAttributes]);
  gpu().launch(Plan{"randomWords_block", {1}, {1}, 0, bytesOf(c)}, y.data, block, drawOf(c));
}

/** attr: draw, low and high, or mean and deviation. */
void floats(const Call& c) {
  gpu().launch(plan(c), c.out[0].data, c.out[0].n, drawOf(c), static_cast<float>(c.attr[kDrawAttributes]), static_cast<float>(c.attr[kDrawAttributes + 1]));
}

/** attr: draw, low, range (1 to 2^32). */
void randint(const Call& c) {
  gpu().launch(plan(c), c.out[0].data, c.out[0].n, drawOf(c), c.integer(kDrawAttributes), static_cast<uint64_t>(c.attr[kDrawAttributes + 1]));
}

/** attr: draw, threshold (p 2^32). in: probabilities per element instead, f32. */
void bernoulli(const Call& c) {
  const void* p = c.has(0) ? c.in[0].data : nullptr;
  if (p) require(c.in[0].dtype == DType::f32 && c.in[0].n == c.out[0].n, "bernoulli: probabilities");
  gpu().launch(plan(c), p, c.out[0].data, c.out[0].n, drawOf(c), static_cast<uint64_t>(c.attr[kDrawAttributes]));
}

/** attr: draw. out i32 [n]. */
void permutation(const Call& c) {
  const View& y = c.out[0];
  require(y.dtype == DType::i32, "permutation: i32");
  gpu().launch(Plan{kernelName(c, y.dtype), {y.n ? 1u : 0u}, {kThreads}, 0, bytesOf(c)}, y.data, y.n, drawOf(c));
}

/** attr: draw. in f32, out bf16. */
void stochasticRound(const Call& c) {
  const View &x = c.in[0], &y = c.out[0];
  require(x.dtype == DType::f32 && y.dtype == DType::bf16 && x.n == y.n, "stochasticRound: operands");
  gpu().launch(plan(c), x.data, y.data, y.n, drawOf(c));
}

}  // namespace

void registerRandom(OpTable& t) {
  t.cuda("randomWords", randomWords);
  t.cuda("uniform", floats);
  t.cuda("normal", floats);
  t.cuda("randint", randint);
  t.cuda("bernoulli", bernoulli);
  t.cuda("permutation", permutation);
  t.cuda("stochasticRound", stochasticRound);
}

}  // namespace anneal::cuda
