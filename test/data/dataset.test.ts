import { describe, expect, it } from 'vitest';
import { concat, type Dataset, subset, TensorDataset } from '../../lib/data/dataset.ts';
import { mnist } from '../../lib/data/mnist.ts';
import { apportion, split } from '../../lib/data/split.ts';
import { AnnealError, ConfigError, DataError } from '../../lib/native/errors.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { errorOf, pictures } from './helpers.ts';

const labels = (ds: TensorDataset) => Array.from({ length: ds.length }, (_, i) => ds.get(i).y?.data[0] as number);
const count = (values: number[]) =>
  values.reduce<Record<number, number>>((c, v) => Object.assign(c, { [v]: (c[v] ?? 0) + 1 }), {});

describe('TensorDataset', () => {
  it('holds columns in shared memory, copying only what is not', () => {
    const shared = new Float32Array(new SharedArrayBuffer(16));
    const ds = new TensorDataset({ x: { data: shared, shape: [2] }, y: { data: Int32Array.of(1, 2) } });
    expect(ds.column('x').data).toBe(shared);
    expect(ds.column('y').data.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(ds.get(1)).toEqual({
      x: { data: new Float32Array(2), shape: [2], dtype: 'f32' },
      y: { data: Int32Array.of(2), shape: [], dtype: 'i32' },
    });
  });

  const f = new Float32Array(6);
  const refused: [string, () => unknown, RegExp][] = [
    ['no columns', () => new TensorDataset({}), /at least one column/],
    [
      'uneven columns',
      () => new TensorDataset({ x: { data: f, shape: [2] }, y: { data: f } }),
      /"y" has 6 samples, but column "x" has 3/,
    ],
    [
      'a shape that does not divide',
      () => new TensorDataset({ x: { data: f, shape: [4] } }),
      /6 elements are not whole samples of shape \[4\]/,
    ],
    ['a shape of 0', () => new TensorDataset({ x: { data: f, shape: [0] } }), /positive integers/],
    ['a plain array', () => new TensorDataset({ x: { data: [1, 2] as never } }), /expected a Float32Array.*got \[1, 2\]/],
    [
      'a wrong dtype',
      () => new TensorDataset({ x: { data: f, dtype: 'i32' } }),
      /dtype i32 must be a Int32Array, got Float32Array/,
    ],
    ['an unknown dtype', () => new TensorDataset({ x: { data: f, dtype: 'f31' as never } }), /unknown dtype "f31"/],
    ['a misspelled key', () => new TensorDataset({ x: { data: f, shap: [2] } as never }), /should be "shape"/],
    ['the name ids', () => new TensorDataset({ ids: { data: f } }), /cannot be called "ids"/],
    ['a sample beyond the end', () => pictures(3).get(3), /sample 3 does not exist: the dataset has 3 samples/],
    ['a negative sample', () => pictures(3).get(-1), /does not exist/],
    ['a subset beyond the end', () => subset(pictures(3), [0, 5]), /sample 5 does not exist/],
    ['an unknown column', () => pictures(3).column('z'), /no column "z"/],
    ['concat of nothing', () => concat([]), /at least one dataset/],
    [
      'concat of unlike shapes',
      () => concat([pictures(2), new TensorDataset({ x: { data: f, shape: [3] }, y: { data: Int32Array.of(1, 2) } })]),
      /u8 \[1, 6, 5\] in one dataset and f32 \[3\]/,
    ],
  ];
  it.each(refused)('refuses %s', async (_, fn, message) => {
    const error = await errorOf(fn);
    expect(error).toBeInstanceOf(AnnealError);
    expect(error.message).toMatch(message);
  });

  it('subset and concat keep samples, of columns and of any dataset', async () => {
    const base = pictures(10);
    const some = subset(subset(base, [9, 1, 1, 4]), [0, 2]);
    expect(some).toBeInstanceOf(TensorDataset);
    expect([some.get(0), some.get(1)]).toEqual([base.get(9), base.get(1)]);
    const both = concat([some, base]);
    expect(both).toBeInstanceOf(TensorDataset);
    expect([both.length, both.get(0), both.get(11)]).toEqual([12, base.get(9), base.get(9)]);
    const own: Dataset<number> = { length: 4, get: (i) => i * 10 };
    const joined = concat([own, subset(own, [3, 0])]);
    expect(await Promise.all([0, 3, 4, 5].map((i) => joined.get(i)))).toEqual([0, 30, 30, 0]);
    expect(() => joined.get(6)).toThrow(DataError);
  });
});

describe('split', () => {
  it('apportions exactly: sums of rows and columns, each class within one sample of its share', () => {
    const rng = new PhiloxStream(1, 'apportion');
    for (let round = 0; round < 300; round++) {
      const counts = Array.from({ length: 1 + rng.below(12) }, () => rng.below(50));
      const total = counts.reduce((a, b) => a + b, 0);
      const first = rng.below(total + 1);
      const parts = apportion(counts, [first, total - first]);
      expect(parts.map((p) => p.reduce((a, b) => a + b, 0))).toEqual([first, total - first]);
      counts.forEach((n, c) => {
        const a = parts[0]?.[c] as number;
        expect(a + (parts[1]?.[c] as number)).toBe(n);
        expect(Math.abs(a - (total ? (n * first) / total : 0))).toBeLessThan(1);
      });
      const three = apportion(counts, [Math.floor(total / 2), total - Math.floor(total / 2), 0]);
      expect(three.map((p) => p.reduce((a, b) => a + b, 0))).toEqual([Math.floor(total / 2), total - Math.floor(total / 2), 0]);
    }
  });

  it('stratifies by label, column or values; parts are disjoint and cover', () => {
    const ds = pictures(100); // labels 0: 34, 1: 33, 2: 33
    for (const stratify of ['label', 'y', labels(ds)] as const) {
      const [a, b] = split(ds, [70, 30], { stratify, seed: 5 });
      expect([a.length, b.length]).toEqual([70, 30]);
      expect(count(labels(a))).toEqual({ 0: 24, 1: 23, 2: 23 });
      expect(count(labels(b))).toEqual({ 0: 10, 1: 10, 2: 10 });
      const rows = [...a.locate(Array.from({ length: 70 }, (_, i) => i)), ...b.locate(Array.from({ length: 30 }, (_, i) => i))];
      expect(rows.sort((p, q) => p - q)).toEqual(Array.from({ length: 100 }, (_, i) => i));
    }
  });

  it('is the same for the same seed, another for another, and nests', () => {
    const ds = pictures(60);
    const rows = (seed: number) => [...split(ds, [40, 20], { seed })[0].locate(Array.from({ length: 40 }, (_, i) => i))];
    expect(rows(1)).toEqual(rows(1));
    expect(rows(1)).not.toEqual(rows(2));
    const [outer] = split(ds, [40, 20], { seed: 1 });
    const [inner] = split(outer, [30, 10], { stratify: 'y' });
    expect(inner.length).toBe(30);
  });

  it('splits any dataset with plain labels', async () => {
    const own: Dataset<{ kind: string }> = { length: 10, get: (i) => ({ kind: i < 5 ? 'a' : 'b' }) };
    const [a] = split(own, [4, 6], { stratify: 'kind' });
    expect((await Promise.all([0, 1, 2, 3].map((i) => a.get(i)))).map((s) => s.kind).sort()).toEqual(['a', 'a', 'b', 'b']);
  });

  const ds = pictures(10);
  const refused: [string, () => unknown, RegExp][] = [
    ['too small a sum', () => split(ds, [3, 4]), /add up to 7, but the dataset has 10 samples.*last part of 3/],
    ['too large a sum', () => split(ds, [8, 4]), /add up to 12/],
    ['fractions', () => split(ds, [0.8, 0.2]), /integers >= 0/],
    ['no sizes', () => split(ds, []), /integers >= 0/],
    ['an unknown column', () => split(ds, [5, 5], { stratify: 'z' }), /no column "z"/],
    ['a column of images', () => split(ds, [5, 5], { stratify: 'x' }), /30 values per sample/],
    ['too few labels', () => split(ds, [5, 5], { stratify: [1, 2] }), /2 labels, but the dataset has 10/],
    ['a misspelling', () => split(ds, [5, 5], { stratfy: 'y' } as never), /should be "stratify"/],
    ['asynchronous samples', () => split({ length: 2, get: async () => ({ y: 1 }) }, [1, 1], { stratify: 'y' }), /asynchronous/],
  ];
  it.each(refused)('refuses %s', async (_, fn, message) => {
    const error = await errorOf(fn);
    expect(error).toBeInstanceOf(AnnealError);
    expect(error.message).toMatch(message);
  });
});

describe('mnist', () => {
  it('loads the whole set and splits it with each digit in its share', async () => {
    const { train, test } = await mnist();
    expect([train.length, test.length]).toEqual([60_000, 10_000]);
    expect([train.get(0).x.shape, train.get(0).x.dtype, train.get(0).y]).toEqual([
      [1, 28, 28],
      'u8',
      { data: Int32Array.of(5), shape: [], dtype: 'i32' },
    ]);
    const [fit, validation] = split(train, [55_000, 5_000], { stratify: 'label', seed: 1 });
    expect([fit.length, validation.length]).toEqual([55_000, 5_000]);
    const [all, part] = [count(labels(train)), count(labels(validation))];
    for (let d = 0; d < 10; d++) expect(Math.abs((part[d] as number) - (all[d] as number) / 12)).toBeLessThan(1);
  });

  it('names what is missing', async () => {
    const error = await errorOf(() => mnist({ dir: '/nowhere' }));
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(/train-images-idx3-ubyte.*\/nowhere/);
    expect(await errorOf(() => mnist({ directory: 'x' } as never))).toBeInstanceOf(ConfigError);
  });
});
