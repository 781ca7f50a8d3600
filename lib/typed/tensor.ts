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

/** The methods of Tensor whose shapes have rules. None mentions the tensor's own shape but through `this`: so a new shape costs the compiler one field. */
interface ShapedMethods extends Tensor {
  // biome-ignore lint/suspicious/noExplicitAny: TensorOf says what it is; to demand numbers here would make rules wait for the values of type parameters
  readonly shape: any;

  matmul<A extends Shape, B extends Shape, TA extends boolean = false, TB extends boolean = false>(
    this: Shaped<A>,
    other: Shaped<B> & Check<Matmul<A, B, TA, TB>>,
    options?: MatmulOptions & { transposeA?: TA; transposeB?: TB },
  ): Typed<Matmul<A, B, TA, TB>>;

  add<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'add', A, B>): Elementwise<'add', A, B>;
  sub<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'sub', A, B>): Elementwise<'sub', A, B>;
  mul<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'mul', A, B>): Elementwise<'mul', A, B>;
  div<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'div', A, B>): Elementwise<'div', A, B>;
  pow<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'pow', A, B>): Elementwise<'pow', A, B>;
  maximum<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'maximum', A, B>): Elementwise<'maximum', A, B>;
  minimum<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'minimum', A, B>): Elementwise<'minimum', A, B>;
  eq<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'eq', A, B>): Elementwise<'eq', A, B>;
  ne<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'ne', A, B>): Elementwise<'ne', A, B>;
  lt<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'lt', A, B>): Elementwise<'lt', A, B>;
  le<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'le', A, B>): Elementwise<'le', A, B>;
  gt<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'gt', A, B>): Elementwise<'gt', A, B>;
  ge<A extends Shape, B extends Operand>(this: Shaped<A>, other: B & Beside<'ge', A, B>): Elementwise<'ge', A, B>;

  neg<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  abs<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  exp<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  expm1<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  log<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  log1p<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  sqrt<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  rsqrt<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  square<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  reciprocal<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  sin<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  cos<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  tanh<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  sigmoid<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  relu<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  silu<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  softplus<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  erf<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  floor<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  ceil<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  round<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  sign<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  leakyRelu<A extends Shape>(this: Shaped<A>, options?: { slope?: number }): TensorOf<A>;
  elu<A extends Shape>(this: Shaped<A>, options?: { alpha?: number }): TensorOf<A>;
  gelu<A extends Shape>(this: Shaped<A>, options?: { approximate?: 'none' | 'tanh' }): TensorOf<A>;
  clamp<A extends Shape>(this: Shaped<A>, options: { min?: number; max?: number }): TensorOf<A>;
  to<A extends Shape>(this: Shaped<A>, target: DType | DeviceName | Device): TensorOf<A>;
  contiguous<A extends Shape>(this: Shaped<A>): TensorOf<A>;
  detach<A extends Shape>(this: Shaped<A>): TensorOf<A>;
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

  sum<A extends Shape, const X extends AxisArgument = undefined, K extends boolean = false>(
    this: Shaped<A>,
    options?: ReduceArguments<'sum', A, X, K>,
  ): Reduced<'sum', A, X, K>;
  mean<A extends Shape, const X extends AxisArgument = undefined, K extends boolean = false>(
    this: Shaped<A>,
    options?: ReduceArguments<'mean', A, X, K>,
  ): Reduced<'mean', A, X, K>;
  max<A extends Shape, const X extends AxisArgument = undefined, K extends boolean = false>(
    this: Shaped<A>,
    options?: ReduceArguments<'max', A, X, K>,
  ): Reduced<'max', A, X, K>;
  min<A extends Shape, const X extends AxisArgument = undefined, K extends boolean = false>(
    this: Shaped<A>,
    options?: ReduceArguments<'min', A, X, K>,
  ): Reduced<'min', A, X, K>;
  prod<A extends Shape, const X extends AxisArgument = undefined, K extends boolean = false>(
    this: Shaped<A>,
    options?: ReduceArguments<'prod', A, X, K>,
  ): Reduced<'prod', A, X, K>;
  logSumExp<A extends Shape, const X extends AxisArgument = undefined, K extends boolean = false>(
    this: Shaped<A>,
    options?: ReduceArguments<'logSumExp', A, X, K>,
  ): Reduced<'logSumExp', A, X, K>;
  variance<A extends Shape, const X extends AxisArgument = undefined, K extends boolean = false>(
    this: Shaped<A>,
    options?: ReduceArguments<'variance', A, X, K> & { correction?: number },
  ): Reduced<'variance', A, X, K>;
  std<A extends Shape, const X extends AxisArgument = undefined, K extends boolean = false>(
    this: Shaped<A>,
    options?: ReduceArguments<'std', A, X, K> & { correction?: number },
  ): Reduced<'std', A, X, K>;
  argmax<A extends Shape, const X extends number | undefined = undefined, K extends boolean = false>(
    this: Shaped<A>,
    options?: ReduceArguments<'argmax', A, X, K>,
  ): Reduced<'argmax', A, X, K>;
  argmin<A extends Shape, const X extends number | undefined = undefined, K extends boolean = false>(
    this: Shaped<A>,
    options?: ReduceArguments<'argmin', A, X, K>,
  ): Reduced<'argmin', A, X, K>;
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
export function typed<const P extends Pattern>(x: Tensor, shape: P): TensorOf<ShapeOf<P>> {
  assertShape(x, shape);
  return x;
}
