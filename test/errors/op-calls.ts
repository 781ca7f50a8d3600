// Tensors, ops and layers with right arguments, from which the fuzz test makes wrong ones.
import { device, nn, ones, zeros } from '../../lib/index.ts';
import {
  any,
  anyNum,
  count,
  each,
  fn,
  int,
  ints,
  type Kind,
  list,
  maker,
  maybe,
  needs,
  num,
  only,
  operand,
  options,
  or,
  shape,
  t,
  text,
  word,
} from './kinds.ts';

const axis = options({ axis: int(0) });
const reduce = options({ axis: or(int(0), shape(0)), keepDims: any(true) });
const create = options(maker);
const pool = { kernelSize: or(count(2), shape(2, 2)), stride: or(count(2), shape(2, 2)), padding: or(int(0), shape(0, 0)) };
/** A part of an index. */
const place = or(
  maybe(int(0)),
  ints(0),
  list(() => []),
);
const images = t([2, 3, 4, 4]);
const bias = maybe(t([4]));
const affine = only(() => ({ weight: zeros([4, 4]), bias: zeros([4]) }));

const ops: Record<string, readonly Kind[]> = {
  ...each('abs ceil cos erf exp expm1 floor log log1p neg reciprocal relu round rsqrt sigmoid', [t([2, 3])]),
  ...each('sign silu sin softplus sqrt square tanh zerosLike', [t([2, 3])]),
  ...each('add div mul sub pow maximum minimum eq ne lt le gt ge', [operand([2, 3]), operand([3])]),
  ...each('sum mean max min prod logSumExp', [t([2, 3]), reduce]),
  ...each('argmax argmin', [t([2, 3]), options({ axis: int(0), keepDims: any(true) })]),
  ...each('variance std', [t([2, 3]), options({ axis: or(int(0), shape(0)), keepDims: any(true), correction: num(1) })]),
  ...each('softmax logSoftmax', [t([2, 3]), axis]),
  ...each('zeros ones rand randn', [shape(2, 3), create]),
  arange: [count(3)],
  full: [shape(2), anyNum(1), create],
  tensor: [
    or(
      list(() => [1, 2]),
      any(1),
    ),
    options({ ...maker, shape: shape(2) }),
  ],
  attention: [
    ...[1, 2, 3].map(() => t([1, 2, 3, 4])),
    options({ causal: any(true), mask: t([3, 3], 'bool'), scale: num(1), dropout: num(0.1) }),
  ],
  packedAttention: [
    t([1, 3, 24]),
    needs({ heads: count(2), kvHeads: maybe(count(2)), mask: maybe(t([3, 3], 'bool')), scale: maybe(num(1)) }),
  ],
  avgPool2d: [images, needs({ ...pool, stride: maybe(pool.stride), padding: maybe(pool.padding), countIncludePad: any(true) })],
  maxPool2d: [
    images,
    needs({ ...pool, stride: maybe(pool.stride), padding: maybe(pool.padding), activation: maybe(word('relu')) }),
  ],
  batchNorm: [t([2, 4]), bias, bias, bias, bias, options({ training: any(true), momentum: num(0.1), eps: num(1e-5) })],
  groupNorm: [t([2, 4, 3]), bias, bias, needs({ numGroups: count(2), eps: maybe(num(1e-5)) })],
  layerNorm: [t([2, 4]), bias, bias, options({ normalizedShape: or(count(4), shape(4)), eps: num(1e-5) })],
  rmsNorm: [t([2, 4]), bias, options({ normalizedShape: or(count(4), shape(4)), eps: num(1e-5) })],
  stochasticRound: [t([2, 3])],
  bernoulli: [or(shape(2), t([2])), options({ ...maker, p: num(0.5) })],
  broadcastTo: [t([3]), shape(2, 3)],
  cast: [t([2]), word('f64')],
  clamp: [t([2]), options({ min: anyNum(0), max: anyNum(1) })],
  concat: [list(() => [ones([2]), ones([3])]), axis],
  stack: [list(() => [ones([2]), ones([2])]), axis],
  conv2d: [
    images,
    t([4, 3, 2, 2]),
    bias,
    options({
      stride: or(count(1), shape(1, 1)),
      padding: or(int(1), shape(1, 1)),
      dilation: or(count(1), shape(1, 1)),
      groups: count(1),
      activation: word('relu'),
    }),
  ],
  dropout: [t([4]), num(0.5), options({ path: text('here') })],
  dropout2d: [images, num(0.5), options({ path: text('here') })],
  elu: [t([2]), options({ alpha: num(1) })],
  leakyRelu: [t([2]), options({ slope: num(1) })],
  gelu: [t([2]), options({ approximate: word('tanh') })],
  embedding: [ints(0, 1), t([3, 2]), options({ paddingIdx: int(0) })],
  feedForward: [t([2, 4]), affine, affine, options({ approximate: word('tanh'), residual: t([2, 4]) })],
  linear: [t([2, 4]), t([4, 4]), bias, options({ activation: word('none'), residual: t([2, 4]) })],
  flatten: [t([2, 3]), maybe(int(0)), maybe(int(1))],
  flip: [t([2, 3]), maybe(or(int(0), shape(0)))],
  fusedBias: [
    t([2, 4]),
    options({ bias: t([4]), activation: word('relu'), p: num(0.1), residual: t([2, 4]), path: text('here') }),
  ],
  at: [t([2, 3]), place],
  ...each('setAt withAt', [t([2, 3]), operand([3]), maybe(int(1))]),
  maskedSelect: [t([2, 3]), t([2, 3], 'bool')],
  gather: [t([3]), ints(0, 1), axis],
  matmul: [t([2, 3]), t([3, 2]), options({ transposeA: any(false), transposeB: any(false) })],
  narrow: [t([3]), int(0), int(1), count(1)],
  normal: [shape(2), options({ ...maker, mean: num(0), std: num(1) })],
  uniform: [shape(2), options({ ...maker, low: num(0), high: num(1) })],
  pad: [t([2]), list(() => [[1, 1]]), options({ value: anyNum(1) })],
  permutation: [count(3), options({ device: maker.device })],
  permute: [t([2, 3]), shape(1, 0)],
  randint: [shape(2), needs({ low: maybe(int(0)), high: int(3), dtype: maybe(word('i32')) })],
  randomWords: [shape(2), options({ device: maker.device })],
  reshape: [t([2, 3]), shape(3, 2)],
  split: [t([4]), or(count(2), shape(2, 2)), axis],
  squeeze: [t([1, 2]), maybe(int(0))],
  unsqueeze: [t([2]), int(0)],
  topK: [t([3]), count(2), options({ axis: int(0), largest: any(true) })],
  transpose: [t([2, 3]), maybe(int(0)), maybe(int(1))],
  where: [t([2], 'bool'), operand([2]), operand([2])],
  'losses.bceWithLogits': [t([2]), t([2]), options({ weight: t([2]), posWeight: t([2]) })],
  'losses.crossEntropy': [
    t([2, 3]),
    ints(0, 1),
    options({ labelSmoothing: num(0.1), weight: t([3]), ignoreIndex: int(-1), axis: int(1) }),
  ],
  'losses.huber': [t([2]), t([2]), options({ delta: num(1) })],
  'losses.kl': [t([2, 3]), t([2, 3]), options({ logTarget: any(true) })],
  ...each('losses.l1 losses.mse', [t([2]), t([2])]),
  'losses.lossTerm': [t([]), or(num(1), t([]))],
  'losses.Loss': [list(() => [])],
};

const core: Record<string, readonly Kind[]> = {
  Tensor: [only(() => zeros([2]).storage.retain()), shape(2), word('f32'), only(() => device('cpu'))],
  ...each('Parameter nn.Parameter nn.Buffer', [t([2])]),
  PhiloxStream: [or(int(1), any(1n)), or(int(1), text('path')), maybe(int(0))],
  defineOp: [text('own'), only(() => ({ forward: (x: unknown) => x, backward: () => [] }))],
  device: [only(() => 'cpu')],
  setDefaultDevice: [only(() => 'cpu')],
  ...each('noGrad enableGrad', [fn(() => 1)]),
  checkpoint: [fn((x: ReturnType<typeof ones>) => x.mul(2)), t([2, 3])],
  scope: [maybe(fn(() => 1))],
  kept: [any()],
  gradcheck: [
    fn((x: ReturnType<typeof ones>) => x.mul(2)),
    list(() => [ones([1], { dtype: 'f64' })]),
    options({ eps: num(1e-5), tolerance: num(1e-6) }),
  ],
  manualSeed: [int(1)],
  setRngState: [only(() => ({ seed: 0, attempt: 0 }))],
};

const layers: Record<string, readonly Kind[]> = {
  ...each('nn.ReLU nn.SiLU nn.Sigmoid nn.Tanh nn.Softplus nn.Identity nn.Flatten', []),
  'nn.AvgPool2d': [pool.kernelSize, options({ stride: pool.stride, padding: pool.padding })],
  'nn.MaxPool2d': [pool.kernelSize, options({ stride: pool.stride, padding: pool.padding })],
  ...each('nn.BatchNorm1d nn.BatchNorm2d nn.BatchNorm3d', [
    count(3),
    options({ momentum: num(0.1), eps: num(1e-5), affine: any(true) }),
  ]),
  'nn.Conv2d': [
    count(3),
    count(4),
    needs({
      kernelSize: pool.kernelSize,
      ...options({ stride: pool.stride, padding: pool.padding, dilation: pool.stride, groups: count(1) }).fields,
      bias: any(true),
    }),
  ],
  ...each('nn.Dropout nn.Dropout2d', [maybe(num(0.5))]),
  'nn.ELU': [options({ alpha: num(1) })],
  'nn.LeakyReLU': [options({ slope: num(1) })],
  'nn.GELU': [options({ approximate: word('tanh') })],
  'nn.Embedding': [count(3), count(2), options({ paddingIdx: int(0) })],
  'nn.GroupNorm': [count(3), count(3), options({ eps: num(1e-5) })],
  'nn.LayerNorm': [or(count(4), shape(4)), options({ eps: num(1e-5), affine: any(true), bias: any(true) })],
  'nn.RMSNorm': [or(count(4), shape(4)), options({ eps: num(1e-5) })],
  'nn.Lambda': [fn((x: unknown) => x)],
  'nn.Linear': [count(4), count(2), options({ bias: any(true), activation: word('relu') })],
  'nn.MultiheadAttention': [
    count(4),
    count(2),
    options({ causal: any(true), bias: any(true), dropout: num(0), kdim: count(3), vdim: count(3) }),
  ],
  'nn.TransformerBlock': [
    count(4),
    count(2),
    options({ causal: any(true), dropout: num(0), approximate: word('tanh'), bias: any(true) }),
  ],
  'nn.Sequential': [maybe(only(() => new nn.ReLU()))],
  'nn.assign': [t([2]), t([2])],
  'nn.init.constant': [shape(2), anyNum(1)],
  'nn.init.fans': [shape(2, 3)],
  'nn.init.gain': [word('relu'), maybe(num(0.01))],
  ...each('nn.init.kaimingNormal nn.init.kaimingUniform', [
    shape(2, 3),
    options({ mode: word('fanIn'), nonlinearity: word('relu'), slope: num(0.1) }),
  ]),
  'nn.init.normal': [shape(2), maybe(num(1))],
  'nn.init.uniform': [shape(2), num(1)],
  ...each('nn.init.ones nn.init.zeros', [shape(2)]),
  ...each('nn.init.xavierNormal nn.init.xavierUniform', [shape(2, 3), maybe(num(1))]),
};

export const opCalls: Readonly<Record<string, readonly Kind[]>> = { ...ops, ...core, ...layers };
