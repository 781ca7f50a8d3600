// Where elements go: permute, parts and wholes.
import { describe, expect, test } from 'vitest';
import '../../lib/ops/create.ts';
import '../../lib/ops/unary.ts';
import { toFormat } from '../../lib/ops/define.ts';
import { broadcastTo, concat, flip, narrow, pad, permute, split, stack, transpose } from '../../lib/ops/index.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { dtypes } from '../../lib/tensor/dtype.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { at, built, list, place } from '../helpers/place.ts';

describe('permute', () => {
  const cases: [shape: number[], axes: number[]][] = [
    [[7], [0]],
    [
      [33, 129],
      [1, 0],
    ],
    [
      [128, 256],
      [1, 0],
    ],
    [
      [1000, 7],
      [1, 0],
    ],
    [
      [2, 3, 33],
      [2, 0, 1],
    ],
    [
      [3, 17, 2, 65],
      [0, 2, 1, 3],
    ],
    [
      [3, 17, 2, 65],
      [0, 2, 3, 1],
    ],
    [
      [3, 17, 2, 65],
      [3, 1, 0, 2],
    ],
    [
      [2, 1, 3, 1, 2, 2, 1, 3],
      [7, 2, 5, 0, 1, 4, 3, 6],
    ],
    [
      [0, 3],
      [1, 0],
    ],
    [
      [64, 3, 64],
      [1, 2, 0],
    ],
    [[], []],
  ];
  for (const dtype of dtypes)
    test(`every element in its place, ${dtype}`, async () => {
      for (const [shape, axes] of cases) {
        const x = place(shape, dtype);
        const data = await x.data();
        const y = permute(x, axes);
        expect(y.shape).toEqual(axes.map((a) => shape[a]));
        const expected = built(y.shape, (i) => {
          const from = new Array<number>(i.length);
          for (const [k, a] of axes.entries()) from[a] = i[k] as number;
          return at(data, shape, from);
        });
        expect(await list(y), `${shape} by ${axes}`).toEqual(expected);
      }
    });
  test('transpose exchanges the last two by default', async () => {
    const x = place([2, 3, 5]);
    expect(await list(transpose(x))).toEqual(await list(permute(x, [0, 2, 1])));
    expect(await list(x.transpose(0, -1))).toEqual(await list(permute(x, [2, 1, 0])));
  });
  test('reads and writes channelsLast as it lies', async () => {
    const x = place([2, 3, 4, 5]);
    const last = toFormat(x, 'channelsLast');
    for (const f of [
      (t: Tensor) => permute(t, [0, 2, 3, 1]),
      (t: Tensor) => narrow(t, 1, 1, 2),
      (t: Tensor) => narrow(t, 0, 1, 1),
      (t: Tensor) => narrow(t, 2, 1, 3),
      (t: Tensor) =>
        pad(
          t,
          [
            [0, 0],
            [1, 0],
            [0, 2],
            [1, 1],
          ],
          { value: 3 },
        ),
      (t: Tensor) => flip(t, [1, 3]),
      (t: Tensor) => concat([t, t], { axis: 1 }),
      (t: Tensor) => concat([t, x], { axis: 2 }),
      (t: Tensor) => stack([t, t], { axis: 4 }),
      (t: Tensor) => broadcastTo(t, [3, 2, 3, 4, 5]),
    ])
      expect(await list(f(last)), f.toString()).toEqual(await list(f(x)));
    expect(narrow(last, 1, 1, 2).format).toBe('channelsLast');
    expect(concat([last, last], { axis: 1 }).format).toBe('channelsLast');
  });
});

describe('parts and wholes', () => {
  test('broadcastTo, flip, pad, in every dtype', async () => {
    for (const dtype of dtypes) {
      const x = place([3, 1, 5], dtype);
      const data = await x.data();
      expect(await list(broadcastTo(x, [2, 3, 4, 5]))).toEqual(
        built([2, 3, 4, 5], ([, b, , d]) => at(data, [3, 1, 5], [b, 0, d] as number[])),
      );
      expect(await list(flip(x))).toEqual([...data].reverse());
      expect(
        await list(
          pad(
            x,
            [
              [1, 0],
              [0, 1],
              [2, 0],
            ],
            { value: 1 },
          ),
        ),
      ).toEqual(
        built([4, 2, 7], ([a, b, c]) => {
          const inside = (a as number) >= 1 && b === 0 && (c as number) >= 2;
          return inside ? at(data, [3, 1, 5], [(a as number) - 1, 0, (c as number) - 2]) : 1;
        }),
      );
    }
  });
  test('split and concat undo each other', async () => {
    for (const shape of [[7], [6, 33], [4, 5, 129], [1, 9, 2]])
      for (let axis = 0; axis < shape.length; axis++) {
        const x = place(shape);
        const parts = split(x, 2, { axis });
        expect(parts.map((p) => p.shape[axis]).every((d, i) => d === 2 || i === parts.length - 1)).toBe(true);
        expect(await list(concat(parts, { axis }))).toEqual(await list(x));
      }
  });
  test('parts along the first dimension are views, others copies', () => {
    const x = place([6, 4]);
    expect(narrow(x, 0, 2, 3).storage).toBe(x.storage);
    expect(narrow(x, 1, 2, 2).storage).not.toBe(x.storage);
    expect(narrow(place([1, 6, 4]), 1, 2, 3).offset).toBe(32);
  });
  test('concat widens floats and refuses to mix them with integers', () => {
    expect(concat([place([2], 'bf16'), place([2])]).dtype).toBe('f32');
    expect(() => concat([place([2], 'i32'), place([2])])).toThrow(/cannot mix i32 with f32/);
  });
  test('narrow counts a negative start from the back', async () => {
    expect(await list(narrow(tensor([1, 2, 3, 4]), 0, -2, 2))).toEqual([3, 4]);
  });
  test('empty tensors', async () => {
    const none = place([0, 3]);
    expect(concat([none, none]).shape).toEqual([0, 3]);
    expect(split(none, 1)[0]?.shape).toEqual([0, 3]);
    expect(
      await list(
        pad(none, [
          [1, 0],
          [0, 0],
        ]),
      ),
    ).toEqual([0, 0, 0]);
    expect(broadcastTo(place([1, 0]), [4, 0]).shape).toEqual([4, 0]);
  });
});
