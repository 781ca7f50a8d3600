import { ConfigError, checkOptions, DTypeError, describe, ShapeError } from '../native/errors.ts';
import { attention, packedAttention } from '../ops/attention.ts';
import { biasedAttention, both, fromPadding } from '../ops/attention-bias.ts';
import { checkDevice, checkFloat, checkNumber, checkTensor } from '../ops/define.ts';
import { narrow, permute } from '../ops/index.ts';
import { linear } from '../ops/linear.ts';
import { reshape } from '../ops/view.ts';
import { nextDraw } from '../tensor/context.ts';
import { isFloat } from '../tensor/dtype.ts';
import { show } from '../tensor/shape.ts';
import { Parameter, Tensor } from '../tensor/tensor.ts';
import * as init from './init.ts';
import { cachedAttention, checkCache, type KVCache } from './kv-cache.ts';
import { checkCount, Linear } from './linear.ts';
import { Module } from './module.ts';

export interface MultiheadAttentionOptions {
  /** A position attends only to itself and what came before. Default false. */
  causal?: boolean;
  bias?: boolean;
  /** Probability with which attention weights are dropped while training. Default 0. */
  dropout?: number;
  /** Width of the keys. Default: embedDim. */
  kdim?: number;
  /** Width of the values. Default: embedDim. */
  vdim?: number;
}

export interface AttendOptions {
  /** Bool [B, Tk], true where a key is padding and is not looked at (as in PyTorch). */
  keyPaddingMask?: Tensor | null;
  /**
   * Bool, true where a query may not attend (as in PyTorch's layer; the op `attention` means the contrary); or floats added to the scores.
   * [Tq, Tk], [B heads, Tq, Tk], or broadcastable to [B, heads, Tq, Tk].
   */
  attnMask?: Tensor | null;
  /** Self-attention attends to what it holds too, and adds this pass's keys to it. Not together with masks. */
  cache?: KVCache | null;
}

let made = 0;

/**
 * Attention of queries [B, Tq, C] to keys [B, Tk, kdim] and values [B, Tk, vdim], batch first; with one input, of a sequence with itself. State as
 * PyTorch's nn.MultiheadAttention: in_proj_weight [3C, C] (q_proj_weight, k_proj_weight, v_proj_weight where the widths differ), out_proj. A
 * query that may attend to nothing gives the output's bias, not NaN.
 */
export class MultiheadAttention extends Module {
  inProjWeight: Parameter | null;
  qProjWeight: Parameter | null;
  kProjWeight: Parameter | null;
  vProjWeight: Parameter | null;
  inProjBias: Parameter | null;
  outProj: Linear;
  readonly embedDim: number;
  readonly numHeads: number;
  readonly causal: boolean;
  readonly dropout: number;
  readonly kdim: number;
  readonly vdim: number;
  readonly #serial = made++;

  constructor(embedDim: number, numHeads: number, options: MultiheadAttentionOptions = {}) {
    super();
    const where = 'MultiheadAttention';
    checkOptions(where, options, ['causal', 'bias', 'dropout', 'kdim', 'vdim']);
    this.embedDim = checkCount(where, 'embedDim', embedDim);
    this.numHeads = checkCount(where, 'numHeads', numHeads);
    if (embedDim % numHeads) throw new ConfigError(`${where}: numHeads ${numHeads} must divide embedDim ${embedDim}`);
    this.kdim = checkCount(where, 'kdim', options.kdim ?? embedDim);
    this.vdim = checkCount(where, 'vdim', options.vdim ?? embedDim);
    this.dropout = checkNumber(where, options.dropout ?? 0, 'dropout', 0, 1);
    this.causal = options.causal ?? false;
    const bias = options.bias ?? true;
    const packed = this.kdim === embedDim && this.vdim === embedDim;
    const draw = (rows: number, width: number) => new Parameter(init.xavierUniform([rows, width]));
    this.inProjWeight = packed ? draw(3 * embedDim, embedDim) : null;
    this.qProjWeight = packed ? null : draw(embedDim, embedDim);
    this.kProjWeight = packed ? null : draw(embedDim, this.kdim);
    this.vProjWeight = packed ? null : draw(embedDim, this.vdim);
    this.inProjBias = bias ? new Parameter(init.zeros([3 * embedDim])) : null;
    this.outProj = new Linear(embedDim, embedDim, { bias });
    if (bias) this.outProj.bias = new Parameter(init.zeros([embedDim]));
  }

  /** forward(x), forward(x, options), or forward(query, key, value, options); without a value, the keys are the values. */
  forward(query: Tensor, key?: Tensor | AttendOptions, value?: Tensor | AttendOptions, options: AttendOptions = {}): Tensor {
    const where = 'MultiheadAttention';
    const given = [key, value, options].find((o) => o !== undefined && !(o instanceof Tensor)) as AttendOptions;
    checkOptions(where, given, ['keyPaddingMask', 'attnMask', 'cache']);
    const k = key instanceof Tensor ? key : query;
    const v = value instanceof Tensor ? value : k;
    this.#check(where, query, k, v);
    checkDevice(where, query, k, v, given.keyPaddingMask, given.attnMask);
    const cache = checkCache(where, given.cache);
    if (cache) return this.#cached(where, query, k === query && v === query, given, cache);
    const [batch, tq] = query.shape as [number, number];
    const tk = k.shape[1] as number;
    const padding = given.keyPaddingMask ? fromPadding(where, given.keyPaddingMask, batch, tk) : null;
    const { mask, bias } = this.#masks(where, given.attnMask, padding, batch, tq, tk);
    const drops = this.training && this.dropout > 0;
    const path = `${this.path || `${where}:${this.#serial}`}.dropout`;
    const { causal, numHeads: heads } = this;
    if (bias) {
      const [a, b, c] = this.#project(query, k, v);
      const y = biasedAttention(a, b, c, bias, { causal, mask, path, dropout: drops ? this.dropout : 0 });
      return this.#joined(y, batch, tq);
    }
    const dropout = drops ? { p: this.dropout, draw: nextDraw(path) } : 0;
    if (k === query && v === query && this.inProjWeight) {
      const qkv = linear(query, this.inProjWeight, this.inProjBias);
      return this.outProj.forward(packedAttention(qkv, { heads, causal, mask, dropout }));
    }
    const [a, b, c] = this.#project(query, k, v);
    return this.#joined(attention(a, b, c, { causal, mask, dropout }), batch, tq);
  }

  #cached(where: string, x: Tensor, self: boolean, given: AttendOptions, cache: KVCache): Tensor {
    if (this.training && this.dropout > 0)
      throw new ConfigError(
        `${where}: a cache is for generating, and this layer drops weights while training. Call model.eval() first.`,
      );
    if (!self || !this.inProjWeight || given.attnMask || given.keyPaddingMask)
      throw new ConfigError(
        `${where}: a cache is for self-attention without masks; cross-attention's keys stay the same, so compute them once.`,
      );
    const qkv = linear(x, this.inProjWeight, this.inProjBias);
    return this.outProj.forward(cachedAttention(this, qkv, this.numHeads, this.causal, cache));
  }

  #check(where: string, q: Tensor, k: Tensor, v: Tensor): void {
    for (const [t, name, width] of [
      [q, 'query', this.embedDim],
      [k, 'key', this.kdim],
      [v, 'value', this.vdim],
    ] as const) {
      checkFloat(where, t, name);
      if (t.ndim !== 3 || t.shape[2] !== width)
        throw new ShapeError(`${where}: ${name === 'query' ? 'x' : name} must be [batch, time, ${width}], got ${show(t.shape)}`);
    }
    if (k.shape[0] !== q.shape[0] || v.shape[0] !== q.shape[0] || v.shape[1] !== k.shape[1])
      throw new ShapeError(
        `${where}: query ${show(q.shape)}, key ${show(k.shape)} and value ${show(v.shape)} must agree in batch and keys`,
      );
  }

  /** What the kernel takes: bool, true where allowed; or floats for the scores. */
  #masks(where: string, given: Tensor | null | undefined, padding: Tensor | null, batch: number, tq: number, tk: number) {
    if (given === null || given === undefined) return { mask: padding, bias: null };
    checkTensor(where, given, 'attnMask');
    const { numHeads } = this;
    const rows = given.ndim === 3 && given.shape[0] === batch * numHeads ? reshape(given, [batch, numHeads, tq, tk]) : given;
    if (isFloat(rows.dtype)) return { mask: padding, bias: rows };
    if (rows.dtype !== 'bool')
      throw new DTypeError(
        `${where}: attnMask must be bool (true where a query may not attend) or float, got ${describe(rows.dtype)}`,
      );
    const open = rows.eq(0);
    return { mask: padding ? both(open, padding) : open, bias: null };
  }

  /** Queries, keys and values as [B, heads, T, D]. */
  #project(query: Tensor, key: Tensor, value: Tensor): [Tensor, Tensor, Tensor] {
    const { embedDim, numHeads } = this;
    const own = [this.qProjWeight, this.kProjWeight, this.vProjWeight];
    const [q, k, v] = [query, key, value].map((x, i) => {
      const weight = own[i] ?? narrow(this.inProjWeight as Tensor, 0, i * embedDim, embedDim);
      const bias = this.inProjBias && narrow(this.inProjBias, 0, i * embedDim, embedDim);
      const y = linear(x, weight, bias);
      return permute(reshape(y, [x.shape[0] as number, x.shape[1] as number, numHeads, embedDim / numHeads]), [0, 2, 1, 3]);
    });
    return [q as Tensor, k as Tensor, v as Tensor];
  }

  /** The heads side by side, and through the last projection. */
  #joined(y: Tensor, batch: number, tq: number): Tensor {
    return this.outProj.forward(reshape(permute(y, [0, 2, 1, 3]), [batch, tq, this.embedDim]));
  }
}
