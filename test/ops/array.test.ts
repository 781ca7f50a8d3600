/** What goldens do not show: makers of tensors, unique, multinomial, dtypes, lengths of rows, and what is refused. */
import { describe, expect, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import {
  AnnealError,
  arange,
  type DType,
  einsum,
  eye,
  linspace,
  manualSeed,
  scope,
  type Tensor,
  tensor,
  unique,
  zeros,
} from '../../lib/index.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';

const on = (values: readonly number[], shape: readonly number[] = [values.length], dtype: DType = 'f32') =>
  tensor([...values], { shape: [...shape], dtype, device: defaultDevice() });
const read = async (t: Tensor) => Array.from(await t.data(), Number);
const dtypes = ['f32', 'f16', 'bf16', 'i32', 'u8'] as const;
const drawn = (n: number, name: string, below = 9): number[] => {
  const stream = new PhiloxStream(7, name);
  return Array.from({ length: n }, () => Math.floor(stream.uniform() * below));
};

describe('makers', () => {
  test('tensor copies views of shared memory', async () => {
    const shared = new Float32Array(new SharedArrayBuffer(16));
    shared.set([1, 2, 3, 4]);
    const x = tensor(shared.subarray(1), { device: defaultDevice() });
    shared.fill(9);
    expect([x.dtype, await read(x)]).toEqual(['f32', [2, 3, 4]]);
  });
  test('arange', async () => {
    expect(await read(arange(4))).toEqual([0, 1, 2, 3]);
    expect(await read(arange(2, 11, 3))).toEqual([2, 5, 8]);
    expect(await read(arange(3, -3, -2))).toEqual([3, 1, -1]);
    expect((await read(arange(1, 1))).length).toBe(0);
    expect(await read(arange(0, 1, 0.25))).toEqual([0, 0.25, 0.5, 0.75]);
    expect([arange(4).dtype, arange(0, 1, 0.5).dtype, arange(0, 3, 1, { dtype: 'bf16' }).dtype]).toEqual(['i32', 'f32', 'bf16']);
  });
  test('linspace', async () => {
    expect(await read(linspace(-1, 1, 5))).toEqual([-1, -0.5, 0, 0.5, 1]);
    expect(await read(linspace(3, 9, 1))).toEqual([3]);
    expect((await read(linspace(0, 1, 0))).length).toBe(0);
    const many = await read(linspace(0.1, 0.7, 1000));
    expect([many[0], many[999]]).toEqual([Math.fround(0.1), Math.fround(0.7)]);
  });
  test.each(['f32', 'f16', 'i32', 'bool'] as const)('eye of %s', async (dtype) => {
    for (const [n, m] of [
      [3, 3],
      [2, 4],
      [4, 2],
      [1, 1],
      [0, 3],
      [33, 33],
    ] as const)
      expect(await read(eye(n, m, { dtype }))).toEqual(Array.from({ length: n * m }, (_, i) => +(Math.floor(i / m) === i % m)));
    expect(eye(2, 2, { requiresGrad: dtype === 'f32' }).requiresGrad).toBe(dtype === 'f32');
  });
});

describe.each(dtypes)('%s', (dtype) => {
  const whole = dtype === 'i32' || dtype === 'u8';
  test.each([0, 1, 7, 33, 129, 1000])('cumsum, sort and argsort of rows of %i', (n) =>
    scope.run(async () => {
      const rows = [drawn(n, 'a', 3), drawn(n, 'b', 3)];
      const x = on(rows.flat(), [2, n], dtype);
      let [sums, products] = [[] as number[], [] as number[]];
      for (const row of rows) {
        let s = 0;
        sums = sums.concat(row.map((v) => (s += v)));
        products = products.concat(row.map((_, i) => +!row.slice(0, i + 1).includes(0)));
      }
      const made = x.cumsum();
      expect(made.dtype).toBe(whole ? 'i32' : dtype);
      // 16-bit floats: the exact sum, rounded once
      expect(await read(made)).toEqual(whole || dtype === 'f32' ? sums : await read(on(sums, [2, n], dtype)));
      expect(await read(x.minimum(1).cumprod())).toEqual(products);
      const order = (row: number[], sign: number) =>
        row.map((_, i) => i).sort((i, j) => sign * ((row[i] as number) - (row[j] as number)) || i - j);
      for (const descending of [false, true]) {
        const { values, indices } = x.sort({ descending });
        const expected = rows.map((row) => order(row, descending ? -1 : 1));
        expect(await read(indices)).toEqual(expected.flat());
        expect(await read(values)).toEqual(rows.flatMap((row, r) => (expected[r] as number[]).map((i) => row[i])));
      }
    }),
  );
  test('unique', () =>
    scope.run(async () => {
      const data = [3, 1, 3, 2, 1, 3];
      const { values, inverse, counts } = await unique(on(data, [2, 3], dtype));
      expect([values.dtype, await read(values)]).toEqual([dtype, [1, 2, 3]]);
      expect([inverse.shape, await read(inverse)]).toEqual([
        [2, 3],
        [2, 0, 2, 1, 0, 2],
      ]);
      expect(await read(counts)).toEqual([2, 1, 3]);
      expect((await unique(on([], [0], dtype))).values.shape).toEqual([0]);
      // numpy.unique(x, axis=..., return_inverse, return_counts)
      const x = on([1, 2, 1, 0, 1, 0, 1, 2, 1], [3, 3], dtype);
      const rows = await x.unique({ axis: 0 });
      expect([rows.values.dtype, rows.values.shape, await read(rows.values)]).toEqual([dtype, [2, 3], [0, 1, 0, 1, 2, 1]]);
      expect([await read(rows.inverse), await read(rows.counts)]).toEqual([
        [1, 0, 1],
        [1, 2],
      ]);
      const columns = await x.unique({ axis: -1 });
      expect([columns.values.shape, await read(columns.values)]).toEqual([
        [3, 2],
        [1, 2, 0, 1, 1, 2],
      ]);
      expect([await read(columns.inverse), await read(columns.counts)]).toEqual([
        [0, 1, 0],
        [2, 1],
      ]);
    }));
  test('moves', () =>
    scope.run(async () => {
      const x = on([1, 2, 3, 4, 5, 6], [2, 3], dtype);
      const all: [Tensor, number[]][] = [
        [x.tril(), [1, 0, 0, 4, 5, 0]],
        [x.triu(1), [0, 2, 3, 0, 0, 6]],
        [x.roll(1, { axis: 1 }), [3, 1, 2, 6, 4, 5]],
        [x.roll(-2), [3, 4, 5, 6, 1, 2]],
        [x.repeat([1, 2]), [1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]],
        [x.tile([2, 1]), [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]],
        [x.repeatInterleave([2, 0, 1], { axis: 1 }), [1, 1, 3, 4, 4, 6]],
        [on([1, 2], [2], dtype).outer(on([3, 4, 5], [3], dtype)), [3, 4, 5, 6, 8, 10]],
      ];
      for (const [t, expected] of all) expect([t.dtype, await read(t)]).toEqual([dtype, expected]);
    }));
  test('truth over axes', () =>
    scope.run(async () => {
      const x = on([1, 0, 2, 0, 0, 0, 3, 4, 5], [3, 3], dtype);
      expect(await read(x.any({ axis: 1 }))).toEqual([1, 0, 1]);
      expect(await read(x.all({ axis: 1, keepDims: true }))).toEqual([0, 0, 1]);
      expect(await read(x.countNonzero({ axis: 0 }))).toEqual([2, 1, 2]);
      expect([x.any().dtype, x.countNonzero().dtype]).toEqual(['bool', 'i32']);
      expect(await read(x.logicalXor(1))).toEqual([0, 1, 0, 1, 1, 1, 0, 0, 0]);
      expect(await read(x.isfinite())).toEqual(new Array(9).fill(1));
      expect(await read(x.isinf().logicalOr(x.isnan()))).toEqual(new Array(9).fill(0));
    }));
});

test('bits of bools', async () => {
  const [a, b] = [on([0, 0, 1, 1], [4], 'bool'), on([0, 1, 0, 1], [4], 'bool')];
  expect(await read(a.bitwiseAnd(b))).toEqual([0, 0, 0, 1]);
  expect(await read(a.bitwiseOr(b))).toEqual([0, 1, 1, 1]);
  expect(await read(a.bitwiseXor(b))).toEqual([0, 1, 1, 0]);
  expect(await read(a.bitwiseNot())).toEqual([1, 1, 0, 0]);
});
test('unique: NaN differs from NaN and stands last', async () => {
  const { values, counts } = await unique(on([Number.NaN, 1, Number.NaN, -Infinity, Infinity, 1]));
  expect(await read(values)).toEqual([-Infinity, 1, Infinity, Number.NaN, Number.NaN]);
  expect(await read(counts)).toEqual([1, 2, 1, 1, 1]);
});
test('the least i32 divided by -1 wraps, and by 0 is 0', async () => {
  const x = on([-(2 ** 31), 7, -7], [3], 'i32');
  expect(await read(x.floorDivide(-1))).toEqual([-(2 ** 31), -7, 7]);
  expect(await read(x.remainder(-1))).toEqual([0, 0, 0]);
  for (const op of ['floorDivide', 'remainder', 'fmod'] as const) expect(await read(x[op](0))).toEqual([0, 0, 0]);
});
test('oneHot', async () => {
  const hot = anneal.oneHot(on([2, 0], [2], 'i32'), 3);
  expect([hot.dtype, hot.shape, await read(hot)]).toEqual(['i32', [2, 3], [0, 0, 1, 1, 0, 0]]);
  await expect(anneal.oneHot(on([3], [1], 'i32'), 3).data()).rejects.toThrow(/index 3 is outside/);
});

describe('multinomial', () => {
  test('draws by weight, repeats by seed, and never what has none', async () => {
    const weights = [1, 0, 3, 6];
    const draw = async () => {
      manualSeed(11);
      return read(on(weights).multinomial(2000, { replacement: true }));
    };
    const first = await draw();
    expect(await draw()).toEqual(first);
    weights.forEach((w, k) => {
      const share = first.filter((v) => v === k).length / first.length;
      // four standard deviations
      expect(Math.abs(share - w / 10)).toBeLessThanOrEqual(4 * Math.sqrt(((w / 10) * (1 - w / 10)) / first.length));
    });
  });
  test('without replacement each once; rows of their own', async () => {
    manualSeed(3);
    const drawn = on([1, 2, 3, 0, 0, 5, 1, 1], [2, 4]).multinomial(3);
    expect([drawn.dtype, drawn.shape]).toEqual(['i32', [2, 3]]);
    const v = await read(drawn);
    expect(v.slice(0, 3).sort()).toEqual([0, 1, 2]);
    expect(v.slice(3).sort()).toEqual([1, 2, 3]);
    let first = 0;
    for (let i = 0; i < 300; i++) first += +((await read(on([1, 3]).multinomial(2)))[0] === 0);
    expect(Math.abs(first / 300 - 0.25)).toBeLessThan(4 * Math.sqrt((0.25 * 0.75) / 300));
  });
});

describe('refused', () => {
  const x = () => zeros([2, 3], { device: defaultDevice() });
  const i32 = () => on([1, 2], [2], 'i32');
  test.each<[string, () => unknown, RegExp]>([
    ['einsum of a letter that no operand has', () => einsum('ij->k', x()), /'k' of the result stands in no operand/],
    ['einsum of too few operands', () => einsum('ij,jk', x()), /names 2 operands, got 1/],
    ['einsum of another rank', () => einsum('ijk', x()), /'ijk' names 3 dimensions, operand 0 has 2/],
    ['einsum of sizes that differ', () => einsum('ij,ij', x(), x().reshape([3, 2])), /'i' is 2 in one place and 3/],
    ['einsum of strange signs', () => einsum('i*,j', x(), x()), /an equation is letters/],
    ['einsum with a dimension twice', () => einsum('ij->ii', x()), /stands twice in the result/],
    ['einsum with dots twice', () => einsum('...i...', x()), /may stand once/],
    ['a diagonal of no square', () => einsum('ii', x()), /'i' is 2 in one place and 3/],
    ['roll by two without axes', () => x().roll([1, 2]), /without axes/],
    ['roll by a fraction', () => x().roll(0.5), /whole numbers/],
    ['tril of a row', () => on([1]).tril(), /two dimensions/],
    ['repeat of too few', () => x().repeat([2]), /1 repeats for \[2, 3\]/],
    ['repeat by less than nothing', () => x().repeat([1, -1]), />= 0/],
    ['repeatInterleave of another length', () => x().repeatInterleave([1], { axis: 1 }), /1 repeats for dimension 1/],
    ['outer of a matrix', () => x().outer(on([1])), /one dimension/],
    [
      'interpolate of nothing said',
      () => zeros([1, 1, 2, 2], { device: defaultDevice() }).interpolate({}),
      /size or scaleFactor/,
    ],
    [
      'interpolate by a mode',
      () => zeros([1, 1, 2], { device: defaultDevice() }).interpolate({ size: 4, mode: 'bilinear' }),
      /'nearest' or 'linear'/,
    ],
    [
      'interpolate to nothing',
      () => zeros([1, 1, 2, 2], { device: defaultDevice() }).interpolate({ scaleFactor: 0.1 }),
      /at least 1/,
    ],
    [
      'interpolate corners of nearest',
      () => zeros([1, 1, 2, 2], { device: defaultDevice() }).interpolate({ size: 4, alignCorners: true }),
      /not for mode 'nearest'/,
    ],
    ['bits of floats', () => x().bitwiseAnd(1), /whole numbers or bools, got f32/],
    ['the angle of whole numbers', () => i32().atan2(i32()), /must be a float tensor, got i32/],
    ['the remainder of bools', () => on([1], [1], 'bool').remainder(on([1], [1], 'bool')), /bool is not for arithmetic/],
    ['multinomial of too many', () => x().multinomial(4), /from 1 to 3/],
    ['linspace of whole numbers', () => linspace(0, 1, 3, { dtype: 'i32' }), /use arange/],
    ['arange by 0', () => arange(0, 3, 0), /step must not be 0/],
    ['arange that does not fit', () => arange(-1, 3, 1, { dtype: 'u8' }), /-1/],
    ['norm of whole numbers', () => i32().norm(), /must be a float/],
    ['a misspelled option', () => x().norm({ dim: 1 } as never), /dim/],
  ])('%s', (_, call, message) => {
    expect(call).toThrow(AnnealError);
    expect(call).toThrow(message);
  });
});
