// Convolution and its gradients by oneDNN: activations NHWC as they lie in memory, weights in whatever order the primitive likes best, made
// from the OIHW master by a reorder in each call (weights are small). f64 goes to the plain loops of cpu/conv.cc, f32 on AVX2 mostly to
// cpu/conv_direct.cc.
#include <cstring>

#include "cpu/conv.h"
#include "cpu/onednn/engine.h"

namespace anneal::cpu {

ConvKernels convKernels;

namespace {

Kernel relu = nullptr;

/** A convolution primitive, and the reorder between its weights and OIHW (none where they are the same). */
struct Convolution {
  std::unique_ptr<Primitive> main, reorder;
  size_t weightBytes = 0;
};

Convolution& cachedConvolution(const Key& key, Convolution (*make)(const ConvShape&, DType, bool), const ConvShape& s, DType type, bool option) {
  static auto* all = new std::unordered_map<std::string, Convolution>;
  const auto found = all->find(key.text());
  if (found != all->end()) return found->second;
  if (all->size() > 1024) all->clear();  // shapes that change without end must not fill memory
  return all->emplace(key.text(), make(s, type, option)).first->second;
}

Key keyOf(const char* op, const ConvShape& s, DType type, bool option) {
  Key key(op);
  key << s.n << s.c << s.h << s.w << s.o << s.kh << s.kw << s.oh << s.ow << s.sh << s.sw << s.ph << s.pw << s.dh << s.dw << s.groups << int(type) << option;
  return key;
}

dnnl::memory::data_type f32() { return dnnl::memory::data_type::f32; }

/** Shapes as oneDNN wants them. */
struct Geometry {
  dims x, y, w, stride, dilation, padding;
  bool grouped;

  explicit Geometry(const ConvShape& s)
      : x{s.n, s.c, s.h, s.w}, y{s.n, s.o, s.oh, s.ow}, stride{s.sh, s.sw}, dilation{s.dh - 1, s.dw - 1}, padding{s.ph, s.pw}, grouped(s.groups > 1) {
    w = grouped ? dims{s.groups, s.o / s.groups, s.c / s.groups, s.kh, s.kw} : dims{s.o, s.c, s.kh, s.kw};
  }
  desc input(DType t) const { return desc(x, typeOf(t), tag::nhwc); }
  desc output(DType t) const { return desc(y, typeOf(t), tag::nhwc); }
  desc weights(dnnl::memory::data_type t) const { return desc(w, t, tag::any); }
  desc master(dnnl::memory::data_type t) const { return desc(w, t, grouped ? tag::goihw : tag::oihw); }
};

using forward_t = dnnl::convolution_forward;
using data_t = dnnl::convolution_backward_data;
using weights_t = dnnl::convolution_backward_weights;
constexpr auto kDirect = dnnl::algorithm::convolution_direct;
constexpr auto kTraining = dnnl::prop_kind::forward_training;

forward_t::primitive_desc forwardOf(const Geometry& g, const ConvShape& s, DType t, bool bias) {
  const desc x = g.input(t), w = g.weights(typeOf(t)), b({s.o}, f32(), tag::x), y = g.output(t);
  const dnnl::primitive_attr attr = userScratchpad();
#if DNNL_VERSION_MAJOR >= 3
  if (bias) return {engine(), kTraining, kDirect, x, w, b, y, g.stride, g.dilation, g.padding, g.padding, attr};
  return {engine(), kTraining, kDirect, x, w, y, g.stride, g.dilation, g.padding, g.padding, attr};
#else
  if (bias) return {{kTraining, kDirect, x, w, b, y, g.stride, g.dilation, g.padding, g.padding}, attr, engine()};
  return {{kTraining, kDirect, x, w, y, g.stride, g.dilation, g.padding, g.padding}, attr, engine()};
#endif
}

/** A reorder, adding to what stands there where asked. */
std::unique_ptr<Primitive> reorderOf(const desc& from, const desc& to, bool add) {
  dnnl::primitive_attr attr = userScratchpad();
  if (add) {
    dnnl::post_ops post;
    post.append_sum(1.f);
    attr.set_post_ops(post);
  }
  const dnnl::reorder::primitive_desc pd(engine(), from, engine(), to, attr);
  return std::make_unique<Primitive>(dnnl::reorder(pd), std::vector<Primitive::Argument>{{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}}, pd.scratchpad_desc());
}

Convolution makeForward(const ConvShape& s, DType t, bool bias) {
  const Geometry g(s);
  const auto pd = forwardOf(g, s, t, bias);
  std::vector<Primitive::Argument> arguments{{DNNL_ARG_SRC, g.input(t)}, {DNNL_ARG_WEIGHTS, pd.weights_desc()}, {DNNL_ARG_DST, g.output(t)}};
  if (bias) arguments.push_back({DNNL_ARG_BIAS, pd.bias_desc()});
  Convolution made{std::make_unique<Primitive>(forward_t(pd), arguments, pd.scratchpad_desc()), nullptr, pd.weights_desc().get_size()};
  if (pd.weights_desc() != g.master(typeOf(t))) made.reorder = reorderOf(g.master(typeOf(t)), pd.weights_desc(), false);
  return made;
}

Convolution makeGradInput(const ConvShape& s, DType t, bool) {
  const Geometry g(s);
  const auto hint = forwardOf(g, s, t, false);
  const desc x = g.input(t), w = g.weights(typeOf(t)), y = g.output(t);
#if DNNL_VERSION_MAJOR >= 3
  const data_t::primitive_desc pd(engine(), kDirect, x, w, y, g.stride, g.dilation, g.padding, g.padding, hint, userScratchpad());
#else
  const data_t::primitive_desc pd({kDirect, x, w, y, g.stride, g.dilation, g.padding, g.padding}, userScratchpad(), engine(), hint);
#endif
  Convolution made{std::make_unique<Primitive>(data_t(pd), std::vector<Primitive::Argument>{{DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_WEIGHTS, pd.weights_desc()}, {DNNL_ARG_DIFF_SRC, x}},
                                               pd.scratchpad_desc()),
                   nullptr, pd.weights_desc().get_size()};
  if (pd.weights_desc() != g.master(typeOf(t))) made.reorder = reorderOf(g.master(typeOf(t)), pd.weights_desc(), false);
  return made;
}

/** Without the bias gradient: measured at 1.1 to 1.5 times the whole primitive's time, where a pass of columnSum costs 0.05. */
Convolution makeGradWeight(const ConvShape& s, DType t, bool add) {
  const Geometry g(s);
  const auto hint = forwardOf(g, s, t, false);
  const desc x = g.input(t), w = g.weights(f32()), y = g.output(t);
#if DNNL_VERSION_MAJOR >= 3
  const weights_t::primitive_desc pd(engine(), kDirect, x, w, y, g.stride, g.dilation, g.padding, g.padding, hint, userScratchpad());
#else
  const weights_t::primitive_desc pd({kDirect, x, w, y, g.stride, g.dilation, g.padding, g.padding}, userScratchpad(), engine(), hint);
#endif
  const desc own = pd.diff_weights_desc();
  Convolution made{std::make_unique<Primitive>(weights_t(pd), std::vector<Primitive::Argument>{{DNNL_ARG_DIFF_DST, y}, {DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_WEIGHTS, own}}, pd.scratchpad_desc()),
                   nullptr, own.get_size()};
  if (add || own != g.master(f32())) made.reorder = reorderOf(own, g.master(f32()), add);
  return made;
}

// Scratch: 1 to 3 widened operands, 4 weights in the primitive's order; cpu/conv_direct.cc uses 4 to 6.
constexpr int kWeights = 4;

/** The weights as the primitive wants them. */
void* ordered(Convolution& p, const View& w) {
  if (!p.reorder) return w.data;
  void* to = scratch(kWeights, p.weightBytes);
  p.reorder->run({w.data, to});
  return to;
}

/** Where the tiles of cpu/conv_direct.cc are well filled. Elsewhere (1 x 1 kernels, few channels) oneDNN measured as fast or faster. */
bool suitsDirect(const ConvShape& s, int64_t in, int64_t out) {
  const int64_t area = s.kh * s.kw, lanes = (out + 15) / 16 * 16;
  return s.groups == 1 && area > 1 && in >= 4 && in * area >= 128 && out * 20 >= lanes * 17;
}

/** A kernel of cpu/conv_direct.cc on operands of f32. */
void runDirect(Kernel kernel, const Call& c, const View& a, const View& b, const View& out) {
  const View in[] = {a, b, c.nIn > 2 ? c.in[2] : View{nullptr, 0, DType::f32}};
  Call call = c;
  call.in = in;
  call.out = &out;
  kernel(call);
}

/** in: x, w, bias?; out: y; flag: relu. */
void forward(const Call& c) {
  const ConvShape s(c);
  if (c.in[0].dtype == DType::f64 || s.empty()) return convKernels.plainForward(c);
  require(c.in[0].n == s.inputs() && c.in[1].n == s.weights() && c.out[0].n == s.outputs() && c.in[0].dtype == c.in[1].dtype, "conv2d: sizes");
  require(c.out[0].dtype == c.in[0].dtype && (!c.has(2) || (c.in[2].n == s.o && c.in[2].dtype == DType::f32)), "conv2d: dtypes");
  const View x = widened(c.in[0], 1), w = widened(c.in[1], 2), y = widenedOutput(c.out[0], 3);
  if (convKernels.directForward && x.dtype == DType::f32 && suitsDirect(s, s.c, s.o)) {
    runDirect(convKernels.directForward, c, x, w, y);
  } else {
    Convolution& p = cachedConvolution(keyOf("conv2d", s, x.dtype, c.has(2)), makeForward, s, x.dtype, c.has(2));
    void* weights = ordered(p, w);
    if (c.has(2)) p.main->run({x.data, weights, y.data, c.in[2].data});
    else p.main->run({x.data, weights, y.data});
    // Not oneDNN's own relu: that one makes zeros of NaNs.
    if (s.flag) runNow(relu, {y}, {y}, {0, 0});
  }
  narrow(y, c.out[0]);
}

/** in: gradient of y, w; out: dx. */
void gradInput(const Call& c) {
  const ConvShape s(c);
  if (c.in[0].dtype == DType::f64 || s.empty()) return convKernels.plainGradInput(c);
  require(c.in[0].n == s.outputs() && c.in[1].n == s.weights() && c.out[0].n == s.inputs() && c.in[0].dtype == c.in[1].dtype, "conv2d.gradInput: sizes");
  require(c.out[0].dtype == c.in[0].dtype, "conv2d.gradInput: dtypes");
  const View g = widened(c.in[0], 1), w = widened(c.in[1], 2), dx = widenedOutput(c.out[0], 3);
  const ConvShape t = s.turned();
  const bool turns = s.sh == 1 && s.sw == 1 && t.ph >= 0 && t.pw >= 0;
  if (convKernels.directGradInput && g.dtype == DType::f32 && turns && suitsDirect(s, s.o, s.c)) {
    runDirect(convKernels.directGradInput, c, g, w, dx);
  } else {
    Convolution& p = cachedConvolution(keyOf("conv2d.gradInput", s, g.dtype, false), makeGradInput, s, g.dtype, false);
    p.main->run({g.data, ordered(p, w), dx.data});
  }
  narrow(dx, c.out[0]);
}

/** Does some place of the kernel meet padding alone, along one direction? */
bool meetsPaddingAlone(int64_t size, int64_t outs, int64_t k, int64_t stride, int64_t dilation, int64_t padding) {
  for (int64_t i = 0; i < k; ++i) {
    bool meets = false;
    for (int64_t p = 0; p < outs && !meets; ++p) {
      const int64_t at = p * stride + i * dilation - padding;
      meets = at >= 0 && at < size;
    }
    if (!meets) return true;
  }
  return false;
}

/**
 * Where oneDNN 2.6's gradients of weights are wrong: on AVX2, 1 x 1 kernels that step over pixels, with few channels (3 and 4 were seen); in bf16,
 * weights that meet padding alone, whose gradient is what lay in its scratchpad. The plain loops skip padding, so both are cheap there.
 */
bool needsPlainGradWeight(const ConvShape& s, DType t) {
  if (s.kh * s.kw == 1 && s.sh * s.sw > 1 && s.c / s.groups % 8 != 0) return true;
  return t == DType::bf16 && (meetsPaddingAlone(s.h, s.oh, s.kh, s.sh, s.dh, s.ph) || meetsPaddingAlone(s.w, s.ow, s.kw, s.sw, s.dw, s.pw));
}

/** in: gradient of y, x; out: dw, f32; flag: add to it. */
void gradWeight(const Call& c) {
  const ConvShape s(c);
  if (c.in[0].dtype == DType::f64 || s.empty() || needsPlainGradWeight(s, c.in[0].dtype)) return convKernels.plainGradWeight(c);
  require(c.in[0].n == s.outputs() && c.in[1].n == s.inputs() && c.out[0].n == s.weights() && c.in[0].dtype == c.in[1].dtype, "conv2d.gradWeight: sizes");
  require(c.out[0].dtype == DType::f32, "conv2d.gradWeight: the result is f32");
  const View g = widened(c.in[0], 1), x = widened(c.in[1], 2);
  if (convKernels.directGradWeight && g.dtype == DType::f32 && suitsDirect(s, s.c, s.o))
    return runDirect(convKernels.directGradWeight, c, g, x, c.out[0]);
  Convolution& p = cachedConvolution(keyOf("conv2d.gradWeight", s, g.dtype, s.flag), makeGradWeight, s, g.dtype, s.flag);
  if (!p.reorder) return p.main->run({g.data, x.data, c.out[0].data});
  void* own = scratch(kWeights, p.weightBytes);
  p.main->run({g.data, x.data, own});
  p.reorder->run({own, c.out[0].data});
}

}  // namespace

void registerConv(OpTable& t) {
  for (const Op& row : t.rows())
    if (!std::strcmp(row.name, "relu")) relu = row.on(DeviceKind::cpu);
  t.cpu("conv2d", forward);
  t.cpu("conv2d.gradInput", gradInput);
  t.cpu("conv2d.gradWeight", gradWeight);
}

}  // namespace anneal::cpu
