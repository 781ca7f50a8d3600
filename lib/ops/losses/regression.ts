import { checkOptions, ShapeError } from '../../native/errors.ts';
import { broadcastShapes, sameShape, show } from '../../tensor/shape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { add, div, mul, sub } from '../binary.ts';
import { checkNumber } from '../define.ts';
import { huber, type Loss, l1, lossTerm } from '../loss.ts';
import { where } from '../select.ts';
import { exp, log, square } from '../unary.ts';
import { checkSame, floats, ofElements } from './shared.ts';

/** d^2 / (2 beta) up to |d| = beta (default 1), then |d| - beta / 2; beta 0 is l1. Count: elements. (Girshick 2015; PyTorch's SmoothL1Loss) */
export function smoothL1(input: Tensor, target: Tensor, options: { beta?: number } = {}): Loss {
  const op = 'smoothL1';
  const [x, t] = floats(op, { input, target }) as [Tensor, Tensor];
  checkOptions(op, options, ['beta']);
  checkSame(op, x, t, ['input', 'target']);
  const beta = checkNumber(op, options.beta ?? 1, 'beta', 0, Number.MAX_VALUE);
  if (beta === 0) return l1(x, t);
  const [term] = huber(x, t, { delta: beta }).terms;
  if (!term) throw new ShapeError(`${op}: nothing to compare`);
  return lossTerm(mul(term.sum, 1 / beta), term.count);
}

export interface PoissonOptions {
  /** Is the input the logarithm of the rate? Default true. */
  logInput?: boolean;
  /** Add Stirling's approximation of log(target!) for targets above 1. Default false. */
  full?: boolean;
  /** Added to the rate before its logarithm, with logInput false. Default 1e-8. */
  eps?: number;
}

/** e^x - t x, or with logInput false x - t log(x + eps): the negative log-likelihood of counts t at a Poisson rate. Count: elements. */
export function poissonNll(input: Tensor, target: Tensor, options: PoissonOptions = {}): Loss {
  const op = 'poissonNll';
  const [x, t] = floats(op, { input, target }) as [Tensor, Tensor];
  checkOptions(op, options, ['logInput', 'full', 'eps']);
  checkSame(op, x, t, ['input', 'target']);
  const eps = checkNumber(op, options.eps ?? 1e-8, 'eps', 0, Number.MAX_VALUE);
  let each = (options.logInput ?? true) ? sub(exp(x), mul(t, x)) : sub(x, mul(t, log(add(x, eps))));
  if (options.full) {
    const large = t.gt(1);
    const safe = where(large, t, 1);
    const stirling = add(sub(mul(safe, log(safe)), safe), mul(log(mul(safe, 2 * Math.PI)), 0.5));
    each = add(each, where(large, stirling, 0));
  }
  return ofElements(each);
}

export interface GaussianOptions {
  /** Add the constant log(2 pi) / 2. Default false. */
  full?: boolean;
  /** The least variance. Default 1e-6. */
  eps?: number;
}

/**
 * (log v + (input - target)^2 / v) / 2 with v = max(variance, eps): the negative log-likelihood under a normal distribution of that mean and
 * variance. The variance has the input's shape, or broadcasts to it; where eps takes its place its gradient is that at eps (PyTorch's rule).
 * Count: elements.
 */
export function gaussianNll(input: Tensor, target: Tensor, variance: Tensor, options: GaussianOptions = {}): Loss {
  const op = 'gaussianNll';
  const [x, t, v] = floats(op, { input, target, variance }) as [Tensor, Tensor, Tensor];
  checkOptions(op, options, ['full', 'eps']);
  checkSame(op, x, t, ['input', 'target']);
  if (v.ndim > x.ndim || !sameShape(broadcastShapes(op, v.shape, x.shape), x.shape))
    throw new ShapeError(`${op}: variance ${show(v.shape)} does not broadcast to input ${show(x.shape)}`);
  const eps = checkNumber(op, options.eps ?? 1e-6, 'eps', 0, Number.MAX_VALUE);
  // v + (max(v, eps) - v), the bracket a constant: the value is the clamped one, the gradient passes.
  const fixed = add(v, sub(v.detach().clamp({ min: eps }), v.detach()));
  const each = mul(add(log(fixed), div(square(sub(x, t)), fixed)), 0.5);
  return ofElements(options.full ? add(each, 0.5 * Math.log(2 * Math.PI)) : each);
}
