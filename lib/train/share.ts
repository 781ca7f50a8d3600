import type { Share } from '../data/index.ts';
import type { Parallel } from '../distributed/parallel.ts';
import { ConfigError, describe } from '../native/errors.ts';

/** The window's share: what it says, or that all ranks have as many rows, one rank's behind another's. `own`: rows of its micro-batches. */
export function shareOf(window: { readonly share?: Share }, own: readonly number[], parallel: Parallel | undefined): Share {
  const { rank = 0, size = 1 } = parallel ?? {};
  const all = own.reduce((a, b) => a + b, 0);
  const offsets = own.map((_, i) => own.slice(0, i).reduce((a, b) => a + b, rank * all));
  if (window.share && !parallel)
    throw new ConfigError(
      'stepper.step: the window is one process’ part of several (the loader has shard), and this Stepper works alone. Give it parallel: await dist.dataParallel(...).',
    );
  const share = window.share ?? { offsets, rows: size * all };
  const fits = (offset: number | undefined, i: number) =>
    Number.isSafeInteger(offset) && (offset as number) >= 0 && (offset as number) + (own[i] as number) <= share.rows;
  if (!Array.isArray(share.offsets) || share.offsets.length !== own.length || !share.offsets.every(fits))
    throw new ConfigError(
      `stepper.step: the window's share must be { offsets, rows }, offsets of ${own.length} micro-batches within the rows of all processes, got ${describe(share)}`,
    );
  return share;
}
