/**
 * Products, convolutions and attention at the sizes where a GPU's kernels change: every tile, cuts along k, heads of every width. Against the plain
 * f64 kernels on the same rounded operands. The simulated GPU has few multiprocessors (test/helpers/device.ts), so that small
 * operands reach the large tiles.
 */
import { describe, expect, test } from 'vitest';
import {
  attention,
  avgPool2d,
  conv2d,
  embedding,
  type FloatDType,
  fusedBias,
  linear,
  logSumExp,
  matmul,
  max,
  maxPool2d,
  mean,
  prod,
  scope,
  sum,
  type Tensor,
  tensor,
  variance,
} from '../../lib/index.ts';
import { toFormat } from '../../lib/ops/define.ts';
import { recurrent } from '../../lib/ops/recurrent.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { sizeOf } from '../../lib/tensor/shape.ts';
import { difference } from '../helpers/compare.ts';
import { deviceFor } from '../helpers/device.ts';
import { rounded, unitRoundoff } from '../helpers/rounding.ts';

type Floats = 'f32' | 'bf16' | 'f16';
interface Operand {
  shape: number[];
  /** f32 beside 16-bit activations. */
  wide?: boolean;
}
type Op = (operands: Tensor[]) => Tensor;

/** Numbers from -1 to 1, already such as `dtype` can hold. */
function drawn({ shape, wide }: Operand, i: number, dtype: Floats): Float64Array {
  const stream = new PhiloxStream(5, `operand ${i}`);
  return rounded(
    Float64Array.from({ length: sizeOf(shape) }, () => 2 * stream.uniform() - 1),
    wide ? 'f32' : dtype,
  );
}

/** The result and every operand's gradient, computed in `dtype`, from operands and an output gradient that `held` holds. */
const compute = (op: Op, operands: Operand[], dtype: FloatDType, held: Floats) =>
  scope.run(async () => {
    const on = deviceFor(dtype);
    const place = (o: Operand, i: number) =>
      tensor(drawn(o, i, held), { shape: o.shape, dtype: dtype === 'f64' ? 'f64' : o.wide ? 'f32' : dtype, device: on });
    const inputs = operands.map(place);
    for (const t of inputs) t.requiresGrad = true;
    const out = op(inputs);
    out.backward(place({ shape: [...out.shape] }, 99));
    const all = [out, ...inputs.map((t) => t.grad as Tensor)];
    return Promise.all(all.map(async (t) => ({ shape: t.shape, data: await t.data(), dtype: t.dtype })));
  });

async function compare(op: Op, operands: Operand[], dtype: Floats): Promise<void> {
  const [actual, exact] = [await compute(op, operands, dtype, dtype), await compute(op, operands, 'f64', dtype)];
  for (const [i, a] of actual.entries()) {
    const kind = a.dtype as Floats;
    const expected = { shape: exact[i]?.shape as number[], data: rounded(exact[i]?.data as Float64Array, kind) };
    // One rounding forward; gradients pass through values that were rounded.
    const limit = (i === 0 ? 1e-5 : 1e-4) + (dtype === 'f32' ? 0 : (i === 0 ? 2 : 8) * unitRoundoff[dtype]);
    const { error, at } = difference(a, expected);
    expect(error, `${i === 0 ? 'result' : `gradient ${i - 1}`}: ${at}`).toBeLessThan(limit);
  }
}

const each = (name: string, op: Op, ...operands: Operand[]) => {
  for (const dtype of ['f32', 'bf16', 'f16'] as const) test(`${name}, ${dtype}`, () => compare(op, operands, dtype));
};

describe('matmul', () => {
  for (const [m, n, k] of [
    [128, 128, 64],
    [200, 150, 40],
    [129, 67, 33],
    [70, 40, 72],
    [130, 34, 31],
    [33, 20, 48],
    [1, 129, 70],
    [40, 40, 1100],
    [130, 130, 1030],
    [260, 260, 264],
    [261, 259, 263],
    [264, 264, 264],
    [272, 272, 272],
    [400, 40, 40],
    [399, 39, 41],
    [40, 40, 400],
    [41, 39, 399],
  ] as const) {
    each(`${m} x ${n}, k ${k}`, ([a, b]) => matmul(a as Tensor, b as Tensor), { shape: [m, k] }, { shape: [k, n] });
    each(
      `both transposed, ${m} x ${n}, k ${k}`,
      ([a, b]) => matmul(a as Tensor, b as Tensor, { transposeA: true, transposeB: true }),
      { shape: [k, m] },
      { shape: [n, k] },
    );
  }
  for (const [m, n, k] of [
    [260, 264, 72],
    [261, 259, 71],
    [400, 40, 48],
    [33, 20, 24],
  ] as const) {
    each(
      `linear with a bias, ${m} x ${n}, k ${k}`,
      ([x, w, b]) => linear(x as Tensor, w as Tensor, b),
      { shape: [m, k] },
      { shape: [n, k] },
      { shape: [n], wide: true },
    );
    // The second gradient is added to the first where it is made.
    each(
      `two products of one operand, ${m} x ${n}, k ${k}`,
      ([x, w, v]) => matmul(x as Tensor, w as Tensor).add(matmul(x as Tensor, v as Tensor)),
      { shape: [m, k] },
      { shape: [k, n] },
      { shape: [k, n] },
    );
  }
  for (const [m, n, k] of [
    [33, 20, 24],
    [70, 40, 72],
    [129, 67, 33],
    [260, 264, 72],
  ] as const)
    each(
      `two layers of one operand, ${m} x ${n}, k ${k}`,
      ([x, w, v]) => linear(x as Tensor, w as Tensor).add(linear(x as Tensor, v as Tensor)),
      { shape: [m, k] },
      { shape: [n, k] },
      { shape: [n, k] },
    );
  each('a batch of 3', ([a, b]) => matmul(a as Tensor, b as Tensor), { shape: [3, 70, 41] }, { shape: [3, 41, 66] });
  each(
    'linear with a bias',
    ([x, w, b]) => linear(x as Tensor, w as Tensor, b),
    { shape: [131, 48] },
    { shape: [65, 48] },
    { shape: [65], wide: true },
  );
});

describe('conv2d', () => {
  const conv =
    (options: object): Op =>
    ([x, w, b]) =>
      conv2d(x as Tensor, w as Tensor, b ?? null, options);
  const operands = (n: number, cin: number, size: number, cout: number, kernel: number): Operand[] => [
    { shape: [n, cin, size, size] },
    { shape: [cout, cin, kernel, kernel] },
    { shape: [cout], wide: true },
  ];
  each('72 of 72 channels, 1 x 1', conv({}), ...operands(2, 72, 10, 72, 1));
  each('40 of 40 channels, 3 x 3', conv({ padding: 1 }), ...operands(2, 40, 9, 40, 3));
  each('66 of 9 channels, 3 x 3, stride 2', conv({ stride: 2, padding: 1 }), ...operands(3, 9, 15, 66, 3));
  each('72 of 72 channels, 1 x 1, 600 places', conv({}), ...operands(6, 72, 10, 72, 1));
  each('40 of 40 channels, 1 x 1, 600 places', conv({}), ...operands(6, 40, 10, 40, 1));
  each('72 of 72 channels, 3 x 3', conv({ padding: 1 }), ...operands(2, 72, 8, 72, 3));
  each('400 of 6 channels, 3 x 3', conv({ padding: 1 }), ...operands(1, 6, 8, 400, 3));
  each('5 of 3 channels, 5 x 5', conv({ padding: 2 }), ...operands(1, 3, 12, 5, 5));
  // Windows that reach beyond every edge, in the tiles for many channels.
  each('136 of 24 channels, 5 x 5, padding 3', conv({ padding: 3 }), ...operands(2, 24, 7, 136, 5));
  each(
    '130 of 130 channels, 3 x 3, stride 2, dilation 2',
    conv({ stride: 2, padding: 2, dilation: 2 }),
    ...operands(3, 130, 9, 130, 3),
  );
  each('264 of 40 channels, 2 x 2, 1200 places', conv({}), ...operands(3, 40, 21, 264, 2));
  each('40 of 3 channels, 1 x 1, 3000 places, then relu', conv({ activation: 'relu' }), ...operands(12, 3, 16, 40, 1));
  for (const channels of [40, 41, 136])
    each(`${channels} of 8 channels, then relu`, conv({ padding: 1, activation: 'relu' }), ...operands(2, 8, 12, channels, 3));
});

describe('attention', () => {
  const heads =
    (options: object): Op =>
    ([q, k, v]) =>
      attention(q as Tensor, k as Tensor, v as Tensor, options);
  const operands = (tq: number, tk: number, d: number): Operand[] => [
    { shape: [1, 2, tq, d] },
    { shape: [1, 2, tk, d] },
    { shape: [1, 2, tk, d] },
  ];
  for (const causal of [false, true])
    for (const d of [20, 32, 61, 64, 80, 128, 160])
      each(`heads of ${d}${causal ? ', causal' : ''}`, heads({ causal }), ...operands(70, 70, d));
  each('heads of 1400', heads({}), ...operands(5, 7, 1400));
  each('one query of 200 keys', heads({ causal: true }), ...operands(1, 200, 64));
  each('fewer keys than queries', heads({}), ...operands(130, 3, 64));
});

describe('reductions', () => {
  const rules = { sum, mean, max, logSumExp, variance };
  for (const [name, rule] of Object.entries(rules))
    for (const shape of [
      [1, 20_001, 1],
      [1, 3000, 5],
      [3, 5000, 1],
      [2, 700, 130],
    ])
      each(`${name} of [${shape}]`, ([x]) => rule(x as Tensor, { axis: 1 }), { shape });
  // Factors near 1, so that a long product stays a number.
  for (const shape of [
    [1, 20_001, 1],
    [1, 3000, 5],
  ])
    test(`prod of [${shape}]`, () => compare(([x]) => prod((x as Tensor).mul(1e-3).add(1), { axis: 1 }), [{ shape }], 'f32'));
});

describe('fusedBias', () => {
  for (const activation of ['none', 'relu', 'gelu', 'geluTanh'] as const)
    for (const shape of [
      [33, 65],
      [7, 64],
      [400, 24],
      [40, 300],
      [40, 1301],
    ])
      each(
        `${activation}, [${shape}]`,
        ([x, bias]) => fusedBias(x as Tensor, { bias: bias as Tensor, activation }),
        { shape },
        { shape: [shape[1] as number], wide: true },
      );
});

describe('pooling', () => {
  // Windows that lie over each other, reach beyond the edges, and leave rows and columns out.
  for (const [kernelSize, stride, padding] of [
    [2, 2, 0],
    [3, 2, 1],
    [3, 1, 1],
    [2, 3, 0],
    [5, 2, 2],
    [17, 5, 8],
  ] as const)
    for (const format of ['contiguous', 'channelsLast'] as const)
      for (const pool of [maxPool2d, avgPool2d])
        each(
          `${pool.name} ${kernelSize} by ${stride}, padding ${padding}, ${format}`,
          ([x]) => pool(toFormat(x as Tensor, format), { kernelSize, stride, padding }),
          { shape: [2, 16, 19, 22] },
        );
});

describe('recurrent cells, saturated too', () => {
  for (const [mode, gates] of [
    ['lstm', 4],
    ['gru', 3],
    ['tanh', 1],
  ] as const)
    each(
      mode,
      ([x, ih, hh, b, c]) => {
        const weights = { ih: ih as Tensor, hh: hh as Tensor, biasIh: b as Tensor, biasHh: c as Tensor };
        return recurrent(mode, (x as Tensor).mul(4), weights, {}).output;
      },
      { shape: [1, 9, 7] },
      { shape: [gates * 24, 7] },
      { shape: [gates * 24, 24] },
      { shape: [gates * 24], wide: true },
      { shape: [gates * 24], wide: true },
    );
});

describe('embedding', () => {
  for (const [v, d, n] of [
    [7, 5, 33],
    [50, 64, 400],
    [1000, 24, 7],
  ] as const) {
    const rows = Int32Array.from({ length: n }, (_, i) => (i * i * 7) % v);
    each(`${n} of [${v}, ${d}]`, ([w]) => embedding(tensor(rows, { shape: [n], device: (w as Tensor).device }), w as Tensor), {
      shape: [v, d],
    });
  }
});
