// One time step of a recurrent layer: operands and meaning as the CPU's (src/cpu/recurrent.cc). A thread has one unit of one row.
#include "cuda/math.cuh"

namespace anneal::gpu {
namespace {

#include "ops/recurrent.h"

/** Which unit a thread has: `i` counts units, `wide(parts)` is where the first of its parts lies in rows of parts x width. */
struct Unit {
  int64_t i, row, width;
  ANNEAL_FN Unit(int64_t i, int64_t width) : i(i), row(i / width), width(width) {}
  ANNEAL_FN int64_t wide(int parts) const { return row * (parts - 1) * width + i; }
  ANNEAL_FN bool over(const int32_t* lengths, int64_t at) const { return lengths && at >= lengths[row]; }
};

template <class T> ANNEAL_FN float at(const T* p, int64_t i) { return p ? widen(p[i]) : 0.f; }

template <class T>
ANNEAL_FN void lstmStep(const T* in, const float* cell, const T* before, const int32_t* lengths, T* h, float* next, T* gates, int64_t n, int64_t width,
                        int64_t step) {
  const int64_t i = globalThread();
  if (i >= n) return;
  const Unit p(i, width);
  const int64_t g = p.wide(4);
  const auto u = LstmUnit<float>::of(widen(in[g]), widen(in[g + width]), widen(in[g + 2 * width]), widen(in[g + 3 * width]));
  const float old = cell[i], after = u.cell(old);
  const bool over = p.over(lengths, step);
  next[i] = over ? old : after;
  h[i] = over ? before[i] : narrow<T>(u.hidden(after));
  gates[g] = narrow<T>(u.i), gates[g + width] = narrow<T>(u.f), gates[g + 2 * width] = narrow<T>(u.g), gates[g + 3 * width] = narrow<T>(u.o);
}

template <class T>
ANNEAL_FN void lstmStepGrad(const T* gates, const float* before, const float* cell, const T* dhs, const T* dys, const float* dcs, const int32_t* lengths,
                            T* to, float* dcBefore, T* pass, int64_t n, int64_t width, int64_t step) {
  const int64_t i = globalThread();
  if (i >= n) return;
  const Unit p(i, width);
  const int64_t g = p.wide(4);
  const bool over = p.over(lengths, step);
  const float dh = at(dhs, i), through = at(dcs, i);
  float dc = through;
  const LstmUnit<float> u{widen(gates[g]), widen(gates[g + width]), widen(gates[g + 2 * width]), widen(gates[g + 3 * width])};
  const auto d = u.grad(before[i], cell[i], dh + at(dys, i), dc);
  to[g] = narrow<T>(over ? 0.f : d.i), to[g + width] = narrow<T>(over ? 0.f : d.f);
  to[g + 2 * width] = narrow<T>(over ? 0.f : d.g), to[g + 3 * width] = narrow<T>(over ? 0.f : d.o);
  dcBefore[i] = over ? through : dc;
  if (pass) pass[i] = narrow<T>(over ? dh : 0.f);
}

template <class T>
ANNEAL_FN void gruStep(const T* x, const T* hidden, const T* before, const int32_t* lengths, T* h, T* kept, int64_t n, int64_t width, int64_t step) {
  const int64_t i = globalThread();
  if (i >= n) return;
  const Unit p(i, width);
  const int64_t g = p.wide(3), k = p.wide(4);
  const auto u = GruUnit<float>::of(widen(x[g]), widen(x[g + width]), widen(x[g + 2 * width]), widen(hidden[g]), widen(hidden[g + width]),
                                    widen(hidden[g + 2 * width]));
  h[i] = p.over(lengths, step) ? before[i] : narrow<T>(u.hidden(widen(before[i])));
  kept[k] = narrow<T>(u.r), kept[k + width] = narrow<T>(u.z), kept[k + 2 * width] = narrow<T>(u.n), kept[k + 3 * width] = narrow<T>(u.hn);
}

template <class T>
ANNEAL_FN void gruStepGrad(const T* kept, const T* before, const T* dhs, const T* dys, const int32_t* lengths, T* dx, T* dg, T* dBefore, int64_t n,
                           int64_t width, int64_t step) {
  const int64_t i = globalThread();
  if (i >= n) return;
  const Unit p(i, width);
  const int64_t g = p.wide(3), k = p.wide(4);
  const bool over = p.over(lengths, step);
  const float own = at(dhs, i), dh = own + at(dys, i);
  const GruUnit<float> u{widen(kept[k]), widen(kept[k + width]), widen(kept[k + 2 * width]), widen(kept[k + 3 * width])};
  const auto d = u.grad(widen(before[i]), dh);
  dx[g] = dg[g] = narrow<T>(over ? 0.f : d.r);
  dx[g + width] = dg[g + width] = narrow<T>(over ? 0.f : d.z);
  dx[g + 2 * width] = narrow<T>(over ? 0.f : d.n);
  dg[g + 2 * width] = narrow<T>(over ? 0.f : d.hn);
  dBefore[i] = narrow<T>(over ? own : dh * u.z);
}

template <class T>
ANNEAL_FN void rnnStep(const T* in, const T* before, const int32_t* lengths, T* h, int64_t n, int64_t width, int64_t step, int32_t relu) {
  const int64_t i = globalThread();
  if (i >= n) return;
  h[i] = Unit(i, width).over(lengths, step) ? before[i] : narrow<T>(RnnUnit<float>::hidden(widen(in[i]), relu));
}

template <class T>
ANNEAL_FN void rnnStepGrad(const T* h, const T* dhs, const T* dys, const int32_t* lengths, T* to, T* pass, int64_t n, int64_t width, int64_t step,
                           int32_t relu) {
  const int64_t i = globalThread();
  if (i >= n) return;
  const bool over = Unit(i, width).over(lengths, step);
  const float dh = at(dhs, i);
  to[i] = narrow<T>(over ? 0.f : RnnUnit<float>::grad(widen(h[i]), dh + at(dys, i), relu));
  if (pass) pass[i] = narrow<T>(over ? dh : 0.f);
}

}  // namespace

#define ANNEAL_KERNEL extern "C" __global__ void __launch_bounds__(kThreads)

#define ANNEAL_RECURRENT(suffix, T)                                                                                                               \
  ANNEAL_KERNEL lstmStep_##suffix(const T* in, const float* cell, const T* before, const int32_t* lengths, T* h, float* next, T* gates, int64_t n, \
                                  int64_t width, int64_t step) {                                                                                 \
    lstmStep(in, cell, before, lengths, h, next, gates, n, width, step);                                                                         \
  }                                                                                                                                              \
  ANNEAL_KERNEL lstmStep_grad_##suffix(const T* gates, const float* before, const float* cell, const T* dh, const T* dy, const float* dc,         \
                                       const int32_t* lengths, T* to, float* dcBefore, T* pass, int64_t n, int64_t width, int64_t step) {        \
    lstmStepGrad(gates, before, cell, dh, dy, dc, lengths, to, dcBefore, pass, n, width, step);                                                  \
  }                                                                                                                                              \
  ANNEAL_KERNEL gruStep_##suffix(const T* x, const T* hidden, const T* before, const int32_t* lengths, T* h, T* kept, int64_t n, int64_t width,   \
                                 int64_t step) {                                                                                                 \
    gruStep(x, hidden, before, lengths, h, kept, n, width, step);                                                                                \
  }                                                                                                                                              \
  ANNEAL_KERNEL gruStep_grad_##suffix(const T* kept, const T* before, const T* dh, const T* dy, const int32_t* lengths, T* dx, T* dg, T* dBefore, \
                                      int64_t n, int64_t width, int64_t step) {                                                                  \
    gruStepGrad(kept, before, dh, dy, lengths, dx, dg, dBefore, n, width, step);                                                                 \
  }                                                                                                                                              \
  ANNEAL_KERNEL rnnStep_##suffix(const T* in, const T* before, const int32_t* lengths, T* h, int64_t n, int64_t width, int64_t step,              \
                                 int32_t relu) {                                                                                                 \
    rnnStep(in, before, lengths, h, n, width, step, relu);                                                                                       \
  }                                                                                                                                              \
  ANNEAL_KERNEL rnnStep_grad_##suffix(const T* h, const T* dh, const T* dy, const int32_t* lengths, T* to, T* pass, int64_t n, int64_t width,     \
                                      int64_t step, int32_t relu) {                                                                              \
    rnnStepGrad(h, dh, dy, lengths, to, pass, n, width, step, relu);                                                                             \
  }
ANNEAL_RECURRENT(f32, float) ANNEAL_RECURRENT(f16, f16) ANNEAL_RECURRENT(bf16, bf16)

}  // namespace anneal::gpu
