/**
 * Layers of anneal's nn under types that know their sizes. Each is the same class; its type says, as `shapes`, what it makes of a shape, and
 * Sequential reads that.
 */
import * as plain from '../nn/index.ts';
import type { Shape } from '../tensor/shape.ts';
import type { EndsWith, LinearTo } from './rules.ts';
import type { Check, DimensionMismatch, Fits, Plain, Ranked, Sizes, Unranked } from './shape.ts';
import type { ParameterOf, Shaped, TensorOf, Typed } from './tensor.ts';
import type { Flatten as FlattenRule } from './views.ts';
import type { Pair, Slide } from './windows.ts';

// ---- what a layer makes of a shape ------------------------------------------------------------------------------------------

/** A function from shape to shape at the level of types: `Apply` fills in `input` and reads `output`. */
export interface ShapeMap {
  readonly input: unknown;
  readonly output: unknown;
}
export type Apply<M extends ShapeMap, S> = (M & { readonly input: S })['output'];
/** A map's input as what rules take. */
export type Input<M extends ShapeMap> = M['input'] extends infer S extends Sizes ? S : Sizes;

/** `forward` by a map. */
export type Forward<M extends ShapeMap> = <X extends Shape>(
  x: Shaped<X> & (Unranked<X> extends true ? unknown : Check<Apply<M, X>>),
) => Typed<Apply<M, X>>;

/** A layer whose map Sequential can read. For a module of yours: `declare readonly shapes?: MyMap`; it exists in the types alone. */
export interface Mapped<M extends ShapeMap> {
  readonly shapes?: M;
}

/** Elementwise, and whatever else leaves shapes alone. */
export interface Keeps extends ShapeMap {
  readonly output: this['input'];
}
interface LinearMap<I, O> extends ShapeMap {
  readonly output: LinearTo<'last dimension of Linear', Input<this>, I, O>;
}
interface EmbeddingMap<D> extends ShapeMap {
  readonly output: [...Input<this>, D];
}
interface EndMap<What extends string, End extends Sizes> extends ShapeMap {
  readonly output: EndsWith<What, Input<this>, End>;
}
interface FlattenMap extends ShapeMap {
  readonly output: Unranked<Input<this>> extends true ? [number, number] : FlattenRule<Input<this>, 1>;
}
/** [N, C, ...]: channels must fit. */
type Channels<What extends string, S extends Sizes, C> =
  Ranked<S> extends true
    ? S extends readonly [unknown, infer X, ...unknown[]]
      ? Fits<C, X> extends true
        ? S
        : DimensionMismatch<`channels of ${What}`, C, X>
      : DimensionMismatch<`${What}: x is [N, C, ...]`, 'two or more dimensions', Plain<S>>
    : S;
interface ChannelMap<What extends string, C> extends ShapeMap {
  readonly output: Channels<What, Input<this>, C>;
}
interface WindowMap<
  What extends string,
  C extends number | null,
  O extends number | null,
  K extends Pair,
  S extends Pair,
  P extends Pair,
  D extends Pair,
> extends ShapeMap {
  readonly output: Slide<What, Input<this>, C, O, K, S, P, D>;
}

// ---- linear, embedding, norms -----------------------------------------------------------------------------------------------

export interface Linear<I extends number = number, O extends number = number> extends plain.Linear, Mapped<LinearMap<I, O>> {
  weight: ParameterOf<[O, I]>;
  bias: ParameterOf<[O]> | null;
  forward: Forward<LinearMap<I, O>>;
}
export const Linear = plain.Linear as unknown as new <I extends number, O extends number>(
  inFeatures: I,
  outFeatures: O,
  options?: ConstructorParameters<typeof plain.Linear>[2],
) => Linear<I, O>;

export interface Embedding<V extends number = number, D extends number = number>
  extends plain.Embedding,
    Mapped<EmbeddingMap<D>> {
  weight: ParameterOf<[V, D]>;
  forward: Forward<EmbeddingMap<D>>;
}
export const Embedding = plain.Embedding as unknown as new <V extends number, D extends number>(
  count: V,
  dim: D,
  options?: ConstructorParameters<typeof plain.Embedding>[2],
) => Embedding<V, D>;

type SizesOf<S> = S extends Sizes ? Plain<S> : [S];

export interface LayerNorm<S extends number | Shape = number> extends plain.LayerNorm, Mapped<EndMap<'LayerNorm', SizesOf<S>>> {
  forward: Forward<EndMap<'LayerNorm', SizesOf<S>>>;
}
export const LayerNorm = plain.LayerNorm as unknown as {
  new <const S extends number | Shape>(
    normalizedShape: S,
    options?: ConstructorParameters<typeof plain.LayerNorm>[1],
  ): LayerNorm<S>;
};

export interface RMSNorm<S extends number | Shape = number> extends plain.RMSNorm, Mapped<EndMap<'RMSNorm', SizesOf<S>>> {
  forward: Forward<EndMap<'RMSNorm', SizesOf<S>>>;
}
export const RMSNorm = plain.RMSNorm as unknown as {
  new <const S extends number | Shape>(normalizedShape: S, options?: ConstructorParameters<typeof plain.RMSNorm>[1]): RMSNorm<S>;
};

export interface BatchNorm1d<C extends number = number> extends plain.BatchNorm1d, Mapped<ChannelMap<'BatchNorm1d', C>> {
  forward: Forward<ChannelMap<'BatchNorm1d', C>>;
}
export const BatchNorm1d = plain.BatchNorm1d as unknown as new <C extends number>(
  numFeatures: C,
  options?: plain.BatchNormOptions,
) => BatchNorm1d<C>;
export interface BatchNorm2d<C extends number = number> extends plain.BatchNorm2d, Mapped<ChannelMap<'BatchNorm2d', C>> {
  forward: Forward<ChannelMap<'BatchNorm2d', C>>;
}
export const BatchNorm2d = plain.BatchNorm2d as unknown as new <C extends number>(
  numFeatures: C,
  options?: plain.BatchNormOptions,
) => BatchNorm2d<C>;
export interface GroupNorm<C extends number = number> extends plain.GroupNorm, Mapped<ChannelMap<'GroupNorm', C>> {
  forward: Forward<ChannelMap<'GroupNorm', C>>;
}
export const GroupNorm = plain.GroupNorm as unknown as new <C extends number>(
  numGroups: number,
  numChannels: C,
  options?: ConstructorParameters<typeof plain.GroupNorm>[2],
) => GroupNorm<C>;

// ---- convolution, pooling ---------------------------------------------------------------------------------------------------

/** The options of plain.Conv2d with their literals. */
type ConvOptions<K extends Pair, S extends Pair, P extends Pair, D extends Pair> = Omit<
  ConstructorParameters<typeof plain.Conv2d>[2],
  'kernelSize' | 'stride' | 'padding' | 'dilation'
> & { kernelSize: K; stride?: S; padding?: P; dilation?: D };

type ConvMap<I extends number, O extends number, K extends Pair, S extends Pair, P extends Pair, D extends Pair> = WindowMap<
  'Conv2d',
  I,
  O,
  K,
  S,
  P,
  D
>;
export interface Conv2d<
  I extends number = number,
  O extends number = number,
  K extends Pair = Pair,
  S extends Pair = Pair,
  P extends Pair = Pair,
  D extends Pair = Pair,
> extends plain.Conv2d,
    Mapped<ConvMap<I, O, K, S, P, D>> {
  bias: ParameterOf<[O]> | null;
  forward: Forward<ConvMap<I, O, K, S, P, D>>;
}
export const Conv2d = plain.Conv2d as unknown as {
  new <
    I extends number,
    O extends number,
    const K extends Pair,
    const S extends Pair = 1,
    const P extends Pair = 0,
    const D extends Pair = 1,
  >(
    inChannels: I,
    outChannels: O,
    options: ConvOptions<K, S, P, D>,
  ): Conv2d<I, O, K, S, P, D>;
};

type PoolMap<What extends string, K extends Pair, S extends Pair, P extends Pair> = WindowMap<What, null, null, K, S, P, 1>;
export interface MaxPool2d<K extends Pair = Pair, S extends Pair = Pair, P extends Pair = Pair>
  extends plain.MaxPool2d,
    Mapped<PoolMap<'MaxPool2d', K, S, P>> {
  forward: Forward<PoolMap<'MaxPool2d', K, S, P>>;
}
export const MaxPool2d = plain.MaxPool2d as unknown as {
  new <const K extends Pair, const S extends Pair = K, const P extends Pair = 0>(
    kernelSize: K,
    options?: { stride?: S; padding?: P },
  ): MaxPool2d<K, S, P>;
};
export interface AvgPool2d<K extends Pair = Pair, S extends Pair = Pair, P extends Pair = Pair>
  extends plain.AvgPool2d,
    Mapped<PoolMap<'AvgPool2d', K, S, P>> {
  forward: Forward<PoolMap<'AvgPool2d', K, S, P>>;
}
export const AvgPool2d = plain.AvgPool2d as unknown as {
  new <const K extends Pair, const S extends Pair = K, const P extends Pair = 0>(
    kernelSize: K,
    options?: { stride?: S; padding?: P },
  ): AvgPool2d<K, S, P>;
};

// ---- layers that leave shapes alone -----------------------------------------------------------------------------------------

export interface Flatten extends plain.Flatten, Mapped<FlattenMap> {
  forward: Forward<FlattenMap>;
}
export const Flatten = plain.Flatten as unknown as new () => Flatten;

/** [B, T, C] to [B, T, C]. */
export interface TransformerBlock<C extends number = number>
  extends plain.TransformerBlock,
    Mapped<EndMap<'TransformerBlock', [number, number, C]>> {
  forward: Forward<EndMap<'TransformerBlock', [number, number, C]>>;
}
export const TransformerBlock = plain.TransformerBlock as unknown as new <C extends number>(
  dim: C,
  heads: number,
  options?: ConstructorParameters<typeof plain.TransformerBlock>[2],
) => TransformerBlock<C>;

/** `forward` of a layer that leaves shapes alone. */
type Same = <X extends Shape>(x: Shaped<X>) => TensorOf<X>;
type Constructor<Base extends abstract new (...args: never[]) => unknown, Layer> = new (
  ...args: ConstructorParameters<Base>
) => Layer;

export interface ReLU extends plain.ReLU, Mapped<Keeps> {
  forward: Same;
}
export const ReLU = plain.ReLU as unknown as Constructor<typeof plain.ReLU, ReLU>;

export interface GELU extends plain.GELU, Mapped<Keeps> {
  forward: Same;
}
export const GELU = plain.GELU as unknown as Constructor<typeof plain.GELU, GELU>;

export interface SiLU extends plain.SiLU, Mapped<Keeps> {
  forward: Same;
}
export const SiLU = plain.SiLU as unknown as Constructor<typeof plain.SiLU, SiLU>;

export interface Sigmoid extends plain.Sigmoid, Mapped<Keeps> {
  forward: Same;
}
export const Sigmoid = plain.Sigmoid as unknown as Constructor<typeof plain.Sigmoid, Sigmoid>;

export interface Tanh extends plain.Tanh, Mapped<Keeps> {
  forward: Same;
}
export const Tanh = plain.Tanh as unknown as Constructor<typeof plain.Tanh, Tanh>;

export interface Softplus extends plain.Softplus, Mapped<Keeps> {
  forward: Same;
}
export const Softplus = plain.Softplus as unknown as Constructor<typeof plain.Softplus, Softplus>;

export interface LeakyReLU extends plain.LeakyReLU, Mapped<Keeps> {
  forward: Same;
}
export const LeakyReLU = plain.LeakyReLU as unknown as Constructor<typeof plain.LeakyReLU, LeakyReLU>;

export interface ELU extends plain.ELU, Mapped<Keeps> {
  forward: Same;
}
export const ELU = plain.ELU as unknown as Constructor<typeof plain.ELU, ELU>;

export interface Softmax extends plain.Softmax, Mapped<Keeps> {
  forward: Same;
}
export const Softmax = plain.Softmax as unknown as Constructor<typeof plain.Softmax, Softmax>;

export interface LogSoftmax extends plain.LogSoftmax, Mapped<Keeps> {
  forward: Same;
}
export const LogSoftmax = plain.LogSoftmax as unknown as Constructor<typeof plain.LogSoftmax, LogSoftmax>;

export interface Dropout extends plain.Dropout, Mapped<Keeps> {
  forward: Same;
}
export const Dropout = plain.Dropout as unknown as Constructor<typeof plain.Dropout, Dropout>;

export interface Dropout2d extends plain.Dropout2d, Mapped<Keeps> {
  forward: Same;
}
export const Dropout2d = plain.Dropout2d as unknown as Constructor<typeof plain.Dropout2d, Dropout2d>;

export interface DropPath extends plain.DropPath, Mapped<Keeps> {
  forward: Same;
}
export const DropPath = plain.DropPath as unknown as Constructor<typeof plain.DropPath, DropPath>;

export interface Identity extends plain.Identity, Mapped<Keeps> {
  forward: Same;
}
export const Identity = plain.Identity as unknown as Constructor<typeof plain.Identity, Identity>;
