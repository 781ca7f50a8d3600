import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import { isFloat } from '../tensor/dtype.ts';
import { checkAxes, reducedShape, type Shape, sameShape, show, sizeOf } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  attach,
  type Backward,
  cast,
  checkFloat,
  checkNumber,
  checkTensor,
  dense,
  nativeOp,
  record,
  run,
  unwritten,
} from './define.ts';
import { reshape } from './view.ts';

export interface ReduceOptions {
  /** Axis or axes to reduce; negative ones count from the back. Default: all. */
  axis?: number | readonly number[];
  /** Keep reduced axes as dimensions of 1. Default false. */
  keepDims?: boolean;
}
export interface VarianceOptions extends ReduceOptions {
  /** Divide by n - correction. Default 1, the unbiased estimate; 0 divides by n. */
  correction?: number;
}
export interface ArgOptions {
  /** The axis along which to search. Default: the whole tensor, read row-major. */
  axis?: number;
  /** Keep the axis (or all, without one) as a dimension of 1. Default false. */
  keepDims?: boolean;
}

// ---- the walk ---------------------------------------------------------------------------------------------------------------

/** A reduction as native/src/cpu/reduce.h walks it. */
interface Plan {
  /** The input in memory that the walk understands. */
  x: Tensor;
  shape: readonly number[];
  /** Elements that go into each output. */
  count: number;
  /** [rank, dims, flags (1: reduced)], neighbouring dimensions of one kind merged. */
  walk: number[];
}

function walkOf(dims: Shape, axes: readonly number[]): number[] {
  const sizes: number[] = [];
  const flags: number[] = [];
  dims.forEach((d, i) => {
    if (d === 1) return;
    const flag = axes.includes(i) ? 1 : 0;
    const last = sizes.length - 1;
    if (last >= 0 && flags[last] === flag) sizes[last] = (sizes[last] as number) * d;
    else {
      sizes.push(d);
      flags.push(flag);
    }
  });
  return [sizes.length, ...sizes, ...flags];
}

/** channelsLast memory is walked as it lies wherever the kept dimensions come out in the right order: not when channels and pixels both stay. */
function plan(x: Tensor, axes: readonly number[], keepDims: boolean, ordered = false): Plan {
  const shape = reducedShape(x.shape, axes, keepDims);
  const count = axes.reduce((n, a) => n * (x.shape[a] as number), 1);
  if (x.format === 'channelsLast' && !ordered && (axes.includes(1) || (axes.includes(2) && axes.includes(3)))) {
    const order = [0, 2, 3, 1];
    const dims = order.map((d) => x.shape[d] as number);
    const moved = axes.map((a) => order.indexOf(a));
    return { x, shape, count, walk: walkOf(dims, moved) };
  }
  return { x: dense(x), shape, count, walk: walkOf(x.shape, axes) };
}

/** What the gradient needs to know of the input once the input itself is gone. */
const layoutOf = ({ shape, dtype, device, format }: Tensor) => ({ shape, dtype, device, format });

/** dx from the gradient of the result; one that already waits is added in the same pass. */
function spread(
  op: typeof sumGrad,
  grad: Tensor,
  to: ReturnType<typeof layoutOf>,
  saved: readonly (Tensor | null)[],
  attrs: readonly number[],
  back: Backward,
): Tensor {
  const have = back.take(0, to);
  const dx = have ?? unwritten(to.shape, to.dtype, to.device, to.format);
  run(op, [dense(grad), saved[0] ?? null, saved[1] ?? null, have ?? null], [dx], attrs);
  return dx;
}

// ---- sum and mean -----------------------------------------------------------------------------------------------------------

const sumOp = nativeOp('sum');
const sumGrad = nativeOp('sum.grad');

function scaledSum(name: string, p: Plan, scale: number): Tensor {
  const { x, walk } = p;
  const out = unwritten(p.shape, isFloat(x.dtype) ? x.dtype : 'i32', x.device);
  const attrs = [scale, ...walk];
  run(sumOp, [x], [out], attrs);
  const to = layoutOf(x);
  record(name, [x], [out], [], ([g], _, back) => [spread(sumGrad, g as Tensor, to, [], attrs, back)]);
  return out;
}

/** Sum over `axis`. Integers and bools add up to i32. */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkTensor('sum', x);
  checkOptions('sum', options, ['axis', 'keepDims']);
  return scaledSum('sum', plan(x, checkAxes('sum', options.axis, x.ndim), !!options.keepDims), 1);
}

/** Mean over `axis`; of no elements, NaN. */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkFloat('mean', x);
  checkOptions('mean', options, ['axis', 'keepDims']);
  const p = plan(x, checkAxes('mean', options.axis, x.ndim), !!options.keepDims);
  return scaledSum('mean', p, 1 / p.count);
}

/** The gradient of a broadcast operand: `x` summed back to `shape`. Returns `x` itself when the shapes are equal. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const lead = x.ndim - shape.length;
  const axes = x.shape.flatMap((d, i) => (i < lead || (shape[i - lead] === 1 && d !== 1) ? [i] : []));
  const kept = x.shape.filter((_, i) => !axes.includes(i));
  if (lead < 0 || sizeOf(kept) !== sizeOf(shape))
    throw new ShapeError(`sumTo: ${show(x.shape)} is no broadcast of ${show(shape)}`);
  return reshape(scaledSum('sum', plan(x, axes, true), 1), shape);
}

// ---- extremes ---------------------------------------------------------------------------------------------------------------

const extremeOp = nativeOp('extreme');
const extremeGrad = nativeOp('extreme.grad');
const argOp = nativeOp('argExtreme');

function checkSome(name: string, x: Tensor, axes: readonly number[]): void {
  if (axes.some((a) => x.shape[a] === 0) && !x.shape.some((d, i) => d === 0 && !axes.includes(i)))
    throw new ShapeError(
      `${name}: there is nothing to choose from in ${show(x.shape)}. Only sum, mean and logSumExp of no elements exist.`,
    );
}

/** u8 and bool widened: the kernels know floats and i32. */
const widened = (x: Tensor): Tensor => (x.dtype === 'u8' || x.dtype === 'bool' ? cast(x, 'i32') : x);

function extreme(name: 'max' | 'min', sign: number): (x: Tensor, options?: ReduceOptions) => Tensor {
  return (x, options = {}) => {
    checkTensor(name, x);
    checkOptions(name, options, ['axis', 'keepDims']);
    const axes = checkAxes(name, options.axis, x.ndim);
    checkSome(name, x, axes);
    const p = plan(widened(x), axes, !!options.keepDims);
    const out = unwritten(p.shape, p.x.dtype, x.device);
    const attrs = [sign, ...p.walk];
    run(extremeOp, [p.x], [out], attrs);
    const to = layoutOf(p.x);
    record(name, [p.x], [out], [p.x, out], ([g], saved, back) => [spread(extremeGrad, g as Tensor, to, saved, attrs, back)]);
    return cast(out, x.dtype);
  };
}

/** The largest element over `axis`; NaN where there is one. Equal ones share the gradient evenly. */
export const max = extreme('max', 1);
/** The smallest element over `axis`; NaN where there is one. Equal ones share the gradient evenly. */
export const min = extreme('min', -1);

function argExtreme(name: 'argmax' | 'argmin', sign: number): (x: Tensor, options?: ArgOptions) => Tensor {
  return (x, options = {}) => {
    checkTensor(name, x);
    checkOptions(name, options, ['axis', 'keepDims']);
    if (options.axis !== undefined && typeof options.axis !== 'number')
      throw new ConfigError(`${name}: axis must be one number, got ${describe(options.axis)}`);
    const axes = checkAxes(name, options.axis, x.ndim);
    checkSome(name, x, axes);
    const p = plan(widened(x), axes, !!options.keepDims, options.axis === undefined);
    const out = unwritten(p.shape, 'i32', x.device);
    run(argOp, [p.x], [out], [sign, ...p.walk]);
    return out;
  };
}

/** Index (i32) of the largest element along `axis`, the first if several; NaN counts as largest. */
export const argmax = argExtreme('argmax', 1);
/** Index (i32) of the smallest element along `axis`, the first if several; NaN counts as smallest. */
export const argmin = argExtreme('argmin', -1);

// ---- product, log-sum-exp, variance -----------------------------------------------------------------------------------------

const productOp = nativeOp('prod');
const productGrad = nativeOp('prod.grad');

/** Product over `axis`. The gradient is right at zeros. */
export function prod(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkFloat('prod', x);
  checkOptions('prod', options, ['axis', 'keepDims']);
  const p = plan(x, checkAxes('prod', options.axis, x.ndim), !!options.keepDims);
  const out = unwritten(p.shape, x.dtype, x.device);
  run(productOp, [p.x], [out], p.walk);
  const to = layoutOf(p.x);
  record('prod', [p.x], [out], [p.x], ([g], saved, back) => [spread(productGrad, g as Tensor, to, saved, [1, ...p.walk], back)]);
  return out;
}

/** Statistics are kept in f32 for 16-bit tensors. */
const wide = (x: Tensor) => (x.dtype === 'f64' ? 'f64' : 'f32');

const logSumExpOp = nativeOp('logSumExp');
const logSumExpGrad = nativeOp('logSumExp.grad');

/** log(sum(exp(x))) over `axis`, without overflow. */
export function logSumExp(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkFloat('logSumExp', x);
  checkOptions('logSumExp', options, ['axis', 'keepDims']);
  const p = plan(x, checkAxes('logSumExp', options.axis, x.ndim), !!options.keepDims);
  const exact = unwritten(p.shape, wide(x), x.device);
  run(logSumExpOp, [p.x], [exact], p.walk);
  const out = cast(exact, x.dtype);
  const to = layoutOf(p.x);
  record('logSumExp', [p.x], [out], [p.x, exact], ([g], saved, back) => [
    spread(logSumExpGrad, g as Tensor, to, saved, [1, ...p.walk], back),
  ]);
  return out;
}

const varianceOp = nativeOp('variance');
const varianceGrad = nativeOp('variance.grad');

/** Variance over `axis`: squared deviations over n - correction. Computed about the mean, so that a far mean costs no digits. */
export const variance = (x: Tensor, options: VarianceOptions = {}): Tensor => varianceAs('variance', x, options);

function varianceAs(where: string, x: Tensor, options: VarianceOptions): Tensor {
  checkFloat(where, x);
  checkOptions(where, options, ['axis', 'keepDims', 'correction']);
  const correction = checkNumber(where, options.correction ?? 1, 'correction', 0);
  const p = plan(x, checkAxes(where, options.axis, x.ndim), !!options.keepDims);
  const scale = 1 / Math.max(0, p.count - correction);
  const out = unwritten(p.shape, x.dtype, x.device);
  const means = unwritten(p.shape, wide(x), x.device);
  run(varianceOp, [p.x], [out, means], [scale, ...p.walk]);
  const to = layoutOf(p.x);
  record('variance', [p.x], [out], [p.x, means], ([g], saved, back) => [
    spread(varianceGrad, g as Tensor, to, saved, [2 * scale, ...p.walk], back),
  ]);
  return out;
}

/** Standard deviation: the square root of `variance`. */
export const std = (x: Tensor, options: VarianceOptions = {}): Tensor => varianceAs('std', x, options).sqrt();

declare module '../tensor/tensor.ts' {
  interface Tensor {
    sum(options?: ReduceOptions): Tensor;
    mean(options?: ReduceOptions): Tensor;
    max(options?: ReduceOptions): Tensor;
    min(options?: ReduceOptions): Tensor;
    argmax(options?: ArgOptions): Tensor;
    argmin(options?: ArgOptions): Tensor;
    prod(options?: ReduceOptions): Tensor;
    logSumExp(options?: ReduceOptions): Tensor;
    variance(options?: VarianceOptions): Tensor;
    std(options?: VarianceOptions): Tensor;
  }
}
attach({ sum, mean, max, min, argmax, argmin, prod, logSumExp, variance, std });
