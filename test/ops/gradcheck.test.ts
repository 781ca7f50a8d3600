/** Every differentiable op, a row or two each: backward against central differences in f64, relative error below 1e-6. */
import { describe, expect, test } from 'vitest';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { outer, repeat, repeatInterleave, roll, tile, tril, triu } from '../../lib/ops/arrange.ts';
import { attention, packedAttention } from '../../lib/ops/attention.ts';
import { add, atan2, div, fmod, maximum, minimum, mul, pow, remainder, sub } from '../../lib/ops/binary.ts';
import { conv2d } from '../../lib/ops/conv.ts';
import { toFormat } from '../../lib/ops/define.ts';
import { dropout, dropout2d, fusedBias } from '../../lib/ops/dropout.ts';
import { einsum } from '../../lib/ops/einsum.ts';
import { embedding } from '../../lib/ops/embedding.ts';
import { feedForward } from '../../lib/ops/feedforward.ts';
import { broadcastTo, concat, flip, narrow, pad, permute, split, stack, transpose } from '../../lib/ops/index.ts';
import { interpolate } from '../../lib/ops/interpolate.ts';
import { linear } from '../../lib/ops/linear.ts';
import { bceWithLogits, crossEntropy, huber, kl, type Loss, l1, lossTerm, mse } from '../../lib/ops/loss.ts';
import { norm } from '../../lib/ops/magnitude.ts';
import { matmul } from '../../lib/ops/matmul.ts';
import { batchNorm, groupNorm, layerNorm, rmsNorm } from '../../lib/ops/norm.ts';
import { avgPool2d, maxPool2d } from '../../lib/ops/pool.ts';
import { logSumExp, max, mean, min, prod, sum, variance } from '../../lib/ops/reduce.ts';
import { cumprod, cumsum, sort } from '../../lib/ops/scan.ts';
import { gather, topK, where } from '../../lib/ops/select.ts';
import { logSoftmax, softmax } from '../../lib/ops/softmax.ts';
import {
  abs,
  acos,
  asin,
  atan,
  ceil,
  clamp,
  cos,
  cosh,
  elu,
  erf,
  exp,
  exp2,
  expm1,
  floor,
  gelu,
  leakyRelu,
  log,
  log1p,
  log2,
  log10,
  neg,
  reciprocal,
  relu,
  round,
  rsqrt,
  sigmoid,
  sign,
  silu,
  sin,
  sinh,
  softplus,
  sqrt,
  square,
  tan,
  tanh,
} from '../../lib/ops/unary.ts';
import { flatten, reshape, squeeze, unsqueeze } from '../../lib/ops/view.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { distinct, next, truths, values, whole } from '../helpers/values.ts';

type Fn = (...inputs: Tensor[]) => Tensor | readonly Tensor[];
type Row = readonly [name: string, fn: Fn, inputs: () => Tensor[]];

const x = () => [values([3, 5])];
const positive = () => [values([3, 5], { low: 0.3, high: 2 })];
const kinky = () => [distinct([3, 5])];
const pairs = (a: number[], b: number[]) => () => [values(a), values(b, { low: 0.5, high: 2 })];
const fixed = (shape: number[], low = -1.5, high = 1.5) => values(shape, { low, high, requiresGrad: false });
/** What a loss is worth, and what divides it. */
const worth = (loss: Loss): Tensor[] => loss.terms.map((t) => t.sum);
/** Ones, but for one 0. */
const zeroAt2 = () =>
  tensor(
    Float64Array.from({ length: 15 }, (_, i) => +(i !== 2)),
    { shape: [3, 5] },
  );
/** Every query may attend to the first key at least. */
const maskOf = (queries: number, keys: number) =>
  tensor(
    Uint8Array.from({ length: queries * keys }, (_, i) => +(i % keys === 0 || next() < 0.5)),
    { shape: [queries, keys], dtype: 'bool' },
  );
const last = (t: Tensor) => toFormat(t, 'channelsLast');
const image = (n = 2, c = 4, h = 5, w = 6) => values([n, c, h, w]);

const rows: { readonly [family: string]: readonly Row[] } = {
  unary: [
    ...Object.entries({
      neg,
      exp,
      expm1,
      square,
      sin,
      cos,
      tanh,
      sigmoid,
      silu,
      softplus,
      erf,
      gelu,
      atan,
      sinh,
      cosh,
      exp2,
    }).map(([name, op]): Row => [name, (t) => op(t), x]),
    ...Object.entries({ log, log1p, sqrt, rsqrt, reciprocal, log2, log10 }).map(
      ([name, op]): Row => [name, (t) => op(t), positive],
    ),
    ...Object.entries({ abs, relu, elu, leakyRelu, floor, ceil, sign }).map(
      ([name, op]): Row => [name, (t) => op(t.add(0.05)), kinky],
    ),
    ...Object.entries({ tan, asin, acos }).map(([name, op]): Row => [name, (t) => op(t.mul(0.5)), x]),
    ['round', (t) => round(t.add(0.03)), kinky],
    ['gelu tanh', (t) => gelu(t, { approximate: 'tanh' }), x],
    ['elu alpha', (t) => elu(t.add(0.05), { alpha: 0.5 }), kinky],
    ['leakyRelu slope', (t) => leakyRelu(t.add(0.05), { slope: 0.3 }), kinky],
    ['clamp', (t) => clamp(t.add(0.05), { min: -0.3, max: 0.5 }), kinky],
    ...[2, 3, 0.5, -0.5, -1, 1.7, 0, 1].map((p): Row => [`pow ${p}`, (t) => pow(t, p), positive]),
    ['scalar', (t) => tanh(t), () => [values([])]],
  ],
  binary: [
    ...Object.entries({ add, sub, mul, div, pow }).flatMap(([name, op]): Row[] => [
      [name, (a, b) => op(a, b), () => [values([3, 5], { low: 0.3, high: 2 }), values([3, 5], { low: 0.5, high: 2 })]],
      [
        `${name} broadcast`,
        (a, b) => op(a, b),
        () => [values([4, 1, 3], { low: 0.3, high: 2 }), values([5, 1], { low: 0.5, high: 2 })],
      ],
      [`${name} number`, (a) => [op(a, 1.7), op(1.7, a)], positive],
      [`${name} itself`, (a) => op(a, a), positive],
    ]),
    ['maximum', (a, b) => maximum(a, b), () => [distinct([3, 5]), values([5], { low: -0.04, high: 0.04 })]],
    ['minimum', (a, b) => minimum(a, b), () => [distinct([3, 5]), values([3, 1], { low: -0.04, high: 0.04 })]],
    ['where', (a, b, c) => where(c, a, b), () => [values([3, 5]), values([5]), truths([3, 5])]],
    ['atan2', (a, b) => [atan2(a, b), atan2(a, 0.7), atan2(0.7, b)], pairs([3, 5], [5])],
    [
      'fmod',
      (a, b) => [fmod(a, b), remainder(a, b)],
      () => [values([3, 5], { low: 2.2, high: 2.8 }), values([5], { low: 0.99, high: 1.01 })],
    ],
    ['mixed layouts', (a, b) => mul(last(a), b), () => [image(), image()]],
  ],
  array: [
    ['cumsum', (t) => cumsum(t, { axis: 1 }), () => [values([2, 5, 3])]],
    ['cumprod', (t) => cumprod(t, { axis: 0 }), () => [values([5, 3])]],
    ['sort', (t) => sort(t, { axis: 0, descending: true }).values, kinky],
    ['norms', (t) => [1, 2, 3, -1, Infinity].map((p) => norm(t.add(0.03), { p, axis: 1 })), kinky],
    ['norm 0.5', (t) => norm(t, { p: 0.5 }), positive],
    ['triangles', (t) => [tril(t, 1), triu(t)], x],
    ['roll', (t) => roll(t, [1, -2], { axis: [0, 1] }), x],
    [
      'repeats',
      (t) => [repeat(t, [2, 1, 3]), tile(t, 2), repeatInterleave(t, 2, { axis: 1 }), repeatInterleave(t, [1, 0, 2], { axis: 0 })],
      x,
    ],
    ['outer', (a, b) => outer(a, b), pairs([4], [3])],
    ['einsum', (a, b) => [einsum('bij,bkj->ikb', a, b), einsum('...ij,...jk', a, b.transpose())], pairs([2, 3, 4], [2, 5, 4])],
    ['einsum of three', (a, b) => einsum('ij,jk,lk->il', a, b, a), pairs([3, 3], [3, 3])],
    ['einsum diagonal', (a) => [einsum('iji->j', a), einsum('iji->ij', a)], () => [values([3, 2, 3])]],
    [
      'interpolate',
      (t) => [interpolate(t, { size: [7, 3], mode: 'bilinear' }), interpolate(t, { scaleFactor: 1.7 })],
      () => [image()],
    ],
    ['interpolate corners', (t) => interpolate(t, { size: 8, mode: 'bilinear', alignCorners: true }), () => [image()]],
  ],
  reduce: [
    ...Object.entries({ sum, mean, logSumExp, variance }).flatMap(([name, op]): Row[] => [
      [name, (t) => op(t), x],
      [`${name} of axes`, (t) => op(t, { axis: [0, -1], keepDims: true }), () => [values([3, 2, 4])]],
      [`${name} of the middle`, (t) => op(t, { axis: 1 }), () => [values([3, 4, 2])]],
    ]),
    ['variance uncorrected', (t) => variance(t, { axis: 1, correction: 0 }), x],
    ['max', (t) => max(t, { axis: 1 }), kinky],
    ['min', (t) => min(t, { axis: 0, keepDims: true }), kinky],
    ['prod', (t) => prod(t, { axis: 1 }), positive],
    ['prod with a zero', (t) => prod(mul(t, zeroAt2()), { axis: 1 }), positive],
    ['softmax', (t) => softmax(t, { axis: 1 }), () => [values([2, 4, 3])]],
    ['logSoftmax', (t) => logSoftmax(t, { axis: -1 }), x],
  ],
  matmul: [
    ['matmul', (a, b) => matmul(a, b), pairs([3, 4], [4, 5])],
    ['matmul transposed', (a, b) => matmul(a, b, { transposeA: true, transposeB: true }), pairs([4, 3], [5, 4])],
    ['matmul batched', (a, b) => matmul(a, b), pairs([2, 1, 3, 4], [3, 4, 2])],
    ['matmul against one', (a, b) => matmul(a, b, { transposeB: true }), pairs([2, 3, 4], [5, 4])],
    ['matmul vectors', (a, b) => [matmul(a, b), matmul(b, a)], pairs([4], [4])],
    ['matmul itself', (a) => matmul(a, a), () => [values([4, 4])]],
    ['linear', (a, w, b) => linear(a, w, b), () => [values([2, 3, 4]), values([5, 4]), values([5])]],
    ['linear relu', (a, w, b) => linear(a, w, b, { activation: 'relu' }), () => [values([3, 4]), values([5, 4]), values([5])]],
    ['linear gelu', (a, w, b) => linear(a, w, b, { activation: 'gelu' }), () => [values([3, 4]), values([5, 4]), values([5])]],
    ['linear residual', (a, w, r) => linear(a, w, null, { residual: r }), () => [values([3, 4]), values([5, 4]), values([3, 5])]],
    [
      'feedForward',
      (a, u, ub, d, db, r) => [
        feedForward(a, { weight: u, bias: ub as Tensor }, { weight: d, bias: db as Tensor }),
        feedForward(a, { weight: u, bias: null }, { weight: d, bias: null }, { approximate: 'tanh', residual: r }),
      ],
      () => [values([3, 4]), values([6, 4]), values([6]), values([4, 6]), values([4]), values([3, 4])],
    ],
  ],
  conv: [
    ['conv2d', (i, w, b) => conv2d(i, w, b), () => [image(), values([3, 4, 3, 3]), values([3])]],
    [
      'conv2d strided, padded',
      (i, w) => conv2d(i, w, null, { stride: [2, 1], padding: [1, 2] }),
      () => [image(), values([3, 4, 3, 2])],
    ],
    [
      'conv2d dilated, grouped',
      (i, w) => conv2d(i, w, null, { dilation: 2, groups: 2, padding: 1 }),
      () => [image(), values([4, 2, 2, 2])],
    ],
    ['conv2d depthwise', (i, w) => conv2d(last(i), w, null, { groups: 4, padding: 1 }), () => [image(), values([4, 1, 3, 3])]],
    ['maxPool2d', (i) => maxPool2d(i, { kernelSize: 3, stride: 2, padding: 1 }), () => [distinct([2, 2, 5, 6])]],
    ['avgPool2d', (i) => avgPool2d(i, { kernelSize: 2 }), () => [image()]],
    [
      'avgPool2d overlapping',
      (i) => avgPool2d(last(i), { kernelSize: 3, stride: 2, padding: 1, countIncludePad: false }),
      () => [image()],
    ],
  ],
  norm: [
    ['layerNorm', (t, w, b) => layerNorm(t, w, b), () => [values([3, 6]), values([6]), values([6])]],
    ['layerNorm plain', (t) => layerNorm(t, null, null, { normalizedShape: [2, 3] }), () => [values([4, 2, 3])]],
    ['rmsNorm', (t, w) => rmsNorm(t, w), () => [values([3, 6]), values([6])]],
    ['groupNorm', (t, w, b) => groupNorm(t, w, b, { numGroups: 2 }), () => [image(), values([4]), values([4])]],
    [
      'groupNorm channelsLast',
      (t, w, b) => groupNorm(last(t), w, b, { numGroups: 2 }),
      () => [image(), values([4]), values([4])],
    ],
    ['batchNorm', (t, w, b) => batchNorm(t, w, b, null, null, { training: true }), () => [image(), values([4]), values([4])]],
    [
      'batchNorm channelsLast',
      (t, w, b) => batchNorm(last(t), w, b, null, null, { training: true }),
      () => [image(), values([4]), values([4])],
    ],
    ['batchNorm of rows', (t) => batchNorm(t, null, null, null, null, { training: true }), () => [values([6, 3])]],
    [
      'batchNorm in evaluation',
      (t, w, b, m, v) => batchNorm(t, w, b, m, v),
      () => [image(), values([4]), values([4]), fixed([4]), fixed([4], 0.5, 2)],
    ],
  ],
  attention: [
    ['attention', (q, k, v) => attention(q, k, v), () => [values([2, 2, 3, 4]), values([2, 2, 5, 4]), values([2, 2, 5, 4])]],
    [
      'attention causal, grouped',
      (q, k, v) => attention(q, k, v, { causal: true, scale: 0.7 }),
      () => [values([1, 4, 5, 3]), values([1, 2, 5, 3]), values([1, 2, 5, 3])],
    ],
    [
      'attention masked',
      (q, k, v, m) => attention(q, k, v, { mask: m }),
      () => [values([1, 2, 4, 3]), values([1, 2, 5, 3]), values([1, 2, 5, 3]), maskOf(4, 5)],
    ],
    [
      'attention with dropout',
      (q, k, v) => attention(q, k, v, { dropout: 0.3 }),
      () => [values([1, 2, 4, 3]), values([1, 2, 4, 3]), values([1, 2, 4, 3])],
    ],
    ['packedAttention', (t) => packedAttention(t, { heads: 2, causal: true }), () => [values([2, 4, 18])]],
    ['packedAttention grouped', (t) => packedAttention(t, { heads: 2, kvHeads: 1 }), () => [values([1, 4, 12])]],
  ],
  loss: [
    ['crossEntropy', (l, t) => worth(crossEntropy(l, t)), () => [values([4, 5]), whole([4], 5)]],
    [
      'crossEntropy of everything',
      (l, t, w) => worth(crossEntropy(l, t, { labelSmoothing: 0.1, weight: w, ignoreIndex: 2 })),
      () => [values([6, 5]), whole([6], 5), fixed([5], 0.5, 2)],
    ],
    ['crossEntropy along an axis', (l, t) => worth(crossEntropy(l, t, { axis: 1 })), () => [values([2, 5, 3]), whole([2, 3], 5)]],
    [
      'crossEntropy of probabilities',
      (l, t) => worth(crossEntropy(l, softmax(t, { axis: -1 }))),
      () => [values([4, 5]), fixed([4, 5])],
    ],
    ['mse', (a, b) => worth(mse(a, b)), pairs([3, 4], [3, 4])],
    ['l1', (a, b) => worth(l1(a, b)), () => [distinct([3, 4]), values([3, 4], { low: -0.04, high: 0.04 })]],
    [
      'huber',
      (a, b) => worth(huber(a, b, { delta: 0.33 })),
      () => [distinct([3, 4]), values([3, 4], { low: -0.01, high: 0.01 })],
    ],
    [
      'bceWithLogits',
      (a, t, w, p) => worth(bceWithLogits(a, t, { weight: w, posWeight: p })),
      () => [values([3, 4]), fixed([3, 4], 0, 1), fixed([3, 4], 0.5, 2), fixed([4], 0.5, 2)],
    ],
    ['kl', (a, t) => worth(kl(logSoftmax(a, { axis: -1 }), softmax(t, { axis: -1 }))), () => [values([3, 4]), fixed([3, 4])]],
    ['kl of log targets', (a, t) => worth(kl(a, t, { logTarget: true })), () => [values([3, 4]), fixed([3, 4])]],
    [
      'several terms',
      (a, b, c) =>
        mse(a, b)
          .times(0.3)
          .plus(lossTerm(sum(mul(c, a)), 4))
          .mean(),
      () => [values([3, 4]), values([3, 4]), values([3, 4])],
    ],
    ['a sum of terms', (a, b) => mse(a, b).plus(mse(b, a).times(2)).sum(), () => [values([3]), values([3])]],
  ],
  index: [
    ['embedding', (i, w) => embedding(i, w), () => [whole([3, 4], 5), values([5, 3])]],
    [
      'embedding with padding',
      (i, w) => embedding(i, w, { paddingIdx: 1 }),
      () => [tensor([0, 2, 3, 4, 2, 0, 3], { dtype: 'i32' }), values([5, 3])],
    ],
    ['gather', (t, i) => gather(t, i, { axis: 1 }), () => [values([3, 5]), whole([3, 4], 5)]],
    ['topK', (t) => topK(t, 3).values, kinky],
    ['topK of the smallest along an axis', (t) => topK(t, 2, { axis: 0, largest: false }).values, kinky],
    ['concat', (a, b) => concat([a, b, a], { axis: 1 }), pairs([2, 3], [2, 4])],
    ['stack', (a, b) => stack([a, b], { axis: 1 }), pairs([2, 3], [2, 3])],
    ['split', (t) => split(t, [1, 3, 1], { axis: 1 }), x],
    ['split, one part unused', (t) => split(t, [2, 3], { axis: -1 })[1] as Tensor, x],
    [
      'pad',
      (t) =>
        pad(
          t,
          [
            [1, 0],
            [0, 2],
          ],
          { value: 3 },
        ),
      x,
    ],
    ['permute', (t) => permute(t, [2, 0, 1]), () => [values([2, 3, 4])]],
    ['transpose', (t) => transpose(t), () => [values([2, 3, 4])]],
    ['flip', (t) => flip(t, 1), x],
    ['narrow', (t) => [narrow(t, 0, 1, 2), narrow(t, 1, 1, 3)], x],
    ['broadcastTo', (t) => broadcastTo(t, [2, 3, 4]), () => [values([3, 1])]],
    ['layout', (t) => last(t).mul(2), () => [image()]],
    ['reshape, flatten, squeeze, unsqueeze', (t) => [reshape(t, [5, -1]), flatten(t), squeeze(unsqueeze(t, 1), 1)], x],
  ],
  random: [
    ['dropout', (t) => dropout(t, 0.4), () => [values([4, 6])]],
    ['dropout2d', (t) => dropout2d(t, 0.4), () => [image()]],
    [
      'fusedBias',
      (t, b, r) => fusedBias(t, { bias: b, activation: 'gelu', p: 0.3, residual: r }),
      () => [values([3, 5]), values([5]), values([3, 5])],
    ],
    ['fusedBias geluTanh', (t, b) => fusedBias(t, { bias: b, activation: 'geluTanh' }), () => [values([3, 5]), values([5])]],
  ],
};

for (const [family, cases] of Object.entries(rows)) {
  describe(family, () => {
    for (const [name, fn, inputs] of cases) {
      test(name, async () => {
        const given = scope(() => inputs());
        expect(await gradcheck(fn, given)).toBeLessThan(1e-6);
      });
    }
  });
}
