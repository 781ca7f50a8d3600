import type { TypedArray } from './host.ts';

/** A transform that moves whole rows and columns of pixels, with the random words it drew: four per sample. */
export type Stage =
  | { kind: 'crop'; height: number; width: number; padding: number; fill: number; words: Uint32Array }
  | { kind: 'flip'; p: number; words: Uint32Array };

/** One column of a batch to be gathered. */
export interface JobColumn {
  /** All samples, in memory that the thread shares. */
  data: TypedArray;
  /** Sample k of the batch is the `size` elements from positions[k] * step + shift. */
  size: number;
  step: number;
  shift: number;
  /** The image's extent before the stages; [1, 1, size] for what is no image. */
  channels: number;
  height: number;
  width: number;
  stages: Stage[];
  /** Elements of one sample after the stages. */
  outSize: number;
  /** (value * scale - mean[c]) / std[c] in f32, one mean and std per channel; undefined: the values as stored. */
  encoding: { scale: number; mean: number[]; std: number[] } | undefined;
}

/** What a loader thread is asked to do: plain data and shared memory, complete in itself. */
export interface GatherJob {
  positions: Uint32Array;
  columns: JobColumn[];
}
