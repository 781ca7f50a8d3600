/** scatter, scatterAdd, takeAlongAxis, indexSelect, maskedFill against their definitions, in every dtype, and what they refuse. */
import { describe, expect, test } from 'vitest';
import { type DType, gradcheck, scope, type Tensor, tensor, zeros } from '../../lib/index.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { sizeOf } from '../../lib/tensor/shape.ts';

const on = (values: ArrayLike<number>, shape: readonly number[], dtype: DType = 'f32', device = defaultDevice()) =>
  tensor(Array.from(values), { shape: [...shape], dtype, device });
const read = async (t: Tensor) => Array.from(await t.data(), Number);
const whole = (n: number, below: number, name: string): number[] => {
  const stream = new PhiloxStream(5, name);
  return Array.from({ length: n }, () => Math.floor(stream.uniform() * below));
};

/** Calls `visit(place in x, place in index)` for each element of an index of `k` along the axis, in order. */
function places(shape: readonly number[], axis: number, k: number, index: number[], visit: (x: number, i: number) => void): void {
  const [outer, n, inner] = [sizeOf(shape.slice(0, axis)), shape[axis] as number, sizeOf(shape.slice(axis + 1))];
  for (let o = 0; o < outer; o++)
    for (let j = 0; j < k; j++)
      for (let c = 0; c < inner; c++) {
        const i = (o * k + j) * inner + c;
        visit((o * n + (index[i] as number)) * inner + c, i);
      }
}
const cases: [shape: number[], axis: number, k: number][] = [
  [[5], 0, 3],
  [[1], 0, 1],
  [[4, 7], 0, 9],
  [[4, 7], 1, 33],
  [[3, 5, 2], 1, 7],
  [[3, 0], 0, 2],
  [[3, 4], 1, 0],
];

describe.each(['f32', 'f16', 'bf16', 'i32', 'u8', 'bool'] as const)('%s', (dtype) => {
  const top = dtype === 'bool' ? 2 : 9;
  test.each(cases)('scatter and scatterAdd into %j along %i, %i places', (shape, axis, k) =>
    scope.run(async () => {
      const of = shape.map((d, i) => (i === axis ? k : d));
      const index = whole(sizeOf(of), shape[axis] as number, 'index');
      const [x, source] = [whole(sizeOf(shape), top, 'x'), whole(sizeOf(of), top, 'source')];
      const [sum, last, filled] = [[...x], [...x], [...x]];
      places(shape, axis, k, index, (a, i) => {
        sum[a] = (sum[a] as number) + (source[i] as number);
        last[a] = source[i] as number;
        filled[a] = 1;
      });
      const [tx, ti, ts] = [on(x, shape, dtype), on(index, of, 'i32'), on(source, of, dtype)];
      expect(await read(tx.scatter(ti, ts, { axis }))).toEqual(last);
      expect(await read(tx.scatter(ti, 1, { axis }))).toEqual(filled);
      if (dtype === 'f32' || dtype === 'f16' || dtype === 'bf16')
        expect(await read(tx.scatterAdd(ti, ts, { axis }))).toEqual(sum);
      expect(tx.scatter(ti, ts, { axis }).dtype).toBe(dtype);
    }),
  );
  test('takeAlongAxis, indexSelect, maskedFill', () =>
    scope.run(async () => {
      const values = whole(12, top, 'x');
      const x = on(values, [3, 4], dtype);
      const taken = x.takeAlongAxis(on([-1, 0, 2], [3, 1], 'i32'));
      expect([taken.shape, await read(taken)]).toEqual([
        [3, 1],
        [values[3], values[4], values[10]],
      ]);
      expect(await read(x.takeAlongAxis(on([2, -3], [2, 1], 'i32'), { axis: 0 }))).toEqual([
        ...values.slice(8),
        ...values.slice(0, 4),
      ]);
      for (const index of [[2, 0, -1], on([2, 0, -1], [3], 'i32')]) {
        const y = x.indexSelect(1, index as number[]);
        expect([y.shape, y.dtype]).toEqual([[3, 3], dtype]);
        expect(await read(y)).toEqual([0, 1, 2].flatMap((r) => [2, 0, 3].map((c) => values[r * 4 + c])));
      }
      const mask = tensor([true, false, false, true], { device: defaultDevice() });
      expect(await read(x.maskedFill(mask, 1))).toEqual(values.map((v, i) => (i % 4 === 0 || i % 4 === 3 ? 1 : v)));
    }));
});

test('gradients', () =>
  scope.run(async () => {
    const leaf = (n: number, shape: number[]) =>
      tensor(
        Array.from({ length: n }, (_, i) => Math.sin(i + n)),
        { shape, dtype: 'f64', requiresGrad: true, device: 'cpu' },
      );
    const index = tensor([0, 2, 2, 1, 1, 1], { shape: [2, 3], dtype: 'i32', device: 'cpu' });
    const mask = tensor([true, false, true], { device: 'cpu' });
    for (const op of [
      (x: Tensor, s: Tensor) => x.scatterAdd(index, s),
      (x: Tensor, s: Tensor) => x.scatter(index, s),
      (x: Tensor) => x.scatter(index, 0.5).mul(x),
      (x: Tensor) => x.takeAlongAxis(tensor([-1, 0, 1], { shape: [1, 3], dtype: 'i32', device: 'cpu' }), { axis: 1 }).exp(),
      (x: Tensor) => x.indexSelect(1, [2, 2, 0]).exp(),
      (x: Tensor) => x.maskedFill(mask, 3).exp(),
    ])
      expect(
        await gradcheck(
          op as (...t: Tensor[]) => Tensor,
          op.length === 2 ? [leaf(6, [2, 3]), leaf(6, [2, 3])] : [leaf(6, [2, 3])],
        ),
      ).toBeLessThan(1e-6);
  }));

describe('refused', () => {
  const x = () => zeros([2, 3], { device: defaultDevice() });
  const i = (values: number[], shape: number[]) => on(values, shape, 'i32');
  test.each<[string, () => unknown, RegExp]>([
    ['an index of floats', () => x().scatter(x(), x()), /index must be i32/],
    ['an index of another shape', () => x().scatterAdd(i([0], [1]), x()), /must have the shape of x/],
    ['a source of another shape', () => x().scatterAdd(i([0, 0], [2, 1]), x()), /source \[2, 3\] must have the shape of index/],
    ['a source of another dtype', () => x().scatter(i([0, 0], [2, 1]), i([0, 0], [2, 1])), /source is i32 and x is f32/],
    ['an axis beyond', () => x().scatter(i([0, 0], [2, 1]), 1, { axis: 2 }), /axis 2 does not exist/],
    ['whole numbers added', () => i([1], [1]).scatterAdd(i([0], [1]), i([1], [1])), /must be a float/],
    ['a value that does not fit', () => i([1], [1]).scatter(i([0], [1]), 0.5), /0.5/],
    ['takeAlongAxis of another rank', () => x().takeAlongAxis(i([0], [1])), /as many dimensions/],
    ['takeAlongAxis of another shape', () => x().takeAlongAxis(i([0, 0, 0], [3, 1])), /cannot broadcast/],
    ['indexSelect beyond', () => x().indexSelect(1, [3]), /index 3 is outside dimension 1/],
    ['indexSelect by a matrix', () => x().indexSelect(0, i([0], [1, 1])), /one dimension/],
    [
      'a mask of another shape',
      () => x().maskedFill(zeros([3, 1], { dtype: 'bool', device: defaultDevice() }), 1),
      /cannot broadcast|does not broadcast/,
    ],
    ['a mask of floats', () => x().maskedFill(x(), 1), /mask must be bool/],
  ])('%s', (_, call, message) => expect(call).toThrow(message));
  test('a place outside arrives at the await', async () => {
    await expect(
      x()
        .scatterAdd(i([0, 3], [2, 1]), x().narrow(1, 0, 1))
        .data(),
    ).rejects.toThrow(/outside/);
    await expect(
      x()
        .scatter(i([0, 3], [2, 1]), x().narrow(1, 0, 1))
        .data(),
    ).rejects.toThrow(/outside/);
    await expect(
      x()
        .takeAlongAxis(i([0, -4], [2, 1]))
        .data(),
    ).rejects.toThrow(/outside/);
  });
});
