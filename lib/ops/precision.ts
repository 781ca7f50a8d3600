import { current } from '../tensor/context.ts';
import type { DType } from '../tensor/dtype.ts';
import { persistent } from '../tensor/scope.ts';
import { Parameter, type Tensor } from '../tensor/tensor.ts';
import { cast, nativeOp, run, unwritten } from './define.ts';

/** The dtype in which matmul-like ops run on `x` under the policy in force: f32 becomes the policy's; f64 and 16-bit stay. */
export function computeDType(x: Tensor): DType {
  const { precision } = current();
  return x.dtype === 'f32' && precision !== 'f32' ? precision : x.dtype;
}

/** An activation in the compute dtype. */
export const computeCopy = (x: Tensor): Tensor => cast(x, computeDType(x));

const castOp = nativeOp('cast');

/**
 * A weight in `dtype`. A Parameter keeps its low-precision copy (written by the fused optimizer update, recast here when the master has
 * been written otherwise); it is the Parameter's own, whatever scope is in force.
 */
export function weightCopy(w: Tensor, dtype: DType): Tensor {
  if (w.dtype === dtype) return w;
  if (!(w instanceof Parameter)) return cast(w, dtype);
  if (w.shadow?.dtype !== dtype || w.shadow.device !== w.device) {
    w.shadow?.dispose();
    w.shadow = persistent(() => unwritten(w.shape, dtype, w.device, w.format));
    w.shadowVersion = -1;
  }
  if (w.shadowVersion !== w.storage.version) {
    run(castOp, [w], [w.shadow]);
    w.shadow.storage.version++;
    w.shadowVersion = w.storage.version;
  }
  return w.shadow;
}
