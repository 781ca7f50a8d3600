/** Samplers and folds: what an epoch takes, and how a dataset is cut. */
import { describe, expect, it } from 'vitest';
import { TensorDataset } from '../../lib/data/dataset.ts';
import { loader } from '../../lib/data/loader.ts';
import { balancedSampler, repeats, type Sampler, weightedSampler } from '../../lib/data/sampler.ts';
import { kFold } from '../../lib/data/split.ts';
import { collect, errorOf, pictures, plain } from './helpers.ts';

const order = async (sampler: Sampler, epoch = 0) => [...(await sampler.order({ seed: 3, epoch }))];
const counts = (ids: readonly number[], n: number) => Array.from({ length: n }, (_, i) => ids.filter((id) => id === i).length);

describe('samplers', () => {
  it('draw in proportion to the weights, anew each epoch', async () => {
    const weights = [0, 1, 2, 5, 0.5];
    const sampler = weightedSampler(weights, { samples: 20_000 });
    const found = counts(await order(sampler), 5);
    weights.forEach((w, i) => {
      const p = w / 8.5;
      expect(Math.abs((found[i] as number) - 20_000 * p)).toBeLessThanOrEqual(5 * Math.sqrt(20_000 * p * (1 - p)));
    });
    expect(await order(sampler)).toEqual(await order(sampler));
    expect(await order(sampler, 1)).not.toEqual(await order(sampler));
  });

  it('without replacement take each at most once; the first one in proportion to the weights', async () => {
    const weights = [1, 2, 0, 7];
    const sampler = weightedSampler(weights, { replacement: false, samples: 3 });
    const first: number[] = [];
    for (let e = 0; e < 4000; e++) {
      const ids = await order(sampler, e);
      expect([...ids].sort()).toEqual([0, 1, 3]);
      first.push(ids[0] as number);
    }
    counts(first, 4).forEach((c, i) => {
      const p = (weights[i] as number) / 10;
      expect(Math.abs(c - 4000 * p)).toBeLessThanOrEqual(5 * Math.sqrt(4000 * p * (1 - p)));
    });
  });

  it('balancedSampler shows each class as often as the others', async () => {
    const labels = Int32Array.from({ length: 1000 }, (_, i) => (i < 900 ? 0 : i < 990 ? 1 : 2));
    const ds = new TensorDataset({ x: { data: new Float32Array(1000) }, y: { data: labels } });
    for (const given of [{}, { labels: 'y' }, { labels }]) {
      const ids = await order(balancedSampler(ds, { ...given, samples: 9000 }));
      for (const c of counts(
        ids.map((id) => labels[id] as number),
        3,
      ))
        expect(Math.abs(c - 3000)).toBeLessThan(230);
    }
  });

  it('serve a loader: its length, its epochs, its ids, for any number of workers', async () => {
    const sampler = weightedSampler(
      Array.from({ length: 10 }, (_, i) => i),
      { samples: 23 },
    );
    const runs = [];
    for (const workers of [0, 1, 2, 4]) {
      const loading = loader(pictures(10), { batchSize: 4, sampler, seed: 3, workers });
      expect([loading.length, loading.samples]).toEqual([6, 23]);
      const batches = await collect(loading.epoch(1));
      expect(batches.flatMap((b) => [...b.ids])).toEqual(await order(sampler, 1));
      for (const b of batches) expect([...b.y.data]).toEqual(Array.from(b.ids, (id) => id % 3));
      runs.push(batches.map(plain));
    }
    for (const run of runs) expect(run).toEqual(runs[0]);
    const own: Sampler = { samples: 3, order: ({ epoch }) => Uint32Array.of(epoch, 9, 9) };
    expect((await collect(loader(pictures(10), { batchSize: 3, sampler: own }).epoch(4))).map((b) => [...b.ids])).toEqual([
      [4, 9, 9],
    ]);
    expect([...repeats(Uint32Array.of(5, 1, 5, 5, 1))]).toEqual([0, 0, 1, 2, 1]);
  });

  const ds = pictures(10);
  const refused: [string, () => unknown, RegExp][] = [
    ['a negative weight', () => weightedSampler([1, -1]), /weight of sample 1 must be a finite number >= 0, got -1/],
    ['weights of nothing', () => weightedSampler([0, 0]), /at least one weight must be above 0/],
    ['no list', () => weightedSampler('abc' as never), /weights must be a list/],
    ['more than there are', () => weightedSampler([1, 0, 1], { replacement: false }), /at most the 2 samples.*got samples: 3/],
    ['samples 0', () => weightedSampler([1], { samples: 0 }), /samples must be an integer from 1/],
    ['a misspelling', () => weightedSampler([1], { sampels: 3 } as never), /"sampels" should be "samples"/],
    ['labels that do not fit', () => balancedSampler(ds, { labels: [1, 2] }), /balancedSampler: labels has 2 labels.*10 samples/],
    ['no column', () => balancedSampler(ds, { labels: 'z' }), /no column "z"/],
    ['shuffle beside it', () => loader(ds, { batchSize: 1, shuffle: true, sampler: weightedSampler([1]) }), /leave shuffle out/],
    ['a stream', () => loader(() => [], { batchSize: 1, sampler: weightedSampler([1]) }), /a stream has no samples/],
    ['no sampler', () => loader(ds, { batchSize: 1, sampler: {} as never }), /sampler must be \{ samples, order \}/],
    [
      "another dataset's",
      () => collect(loader(ds, { batchSize: 1, sampler: weightedSampler([...new Array(10).fill(0), 1]) })),
      /sample 10, but the dataset has 10/,
    ],
    [
      'too few ids',
      () => collect(loader(ds, { batchSize: 1, sampler: { samples: 2, order: () => Uint32Array.of(1) } })),
      /Uint32Array of 2 ids, .*of 1/,
    ],
    ['k 1', () => kFold(ds, 1), /k must be an integer from 2 to the 10 samples, got 1/],
    ['k 11', () => kFold(ds, 11), /from 2 to the 10 samples, got 11/],
    ['labels of another length', () => kFold(ds, 2, { stratify: [1] }), /kFold: stratify has 1 labels/],
  ];
  it.each(refused)('refuse %s', async (_, fn, message) => {
    expect((await errorOf(fn)).message).toMatch(message);
  });
});

describe('folds', () => {
  it('hold each sample once as validation, and the others as training', () => {
    for (const [n, k] of [
      [10, 2],
      [23, 5],
      [7, 7],
    ] as const) {
      const folds = kFold(pictures(n), k, { seed: 2 });
      const ids = (d: TensorDataset) => [...d.locate(Uint32Array.from({ length: d.length }, (_, i) => i))];
      const held = folds.map((f) => ids(f.validation));
      expect(held.flat().sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
      expect(Math.max(...held.map((h) => h.length)) - Math.min(...held.map((h) => h.length))).toBeLessThanOrEqual(1);
      folds.forEach((f, i) => {
        const all = new Set([...ids(f.train), ...(held[i] as number[])]);
        expect([f.train.length, all.size]).toEqual([n - (held[i] as number[]).length, n]);
      });
    }
    const first = (seed: number) => [...(kFold(pictures(20), 4, { seed })[0]?.validation.locate([0, 1, 2, 3, 4]) ?? [])];
    expect(first(1)).toEqual(first(1));
    expect(first(1)).not.toEqual(first(2));
  });

  it('stratified, hold each class in proportion', () => {
    const labels = Array.from({ length: 103 }, (_, i) => (i < 80 ? 'a' : i < 98 ? 'b' : 'c'));
    const folds = kFold(pictures(103), 5, { stratify: labels, seed: 1 });
    for (const { validation } of folds) {
      const rows = [...validation.locate(Uint32Array.from({ length: validation.length }, (_, i) => i))];
      const of = (c: string) => rows.filter((i) => labels[i] === c).length;
      for (const [c, n] of Object.entries({ a: 80, b: 18, c: 5 }))
        expect(Math.abs(of(c) - (n * rows.length) / 103)).toBeLessThan(1);
    }
  });
});
