import { checkOptions, DTypeError, describe, ShapeError } from '../native/errors.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { cast, checkDevice, checkFloat, checkTensor, dense, nativeOp, record, run, unwritten } from './define.ts';
import { computeDType } from './precision.ts';

const embeddingOp = nativeOp('embedding');
const embeddingGradOp = nativeOp('embedding.grad');

export interface EmbeddingOptions {
  /** The row that padding tokens take: it receives no gradient. A negative one counts from the back. */
  paddingIdx?: number;
}

/**
 * Rows of `weight` [V, D] by index: [...indices.shape, D], in the policy's compute dtype. The gradient of the weight is summed in f32, in the
 * order of the indices.
 * @throws DataError at the next await for an index outside [0, V)
 */
export function embedding(indices: Tensor, weight: Tensor, options: EmbeddingOptions = {}): Tensor {
  checkTensor('embedding', indices, 'indices');
  checkFloat('embedding', weight, 'weight');
  checkDevice('embedding', indices, weight);
  checkOptions('embedding', options, ['paddingIdx']);
  if (indices.dtype !== 'i32')
    throw new DTypeError(`embedding: indices must be i32, got ${indices.dtype}. Convert them: indices.to('i32').`);
  if (weight.ndim !== 2) throw new ShapeError(`embedding: weight must be [rows, width], got ${show(weight.shape)}`);
  const [v, d] = weight.shape as [number, number];
  let padding = options.paddingIdx ?? -1;
  if (options.paddingIdx !== undefined) {
    if (!Number.isInteger(padding) || padding < -v || padding >= v)
      throw new ShapeError(`embedding: paddingIdx ${describe(padding)} is not a row of weight ${show(weight.shape)}`);
    if (padding < 0) padding += v;
  }
  const at = dense(indices);
  const out = unwritten([...indices.shape, d], computeDType(weight), weight.device);
  run(embeddingOp, [at, dense(weight)], [out], [v, d]);
  const { shape, dtype } = weight;
  const wide = dtype === 'f64' ? 'f64' : 'f32';
  // dW[v] = the sum of g over the places that took row v
  record('embedding', [weight], [out], [at], ([g], [saved], back) => {
    const have = dtype === wide ? back.take(0, { dtype, format: 'contiguous' }) : undefined;
    const dw = have ?? unwritten(shape, wide, (g as Tensor).device);
    run(embeddingGradOp, [dense(g as Tensor), saved as Tensor], [dw], [v, d, padding, have ? 1 : 0]);
    return [cast(dw, dtype)];
  });
  return out;
}
