/** Losses whose operands' shapes depend on each other; the others are anneal's own. */
import * as plain from '../ops/losses/index.ts';
import type { Shape } from '../tensor/shape.ts';
import type { Equal, Targets, TargetsOrRows } from './rules.ts';
import type { Check } from './shape.ts';
import type { Shaped } from './tensor.ts';

type Classes<Options> = Omit<Options, 'axis'>;

/** Logits [..., C] with class indices [...], or with a distribution in each row [..., C]. */
export const crossEntropy = plain.crossEntropy as unknown as <L extends Shape, T extends Shape, const X extends number = -1>(
  logits: Shaped<L>,
  target: Shaped<T> & Check<TargetsOrRows<'crossEntropy', L, T, X>>,
  options?: Classes<plain.CrossEntropyOptions> & { axis?: X },
) => plain.Loss;
/** Log-probabilities [..., C] with class indices [...]. */
export const nll = plain.nll as unknown as <L extends Shape, T extends Shape, const X extends number = -1>(
  input: Shaped<L>,
  target: Shaped<T> & Check<Targets<'nll', L, T, X>>,
  options?: Classes<plain.ClassOptions> & { axis?: X },
) => plain.Loss;
/** Logits [..., C] with class indices [...]. */
export const focal = plain.focal as unknown as <L extends Shape, T extends Shape, const X extends number = -1>(
  logits: Shaped<L>,
  target: Shaped<T> & Check<Targets<'focal', L, T, X>>,
  options?: Classes<plain.FocalOptions> & { axis?: X },
) => plain.Loss;

type OfEqual<What extends string, Options extends unknown[] = []> = <A extends Shape, B extends Shape>(
  input: Shaped<A>,
  target: Shaped<B> & Check<Equal<What, A, B>>,
  ...options: Options
) => plain.Loss;
export const mse = plain.mse as unknown as OfEqual<'mse'>;
export const l1 = plain.l1 as unknown as OfEqual<'l1'>;
export const huber = plain.huber as unknown as OfEqual<'huber', [options?: { delta?: number }]>;
export const smoothL1 = plain.smoothL1 as unknown as OfEqual<'smoothL1', [options?: { beta?: number }]>;
export const kl = plain.kl as unknown as OfEqual<'kl', [options?: { logTarget?: boolean }]>;
export const bceWithLogits = plain.bceWithLogits as unknown as OfEqual<'bceWithLogits', [options?: plain.BceOptions]>;

export {
  type BceOptions,
  type ClassOptions,
  type CrossEntropyOptions,
  type CtcOptions,
  contrastive,
  cosineEmbedding,
  ctc,
  type DiceOptions,
  dice,
  type FocalOptions,
  gaussianNll,
  hinge,
  Loss,
  type LossTerm,
  lossTerm,
  poissonNll,
  tripletMargin,
} from '../ops/losses/index.ts';
