/**
 * Every op in f32, bf16 and f16, forward and backward, at sizes that no vector, warp or tile divides, in each role that a dimension can have, 0 included; and from
 * memory that begins at an odd element. Against the plain f64 kernels on the same rounded operands.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { native } from '../../lib/native/run.ts';
import { attention, packedAttention } from '../../lib/ops/attention.ts';
import * as binary from '../../lib/ops/binary.ts';
import { conv2d } from '../../lib/ops/conv.ts';
import { zeros } from '../../lib/ops/create.ts';
import { cast, toFormat } from '../../lib/ops/define.ts';
import { dropout, dropout2d, fusedBias } from '../../lib/ops/dropout.ts';
import { embedding } from '../../lib/ops/embedding.ts';
import { feedForward } from '../../lib/ops/feedforward.ts';
import { broadcastTo, concat, flip, narrow, pad, permute, split, stack } from '../../lib/ops/index.ts';
import { linear } from '../../lib/ops/linear.ts';
import { bceWithLogits, crossEntropy, huber, kl, type Loss, l1, mse } from '../../lib/ops/loss.ts';
import { matmul } from '../../lib/ops/matmul.ts';
import { batchNorm, groupNorm, layerNorm, rmsNorm } from '../../lib/ops/norm.ts';
import { avgPool2d, maxPool2d } from '../../lib/ops/pool.ts';
import { recurrent } from '../../lib/ops/recurrent.ts';
import * as reduce from '../../lib/ops/reduce.ts';
import { gather, topK, where } from '../../lib/ops/select.ts';
import { logSoftmax, softmax } from '../../lib/ops/softmax.ts';
import * as unary from '../../lib/ops/unary.ts';
import { reshape } from '../../lib/ops/view.ts';
import { bind, type Rng } from '../../lib/tensor/context.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';
import type { DType, FloatDType } from '../../lib/tensor/dtype.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { FORWARD, GRADIENT } from '../golden/run.ts';
import { againstExact, type Held, roundings } from '../helpers/bounds.ts';
import { deviceFor } from '../helpers/device.ts';
import { placed, sizeOf } from '../helpers/place.ts';
import { rounded, unitRoundoff } from '../helpers/rounding.ts';

type Floats = 'f32' | 'bf16' | 'f16';
interface Operand {
  shape: number[];
  low?: number;
  high?: number;
  /** f32 beside 16-bit activations: parameters and statistics. */
  wide?: boolean;
  /** Whole numbers below this, as i32. */
  below?: number;
  bool?: boolean;
  /** Takes no gradient. */
  fixed?: boolean;
}
interface Call {
  /** Which dimension has the size. */
  role: string;
  operands: Operand[];
  op: (...t: Tensor[]) => Tensor | readonly Tensor[];
  /** The smallest size that the op takes in this role; default 0. */
  from?: number;
  /** Sizes above are left out: the other dimensions make it large enough. */
  upTo?: number;
  /** Terms cancel: roundings count against a result smaller than they are. */
  cancels?: number;
}
type Row = (n: number) => Call[];

// ---- operands ---------------------------------------------------------------------------------------------------------------

/** Numbers that `held` holds, the same each time. */
function drawn(o: Operand, i: number, held: Floats): Float64Array {
  const stream = new PhiloxStream(31, `operand ${i}`);
  const { low = -1.5, high = 1.5 } = o;
  const draw = () =>
    o.below !== undefined
      ? Math.floor(stream.uniform() * o.below)
      : o.bool
        ? +(stream.uniform() < 0.6)
        : low + (high - low) * stream.uniform();
  const data = Float64Array.from({ length: sizeOf(o.shape) }, draw);
  return o.below !== undefined || o.bool ? data : rounded(data, o.wide ? 'f32' : held);
}
/** The operand as a leaf, `offset` elements into its memory. */
function leaf(o: Operand, i: number, dtype: FloatDType, held: Floats, offset: number): Tensor {
  const own: DType = o.bool ? 'bool' : o.below !== undefined ? 'i32' : o.wide && dtype !== 'f64' ? 'f32' : dtype;
  const data = drawn(o, i, held);
  const flat = new Float64Array(data.length + offset);
  flat.set(data, offset);
  const memory = placed(flat, [flat.length], own).to(deviceFor(dtype));
  const t = reshape(narrow(memory, 0, offset, data.length), o.shape).detach();
  if (t.size) expect(t.offset > 0, 'where an operand begins').toBe(offset > 0);
  if (!o.fixed && !o.bool && o.below === undefined) t.requiresGrad = true;
  return t;
}

interface Results {
  outputs: Held[];
  gradients: (Held | undefined)[];
}
const read = async (t: Tensor): Promise<Held> => ({ shape: t.shape, dtype: t.dtype, data: await t.data() });
const isFloat = (t: Tensor) => t.dtype in unitRoundoff;

const step = (): Rng => ({ seed: 11, attempt: 2, rowOffset: 1, rows: 0, calls: new Map(), inStep: true });

const results = ({ op, operands }: Call, dtype: FloatDType, held: Floats, offset: number): Promise<Results> =>
  scope.run(async () => {
    const inputs = operands.map((o, i) => leaf(o, i, dtype, held, offset));
    const made = bind({ rng: step() }, () => op(...inputs));
    const outputs = (Array.isArray(made) ? made : [made]) as Tensor[];
    const tracked = outputs.filter((t) => isFloat(t) && t.node);
    const seeds = tracked.map((t, k) => leaf({ shape: [...t.shape], fixed: true }, 90 + k, t.dtype as FloatDType, held, offset));
    if (tracked.length === 1) (tracked[0] as Tensor).backward(seeds[0] as Tensor);
    else if (tracked.length)
      tracked
        .map((t, k) => reduce.sum(binary.mul(t, seeds[k] as Tensor)))
        .reduce((a, b) => binary.add(a, b))
        .backward();
    return {
      outputs: await Promise.all(outputs.map(read)),
      gradients: await Promise.all(inputs.map(async (t) => (t.grad ? read(t.grad) : undefined))),
    };
  });

async function compare(what: string, c: Call, dtype: Floats, offset = 0): Promise<void> {
  const [actual, exact] = [await results(c, dtype, dtype, offset), await results(c, 'f64', dtype, 0)];
  const unit = dtype === 'f32' ? 0 : 2 * unitRoundoff[dtype]; // twice: the reference is rounded too
  const many = c.cancels ?? 1;
  for (const [k, out] of actual.outputs.entries())
    againstExact(`${what}: result ${k}`, out, exact.outputs[k] as Held, {
      f32: FORWARD,
      rounding: unit * roundings.forward * many,
      elementwise: false,
    });
  for (const [i, o] of c.operands.entries()) {
    const [g, e] = [actual.gradients[i], exact.gradients[i]];
    expect(!g, `${what}: gradient ${i} arrives`).toBe(!e);
    if (!g || !e) continue;
    expect(g.shape, `${what}: gradient ${i}`).toEqual(o.shape);
    againstExact(`${what}: gradient ${i}`, g, e, { f32: GRADIENT, rounding: unit * roundings.grad * many, elementwise: false });
  }
}

// ---- the table --------------------------------------------------------------------------------------------------------------

const x = (...shape: number[]): Operand => ({ shape });
const w = (...shape: number[]): Operand => ({ shape, wide: true });
const positive = (...shape: number[]): Operand => ({ shape, low: 0.25, high: 2 });
const between = (low: number, high: number, ...shape: number[]): Operand => ({ shape, low, high });
const index = (below: number, ...shape: number[]): Operand => ({ shape, below });

/** One operand, of any shape: elementwise. */
const elementwise =
  (op: (t: Tensor) => Tensor, of = x): Row =>
  (n) => [{ role: 'elements', operands: [of(n)], op }];
const pairwise =
  (op: (a: Tensor, b: Tensor) => Tensor, of = x): Row =>
  (n) => [
    { role: 'elements', operands: [of(n), of(n)], op },
    { role: 'columns, one row repeated', operands: [of(3, n), of(n)], op, cancels: 2 },
    { role: 'rows, one column repeated', operands: [of(n, 1), of(n, 5)], op, cancels: 2 },
  ];
/** Along the last dimension, the first, and one between. */
const along =
  (
    op: (t: Tensor, axis: number) => Tensor | readonly Tensor[],
    { of = x, from = 0 }: { of?: typeof x; from?: number } = {},
  ): Row =>
  (n) => [
    { role: 'rows', operands: [of(n, 5)], op: (t) => op(t, 1) },
    { role: 'columns', operands: [of(3, n)], op: (t) => op(t, 1), from },
    { role: 'columns kept', operands: [of(3, n)], op: (t) => op(t, 0) },
    { role: 'rows reduced', operands: [of(n, 5)], op: (t) => op(t, 0), from },
    { role: 'between', operands: [of(2, n, 3)], op: (t) => op(t, 1), from },
  ];
const sumOf = (loss: Loss): Tensor => loss.terms[0]?.sum as Tensor;

const unaries = Object.fromEntries(
  Object.entries({
    neg: unary.neg,
    abs: unary.abs,
    exp: unary.exp,
    expm1: unary.expm1,
    square: unary.square,
    sin: unary.sin,
    cos: unary.cos,
    tan: (t: Tensor) => unary.tan(t.mul(0.5)),
    asin: (t: Tensor) => unary.asin(t.mul(0.5)),
    acos: (t: Tensor) => unary.acos(t.mul(0.5)),
    atan: unary.atan,
    sinh: unary.sinh,
    cosh: unary.cosh,
    exp2: unary.exp2,
    tanh: unary.tanh,
    sigmoid: unary.sigmoid,
    relu: unary.relu,
    silu: unary.silu,
    softplus: unary.softplus,
    erf: unary.erf,
    floor: unary.floor,
    ceil: unary.ceil,
    round: unary.round,
    sign: unary.sign,
    leakyRelu: unary.leakyRelu,
    elu: unary.elu,
    gelu: unary.gelu,
    geluTanh: (t: Tensor) => unary.gelu(t, { approximate: 'tanh' }),
    clamp: (t: Tensor) => unary.clamp(t, { min: -0.5, max: 0.75 }),
  }).map(([name, op]) => [name, elementwise((t) => op(t))]),
);
const ofPositives = Object.fromEntries(
  Object.entries({
    log: unary.log,
    log2: unary.log2,
    log10: unary.log10,
    log1p: unary.log1p,
    sqrt: unary.sqrt,
    rsqrt: unary.rsqrt,
    reciprocal: unary.reciprocal,
    powScalar: (t: Tensor) => binary.pow(t, 2.5),
  }).map(([name, op]) => [name, elementwise((t) => op(t), positive)]),
);
const { atan2, fmod, remainder, floorDivide, bitwiseAnd, bitwiseOr, bitwiseXor } = binary;
const { add, sub, mul, maximum, minimum, eq, ne, lt, le, gt, ge, div, pow } = binary;

const table: { readonly [kind: string]: { readonly [name: string]: Row } } = {
  unary: { ...unaries, ...ofPositives },
  binary: {
    ...Object.fromEntries(
      Object.entries({ add, sub, mul, maximum, minimum, eq, ne, lt, le, gt, ge }).map(([name, op]) => [name, pairwise(op)]),
    ),
    ...Object.fromEntries(Object.entries({ div, pow, atan2 }).map(([name, op]) => [name, pairwise(op, positive)])),
    // Quotients jump: here they are 2 and a half, about.
    ...Object.fromEntries(
      Object.entries({ fmod, remainder, floorDivide }).map(([name, op]): [string, Row] => [
        name,
        (n) => [
          { role: 'elements', operands: [between(2.3, 2.7, n), between(0.97, 1.03, n)], op },
          { role: 'one row repeated', operands: [between(2.3, 2.7, 3, n), between(0.97, 1.03, n)], op, cancels: 2 },
        ],
      ]),
    ),
    bits: (n) => [
      {
        role: 'elements',
        operands: [index(99, n), index(99, n)],
        op: (a, b) => [bitwiseAnd(a, b), bitwiseOr(a, b), bitwiseXor(a, b)],
      },
    ],
  },
  reduce: {
    sum: along((t, axis) => reduce.sum(t, { axis })),
    mean: along((t, axis) => reduce.mean(t, { axis })),
    'sum of all': elementwise((t) => reduce.sum(t)),
    prod: along((t, axis) => reduce.prod(t, { axis }), { of: (...shape) => ({ shape, low: 0.9, high: 1.1 }) }),
    max: along((t, axis) => reduce.max(t, { axis }), { from: 1 }),
    min: along((t, axis) => reduce.min(t, { axis }), { from: 1 }),
    argmax: along((t, axis) => reduce.argmax(t, { axis }), { from: 1 }),
    argmin: along((t, axis) => reduce.argmin(t, { axis }), { from: 1 }),
    logSumExp: along((t, axis) => reduce.logSumExp(t, { axis })),
    variance: along((t, axis) => reduce.variance(t, { axis }), { from: 2 }),
    std: along((t, axis) => reduce.std(t, { axis }), { from: 2 }),
    softmax: along((t, axis) => softmax(t, { axis })),
    logSoftmax: along((t, axis) => logSoftmax(t, { axis })),
  },
  norm: {
    layerNorm: (n) => [
      { role: 'rows', operands: [x(n, 12), w(12), w(12)], op: (a, b, c) => layerNorm(a, b, c), cancels: 2 },
      { role: 'columns', operands: [x(3, n), w(n), w(n)], op: (a, b, c) => layerNorm(a, b, c), from: 2, cancels: 2 },
    ],
    rmsNorm: (n) => [
      { role: 'rows', operands: [x(n, 12), w(12)], op: (a, b) => rmsNorm(a, b), cancels: 2 },
      { role: 'columns', operands: [x(3, n), w(n)], op: (a, b) => rmsNorm(a, b), from: 1, cancels: 2 },
    ],
    groupNorm: (n) => [
      { role: 'batch', operands: [x(n, 4, 2, 3), w(4), w(4)], op: (a, b, c) => groupNorm(a, b, c, { numGroups: 2 }), cancels: 2 },
      {
        role: 'channels',
        operands: [x(2, n, 3, 2), w(n), w(n)],
        op: (a, b, c) => groupNorm(a, b, c, { numGroups: 1 }),
        from: 1,
        cancels: 2,
      },
      {
        role: 'image',
        operands: [x(2, 4, n, 3), w(4), w(4)],
        op: (a, b, c) => groupNorm(a, b, c, { numGroups: 2 }),
        from: 1,
        cancels: 2,
      },
    ],
    batchNorm: (n) =>
      (['contiguous', 'channelsLast'] as const).flatMap((format): Call[] => {
        const op = (a: Tensor, b: Tensor, c: Tensor) => batchNorm(toFormat(a, format), b, c, null, null, { training: true });
        return [
          { role: `batch, ${format}`, operands: [x(n, 4, 2, 3), w(4), w(4)], op, from: 1, cancels: 2 },
          { role: `channels, ${format}`, operands: [x(3, n, 3, 2), w(n), w(n)], op, from: 1, cancels: 2 },
          { role: `image, ${format}`, operands: [x(2, 4, n, 3), w(4), w(4)], op, from: 1, cancels: 2 },
        ];
      }),
  },
  matmul: {
    matmul: (n) =>
      [false, true].flatMap((transposeA) =>
        [false, true].flatMap((transposeB): Call[] => {
          const of = (m: number, k: number, c: number) => [transposeA ? x(k, m) : x(m, k), transposeB ? x(c, k) : x(k, c)];
          const op = (a: Tensor, b: Tensor) => matmul(a, b, { transposeA, transposeB });
          const name = `${transposeA ? 'T' : 'N'}${transposeB ? 'T' : 'N'}`;
          return [
            { role: `rows ${name}`, operands: of(n, 9, 10), op },
            { role: `columns ${name}`, operands: of(9, 10, n), op },
            { role: `inner ${name}`, operands: of(5, n, 9), op },
          ];
        }),
      ),
    'matmul of batches': (n) => [
      { role: 'batch', operands: [x(n, 3, 5), x(n, 5, 2)], op: (a, b) => matmul(a, b) },
      { role: 'batch, one repeated', operands: [x(n, 3, 5), x(5, 2)], op: (a, b) => matmul(a, b), cancels: 2 },
    ],
    linear: (n) => [
      { role: 'rows', operands: [x(n, 9), x(10, 9), w(10)], op: (a, b, c) => linear(a, b, c) },
      { role: 'inputs', operands: [x(6, n), x(10, n), w(10)], op: (a, b, c) => linear(a, b, c) },
      {
        role: 'outputs, gelu',
        operands: [x(6, 9), x(n, 9), w(n)],
        op: (a, b, c) => linear(a, b, c, { activation: 'gelu' }),
        cancels: 2,
      },
    ],
    feedForward: (n) =>
      (['none', 'tanh'] as const).flatMap((approximate): Call[] => {
        const op = (a: Tensor, u: Tensor, ub: Tensor, d: Tensor, db: Tensor) =>
          feedForward(a, { weight: u, bias: ub }, { weight: d, bias: db }, { approximate });
        const of = (rows: number, width: number, inner: number) => [
          x(rows, width),
          x(inner, width),
          w(inner),
          x(width, inner),
          w(width),
        ];
        return [
          { role: `rows, ${approximate}`, operands: of(n, 6, 8), op, cancels: 2 },
          { role: `inner, ${approximate}`, operands: of(3, 6, n), op, cancels: 2 },
        ];
      }),
  },
  attention: {
    attention: (n) => {
      const op = (q: Tensor, k: Tensor, v: Tensor) => attention(q, k, v, { causal: true });
      return [
        { role: 'sequence', operands: [x(1, 2, n, 8), x(1, 2, n, 8), x(1, 2, n, 8)], op, upTo: 129, cancels: 2 },
        {
          role: 'queries',
          operands: [x(1, 2, n, 8), x(1, 1, 9, 8), x(1, 1, 9, 8)],
          op: (q, k, v) => attention(q, k, v),
          cancels: 2,
        },
        {
          role: 'keys',
          operands: [x(1, 2, 5, 8), x(1, 1, n, 8), x(1, 1, n, 8)],
          op: (q, k, v) => attention(q, k, v),
          cancels: 2,
        },
        { role: 'batch', operands: [x(n, 1, 4, 8), x(n, 1, 4, 8), x(n, 1, 4, 8)], op, upTo: 129, cancels: 2 },
        { role: 'width', operands: [x(1, 1, 6, n), x(1, 1, 6, n), x(1, 1, 6, n)], op, upTo: 33, cancels: 2 },
      ];
    },
    packedAttention: (n) => [
      {
        role: 'sequence',
        operands: [x(1, n, 3 * 16)],
        op: (t) => packedAttention(t, { heads: 2, causal: true }),
        upTo: 129,
        cancels: 2,
      },
    ],
  },
  conv: {
    conv2d: (n) =>
      (['contiguous', 'channelsLast'] as const).flatMap((format): Call[] => {
        const op = (a: Tensor, b: Tensor, c: Tensor) => conv2d(toFormat(a, format), b, c, { padding: 1 });
        return [
          { role: `batch, ${format}`, operands: [x(n, 3, 4, 4), x(5, 3, 3, 3), w(5)], op, upTo: 129 },
          { role: `channels, ${format}`, operands: [x(1, n, 4, 3), x(5, n, 3, 3), w(5)], op, upTo: 129 },
          { role: `outputs, ${format}`, operands: [x(1, 3, 4, 3), x(n, 3, 3, 3), w(n)], op, from: 1 },
          { role: `image, ${format}`, operands: [x(1, 2, n, 3), x(3, 2, 3, 3), w(3)], op, from: 1 },
        ];
      }),
    'conv2d with relu, summed twice': (n) => [
      {
        role: 'batch',
        operands: [x(n, 3, 4, 4), x(5, 3, 3, 3), w(5)],
        op: (a, b, c) => conv2d(a, b, c, { activation: 'relu' }),
        from: 1,
        upTo: 33,
      },
    ],
    pools: (n) =>
      (['contiguous', 'channelsLast'] as const).flatMap((format): Call[] => {
        const op = (a: Tensor) => [
          maxPool2d(toFormat(a, format), { kernelSize: 2 }),
          avgPool2d(toFormat(a, format), { kernelSize: 2 }),
        ];
        return [
          { role: `batch, ${format}`, operands: [x(n, 3, 4, 5)], op },
          { role: `channels, ${format}`, operands: [x(2, n, 4, 5)], op },
          { role: `image, ${format}`, operands: [x(2, 3, n, 5)], op, from: 2 },
        ];
      }),
    layout: (n) => [
      { role: 'channels', operands: [x(2, n, 3, 5)], op: (t) => toFormat(toFormat(t, 'channelsLast').mul(2), 'contiguous') },
      { role: 'image', operands: [x(2, 3, n, 5)], op: (t) => toFormat(toFormat(t, 'channelsLast').mul(2), 'contiguous') },
    ],
  },
  index: {
    moves: (n) => [
      { role: 'permute', operands: [x(2, n, 3)], op: (t) => permute(t, [2, 0, 1]) },
      { role: 'transpose', operands: [x(n, 33)], op: (t) => t.transpose(0, 1) },
      { role: 'flip', operands: [x(n, 3)], op: (t) => flip(t) },
      {
        role: 'pad',
        operands: [x(n, 3)],
        op: (t) =>
          pad(t, [
            [1, 2],
            [0, 1],
          ]),
      },
      { role: 'concat', operands: [x(3, n), x(3, 5)], op: (a, b) => concat([a, b], { axis: 1 }) },
      { role: 'stack', operands: [x(n, 3), x(n, 3)], op: (a, b) => stack([a, b], { axis: 1 }) },
      { role: 'narrow', operands: [x(3, n)], op: (t) => narrow(t, 1, Math.min(1, n), Math.max(0, n - 2)) },
      { role: 'split', operands: [x(n, 5)], op: (t) => split(t, 3, { axis: 1 }) },
      { role: 'broadcastTo', operands: [x(n, 1)], op: (t) => broadcastTo(t, [2, n, 3]), cancels: 2 },
    ],
    where: (n) => [
      { role: 'columns', operands: [{ shape: [3, 1], bool: true }, x(n), x(3, n)], op: (c, a, b) => where(c, a, b), cancels: 2 },
    ],
    gather: (n) => [
      { role: 'indices', operands: [x(3, 5), index(5, 3, n)], op: (t, i) => gather(t, i, { axis: 1 }), cancels: 2 },
      { role: 'rows', operands: [x(n, 5), index(5, n, 2)], op: (t, i) => gather(t, i, { axis: 1 }), cancels: 2 },
    ],
    topK: (n) => [
      { role: 'columns', operands: [x(2, n)], op: (t) => Object.values(topK(t, Math.ceil(n / 2))) },
      { role: 'rows', operands: [x(n, 5)], op: (t) => Object.values(topK(t, 2)) },
    ],
    embedding: (n) => [
      { role: 'indices', operands: [index(6, n), x(6, 9)], op: (i, t) => embedding(i, t), cancels: 2 },
      { role: 'width', operands: [index(6, 11), x(6, n)], op: (i, t) => embedding(i, t), cancels: 2 },
      { role: 'rows', operands: [index(Math.max(1, n), 11), x(n, 3)], op: (i, t) => embedding(i, t), from: 1, cancels: 2 },
    ],
    cast: (n) => [{ role: 'elements', operands: [x(n)], op: (t) => mul(t.dtype === 'f64' ? t : cast(t, 'f32'), 1) }],
  },
  loss: {
    crossEntropy: (n) => [
      { role: 'rows', operands: [x(n, 10), index(10, n)], op: (a, t) => sumOf(crossEntropy(a, t, { labelSmoothing: 0.1 })) },
      { role: 'classes', operands: [x(3, n), index(n, 3)], op: (a, t) => sumOf(crossEntropy(a, t)), from: 1 },
      {
        role: 'rows of distributions',
        operands: [x(n, 10), { shape: [n, 10], low: 0, high: 1 }],
        op: (a, t) => sumOf(crossEntropy(a, t)),
        cancels: 2,
      },
    ],
    elementwise: (n) =>
      Object.entries({ mse, l1, huber, bceWithLogits, kl, klLog: (a: Tensor, b: Tensor) => kl(a, b, { logTarget: true }) }).map(
        ([role, loss]): Call => ({
          role,
          operands: [x(n), { shape: [n], low: 0.05, high: 1 }],
          op: (a, b) => sumOf(loss(a, b)),
          cancels: 2,
        }),
      ),
    mean: (n) => [{ role: 'rows', operands: [x(n, 10), index(10, n)], op: (a, t) => crossEntropy(a, t).mean() }],
  },
  dropout: {
    dropout: (n) => [
      { role: 'elements', operands: [x(n)], op: (t) => dropout(t, 0.3, { path: 'd' }) },
      { role: 'rows', operands: [x(n, 3)], op: (t) => dropout(t, 0.3, { path: 'd' }) },
    ],
    dropout2d: (n) => [{ role: 'channels', operands: [x(2, n, 2, 2)], op: (t) => dropout2d(t, 0.3, { path: 'd' }) }],
    ...Object.fromEntries(
      (['gelu', 'geluTanh', 'relu', 'none'] as const).map((activation) => [
        `fusedBias ${activation}`,
        (n: number): Call[] => {
          const op = (a: Tensor, bias: Tensor, residual: Tensor) =>
            fusedBias(a, { bias, residual, activation, p: 0.3, path: 'd' });
          return [
            { role: 'rows', operands: [x(n, 9), w(9), x(n, 9)], op },
            { role: 'columns', operands: [x(3, n), w(n), x(3, n)], op },
          ];
        },
      ]),
    ),
  },
  recurrent: Object.fromEntries(
    (
      [
        ['lstm', 4],
        ['gru', 3],
        ['tanh', 1],
      ] as const
    ).map(([mode, gates]) => [
      mode,
      (n: number): Call[] => {
        // The second row of a batch is over after one step.
        const op = (a: Tensor, ih: Tensor, hh: Tensor, b1: Tensor, b2: Tensor) => {
          const lengths = Array.from({ length: a.shape[1] as number }, (_, i) => (i === 1 ? 1 : 2));
          const { output, h } = recurrent(mode, a, { ih, hh, biasIh: b1, biasHh: b2 }, { lengths });
          return [output, h];
        };
        const of = (batch: number, width: number) => [
          x(2, batch, 3),
          x(gates * width, 3),
          { ...x(gates * width, width), low: -1 / (width + 1), high: 1 / (width + 1) },
          w(gates * width),
          w(gates * width),
        ];
        return [
          { role: 'batch', operands: of(n, 5), op, cancels: 4 },
          { role: 'width', operands: of(3, n), op, from: 1, upTo: 129, cancels: 4 },
        ];
      },
    ]),
  ),
};

// ---- what ran ---------------------------------------------------------------------------------------------------------------

/** Ops that are tested elsewhere, and why; every file named runs on both devices too. */
const elsewhere: { readonly [op: string]: string } = {
  'matmul.plain': 'matmul chooses it natively: rows, columns and inner up to 33 above',
  peak: 'a benchmark of the CPU; it has no operands',
  collective: 'test/distributed/group.test.ts: between processes, on the CPU alone',
  ...Object.fromEntries(
    ['randomWords', 'uniform', 'normal', 'randint', 'bernoulli', 'permutation', 'stochasticRound'].map((op) => [
      op,
      'test/ops/random.test.ts: word for word, these sizes',
    ]),
  ),
  ...Object.fromEntries(
    [
      'stepBegin',
      'stepEnd',
      'lossScale',
      'gradNorm',
      'gradScale',
      'sgd',
      'adam',
      'rmsprop',
      'adagrad',
      'lion',
      'lamb',
      'muonMomentum',
      'muon',
      'average',
    ].map((op) => [op, 'test/optim, test/train/stepper.test.ts']),
  ),
};
const ran = new Set<number>();
const untouched = native().run;
beforeAll(() => {
  const n = native();
  n.run = () => {
    if (n.block[6] === defaultDevice().number) ran.add(n.block[0] as number);
    untouched.call(n);
  };
});
afterAll(() => {
  native().run = untouched;
});

const sizes = [0, 1, 7, 33, 129, 1000];
const twice = (c: Call): Call => ({
  ...c,
  op: (...t) => [c.op(...t), c.op(...t)].flat() as Tensor[],
  cancels: 3 * (c.cancels ?? 1),
});
for (const [kind, rows] of Object.entries(table))
  describe(kind, () => {
    for (const [name, row] of Object.entries(rows))
      for (const dtype of ['f32', 'bf16', 'f16'] as const)
        test(`${name} ${dtype}`, async () => {
          for (const n of sizes)
            for (const c of row(n))
              if (n >= (c.from ?? 0) && n <= (c.upTo ?? 1000)) await compare(`${name}, ${c.role} of ${n}`, c, dtype);
        });
    // The second use's gradient is added to the first's, where it is made.
    for (const dtype of ['f32', 'bf16', 'f16'] as const)
      test(`used twice, ${dtype}`, async () => {
        for (const [name, row] of Object.entries(rows))
          for (const n of [8, 33, 40])
            for (const c of row(n))
              if (n <= (c.upTo ?? 1000)) await compare(`${name}, ${c.role} of ${n}, twice`, twice(c), dtype);
      });
    for (const dtype of ['f32', 'bf16', 'f16'] as const)
      test(`from an odd element on, ${dtype}`, async () => {
        for (const [name, row] of Object.entries(rows))
          for (const n of [8, 33])
            for (const c of row(n))
              if (n <= (c.upTo ?? 1000)) await compare(`${name}, ${c.role} of ${n}, at element 1`, c, dtype, 1);
      });
  });

// ---- nothing ----------------------------------------------------------------------------------------------------------------

describe('empty tensors give what PyTorch gives', () => {
  const list = async (t: Tensor) => Array.from(await t.data());
  for (const dtype of ['f32', 'bf16', 'f16'] as const)
    test(dtype, async () => {
      const none = (...shape: number[]) => Object.assign(zeros(shape, { dtype }), { requiresGrad: true });
      const three = (value: number) => [value, value, value];
      expect(await list(reduce.sum(none(0)))).toEqual([0]);
      expect(await list(reduce.sum(none(3, 0), { axis: 1 }))).toEqual(three(0));
      expect(await list(reduce.prod(none(3, 0), { axis: 1 }))).toEqual(three(1));
      expect(await list(reduce.mean(none(3, 0), { axis: 1 }))).toEqual(three(Number.NaN));
      expect(await list(reduce.logSumExp(none(3, 0), { axis: 1 }))).toEqual(three(-Infinity));
      expect(reduce.sum(none(0, 3), { axis: 1 }).shape).toEqual([0]);
      for (const extreme of [reduce.max, reduce.min, reduce.argmax, reduce.argmin])
        expect(() => extreme(none(3, 0), { axis: 1 })).toThrow(/empty|no elements|size 0/);
      const [a, b] = [none(2, 0), none(0, 3)];
      const product = matmul(a, b);
      expect([product.shape, await list(product)]).toEqual([
        [2, 3],
        [...three(0), ...three(0)],
      ]);
      product.sum().backward();
      expect([a.grad?.shape, b.grad?.shape]).toEqual([
        [2, 0],
        [0, 3],
      ]);
      const weight = Object.assign(zeros([4, 3], { dtype }).add(1).detach(), { requiresGrad: true });
      const y = linear(none(0, 3), weight);
      y.sum().backward();
      expect([y.shape, await list(weight.grad as Tensor)]).toEqual([[0, 4], new Array(12).fill(0)]);
      const kernel = Object.assign(zeros([2, 3, 3, 3], { dtype }).add(1).detach(), { requiresGrad: true });
      const image = conv2d(none(0, 3, 5, 5), kernel);
      image.sum().backward();
      expect([image.shape, await list(kernel.grad as Tensor)]).toEqual([[0, 2, 3, 3], new Array(54).fill(0)]);
      const rows = none(6, 4);
      embedding(placed([], [0], 'i32').to(rows.device), rows)
        .sum()
        .backward();
      expect(await list(rows.grad as Tensor)).toEqual(new Array(24).fill(0));
      expect([softmax(none(0, 3)).shape, softmax(none(3, 0)).shape]).toEqual([
        [0, 3],
        [3, 0],
      ]);
      const gamma = Object.assign(zeros([3]).add(1).detach(), { requiresGrad: true });
      layerNorm(none(0, 3), gamma).sum().backward();
      expect(await list(gamma.grad as Tensor)).toEqual(three(0));
      expect(
        await crossEntropy(none(0, 3), placed([], [0], 'i32').to(rows.device))
          .mean()
          .item(),
      ).toBe(0);
    });
});

test('no op of the native table is left out', () => {
  const left = native()
    .info()
    .ops.filter((op, id) => !ran.has(id) && !(op.name in elsewhere));
  expect(left.map((op) => op.name)).toEqual([]);
});
