/** Processes that share one stream of batches: each takes its part of every batch. */
import { ConfigError, checkOptions, describe } from '../native/errors.ts';

/** Which process of how many. A world of `dist.init` tells both: { rank: world.rank, size: world.worldSize }. */
export interface Shard {
  readonly rank: number;
  readonly size: number;
}

/** Where a process' rows lie among those of all processes, as one process would have them. */
export interface Share {
  /** Of each of its micro-batches, the rows before it. */
  readonly offsets: readonly number[];
  /** Rows of all processes' micro-batches together. */
  readonly rows: number;
}

/** Some rows of a batch of `rows`. */
export interface Part {
  readonly from: number;
  readonly to: number;
  readonly rows: number;
}

/** Parts of a short batch differ by one row at most; of fewer rows than processes, some have none. */
export function partOf({ rank, size }: Shard, rows: number): Part {
  return { from: Math.floor((rank * rows) / size), to: Math.floor(((rank + 1) * rows) / size), rows };
}

/** The share of micro-batches that are these parts, one behind the other; empty parts make no micro-batch. */
export function shareOfParts(parts: readonly Part[]): Share {
  const offsets: number[] = [];
  let rows = 0;
  for (const part of parts) {
    if (part.to > part.from) offsets.push(rows + part.from);
    rows += part.rows;
  }
  return { offsets, rows };
}

/** Throws ConfigError unless it is one; alone where it is absent. */
export function checkShard(where: string, shard: Shard | undefined): Shard {
  if (shard === undefined) return { rank: 0, size: 1 };
  if (shard === null || typeof shard !== 'object')
    throw new ConfigError(`${where}: shard must be { rank, size }, got ${describe(shard)}.`);
  checkOptions(`${where}: shard`, shard, ['rank', 'size']);
  const { rank, size } = shard;
  if (!(Number.isSafeInteger(size) && size >= 1 && size <= 2 ** 20))
    throw new ConfigError(`${where}: shard.size must be an integer from 1 to ${2 ** 20}, got ${describe(size)}.`);
  if (!(Number.isSafeInteger(rank) && rank >= 0 && rank < size))
    throw new ConfigError(`${where}: shard.rank must be an integer from 0 to ${size - 1}, got ${describe(rank)}.`);
  return { rank, size };
}
