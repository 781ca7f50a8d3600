/** What a Stepper asks of the ranks that it steps together with. */
import type { Tensor } from '../tensor/tensor.ts';

/** Ranks that hold the same weights and see different samples. Every rank makes the same calls in one order. */
export interface Parallel {
  readonly rank: number;
  readonly size: number;
  /** This rank wants to be heard before the next step. It is told with every step's figures, so that all ranks know of it at the same step. */
  asks: boolean;
  /** The parameters that are trained now. */
  readonly leaves: readonly Tensor[];
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
