/** The parts of batches that processes take, together against one process that has them whole. */
import { describe, expect, test } from 'vitest';
import type { Window } from '../../lib/data/index.ts';
import { data } from '../../lib/index.ts';

const set = (n: number) => new data.TensorDataset({ x: { data: Float32Array.from({ length: n }, (_, i) => i) } });
const collect = async (windows: AsyncIterable<Window>) => {
  const all: Window[] = [];
  for await (const w of windows) all.push(w);
  return all;
};
const windowsOf = (n: number, batchSize: number, shard?: { rank: number; size: number }, options = {}, from?: object) =>
  collect(
    data
      .loader(set(n), { batchSize, shuffle: true, seed: 5, workers: 0, ...(shard && { shard }), ...options })
      .windows({ epochs: 2, accumulate: 2, ...(from && { from }) }) as AsyncIterable<Window>,
  );

describe('shard', () => {
  // Batches of 12; the last has 12, 5, 2 and 1 samples.
  for (const n of [48, 41, 26, 13])
    for (const size of [2, 3, 4])
      test(`${n} samples on ${size} processes: each sample once, where one process has it`, async () => {
        const single = await windowsOf(n, 12);
        const ranks = await Promise.all(Array.from({ length: size }, (_, rank) => windowsOf(n, 12 / size, { rank, size })));
        for (const [i, whole] of single.entries()) {
          const ids = new Int32Array(whole.samples).fill(-1);
          for (const windows of ranks) {
            const part = windows[i] as Window;
            expect(part.cursor).toEqual(whole.cursor);
            expect(part.share?.rows).toBe(whole.samples);
            expect(part.share?.offsets).toHaveLength(part.micro.length);
            for (const [m, { ids: own }] of part.micro.entries()) {
              expect(
                ids.subarray(part.share?.offsets[m], (part.share?.offsets[m] as number) + own.length).every((v) => v === -1),
              ).toBe(true);
              ids.set(own, part.share?.offsets[m]);
            }
          }
          expect(ids).toEqual(whole.ids);
          const counts = ranks.map((windows) => windows[i]?.micro.at(-1)?.ids.length ?? 0);
          if (whole.micro.length === 1) expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
        }
        for (const windows of ranks) expect(windows).toHaveLength(single.length);
      });

  test('goes on at any window, with the same parts', async () => {
    const whole = await windowsOf(41, 4, { rank: 1, size: 3 });
    for (const [i, { cursor }] of whole.entries()) {
      const rest = await windowsOf(41, 4, { rank: 1, size: 3 }, {}, cursor);
      expect(rest.map((w) => [...w.ids])).toEqual(whole.slice(i + 1).map((w) => [...w.ids]));
    }
  });

  test('streams, epochs, lengths', async () => {
    const shard = (rank: number) => ({ rank, size: 2 });
    const ids = async (rank: number) => {
      const out: number[][] = [];
      for await (const b of data.loader(Array.from({ length: 7 }, (_, i) => ({ x: i }))[Symbol.iterator]() as never, {
        batchSize: 2,
        shard: shard(rank),
      }))
        out.push([...(b as unknown as { ids: Int32Array }).ids]);
      return out;
    };
    expect(await ids(0)).toEqual([[0, 1], [4]]);
    expect(await ids(1)).toEqual([
      [2, 3],
      [5, 6],
    ]);
    const loader = data.loader(set(41), { batchSize: 4, shard: shard(0) });
    expect([loader.length, loader.samples, loader.batchSize]).toEqual([6, 41, 4]);
    const dropped = data.loader(set(41), { batchSize: 4, shard: shard(0), dropLast: true });
    expect([dropped.length, dropped.samples]).toEqual([5, 40]);
  });

  test.each([
    [{ rank: 2, size: 2 }, /shard.rank must be an integer from 0 to 1, got 2/],
    [{ rank: 0, size: 0 }, /shard.size must be an integer from 1/],
    [{ rank: 0 }, /shard.size must be/],
    ['0 of 2', /shard must be \{ rank, size \}/],
    [{ rank: 0, size: 1, world: 2 }, /unknown option "world"/],
  ])('%j is refused', (shard, message) => {
    expect(() => data.loader(set(4), { batchSize: 2, shard: shard as never })).toThrow(message);
  });
});
