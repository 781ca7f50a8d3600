// Transforms as plain data: what the functions of `augment` return, and what a loader carries out.

/** Where the interpolation of a geometric transform takes its values from. */
export type Interpolation = 'nearest' | 'bilinear';
/** What lies around an image: a value, its edge again, or its mirror without or with the edge. */
export type PaddingMode = 'constant' | 'edge' | 'reflect' | 'symmetric';

interface OnColumn {
  readonly column: string;
}

/** Cut [.., height, width] at a random place out of images padded on all sides. Draws two words per sample: y, then x. */
export interface RandomCrop extends OnColumn {
  readonly kind: 'randomCrop';
  readonly height: number;
  readonly width: number;
  readonly padding: number;
  readonly fill: number | readonly number[];
  readonly paddingMode: PaddingMode;
}
/** Mirror images left to right with probability p. Draws one word per sample. */
export interface RandomHorizontalFlip extends OnColumn {
  readonly kind: 'randomHorizontalFlip';
  readonly p: number;
}
/** Mirror images upside down with probability p. */
export interface RandomVerticalFlip extends OnColumn {
  readonly kind: 'randomVerticalFlip';
  readonly p: number;
}
/** A rectangle of random area and shape, resized. */
export interface RandomResizedCrop extends OnColumn {
  readonly kind: 'randomResizedCrop';
  readonly height: number;
  readonly width: number;
  readonly scale: readonly [number, number];
  readonly ratio: readonly [number, number];
}
/** A turn around the centre. */
export interface RandomRotation extends OnColumn {
  readonly kind: 'randomRotation';
  readonly degrees: readonly [number, number];
  readonly interpolation: Interpolation;
  readonly fill: number | readonly number[];
}
/** A turn, shift, scale and shear at once. */
export interface RandomAffine extends OnColumn {
  readonly kind: 'randomAffine';
  readonly degrees: readonly [number, number];
  readonly translate: readonly [number, number];
  readonly scale: readonly [number, number];
  readonly shear: readonly [number, number, number, number];
  readonly interpolation: Interpolation;
  readonly fill: number | readonly number[];
}
/** A rectangle painted over. */
export interface RandomErasing extends OnColumn {
  readonly kind: 'randomErasing';
  readonly p: number;
  readonly scale: readonly [number, number];
  readonly ratio: readonly [number, number];
  readonly value: number | readonly number[] | 'random';
}
/** Brightness, contrast, saturation and hue in a random order; undefined: left alone. */
export interface ColorJitter extends OnColumn {
  readonly kind: 'colorJitter';
  readonly brightness: readonly [number, number] | undefined;
  readonly contrast: readonly [number, number] | undefined;
  readonly saturation: readonly [number, number] | undefined;
  readonly hue: readonly [number, number] | undefined;
}
/** `numOps` of fourteen transforms at one magnitude. */
export interface RandAugment extends OnColumn {
  readonly kind: 'randAugment';
  readonly numOps: number;
  readonly magnitude: number;
  readonly numMagnitudeBins: number;
  readonly interpolation: Interpolation;
  readonly fill: number | readonly number[];
}
/** (value - mean) / std after the column's scale, in place of the dataset's own mean and std. Draws nothing. */
export interface Normalize extends OnColumn {
  readonly kind: 'normalize';
  readonly mean: readonly number[];
  readonly std: readonly number[];
}
/** Normal noise on the numbers that come out, one std or one per feature. */
export interface GaussianNoise extends OnColumn {
  readonly kind: 'gaussianNoise';
  readonly std: readonly number[];
}
/** Each feature, with probability p, put at its value. */
export interface FeatureMask extends OnColumn {
  readonly kind: 'featureMask';
  readonly p: number;
  readonly value: readonly number[];
}

interface OnBatch {
  readonly columns: readonly string[];
  readonly target: string;
  readonly alpha: number;
  readonly numClasses: number | undefined;
  readonly p: number;
}
/** Each sample mixed with its neighbour in the batch. */
export interface Mixup extends OnBatch {
  readonly kind: 'mixup';
}
/** A rectangle of each image taken from its neighbour in the batch. */
export interface Cutmix extends OnBatch {
  readonly kind: 'cutmix';
}
/** One of several for each batch. */
export interface MixChoice {
  readonly kind: 'mixChoice';
  readonly of: readonly (Mixup | Cutmix)[];
}

/** What changes the pixels of one sample as it is stored. */
export type ImageTransform =
  | RandomCrop
  | RandomHorizontalFlip
  | RandomVerticalFlip
  | RandomResizedCrop
  | RandomRotation
  | RandomAffine
  | RandomErasing
  | ColorJitter
  | RandAugment;
/** What changes the numbers of one sample as the model sees them. */
export type ValueTransform = GaussianNoise | FeatureMask;
/** What mixes a batch's samples. */
export type MixTransform = Mixup | Cutmix | MixChoice;
/** A built-in transform: plain data, carried out where the batch is gathered. */
export type Transform = ImageTransform | ValueTransform | MixTransform | Normalize;

const images: Record<ImageTransform['kind'], true> = {
  randomCrop: true,
  randomHorizontalFlip: true,
  randomVerticalFlip: true,
  randomResizedCrop: true,
  randomRotation: true,
  randomAffine: true,
  randomErasing: true,
  colorJitter: true,
  randAugment: true,
};
const values: Record<ValueTransform['kind'], true> = { gaussianNoise: true, featureMask: true };
const mixes: Record<MixTransform['kind'], true> = { mixup: true, cutmix: true, mixChoice: true };

export const isImage = (t: Transform): t is ImageTransform => Object.hasOwn(images, t.kind);
export const isValue = (t: Transform): t is ValueTransform => Object.hasOwn(values, t.kind);
export const isMix = (t: Transform): t is MixTransform => Object.hasOwn(mixes, t.kind);
/** The kinds of all transforms. */
export const kinds: readonly string[] = [...Object.keys(images), ...Object.keys(values), ...Object.keys(mixes), 'normalize'];

/** The columns that a transform touches. */
export function columnsOf(t: Transform): readonly string[] {
  if (t.kind === 'mixChoice') return t.of.flatMap(columnsOf);
  return 'column' in t ? [t.column] : [...t.columns, t.target];
}
