// Layers, their ops and losses with right arguments, beside those of op-calls.ts.
import { nn, tensor } from '../../lib/index.ts';
import {
  any,
  anyNum,
  count,
  each,
  int,
  ints,
  type Kind,
  list,
  maker,
  maybe,
  needs,
  num,
  only,
  options,
  or,
  shape,
  t,
  text,
  word,
} from './kinds.ts';

const labels = (shape: readonly number[]) =>
  tensor(
    Int32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 1),
    { shape },
  );
const i32 = (shape: readonly number[]): Kind => ({ ...t(shape), make: () => labels(shape) });
const numbers = (...v: number[]): Kind => list(() => v);
/** Numbers of which none may be wrong: an empty list is. */
const pair = or(count(1), shape(1, 1));
const padding = or(int(0), shape(0, 0));
const rows = t([2, 3]);
const bias = maybe(t([4]));
const margin = options({ margin: anyNum(1) });

const convolutions: Record<string, readonly Kind[]> = {
  conv1d: [
    t([2, 3, 5]),
    t([4, 3, 2]),
    bias,
    options({ stride: count(1), padding: int(1), dilation: count(1), groups: count(1), activation: word('relu') }),
  ],
  conv3d: [
    t([1, 3, 3, 3, 3]),
    t([4, 3, 2, 2, 2]),
    bias,
    options({
      stride: or(count(1), shape(1, 1, 1)),
      padding: or(int(0), shape(0, 0, 0)),
      dilation: or(count(1), shape(1, 1, 1)),
      groups: count(1),
    }),
  ],
  convTranspose1d: [
    t([2, 3, 5]),
    t([3, 4, 2]),
    bias,
    options({ stride: count(1), padding: int(0), outputPadding: int(0), dilation: count(1), groups: count(1) }),
  ],
  convTranspose2d: [
    t([2, 3, 5, 5]),
    t([3, 4, 2, 2]),
    bias,
    options({ stride: pair, padding, outputPadding: padding, dilation: pair, groups: count(1) }),
  ],
  maxPool1d: [t([2, 3, 6]), needs({ kernelSize: count(2), stride: maybe(count(2)), padding: maybe(int(0)) })],
  avgPool1d: [
    t([2, 3, 6]),
    needs({ kernelSize: count(2), stride: maybe(count(2)), padding: maybe(int(0)), countIncludePad: any(true) }),
  ],
  ...each('adaptiveAvgPool1d adaptiveMaxPool1d', [t([2, 3, 6]), maybe(count(2))]),
  ...each('adaptiveAvgPool2d adaptiveMaxPool2d', [t([2, 3, 6, 6]), maybe(or(count(2), shape(2, 2)))]),
  pixelShuffle: [t([1, 4, 2, 2]), count(2)],
  pixelUnshuffle: [t([1, 1, 2, 2]), count(2)],
};

const positions: Record<string, readonly Kind[]> = {
  biasedAttention: [
    ...[1, 2, 3].map(() => t([1, 2, 3, 4])),
    t([3, 3]),
    options({ causal: any(true), mask: t([3, 3], 'bool'), scale: num(1), dropout: num(0.1), path: text('here') }),
  ],
  alibi: [count(2), count(3), maybe(count(3)), options({ device: maker.device })],
  alibiSlopes: [count(3)],
  ...each('sinusoidalPositions rotaryTables', [
    count(3),
    count(4),
    options({ base: num(10), offset: int(1), device: maker.device }),
  ]),
  rotary: [t([1, 2, 3, 4]), options({ base: num(10), offset: int(1), dim: count(2), interleaved: any(true) })],
  embeddingBag: [i32([2, 3]), t([5, 4]), options({ mode: word('sum'), perSampleWeights: rows, paddingIdx: int(0) })],
};

const losses: Record<string, readonly Kind[]> = {
  'losses.nll': [rows, ints(0, 1), options({ weight: t([3]), ignoreIndex: int(-1), axis: int(1) })],
  'losses.focal': [rows, ints(0, 1), options({ gamma: num(2), weight: t([3]), ignoreIndex: int(-1), axis: int(1) })],
  'losses.binaryFocal': [rows, rows, options({ alpha: maybe(num(0.5)), gamma: num(2) })],
  'losses.hinge': [rows, rows, options({ margin: anyNum(1), squared: any(true) })],
  'losses.hingeEmbedding': [rows, rows, margin],
  'losses.dice': [rows, rows, options({ smooth: num(1), squared: any(true), axis: maybe(int(1)) })],
  'losses.tripletMargin': [rows, rows, rows, options({ margin: anyNum(1), p: num(2), eps: num(1e-6), swap: any(true) })],
  'losses.contrastive': [rows, rows, ints(0, 1), margin],
  'losses.cosineEmbedding': [rows, rows, ints(1, -1), options({ margin: num(0.5) })],
  'losses.smoothL1': [rows, rows, options({ beta: num(1) })],
  'losses.poissonNll': [rows, rows, options({ logInput: any(true), full: any(true), eps: num(1e-8) })],
  'losses.gaussianNll': [rows, rows, rows, options({ full: any(true), eps: num(1e-6) })],
  'losses.ctc': [
    t([4, 2, 3]),
    i32([2, 2]),
    options({
      inputLengths: numbers(4, 3),
      targetLengths: numbers(1, 1),
      blank: int(0),
      zeroInfinity: any(true),
      perLabel: any(true),
    }),
  ],
};

const conv = { stride: count(1), padding: int(0), dilation: count(1), groups: count(1), bias: any(true) };
const recurrent = { numLayers: count(1), bias: any(true), dropout: num(0.1), bidirectional: any(false) };
const layers: Record<string, readonly Kind[]> = {
  'nn.Conv1d': [count(3), count(4), needs({ kernelSize: count(2), ...options(conv).fields })],
  'nn.Conv3d': [
    count(3),
    count(4),
    needs({
      kernelSize: or(count(2), shape(2, 2, 2)),
      ...options({ stride: or(count(1), shape(1, 1, 1)), padding: or(int(0), shape(0, 0, 0)), groups: count(1), bias: any(true) })
        .fields,
    }),
  ],
  'nn.ConvTranspose1d': [
    count(3),
    count(4),
    needs({ kernelSize: count(2), ...options({ ...conv, outputPadding: int(0) }).fields }),
  ],
  'nn.ConvTranspose2d': [
    count(3),
    count(4),
    needs({
      kernelSize: pair,
      ...options({ stride: pair, padding, dilation: pair, outputPadding: padding, groups: count(1), bias: any(true) }).fields,
    }),
  ],
  ...each('nn.MaxPool1d nn.AvgPool1d', [count(2), options({ stride: count(1), padding: int(0) })]),
  ...each('nn.AdaptiveAvgPool1d nn.AdaptiveMaxPool1d nn.PixelShuffle nn.PixelUnshuffle', [count(2)]),
  ...each('nn.AdaptiveAvgPool2d nn.AdaptiveMaxPool2d', [maybe(or(count(2), shape(2, 2)))]),
  'nn.Upsample': [needs({ size: or(count(8), shape(8, 8)), mode: maybe(word('bilinear')), alignCorners: any(true) })],
  'nn.KVCache': [options({ capacity: count(8) })],
  ...each('nn.InstanceNorm1d nn.InstanceNorm2d', [
    count(3),
    options({ eps: num(1e-5), momentum: num(0.1), affine: any(true), trackRunningStats: any(true) }),
  ]),
  ...each('nn.LSTM nn.GRU', [count(3), count(4), options(recurrent)]),
  'nn.RNN': [count(3), count(4), options({ ...recurrent, nonlinearity: word('relu') })],
  'nn.SwiGLU': [count(4), count(6), options({ bias: any(true) })],
  ...each('nn.Softmax nn.LogSoftmax nn.GLU', [options({ axis: int(-1) })]),
  ...each('nn.ReLU6 nn.Hardsigmoid nn.Hardswish nn.Mish nn.SELU nn.LogSigmoid nn.Softsign nn.Tanhshrink', []),
  'nn.Hardtanh': [options({ min: anyNum(-1), max: anyNum(1) })],
  'nn.CELU': [options({ alpha: num(1) })],
  'nn.PReLU': [maybe(count(1)), options({ init: num(0.1) })],
  'nn.DropPath': [maybe(num(0.5)), options({})],
  'nn.EmbeddingBag': [count(5), count(3), options({ mode: word('sum'), paddingIdx: int(0) })],
  'nn.SinusoidalPositions': [count(4), options({ base: num(10) })],
  'nn.RotaryPositions': [count(4), options({ base: num(10), interleaved: any(true) })],
  'nn.LoRALinear': [only(() => new nn.Linear(3, 2)), options({ rank: count(2), alpha: num(4), dropout: num(0.1) })],
  'nn.applyLoRA': [
    only(() => new nn.Sequential(new nn.Linear(3, 2))),
    options({ rank: count(2), alpha: num(4), dropout: num(0.1), targets: { ...any(/0/), takes: () => false } }),
  ],
  'nn.weightNorm': [only(() => new nn.Linear(3, 2)), options({ dim: maybe(int(0)) })],
  'nn.removeWeightNorm': [only(() => nn.weightNorm(new nn.Linear(3, 2)))],
  'nn.spectralNorm': [only(() => new nn.Linear(3, 2)), options({ iterations: count(1), eps: num(1e-12), dim: int(0) })],
  'nn.removeSpectralNorm': [only(() => nn.spectralNorm(new nn.Linear(3, 2)))],
};

export const layerCalls: Readonly<Record<string, readonly Kind[]>> = { ...convolutions, ...positions, ...losses, ...layers };
