import { checkOptions, ShapeError } from '../native/errors.ts';
import { broadcastShapes, type Shape, sameShape, show, sizeOf } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { attach, cast, checkDevice, checkFloat, dense, nativeOp, record, run, unwritten } from './define.ts';
import { broadcastTo } from './index.ts';
import { computeCopy, computeDType, weightCopy } from './precision.ts';
import { sumTo } from './reduce.ts';
import { reshape } from './view.ts';

const matmulOp = nativeOp('matmul');
nativeOp('matmul.plain'); // chosen natively for small sizes and f64

/** The attributes of native/src/cpu/matmul.h. */
interface Product {
  m: number;
  n: number;
  k: number;
  batch?: number;
  strideA?: number;
  strideB?: number;
  transposeA?: boolean;
  transposeB?: boolean;
  relu?: boolean;
  multiply?: boolean;
}
const attributes = (p: Product, accumulate: boolean): number[] => [
  p.m,
  p.n,
  p.k,
  p.batch ?? 1,
  p.strideA ?? p.m * p.k,
  p.strideB ?? p.k * p.n,
  +!!p.transposeA,
  +!!p.transposeB,
  +accumulate,
  p.relu ? 1 : 0,
  +!!p.multiply,
];

/**
 * The product of two matrices into `out` (accumulated where `into` was given over), 2-D, no tape. The building block of every rule below.
 */
export function product(
  a: Tensor,
  b: Tensor,
  p: Product,
  dtype: Tensor['dtype'],
  shape: Shape,
  into?: Tensor,
  bias?: Tensor | null,
  extra?: Tensor | null,
): Tensor {
  const out = into ?? unwritten(shape, dtype, a.device);
  run(matmulOp, [a, b, bias ?? null, extra ?? null], [out], attributes(p, into !== undefined));
  return out;
}

/** Rows of a tensor seen as a matrix of its last dimension. */
export const rowsOf = (t: Tensor): number => sizeOf(t.shape.slice(0, -1)); // of width 0 too: a product over nothing has rows

// ---- matmul -----------------------------------------------------------------------------------------------------------------

export interface MatmulOptions {
  /** Use the transpose of each matrix of `a`: [..., K, M]. */
  transposeA?: boolean;
  /** Use the transpose of each matrix of `b`: [..., N, K]. */
  transposeB?: boolean;
}

interface Plan {
  batch: Shape;
  m: number;
  n: number;
  k: number;
}

function plan(a: Tensor, b: Tensor, ta: boolean, tb: boolean): Plan {
  const [ra, ca] = a.shape.slice(-2) as [number, number];
  const [rb, cb] = b.shape.slice(-2) as [number, number];
  const [m, k] = ta ? [ca, ra] : [ra, ca];
  const [kb, n] = tb ? [cb, rb] : [rb, cb];
  if (k !== kb)
    throw new ShapeError(
      `matmul: ${show(a.shape)}${ta ? ' transposed' : ''} with ${show(b.shape)}${tb ? ' transposed' : ''}: the inner dimensions ${k} and ${kb} differ`,
    );
  return { batch: broadcastShapes('matmul', a.shape.slice(0, -2), b.shape.slice(0, -2)), m, n, k };
}

/** A batch of products; operands whose batch is absent repeat, others are broadcast in memory. */
function batched(a: Tensor, b: Tensor, ta: boolean, tb: boolean, dtype: Tensor['dtype']): Tensor {
  const { batch, m, n, k } = plan(a, b, ta, tb);
  const count = sizeOf(batch);
  const spread = (t: Tensor): { t: Tensor; stride: number } => {
    const own = t.shape.slice(0, -2);
    const matrix = sizeOf(t.shape.slice(-2));
    if (sameShape(own, batch)) return { t, stride: matrix };
    if (sizeOf(own) === 1) return { t, stride: 0 };
    return { t: broadcastTo(t, [...batch, ...t.shape.slice(-2)]), stride: matrix };
  };
  const [x, y] = [spread(a), spread(b)];
  const shape = [...batch, m, n];
  // A batch on the left against one matrix on the right is one tall product.
  if (!ta && y.stride === 0 && x.stride !== 0) return product(x.t, y.t, { m: m * count, n, k, transposeB: tb }, dtype, shape);
  return product(
    x.t,
    y.t,
    { m, n, k, batch: count, strideA: x.stride, strideB: y.stride, transposeA: ta, transposeB: tb },
    dtype,
    shape,
  );
}

/**
 * Matrix product of [..., M, K] with [..., K, N]; leading dimensions broadcast. A 1-D operand is a row on the left, a column on the right,
 * as in NumPy. Under a 16-bit policy operands are rounded to it and the sum is kept in f32.
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  checkFloat('matmul', a, 'a');
  checkFloat('matmul', b, 'b');
  checkDevice('matmul', a, b);
  checkOptions('matmul', options, ['transposeA', 'transposeB']);
  if (a.ndim === 0 || b.ndim === 0)
    throw new ShapeError(
      `matmul: operands need at least one dimension, got ${show(a.shape)} and ${show(b.shape)}. Use mul for scalars.`,
    );
  if (a.ndim === 1 || b.ndim === 1) {
    const x = a.ndim === 1 ? reshape(a, [1, a.size]) : a;
    const y = b.ndim === 1 ? reshape(b, [b.size, 1]) : b;
    const out = matmul(x, y, { transposeA: a.ndim > 1 && options.transposeA, transposeB: b.ndim > 1 && options.transposeB });
    const shape = [...out.shape];
    if (b.ndim === 1) shape.pop();
    if (a.ndim === 1) shape.splice(shape.length - (b.ndim === 1 ? 1 : 2), 1);
    return reshape(out, shape);
  }
  const [ta, tb] = [!!options.transposeA, !!options.transposeB];
  const [x, y] = [dense(computeCopy(a)), dense(weightCopy(b, computeDType(b)))];
  if (x.dtype !== y.dtype) return matmul(cast(a, 'f32'), cast(b, 'f32'), options);
  const out = batched(x, y, ta, tb, x.dtype);
  const [from, to] = [
    { shape: a.shape, dtype: a.dtype },
    { shape: b.shape, dtype: b.dtype },
  ];
  // d/da = g b^T, d/db = a^T g; transposed operands swap sides
  record('matmul', [a, b], [out], [x, y], ([grad], [sx, sy], back) => {
    const g = dense(cast(grad as Tensor, (sx as Tensor).dtype));
    const da = !back.needs(0)
      ? null
      : ta
        ? batched(sy as Tensor, g, tb, true, g.dtype)
        : batched(g, sy as Tensor, false, !tb, g.dtype);
    const db = !back.needs(1)
      ? null
      : tb
        ? batched(g, sx as Tensor, true, ta, g.dtype)
        : batched(sx as Tensor, g, !ta, false, g.dtype);
    return [da && cast(sumTo(da, from.shape), from.dtype), db && cast(sumTo(db, to.shape), to.dtype)];
  });
  return out;
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    matmul(other: Tensor, options?: MatmulOptions): Tensor;
  }
}
attach({ matmul });
