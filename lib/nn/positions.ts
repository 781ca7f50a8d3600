import { ConfigError, checkOptions, ShapeError } from '../native/errors.ts';
import { add } from '../ops/binary.ts';
import { cast, checkFloat, checkNumber } from '../ops/define.ts';
import { narrow } from '../ops/index.ts';
import { type RotaryTables, rotary, rotaryTables, sinusoidalPositions } from '../ops/positions.ts';
import { persistent } from '../tensor/scope.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkCount } from './linear.ts';
import { Module } from './module.ts';

/** Adds fixed sines and cosines to [B, T, dim] (Vaswani et al. 2017). No state; the table grows with the longest input seen. */
export class SinusoidalPositions extends Module {
  readonly dim: number;
  readonly base: number;
  #table: Tensor | null = null;
  constructor(dim: number, options: { base?: number } = {}) {
    super();
    checkOptions('SinusoidalPositions', options, ['base']);
    this.dim = checkCount('SinusoidalPositions', 'dim', dim);
    if (dim % 2) throw new ConfigError(`SinusoidalPositions: dim must be even, got ${dim}`);
    this.base = checkNumber('SinusoidalPositions', options.base ?? 10000, 'base', Number.MIN_VALUE, Number.MAX_VALUE);
  }
  forward(x: Tensor): Tensor {
    checkFloat('SinusoidalPositions', x);
    if (x.ndim !== 3 || x.shape[2] !== this.dim)
      throw new ShapeError(`SinusoidalPositions: x must be [batch, time, ${this.dim}], got ${show(x.shape)}`);
    const t = x.shape[1] as number;
    if (t === 0) return x;
    if (!this.#table || this.#table.device !== x.device || (this.#table.shape[0] as number) < t) {
      this.#table?.dispose();
      this.#table = persistent(() => sinusoidalPositions(t, this.dim, { base: this.base, device: x.device }));
    }
    return add(x, cast(narrow(this.#table, 0, 0, t), x.dtype));
  }
}

/** Rotary positions for queries and keys [B, heads, T, dim] (Su et al. 2021), with tables kept between calls. No state. */
export class RotaryPositions extends Module {
  readonly dim: number;
  readonly base: number;
  readonly interleaved: boolean;
  #tables: RotaryTables | null = null;
  constructor(dim: number, options: { base?: number; interleaved?: boolean } = {}) {
    super();
    checkOptions('RotaryPositions', options, ['base', 'interleaved']);
    this.dim = checkCount('RotaryPositions', 'dim', dim);
    if (dim % 2) throw new ConfigError(`RotaryPositions: dim must be even, got ${dim}`);
    this.base = checkNumber('RotaryPositions', options.base ?? 10000, 'base', Number.MIN_VALUE, Number.MAX_VALUE);
    this.interleaved = options.interleaved ?? false;
  }
  /** `offset`: the position of the first row, which is what a cache of keys already holds. */
  forward(x: Tensor, options: { offset?: number } = {}): Tensor {
    checkFloat('RotaryPositions', x);
    checkOptions('RotaryPositions', options, ['offset']);
    const offset = checkNumber('RotaryPositions', options.offset ?? 0, 'offset', 0, Number.MAX_SAFE_INTEGER);
    if (x.ndim < 2 || (x.shape.at(-1) as number) < this.dim || !Number.isInteger(offset))
      throw new ShapeError(`RotaryPositions: x must be [..., T, ${this.dim}] or wider, got ${show(x.shape)} at offset ${offset}`);
    const t = x.shape.at(-2) as number;
    if (t === 0) return x;
    const { dim, base, interleaved } = this;
    const have = this.#tables;
    if (!have || have.cos.device !== x.device || (have.cos.shape[0] as number) < offset + t) {
      have?.cos.dispose();
      have?.sin.dispose();
      this.#tables = persistent(() => rotaryTables(offset + t, dim, { base, device: x.device }));
    }
    const { cos, sin } = this.#tables as RotaryTables;
    const tables = { cos: narrow(cos, 0, offset, t), sin: narrow(sin, 0, offset, t) };
    return rotary(x, { dim, interleaved, tables });
  }
}
