// Transforms of rows of numbers.
import { checkOptions } from '../../native/errors.ts';
import { checkColumn, checkNumbers, checkP } from './check.ts';
import type { FeatureMask, GaussianNoise } from './descriptors.ts';

/**
 * Adds normal noise to every number of a sample, as the model sees it (after the column's encoding or `normalize`). `std`: one number, or one per feature;
 * in units of standardised features 0.05 to 0.2 is usual. The column must reach the model as f32. Throws ConfigError unless std >= 0.
 */
export function gaussianNoise(std: number | readonly number[], options: { column?: string } = {}): GaussianNoise {
  const where = 'augment.gaussianNoise';
  checkOptions(where, options, ['column']);
  return { kind: 'gaussianNoise', column: checkColumn(where, options.column), std: checkNumbers(where, 'std', std, 0) };
}

/**
 * Puts each feature of a sample, with probability `p` (default 0.1) and each on its own, at `value`: one number or one per feature, as the model sees it.
 * Default 0, the mean of a standardised feature. The column must reach the model as f32. Throws ConfigError unless 0 <= p <= 1.
 */
export function featureMask(p = 0.1, options: { column?: string; value?: number | readonly number[] } = {}): FeatureMask {
  const where = 'augment.featureMask';
  checkOptions(where, options, ['column', 'value']);
  return {
    kind: 'featureMask',
    column: checkColumn(where, options.column),
    p: checkP(where, p),
    value: checkNumbers(where, 'value', options.value ?? 0),
  };
}
