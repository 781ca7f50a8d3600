import { checkOptions } from '../native/errors.ts';
import { fromHost, setRounding, type TensorOptions } from '../tensor/create.ts';
import { device } from '../tensor/device.ts';
import { checkDType } from '../tensor/dtype.ts';
import { checkShape, type Shape } from '../tensor/shape.ts';
import { type Tensor, unwritten } from '../tensor/tensor.ts';
import { cast, checkNumber, checkTensor, nativeOp, run } from './define.ts';

setRounding(cast);

const fillOp = nativeOp('fill');

export type CreateOptions = Pick<TensorOptions, 'dtype' | 'device' | 'requiresGrad'>;

/** What creation functions share: options checked, a tensor without memory. */
export function blank(op: string, shape: Shape, options: CreateOptions = {}): Tensor {
  checkOptions(op, options, ['dtype', 'device', 'requiresGrad']);
  const out = unwritten(checkShape(op, shape), checkDType(op, options.dtype ?? 'f32'), device(options.device ?? 'cpu'));
  out.requiresGrad = options.requiresGrad ?? false;
  return out;
}

/** Every element `value`. Default dtype f32. */
export function full(shape: Shape, value: number, options?: CreateOptions): Tensor {
  const out = blank('full', shape, options);
  run(fillOp, [], [out], [checkNumber('full', value, 'value')]);
  return out;
}
export const zeros = (shape: Shape, options?: CreateOptions): Tensor => full(shape, 0, options);
export const ones = (shape: Shape, options?: CreateOptions): Tensor => full(shape, 1, options);
/** Zeros of the shape, dtype and layout of `x`. */
export function zerosLike(x: Tensor): Tensor {
  checkTensor('zerosLike', x);
  const out = unwritten(x.shape, x.dtype, x.device, x.format);
  run(fillOp, [], [out], [0]);
  return out;
}

/** Whole numbers 0, 1, ..., n - 1 as i32 [n]. */
export function arange(n: number): Tensor {
  checkNumber('arange', n, 'n', 0, 2 ** 31 - 1);
  return fromHost(
    Int32Array.from({ length: n }, (_, i) => i),
    [n],
    'i32',
  );
}
