// What an index says: NumPy's rules, without any tensor being touched.
import { ConfigError, DTypeError, describe, ShapeError } from '../native/errors.ts';
import { type Shape, show } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';

/** Numbers, or lists of lists of them. */
export type Nested<T> = readonly (T | Nested<T>)[];
/**
 * One part of an index: a number picks; a string is a slice ('1:5', '::-1', ':') or '...'; null is a new dimension; lists of whole numbers and i32
 * tensors pick many (together, broadcast); lists of booleans pick where they are true.
 */
export type Index = number | string | null | Tensor | Nested<number> | Nested<boolean>;

export interface Slice {
  readonly start: number;
  readonly step: number;
  readonly length: number;
}
/** A dimension of the result, or what becomes of a dimension of x. Parts stand in the order of the index. */
export type Part =
  | { readonly kind: 'int'; readonly at: number }
  | ({ readonly kind: 'slice' } & Slice)
  | { readonly kind: 'new' }
  | { readonly kind: 'list'; readonly index: Tensor | HostIndex; readonly n: number };

/** Whole numbers of some shape, on the host; checked, none negative. */
export interface HostIndex {
  readonly values: readonly number[];
  readonly shape: Shape;
}

const whole = (text: string): number | undefined => (/^[+-]?\d+$/.test(text) ? Number(text) : undefined);

/** Python's slice.indices: start, step and count of 'a:b:c' in a dimension of n. */
function parseSlice(op: string, text: string, n: number): Slice {
  const fields = text.split(':').map((s) => s.trim());
  const numbers = fields.map((s) => (s === '' ? null : whole(s)));
  if (fields.length < 2 || fields.length > 3 || numbers.includes(undefined))
    throw new ConfigError(
      `${op}: '${text}' is no slice. Slices are 'start:stop:step' of whole numbers, such as '1:5', '::-1' or ':'.`,
    );
  const step = numbers[2] ?? 1;
  if (step === 0) throw new ConfigError(`${op}: the step of '${text}' must not be 0`);
  const [low, high] = step > 0 ? [0, n] : [-1, n - 1];
  const bound = (v: number | null | undefined, absent: number) =>
    v == null ? absent : Math.min(high, Math.max(low, v < 0 ? v + n : v));
  const start = bound(numbers[0], step > 0 ? low : high);
  const stop = bound(numbers[1], step > 0 ? high : low);
  return { start, step, length: Math.max(0, Math.ceil((stop - start) / step)) };
}

/** The shape and the elements of a list of lists. */
function flatten(op: string, list: readonly unknown[]): { values: unknown[]; shape: number[] } {
  const inner = list.map((v) => (Array.isArray(v) ? flatten(op, v) : { values: [v], shape: [] as number[] }));
  const shape = inner[0]?.shape ?? [];
  if (inner.some((i) => show(i.shape) !== show(shape)))
    throw new ShapeError(`${op}: the lists of an index must be of one length, got ${describe(list)}`);
  return { values: inner.flatMap((i) => i.values), shape: [list.length, ...shape] };
}

function picked(op: string, at: number, n: number, axis: number, shape: Shape): number {
  const i = at < 0 ? at + n : at;
  if (!Number.isInteger(at) || i < 0 || i >= n)
    throw new ShapeError(`${op}: index ${describe(at)} is outside dimension ${axis} of ${show(shape)}, which has ${n} elements`);
  return i;
}

/** Where a mask is true, an index list for each of its dimensions. */
function nonzero(op: string, mask: { values: unknown[]; shape: number[] }, axis: number, shape: Shape): HostIndex[] {
  const own = shape.slice(axis, axis + mask.shape.length);
  if (show(own) !== show(mask.shape))
    throw new ShapeError(`${op}: a mask of ${show(mask.shape)} does not fit dimension ${axis} of ${show(shape)}`);
  const places = mask.values.flatMap((v, i) => (v ? [i] : []));
  let step = mask.values.length;
  return mask.shape.map((d) => {
    step = d ? step / d : 0;
    return { values: places.map((p) => Math.floor(p / step) % d), shape: [places.length] };
  });
}

/** Dimensions of x that a part of the index takes. */
function taken(op: string, index: unknown): number {
  if (index === null || index === '...') return 0;
  if (index instanceof Tensor && (index.dtype === 'bool' || index.dtype === 'u8'))
    throw new DTypeError(
      `${op}: how many elements a mask on the device picks is known there alone. Wait for it: await x.maskedSelect(mask); or give the mask as booleans.`,
    );
  if (Array.isArray(index)) {
    const { values, shape } = flatten(op, index);
    return values.length && values.every((v) => typeof v === 'boolean') ? shape.length : 1;
  }
  return 1;
}

function parseOne(op: string, index: unknown, axis: number, shape: Shape): Part[] {
  const n = shape[axis] as number;
  if (index === null) return [{ kind: 'new' }];
  if (typeof index === 'number') return [{ kind: 'int', at: picked(op, index, n, axis, shape) }];
  if (typeof index === 'string') return [{ kind: 'slice', ...parseSlice(op, index, n) }];
  if (index instanceof Tensor) {
    if (index.dtype !== 'i32')
      throw new DTypeError(`${op}: an index tensor must be i32, got ${index.dtype}. Convert it: index.to('i32').`);
    if (index.disposed) throw new ShapeError(`${op}: the index tensor was freed`);
    return [{ kind: 'list', index, n }];
  }
  if (!Array.isArray(index))
    throw new ConfigError(
      `${op}: an index is a number, a slice such as '1:5', '...', null, a list or an i32 tensor, got ${describe(index)}`,
    );
  const list = flatten(op, index);
  if (list.values.length && list.values.every((v) => typeof v === 'boolean'))
    return nonzero(op, list, axis, shape).map((i, d) => ({ kind: 'list', index: i, n: shape[axis + d] as number }));
  const values = list.values.map((v) => {
    if (typeof v !== 'number')
      throw new ConfigError(`${op}: a list of an index holds whole numbers or booleans, got ${describe(v)}`);
    return picked(op, v, n, axis, shape);
  });
  return [{ kind: 'list', index: { values, shape: list.shape }, n }];
}

/**
 * An index into `shape`, a part for each dimension; what it leaves out is ':' at the end, or where '...' stands.
 * @throws ShapeError, ConfigError, DTypeError naming the part that is wrong
 */
export function parseIndex(op: string, shape: Shape, index: readonly unknown[]): Part[] {
  if (index.filter((i) => i === '...').length > 1) throw new ConfigError(`${op}: '...' may stand once in an index`);
  const count = index.reduce<number>((sum, i) => sum + taken(op, i), 0);
  if (count > shape.length)
    throw new ShapeError(`${op}: ${count} indices are too many for ${show(shape)}, which has ${shape.length} dimensions`);
  const rest = shape.length - count;
  const parts: Part[] = [];
  let axis = 0;
  const all = () => parts.push({ kind: 'slice', start: 0, step: 1, length: shape[axis++] as number });
  for (const i of index) {
    if (i === '...') for (let k = 0; k < rest; k++) all();
    else {
      parts.push(...parseOne(op, i, axis, shape));
      axis += taken(op, i);
    }
  }
  while (axis < shape.length) all();
  return parts;
}
