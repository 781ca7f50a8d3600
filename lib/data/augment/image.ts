// Transforms of images: geometry and normalisation. Semantics are those of torchvision.transforms.v2 (docs/techniques/image-augmentation.md).
import { ConfigError, checkOptions, describe } from '../../native/errors.ts';
import { checkColumn, checkNumber, checkNumbers, checkP, checkRange, checkSize, checkWord } from './check.ts';
import type {
  Interpolation,
  Normalize,
  PaddingMode,
  RandomAffine,
  RandomCrop,
  RandomErasing,
  RandomHorizontalFlip,
  RandomResizedCrop,
  RandomRotation,
  RandomVerticalFlip,
} from './descriptors.ts';

/** Options common to image transforms. */
export interface ImageOptions {
  /** The column of images, [channels, height, width] or [height, width]. Default 'x'. */
  column?: string;
}
/** Options of transforms that leave part of the image empty. */
export interface FillOptions extends ImageOptions {
  /** 'nearest' (default) or 'bilinear'. */
  interpolation?: Interpolation;
  /** What is put there, in the column's stored units before scale and mean: one number or one per channel. Default 0, black. */
  fill?: number | readonly number[];
}

const interpolations = ['nearest', 'bilinear'] as const;

/** One number stays one: it serves any number of channels. */
export function checkFill(where: string, name: string, fill: unknown): number | number[] {
  if (typeof fill === 'number' && !Number.isFinite(fill))
    throw new ConfigError(`${where}: ${name} must be a finite number, got ${describe(fill)}.`);
  const list = checkNumbers(where, name, fill);
  return list.length === 1 ? (list[0] as number) : list;
}

export function fillOptions(where: string, options: FillOptions) {
  return {
    column: checkColumn(where, options.column),
    interpolation: checkWord(where, 'interpolation', options.interpolation ?? 'nearest', interpolations),
    fill: checkFill(where, 'fill', options.fill ?? 0),
  };
}

/** Degrees: a number d is [-d, d]. */
function degreesOf(where: string, name: string, value: number | readonly [number, number]): [number, number] {
  if (typeof value === 'number') {
    const d = checkNumber(where, name, value, 0);
    return [-d, d];
  }
  return checkRange(where, name, value, -Infinity);
}

/**
 * A random crop of `size` (pixels: a side, or [height, width]) from the image with `padding` pixels around it (default 0),
 * as torchvision's RandomCrop. `paddingMode` is 'constant' (default), 'edge', 'reflect' or 'symmetric'; `fill` is constant padding's value as
 * stored, before scale and mean (default 0, black), one number or one per channel. Throws ConfigError for sizes that are not positive integers.
 */
export function randomCrop(
  size: number | readonly [number, number],
  options: ImageOptions & { padding?: number; fill?: number | readonly number[]; paddingMode?: PaddingMode } = {},
): RandomCrop {
  const where = 'augment.randomCrop';
  checkOptions(where, options, ['padding', 'fill', 'paddingMode', 'column']);
  const { padding = 0, paddingMode = 'constant' } = options;
  const column = checkColumn(where, options.column);
  const [height, width] = checkSize(where, size);
  if (!Number.isSafeInteger(padding) || padding < 0)
    throw new ConfigError(`${where}: padding must be an integer >= 0, got ${describe(padding)}.`);
  const fill = checkFill(where, 'fill', options.fill ?? 0);
  const modes = ['constant', 'edge', 'reflect', 'symmetric'] as const;
  return {
    kind: 'randomCrop',
    column,
    height,
    width,
    padding,
    fill,
    paddingMode: checkWord(where, 'paddingMode', paddingMode, modes),
  };
}

/** Mirrors each image left to right with probability `p` (default 0.5). Throws ConfigError unless 0 <= p <= 1. */
export function randomHorizontalFlip(p = 0.5, options: ImageOptions = {}): RandomHorizontalFlip {
  const where = 'augment.randomHorizontalFlip';
  checkOptions(where, options, ['column']);
  return { kind: 'randomHorizontalFlip', column: checkColumn(where, options.column), p: checkP(where, p) };
}

/** Mirrors each image upside down with probability `p` (default 0.5). Throws ConfigError unless 0 <= p <= 1. */
export function randomVerticalFlip(p = 0.5, options: ImageOptions = {}): RandomVerticalFlip {
  const where = 'augment.randomVerticalFlip';
  checkOptions(where, options, ['column']);
  return { kind: 'randomVerticalFlip', column: checkColumn(where, options.column), p: checkP(where, p) };
}

/**
 * A rectangle of `scale` (its share of the area, default [0.08, 1]) and `ratio` (width to height, default [3/4, 4/3], drawn evenly in the logarithm),
 * resized to `size` bilinearly with antialias, as torchvision's RandomResizedCrop: ten attempts, then the largest central one.
 * Images are u8 or f32. Throws ConfigError unless 0 <= scale <= 1 and ratio > 0.
 */
export function randomResizedCrop(
  size: number | readonly [number, number],
  options: ImageOptions & { scale?: readonly [number, number]; ratio?: readonly [number, number] } = {},
): RandomResizedCrop {
  const where = 'augment.randomResizedCrop';
  checkOptions(where, options, ['scale', 'ratio', 'column']);
  const [height, width] = checkSize(where, size);
  return {
    kind: 'randomResizedCrop',
    column: checkColumn(where, options.column),
    height,
    width,
    scale: checkRange(where, 'scale', options.scale ?? [0.08, 1], 0, 1),
    ratio: checkRatio(where, options.ratio ?? [3 / 4, 4 / 3]),
  };
}

function checkRatio(where: string, ratio: readonly [number, number]): [number, number] {
  const range = checkRange(where, 'ratio', ratio, 0);
  if (range[0] > 0) return range;
  throw new ConfigError(`${where}: ratio must be [min, max] with 0 < min <= max, got ${describe(ratio)}.`);
}

/**
 * A turn by an angle from `degrees` (a number d is [-d, d]; positive is counter-clockwise) around the image's centre, as torchvision's RandomRotation
 * with expand off. Images are u8 or f32. Throws ConfigError for angles that are no range.
 */
export function randomRotation(degrees: number | readonly [number, number], options: FillOptions = {}): RandomRotation {
  const where = 'augment.randomRotation';
  checkOptions(where, options, ['interpolation', 'fill', 'column']);
  return { kind: 'randomRotation', degrees: degreesOf(where, 'degrees', degrees), ...fillOptions(where, options) };
}

/**
 * A turn, shift, scale and shear at once, keeping the centre, as torchvision's RandomAffine. `translate`: the most shift as shares of width and height
 * (each 0 to 1; whole pixels are drawn); `scale`: a range of factors; `shear`: degrees along x (a number d is [-d, d], or [min, max]), or along x and y
 * [minX, maxX, minY, maxY]. Positive angles turn clockwise. Images are u8 or f32. Throws ConfigError for what is out of range.
 */
export function randomAffine(
  degrees: number | readonly [number, number],
  options: FillOptions & {
    translate?: readonly [number, number];
    scale?: readonly [number, number];
    shear?: number | readonly number[];
  } = {},
): RandomAffine {
  const where = 'augment.randomAffine';
  checkOptions(where, options, ['translate', 'scale', 'shear', 'interpolation', 'fill', 'column']);
  const { translate = [0, 0], scale = [1, 1], shear = 0 } = options;
  const right = Array.isArray(translate) && translate.length === 2 && translate.every((v) => v >= 0 && v <= 1);
  if (!right)
    throw new ConfigError(
      `${where}: translate must be [x, y], shares of width and height from 0 to 1, got ${describe(translate)}.`,
    );
  const factors = checkRange(where, 'scale', scale, 0);
  if (factors[0] <= 0) throw new ConfigError(`${where}: scale must be [min, max] with 0 < min <= max, got ${describe(scale)}.`);
  const both = Array.isArray(shear) && shear.length === 4;
  const along = degreesOf(where, 'shear', (both ? shear.slice(0, 2) : shear) as number | readonly [number, number]);
  const across = both ? checkRange(where, 'shear', shear.slice(2), -Infinity) : [0, 0];
  return {
    kind: 'randomAffine',
    degrees: degreesOf(where, 'degrees', degrees),
    translate: [translate[0] as number, translate[1] as number],
    scale: factors,
    shear: [...along, ...across] as unknown as RandomAffine['shear'],
    ...fillOptions(where, options),
  };
}

/**
 * With probability `p` (default 0.5) paints over a rectangle of `scale` (its share of the area, default [0.02, 0.33]) and `ratio` (height to width,
 * default [0.3, 3.3]), as torchvision's RandomErasing. `value` (default 0) is in stored units, one number or one per channel; 'random' is normal noise that
 * the model sees as N(0, 1) (a u8 image can hold it only from 0 to 255). Images are u8 or f32. Throws ConfigError for what is out of range.
 */
export function randomErasing(
  options: ImageOptions & {
    p?: number;
    scale?: readonly [number, number];
    ratio?: readonly [number, number];
    value?: number | readonly number[] | 'random';
  } = {},
): RandomErasing {
  const where = 'augment.randomErasing';
  checkOptions(where, options, ['p', 'scale', 'ratio', 'value', 'column']);
  const { value = 0 } = options;
  if (typeof value === 'string' && value !== 'random')
    throw new ConfigError(`${where}: value must be a number, one per channel, or 'random', got ${describe(value)}.`);
  return {
    kind: 'randomErasing',
    column: checkColumn(where, options.column),
    p: checkP(where, options.p ?? 0.5),
    scale: checkRange(where, 'scale', options.scale ?? [0.02, 0.33], 0, 1),
    ratio: checkRatio(where, options.ratio ?? [0.3, 3.3]),
    value: value === 'random' ? 'random' : checkFill(where, 'value', value),
  };
}

/**
 * (value - mean) / std, with one number or one per channel; the result is f32. Values are those after the dataset's scale (pixels
 * from 0 to 1), and this mean and std stand in place of the dataset's own. It comes after all image transforms, wherever it stands in the list.
 */
export function normalize(
  mean: number | readonly number[],
  std: number | readonly number[],
  options: ImageOptions = {},
): Normalize {
  const where = 'augment.normalize';
  checkOptions(where, options, ['column']);
  const finite = (values: unknown): values is readonly number[] =>
    Array.isArray(values) && values.length > 0 && values.every((v) => Number.isFinite(v));
  const means = typeof mean === 'number' ? [mean] : mean;
  const stds = typeof std === 'number' ? [std] : std;
  if (!finite(means)) throw new ConfigError(`${where}: mean must be finite numbers, got ${describe(mean)}.`);
  if (!finite(stds) || stds.includes(0))
    throw new ConfigError(`${where}: std must be finite numbers other than 0, got ${describe(std)}.`);
  return { kind: 'normalize', column: checkColumn(where, options.column), mean: means, std: stds };
}
