import type { PaddingMode } from './descriptors.ts';

/** What native code can do to a sample (native/src/data/augment.h has the same numbers). */
export const steps = {
  crop: 1,
  flipHorizontal: 2,
  flipVertical: 3,
  resizedCrop: 4,
  affine: 5,
  erase: 6,
  eraseNoise: 7,
  brightness: 10,
  contrast: 11,
  saturation: 12,
  hue: 13,
  sharpness: 14,
  posterize: 15,
  solarize: 16,
  autocontrast: 17,
  equalize: 18,
  noise: 30,
  mask: 31,
} as const;
export type StepName = keyof typeof steps;

/** Takes the next step of a sample's program. */
export type Emit = (step: StepName, ...args: number[]) => void;

const paddings: readonly PaddingMode[] = ['constant', 'edge', 'reflect', 'symmetric'];
export const paddingCode = (mode: PaddingMode): number => paddings.indexOf(mode);

/** The programs of a batch: `stride` numbers for each sample, filled with (step, count, arguments) and ended by 0. */
export class Programs {
  readonly numbers: Float64Array;
  #at = 0;
  #end = 0;

  constructor(
    samples: number,
    readonly stride: number,
  ) {
    this.numbers = new Float64Array(samples * stride);
  }

  /** Begins sample k's program. */
  begin(k: number): void {
    this.#at = k * this.stride;
    this.#end = this.#at + this.stride;
  }

  readonly emit: Emit = (step, ...args) => {
    if (this.#at + 2 + args.length > this.#end) throw new RangeError(`augment: no room for ${step} in the program`);
    this.numbers[this.#at] = steps[step];
    this.numbers[this.#at + 1] = args.length;
    this.numbers.set(args, this.#at + 2);
    this.#at += 2 + args.length;
  };
}

/** Numbers about a column that all its samples share, in the order of native/src/binding/augment.cc; then mean, std, constants. */
export interface Header {
  readonly step: number;
  readonly shift: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly outSize: number;
  readonly stride: number;
  readonly encoding: { readonly scale: number; readonly mean: readonly number[]; readonly std: readonly number[] } | undefined;
  readonly constants: readonly number[];
}

export function headerOf(h: Header): Float64Array {
  const ones = Array.from({ length: h.channels }, () => 1);
  const { scale, mean, std } = h.encoding ?? { scale: 1, mean: ones.map(() => 0), std: ones };
  const fixed = [h.step, h.shift, h.channels, h.height, h.width, h.outSize, h.stride, h.encoding ? 1 : 0, scale, 0];
  return Float64Array.from([...fixed, h.constants.length, ...mean, ...std, ...h.constants]);
}
