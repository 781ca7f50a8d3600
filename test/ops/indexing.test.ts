import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { AnnealError, type DType, type Index, noGrad, setAt, type Tensor, tensor, withAt, zeros } from '../../lib/index.ts';
import { defaultDevice, device } from '../../lib/tensor/device.ts';
import { scope } from '../../lib/tensor/scope.ts';
import { sizeOf } from '../../lib/tensor/shape.ts';

interface Case {
  shape: number[];
  index: (number | string | null | { list: Index } | { tensor: number[] })[];
  out: number[];
  values: number[];
  gradient: number[];
}
const cases = JSON.parse(readFileSync(new URL('../golden/indexing.json', import.meta.url), 'utf8')) as Case[];

const counting = (shape: number[], dtype: DType = 'f32'): Tensor =>
  tensor(
    Array.from({ length: sizeOf(shape) }, (_, i) => i),
    { shape, dtype, device: defaultDevice() },
  );
const indexOf = (given: Case['index']): Index[] =>
  given.map((i) => {
    if (i === null || typeof i !== 'object') return i;
    return 'list' in i ? i.list : tensor(i.tensor as never, { dtype: 'i32', device: defaultDevice() });
  });
const numbers = async (t: Tensor) => Array.from(await t.data(), Number);

describe('at equals NumPy', () => {
  test('there are 200 cases, of every kind', () => {
    expect(cases.length).toBe(200);
    const kinds = new Set(cases.flatMap((c) => c.index.map((i) => (i && typeof i === 'object' ? Object.keys(i)[0] : typeof i))));
    expect(kinds).toEqual(new Set(['number', 'string', 'object', 'list', 'tensor']));
  });
  test.each(cases.map((c, i) => [i, JSON.stringify(c.shape), JSON.stringify(c.index).slice(0, 60), c] as const))(
    '%i: %s at %s',
    (_, __, ___, c) =>
      scope.run(async () => {
        const x = counting(c.shape);
        x.requiresGrad = true;
        const y = x.at(...indexOf(c.index));
        expect(y.shape).toEqual(c.out);
        expect(await numbers(y)).toEqual(c.values);
        if (y.size === 0) return;
        y.backward(counting(c.out).add(1));
        expect(await numbers(x.grad as Tensor)).toEqual(c.gradient);
      }),
  );
  test.each(['f16', 'bf16', 'i32', 'u8', 'bool'] as const)('%s', (dtype) =>
    scope.run(async () => {
      for (const c of cases.slice(0, 60)) {
        const values = c.values.map((v) => (dtype === 'bool' ? +(v !== 0) : v));
        if (sizeOf(c.shape) <= 256) expect(await numbers(counting(c.shape, dtype).at(...indexOf(c.index)))).toEqual(values);
      }
    }),
  );
});

describe('writing', () => {
  test.each(cases.map((c, i) => [i, JSON.stringify(c.index), c] as const))('%i: setAt and withAt %s', (_, __, c) =>
    scope.run(async () => {
      const expected = Array.from({ length: sizeOf(c.shape) }, (_, i) => i);
      c.values.forEach((at, i) => {
        expected[at] = -1 - i;
      });
      const value = counting(c.out).neg().add(-1);
      const x = counting(c.shape);
      const copy = withAt(x, value, ...indexOf(c.index));
      expect(await numbers(x)).toEqual(await numbers(counting(c.shape)));
      expect(await numbers(copy)).toEqual(expected);
      expect(setAt(x, value, ...indexOf(c.index))).toBe(x);
      expect(await numbers(x)).toEqual(expected);
    }),
  );
  test.each(['f16', 'bf16', 'i32', 'u8', 'bool'] as const)('by lists, %s', (dtype) =>
    scope.run(async () => {
      const x = counting([2, 3], dtype).mul(0);
      expect(await numbers(x.to(dtype).setAt(1, [1, 0], [2, 2]))).toEqual([0, 0, 1, 0, 0, 1]);
    }),
  );
  test('by lists: of places named twice the last counts, and gets the gradient', async () => {
    const [x, v] = [counting([4]), counting([3]).add(10)];
    for (const t of [x, v]) t.requiresGrad = true;
    const y = x.withAt(v, [1, 3, 1]);
    expect(await numbers(y)).toEqual([0, 12, 2, 11]);
    y.mul(counting([4]).add(1))
      .sum()
      .backward();
    expect([await numbers(x.grad as Tensor), await numbers(v.grad as Tensor)]).toEqual([
      [1, 0, 3, 0],
      [0, 4, 2],
    ]);
  });
  test('withAt: what was written over gets no gradient, the value all of it', async () => {
    const [x, v] = [counting([3, 4]), counting([2])].map((t) => Object.assign(t, { requiresGrad: true })) as [Tensor, Tensor];
    withAt(x, v, 1, '::2')
      .mul(counting([3, 4]))
      .sum()
      .backward();
    expect(await numbers(x.grad as Tensor)).toEqual([0, 1, 2, 3, 0, 5, 0, 7, 8, 9, 10, 11]);
    expect(await numbers(v.grad as Tensor)).toEqual([4, 6]);
    const y = counting([3, 4]);
    expect(await numbers(y.setAt(7, 0))).toEqual([7, 7, 7, 7, 4, 5, 6, 7, 8, 9, 10, 11]);
  });
  test('backward notices a saved tensor that setAt wrote', () => {
    const w = Object.assign(counting([3]), { requiresGrad: true });
    const x = counting([3]);
    const y = w.mul(x).sum();
    x.setAt(9, 1);
    expect(() => y.backward()).toThrow(/written since/);
  });
  test('maskedSelect waits for its mask; gradients flow', () =>
    scope.run(async () => {
      const x = Object.assign(counting([2, 3]), { requiresGrad: true });
      const y = await x.maskedSelect(x.gt(1.5));
      expect(await numbers(y)).toEqual([2, 3, 4, 5]);
      y.mul(y).sum().backward();
      expect(await numbers(x.grad as Tensor)).toEqual([0, 0, 4, 6, 8, 10]);
      expect((await x.maskedSelect(x.gt(99))).shape).toEqual([0]);
      expect(await numbers(await x.maskedSelect(tensor([true, false], { device: defaultDevice() })))).toEqual([0, 1, 2]);
    }));
});

describe('a wrong index is an error that says what is wrong', () => {
  const x = () => zeros([3, 4, 5], { device: defaultDevice() });
  const i32 = (...values: number[]) => tensor(values, { dtype: 'i32', device: defaultDevice() });
  const wrong: [string, () => unknown, RegExp][] = [
    ['beyond the end', () => x().at(3), /index 3 is outside dimension 0 of \[3, 4, 5\], which has 3/],
    ['before the start', () => x().at(-4), /index -4 is outside dimension 0/],
    ['beyond a later dimension', () => x().at(0, '...', 5), /index 5 is outside dimension 2/],
    ['too many', () => x().at(0, 0, 0, 0), /4 indices are too many for \[3, 4, 5\]/],
    ['too many with dots', () => x().at('...', 0, 0, 0, 0), /too many/],
    ['too many lists', () => x().at([0], [0], [0], [0]), /too many/],
    ['a scalar’s element', () => tensor(3, { device: defaultDevice() }).at(0), /1 indices are too many for \[\]/],
    ['two dots', () => x().at('...', '...'), /'...' may stand once/],
    ['a step of 0', () => x().at('::0'), /step of '::0' must not be 0/],
    ['no slice', () => x().at('a:b'), /'a:b' is no slice/],
    ['a number as text', () => x().at('1'), /'1' is no slice/],
    ['too many colons', () => x().at('1:2:3:4'), /is no slice/],
    ['half a number', () => x().at('1.5:'), /is no slice/],
    ['an empty text', () => x().at(''), /is no slice/],
    ['a fraction', () => x().at(0.5), /index 0.5 is outside|whole/],
    ['NaN', () => x().at(Number.NaN), /index NaN/],
    ['infinity', () => x().at(Number.POSITIVE_INFINITY), /index Infinity/],
    ['undefined', () => x().at(undefined as never), /an index is a number, a slice/],
    ['a boolean', () => x().at(true as never), /an index is a number, a slice/],
    ['an object', () => x().at({} as never), /an index is a number, a slice/],
    ['a list with an outsider', () => x().at([0, 3]), /index 3 is outside dimension 0/],
    ['a list with a fraction', () => x().at([0, 0.5]), /index 0.5 is outside/],
    ['a list with text', () => x().at(['a'] as never), /holds whole numbers or booleans, got "a"|holds whole numbers/],
    ['a mixed list', () => x().at([true, 1] as never), /holds whole numbers or booleans/],
    ['a ragged list', () => x().at([[0], [0, 1]]), /must be of one length/],
    ['lists that do not broadcast', () => x().at([0, 1], [0, 1, 2]), /at: .*\[2\].*\[3\]/],
    ['a mask of another size', () => x().at([true, false]), /a mask of \[2\] does not fit dimension 0 of \[3, 4, 5\]/],
    ['a mask of another shape', () => x().at([[true], [false], [true]]), /a mask of \[3, 1\] does not fit/],
    ['a mask on the device', () => x().at(x().gt(1)), /await x.maskedSelect\(mask\)/],
    ['an index tensor of floats', () => x().at(zeros([2], { device: defaultDevice() })), /must be i32, got f32/],
    ['an index tensor on another device', () => x().at(i32(0).relocate(device('cpu'))), /inputs are on/],
    [
      'a freed index tensor',
      () => {
        const i = i32(0);
        i.dispose();
        return x().at(i);
      },
      /freed/,
    ],
    [
      'a freed tensor',
      () => {
        const t = x();
        t.dispose();
        return t.at(0);
      },
      /freed/,
    ],
    ['setAt of another shape', () => x().setAt(zeros([2], { device: defaultDevice() }), 0), /\[2\].*\[4, 5\]/],
    ['setAt by a list that names too much', () => x().setAt(1, [0, 9]), /9.*outside/],
    ['setAt by a mask on the device', () => x().setAt(1, x().gt(2)), /known there alone/],
    [
      'setAt of floats into i32',
      () => i32(1, 2).setAt(zeros([1], { device: defaultDevice() }), '0:1'),
      /f32 values do not go into i32/,
    ],
    ['setAt of a fraction into i32', () => i32(1, 2).setAt(0.5, 0), /0.5/],
    ['setAt under gradients', () => Object.assign(x(), { requiresGrad: true }).setAt(1, 0), /gradients flow through this tensor/],
    [
      'setAt of a value with gradients',
      () => x().setAt(Object.assign(zeros([5], { device: defaultDevice() }), { requiresGrad: true }), 0, 0),
      /gradients flow/,
    ],
    ['withAt beyond the end', () => x().withAt(1, 7), /index 7 is outside/],
    ['withAt of no number', () => x().withAt('1' as never, 0), /value/],
  ];
  test('there are at least 40', () => expect(wrong.length + 3).toBeGreaterThanOrEqual(40));
  test.each(wrong.filter(([name]) => !name.includes('another device') || defaultDevice().name !== 'cpu'))(
    '%s',
    (_, call, message) => {
      let error: unknown;
      try {
        call();
      } catch (e) {
        error = e;
      }
      expect(error).toBeInstanceOf(AnnealError);
      expect((error as Error).message).toMatch(message);
    },
  );
  test('an index tensor’s element outside, or a mask of the wrong kind, arrives at the await', async () => {
    await expect(x().at(i32(0, 3)).data()).rejects.toThrow(/index 3 is outside \[0, 3\)/);
    await expect(x().at(i32(0, -4)).data()).rejects.toThrow(/outside \[0, 3\)/);
    await expect(x().at(i32(0, 2), i32(1, 4)).data()).rejects.toThrow(/index -1 is outside/);
    await expect(x().maskedSelect(zeros([3], { device: defaultDevice() }))).rejects.toThrow(/mask must be bool/);
    await expect(x().maskedSelect(zeros([4], { device: defaultDevice(), dtype: 'bool' }))).rejects.toThrow(
      /must have the shape of x/,
    );
  });
  test('noGrad lets setAt write a leaf', () => {
    const w = Object.assign(x(), { requiresGrad: true });
    expect(noGrad(() => w.setAt(1, 0))).toBe(w);
  });
});
