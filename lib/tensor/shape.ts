import { describe, ShapeError } from '../native/errors.ts';

export type Shape = readonly number[];

export const show = (shape: Shape): string => `[${shape.map(describe).join(', ')}]`;

/** Elements of a shape; 1 for a scalar. */
export function sizeOf(shape: Shape): number {
  let n = 1;
  for (let i = 0; i < shape.length; i++) n *= shape[i] as number;
  return n;
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** Throws ShapeError unless every dimension is a whole number >= 0 and the product is a safe size. */
export function checkShape(where: string, shape: unknown): Shape {
  if (!Array.isArray(shape)) throw new ShapeError(`${where}: a shape is an array of whole numbers, got ${describe(shape)}`);
  for (const d of shape)
    if (!Number.isSafeInteger(d) || d < 0)
      throw new ShapeError(`${where}: dimension ${describe(d)} of ${show(shape)} is not a whole number >= 0`);
  if (shape.length > 8) throw new ShapeError(`${where}: at most 8 dimensions, got ${shape.length}`);
  if (sizeOf(shape) > 2 ** 40) throw new ShapeError(`${where}: ${show(shape)} has too many elements`);
  return shape;
}

/** The axis counted from the front. Negative axes count from the back, as in NumPy. */
export function checkAxis(where: string, axis: number, rank: number): number {
  const a = Number.isInteger(axis) && axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(axis) || a < 0 || a >= rank)
    throw new ShapeError(
      `${where}: axis ${describe(axis)} does not exist in a tensor of ${rank} dimensions (use ${-rank} to ${rank - 1})`,
    );
  return a;
}

/** Axes from the front, sorted, each once; all of them when none is given. */
export function checkAxes(where: string, axes: number | readonly number[] | undefined, rank: number): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  if (typeof axes !== 'number' && !Array.isArray(axes))
    throw new ShapeError(`${where}: axis must be a number or a list of numbers, got ${describe(axes)}`);
  const list = (typeof axes === 'number' ? [axes] : [...axes]).map((a) => checkAxis(where, a, rank)).sort((a, b) => a - b);
  for (let i = 1; i < list.length; i++)
    if (list[i] === list[i - 1]) throw new ShapeError(`${where}: axis ${list[i]} is given twice`);
  return list;
}

/** NumPy's broadcasting: shapes are aligned at the end; a dimension of 1 repeats. */
export function broadcastShapes(where: string, a: Shape, b: Shape): Shape {
  if (sameShape(a, b)) return a;
  const rank = Math.max(a.length, b.length);
  const out = new Array<number>(rank);
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1)
      throw new ShapeError(
        `${where}: cannot broadcast ${show(a)} with ${show(b)}: dimension ${i - rank} is ${x} on one side and ${y} on the other`,
      );
    out[i] = x === 1 ? y : x;
  }
  return out;
}

/** The shape after reducing `axes`. */
export function reducedShape(shape: Shape, axes: readonly number[], keepDims: boolean): number[] {
  return keepDims ? shape.map((d, i) => (axes.includes(i) ? 1 : d)) : shape.filter((_, i) => !axes.includes(i));
}

/**
 * Attributes of a broadcast walk over `shape`: [rank, dims, strides of a, strides of b], with neighbouring dimensions merged where both
 * operands allow it, so that kernels see as few and as long loops as possible. Strides count elements; 0 repeats.
 */
export function broadcastAttributes(shape: Shape, a: Shape, b: Shape): number[] {
  const rank = shape.length;
  const stridesOf = (s: Shape): number[] => {
    const strides = new Array<number>(rank).fill(0);
    let step = 1;
    for (let i = s.length - 1; i >= 0; i--) {
      const d = s[i] as number;
      strides[rank - s.length + i] = d === 1 ? 0 : step;
      step *= d;
    }
    return strides;
  };
  const sa = stridesOf(a);
  const sb = stridesOf(b);
  const dims: number[] = [];
  const as: number[] = [];
  const bs: number[] = [];
  for (let i = 0; i < rank; i++) {
    const d = shape[i] as number;
    if (d === 1) continue;
    const last = dims.length - 1;
    const mergeA = (as[last] as number) === (sa[i] as number) * d;
    const mergeB = (bs[last] as number) === (sb[i] as number) * d;
    if (last >= 0 && mergeA && mergeB) {
      dims[last] = (dims[last] as number) * d;
      as[last] = sa[i] as number;
      bs[last] = sb[i] as number;
    } else {
      dims.push(d);
      as.push(sa[i] as number);
      bs.push(sb[i] as number);
    }
  }
  return [dims.length, ...dims, ...as, ...bs];
}

/** A new shape for the same elements; one dimension may be -1. */
export function inferShape(where: string, shape: readonly number[], size: number): number[] {
  if (!Array.isArray(shape)) throw new ShapeError(`${where}: a shape is an array of whole numbers, got ${describe(shape)}`);
  if (!shape.every(Number.isInteger)) checkShape(where, shape);
  const holes = shape.filter((d) => d === -1).length;
  if (holes > 1) throw new ShapeError(`${where}: only one dimension of ${show(shape)} may be -1`);
  const known = shape.reduce((n, d) => (d === -1 ? n : n * d), 1);
  const result = holes ? shape.map((d) => (d === -1 ? (known === 0 ? 0 : size / known) : d)) : [...shape];
  if (result.some((d) => !Number.isInteger(d)) || sizeOf(checkShape(where, result)) !== size)
    throw new ShapeError(`${where}: ${size} elements do not fit the shape ${show(shape)}`);
  return result;
}
