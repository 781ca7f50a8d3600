import { ConfigError, checkOptions, ShapeError } from '../native/errors.ts';
import { packedAttention } from '../ops/attention.ts';
import { add } from '../ops/binary.ts';
import { checkNumber, checkTensor } from '../ops/define.ts';
import { feedForward } from '../ops/feedforward.ts';
import { linear } from '../ops/linear.ts';
import { checkApproximate, gelu } from '../ops/unary.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { Dropout } from './dropout.ts';
import { cachedAttention, checkCache, type KVCache } from './kv-cache.ts';
import { checkCount, Linear } from './linear.ts';
import { Module } from './module.ts';
import { LayerNorm } from './norm.ts';

export function checkHeads(where: string, dim: number, heads: number): void {
  checkCount(where, 'embedDim', dim);
  checkCount(where, 'numHeads', heads);
  if (dim % heads) throw new ConfigError(`${where}: numHeads ${heads} must divide embedDim ${dim}`);
}

export function checkInput(where: string, x: Tensor, dim: number): void {
  checkTensor(where, x);
  if (x.ndim !== 3 || x.shape[2] !== dim) throw new ShapeError(`${where}: x must be [batch, time, ${dim}], got ${show(x.shape)}`);
}

/** A layer's own product may take a residual in its pass, if nothing (an adapter, a hook) stands in the layer's place and its weight is not computed. */
const plain = (layer: Linear): boolean =>
  layer.forward === Linear.prototype.forward &&
  layer.activation === 'none' &&
  Object.getOwnPropertyDescriptor(layer, 'weight')?.get === undefined;

/** Attention with one projection to q, k, v and one back; keys 'qkv' and 'proj' as in GPT-2 ports. */
class SelfAttention extends Module {
  qkv: Linear;
  proj: Linear;
  readonly heads: number;
  readonly causal: boolean;
  constructor(dim: number, heads: number, causal: boolean, bias: boolean) {
    super();
    this.qkv = new Linear(dim, 3 * dim, { bias });
    this.proj = new Linear(dim, dim, { bias });
    this.heads = heads;
    this.causal = causal;
  }
  /** With `residual`, the sum happens inside the last product's pass. */
  forward(x: Tensor, residual?: Tensor, cache?: KVCache | null): Tensor {
    const { heads, causal } = this;
    const qkv = this.qkv.forward(x);
    const y = cache ? cachedAttention(this, qkv, heads, causal, cache) : packedAttention(qkv, { heads, causal });
    if (residual && plain(this.proj)) return linear(y, this.proj.weight, this.proj.bias, { residual });
    return residual ? add(residual, this.proj.forward(y)) : this.proj.forward(y);
  }
}

class FeedForward extends Module {
  up: Linear;
  down: Linear;
  readonly approximate: 'none' | 'tanh';
  constructor(dim: number, bias: boolean, approximate: 'none' | 'tanh') {
    super();
    this.up = new Linear(dim, 4 * dim, { bias });
    this.down = new Linear(4 * dim, dim, { bias });
    this.approximate = approximate;
  }
  /** With `residual`, the sum happens inside the last product's pass. */
  forward(x: Tensor, residual?: Tensor): Tensor {
    const { approximate, up, down } = this;
    if (plain(up) && plain(down)) return feedForward(x, up, down, residual ? { approximate, residual } : { approximate });
    const y = down.forward(gelu(up.forward(x), { approximate }));
    return residual ? add(residual, y) : y;
  }
}

export interface TransformerBlockOptions {
  /** Default true: a decoder, as in GPT. */
  causal?: boolean;
  /** After attention and after the feed-forward part. Default 0.1. */
  dropout?: number;
  /** Form of GELU. Default 'none': exact. */
  approximate?: 'none' | 'tanh';
  bias?: boolean;
}

/** Pre-norm transformer block: x += dropout(attn(ln1(x))); x += dropout(mlp(ln2(x))). [B, T, C] to [B, T, C]. */
export class TransformerBlock extends Module {
  ln1: LayerNorm;
  attn: SelfAttention;
  ln2: LayerNorm;
  mlp: FeedForward;
  attnDropout: Dropout;
  mlpDropout: Dropout;
  readonly embedDim: number;
  constructor(embedDim: number, numHeads: number, options: TransformerBlockOptions = {}) {
    super();
    checkOptions('TransformerBlock', options, ['causal', 'dropout', 'approximate', 'bias']);
    checkHeads('TransformerBlock', embedDim, numHeads);
    checkNumber('TransformerBlock', options.dropout ?? 0.1, 'dropout', 0, 1);
    const bias = options.bias ?? true;
    this.embedDim = embedDim;
    this.ln1 = new LayerNorm(embedDim, { bias });
    this.attn = new SelfAttention(embedDim, numHeads, options.causal ?? true, bias);
    this.ln2 = new LayerNorm(embedDim, { bias });
    this.mlp = new FeedForward(embedDim, bias, checkApproximate('TransformerBlock', options.approximate));
    this.attnDropout = new Dropout(options.dropout ?? 0.1);
    this.mlpDropout = new Dropout(options.dropout ?? 0.1);
  }
  /** `cache`: attend to what it holds too, and add this pass's keys to it. */
  forward(x: Tensor, options: { cache?: KVCache | null | undefined } = {}): Tensor {
    checkInput('TransformerBlock', x, this.embedDim);
    checkOptions('TransformerBlock', options, ['cache']);
    const cache = checkCache('TransformerBlock', options.cache);
    const a = join(x, (y, residual) => this.attn.forward(y, residual, cache), this.ln1.forward(x), this.attnDropout);
    return join(a, (y, residual) => this.mlp.forward(y, residual), this.ln2.forward(a), this.mlpDropout);
  }
}

/** x + dropout(part(y)). */
function join(x: Tensor, part: (y: Tensor, residual?: Tensor) => Tensor, y: Tensor, dropout: Dropout): Tensor {
  if (dropout.training && dropout.p > 0) return add(x, dropout.forward(part(y)));
  return part(y, x);
}
