/** What a Stepper needs of the ranks that it steps together with; lib/distributed provides it. */
import { ConfigError, describe } from '../native/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** Where a rank's window lies among all ranks' of this step. */
export interface Share {
  /** Rows of the ranks before this one. */
  readonly offset: number;
  /** Rows of all ranks. */
  readonly rows: number;
}

/** Ranks that hold the same weights and see different samples. Every rank makes the same calls in one order. */
export interface Parallel {
  readonly rank: number;
  readonly size: number;
  /** The gradient of `leaf` is whole: it may be summed over the ranks from now on, while backward goes on. */
  ready(leaf: Tensor): void;
  /** Sums what `ready` did not name too; parameters without a gradient count as zeros. Compute goes on behind it. */
  finish(): void;
  /** Every rank's figures, [size, n]: n is alike on all. */
  figures(own: Tensor): Tensor;
  /** Resolves once all that was asked so far is done. @throws CollectiveError */
  done(): Promise<void>;
  /** After an error within a step: what was begun is forgotten. The group is then of no more use. */
  abandon(): void;
}

/** The window's share: what it says, or that all ranks have as many rows. */
export function shareOf(window: { readonly share?: Share }, own: number, parallel: Parallel | undefined): Share {
  const { rank = 0, size = 1 } = parallel ?? {};
  const { offset, rows } = window.share ?? { offset: rank * own, rows: size * own };
  if (!(Number.isSafeInteger(offset) && Number.isSafeInteger(rows) && offset >= 0 && offset + own <= rows))
    throw new ConfigError(
      `stepper.step: a window of ${own} rows cannot lie from row ${describe(offset)} on among ${describe(rows)} of all processes.`,
    );
  return { offset, rows };
}
