import { checkOptions } from '../native/errors.ts';
import { checkAxis, type Shape, sizeOf } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { attach, checkFloat, dense, nativeOp, record, run, unwritten } from './define.ts';

export interface SoftmaxOptions {
  /** The axis that sums to one. Default: the last. */
  axis?: number;
}

/** `axis` of `shape` as [before, length, after]: how kernels along one axis see a tensor. A scalar is one element along axis 0. */
function around(where: string, shape: Shape, axis: number): [number, number, number] {
  const dims = shape.length ? shape : [1];
  const a = checkAxis(where, axis, dims.length);
  return [sizeOf(dims.slice(0, a)), dims[a] as number, sizeOf(dims.slice(a + 1))];
}

function along(name: string): (x: Tensor, options?: SoftmaxOptions) => Tensor {
  const forward = nativeOp(name);
  const gradient = nativeOp(`${name}.grad`);
  return (x, options = {}) => {
    checkFloat(name, x);
    checkOptions(name, options, ['axis']);
    const attrs = around(name, x.shape, options.axis ?? -1);
    const plain = dense(x);
    const out = unwritten(x.shape, x.dtype, x.device);
    run(forward, [plain], [out], attrs);
    record(name, [plain], [out], [out], ([g], [y], back) => {
      const grad = dense(g as Tensor);
      const have = back.take(0, grad);
      const dx = have ?? unwritten(grad.shape, grad.dtype, grad.device);
      run(gradient, [grad, y as Tensor, have ?? null], [dx], attrs);
      return [dx];
    });
    return out;
  };
}

/** exp(x) over its sum along `axis`, without overflow. */
export const softmax = along('softmax');
/** The logarithm of softmax, computed as such: no digits are lost where softmax is small. */
export const logSoftmax = along('logSoftmax');

declare module '../tensor/tensor.ts' {
  interface Tensor {
    softmax(options?: SoftmaxOptions): Tensor;
    logSoftmax(options?: SoftmaxOptions): Tensor;
  }
}
attach({ softmax, logSoftmax });
