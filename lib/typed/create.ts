import * as ops from '../ops/create.ts';
import * as random from '../ops/random.ts';
import * as create from '../tensor/create.ts';
import type { Shape } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Plain } from './shape.ts';
import type { Shaped, TensorOf } from './tensor.ts';

type Filled = <const S extends Shape>(shape: S, options?: ops.CreateOptions) => TensorOf<Plain<S>>;

export const zeros: Filled = ops.zeros as Filled;
export const ones: Filled = ops.ones as Filled;
/** Uniform in [0, 1). */
export const rand: Filled = random.rand as Filled;
/** Normal, mean 0, deviation 1. */
export const randn: Filled = random.randn as Filled;
export const uniform = random.uniform as <const S extends Shape>(
  shape: S,
  options?: Parameters<typeof random.uniform>[1],
) => TensorOf<Plain<S>>;
export const normal = random.normal as <const S extends Shape>(
  shape: S,
  options?: Parameters<typeof random.normal>[1],
) => TensorOf<Plain<S>>;
export const randint = random.randint as <const S extends Shape>(
  shape: S,
  options: Parameters<typeof random.randint>[1],
) => TensorOf<Plain<S>>;
export const full = ops.full as <const S extends Shape>(
  shape: S,
  value: number,
  options?: ops.CreateOptions,
) => TensorOf<Plain<S>>;
export const zerosLike = ops.zerosLike as <S extends Shape>(x: Shaped<S>) => TensorOf<S>;
export const arange = ops.arange as <N extends number>(n: N) => TensorOf<[N]>;

/** The shape of nested arrays: of literal ones; of others the rank is known if all of it is typed as arrays of arrays. */
export type NestedShape<T, Depth extends 0[] = []> = Depth['length'] extends 8
  ? []
  : T extends readonly unknown[]
    ? [T['length'], ...NestedShape<T[number], [...Depth, 0]>]
    : [];

interface MakeTensor {
  /** Of typed data with its shape. */
  <const S extends Shape>(data: ArrayBufferView, options: Omit<create.TensorOptions, 'shape'> & { shape: S }): TensorOf<Plain<S>>;
  (data: ArrayBufferView, options?: Omit<create.TensorOptions, 'shape'>): TensorOf<[number]>;
  /** Of nested arrays: the shape is that of the nesting. */
  <const T extends create.Nested>(data: T, options?: Omit<create.TensorOptions, 'shape'>): TensorOf<NestedShape<T>>;
}
/** As anneal's. The size of an array that is no literal is `number`. */
export const tensor = create.tensor as (...args: never[]) => Tensor as MakeTensor;
