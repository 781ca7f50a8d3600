// The convolution calls' attributes, read by all of their kernels.
#pragma once
#include "core/call.h"

namespace anneal {

/**
 * attr: n, c, h, w, o, kh, kw, oh, ow, stride (h, w), padding (h, w), dilation (h, w), groups, flag.
 * Activations lie in memory as [n, h, w, c], weights as [o, c / groups, kh, kw].
 */
struct ConvShape {
  int64_t n, c, h, w, o, kh, kw, oh, ow, sh, sw, ph, pw, dh, dw, groups;
  bool flag;  // forward: relu; gradWeight: add to what is there

  explicit ConvShape(const Call& k)
      : n(k.integer(0)), c(k.integer(1)), h(k.integer(2)), w(k.integer(3)), o(k.integer(4)), kh(k.integer(5)), kw(k.integer(6)),
        oh(k.integer(7)), ow(k.integer(8)), sh(k.integer(9)), sw(k.integer(10)), ph(k.integer(11)), pw(k.integer(12)),
        dh(k.integer(13)), dw(k.integer(14)), groups(k.integer(15)), flag(k.flag(16)) {
    require(k.nAttr == 17, "conv2d: attributes");
    require(groups > 0 && c % groups == 0 && o % groups == 0 && sh > 0 && sw > 0 && dh > 0 && dw > 0 && ph >= 0 && pw >= 0, "conv2d: shape");
    require(kh > 0 && kw > 0 && (oh - 1) * sh + (kh - 1) * dh < h + 2 * ph && (ow - 1) * sw + (kw - 1) * dw < w + 2 * pw, "conv2d: window");
  }
  /** The convolution that takes the gradient of y to that of x: stride 1, ends changed over, padded so that all of the kernel meets all pixels. */
  ConvShape turned() const {
    ConvShape t = *this;
    t.c = o, t.h = oh, t.w = ow;
    t.o = c, t.oh = h, t.ow = w;
    t.ph = (kh - 1) * dh - ph, t.pw = (kw - 1) * dw - pw;
    return t;
  }
  int64_t inputs() const { return n * h * w * c; }
  int64_t outputs() const { return n * oh * ow * o; }
  int64_t weights() const { return o * (c / groups) * kh * kw; }
  bool empty() const { return inputs() == 0 || outputs() == 0 || weights() == 0; }
};

}  // namespace anneal
