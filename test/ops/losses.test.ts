/** Losses beside loss.test.ts's: what they have in common, extremes, empty batches, wrong data. Values are in the goldens. */
import { describe, expect, test } from 'vitest';
import * as losses from '../../lib/ops/losses/index.ts';
import { logSoftmax } from '../../lib/ops/softmax.ts';
import { fromHost } from '../../lib/tensor/create.ts';
import type { FloatDType } from '../../lib/tensor/dtype.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { expectClose } from '../helpers/compare.ts';

const f32 = (values: readonly number[], shape: readonly number[] = [values.length], dtype: FloatDType = 'f32'): Tensor => {
  const t = fromHost(Float32Array.from(values), shape, 'f32').to(dtype).detach();
  t.requiresGrad = true;
  return t;
};
const i32 = (values: readonly number[], shape: readonly number[] = [values.length]) =>
  fromHost(Int32Array.from(values), shape, 'i32');
const wave = (n: number, scale = 1) => Array.from({ length: n }, (_, i) => scale * Math.sin(1 + i * 1.7));
const gradientOf = async (x: Tensor, loss: losses.Loss): Promise<number[]> => {
  loss.mean().backward();
  return Array.from(await (x.grad as Tensor).data());
};

/** Every loss of inputs [rows, 3]: what it is of. */
const calls: Record<string, (x: Tensor, y: Tensor, classes: Tensor, sides: Tensor) => losses.Loss> = {
  nll: (x, _, c) => losses.nll(x, c),
  focal: (x, _, c) => losses.focal(x, c),
  binaryFocal: (x, y) => losses.binaryFocal(x, y.detach()),
  hinge: (x, y) => losses.hinge(x, y.detach()),
  hingeEmbedding: (x, y) => losses.hingeEmbedding(x, y.detach()),
  dice: (x, y) => losses.dice(x, y.detach()),
  tripletMargin: (x, y) => losses.tripletMargin(x, y, y.mul(2)),
  contrastive: (x, y, _, s) => losses.contrastive(x, y, s),
  cosineEmbedding: (x, y, _, s) => losses.cosineEmbedding(x, y, s),
  smoothL1: (x, y) => losses.smoothL1(x, y),
  poissonNll: (x, y) => losses.poissonNll(x, y.detach()),
  gaussianNll: (x, y) => losses.gaussianNll(x, y.detach(), y.to('f32').square().add(0.1)),
};

describe.each(Object.keys(calls))('%s', (name) => {
  const call = calls[name] as (typeof calls)[string];
  test('of no rows: 0, and no gradient', () =>
    scope.run(async () => {
      const x = f32([], [0, 3]);
      const loss = call(x, f32([], [0, 3]), i32([]), i32([]));
      expect(await loss.mean().item()).toBe(0);
    }));
  test('of 16-bit inputs: an f32 sum, near that of the same numbers in f32', () =>
    scope.run(async () => {
      const classes = i32([0, 2, 1, 1]);
      const sides = i32([1, 0, 1, 0]);
      for (const dtype of ['bf16', 'f16'] as const) {
        const [x, y] = [f32(wave(12), [4, 3], dtype), f32(wave(12, 0.7), [4, 3], dtype)];
        const loss = call(x, y, classes, sides);
        expect(loss.terms[0]?.sum.dtype).toBe('f32');
        const wide = call(x.to('f32').detach(), y.to('f32').detach(), classes, sides);
        expect(await loss.mean().item()).toBeCloseTo(await wide.mean().item(), 5);
        loss.mean().backward();
        expect(x.grad?.dtype).toBe(dtype);
      }
    }));
});

describe('extremes', () => {
  test('focal and binaryFocal of certain logits are 0, or as large as they should be', () =>
    scope.run(async () => {
      const x = f32([1e4, -1e4, 0, 0, 1e4, 0], [2, 3]);
      const grad = await gradientOf(x, losses.focal(x, i32([0, 0])));
      expect(
        await losses
          .focal(x.detach(), i32([0, 0]))
          .sum()
          .item(),
      ).toBe(1e4);
      expect(grad.every(Number.isFinite)).toBe(true);
      const y = f32([1e4, -1e4, 1e4, -1e4]);
      const t = f32([1, 0, 0, 1]).detach();
      expect(await losses.binaryFocal(y.detach(), t, { alpha: null }).sum().item()).toBe(2e4);
      expect((await gradientOf(y, losses.binaryFocal(y, t))).every(Number.isFinite)).toBe(true);
    }));
  test('equal rows have a distance of 0 and a gradient that is none', () =>
    scope.run(async () => {
      const x = f32(wave(6), [2, 3]);
      expect(await gradientOf(x, losses.contrastive(x, x.detach(), i32([0, 0])))).toEqual(Array(6).fill(0));
      const z = f32([0, 0, 0], [1, 3]);
      expect(
        (await gradientOf(z, losses.cosineEmbedding(z, f32([1, 2, 3], [1, 3]).detach(), i32([1])))).every(Number.isFinite),
      ).toBe(true);
    }));
});

describe('nll', () => {
  test('behind logSoftmax is crossEntropy, counts and gradients too', () =>
    scope.run(async () => {
      const classes = i32([2, -100, 0, 1]);
      const [a, b] = [f32(wave(12, 3), [4, 3]), f32(wave(12, 3), [4, 3])];
      const weight = f32([0.5, 1, 2]).detach();
      const one = await gradientOf(a, losses.nll(logSoftmax(a), classes, { weight }));
      const two = await gradientOf(b, losses.crossEntropy(b, classes, { weight }));
      expectClose('gradient', { shape: [12], data: one }, { shape: [12], data: two }, 1e-6);
    }));
  test('a class that is none is an error in the data', async () => {
    const x = f32(wave(6), [2, 3]).detach();
    await expect(
      scope.run(() =>
        losses
          .nll(x, i32([0, 3]))
          .mean()
          .item(),
      ),
    ).rejects.toThrow(/index 3 is outside \[0, 3\)/);
  });
});

describe('ctc', () => {
  const logProbs = (t: number, n: number, c: number) => f32(wave(t * n * c, 2), [t, n, c]);
  test('labels that do not fit: infinite, or nothing with zeroInfinity; no gradient', () =>
    scope.run(async () => {
      for (const zeroInfinity of [false, true]) {
        const x = logProbs(2, 1, 3);
        const loss = losses.ctc(x.logSoftmax(), i32([1, 1], [1, 2]), { zeroInfinity });
        expect(await loss.mean().item()).toBe(zeroInfinity ? 0 : Number.POSITIVE_INFINITY);
        expect(await gradientOf(x, loss)).toEqual(Array(6).fill(0));
      }
    }));
  test('one list of labels, cut by their numbers, is the padded matrix', () =>
    scope.run(async () => {
      const x = logProbs(6, 3, 4).logSoftmax().detach();
      const matrix = losses.ctc(x, i32([1, 2, 3, 9, 1, 9], [3, 2]), { targetLengths: [2, 1, 1] });
      const list = losses.ctc(x, i32([1, 2, 3, 1]), { targetLengths: [2, 1, 1] });
      expect(await list.mean().item()).toBe(await matrix.mean().item());
    }));
  test('steps behind a row’s length do not count', () =>
    scope.run(async () => {
      const x = logProbs(5, 1, 3).logSoftmax().detach();
      const cut = losses.ctc(x, i32([2, 1], [1, 2]), { inputLengths: [3] });
      const short = losses.ctc(x.narrow(0, 0, 3), i32([2, 1], [1, 2]));
      expect(await cut.mean().item()).toBeCloseTo(await short.mean().item(), 5);
    }));
  test('no labels: the path of blanks', () =>
    scope.run(async () => {
      const x = logProbs(3, 1, 2).logSoftmax().detach();
      const blanks = Array.from(await x.data()).filter((_, i) => i % 2 === 0);
      const loss = losses.ctc(x, i32([], [1, 0]));
      expect(await loss.mean().item()).toBeCloseTo(-blanks.reduce((a, b) => a + b, 0), 5);
    }));
});
