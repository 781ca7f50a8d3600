import { describe, expect, test } from 'vitest';
import '../../lib/ops/binary.ts';
import '../../lib/ops/create.ts';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { ConfigError, DTypeError, ShapeError } from '../../lib/native/errors.ts';
import { native } from '../../lib/native/run.ts';
import { toFormat } from '../../lib/ops/define.ts';
import { avgPool2d, type MaxPool2dOptions, maxPool2d } from '../../lib/ops/pool.ts';
import { relu } from '../../lib/ops/unary.ts';
import type { DType } from '../../lib/tensor/dtype.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { casesOf, runOp } from '../golden/run.ts';
import { expectClose, type Values } from '../helpers/compare.ts';
import { onGpu } from '../helpers/device.ts';
import { placed } from '../helpers/place.ts';
import { rounded, unitRoundoff } from '../helpers/rounding.ts';

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const numbers = (name: string, shape: readonly number[]): Float64Array => {
  const random = new PhiloxStream(6, name);
  return Float64Array.from({ length: sizeOf(shape) }, () => 2 * random.uniform() - 1);
};
const place = (data: ArrayLike<number>, shape: readonly number[], dtype: DType): Tensor => placed(data, shape, dtype);
const leaf = (data: ArrayLike<number>, shape: readonly number[], dtype: DType = 'f64'): Tensor =>
  Object.assign(place(data, shape, dtype), { requiresGrad: true });
const read = async (t: Tensor | null): Promise<Values> => ({ shape: (t as Tensor).shape, data: await (t as Tensor).data() });

const pools = { maxPool2d, avgPool2d } as const;
type Name = keyof typeof pools;
const names = Object.keys(pools) as Name[];

describe('goldens in f64', () => {
  for (const op of names) for (const c of casesOf('conv', op)) test(c.name, () => runOp(c, 'f64'));
});

interface Case {
  readonly x: readonly number[];
  readonly options: MaxPool2dOptions;
}
const small: { readonly [name: string]: Case } = {
  plain: { x: [2, 3, 4, 4], options: { kernelSize: 2 } },
  remainder: { x: [1, 2, 5, 7], options: { kernelSize: 2 } },
  overlap: { x: [2, 2, 5, 5], options: { kernelSize: 3, stride: 1, padding: 1 } },
  gaps: { x: [1, 3, 8, 8], options: { kernelSize: 2, stride: 3 } },
  pairs: { x: [1, 2, 7, 6], options: { kernelSize: [3, 2], stride: [2, 1], padding: [1, 0] } },
};

describe.each(['f32', 'bf16', 'f16'] as const)('the greatest of windows of every size, %s', (dtype) => {
  const sizes = [1, 2, 3, 4, 5, 6, 7];
  test.each(sizes.flatMap((h) => sizes.map((w) => [h, w] as const)))('%i by %i', async (h, w) => {
    const shape = [2, 3, 9, 11];
    const data = rounded(numbers(`windows ${h} ${w}`, shape), dtype);
    const options: MaxPool2dOptions = { kernelSize: [h, w], stride: [1 + (w % 2), 1 + (h % 3)], padding: [h >> 1, w >> 1] };
    const [x, wide] = [leaf(data, shape, dtype), leaf(data, shape)];
    const [y, exact] = [maxPool2d(x, options), maxPool2d(wide, options)];
    expect(Array.from(await y.data())).toEqual(Array.from(await exact.data()));
    y.sum().backward();
    exact.sum().backward();
    expect(Array.from(await (x.grad as Tensor).data())).toEqual(Array.from(await (wide.grad as Tensor).data()));
  });
});

describe.skipIf(onGpu)('gradcheck', () => {
  for (const [name, c] of Object.entries(small)) {
    for (const op of names)
      test(`${op} ${name}`, async () => {
        expect(await gradcheck((x) => pools[op](x as Tensor, c.options), [leaf(numbers(name, c.x), c.x)])).toBeLessThan(1e-6);
      });
    test(`maxPool2d with relu ${name}`, async () => {
      const options: MaxPool2dOptions = { ...c.options, activation: 'relu' };
      expect(await gradcheck((x) => maxPool2d(x as Tensor, options), [leaf(numbers(name, c.x), c.x)])).toBeLessThan(1e-6);
    });
  }
  test('avgPool2d, padding not counted', async () => {
    const x = leaf(numbers('x', [2, 2, 5, 5]), [2, 2, 5, 5]);
    const options = { kernelSize: 3, stride: 2, padding: 1, countIncludePad: false };
    expect(await gradcheck((t) => avgPool2d(t as Tensor, options), [x])).toBeLessThan(1e-6);
  });
});

const wide: { readonly [name: string]: Case } = {
  mnist: { x: [4, 64, 24, 24], options: { kernelSize: 2 } },
  resnet: { x: [2, 33, 15, 17], options: { kernelSize: 3, stride: 2, padding: 1 } },
  oneChannel: { x: [3, 1, 28, 28], options: { kernelSize: 2 } },
  manyChannels: { x: [2, 129, 6, 6], options: { kernelSize: 2 } },
  global: { x: [2, 40, 24, 24], options: { kernelSize: 24 } },
  strideOne: { x: [1, 7, 33, 33], options: { kernelSize: 5, stride: 1, padding: 2 } },
};

async function results(op: Name, c: Case, dtype: DType, rounding: DType): Promise<{ y: Values; dx: Values }> {
  const x = leaf(rounded(numbers('x', c.x), rounding as 'f32'), c.x, dtype);
  const y = pools[op](x, c.options);
  y.backward(place(rounded(numbers('g', y.shape), rounding as 'f32'), y.shape, dtype));
  return { y: await read(y), dx: await read(x.grad) };
}

describe('kernels against f64', () => {
  for (const dtype of ['f32', 'bf16', 'f16'] as const) {
    for (const [name, c] of Object.entries(wide)) {
      for (const op of names) {
        test(`${dtype} ${op} ${name}`, async () => {
          const [found, truth] = [await results(op, c, dtype, dtype), await results(op, c, 'f64', dtype)];
          // A maximum is one of its inputs: nothing is rounded. Where windows overlap, its gradients are sums.
          const limit = dtype === 'f32' ? 1e-6 : unitRoundoff[dtype];
          expectClose('y', found.y, truth.y, op === 'maxPool2d' ? 0 : limit);
          expectClose('dx', found.dx, truth.dx, limit);
        });
      }
    }
  }
});

describe('pooling', () => {
  const c = wide.resnet as Case;

  test('takes either layout, gives channelsLast', async () => {
    for (const op of names) {
      const x = place(numbers('x', c.x), c.x, 'f32');
      const [y, z] = [pools[op](x, c.options), pools[op](toFormat(x, 'channelsLast'), c.options)];
      expect(y.format).toBe('channelsLast');
      expect(await z.data()).toEqual(await y.data());
    }
  });

  test('relu in maxPool2d is relu before it or after it, gradients included', async () => {
    // Few distinct values: windows full of ties, windows with nothing positive.
    const data = numbers('x', c.x).map((v) => Math.round(3 * v - 1));
    const all = [0, 1, 2].map(() => leaf(data, c.x, 'f32')) as [Tensor, Tensor, Tensor];
    const outs = [
      maxPool2d(all[0], { ...c.options, activation: 'relu' }),
      maxPool2d(relu(all[1]), c.options),
      relu(maxPool2d(all[2], c.options)),
    ];
    for (const y of outs) y.backward(place(numbers('g', y.shape), y.shape, 'f32'));
    for (const i of [1, 2] as const) {
      expect(await outs[i]?.data()).toEqual(await outs[0]?.data());
      expect(await all[i].grad?.data()).toEqual(await all[0].grad?.data());
    }
  });

  test('the first of equals gets the gradient; NaN wins and passes, relu or not', async () => {
    for (const dtype of ['f32', 'f64', 'bf16', 'f16'] as const) {
      const equal = leaf(new Float64Array(16).fill(3), [1, 1, 4, 4], dtype);
      const y = maxPool2d(equal, { kernelSize: 2 });
      y.backward(place([1, 2, 3, 4], y.shape, dtype));
      expect(Array.from(await (equal.grad as Tensor).data())).toEqual([1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 4, 0, 0, 0, 0, 0]);
      const inf = Number.POSITIVE_INFINITY;
      const x = place([Number.NaN, 1, 2, inf, 5, 6, -inf, -inf], [1, 1, 2, 4], dtype);
      for (const activation of ['none', 'relu'] as const)
        expect(Array.from(await maxPool2d(x, { kernelSize: 2, activation }).data())).toEqual([Number.NaN, inf]);
      const low = place([-inf, -inf, -inf, -inf], [1, 1, 2, 2], dtype);
      expect(Array.from(await maxPool2d(low, { kernelSize: 2 }).data())).toEqual([-inf]);
    }
  });

  test('a gradient that waits on the input is added to', async () => {
    for (const op of names) {
      const [x, once] = [leaf(numbers('x', c.x), c.x, 'f32'), leaf(numbers('x', c.x), c.x, 'f32')];
      const shared = x.mul(1);
      const y = pools[op](shared, c.options).add(pools[op](shared, c.options));
      const single = pools[op](once, c.options);
      y.backward(place(numbers('g', y.shape), y.shape, 'f32'));
      single.backward(place(numbers('g', y.shape), y.shape, 'f32'));
      const expected = await read(once.grad);
      expectClose(op, await read(x.grad), { ...expected, data: Array.from(expected.data, (v) => 2 * v) }, 1e-6);
    }
  });

  test('windows of more places than a byte counts', async () => {
    const x = leaf(numbers('x', [1, 2, 20, 20]), [1, 2, 20, 20], 'f32');
    const y = maxPool2d(x, { kernelSize: 20 });
    y.sum().backward();
    const [data, grad] = [await x.data(), await (x.grad as Tensor).data()];
    for (const channel of [0, 1]) {
      const plane = Array.from(data.slice(channel * 400, (channel + 1) * 400));
      const expected = plane.map((v) => +(v === Math.max(...plane)));
      expect(Array.from(grad.slice(channel * 400, (channel + 1) * 400))).toEqual(expected);
    }
  });

  test('an empty batch', async () => {
    for (const op of names) {
      const x = leaf([], [0, 3, 4, 4], 'f32');
      const y = pools[op](x, { kernelSize: 2 });
      expect(y.shape).toEqual([0, 3, 2, 2]);
      y.backward(place([], y.shape, 'f32'));
      expect(x.grad?.shape).toEqual([0, 3, 4, 4]);
    }
  });

  test.skipIf(onGpu)('the same bits whatever the number of threads', async () => {
    const before = native().threads();
    try {
      const bits: unknown[] = [];
      for (const threads of [1, 2]) {
        native().threads(threads);
        for (const op of names) {
          const { y, dx } = await results(op, wide.mnist as Case, 'f32', 'f32');
          bits.push(y.data, dx.data);
        }
      }
      expect(bits.slice(4)).toEqual(bits.slice(0, 4));
    } finally {
      native().threads(before);
    }
  });
});

describe('wrong arguments', () => {
  const x = place(new Float64Array(128), [1, 2, 8, 8], 'f32');
  const rows: readonly [string, (op: Name) => unknown, new (...args: never[]) => Error, RegExp][] = [
    ['no options', (op) => pools[op](x, undefined as never), ConfigError, /kernelSize is missing/],
    ['kernelSize 0', (op) => pools[op](x, { kernelSize: 0 }), ConfigError, /kernelSize must be a whole number of at least 1/],
    [
      'a kernel too large',
      (op) => pools[op](x, { kernelSize: [2, 9] }),
      ShapeError,
      /kernel's width 9 is larger than the input's 8/,
    ],
    [
      'padding',
      (op) => pools[op](x, { kernelSize: 3, padding: 2 }),
      ShapeError,
      /padding \[2,2\] must be at most half of kernelSize \[3,3\]/,
    ],
    ['stride', (op) => pools[op](x, { kernelSize: 2, stride: 0 }), ConfigError, /stride/],
    ['an option misspelt', (op) => pools[op](x, { kernelsize: 2 } as never), ConfigError, /"kernelsize" should be "kernelSize"/],
    [
      'two dimensions',
      (op) => pools[op](place([1, 2], [1, 2], 'f32'), { kernelSize: 1 }),
      ShapeError,
      /x must be \[N, C, H, W\]/,
    ],
    ['integers', (op) => pools[op](place([1], [1, 1, 1, 1], 'i32'), { kernelSize: 1 }), DTypeError, /x must be a float/],
  ];
  for (const op of names)
    test.each(rows)(`${op}: %s`, (_, act, kind, message) => {
      expect(() => act(op)).toThrow(kind);
      expect(() => act(op)).toThrow(message);
      expect(() => act(op)).toThrow(op);
    });
  test('activation', () =>
    expect(() => maxPool2d(x, { kernelSize: 2, activation: 'gelu' as never })).toThrow(/activation must be 'none' or 'relu'/));
});
