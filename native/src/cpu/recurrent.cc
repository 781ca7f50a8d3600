// One time step of a recurrent layer: what stands between two matrix products, in one pass. attr of all: rows, width, step, relu.
// `lengths` (i32, one per row, optional): a row whose sequence is over at this step keeps its state, and passes its gradient on.
#include "cpu/math.h"

ANNEAL_KERNELS_BEGIN
namespace {

#include "ops/recurrent.h"

constexpr DType sums(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }
constexpr int64_t kCost = 64;  // of a unit, in element operations

struct Step {
  int64_t rows, width, at;
  bool relu;
  const int32_t* lengths;

  Step(const Call& c, int lengthsAt) : rows(c.integer(0)), width(c.integer(1)), at(c.integer(2)), relu(c.flag(3)), lengths(nullptr) {
    require(c.nAttr == 4 && rows >= 0 && width >= 0, "recurrent: attributes");
    if (!c.has(lengthsAt)) return;
    require(c.in[lengthsAt].n == rows && c.in[lengthsAt].dtype == DType::i32, "recurrent: lengths");
    lengths = c.in[lengthsAt].as<int32_t>();
  }
  bool over(int64_t row) const { return lengths && at >= lengths[row]; }
  /** An operand of `parts` times the width in each row; absent ones are allowed where `optional`. */
  void check(const View& v, bool present, int64_t parts, DType t, bool optional = false) const {
    require(present ? v.n == rows * width * parts && v.dtype == t : optional, "recurrent: sizes");
  }
  template <class Row>
  void each(Row row) const { parallelRows(rows, width * kCost, row); }
};

template <class T>
const T* row(const Call& c, int i, int64_t r, int64_t width) { return c.has(i) ? c.in[i].as<T>() + r * width : nullptr; }

/** in: gates before their functions [rows, 4 width] (i, f, g, o), c before, h before, lengths?; out: h, c, active gates (may be in[0]). */
void lstmStep(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 3);
  s.check(c.in[0], true, 4, t), s.check(c.in[1], c.has(1), 1, sums(t)), s.check(c.in[2], c.has(2), 1, t);
  s.check(c.out[0], true, 1, t), s.check(c.out[1], true, 1, sums(t)), s.check(c.out[2], true, 4, t);
  dispatchFloat(t, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const int64_t w = s.width;
    s.each([&](int64_t r) {
      const T *in = c.in[0].as<T>() + r * 4 * w, *before = c.in[2].as<T>() + r * w;
      const A* cell = c.in[1].as<A>() + r * w;
      T *h = c.out[0].as<T>() + r * w, *gates = c.out[2].as<T>() + r * 4 * w;
      A* next = c.out[1].as<A>() + r * w;
      const bool over = s.over(r);
#pragma omp simd
      for (int64_t j = 0; j < w; ++j) {
        const auto u = LstmUnit<A>::of(A(in[j]), A(in[w + j]), A(in[2 * w + j]), A(in[3 * w + j]));
        const A after = u.cell(cell[j]);
        next[j] = over ? cell[j] : after;
        h[j] = over ? before[j] : T(u.hidden(after));
        gates[j] = T(u.i), gates[w + j] = T(u.f), gates[2 * w + j] = T(u.g), gates[3 * w + j] = T(u.o);
      }
    });
  });
}

/** in: active gates, c before, c, dh?, dy?, dc?, lengths?; out: gradient of the gates, of c before, and of h before where a row is over?. */
void lstmStepGrad(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 6);
  s.check(c.in[0], true, 4, t), s.check(c.in[1], c.has(1), 1, sums(t)), s.check(c.in[2], c.has(2), 1, sums(t));
  s.check(c.in[3], c.has(3), 1, t, true), s.check(c.in[4], c.has(4), 1, t, true), s.check(c.in[5], c.has(5), 1, sums(t), true);
  s.check(c.out[0], true, 4, t), s.check(c.out[1], true, 1, sums(t)), s.check(c.out[2], c.hasOut(2), 1, t, !s.lengths);
  dispatchFloat(t, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const int64_t w = s.width;
    s.each([&](int64_t r) {
      const T* gates = c.in[0].as<T>() + r * 4 * w;
      const A *before = c.in[1].as<A>() + r * w, *cell = c.in[2].as<A>() + r * w, *dcs = row<A>(c, 5, r, w);
      const T *dhs = row<T>(c, 3, r, w), *dys = row<T>(c, 4, r, w);
      T *to = c.out[0].as<T>() + r * 4 * w, *pass = c.hasOut(2) ? c.out[2].as<T>() + r * w : nullptr;
      A* dcBefore = c.out[1].as<A>() + r * w;
      const bool over = s.over(r);
      for (int64_t j = 0; j < w; ++j) {
        const A dh = dhs ? A(dhs[j]) : A(0), through = dcs ? dcs[j] : A(0);
        A dc = through;
        const LstmUnit<A> u{A(gates[j]), A(gates[w + j]), A(gates[2 * w + j]), A(gates[3 * w + j])};
        const auto d = u.grad(before[j], cell[j], dh + (dys ? A(dys[j]) : A(0)), dc);
        to[j] = T(over ? A(0) : d.i), to[w + j] = T(over ? A(0) : d.f), to[2 * w + j] = T(over ? A(0) : d.g), to[3 * w + j] = T(over ? A(0) : d.o);
        dcBefore[j] = over ? through : dc;
        if (pass) pass[j] = T(over ? dh : A(0));
      }
    });
  });
}

/** in: gates from x [rows, 3 width] (r, z, n), gates from h, h before, lengths?; out: h, what backward needs [rows, 4 width]. */
void gruStep(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 3);
  s.check(c.in[0], true, 3, t), s.check(c.in[1], c.has(1), 3, t), s.check(c.in[2], c.has(2), 1, t);
  s.check(c.out[0], true, 1, t), s.check(c.out[1], true, 4, t);
  dispatchFloat(t, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const int64_t w = s.width;
    s.each([&](int64_t r) {
      const T *x = c.in[0].as<T>() + r * 3 * w, *g = c.in[1].as<T>() + r * 3 * w, *before = c.in[2].as<T>() + r * w;
      T *h = c.out[0].as<T>() + r * w, *kept = c.out[1].as<T>() + r * 4 * w;
      const bool over = s.over(r);
#pragma omp simd
      for (int64_t j = 0; j < w; ++j) {
        const auto u = GruUnit<A>::of(A(x[j]), A(x[w + j]), A(x[2 * w + j]), A(g[j]), A(g[w + j]), A(g[2 * w + j]));
        h[j] = over ? before[j] : T(u.hidden(A(before[j])));
        kept[j] = T(u.r), kept[w + j] = T(u.z), kept[2 * w + j] = T(u.n), kept[3 * w + j] = T(u.hn);
      }
    });
  });
}

/** in: what forward kept, h before, dh?, dy?, lengths?; out: gradients of the gates from x, of those from h, and of h before by itself. */
void gruStepGrad(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 4);
  s.check(c.in[0], true, 4, t), s.check(c.in[1], c.has(1), 1, t), s.check(c.in[2], c.has(2), 1, t, true), s.check(c.in[3], c.has(3), 1, t, true);
  s.check(c.out[0], true, 3, t), s.check(c.out[1], true, 3, t), s.check(c.out[2], true, 1, t);
  dispatchFloat(t, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const int64_t w = s.width;
    s.each([&](int64_t r) {
      const T *kept = c.in[0].as<T>() + r * 4 * w, *before = c.in[1].as<T>() + r * w, *dhs = row<T>(c, 2, r, w), *dys = row<T>(c, 3, r, w);
      T *dx = c.out[0].as<T>() + r * 3 * w, *dg = c.out[1].as<T>() + r * 3 * w, *dBefore = c.out[2].as<T>() + r * w;
      const bool over = s.over(r);
      for (int64_t j = 0; j < w; ++j) {
        const A own = dhs ? A(dhs[j]) : A(0), dh = own + (dys ? A(dys[j]) : A(0));
        const GruUnit<A> u{A(kept[j]), A(kept[w + j]), A(kept[2 * w + j]), A(kept[3 * w + j])};
        const auto d = u.grad(A(before[j]), dh);
        dx[j] = dg[j] = T(over ? A(0) : d.r);
        dx[w + j] = dg[w + j] = T(over ? A(0) : d.z);
        dx[2 * w + j] = T(over ? A(0) : d.n), dg[2 * w + j] = T(over ? A(0) : d.hn);
        dBefore[j] = T(over ? own : dh * u.z);
      }
    });
  });
}

/** in: sums before the function [rows, width], h before, lengths?; out: h. */
void rnnStep(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 2);
  s.check(c.in[0], true, 1, t), s.check(c.in[1], c.has(1), 1, t), s.check(c.out[0], true, 1, t);
  dispatchFloat(t, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    s.each([&](int64_t r) {
      const T *in = c.in[0].as<T>() + r * s.width, *before = c.in[1].as<T>() + r * s.width;
      T* h = c.out[0].as<T>() + r * s.width;
      const bool over = s.over(r);
#pragma omp simd
      for (int64_t j = 0; j < s.width; ++j) h[j] = over ? before[j] : T(RnnUnit<A>::hidden(A(in[j]), s.relu));
    });
  });
}

/** in: h, dh?, dy?, lengths?; out: gradient of the sums, and of h before where a row is over?. */
void rnnStepGrad(const Call& c) {
  const DType t = c.in[0].dtype;
  const Step s(c, 3);
  s.check(c.in[0], true, 1, t), s.check(c.in[1], c.has(1), 1, t, true), s.check(c.in[2], c.has(2), 1, t, true);
  s.check(c.out[0], true, 1, t), s.check(c.out[1], c.hasOut(1), 1, t, !s.lengths);
  dispatchFloat(t, [&](auto tag) {
    using T = decltype(tag);
    using A = Acc<T>;
    const int64_t w = s.width;
    s.each([&](int64_t r) {
      const T *h = c.in[0].as<T>() + r * w, *dhs = row<T>(c, 1, r, w), *dys = row<T>(c, 2, r, w);
      T *to = c.out[0].as<T>() + r * w, *pass = c.hasOut(1) ? c.out[1].as<T>() + r * w : nullptr;
      const bool over = s.over(r);
      for (int64_t j = 0; j < w; ++j) {
        const A dh = dhs ? A(dhs[j]) : A(0);
        to[j] = T(over ? A(0) : RnnUnit<A>::grad(A(h[j]), dh + (dys ? A(dys[j]) : A(0)), s.relu));
        if (pass) pass[j] = T(over ? dh : A(0));
      }
    });
  });
}

}  // namespace

void registerRecurrent(OpTable& t) {
  t.cpu("lstmStep", lstmStep);
  t.cpu("lstmStep.grad", lstmStepGrad);
  t.cpu("gruStep", gruStep);
  t.cpu("gruStep.grad", gruStepGrad);
  t.cpu("rnnStep", rnnStep);
  t.cpu("rnnStep.grad", rnnStepGrad);
}

ANNEAL_KERNELS_END
