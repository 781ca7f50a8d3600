// From a transform's descriptor and a sample's random words to the steps that native code carries out. What is drawn, and from which distribution,
// is torchvision.transforms.v2's make_params; words come in the order written here.
import type { ImageTransform, RandAugment, RandomAffine, RandomErasing, RandomResizedCrop } from './descriptors.ts';
import type { SampleDraws } from './draws.ts';
import { type Emit, paddingCode } from './instructions.ts';

/** An image on its way: its extent before a transform, and how its column is encoded after all. */
export interface Extent {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** The largest value: 255 for bytes, else 1. */
  readonly bound: number;
  readonly encoding: { readonly scale: number; readonly mean: readonly number[]; readonly std: readonly number[] } | undefined;
}

const radians = (degrees: number) => (degrees * Math.PI) / 180;

/** Python's round: halves to even. */
export function roundEven(v: number): number {
  const down = Math.floor(v);
  const rest = v - down;
  if (rest !== 0.5) return Math.round(v);
  return down % 2 === 0 ? down : down + 1;
}

/** One number, or one per channel: one per channel. */
const perChannel = (value: number | readonly number[], channels: number): number[] =>
  typeof value === 'number' ? Array.from({ length: channels }, () => value) : [...value];

/** torchvision's inverse matrix of a turn (degrees, clockwise), shift, scale and shear around `center` (from the image's middle). */
export function inverseAffine(
  angle: number,
  translate: readonly [number, number],
  scale: number,
  shear: readonly [number, number],
  center: readonly [number, number] = [0, 0],
): number[] {
  const [rot, sx, sy] = [radians(angle), radians(shear[0]), radians(shear[1])];
  const a = Math.cos(rot - sy) / Math.cos(sy);
  const b = (-Math.cos(rot - sy) * Math.tan(sx)) / Math.cos(sy) - Math.sin(rot);
  const c = Math.sin(rot - sy) / Math.cos(sy);
  const d = (-Math.sin(rot - sy) * Math.tan(sx)) / Math.cos(sy) + Math.cos(rot);
  const m = [d / scale, -b / scale, -c / scale, a / scale] as const;
  const [x, y] = [-center[0] - translate[0], -center[1] - translate[1]];
  return [m[0], m[1], m[0] * x + m[1] * y + center[0], m[2], m[3], m[2] * x + m[3] * y + center[1]];
}

type Filled = Pick<RandomAffine, 'interpolation' | 'fill'>;

function emitAffine(emit: Emit, matrix: readonly number[], t: Filled, { channels }: Extent): void {
  emit('affine', ...matrix, t.interpolation === 'bilinear' ? 1 : 0, ...perChannel(t.fill, channels));
}

/** [top, left, height, width] of a random resized crop. */
export function resizedCropBox(
  t: RandomResizedCrop,
  { height, width }: Extent,
  draws: SampleDraws,
): [number, number, number, number] {
  const logs = [Math.log(t.ratio[0]), Math.log(t.ratio[1])] as const;
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = height * width * draws.between(t.scale);
    const aspect = Math.exp(draws.between(logs));
    const w = roundEven(Math.sqrt(area * aspect));
    const h = roundEven(Math.sqrt(area / aspect));
    if (w > 0 && w <= width && h > 0 && h <= height) {
      const top = draws.below(height - h + 1);
      return [top, draws.below(width - w + 1), h, w];
    }
  }
  const shape = width / height;
  let [h, w] = [height, width];
  if (shape < t.ratio[0]) h = roundEven(w / t.ratio[0]);
  else if (shape > t.ratio[1]) w = roundEven(h * t.ratio[1]);
  return [Math.floor((height - h) / 2), Math.floor((width - w) / 2), h, w];
}

/** [top, left, height, width] to be erased, or undefined where ten attempts found no rectangle that fits. */
export function erasedBox(t: RandomErasing, { height, width }: Extent, draws: SampleDraws) {
  const logs = [Math.log(t.ratio[0]), Math.log(t.ratio[1])] as const;
  for (let attempt = 0; attempt < 10; attempt++) {
    const area = height * width * draws.between(t.scale);
    const aspect = Math.exp(draws.between(logs));
    const h = roundEven(Math.sqrt(area * aspect));
    const w = roundEven(Math.sqrt(area / aspect));
    if (h >= height || w >= width) continue;
    const top = draws.below(height - h + 1);
    return [top, draws.below(width - w + 1), h, w] as const;
  }
  return undefined;
}

function planErasing(t: RandomErasing, extent: Extent, draws: SampleDraws, emit: Emit): void {
  if (draws.uniform() >= t.p) return;
  const box = erasedBox(t, extent, draws);
  if (!box || box[2] === 0 || box[3] === 0) return;
  const { channels, encoding } = extent;
  if (t.value !== 'random') {
    emit('erase', ...box, ...perChannel(t.value, channels));
    return;
  }
  // What the model sees as N(0, 1), in stored units.
  const { scale = 1, mean = [], std = [] } = encoding ?? {};
  const each = Array.from({ length: channels }, (_, c) => c);
  const middle = each.map((c) => (mean[c] ?? 0) / scale);
  emit('eraseNoise', ...box, ...draws.origin(), ...middle, ...each.map((c) => (std[c] ?? 1) / scale));
}

function planAffine(t: RandomAffine, extent: Extent, draws: SampleDraws, emit: Emit): void {
  const angle = draws.between(t.degrees);
  const [mostX, mostY] = [t.translate[0] * extent.width, t.translate[1] * extent.height];
  const shift = [roundEven(draws.between([-mostX, mostX])), roundEven(draws.between([-mostY, mostY]))] as const;
  const scale = draws.between(t.scale);
  const shear = [draws.between([t.shear[0], t.shear[1]]), draws.between([t.shear[2], t.shear[3]])] as const;
  emitAffine(emit, inverseAffine(angle, shift, scale, shear), t, extent);
}

const colours = ['brightness', 'contrast', 'saturation', 'hue'] as const;

/** The names of RandAugment's transforms, in torchvision's order. */
export const randAugmentSpace = [
  'identity',
  'shearX',
  'shearY',
  'translateX',
  'translateY',
  'rotate',
  'brightness',
  'color',
  'contrast',
  'sharpness',
  'posterize',
  'solarize',
  'autocontrast',
  'equalize',
] as const;
export type RandAugmentName = (typeof randAugmentSpace)[number];

/** Emits one of RandAugment's transforms at strength s from 0 to 1 (its bin over the last bin), in direction `sign`. */
export function emitRandAugment(name: RandAugmentName, s: number, sign: number, t: Filled, extent: Extent, emit: Emit): void {
  const { width, height, bound } = extent;
  const corner = [-width / 2, -height / 2] as const;
  const shear = (Math.atan(0.3 * s * sign) * 180) / Math.PI;
  const shift = (side: number) => Math.trunc((150 / 331) * side * s * sign);
  const factor = 1 + 0.9 * s * sign;
  switch (name) {
    case 'identity':
      return;
    case 'shearX':
      emitAffine(emit, inverseAffine(0, [0, 0], 1, [shear, 0], corner), t, extent);
      break;
    case 'shearY':
      emitAffine(emit, inverseAffine(0, [0, 0], 1, [0, shear], corner), t, extent);
      break;
    case 'translateX':
      emitAffine(emit, inverseAffine(0, [shift(width), 0], 1, [0, 0]), t, extent);
      break;
    case 'translateY':
      emitAffine(emit, inverseAffine(0, [0, shift(height)], 1, [0, 0]), t, extent);
      break;
    case 'rotate':
      emitAffine(emit, inverseAffine(-30 * s * sign, [0, 0], 1, [0, 0]), t, extent);
      break;
    case 'color':
      emit('saturation', factor);
      break;
    case 'brightness':
    case 'contrast':
    case 'sharpness':
      emit(name, factor);
      break;
    case 'posterize':
      emit('posterize', roundEven(8 - 4 * s));
      break;
    case 'solarize':
      emit('solarize', bound * (1 - s));
      break;
    default:
      emit(name);
      break;
  }
}

const signed = (name: RandAugmentName) => randAugmentSpace.indexOf(name) >= 1 && randAugmentSpace.indexOf(name) <= 9;

function planRandAugment(t: RandAugment, extent: Extent, draws: SampleDraws, emit: Emit): void {
  for (let i = 0; i < t.numOps; i++) {
    const name = randAugmentSpace[draws.below(randAugmentSpace.length)] as RandAugmentName;
    const sign = draws.uniform() < 0.5 ? -1 : 1;
    emitRandAugment(name, t.magnitude / (t.numMagnitudeBins - 1), signed(name) ? sign : 1, t, extent, emit);
  }
}

/** Emits the steps of one transform for the sample that `draws` stands at. */
export function plan(t: ImageTransform, extent: Extent, draws: SampleDraws, emit: Emit): void {
  const { channels, height, width } = extent;
  switch (t.kind) {
    case 'randomCrop': {
      const top = draws.below(height + 2 * t.padding - t.height + 1) - t.padding;
      const left = draws.below(width + 2 * t.padding - t.width + 1) - t.padding;
      emit('crop', top, left, t.height, t.width, paddingCode(t.paddingMode), ...perChannel(t.fill, channels));
      break;
    }
    case 'randomHorizontalFlip':
      if (draws.uniform() < t.p) emit('flipHorizontal');
      return;
    case 'randomVerticalFlip':
      if (draws.uniform() < t.p) emit('flipVertical');
      return;
    case 'randomResizedCrop':
      emit('resizedCrop', ...resizedCropBox(t, extent, draws), t.height, t.width);
      break;
    case 'randomRotation':
      // torchvision turns counter-clockwise here and clockwise in affine.
      emitAffine(emit, inverseAffine(-draws.between(t.degrees), [0, 0], 1, [0, 0]), t, extent);
      break;
    case 'randomAffine':
      planAffine(t, extent, draws, emit);
      break;
    case 'randomErasing':
      planErasing(t, extent, draws, emit);
      break;
    case 'randAugment':
      planRandAugment(t, extent, draws, emit);
      break;
    case 'colorJitter': {
      const order = [0, 1, 2, 3];
      for (let i = 3; i > 0; i--) {
        const j = draws.below(i + 1);
        [order[i], order[j]] = [order[j] as number, order[i] as number];
      }
      const drawn = colours.map((name) => (t[name] ? draws.between(t[name]) : undefined));
      for (const i of order) if (drawn[i] !== undefined) emit(colours[i] as (typeof colours)[number], drawn[i]);
    }
  }
}

/** The most numbers that a transform's steps take for one sample. */
export function room(t: ImageTransform, channels: number): number {
  switch (t.kind) {
    case 'randomCrop':
      return 7 + channels;
    case 'randomResizedCrop':
      return 8;
    case 'randomRotation':
    case 'randomAffine':
      return 9 + channels;
    case 'randomErasing':
      return 12 + 2 * channels;
    case 'colorJitter':
      return 12;
    case 'randAugment':
      return t.numOps * (9 + channels);
    default:
      return 2;
  }
}
