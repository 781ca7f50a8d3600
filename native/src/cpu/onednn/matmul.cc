// Matrix products by oneDNN's matmul primitive; small ones, and f64, by the plain loops of cpu/matmul.cc.
#include <algorithm>
#include <cstring>

#include "cpu/matmul.h"
#include "cpu/onednn/engine.h"

namespace anneal::cpu {

Kernel directWeightGradient = nullptr;

namespace {

constexpr int64_t kPlainBelow = 40'000;  // multiply-adds; a primitive's overhead is worth about that many

Kernel plain = nullptr, relu = nullptr;

std::unique_ptr<Primitive> make(const MatmulShape& s, DType a, DType b, DType out, DType bias) {
  const bool batched = s.batch > 1;
  // A matrix is row-major; transposed means that its columns lie in memory as rows.
  const auto matrix = [&](int64_t rows, int64_t columns, bool transposed, int64_t stride, DType t) {
    const dims size = batched ? dims{stride ? s.batch : 1, rows, columns} : dims{rows, columns};
    const tag layout = batched ? (transposed ? tag::acb : tag::abc) : (transposed ? tag::ba : tag::ab);
    return desc(size, typeOf(t), layout);
  };
  const desc ad = matrix(s.m, s.k, s.transposeA, s.strideA, a), bd = matrix(s.k, s.n, s.transposeB, s.strideB, b), od = matrix(s.m, s.n, false, 1, out);
  const desc biasd = batched ? desc({1, 1, s.n}, typeOf(bias), tag::abc) : desc({1, s.n}, typeOf(bias), tag::ab);

  dnnl::primitive_attr attr = userScratchpad();
  dnnl::post_ops post;
  if (s.accumulate) post.append_sum(1.f);
  if (s.residual) post.append_binary(dnnl::algorithm::binary_add, od);
  if (s.multiplier) post.append_binary(dnnl::algorithm::binary_mul, od);
  attr.set_post_ops(post);
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::matmul::primitive_desc pd = s.bias ? dnnl::matmul::primitive_desc(engine(), ad, bd, biasd, od, attr) : dnnl::matmul::primitive_desc(engine(), ad, bd, od, attr);
#else
  const dnnl::matmul::primitive_desc pd(s.bias ? dnnl::matmul::desc(ad, bd, biasd, od) : dnnl::matmul::desc(ad, bd, od), attr, engine());
#endif
  std::vector<Primitive::Argument> arguments{{DNNL_ARG_SRC, ad}, {DNNL_ARG_WEIGHTS, bd}, {DNNL_ARG_DST, od}};
  if (s.bias) arguments.push_back({DNNL_ARG_BIAS, biasd});
  if (s.residual || s.multiplier) arguments.push_back({DNNL_ARG_ATTR_MULTIPLE_POST_OP(post.len() - 1) | DNNL_ARG_SRC_1, od});
  return std::make_unique<Primitive>(dnnl::matmul(pd), arguments, pd.scratchpad_desc());
}

/** Where cpu/matmul_direct.cc measured faster than oneDNN. */
bool suitsDirect(const MatmulShape& s) {
  const bool bare = !s.bias && !s.residual && !s.multiplier && s.activation == 0;
  return directWeightGradient && bare && s.batch == 1 && s.transposeA && !s.transposeB && s.m >= 96 && s.n >= 64 && s.k >= 256 && s.k <= 1024;
}

/** out = activation(a b + bias) (+ residual | * multiplier); accumulate: out += a b. in: a, b, bias?, residual or multiplier?. */
void matmul(const Call& c) {
  const MatmulShape s(c);
  const bool f64 = c.in[0].dtype == DType::f64;
  if (c.out[0].n == 0) return;
  if (f64 || s.batch * s.m * s.n * s.k < kPlainBelow) return plain(c);

  const bool native = isNative(c.in[0].dtype) && isNative(c.in[1].dtype);
  // A product of 16-bit operands may be written in f32; f32 operands are never written narrower in one go.
  const View a = native ? c.in[0] : widened(c.in[0], 1), b = native ? c.in[1] : widened(c.in[1], 2);
  const View out = native ? c.out[0] : widenedOutput(c.out[0], 3);
  if (s.accumulate && out.data != c.out[0].data) narrow(c.out[0], out);
  const View extra = c.nIn > 3 ? (native ? c.in[3] : widened(c.in[3], 4)) : View{nullptr, 0, DType::f32};

  if (out.dtype == DType::f32 && a.dtype == DType::f32 && b.dtype == DType::f32 && suitsDirect(s)) {
    runNow(directWeightGradient, {a, b}, {out}, {double(s.m), double(s.n), double(s.k), 1, 0, 0, 1, 0, double(s.accumulate), 0, 0});
    return narrow(out, c.out[0]);
  }

  Key key("matmul");
  key << s.m << s.n << s.k << s.batch << s.strideA << s.strideB << s.transposeA << s.transposeB << s.accumulate << s.bias << s.residual << s.multiplier
      << int(a.dtype) << int(b.dtype) << int(out.dtype);
  Primitive& p = cached(key, [&] { return make(s, a.dtype, b.dtype, out.dtype, DType::f32); });
  if (s.bias && extra.data) p.run({a.data, b.data, out.data, c.in[2].data, extra.data});
  else if (s.bias) p.run({a.data, b.data, out.data, c.in[2].data});
  else if (extra.data) p.run({a.data, b.data, out.data, extra.data});
  else p.run({a.data, b.data, out.data});
  // Not oneDNN's own relu: that one makes zeros of NaNs.
  if (s.activation == kRelu) runNow(relu, {out}, {out}, {0, 0});
  narrow(out, c.out[0]);
}

}  // namespace

void registerMatmul(OpTable& t) {
  for (const Op& row : t.rows()) {
    if (!std::strcmp(row.name, "matmul.plain")) plain = row.on(DeviceKind::cpu);
    if (!std::strcmp(row.name, "relu")) relu = row.on(DeviceKind::cpu);
  }
  t.cpu("matmul", matmul);
}

}  // namespace anneal::cpu
