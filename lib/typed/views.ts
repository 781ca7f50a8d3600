/** Rules as in rules.ts: of ops that arrange elements anew, take parts or join wholes. */
import type { Add, DivMod, Mul, Sub } from './arithmetic.ts';
import type { Fitting } from './rules.ts';
import type {
  AxisOf,
  DimensionMismatch,
  Fits,
  Inserted,
  NoAxis,
  Plain,
  Ranked,
  Replaced,
  Same,
  SizeAt,
  Sizes,
  Without,
} from './shape.ts';

// ---- the same elements in another shape -------------------------------------------------------------------------------------

/** The number of elements. */
export type SizeOf<S extends Sizes, N extends number = 1> = S extends readonly [infer D extends number, ...infer Rest]
  ? SizeOf<Rest, Mul<N, D>>
  : S extends readonly []
    ? N
    : number;

/** S without one size equal to D; `false` where there is none. */
type Less<S extends Sizes, D, Front extends unknown[] = []> = S extends readonly [infer X, ...infer Rest]
  ? Same<X, D> extends true
    ? [...Front, ...Rest]
    : Less<Rest, D, [...Front, X]>
  : false;
/** What is left of two shapes when sizes that stand in both are struck out: so sizes that are type parameters need no arithmetic. */
type Strike<A extends Sizes, B extends Sizes, Left extends unknown[] = []> = A extends readonly [infer X, ...infer Rest]
  ? Less<B, X> extends infer R extends unknown[]
    ? Strike<Rest, R, Left>
    : Strike<Rest, B, [...Left, X]>
  : [Left, B];

/** One size of the new shape may be -1: what is left for it. */
export type Reshape<A extends Sizes, R extends Sizes> =
  Ranked<R> extends true
    ? Ranked<A> extends true
      ? Reshaped<A, R, Strike<A, Plain<R>>>
      : Less<R, -1> extends readonly number[]
        ? Filled<R, number>
        : Plain<R>
    : number[];
type Reshaped<A extends Sizes, R extends Sizes, Rest> = Rest extends [infer From extends unknown[], infer To extends unknown[]]
  ? Less<To, -1> extends infer Others extends unknown[]
    ? DivMod<SizeOf<From>, SizeOf<Others>> extends [infer Q, infer Left]
      ? Left extends 0
        ? Filled<R, Q>
        : number extends Left
          ? Filled<R, Q>
          : NoReshape<A, R>
      : never
    : [SizeOf<From>, SizeOf<To>] extends [infer P, infer Q]
      ? Fits<P, Q> extends true
        ? Plain<R>
        : NoReshape<A, R>
      : never
  : never;
type NoReshape<A extends Sizes, R extends Sizes> = DimensionMismatch<'number of elements of reshape', Plain<A>, Plain<R>>;
type Filled<R extends Sizes, D, Hole = -1> = R extends readonly [infer X, ...infer Rest]
  ? Same<X, Hole> extends true
    ? [D, ...Filled<Rest, D, Hole>]
    : [X, ...Filled<Rest, D, Hole>]
  : [];

/** Axes from Start to End, both included, merged. */
export type Flatten<S extends Sizes, Start extends number = 0, End extends number = -1> =
  Ranked<S> extends true
    ? S extends readonly []
      ? [1]
      : number extends Start | End
        ? number[]
        : [AxisOf<S, Start>, AxisOf<S, End>] extends [infer F, infer L]
          ? [F] extends [never]
            ? NoAxis<'flatten', S, Start>
            : [L] extends [never]
              ? NoAxis<'flatten', S, End>
              : Merged<S, F, L>
          : never
    : number[];
type Merged<
  S extends Sizes,
  F,
  L,
  Front extends unknown[] = [],
  Seen extends 0[] = [],
  N extends number | null = null,
> = S extends readonly [infer D, ...infer Rest]
  ? N extends number
    ? Seen['length'] extends L
      ? [...Front, Mul<N, D & number>, ...Rest]
      : Merged<Rest, F, L, Front, [...Seen, 0], Mul<N, D & number>>
    : Seen['length'] extends F
      ? Seen['length'] extends L
        ? [...Front, D, ...Rest]
        : Merged<Rest, F, L, Front, [...Seen, 0], D & number>
      : Merged<Rest, F, L, [...Front, D], [...Seen, 0], null>
  : DimensionMismatch<'flatten: start lies behind end', F, L>;

export type Unsqueeze<S extends Sizes, X extends number> =
  Ranked<S> extends true
    ? number extends X
      ? number[]
      : AxisOf<[...S, 1], X> extends infer K
        ? [K] extends [never]
          ? NoAxis<'unsqueeze', S, X>
          : Inserted<S, K, 1>
        : never
    : number[];

/** Without an axis: all sizes of 1, if every size is a literal. */
export type Squeeze<S extends Sizes, X extends number | undefined> =
  Ranked<S> extends true
    ? X extends number
      ? number extends X
        ? number[]
        : AxisOf<S, X> extends infer K
          ? [K] extends [never]
            ? NoAxis<'squeeze', S, X>
            : SqueezedAt<S, K>
          : never
      : Squeezed<S>
    : number[];
type SqueezedAt<S extends Sizes, K, One = 1> = K extends keyof S
  ? Fits<S[K], One> extends true
    ? Without<S, K>
    : DimensionMismatch<'squeezed dimension', One, S[K]>
  : never;
type Squeezed<S extends Sizes, Out extends unknown[] = []> = S extends readonly [infer D, ...infer Rest]
  ? number extends D
    ? number[]
    : D extends 1
      ? Squeezed<Rest, Out>
      : Squeezed<Rest, [...Out, D]>
  : Out;

// ---- axes in another order --------------------------------------------------------------------------------------------------

export type Transpose<S extends Sizes, A extends number = -2, B extends number = -1> =
  Ranked<S> extends true
    ? number extends A | B
      ? number[]
      : [AxisOf<S, A>, AxisOf<S, B>] extends [infer K, infer L]
        ? [K] extends [never]
          ? NoAxis<'transpose', S, A>
          : [L] extends [never]
            ? NoAxis<'transpose', S, B>
            : Replaced<Replaced<S, K, SizeAt<S, L>>, L, SizeAt<S, K>>
        : never
    : number[];

export type Permute<S extends Sizes, P extends Sizes> =
  Ranked<S> extends true
    ? Ranked<P> extends true
      ? S['length'] extends P['length']
        ? Permuted<S, P>
        : DimensionMismatch<'number of axes of permute', S['length'], P['length']>
      : number[]
    : number[];
type Permuted<S extends Sizes, P extends Sizes, Out extends unknown[] = [], Seen = never> = P extends readonly [
  infer X,
  ...infer Rest,
]
  ? number extends X
    ? number[]
    : AxisOf<S, X & number> extends infer K
      ? [K] extends [never]
        ? NoAxis<'permute', S, X>
        : K extends Seen
          ? DimensionMismatch<'permute: an axis is given twice', Plain<S>, X>
          : Permuted<S, Rest, [...Out, SizeAt<S, K>], Seen | K>
      : never
  : Out;

// ---- parts and wholes -------------------------------------------------------------------------------------------------------

/** `Length` of one axis from `Start` on. */
export type Narrow<S extends Sizes, X extends number, Start extends number, Length extends number> =
  Ranked<S> extends true
    ? number extends X
      ? number[]
      : AxisOf<S, X> extends infer K
        ? [K] extends [never]
          ? NoAxis<'narrow', S, X>
          : [Sub<SizeAt<S, K> & number, Add<Start, Length>>] extends [never]
            ? DimensionMismatch<'narrow: end of the part', SizeAt<S, K>, Add<Start, Length>>
            : Replaced<S, K, Length>
        : never
    : number[];

/** Shapes equal but along one axis, where they add up. */
export type Concat<L extends readonly Sizes[], X extends number> = L extends readonly [
  infer First extends Sizes,
  ...infer Rest extends Sizes[],
]
  ? Ranked<First> extends true
    ? number extends X
      ? number[]
      : AxisOf<First, X> extends infer K
        ? [K] extends [never]
          ? NoAxis<'concat', First, X>
          : Joined<Rest, First, K>
        : never
    : number[]
  : number[];
type Joined<L extends readonly Sizes[], S extends Sizes, K> = L extends readonly [
  infer Next extends Sizes,
  ...infer Rest extends Sizes[],
]
  ? Ranked<Next> extends true
    ? Fitting<Without<S, K>, Without<Next, K>> extends true
      ? Joined<Rest, Replaced<S, K, Add<SizeAt<S, K> & number, SizeAt<Next, K> & number>>, K>
      : DimensionMismatch<'dimensions of concat', Plain<S>, Plain<Next>>
    : number[]
  : L extends readonly []
    ? S
    : Replaced<S, K, number>;

/** Equal shapes along a new axis. */
export type Stack<L extends readonly Sizes[], X extends number> = L extends readonly [
  infer First extends Sizes,
  ...infer Rest extends Sizes[],
]
  ? AllEqual<Rest, First> extends infer R
    ? R extends Sizes
      ? Ranked<First> extends true
        ? number extends X
          ? number[]
          : AxisOf<[...First, 1], X> extends infer K
            ? [K] extends [never]
              ? NoAxis<'stack', First, X>
              : Inserted<First, K, L['length']>
            : never
        : number[]
      : R
    : never
  : number[];
type AllEqual<L extends readonly Sizes[], S extends Sizes> = L extends readonly [
  infer Next extends Sizes,
  ...infer Rest extends Sizes[],
]
  ? Fitting<S, Next> extends true
    ? AllEqual<Rest, S>
    : DimensionMismatch<'shapes of stack', Plain<S>, Plain<Next>>
  : S;
