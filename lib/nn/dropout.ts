import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { dropout, dropout2d } from '../ops/random.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { Module } from './module.ts';

let made = 0;

/** A module whose random numbers are keyed by its path in the model; before it has one, by the order in which it was made. */
abstract class RandomModule extends Module {
  readonly p: number;
  readonly #serial = made++;
  constructor(p: number) {
    super();
    if (typeof p !== 'number' || !(p >= 0 && p <= 1))
      throw new ConfigError(`${new.target.name}: p must be a number from 0 to 1, got ${describe(p)}`);
    this.p = p;
  }
  get key(): string {
    return this.path || `${this.constructor.name}:${this.#serial}`;
  }
}

/** Zeroes elements with probability p while training and scales the rest by 1 / (1 - p). The mask is recomputed in backward, never stored. */
export class Dropout extends RandomModule {
  constructor(p = 0.5, options: object = {}) {
    super(p);
    checkOptions('Dropout', options, []);
  }
  forward(x: Tensor): Tensor {
    return this.training && this.p > 0 ? dropout(x, this.p, { path: this.key }) : x;
  }
}

/** Zeroes whole channels of [N, C, H, W] with probability p while training. */
export class Dropout2d extends RandomModule {
  constructor(p = 0.5) {
    super(p);
  }
  forward(x: Tensor): Tensor {
    return this.training && this.p > 0 ? dropout2d(x, this.p, { path: this.key }) : x;
  }
}
