import { ConfigError, checkOptions, DTypeError, describe, ShapeError } from '../native/errors.ts';
import { fromHost } from '../tensor/create.ts';
import { sameShape, show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { div, mul } from './binary.ts';
import { cast, checkDevice, checkFloat, checkTensor, filled } from './define.ts';
import { embedding } from './embedding.ts';
import { max, sum } from './reduce.ts';
import { gather, where } from './select.ts';
import { reshape } from './view.ts';

export interface EmbeddingBagOptions {
  /** What becomes of a bag's rows. Default 'mean'. */
  mode?: 'sum' | 'mean' | 'max';
  /** Where each bag of a 1-D list of indices begins: numbers, the first 0, none falling. Bags may be empty. */
  offsets?: readonly number[];
  /** A factor for each index, of the indices' shape; with mode 'sum'. */
  perSampleWeights?: Tensor;
  /** The row of padding: left out of its bag, and without gradient. A negative one counts from the back. */
  paddingIdx?: number;
}

/** A 1-D list in bags as a matrix [bags, longest]: indices, and which of its places hold one. */
function bags(op: string, indices: Tensor, offsets: readonly number[] | undefined) {
  if (!Array.isArray(offsets))
    throw new ConfigError(
      `${op}: a 1-D list of indices needs offsets, a list of numbers where its bags begin, got ${describe(offsets)}`,
    );
  const n = indices.size;
  if (!offsets.every((o, i) => Number.isInteger(o) && o >= 0 && o <= n && (i === 0 ? o === 0 : o >= (offsets[i - 1] as number))))
    throw new ConfigError(
      `${op}: offsets must begin with 0, not fall, and stay within the ${n} indices, got ${describe(offsets)}`,
    );
  const lengths = offsets.map((o, i) => (offsets[i + 1] ?? n) - o);
  const width = Math.max(0, ...lengths);
  const shape = [offsets.length, width];
  const places = new Int32Array(offsets.length * width);
  const held = new Uint8Array(offsets.length * width);
  lengths.forEach((length, b) => {
    for (let j = 0; j < length; j++) {
      places[b * width + j] = (offsets[b] as number) + j;
      held[b * width + j] = 1;
    }
  });
  const at = fromHost(places, [places.length], 'i32', indices.device);
  return { at, shape, held: fromHost(held, shape, 'bool', indices.device) };
}

/**
 * Sums, means or maxima of rows of `weight` [V, D]: bags are the rows of i32 indices [B, L], or pieces of a 1-D list that begin at `offsets`;
 * the result is [B, D]. An empty bag gives zeros. PyTorch's F.embedding_bag, with offsets as numbers since they decide on shapes.
 * @throws ShapeError, DTypeError, ConfigError; DataError at the next await for an index outside [0, V)
 */
export function embeddingBag(indices: Tensor, weight: Tensor, options: EmbeddingBagOptions = {}): Tensor {
  const op = 'embeddingBag';
  checkTensor(op, indices, 'indices');
  checkFloat(op, weight, 'weight');
  checkOptions(op, options, ['mode', 'offsets', 'perSampleWeights', 'paddingIdx']);
  const { mode = 'mean', perSampleWeights, paddingIdx } = options;
  if (!['sum', 'mean', 'max'].includes(mode))
    throw new ConfigError(`${op}: mode must be 'sum', 'mean' or 'max', got ${describe(mode)}`);
  if (indices.dtype !== 'i32')
    throw new DTypeError(`${op}: indices must be i32, got ${indices.dtype}. Convert them: indices.to('i32').`);
  if (weight.ndim !== 2) throw new ShapeError(`${op}: weight must be [rows, width], got ${show(weight.shape)}`);
  if (indices.ndim !== 1 && indices.ndim !== 2)
    throw new ShapeError(`${op}: indices must be [bags, length], or a list with offsets, got ${show(indices.shape)}`);
  if (indices.ndim === 2 && options.offsets !== undefined)
    throw new ConfigError(`${op}: offsets go with a 1-D list; the rows of indices ${show(indices.shape)} are bags already`);
  if (perSampleWeights != null && mode !== 'sum')
    throw new ConfigError(`${op}: perSampleWeights go with mode 'sum', not '${mode}'`);
  if (perSampleWeights != null && !sameShape(checkFloat(op, perSampleWeights, 'perSampleWeights').shape, indices.shape))
    throw new ShapeError(
      `${op}: perSampleWeights ${show(perSampleWeights.shape)} must have the indices' shape ${show(indices.shape)}`,
    );
  checkDevice(op, indices, weight, perSampleWeights);
  const bagged = indices.ndim === 1 ? bags(op, indices, options.offsets) : null;
  const pick = (t: Tensor) => (bagged ? reshape(gather(t, bagged.at, { axis: 0 }), bagged.shape) : t);
  const [count, d] = [bagged ? (bagged.shape[0] as number) : (indices.shape[0] as number), weight.shape[1] as number];
  const width = bagged ? (bagged.shape[1] as number) : (indices.shape[1] as number);
  const rows = weight.shape[0] as number;
  if (paddingIdx !== undefined && !(Number.isInteger(paddingIdx) && paddingIdx >= -rows && paddingIdx < rows))
    throw new ShapeError(`${op}: paddingIdx ${describe(paddingIdx)} is not a row of weight ${show(weight.shape)}`);
  const padding = paddingIdx !== undefined && paddingIdx < 0 ? paddingIdx + rows : paddingIdx;
  if (width === 0) return filled([count, d], 0, weight.dtype, weight);
  const ids = pick(indices);
  let held = bagged?.held ?? null;
  if (padding !== undefined) {
    const real = ids.ne(padding);
    held = held ? held.minimum(real) : real;
  }
  const table = embedding(ids, weight, padding === undefined ? {} : { paddingIdx: padding });
  return pooled(
    mode,
    table,
    held && reshape(held, [count, width, 1]),
    perSampleWeights && reshape(pick(perSampleWeights), [count, width, 1]),
  );
}

/** [B, L, D] to [B, D], over the places that are held. */
function pooled(mode: 'sum' | 'mean' | 'max', rows: Tensor, held: Tensor | null, factors: Tensor | undefined): Tensor {
  const inside = held ? where(held, rows, mode === 'max' ? -Infinity : 0) : rows;
  if (mode === 'sum') return sum(factors ? mul(inside, cast(factors, rows.dtype)) : inside, { axis: 1 });
  if (mode === 'mean') {
    const total = sum(inside, { axis: 1 });
    return held ? div(total, cast(sum(held, { axis: 1 }), rows.dtype).maximum(1)) : div(total, rows.shape[1] as number);
  }
  const most = max(inside, { axis: 1 });
  return held ? where(held.to('i32').max({ axis: 1 }).ne(0), most, 0) : most;
}
