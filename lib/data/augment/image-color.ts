// Transforms of colours, and RandAugment.
import { ConfigError, checkOptions, describe } from '../../native/errors.ts';
import { checkColumn, checkRange, checkWhole } from './check.ts';
import type { ColorJitter, RandAugment } from './descriptors.ts';
import { type FillOptions, fillOptions, type ImageOptions } from './image.ts';

/** A factor's range: a number f is [1 - f, 1 + f], not below 0. */
function factors(where: string, name: string, value: number | readonly [number, number] | undefined) {
  if (value === undefined) return undefined;
  if (typeof value !== 'number') return unlessOne(checkRange(where, name, value, 0));
  if (Number.isFinite(value) && value >= 0) return unlessOne([Math.max(0, 1 - value), 1 + value]);
  throw new ConfigError(`${where}: ${name} must be a number >= 0 or [min, max] with 0 <= min <= max, got ${describe(value)}.`);
}

/** Factors that are always 1 draw nothing, as in torchvision. */
const unlessOne = (range: [number, number]): [number, number] | undefined =>
  range[0] === 1 && range[1] === 1 ? undefined : range;

/**
 * Changes brightness, contrast, saturation and hue by random factors, in a random order, as torchvision's ColorJitter. A number f means factors from
 * max(0, 1 - f) to 1 + f; hue's number h (0 to 0.5) means turns of the colour wheel from -h to h; or give [min, max]. By default each is left alone.
 * Images are u8, or f32 from 0 to 1, with 1 or 3 channels; saturation and hue leave one channel alone. Throws ConfigError for what is out of range.
 */
export function colorJitter(
  options: ImageOptions & {
    brightness?: number | readonly [number, number];
    contrast?: number | readonly [number, number];
    saturation?: number | readonly [number, number];
    hue?: number | readonly [number, number];
  } = {},
): ColorJitter {
  const where = 'augment.colorJitter';
  checkOptions(where, options, ['brightness', 'contrast', 'saturation', 'hue', 'column']);
  const { brightness, contrast, saturation, hue } = options;
  if (typeof hue === 'number' && !(hue >= 0 && hue <= 0.5))
    throw new ConfigError(`${where}: hue must be from 0 to 0.5, or [min, max] from -0.5 to 0.5, got ${describe(hue)}.`);
  const turns = hue === undefined ? undefined : checkRange(where, 'hue', typeof hue === 'number' ? [-hue, hue] : hue, -0.5, 0.5);
  return {
    kind: 'colorJitter',
    column: checkColumn(where, options.column),
    brightness: factors(where, 'brightness', brightness),
    contrast: factors(where, 'contrast', contrast),
    saturation: factors(where, 'saturation', saturation),
    hue: turns && turns[0] === 0 && turns[1] === 0 ? undefined : turns,
  };
}

/**
 * `numOps` (default 2) transforms, each drawn evenly from fourteen (identity, shears, shifts, rotation, brightness, colour, contrast, sharpness,
 * posterize, solarize, autocontrast, equalize), at strength `magnitude` (default 9) of `numMagnitudeBins` (default 31), as torchvision's RandAugment
 * (Cubuk et al., 2019). Images are u8, or f32 from 0 to 1, with 1 or 3 channels. Throws ConfigError for what is out of range.
 */
export function randAugment(
  options: FillOptions & { numOps?: number; magnitude?: number; numMagnitudeBins?: number } = {},
): RandAugment {
  const where = 'augment.randAugment';
  checkOptions(where, options, ['numOps', 'magnitude', 'numMagnitudeBins', 'interpolation', 'fill', 'column']);
  const bins = checkWhole(where, 'numMagnitudeBins', options.numMagnitudeBins ?? 31, 2, 1000);
  return {
    kind: 'randAugment',
    numOps: checkWhole(where, 'numOps', options.numOps ?? 2, 0, 64),
    magnitude: checkWhole(where, 'magnitude', options.magnitude ?? 9, 0, bins - 1),
    numMagnitudeBins: bins,
    ...fillOptions(where, options),
  };
}
