import { describe, expect, test } from 'vitest';
import '../../lib/ops/create.ts';
import '../../lib/ops/unary.ts';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { native, synchronize } from '../../lib/native/run.ts';
import { add, mul } from '../../lib/ops/binary.ts';
import { cast, toFormat } from '../../lib/ops/define.ts';
import { embedding } from '../../lib/ops/embedding.ts';
import { broadcastTo, concat, flip, narrow, pad, permute, split, stack, transpose } from '../../lib/ops/index.ts';
import { gather, topK, where } from '../../lib/ops/select.ts';
import { bind } from '../../lib/tensor/context.ts';
import { fromHost, tensor } from '../../lib/tensor/create.ts';
import { type DType, dtypes } from '../../lib/tensor/dtype.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
/** Whole numbers that every dtype holds, or fractions for gradients. */
function place(shape: readonly number[], dtype: DType = 'f32', name = 'x'): Tensor {
  const random = new PhiloxStream(5, name);
  const whole = dtype !== 'f64' && dtype !== 'f32';
  const data = Float64Array.from({ length: sizeOf(shape) }, () =>
    whole ? Math.floor(random.uniform() * 100) : random.uniform() - 0.5,
  );
  return cast(fromHost(data, shape, 'f64'), dtype).detach();
}
function leaf(shape: readonly number[], name?: string, dtype: DType = 'f64'): Tensor {
  const t = place(shape, dtype, name);
  t.requiresGrad = true;
  return t;
}
const ints = (values: number[], shape: readonly number[] = [values.length]) => fromHost(Int32Array.from(values), shape, 'i32');
const list = async (t: Tensor): Promise<number[]> => Array.from(await t.data());

/** The element of row-major `data` at an index. */
function at(data: ArrayLike<number>, shape: readonly number[], index: readonly number[]): number {
  return data[index.reduce((o, k, d) => o * (shape[d] as number) + k, 0)] as number;
}
/** What an op should give: each output element from its index. */
function built(shape: readonly number[], element: (index: number[]) => number): number[] {
  return Array.from({ length: sizeOf(shape) }, (_, i) => {
    const index = new Array<number>(shape.length);
    let rest = i;
    for (let d = shape.length - 1; d >= 0; d--) {
      index[d] = rest % (shape[d] as number);
      rest = Math.floor(rest / (shape[d] as number));
    }
    return element(index);
  });
}

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

describe('where, gather, topK', () => {
  test('where broadcasts all three, in every dtype, and takes numbers', async () => {
    for (const dtype of dtypes) {
      const c = tensor([[true], [false], [true]]);
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
        const index = ints(built(shape, pick), shape);
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
    const { values, indices } = topK(tensor([1, NaN, 3, NaN, -Infinity, Infinity]), 4);
    expect([await list(values), await list(indices)]).toEqual([
      [NaN, NaN, Infinity, 3],
      [1, 3, 5, 2],
    ]);
    expect(await list(topK(tensor([1, NaN, 3, NaN]), 3, { largest: false }).indices)).toEqual([0, 2, 1]);
    expect(await list(topK(tensor([3, 9, 9, 1], { dtype: 'i32' }), 2).indices)).toEqual([1, 2]);
  });
});

describe('gradients', () => {
  const cases: { [name: string]: [(...x: Tensor[]) => Tensor | Tensor[], number[][]] } = {
    broadcastTo: [(x) => broadcastTo(x as Tensor, [2, 3, 4]), [[3, 1]]],
    permute: [(x) => permute(x as Tensor, [2, 0, 1]), [[2, 3, 5]]],
    transpose: [(x) => transpose(x as Tensor), [[3, 5]]],
    flip: [(x) => flip(x as Tensor, 1), [[3, 5]]],
    narrow: [(x) => narrow(x as Tensor, 1, 1, 2), [[3, 5]]],
    'narrow, a view': [(x) => narrow(x as Tensor, 0, 1, 2), [[3, 5]]],
    'narrow twice': [(x) => add(narrow(x as Tensor, 1, 0, 3), narrow(x as Tensor, 1, 2, 3)), [[3, 5]]],
    split: [(x) => split(x as Tensor, [1, 0, 4], { axis: 1 }), [[3, 5]]],
    'split, some parts': [(x) => mul(split(x as Tensor, [2, 3], { axis: 1 })[1] as Tensor, 2), [[3, 5]]],
    'split, all parts at once': [
      (x) => {
        const [a, b] = split(x as Tensor, 2, { axis: 1 }) as [Tensor, Tensor];
        return mul(a, b);
      },
      [[3, 4]],
    ],
    concat: [
      (a, b) => concat([a as Tensor, b as Tensor], { axis: 1 }),
      [
        [3, 2],
        [3, 4],
      ],
    ],
    'concat, one twice': [
      (a, b) => concat([a as Tensor, b as Tensor, a as Tensor]),
      [
        [3, 2],
        [1, 2],
      ],
    ],
    stack: [
      (a, b) => stack([a as Tensor, b as Tensor], { axis: 1 }),
      [
        [3, 2],
        [3, 2],
      ],
    ],
    pad: [
      (x) =>
        pad(
          x as Tensor,
          [
            [1, 0],
            [2, 3],
          ],
          { value: 7 },
        ),
      [[3, 2]],
    ],
    'pad, used twice': [(x) => add(pad(x as Tensor, [[1, 0]]), pad(x as Tensor, [[0, 1]])), [[5]]],
    where: [(a, b) => where(tensor([[true], [false], [true]]), a as Tensor, b as Tensor), [[4], [3, 1]]],
    'where with a number': [(a) => where(tensor([true, false, true]), 2, a as Tensor), [[3]]],
    gather: [(x) => gather(x as Tensor, ints([0, 3, 3, 4, 1, 1, 1, 0, 2], [3, 3])), [[3, 5]]],
    'gather along 0': [(x) => gather(x as Tensor, ints([0, 2, 2, 1], [2, 2]), { axis: 0 }), [[3, 2]]],
    'gather twice': [(x) => add(gather(x as Tensor, ints([0, 2])), gather(x as Tensor, ints([2, 2]))), [[3]]],
    topK: [(x) => topK(x as Tensor, 2, { axis: 0 }).values, [[5, 3]]],
    embedding: [(w) => embedding(ints([0, 2, 2, 1, 2, 0], [2, 3]), w as Tensor), [[4, 5]]],
    'embedding with padding': [(w) => embedding(ints([0, 3, 2, 3]), w as Tensor, { paddingIdx: -1 }), [[4, 5]]],
    'embedding, tied': [(w) => add(embedding(ints([0, 1, 1]), w as Tensor), embedding(ints([1, 1, 3]), w as Tensor)), [[4, 2]]],
  };
  for (const [name, [fn, shapes]] of Object.entries(cases))
    test(name, async () => {
      // A padded row has no gradient by rule, which differences do not know.
      const inputs = shapes.map((s, i) => leaf(s, `${name}${i}`));
      if (name === 'embedding with padding') {
        scope(() => (fn(...inputs) as Tensor).backward(broadcastTo(tensor(1, { dtype: 'f64' }), [4, 5])));
        expect(await list(inputs[0]?.grad as Tensor)).toEqual([
          ...Array(5).fill(1),
          ...Array(5).fill(0),
          ...Array(5).fill(1),
          ...Array(5).fill(0),
        ]);
      } else expect(await gradcheck(fn, inputs)).toBeLessThan(1e-6);
    });
});

describe('embedding', () => {
  const run = async (w: Tensor, index: Tensor, g: Tensor, times = 1) => {
    w.grad = null;
    for (let i = 0; i < times; i++) scope(() => embedding(index, w).backward(g));
    return (await (w.grad as Tensor | null)?.data()) as Float32Array;
  };
  test('the gradient adds to one that waits, and is the same for any number of threads', async () => {
    for (const [v, d, n] of [
      [65, 128, 768],
      [1000, 33, 129],
      [3, 7, 1000],
      [50, 384, 300],
    ] as const) {
      const w = leaf([v, d], 'w', 'f32');
      const index = cast(
        cast(
          place([n], 'f32', 'i')
            .mul(v)
            .add(v / 2),
          'i32',
        ),
        'i32',
      );
      const g = place([n, d], 'f32', 'g');
      const before = native().threads();
      native().threads(1);
      const one = await run(w, index, g);
      native().threads(Math.max(2, before));
      const more = await run(w, index, g);
      expect(Buffer.compare(Buffer.from(one.buffer), Buffer.from(more.buffer))).toBe(0);
      native().threads(before);
      const twice = await run(w, index, g, 2);
      for (let i = 0; i < one.length; i += 17) expect(twice[i]).toBeCloseTo(2 * (one[i] as number), 4);
    }
  });
  test('is rounded once to the policy dtype; the gradient stays f32', async () => {
    const w = leaf([5, 8], 'w', 'f32');
    const y = bind({ precision: 'bf16' }, () => embedding(ints([4, 0]), w));
    expect(y.dtype).toBe('bf16');
    expect(await list(y)).toEqual(await list(cast(embedding(ints([4, 0]), w), 'bf16')));
    y.backward(cast(place([2, 8]), 'bf16'));
    expect(w.grad?.dtype).toBe('f32');
  });
  test('a 16-bit weight gets a 16-bit gradient, summed in f32', async () => {
    const w = leaf([2, 4], 'w', 'bf16');
    scope(() =>
      embedding(ints(new Array(1000).fill(1)), w).backward(
        cast(fromHost(new Float32Array(4000).fill(1), [1000, 4], 'f32'), 'bf16'),
      ),
    );
    expect(w.grad?.dtype).toBe('bf16');
    expect(await list(w.grad as Tensor)).toEqual([0, 0, 0, 0, 1000, 1000, 1000, 1000]);
  });
  test('an index outside the weight is a DataError at the next await', async () => {
    const y = embedding(ints([1, 70]), place([65, 2]));
    await expect(y.data()).rejects.toThrow(/embedding.*index 70 is outside \[0, 65\) at position 1/);
    gather(place([3]), ints([-1]));
    await expect(synchronize()).rejects.toThrow(/index -1 is outside \[0, 3\)/);
  });
});

describe('bad input', () => {
  const x = () => place([3, 5]);
  const cases: [string, () => unknown, RegExp][] = [
    ['permute with too few axes', () => permute(x(), [0]), /each of the 2 dimensions of \[3, 5\] once/],
    ['permute with an axis twice', () => permute(x(), [1, 1]), /axis 1 is given twice/],
    ['transpose of a scalar', () => transpose(tensor(1)), /axis -2 does not exist/],
    ['broadcastTo a smaller shape', () => broadcastTo(x(), [5]), /\[3, 5\] does not repeat to \[5\]/],
    ['broadcastTo another size', () => broadcastTo(x(), [3, 6]), /5 on one side and 6/],
    ['narrow outside', () => narrow(x(), 1, 3, 3), /3 elements from 3 do not lie within dimension 1 of \[3, 5\]/],
    ['split that does not add up', () => split(x(), [2, 2], { axis: 1 }), /\[2,2\] do not add up to 5/],
    ['split by 0', () => split(x(), 0), /above 0, got 0/],
    ['concat of nothing', () => concat([]), /at least one tensor/],
    ['concat of another width', () => concat([x(), place([3, 4])]), /tensors\[1\] \[3, 4\] does not fit \[3, 5\]/],
    ['concat with a misspelled option', () => concat([x()], { axes: 1 } as never), /"axes" should be "axis"/],
    ['stack of two shapes', () => stack([x(), place([5, 3])]), /tensors\[1\] \[5, 3\]/],
    ['pad with too few pairs', () => pad(x(), [[1, 1]]), /one \[before, after\] per dimension/],
    [
      'pad with a negative width',
      () =>
        pad(x(), [
          [0, 0],
          [-1, 0],
        ]),
      /whole numbers >= 0/,
    ],
    ['pad of integers with a fraction', () => pad(place([2], 'i32'), [[1, 1]], { value: 0.5 }), /0.5 is not a value of i32/],
    ['where on numbers', () => where(x(), 1, 0), /condition must be bool, got f32/],
    ['where of shapes that do not broadcast', () => where(tensor([true, false]), x(), 0), /cannot broadcast/],
    ['gather with float indices', () => gather(x(), x()), /index must be i32, got f32/],
    ['gather with another shape', () => gather(x(), ints([0])), /must have the shape of x \[3, 5\] but along axis 1/],
    ['topK of too many', () => topK(x(), 6), /from 0 to 5/],
    ['embedding of floats', () => embedding(x(), x()), /indices must be i32, got f32/],
    ['embedding in a vector', () => embedding(ints([0]), place([5])), /weight must be \[rows, width\]/],
    ['embedding with padding outside', () => embedding(ints([0]), x(), { paddingIdx: 3 }), /paddingIdx 3 is not a row/],
  ];
  for (const [name, call, message] of cases) test(name, () => expect(call).toThrow(message));
});
