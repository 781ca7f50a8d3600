import { type AttentionOptions, attention as plainAttention } from '../ops/attention.ts';
import * as binary from '../ops/binary.ts';
import { type EmbeddingOptions, embedding as plainEmbedding } from '../ops/embedding.ts';
import * as index from '../ops/index.ts';
import { linear as plainLinear } from '../ops/linear.ts';
import { type MatmulOptions, matmul as plainMatmul } from '../ops/matmul.ts';
import * as reduce from '../ops/reduce.ts';
import { where as plainWhere } from '../ops/select.ts';
import * as soft from '../ops/softmax.ts';
import * as unary from '../ops/unary.ts';
import type { Shape } from '../tensor/shape.ts';
import type { Along, AttentionKeys, AxisArgument, Broadcast, Embedded, Equal, Linear, Matmul } from './rules.ts';
import type { Check, Valid } from './shape.ts';
import type {
  Beside,
  Elementwise,
  Operand,
  ReduceArguments,
  Reduced,
  Shaped,
  ShapeOfOperand,
  TensorOf,
  Typed,
} from './tensor.ts';
import type { Concat, Stack } from './views.ts';

// ---- elementwise ------------------------------------------------------------------------------------------------------------

type Binary<What extends string> = <A extends Operand, B extends Operand>(
  a: A,
  b: B & Beside<What, ShapeOfOperand<A>, B>,
) => A extends number ? TensorOf<ShapeOfOperand<B>> : Elementwise<What, ShapeOfOperand<A>, B>;
export const add = binary.add as unknown as Binary<'broadcasting'>;
export const sub = binary.sub as unknown as Binary<'broadcasting'>;
export const mul = binary.mul as unknown as Binary<'broadcasting'>;
export const div = binary.div as unknown as Binary<'broadcasting'>;
export const maximum = binary.maximum as unknown as Binary<'broadcasting'>;
export const minimum = binary.minimum as unknown as Binary<'broadcasting'>;

type Unary<Options extends unknown[] = []> = <A extends Shape>(x: Shaped<A>, ...options: Options) => TensorOf<A>;
export const relu = unary.relu as unknown as Unary;
export const silu = unary.silu as unknown as Unary;
export const tanh = unary.tanh as unknown as Unary;
export const sigmoid = unary.sigmoid as unknown as Unary;
export const exp = unary.exp as unknown as Unary;
export const log = unary.log as unknown as Unary;
export const sqrt = unary.sqrt as unknown as Unary;
export const square = unary.square as unknown as Unary;
export const gelu = unary.gelu as unknown as Unary<[options?: { approximate?: 'none' | 'tanh' }]>;

type Softmax<What extends string> = <A extends Shape, const X extends number = -1>(
  x: Shaped<A>,
  options?: { axis?: X & Check<Along<What, A, X>> },
) => TensorOf<A>;
export const softmax = soft.softmax as unknown as Softmax<'softmax'>;
export const logSoftmax = soft.logSoftmax as unknown as Softmax<'logSoftmax'>;

/** `a` where the condition holds, else `b`; all three broadcast. */
export const where = plainWhere as unknown as <C extends Shape, A extends Operand, B extends Operand>(
  condition: Shaped<C>,
  a: A & Beside<'where', C, A>,
  b: B & Beside<'where', Valid<Broadcast<'where', C, ShapeOfOperand<A>>>, B>,
) => Typed<Broadcast<'where', Valid<Broadcast<'where', C, ShapeOfOperand<A>>>, ShapeOfOperand<B>>>;

// ---- reductions -------------------------------------------------------------------------------------------------------------

type Reduction<What extends string, Axis extends AxisArgument = AxisArgument> = <
  A extends Shape,
  const X extends Axis = Axis & undefined,
  K extends boolean = false,
>(
  x: Shaped<A>,
  options?: ReduceArguments<What, A, X, K>,
) => Reduced<What, A, X, K>;
export const sum = reduce.sum as unknown as Reduction<'reduction'>;
export const mean = reduce.mean as unknown as Reduction<'reduction'>;
export const max = reduce.max as unknown as Reduction<'reduction'>;
export const min = reduce.min as unknown as Reduction<'reduction'>;
export const logSumExp = reduce.logSumExp as unknown as Reduction<'reduction'>;
export const argmax = reduce.argmax as unknown as Reduction<'reduction', number | undefined>;
export const argmin = reduce.argmin as unknown as Reduction<'reduction', number | undefined>;

// ---- products ---------------------------------------------------------------------------------------------------------------

export const matmul = plainMatmul as unknown as <
  A extends Shape,
  B extends Shape,
  TA extends boolean = false,
  TB extends boolean = false,
>(
  a: Shaped<A>,
  b: Shaped<B> & Check<Matmul<A, B, TA, TB>>,
  options?: MatmulOptions & { transposeA?: TA; transposeB?: TB },
) => Typed<Matmul<A, B, TA, TB>>;

/** x [..., I] with a weight [O, I] and, if not null, a bias [O]. */
export const linear = plainLinear as unknown as <X extends Shape, W extends Shape, B extends Shape = []>(
  x: Shaped<X>,
  weight: Shaped<W> & Check<Linear<X, W>>,
  bias?: (Shaped<B> & Check<Equal<'bias of linear', [W[0]], B>>) | null,
  options?: Parameters<typeof plainLinear>[3],
) => Typed<Linear<X, W>>;

/** Rows of `weight` [V, D] by index: [...] to [..., D]. */
export const embedding = plainEmbedding as unknown as <I extends Shape, W extends Shape>(
  indices: Shaped<I>,
  weight: Shaped<W> & Check<Embedded<I, W>>,
  options?: EmbeddingOptions,
) => Typed<Embedded<I, W>>;

/** q [B, heads, T, D], k and v [B, kvHeads, S, D] to q's shape. */
export const attention = plainAttention as unknown as <Q extends Shape, K extends Shape, V extends Shape>(
  q: Shaped<Q>,
  k: Shaped<K> & Check<AttentionKeys<Q, K>>,
  v: Shaped<V> & Check<Equal<'attention: k and v', K, V>>,
  options?: AttentionOptions,
) => TensorOf<Q>;

// ---- parts and wholes -------------------------------------------------------------------------------------------------------

type ShapesOf<L extends readonly unknown[]> = L extends readonly [infer First, ...infer Rest]
  ? [ShapeOfOperand<First>, ...ShapesOf<Rest>]
  : L extends readonly []
    ? []
    : ShapeOfOperand<L[number]>[];

/** Joined along an axis, by default the first: the sizes of that axis add up, the others are equal. */
export const concat = index.concat as unknown as <const L extends readonly Shaped<Shape>[], const X extends number = 0>(
  tensors: L & Check<Concat<ShapesOf<L>, X>>,
  options?: { axis?: X },
) => Typed<Concat<ShapesOf<L>, X>>;

/** Tensors of one shape side by side along a new axis, by default the first. */
export const stack = index.stack as unknown as <const L extends readonly Shaped<Shape>[], const X extends number = 0>(
  tensors: L & Check<Stack<ShapesOf<L>, X>>,
  options?: { axis?: X },
) => Typed<Stack<ShapesOf<L>, X>>;
