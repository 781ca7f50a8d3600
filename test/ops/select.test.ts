// What is picked: where, gather, topK.
import { describe, expect, test } from 'vitest';
import '../../lib/ops/create.ts';
import '../../lib/ops/binary.ts';
import '../../lib/ops/unary.ts';
import { cast } from '../../lib/ops/define.ts';
import { gather, topK, where } from '../../lib/ops/select.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { dtypes } from '../../lib/tensor/dtype.ts';
import { deviceFor } from '../helpers/device.ts';
import { at, built, ints, list, place } from '../helpers/place.ts';

describe('where, gather, topK', () => {
  test('where broadcasts all three, in every dtype, and takes numbers', async () => {
    for (const dtype of dtypes) {
      const c = tensor([[true], [false], [true]], { device: deviceFor(dtype) });
      const [a, b] = [place([1000], dtype, 'a'), place([3, 1000], dtype, 'b')];
      const [da, db] = [await a.data(), await b.data()];
      expect(await list(where(c, a, b))).toEqual(
        built([3, 1000], ([i, j]) => (i === 1 ? db[1000 + (j as number)] : da[j as number]) as number),
      );
      expect(await list(where(c, 1, b))).toEqual(
        built([3, 1000], ([i, j]) => (i === 1 ? db[1000 + (j as number)] : 1) as number),
      );
    }
    expect(where(tensor([true]), 1, 0).dtype).toBe('f32');
    expect(await list(where(tensor([true, false]), tensor([NaN, NaN]), tensor([1, 2])))).toEqual([NaN, 2]);
  });
  test('gather along each axis, in every dtype', async () => {
    for (const dtype of dtypes) {
      const x = place([3, 5, 4], dtype);
      const data = await x.data();
      for (const axis of [0, 1, 2]) {
        const shape = [3, 5, 4].map((d, i) => (i === axis ? 7 : d));
        const pick = (i: number[]) => i.reduce((sum, k, d) => sum + k * (7 - 2 * d), 0) % ([3, 5, 4][axis] as number);
        const index = ints(built(shape, pick), shape).to(x.device);
        const expected = built(shape, (i) =>
          at(
            data,
            [3, 5, 4],
            i.map((k, d) => (d === axis ? pick(i) : k)),
          ),
        );
        expect(await list(gather(x, index, { axis }))).toEqual(expected);
      }
    }
  });
  test('topK against a sort: ties by index, NaN on top', async () => {
    for (const n of [1, 7, 33, 129, 1000])
      for (const largest of [true, false])
        for (const k of [0, 1, Math.ceil(n / 2), n]) {
          const x = cast(place([2, n], 'u8'), 'f32');
          const data = await x.data();
          const { values, indices } = topK(x, k, { largest });
          const expected = [0, 1].flatMap((r) =>
            Array.from({ length: n }, (_, i) => i)
              .sort((i, j) => (largest ? 1 : -1) * ((data[r * n + j] as number) - (data[r * n + i] as number)) || i - j)
              .slice(0, k),
          );
          expect(await list(indices)).toEqual(expected);
          expect(await list(values)).toEqual(expected.map((i, p) => data[(p >= k ? n : 0) + i]));
        }
  });
  // Above 1024 a GPU sorts all rows at once instead of ranking each with each.
  test.each(['f32', 'f16', 'bf16', 'i32', 'u8'] as const)('topK of many, %s: ties by index, rows apart', async (dtype) => {
    for (const [rows, n, k] of [
      [1, 1025, 1025],
      [300, 1100, 1025],
      [3, 2051, 2051],
    ] as const)
      for (const largest of [true, false]) {
        const x = cast(place([rows, n], 'u8').add(rows > 1 ? 0 : 3), dtype);
        const data = await x.data();
        const { values, indices } = topK(x, k, { largest });
        const expected = Array.from({ length: rows }, (_, r) =>
          Array.from({ length: n }, (_, i) => i)
            .sort((i, j) => (largest ? 1 : -1) * ((data[r * n + j] as number) - (data[r * n + i] as number)) || i - j)
            .slice(0, k),
        );
        const [v, at] = [await list(values), await list(indices)];
        const wrong = expected.flat().findIndex((i, p) => at[p] !== i || v[p] !== data[Math.floor(p / k) * n + i]);
        expect({ rows, n, k, largest, wrong }).toEqual({ rows, n, k, largest, wrong: -1 });
      }
  });
  test('topK: NaN and infinities', async () => {
    const { values, indices } = topK(tensor([1, NaN, 3, NaN, -Infinity, Infinity]), 4);
    expect([await list(values), await list(indices)]).toEqual([
      [NaN, NaN, Infinity, 3],
      [1, 3, 5, 2],
    ]);
    expect(await list(topK(tensor([1, NaN, 3, NaN]), 3, { largest: false }).indices)).toEqual([0, 2, 1]);
    expect(await list(topK(tensor([3, 9, 9, 1], { dtype: 'i32' }), 2).indices)).toEqual([1, 2]);
    const many = new Float32Array(1500).map((_, i) => [0, NaN, -Infinity, Infinity, -0][i % 5] as number);
    const sorted = await list(topK(tensor(many), 1500).values);
    expect(sorted.slice(0, 300).every(Number.isNaN)).toBe(true);
    expect([sorted[300], sorted[599], sorted[600], sorted[1199], sorted[1200]].map((x) => (x as number) + 0)).toEqual([
      ...[Infinity, Infinity, 0, 0, -Infinity],
    ]);
  });
});
