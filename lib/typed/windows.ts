/** Shapes of convolution and pooling: [N, C, H, W] to [N, O, H', W']. */
import type { Add, Div, Mul, Sub } from './arithmetic.ts';
import type { DimensionMismatch, Fits, Plain, Ranked, Sizes } from './shape.ts';

/** One number for both directions, or [height, width]. */
export type Pair = number | readonly [number, number];
type Tall<P extends Pair> = P extends readonly [infer H extends number, number] ? H : P extends number ? P : number;
type Wide<P extends Pair> = P extends readonly [number, infer W extends number] ? W : P extends number ? P : number;

/** floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1; `never` where the window is larger than what it stands on. */
type Windows<Size extends number, K extends number, S extends number, P extends number, D extends number> = number extends Size
  ? number
  : Sub<Add<Size, Mul<2, P>>, Add<Mul<D, Sub<K, 1>>, 1>> extends infer Room extends number
    ? [Room] extends [never]
      ? never
      : Add<Div<Room, S>, 1>
    : never;

/** The shape behind a window that slides over H and W; `C` is the channels that it wants (`null`: any), `O` those that it gives. */
export type Slide<
  What extends string,
  X extends Sizes,
  C extends number | null,
  O extends number | null,
  K extends Pair,
  S extends Pair,
  P extends Pair,
  D extends Pair,
> = X extends readonly [infer N, infer XC, infer H, infer W]
  ? C extends number
    ? Fits<C, XC> extends true
      ? Slid<
          What,
          X,
          N,
          O extends number ? O : XC,
          Windows<H & number, Tall<K>, Tall<S>, Tall<P>, Tall<D>>,
          Windows<W & number, Wide<K>, Wide<S>, Wide<P>, Wide<D>>
        >
      : DimensionMismatch<`channels of ${What}`, C, XC>
    : Slid<
        What,
        X,
        N,
        O extends number ? O : XC,
        Windows<H & number, Tall<K>, Tall<S>, Tall<P>, Tall<D>>,
        Windows<W & number, Wide<K>, Wide<S>, Wide<P>, Wide<D>>
      >
  : Ranked<X> extends true
    ? DimensionMismatch<`${What}: x is [N, C, H, W]`, 4, Plain<X>>
    : [number, O extends number ? O : number, number, number];

type Slid<What extends string, X extends Sizes, N, C, H, W> = [H] extends [never]
  ? DimensionMismatch<`${What}: the window is larger than`, 'H and W', Plain<X>>
  : [W] extends [never]
    ? DimensionMismatch<`${What}: the window is larger than`, 'H and W', Plain<X>>
    : [N, C, H, W];
