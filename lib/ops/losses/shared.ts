import { ConfigError, DTypeError, describe, ShapeError } from '../../native/errors.ts';
import { checkAxis, sameShape, show } from '../../tensor/shape.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { cast, checkDevice, checkFloat, checkTensor } from '../define.ts';
import { permute } from '../index.ts';
import { Loss } from '../loss.ts';
import { sum } from '../reduce.ts';

/** The dtype in which losses are computed: f32, f64 for f64. */
export const wideOf = (x: Tensor): 'f32' | 'f64' => (x.dtype === 'f64' ? 'f64' : 'f32');

/** Float inputs, checked, in the dtype of losses. A loss of 16-bit inputs is one of f32, and their gradients are rounded once. */
export function floats(op: string, inputs: Readonly<Record<string, Tensor>>): Tensor[] {
  const list = Object.entries(inputs).map(([name, x]) => checkFloat(op, x, name));
  checkDevice(op, ...list);
  const wide = list.some((x) => x.dtype === 'f64') ? 'f64' : 'f32';
  return list.map((x) => cast(x, wide));
}

export function checkSame(op: string, a: Tensor, b: Tensor, names: readonly [string, string]): void {
  if (!sameShape(a.shape, b.shape))
    throw new ShapeError(`${op}: ${names[0]} ${show(a.shape)} and ${names[1]} ${show(b.shape)} must have one shape`);
}

/** A loss of elements, each counted. */
export const ofElements = (each: Tensor, count: number | Tensor = each.size): Loss =>
  new Loss([{ sum: sum(each), count, weight: 1 }]);

/** `axis` made the last dimension. */
export function axisLast(x: Tensor, axis: number): Tensor {
  if (axis === x.ndim - 1) return x;
  const axes = x.shape.map((_, i) => i).filter((i) => i !== axis);
  return permute(x, [...axes, axis]);
}

export interface ClassOptions {
  /** A weight per class, [classes]. No gradient flows to it. */
  weight?: Tensor;
  /** Rows with this target count nothing. Default -100. */
  ignoreIndex?: number;
  /** The axis of classes. Default: the last. */
  axis?: number;
}

/** Scores with classes last as [rows, classes], targets as i32 [rows], and the class weights. */
export function classRows(op: string, x: Tensor, target: Tensor, options: ClassOptions) {
  checkTensor(op, target, 'target');
  checkDevice(op, x, target, options.weight);
  if (x.ndim === 0) throw new ShapeError(`${op}: input must have a dimension of classes, got a scalar`);
  const axis = checkAxis(op, options.axis ?? -1, x.ndim);
  const rows = x.shape.filter((_, i) => i !== axis);
  const classes = x.shape[axis] as number;
  if (classes === 0) throw new ShapeError(`${op}: input ${show(x.shape)} has no classes`);
  if (target.dtype !== 'i32' && target.dtype !== 'u8')
    throw new DTypeError(`${op}: target must be class indices (i32), got ${target.dtype}. Convert it: target.to('i32').`);
  if (!sameShape(target.shape, rows))
    throw new ShapeError(
      `${op}: input ${show(x.shape)} with classes on axis ${axis} needs a target of ${show(rows)}, got ${show(target.shape)}`,
    );
  const ignore = options.ignoreIndex ?? -100;
  if (!Number.isInteger(ignore) || Math.abs(ignore) > 2 ** 31 - 1)
    throw new ConfigError(`${op}: ignoreIndex must be a whole number, got ${describe(ignore)}`);
  const { weight } = options;
  if (weight !== undefined && weight !== null && !sameShape(checkFloat(op, weight, 'weight').shape, [classes]))
    throw new ShapeError(`${op}: weight must be one number per class, [${classes}], got ${show(weight.shape)}`);
  return {
    x: axisLast(x, axis).reshape([target.size, classes]),
    target: cast(target, 'i32').reshape([target.size]),
    weight: weight ? cast(weight.detach(), wideOf(x)) : null,
    ignore,
  };
}
