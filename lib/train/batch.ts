import {
  type Cursor,
  type EpochOptions,
  type HostArray,
  type Shard,
  type Share,
  toDevice,
  type WindowsOptions,
} from '../data/index.ts';
import { DataError } from '../native/errors.ts';
import { fromHost } from '../tensor/create.ts';
import type { Device } from '../tensor/device.ts';
import { Tensor, type HostArray as Values } from '../tensor/tensor.ts';

/** A batch as a loss function gets it: tensors by column, and where the loader gave them the samples' ids. */
export interface TensorBatch {
  readonly x: Tensor;
  readonly y: Tensor;
  readonly ids?: Int32Array;
  readonly [name: string]: Tensor | Int32Array | undefined;
}

/** Columns on the host, or tensors. */
export type AnyBatch = { readonly [name: string]: HostArray | Tensor | Int32Array | undefined };

/** The batches of one optimizer step: what `loader.windows` yields, or `{ micro: [batch, ...] }` of tensors of one's own. */
export interface AnyWindow {
  readonly micro: readonly AnyBatch[];
  readonly ids?: Int32Array;
  readonly cursor?: { readonly epoch: number; readonly batch: number; readonly step: number };
  /** Of several processes: where its rows lie among all of theirs, as a loader's `shard` tells. Default: all have as many, one rank's behind another's. */
  readonly share?: Share;
}

/** What training needs of a loader; `data.loader` gives one, and one's own may stand in. */
export interface BatchSource {
  /** Batches per epoch; undefined where nobody can know. */
  readonly length: number | undefined;
  /** Samples per epoch, where that is known. */
  readonly samples?: number | undefined;
  /** This source as one process' part of several. */
  sharded?(shard: Shard): BatchSource;
  epoch(n: number, options?: EpochOptions): AsyncIterable<AnyBatch>;
  windows(options: WindowsOptions): AsyncIterable<AnyWindow & { readonly cursor: Cursor }>;
}

/** The batch's columns as tensors on `on`; what is one already stays where it is. */
export function toTensors(batch: AnyBatch, on: Device): TensorBatch {
  const tensors = toDevice(batch as never, (column: HostArray) =>
    column instanceof Tensor ? column : fromHost(column.data as Values, column.shape, column.dtype, on),
  );
  return tensors as unknown as TensorBatch;
}

/** Samples in a batch: the first dimension of its columns. */
export function rowsIn(batch: AnyBatch): number {
  for (const [name, column] of Object.entries(batch)) {
    if (name === 'ids' || column === undefined || column instanceof Int32Array) continue;
    const rows = (column as HostArray).shape[0];
    if (rows !== undefined) return rows;
  }
  throw new DataError('a batch needs at least one column whose first dimension is the batch');
}
