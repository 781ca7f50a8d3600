// GELU in f32 for vectors. Like ops/functors.h, which it completes, it is included inside the namespace, after it and cpu/math.h.
// Normal distribution: 1 - Phi(|x|) = e^(-x^2/2) u P(u), u = 1 / (1 + |x|/4): the density's exponential serves function and derivative, where erf
// needs one of its own. Errors against f64: Phi 1.2e-7; what is left of Phi far out on the left keeps its relative precision.
#pragma once

struct Normal {
  float below, density;  // Phi(x), e^(-x^2/2) / sqrt(2 pi)
  ANNEAL_ALWAYS explicit Normal(float x) {
    // 2^z as n + r: adding 1.5 * 2^23 + 127 rounds to an integer whose low bits are the exponent. Below 2^-126: 0.
    float z = x * x * -0.72134752044448170f;
    z = z < -127.f ? -127.f : z;
    const float magic = 12582912.f + 127.f, shifted = z + magic, r = z - (shifted - magic);
    float p = 0x1.41fbbcp-13f;
    p = p * r + 0x1.5f3e54p-10f;
    p = p * r + 0x1.3b2d4cp-7f;
    p = p * r + 0x1.c6aee8p-5f;
    p = p * r + 0x1.ebfbdcp-3f;
    p = p * r + 0x1.62e430p-1f;
    p = p * r + 1.f;
    const float e = p * asFloat(asBits(shifted) << 23);
    const float u = 1.f / (1.f + 0.25f * (x < 0.f ? -x : x));
    float q = 0.026295671f;  // minimax in relative error over |x| <= 13.5, 5.2e-8
    q = q * u - 0.15563747f;
    q = q * u + 0.30207828f;
    q = q * u - 0.21275054f;
    q = q * u + 0.20669836f;
    q = q * u + 0.030758269f;
    q = q * u + 0.10432199f;
    q = q * u + 0.098432772f;
    q = q * u + 0.099802658f;
    const float beyond = e * (q * u);
    below = x > 0.f ? 1.f - beyond : beyond;
    density = e * 0.39894228f;
  }
};

template <>
ANNEAL_ALWAYS float Gelu::f<float>(float x, float, float) {
  return x * Normal(x).below;
}
template <>
ANNEAL_ALWAYS float Gelu::df<float>(float g, float x, float, float) {
  const Normal n(x);
  return g * (n.below + x * n.density);
}
