import { ConfigError, checkOptions, DTypeError, describe, ShapeError } from '../native/errors.ts';
import { fromHost } from '../tensor/create.ts';
import { checkDType, type DType, promote } from '../tensor/dtype.ts';
import { checkAxes, checkAxis, checkShape, show, sizeOf } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { add, eq, ge, le, mul } from './binary.ts';
import { attach, cast, checkDevice, checkTensor, dense, filled } from './define.ts';
import { broadcastTo, concat, narrow } from './index.ts';
import { indexSelect } from './scatter.ts';
import { gather, where } from './select.ts';
import { reshape } from './view.ts';

const isCount = (n: unknown): n is number => Number.isInteger(n) && (n as number) >= 0;
const counting = (n: number, x: Tensor): Tensor =>
  fromHost(
    Int32Array.from({ length: n }, (_, i) => i),
    [n],
    'i32',
    x.device,
  );

// ---- triangles --------------------------------------------------------------------------------------------------------------

function triangle(op: string, x: Tensor, diagonal: number, keep: typeof le): Tensor {
  checkTensor(op, x);
  if (x.ndim < 2) throw new ShapeError(`${op}: x must have two dimensions at least, got ${show(x.shape)}`);
  if (!Number.isSafeInteger(diagonal)) throw new ConfigError(`${op}: diagonal must be a whole number, got ${describe(diagonal)}`);
  const [rows, columns] = x.shape.slice(-2) as [number, number];
  // diagonals beyond the corners are as good as at them
  const d = Math.max(-rows, Math.min(columns, diagonal));
  return where(keep(counting(columns, x), add(reshape(counting(rows, x), [rows, 1]), d)), x, 0);
}
/** The matrices of x with 0 above `diagonal`: 0 (default) is the main one, 1 the one above it. */
export const tril = (x: Tensor, diagonal = 0): Tensor => triangle('tril', x, diagonal, le);
/** The matrices of x with 0 below `diagonal`: 0 (default) is the main one, 1 the one above it. */
export const triu = (x: Tensor, diagonal = 0): Tensor => triangle('triu', x, diagonal, ge);

// ---- rolled and repeated ----------------------------------------------------------------------------------------------------

/**
 * Elements moved by `shifts` places along `axis`, those that leave at one end come in at the other. Several shifts for several axes; without an
 * axis the tensor is rolled as one row.
 */
export function roll(x: Tensor, shifts: number | readonly number[], options: { axis?: number | readonly number[] } = {}): Tensor {
  checkTensor('roll', x);
  checkOptions('roll', options, ['axis']);
  const by = typeof shifts === 'number' ? [shifts] : shifts;
  if (!Array.isArray(by) || !by.every(Number.isSafeInteger))
    throw new ConfigError(`roll: shifts must be whole numbers, got ${describe(shifts)}`);
  const { axis } = options;
  if (axis === undefined) {
    if (by.length !== 1) throw new ShapeError(`roll: ${by.length} shifts without axes. Give one axis for each.`);
    return reshape(roll(reshape(x, [x.size]), by, { axis: 0 }), x.shape);
  }
  checkAxes('roll', axis, x.ndim);
  const axes = typeof axis === 'number' ? [axis] : axis;
  if (axes.length !== by.length) throw new ShapeError(`roll: ${by.length} shifts for ${axes.length} axes`);
  let out = x;
  axes.forEach((given, i) => {
    const a = checkAxis('roll', given, x.ndim);
    const n = x.shape[a] as number;
    const s = n ? (((by[i] as number) % n) + n) % n : 0;
    if (s) out = concat([narrow(out, a, n - s, s), narrow(out, a, 0, n - s)], { axis: a });
  });
  return out === x ? reshape(x, x.shape) : out;
}

/** Dimension `axis` taken `times` times: one block after the other, or each element so many times. */
function repeated(x: Tensor, axis: number, times: number, each: boolean): Tensor {
  const [outer, n, inner] = [sizeOf(x.shape.slice(0, axis)), x.shape[axis] as number, sizeOf(x.shape.slice(axis + 1))];
  const [rows, row] = each ? [outer * n, inner] : [outer, n * inner];
  const shape = x.shape.map((d, i) => (i === axis ? n * times : d));
  return reshape(broadcastTo(reshape(x, [rows, 1, row]), [rows, times, row]), checkShape('repeat', shape));
}

/** x repeated: `repeats` says how often along each dimension; more of them than dimensions put new ones in front. PyTorch's repeat. */
export function repeat(x: Tensor, repeats: readonly number[]): Tensor {
  checkTensor('repeat', x);
  return repeatAs('repeat', x, repeats);
}
function repeatAs(op: string, x: Tensor, repeats: readonly number[]): Tensor {
  if (!Array.isArray(repeats) || !repeats.every(isCount))
    throw new ConfigError(`${op}: repeats must be a list of whole numbers >= 0, got ${describe(repeats)}`);
  if (repeats.length < x.ndim)
    throw new ShapeError(`${op}: ${repeats.length} repeats for ${show(x.shape)}. Give one for each dimension, or use tile.`);
  let out = reshape(x, checkShape(op, [...new Array<number>(repeats.length - x.ndim).fill(1), ...x.shape]));
  repeats.forEach((times, axis) => {
    if (times !== 1) out = repeated(out, axis, times, false);
  });
  return out;
}
/** x repeated along its last dimensions: NumPy's and PyTorch's tile. */
export function tile(x: Tensor, repeats: number | readonly number[]): Tensor {
  checkTensor('tile', x);
  const list = typeof repeats === 'number' ? [repeats] : repeats;
  if (!Array.isArray(list)) throw new ConfigError(`tile: repeats must be a list of whole numbers >= 0, got ${describe(repeats)}`);
  return repeatAs('tile', x, [...new Array<number>(Math.max(0, x.ndim - list.length)).fill(1), ...list]);
}

/**
 * Each element `repeats` times, along `axis` (default: of the tensor as one row). A list says how often for each place of the axis; it is numbers,
 * since the result's size is in it.
 */
export function repeatInterleave(x: Tensor, repeats: number | readonly number[], options: { axis?: number } = {}): Tensor {
  checkTensor('repeatInterleave', x);
  checkOptions('repeatInterleave', options, ['axis']);
  if (options.axis === undefined && x.ndim !== 1) return repeatInterleave(reshape(x, [x.size]), repeats);
  const axis = checkAxis('repeatInterleave', options.axis ?? 0, x.ndim);
  if (isCount(repeats)) return repeated(x, axis, repeats, true);
  if (!Array.isArray(repeats) || !repeats.every(isCount))
    throw new ConfigError(`repeatInterleave: repeats must be whole numbers >= 0, got ${describe(repeats)}`);
  if (repeats.length !== x.shape[axis])
    throw new ShapeError(`repeatInterleave: ${repeats.length} repeats for dimension ${axis} of ${show(x.shape)}`);
  return indexSelect(
    x,
    axis,
    (repeats as number[]).flatMap((times, i) => new Array<number>(times).fill(i)),
  );
}

// ---- made of others ---------------------------------------------------------------------------------------------------------

/** All products of elements of a [n] and b [m]: [n, m]. */
export function outer(a: Tensor, b: Tensor): Tensor {
  checkTensor('outer', a, 'a');
  checkTensor('outer', b, 'b');
  if (a.ndim !== 1 || b.ndim !== 1)
    throw new ShapeError(
      `outer: operands must have one dimension, got ${show(a.shape)} and ${show(b.shape)}. Flatten them first.`,
    );
  checkDevice('outer', a, b);
  promote('outer', a.dtype, b.dtype);
  return mul(reshape(a, [a.size, 1]), b);
}

/**
 * 1 at each index, else 0: [...index.shape, numClasses], i32 by default. `numClasses` must be given: the largest index is on the device.
 * @throws DataError at the next await for an index outside [0, numClasses)
 */
export function oneHot(index: Tensor, numClasses: number, options: { dtype?: DType } = {}): Tensor {
  checkTensor('oneHot', index, 'index');
  checkOptions('oneHot', options, ['dtype']);
  if (index.dtype !== 'i32') throw new DTypeError(`oneHot: index must be i32, got ${index.dtype}. Convert it: index.to('i32').`);
  if (!Number.isInteger(numClasses) || numClasses < 1)
    throw new ConfigError(`oneHot: numClasses must be a whole number above 0, got ${describe(numClasses)}`);
  const dtype = checkDType('oneHot', options.dtype ?? 'i32');
  const flat = reshape(dense(index), [index.size]);
  // gather looks whether each index is a class: it adds its zeros
  const checked = add(flat, gather(filled([numClasses], 0, 'i32', index), flat, { axis: 0 }));
  const hot = eq(reshape(checked, [...index.shape, 1]), counting(numClasses, index));
  return cast(hot, dtype);
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** 0 above the diagonal. */
    tril(diagonal?: number): Tensor;
    /** 0 below the diagonal. */
    triu(diagonal?: number): Tensor;
    /** Moved round by `shifts` along `axis`. */
    roll(shifts: number | readonly number[], options?: { axis?: number | readonly number[] }): Tensor;
    /** Repeated so often along each dimension. */
    repeat(repeats: readonly number[]): Tensor;
    tile(repeats: number | readonly number[]): Tensor;
    /** Each element so many times. */
    repeatInterleave(repeats: number | readonly number[], options?: { axis?: number }): Tensor;
    outer(other: Tensor): Tensor;
  }
}
attach({ tril, triu, roll, repeat, tile, repeatInterleave, outer });
