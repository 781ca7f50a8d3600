import { describe, expect, it } from 'vitest';
import { normalize, randomCrop, randomHorizontalFlip } from '../../lib/data/augment/image.ts';
import { toDevice } from '../../lib/data/collate.ts';
import type { Dataset } from '../../lib/data/dataset.ts';
import { type Cursor, loader } from '../../lib/data/loader.ts';
import type { LoaderOptions } from '../../lib/data/options.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { collect, pictures, plain } from './helpers.ts';

const augmented: LoaderOptions = {
  batchSize: 4,
  shuffle: true,
  seed: 9,
  transform: [randomCrop([5, 4], { padding: 2 }), randomHorizontalFlip()],
};
const encoding = { scale: 1 / 255, mean: [0.13], std: [0.31] };

describe('epochs', () => {
  it.each([0, 1, 3])('with %d workers each epoch holds each sample once, in an order of its own', async (workers) => {
    const loading = loader(pictures(23), { batchSize: 4, shuffle: true, workers, seed: 2 });
    expect([loading.length, loading.samples]).toEqual([6, 23]);
    const orders: number[][] = [];
    for (let e = 0; e < 3; e++) {
      const batches = await collect(loading);
      expect(batches.map((b) => b.ids.length)).toEqual([4, 4, 4, 4, 4, 3]);
      expect(batches[5]?.x.shape).toEqual([3, 1, 6, 5]);
      const ids = batches.flatMap((b) => [...b.ids]);
      expect([...ids].sort((a, b) => a - b)).toEqual(Array.from({ length: 23 }, (_, i) => i));
      for (const b of batches) expect([...b.y.data]).toEqual(Array.from(b.ids, (id) => id % 3));
      orders.push(ids);
      expect(ids).toEqual([...new PhiloxStream(2, 'data/shuffle', e).permutation(23)]);
    }
    expect(orders[0]).not.toEqual(orders[1]);
  });

  it('without shuffle keeps the order, and drops an uneven last batch on request', async () => {
    const loading = loader(pictures(10), { batchSize: 4, dropLast: true });
    expect([loading.length, loading.samples]).toEqual([2, 8]);
    expect((await collect(loading)).flatMap((b) => [...b.ids])).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('epoch(n, { from }) is the tail of epoch n', async () => {
    const all = await collect(loader(pictures(23, encoding), augmented).epoch(3));
    for (const from of [0, 1, 5, 6]) {
      const tail = await collect(loader(pictures(23, encoding), augmented).epoch(3, { from }));
      expect(tail.map(plain)).toEqual(all.slice(from).map(plain));
    }
  });
});

describe('determinism', () => {
  it('batches do not depend on workers or prefetch', async () => {
    const runs = [];
    for (const [workers, prefetch] of [
      [0, 0],
      [0, 3],
      [1, 0],
      [1, 2],
      [3, 8],
    ] as const) {
      runs.push(
        (await collect(loader(pictures(37, encoding), { ...augmented, workers, prefetch }).windows({ epochs: 2 }))).map((w) =>
          w.micro.map(plain),
        ),
      );
    }
    for (const run of runs) expect(run).toEqual(runs[0]);
  });

  it("a sample's transforms do not depend on the batch size, the order or its neighbours; they do on epoch and seed", async () => {
    const samples = async (options: Partial<LoaderOptions>, epoch: number) => {
      const found = new Map<number, string>();
      for await (const { x, ids } of loader(pictures(30), { ...augmented, ...options }).epoch(epoch)) {
        ids.forEach((id, k) => {
          found.set(id, x.data.slice(k * 20, (k + 1) * 20).join());
        });
      }
      return [...found].sort((a, b) => a[0] - b[0]);
    };
    const base = await samples({}, 1);
    expect(await samples({ batchSize: 7 }, 1)).toEqual(base);
    expect(await samples({ shuffle: false, batchSize: 30 }, 1)).toEqual(base);
    expect(await samples({}, 2)).not.toEqual(base);
    expect(await samples({ seed: 10 }, 1)).not.toEqual(base);
  });

  it('the same transforms apply to a dataset of the user, with or without workers', async () => {
    const columns = pictures(20);
    const own: Dataset<ReturnType<typeof columns.get>> = { length: 20, get: async (i) => columns.get(i) };
    const want = (await collect(loader(columns, augmented))).map(plain);
    for (const workers of [0, 2]) expect((await collect(loader(own, { ...augmented, workers }))).map(plain)).toEqual(want);
  });
});

describe('transforms', () => {
  it('encodes bytes as (x * scale - mean) / std in f32', async () => {
    const ds = pictures(5, encoding);
    for (const workers of [0, 1]) {
      const [batch] = await collect(loader(ds, { batchSize: 5, workers }));
      expect([batch?.x.dtype, batch?.x.shape]).toEqual(['f32', [5, 1, 6, 5]]);
      expect(batch?.x.data).toEqual(Float32Array.from(ds.column('x').data, (v) => (v * (1 / 255) - 0.13) / 0.31));
    }
  });

  it("normalize stands in place of the dataset's mean and std, per channel", async () => {
    const own: Dataset<{ x: { data: Float32Array; shape: number[]; dtype: 'f32' } }> = {
      length: 1,
      get: () => ({ x: { data: Float32Array.of(1, 2, 3, 4), shape: [2, 1, 2], dtype: 'f32' } }),
    };
    const [batch] = await collect(loader(own, { batchSize: 1, transform: [normalize([1, 2], [2, 4])] }));
    expect([...(batch?.x.data ?? [])]).toEqual([0, 0.5, 0.25, 0.5]);
    const [pixels] = await collect(loader(pictures(1, encoding), { batchSize: 1, transform: [normalize(0, 1)] }));
    expect(pixels?.x.data).toEqual(Float32Array.from(pictures(1).column('x').data, (v) => v * (1 / 255)));
  });

  it('crops and flips as a plain reference does, all places reached', async () => {
    const ds = pictures(1);
    const source = ds.column('x').data;
    const at = (y: number, x: number) => (y >= 0 && y < 6 && x >= 0 && x < 5 ? (source[y * 5 + x] as number) : 99);
    const places = new Set<string>();
    for (let y0 = -1; y0 <= 1; y0++) {
      for (let x0 = -1; x0 <= 1; x0++) {
        for (const flip of [false, true]) {
          const rows = Array.from({ length: 30 }, (_, i) => at(y0 + Math.floor(i / 5), flip ? x0 + 4 - (i % 5) : x0 + (i % 5)));
          places.add(rows.join());
        }
      }
    }
    const loading = loader(ds, {
      batchSize: 1,
      transform: [randomCrop([6, 5], { padding: 1, fill: 99 }), randomHorizontalFlip(0.5)],
    });
    const seen = new Set<string>();
    for (let e = 0; e < 200; e++) for await (const { x } of loading.epoch(e)) seen.add(x.data.join());
    expect(seen).toEqual(places);
  });

  it("runs the user's functions first, with random numbers keyed by sample", async () => {
    const loading = () =>
      loader(pictures(8), {
        ...augmented,
        transform: [
          (s, { rng, id, epoch }) => ({ ...s, r: rng.uniform(), tag: id + 100 * epoch }),
          async (s) => s,
          ...(augmented.transform ?? []),
        ],
        dtypes: { tag: 'i32', r: 'f64' },
      });
    const [a, b] = [await collect(loading().epoch(2)), await collect(loading().epoch(2))];
    expect(a.map(plain)).toEqual(b.map(plain));
    const first = a[0] as unknown as Record<string, { data: ArrayLike<number>; dtype: string; shape: number[] }>;
    expect([first.tag?.dtype, first.r?.dtype, first.x?.shape]).toEqual(['i32', 'f64', [4, 1, 5, 4]]);
    expect(Array.from(first.tag?.data ?? [])).toEqual(Array.from(a[0]?.ids ?? [], (id) => id + 200));
    expect(new Set(a.flatMap((w) => Array.from((w as unknown as typeof first).r?.data ?? []))).size).toBe(8);
  });

  it('collate makes the columns, and toDevice the tensors', async () => {
    const loading = loader([3, 4, 5], {
      batchSize: 2,
      collate: (samples, ids) => ({ z: { data: Float32Array.from(samples as number[]), shape: [ids.length], dtype: 'f32' } }),
    });
    const [batch] = await collect(loading);
    const moved = toDevice(batch as NonNullable<typeof batch>, (array, name) => `${name}:${array.data.join('+')}`);
    expect(moved).toEqual({ z: 'z:3+4', ids: Int32Array.of(0, 1) });
  });
});

describe('windows', () => {
  const make = () => loader(pictures(23, encoding), augmented); // 6 batches an epoch
  const flat = (w: { micro: readonly object[]; cursor: Cursor; ids: Int32Array; samples: number }) => ({
    ...w,
    micro: w.micro.map((m) => plain(m as never)),
    ids: [...w.ids],
  });

  it('end with their epoch by default, and span epochs on request', async () => {
    const windows = await collect(make().windows({ accumulate: 4, epochs: 2 }));
    expect(windows.map((w) => [w.micro.length, w.samples, w.ids.length])).toEqual([
      [4, 16, 16],
      [2, 7, 7],
      [4, 16, 16],
      [2, 7, 7],
    ]);
    expect(windows.map((w) => w.cursor)).toEqual([
      { epoch: 0, batch: 4, step: 1 },
      { epoch: 1, batch: 0, step: 2 },
      { epoch: 1, batch: 4, step: 3 },
      { epoch: 2, batch: 0, step: 4 },
    ]);
    const spanning = await collect(make().windows({ accumulate: 4, epochs: 2, spanEpochs: true }));
    expect(spanning.map((w) => w.cursor)).toEqual([
      { epoch: 0, batch: 4, step: 1 },
      { epoch: 1, batch: 2, step: 2 },
      { epoch: 2, batch: 0, step: 3 },
    ]);
    expect((await collect(make().windows({ steps: 9 }))).length).toBe(9);
  });

  it.each([
    ['map', {}],
    ['map', { spanEpochs: true }],
    ['stream', {}],
    ['stream', { spanEpochs: true }],
  ])('resume from every cursor is exact: %s %j', async (kind, extra) => {
    const ds = pictures(23, encoding);
    const stream = (epoch: number) => Array.from({ length: 23 }, (_, i) => ds.get((i + epoch) % 23));
    const fresh = () => (kind === 'map' ? make() : loader(stream, { ...augmented, shuffle: { buffer: 6 } }));
    const options = { accumulate: 4, steps: 7, ...extra };
    const all = (await collect(fresh().windows(options))).map(flat);
    expect(all).toHaveLength(7);
    for (const [i, w] of all.entries()) {
      const from = JSON.parse(JSON.stringify(w.cursor));
      const rest = (await collect(fresh().windows({ ...options, from }))).map(flat);
      expect(rest).toEqual(all.slice(i + 1));
    }
  });
});

describe('streams', () => {
  async function* count(n: number) {
    for (let i = 0; i < n; i++) yield { x: i };
  }
  const values = (batches: { x: { data: ArrayLike<number> } }[]) => batches.map((b) => Array.from(b.x.data));

  it('batches a stream in order, the last one uneven or dropped', async () => {
    expect(values(await collect(loader(() => count(5), { batchSize: 2 })))).toEqual([[0, 1], [2, 3], [4]]);
    expect(values(await collect(loader(() => count(5), { batchSize: 2, dropLast: true })))).toEqual([
      [0, 1],
      [2, 3],
    ]);
    expect(loader(() => count(5), { batchSize: 2 }).length).toBeUndefined();
  });

  it('shuffles through a buffer: each sample once, keyed by seed and epoch', async () => {
    const run = async (seed: number, epoch: number) =>
      (await collect(loader(() => count(50), { batchSize: 8, seed, shuffle: { buffer: 10 } }).epoch(epoch))).flatMap((b) => [
        ...b.ids,
      ]);
    const order = await run(1, 0);
    expect([...order].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(await run(1, 0)).toEqual(order);
    expect(await run(1, 1)).not.toEqual(order);
    expect(await run(2, 0)).not.toEqual(order);
  });
});
