/** The ops behind layers, and the losses beside loss.test.ts's: backward against central differences in f64, relative error below 1e-6. */
import { describe, expect, test } from 'vitest';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { biasedAttention } from '../../lib/ops/attention-bias.ts';
import { conv1d, conv3d } from '../../lib/ops/conv-nd.ts';
import { convTranspose1d, convTranspose2d } from '../../lib/ops/conv-transpose.ts';
import { embeddingBag } from '../../lib/ops/embedding-bag.ts';
import * as losses from '../../lib/ops/losses/index.ts';
import {
  adaptiveAvgPool2d,
  adaptiveMaxPool1d,
  adaptiveMaxPool2d,
  avgPool1d,
  maxPool1d,
  pixelShuffle,
  pixelUnshuffle,
} from '../../lib/ops/pool-nd.ts';
import { rotary } from '../../lib/ops/positions.ts';
import { gatesOf, type RecurrentMode, type RecurrentOptions, recurrent } from '../../lib/ops/recurrent.ts';
import { unfold } from '../../lib/ops/unfold.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { distinct, truths, values, whole } from '../helpers/values.ts';

type Fn = (...inputs: Tensor[]) => Tensor | readonly Tensor[];
type Row = readonly [name: string, fn: Fn, inputs: () => Tensor[]];

const worth = (loss: losses.Loss): Tensor[] => loss.terms.map((t) => t.sum);
const fixed = (shape: number[], low: number, high: number) => values(shape, { low, high, requiresGrad: false });
const signs = (shape: number[]) => truths(shape).to('f64').mul(2).sub(1).detach();
const two = () => [values([4, 3]), values([4, 3])];

/** One direction of a layer: x, weights, biases, first states. */
function cell(mode: RecurrentMode, options: RecurrentOptions = {}, bias = true): Row {
  const g = gatesOf(mode);
  const [t, b, i, h] = [4, 3, 2, 3];
  const name = `${mode} ${Object.keys(options).join(' ')}${bias ? '' : ' without bias'}`;
  const fn: Fn = (x, ih, hh, h0, biasIh = null as never, biasHh = null as never, c0 = null as never) => {
    const w = { ih: ih as Tensor, hh: hh as Tensor, biasIh: bias ? biasIh : null, biasHh: bias ? biasHh : null };
    const first = mode === 'lstm' ? { h0: h0 as Tensor, c0: bias ? c0 : biasIh } : { h0: h0 as Tensor };
    const { output, h: last, c } = recurrent(mode, x as Tensor, w, { ...options, ...first });
    return c ? [output, last, c] : [output, last];
  };
  return [
    name,
    fn,
    () => [
      values([t, b, i]),
      values([g * h, i]),
      values([g * h, h]),
      values([b, h]),
      ...(bias ? [values([g * h]), values([g * h])] : []),
      ...(mode === 'lstm' ? [values([b, h])] : []),
    ],
  ];
}

const rows: { readonly [family: string]: readonly Row[] } = {
  recurrent: (['lstm', 'gru', 'tanh', 'relu'] as const).flatMap((mode) => [
    cell(mode),
    cell(mode, { reverse: true }),
    cell(mode, { lengths: [4, 0, 2] }),
    cell(mode, { reverse: true, lengths: [1, 4, 3] }, false),
  ]),
  convolutions: [
    ['unfold', (x) => unfold(x, { axis: 1, size: 3, step: 2, dilation: 2 }), () => [values([2, 9, 3])]],
    [
      'conv1d',
      (x, w, b) => conv1d(x, w, b, { stride: 2, padding: 1, groups: 2 }),
      () => [values([2, 4, 6]), values([2, 2, 3]), values([2])],
    ],
    [
      'conv3d',
      (x, w, b) => conv3d(x, w, b, { stride: [2, 1, 1], padding: 1 }),
      () => [values([1, 2, 3, 3, 3]), values([2, 2, 2, 3, 2]), values([2])],
    ],
    [
      'convTranspose1d',
      (x, w, b) => convTranspose1d(x, w, b, { stride: 2, outputPadding: 1 }),
      () => [values([2, 2, 4]), values([2, 3, 3]), values([3])],
    ],
    [
      'convTranspose2d',
      (x, w, b) => convTranspose2d(x, w, b, { stride: 2, padding: 1, groups: 2 }),
      () => [values([1, 4, 3, 3]), values([4, 1, 3, 3]), values([2])],
    ],
    [
      'convTranspose2d beyond the stride',
      (x, w, b) => convTranspose2d(x, w, b, { dilation: 3, outputPadding: 2, padding: 1 }),
      () => [values([1, 2, 2, 2]), values([2, 2, 2, 2]), values([2])],
    ],
  ],
  pools: [
    ['maxPool1d', (x) => maxPool1d(x, { kernelSize: 2 }), () => [distinct([2, 2, 6])]],
    ['avgPool1d', (x) => avgPool1d(x, { kernelSize: 3, stride: 2, padding: 1 }), () => [values([2, 2, 6])]],
    ['adaptiveAvgPool2d', (x) => adaptiveAvgPool2d(x, [3, 2]), () => [values([1, 2, 5, 5])]],
    ['adaptiveMaxPool2d', (x) => adaptiveMaxPool2d(x, [3, 2]), () => [distinct([1, 2, 5, 5])]],
    ['adaptiveMaxPool1d', (x) => adaptiveMaxPool1d(x, 3), () => [distinct([1, 2, 7])]],
    ['pixelShuffle', (x) => pixelShuffle(x, 2), () => [values([1, 4, 2, 3])]],
    ['pixelUnshuffle', (x) => pixelUnshuffle(x, 2), () => [values([1, 1, 4, 6])]],
  ],
  attention: [
    // The tables of angles are f32 for every dtype: both sides see the same.
    ['rotary', (x) => [rotary(x), rotary(x, { interleaved: true, dim: 2, offset: 3 })], () => [values([2, 3, 4])]],
    [
      'biasedAttention',
      (q, k, v, b) => biasedAttention(q, k, v, b, { causal: true }),
      () => [values([1, 2, 3, 4]), values([1, 2, 5, 4]), values([1, 2, 5, 4]), values([2, 3, 5])],
    ],
    [
      'embeddingBag',
      (w, f) => [
        embeddingBag(ids, w, { mode: 'sum', perSampleWeights: f, paddingIdx: 1 }),
        embeddingBag(list, w, { offsets: [0, 2, 2], paddingIdx: 0 }),
      ],
      () => [values([5, 3]), values([3, 4])],
    ],
  ],
  losses: [
    ['nll', (x) => worth(losses.nll(x, labels, { weight: weights, ignoreIndex: 2 })), () => [values([4, 3])]],
    ['focal', (x) => worth(losses.focal(x, labels, { gamma: 1.5, weight: weights })), () => [values([4, 3])]],
    ['focal, gamma 0.5', (x) => worth(losses.focal(x, labels, { gamma: 0.5, axis: 1 })), () => [values([4, 3])]],
    ['binaryFocal', (x, t) => worth(losses.binaryFocal(x, t)), () => [values([4, 3]), values([4, 3], { low: 0.1, high: 0.9 })]],
    ['hinge', (x) => worth(losses.hinge(x.add(0.05), sides, { squared: true })), () => [distinct([4, 3])]],
    ['hingeEmbedding', (x) => worth(losses.hingeEmbedding(x.add(0.05), sides)), () => [distinct([4, 3])]],
    [
      'dice',
      (x, t) => worth(losses.dice(x, t, { squared: true })),
      () => [values([2, 4, 3], { low: 0.1, high: 0.9 }), values([2, 4, 3], { low: 0.1, high: 0.9 })],
    ],
    ...[1, 2, 3].map(
      (p): Row => [
        `tripletMargin ${p}`,
        (a, b, c) => worth(losses.tripletMargin(a, b, c, { p, margin: 9, swap: true })),
        () => [...two(), values([4, 3])],
      ],
    ),
    ['contrastive', (a, b) => worth(losses.contrastive(a, b, alike, { margin: 9 })), two],
    ['cosineEmbedding', (a, b) => worth(losses.cosineEmbedding(a, b, alike, { margin: -1 })), two],
    ['smoothL1', (a, b) => worth(losses.smoothL1(a, b, { beta: 0.5 })), two],
    ['poissonNll', (x, t) => worth(losses.poissonNll(x, t)), two],
    [
      'poissonNll of rates',
      (x) => worth(losses.poissonNll(x, counts, { logInput: false, full: true })),
      () => [values([4, 3], { low: 0.4, high: 3 })],
    ],
    [
      'gaussianNll',
      (x, t, v) => worth(losses.gaussianNll(x, t, v, { full: true })),
      () => [...two(), values([4, 1], { low: 0.4, high: 3 })],
    ],
    [
      'ctc',
      (x) => worth(losses.ctc(x, paths, { inputLengths: [6, 5, 3], targetLengths: [3, 2, 0] })),
      () => [values([6, 3, 4], { low: -3, high: -0.5 })],
    ],
    [
      'ctc behind logSoftmax',
      (x) => worth(losses.ctc(x.logSoftmax(), paths, { blank: 3, perLabel: false })),
      () => [values([7, 3, 4])],
    ],
  ],
};

const ids = whole([3, 4], 5);
const list = whole([6], 5);
const labels = whole([4], 3);
const weights = fixed([3], 0.5, 2);
const sides = signs([4, 3]);
const alike = whole([4], 2);
const counts = whole([4, 3], 6).to('f64').detach();
const paths = whole([3, 3], 3);

for (const [family, list] of Object.entries(rows)) {
  describe(family, () => {
    for (const [name, fn, inputs] of list)
      test(name, () =>
        scope.run(async () => {
          expect(await gradcheck(fn as (...t: Tensor[]) => Tensor, inputs())).toBeLessThan(1e-6);
        }),
      );
  });
}
