import { ConfigError, checkOptions, checkText, describe } from '../../native/errors.ts';

/** Cut [.., height, width] at a random place out of images padded on all sides. Draws two words per sample: y, then x. */
export interface RandomCrop {
  readonly kind: 'randomCrop';
  readonly column: string;
  readonly height: number;
  readonly width: number;
  readonly padding: number;
  readonly fill: number;
}

/** Mirror images left to right with probability p. Draws one word per sample. */
export interface RandomHorizontalFlip {
  readonly kind: 'randomHorizontalFlip';
  readonly column: string;
  readonly p: number;
}

/** (value - mean) / std after the column's scale, in place of the dataset's own mean and std. Draws nothing. */
export interface Normalize {
  readonly kind: 'normalize';
  readonly column: string;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

/** A built-in transform: plain data, carried out where the batch is gathered. */
export type Transform = RandomCrop | RandomHorizontalFlip | Normalize;

/** Options common to image transforms. */
export interface ImageOptions {
  /** The column of images, [channels, height, width] or [height, width]. Default 'x'. */
  column?: string;
}

const finite = (values: readonly number[]) => values.length > 0 && values.every((v) => Number.isFinite(v));

/**
 * A random crop of `size` (pixels: a side, or [height, width]) from the image with `padding` pixels around it (default 0),
 * as torchvision's RandomCrop. `fill` is the padding's value as stored, before scale and mean (default 0, black).
 * Throws ConfigError for sizes that are not positive integers.
 */
export function randomCrop(
  size: number | readonly [number, number],
  options: ImageOptions & { padding?: number; fill?: number } = {},
): RandomCrop {
  checkOptions('augment.randomCrop', options, ['padding', 'fill', 'column']);
  const [height, width] = Array.isArray(size) ? size : [size, size];
  const { padding = 0, fill = 0, column = 'x' } = options;
  checkText('augment.randomCrop', 'column', column);
  const whole = (n: unknown, least: number) => Number.isSafeInteger(n) && (n as number) >= least;
  if (!whole(height, 1) || !whole(width, 1) || (Array.isArray(size) && size.length !== 2)) {
    throw new ConfigError(`augment.randomCrop: size must be a positive integer or [height, width], got ${describe(size)}.`);
  }
  if (!whole(padding, 0)) throw new ConfigError(`augment.randomCrop: padding must be an integer >= 0, got ${describe(padding)}.`);
  if (!Number.isFinite(fill)) throw new ConfigError(`augment.randomCrop: fill must be a finite number, got ${describe(fill)}.`);
  return { kind: 'randomCrop', column, height, width, padding, fill };
}

/** Mirrors each image left to right with probability `p` (default 0.5). Throws ConfigError unless 0 <= p <= 1. */
export function randomHorizontalFlip(p = 0.5, options: ImageOptions = {}): RandomHorizontalFlip {
  checkOptions('augment.randomHorizontalFlip', options, ['column']);
  checkText('augment.randomHorizontalFlip', 'column', options.column ?? 'x');
  if (!(typeof p === 'number' && p >= 0 && p <= 1))
    throw new ConfigError(`augment.randomHorizontalFlip: p must be from 0 to 1, got ${describe(p)}.`);
  return { kind: 'randomHorizontalFlip', column: options.column ?? 'x', p };
}

/**
 * (value - mean) / std, with one number or one per channel; the result is f32. Values are those after the dataset's scale (pixels
 * from 0 to 1), and this mean and std stand in place of the dataset's own. It comes last, wherever it stands in the list.
 */
export function normalize(
  mean: number | readonly number[],
  std: number | readonly number[],
  options: ImageOptions = {},
): Normalize {
  checkOptions('augment.normalize', options, ['column']);
  const means = typeof mean === 'number' ? [mean] : mean;
  const stds = typeof std === 'number' ? [std] : std;
  if (!Array.isArray(means) || !finite(means))
    throw new ConfigError(`augment.normalize: mean must be finite numbers, got ${describe(mean)}.`);
  checkText('augment.normalize', 'column', options.column ?? 'x');
  if (!Array.isArray(stds) || !finite(stds) || stds.includes(0)) {
    throw new ConfigError(`augment.normalize: std must be finite numbers other than 0, got ${describe(std)}.`);
  }
  return { kind: 'normalize', column: options.column ?? 'x', mean: means, std: stds };
}
