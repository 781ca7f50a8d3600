import * as plain from '../nn/index.ts';
import type { Apply, Forward, Mapped, ShapeMap } from './layers.ts';
import type { Sizes } from './shape.ts';
import type { Shaped } from './tensor.ts';

/** What a layer gives for a shape: by its map, or, of a module without one, by the types of its forward. */
type Through<L, S> = L extends { readonly shapes?: infer M }
  ? NonNullable<M> extends infer F extends ShapeMap
    ? Apply<F, S>
    : ByForward<L>
  : ByForward<L>;
type ByForward<L> = L extends { forward(x: never): Shaped<infer O> } ? O : number[];

/** The shape behind all layers, or the first mismatch. */
type Chain<L extends readonly unknown[], S> = L extends readonly [infer First, ...infer Rest]
  ? Through<First, S> extends infer O
    ? O extends Sizes
      ? Chain<Rest, O>
      : O
    : never
  : L extends readonly []
    ? S
    : number[];

/** The layers; in the place of one that does not fit, why. Behind one nothing is known, so that it is the only one. */
type Checked<L extends readonly unknown[], S = number[]> = L extends readonly [infer First, ...infer Rest]
  ? Through<First, S> extends infer O
    ? O extends Sizes
      ? [First, ...Checked<Rest, O>]
      : [O, ...Checked<Rest, number[]>]
    : never
  : L;

export interface SequentialMap<L extends readonly unknown[]> extends ShapeMap {
  readonly output: Chain<L, this['input']>;
}

/** A module from one tensor to one tensor. */
type AnyLayer = plain.Module & { forward(x: never): unknown };

/** Layers whose shapes chain: one that does not fit the layers before it is refused where it stands. */
export interface Sequential<L extends readonly unknown[] = readonly unknown[]>
  extends plain.Sequential,
    Mapped<SequentialMap<L>> {
  forward: Forward<SequentialMap<L>>;
}
export const Sequential = plain.Sequential as unknown as new <L extends AnyLayer[]>(
  ...layers: Checked<L> extends L ? L : Checked<L>
) => Sequential<L>;
