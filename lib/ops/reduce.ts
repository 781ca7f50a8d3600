import { checkOptions } from '../native/errors.ts';
import { type DType, isFloat } from '../tensor/dtype.ts';
import { checkAxes, reducedShape, type Shape, sameShape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { attach, checkTensor, dense, nativeOp, record, run, unwritten } from './define.ts';
import { broadcastTo } from './index.ts';
import { reshape } from './view.ts';

export interface ReduceOptions {
  /** Axis or axes to reduce; negative ones count from the back. Default: all. */
  axis?: number | readonly number[];
  /** Keep reduced axes as dimensions of 1. Default false. */
  keepDims?: boolean;
}

/** [rank, dims, flags (1: reduced)] with neighbouring dimensions of one kind merged, as native/src/cpu/reduce.cc walks them. */
function walkAttributes(shape: Shape, axes: readonly number[]): number[] {
  const dims: number[] = [];
  const flags: number[] = [];
  shape.forEach((d, i) => {
    const reduced = axes.includes(i) ? 1 : 0;
    if (d === 1) return;
    const last = dims.length - 1;
    if (last >= 0 && flags[last] === reduced) dims[last] = (dims[last] as number) * d;
    else {
      dims.push(d);
      flags.push(reduced);
    }
  });
  return [dims.length, ...dims, ...flags];
}

const keptShape = (shape: Shape, axes: readonly number[]): number[] => reducedShape(shape, axes, true);

const sumOp = nativeOp('sum');

function scaledSum(name: string, x: Tensor, axes: readonly number[], keepDims: boolean, scale: number): Tensor {
  const plain = dense(x);
  const dtype: DType = isFloat(x.dtype) ? x.dtype : 'i32';
  const out = unwritten(reducedShape(x.shape, axes, keepDims), dtype, x.device);
  run(sumOp, [plain], [out], [scale, ...walkAttributes(x.shape, axes)]);
  const { shape } = x;
  // d(s sum x)/dx = s everywhere
  record(name, [plain], [out], [], ([g]) => {
    const grad = scale === 1 ? (g as Tensor) : (g as Tensor).mul(scale);
    return [broadcastTo(reshape(grad, keptShape(shape, axes)), shape)];
  });
  return out;
}

/** Sum over `axis`. Integers and bools sum to i32. */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  checkTensor('sum', x);
  checkOptions('sum', options, ['axis', 'keepDims']);
  return scaledSum('sum', x, checkAxes('sum', options.axis, x.ndim), !!options.keepDims, 1);
}

/** The gradient of a broadcast operand: `x` summed back to `shape`. Returns `x` itself when the shapes are equal. */
export function sumTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const lead = x.ndim - shape.length;
  const axes = x.shape.flatMap((d, i) => (i < lead || (shape[i - lead] === 1 && d !== 1) ? [i] : []));
  return reshape(scaledSum('sum', x, axes, true, 1), shape);
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    sum(options?: ReduceOptions): Tensor;
  }
}
attach({ sum });
