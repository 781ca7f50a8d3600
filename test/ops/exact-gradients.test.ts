/**
 * What is added up by index, by column and by window, and what is filled: whole numbers, so that results are exact; widths of every count of elements
 * that a thread may get, windows whose places are beyond 8 bits, indices at either end. Against integer arithmetic, without tolerance.
 */
import { describe, expect, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import { embedding, fusedBias, gather, maxPool2d, scope, type Tensor } from '../../lib/index.ts';
import { nativeOp, run, toFormat, unwritten } from '../../lib/ops/define.ts';
import { bind } from '../../lib/tensor/context.ts';
import { drawn, expectExact, floats, whole } from '../helpers/exact.ts';
import { placed } from '../helpers/place.ts';

/** The sums of the columns of rows, added to `onto`, which is as wide. */
const columnSums = (values: readonly number[], onto: readonly number[]): number[] =>
  onto.map((sum, j) => values.reduce((all, v, i) => (i % onto.length === j ? all + v : all), sum));

// What is picked again backward is checked again: an index that only the gradient meets is told by its first place.
describe.each(floats)('an index out of range, %s', (dtype) => {
  test.each([
    ['a thread a column', 'gather.grad', 2, 5, 9, 40],
    ['sorted', 'gather.grad', 2, 9, 300, 3],
    ['sorted rows', 'embedding.grad', 1, 7, 300, 5],
  ] as const)('%s', async (_, name, outer, n, k, inner) => {
    const rows = name === 'embedding.grad';
    const count = outer * k * (rows ? 1 : inner);
    for (const [at, index] of [
      [0, n],
      [count - 1, -1],
      [Math.floor(count / 2), n],
      [7, -1],
    ] as const)
      await scope.run(async () => {
        const indices = Array.from({ length: count }, (_, i) => (i < at ? i % n : index));
        const g = placed(new Array(rows ? k * inner : count).fill(1), rows ? [k, inner] : [outer, k, inner], dtype);
        const dx = unwritten([outer * n * inner], 'f32', g.device);
        const attributes = rows ? [n, inner, -1, 0] : [outer, n, k, inner, 0];
        run(nativeOp(name), [g, placed(indices, [count], 'i32')], [dx], attributes);
        await expect(dx.data()).rejects.toThrow(`index ${index} is outside [0, ${n}) at position ${at}`);
      });
  });
});

describe.each(floats)('added up, %s', (dtype) => {
  // Every count of columns that a lane of embedding's gradient may get: 1 to 8, in blocks of 32 and of more threads.
  test.each([5, 31, 64, 70, 97, 129, 165, 200, 231, 255, 264, 500, 1001])('gradients of embedded rows of %i', (width) =>
    scope.run(async () => {
      const rows = 6;
      // Runs of one key from 1 to 20, so that they reach over a block's 8 sorted rows.
      const keys = [1, 1, 1, 4, 0, 5, 5, ...new Array<number>(20).fill(3), 1, 0, 5].map((k, i) => (i % 7 === 3 ? 3 : k));
      const g = whole(keys.length * width, 3, 'g');
      const weight = placed(new Array(rows * width).fill(0), [rows, width], 'f32');
      weight.requiresGrad = true;
      const index = placed(keys, [keys.length], 'i32');
      const seed = placed(g, [keys.length, width], dtype);
      const y = () => bind({ precision: dtype }, () => embedding(index, weight)); // of the policy's dtype, as is its gradient
      expect(y().dtype).toBe(dtype);
      y().add(y()).backward(seed);
      const expected = new Array<number>(rows * width).fill(0);
      keys.forEach((key, r) => {
        for (let j = 0; j < width; j++) (expected[key * width + j] as number) += 2 * (g[r * width + j] as number);
      });
      await expectExact(weight.grad as Tensor, expected, `width ${width}`);
    }),
  );
  test.each([
    [1, 5, 1, 1],
    [3, 7, 9, 5],
    [2, 6, 128, 40],
    [1, 4, 129, 260],
    [5, 3, 4, 300],
    [1, 9, 700, 1],
    [2, 9, 300, 3],
  ])('gradients of %i x %i, %i picked, by %i', (outer, n, k, inner) =>
    scope.run(async () => {
      const next = drawn('index');
      const index = Array.from({ length: outer * k * inner }, () => next(n));
      const g = whole(index.length, 3, 'g');
      const x = placed(new Array(outer * n * inner).fill(0), [outer, n, inner], dtype);
      x.requiresGrad = true;
      const picked = () => gather(x, placed(index, [outer, k, inner], 'i32'), { axis: 1 });
      picked().backward(placed(g, [outer, k, inner], dtype));
      const expected = new Array<number>(outer * n * inner).fill(0);
      index.forEach((at, e) => {
        const [o, i] = [Math.floor(e / k / inner), e % inner];
        (expected[(o * n + at) * inner + i] as number) += g[e] as number;
      });
      await expectExact(x.grad as Tensor, expected, 'gradient');
      if (dtype !== 'f32') return;
      x.grad = null;
      picked()
        .add(picked())
        .backward(placed(g, [outer, k, inner], dtype));
      await expectExact(
        x.grad as unknown as Tensor,
        expected.map((e) => 2 * e),
        'gradient, added',
      );
    }),
  );

  // Derivatives 0 and 1 alone: far from 0 every activation is 0 or its argument.
  test.each(['none', 'relu', 'gelu', 'geluTanh'] as const)('columns behind a bias, %s', (activation) =>
    scope.run(async () => {
      for (const [rows, width] of [
        [1, 3],
        [15, 8],
        [16, 40],
        [17, 33],
        [40, 64],
        [65, 130],
        [200, 264],
        [1100, 20],
        [1100, 17],
      ] as const)
        await scope.run(async () => {
          const [data, bias, g] = [
            whole(rows * width, 30, 'x').map((v) => (v > 0 ? v + 60 : v - 60)),
            whole(width, 20, 'b'),
            whole(rows * width, 2, 'g'),
          ];
          const x = placed(data, [rows, width], dtype);
          const b = placed(bias, [width], 'f32');
          const residual = placed(g, [rows, width], dtype);
          for (const t of [x, b]) t.requiresGrad = true;
          const y = () => fusedBias(x, { bias: b, activation, residual });
          const h = data.map((v, i) => v + (bias[i % width] as number));
          const passes = (v: number) => activation === 'none' || v > 0;
          await expectExact(
            y(),
            h.map((v, i) => (passes(v) ? v : 0) + (g[i] as number)),
            `[${rows}, ${width}]`,
          );
          y()
            .add(y())
            .backward(placed(g, [rows, width], dtype));
          const dx = h.map((v, i) => (passes(v) ? 2 * (g[i] as number) : 0));
          const db = columnSums(dx, new Array<number>(width).fill(0));
          await expectExact(x.grad as Tensor, dx, `dx of [${rows}, ${width}]`);
          await expectExact(b.grad as Tensor, db, `db of [${rows}, ${width}]`);
        });
    }),
  );

  // Chunks of rows of which a warp adds up 0 to 5.
  test('columns before a relu', () =>
    scope.run(async () => {
      const gradSum = nativeOp('relu.gradSum');
      for (const [rows, n] of [
        [1, 1],
        [9, 8],
        [33, 40],
        [100, 33],
        [300, 260],
        [1000, 17],
        [3000, 24],
        [6000, 5],
      ] as const)
        await scope.run(async () => {
          const [g, y, before] = [whole(rows * n, 3, 'g'), whole(rows * n, 1, 'y'), whole(n, 9, 'before')];
          const [masked, sum] = [unwritten([rows, n], dtype, anneal.defaultDevice()), placed(before, [n], 'f32')];
          run(gradSum, [placed(g, [rows, n], dtype), placed(y, [rows, n], dtype)], [masked, sum], [rows, n, 1]);
          const kept = g.map((v, i) => ((y[i] as number) > 0 ? v : 0));
          const sums = columnSums(kept, before);
          await expectExact(masked, kept, `[${rows}, ${n}]`);
          await expectExact(sum, sums, `sums of [${rows}, ${n}]`);
        });
    }));

  // Places in windows of more than 255 elements are i32.
  test.each([
    [1, 3, 17, 19, 17, 17, 1, 0],
    [2, 8, 21, 33, 16, 16, 5, 3],
    [1, 16, 34, 36, 17, 17, 17, 0],
    [2, 5, 40, 18, 20, 13, 6, 6],
  ])('largest of windows, [%i, %i, %i, %i] by %i x %i, stride %i, padding %i', (n, c, h, w, kh, kw, stride, padding) =>
    scope.run(async () => {
      // Ever larger down an image but for turns, so that the places are many, and some of equals.
      const next = drawn('pool');
      const data = Array.from({ length: n * c * h * w }, () => next(200) - 100);
      const x = placed(data, [n, c, h, w], dtype);
      x.requiresGrad = true;
      const [oh, ow] = [Math.floor((h + 2 * padding - kh) / stride) + 1, Math.floor((w + 2 * padding - kw) / stride) + 1];
      const [y, dx] = [[] as number[], new Array<number>(data.length).fill(0)];
      const g = whole(n * c * oh * ow, 3, 'g');
      for (let plane = 0; plane < n * c; plane++)
        for (let i = 0; i < oh; i++)
          for (let j = 0; j < ow; j++) {
            let best = -1;
            for (let p = Math.max(0, i * stride - padding); p < Math.min(h, i * stride - padding + kh); p++)
              for (let q = Math.max(0, j * stride - padding); q < Math.min(w, j * stride - padding + kw); q++) {
                const at = (plane * h + p) * w + q;
                if (best < 0 || (data[at] as number) > (data[best] as number)) best = at;
              }
            (dx[best] as number) += g[y.length] as number;
            y.push(data[best] as number);
          }
      const options = { kernelSize: [kh, kw] as const, stride, padding };
      const pooled = () => maxPool2d(toFormat(x, 'channelsLast'), options);
      const first = pooled();
      await expectExact(first, y, 'largest');
      first.backward(placed(g, [n, c, oh, ow], dtype));
      await expectExact(x.grad as Tensor, dx, 'gradient');
      x.grad = null;
      pooled()
        .add(pooled())
        .backward(placed(g, [n, c, oh, ow], dtype));
      await expectExact(
        x.grad as unknown as Tensor,
        dx.map((d) => 2 * d),
        'gradient, added',
      );
    }),
  );
});

/** Every number of elements that the last pack of 16 bytes may hold. */
describe.each(['f32', 'f16', 'bf16', 'i32', 'u8', 'bool'] as const)('filled, %s', (dtype) => {
  test('every count', () =>
    scope.run(async () => {
      for (let n = 32; n <= 48; n++) {
        const found = Array.from(await anneal.full([n], 1, { dtype }).data(), Number);
        expect([found.length, found.findIndex((v) => v !== 1)], `${n}`).toEqual([n, -1]);
        // Memory that is handed out again holds something else.
        expect(Array.from(await anneal.full([n], 0, { dtype }).data(), Number)).toEqual(new Array(n).fill(0));
      }
    }));
});
