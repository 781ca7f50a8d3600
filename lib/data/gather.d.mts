import type { TypedArray } from './host.ts';
import type { Augmenter, GatherJob } from './job.ts';

/** Zero-filled arrays for the batch of `job`, one per column. */
export declare function allocateOut(job: GatherJob): TypedArray[];
/** Gathers samples `from` to `to` - 1 of the batch into `outs`. */
export declare function gather(job: GatherJob, outs: TypedArray[], from: number, to: number, native: Augmenter | undefined): void;
/** Mixes the samples of a gathered batch; columns of classes become new arrays in `outs`. */
export declare function mix(job: GatherJob, outs: TypedArray[], native: Augmenter | undefined): void;
