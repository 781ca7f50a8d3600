import { ShapeError } from '../native/errors.ts';
import type { MatmulOptions } from '../ops/matmul.ts';
import type { Device, DeviceName } from '../tensor/device.ts';
import type { DType } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';
import { Parameter as PlainParameter, type Storage, Tensor } from '../tensor/tensor.ts';
import type { Along, AxisArgument, Broadcast, BroadcastTo, Matmul, Reduce } from './rules.ts';
import type { Check, Same, Sizes } from './shape.ts';
import type { Flatten, Narrow, Permute, Reshape, Squeeze, Transpose, Unsqueeze } from './views.ts';

/** Any tensor, as far as rules look at it; a plain Tensor is one of unknown rank. */
export interface Shaped<S extends Shape> {
  readonly shape: S;
  readonly storage: Storage;
}

/** What an elementwise op takes beside a tensor: a number, or a tensor. */
export type Operand = number | Shaped<Shape>;
export type ShapeOfOperand<B> = B extends Shaped<infer S> ? S : [];

/** Demands that the operand's shape broadcasts with A. Shapes that are one type parameter, and numbers, need no rule. */
export type Beside<What extends string, A extends Sizes, B, S extends Sizes = ShapeOfOperand<B>> = B extends number
  ? unknown
  : Same<A, S> extends true
    ? unknown
    : Check<Broadcast<What, A, S>>;
export type Elementwise<What extends string, A extends Sizes, B, S extends Sizes = ShapeOfOperand<B>> = B extends number
  ? TensorOf<A>
  : Same<A, S> extends true
    ? TensorOf<A>
    : Typed<Broadcast<What, A, S>>;

/** The tensor that a rule gives. What a caller expects of it must not fill in the rule's operands. */
export type Typed<R> = R extends infer S extends Sizes ? TensorOf<S> : TensorOf<number[]>;

/** Options of a reduction; a literal axis and keepDims are known to the types. */
export interface ReduceArguments<What extends string, S extends Shape, X extends AxisArgument, K extends boolean> {
  /** Axis or axes to reduce; negative ones count from the back. Default: all. */
  axis?: X & Check<Reduce<What, S, X, K>>;
  /** Keep reduced axes as dimensions of 1. Default false. */
  keepDims?: K;
}
export type Reduced<What extends string, S extends Shape, X extends AxisArgument, K extends boolean> = Typed<
  Reduce<What, S, X, K>
>;

// Methods of one kind share a type: the compiler, which compares them all with Tensor's where a TensorOf is given for a Tensor, does so once.
type UnaryMethod = <A extends Shape>(this: Shaped<A>) => TensorOf<A>;
type BinaryMethod = <A extends Shape, B extends Operand>(
  this: Shaped<A>,
  other: B & Beside<'broadcasting', A, B>,
) => Elementwise<'broadcasting', A, B>;
type ReduceMethod<Options = unknown> = <A extends Shape, const X extends AxisArgument = undefined, K extends boolean = false>(
  this: Shaped<A>,
  options?: ReduceArguments<'reduction', A, X, K> & Options,
) => Reduced<'reduction', A, X, K>;
type ArgMethod = <A extends Shape, const X extends number | undefined = undefined, K extends boolean = false>(
  this: Shaped<A>,
  options?: ReduceArguments<'reduction', A, X, K>,
) => Reduced<'reduction', A, X, K>;

/** The methods of Tensor whose shapes have rules. None mentions the tensor's own shape but through `this`: so a new shape costs the compiler one field. */
interface ShapedMethods extends Tensor {
  // biome-ignore lint/suspicious/noExplicitAny: TensorOf says what it is; to demand numbers here would make rules wait for the values of type parameters
  readonly shape: any;

  matmul<A extends Shape, B extends Shape, TA extends boolean = false, TB extends boolean = false>(
    this: Shaped<A>,
    other: Shaped<B> & Check<Matmul<A, B, TA, TB>>,
    options?: MatmulOptions & { transposeA?: TA; transposeB?: TB },
  ): Typed<Matmul<A, B, TA, TB>>;

  add: BinaryMethod;
  sub: BinaryMethod;
  mul: BinaryMethod;
  div: BinaryMethod;
  pow: BinaryMethod;
  maximum: BinaryMethod;
  minimum: BinaryMethod;
  eq: BinaryMethod;
  ne: BinaryMethod;
  lt: BinaryMethod;
  le: BinaryMethod;
  gt: BinaryMethod;
  ge: BinaryMethod;

  neg: UnaryMethod;
  abs: UnaryMethod;
  exp: UnaryMethod;
  expm1: UnaryMethod;
  log: UnaryMethod;
  log1p: UnaryMethod;
  sqrt: UnaryMethod;
  rsqrt: UnaryMethod;
  square: UnaryMethod;
  reciprocal: UnaryMethod;
  sin: UnaryMethod;
  cos: UnaryMethod;
  tanh: UnaryMethod;
  sigmoid: UnaryMethod;
  relu: UnaryMethod;
  silu: UnaryMethod;
  softplus: UnaryMethod;
  erf: UnaryMethod;
  floor: UnaryMethod;
  ceil: UnaryMethod;
  round: UnaryMethod;
  sign: UnaryMethod;
  leakyRelu<A extends Shape>(this: Shaped<A>, options?: { slope?: number }): TensorOf<A>;
  elu<A extends Shape>(this: Shaped<A>, options?: { alpha?: number }): TensorOf<A>;
  gelu<A extends Shape>(this: Shaped<A>, options?: { approximate?: 'none' | 'tanh' }): TensorOf<A>;
  clamp<A extends Shape>(this: Shaped<A>, options: { min?: number; max?: number }): TensorOf<A>;
  to<A extends Shape>(this: Shaped<A>, target: DType | DeviceName | Device): TensorOf<A>;
  contiguous: UnaryMethod;
  detach: UnaryMethod;
  flip<A extends Shape>(this: Shaped<A>, axes?: number | readonly number[]): TensorOf<A>;
  softmax<A extends Shape, const X extends number = -1>(
    this: Shaped<A>,
    options?: { axis?: X & Check<Along<'softmax', A, X>> },
  ): TensorOf<A>;
  logSoftmax<A extends Shape, const X extends number = -1>(
    this: Shaped<A>,
    options?: { axis?: X & Check<Along<'logSoftmax', A, X>> },
  ): TensorOf<A>;

  reshape<A extends Shape, const R extends Shape>(this: Shaped<A>, shape: R & Check<Reshape<A, R>>): Typed<Reshape<A, R>>;
  flatten<A extends Shape, const S extends number = 0, const E extends number = -1>(
    this: Shaped<A>,
    start?: S & Check<Flatten<A, S, E>>,
    end?: E,
  ): Typed<Flatten<A, S, E>>;
  unsqueeze<A extends Shape, const X extends number>(this: Shaped<A>, axis: X & Check<Unsqueeze<A, X>>): Typed<Unsqueeze<A, X>>;
  squeeze<A extends Shape, const X extends number | undefined = undefined>(
    this: Shaped<A>,
    axis?: X & Check<Squeeze<A, X>>,
  ): Typed<Squeeze<A, X>>;
  transpose<A extends Shape, const X extends number = -2, const Y extends number = -1>(
    this: Shaped<A>,
    a?: X & Check<Transpose<A, X, Y>>,
    b?: Y,
  ): Typed<Transpose<A, X, Y>>;
  permute<A extends Shape, const P extends Shape>(this: Shaped<A>, axes: P & Check<Permute<A, P>>): Typed<Permute<A, P>>;
  broadcastTo<A extends Shape, const B extends Shape>(
    this: Shaped<A>,
    shape: B & Check<BroadcastTo<A, B>>,
  ): Typed<BroadcastTo<A, B>>;
  narrow<A extends Shape, const X extends number, const S extends number, const L extends number>(
    this: Shaped<A>,
    axis: X,
    start: S,
    length: L & Check<Narrow<A, X, S, L>>,
  ): Typed<Narrow<A, X, S, L>>;

  sum: ReduceMethod;
  mean: ReduceMethod;
  max: ReduceMethod;
  min: ReduceMethod;
  prod: ReduceMethod;
  logSumExp: ReduceMethod;
  variance: ReduceMethod<{ correction?: number }>;
  std: ReduceMethod<{ correction?: number }>;
  argmax: ArgMethod;
  argmin: ArgMethod;
}

/**
 * A Tensor whose type has its sizes: `TensorOf<[2, 3]>`; `TensorOf<[N, 784]>` in a function over `N extends number`; `TensorOf<[number, 784]>` where
 * a size is unknown. The same objects as Tensor, and assignable to it. Methods without a rule give plain Tensors.
 */
export interface TensorOf<out S extends Sizes = Shape> extends ShapedMethods {
  readonly shape: S;
}

/** A Parameter whose type has its sizes. */
export interface ParameterOf<out S extends Sizes = Shape> extends TensorOf<S> {
  frozen: boolean;
  name: string;
  shadow: Tensor | null;
  shadowVersion: number;
  freeze(): this;
  unfreeze(): this;
}
/** A trainable tensor; takes over the memory of `initial`, as anneal's. */
export const Parameter = PlainParameter as unknown as new <S extends Shape>(initial: Shaped<S>) => ParameterOf<S>;

/** A shape with `null` for sizes that may be any. */
export type Pattern = readonly (number | null)[];
type SizesOf<P extends Pattern> = P extends readonly [infer D, ...infer Rest extends Pattern]
  ? [D extends number ? D : number, ...SizesOf<Rest>]
  : P extends readonly []
    ? []
    : number[];
type ShapeOf<P extends Pattern> = SizesOf<P> extends infer S extends Shape ? S : never;

/**
 * Checks at run time that `x` has a shape, and narrows its type to it; `null` is any size.
 * @example assertShape(x, [null, 784]); // x is TensorOf<[number, 784]> from here on
 * @throws ShapeError
 */
export function assertShape<const P extends Pattern>(x: Tensor, shape: P): asserts x is TensorOf<ShapeOf<P>> {
  if (!(x instanceof Tensor)) throw new ShapeError('assertShape: x must be a Tensor. Make one with tensor(...).');
  if (!Array.isArray(shape))
    throw new ShapeError('assertShape: the shape is an array of sizes, with null for any, for example [null, 784].');
  if (x.shape.length !== shape.length || shape.some((d, i) => d !== null && d !== x.shape[i]))
    throw new ShapeError(`assertShape: expected [${shape.map((d) => d ?? 'any').join(', ')}], got [${x.shape.join(', ')}]`);
}

/**
 * The same tensor under a type that has its sizes; `null` is any size. Checked at run time.
 * @example const x = typed(batch.x, [null, 784]); // TensorOf<[number, 784]>
 * @throws ShapeError
 */
export function typed<const P extends Pattern>(x: Shaped<Shape>, shape: P): TensorOf<ShapeOf<P>> {
  const checked: unknown = x;
  assertShape(checked as Tensor, shape);
  return checked as TensorOf<ShapeOf<P>>;
}
