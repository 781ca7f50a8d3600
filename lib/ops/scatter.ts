import { checkOptions, DTypeError, describe, ShapeError } from '../native/errors.ts';
import { checkFits, isFloat } from '../tensor/dtype.ts';
import { broadcastShapes, checkAxis, type Shape, sameShape, show, sizeOf } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { add, gt, lt, ne } from './binary.ts';
import { attach, cast, checkDevice, checkFloat, checkTensor, dense, filled, nativeOp, record, run, unwritten } from './define.ts';
import { broadcastTo, concat, narrow } from './index.ts';
import { at, type Index } from './indexing.ts';
import { gather, topK, where } from './select.ts';

export interface AlongOptions {
  /** Default: the last. */
  axis?: number;
}

function checkIndex(op: string, x: Tensor, index: Tensor): Tensor {
  checkTensor(op, x);
  checkTensor(op, index, 'index');
  checkDevice(op, x, index);
  if (index.dtype !== 'i32') throw new DTypeError(`${op}: index must be i32, got ${index.dtype}. Convert it: index.to('i32').`);
  return index;
}

/** Checks what scatters share; the axis from the front. */
function checkScatter(op: string, x: Tensor, index: Tensor, source: Tensor | number, options: AlongOptions): number {
  checkIndex(op, x, index);
  checkOptions(op, options, ['axis']);
  const axis = checkAxis(op, options.axis ?? -1, x.ndim);
  const rest = (s: Shape) => s.filter((_, i) => i !== axis);
  if (index.ndim !== x.ndim || !sameShape(rest(index.shape), rest(x.shape)))
    throw new ShapeError(`${op}: index ${show(index.shape)} must have the shape of x ${show(x.shape)} but along axis ${axis}`);
  if (typeof source === 'number') {
    checkFits(op, source, x.dtype);
    return axis;
  }
  checkDevice(op, x, checkTensor(op, source, 'source'));
  if (source.dtype !== x.dtype)
    throw new DTypeError(`${op}: source is ${source.dtype} and x is ${x.dtype}. Convert one: source.to('${x.dtype}').`);
  if (!sameShape(source.shape, index.shape))
    throw new ShapeError(`${op}: source ${show(source.shape)} must have the shape of index ${show(index.shape)}`);
  return axis;
}

const scatterAddOp = nativeOp('gather.grad');

/**
 * x with `source` added: out[index[i][j]][j] += source[i][j] for axis 0 of two, and so on. `index` is i32, of x's shape but along `axis`
 * (default: the last). Places named several times receive all, in the order of the index, summed in f32. Gradients for x and source.
 * @throws DataError at the next await for an index outside the dimension
 */
export function scatterAdd(x: Tensor, index: Tensor, source: Tensor, options: AlongOptions = {}): Tensor {
  checkFloat('scatterAdd', x);
  checkTensor('scatterAdd', source, 'source');
  const axis = checkScatter('scatterAdd', x, index, source, options);
  const wide = x.dtype === 'f64' ? 'f64' : 'f32';
  const own = dense(x).detach();
  const out = x.dtype === wide ? unwritten(x.shape, wide, x.device) : cast(own, wide);
  if (x.dtype === wide) run(nativeOp('copy'), [own], [out]);
  const i = dense(index);
  const around = [
    sizeOf(x.shape.slice(0, axis)),
    x.shape[axis] as number,
    i.shape[axis] as number,
    sizeOf(x.shape.slice(axis + 1)),
  ];
  run(scatterAddOp, [dense(source).detach(), i], [out], [...around, 1]);
  const made = cast(out, x.dtype);
  record('scatterAdd', [x, source], [made], [i], ([g], [saved], back) => [
    back.needs(0) ? (g as Tensor) : null,
    back.needs(1) ? gather(g as Tensor, saved as Tensor, { axis }) : null,
  ]);
  return made;
}

/**
 * Which place of `index` along `axis` is the last to name each place of a dimension of n: its number, plus 1; 0 where none does. Index sorted
 * (stable), the last of each run scattered; counted in f32, exact to 2^24.
 */
function winners(op: string, index: Tensor, n: number, axis: number): Tensor {
  const k = index.shape[axis] as number;
  if (k >= 2 ** 24) throw new ShapeError(`${op}: at most 2^24 - 1 places along an axis, got ${k}`);
  const shape = index.shape.map((d, i) => (i === axis ? n : d));
  const none = filled(shape, 0, 'f32', index);
  if (k === 0 || n === 0) return none;
  const { values, indices } = topK(index, k, { axis, largest: false });
  const end = filled(
    shape.map((_, i) => (i === axis ? 1 : (shape[i] as number))),
    1,
    'bool',
    index,
  );
  const last = concat([ne(narrow(values, axis, 1, k - 1), narrow(values, axis, 0, k - 1)), end], { axis });
  return scatterAdd(none, values, where(last, add(indices, 1).to('f32'), 0), { axis });
}

/**
 * x with `source` (a tensor of index's shape, or a number) written: out[index[i][j]][j] = source[i][j] for axis 0 of two, and so on. Of places
 * named several times the last counts. Any dtype; gradients for x and source. `index` as in `scatterAdd`; it is sorted on the way.
 */
export function scatter(x: Tensor, index: Tensor, source: Tensor | number, options: AlongOptions = {}): Tensor {
  const axis = checkScatter('scatter', x, index, source, options);
  const winner = winners('scatter', dense(index), x.shape[axis] as number, axis);
  const written = gt(winner, 0);
  if (typeof source === 'number' || index.size === 0) return where(written, typeof source === 'number' ? source : 0, x);
  const from = winner.sub(1).maximum(0).to('i32');
  return where(written, gather(source, from, { axis }), x);
}

/**
 * NumPy's take_along_axis: gather, where negative places count from the back and the other dimensions broadcast.
 * @throws DataError at the next await for an index outside the dimension
 */
export function takeAlongAxis(x: Tensor, index: Tensor, options: AlongOptions = {}): Tensor {
  checkIndex('takeAlongAxis', x, index);
  checkOptions('takeAlongAxis', options, ['axis']);
  const axis = checkAxis('takeAlongAxis', options.axis ?? -1, x.ndim);
  if (index.ndim !== x.ndim)
    throw new ShapeError(`takeAlongAxis: index ${show(index.shape)} must have as many dimensions as x ${show(x.shape)}`);
  const without = (s: Shape) => s.map((d, i) => (i === axis ? 1 : d));
  const rest = broadcastShapes('takeAlongAxis', without(x.shape), without(index.shape));
  const as = (t: Tensor) =>
    broadcastTo(
      t,
      rest.map((d, i) => (i === axis ? (t.shape[i] as number) : d)),
    );
  return gather(as(x), as(where(lt(index, 0), add(index, x.shape[axis] as number), index)), { axis });
}

/**
 * The elements of `axis` that `index` names, in its order: PyTorch's index_select. `index` is a list of numbers or an i32 tensor of one dimension;
 * negative ones count from the back.
 */
export function indexSelect(x: Tensor, axis: number, index: Tensor | readonly number[]): Tensor {
  checkTensor('indexSelect', x);
  const a = checkAxis('indexSelect', axis, x.ndim);
  if (index instanceof Tensor) checkIndex('indexSelect', x, index);
  else if (!Array.isArray(index) || !index.every((i) => typeof i === 'number'))
    throw new DTypeError(`indexSelect: index must be an i32 tensor or a list of numbers, got ${describe(index)}`);
  if (index instanceof Tensor && index.ndim !== 1)
    throw new ShapeError(`indexSelect: index must have one dimension, got ${show(index.shape)}. For more use at or gather.`);
  return at(x, ...new Array<Index>(a).fill(':'), index);
}

/** x with `value` where `mask` (bool or u8, broadcast to x) is true. The gradient passes where it is false. */
export function maskedFill(x: Tensor, mask: Tensor, value: number): Tensor {
  checkTensor('maskedFill', x);
  checkTensor('maskedFill', mask, 'mask');
  if (typeof value !== 'number') throw new DTypeError(`maskedFill: value must be a number, got ${describe(value)}`);
  if (mask.ndim > x.ndim || !sameShape(broadcastShapes('maskedFill', mask.shape, x.shape), x.shape))
    throw new ShapeError(`maskedFill: mask ${show(mask.shape)} does not broadcast to x ${show(x.shape)}`);
  if (!isFloat(x.dtype)) checkFits('maskedFill', value, x.dtype);
  if (mask.dtype !== 'bool' && mask.dtype !== 'u8')
    throw new DTypeError(`maskedFill: mask must be bool, got ${mask.dtype}. Compare first: x.gt(0).`);
  return where(mask, value, x);
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** A copy with `source` added at `index` along `axis` (default: the last). */
    scatterAdd(index: Tensor, source: Tensor, options?: AlongOptions): Tensor;
    /** A copy with `source` written at `index` along `axis` (default: the last); the last one counts. */
    scatter(index: Tensor, source: Tensor | number, options?: AlongOptions): Tensor;
    /** Values at `index` along `axis`, as NumPy's take_along_axis. */
    takeAlongAxis(index: Tensor, options?: AlongOptions): Tensor;
    /** The elements of `axis` that `index` names. */
    indexSelect(axis: number, index: Tensor | readonly number[]): Tensor;
    /** A copy with `value` where `mask` is true. */
    maskedFill(mask: Tensor, value: number): Tensor;
  }
}
attach({ scatterAdd, scatter, takeAlongAxis, indexSelect, maskedFill });
