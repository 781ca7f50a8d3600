import { checkOptions } from '../native/errors.ts';
import { checkAxes } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { eq, pow } from './binary.ts';
import { attach, cast, checkFloat, checkNumber } from './define.ts';
import { max, min, type ReduceOptions, sum } from './reduce.ts';
import { where } from './select.ts';
import { abs, sqrt, square } from './unary.ts';

export interface NormOptions extends ReduceOptions {
  /** The order: 2 (default) is the Euclidean length; 1, any other number, Infinity (the largest magnitude), -Infinity, 0 (how many are not 0). */
  p?: number;
}

/** f(s), with a gradient of 0 instead of infinity where s is 0. */
const rootOf = (s: Tensor, f: (s: Tensor) => Tensor): Tensor => {
  const zero = eq(s, 0);
  return where(zero, 0, f(where(zero, 1, s)));
};

/**
 * (sum |x|^p)^(1/p) over `axis` (default: all): the norm of vectors. Computed in f32 for 16-bit tensors. The gradient at 0 is 0, as PyTorch's.
 */
export function norm(x: Tensor, options: NormOptions = {}): Tensor {
  checkFloat('norm', x);
  checkOptions('norm', options, ['p', 'axis', 'keepDims']);
  const { p = 2, axis, keepDims } = options;
  checkNumber('norm', p, 'p');
  checkAxes('norm', axis, x.ndim);
  const over = { axis, keepDims };
  const v = x.dtype === 'f64' ? x : cast(x, 'f32');
  return cast(powerSum(v, p, over), x.dtype);
}
function powerSum(v: Tensor, p: number, over: ReduceOptions): Tensor {
  if (p === Infinity) return max(abs(v), over);
  if (p === -Infinity) return min(abs(v), over);
  if (p === 0) return sum(cast(v.ne(0), v.dtype), over);
  if (p === 1) return sum(abs(v), over);
  if (p === 2) return rootOf(sum(square(v), over), sqrt);
  if (p < 0) return pow(sum(pow(abs(v), p), over), 1 / p);
  return rootOf(
    sum(
      rootOf(abs(v), (a) => pow(a, p)),
      over,
    ),
    (s) => pow(s, 1 / p),
  );
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** The p-norm over an axis (default: all), p 2 by default. */
    norm(options?: NormOptions): Tensor;
  }
}
attach({ norm });
