/**
 * Products and convolutions of whole numbers: every sum is exact in f32, so each result is the exact one, rounded once, and a chunk, a step along k or an
 * element too many or too few shows at any dtype. Every kernel that the launchers choose (native/src/cuda/matmul.cc, gemm_plan.cc, conv.cc): layouts,
 * tiles, where rows begin, ways to end, parts along k. Against integer arithmetic.
 */
import { describe, test } from 'vitest';
import { conv2d, narrow, scope, type Tensor } from '../../lib/index.ts';
import { product } from '../../lib/ops/matmul.ts';
import { expectExact, type Floats, floats, whole } from '../helpers/exact.ts';
import { placed, sizeOf } from '../helpers/place.ts';

/** A tensor that begins `shift` elements behind a boundary of memory. */
function from(data: ArrayLike<number>, dtype: Floats, shift = 0): Tensor {
  const long = new Float64Array(data.length + shift);
  long.set(Array.from(data), shift);
  return narrow(placed(long, [long.length], dtype), 0, shift, data.length).detach();
}
// ---- products ---------------------------------------------------------------------------------------------------------------

interface Ends {
  bias?: boolean;
  relu?: boolean;
  add?: boolean;
  multiply?: boolean;
  accumulate?: boolean;
  wide?: boolean;
}
/** How a layout's products may end, as lib asks for them (native/src/cuda/gemm.h). */
const layouts: { readonly [name: string]: readonly Ends[] } = {
  nn: [{}, { accumulate: true }, { multiply: true }],
  nt: [{}, { bias: true }, { bias: true, relu: true }, { bias: true, add: true }, { add: true }],
  tn: [{}, { accumulate: true }, { wide: true }, { wide: true, accumulate: true }],
  tt: [{}],
};
/** [m, n, k], the first element of a, how the products end (all ways, or the plain one). By tile, and by where rows begin. */
type Case = readonly [m: number, n: number, k: number, shift?: number, plain?: boolean];
const cases: { readonly [tile: string]: readonly Case[] } = {
  small: [
    [48, 48, 64],
    [64, 16, 96, 0, true],
    [40, 40, 40],
    [56, 24, 72, 8, true],
    [64, 64, 32, 16, true],
    [39, 41, 35],
    [1, 3, 1, 0, true],
    [7, 64, 97, 1, true],
    [40, 40, 33],
    [61, 39, 48],
    [33, 36, 40, 1],
    [64, 64, 64, 3, true],
  ],
  middle: [
    [400, 48, 32],
    [392, 40, 40],
    [387, 39, 35],
    [512, 64, 33, 1, true],
    [400, 39, 48, 0, true],
    [512, 40, 72, 5, true],
  ],
  big: [
    [256, 144, 32],
    [136, 136, 40],
    [135, 133, 35],
    [256, 256, 33, 1, true],
    [200, 137, 48, 0, true],
  ],
  // Parts along k, whole and ragged ones, two to four of them.
  parts: [
    [48, 48, 512],
    [40, 40, 600],
    [33, 35, 777],
    [17, 130, 1030, 1, true],
    [64, 64, 1100, 0, true],
  ],
};

/** The exact sums of a [m, k] by b [k, n], each as its layout lies. */
function sums(a: readonly number[], b: readonly number[], [m, n, k]: Case, layout: string): Float64Array {
  const out = new Float64Array(m * n);
  const [ta, tb] = [layout[0] === 't', layout[1] === 't'];
  for (let i = 0; i < m; i++)
    for (let l = 0; l < k; l++) {
      const left = a[ta ? l * m + i : i * k + l] as number;
      for (let j = 0; j < n; j++) out[i * n + j] = (out[i * n + j] as number) + left * (b[tb ? j * k + l : l * n + j] as number);
    }
  return out;
}

async function compareProduct(layout: string, dtype: Floats, shape: Case): Promise<void> {
  const [m, n, k, shift = 0, plain] = shape;
  const most = k > 128 ? 1 : 3;
  const [a, b] = [whole(m * k, most, 'a'), whole(k * n, most, 'b')];
  const [bias, extra, before] = [whole(n, 9, 'bias'), whole(m * n, 3, 'extra'), whole(m * n, 99, 'before')];
  const [x, y] = [from(a, dtype, shift), from(b, dtype, shift)];
  const exact = sums(a, b, shape, layout);
  const options = { m, n, k, transposeA: layout[0] === 't', transposeB: layout[1] === 't' };
  for (const ends of plain ? [{}] : (layouts[layout] as readonly Ends[])) {
    const out = ends.wide ? 'f32' : dtype;
    const into = ends.accumulate ? from(before, out) : undefined;
    const found = product(
      x,
      y,
      { ...options, relu: !!ends.relu, multiply: !!ends.multiply },
      out,
      [m, n],
      into,
      ends.bias ? from(bias, 'f32') : null,
      ends.add || ends.multiply ? from(extra, out) : null,
    );
    const expected = exact.map((sum, i) => {
      let v = sum + (ends.accumulate ? (before[i] as number) : 0) + (ends.bias ? (bias[i % n] as number) : 0);
      if (ends.relu) v = Math.max(0, v);
      return ends.multiply ? v * (extra[i] as number) : ends.add ? v + (extra[i] as number) : v;
    });
    await expectExact(found, expected, `${layout} [${shape}] ${JSON.stringify(ends)}`);
  }
}

describe.each(floats)('products, %s', (dtype) => {
  for (const layout of Object.keys(layouts))
    for (const [tile, shapes] of Object.entries(cases))
      test(`${layout}, ${tile}`, () =>
        scope.run(async () => {
          for (const shape of shapes) await scope.run(() => compareProduct(layout, dtype, shape));
        }));
  test('batches', () =>
    scope.run(async () => {
      const [batch, m, n, k] = [3, 9, 8, 35];
      const [a, b] = [whole(batch * m * k, 3, 'a'), whole(batch * k * n, 3, 'b')];
      const strides = { batch, strideA: m * k, strideB: k * n };
      const found = product(from(a, dtype), from(b, dtype), { m, n, k, ...strides }, dtype, [batch, m, n]);
      const each = [0, 1, 2].map((z) => sums(a.slice(z * m * k), b.slice(z * k * n), [m, n, k], 'nn'));
      await expectExact(
        found,
        each.flatMap((s) => [...s]),
        'batches',
      );
    }));
});

// ---- convolutions -----------------------------------------------------------------------------------------------------------

interface Conv {
  n: number;
  c: number;
  h: number;
  w: number;
  o: number;
  kh: number;
  kw: number;
  stride?: number;
  padding?: number;
  dilation?: number;
  groups?: number;
}
/** By tile of the forward product; every way in which weights are turned (conv.cc's Turning), and 1 to 4 parts of the gradient of the weights. */
const convolutions: readonly Conv[] = [
  { n: 2, c: 3, h: 6, w: 7, o: 7, kh: 3, kw: 3, padding: 1 },
  { n: 1, c: 1, h: 5, w: 5, o: 9, kh: 1, kw: 1 },
  { n: 2, c: 40, h: 3, w: 4, o: 3, kh: 1, kw: 1 },
  { n: 1, c: 33, h: 5, w: 4, o: 6, kh: 3, kw: 2, padding: 1, dilation: 2, stride: 2 },
  { n: 1, c: 72, h: 9, w: 9, o: 2, kh: 9, kw: 9, padding: 1 },
  { n: 1, c: 130, h: 3, w: 3, o: 3, kh: 3, kw: 3, padding: 1 },
  { n: 1, c: 3, h: 9, w: 8, o: 5, kh: 7, kw: 7, padding: 3 },
  { n: 3, c: 8, h: 15, w: 15, o: 16, kh: 2, kw: 2 },
  { n: 4, c: 6, h: 15, w: 16, o: 10, kh: 3, kw: 1, groups: 2 },
  { n: 5, c: 4, h: 17, w: 16, o: 40, kh: 1, kw: 2 },
  { n: 2, c: 8, h: 16, w: 16, o: 24, kh: 1, kw: 1 },
  { n: 1, c: 16, h: 16, w: 16, o: 136, kh: 2, kw: 2, padding: 1 },
];

/** y, dx and dw of sums over every pixel and place of the window. */
function convolved(v: Conv, x: readonly number[], w: readonly number[], g: (at: number) => number) {
  const { stride = 1, padding = 0, dilation = 1, groups = 1 } = v;
  const size = (length: number, k: number) => Math.floor((length + 2 * padding - (k - 1) * dilation - 1) / stride) + 1;
  const [oh, ow, cs, os] = [size(v.h, v.kh), size(v.w, v.kw), v.c / groups, v.o / groups];
  const y = new Float64Array(v.n * v.o * oh * ow);
  const [dx, dw] = [new Float64Array(x.length), new Float64Array(w.length)];
  for (let at = 0; at < y.length; at++) {
    const [j, i, o, image] = [at % ow, Math.floor(at / ow) % oh, Math.floor(at / ow / oh) % v.o, Math.floor(at / ow / oh / v.o)];
    for (let c = 0; c < cs; c++)
      for (let p = 0; p < v.kh; p++)
        for (let q = 0; q < v.kw; q++) {
          const [row, column] = [i * stride - padding + p * dilation, j * stride - padding + q * dilation];
          if (row < 0 || column < 0 || row >= v.h || column >= v.w) continue;
          const from = ((image * v.c + Math.floor(o / os) * cs + c) * v.h + row) * v.w + column;
          const weight = ((o * cs + c) * v.kh + p) * v.kw + q;
          y[at] = (y[at] as number) + (x[from] as number) * (w[weight] as number);
          dx[from] = (dx[from] as number) + g(at) * (w[weight] as number);
          dw[weight] = (dw[weight] as number) + g(at) * (x[from] as number);
        }
  }
  return { y, dx, dw, shape: [v.n, v.o, oh, ow] };
}

describe.each(floats)('convolutions, %s', (dtype) => {
  for (const v of convolutions)
    test(Object.entries(v).join(' '), () =>
      scope.run(async () => {
        const { stride = 1, padding = 0, dilation = 1, groups = 1 } = v;
        const options = { stride, padding, dilation, groups };
        const shapes = [
          [v.n, v.c, v.h, v.w],
          [v.o, v.c / groups, v.kh, v.kw],
        ] as const;
        const [x, w] = shapes.map((s, i) => whole(sizeOf(s), 2, `${i}`)) as [number[], number[]];
        const seed = whole(v.n * v.o * (v.h + 9) * (v.w + 9), 2, 'g');
        const exact = convolved(v, x, w, (at) => seed[at] as number);
        const a = placed(x, shapes[0], dtype);
        const b = placed(w, shapes[1], 'f32');
        for (const t of [a, b]) t.requiresGrad = true;
        const y = conv2d(a, b, null, options);
        await expectExact(y, exact.y, 'y');
        // The second gradient of the weights is added to the first where it is made.
        y.add(conv2d(a, b, null, options)).backward(placed(seed.slice(0, exact.y.length), exact.shape, dtype));
        const twice = (of: Float64Array) => of.map((d) => 2 * d);
        await expectExact(a.grad as Tensor, twice(exact.dx), 'dx');
        await expectExact(b.grad as Tensor, twice(exact.dw), 'dw');
      }),
    );
});
