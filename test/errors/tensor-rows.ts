// Tensors, ops, and the tape.
import {
  add,
  attention,
  ConfigError,
  concat,
  conv2d,
  DataError,
  DeviceError,
  DTypeError,
  device,
  embedding,
  feedForward,
  full,
  GraphError,
  gradcheck,
  groupNorm,
  layerNorm,
  losses,
  manualSeed,
  matmul,
  maxPool2d,
  nn,
  noGrad,
  OutOfMemoryError,
  ones,
  Parameter,
  randint,
  randn,
  ShapeError,
  scope,
  stack,
  type Tensor,
  tensor,
  topK,
  uniform,
  where,
  zeros,
} from '../../lib/index.ts';
import { freed, ints, type Row, wrong } from './row.ts';

export const tensors: Row[] = [
  ['ragged rows', () => tensor([[1, 2], [3]]), ShapeError, /tensor: ragged data at \[1\]: expected 2 elements, found 1/],
  ['a word among numbers', () => tensor([1, wrong('a')]), DTypeError, /tensor: a at \[1\] is neither a number nor a boolean/],
  [
    'elements that do not fill the shape',
    () => tensor(new Float32Array(5), { shape: [2, 3] }),
    ShapeError,
    /tensor: 5 elements do not fit the shape \[2, 3\]/,
  ],
  [
    'an unknown dtype',
    () => tensor([1], { dtype: wrong('float32') }),
    DTypeError,
    /tensor: unknown dtype "float32"\. Known: f32, /,
  ],
  [
    'a number that the dtype cannot hold',
    () => tensor([300], { dtype: 'u8' }),
    DTypeError,
    /tensor: 300 at position 0 does not fit u8/,
  ],
  [
    'a typed array without a dtype',
    () => tensor(new BigInt64Array(2)),
    DTypeError,
    /BigInt64Array has no dtype here\. Use Float32Array/,
  ],
  ['a misspelled option of zeros', () => zeros([1], wrong({ dytpe: 'f32' })), ConfigError, /zeros: .*"dytpe" should be "dtype"/],
  ['a negative dimension', () => zeros([2, -1]), ShapeError, /zeros: dimension -1 of \[2, -1\] is not a whole number/],
  ['a fractional dimension', () => randn([2.5]), ShapeError, /2\.5 of \[2\.5\] is not a whole number/],
  ['no shape at all', () => zeros(wrong(undefined)), ShapeError, /zeros: a shape is an array of whole numbers, got undefined/],
  ['more elements than anyone has', () => zeros([2 ** 21, 2 ** 21]), ShapeError, /\[2097152, 2097152\] has too many elements/],
  [
    'more memory than allowed',
    () => zeros([2 ** 37]),
    OutOfMemoryError,
    /asked for 549755\.8 MB.*the limit is.*scope\(\(\) => .*setMemoryLimit/,
  ],
  ['a device that is not there', () => zeros([1], { device: 'cuda:0' }), DeviceError, /device\('cuda:0'\): .*driver/],
  [
    'a device that nobody knows',
    () => device(wrong('gpu')),
    DeviceError,
    /device\('gpu'\): unknown device\. Known: 'cpu', 'cuda'/,
  ],
  [
    'no threads',
    () => {
      device('cpu').threads = 0;
    },
    DeviceError,
    /threads: 0 is not a whole number above 0/,
  ],
  [
    'a memory limit of nothing',
    () => device('cpu').setMemoryLimit(-1),
    DeviceError,
    /setMemoryLimit: -1 is not a number of bytes/,
  ],
  ['half a seed', () => manualSeed(1.5), ConfigError, /manualSeed: 1\.5 is not a whole number/],
  ['a vector as a number', () => ones([3]).item(), ShapeError, /item\(\): the tensor has shape \[3\].*\.mean\(\)/],
  [
    'a tensor in arithmetic',
    () => +wrong(ones([1])) + 1,
    ConfigError,
    /a tensor is not a number.*x\.add\(1\).*await x\.item\(\)/,
  ],
  ['uniform numbers upside down', () => uniform([2], { low: 1, high: 0 }), ConfigError, /uniform: low 1 is above high 0/],
];

export const ops: Row[] = [
  [
    'a misspelled option of tensor',
    () => tensor([1], wrong({ requireGrad: true })),
    ConfigError,
    /tensor: .*"requireGrad" should be "requiresGrad"/,
  ],
  ['half a number in an integer tensor', () => full([2], 0.5, { dtype: 'i32' }), DTypeError, /full: 0\.5 is not a value of i32/],
  [
    'a shape that is a number',
    () => ones([6]).reshape(wrong(6)),
    ShapeError,
    /reshape: a shape is an array of whole numbers, got 6/,
  ],
  ['broadcasting to no shape', () => ones([3]).broadcastTo(wrong(undefined)), ShapeError, /broadcastTo: a shape is an array/],
  [
    'flipping along a word',
    () => ones([3]).flip(wrong('x')),
    ShapeError,
    /flip: axis must be a number or a list of numbers, got "x"/,
  ],
  [
    'a split into nothing',
    () => ones([3]).split(wrong(undefined)),
    ConfigError,
    /split: the size of the parts must be a whole number above 0, or a list/,
  ],
  ['limits of nothing', () => ones([3]).clamp(wrong(undefined)), ConfigError, /clamp: give min, max, or both/],
  [
    'groups of nobody',
    () => groupNorm(ones([1, 4, 2]), null, null, wrong(undefined)),
    ConfigError,
    /groupNorm: options are missing.*numGroups/,
  ],
  ['random integers without a bound', () => randint([2], wrong(undefined)), ConfigError, /randint: high is missing, for example/],
  [
    'a feed-forward part without layers',
    () => feedForward(ones([2, 4]), wrong(undefined), wrong(undefined)),
    ConfigError,
    /feedForward: up must be \{ weight, bias \}, such as an nn\.Linear/,
  ],
  [
    'the quotient of integers',
    () => ints(7, 8).div(ints(2, 3)),
    DTypeError,
    /div: integers \(i32 and i32\).*x\.to\('f32'\).*floor division/,
  ],
  ['integers by a number', () => ints(7).div(2), DTypeError, /div: integers \(i32\) have no quotient/],
  [
    'the sum of bools',
    () => ones([2], { dtype: 'bool' }).add(ones([2], { dtype: 'bool' })),
    DTypeError,
    /add: bool is not for.*'or' is maximum/,
  ],
  ['one over an integer power', () => ints(2).pow(-1), DTypeError, /pow: integers \(i32\) to the power -1.*to\('f32'\)/],
  [
    'a number beyond the dtype',
    () => ones([2], { dtype: 'u8' }).lt(300),
    DTypeError,
    /lt: cannot mix u8 with 300\..*x\.to\('i32'\)/,
  ],
  [
    'shapes that do not broadcast',
    () => add(ones([2, 3]), ones([4])),
    ShapeError,
    /add: cannot broadcast \[2, 3\] with \[4\]: dimension -1 is 3 on one side and 4/,
  ],
  [
    'integers with floats',
    () => add(ones([2]), ints(1, 2)),
    DTypeError,
    /add: cannot mix f32 with i32\. Convert one side first, for example x\.to\('f32'\)/,
  ],
  [
    'an op on no tensor',
    () => matmul(ones([2, 2]), wrong([[1]])),
    DTypeError,
    /matmul: b must be a Tensor, got \[\[1\]\]\. Make one with tensor\(/,
  ],
  ['products that do not fit', () => matmul(ones([2, 3]), ones([4, 5])), ShapeError, /matmul.*\[2, 3\].*\[4, 5\]/],
  [
    'a product of integers',
    () => matmul(ints(1, 2).reshape([1, 2]), ints(1, 2).reshape([2, 1])),
    DTypeError,
    /matmul.*float.*i32.*to\('f32'\)/,
  ],
  ['reshape to another size', () => ones([2, 3]).reshape([4]), ShapeError, /reshape: 6 elements do not fit the shape \[4\]/],
  [
    'two dimensions to guess',
    () => ones([2, 3]).reshape([-1, -1]),
    ShapeError,
    /reshape: only one dimension of \[-1, -1\] may be -1/,
  ],
  [
    'an axis that is not there',
    () => ones([2, 3]).sum({ axis: 2 }),
    ShapeError,
    /sum: axis 2 does not exist in a tensor of 2 dimensions \(use -2 to 1\)/,
  ],
  ['an axis twice', () => ones([2, 3]).mean({ axis: [0, -2] }), ShapeError, /mean: axis 0 is given twice/],
  [
    'a misspelled reduction',
    () => ones([2, 3]).sum(wrong({ keepDim: true })),
    ConfigError,
    /sum.*"keepDim" should be "keepDims"/,
  ],
  ['a permutation that is none', () => ones([2, 3]).permute([0, 0]), ShapeError, /permute: .*0.*twice/],
  ['the softmax of integers', () => ints(1, 2).softmax(), DTypeError, /softmax: x must be a float tensor, got i32.*to\('f32'\)/],
  [
    'pieces that do not join',
    () => concat([ones([2, 3]), ones([2, 4])], { axis: 0 }),
    ShapeError,
    /concat: .*\[2, 4\].*\[2, 3\]|concat: .*\[2, 3\].*\[2, 4\]/,
  ],
  ['nothing to stack', () => stack([]), ConfigError, /stack: .*at least one/],
  ['a choice by numbers', () => where(ones([2]), ones([2]), ones([2])), DTypeError, /where: condition must be bool, got f32/],
  ['more than there is', () => topK(ones([3]), 4), ConfigError, /topK: k must be a whole number.*3.*4/],
  [
    'channels that do not fit',
    () => conv2d(ones([1, 3, 8, 8]), ones([4, 2, 3, 3])),
    ShapeError,
    /conv2d: .*\[1, 3, 8, 8\].*\[4, 2, 3, 3\]/,
  ],
  ['a window larger than the picture', () => maxPool2d(ones([1, 1, 2, 2]), { kernelSize: 3 }), ShapeError, /maxPool2d: .*3.*2/],
  [
    'a norm of another width',
    () => layerNorm(ones([2, 4]), ones([5]), null, { normalizedShape: [5] }),
    ShapeError,
    /layerNorm: .*\[5\].*\[2, 4\]|layerNorm: .*\[2, 4\].*\[5\]/,
  ],
  [
    'float indices',
    () => embedding(ones([2]), ones([4, 2])),
    DTypeError,
    /embedding: indices must be i32, got f32.*indices\.to\('i32'\)/,
  ],
  [
    'an index outside the table',
    () => embedding(ints(1, 9), ones([4, 2])).data(),
    DataError,
    /embedding\(\[2\], \[4, 2\]\): index 9 is outside \[0, 4\)/,
  ],
  [
    'heads that do not fit',
    () => attention(ones([1, 3, 4, 8]), ones([1, 2, 4, 8]), ones([1, 2, 4, 8])),
    ShapeError,
    /attention: q has 3 heads, which is not a multiple of the 2 heads/,
  ],
  ['dropping more than all', () => ones([2]).dropout(1.5), ConfigError, /dropout: p must be a number from 0 to 1, got 1\.5/],
  [
    'targets of another shape',
    () => losses.crossEntropy(ones([4, 3]), ints(0, 1)),
    ShapeError,
    /crossEntropy: logits \[4, 3\] with classes on axis 1 need a target of \[4\], got \[2\]/,
  ],
  [
    'a target that is no class',
    () =>
      losses
        .crossEntropy(ones([2, 3]), ints(0, 7))
        .mean()
        .item(),
    DataError,
    /crossEntropy\(\[2, 3\], \[2\]\): target 7 is outside \[0, 3\) at row 1/,
  ],
  [
    'smoothing beyond all',
    () => losses.crossEntropy(ones([2, 3]), ints(0, 1), { labelSmoothing: 2 }),
    ConfigError,
    /crossEntropy: labelSmoothing must be a number from 0 to 1, got 2/,
  ],
  [
    'a misspelled loss option',
    () => losses.crossEntropy(ones([2, 3]), ints(0, 1), wrong({ labelSmooth: 0.1 })),
    ConfigError,
    /"labelSmooth" should be "labelSmoothing"/,
  ],
  [
    'an output and a target of two shapes',
    () => losses.mse(ones([4, 1]), ones([4])),
    ShapeError,
    /mse: input \[4, 1\] and target \[4\] must have one shape\. Reshape one/,
  ],
  [
    'a loss that is no scalar',
    () => losses.lossTerm(ones([3]), 3),
    ShapeError,
    /lossTerm: sum must be a scalar, got \[3\]\. Reduce it: x\.sum\(\)/,
  ],
];

export const graph: Row[] = [
  ['a freed tensor in an op', () => add(freed(), 1), GraphError, /add: .*\[2, 3\] was freed.*returned or kept\(\)/],
  [
    'a freed tensor read',
    () => freed().data(),
    GraphError,
    /data\(\): this tensor \[2, 3\] was freed\. Read it before its scope ends/,
  ],
  [
    'a tensor from a scope that ended',
    () => {
      let leaked: Tensor | undefined;
      scope(() => {
        leaked = ones([2]).mul(2);
      });
      return (leaked as unknown as Tensor).sum();
    },
    GraphError,
    /freed.*scope\(\)/,
  ],
  [
    'an async function in a scope',
    () => scope(wrong(async () => 1)),
    ConfigError,
    /scope: the function is async.*Use scope\.run\(async/,
  ],
  ['an async function in noGrad', () => noGrad(wrong(async () => 1)), ConfigError, /noGrad: the function is async.*scope\.run/],
  [
    'backward of a vector',
    () => ones([3], { requiresGrad: true }).mul(2).backward(),
    ShapeError,
    /backward: \[3\] is not a scalar\. Reduce it first \(\.sum\(\), \.mean\(\)\)/,
  ],
  [
    'backward of nothing recorded',
    () => ones([3]).sum().backward(),
    GraphError,
    /backward: Tensor \[\] f32 on cpu was not computed from anything that requires a gradient.*noGrad\(\)/,
  ],
  [
    'backward twice',
    () => {
      const y = ones([3], { requiresGrad: true }).square().sum();
      y.backward();
      y.backward();
    },
    GraphError,
    /backward: the graph of \w+ was freed.*Run the forward pass again/,
  ],
  [
    'backward after a write',
    () => {
      const p = new Parameter(ones([2]));
      const y = p.square().sum();
      nn.assign(p, zeros([2]));
      y.backward();
    },
    GraphError,
    /a tensor \[2\] that \w+ saved was written since.*Run backward before writing/,
  ],
  [
    'a seed of another shape',
    () =>
      ones([3], { requiresGrad: true })
        .mul(2)
        .backward(ones([2])),
    ShapeError,
    /backward: the seed has shape \[2\], the tensor \[3\]/,
  ],
  [
    'gradcheck in f32',
    () => gradcheck((x) => x.exp(), [ones([2], { requiresGrad: true })]),
    DTypeError,
    /gradcheck: input 0 \[2\] is f32.*Make it f64/,
  ],
];
