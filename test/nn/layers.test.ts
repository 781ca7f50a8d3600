import { describe, expect, test } from 'vitest';
import { ConfigError, interpolate, manualSeed, nn, randn, ShapeError, type Tensor, tensor, zeros } from '../../lib/index.ts';
import { bind } from '../../lib/tensor/context.ts';
import { distance, normals, valuesOf } from '../train/helpers.ts';
import { moreLayers } from './more-layers.ts';

const shapes = (m: nn.Module) => Object.fromEntries([...m.stateDict()].map(([name, t]) => [name, [...t.shape]]));

/** Each layer: its state by PyTorch's names and layouts, an input's shape, and the output's. */
const layers: [string, () => nn.Layer, Record<string, number[]>, number[], number[]][] = [
  ['Linear', () => new nn.Linear(3, 5), { weight: [5, 3], bias: [5] }, [2, 4, 3], [2, 4, 5]],
  ['Linear without bias', () => new nn.Linear(3, 5, { bias: false }), { weight: [5, 3] }, [3], [5]],
  [
    'Conv2d',
    () => new nn.Conv2d(4, 6, { kernelSize: [3, 2], stride: 2, padding: 1, groups: 2 }),
    { weight: [6, 2, 3, 2], bias: [6] },
    [2, 4, 8, 8],
    [2, 6, 4, 5],
  ],
  [
    'Conv2d dilated',
    () => new nn.Conv2d(1, 2, { kernelSize: 3, dilation: 2, bias: false }),
    { weight: [2, 1, 3, 3] },
    [1, 1, 7, 7],
    [1, 2, 3, 3],
  ],
  ['MaxPool2d', () => new nn.MaxPool2d(2), {}, [1, 3, 6, 7], [1, 3, 3, 3]],
  ['AvgPool2d', () => new nn.AvgPool2d(3, { stride: 1, padding: 1 }), {}, [1, 3, 6, 7], [1, 3, 6, 7]],
  [
    'BatchNorm2d',
    () => new nn.BatchNorm2d(3),
    { weight: [3], bias: [3], running_mean: [3], running_var: [3] },
    [2, 3, 4, 4],
    [2, 3, 4, 4],
  ],
  ['BatchNorm1d', () => new nn.BatchNorm1d(3), { weight: [3], bias: [3], running_mean: [3], running_var: [3] }, [4, 3], [4, 3]],
  [
    'BatchNorm3d',
    () => new nn.BatchNorm3d(3),
    { weight: [3], bias: [3], running_mean: [3], running_var: [3] },
    [2, 3, 2, 2, 2],
    [2, 3, 2, 2, 2],
  ],
  [
    'BatchNorm2d without affine',
    () => new nn.BatchNorm2d(3, { affine: false }),
    { running_mean: [3], running_var: [3] },
    [2, 3, 4, 4],
    [2, 3, 4, 4],
  ],
  ['LayerNorm', () => new nn.LayerNorm([4, 5]), { weight: [4, 5], bias: [4, 5] }, [2, 4, 5], [2, 4, 5]],
  ['LayerNorm without bias', () => new nn.LayerNorm(5, { bias: false }), { weight: [5] }, [2, 4, 5], [2, 4, 5]],
  ['RMSNorm', () => new nn.RMSNorm(5), { weight: [5] }, [2, 5], [2, 5]],
  ['GroupNorm', () => new nn.GroupNorm(2, 6), { weight: [6], bias: [6] }, [2, 6, 3, 3], [2, 6, 3, 3]],
  ['Dropout', () => new nn.Dropout(), {}, [2, 3], [2, 3]],
  ['Dropout2d', () => new nn.Dropout2d(), {}, [2, 3, 4, 4], [2, 3, 4, 4]],
  ['Flatten', () => new nn.Flatten(), {}, [2, 3, 4], [2, 12]],
  ['Identity', () => new nn.Identity(), {}, [2, 3], [2, 3]],
  [
    'MultiheadAttention',
    () => new nn.MultiheadAttention(8, 2, { causal: true }),
    { in_proj_weight: [24, 8], in_proj_bias: [24], 'out_proj.weight': [8, 8], 'out_proj.bias': [8] },
    [2, 5, 8],
    [2, 5, 8],
  ],
  [
    'TransformerBlock',
    () => new nn.TransformerBlock(8, 2, { bias: false }),
    {
      'ln1.weight': [8],
      'attn.qkv.weight': [24, 8],
      'attn.proj.weight': [8, 8],
      'ln2.weight': [8],
      'mlp.up.weight': [32, 8],
      'mlp.down.weight': [8, 32],
    },
    [2, 5, 8],
    [2, 5, 8],
  ],
  ...(['ReLU', 'GELU', 'SiLU', 'Sigmoid', 'Tanh', 'Softplus', 'LeakyReLU', 'ELU'] as const).map(
    (name): (typeof layers)[number] => [name, () => new nn[name](), {}, [2, 3], [2, 3]],
  ),
  ...moreLayers,
];

describe('every layer', () => {
  for (const [name, make, state, input, output] of layers)
    test(`${name}: its state, and a gradient for all of it`, async () => {
      manualSeed(1);
      const layer = make();
      expect(shapes(layer)).toEqual(state);
      const x = randn(input, { requiresGrad: true });
      const y = layer.forward(x);
      expect(y.shape).toEqual(output);
      if (!y.tracked) return; // Identity of a leaf
      y.mul(randn(output)).sum().backward();
      for (const [parameter, p] of layer.namedParameters()) expect(p.grad?.shape, parameter).toEqual(p.shape);
      expect(x.grad?.shape).toEqual(input);
      expect((await y.data()).every(Number.isFinite)).toBe(true);
    });

  test('Embedding', () => {
    const layer = new nn.Embedding(7, 3);
    expect(shapes(layer)).toEqual({ weight: [7, 3] });
    expect(layer.forward(tensor(Int32Array.of(0, 6, 1, 1), { shape: [2, 2] })).shape).toEqual([2, 2, 3]);
  });

  test('the names tested here are all there are', () => {
    const exported = Object.entries(nn).flatMap(([name, v]) =>
      typeof v === 'function' && v.prototype instanceof nn.Module ? [name] : [],
    );
    const here = new Set(layers.map(([name]) => name.split(' ')[0]));
    expect(exported.filter((name) => !here.has(name)).sort()).toEqual([
      'Embedding',
      // test/nn/recurrent.test.ts, adapters.test.ts, test/golden/layers.test.ts
      ...['EmbeddingBag', 'GRU', 'LSTM', 'Lambda', 'LoRALinear', 'RNN'],
      'Sequential',
    ]);
  });
});

describe('starts, as PyTorch’s', () => {
  const spread = async (t: Tensor) => {
    const v = Array.from(await t.data());
    const mean = v.reduce((a, b) => a + b, 0) / v.length;
    return { most: Math.max(...v.map(Math.abs)), std: Math.sqrt(v.reduce((s, x) => s + (x - mean) ** 2, 0) / v.length), mean };
  };
  test('Linear and Conv2d: uniform to 1 / sqrt(fan in)', async () => {
    manualSeed(3);
    for (const [w, fanIn] of [
      [new nn.Linear(100, 200).weight, 100],
      [new nn.Conv2d(16, 64, { kernelSize: 3, groups: 2 }).weight, 72],
      [new nn.Linear(400, 900).bias as Tensor, 400],
    ] as const) {
      const bound = 1 / Math.sqrt(fanIn);
      const { most, std, mean } = await spread(w);
      expect(most).toBeLessThanOrEqual(bound);
      expect(most).toBeGreaterThan(0.98 * bound);
      expect(std / (bound / Math.sqrt(3))).toBeCloseTo(1, 1);
      expect(Math.abs(mean)).toBeLessThan(0.1 * bound);
    }
  });
  test('Embedding: standard normal, the row of padding zero and without gradient', async () => {
    const layer = new nn.Embedding(400, 50, { paddingIdx: -2 });
    const table = await layer.weight.data();
    expect([...table.slice(398 * 50, 399 * 50)]).toEqual(Array(50).fill(0));
    expect((await spread(layer.weight)).std).toBeCloseTo(1, 1);
    layer
      .forward(tensor(Int32Array.of(398, 3)))
      .sum()
      .backward();
    const gradient = await (layer.weight.grad as Tensor).data();
    expect([...gradient.slice(398 * 50, 399 * 50)]).toEqual(Array(50).fill(0));
    expect([...gradient.slice(150, 200)]).toEqual(Array(50).fill(1));
  });
  test('norms: ones and zeros; attention: xavier, biases zero', async () => {
    const state = await valuesOf(new nn.BatchNorm2d(2).stateDict());
    expect(Object.fromEntries(state)).toEqual({ weight: [1, 1], bias: [0, 0], running_mean: [0, 0], running_var: [1, 1] });
    const attention = new nn.MultiheadAttention(64, 4);
    const { most } = await spread(attention.inProjWeight as Tensor);
    expect(most / Math.sqrt(6 / (64 + 192))).toBeCloseTo(1, 1);
    expect((await spread(attention.inProjBias as Tensor)).most).toBe(0);
    expect((await spread(attention.outProj.bias as Tensor)).most).toBe(0);
  });
});

describe('modes', () => {
  test('Dropout: nothing in evaluation, p zeros and scaled others in training', async () => {
    const drop = new nn.Dropout(0.25);
    const x = tensor(new Float32Array(4000).fill(3), { shape: [40, 100] });
    const y = await drop.forward(x).data();
    expect(new Set(y)).toEqual(new Set([0, 4]));
    expect(y.filter((v) => v === 0).length / 4000).toBeCloseTo(0.25, 1);
    expect(await drop.forward(x).data()).not.toEqual(y); // another draw
    expect(drop.eval().forward(x)).toBe(x);
    expect(new nn.Dropout(0).forward(x)).toBe(x);
  });

  test('BatchNorm2d: the batch’s statistics in training, the running ones in evaluation', async () => {
    const norm = new nn.BatchNorm2d(2, { momentum: 0.5 });
    const x = tensor(
      normals('bn', 4 * 2 * 9).map((v) => 3 * v + 5),
      { shape: [4, 2, 3, 3] },
    );
    const training = await norm.forward(x).data();
    const channel = Array.from(training).filter((_, i) => Math.floor(i / 9) % 2 === 0);
    expect(channel.reduce((a, b) => a + b, 0) / channel.length).toBeCloseTo(0, 5);
    const [mean] = await norm.runningMean.data();
    expect(mean).toBeGreaterThan(1.5); // half way to about 5
    norm.eval();
    const evaluated = await norm.forward(x).data();
    const [v] = await norm.runningVar.data();
    expect(evaluated[0]).toBeCloseTo((((await x.data())[0] as number) - (mean as number)) / Math.sqrt((v as number) + 1e-5), 4);
    expect(await norm.runningMean.data()).toEqual(Float32Array.from(await norm.runningMean.data()));
    expect((await norm.runningMean.data())[0]).toBe(mean);
  });
});

test('BatchNorm1d and 3d are BatchNorm2d of other ranks, and refuse those that are not theirs', async () => {
  const x = tensor(normals('bn', 4 * 2 * 6), { shape: [4, 2, 6] });
  const flat = async (norm: nn.Layer, ...shape: number[]) => norm.forward(x.reshape(shape)).data();
  const expected = await flat(new nn.BatchNorm2d(2), 4, 2, 6, 1);
  expect(await flat(new nn.BatchNorm1d(2), 4, 2, 6)).toEqual(expected);
  expect(await flat(new nn.BatchNorm3d(2), 4, 2, 3, 2, 1)).toEqual(expected);
  expect(await flat(new nn.BatchNorm1d(12), 4, 12)).toEqual(await flat(new nn.BatchNorm2d(12), 4, 12, 1, 1));
  expect(() => new nn.BatchNorm1d(2).forward(x.reshape([4, 2, 6, 1]))).toThrow(
    /expected \[N, C\] or \[N, C, L\], got \[4, 2, 6, 1\]/,
  );
  expect(() => new nn.BatchNorm2d(2).forward(x)).toThrow(ShapeError);
});

describe('Sequential fuses what stands together, and nothing else changes', () => {
  const cases: [string, () => nn.Layer[], number[]][] = [
    ['Linear, ReLU', () => [new nn.Linear(20, 30), new nn.ReLU(), new nn.Linear(30, 5), new nn.ReLU()], [16, 20]],
    [
      'Conv2d, ReLU',
      () => [
        new nn.Conv2d(2, 4, { kernelSize: 3 }),
        new nn.ReLU(),
        new nn.Conv2d(4, 3, { kernelSize: 3, stride: 2 }),
        new nn.ReLU(),
      ],
      [3, 2, 9, 9],
    ],
    [
      'Conv2d, ReLU, MaxPool2d',
      () => [new nn.Conv2d(1, 8, { kernelSize: 3 }), new nn.ReLU(), new nn.MaxPool2d(2), new nn.Flatten(), new nn.Linear(72, 4)],
      [5, 1, 8, 8],
    ],
    ['two ReLUs, a ReLU at the start', () => [new nn.ReLU(), new nn.Linear(6, 6), new nn.ReLU(), new nn.ReLU()], [4, 6]],
    ['without bias', () => [new nn.Linear(6, 6, { bias: false }), new nn.ReLU()], [4, 6]],
  ];
  for (const [name, make, input] of cases)
    for (const precision of ['f32', 'bf16'] as const)
      test(`${name}, ${precision}`, async () => {
        const outcome = async (fused: boolean) => {
          manualSeed(2);
          const parts = make();
          const model = new nn.Sequential(...parts);
          const x = tensor(
            normals(
              name,
              input.reduce((a, b) => a * b, 1),
            ),
            { shape: input, requiresGrad: true },
          );
          const y = bind({ precision }, () =>
            fused ? model.forward(x) : parts.reduce((v, layer) => layer.forward(v), x as Tensor),
          );
          y.square().sum().backward();
          const gradients = await valuesOf([
            ['x', x.grad as Tensor],
            ...[...model.namedParameters()].map(([k, p]) => [k, p.grad as Tensor] as const),
          ]);
          return { y: new Map([['y', Array.from(await y.data())]]), gradients, keys: [...model.stateDict().keys()] };
        };
        const [fused, plain] = [await outcome(true), await outcome(false)];
        expect(fused.keys).toEqual(plain.keys);
        if (!name.includes('Pool')) expect(plain.y.get('y')?.some((v) => v === 0)).toBe(true);
        const limit = precision === 'f32' ? 1e-6 : 2 ** -7;
        expect(distance(fused.y, plain.y)).toBeLessThan(limit);
        expect(distance(fused.gradients, plain.gradients)).toBeLessThan(2 * limit);
      });
});

test('Upsample is interpolate, in every mode', async () => {
  const x = randn([1, 2, 3, 4]);
  for (const options of [
    { scaleFactor: 2 },
    { size: [5, 3] },
    { scaleFactor: [2, 3], mode: 'bilinear' },
    { size: 7, mode: 'bilinear', alignCorners: true },
  ] as const) {
    const want = interpolate(x, options);
    const got = new nn.Upsample(options).forward(x);
    expect([got.shape, Array.from(await got.data())]).toEqual([want.shape, Array.from(await want.data())]);
  }
});

test('what a layer refuses', () => {
  expect(() => new nn.Upsample({ size: [0, 2] })).toThrow(
    /size must be a whole number from 1, or one for each side, got \[0, 2\]/,
  );
  expect(() => new nn.Upsample({ scaleFactor: [2, Number.NaN] })).toThrow(/scaleFactor must be a number above 0/);
  const bad: [() => unknown, new (...a: never[]) => Error, RegExp][] = [
    [() => new nn.Linear(0, 3), ConfigError, /Linear: inFeatures must be a whole number above 0, got 0/],
    [() => new nn.Linear(3, undefined as never), ConfigError, /outFeatures.*undefined/],
    [() => new nn.Linear(3, 3, { bais: false } as never), ConfigError, /"bais" should be "bias"/],
    [() => new nn.Conv2d(1, 1, {} as never), ConfigError, /kernelSize is missing, for example/],
    [() => new nn.Conv2d(3, 4, { kernelSize: 3, groups: 2 }), ConfigError, /groups 2 must divide inChannels 3/],
    [
      () => new nn.LayerNorm(undefined as never),
      ConfigError,
      /LayerNorm: normalizedShape must be a whole number above 0, got undefined/,
    ],
    [
      () => nn.init.xavierUniform(undefined as never),
      ShapeError,
      /init\.xavierUniform: a shape is an array of whole numbers, got undefined/,
    ],
    [() => new nn.Dropout(1.5), ConfigError, /p must be a number from 0 to 1, got 1\.5/],
    [() => new nn.Embedding(3, 2, { paddingIdx: 3 }), ConfigError, /paddingIdx must be a row from -3 to 2, got 3/],
    [() => new nn.MultiheadAttention(10, 3), ConfigError, /numHeads 3 must divide embedDim 10/],
    [() => new nn.GELU({ approximate: 'fast' as never }), ConfigError, /'none' or 'tanh', got "fast"/],
    [() => new nn.LeakyReLU({ slpe: 1 } as never), ConfigError, /"slpe" should be "slope"/],
    [() => new nn.TransformerBlock(8, 2, { droput: 0 } as never), ConfigError, /"droput" should be "dropout"/],
    [() => new nn.Linear(3, 2).forward(zeros([2, 4])), ShapeError, /\[2, 4\]/],
    [() => new nn.TransformerBlock(8, 2).forward(zeros([2, 8])), ShapeError, /x must be \[batch, time, 8\], got \[2, 8\]/],
    [() => new nn.LayerNorm(8).forward(zeros([2, 7])), ShapeError, /\[2, 7\]/],
    [() => new nn.Conv2d(1, 1, { kernelSize: 3 }).forward(zeros([1, 2, 8, 8])), ShapeError, /\[1, 2, 8, 8\]/],
  ];
  for (const [call, kind, message] of bad) {
    expect(call).toThrow(kind);
    expect(call).toThrow(message);
  }
});
