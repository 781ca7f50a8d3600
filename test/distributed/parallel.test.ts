/** Data parallelism between real processes, against one process that has all the samples. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { StoreServer } from '../../lib/distributed/store-server.ts';
import { addonFile } from '../../lib/native/load.ts';
import type { Task } from './parallel-child.ts';

const cwd = fileURLToPath(new URL('../..', import.meta.url));
const without = !existsSync(join(dirname(addonFile()), 'anneal-gloo.so'));

interface Told {
  losses: number[];
  norms: number[];
  applied: boolean[];
  scales: (number | null)[];
  samples: number[];
  /** Buckets summed before backward was over, and all buckets, in a step. */
  early: number;
  sums: number;
  weights: number[][];
  error?: { name: string; message: string };
}
type Part = Partial<Task> & { size: number; optimizer: Task['optimizer'] };

/** What each rank tells; of one that was killed, nothing. */
async function train(part: Part): Promise<Told[]> {
  const store = await StoreServer.listen({ secret: 'of the test', run: 'test' });
  const env = { ...process.env, ANNEAL_TEST_DEVICE: '', OMP_NUM_THREADS: '1' };
  const ranks = Array.from({ length: part.size }, async (_, rank) => {
    const task = JSON.stringify({ steps: 20, ...part, rank, port: store.port });
    const args = ['--import', 'tsx', 'test/distributed/parallel-child.ts', task];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd, env, maxBuffer: 64 << 20, timeout: 100_000 });
    return JSON.parse(stdout) as Told;
  });
  try {
    const told = await Promise.allSettled(ranks);
    return told.flatMap((t) =>
      t.status === 'fulfilled' ? [t.value] : part.twist === 'kill' ? [] : [Promise.reject(t.reason) as never],
    );
  } finally {
    await store.close();
  }
}

const apart = (a: readonly number[], b: readonly number[]) => {
  expect(a.length).toBe(b.length);
  return Math.max(...a.map((v, i) => Math.abs(v - (b[i] as number)))) / Math.max(...b.map(Math.abs));
};

describe.skipIf(without)('data parallelism (needs libgloo-dev when the addon is built)', { timeout: 120_000 }, () => {
  const alone = new Map<string, Promise<Told>>();
  const one = (part: Omit<Part, 'size'>) => {
    const key = JSON.stringify(part);
    const found = alone.get(key) ?? train({ ...part, size: 1 }).then(([told]) => told as Told);
    alone.set(key, found);
    return found;
  };

  test.each([
    { size: 2, rows: [16, 16] },
    { size: 2, rows: [16, 16], accumulate: 2, overlap: false },
    { size: 4, rows: [8, 8, 8, 8] },
    { size: 3, rows: [13, 8, 11], accumulate: 2 },
    { size: 3, rows: [16, 0, 16] },
    { size: 2, rows: [16, 16], twist: 'checkpoint' as const },
    { size: 4, rows: [32, 0, 0, 0], twist: 'loader' as const },
  ])('equals one process, dropout on: %o', async ({ rows, accumulate, overlap, ...part }) => {
    const { size: _, ...rest } = part;
    for (const optimizer of ['sgd', 'adamw'] as const) {
      const single = await one({ optimizer, rows: [32], ...rest });
      const ranks = await train({
        ...part,
        optimizer,
        rows,
        ...(accumulate && { accumulate }),
        ...(overlap === false && { overlap }),
      });
      const [first] = ranks as [Told];
      for (const rank of ranks) {
        expect(rank.error).toBeUndefined();
        expect(rank.weights).toEqual(first.weights); // bit by bit
        expect(rank.losses).toEqual(first.losses);
      }
      expect(first.sums).toBe(5);
      // A rank without rows has no backward to be early in.
      expect(Math.max(...ranks.map((r) => r.early))).toBe(overlap === false ? 0 : 5);
      expect(first.samples).toEqual(single.samples);
      expect(apart(first.losses, single.losses)).toBeLessThanOrEqual(1e-5);
      expect(apart(first.norms, single.norms)).toBeLessThanOrEqual(1e-4);
      if (optimizer === 'sgd') expect(apart(first.weights.flat(), single.weights.flat())).toBeLessThanOrEqual(1e-5);
    }
  });

  test('ranks that tell nothing of their rows have equal windows, in order', async () => {
    const single = await one({ optimizer: 'sgd', rows: [32] });
    const ranks = await train({ size: 4, optimizer: 'sgd' });
    expect(apart(ranks[0]?.losses ?? [], single.losses)).toBeLessThanOrEqual(1e-5);
  });

  test('NaN on one rank: all skip the same step, and go on', async () => {
    for (const precision of ['f32', 'f16'] as const) {
      const [a, b] = (await train({ size: 2, optimizer: 'sgd', rows: [16, 16], twist: 'nan', steps: 6, precision })) as [
        Told,
        Told,
      ];
      expect(a.applied.slice(2)).toEqual([true, false, true, true]);
      expect(b.applied).toEqual(a.applied);
      expect(b.scales).toEqual(a.scales);
      expect(b.weights).toEqual(a.weights);
    }
  });

  test('16 bits: close to one process, and the same on all ranks', async () => {
    const single = await one({ optimizer: 'sgd', rows: [32], precision: 'bf16' });
    const [a, b] = (await train({ size: 2, optimizer: 'sgd', rows: [16, 16], precision: 'bf16' })) as [Told, Told];
    expect(b.weights).toEqual(a.weights);
    expect(apart(a.losses, single.losses)).toBeLessThanOrEqual(1e-2);
  });

  test('errors reach every rank', async () => {
    const told = async (part: Partial<Task>) =>
      (await train({ size: 2, optimizer: 'sgd', steps: 4, ...part })).map((t) => t.error);
    for (const e of await told({ twist: 'unequalTerms' }))
      expect(e).toMatchObject({ name: 'ConfigError', message: expect.stringMatching(/counts do not keep one ratio/) });
    for (const e of await told({ rows: [16, 15], twist: 'untold' }))
      expect(e).toMatchObject({ name: 'DataError', message: expect.stringMatching(/windows are not parts of one/) });
    for (const e of await told({ twist: 'otherModel' }))
      expect(e).toMatchObject({
        name: 'CollectiveError',
        message: expect.stringMatching(/models differ: rank 0 has "hidden.weight f32 \[/),
      });
    for (const e of await told({ twist: 'otherRate' }))
      expect(e).toMatchObject({
        name: 'CollectiveError',
        message: expect.stringMatching(/SGD group 0 of 11: \{"lr":0.05,.*"lr":0.5,/),
      });
    for (const e of await told({ twist: 'throws' }))
      expect(e).toMatchObject({ name: 'CollectiveError', message: expect.stringMatching(/an earlier step failed on this rank/) });
    const survivors = await told({ twist: 'kill' });
    expect(survivors).toHaveLength(1);
    expect(survivors[0]).toMatchObject({ name: 'CollectiveError', message: expect.stringMatching(/rank 0 of 2: all/) });
  });
});
