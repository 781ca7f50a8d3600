import { describe, expect, test } from 'vitest';
import '../../lib/ops/binary.ts';
import '../../lib/ops/create.ts';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { native } from '../../lib/native/run.ts';
import { toFormat } from '../../lib/ops/define.ts';
import { batchNorm, groupNorm, layerNorm, rmsNorm } from '../../lib/ops/norm.ts';
import type { FloatDType } from '../../lib/tensor/dtype.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Format, Tensor } from '../../lib/tensor/tensor.ts';
import { casesOf, runOp } from '../golden/run.ts';
import { expectClose, type Values } from '../helpers/compare.ts';
import { onGpu } from '../helpers/device.ts';
import { placed } from '../helpers/place.ts';
import { rounded, unitRoundoff } from '../helpers/rounding.ts';

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

interface Draw {
  shape: readonly number[];
  mean?: number;
  dtype?: FloatDType;
  format?: Format;
  /** The dtype whose values are drawn; default: `dtype`. */
  rounding?: FloatDType;
}
/** A leaf of uniforms of variance 1 about `mean`, the same each time. */
function leaf(name: string, { shape, mean = 0, dtype = 'f64', format = 'contiguous', rounding = dtype }: Draw): Tensor {
  const random = new PhiloxStream(13, name);
  const data = Float64Array.from({ length: sizeOf(shape) }, () => mean + Math.sqrt(12) * (random.uniform() - 0.5));
  const t = toFormat(placed(rounded(data, rounding), shape, dtype), format).detach();
  t.requiresGrad = true;
  return t;
}
const wideOf = (dtype: FloatDType): FloatDType => (dtype === 'f64' ? 'f64' : 'f32');

type Norm = (x: Tensor, weight: Tensor, bias: Tensor) => Tensor;
interface Case {
  name: string;
  shape: readonly number[];
  parameters: readonly number[];
  norm: Norm;
  formats: readonly Format[];
}
const plain: readonly Format[] = ['contiguous'];
const both: readonly Format[] = ['contiguous', 'channelsLast'];

/** Running statistics of evaluation; training has none here. */
const running = (x: Tensor, training: boolean): [Tensor | null, Tensor | null] => {
  if (training) return [null, null];
  const c = [x.shape[1] as number];
  const dtype = wideOf(x.dtype as FloatDType);
  return [leaf('running mean', { shape: c, dtype }).detach(), leaf('running variance', { shape: c, mean: 3, dtype }).detach()];
};
function cases(rows: readonly number[], images: readonly number[], groups: number): Case[] {
  const n = [rows[rows.length - 1] as number];
  const c = [images[1] as number];
  return [
    { name: 'layerNorm', shape: rows, parameters: n, norm: (x, w, b) => layerNorm(x, w, b), formats: plain },
    { name: 'rmsNorm', shape: rows, parameters: n, norm: (x, w) => rmsNorm(x, w), formats: plain },
    {
      name: 'groupNorm',
      shape: images,
      parameters: c,
      norm: (x, w, b) => groupNorm(x, w, b, { numGroups: groups }),
      formats: both,
    },
    ...[true, false].map((training) => ({
      name: `batchNorm, ${training ? 'training' : 'evaluation'}`,
      shape: images,
      parameters: c,
      norm: (x: Tensor, w: Tensor, b: Tensor) => batchNorm(x, w, b, ...running(x, training), { training }),
      formats: both,
    })),
  ];
}

interface Read {
  y: Values;
  gradients: (Values | null)[];
}
/** Output and gradients, as read. */
function result(c: Case, dtype: FloatDType, rounding: FloatDType, format: Format, mean = 0): Promise<Read> {
  const wide = wideOf(dtype);
  return scope.run(async () => {
    const x = leaf('x', { shape: c.shape, dtype, rounding, format, mean });
    const w = leaf('w', { shape: c.parameters, dtype: wide, rounding: 'f32', mean: 1 });
    const b = leaf('b', { shape: c.parameters, dtype: wide, rounding: 'f32' });
    const y = c.norm(x, w, b);
    expect(y.format).toBe(x.format);
    y.backward(leaf('seed', { shape: c.shape, dtype, rounding }).detach());
    const read = async (t: Tensor | null) => t && { shape: t.shape, data: await t.data() };
    return { y: (await read(y)) as Values, gradients: await Promise.all([x, w, b].map((t) => read(t.grad))) };
  });
}
function agree(a: Read, truth: Read, forward: number, gradient: number): void {
  expectClose('y', a.y, truth.y, forward);
  a.gradients.forEach((g, i) => {
    const t = truth.gradients[i];
    expect(!g).toBe(!t);
    if (g && t) expectClose(`gradient ${i}`, g, t, gradient);
  });
}

describe('goldens', () => {
  for (const c of casesOf('norm')) {
    test(`${c.name} f32`, () => runOp(c));
    test(`${c.name} f64`, () => runOp(c, 'f64'));
  }
});

describe.skipIf(onGpu)('gradcheck', () => {
  for (const c of cases([3, 2, 5], [3, 4, 2, 3], 2))
    for (const format of c.formats)
      test(`${c.name} ${format}`, async () => {
        const [x, w, b] = [
          leaf('x', { shape: c.shape }),
          leaf('w', { shape: c.parameters, mean: 2 }),
          leaf('b', { shape: c.parameters }),
        ];
        const inputs = c.name === 'rmsNorm' ? [x, w] : [x, w, b];
        const f = (t: Tensor, v: Tensor, u: Tensor) => c.norm(toFormat(t, format), v, u);
        expect(await gradcheck(f as (...t: Tensor[]) => Tensor, inputs)).toBeLessThan(1e-6);
        // Gradients that wait, on x and on the parameters, are added in the same pass.
        const twice = (t: Tensor, v: Tensor, u: Tensor) => f(t, v, u).mul(f(f(t, v, u), v, u));
        expect(await gradcheck(twice as (...t: Tensor[]) => Tensor, inputs)).toBeLessThan(1e-6);
      });
  test('only what needs a gradient gets one', async () => {
    for (const c of cases([3, 2, 5], [3, 4, 2, 3], 2))
      for (const wanted of [0, 1, 2]) {
        if (c.name === 'rmsNorm' && wanted === 2) continue;
        const all = [
          leaf('x', { shape: c.shape }),
          leaf('w', { shape: c.parameters, mean: 2 }),
          leaf('b', { shape: c.parameters }),
        ];
        for (const [i, t] of all.entries()) t.requiresGrad = i === wanted;
        expect(await gradcheck((...t) => c.norm(t[0] as Tensor, t[1] as Tensor, t[2] as Tensor), all)).toBeLessThan(1e-6);
        expect(all.map((t) => t.grad)).toEqual([null, null, null]);
      }
  });
});

describe('kernels against f64 on the same rounded operands', () => {
  // Sizes with tails; rows enough for several tasks; images enough for several chunks.
  const sizes: [readonly number[], readonly number[], number][] = [
    [[300, 129], [4, 6, 29, 31], 3],
    [[7, 2_500], [2, 300, 11, 13], 4],
    [[3, 5], [9, 12, 1, 1], 2],
    [[1_000, 33], [3, 33, 67, 7], 1],
  ];
  for (const [rows, images, groups] of sizes)
    for (const c of cases(rows, images, groups))
      for (const format of c.formats) {
        test(`${c.name} [${c.shape}] ${format} f32`, async () =>
          agree(await result(c, 'f32', 'f32', format), await result(c, 'f64', 'f32', 'contiguous'), 2e-6, 5e-6));
        for (const dtype of ['bf16', 'f16'] as const)
          test(`${c.name} [${c.shape}] ${format} ${dtype}`, async () => {
            const u = unitRoundoff[dtype];
            const [low, truth] = [await result(c, dtype, dtype, format), await result(c, 'f64', dtype, 'contiguous')];
            agree(low, truth, 1.01 * u, 1.01 * u);
          });
      }
});

describe('a mean far from zero', () => {
  for (const c of cases([64, 384], [8, 6, 29, 31], 2).filter((k) => k.name !== 'rmsNorm' && !k.name.endsWith('evaluation')))
    for (const format of c.formats)
      test(`${c.name} ${format}`, async () => {
        // x itself is off by 1e4 x 2^-24 = 6e-4 between neighbours; both sides see the same x.
        const [low, truth] = [await result(c, 'f32', 'f32', format, 1e4), await result(c, 'f64', 'f32', 'contiguous', 1e4)];
        expectClose('y', low.y, truth.y, 2e-6);
      });
});

describe('batchNorm: running statistics', () => {
  const shape = [4, 3, 5, 5];
  test('move in place towards mean and unbiased variance, and a saved tensor would notice', async () => {
    for (const format of both) {
      const x = leaf('x', { shape, mean: 2, dtype: 'f32', format });
      const mean = leaf('mean', { shape: [3], dtype: 'f32' });
      const variance = leaf('variance', { shape: [3], mean: 4, dtype: 'f32' });
      const [m0, v0, data] = [await mean.data(), await variance.data(), await x.data()];
      const versions = [mean.storage.version, variance.storage.version];
      batchNorm(x, null, null, mean, variance, { training: true, momentum: 0.25 });
      expect([mean.storage.version, variance.storage.version]).toEqual(versions.map((v) => v + 1));
      const [m1, v1] = [await mean.data(), await variance.data()];
      for (let c = 0; c < 3; c++) {
        const values = Array.from(data).filter((_, i) => Math.floor(i / 25) % 3 === c);
        const m = values.reduce((a, b) => a + b, 0) / 100;
        const v = values.reduce((a, b) => a + (b - m) ** 2, 0) / 99;
        expect(m1[c]).toBeCloseTo(0.75 * (m0[c] as number) + 0.25 * m, 5);
        expect(v1[c]).toBeCloseTo(0.75 * (v0[c] as number) + 0.25 * v, 5);
      }
    }
  });
  test('are left alone by evaluation', async () => {
    const [mean, variance] = [leaf('mean', { shape: [3] }), leaf('variance', { shape: [3], mean: 4 })];
    const before = [await mean.data(), await variance.data()];
    batchNorm(leaf('x', { shape }), null, null, mean, variance);
    expect([await mean.data(), await variance.data()]).toEqual(before);
  });
});

test.skipIf(onGpu)('the number of threads changes no bit', async () => {
  const bits = async (threads: number) => {
    native().threads(threads);
    const parts: number[] = [];
    for (const c of cases([1_000, 129], [8, 6, 59, 61], 2))
      for (const format of c.formats) {
        const { y, gradients } = await result(c, 'f32', 'f32', format);
        for (const v of [y, ...gradients]) if (v) parts.push(...Array.from(v.data).slice(0, 20_000));
      }
    return Float32Array.from(parts);
  };
  const before = native().threads();
  try {
    expect(await bits(1)).toEqual(await bits(3));
  } finally {
    native().threads(before);
  }
});

describe('misuse', () => {
  const x = leaf('x', { shape: [2, 4, 3, 3], dtype: 'f32' });
  const four = leaf('w', { shape: [4], dtype: 'f32' });
  const three = leaf('w3', { shape: [3], dtype: 'f32' });
  const calls: [string, () => unknown, RegExp][] = [
    [
      'a shape that x does not end in',
      () => layerNorm(x, four),
      /layerNorm: x \[2, 4, 3, 3\] must end in the normalized shape \[4\]/,
    ],
    ['a bias of another shape', () => layerNorm(x, three, four), /layerNorm: bias must have shape \[3\], got \[4\]/],
    ['a misspelt option', () => rmsNorm(x, three, { epsilon: 1 } as never), /rmsNorm: .*"epsilon"/],
    [
      'groups that do not divide',
      () => groupNorm(x, four, four, { numGroups: 3 }),
      /groupNorm: numGroups must divide the 4 channels/,
    ],
    [
      'a weight for other channels',
      () => batchNorm(x, three, null, null, null, { training: true }),
      /batchNorm: weight must have shape \[4\]/,
    ],
    ['evaluation without statistics', () => batchNorm(x, four, four, null, null), /batchNorm: evaluation needs runningMean/],
    [
      'one value per channel',
      () => batchNorm(leaf('one', { shape: [1, 4, 1, 1] }), null, null, null, null, { training: true }),
      /batchNorm: training needs more than one value per channel/,
    ],
    [
      'statistics that cannot be updated in place',
      () => batchNorm(x, null, null, leaf('m', { shape: [4], dtype: 'bf16' }), four),
      /batchNorm: runningMean must be f32 for x of f32/,
    ],
    ['a vector', () => batchNorm(four, null, null, null, null, { training: true }), /batchNorm: x must be \[N, C, ...\]/],
    ['a negative eps', () => layerNorm(x, three, null, { eps: -1 }), /layerNorm: eps must be a number from 0/],
  ];
  test.each(calls)('%s', (_, call, message) => expect(call).toThrow(message));
});
