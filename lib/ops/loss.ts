import { ConfigError, checkOptions, DTypeError, describe, ShapeError } from '../native/errors.ts';
import { type DType, isFloat, promote } from '../tensor/dtype.ts';
import { checkAxis, type Shape, sameShape, show } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import {
  cast,
  checkDevice,
  checkFloat,
  checkNumber,
  checkTensor,
  dense,
  type NativeOp,
  nativeOp,
  record,
  run,
  unwritten,
} from './define.ts';
import { broadcastTo, permute } from './index.ts';

/** The dtype in which losses of `dtype` are summed. */
const wideOf = (dtype: DType): DType => (dtype === 'f64' ? 'f64' : 'f32');

// ---- sums and counts --------------------------------------------------------------------------------------------------------

/** A sum (scalar, f32 or f64) and the count that divides it: a number, or a scalar tensor where only the device knows it. */
export interface LossTerm {
  readonly sum: Tensor;
  readonly count: number | Tensor;
  readonly weight: number;
}

const meanOp = nativeOp('loss.mean');
const meanGradOp = nativeOp('loss.mean.grad');
const MOST_TERMS = 4;

function meanOf(terms: readonly LossTerm[]): Tensor {
  const dtype = terms.some((t) => t.sum.dtype === 'f64') ? 'f64' : 'f32';
  const sums = terms.map((t) => cast(t.sum, dtype));
  const counts = terms.map((t) => (t.count instanceof Tensor ? t.count : null));
  const numbers = terms.map((t) => (t.count instanceof Tensor ? 0 : t.count));
  const attrs = [terms.length, ...terms.map((t) => t.weight), ...numbers];
  const out = unwritten([], dtype, (sums[0] as Tensor).device);
  run(
    meanOp,
    sums.flatMap((s, i) => [s, counts[i] as Tensor | null]),
    [out],
    attrs,
  );
  const present = counts.filter((c) => c !== null);
  const known = counts.map((c) => c === null);
  // d(w sum / count)/d sum = w / count
  record('loss.mean', sums, [out], present, ([g], saved, back) => {
    let next = 0;
    const inputs = known.map((k) => (k ? null : (saved[next++] as Tensor)));
    const grads = known.map((_, i) => (back.needs(i) ? unwritten([], dtype, (g as Tensor).device) : null));
    run(meanGradOp, [g as Tensor, ...inputs], grads, attrs);
    return grads;
  });
  return out;
}

/**
 * What a loss function returns: terms of sums and counts, so that a training step can divide by the true count of a whole window of
 * micro-batches and ranks. `mean()` gives the scalar of this batch alone.
 */
export class Loss {
  readonly terms: readonly LossTerm[];
  constructor(terms: readonly LossTerm[]) {
    if (!Array.isArray(terms) || !terms.every((t: Partial<LossTerm> | null | undefined) => t?.sum instanceof Tensor))
      throw new ConfigError(
        `Loss: a loss is made by a function of losses, or by lossTerm(sum, count), not of ${describe(terms)}`,
      );
    this.terms = terms;
  }
  /** The loss weighted by a number. */
  times(weight: number): Loss {
    checkNumber('Loss.times', weight, 'weight');
    return new Loss(this.terms.map((t) => ({ ...t, weight: t.weight * weight })));
  }
  /** Both losses: each keeps the count of its own. */
  plus(other: Loss): Loss {
    if (!(other instanceof Loss))
      throw new ConfigError('Loss.plus: the other operand must be a Loss. Make one of a scalar: lossTerm(sum, count).');
    return new Loss([...this.terms, ...other.terms]);
  }
  /** The sum over terms of weight * sum / count: a scalar with gradient. Nothing over nothing (every target ignored, no rows) gives 0. */
  mean(): Tensor {
    if (this.terms.length === 0) throw new ConfigError('Loss.mean: the loss has no terms');
    let total: Tensor | undefined;
    for (let i = 0; i < this.terms.length; i += MOST_TERMS) {
      const part = meanOf(this.terms.slice(i, i + MOST_TERMS));
      total = total ? total.add(part) : part;
    }
    return total as Tensor;
  }
  /** The sum over terms of weight * sum, undivided: a scalar with gradient. */
  sum(): Tensor {
    return new Loss(this.terms.map((t) => ({ ...t, count: 1 }))).mean();
  }
}

/** A loss of one's own: a scalar float tensor, and the count that divides it. */
export function lossTerm(sum: Tensor, count: number | Tensor): Loss {
  checkFloat('lossTerm', sum, 'sum');
  if (sum.ndim !== 0) throw new ShapeError(`lossTerm: sum must be a scalar, got ${show(sum.shape)}. Reduce it: x.sum().`);
  if (!(count instanceof Tensor)) checkNumber('lossTerm', count, 'count', 0);
  else if (count.size !== 1) throw new ShapeError(`lossTerm: count must be a number or a scalar, got ${show(count.shape)}`);
  const on = count instanceof Tensor ? cast(count.detach(), wideOf(count.dtype)) : count;
  return new Loss([{ sum: cast(sum, wideOf(sum.dtype)), count: on, weight: 1 }]);
}

// ---- cross-entropy ----------------------------------------------------------------------------------------------------------

export interface CrossEntropyOptions {
  /** Share of each target spread evenly over all classes, 0 to 1. Default 0. (Szegedy et al. 2016) */
  labelSmoothing?: number;
  /** A weight per class, [classes]. No gradient flows to it. */
  weight?: Tensor;
  /** Rows with this target count nothing. Default -100. Class indices only. */
  ignoreIndex?: number;
  /** The axis of classes. Default: the last. */
  axis?: number;
}

const crossEntropyOp = nativeOp('crossEntropy');
const crossEntropyGradOp = nativeOp('crossEntropy.grad');
const targetGradOp = nativeOp('crossEntropy.target');

/** `axis` made the last dimension. */
function axisLast(x: Tensor, axis: number): Tensor {
  if (axis === x.ndim - 1) return x;
  const axes = x.shape.map((_, i) => i).filter((i) => i !== axis);
  return permute(x, [...axes, axis]);
}

function checkClassWeight(weight: Tensor | undefined, classes: number, wide: DType): Tensor | null {
  if (weight === undefined || weight === null) return null;
  checkFloat('crossEntropy', weight, 'weight');
  if (!sameShape(weight.shape, [classes]))
    throw new ShapeError(`crossEntropy: weight must be one number per class, [${classes}], got ${show(weight.shape)}`);
  return cast(weight.detach(), wide);
}

/** Class indices as i32, or a distribution in the dtype of the logits; classes last. */
function targetOf(logits: Tensor, target: Tensor, axis: number): Tensor {
  const rows = logits.shape.filter((_, i) => i !== axis);
  const soft = isFloat(target.dtype);
  if (target.dtype === 'bool') throw new DTypeError("crossEntropy: target is bool. Give class indices: target.to('i32').");
  if (!sameShape(target.shape, soft ? logits.shape : rows))
    throw new ShapeError(
      soft
        ? `crossEntropy: a float target is a distribution per row and must have the shape of the logits ${show(logits.shape)}, got ${show(target.shape)}. Class indices are i32.`
        : `crossEntropy: logits ${show(logits.shape)} with classes on axis ${axis} need a target of ${show(rows)}, got ${show(target.shape)}`,
    );
  return soft ? axisLast(cast(target, logits.dtype), axis) : cast(target, 'i32');
}

/**
 * Cross-entropy of logits [..., C] with i32 class indices [...], or with float distributions [..., C]. Classes are on the last axis ([N, C],
 * [B, T, V]) unless `axis` says otherwise. Summed in f32 (f64 for f64).
 *
 * Count: the rows that are not ignored, each by the weight of its class; for distributions all rows, weights or not (PyTorch's 'mean').
 * @throws DataError at the next await for an index that is neither a class nor `ignoreIndex`
 */
export function crossEntropy(logits: Tensor, target: Tensor, options: CrossEntropyOptions = {}): Loss {
  checkFloat('crossEntropy', logits, 'logits');
  checkTensor('crossEntropy', target, 'target');
  checkOptions('crossEntropy', options, ['labelSmoothing', 'weight', 'ignoreIndex', 'axis']);
  checkDevice('crossEntropy', logits, target, options.weight);
  if (logits.ndim === 0) throw new ShapeError('crossEntropy: logits must have a dimension of classes, got a scalar');
  const axis = checkAxis('crossEntropy', options.axis ?? -1, logits.ndim);
  const smoothing = checkNumber('crossEntropy', options.labelSmoothing ?? 0, 'labelSmoothing', 0, 1);
  const ignore = checkNumber('crossEntropy', options.ignoreIndex ?? -100, 'ignoreIndex', -(2 ** 31), 2 ** 31 - 1);
  if (!Number.isInteger(ignore)) throw new ConfigError(`crossEntropy: ignoreIndex must be a whole number, got ${ignore}`);
  const soft = isFloat(target.dtype);
  if (soft && options.ignoreIndex !== undefined)
    throw new ConfigError('crossEntropy: ignoreIndex applies to class indices, and the target is a float distribution');
  const t = dense(targetOf(logits, target, axis));
  const x = dense(axisLast(logits, axis));
  const classes = logits.shape[axis] as number;
  if (classes === 0) throw new ShapeError(`crossEntropy: logits ${show(logits.shape)} have no classes`);
  const wide = wideOf(x.dtype);
  const weight = checkClassWeight(options.weight, classes, wide);
  const rows = x.size / classes;
  const [sum, count] = [unwritten([], wide, x.device), unwritten([], wide, x.device)];
  const stats = unwritten([rows, soft ? 3 : 2], wide, x.device);
  const attrs = [rows, classes, smoothing, ignore];
  run(crossEntropyOp, [x, t, weight], [sum, count, stats], attrs);
  // the kernels have the formulas
  const saved = weight ? [x, t, stats, weight] : [x, t, stats];
  record('crossEntropy', soft ? [x, t] : [x], [sum], saved, ([g], [sx, st, ss, sw], back) => {
    const logits = sx as Tensor;
    const inputs = [g as Tensor, logits, st as Tensor, sw ?? null, ss as Tensor];
    let dt: Tensor | null = null;
    if (soft && back.needs(1)) {
      dt = unwritten(logits.shape, logits.dtype, logits.device);
      run(targetGradOp, inputs, [dt], attrs);
    }
    if (!back.needs(0)) return [null, dt];
    // Where nobody else sees the logits any more, their memory takes the gradient.
    const dx = logits.storage.refs === 1 ? logits.alias() : unwritten(logits.shape, logits.dtype, logits.device);
    run(crossEntropyGradOp, inputs, [dx], attrs);
    return [dx, dt];
  });
  return new Loss([{ sum, count: soft ? rows : count, weight: 1 }]);
}

// ---- elementwise ------------------------------------------------------------------------------------------------------------

interface Kernels {
  readonly name: string;
  readonly forward: NativeOp;
  readonly gradient: NativeOp;
}
const kernels = (op: string, name = op): Kernels => ({
  name: op,
  forward: nativeOp(name),
  gradient: nativeOp(`${name}.grad`),
});

interface Extra {
  /** The loss's parameter. */
  p?: number;
  weight?: Tensor;
  positive?: Tensor;
}

/** A loss summed over elements. */
function elementwise(
  { name: op, forward, gradient }: Kernels,
  input: Tensor,
  target: Tensor,
  count: (s: Shape) => number,
  extra: Extra = {},
): Loss {
  checkFloat(op, input, 'input');
  checkFloat(op, target, 'target');
  checkDevice(op, input, target, extra.weight, extra.positive);
  if (!sameShape(input.shape, target.shape))
    throw new ShapeError(
      `${op}: input ${show(input.shape)} and target ${show(target.shape)} must have one shape. Reshape one, or use broadcastTo.`,
    );
  const dtype = promote(op, input.dtype, target.dtype);
  const [x, t] = [dense(cast(input, dtype)), dense(cast(target, dtype))];
  const wide = wideOf(dtype);
  const spread = (w: Tensor | undefined) => (w ? dense(cast(broadcastTo(w.detach(), input.shape), wide)) : null);
  const weights = [spread(extra.weight), spread(extra.positive)];
  const sum = unwritten([], wide, x.device);
  const attrs = [extra.p ?? 0];
  run(forward, [x, t, ...weights], [sum], attrs);
  const present = weights.map((w) => w !== null);
  const saved = [x, t, ...weights.filter((w) => w !== null)];
  record(op, [x, t], [sum], saved, ([g], all, back) => {
    const [sx, st, ...rest] = all as [Tensor, Tensor, ...Tensor[]];
    const own = present.map((p) => (p ? (rest.shift() as Tensor) : null));
    const grads = [0, 1].map((i) => (back.needs(i) ? unwritten(sx.shape, dtype, sx.device) : null));
    run(gradient, [g as Tensor, sx, st, ...own], grads, attrs);
    return grads;
  });
  return new Loss([{ sum, count: count(input.shape), weight: 1 }]);
}

const mseKernels = kernels('mse');
const l1Kernels = kernels('l1');
const huberKernels = kernels('huber');
const bceKernels = kernels('bceWithLogits');
const klKernels = kernels('kl');
const klLogKernels = kernels('kl', 'klLog');
const elements = (s: Shape): number => s.reduce((n, d) => n * d, 1);

/** (input - target)^2; count: elements. Shapes must agree. */
export const mse = (input: Tensor, target: Tensor): Loss => elementwise(mseKernels, input, target, elements);

/** |input - target|; count: elements. The gradient where they are equal is 0. */
export const l1 = (input: Tensor, target: Tensor): Loss => elementwise(l1Kernels, input, target, elements);

/** d^2 / 2 up to |d| = delta (default 1), then delta (|d| - delta / 2); count: elements. (Huber 1964) */
export function huber(input: Tensor, target: Tensor, options: { delta?: number } = {}): Loss {
  checkOptions('huber', options, ['delta']);
  const p = checkNumber('huber', options.delta ?? 1, 'delta', Number.MIN_VALUE);
  return elementwise(huberKernels, input, target, elements, { p });
}

export interface BceOptions {
  /** Multiplies each element's loss; broadcasts to the logits. */
  weight?: Tensor;
  /** Multiplies the loss of positives; broadcasts to the logits ([C] for one per class). */
  posWeight?: Tensor;
}

/** Binary cross-entropy of logits with targets from 0 to 1; count: elements, weights or not. */
export function bceWithLogits(logits: Tensor, target: Tensor, options: BceOptions = {}): Loss {
  checkOptions('bceWithLogits', options, ['weight', 'posWeight']);
  for (const name of ['weight', 'posWeight'] as const)
    if (options[name] != null) checkFloat('bceWithLogits', options[name], name);
  const { weight, posWeight } = options;
  return elementwise(bceKernels, logits, target, elements, { weight, positive: posWeight });
}

/**
 * Kullback-Leibler divergence from log-probabilities `input` to probabilities `target` (`logTarget`: to log-probabilities), over the last axis;
 * count: rows (PyTorch's 'batchmean'). A target of 0 adds 0.
 */
export function kl(input: Tensor, target: Tensor, options: { logTarget?: boolean } = {}): Loss {
  checkOptions('kl', options, ['logTarget']);
  const rows = (s: Shape) => elements(s.slice(0, -1));
  return elementwise(options.logTarget ? klLogKernels : klKernels, input, target, rows);
}
