// Launches pooling (native/cuda/pool.cu).
#include "cuda/launch.h"
#include "cuda/register.h"

namespace anneal::cuda {
namespace {

/** As native/cuda/pool.cu's. attr: n, c, h, w, kh, kw, oh, ow, stride (h, w), padding (h, w), flag. */
struct Pool {
  int64_t n, c, h, w, kh, kw, oh, ow, sh, sw, ph, pw;
  int32_t flag, unused = 0;

  explicit Pool(const Call& k)
      : n(k.integer(0)), c(k.integer(1)), h(k.integer(2)), w(k.integer(3)), kh(k.integer(4)), kw(k.integer(5)), oh(k.integer(6)),
        ow(k.integer(7)), sh(k.integer(8)), sw(k.integer(9)), ph(k.integer(10)), pw(k.integer(11)), flag(k.flag(12)) {
    require(k.nAttr == 13 && kh > 0 && kw > 0 && sh > 0 && sw > 0 && ph >= 0 && pw >= 0, "pool: attributes");
    // Every window covers at least one input pixel.
    require(ph < kh && pw < kw && (oh - 1) * sh - ph < h && (ow - 1) * sw - pw < w, "pool: window");
  }
  /** Each input pixel lies under one window at most, and none in padding: a gradient is read once and spread. */
  bool disjoint() const { return kh == sh && kw == sw && ph == 0 && pw == 0 && oh * kh <= h && ow * kw <= w; }
  int64_t inputs() const { return n * c * h * w; }
  int64_t outputs() const { return n * c * oh * ow; }
};

/** Channels are taken a pack at a time where all operands begin on a pack. */
bool inPacks(const Call& call, const Pool& s) {
  const int64_t pack = elementsPerPack(call.in[0].dtype);
  bool whole = s.c % pack == 0;
  const auto look = [&](const View& v) { whole = whole && (!v.data || reinterpret_cast<uintptr_t>(v.data) % (pack * sizeOf(v.dtype)) == 0); };
  for (int i = 0; i < call.nIn; ++i) look(call.in[i]);
  for (int i = 0; i < call.nOut; ++i) look(call.out[i]);
  return whole;
}

Plan plan(const Call& call, const std::string& kernel, int64_t elements, bool packs) {
  const int64_t threads = packs ? elements / elementsPerPack(call.in[0].dtype) : elements;
  return {kernel, {blocksFor(threads, kThreads)}, {kThreads}, 0, bytesOf(call)};
}

/** Kernels over maxima are also named by the dtype of places. */
std::string named(const Call& call, DType places) {
  require(places == DType::u8 || places == DType::i32, "maxPool2d: places");
  std::string name = kernelName(call, call.in[0].dtype);
  return name.insert(name.rfind('_'), places == DType::u8 ? "_u8" : "_i32");
}
bool placesFit(const Pool& s, DType t) { return t == DType::i32 || (t == DType::u8 && s.kh * s.kw <= 255); }

/** in: x; out: y, places?. */
void maxPool(const Call& c) {
  const Pool s(c);
  require(c.in[0].n == s.inputs() && c.out[0].n == s.outputs() && c.in[0].dtype == c.out[0].dtype, "maxPool2d: sizes");
  require(!c.hasOut(1) || (c.out[1].n == s.outputs() && placesFit(s, c.out[1].dtype)), "maxPool2d: places");
  const bool packs = inPacks(c, s);
  void* places = c.hasOut(1) ? c.out[1].data : nullptr;
  gpu().launch(plan(c, named(c, places ? c.out[1].dtype : DType::u8), s.outputs(), packs), s, c.in[0].data, c.out[0].data, places,
               static_cast<int>(packs));
}

/** in: g, places, waiting?; out: dx. */
void maxPoolGrad(const Call& c) {
  const Pool s(c);
  require(c.in[0].n == s.outputs() && c.out[0].n == s.inputs() && c.in[0].dtype == c.out[0].dtype, "maxPool2d.grad: sizes");
  require(c.in[1].n == s.outputs() && placesFit(s, c.in[1].dtype), "maxPool2d.grad: places");
  require(!c.has(2) || (c.in[2].n == s.inputs() && c.in[2].dtype == c.out[0].dtype), "maxPool2d.grad: waiting gradient");
  const bool packs = inPacks(c, s), disjoint = packs && s.disjoint();
  gpu().launch(plan(c, named(c, c.in[1].dtype), disjoint ? s.outputs() : s.inputs(), packs), s, c.in[0].data, c.in[1].data,
               c.has(2) ? c.in[2].data : nullptr, c.out[0].data, static_cast<int>(packs), static_cast<int>(disjoint));
}

void averagePool(const Call& c) {
  const Pool s(c);
  require(c.in[0].n == s.inputs() && c.out[0].n == s.outputs() && c.in[0].dtype == c.out[0].dtype, "avgPool2d: sizes");
  const bool packs = inPacks(c, s);
  gpu().launch(plan(c, kernelName(c, c.in[0].dtype), s.outputs(), packs), s, c.in[0].data, c.out[0].data, static_cast<int>(packs));
}

/** in: g, waiting?; out: dx. */
void averagePoolGrad(const Call& c) {
  const Pool s(c);
  require(c.in[0].n == s.outputs() && c.out[0].n == s.inputs() && c.in[0].dtype == c.out[0].dtype, "avgPool2d.grad: sizes");
  require(!c.has(1) || (c.in[1].n == s.inputs() && c.in[1].dtype == c.out[0].dtype), "avgPool2d.grad: waiting gradient");
  const bool packs = inPacks(c, s), disjoint = packs && s.disjoint();
  gpu().launch(plan(c, kernelName(c, c.in[0].dtype), disjoint ? s.outputs() : s.inputs(), packs), s, c.in[0].data, c.has(1) ? c.in[1].data : nullptr,
               c.out[0].data, static_cast<int>(packs), static_cast<int>(disjoint));
}

}  // namespace

void registerPool(OpTable& t) {
  t.cuda("maxPool2d", maxPool);
  t.cuda("maxPool2d.grad", maxPoolGrad);
  t.cuda("avgPool2d", averagePool);
  t.cuda("avgPool2d.grad", averagePoolGrad);
}

}  // namespace anneal::cuda
