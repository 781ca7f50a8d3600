import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { setRounding, type TensorOptions, tensor } from '../tensor/create.ts';
import { defaultDevice, device } from '../tensor/device.ts';
import { checkDType, checkFits } from '../tensor/dtype.ts';
import { checkShape, type Shape } from '../tensor/shape.ts';
import { type Tensor, unwritten } from '../tensor/tensor.ts';
import { cast, checkNumber, checkTensor, nativeOp, run } from './define.ts';

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

/**
 * `arange(n)`: the whole numbers 0, 1, ..., n - 1 as i32 [n]. `arange(start, end, step)`: start, start + step, ... below end (above it, for a negative
 * step); i32 where all three are whole numbers, else f32, or `dtype`.
 */
export function arange(start: number, end?: number, step = 1, options: CreateOptions = {}): Tensor {
  checkOptions('arange', options, ['dtype', 'device', 'requiresGrad']);
  const [from, to] = end === undefined ? [0, start] : [start, end];
  if (end === undefined && (!Number.isInteger(to) || to < 0 || to > MOST))
    throw new ConfigError(`arange: n must be a whole number from 0 to 2^31 - 1, got ${describe(to)}`);
  for (const [name, value] of Object.entries({ start: from, end: to, step }))
    checkNumber('arange', value, name, -Number.MAX_VALUE, Number.MAX_VALUE);
  if (step === 0) throw new ConfigError('arange: step must not be 0');
  const n = Math.max(0, Math.ceil((to - from) / step));
  if (n > MOST) throw new ConfigError(`arange: ${n} numbers are more than 2^31 - 1`);
  const dtype = checkDType('arange', options.dtype ?? ([from, to, step].every(Number.isInteger) ? 'i32' : 'f32'));
  const values = Float64Array.from({ length: n }, (_, i) => from + i * step);
  return tensor(values, { ...options, dtype });
}
const MOST = 2 ** 31 - 1;
