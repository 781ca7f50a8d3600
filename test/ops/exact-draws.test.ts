/**
 * Dropped elements of whole numbers, and tosses: values are exact, and which are kept is told by the words that lib/tensor/philox.ts gives. Elements begin at each
 * place in a block of four words, in whole packs and in parts of them.
 */
import { describe, expect, test } from 'vitest';
import { bernoulli, dropout, fusedBias, narrow, scope, type Tensor } from '../../lib/index.ts';
import { bind, type Rng } from '../../lib/tensor/context.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { expectExact, floats, whole } from '../helpers/exact.ts';
import { placed, sizeOf } from '../helpers/place.ts';

const step = (rowOffset: number): Rng => ({ seed: 11, attempt: 2, rowOffset, rows: 0, calls: new Map(), inStep: true });
/** 2 where kept, else 0. */
function mask(path: string, n: number, first: number): number[] {
  const stream = new PhiloxStream(11, path, 2);
  return Array.from({ length: n }, (_, i) => (stream.wordAt(first + i) >>> 0 >= 2 ** 31 ? 2 : 0));
}
const shapes: readonly (readonly number[])[] = [
  [1],
  [5],
  [16],
  [41],
  [264],
  [4099],
  [3, 5],
  [17, 33],
  [40, 8],
  [2, 520],
  [9, 130],
];

describe.each(floats)('dropped, %s', (dtype) => {
  for (const activation of ['none', 'relu', 'gelu', 'geluTanh'] as const)
    test.each([0, 1, 2, 3, 6])(`behind a bias and ${activation}, from row %i on`, (row) =>
      scope.run(async () => {
        for (const shape of shapes)
          await scope.run(async () => {
            const [n, width] = [sizeOf(shape), shape[shape.length - 1] as number];
            const kept = mask('f', n, (row * n) / (shape[0] as number));
            const data = whole(n, 30, 'x').map((v) => (v > 0 ? v + 60 : v - 60)); // where activations are 0 or their argument
            const [bias, residual, g] = [whole(width, 20, 'b'), whole(n, 3, 'r'), whole(n, 2, 'g')];
            const [x, b] = [placed(data, shape, dtype), placed(bias, [width], 'f32')];
            for (const t of [x, b]) t.requiresGrad = true;
            const options = { bias: b, activation, residual: placed(residual, shape, dtype), p: 0.5, path: 'f' };
            const y = bind({ rng: step(row) }, () => fusedBias(x, options));
            const h = data.map((v, i) => v + (bias[i % width] as number));
            const slope = h.map((v) => +(activation === 'none' || v > 0));
            const forward = h.map((v, i) => v * (slope[i] as number) * (kept[i] as number) + (residual[i] as number));
            await expectExact(y, forward, `[${shape}]`);
            y.backward(placed(g, shape, dtype));
            const dx = g.map((v, i) => v * (slope[i] as number) * (kept[i] as number));
            const db = bias.map(() => 0);
            for (const [i, d] of dx.entries()) db[i % width] = (db[i % width] as number) + d;
            await expectExact(x.grad as Tensor, dx, `dx of [${shape}]`);
            await expectExact(b.grad as Tensor, db, `db of [${shape}]`);
          });
      }),
    );
  test.each([0, 1, 2, 3, 6])('from row %i on, the gradient added to one before', (row) =>
    scope.run(async () => {
      for (const shape of shapes)
        await scope.run(async () => {
          const n = sizeOf(shape);
          const kept = mask('d', n, (row * n) / (shape[0] as number));
          const [data, g] = [whole(n, 60, 'x'), whole(n, 20, 'g')];
          const x = placed(data, shape, dtype);
          x.requiresGrad = true;
          const draw = () => bind({ rng: step(row) }, () => dropout(x, 0.5, { path: 'd' }));
          const y = draw();
          const times = (v: readonly number[]) => v.map((w, i) => w * (kept[i] as number));
          await expectExact(y, times(data), `[${shape}]`);
          y.add(draw()).backward(placed(g, shape, dtype));
          await expectExact(x.grad as Tensor, times(g.map((v) => 2 * v)), `gradient of [${shape}]`);
        });
    }),
  );
});

describe.each([...floats, 'i32', 'u8', 'bool'] as const)('tossed by a chance of their own, %s', (dtype) => {
  test.each([0, 1, 2, 3])('from element %i on', (row) =>
    scope.run(async () => {
      // Chances on a boundary of memory and behind it; every count of a thread's last elements.
      for (const shift of [0, 1])
        for (const n of [1, 5, 16, 17, 18, 19, 22, 23, 28, 29, 30, 31, 32, 1000, 4099])
          await scope.run(async () => {
            const chance = Array.from({ length: n + shift }, (_, i) => ((i * 37) % 101) / 128);
            const p = narrow(placed(chance, [n + shift], 'f32'), 0, shift, n).detach();
            const found = bind({ rng: step(row) }, () => bernoulli(p, { dtype }));
            const stream = new PhiloxStream(11, 'bernoulli', 2);
            const expected = chance.slice(shift).map((c, i) => +((stream.wordAt(row + i) >>> 8) * 2 ** -24 < c));
            expect(Array.from(await found.data(), Number), `${n}, shift ${shift}`).toEqual(expected);
          });
    }),
  );
});
