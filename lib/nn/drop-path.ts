import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { mul } from '../ops/binary.ts';
import { checkFloat, filled } from '../ops/define.ts';
import { dropout } from '../ops/dropout.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { Module } from './module.ts';

let made = 0;

/**
 * Stochastic depth (Huang et al. 2016): while training, whole samples (the first axis) are zeroed with probability p, and the rest multiplied by
 * 1 / (1 - p). Stands at the end of a residual branch: x.add(dropPath.forward(branch)). Keyed as dropout: by seed, path, step and the sample's
 * place in the whole window.
 */
export class DropPath extends Module {
  readonly p: number;
  readonly #serial = made++;
  constructor(p = 0.1, options: object = {}) {
    super();
    checkOptions('DropPath', options, []);
    if (typeof p !== 'number' || !(p >= 0 && p <= 1))
      throw new ConfigError(`DropPath: p must be a number from 0 to 1, got ${describe(p)}`);
    this.p = p;
  }
  forward(x: Tensor): Tensor {
    checkFloat('DropPath', x);
    if (!this.training || this.p === 0 || x.ndim === 0) return x;
    const path = this.path || `DropPath:${this.#serial}`;
    const ones = filled([x.shape[0] as number, ...x.shape.slice(1).map(() => 1)], 1, x.dtype, { device: x.device });
    return mul(x, dropout(ones, this.p, { path }));
  }
}
