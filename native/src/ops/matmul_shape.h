// The matmul call's attributes, read by all of its kernels.
#pragma once
#include "core/call.h"

namespace anneal {

constexpr int64_t kRelu = 1;

/** attr: m, n, k, batch, strideA, strideB (elements from one batch to the next; 0 repeats the matrix), transposeA, transposeB, accumulate, activation, multiply. */
struct MatmulShape {
  int64_t m, n, k, batch, strideA, strideB;
  bool transposeA, transposeB, accumulate;
  int64_t activation;
  bool bias, residual, multiplier;

  explicit MatmulShape(const Call& c)
      : m(c.integer(0)), n(c.integer(1)), k(c.integer(2)), batch(c.integer(3)), strideA(c.integer(4)), strideB(c.integer(5)),
        transposeA(c.flag(6)), transposeB(c.flag(7)), accumulate(c.flag(8)), activation(c.integer(9)), bias(c.has(2)),
        residual(c.has(3) && !c.flag(10)), multiplier(c.has(3) && c.flag(10)) {
    require(c.in[0].n >= (strideA ? batch : 1) * m * k && c.in[1].n >= (strideB ? batch : 1) * k * n && c.out[0].n >= batch * m * n, "matmul: sizes");
    require(!bias || c.in[2].n == n, "matmul: bias");
    require(!c.has(3) || c.in[3].n == c.out[0].n, "matmul: residual");
  }
};

}  // namespace anneal
