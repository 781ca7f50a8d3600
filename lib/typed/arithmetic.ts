/**
 * Whole numbers at the level of types, by school's methods on decimal digits: a shape's sizes may be thousands, which counting the elements of
 * tuples, the usual way, cannot do cheaply. What is not a literal gives `number`; what has no answer (2 - 3, 1 / 0) gives `never`.
 */

/** Digits as tuples of so many elements: their lengths are how sums of digits are found. */
type Unary = [
  [],
  [0],
  [0, 0],
  [0, 0, 0],
  [0, 0, 0, 0],
  [0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0, 0, 0, 0, 0],
  [0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
];
type Digit = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9;
/** Least significant digit first. */
type Digits = readonly Digit[];
/** A number below 28 as [digit, carry]. */
// biome-ignore format: a table
type Split = [
  [0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [5, 0], [6, 0], [7, 0], [8, 0], [9, 0],
  [0, 1], [1, 1], [2, 1], [3, 1], [4, 1], [5, 1], [6, 1], [7, 1], [8, 1], [9, 1],
  [0, 2], [1, 2], [2, 2], [3, 2], [4, 2], [5, 2], [6, 2], [7, 2],
];
/** The multiplication table as [digit, carry]. */
// biome-ignore format: a table
type Times = [
  [[0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]],
  [[0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [5, 0], [6, 0], [7, 0], [8, 0], [9, 0]],
  [[0, 0], [2, 0], [4, 0], [6, 0], [8, 0], [0, 1], [2, 1], [4, 1], [6, 1], [8, 1]],
  [[0, 0], [3, 0], [6, 0], [9, 0], [2, 1], [5, 1], [8, 1], [1, 2], [4, 2], [7, 2]],
  [[0, 0], [4, 0], [8, 0], [2, 1], [6, 1], [0, 2], [4, 2], [8, 2], [2, 3], [6, 3]],
  [[0, 0], [5, 0], [0, 1], [5, 1], [0, 2], [5, 2], [0, 3], [5, 3], [0, 4], [5, 4]],
  [[0, 0], [6, 0], [2, 1], [8, 1], [4, 2], [0, 3], [6, 3], [2, 4], [8, 4], [4, 5]],
  [[0, 0], [7, 0], [4, 1], [1, 2], [8, 2], [5, 3], [2, 4], [9, 4], [6, 5], [3, 6]],
  [[0, 0], [8, 0], [6, 1], [4, 2], [2, 3], [0, 4], [8, 4], [6, 5], [4, 6], [2, 7]],
  [[0, 0], [9, 0], [8, 1], [7, 2], [6, 3], [5, 4], [4, 5], [3, 6], [2, 7], [1, 8]],
];

// ---- numbers to digits and back ---------------------------------------------------------------------------------------------

type Reversed<T extends string, Out extends Digits = []> = T extends `${infer D extends Digit}${infer Rest}`
  ? Reversed<Rest, [D, ...Out]>
  : Out;
type DigitsOf<N extends number> = Reversed<`${N}`>;

type Text<D extends Digits> = D extends readonly [infer First extends Digit, ...infer Rest extends Digits]
  ? `${Text<Rest>}${First}`
  : '';
/** Without the zeros in front. */
type Trim<D extends Digits> = D extends readonly [...infer Rest extends Digits, 0] ? Trim<Rest> : D;
type NumberOf<D extends Digits> =
  Trim<D> extends infer T extends Digits
    ? T extends readonly []
      ? 0
      : Text<T> extends `${infer N extends number}`
        ? N
        : never
    : never;

/** The sum of three digits as [digit, carry]. */
type Sum<A extends Digit, B extends Digit, C extends Digit> = Split[[...Unary[A], ...Unary[B], ...Unary[C]]['length'] &
  keyof Split] extends infer R extends [Digit, Digit]
  ? R
  : never;

// ---- sums -------------------------------------------------------------------------------------------------------------------

type AddDigits<A extends Digits, B extends Digits, Carry extends Digit, Out extends Digits = []> = A extends readonly [
  infer X extends Digit,
  ...infer XS extends Digits,
]
  ? B extends readonly [infer Y extends Digit, ...infer YS extends Digits]
    ? Sum<X, Y, Carry> extends [infer D extends Digit, infer C extends Digit]
      ? AddDigits<XS, YS, C, [...Out, D]>
      : never
    : Carry extends 0
      ? [...Out, ...A]
      : AddDigits<A, [0], Carry, Out>
  : B extends readonly []
    ? [...Out, Carry]
    : AddDigits<B, [], Carry, Out>;

/** A + B. */
export type Add<A extends number, B extends number> = number extends A
  ? number
  : number extends B
    ? number
    : NumberOf<AddDigits<DigitsOf<A>, DigitsOf<B>, 0>>;

// ---- differences ------------------------------------------------------------------------------------------------------------

/** 10 + A - B - Borrow, below 20. */
type Less<A extends Digit, B extends Digit, Borrow extends 0 | 1> = [...Unary[10], ...Unary[A]] extends [
  ...Unary[B],
  ...Unary[Borrow],
  ...infer R,
]
  ? Split[R['length'] & keyof Split] extends [infer D extends Digit, infer C]
    ? [D, C extends 1 ? 0 : 1]
    : never
  : never;

/** `never` where B is the larger. */
type SubDigits<A extends Digits, B extends Digits, Borrow extends 0 | 1, Out extends Digits = []> = A extends readonly [
  infer X extends Digit,
  ...infer XS extends Digits,
]
  ? B extends readonly [infer Y extends Digit, ...infer YS extends Digits]
    ? Less<X, Y, Borrow> extends [infer D extends Digit, infer C extends 0 | 1]
      ? SubDigits<XS, YS, C, [...Out, D]>
      : never
    : Borrow extends 0
      ? [...Out, ...A]
      : SubDigits<A, [0], Borrow, Out>
  : Trim<B> extends readonly []
    ? Borrow extends 0
      ? Out
      : never
    : never;

/** A - B; `never` below 0. */
export type Sub<A extends number, B extends number> = number extends A
  ? number
  : number extends B
    ? number
    : [SubDigits<DigitsOf<A>, DigitsOf<B>, 0>] extends [infer D extends Digits]
      ? [D] extends [never]
        ? never
        : NumberOf<D>
      : never;

// ---- products ---------------------------------------------------------------------------------------------------------------

/** Out + A x digit B + Carry, onto the digits of Acc. */
type MulAdd<
  A extends Digits,
  B extends Digit,
  Acc extends Digits,
  Carry extends Digit = 0,
  Out extends Digits = [],
> = A extends readonly [infer X extends Digit, ...infer XS extends Digits]
  ? Times[X][B] extends [infer Low extends Digit, infer High extends Digit]
    ? Sum<Low, Carry, Acc extends readonly [infer Y extends Digit, ...Digits] ? Y : 0> extends [
        infer D extends Digit,
        infer C extends Digit,
      ]
      ? Sum<High, C, 0> extends [infer Next extends Digit, 0]
        ? MulAdd<XS, B, Acc extends readonly [Digit, ...infer YS extends Digits] ? YS : [], Next, [...Out, D]>
        : never
      : never
    : never
  : [...Out, Carry];

type MulDigits<A extends Digits, B extends Digits, Acc extends Digits = [], Out extends Digits = []> = B extends readonly [
  infer Y extends Digit,
  ...infer YS extends Digits,
]
  ? MulAdd<A, Y, Acc> extends [infer D extends Digit, ...infer Rest extends Digits]
    ? MulDigits<A, YS, Rest, [...Out, D]>
    : never
  : [...Out, ...Acc];

/** A x B. */
export type Mul<A extends number, B extends number> = number extends A
  ? B extends 0
    ? 0
    : number
  : number extends B
    ? A extends 0
      ? 0
      : number
    : A extends 1
      ? B
      : B extends 1
        ? A
        : NumberOf<MulDigits<DigitsOf<A>, DigitsOf<B>>>;

// ---- quotients --------------------------------------------------------------------------------------------------------------

/** One digit of the quotient: how often B goes into A, below ten times, and what is left. */
type Often<A extends Digits, B extends Digits, Count extends Digits = []> = Count['length'] extends 10
  ? never
  : SubDigits<A, B, 0> extends infer R
    ? [R] extends [never]
      ? [Count['length'], A]
      : R extends Digits
        ? Often<Trim<R>, B, [...Count, 0]>
        : never
    : never;

type DivDigits<A extends Digits, B extends Digits, Rest extends Digits = [], Out extends Digits = []> = A extends readonly [
  ...infer XS extends Digits,
  infer X extends Digit,
]
  ? Often<Trim<[X, ...Rest]>, B> extends [infer Q extends Digit, infer R extends Digits]
    ? DivDigits<XS, B, R, [Q, ...Out]>
    : never
  : [NumberOf<Out>, NumberOf<Rest>];

/** [A / B rounded down, what is left]. */
export type DivMod<A extends number, B extends number> = number extends A
  ? [number, number]
  : number extends B
    ? [number, number]
    : B extends 0
      ? [never, never]
      : B extends 1
        ? [A, 0]
        : DivDigits<DigitsOf<A>, Trim<DigitsOf<B>>>;

/** A / B rounded down. */
export type Div<A extends number, B extends number> = DivMod<A, B>[0];
