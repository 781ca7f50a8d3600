import type { TypedArray } from './host.ts';

/** One column of a batch to be gathered. */
export interface JobColumn {
  /** All samples, in memory that the thread shares. */
  data: TypedArray;
  /** Sample k of the batch is the `size` elements from positions[k] * step + shift. */
  size: number;
  step: number;
  shift: number;
  channels: number;
  /** Elements of one sample after its transforms. */
  outSize: number;
  /** (value * scale - mean[c]) / std[c] in f32, one mean and std per channel; undefined: the values as stored. */
  encoding: { scale: number; mean: number[]; std: number[] } | undefined;
  /** What native code does to the samples (augment/instructions.ts); undefined: they are copied or encoded as they are. */
  program: { header: Float64Array; numbers: Float64Array } | undefined;
}

/** What is done to a finished column as a whole, in order. */
export type JobMix =
  | { kind: 'mixup'; column: number; lambda: number }
  | { kind: 'cutmix'; column: number; height: number; width: number; box: Float64Array }
  | { kind: 'soft'; column: number; classes: number };

/** What a loader thread is asked to do: plain data and shared memory, complete in itself. */
export interface GatherJob {
  positions: Uint32Array;
  columns: JobColumn[];
  mixes: JobMix[];
  /** The native addon's file, where the job needs it. */
  addon: string | undefined;
}

/** What a job needs of the native addon. */
export interface Augmenter {
  augment(
    data: TypedArray,
    positions: Uint32Array,
    out: TypedArray,
    header: Float64Array,
    program: Float64Array,
    from: number,
    to: number,
  ): void;
  mixup(batch: TypedArray, rows: number, lambda: number): void;
  cutmix(batch: TypedArray, rows: number, height: number, width: number, box: Float64Array): void;
}
