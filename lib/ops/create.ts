import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { fromHost, setRounding, type TensorOptions } from '../tensor/create.ts';
import { defaultDevice, device } from '../tensor/device.ts';
import { checkDType, checkFits } from '../tensor/dtype.ts';
import { checkShape, type Shape } from '../tensor/shape.ts';
import { type Tensor, unwritten } from '../tensor/tensor.ts';
import { cast, checkTensor, nativeOp, run } from './define.ts';

setRounding(cast);

const fillOp = nativeOp('fill');

export type CreateOptions = Pick<TensorOptions, 'dtype' | 'device' | 'requiresGrad'>;

/** What creation functions share: options checked, a tensor without memory. */
export function blank(op: string, shape: Shape, options: CreateOptions = {}): Tensor {
  checkOptions(op, options, ['dtype', 'device', 'requiresGrad']);
  const out = unwritten(checkShape(op, shape), checkDType(op, options.dtype ?? 'f32'), device(options.device ?? defaultDevice()));
  out.requiresGrad = options.requiresGrad ?? false;
  return out;
}

/** A new tensor of one value, for the function that errors are to name. */
export function constant(op: string, shape: Shape, value: number, options?: CreateOptions): Tensor {
  if (typeof value !== 'number') throw new ConfigError(`${op}: value must be a number, got ${describe(value)}`);
  const out = blank(op, shape, options);
  checkFits(op, value, out.dtype);
  run(fillOp, [], [out], [value]);
  return out;
}
/** Every element `value`. Default dtype f32. */
export const full = (shape: Shape, value: number, options?: CreateOptions): Tensor => constant('full', shape, value, options);
export const zeros = (shape: Shape, options?: CreateOptions): Tensor => constant('zeros', shape, 0, options);
export const ones = (shape: Shape, options?: CreateOptions): Tensor => constant('ones', shape, 1, options);
/** Zeros of the shape, dtype and layout of `x`. */
export function zerosLike(x: Tensor): Tensor {
  checkTensor('zerosLike', x);
  const out = unwritten(x.shape, x.dtype, x.device, x.format);
  run(fillOp, [], [out], [0]);
  return out;
}

/** Whole numbers 0, 1, ..., n - 1 as i32 [n]. */
export function arange(n: number): Tensor {
  if (!Number.isInteger(n) || n < 0 || n > 2 ** 31 - 1)
    throw new ConfigError(`arange: n must be a whole number from 0 to 2^31 - 1, got ${describe(n)}`);
  return fromHost(
    Int32Array.from({ length: n }, (_, i) => i),
    [n],
    'i32',
  );
}
