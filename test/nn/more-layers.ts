// Rows for layers.test.ts: a layer, its state by PyTorch's names and layouts, an input's shape, and the output's.
import { nn } from '../../lib/index.ts';

type Row = [string, () => nn.Layer, Record<string, number[]>, number[], number[]];

export const moreLayers: Row[] = [
  ['Linear with an activation', () => new nn.Linear(3, 5, { activation: 'gelu' }), { weight: [5, 3], bias: [5] }, [2, 3], [2, 5]],
  [
    'Conv2d with an activation',
    () => new nn.Conv2d(1, 2, { kernelSize: 3, activation: 'relu' }),
    { weight: [2, 1, 3, 3], bias: [2] },
    [1, 1, 5, 5],
    [1, 2, 3, 3],
  ],
  ['Conv1d', () => new nn.Conv1d(4, 6, { kernelSize: 3, groups: 2 }), { weight: [6, 2, 3], bias: [6] }, [2, 4, 9], [2, 6, 7]],
  [
    'Conv3d',
    () => new nn.Conv3d(2, 3, { kernelSize: [1, 2, 3], bias: false }),
    { weight: [3, 2, 1, 2, 3] },
    [1, 2, 3, 4, 5],
    [1, 3, 3, 3, 3],
  ],
  [
    'ConvTranspose1d',
    () => new nn.ConvTranspose1d(4, 6, { kernelSize: 3, stride: 2, groups: 2 }),
    { weight: [4, 3, 3], bias: [6] },
    [2, 4, 5],
    [2, 6, 11],
  ],
  [
    'ConvTranspose2d',
    () => new nn.ConvTranspose2d(3, 5, { kernelSize: 2, stride: 2 }),
    { weight: [3, 5, 2, 2], bias: [5] },
    [1, 3, 4, 3],
    [1, 5, 8, 6],
  ],
  ['MaxPool1d', () => new nn.MaxPool1d(2), {}, [1, 3, 7], [1, 3, 3]],
  ['AvgPool1d', () => new nn.AvgPool1d(3, { stride: 1, padding: 1 }), {}, [1, 3, 7], [1, 3, 7]],
  ['AdaptiveAvgPool1d', () => new nn.AdaptiveAvgPool1d(3), {}, [1, 2, 7], [1, 2, 3]],
  ['AdaptiveMaxPool1d', () => new nn.AdaptiveMaxPool1d(3), {}, [1, 2, 7], [1, 2, 3]],
  ['AdaptiveAvgPool2d', () => new nn.AdaptiveAvgPool2d(1), {}, [1, 2, 7, 3], [1, 2, 1, 1]],
  ['AdaptiveMaxPool2d', () => new nn.AdaptiveMaxPool2d([null, 2]), {}, [1, 2, 7, 3], [1, 2, 7, 2]],
  ['Upsample', () => new nn.Upsample({ scaleFactor: 2, mode: 'bilinear' }), {}, [1, 2, 3, 2], [1, 2, 6, 4]],
  ['PixelShuffle', () => new nn.PixelShuffle(2), {}, [1, 8, 2, 3], [1, 2, 4, 6]],
  ['PixelUnshuffle', () => new nn.PixelUnshuffle(2), {}, [1, 2, 4, 6], [1, 8, 2, 3]],
  ['InstanceNorm1d', () => new nn.InstanceNorm1d(3), {}, [2, 3, 5], [2, 3, 5]],
  [
    'InstanceNorm2d',
    () => new nn.InstanceNorm2d(3, { affine: true, trackRunningStats: true }),
    { weight: [3], bias: [3], running_mean: [3], running_var: [3] },
    [2, 3, 4, 4],
    [2, 3, 4, 4],
  ],
  ['SwiGLU', () => new nn.SwiGLU(4, 6), { 'w1.weight': [6, 4], 'w2.weight': [4, 6], 'w3.weight': [6, 4] }, [2, 3, 4], [2, 3, 4]],
  ['Softmax', () => new nn.Softmax(), {}, [2, 3], [2, 3]],
  ['LogSoftmax', () => new nn.LogSoftmax({ axis: 0 }), {}, [2, 3], [2, 3]],
  ['GLU', () => new nn.GLU(), {}, [2, 6], [2, 3]],
  ['PReLU', () => new nn.PReLU(), { weight: [1] }, [2, 6], [2, 6]],
  ...(
    ['ReLU6', 'Hardsigmoid', 'Hardswish', 'Mish', 'SELU', 'LogSigmoid', 'Softsign', 'Tanhshrink', 'Hardtanh', 'CELU'] as const
  ).map((name): Row => [name, () => new nn[name](), {}, [2, 3], [2, 3]]),
  ['DropPath', () => new nn.DropPath(0.3), {}, [2, 3, 4], [2, 3, 4]],
  ['SinusoidalPositions', () => new nn.SinusoidalPositions(4), {}, [2, 3, 4], [2, 3, 4]],
  ['RotaryPositions', () => new nn.RotaryPositions(4), {}, [2, 2, 3, 4], [2, 2, 3, 4]],
  [
    'MultiheadAttention of other widths',
    () => new nn.MultiheadAttention(4, 2, { kdim: 4, vdim: 4, dropout: 0.1, bias: false }),
    { in_proj_weight: [12, 4], 'out_proj.weight': [4, 4] },
    [2, 3, 4],
    [2, 3, 4],
  ],
];
