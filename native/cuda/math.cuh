// The functions that ops/functors.h is written in, for f32 on the GPU: CUDA's accurate versions (no fast-math).
#pragma once
#include "cuda/common.cuh"

namespace anneal::gpu {

ANNEAL_FN float mexp(float x) { return expf(x); }
ANNEAL_FN float mexpm1(float x) { return expm1f(x); }
ANNEAL_FN float mlog(float x) { return logf(x); }
ANNEAL_FN float mlog1p(float x) { return log1pf(x); }
ANNEAL_FN float msqrt(float x) { return sqrtf(x); }
ANNEAL_FN float msin(float x) { return sinf(x); }
ANNEAL_FN float mcos(float x) { return cosf(x); }
ANNEAL_FN float mtanh(float x) { return tanhf(x); }
ANNEAL_FN float msigmoid(float x) { return 1.f / (1.f + expf(-x)); }
ANNEAL_FN float merf(float x) { return erff(x); }
ANNEAL_FN float mfloor(float x) { return floorf(x); }
ANNEAL_FN float mceil(float x) { return ceilf(x); }
ANNEAL_FN float mround(float x) { return rintf(x); }
ANNEAL_FN float mpow(float x, float y) { return powf(x, y); }
/** Integers: by repeated squaring, as on the CPU. */
ANNEAL_FN int32_t mpow(int32_t x, int32_t y) { return static_cast<int32_t>(pow(static_cast<double>(x), static_cast<double>(y))); }
ANNEAL_FN uint8_t mpow(uint8_t x, uint8_t y) { return static_cast<uint8_t>(pow(static_cast<double>(x), static_cast<double>(y))); }

}  // namespace anneal::gpu
