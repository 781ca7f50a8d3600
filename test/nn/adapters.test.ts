/** LoRA adapters, parametrized weights, stochastic depth, masks of attention, positions: what no golden shows. */
import { describe, expect, test } from 'vitest';
import { ConfigError, manualSeed, nn, noGrad, ones, randn, rotary, type Tensor, tensor, zeros } from '../../lib/index.ts';
import { bind } from '../../lib/tensor/context.ts';
import { expectClose } from '../helpers/compare.ts';

const values = async (t: Tensor) => ({ shape: t.shape, data: await t.data() });
const step = (seed: number, rowOffset: number, rows: number) => ({
  rng: { seed, attempt: 0, rowOffset, rows, calls: new Map<string, number>(), inStep: true },
});

describe('LoRALinear', () => {
  const adapted = () => {
    manualSeed(1);
    const layer = new nn.LoRALinear(new nn.Linear(6, 4), { rank: 2, alpha: 6 });
    layer.loraB.loadStateDict({ weight: randn([4, 2]) });
    return layer;
  };
  test('starts as the layer that it wraps, and trains its factors alone', async () => {
    manualSeed(2);
    const base = new nn.Linear(6, 4, { activation: 'relu' });
    const x = randn([3, 6]);
    const before = await values(base.forward(x));
    const layer = new nn.LoRALinear(base, { rank: 2 });
    expect(await values(layer.forward(x))).toEqual(before);
    layer.forward(x).sum().backward();
    expect([...layer.namedParameters()].filter(([, p]) => p.grad !== null).map(([name]) => name)).toEqual([
      'lora_a.weight',
      'lora_b.weight',
    ]);
    expect([...layer.stateDict().keys()]).toEqual(['weight', 'bias', 'lora_a.weight', 'lora_b.weight']);
  });
  test('is x (W + alpha / rank B A)^T + b', async () => {
    const layer = adapted();
    const x = randn([3, 6]);
    const w = layer.weight.add(layer.loraB.weight.matmul(layer.loraA.weight).mul(3));
    const expected = x.matmul(w, { transposeB: true }).add(layer.bias as Tensor);
    expectClose('forward', await values(layer.forward(x)), await values(expected), 1e-6);
  });
  test('merges and unmerges to the bit', async () => {
    const layer = adapted();
    const x = randn([3, 6]);
    const [weight, y] = [await values(layer.weight), await values(layer.forward(x))];
    expect(layer.merge().merge().merged).toBe(true);
    expectClose('merged', await values(layer.forward(x)), y, 1e-6);
    expect((await values(layer.weight)).data).not.toEqual(weight.data);
    expect(layer.unmerge().unmerge().merged).toBe(false);
    expect(await values(layer.weight)).toEqual(weight);
    expect(await values(layer.forward(x))).toEqual(y);
  });
  test('applyLoRA replaces the Linears of a model, those behind fused passes too', async () => {
    manualSeed(3);
    const model = new nn.Sequential(new nn.TransformerBlock(8, 2, { dropout: 0 }), new nn.Linear(8, 3), new nn.ReLU());
    const x = randn([2, 5, 8]);
    const before = await values(model.forward(x));
    const made = nn.applyLoRA(model, { rank: 2 });
    expect(made.length).toBe(5);
    expectClose('the same at the start', await values(model.forward(x)), before, 1e-6);
    for (const layer of made) layer.loraB.loadStateDict({ weight: randn(layer.loraB.weight.shape) });
    model.forward(x).sum().backward();
    const trained = [...model.namedParameters()].filter(([, p]) => p.grad !== null).map(([name]) => name);
    expect(trained.every((name) => /lora_[ab]\.weight$/.test(name))).toBe(true);
    expect(trained.length).toBe(10);
    const after = await values(model.forward(x));
    for (const layer of made) layer.merge();
    expectClose('merged', await values(model.forward(x)), after, 1e-5);
  });
  test('targets choose by path, and fit something', () => {
    const model = () => new nn.Sequential(new nn.Linear(2, 2), new nn.Linear(2, 2));
    expect(nn.applyLoRA(model(), { targets: /^1$/g }).length).toBe(1);
    expect(() => nn.applyLoRA(model(), { targets: (path) => path === 'head' })).toThrow(ConfigError);
    expect(() => new nn.LoRALinear(new nn.LoRALinear(new nn.Linear(2, 2)))).toThrow(/plain/);
  });
});

describe('parametrized weights', () => {
  test('weight norm changes nothing at first, and can be taken off', async () => {
    manualSeed(4);
    const layer = new nn.Linear(5, 3);
    const x = randn([2, 5]);
    const before = await values(layer.forward(x));
    nn.weightNorm(layer);
    expect([...layer.stateDict().keys()].sort()).toEqual([
      'bias',
      'parametrizations.weight.original0',
      'parametrizations.weight.original1',
    ]);
    expectClose('normed', await values(layer.forward(x)), before, 1e-6);
    expect(() => nn.weightNorm(layer)).toThrow(/one parametrization/);
    nn.removeWeightNorm(layer);
    expect([...layer.stateDict().keys()].sort()).toEqual(['bias', 'weight']);
    expectClose('taken off', await values(layer.forward(x)), before, 1e-6);
    expect(() => nn.removeWeightNorm(layer)).toThrow(ConfigError);
  });
  test('stands in a transformer block too', async () => {
    manualSeed(9);
    const block = new nn.TransformerBlock(8, 2, { dropout: 0 });
    const x = randn([1, 3, 8]);
    const before = await values(block.forward(x));
    for (const layer of [block.mlp.up, block.mlp.down, block.attn.proj]) nn.weightNorm(layer);
    const y = block.forward(x);
    expectClose('normed', await values(y), before, 1e-5);
    y.sum().backward();
    expect(block.parameters().filter((p) => p.grad === null)).toEqual([]);
  });
  test('spectral norm brings the largest singular value to 1', async () => {
    manualSeed(5);
    const layer = nn.spectralNorm(new nn.Linear(2, 2, { bias: false }), { iterations: 30 });
    (layer.stateDict().get('parametrizations.weight.original') as nn.Parameter).requiresGrad = false;
    layer.loadStateDict(
      {
        'parametrizations.weight.original': tensor([
          [3, 0],
          [0, 2],
        ]),
      },
      { strict: false },
    );
    const w = await values(noGrad(() => layer.weight.mul(1)));
    expectClose('weight', w, { shape: [2, 2], data: [1, 0, 0, 2 / 3] }, 1e-5);
    const { u, v } = {
      u: layer.stateDict().get('parametrizations.weight.0._u'),
      v: layer.stateDict().get('parametrizations.weight.0._v'),
    };
    layer.eval();
    const held = [await values(u as Tensor), await values(v as Tensor)];
    layer.forward(ones([1, 2]));
    expect([await values(u as Tensor), await values(v as Tensor)]).toEqual(held);
  });
});

describe('DropPath', () => {
  test('keeps or drops whole samples, however the window is cut', async () => {
    const layer = new nn.DropPath(0.4);
    layer.path = 'here';
    const x = ones([64, 3, 2]);
    const whole = await bind(step(7, 0, 64), () => layer.forward(x)).data();
    const kept = Array.from({ length: 64 }, (_, i) => whole[i * 6] as number);
    for (let i = 0; i < 64; i++) expect(new Set(whole.slice(i * 6, i * 6 + 6)).size).toBe(1);
    expect(new Set(kept.map((v) => v.toFixed(4)))).toEqual(new Set(['0.0000', (1 / 0.6).toFixed(4)]));
    const half = await bind(step(7, 32, 32), () => layer.forward(ones([32, 3, 2]))).data();
    expect(half).toEqual(whole.slice(192));
    expect(layer.eval().forward(x)).toBe(x);
  });
});

describe('MultiheadAttention', () => {
  test('keys behind the padding mask do not count', async () => {
    manualSeed(6);
    const layer = new nn.MultiheadAttention(8, 2);
    const x = randn([1, 5, 8]);
    const mask = tensor(Uint8Array.of(0, 0, 0, 1, 1), { shape: [1, 5], dtype: 'bool' });
    const y = layer.forward(x, { keyPaddingMask: mask }).narrow(1, 0, 3);
    expectClose('masked', await values(y), await values(layer.forward(x.narrow(1, 0, 3))), 1e-6);
  });
  test('dropout is of training, and keyed', async () => {
    manualSeed(7);
    const layer = new nn.MultiheadAttention(8, 2, { dropout: 0.5 });
    layer.path = 'attn';
    const x = randn([2, 5, 8]);
    const [a, b] = [bind(step(1, 0, 2), () => layer.forward(x)), bind(step(1, 0, 2), () => layer.forward(x))];
    expect((await a.data()).every((v, i) => Number.isFinite(v) && v !== undefined && i >= 0)).toBe(true);
    expect(await values(a)).toEqual(await values(b));
    layer.eval();
    expect(await layer.forward(x).data()).not.toEqual(await a.data());
  });
  test('says what is wrong', () => {
    const layer = new nn.MultiheadAttention(4, 2);
    const x = zeros([2, 3, 4]);
    expect(() => layer.forward(x, zeros([1, 3, 4]))).toThrow(/batch/);
    expect(() => layer.forward(x, zeros([2, 3, 5]))).toThrow(/key/);
    expect(() => layer.forward(x, { keyPaddingMask: zeros([2, 3]) })).toThrow(/bool/);
    expect(() => layer.forward(x, { keyPaddingMask: zeros([2, 4], { dtype: 'bool' }) })).toThrow(/keyPaddingMask/);
    expect(() => layer.forward(x, { attnMask: tensor(Int32Array.of(1, 2, 3)) })).toThrow(/attnMask/);
  });
});

test('rotary positions: products depend on the distance alone', async () => {
  manualSeed(8);
  const [q, k] = [randn([1, 1, 8]), randn([1, 1, 8])];
  const layer = new nn.RotaryPositions(8);
  const product = (i: number, j: number) =>
    layer
      .forward(q, { offset: i })
      .mul(layer.forward(k, { offset: j }))
      .sum()
      .item();
  expect(await product(9, 4)).toBeCloseTo(await product(6, 1), 4);
  expect(await values(layer.forward(q, { offset: 3 }))).toEqual(await values(rotary(q, { offset: 3 })));
});
