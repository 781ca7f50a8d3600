import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import { fromHost } from '../tensor/create.ts';
import { type Device, type DeviceName, defaultDevice, device } from '../tensor/device.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { add, mul } from './binary.ts';
import { cast, checkDevice, checkFloat, checkNumber, checkShapeIs, checkTensor } from './define.ts';
import { concat, narrow, stack } from './index.ts';
import { neg } from './unary.ts';
import { reshape } from './view.ts';

const count = (op: string, name: string, value: unknown, low = 1): number => {
  if (!Number.isSafeInteger(value) || (value as number) < low)
    throw new ConfigError(`${op}: ${name} must be a whole number of at least ${low}, got ${describe(value)}`);
  return value as number;
};

/** [rows, columns] of f(row, column), computed in f64 and rounded once. */
function table(rows: number, columns: number, on: Device, f: (row: number, column: number) => number): Tensor {
  const values = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) values[i * columns + j] = f(i, j);
  return fromHost(values, [rows, columns], 'f32', on);
}

export interface PositionOptions {
  /** The wavelengths' base. Default 10000. */
  base?: number;
  /** The first row's position. Default 0. */
  offset?: number;
  device?: DeviceName | Device;
}

/** Sine and cosine of each position at wavelengths from 2 pi to base 2 pi: [length, dim], even columns sines, odd ones cosines (Vaswani et al. 2017). */
export function sinusoidalPositions(length: number, dim: number, options: PositionOptions = {}): Tensor {
  const op = 'sinusoidalPositions';
  checkOptions(op, options, ['base', 'offset', 'device']);
  count(op, 'length', length);
  if (count(op, 'dim', dim) % 2)
    throw new ConfigError(`${op}: dim must be even, got ${dim}: a sine and a cosine for each wavelength`);
  const base = checkNumber(op, options.base ?? 10000, 'base', Number.MIN_VALUE, Number.MAX_VALUE);
  const offset = count(op, 'offset', options.offset ?? 0, 0);
  return table(length, dim, device(options.device ?? defaultDevice()), (i, j) => {
    const angle = (i + offset) * base ** ((-2 * Math.floor(j / 2)) / dim);
    return j % 2 ? Math.cos(angle) : Math.sin(angle);
  });
}

/** Cosines and sines [T, dim / 2] of the angles by which rotary positions turn. */
export interface RotaryTables {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

/** The angles of `length` positions: position x base^(-2 i / dim). */
export function rotaryTables(length: number, dim: number, options: PositionOptions = {}): RotaryTables {
  const op = 'rotaryTables';
  checkOptions(op, options, ['base', 'offset', 'device']);
  count(op, 'length', length);
  if (count(op, 'dim', dim) % 2) throw new ConfigError(`${op}: dim must be even, got ${dim}: positions turn pairs`);
  const base = checkNumber(op, options.base ?? 10000, 'base', Number.MIN_VALUE, Number.MAX_VALUE);
  const offset = count(op, 'offset', options.offset ?? 0, 0);
  const on = device(options.device ?? defaultDevice());
  const angle = (i: number, j: number) => (i + offset) * base ** ((-2 * j) / dim);
  return {
    cos: table(length, dim / 2, on, (i, j) => Math.cos(angle(i, j))),
    sin: table(length, dim / 2, on, (i, j) => Math.sin(angle(i, j))),
  };
}

export interface RotaryOptions {
  /** Default 10000. */
  base?: number;
  /** The position of the first row: what a cache of keys already holds. Default 0. */
  offset?: number;
  /** How many numbers of each head turn, the first ones; even. Default: all. */
  dim?: number;
  /** Pairs are neighbours (GPT-J, the paper) instead of halves (GPT-NeoX, LLaMA). Default false. */
  interleaved?: boolean;
  /** Made by rotaryTables, for many calls; then base and offset are theirs. */
  tables?: RotaryTables;
}

/**
 * Rotary positions (Su et al. 2021): x [..., T, D], such as queries or keys [B, heads, T, D], each pair of numbers turned by its position's angle.
 * The dot product of two rows then depends on the distance of their positions alone.
 * @throws ShapeError, ConfigError
 */
export function rotary(x: Tensor, options: RotaryOptions = {}): Tensor {
  const op = 'rotary';
  checkFloat(op, x);
  checkOptions(op, options, ['base', 'offset', 'dim', 'interleaved', 'tables']);
  if (x.ndim < 2) throw new ShapeError(`${op}: x must be [..., T, D], got ${show(x.shape)}`);
  const [t, width] = x.shape.slice(-2) as [number, number];
  const dim = options.dim === undefined ? width : count(op, 'dim', options.dim);
  if (dim % 2 || dim > width)
    throw new ConfigError(`${op}: dim must be even and at most ${width}, the width of x ${show(x.shape)}, got ${dim}`);
  if (t === 0 || dim === 0) return x;
  if (options.tables !== undefined && (options.base !== undefined || options.offset !== undefined))
    throw new ConfigError(`${op}: base and offset are those of the tables. Give them to rotaryTables.`);
  const { base, offset, tables } = options;
  const made =
    tables ??
    rotaryTables(t, dim, {
      ...(base === undefined ? {} : { base }),
      ...(offset === undefined ? {} : { offset }),
      device: x.device,
    });
  const [cos, sin] = [made.cos, made.sin].map((m) => {
    checkShapeIs(op, checkTensor(op, m, 'tables'), [t, dim / 2], 'tables');
    checkDevice(op, x, m);
    return cast(m, x.dtype);
  }) as [Tensor, Tensor];
  const turning = dim === width ? x : narrow(x, -1, 0, dim);
  const turned = options.interleaved ? neighbours(turning, cos, sin) : halves(turning, cos, sin);
  return dim === width ? turned : concat([turned, narrow(x, -1, dim, width - dim)], { axis: -1 });
}

/** (a, b) to (a cos - b sin, b cos + a sin), a the first half and b the second. */
function halves(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const half = (x.shape.at(-1) as number) / 2;
  const [a, b] = [narrow(x, -1, 0, half), narrow(x, -1, half, half)];
  return concat([add(mul(a, cos), neg(mul(b, sin))), add(mul(b, cos), mul(a, sin))], { axis: -1 });
}

/** The same, a at even places and b at odd ones. */
function neighbours(x: Tensor, cos: Tensor, sin: Tensor): Tensor {
  const half = (x.shape.at(-1) as number) / 2;
  const pairs = reshape(x, [...x.shape.slice(0, -1), half, 2]);
  const side = (i: number) => reshape(narrow(pairs, -1, i, 1), [...x.shape.slice(0, -1), half]);
  const [a, b] = [side(0), side(1)];
  return reshape(stack([add(mul(a, cos), neg(mul(b, sin))), add(mul(b, cos), mul(a, sin))], { axis: -1 }), x.shape);
}

/** The slope of each head: a geometric series from 2^(-8/n) (Press et al. 2022); between powers of two, every other one of the next. */
export function alibiSlopes(heads: number): number[] {
  const op = 'alibiSlopes';
  count(op, 'heads', heads);
  const series = (n: number) => Array.from({ length: n }, (_, i) => 2 ** ((-8 * (i + 1)) / n));
  const power = 2 ** Math.floor(Math.log2(heads));
  const more = series(2 * power).filter((_, i) => i % 2 === 0);
  return [...series(power), ...more.slice(0, heads - power)];
}

/**
 * Attention with linear biases (Press et al. 2022): [heads, queries, keys], minus slope times the distance from query to key; the last query stands
 * at the last key. For biasedAttention, or as a float attnMask. Default device: the default one.
 */
export function alibi(heads: number, queries: number, keys = queries, options: { device?: DeviceName | Device } = {}): Tensor {
  const op = 'alibi';
  checkOptions(op, options, ['device']);
  const slopes = alibiSlopes(count(op, 'heads', heads));
  count(op, 'queries', queries);
  count(op, 'keys', keys);
  const on = device(options.device ?? defaultDevice());
  const rows = table(heads * queries, keys, on, (r, j) => {
    const i = (r % queries) + keys - queries;
    return -(slopes[Math.floor(r / queries)] as number) * Math.abs(i - j);
  });
  return reshape(rows, [heads, queries, keys]);
}
