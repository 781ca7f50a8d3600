import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ConfigError, DTypeError } from '../../lib/native/errors.ts';
import { nativeOp, run } from '../../lib/native/run.ts';
import {
  bernoulli,
  normal,
  permutation,
  rand,
  randint,
  randn,
  randomWords,
  stochasticRound,
  uniform,
} from '../../lib/ops/random.ts';
import { bind, manualSeed, type Rng } from '../../lib/tensor/context.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { device } from '../../lib/tensor/device.ts';
import type { DType } from '../../lib/tensor/dtype.ts';
import { hashStream, PhiloxStream, uniform01 } from '../../lib/tensor/philox.ts';
import { type Tensor, unwritten } from '../../lib/tensor/tensor.ts';
import { onGpu } from '../helpers/device.ts';
import { rounded } from '../helpers/rounding.ts';
import { normals } from './random-reference.ts';

const sizes = [0, 1, 2, 3, 5, 7, 33, 129, 511, 512, 513, 1000, 4097];

/** Draws as in a training step, so that the place of the numbers is known. */
const inStep = (rowOffset = 0, attempt = 3, seed = 2 ** 40 + 7): Rng => ({
  seed,
  attempt,
  rowOffset,
  rows: 0,
  calls: new Map(),
  inStep: true,
});
const drawn = <T>(rng: Rng, fn: () => T): T => bind({ rng }, fn);
const stream = (rng: Rng, path: string) => new PhiloxStream(rng.seed, path, rng.attempt);
const words = (s: PhiloxStream, from: number, n: number) => Int32Array.from({ length: n }, (_, i) => s.wordAt(from + i) | 0);

describe('words', () => {
  // tests/kat_vectors: counter [block low, block high, stream, attempt], key
  it.each<[number[], number[], string]>([
    [[0, 0, 0, 0], [0, 0], '6627e8d5 e169c58d bc57ac4c 9b00dbd8'],
    [Array(4).fill(0xffffffff), Array(2).fill(0xffffffff), '408f276d 41c83b0e a20bc7c6 6d5451fd'],
    [[0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0], 'd16cfe09 94fdcceb 5001e420 24126ea1'],
  ])("are Random123's for counter %j", async (counter, key, expected) => {
    const [low, high, stream, attempt] = counter as [number, number, number, number];
    const out = unwritten([4], 'i32');
    run(nativeOp('randomWords'), [], [out], [...key, stream, attempt, 0, low, high]);
    expect(Array.from(await out.data(), (w) => (w >>> 0).toString(16).padStart(8, '0')).join(' ')).toBe(expected);
  });

  it.each(sizes)("%i of them equal TypeScript's, from any row", async (n) => {
    for (const rowOffset of [0, 1, 2, 3, 5, 2 ** 35 + 1]) {
      const rng = inStep(rowOffset);
      const got = await drawn(rng, () => randomWords([n])).data();
      expect(got).toEqual(words(stream(rng, 'randomWords'), rowOffset, n));
    }
  });

  it('count rows of the whole window', async () => {
    const rng = inStep(6);
    const got = await drawn(rng, () => randomWords([3, 5, 7])).data();
    expect(got).toEqual(words(stream(rng, 'randomWords'), 6 * 35, 105));
    const whole = await drawn(inStep(0), () => randomWords([9, 5, 7])).data();
    expect(got).toEqual(whole.slice(6 * 35));
  });

  it('of a second call in a step are another stream; outside a step each draw is another attempt', async () => {
    const rng = inStep();
    const [a, b] = drawn(rng, () => [randomWords([9]), randomWords([9])]) as [Tensor, Tensor];
    expect(await a.data()).toEqual(words(stream(rng, 'randomWords'), 0, 9));
    expect(await b.data()).toEqual(words(stream(rng, 'randomWords#1'), 0, 9));
    manualSeed(5);
    const [c, d] = [randomWords([9]), randomWords([9])];
    expect(await c.data()).toEqual(words(new PhiloxStream(5, 'randomWords', 0), 0, 9));
    expect(await d.data()).toEqual(words(new PhiloxStream(5, 'randomWords', 1), 0, 9));
    manualSeed(5);
    expect(await randomWords([9]).data()).toEqual(await c.data());
    expect(hashStream('randomWords')).toBeGreaterThan(0);
  });
});

describe('uniform', () => {
  it.each(sizes)("%i numbers equal TypeScript's", async (n) => {
    const rng = inStep(1);
    const s = stream(rng, 'uniform');
    const expected = Float32Array.from({ length: n }, (_, i) => uniform01(s.wordAt(i + 1) >>> 0));
    expect(await drawn(rng, () => rand([n])).data()).toEqual(expected);
    const f = Math.fround;
    const scaled = expected.map((u) => f(-2.5 + f(f(0.1 + 2.5) * u)));
    expect(await drawn(inStep(1), () => uniform([n], { low: -2.5, high: f(0.1) })).data()).toEqual(
      scaled.map((v) => (v < f(0.1) ? v : -2.5)),
    );
    const wide = await drawn(inStep(1), () => uniform([n], { low: -3, high: 5, dtype: 'f64', device: 'cpu' })).data();
    expect(wide).toEqual(Float64Array.from(expected, (u) => -3 + 8 * u));
  });

  it('16-bit numbers stay below 1', async () => {
    for (const [dtype, bits] of [
      ['bf16', 8],
      ['f16', 11],
    ] as const) {
      const rng = inStep();
      const s = stream(rng, 'uniform');
      const got = await drawn(rng, () => rand([5000], { dtype })).data();
      expect(got).toEqual(Float32Array.from({ length: 5000 }, (_, i) => (s.wordAt(i) >>> (32 - bits)) / 2 ** bits));
    }
  });
});

describe('normal', () => {
  it.each(sizes)('%i numbers follow the specified sequence bit for bit', async (n) => {
    for (const rowOffset of [0, 1, 4]) {
      const rng = inStep(rowOffset);
      const s = stream(rng, 'normal');
      const expected = normals((i) => s.wordAt(i) >>> 0, rowOffset, n);
      expect(await drawn(rng, () => randn([n])).data()).toEqual(expected);
    }
  });

  it('has the moments and tails of the normal distribution', async () => {
    manualSeed(1);
    const n = 400_000;
    const z = (await normal([n], { mean: 2, std: 3 }).data()) as Float32Array;
    const moment = (k: number) => z.reduce((sum, v) => sum + ((v - 2) / 3) ** k, 0) / n;
    expect(Math.abs(moment(1))).toBeLessThan(0.008);
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.012);
    expect(Math.abs(moment(3))).toBeLessThan(0.03);
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.1);
    const beyond = z.filter((v) => Math.abs(v - 2) > 9).length / n;
    expect(Math.abs(beyond - 0.0027)).toBeLessThan(0.0005);
    // The pair of one block are independent.
    let product = 0;
    for (let i = 0; i < n; i += 2) product += (((z[i] as number) - 2) * ((z[i + 1] as number) - 2)) / 9;
    expect(Math.abs(product / (n / 2))).toBeLessThan(0.012);
  });

  it.skipIf(onGpu)('is the same for any number of threads and any instruction set', async () => {
    const cpu = device('cpu');
    const before = cpu.threads;
    cpu.threads = 1;
    const draw = () => drawn(inStep(1), () => randn([100_003])).data();
    const one = await draw();
    cpu.threads = 2;
    expect(await draw()).toEqual(one);
    cpu.threads = before;
    const script = fileURLToPath(new URL('./random-child.ts', import.meta.url));
    const child = spawnSync(process.execPath, ['--import', 'tsx', script], {
      env: { ...process.env, ANNEAL_ISA: 'v2' },
      encoding: 'utf8',
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
    });
    // A developer's build may hold one set only.
    if (child.stderr.includes('no kernels for instruction set')) return;
    expect(child.stderr).toBe('');
    const bits = new Uint32Array(one.buffer, 0, 4096);
    expect(JSON.parse(child.stdout)).toEqual(Array.from(bits));
  });
});

describe('integers', () => {
  it('are in range, each by its own word', async () => {
    for (const [low, high] of [
      [0, 10],
      [-5, 6],
      [7, 8],
      [-(2 ** 31), 2 ** 31],
    ] as const) {
      const rng = inStep(2);
      const s = stream(rng, 'randint');
      const expected = Int32Array.from(
        { length: 999 },
        (_, i) => Number((BigInt(s.wordAt(2 + i) >>> 0) * BigInt(high - low)) >> 32n) + low,
      );
      expect(await drawn(rng, () => randint([999], { low, high })).data()).toEqual(expected);
    }
    expect((await randint([50], { high: 256, dtype: 'u8' }).data()) instanceof Uint8Array).toBe(true);
    expect(() => randint([2], { high: 0 })).toThrow(/low 0 must be below high 0/);
    expect(() => randint([2], { high: 1.5 })).toThrow(ConfigError);
    expect(() => randint([2], { high: 300, dtype: 'u8' })).toThrow(/does not fit u8/);
  });

  it.each([0, 1, 2, 7, 129, 5000])('a permutation of %i is that of the stream', async (n) => {
    const rng = inStep();
    const got = await drawn(rng, () => permutation(n)).data();
    expect(Array.from(got)).toEqual(Array.from(stream(rng, 'permutation').permutation(n)));
    expect(Array.from(got).sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
  });

  it('bernoulli', async () => {
    manualSeed(3);
    const some = (await bernoulli([20_000], { p: 0.3 }).data()) as Float32Array;
    expect(Math.abs(some.reduce((a, b) => a + b, 0) / 20_000 - 0.3)).toBeLessThan(0.015);
    expect((await bernoulli([100], { p: 0 }).data()).every((v) => v === 0)).toBe(true);
    expect((await bernoulli([100], { p: 1 }).data()).every((v) => v === 1)).toBe(true);
    const each = await bernoulli(tensor([0, 1, 0, 1, 0.5]), { dtype: 'bool' }).data();
    expect(Array.from(each.slice(0, 4))).toEqual([0, 1, 0, 1]);
  });
});

describe('bad input', () => {
  it.each<[string, () => unknown, unknown, RegExp]>([
    ['misspelt option', () => rand([2], { dtyp: 'f32' } as never), ConfigError, /should be "dtype"/],
    ['integer dtype', () => randn([2], { dtype: 'i32' }), DTypeError, /float type.*randint/],
    ['limits', () => uniform([2], { low: 2, high: 1 }), ConfigError, /low 2 is above high 1/],
    ['std', () => normal([2], { std: -1 }), ConfigError, /std/],
    ['p', () => bernoulli([2], { p: 2 }), ConfigError, /p must be a number from 0 to 1/],
    ['p with probabilities', () => bernoulli(tensor([0.5]), { p: 0.5 }), ConfigError, /unknown option "p"/],
    ['n', () => permutation(-1), ConfigError, /whole number/],
    ['shape', () => rand([-1]), Error, /whole number/],
  ])('%s', (_, fn, kind, message) => {
    expect(fn).toThrow(kind as never);
    expect(fn).toThrow(message);
  });
});

describe('stochasticRound', () => {
  /** Up by the low half of the number's word, then cut. */
  const rounded = (x: number, word: number): number => {
    const bits = new Uint32Array(Float32Array.of(x).buffer);
    if (Number.isFinite(x)) bits[0] = ((bits[0] as number) + (word & 0xffff)) & 0xffff0000;
    return new Float32Array(bits.buffer)[0] as number;
  };

  it.each(sizes)("%i numbers: as TypeScript's words say, to the bit", async (n) => {
    const rng = inStep(1);
    const s = stream(rng, 'stochasticRound');
    const from = Float32Array.from({ length: n }, (_, i) => Math.fround(Math.sin(i * 12.9898) * 2 ** ((i % 60) - 30)));
    const got = await drawn(rng, () => stochasticRound(tensor(from, { shape: [n] }))).data();
    expect(got).toEqual(from.map((x, i) => rounded(x, s.wordAt(i + 1))));
  });

  it('leaves what bf16 holds, inf and NaN as they are', async () => {
    const from = [0, -0, 1, -2.5, 2 ** -133, Infinity, -Infinity, NaN, 3.3895313892515355e38];
    expect(Array.from(await stochasticRound(tensor(from)).data())).toEqual(from);
  });

  it('keeps the mean: a quarter of the way up is up a quarter of the time', async () => {
    const n = 20_000;
    const x = 1 + 2 ** -7 / 4;
    const up = (await stochasticRound(tensor(new Float32Array(n).fill(x))).data()).filter((y) => y > 1).length / n;
    expect(Math.abs(up - 0.25)).toBeLessThan(4 * Math.sqrt((0.25 * 0.75) / n));
  });

  it('passes the gradient on in f32, and refuses what is not f32', async () => {
    const x = tensor([1.1, 2.2], { requiresGrad: true });
    stochasticRound(x).backward(tensor([3, 4], { dtype: 'bf16' }));
    expect(x.grad?.dtype).toBe('f32');
    expect(Array.from((await x.grad?.data()) as Float32Array)).toEqual([3, 4]);
    expect(() => stochasticRound(tensor([1], { dtype: 'bf16' }))).toThrow(DTypeError);
  });
});

describe('whole numbers in every dtype', () => {
  it.each(['f32', 'f16', 'bf16', 'u8', 'bool', 'i32'] as const)(
    '%s has the values of i32, in shares of every size',
    async (dtype) => {
      const high = dtype === 'bool' ? 2 : 100;
      for (const n of [...sizes, 10, 11, 12, 13, 14, 356, 612, 868, 1124, 1380, 1636, 1892]) {
        const draw = (dtype: DType) => drawn(inStep(1), () => randint([n], { high, dtype })).data();
        expect(Array.from(await draw(dtype), Number)).toEqual(Array.from(await draw('i32')));
        const toss = (dtype: DType) => drawn(inStep(1), () => bernoulli([n], { p: 0.3, dtype })).data();
        const s = stream(inStep(1), 'bernoulli');
        const expected = Array.from({ length: n }, (_, i) => +(s.wordAt(i + 1) >>> 0 < Math.floor(0.3 * 2 ** 32)));
        expect(Array.from(await toss(dtype), Number)).toEqual(expected);
      }
    },
  );
});

describe('from any row on, of any number: the slice of a longer draw', () => {
  const draws: { readonly [name: string]: (n: number, dtype: 'f32' | 'bf16' | 'f16') => Tensor } = {
    uniform: (n, dtype) => uniform([n], { low: -2, high: 3, dtype }),
    normal: (n, dtype) => normal([n], { mean: 1, std: 2, dtype }),
    bernoulli: (n, dtype) => bernoulli([n], { p: 0.4, dtype: ({ f32: 'bool', bf16: 'u8', f16: 'i32' } as const)[dtype] }),
    'bernoulli of floats': (n, dtype) => bernoulli([n], { p: 0.4, dtype }),
    randint: (n, dtype) => randint([n], dtype === 'f32' ? { low: -9, high: 1000 } : { high: 200, dtype: 'u8' }),
    randomWords: (n) => randomWords([n]),
  };
  for (const [name, draw] of Object.entries(draws))
    it.each(['f32', 'bf16', 'f16'] as const)(`${name} %s`, async (dtype) => {
      const whole = await drawn(inStep(0), () => draw(6000, dtype)).data();
      for (const [row, n] of [
        [1, 1],
        [1, 2],
        [2, 3],
        [3, 5],
        [1, 6],
        [2, 7],
        [3, 9],
        [5, 700],
        [6, 1400],
        [7, 2103],
        [4, 3000],
        [1, 4095],
        [3, 4101],
      ] as const)
        expect(await drawn(inStep(row), () => draw(n, dtype)).data(), `${n} from ${row}`).toEqual(whole.slice(row, row + n));
    });
});

it.each(['bf16', 'f16'] as const)('normal %s are those of f32, rounded', async (dtype) => {
  const wide = await drawn(inStep(1), () => normal([5000], { mean: 0.5, std: 3 })).data();
  const got = await drawn(inStep(1), () => normal([5000], { mean: 0.5, std: 3, dtype })).data();
  expect(Array.from(got)).toEqual(Array.from(rounded(wide, dtype)));
});
