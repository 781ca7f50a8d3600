import { describe, expect, test } from 'vitest';
import '../../lib/ops/binary.ts';
import '../../lib/ops/create.ts';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { native } from '../../lib/native/run.ts';
import { nativeOp, run, toFormat, unwritten } from '../../lib/ops/define.ts';
import { argmax, argmin, logSumExp, max, mean, min, prod, std, sum, sumTo, variance } from '../../lib/ops/reduce.ts';
import { logSoftmax, softmax } from '../../lib/ops/softmax.ts';
import { fromHost } from '../../lib/tensor/create.ts';
import type { DType, FloatDType } from '../../lib/tensor/dtype.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { scope } from '../../lib/tensor/scope.ts';
import { type Format, hostArray, type Tensor } from '../../lib/tensor/tensor.ts';
import { casesOf, execute, runOp } from '../golden/run.ts';
import { expectClose, type Values } from '../helpers/compare.ts';
import { deviceFor, onGpu } from '../helpers/device.ts';
import { placed } from '../helpers/place.ts';
import { rounded, unitRoundoff } from '../helpers/rounding.ts';

const ops = { sum, mean, max, min, prod, logSumExp, variance, std };

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

function uniforms(name: string, size: number, low = -1, high = 1): Float64Array {
  const random = new PhiloxStream(11, name);
  return Float64Array.from({ length: size }, () => low + (high - low) * random.uniform());
}
function place(data: Float64Array, shape: readonly number[], dtype: DType = 'f32', format: Format = 'contiguous'): Tensor {
  return toFormat(placed(data, shape, dtype), format);
}
function leaf(data: Float64Array, shape: readonly number[], dtype: DType = 'f64'): Tensor {
  const t = place(data, shape, dtype).detach();
  t.requiresGrad = true;
  return t;
}
const read = async (t: Tensor): Promise<Values> => ({ shape: t.shape, data: await t.data() });

// ---- the reference: collect what goes into each output, in order -------------------------------------------------------------

function groups(
  data: ArrayLike<number>,
  shape: readonly number[],
  axes: readonly number[],
): { shape: number[]; lists: number[][] } {
  const kept = shape.map((_, i) => i).filter((i) => !axes.includes(i));
  const outShape = kept.map((i) => shape[i] as number);
  const lists: number[][] = Array.from({ length: sizeOf(outShape) }, () => []);
  const at = new Array<number>(shape.length).fill(0);
  for (let i = 0; i < data.length; i++) {
    let out = 0;
    for (const k of kept) out = out * (shape[k] as number) + (at[k] as number);
    (lists[out] as number[]).push(data[i] as number);
    for (let d = shape.length - 1; d >= 0; d--) {
      at[d] = (at[d] as number) + 1;
      if (at[d] !== shape[d]) break;
      at[d] = 0;
    }
  }
  return { shape: outShape, lists };
}
const add = (v: number[]) => v.reduce((a, b) => a + b, 0);
const meanOf = (v: number[]) => add(v) / v.length;
const varianceOf = (v: number[]) => {
  const mean = meanOf(v);
  return add(v.map((x) => (x - mean) ** 2)) / (v.length - 1);
};
const most = (v: number[]) => v.reduce((a, b) => Math.max(a, b));
const least = (v: number[]) => v.reduce((a, b) => Math.min(a, b));
const references = {
  sum: add,
  mean: meanOf,
  max: most,
  min: least,
  prod: (v: number[]) => v.reduce((a, b) => a * b, 1),
  logSumExp: (v: number[]) => {
    const m = most(v);
    return m + Math.log(add(v.map((x) => Math.exp(x - m))));
  },
  variance: varianceOf,
  std: (v: number[]) => Math.sqrt(varianceOf(v)),
} as const;
type Name = keyof typeof references;
const names = Object.keys(references) as Name[];

async function compare(
  name: Name,
  data: Float64Array,
  shape: readonly number[],
  axes: readonly number[],
  dtype: DType,
  format: Format,
) {
  const limit = dtype === 'f64' ? 1e-13 : 3e-6;
  const exact = dtype === 'f32' ? rounded(data, 'f32') : data;
  const expected = groups(exact, shape, axes);
  const made = await scope.run(async () => read(ops[name](place(data, shape, dtype, format), { axis: axes })));
  const truth = { shape: expected.shape, data: expected.lists.map(references[name]) };
  expectClose(`${name} of [${shape}] over [${axes}], ${dtype} ${format}`, made, truth, limit);
}

const subsets = (n: number) => Array.from({ length: 2 ** n }, (_, mask) => [...Array(n).keys()].filter((i) => (mask >> i) & 1));

describe('goldens', () => {
  for (const c of casesOf('reduce')) {
    test(`${c.name} f32`, () => runOp(c));
    if (c.dtype === 'f32') test(`${c.name} f64`, () => runOp(c, 'f64'));
  }
});

describe('every choice of axes against the plain sum over lists', () => {
  for (const name of names)
    for (const format of ['contiguous', 'channelsLast'] as const)
      test(`${name}, ${format}`, async () => {
        const shape = [3, 4, 5, 7];
        const data = uniforms(name, sizeOf(shape), 0.5, 1.5);
        for (const axes of subsets(4))
          if (axes.length || !['variance', 'std'].includes(name)) await compare(name, data, shape, axes, 'f64', format);
        for (const axes of [[1], [0, 2], [0, 2, 3], [2, 3]]) await compare(name, data, shape, axes, 'f32', format);
      });

  // Long ones are cut into chunks; columns into tiles of 512; both leave tails.
  for (const [shape, axes] of [
    [[300_001], [0]],
    [[70_001, 3], [0]],
    [[3, 70_001], [1]],
    [[403, 530], [0]],
    [
      [403, 530],
      [0, 1],
    ],
    [
      [259, 2, 530],
      [0, 2],
    ],
    [[3, 129, 600], [0]],
  ] as const)
    for (const name of ['sum', 'max', 'min', 'logSumExp', 'variance'] as const)
      test(`${name} of [${shape}] over [${axes}]`, () =>
        compare(name, uniforms('long', sizeOf(shape)), shape, axes, 'f32', 'contiguous'));

  test('sums of a million ones, and of 0.1, lose nothing to the order', async () => {
    const x = place(new Float64Array(1_000_003).fill(0.1), [1_000_003]);
    expect(Math.abs((await sum(x).item()) - 1_000_003 * Math.fround(0.1)) / 1e5).toBeLessThan(5e-7);
  });
});

describe('indices', () => {
  test.each([
    [[9, 130], 1],
    [[130, 9], 0],
    [[3, 1_100, 5], 1],
    [[200_003], 0],
    [[2, 3, 4, 5], undefined],
  ] as const)('argmax and argmin of %j along %s', async (shape, axis) => {
    const data = Float64Array.from(uniforms('arg', sizeOf(shape)), (v) => Math.round(v * 50)); // many ties
    const axes = axis === undefined ? shape.map((_, i) => i) : [axis];
    const expected = groups(data, shape, axes);
    for (const dtype of ['f32', 'i32'] as const)
      for (const [op, pick] of [
        [argmax, most],
        [argmin, least],
      ] as const) {
        const made = await read(op(place(data, shape, dtype), axis === undefined ? {} : { axis }));
        expect([...(made.data as Int32Array)]).toEqual(expected.lists.map((v) => v.indexOf(pick(v))));
      }
  });
  test('of channelsLast memory, all axes: row-major by NCHW', async () => {
    const data = uniforms('last', 120);
    expect(await argmax(place(data, [2, 3, 4, 5], 'f32', 'channelsLast')).item()).toBe(data.indexOf(Math.max(...data)));
  });
  test('NaN wins, the first of several', async () => {
    const x = place(Float64Array.of(1, Number.NaN, 9, Number.NaN, 3, 4, 5, 6), [2, 4]);
    expect([...(await argmax(x, { axis: 1 }).data())]).toEqual([1, 3]);
    expect([...(await argmin(x, { axis: 1 }).data())]).toEqual([1, 0]);
    expect([...(await argmax(x, { axis: 0 }).data())]).toEqual([1, 0, 0, 0]);
    expect([...(await max(x, { axis: 1 }).data())]).toEqual([Number.NaN, 6]);
    expect([...(await min(x, { axis: 0 }).data())]).toEqual([1, Number.NaN, 5, Number.NaN]);
  });
});

describe('integers and bools', () => {
  test('add up to i32 and keep their dtype as extremes', async () => {
    const bits = place(Float64Array.of(1, 0, 1, 1, 0, 1), [2, 3], 'bool');
    const total = sum(bits, { axis: 1 });
    expect([total.dtype, ...(await total.data())]).toEqual(['i32', 2, 2]);
    expect(max(bits).dtype).toBe('bool');
    expect([...(await min(bits, { axis: 0 }).data())]).toEqual([1, 0, 1]);
    expect([...(await argmax(bits, { axis: 1 }).data())]).toEqual([0, 0]);
    const bytes = place(
      Float64Array.from({ length: 4096 }, (_, i) => i % 256),
      [64, 64],
      'u8',
    );
    expect(await sum(bytes).item()).toBe(16 * (255 * 128));
    const low = place(Float64Array.of(-(2 ** 31), 5), [2], 'i32');
    expect([await min(low).item(), await max(low).item()]).toEqual([-(2 ** 31), 5]);
  });
});

describe('gradients', () => {
  const shape = [2, 3, 2, 4];
  for (const name of names)
    test.skipIf(onGpu)(`${name}: gradcheck`, async () => {
      const x = leaf(uniforms(`grad-${name}`, sizeOf(shape), 0.5, 1.5), shape);
      for (const axis of [undefined, 0, 1, 3, [1, 2], [0, 2, 3], [2, 3]] as const)
        expect(await gradcheck((t) => ops[name](t, { axis, keepDims: axis === 1 }), [x])).toBeLessThan(1e-6);
      for (const axis of [1, [2, 3], [0, 2, 3], 3]) await gradcheck((t) => ops[name](toFormat(t, 'channelsLast'), { axis }), [x]);
    });

  test.skipIf(onGpu)('one that waits is added in the same pass', async () => {
    const x = leaf(uniforms('twice', 24, 0.5, 1.5), [2, 3, 4]);
    const twice = (t: Tensor) =>
      names
        .map((n) => ops[n](t, { axis: [0, 2] }))
        .reduce((a, b) => a.add(b))
        .add(softmax(t.mul(1), { axis: 1 }).sum());
    expect(await gradcheck(twice, [x])).toBeLessThan(1e-6);
  });

  test('prod at zeros', async () => {
    const x = leaf(Float64Array.of(2, 0, 3, 0, 0, 5, 1, 2, 3), [3, 3]);
    prod(x, { axis: 1 }).sum().backward();
    expect([...(await (x.grad as Tensor).data())]).toEqual([0, 6, 0, 0, 0, 0, 6, 3, 2]);
  });

  test('ties share evenly', async () => {
    for (const axis of [0, 1]) {
      const x = leaf(Float64Array.of(1, 1, 0, 1, 1, 0, 1, 1, 0), [3, 3]);
      max(x, { axis }).sum().backward();
      const expected = axis === 0 ? Array(9).fill(1 / 3) : [0.5, 0.5, 0, 0.5, 0.5, 0, 0.5, 0.5, 0];
      expectClose(`ties over ${axis}`, await read(x.grad as Tensor), { shape: [3, 3], data: expected }, 1e-15);
    }
  });

  test('of long tensors, walked in chunks', async () => {
    const shape = [3, 50_001];
    const data = uniforms('spread', sizeOf(shape));
    const x = leaf(data, shape, 'f32');
    ops
      .mean(x, { axis: 0 })
      .mul(place(uniforms('seed', 50_001), [50_001]))
      .sum()
      .backward();
    const seed = rounded(uniforms('seed', 50_001), 'f32');
    const expected = Float64Array.from(data, (_, i) => (seed[i % 50_001] as number) / 3);
    expectClose('mean', await read(x.grad as Tensor), { shape, data: expected }, 1e-6);
  });
});

describe('sumTo', () => {
  test('undoes broadcasting; the same shape is the same tensor', async () => {
    const x = place(uniforms('to', 60), [3, 4, 5]);
    expect(sumTo(x, [3, 4, 5])).toBe(x);
    for (const [shape, axes] of [
      [[4, 5], [0]],
      [[3, 1, 5], [1]],
      [[1], [0, 1, 2]],
      [[], [0, 1, 2]],
      [
        [4, 1],
        [0, 2],
      ],
    ] as const) {
      const expected = groups(rounded(uniforms('to', 60), 'f32'), [3, 4, 5], axes).lists.map(add);
      expectClose(`to [${shape}]`, await read(sumTo(x, shape)), { shape, data: expected }, 1e-6);
    }
  });
});

describe('columnSum', () => {
  const op = nativeOp('columnSum');
  test.each([
    [512, 256],
    [403, 530],
    [25_000, 3],
    [1, 7],
    [7, 1],
    [0, 4],
    [33, 10],
  ])('[%i, %i]', async (rows, n) => {
    for (const dtype of ['f32', 'f64', 'bf16', 'f16'] as const) {
      const data = rounded(uniforms('columns', rows * n), dtype);
      const into = dtype === 'f64' ? 'f64' : 'f32';
      const out = unwritten([n], into, deviceFor(into));
      run(op, [place(data, [rows, n], dtype)], [out], [rows, n, 0]);
      const expected = groups(data, [rows, n], [0]).lists.map(add);
      expectClose(dtype, await read(out), { shape: [n], data: expected }, dtype === 'f64' ? 1e-13 : 3e-6);
      const more = place(new Float64Array(n).fill(2), [n], into);
      run(op, [place(data, [rows, n], dtype)], [more], [rows, n, 1]);
      expectClose(
        `${dtype}, added`,
        await read(more),
        { shape: [n], data: expected.map((v) => v + 2) },
        dtype === 'f64' ? 1e-13 : 3e-6,
      );
    }
  });
});

describe('softmax', () => {
  const shape = [3, 70, 5];
  for (const [name, op] of Object.entries({ softmax, logSoftmax }))
    for (const axis of [0, 1, 2]) {
      test.skipIf(onGpu)(`${name} along ${axis}: gradcheck`, async () => {
        expect(await gradcheck((x) => op(x, { axis }), [leaf(uniforms(name, 60, -2, 2), [3, 4, 5])])).toBeLessThan(1e-6);
      });
      test(`${name} along ${axis}: f32 against f64`, async () => {
        const data = uniforms(name, sizeOf(shape), -20, 20);
        const result = async (dtype: DType) => {
          const x = leaf(rounded(data, 'f32'), shape, dtype);
          const y = op(x, { axis });
          y.mul(place(uniforms('seed', sizeOf(shape)), shape, dtype))
            .sum()
            .backward();
          return [await read(y), await read(x.grad as Tensor)] as const;
        };
        const [[y, g], [y64, g64]] = [await result('f32'), await result('f64')];
        expectClose(name, y, y64, 1e-6);
        expectClose('gradient', g, g64, 2e-6);
      });
    }
  test('of large and masked scores', async () => {
    const x = place(Float64Array.of(1e4, 1e4 - 1, -Infinity, -1e30), [1, 4]);
    const p = 1 / (1 + Math.exp(-1));
    expectClose('p', await read(softmax(x)), { shape: [1, 4], data: [p, 1 - p, 0, 0] }, 1e-6);
  });
});

describe('16-bit kernels against f64 on the same rounded operands', () => {
  for (const dtype of ['bf16', 'f16'] as FloatDType[])
    for (const c of casesOf('reduce').filter(
      (k) => k.dtype === 'f32' && !k.tags && !k.op.startsWith('arg') && k.op !== 'variance',
    ))
      test(`${c.name} ${dtype}`, async () => {
        const [low, truth] = [await execute(c, { dtype }), await execute(c, { dtype: 'f64', rounding: dtype })];
        // One rounding of the result; the gradient of softmax starts from a rounded result.
        for (const [k, o] of low.outputs.entries())
          expectClose(c.name, o, truth.outputs[k] as Values, 1.01 * unitRoundoff[dtype]);
        low.gradients.forEach((g, i) => {
          if (g && c.differentiable[i])
            expectClose(`${c.name}: gradient`, g, truth.gradients[i] as Values, 4 * unitRoundoff[dtype]);
        });
      });
});

test.skipIf(onGpu)('the number of threads changes no bit', async () => {
  const shape = [403, 530];
  const data = uniforms('threads', sizeOf(shape));
  const bits = async (threads: number) => {
    native().threads(threads);
    const parts: number[] = [];
    for (const axis of [0, 1, [0, 1]])
      for (const name of ['sum', 'logSumExp', 'variance'] as const)
        parts.push(...(await ops[name](place(data, shape), { axis }).data()));
    return Float32Array.from(parts);
  };
  const before = native().threads(0);
  try {
    expect(await bits(1)).toEqual(await bits(3));
  } finally {
    native().threads(before);
  }
});

describe('misuse', () => {
  const x = place(uniforms('x', 6), [2, 3]);
  const calls: [string, () => unknown, RegExp][] = [
    ['an axis that is not there', () => x.sum({ axis: 2 }), /sum: axis 2 does not exist/],
    ['an axis twice', () => x.mean({ axis: [0, -2] }), /mean: axis 0 is given twice/],
    ['a misspelt option', () => x.max({ keepdims: true } as never), /max: .*"keepdims" should be "keepDims"/],
    ['the mean of integers', () => mean(place(uniforms('i', 3), [3], 'i32')), /mean: x must be a float tensor, got i32/],
    [
      'the largest of nothing',
      () => max(fromHost(hostArray('f32', 0), [3, 0], 'f32'), { axis: 1 }),
      /max: there is nothing to choose/,
    ],
    ['argmax over two axes', () => x.argmax({ axis: [0, 1] } as never), /argmax: axis must be one number/],
    ['a correction that is no number', () => x.variance({ correction: '1' } as never), /variance: correction must be a number/],
    ['no tensor', () => sum([1, 2] as never), /sum: x must be a Tensor/],
    ['softmax of integers', () => softmax(place(uniforms('i', 3), [3], 'i32')), /softmax: x must be a float/],
  ];
  test.each(calls)('%s', (_, call, message) => expect(call).toThrow(message));
});
