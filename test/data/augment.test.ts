/** Random parameters' distributions, batches the same however they are made, mixing, rows of numbers. */
import { describe, expect, it } from 'vitest';
import type { ImageTransform } from '../../lib/data/augment/descriptors.ts';
import { SampleDraws } from '../../lib/data/augment/draws.ts';
import * as augment from '../../lib/data/augment/index.ts';
import { drawBeta } from '../../lib/data/augment/mix.ts';
import { erasedBox, plan, resizedCropBox } from '../../lib/data/augment/plan.ts';
import { TensorDataset } from '../../lib/data/dataset.ts';
import { loader } from '../../lib/data/loader.ts';
import type { LoaderOptions } from '../../lib/data/options.ts';
import { weightedSampler } from '../../lib/data/sampler.ts';
import { PhiloxStream, philox } from '../../lib/tensor/philox.ts';
import { collect, errorOf, pictures, plain } from './helpers.ts';

const extent = { channels: 3, height: 32, width: 24, bound: 255, encoding: undefined };

/** The steps that a transform plans for each of n samples. */
function planned(t: ImageTransform, n = 4000): [string, ...number[]][][] {
  const draws = new SampleDraws([7, 0], 3);
  return Array.from({ length: n }, (_, id) => {
    const steps: [string, ...number[]][] = [];
    plan(t, extent, draws.begin(11, id), (name, ...args) => steps.push([name, ...args]));
    return steps;
  });
}
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
/** Even from a to b: mean and spread, within five standard errors. */
function expectEven(values: readonly number[], a: number, b: number) {
  const error = (5 * (b - a)) / Math.sqrt(12 * values.length);
  expect(Math.min(...values)).toBeGreaterThanOrEqual(a);
  expect(Math.max(...values)).toBeLessThanOrEqual(b);
  expect(Math.abs(mean(values) - (a + b) / 2)).toBeLessThan(error);
  const variance = mean(values.map((v) => (v - (a + b) / 2) ** 2));
  expect(Math.abs(variance / ((b - a) ** 2 / 12) - 1)).toBeLessThan(0.1);
}
/** Counts of equally likely outcomes: chi-squared within five standard deviations. */
function expectUniform(values: readonly number[], kinds: number) {
  const counts = new Map<number, number>();
  for (const v of values) counts.set(v, (counts.get(v) ?? 0) + 1);
  const want = values.length / kinds;
  const chi = [...counts.values()].reduce((s, c) => s + (c - want) ** 2 / want, 0) + (kinds - counts.size) * want;
  expect(counts.size).toBe(kinds);
  expect(chi).toBeLessThan(kinds - 1 + 5 * Math.sqrt(2 * kinds));
}

describe('random parameters', () => {
  it('words are Philox words of (seed, epoch, sample id), each sample its own', () => {
    const draws = new SampleDraws([5, 6], 9).begin(4, 77, 2);
    const words = Array.from({ length: 6 }, () => draws.word());
    const block = (k: number) => [...philox([77, ((2 << 24) | k) >>> 0, 4, 9], [5, 6], new Uint32Array(4))];
    expect(words).toEqual([...block(0), ...block(1).slice(0, 2)]);
  });

  it('flips with probability p, crops at every place alike', () => {
    const flips = planned(augment.randomVerticalFlip(0.3)).map((s) => s.length);
    expect(Math.abs(mean(flips) - 0.3)).toBeLessThan(5 * Math.sqrt(0.21 / 4000));
    const crops = planned(augment.randomCrop([32, 24], { padding: 2 })).map(([s]) => s as [string, ...number[]]);
    expectUniform(
      crops.map((s) => s[1] as number),
      5,
    );
    expectUniform(
      crops.map((s) => 5 * (s[1] as number) + (s[2] as number)),
      25,
    );
  });

  it('colorJitter draws each factor evenly, in each of the 24 orders alike', () => {
    const steps = planned(augment.colorJitter({ brightness: 0.4, contrast: [0.5, 2], saturation: 1.5, hue: 0.1 }));
    const of = (name: string) => steps.map((s) => (s.find(([n]) => n === name) as [string, number])[1]);
    expectEven(of('brightness'), 0.6, 1.4);
    expectEven(of('contrast'), 0.5, 2);
    expectEven(of('saturation'), 0, 2.5);
    expectEven(of('hue'), -0.1, 0.1);
    const orders = [...new Set(steps.map((s) => s.map(([n]) => n).join()))];
    expectUniform(
      steps.map((s) => orders.indexOf(s.map(([n]) => n).join())),
      24,
    );
    expect(planned(augment.colorJitter({ hue: 0 }), 5).flat()).toEqual([]);
  });

  it('randomResizedCrop draws area and shape as torchvision does, inside the image, and falls back to the middle', () => {
    const t = augment.randomResizedCrop(16, { scale: [0.2, 0.5], ratio: [0.8, 1.25] });
    const draws = new SampleDraws([1, 2], 0);
    const wide = { ...extent, height: 400, width: 500 };
    const boxes = Array.from({ length: 4000 }, (_, id) => resizedCropBox(t, wide, draws.begin(1, id)));
    for (const [top, left, h, w] of boxes) expect(top >= 0 && left >= 0 && top + h <= 400 && left + w <= 500).toBe(true);
    expectEven(
      boxes.map(([, , h, w]) => Math.min(0.5, Math.max(0.2, (h * w) / 200_000))),
      0.2,
      0.5,
    );
    const logs = boxes.map(([, , h, w]) => Math.log(w / h));
    expect(Math.abs(mean(logs))).toBeLessThan(0.02);
    expect(Math.max(...logs.map(Math.abs))).toBeLessThan(Math.log(1.25) + 0.01);
    const strip = { ...extent, height: 4, width: 100 };
    const whole = augment.randomResizedCrop(4, { scale: [1, 1] });
    expect(resizedCropBox(whole, strip, draws.begin(1, 0))).toEqual([0, 47, 4, 5]);
  });

  it('randomErasing, rotation and affine stay in range', () => {
    const erasing = augment.randomErasing({ p: 0.7 });
    expect(Math.abs(mean(planned(erasing).map((s) => s.length)) - 0.7)).toBeLessThan(0.04);
    const draws = new SampleDraws([1, 2], 0);
    const big = { ...extent, height: 500, width: 500 };
    const areas = Array.from({ length: 4000 }, (_, id) => erasedBox(erasing, big, draws.begin(1, id)) ?? [0, 0, 0, 0]);
    expect(Math.max(...areas.map(([, , h, w]) => h * w))).toBeLessThan(0.34 * 250_000);
    expect(Math.abs(mean(areas.map(([, , h, w]) => (h * w) / 250_000)) - 0.175)).toBeLessThan(0.01);
    // torchvision turns counter-clockwise: the inverse matrix of angle d is [cos d, -sin d, ...]
    const turns = planned(augment.randomRotation([-40, 10])).map(
      ([s]) => (Math.atan2(-(s?.[2] as number), s?.[1] as number) * 180) / Math.PI,
    );
    expectEven(turns, -40.0001, 10.0001);
    const shifts = planned(augment.randomAffine(0, { translate: [0.1, 0.25], scale: [0.5, 2] })).map(
      ([s]) => s as [string, ...number[]],
    );
    expectEven(
      shifts.map((s) => 1 / (s[1] as number)),
      0.5,
      2,
    );
    const x = shifts.map((s) => Math.round(-(s[3] as number) / (s[1] as number)));
    expect([Math.min(...x), Math.max(...x)]).toEqual([-2, 2]);
  });

  it('randAugment draws its fourteen alike, and signs', () => {
    const steps = planned(augment.randAugment({ numOps: 1 }), 8000);
    const count = (name: string) => steps.filter(([s]) => s?.[0] === name).length / 8000;
    expect(Math.abs(steps.filter((s) => s.length === 0).length / 8000 - 1 / 14)).toBeLessThan(0.015);
    expect(Math.abs(count('affine') - 5 / 14)).toBeLessThan(0.03);
    for (const name of ['brightness', 'sharpness', 'posterize', 'solarize', 'autocontrast', 'equalize'])
      expect(Math.abs(count(name) - 1 / 14)).toBeLessThan(0.015);
    const factors = steps.flatMap(([s]) => (s?.[0] === 'brightness' ? [s[1] as number] : []));
    expect([...new Set(factors.map((f) => f.toFixed(2)))].sort()).toEqual(['0.73', '1.27']);
  });

  it('lambda is Beta(a, a): its mean and variance', () => {
    for (const a of [0.2, 1, 4]) {
      const rng = new PhiloxStream(3, 'beta', 0);
      const drawn = Array.from({ length: 20_000 }, () => drawBeta(a, rng));
      expect(Math.abs(mean(drawn) - 0.5)).toBeLessThan(0.015);
      expect(Math.abs(mean(drawn.map((v) => (v - 0.5) ** 2)) * 4 * (2 * a + 1) - 1)).toBeLessThan(0.05);
    }
  });
});

/** n colour pictures of 8 x 9 with four classes. */
const coloured = (n: number) =>
  new TensorDataset({
    x: {
      data: Uint8Array.from({ length: n * 216 }, (_, i) => (i * 37 + (i >> 5)) % 256),
      shape: [3, 8, 9],
      encoding: { scale: 1 / 255 },
    },
    y: { data: Int32Array.from({ length: n }, (_, i) => i % 4) },
  });

const everything: LoaderOptions['transform'] = [
  augment.randomCrop([8, 9], { padding: 2, paddingMode: 'reflect' }),
  augment.randomHorizontalFlip(),
  augment.randomVerticalFlip(0.2),
  augment.randomResizedCrop([8, 8]),
  augment.colorJitter({ brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }),
  augment.randomRotation(15, { interpolation: 'bilinear', fill: [1, 2, 3] }),
  augment.randomAffine(10, { translate: [0.1, 0.1], scale: [0.9, 1.1], shear: [-5, 5, -3, 3] }),
  augment.randAugment(),
  augment.randomErasing({ value: 'random' }),
  augment.normalize([0.4, 0.5, 0.6], [0.2, 0.2, 0.3]),
  augment.gaussianNoise(0.05),
  augment.featureMask(0.02),
  augment.mixChoice([augment.mixup({ alpha: 0.4, numClasses: 4 }), augment.cutmix({ numClasses: 4 })]),
];
const options: LoaderOptions = { batchSize: 8, shuffle: true, seed: 5, transform: everything };

describe('batches', () => {
  it('are the same for 0, 1, 2 and 4 workers, twice, and differ by epoch and seed', async () => {
    const run = async (more: Partial<LoaderOptions>, epoch = 1) =>
      (await collect(loader(coloured(37), { ...options, ...more }).epoch(epoch))).map(plain);
    const want = await run({ workers: 0 });
    expect(want.some((b) => (b.x as { data: Float32Array }).data.some((v) => !Number.isFinite(v)))).toBe(false);
    for (const workers of [0, 1, 2, 4]) expect(await run({ workers, prefetch: workers })).toEqual(want);
    expect(await run({}, 2)).not.toEqual(want);
    expect(await run({ seed: 6 })).not.toEqual(want);
  });

  it('go on exactly after a stop at any batch, samplers with repeats included', async () => {
    for (const more of [{}, { shuffle: false, sampler: weightedSampler(Array.from({ length: 37 }, (_, i) => i)) }]) {
      const fresh = () => loader(coloured(37), { ...options, ...more, workers: 2 });
      const all = await collect(fresh().windows({ epochs: 2 }));
      expect(all.length).toBe(10);
      for (const [i, w] of all.entries()) {
        const rest = await collect(fresh().windows({ epochs: 2, from: w.cursor }));
        expect(rest.map((r) => r.micro.map(plain))).toEqual(all.slice(i + 1).map((r) => r.micro.map(plain)));
      }
    }
  });

  it("a sample's own transforms depend on nothing but seed, epoch and id; drawn again in an epoch they differ", async () => {
    const own = everything.filter((t) => typeof t !== 'function' && !('of' in t));
    const found = async (more: Partial<LoaderOptions>) => {
      const byId = new Map<number, Set<string>>();
      for await (const { x, ids } of loader(coloured(20), { ...options, transform: own, ...more }).epoch(0))
        ids.forEach((id, k) => {
          byId.set(id, (byId.get(id) ?? new Set()).add(x.data.slice(k * 192, (k + 1) * 192).join()));
        });
      return byId;
    };
    const base = await found({});
    expect(await found({ batchSize: 3, shuffle: false })).toEqual(new Map([...base].sort((a, b) => a[0] - b[0])));
    const sampler = weightedSampler(new Array(20).fill(1), { samples: 60 });
    const again = await found({ shuffle: false, sampler });
    for (const [id, seen] of again) expect(seen.has([...(base.get(id) as Set<string>)][0] as string)).toBe(true);
    expect([...again.values()].reduce((n, s) => n + s.size, 0)).toBe(60);
  });

  it('f32 images take the same way, and moves serve any dtype', async () => {
    const data = Float32Array.from({ length: 3 * 216 }, (_, i) => ((i * 37) % 256) / 255);
    const transform = everything.slice(0, 9);
    const make = () => new TensorDataset({ x: { data, shape: [3, 8, 9] } });
    const runs = [];
    for (const workers of [0, 2]) runs.push((await collect(loader(make(), { batchSize: 3, workers, transform }))).map(plain));
    expect(runs[1]).toEqual(runs[0]);
    for (const array of [Float64Array, Int32Array, Uint8Array]) {
      const ds = new TensorDataset({ x: { data: array.from([1, 2, 3, 4]) as Uint8Array, shape: [2, 2] } });
      const flip = [augment.randomHorizontalFlip(1), augment.randomVerticalFlip(1)];
      expect([...((await collect(loader(ds, { batchSize: 1, transform: flip })))[0]?.x.data ?? [])]).toEqual([4, 3, 2, 1]);
    }
  });

  const columns = coloured(4096);
  const samples = { length: columns.length, get: (i: number) => columns.get(i) };
  it.each([
    ['columns, by two workers', columns, 2],
    ['columns, here', columns, 0],
    ['samples one by one, here', samples, 0],
  ] as const)('20 epochs leak nothing: %s', async (_, dataset, workers) => {
    const crop = augment.randomCrop([8, 9], { padding: 2 });
    const transform = [crop, ...everything.slice(4, 5), augment.normalize(0, 255), ...everything.slice(-1)];
    const loading = loader(dataset as typeof columns, { ...options, transform, batchSize: 256, workers });
    const used: number[] = [];
    for (let e = 0; e < 23; e++) {
      for await (const _ of loading.epoch(e));
      globalThis.gc?.();
      used.push(process.memoryUsage().rss);
    }
    // An epoch's batches are 3.5 MB, their programs 2 MB: a leak of either would add 32 MB or more. The least of a few: what is not collected yet is no leak.
    const least = (from: number, to: number) => Math.min(...used.slice(from, to));
    expect(least(18, 23) - least(2, 7)).toBeLessThan(24 * 2 ** 20);
  });
});

describe('mixing', () => {
  it('mixup mixes features and targets by one lambda for a batch, with the neighbour', async () => {
    const n = 6;
    const x = Float32Array.from({ length: n }, (_, i) => 10 ** i);
    const ds = new TensorDataset({ x: { data: x, shape: [1] }, y: { data: Int32Array.from({ length: n }, (_, i) => i) } });
    const [b] = await collect(loader(ds, { batchSize: n, transform: [augment.mixup({ numClasses: n })] }));
    expect([b?.y.dtype, b?.y.shape]).toEqual(['f32', [n, n]]);
    const lambda = b?.y.data[0] as number;
    expect(lambda > 0 && lambda < 1).toBe(true);
    for (let k = 0; k < n; k++) {
      const partner = (k + n - 1) % n;
      const want = lambda * (x[k] as number) + (1 - lambda) * (x[partner] as number);
      expect(Math.abs((b?.x.data[k] as number) / want - 1)).toBeLessThan(1e-6);
      const row = [...(b?.y.data.slice(k * n, (k + 1) * n) ?? [])];
      expect(row.filter((v) => v !== 0).length).toBe(2);
      expect(row[k]).toBe(lambda);
      expect(Math.abs((row[partner] as number) - (1 - lambda))).toBeLessThan(1e-6);
    }
  });

  it('cutmix pastes a rectangle of the neighbour, and the targets weigh its area', async () => {
    const size = 12 * 10;
    const ds = new TensorDataset({
      x: { data: Uint8Array.from({ length: 5 * size }, (_, i) => 1 + Math.floor(i / size)), shape: [1, 12, 10] },
      y: { data: Int32Array.from([0, 1, 2, 0, 1]) },
    });
    const loading = loader(ds, { batchSize: 5, transform: [augment.cutmix({ numClasses: 3 })] });
    let cut = 0;
    for (let e = 0; e < 20; e++) {
      const [b] = await collect(loading.epoch(e));
      expect(b?.x.dtype).toBe('u8');
      for (let k = 0; k < 5; k++) {
        const pixels = [...(b?.x.data.slice(k * size, (k + 1) * size) ?? [])];
        const own = pixels.filter((v) => v === k + 1).length / size;
        expect(pixels.every((v) => v === k + 1 || v === ((k + 4) % 5) + 1)).toBe(true);
        if (k === 1) expect(Math.abs((b?.y.data[3 * k + 1] as number) - own)).toBeLessThan(1e-6);
        if (own < 1) cut++;
      }
    }
    expect(cut).toBeGreaterThan(40);
  });

  it('regression targets are mixed as they are; p = 0 leaves features alone', async () => {
    const ds = new TensorDataset({ x: { data: Float32Array.of(1, 3), shape: [1] }, y: { data: Float32Array.of(10, 30) } });
    const [b] = await collect(loader(ds, { batchSize: 2, transform: [augment.mixup()] }));
    expect(b?.y.data[0]).toBeCloseTo(10 * (b?.x.data[0] as number), 4);
    const [none] = await collect(loader(ds, { batchSize: 2, transform: [augment.mixup({ p: 0 })] }));
    expect([...(none?.x.data ?? []), ...(none?.y.data ?? [])]).toEqual([1, 3, 10, 30]);
  });
});

describe('rows of numbers', () => {
  const rows = (n: number) => new TensorDataset({ x: { data: new Float32Array(4 * n).fill(2), shape: [4] } });

  it('gaussianNoise has each column its own spread, and featureMask its chance', async () => {
    const [b] = await collect(loader(rows(5000), { batchSize: 5000, transform: [augment.gaussianNoise([0, 0.1, 1, 3])] }));
    [0, 0.1, 1, 3].forEach((std, c) => {
      const column = Array.from({ length: 5000 }, (_, k) => (b?.x.data[4 * k + c] as number) - 2);
      expect(Math.abs(mean(column))).toBeLessThanOrEqual((5 * std) / Math.sqrt(5000));
      expect(Math.abs(Math.sqrt(mean(column.map((v) => v * v))) - std)).toBeLessThanOrEqual(0.05 * std);
      // a normal's fourth moment is 3
      if (std > 0) expect(Math.abs(mean(column.map((v) => (v / std) ** 4)) - 3)).toBeLessThan(0.5);
    });
    const [m] = await collect(
      loader(rows(5000), { batchSize: 5000, transform: [augment.featureMask(0.25, { value: [-1, -2, -3, -4] })] }),
    );
    [-1, -2, -3, -4].forEach((value, c) => {
      const column = Array.from({ length: 5000 }, (_, k) => m?.x.data[4 * k + c] as number);
      expect(new Set(column)).toEqual(new Set([2, value]));
      expect(Math.abs(column.filter((v) => v === value).length / 5000 - 0.25)).toBeLessThan(0.035);
    });
  });

  it('smote brings rare classes up by points between neighbours of the class', async () => {
    const draw = new PhiloxStream(1, 'test/smote');
    const n = 60;
    const ds = new TensorDataset({
      x: { data: Float32Array.from({ length: 3 * n }, () => draw.uniform()), shape: [3] },
      y: { data: Int32Array.from({ length: n }, (_, i) => (i < 40 ? 0 : i < 52 ? 1 : 2)) },
      tag: { data: Int32Array.from({ length: n }, (_, i) => i) },
    });
    const more = await augment.smote(ds, { neighbors: 3, seed: 4 });
    const [x, y, tag] = ['x', 'y', 'tag'].map((c) => more.column(c).data) as [Float32Array, Int32Array, Int32Array];
    expect([0, 1, 2].map((c) => y.filter((v) => v === c).length)).toEqual([40, 40, 40]);
    expect([...x.subarray(0, 3 * n)]).toEqual([...ds.column('x').data]);
    const at = (k: number) => [...x.subarray(3 * k, 3 * k + 3)];
    const distance = (a: number[], b: number[]) => Math.hypot(...a.map((v, i) => v - (b[i] as number)));
    for (let k = n; k < more.length; k++) {
      const base = tag[k] as number;
      expect(y[base]).toBe(y[k]);
      const near = Array.from({ length: n }, (_, i) => i)
        .filter((i) => i !== base && y[i] === y[k])
        .sort((a, b) => distance(at(base), at(a)) - distance(at(base), at(b)))
        .slice(0, 3);
      // on the segment: the two parts add up to its length
      const off = near.map((i) => distance(at(base), at(k)) + distance(at(k), at(i)) - distance(at(base), at(i)));
      expect(Math.min(...off)).toBeLessThan(1e-6);
    }
    expect((await augment.smote(ds, { to: 0.5 })).length).toBe(40 + 20 + 20);
  });
});

describe('refusals', () => {
  const ds = pictures(10);
  const five = new TensorDataset({ x: { data: new Uint8Array(5 * 16), shape: [5, 4, 4] }, y: { data: new Int32Array(1) } });
  const rows: [string, () => unknown, RegExp][] = [
    ['p', () => augment.randomVerticalFlip(1.5), /p must be from 0 to 1, got 1.5/],
    ['scale', () => augment.randomResizedCrop(8, { scale: [0.5, 2] }), /scale must be .*0 <= min <= max <= 1, got \[0.5, 2\]/],
    ['ratio', () => augment.randomErasing({ ratio: [0, 1] }), /ratio must be .*0 < min <= max/],
    [
      'value',
      () => augment.randomErasing({ value: 'noise' as 'random' }),
      /value must be a number, one per channel, or 'random'/,
    ],
    ['hue', () => augment.colorJitter({ hue: 0.6 }), /hue must be from 0 to 0.5/],
    ['brightness', () => augment.colorJitter({ brightness: -1 }), /brightness must be a number >= 0/],
    ['contrast', () => augment.colorJitter({ contrast: [2, 1] }), /contrast must be .*0 <= min <= max/],
    ['degrees', () => augment.randomRotation(-5), /degrees must be a number >= 0, got -5/],
    [
      'interpolation',
      () => augment.randomRotation(5, { interpolation: 'cubic' as 'nearest' }),
      /'nearest' or 'bilinear', got "cubic"/,
    ],
    ['translate', () => augment.randomAffine(5, { translate: [2, 0] }), /translate must be .*from 0 to 1, got \[2, 0\]/],
    ['factor', () => augment.randomAffine(5, { scale: [0, 1] }), /scale must be .*0 < min <= max/],
    ['magnitude', () => augment.randAugment({ magnitude: 31 }), /magnitude must be an integer from 0 to 30, got 31/],
    ['paddingMode', () => augment.randomCrop(4, { paddingMode: 'mirror' as 'edge' }), /paddingMode must be 'constant' or/],
    ['alpha', () => augment.mixup({ alpha: 0 }), /alpha must be a finite number > 0, got 0/],
    ['numClasses', () => augment.cutmix({ numClasses: 1 }), /numClasses must be an integer from 2/],
    [
      'a choice of two kinds of target',
      () => augment.mixChoice([augment.mixup(), augment.cutmix({ numClasses: 2 })]),
      /same target/,
    ],
    ['std', () => augment.gaussianNoise(-0.1), /std must be .* numbers >= 0, got -0.1/],
    ['a misspelling', () => augment.colorJitter({ brigthness: 1 } as never), /"brigthness" should be "brightness"/],
    [
      'fill of u8',
      () => loader(ds, { batchSize: 1, transform: [augment.randomCrop(3, { fill: 300 })] }),
      /u8, .*0 to 255, got 300/,
    ],
    [
      'fills',
      () => loader(ds, { batchSize: 1, transform: [augment.randomRotation(3, { fill: [1, 2] })] }),
      /2 values to fill 1 channel/,
    ],
    [
      'channels',
      () => loader(five, { batchSize: 1, transform: [augment.colorJitter({ hue: 0.1 })] }),
      /5 channels; colours have 1 or 3/,
    ],
    [
      'reflection beyond the image',
      () => loader(ds, { batchSize: 1, transform: [augment.randomCrop(3, { padding: 5, paddingMode: 'reflect' })] }),
      /'reflect' padding of "x", 6 x 5, is at most 4, got 5/,
    ],
    [
      'noise on bytes',
      () => loader(ds, { batchSize: 1, transform: [augment.gaussianNoise(1)] }),
      /comes out as u8, which cannot hold noise/,
    ],
    [
      'std of other features',
      () => loader(pictures(2, { scale: 1 }), { batchSize: 1, transform: [augment.gaussianNoise([1, 2])] }),
      /2 numbers for the 30/,
    ],
    [
      'mixup of bytes',
      () => loader(ds, { batchSize: 1, transform: [augment.mixup({ numClasses: 3 })] }),
      /comes out as u8; only f32/,
    ],
    ['targets without numClasses', () => loader(ds, { batchSize: 1, transform: [augment.cutmix()] }), /say how many classes/],
    [
      'a class too many',
      () => collect(loader(ds, { batchSize: 5, transform: [augment.cutmix({ numClasses: 2 })] })),
      /sample 2: its "y" is class 2, but there are numClasses: 2, 0 to 1/,
    ],
    ['smote of bytes', () => augment.smote(ds), /features "x" are u8/],
    [
      'smote of one row',
      () => augment.smote(new TensorDataset({ x: { data: new Float32Array(3) }, y: { data: Int32Array.of(0, 0, 1) } })),
      /class 1 has one row and so no neighbour/,
    ],
    ['neighbors', () => augment.smote(ds, { neighbors: 0 }), /neighbors must be an integer from 1 to 1000, got 0/],
  ];
  it.each(rows)('%s', async (_, fn, message) => {
    expect((await errorOf(fn)).message).toMatch(message);
  });
});
