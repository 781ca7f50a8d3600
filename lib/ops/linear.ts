import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type Backward, cast, checkDevice, checkFloat, checkShapeIs, dense, nativeOp, record, run, unwritten } from './define.ts';
import { product, rowsOf } from './matmul.ts';
import { computeCopy, weightCopy } from './precision.ts';
import { gelu } from './unary.ts';

export interface LinearOptions {
  /** Applied to the result. relu happens inside the product's own pass; gelu is the exact one. */
  activation?: 'none' | 'relu' | 'gelu';
  /** Added to the result inside the product's own pass; of the result's shape. Not with an activation. */
  residual?: Tensor;
}

const columnSumOp = nativeOp('columnSum');
const reluGrad = nativeOp('relu.grad');

/** Sums of the columns of a [rows, n] matrix in f32 (f64 for f64), added to `into` where given over. */
export function columnSum(g: Tensor, n: number, into?: Tensor): Tensor {
  const out = into ?? unwritten([n], g.dtype === 'f64' ? 'f64' : 'f32', g.device);
  run(columnSumOp, [g], [out], [rowsOf(g), n, into ? 1 : 0]);
  return out;
}

export interface Types {
  x: Tensor['dtype'];
  weight: Tensor['dtype'];
  bias: Tensor['dtype'] | null;
}

const plain = (dtype: Tensor['dtype']) => ({ dtype, format: 'contiguous' }) as const;
const wide = (g: Tensor) => (g.dtype === 'f64' ? 'f64' : 'f32');

/** dx = g w, with what already waits on input `i` added in the same pass. */
export function inputGradient(
  g: Tensor,
  w: Tensor,
  shape: readonly number[],
  dtype: Tensor['dtype'],
  back: Backward,
  i: number,
): Tensor | null {
  if (!back.needs(i)) return null;
  const [n, k] = w.shape as [number, number];
  const have = back.take(i, plain(g.dtype));
  return cast(product(g, w, { m: rowsOf(g), n: k, k: n }, g.dtype, shape, have), dtype);
}

/** dw = g^T x and db = column sums of g in f32 (f64 for f64), with what already waits on inputs `i` and `i + 1` added in the same pass. */
export function weightGradients(g: Tensor, x: Tensor, types: Types, back: Backward, i: number): (Tensor | null)[] {
  const n = g.shape[g.ndim - 1] as number;
  const k = x.shape[x.ndim - 1] as number;
  const dtype = wide(g);
  let dw: Tensor | null = null;
  if (back.needs(i)) {
    const have = back.take(i, plain(dtype));
    dw = cast(product(g, x, { m: n, n: k, k: rowsOf(x), transposeA: true }, dtype, [n, k], have), types.weight);
  }
  if (types.bias === null) return [dw];
  if (!back.needs(i + 1)) return [dw, null];
  return [dw, cast(columnSum(g, n, back.take(i + 1, plain(dtype))), types.bias)];
}

function checkLinear(x: Tensor, weight: Tensor, bias: Tensor | null, options: LinearOptions): void {
  checkFloat('linear', x);
  checkFloat('linear', weight, 'weight');
  checkOptions('linear', options, ['activation', 'residual']);
  checkDevice('linear', x, weight, bias, options.residual);
  const { activation = 'none', residual } = options;
  if (!['none', 'relu', 'gelu'].includes(activation))
    throw new ConfigError(`linear: activation must be 'none', 'relu' or 'gelu', got ${describe(activation)}`);
  if (residual != null && activation !== 'none') throw new ConfigError('linear: a residual goes without an activation');
  if (weight.ndim !== 2) throw new ShapeError(`linear: weight must be [out, in], got ${show(weight.shape)}`);
  const [n, k] = weight.shape as [number, number];
  if (x.ndim === 0 || x.shape[x.ndim - 1] !== k)
    throw new ShapeError(
      `linear: x ${show(x.shape)} must end in ${k}, the inputs of weight ${show(weight.shape)}. A flatten, or another layer size, may be missing.`,
    );
  if (bias != null) checkShapeIs('linear', checkFloat('linear', bias, 'bias'), [n], 'bias');
  if (residual != null)
    checkShapeIs('linear', checkFloat('linear', residual, 'residual'), [...x.shape.slice(0, -1), n], 'residual');
}

/**
 * x w^T + b: x [..., K], weight [N, K] (PyTorch's layout), bias [N] or null; the result is [..., N]. Under a 16-bit policy x and weight are
 * rounded to it; the sum and the gradients of weight and bias are f32.
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null = null, options: LinearOptions = {}): Tensor {
  checkLinear(x, weight, bias, options);
  const { activation, residual } = options;
  if (activation === 'gelu') return gelu(linear(x, weight, bias));
  const [n, k] = weight.shape as [number, number];
  const a = dense(computeCopy(x));
  const w = dense(weightCopy(weight, a.dtype));
  const plus = residual && dense(cast(residual, a.dtype));
  const relu = activation === 'relu';
  const shape = [...x.shape.slice(0, -1), n];
  const out = product(a, w, { m: rowsOf(x), n, k, transposeB: true, relu }, a.dtype, shape, undefined, bias, plus);

  const types: Types = { x: x.dtype, weight: weight.dtype, bias: bias?.dtype ?? null };
  const residualType = residual?.dtype;
  const xShape = x.shape;
  const inputs = [x, weight, ...(bias ? [bias] : []), ...(residual ? [residual] : [])];
  record('linear', inputs, [out], relu ? [a, w, out] : [a, w], ([grad], [sa, sw, y], back) => {
    let g = dense(cast(grad as Tensor, (sa as Tensor).dtype));
    if (y) {
      const masked = unwritten(g.shape, g.dtype, g.device);
      run(reluGrad, [g, y], [masked], [0, 0]);
      g = masked;
    }
    const dx = inputGradient(g, sw as Tensor, xShape, types.x, back, 0);
    return [dx, ...weightGradients(g, sa as Tensor, types, back, 1), ...(residualType ? [cast(g, residualType)] : [])];
  });
  return out;
}
