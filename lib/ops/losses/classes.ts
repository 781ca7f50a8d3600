import { ConfigError, checkOptions, describe, ShapeError } from '../../native/errors.ts';
import { checkAxis, show } from '../../tensor/shape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { add, div, mul, pow, sub } from '../binary.ts';
import { cast, checkNumber } from '../define.ts';
import type { Loss } from '../loss.ts';
import { sum } from '../reduce.ts';
import { gather, where } from '../select.ts';
import { logSoftmax } from '../softmax.ts';
import { abs, exp, expm1, log1p, neg, relu, sigmoid, square } from '../unary.ts';
import { reshape } from '../view.ts';
import { axisLast, type ClassOptions, checkSame, classRows, floats, ofElements, wideOf } from './shared.ts';

/** What each row's own class scores, 0 where it is ignored; and each row's weight, 0 where it is ignored. */
function picked(x: Tensor, target: Tensor, weight: Tensor | null, ignore: number): { own: Tensor; weights: Tensor } {
  const counts = target.ne(ignore);
  const safe = where(counts, target, 0);
  const rows = target.size;
  const own = where(counts, reshape(gather(x, reshape(safe, [rows, 1]), { axis: 1 }), [rows]), 0);
  const each = weight ? gather(weight, safe, { axis: 0 }) : 1;
  const weights = where(counts, each, 0);
  return { own, weights: cast(weights, wideOf(x)) };
}

/**
 * Negative log-likelihood: minus the log-probability of each row's class, from log-probabilities [..., C] and i32 targets [...]; with logSoftmax
 * before it, crossEntropy. Count: the rows that are not ignored, each by the weight of its class.
 * @throws DataError at the next await for an index that is neither a class nor `ignoreIndex`
 */
export function nll(input: Tensor, target: Tensor, options: ClassOptions = {}): Loss {
  const [x] = floats('nll', { input }) as [Tensor];
  checkOptions('nll', options, ['weight', 'ignoreIndex', 'axis']);
  const r = classRows('nll', x, target, options);
  const { own, weights } = picked(r.x, r.target, r.weight, r.ignore);
  return ofElements(neg(mul(own, weights)), sum(weights));
}

export interface FocalOptions extends ClassOptions {
  /** How strongly what is known already is played down. Default 2. */
  gamma?: number;
}

/** The options' gamma: 0 or above. */
const checkGamma = (op: string, gamma: number | undefined) => checkNumber(op, gamma ?? 2, 'gamma', 0, Number.MAX_VALUE);

/**
 * Focal loss of logits [..., C] with i32 targets [...]: -(1 - p)^gamma log p for the probability p of each row's class, times the class's weight
 * (Lin et al. 2017). Count: the rows that are not ignored (weights do not change it).
 * @throws DataError at the next await for an index that is neither a class nor `ignoreIndex`
 */
export function focal(logits: Tensor, target: Tensor, options: FocalOptions = {}): Loss {
  const [x] = floats('focal', { logits }) as [Tensor];
  checkOptions('focal', options, ['gamma', 'weight', 'ignoreIndex', 'axis']);
  const gamma = checkGamma('focal', options.gamma);
  const r = classRows('focal', x, target, options);
  const { own, weights } = picked(logSoftmax(r.x), r.target, r.weight, r.ignore);
  // 1 - p without cancelling where p is near 1.
  const easy = gamma === 0 ? null : power(neg(expm1(own)), gamma);
  const each = mul(neg(own), weights);
  const counted = cast(r.target.ne(r.ignore), wideOf(x));
  return ofElements(easy ? mul(easy, each) : each, sum(counted));
}

/** base^gamma for a base from 0 to 1. Below gamma 1 the slope at 0 is infinite, and what it multiplies is 0: kept finite. */
const power = (base: Tensor, gamma: number): Tensor => pow(gamma < 1 ? base.clamp({ min: 1e-30 }) : base, gamma);

/** log(1 + e^-|x|) + max(x, 0) - x t: binary cross-entropy of a logit, element by element. */
const binaryCrossEntropy = (x: Tensor, t: Tensor): Tensor => sub(add(relu(x), log1p(exp(neg(abs(x))))), mul(x, t));

export interface BinaryFocalOptions {
  /** The weight of positives; that of negatives is 1 - alpha. null: no weights. Default 0.25. */
  alpha?: number | null;
  /** Default 2. */
  gamma?: number;
}

/**
 * Focal loss of logits with targets from 0 to 1, element by element: alpha (1 - p)^gamma bce (Lin et al. 2017; torchvision's
 * sigmoid_focal_loss). Count: elements.
 */
export function binaryFocal(logits: Tensor, target: Tensor, options: BinaryFocalOptions = {}): Loss {
  const op = 'binaryFocal';
  const [x, t] = floats(op, { logits, target }) as [Tensor, Tensor];
  checkOptions(op, options, ['alpha', 'gamma']);
  checkSame(op, x, t, ['logits', 'target']);
  const gamma = checkGamma(op, options.gamma);
  const alpha = options.alpha === null ? null : checkNumber(op, options.alpha ?? 0.25, 'alpha', 0, 1);
  const other = sub(1, t);
  const missed = add(mul(sigmoid(x), other), mul(sigmoid(neg(x)), t));
  let each = binaryCrossEntropy(x, t);
  if (gamma > 0) each = mul(each, power(missed, gamma));
  if (alpha !== null) each = mul(each, add(mul(t, alpha), mul(other, 1 - alpha)));
  return ofElements(each);
}

export interface HingeOptions {
  /** Default 1. */
  margin?: number;
  /** The square of each term. Default false. */
  squared?: boolean;
}

/** max(0, margin - target input), or its square, for targets of 1 and -1, element by element; count: elements. */
export function hinge(input: Tensor, target: Tensor, options: HingeOptions = {}): Loss {
  const [x, t] = floats('hinge', { input, target }) as [Tensor, Tensor];
  checkOptions('hinge', options, ['margin', 'squared']);
  checkSame('hinge', x, t, ['input', 'target']);
  const margin = checkNumber('hinge', options.margin ?? 1, 'margin', -Number.MAX_VALUE, Number.MAX_VALUE);
  const each = relu(sub(margin, mul(t, x)));
  return ofElements(options.squared ? square(each) : each);
}

/** input where the target is 1, max(0, margin - input) where it is -1, for distances; count: elements. (PyTorch's HingeEmbeddingLoss) */
export function hingeEmbedding(input: Tensor, target: Tensor, options: { margin?: number } = {}): Loss {
  const op = 'hingeEmbedding';
  const [x, t] = floats(op, { input, target }) as [Tensor, Tensor];
  checkOptions(op, options, ['margin']);
  checkSame(op, x, t, ['input', 'target']);
  const margin = checkNumber(op, options.margin ?? 1, 'margin', -Number.MAX_VALUE, Number.MAX_VALUE);
  return ofElements(where(t.gt(0), x, relu(sub(margin, x))));
}

export interface DiceOptions {
  /** Added above and below, so that classes that are absent on both sides have no loss. Default 1. */
  smooth?: number;
  /** Squares below the fraction bar (Milletari et al. 2016). Default false. */
  squared?: boolean;
  /** The axis of classes, each of which is compared by itself; null: there is none. Default: the last. */
  axis?: number | null;
}

/**
 * 1 - (2 sum p t + smooth) / (sum p + sum t + smooth) for probabilities p [N, ..., C] and targets t of the same shape, over all but the sample
 * (the first axis) and the class; count: samples x classes.
 */
export function dice(input: Tensor, target: Tensor, options: DiceOptions = {}): Loss {
  const [p, t] = floats('dice', { input, target }) as [Tensor, Tensor];
  checkOptions('dice', options, ['smooth', 'squared', 'axis']);
  checkSame('dice', p, t, ['input', 'target']);
  const smooth = checkNumber('dice', options.smooth ?? 1, 'smooth', 0, Number.MAX_VALUE);
  if (p.ndim < 2) throw new ShapeError(`dice: input must be [N, ..., C], got ${show(p.shape)}`);
  const axis = options.axis === null ? null : checkAxis('dice', options.axis ?? -1, p.ndim);
  if (axis === 0) throw new ConfigError(`dice: axis ${describe(options.axis)} is that of the samples`);
  const samples = p.shape[0] as number;
  const classes = axis === null ? 1 : (p.shape[axis] as number);
  const rows = (x: Tensor) =>
    reshape(axis === null ? x : axisLast(x, axis), [samples, x.size / Math.max(1, samples * classes), classes]);
  const [a, b] = [rows(p), rows(t)];
  const over = (x: Tensor) => sum(x, { axis: 1 });
  const size = (x: Tensor) => over(options.squared ? square(x) : x);
  const overlap = add(mul(over(mul(a, b)), 2), smooth);
  return ofElements(sub(1, div(overlap, add(add(size(a), size(b)), smooth))));
}
