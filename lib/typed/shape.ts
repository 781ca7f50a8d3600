/**
 * What the rules of shapes are written with. Sizes are number literals, type parameters (`N extends number`: a size that a generic function is
 * handed) or `number` (unknown: fits every size). A shape is a tuple of them; `number[]` where even the rank is unknown; `[...number[], 10]` where
 * only the last sizes are known.
 */

/** A shape inside a rule. That its elements are numbers is asked of arguments, once: asked again of a type parameter, it would make rules wait for its value. */
export type Sizes = readonly unknown[];

/** Stands where an argument's shape does not fit; the compiler prints it. Nothing is ever of this type. */
export interface DimensionMismatch<What extends string, Expected, Found> {
  readonly __dimensionMismatch: [What, Expected, Found];
}

/**
 * `true` or `false` at once, for type parameters too, where an ordinary conditional type would wait for the call that fills them in. At once means
 * also inside a rule, before its operands are known, if one side is a literal: so rules take the literals that they compare with as parameters.
 */
export type Same<A, B> = (<T>() => T extends [A] ? 1 : 2) extends <T>() => T extends [B] ? 1 : 2 ? true : false;

/** Is one size known to be another's equal, or may it be? */
export type Fits<A, B, Any = number> = Same<A, B> extends true ? true : Same<A, Any> extends true ? true : Same<B, Any>;

/** A shape whose rank is a literal. */
export type Ranked<S extends Sizes> = number extends S['length'] ? false : true;
/** A shape of which nothing is known, not even the rank. */
export type Unranked<S extends Sizes> = number extends S['length']
  ? S extends readonly [...unknown[], unknown] | readonly [unknown, ...unknown[]]
    ? false
    : true
  : false;

/** The result of a rule where it is a shape; unknown rank where it is a mismatch, so that one mistake is one error. */
export type Valid<R> = R extends Sizes ? R : number[];
/** What a rule demands of its argument: nothing where it gives a shape, the mismatch itself otherwise. */
export type Check<R> = R extends Sizes ? unknown : R;

/** The axes of a tensor by rank: from the front, and from the back. */
// biome-ignore format: a table
interface Axes {
  0: object;
  1: { '0': 0; '-1': 0 };
  2: { '0': 0; '1': 1; '-1': 1; '-2': 0 };
  3: { '0': 0; '1': 1; '2': 2; '-1': 2; '-2': 1; '-3': 0 };
  4: { '0': 0; '1': 1; '2': 2; '3': 3; '-1': 3; '-2': 2; '-3': 1; '-4': 0 };
  5: { '0': 0; '1': 1; '2': 2; '3': 3; '4': 4; '-1': 4; '-2': 3; '-3': 2; '-4': 1; '-5': 0 };
  6: { '0': 0; '1': 1; '2': 2; '3': 3; '4': 4; '5': 5; '-1': 5; '-2': 4; '-3': 3; '-4': 2; '-5': 1; '-6': 0 };
  7: { '0': 0; '1': 1; '2': 2; '3': 3; '4': 4; '5': 5; '6': 6; '-1': 6; '-2': 5; '-3': 4; '-4': 3; '-5': 2; '-6': 1; '-7': 0 };
  8: {
    '0': 0; '1': 1; '2': 2; '3': 3; '4': 4; '5': 5; '6': 6; '7': 7;
    '-1': 7; '-2': 6; '-3': 5; '-4': 4; '-5': 3; '-6': 2; '-7': 1; '-8': 0;
  };
}

/** An axis from the front; `never` where the shape has no such axis. Of shapes whose rank is a literal, and literal axes. */
export type AxisOf<S extends Sizes, X extends number> = S['length'] extends keyof Axes
  ? `${X}` extends keyof Axes[S['length']]
    ? Axes[S['length']][`${X}`]
    : never
  : never;

/** Where an axis is named that the shape has not. */
export type NoAxis<What extends string, S extends Sizes, X> = DimensionMismatch<`axis of ${What}`, Plain<S>, X>;

/** The size of an axis counted from the front. */
export type SizeAt<S extends Sizes, K> = K extends keyof S ? S[K] : number;

/** The shape with the size of one axis, counted from the front, put in the place of what stood there. */
export type Replaced<S extends Sizes, K, D> = { -readonly [I in keyof S]: I extends `${K & number}` ? D : S[I] };

/** The shape without an axis counted from the front. */
export type Without<S extends Sizes, K, Front extends unknown[] = []> = S extends readonly [infer D, ...infer Rest]
  ? Front['length'] extends K
    ? [...Front, ...Rest]
    : Without<Rest, K, [...Front, D]>
  : Front;

/** The shape with a size put in before the axis K counted from the front (its rank: behind all). */
export type Inserted<S extends Sizes, K, D, Front extends unknown[] = []> = Front['length'] extends K
  ? [...Front, D, ...S]
  : S extends readonly [infer H, ...infer Rest]
    ? Inserted<Rest, K, D, [...Front, H]>
    : never;

/** The sizes as words, for messages. */
export type Plain<S> = S extends readonly [...infer T] ? T : S;
