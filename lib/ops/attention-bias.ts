import { checkOptions, checkText, DTypeError, ShapeError } from '../native/errors.ts';
import { fromHost } from '../tensor/create.ts';
import { broadcastShapes, sameShape, show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { add, lt, mul } from './binary.ts';
import { cast, checkDevice, checkFloat, checkNumber, checkRank, checkTensor } from './define.ts';
import { dropout } from './dropout.ts';
import { broadcastTo } from './index.ts';
import { matmul } from './matmul.ts';
import { where } from './select.ts';
import { softmax } from './softmax.ts';
import { reshape } from './view.ts';

export interface BiasedAttentionOptions {
  /** Query i sees key j where j <= i + Tk - Tq. Default false. */
  causal?: boolean;
  /** Bool, broadcastable to [B, heads, Tq, Tk]; true where a query may attend. Default: everywhere. */
  mask?: Tensor | null;
  /** What scores are multiplied by. Default 1 / sqrt(D). */
  scale?: number;
  /** Probability with which each attention weight is dropped; the caller decides whether it is training. Default 0. */
  dropout?: number;
  /** Keys the mask of dropout. */
  path?: string;
}

/** Bool [Tq, Tk]: true on and below the diagonal that ends in the last corner. */
export function causalMask(tq: number, tk: number, like: Tensor): Tensor {
  const column = (n: number, from: number, shape: number[]) =>
    fromHost(
      Int32Array.from({ length: n }, (_, i) => i + from),
      shape,
      'i32',
      like.device,
    );
  return lt(column(tk, 0, [1, tk]), column(tq, tk - tq + 1, [tq, 1]));
}

/**
 * Attention whose scores get a float bias before the softmax: softmax(q k^T scale + bias, where allowed) v, with q [B, heads, Tq, D], k and v
 * [B, heads, Tk, D] and the bias broadcastable to [B, heads, Tq, Tk]; gradients flow to it. A query that may attend to nothing gives zeros.
 * Made of products and softmax: it holds [B, heads, Tq, Tk], which `attention` does not.
 * @throws ShapeError, DTypeError, ConfigError
 */
export function biasedAttention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, options: BiasedAttentionOptions = {}): Tensor {
  const op = 'biasedAttention';
  for (const [x, name] of [
    [q, 'q'],
    [k, 'k'],
    [v, 'v'],
  ] as const)
    checkRank(op, checkFloat(op, x, name), 4, '[B, heads, T, D]', name);
  checkFloat(op, bias, 'bias');
  checkOptions(op, options, ['causal', 'mask', 'scale', 'dropout', 'path']);
  checkDevice(op, q, k, v, bias, options.mask);
  const [batch, heads, tq, d] = q.shape as [number, number, number, number];
  const tk = k.shape[2] as number;
  if (!sameShape(k.shape, [batch, heads, tk, d]) || !sameShape(v.shape.slice(0, 3), [batch, heads, tk]))
    throw new ShapeError(
      `${op}: q ${show(q.shape)}, k ${show(k.shape)} and v ${show(v.shape)} do not fit: all are [B, heads, T, D]`,
    );
  const full = [batch, heads, tq, tk];
  if (bias.ndim > 4 || !sameShape(broadcastShapes(op, bias.shape, full), full))
    throw new ShapeError(`${op}: bias ${show(bias.shape)} does not broadcast to [B, heads, Tq, Tk] = ${show(full)}`);
  const scale = checkNumber(op, options.scale ?? 1 / Math.sqrt(Math.max(1, d)), 'scale', -Number.MAX_VALUE, Number.MAX_VALUE);
  if (options.path !== undefined) checkText(op, 'path', options.path);
  const p = checkNumber(op, options.dropout ?? 0, 'dropout', 0, 1);
  const allowed = allowedOf(op, options, full, q);
  // The softmax is of f32 whatever the policy: scores are widened as they leave the product.
  const wide = q.dtype === 'f64' ? 'f64' : 'f32';
  let scores = add(mul(cast(matmul(q, k, { transposeB: true }), wide), scale), cast(bias, wide));
  if (allowed) scores = where(allowed, scores, -1e30);
  let weights = softmax(scores);
  // Where nothing is allowed, the softmax of equal scores is not 0.
  if (allowed) weights = where(allowed, weights, 0);
  if (p > 0) weights = dropout(weights, p, options.path === undefined ? {} : { path: options.path });
  return matmul(cast(weights, q.dtype), v);
}

/** What the mask and causality allow, or null: everything. Bool, of four dimensions. */
function allowedOf(op: string, options: BiasedAttentionOptions, full: number[], like: Tensor): Tensor | null {
  const { mask, causal } = options;
  const [, , tq, tk] = full as [number, number, number, number];
  const below = causal ? causalMask(tq, tk, like) : null;
  if (mask === null || mask === undefined) return below;
  checkTensor(op, mask, 'mask');
  if (mask.dtype !== 'bool')
    throw new DTypeError(
      `${op}: mask must be bool (true where a query may attend), got ${mask.dtype}. Compare first: mask.ne(0).`,
    );
  if (mask.ndim > 4 || !sameShape(broadcastShapes(op, mask.shape, full), full))
    throw new ShapeError(`${op}: mask ${show(mask.shape)} does not broadcast to [B, heads, Tq, Tk] = ${show(full)}`);
  return below ? both(mask, below) : mask;
}

/** True where both are; bools broadcast. */
export function both(a: Tensor, b: Tensor): Tensor {
  const shape = broadcastShapes('mask', a.shape, b.shape);
  return broadcastTo(a, shape).minimum(broadcastTo(b, shape));
}

/** A mask of rows of keys [B, Tk], true where a key is padding, as what queries may attend to: [B, 1, 1, Tk]. */
export function fromPadding(op: string, padding: Tensor, batch: number, tk: number): Tensor {
  checkTensor(op, padding, 'keyPaddingMask');
  if (padding.dtype !== 'bool')
    throw new DTypeError(`${op}: keyPaddingMask must be bool (true where a key is padding), got ${padding.dtype}`);
  if (!sameShape(padding.shape, [batch, tk]))
    throw new ShapeError(`${op}: keyPaddingMask must be [batch, keys] = ${show([batch, tk])}, got ${show(padding.shape)}`);
  return reshape(padding.eq(0), [batch, 1, 1, tk]);
}
