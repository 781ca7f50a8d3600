import { checkOptions, ShapeError } from '../../native/errors.ts';
import { sameShape, show } from '../../tensor/shape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { add, div, minimum, mul, pow, sub } from '../binary.ts';
import { cast, checkDevice, checkNumber, checkTensor } from '../define.ts';
import type { Loss } from '../loss.ts';
import { max, sum } from '../reduce.ts';
import { where } from '../select.ts';
import { abs, relu, sqrt, square } from '../unary.ts';
import { checkSame, floats, ofElements } from './shared.ts';

/** The length of each row of x [..., D] by the p-norm. Of a row of zeros the gradient is 0. */
function norm(x: Tensor, p: number): Tensor {
  if (p === Infinity) return max(abs(x), { axis: -1 });
  if (p === 1) return sum(abs(x), { axis: -1 });
  const total = sum(p === 2 ? square(x) : pow(abs(x), p), { axis: -1 });
  const zero = total.eq(0);
  const safe = where(zero, 1, total);
  return where(zero, 0, p === 2 ? sqrt(safe) : pow(safe, 1 / p));
}

export interface TripletOptions {
  /** How much nearer the positive should be. Default 1. */
  margin?: number;
  /** Of the norm; above 0, or Infinity. Default 2. */
  p?: number;
  /** Added to each difference. Default 1e-6. */
  eps?: number;
  /** Take the distance from positive to negative where it is the smaller one (Balntas et al. 2016). Default false. */
  swap?: boolean;
}

/**
 * max(0, d(anchor, positive) - d(anchor, negative) + margin) for rows [..., D] with d the p-norm of the difference plus eps (PyTorch's
 * TripletMarginLoss). Count: rows.
 */
export function tripletMargin(anchor: Tensor, positive: Tensor, negative: Tensor, options: TripletOptions = {}): Loss {
  const op = 'tripletMargin';
  const [a, b, c] = floats(op, { anchor, positive, negative }) as [Tensor, Tensor, Tensor];
  checkOptions(op, options, ['margin', 'p', 'eps', 'swap']);
  checkSame(op, a, b, ['anchor', 'positive']);
  checkSame(op, a, c, ['anchor', 'negative']);
  if (a.ndim === 0) throw new ShapeError(`${op}: anchor must be [..., D], got a scalar`);
  const margin = checkNumber(op, options.margin ?? 1, 'margin', -Number.MAX_VALUE, Number.MAX_VALUE);
  const p = checkNumber(op, options.p ?? 2, 'p', Number.MIN_VALUE);
  const eps = checkNumber(op, options.eps ?? 1e-6, 'eps', 0, Number.MAX_VALUE);
  const distance = (x: Tensor, y: Tensor) => norm(add(sub(x, y), eps), p);
  const near = distance(a, b);
  const far = options.swap ? minimum(distance(a, c), distance(b, c)) : distance(a, c);
  return ofElements(relu(add(sub(near, far), margin)));
}

/**
 * Pairs of rows [..., D]: d^2 / 2 where the label is 1 (alike), max(0, margin - d)^2 / 2 where it is 0, d their distance (Hadsell et al. 2006, whose
 * labels are the other way round). The label is of any dtype, [...]. Count: pairs.
 */
export function contrastive(a: Tensor, b: Tensor, label: Tensor, options: { margin?: number } = {}): Loss {
  const op = 'contrastive';
  const [x, y] = floats(op, { a, b }) as [Tensor, Tensor];
  checkOptions(op, options, ['margin']);
  checkSame(op, x, y, ['a', 'b']);
  const alike = labels(op, x, label);
  const margin = checkNumber(op, options.margin ?? 1, 'margin', 0, Number.MAX_VALUE);
  const difference = sub(x, y);
  const near = sum(square(difference), { axis: -1 });
  const far = square(relu(sub(margin, norm(difference, 2))));
  return ofElements(mul(where(alike.gt(0), near, far), 0.5));
}

/** A label for each row of x [..., D]. */
function labels(op: string, x: Tensor, label: Tensor): Tensor {
  if (x.ndim === 0) throw new ShapeError(`${op}: rows are needed, [..., D], got a scalar`);
  if (!sameShape(checkTensor(op, label, 'the label').shape, x.shape.slice(0, -1)))
    throw new ShapeError(`${op}: a label for each row is needed, ${show(x.shape.slice(0, -1))}, got ${show(label.shape)}`);
  checkDevice(op, x, label);
  return cast(label, x.dtype);
}

/**
 * Pairs of rows [..., D]: 1 - cos where the target is 1, max(0, cos - margin) where it is -1 (PyTorch's CosineEmbeddingLoss). The target is of any
 * dtype with a sign, [...]. Count: pairs.
 */
export function cosineEmbedding(a: Tensor, b: Tensor, target: Tensor, options: { margin?: number } = {}): Loss {
  const op = 'cosineEmbedding';
  const [x, y] = floats(op, { a, b }) as [Tensor, Tensor];
  checkOptions(op, options, ['margin']);
  checkSame(op, x, y, ['a', 'b']);
  const alike = labels(op, x, target);
  const margin = checkNumber(op, options.margin ?? 0, 'margin', -1, 1);
  const over = (t: Tensor) => sum(t, { axis: -1 });
  const tiny = 1e-12; // PyTorch's
  const lengths = sqrt(mul(add(over(square(x)), tiny), add(over(square(y)), tiny)));
  const cosine = div(over(mul(x, y)), lengths);
  return ofElements(where(alike.gt(0), sub(1, cosine), relu(sub(cosine, margin))));
}
