// Kinds of arguments: a right value of each, and which of the wrong-looking values below a function is free to take.
import { type DType, device, Tensor, tensor, zeros } from '../../lib/index.ts';

export interface Kind {
  /** A right value, made anew for each call. */
  readonly make: () => unknown;
  /** May this value be taken? Where not, the call must throw. */
  readonly takes: (v: unknown) => boolean;
  /** Kinds of an options object's fields. */
  readonly fields?: Readonly<Record<string, Kind>>;
}

const kind = (make: () => unknown, takes: Kind['takes']): Kind => ({ make, takes });
const isTensor = (v: unknown) => v instanceof Tensor && !v.disposed;

/** A tensor: zeros of this shape. Other tensors may fit or not. */
export const t = (shape: readonly number[], dtype: DType = 'f32', options = {}): Kind =>
  kind(() => zeros(shape, { dtype, ...options }), isTensor);
export const ints = (...v: number[]): Kind => kind(() => tensor(Int32Array.from(v)), isTensor);
/** A tensor or a number, as arithmetic takes them. */
export const operand = (shape: readonly number[]): Kind =>
  kind(
    () => zeros(shape),
    (v) => isTensor(v) || typeof v === 'number',
  );
export const num = (v: number): Kind =>
  kind(
    () => v,
    (w) => typeof w === 'number' && !Number.isNaN(w),
  );
export const anyNum = (v: number): Kind =>
  kind(
    () => v,
    (w) => typeof w === 'number',
  );
export const int = (v: number): Kind => kind(() => v, Number.isInteger);
export const count = (v: number): Kind =>
  kind(
    () => v,
    (w) => Number.isInteger(w) && (w as number) > 0,
  );
export const text = (v: string): Kind =>
  kind(
    () => v,
    (w) => typeof w === 'string',
  );
export const word = (v: string): Kind =>
  kind(
    () => v,
    () => false,
  );
export const fn = (f: unknown): Kind =>
  kind(
    () => f,
    (v) => typeof v === 'function',
  );
/** Built by `make`; lists may be taken. */
export const list = (make: () => unknown): Kind => kind(make, Array.isArray);
export const shape = (...dims: number[]): Kind => list(() => dims);
/** Built by `make`; nothing else will do. */
export const only = (make: () => unknown): Kind => kind(make, () => false);
/** Built by `make`; plain objects may be taken. */
export const object = (make: () => unknown): Kind =>
  kind(make, (v) => typeof v === 'object' && v !== null && [Object.prototype, null].includes(Object.getPrototypeOf(v)));
/** Built by `make`; any object may be taken. */
export const thing = (make: () => unknown): Kind => kind(make, (v) => typeof v === 'object' && v !== null);
export const any = (v?: unknown): Kind =>
  kind(
    () => v,
    () => true,
  );
export const or = (a: Kind, ...rest: Kind[]): Kind => kind(a.make, (v) => a.takes(v) || rest.some((k) => k.takes(v)));
/** May be left out. */
export const maybe = (k: Kind): Kind => ({ ...k, takes: (v) => v === undefined || v === null || k.takes(v) });
/** An options object with fields of these kinds, all given. */
const fieldsOf = (fields: Record<string, Kind>) => () =>
  Object.fromEntries(Object.entries(fields).map(([name, k]) => [name, k.make()]));
export const needs = (fields: Record<string, Kind>): Kind => ({ make: fieldsOf(fields), takes: () => false, fields });
/** The same, every field optional and so the object. */
export const options = (fields: Record<string, Kind>): Kind => ({
  make: fieldsOf(fields),
  takes: (v) => v === undefined || (typeof v === 'object' && v !== null && Object.keys(v).length === 0 && !Array.isArray(v)),
  fields: Object.fromEntries(Object.entries(fields).map(([name, k]) => [name, maybe(k)])),
});

/** The options that all makers of tensors share. */
export const maker = { dtype: word('f32'), device: only(() => device('cpu')), requiresGrad: any(false) };
/** One list of arguments for several functions. */
export const each = (names: string, args: readonly Kind[]): Record<string, readonly Kind[]> =>
  Object.fromEntries(names.split(' ').map((name) => [name, args]));

const freed = () => {
  const x = zeros([2]);
  x.dispose();
  return x;
};
/** Values of the wrong kind, by name. */
export const wrongs: readonly (readonly [name: string, make: () => unknown])[] = [
  ['undefined', () => undefined],
  ['null', () => null],
  ['a string', () => '/dev/null/nonsense'],
  ['NaN', () => Number.NaN],
  ['Infinity', () => Number.POSITIVE_INFINITY],
  ['-1', () => -1],
  ['0.5', () => 0.5],
  ['true', () => true],
  ['{}', () => ({})],
  ['an object without a prototype', () => Object.create(null)],
  ['[]', () => []],
  ['[undefined]', () => [undefined]],
  ['a function', () => () => {}],
  ['a symbol', () => Symbol('s')],
  ['a bigint', () => 1n],
  ['an i32 tensor', () => tensor(Int32Array.of(1, 2, 3))],
  ['a tensor of 5 dimensions', () => zeros([1, 2, 1, 2, 1])],
  ['a freed tensor', freed],
];
