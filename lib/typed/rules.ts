/** From the shapes of operands to the shape of the result, or to the DimensionMismatch that says why there is none. A rule for each op. */
import type { AxisOf, DimensionMismatch, Fits, NoAxis, Plain, Ranked, Same, Sizes, Unranked, Without } from './shape.ts';

// ---- broadcasting -----------------------------------------------------------------------------------------------------------

/** One size of two operands, in a tuple; an empty one where they do not fit. 1 repeats; of an unknown size and another the other is the result. */
type BroadcastSize<A, B, One = 1, Any = number> =
  Same<A, B> extends true
    ? [A]
    : Same<A, One> extends true
      ? [B]
      : Same<B, One> extends true
        ? [A]
        : Same<A, Any> extends true
          ? [B]
          : Same<B, Any> extends true
            ? [A]
            : [];

/** NumPy's broadcasting: aligned at the end. */
export type Broadcast<What extends string, A extends Sizes, B extends Sizes> =
  Same<A, B> extends true
    ? A
    : Unranked<A> extends true
      ? number[]
      : Unranked<B> extends true
        ? number[]
        : BroadcastFrom<What, A, B>;

type BroadcastFrom<What extends string, A extends Sizes, B extends Sizes, Back extends unknown[] = []> = A extends readonly [
  ...infer HA,
  infer LA,
]
  ? B extends readonly [...infer HB, infer LB]
    ? BroadcastSize<LA, LB> extends [infer D]
      ? BroadcastFrom<What, HA, HB, [D, ...Back]>
      : DimensionMismatch<What, LA, LB>
    : [...(B extends readonly [] ? A : number[]), ...Back]
  : [...(A extends readonly [] ? B : number[]), ...Back];

/** `A` repeated to `B`: its sizes are B's, or 1. */
export type BroadcastTo<A extends Sizes, B extends Sizes> =
  Unranked<A> extends true
    ? Plain<B>
    : Broadcast<'broadcasting', A, B> extends infer R
      ? R extends Sizes
        ? Fitting<R, B> extends true
          ? Plain<B>
          : DimensionMismatch<'broadcastTo', Plain<A>, Plain<B>>
        : R
      : never;

// ---- shapes that must be equal ----------------------------------------------------------------------------------------------

/** Equal size by size, as far as is known. */
export type Fitting<A extends Sizes, B extends Sizes> =
  Same<A, B> extends true ? true : Ranked<A> extends true ? (Ranked<B> extends true ? Pairwise<A, B> : true) : true;
type Pairwise<A extends Sizes, B extends Sizes> = A extends readonly [infer X, ...infer XS]
  ? B extends readonly [infer Y, ...infer YS]
    ? Fits<X, Y> extends true
      ? Pairwise<XS, YS>
      : false
    : false
  : B extends readonly []
    ? true
    : false;
/** `B` where it may be `A`. */
export type Equal<What extends string, A extends Sizes, B extends Sizes> =
  Fitting<A, B> extends true ? Plain<B> : DimensionMismatch<What, Plain<A>, Plain<B>>;

// ---- products ---------------------------------------------------------------------------------------------------------------

type Transposed<S extends Sizes, T> = T extends true ? (S extends readonly [...infer H, infer M, infer N] ? [...H, N, M] : S) : S;

/** [..., M, K] with [..., K, N]; a 1-D operand is a row on the left, a column on the right. */
export type Matmul<A extends Sizes, B extends Sizes, TA = false, TB = false> =
  Unranked<A> extends true
    ? number[]
    : Unranked<B> extends true
      ? number[]
      : boolean extends TA
        ? number[]
        : boolean extends TB
          ? number[]
          : Product<Transposed<A, TA>, Transposed<B, TB>>;

type Product<A extends Sizes, B extends Sizes> = A extends readonly [infer K]
  ? B extends readonly [infer L]
    ? Inner<K, L, []>
    : B extends readonly [...infer H, infer L, infer N]
      ? Inner<K, L, [...H, N]>
      : NoMatrix<B>
  : A extends readonly [...infer HA, infer M, infer K]
    ? B extends readonly [infer L]
      ? Inner<K, L, [...HA, M]>
      : B extends readonly [...infer HB, infer L, infer N]
        ? Fits<K, L> extends true
          ? Broadcast<'leading dimensions of matmul', HA, HB> extends infer R
            ? R extends Sizes
              ? [...R, M, N]
              : R
            : never
          : Inner<K, L, []>
        : NoMatrix<B>
    : NoMatrix<A>;
type Inner<K, L, R> = Fits<K, L> extends true ? R : DimensionMismatch<'inner dimensions of matmul', K, L>;
/** A scalar; or a shape of which too little is known. */
type NoMatrix<S extends Sizes> = S extends readonly []
  ? DimensionMismatch<'matmul: operands have at least one dimension', 'one or more', 0>
  : number[];

/** x [..., I] with a weight [O, I]. */
export type Linear<X extends Sizes, W extends Sizes> = W extends readonly [infer O, infer I]
  ? LinearTo<'last dimension of linear', X, I, O>
  : Unranked<W> extends true
    ? number[]
    : DimensionMismatch<'linear: weight is [out, in]', 2, W['length']>;

export type LinearTo<What extends string, X extends Sizes, I, O> = X extends readonly [...infer H, infer L]
  ? Fits<I, L> extends true
    ? [...H, O]
    : DimensionMismatch<What, I, L>
  : Unranked<X> extends true
    ? [...number[], O]
    : DimensionMismatch<What, I, 'a scalar'>;

// ---- reductions -------------------------------------------------------------------------------------------------------------

/** An axis, a list of axes, or `undefined`: all. */
export type AxisArgument = number | readonly number[] | undefined;

export type Reduce<What extends string, S extends Sizes, X extends AxisArgument, Keep> = boolean extends Keep
  ? number[]
  : X extends undefined
    ? Keep extends true
      ? Ranked<S> extends true
        ? Collapsed<S, number, true>
        : number[]
      : []
    : Ranked<S> extends true
      ? Picked<What, S, X extends readonly number[] ? X : [X & number]> extends infer K
        ? [K] extends [never]
          ? Plain<S>
          : [K] extends [DimensionMismatch<string, unknown, unknown>]
            ? K
            : number extends K
              ? number[]
              : Collapsed<S, K, Keep>
        : never
      : number[];
/** The axes from the front as a union; `number` where they are not literals. */
type Picked<What extends string, S extends Sizes, X extends Sizes, K extends number = never> = X extends readonly [
  infer A,
  ...infer Rest,
]
  ? number extends A
    ? number
    : AxisOf<S, A & number> extends infer F
      ? [F] extends [never]
        ? NoAxis<What, S, A>
        : Picked<What, S, Rest, K | (F & number)>
      : never
  : X extends readonly []
    ? K
    : number;
type Collapsed<S extends Sizes, K, Keep, Out extends unknown[] = [], Seen extends 0[] = []> = S extends readonly [
  infer D,
  ...infer Rest,
]
  ? Seen['length'] extends K
    ? Collapsed<Rest, K, Keep, Keep extends true ? [...Out, 1] : Out, [...Seen, 0]>
    : Collapsed<Rest, K, Keep, [...Out, D], [...Seen, 0]>
  : Out;

/** An axis that must exist; the shape stays. */
export type Along<What extends string, S extends Sizes, X extends number> =
  Ranked<S> extends true ? (number extends X ? S : [AxisOf<S, X>] extends [never] ? NoAxis<What, S, X> : S) : S;

// ---- layers and losses ------------------------------------------------------------------------------------------------------

/** Sizes at the end of a shape, as layer norm wants them. */
export type EndsWith<What extends string, S extends Sizes, End extends Sizes> =
  Trailing<S, End> extends true ? S : DimensionMismatch<What, Plain<End>, Plain<S>>;
type Trailing<S extends Sizes, End extends Sizes> = End extends readonly [...infer E, infer D]
  ? S extends readonly [...infer H, infer L]
    ? Fits<D, L> extends true
      ? Trailing<H, E>
      : false
    : Unranked<S>
  : true;

/** Class indices: the shape of the logits without the axis of classes. */
export type Targets<What extends string, L extends Sizes, T extends Sizes, X extends number> =
  Ranked<L> extends true
    ? number extends X
      ? T
      : AxisOf<L, X> extends infer K
        ? [K] extends [never]
          ? NoAxis<What, L, X>
          : Fitting<Without<L, K>, T> extends true
            ? T
            : DimensionMismatch<`${What}: target`, Without<L, K>, Plain<T>>
        : never
    : T;
/** Class indices, or a distribution in each row. */
export type TargetsOrRows<What extends string, L extends Sizes, T extends Sizes, X extends number> =
  Ranked<L> extends true ? (Fitting<L, T> extends true ? T : Targets<What, L, T, X>) : T;

/** [..., indices] into rows [V, D]. */
export type Embedded<S extends Sizes, W extends Sizes> = W extends readonly [unknown, infer D]
  ? [...S, D]
  : Unranked<W> extends true
    ? number[]
    : DimensionMismatch<'embedding: weight is [rows, width]', 2, W['length']>;

/** q [B, heads, T, D] looks at k [B, kvHeads, S, D]. */
export type AttentionKeys<Q extends Sizes, K extends Sizes> = Q extends readonly [infer B, unknown, unknown, infer D]
  ? K extends readonly [infer KB, unknown, unknown, infer KD]
    ? Fits<D, KD> extends true
      ? Fits<B, KB> extends true
        ? Q
        : DimensionMismatch<'attention: batch of q and k', B, KB>
      : DimensionMismatch<'attention: head width of q and k', D, KD>
    : Unranked<K> extends true
      ? Q
      : DimensionMismatch<'attention: k is [B, heads, T, D]', 4, K['length']>
  : Unranked<Q> extends true
    ? Q
    : DimensionMismatch<'attention: q is [B, heads, T, D]', 4, Q['length']>;

/** Both sizes of the first mismatch win; otherwise the last. */
export type Both<A, B> = A extends Sizes ? B : A;
