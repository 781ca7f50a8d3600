import { ConfigError, checkOptions, describe } from '../native/errors.ts';

/** How the rate goes with the batch: in proportion (SGD), or with the square root (Adam and its like, LAMB). */
export type ScalingRule = 'linear' | 'sqrt';

export interface ScaleOptions {
  rule: ScalingRule;
  /** Samples per micro-batch and process. */
  batchSize: number;
  /** The batch for which the rate was found. */
  baseBatchSize: number;
  /** Micro-batches per step. Default 1. */
  accumulate?: number;
  /** Processes that each take a batch of their own. Default 1. */
  worldSize?: number;
}

/**
 * The learning rate for a batch of `batchSize` x `accumulate` x `worldSize`, from one found for `baseBatchSize`: times the ratio of the batches ('linear',
 * Goyal et al. 2017), or its square root ('sqrt', Krizhevsky 2014; Adam: Malladi et al. 2022). A rate that grows wants a warm-up.
 * @example const lr = optim.scaleLearningRate(0.1, { rule: 'linear', batchSize: 256, accumulate: 4, baseBatchSize: 256 }); // 0.4
 */
export function scaleLearningRate(lr: number, options: ScaleOptions): number {
  const where = 'scaleLearningRate';
  if (!(typeof lr === 'number' && lr >= 0 && lr < Infinity))
    throw new ConfigError(`${where}: lr must be a number >= 0, got ${describe(lr)}`);
  checkOptions(where, options, ['rule', 'batchSize', 'baseBatchSize', 'accumulate', 'worldSize']);
  const { rule, batchSize, baseBatchSize, accumulate = 1, worldSize = 1 } = Object(options) as ScaleOptions;
  if (rule !== 'linear' && rule !== 'sqrt')
    throw new ConfigError(`${where}: rule must be 'linear' (SGD) or 'sqrt' (Adam and its like), got ${describe(rule)}`);
  for (const [name, n] of Object.entries({ batchSize, baseBatchSize, accumulate, worldSize }))
    if (!(Number.isSafeInteger(n) && n >= 1))
      throw new ConfigError(`${where}: ${name} must be a whole number >= 1, got ${describe(n)}`);
  const ratio = (batchSize * accumulate * worldSize) / baseBatchSize;
  return lr * (rule === 'linear' ? ratio : Math.sqrt(ratio));
}
