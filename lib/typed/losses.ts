// Losses whose operands' shapes depend on each other. The others are anneal's own: a name that is exported here hides the one of `export *`.
import * as plain from '../ops/losses/index.ts';
import type { Shape } from '../tensor/shape.ts';
import type { Equal, Targets, TargetsOrRows } from './rules.ts';
import type { Check } from './shape.ts';
import type { Shaped, TensorOf } from './tensor.ts';

export * from '../ops/losses/index.ts';

/** A loss whose means are scalars by type. */
export interface Loss extends plain.Loss {
  times(weight: number): Loss;
  plus(other: plain.Loss): Loss;
  mean(): TensorOf<[]>;
  sum(): TensorOf<[]>;
}
export const Loss = plain.Loss as unknown as new (terms: readonly plain.LossTerm[]) => Loss;

type Classes<Options> = Omit<Options, 'axis'>;

/** Logits [..., C] with class indices [...], or with a distribution in each row [..., C]. */
export const crossEntropy = plain.crossEntropy as unknown as <L extends Shape, T extends Shape, const X extends number = -1>(
  logits: Shaped<L>,
  target: Shaped<T> & Check<TargetsOrRows<'crossEntropy', L, T, X>>,
  options?: Classes<plain.CrossEntropyOptions> & { axis?: X },
) => Loss;
/** Log-probabilities [..., C] with class indices [...]. */
export const nll = plain.nll as unknown as <L extends Shape, T extends Shape, const X extends number = -1>(
  input: Shaped<L>,
  target: Shaped<T> & Check<Targets<'nll', L, T, X>>,
  options?: Classes<plain.ClassOptions> & { axis?: X },
) => Loss;
/** Logits [..., C] with class indices [...]. */
export const focal = plain.focal as unknown as <L extends Shape, T extends Shape, const X extends number = -1>(
  logits: Shaped<L>,
  target: Shaped<T> & Check<Targets<'focal', L, T, X>>,
  options?: Classes<plain.FocalOptions> & { axis?: X },
) => Loss;

type OfEqual<What extends string, Options extends unknown[] = []> = <A extends Shape, B extends Shape>(
  input: Shaped<A>,
  target: Shaped<B> & Check<Equal<What, A, B>>,
  ...options: Options
) => Loss;
export const mse = plain.mse as unknown as OfEqual<'mse'>;
export const l1 = plain.l1 as unknown as OfEqual<'l1'>;
export const huber = plain.huber as unknown as OfEqual<'huber', [options?: { delta?: number }]>;
export const smoothL1 = plain.smoothL1 as unknown as OfEqual<'smoothL1', [options?: { beta?: number }]>;
export const kl = plain.kl as unknown as OfEqual<'kl', [options?: { logTarget?: boolean }]>;
export const bceWithLogits = plain.bceWithLogits as unknown as OfEqual<'bceWithLogits', [options?: plain.BceOptions]>;
