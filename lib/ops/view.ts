import { ShapeError } from '../native/errors.ts';
import { checkAxis, inferShape, show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { attach, checkTensor, dense, record } from './define.ts';

/** The same elements in another shape; one dimension may be -1. A view: no memory moves (channelsLast is first made contiguous). */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  checkTensor('reshape', x);
  const plain = dense(x);
  const from = x.shape;
  const out = plain.alias(inferShape('reshape', shape, x.size));
  record('reshape', [plain], [out], [], ([g]) => [g && reshape(g, from)]);
  return out;
}

/** Dimensions from `start` to `end` (both included) merged into one. Default: all. */
export function flatten(x: Tensor, start = 0, end = -1): Tensor {
  checkTensor('flatten', x);
  if (x.ndim === 0) return reshape(x, [1]);
  const s = checkAxis('flatten', start, x.ndim);
  const e = checkAxis('flatten', end, x.ndim);
  if (s > e) throw new ShapeError(`flatten: start ${start} lies behind end ${end} in ${show(x.shape)}`);
  const merged = x.shape.slice(s, e + 1).reduce((n, d) => n * d, 1);
  return reshape(x, [...x.shape.slice(0, s), merged, ...x.shape.slice(e + 1)]);
}

/** A dimension of 1 put in before `axis`. A view. */
export function unsqueeze(x: Tensor, axis: number): Tensor {
  checkTensor('unsqueeze', x);
  const at = checkAxis('unsqueeze', axis, x.ndim + 1);
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
}

/** Dimensions of 1 taken out: all, or the one given. A view. */
export function squeeze(x: Tensor, axis?: number): Tensor {
  checkTensor('squeeze', x);
  if (axis === undefined)
    return reshape(
      x,
      x.shape.filter((d) => d !== 1),
    );
  const at = checkAxis('squeeze', axis, x.ndim);
  if (x.shape[at] !== 1) throw new ShapeError(`squeeze: dimension ${axis} of ${show(x.shape)} is not 1`);
  return reshape(x, [...x.shape.slice(0, at), ...x.shape.slice(at + 1)]);
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    reshape(shape: readonly number[]): Tensor;
    flatten(start?: number, end?: number): Tensor;
    unsqueeze(axis: number): Tensor;
    squeeze(axis?: number): Tensor;
  }
}
attach({ reshape, flatten, unsqueeze, squeeze });
