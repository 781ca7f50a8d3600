import { describe, expect, test } from 'vitest';
import '../../lib/ops/binary.ts';
import '../../lib/ops/create.ts';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { ConfigError, DTypeError, ShapeError } from '../../lib/native/errors.ts';
import { native } from '../../lib/native/run.ts';
import { type Conv2dOptions, conv2d } from '../../lib/ops/conv.ts';
import { toFormat } from '../../lib/ops/define.ts';
import { relu } from '../../lib/ops/unary.ts';
import { bind } from '../../lib/tensor/context.ts';
import type { DType, FloatDType } from '../../lib/tensor/dtype.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { Parameter, type Tensor } from '../../lib/tensor/tensor.ts';
import { casesOf, runOp } from '../golden/run.ts';
import { expectClose, type Values } from '../helpers/compare.ts';
import { fewer, onGpu } from '../helpers/device.ts';
import { placed } from '../helpers/place.ts';
import { rounded, unitRoundoff } from '../helpers/rounding.ts';

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const numbers = (name: string, shape: readonly number[]): Float64Array => {
  const random = new PhiloxStream(5, name);
  return Float64Array.from({ length: sizeOf(shape) }, () => 2 * random.uniform() - 1);
};
const place = (data: ArrayLike<number>, shape: readonly number[], dtype: DType): Tensor => placed(data, shape, dtype);
const leaf = (data: ArrayLike<number>, shape: readonly number[], dtype: DType = 'f64'): Tensor =>
  Object.assign(place(data, shape, dtype), { requiresGrad: true });
const read = async (t: Tensor | null): Promise<Values> => {
  expect(t).not.toBeNull();
  return { shape: (t as Tensor).shape, data: await (t as Tensor).data() };
};

// ---- layout -----------------------------------------------------------------------------------------------------------------

describe('toFormat', () => {
  const shapes = [
    [2, 3, 5, 7],
    [3, 17, 9, 33],
    [2, 64, 12, 12],
    [1, 130, 13, 11],
    [2, 16, 4, 4],
    [1, 1000, 1, 7],
    [0, 3, 4, 4],
    [2, 3, 0, 4],
  ] as const;
  for (const dtype of ['f32', 'f64', 'bf16', 'f16', 'i32', 'u8'] as const) {
    test(`${dtype}: there and back, and the order in memory`, async () => {
      for (const shape of shapes) {
        const [n, c, h, w] = shape;
        const data = Float64Array.from({ length: sizeOf(shape) }, (_, i) => i % 251);
        const last = toFormat(place(data, shape, dtype), 'channelsLast');
        const raw = await last.alias([n, h, w, c], 0, 'contiguous').data();
        const expected = new Float64Array(data.length);
        for (let i = 0; i < data.length; i++) {
          const pixel = i % (h * w);
          const channel = Math.floor(i / (h * w)) % c;
          const image = Math.floor(i / (h * w * c));
          expected[(image * h * w + pixel) * c + channel] = data[i] as number;
        }
        expect(Array.from(raw)).toEqual(Array.from(expected));
        expect(Array.from(await last.data())).toEqual(Array.from(data));
      }
    });
  }
  test('one channel, or one pixel, is the same memory', () => {
    for (const shape of [
      [2, 1, 4, 4],
      [2, 5, 1, 1],
    ]) {
      const x = place(numbers('alias', shape), shape, 'f32');
      expect(toFormat(x, 'channelsLast').storage).toBe(x.storage);
    }
  });
});

// ---- values and gradients ---------------------------------------------------------------------------------------------------

describe('goldens in f64', () => {
  for (const c of casesOf('conv', 'conv2d')) test(c.name, () => runOp(c, 'f64'));
});

interface Case {
  readonly x: readonly number[];
  readonly weight: readonly number[];
  readonly bias?: boolean;
  readonly options?: Conv2dOptions;
}
const small: { readonly [name: string]: Case } = {
  plain: { x: [2, 2, 4, 5], weight: [3, 2, 3, 2], bias: true },
  padded: { x: [1, 2, 4, 4], weight: [2, 2, 3, 3], options: { padding: 1 } },
  everything: {
    x: [2, 4, 7, 6],
    weight: [6, 2, 2, 3],
    bias: true,
    options: { stride: [2, 1], padding: [1, 2], dilation: [2, 1], groups: 2 },
  },
  depthwise: { x: [1, 3, 5, 5], weight: [3, 1, 3, 3], bias: true, options: { groups: 3, stride: 2 } },
  relu: { x: [2, 2, 5, 5], weight: [3, 2, 3, 3], bias: true, options: { activation: 'relu' } },
  reluWithoutBias: { x: [2, 2, 5, 5], weight: [3, 2, 3, 3], options: { activation: 'relu', padding: 1 } },
};

describe.skipIf(onGpu)('gradcheck', () => {
  for (const [name, c] of Object.entries(small))
    test(name, async () => {
      const inputs = [leaf(numbers('x', c.x), c.x), leaf(numbers('w', c.weight), c.weight)];
      if (c.bias) inputs.push(leaf(numbers('b', [c.weight[0] as number]), [c.weight[0] as number]));
      const error = await gradcheck((x, w, b) => conv2d(x as Tensor, w as Tensor, b ?? null, c.options), inputs);
      expect(error).toBeLessThan(1e-6);
    });
});

const side = fewer(28, 14);
const wide: { readonly [name: string]: Case } = {
  mnist1: { x: [4, 1, side, side], weight: [32, 1, 3, 3], bias: true },
  mnist2: { x: [2, 32, side - 2, side - 2], weight: [64, 32, 3, 3], bias: true },
  mnist2Relu: { x: [1, 32, side - 2, side - 2], weight: [64, 32, 3, 3], bias: true, options: { activation: 'relu' } },
  images: { x: [2, 3, 33, 31], weight: [16, 3, 7, 7], bias: true, options: { stride: 2, padding: 3 } },
  ragged: { x: [3, 33, 9, 7], weight: [65, 33, 3, 3], bias: true, options: { padding: 1, activation: 'relu' } },
  pointwise: { x: [3, 129, 5, 7], weight: [33, 129, 1, 1], bias: true },
  stridedPointwise: { x: [2, 16, 9, 9], weight: [24, 16, 1, 1], options: { stride: 2 } },
  dilated: { x: [2, 16, 15, 15], weight: [16, 16, 3, 3], bias: true, options: { dilation: 2, padding: 2 } },
  groups: { x: [2, 24, 9, 9], weight: [48, 12, 3, 3], bias: true, options: { groups: 2, padding: 1 } },
  manyGroups: { x: [2, 64, 8, 8], weight: [64, 2, 3, 3], bias: true, options: { groups: 32, padding: 1 } },
  depthwise: { x: [2, 40, 9, 9], weight: [40, 1, 3, 3], bias: true, options: { groups: 40, padding: 1, stride: 2 } },
  strided: {
    x: [3, 17, 13, 11],
    weight: [31, 17, 3, 3],
    bias: true,
    options: { stride: [2, 1], padding: [1, 2], activation: 'relu' },
  },
  dilatedStrided: {
    x: [2, 16, 19, 17],
    weight: [48, 16, 3, 3],
    bias: true,
    options: { dilation: [2, 3], stride: 2, padding: [3, 2] },
  },
  tallKernel: { x: [2, 32, 12, 9], weight: [16, 32, 5, 1], bias: true, options: { padding: [2, 0] } },
  paddingBeyondKernel: { x: [1, 16, 5, 5], weight: [16, 16, 3, 3], bias: true, options: { padding: 4 } },
  kernelBeyondImage: { x: [20, 32, 2, 3], weight: [32, 32, 3, 5], options: { padding: [1, 2] } },
  onePixel: { x: [7, 64, 1, 1], weight: [10, 64, 1, 1], bias: true },
  // Two faults of oneDNN 2.6 that conv2d.gradWeight steps around.
  fewChannelsStrided: { x: [7, 4, 8, 8], weight: [10, 4, 1, 1], options: { stride: 2 } },
  placesOfPaddingAlone: { x: [7, 10, 2, 2], weight: [32, 10, 3, 3], options: { stride: 3, padding: 1 } },
  wholeInput: { x: [2, 8, 12, 12], weight: [10, 8, 12, 12], bias: true },
};

/** Everything a convolution gives, from operands rounded to `rounding` and held as `dtype`. */
async function results(c: Case, dtype: FloatDType, rounding: FloatDType): Promise<{ [what: string]: Values }> {
  const sums = dtype === 'f64' ? 'f64' : 'f32';
  const x = leaf(rounded(numbers('x', c.x), rounding), c.x, dtype);
  const w = leaf(rounded(numbers('w', c.weight), rounding), c.weight, dtype);
  const o = c.weight[0] as number;
  const b = c.bias ? leaf(rounded(numbers('b', [o]), 'f32'), [o], sums) : null;
  const y = conv2d(x, w, b, c.options);
  y.backward(place(rounded(numbers('g', y.shape), rounding), y.shape, y.dtype));
  const found: { [what: string]: Values } = { y: await read(y), dx: await read(x.grad), dw: await read(w.grad) };
  if (b) found.db = await read(b.grad);
  return found;
}

describe('kernels against f64', () => {
  // A relu's mask may differ where the result is as good as 0, and its gradients with it: those compare loosely, in 16 bits not at all.
  const limits = {
    f32: { y: 1e-6, grad: 2e-6 },
    bf16: { y: unitRoundoff.bf16, grad: unitRoundoff.bf16 },
    f16: { y: unitRoundoff.f16, grad: unitRoundoff.f16 },
  };
  for (const dtype of ['f32', 'bf16', 'f16'] as const) {
    for (const [name, c] of Object.entries(wide)) {
      test(`${dtype} ${name}`, async () => {
        const [found, truth] = [await results(c, dtype, dtype), await results(c, 'f64', dtype)];
        const { y, grad } = limits[dtype];
        expectClose('y', found.y as Values, truth.y as Values, y);
        if (c.options?.activation === 'relu' && dtype !== 'f32') return;
        for (const what of ['dx', 'dw', 'db'])
          if (truth[what]) expectClose(what, found[what] as Values, truth[what] as Values, grad);
      });
    }
  }
});

describe('conv2d', () => {
  const c = wide.groups as Case;
  const operands = (of: Case = c) => ({
    x: leaf(numbers('x', of.x), of.x, 'f32'),
    w: leaf(numbers('w', of.weight), of.weight, 'f32'),
    b: leaf(numbers('b', of.weight.slice(0, 1)), of.weight.slice(0, 1), 'f32'),
  });

  test('takes either layout, gives channelsLast', async () => {
    const { x, w, b } = operands();
    const last = toFormat(x.detach(), 'channelsLast');
    const [y, z] = [conv2d(x, w, b, c.options), conv2d(last, w, b, c.options)];
    expect(y.format).toBe('channelsLast');
    expect(await z.data()).toEqual(await y.data());
  });

  test('relu in its pass is relu after it, gradients included', async () => {
    const [one, two] = [operands(), operands()];
    const y = conv2d(one.x, one.w, one.b, { ...c.options, activation: 'relu' });
    const z = relu(conv2d(two.x, two.w, two.b, c.options));
    const g = place(numbers('g', y.shape), y.shape, 'f32');
    y.backward(g);
    z.backward(g);
    expect(await y.data()).toEqual(await z.data());
    for (const name of ['x', 'w', 'b'] as const) expectClose(name, await read(one[name].grad), await read(two[name].grad), 1e-6);
    expect(await g.data()).toEqual(await place(numbers('g', y.shape), y.shape, 'f32').data()); // the seed is not written over
  });

  test('gradients add up over two passes', async () => {
    for (const of of [c, wide.strided, onGpu ? wide.ragged : wide.mnist2] as const) {
      for (const activation of ['none', 'relu'] as const) {
        const [once, twice] = [operands(of), operands(of)];
        const pass = (o: typeof once) => {
          const y = conv2d(o.x, o.w, o.b, { ...of?.options, activation });
          y.backward(place(numbers('g', y.shape), y.shape, 'f32'));
        };
        pass(once);
        pass(twice);
        pass(twice);
        for (const name of ['x', 'w', 'b'] as const) {
          const single = await read(once[name].grad);
          expectClose(name, await read(twice[name].grad), { ...single, data: Array.from(single.data, (v) => 2 * v) }, 1e-6);
        }
      }
    }
  });

  test('computes only the gradients that are wanted', async () => {
    for (const wanted of ['x', 'w', 'b'] as const) {
      const o = operands();
      for (const name of ['x', 'w', 'b'] as const) o[name].requiresGrad = name === wanted;
      const y = conv2d(o.x, o.w, o.b, { ...c.options, activation: 'relu' });
      y.backward(place(numbers('g', y.shape), y.shape, 'f32'));
      for (const name of ['x', 'w', 'b'] as const) expect(o[name].grad === null).toBe(name !== wanted);
    }
  });

  test.skipIf(onGpu)('the same bits whatever the number of threads', async () => {
    const before = native().threads();
    try {
      const bits: ArrayLike<number>[][] = [];
      for (const threads of [1, 2]) {
        native().threads(threads);
        const { y, dx, dw, db } = await results(wide.mnist2Relu as Case, 'f32', 'f32');
        // Where oneDNN does it, the gradient of the weights is a sum over threads.
        const ours = native().info().cpu.isa === 'v3';
        bits.push([y, dx, db, ...(ours ? [dw] : [])].map((v) => (v as Values).data));
      }
      expect(bits[1]).toEqual(bits[0]);
    } finally {
      native().threads(before);
    }
  });

  test('under a 16-bit policy: activations in it, gradients of parameters in f32', async () => {
    for (const precision of ['bf16', 'f16'] as const) {
      const o = operands();
      const weight = new Parameter(o.w);
      const y = bind({ precision }, () => conv2d(o.x, weight, o.b, { ...c.options, activation: 'relu' }));
      expect(y.dtype).toBe(precision);
      y.backward(place(numbers('g', y.shape), y.shape, precision));
      expect([o.x.grad?.dtype, weight.grad?.dtype, o.b.grad?.dtype]).toEqual(['f32', 'f32', 'f32']);
      const exact = await conv2d(o.x, weight, o.b, { ...c.options, activation: 'relu' }).data();
      expectClose('y', await read(y), { shape: y.shape, data: exact }, 4 * unitRoundoff[precision]);
    }
  });

  test.skipIf(onGpu)('mixed dtypes: weights follow x, gradients keep their own', async () => {
    const o = operands();
    const x = leaf(numbers('x', c.x), c.x, 'f64');
    const y = conv2d(x, o.w, o.b, c.options);
    expect(y.dtype).toBe('f64');
    y.backward(place(numbers('g', y.shape), y.shape, 'f64'));
    expect([x.grad?.dtype, o.w.grad?.dtype, o.b.grad?.dtype]).toEqual(['f64', 'f32', 'f32']);
  });

  test('NaN and infinity pass through, relu or not', async () => {
    for (const dtype of ['f32', 'f64', 'bf16'] as const) {
      const data = new Float64Array(8 * 36).fill(1);
      data[0] = Number.NaN;
      data[35] = Number.POSITIVE_INFINITY;
      const [x, w] = [place(data, [1, 8, 6, 6], dtype), place(new Float64Array(8 * 72).fill(0.125), [8, 8, 3, 3], dtype)];
      for (const activation of ['none', 'relu'] as const) {
        const y = await conv2d(x, w, null, { activation }).data();
        expect([y[0], y[5], y[15]]).toEqual([Number.NaN, 9, Number.POSITIVE_INFINITY]);
      }
    }
  });

  test('an empty batch, and no channels', async () => {
    for (const dtype of ['f32', 'bf16', 'f64'] as const) {
      const [x, w, b] = [
        leaf([], [0, 3, 5, 5], dtype),
        leaf(numbers('w', [2, 3, 3, 3]), [2, 3, 3, 3], dtype),
        leaf([1, 2], [2], dtype === 'f64' ? 'f64' : 'f32'),
      ];
      const y = conv2d(x, w, b, { activation: 'relu' });
      expect(y.shape).toEqual([0, 2, 3, 3]);
      y.backward(place([], y.shape, y.dtype));
      expect(Array.from(await (w.grad as Tensor).data())).toEqual(new Array(54).fill(0));
      expect(Array.from(await (b.grad as Tensor).data())).toEqual([0, 0]);
      const none = conv2d(
        place([], [1, 0, 3, 3], dtype),
        place([], [2, 0, 3, 3], dtype),
        place([1, 2], [2], dtype === 'f64' ? 'f64' : 'f32'),
      );
      expect(Array.from(await none.data())).toEqual([1, 2]);
    }
  });
});

describe('wrong arguments', () => {
  const of = (shape: readonly number[], dtype: DType = 'f32') => place(new Float64Array(sizeOf(shape)), shape, dtype);
  const x = of([1, 4, 8, 8]);
  const w = of([6, 4, 3, 3]);
  const rows: readonly [string, () => unknown, new (...args: never[]) => Error, RegExp][] = [
    ['three dimensions', () => conv2d(of([4, 8, 8]), w), ShapeError, /x must be \[N, C, H, W\].*\[4, 8, 8\]/],
    ['a weight matrix', () => conv2d(x, of([6, 4])), ShapeError, /weight must be \[O, C \/ groups, KH, KW\]/],
    ['channels', () => conv2d(x, of([6, 3, 3, 3])), ShapeError, /has 4 channels.*takes 3/],
    [
      'channels in groups',
      () => conv2d(x, of([6, 4, 3, 3]), null, { groups: 2 }),
      ShapeError,
      /has 4 channels.*takes 8 \(4 in each of 2 groups\)/,
    ],
    ['groups and channels', () => conv2d(x, w, null, { groups: 3 }), ShapeError, /groups 3 must divide the 4 channels/],
    [
      'groups and outputs',
      () => conv2d(x, of([6, 1, 3, 3]), null, { groups: 4 }),
      ShapeError,
      /groups 4 must divide.*the 6 outputs/,
    ],
    ['groups 0', () => conv2d(x, w, null, { groups: 0 }), ConfigError, /groups must be a whole number/],
    ['a kernel too large', () => conv2d(x, of([6, 4, 9, 3])), ShapeError, /kernel's height 9 is larger than the input's 8/],
    [
      'a kernel too wide',
      () => conv2d(x, of([6, 4, 3, 13]), null, { padding: [0, 2] }),
      ShapeError,
      /width 13 is larger.*8 with padding 2/,
    ],
    ['a dilated kernel', () => conv2d(x, w, null, { dilation: 4 }), ShapeError, /3 \(9 with dilation 4\)/],
    ['an empty kernel', () => conv2d(x, of([6, 4, 0, 3])), ShapeError, /no elements/],
    ['the bias', () => conv2d(x, w, of([5])), ShapeError, /bias must have shape \[6\], got \[5\]/],
    ['stride 0', () => conv2d(x, w, null, { stride: 0 }), ConfigError, /stride must be a whole number of at least 1/],
    ['stride of three', () => conv2d(x, w, null, { stride: [1, 1, 1] as never }), ConfigError, /\[1, 1, 1\]/],
    ['padding -1', () => conv2d(x, w, null, { padding: [0, -1] }), ConfigError, /padding must be a whole number of at least 0/],
    ['dilation 1.5', () => conv2d(x, w, null, { dilation: 1.5 }), ConfigError, /dilation/],
    ['an option misspelt', () => conv2d(x, w, null, { strides: 2 } as never), ConfigError, /"strides" should be "stride"/],
    [
      'an activation',
      () => conv2d(x, w, null, { activation: 'gelu' as never }),
      ConfigError,
      /activation must be 'none' or 'relu'/,
    ],
    ['integers', () => conv2d(of([1, 4, 8, 8], 'i32'), w), DTypeError, /x must be a float/],
    ['no tensor', () => conv2d([1] as never, w), DTypeError, /must be a Tensor/],
  ];
  test.each(rows)('%s', (_, act, kind, message) => {
    expect(act).toThrow(kind);
    expect(act).toThrow(message);
  });
});
