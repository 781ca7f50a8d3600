/** What ranks do together. Everything is queued on the device's comm stream and returns at once; errors arrive where something is awaited. */
import type { NativeList } from '../optim/lists.ts';
import type { Tensor } from '../tensor/tensor.ts';

export type Reduction = 'sum' | 'max' | 'min';

/** A collective that was queued. */
export interface Pending {
  /** Counts the group's collectives from 1, alike on every rank. */
  readonly sequence: number;
  /** What is queued on the compute stream from now on sees the result. */
  wait(): void;
  /** Resolves when it is done. @throws CollectiveError */
  done(): Promise<void>;
}

/** Options of one collective. */
export interface CollectiveOptions {
  /** Milliseconds after which it fails. Default: the group's. */
  timeoutMs?: number;
}

/**
 * Processes that compute together: `size` of them, of which this one is `rank`. Every rank makes the same calls, in one order, with tensors of one dtype
 * and the same sizes. After a failure (a peer that died or came too late) the group is of no more use: all that follows fails too.
 */
export interface ProcessGroup {
  readonly rank: number;
  readonly size: number;
  /** Every rank's `x` becomes their sum (or largest, smallest), in place. 16-bit numbers are summed in f32 and rounded once. */
  allReduce(x: Tensor, options?: CollectiveOptions & { reduction?: Reduction }): Pending;
  /**
   * The same for several tensors of one dtype, in one message. The list is the caller's until `wait` was called.
   * @internal
   */
  allReduceList(list: NativeList): Pending;
  /** The root's `x` on every rank, in place. */
  broadcast(x: Tensor, root: number, options?: CollectiveOptions): Pending;
  /** All ranks' `x` in their order, one behind the other: [size, ...x.shape]. */
  allGather(x: Tensor, options?: CollectiveOptions): Pending & { readonly result: Tensor };
  /** `x` is [size, ...]: rank r gets the sum of all ranks' x[r]. */
  reduceScatter(x: Tensor, options?: CollectiveOptions & { reduction?: Reduction }): Pending & { readonly result: Tensor };
  /** Has returned on no rank before all have called it. */
  barrier(options?: CollectiveOptions): Pending;
  send(x: Tensor, to: number, options?: CollectiveOptions): Pending;
  /** Into `x`, in place. */
  recv(x: Tensor, from: number, options?: CollectiveOptions): Pending;
  /**
   * Checks that all ranks mean the same: `facts`, a line each. Before the first collective, since sizes that differ end the process in some engines.
   * @throws CollectiveError on every rank, with the first lines that differ
   */
  agree(what: string, facts: readonly string[]): Promise<void>;
  close(): Promise<void>;
}
