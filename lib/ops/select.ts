import { ConfigError, checkOptions, DTypeError, describe, ShapeError } from '../native/errors.ts';
import { type DType, fits, isFloat, promote } from '../tensor/dtype.ts';
import { broadcastShapes, checkAxis, type Shape, sameShape, show, sizeOf } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { attach, cast, checkDevice, checkTensor, dense, nativeOp, record, run, unwritten } from './define.ts';
import { collapse, permute, repeatingStrides } from './index.ts';
import { sumTo } from './reduce.ts';

// ---- where ------------------------------------------------------------------------------------------------------------------

const whereOp = nativeOp('where');

type Choice = Tensor | number;

/** condition ? a : b into `shape`; operands of `dtype` or numbers. No tape. */
function choose(condition: Tensor, a: Choice, b: Choice, shape: Shape, dtype: DType): Tensor {
  const tensors = [condition, a, b].map((t) => (typeof t === 'number' ? null : dense(t)));
  const all = tensors.map((t) => (t ? repeatingStrides(t.shape, shape) : shape.map(() => 0)));
  const { dims, strides } = collapse(shape, all);
  const scalars = [a, b].map((v) => (typeof v === 'number' ? v : 0));
  const out = unwritten(shape, dtype, condition.device);
  run(whereOp, tensors, [out], [dims.length, ...scalars, ...dims, ...strides.flat()]);
  return out;
}

/**
 * `a` where the condition holds, else `b`; all three broadcast. `condition` is bool (or u8); `a` and `b` are tensors or numbers, of the dtype to
 * which their dtypes promote (two numbers: f32).
 */
export function where(condition: Tensor, a: Choice, b: Choice): Tensor {
  checkTensor('where', condition, 'condition');
  if (condition.dtype !== 'bool' && condition.dtype !== 'u8')
    throw new DTypeError(`where: condition must be bool, got ${condition.dtype}. Compare first, for example x.gt(0).`);
  const choices = [a, b].filter((t): t is Tensor => typeof t !== 'number');
  choices.forEach((t, i) => void checkTensor('where', t, choices.length === 2 ? (i ? 'b' : 'a') : 'the tensor'));
  checkDevice('where', condition, ...choices);
  const dtype = choices.reduce((d, t) => promote('where', d, t.dtype), choices[0]?.dtype ?? 'f32');
  for (const v of [a, b])
    if (typeof v === 'number' && !fits(v, dtype))
      throw new DTypeError(`where: ${v} is not a value of ${dtype}. Convert the tensor first: x.to('f32').`);
  const [x, y] = [a, b].map((t) => (typeof t === 'number' ? t : cast(t, dtype))) as [Choice, Choice];
  const shape = choices.reduce((s, t) => broadcastShapes('where', s, t.shape), condition.shape);
  const out = choose(condition, x, y, shape, dtype);
  const inputs = [x, y].filter((t): t is Tensor => t instanceof Tensor);
  const [left, shapes] = [x instanceof Tensor, inputs.map((t) => t.shape)];
  // each side receives the gradient where it was taken
  record('where', inputs, [out], [condition], ([grad], [c], back) =>
    shapes.map((own, i) => {
      if (!back.needs(i)) return null;
      const g = grad as Tensor;
      const first = left && i === 0;
      return sumTo(choose(c as Tensor, first ? g : 0, first ? 0 : g, shape, dtype), own);
    }),
  );
  return out;
}

// ---- gather -----------------------------------------------------------------------------------------------------------------

const gatherOp = nativeOp('gather');
const gatherGradOp = nativeOp('gather.grad');

/** [outer, length along axis, inner] of a shape. */
const around = (shape: Shape, axis: number): [number, number, number] => [
  sizeOf(shape.slice(0, axis)),
  shape[axis] as number,
  sizeOf(shape.slice(axis + 1)),
];

/** The gradient of what was picked at `index` along `axis`, added up in index order into zeros of `shape` (or into `have`), f32 for 16-bit. */
function scatterAdd(g: Tensor, index: Tensor, shape: Shape, axis: number, have?: Tensor): Tensor {
  const [outer, n, inner] = around(shape, axis);
  const wide = g.dtype === 'f64' ? 'f64' : 'f32';
  const dx = have ?? unwritten(shape, wide, g.device);
  run(gatherGradOp, [dense(g), index], [dx], [outer, n, index.shape[axis] as number, inner, have ? 1 : 0]);
  return cast(dx, g.dtype);
}

/**
 * out[i][j][k] = x[i][index[i][j][k]][k] for axis 1 of three, and so on. `index` is i32, of x's shape but along `axis` (default: the last).
 * @throws DataError at the next await for an index outside the dimension
 */
export function gather(x: Tensor, index: Tensor, options: { axis?: number } = {}): Tensor {
  checkTensor('gather', x);
  checkTensor('gather', index, 'index');
  checkOptions('gather', options, ['axis']);
  checkDevice('gather', x, index);
  if (index.dtype !== 'i32') throw new DTypeError(`gather: index must be i32, got ${index.dtype}. Convert it: index.to('i32').`);
  const axis = checkAxis('gather', options.axis ?? -1, x.ndim);
  const at = (s: Shape) => s.filter((_, i) => i !== axis);
  if (index.ndim !== x.ndim || !sameShape(at(index.shape), at(x.shape)))
    throw new ShapeError(`gather: index ${show(index.shape)} must have the shape of x ${show(x.shape)} but along axis ${axis}`);
  const i = dense(index);
  const out = unwritten(index.shape, x.dtype, x.device);
  const [outer, n, inner] = around(x.shape, axis);
  run(gatherOp, [dense(x), i], [out], [outer, n, index.shape[axis] as number, inner]);
  const { shape, dtype } = x;
  record('gather', [x], [out], [i], ([g], [saved], back) => {
    const wide = dtype === 'f32' || dtype === 'f64';
    const have = wide ? back.take(0, { dtype, format: 'contiguous' }) : undefined;
    return [scatterAdd(g as Tensor, saved as Tensor, shape, axis, have)];
  });
  return out;
}

// ---- top k ------------------------------------------------------------------------------------------------------------------

const topKOp = nativeOp('topK');

export interface TopKOptions {
  /** Default: the last. */
  axis?: number;
  /** The largest (default), or the smallest. */
  largest?: boolean;
}

/**
 * The `k` largest (or smallest) values along an axis, best first, and their i32 indices. Equal values: the lower index first; NaN counts as
 * larger than every number.
 */
export function topK(x: Tensor, k: number, options: TopKOptions = {}): { values: Tensor; indices: Tensor } {
  checkTensor('topK', x);
  checkOptions('topK', options, ['axis', 'largest']);
  const axis = checkAxis('topK', options.axis ?? -1, x.ndim);
  const n = x.shape[axis] as number;
  if (!Number.isInteger(k) || k < 0 || k > n)
    throw new ConfigError(
      `topK: k must be a whole number from 0 to ${n}, dimension ${axis} of ${show(x.shape)}, got ${describe(k)}`,
    );
  if (axis !== x.ndim - 1) {
    const axes = x.shape.map((_, i) => i);
    [axes[axis], axes[x.ndim - 1]] = [x.ndim - 1, axis];
    const { values, indices } = topK(permute(x, axes), k, { largest: options.largest });
    return { values: permute(values, axes), indices: permute(indices, axes) };
  }
  const shape = [...x.shape.slice(0, -1), k];
  const values = unwritten(shape, x.dtype, x.device);
  const indices = unwritten(shape, 'i32', x.device);
  run(topKOp, [dense(x)], [values, indices], [n, k, (options.largest ?? true) ? 1 : 0]);
  const from = x.shape;
  if (isFloat(x.dtype)) record('topK', [x], [values], [indices], ([g], [at]) => [g && scatterAdd(g, at as Tensor, from, axis)]);
  return { values, indices };
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** Values at `index` along `axis` (default: the last). */
    gather(index: Tensor, options?: { axis?: number }): Tensor;
    /** The `k` largest values along an axis (default: the last), best first, and their indices. */
    topK(k: number, options?: TopKOptions): { values: Tensor; indices: Tensor };
  }
}
attach({ gather, topK });
