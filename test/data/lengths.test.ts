/** Samples of different lengths: the padding collate, and batches of like length. */
import { describe, expect, it } from 'vitest';
import type { HostBatch } from '../../lib/data/collate.ts';
import type { HostArray } from '../../lib/data/host.ts';
import { loader } from '../../lib/data/loader.ts';
import type { LoaderOptions } from '../../lib/data/options.ts';
import { padded } from '../../lib/data/padding.ts';
import { ConfigError, DataError } from '../../lib/native/errors.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { collect, errorOf, plain } from './helpers.ts';

const ids = (n: number) => Int32Array.from({ length: n }, (_, i) => i);
const list = (column?: HostArray) => Array.from(column?.data ?? []);
const sentences = [
  { x: [1, 2, 3], y: 0 },
  { x: [4], y: 1 },
  { x: [], y: 2 },
  { x: [5, 6], y: 0 },
];

describe('padded', () => {
  it('fills up to the longest, with lengths and a mask that is true at padding; stacks the rest', () => {
    const batch = padded({ pad: { x: 9 }, dtypes: { x: 'i32', y: 'i32' } })(sentences, ids(4));
    expect(batch.x).toEqual({ data: Int32Array.of(1, 2, 3, 4, 9, 9, 9, 9, 9, 5, 6, 9), shape: [4, 3], dtype: 'i32' });
    expect(batch.lengths).toEqual({ data: Int32Array.of(3, 1, 0, 2), shape: [4], dtype: 'i32' });
    expect(batch.paddingMask).toEqual({ data: Uint8Array.of(0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 1), shape: [4, 3], dtype: 'bool' });
    expect(batch.y).toEqual({ data: Int32Array.of(0, 1, 2, 0), shape: [4], dtype: 'i32' });
  });

  it('pads the first of several dimensions, to a multiple, cuts at maxLength', () => {
    const frame = (n: number) => ({
      data: Float32Array.from({ length: 2 * n }, (_, i) => i + 1),
      shape: [n, 2],
      dtype: 'f32' as const,
    });
    const samples = [{ x: frame(3) }, { x: frame(5) }];
    const batch = padded({ pad: { x: -1 }, multipleOf: 4 })(samples, ids(2));
    expect(batch.x?.shape).toEqual([2, 8, 2]);
    expect(list(batch.x).slice(0, 16)).toEqual([1, 2, 3, 4, 5, 6, ...Array(10).fill(-1)]);
    expect(Object.keys(batch).sort()).toEqual(['lengths', 'paddingMask', 'x']);
    const cut = padded({ pad: { x: 0 }, maxLength: 4 })(samples, ids(2));
    expect(cut.x?.shape).toEqual([2, 4, 2]);
    expect(list(cut.lengths)).toEqual([3, 4]);
    expect(list(cut.x).slice(8)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(list(cut.paddingMask)).toEqual([0, 0, 0, 1, 0, 0, 0, 0]);
  });

  it('pads several fields, each with its lengths, and typed arrays of any kind', () => {
    const samples = [
      { source: Uint8Array.of(1, 2), target: Float64Array.of(1) },
      { source: Uint8Array.of(3), target: Float64Array.of(2, 3) },
    ];
    const batch = padded({ pad: { source: 0, target: -100 } })(samples, ids(2));
    expect(batch.source).toEqual({ data: Uint8Array.of(1, 2, 3, 0), shape: [2, 2], dtype: 'u8' });
    expect(batch.target).toEqual({ data: Float64Array.of(1, -100, 2, 3), shape: [2, 2], dtype: 'f64' });
    expect(list(batch.lengths)).toEqual([2, 1]);
    expect(list(batch.targetLengths)).toEqual([1, 2]);
    expect(list(batch.targetPaddingMask)).toEqual([0, 1, 0, 0]);
  });

  it('serves a loader, over threads or not', async () => {
    for (const workers of [0, 1]) {
      const loading = loader(sentences, {
        batchSize: 2,
        workers,
        collate: padded({ pad: { x: 0 }, dtypes: { x: 'i32', y: 'i32' } }),
      });
      const batches = await collect(loading);
      expect(batches.map((b) => (b as unknown as HostBatch).x.shape)).toEqual([
        [2, 3],
        [2, 2],
      ]);
    }
  });

  it.each<[object, RegExp]>([
    [{}, /pad must name fields/],
    [{ pad: {} }, /pad must name fields/],
    [{ pad: { x: '0' } }, /pad\.x must be a number/],
    [{ pad: { x: 0 }, multipleof: 2 }, /"multipleof" should be "multipleOf"/],
    [{ pad: { x: 0 }, multipleOf: 0 }, /multipleOf must be an integer/],
    [{ pad: { x: 0 }, maxLength: 0.5 }, /maxLength must be an integer/],
  ])('refuses the options %o', async (options, message) => {
    const error = await errorOf(() => padded(options as never));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(message);
  });

  it.each<[Parameters<typeof padded>[0], unknown[], RegExp]>([
    [{ pad: { x: 0 } }, [{ x: 1 }], /sample 0, field "x" is one number/],
    [{ pad: { x: 0 } }, [{ y: 1 }], /sample 0, field "x"/],
    [{ pad: { x: 0 } }, [{ x: [1] }, { x: Int32Array.of(1) }], /sample 1, field "x" is i32 \[1\], but sample 0/],
    [{ pad: { x: 0.5 }, dtypes: { x: 'i32' } }, [{ x: [1] }], /is i32, which cannot be filled with 0\.5/],
    [{ pad: { x: 0 }, dtypes: { x: 'i32' } }, [{ x: [1.5] }], /sample 0, field "x": 1\.5 is no i32/],
    [{ pad: { x: 0 } }, [{ x: [1], lengths: 3 }], /a field "lengths", which is what padding adds/],
    [
      { pad: { x: 0 } },
      [
        { x: [1], y: 1 },
        { x: [1], y: [1, 2] },
      ],
      /sample 1, field "y"/,
    ],
  ])('%o refuses a batch that does not fit', async (options, samples, message) => {
    const error = await errorOf(() => padded(options)(samples, ids(samples.length)));
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(message);
  });
});

describe('buckets', () => {
  const draw = new PhiloxStream(3, 'lengths');
  const lengths = Int32Array.from({ length: 103 }, () => 1 + draw.below(60));
  const set = Array.from(lengths, (n) => ({ n }));
  const options: LoaderOptions = { batchSize: 8, shuffle: true, seed: 4, buckets: { lengths, pool: 6 } };
  const idsOf = (batches: readonly { ids: Int32Array }[]) => batches.flatMap((b) => [...b.ids]);
  const waste = (batches: readonly { ids: Int32Array }[]) => {
    let [padding, all] = [0, 0];
    for (const b of batches) {
      const own = Array.from(b.ids, (id) => lengths[id] as number);
      all += Math.max(...own) * own.length;
      padding += Math.max(...own) * own.length - own.reduce((a, n) => a + n, 0);
    }
    return padding / all;
  };

  it('hold each sample once, of like length, in an order keyed by seed and epoch', async () => {
    const epochs = await Promise.all([0, 1].map((e) => collect(loader(set, options).epoch(e))));
    for (const [e, batches] of epochs.entries()) {
      expect(batches.map((b) => b.ids.length)).toEqual([...Array(12).fill(8), 7]);
      expect(idsOf(batches).sort((a, b) => a - b)).toEqual([...ids(103)]);
      expect(waste(batches)).toBeLessThan(0.15);
      expect(waste(await collect(loader(set, { ...options, buckets: undefined as never }).epoch(e)))).toBeGreaterThan(0.35);
      const means = batches.map((b) => b.ids.reduce((a, id) => a + (lengths[id] as number), 0) / b.ids.length);
      expect(means).not.toEqual([...means].sort((a, b) => a - b));
    }
    expect(idsOf(epochs[0] as never)).not.toEqual(idsOf(epochs[1] as never));
    expect(idsOf(await collect(loader(set, { ...options, seed: 5 }).epoch(0)))).not.toEqual(idsOf(epochs[0] as never));
  });

  it('are what the rule says: pools of the shuffled order, sorted, cut, and the batches shuffled', async () => {
    const order = [...new PhiloxStream(4, 'data/shuffle', 2).permutation(103)];
    const sorted = [0, 48, 96].flatMap((from) =>
      order.slice(from, from + 48).sort((a, b) => (lengths[a] as number) - (lengths[b] as number)),
    );
    const places = new PhiloxStream(4, 'data/buckets', 2).permutation(12);
    const expected = [...Array.from(places).flatMap((p) => sorted.slice(8 * p, 8 * p + 8)), ...sorted.slice(96)];
    expect(idsOf(await collect(loader(set, options).epoch(2)))).toEqual(expected);
  });

  it('resume in the middle of an epoch, whatever the workers', async () => {
    const all = await collect(loader(set, options).windows({ accumulate: 2, epochs: 2 }));
    for (const [at, workers] of [
      [3, 0],
      [6, 1],
      [9, 2],
    ] as const) {
      const from = all[at]?.cursor;
      const rest = await collect(loader(set, { ...options, workers }).windows({ accumulate: 2, epochs: 2, from }));
      expect(rest.map((w) => plain(w))).toEqual(all.slice(at + 1).map((w) => plain(w)));
    }
  });

  it('without shuffle keep the order of the pools', async () => {
    const batches = await collect(loader(set, { ...options, shuffle: false }));
    const first = [...ids(48)].sort((a, b) => (lengths[a] as number) - (lengths[b] as number));
    expect(idsOf(batches).slice(0, 48)).toEqual(first);
  });

  it('with dropLast drop what the order has last, not the longest', async () => {
    const loading = loader(set, { ...options, dropLast: true });
    const order = [...new PhiloxStream(4, 'data/shuffle', 0).permutation(103)];
    expect(idsOf(await collect(loading)).sort((a, b) => a - b)).toEqual(order.slice(0, 96).sort((a, b) => a - b));
  });

  it.each<[object, RegExp]>([
    [{ lengths: [1, 2] }, /buckets: 2 lengths were given for 103 samples/],
    [{ lengths: 'x' }, /lengths must be a list of numbers/],
    [{ lengths: [1, -1] }, /the length of sample 1 is -1/],
    [{ lengths, pool: 0 }, /pool must be an integer >= 1/],
    [{ length: lengths }, /"length" should be "lengths"/],
  ])('refuse %o', async (buckets, message) => {
    const error = await errorOf(() => loader(set, { batchSize: 2, buckets: buckets as never }));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(message);
  });
  it('refuse a stream', async () => {
    expect((await errorOf(() => loader(() => set, { batchSize: 2, buckets: { lengths } }))).message).toMatch(
      /a stream has no samples to choose from/,
    );
  });
});
