import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import { bind } from '../tensor/context.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { div, maximum } from './binary.ts';
import { attach, cast, checkFloat } from './define.ts';
import { rand } from './random.ts';
import { argmax } from './reduce.ts';
import { topK } from './select.ts';
import { log1p, neg } from './unary.ts';
import { reshape } from './view.ts';

export interface MultinomialOptions {
  /** May one class be drawn several times? Default false. */
  replacement?: boolean;
}

/**
 * `numSamples` classes drawn by the weights of each row: weights [K] or [N, K], not negative, of any sum; i32 [numSamples] or [N, numSamples]. By
 * exponential races (the largest p / e, e exponential): keyed by the seed as every draw. Without replacement the best of one race, so in a random
 * order; rows need as many weights above 0. Takes numSamples times the weights' memory with replacement.
 */
export function multinomial(weights: Tensor, numSamples: number, options: MultinomialOptions = {}): Tensor {
  checkFloat('multinomial', weights, 'weights');
  checkOptions('multinomial', options, ['replacement']);
  const { shape, device } = weights;
  const k = shape[shape.length - 1] as number;
  if (weights.ndim < 1 || weights.ndim > 2 || k === 0)
    throw new ShapeError(`multinomial: weights must be [K] or [N, K] with K above 0, got ${show(shape)}`);
  if (!Number.isInteger(numSamples) || numSamples < 1 || (!options.replacement && numSamples > k))
    throw new ConfigError(
      `multinomial: numSamples must be a whole number from 1${options.replacement ? '' : ` to ${k}, or replacement: true`}, got ${describe(numSamples)}`,
    );
  return bind({ grad: false }, () => {
    const p = cast(weights.detach(), 'f32');
    const races = options.replacement ? [...shape.slice(0, -1), numSamples, k] : shape;
    // u has 24 bits: what is not 0 is above 2^-25
    const e = maximum(neg(log1p(neg(rand(races, { device })))), 2 ** -25);
    if (!options.replacement) return topK(div(p, e), numSamples).indices;
    return argmax(div(reshape(p, [...shape.slice(0, -1), 1, k]), e), { axis: -1 });
  });
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** Classes drawn by weights along the last dimension. */
    multinomial(numSamples: number, options?: MultinomialOptions): Tensor;
  }
}
attach({ multinomial });
