import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { type EmbeddingBagOptions, embeddingBag } from '../ops/embedding-bag.ts';
import type { Parameter, Tensor } from '../tensor/tensor.ts';
import { checkCount, Embedding } from './linear.ts';
import { Module } from './module.ts';

export interface EmbeddingBagLayerOptions {
  /** What becomes of a bag's rows. Default 'mean'. */
  mode?: 'sum' | 'mean' | 'max';
  /** The row of padding: 0 at the start, left out of its bag, without gradient. */
  paddingIdx?: number;
}

/** Rows of a table [count, dim] picked and joined bag by bag: indices [B, L], or a 1-D list with offsets, to [B, dim]. Starts as N(0, 1). */
export class EmbeddingBag extends Module {
  weight: Parameter;
  readonly mode: 'sum' | 'mean' | 'max';
  readonly paddingIdx: number | undefined;
  constructor(count: number, dim: number, options: EmbeddingBagLayerOptions = {}) {
    super();
    checkOptions('EmbeddingBag', options, ['mode', 'paddingIdx']);
    checkCount('EmbeddingBag', 'count', count);
    checkCount('EmbeddingBag', 'dim', dim);
    this.mode = options.mode ?? 'mean';
    if (!['sum', 'mean', 'max'].includes(this.mode))
      throw new ConfigError(`EmbeddingBag: mode must be 'sum', 'mean' or 'max', got ${describe(options.mode)}`);
    const { paddingIdx } = options;
    if (paddingIdx !== undefined && !(Number.isInteger(paddingIdx) && paddingIdx >= -count && paddingIdx < count))
      throw new ConfigError(`EmbeddingBag: paddingIdx must be a row from ${-count} to ${count - 1}, got ${describe(paddingIdx)}`);
    this.weight = new Embedding(count, dim, paddingIdx === undefined ? {} : { paddingIdx }).weight;
    this.paddingIdx = paddingIdx;
  }
  forward(indices: Tensor, options: Pick<EmbeddingBagOptions, 'offsets' | 'perSampleWeights'> = {}): Tensor {
    checkOptions('EmbeddingBag', options, ['offsets', 'perSampleWeights']);
    const { mode, paddingIdx } = this;
    return embeddingBag(indices, this.weight, { ...options, mode, ...(paddingIdx === undefined ? {} : { paddingIdx }) });
  }
}
