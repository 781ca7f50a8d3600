import { ConfigError, checkOptions, ShapeError } from '../native/errors.ts';
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

interface Types {
  x: Tensor['dtype'];
  weight: Tensor['dtype'];
  bias: Tensor['dtype'] | null;
}

/** Gradients of x w^T + b for x, w, b, with what already waits on each input added in the same pass: dx = g w, dw = g^T x, db = column sums of g. */
export function linearGradients(g: Tensor, x: Tensor, w: Tensor, types: Types, back: Backward, first = 0): (Tensor | null)[] {
  const [n, k] = w.shape as [number, number];
  const m = rowsOf(x);
  const plain = (dtype: Tensor['dtype']) => ({ dtype, format: 'contiguous' }) as const;
  const grads: (Tensor | null)[] = [null, null];
  if (back.needs(first)) {
    const have = back.take(first, plain(g.dtype));
    grads[0] = cast(product(g, w, { m, n: k, k: n }, g.dtype, x.shape, have), types.x);
  }
  if (back.needs(first + 1)) {
    const dtype = g.dtype === 'f64' ? 'f64' : 'f32';
    const have = back.take(first + 1, plain(dtype));
    grads[1] = cast(product(g, x, { m: n, n: k, k: m, transposeA: true }, dtype, w.shape, have), types.weight);
  }
  if (types.bias) {
    const have = back.needs(first + 2) ? back.take(first + 2, plain(g.dtype === 'f64' ? 'f64' : 'f32')) : undefined;
    grads.push(back.needs(first + 2) ? cast(columnSum(g, n, have), types.bias) : null);
  }
  return grads;
}

function checkLinear(x: Tensor, weight: Tensor, bias: Tensor | null, options: LinearOptions): void {
  checkFloat('linear', x);
  checkFloat('linear', weight, 'weight');
  checkDevice('linear', x, weight, bias, options.residual);
  checkOptions('linear', options, ['activation', 'residual']);
  const { activation = 'none', residual } = options;
  if (!['none', 'relu', 'gelu'].includes(activation))
    throw new ConfigError(`linear: activation must be 'none', 'relu' or 'gelu', got ${JSON.stringify(activation)}`);
  if (residual && activation !== 'none') throw new ConfigError('linear: a residual goes without an activation');
  if (weight.ndim !== 2) throw new ShapeError(`linear: weight must be [out, in], got ${show(weight.shape)}`);
  const [n, k] = weight.shape as [number, number];
  if (x.ndim === 0 || x.shape[x.ndim - 1] !== k)
    throw new ShapeError(
      `linear: x ${show(x.shape)} must end in ${k}, the inputs of weight ${show(weight.shape)}. A flatten, or another layer size, may be missing.`,
    );
  if (bias) checkShapeIs('linear', checkFloat('linear', bias, 'bias'), [n], 'bias');
  if (residual) checkShapeIs('linear', checkFloat('linear', residual, 'residual'), [...x.shape.slice(0, -1), n], 'residual');
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

  const types: Types = { x: x.dtype, weight: weight.dtype, bias: bias && bias.dtype };
  const hasResidual = plus !== undefined;
  const inputs = [x, weight, ...(bias ? [bias] : []), ...(plus ? [plus] : [])];
  record('linear', inputs, [out], relu ? [a, w, out] : [a, w], ([grad], [sa, sw, y], back) => {
    let g = dense(cast(grad as Tensor, (sa as Tensor).dtype));
    if (y) {
      const masked = unwritten(g.shape, g.dtype, g.device);
      run(reluGrad, [g, y], [masked], [0, 0]);
      g = masked;
    }
    const grads = linearGradients(g, sa as Tensor, sw as Tensor, types, back);
    return hasResidual ? [...grads, g] : grads;
  });
  return out;
}
