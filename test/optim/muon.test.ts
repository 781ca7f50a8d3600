/** Muon beyond its hundred steps: one optimizer for a model, a skipped step, what is saved. */
import { expect, test } from 'vitest';
import { CheckpointError, ConfigError } from '../../lib/native/errors.ts';
import * as nn from '../../lib/nn/index.ts';
import { AdamW, Muon, muonGroups, StepState } from '../../lib/optim/index.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { Parameter, type Tensor } from '../../lib/tensor/tensor.ts';
import { expectSameBits, noise, valuesOf } from './helpers.ts';

const model = () => new nn.Sequential(new nn.Linear(6, 8), new nn.ReLU(), new nn.Linear(8, 3));
const withGradients = (params: readonly Parameter[], step = 0) => {
  params.forEach((p, i) => {
    p.grad = noise(p.shape, `gradient ${step} ${i}`);
  });
};

test('muonGroups: hidden matrices are Muon’s, the rest and what is named is AdamW’s, biases without decay', () => {
  const m = model();
  const groups = muonGroups(m, { auxiliary: ['2'], weightDecay: 0.2, auxiliaryLr: 0.01 });
  const names = (g: { params: Iterable<unknown> }) => [...g.params].map((p) => (p as Parameter).name);
  expect(groups.map((g) => [names(g), g.weightDecay, g.auxiliary ?? false, g.lr])).toEqual([
    [['0.weight'], 0.2, false, undefined],
    [['2.weight'], 0.2, true, 0.01],
    [['0.bias', '2.bias'], 0, true, 0.01],
  ]);
  expect(() => muonGroups(m, { auxiliary: ['0.wieght'] })).toThrow(/auxiliary has 0\.wieght.*Did you mean "0\.weight"/);
  expect(() => new Muon(m.parameters())).toThrow(/Muon is for matrices.*muonGroups/);
  expect(() => new Muon(muonGroups(m), { nsSteps: 0 })).toThrow(/nsSteps must be a whole number from 1 to 99, got 0/);
  expect(() => new Muon(muonGroups(m), { adjustLr: 'none' as never })).toThrow(ConfigError);
  expect(() => muonGroups(m, { auxiliaryLr: -1 })).toThrow(/auxiliaryLr must be a number >= 0/);
});

test('auxiliary groups take AdamW’s step, to the last bit', async () => {
  const [ours, theirs] = [[new Parameter(noise([33], 'p'))], [new Parameter(noise([33], 'p'))]];
  const rule = { lr: 0.01, betas: [0.8, 0.9] as const, weightDecay: 0.3, eps: 1e-6 };
  const [muon, adam] = [new Muon(ours, { ...rule, auxiliary: true }), new AdamW(theirs, rule)];
  for (let i = 0; i < 5; i++)
    for (const [params, o] of [
      [ours, muon],
      [theirs, adam],
    ] as const) {
      withGradients(params, i);
      o.step();
    }
  expectSameBits(await valuesOf(ours), await valuesOf(theirs));
});

test('the step is orthogonal: its singular values are near 1, at any scale of the gradient, wide or tall', async () => {
  for (const [shape, scale] of [
    [[5, 9], 1e-6],
    [[9, 5], 1e6],
  ] as const) {
    const p = new Parameter(tensor(new Float32Array(45), { shape }));
    p.grad = noise(shape, 'g').mul(scale);
    new Muon([p], { lr: 1, weightDecay: 0, nsSteps: 9 }).step();
    const w = shape[0] > shape[1] ? p : p.transpose(0, 1);
    const gram = await w.transpose(0, 1).matmul(w).data(); // 5 x 5
    const ratio = Math.max(1, shape[0] / shape[1]);
    for (let i = 0; i < 5; i++)
      for (let j = 0; j < 5; j++) {
        const value = (gram[5 * i + j] as number) / ratio;
        expect(Math.abs(value - (i === j ? 0.9 : 0)), `${i}, ${j}`).toBeLessThan(i === j ? 0.6 : 0.35);
      }
  }
});

test('a step that is skipped leaves weights, momentum and count; the rate follows the state', async () => {
  const m = model();
  const params = m.parameters();
  const muon = new Muon(muonGroups(m), { lr: 0.02 });
  const state = new StepState();
  const step = (i: number, spoil = false) => {
    withGradients(params, i);
    if (spoil) (params[0] as Parameter).grad = tensor(new Float32Array(48).fill(Number.NaN), { shape: [8, 6] });
    state.begin();
    state.norm([muon]);
    muon.apply(state);
    state.end();
    muon.zeroGrad();
  };
  step(0);
  const before = await valuesOf([...params, ...muon.stateDict().tensors.values()]);
  step(1, true);
  expectSameBits(await valuesOf([...params, ...muon.stateDict().tensors.values()]), before);
  state.setLearningRates(Float64Array.of(0), 0);
  step(2);
  expectSameBits(await valuesOf(params), before.slice(0, params.length));
  step(3);
  state.setLearningRates(Float64Array.of(1), 0);
  step(4);
  expect((await valuesOf(params))[0]).not.toEqual(before[0]);
});

test('what is saved has no workspace, and goes on to the last bit', async () => {
  const [a, b] = [[new Parameter(noise([4, 6], 'p'))], [new Parameter(noise([4, 6], 'p'))]];
  const [first, second] = [new Muon(a), new Muon(b)];
  for (let i = 0; i < 3; i++) {
    withGradients(a, i);
    first.step();
  }
  const saved = first.stateDict();
  expect([...saved.tensors.keys()]).toEqual(['0/step', '0/momentumBuffer']);
  expect(await (saved.tensors.get('0/step') as Tensor).item()).toBe(3);
  b[0] = new Parameter(tensor(await (a[0] as Parameter).data(), { shape: [4, 6] }));
  const other = new Muon(b).loadStateDict(saved);
  withGradients(a, 9);
  first.step();
  withGradients(b, 9);
  other.step();
  expectSameBits(await valuesOf(b), await valuesOf(a));
  expect(() => second.loadStateDict(new AdamW(b).stateDict())).toThrow(CheckpointError);
});

test('a matrix without a gradient stays, state and all, and begins when it has one', async () => {
  const [a, b, fresh] = ['a', 'b', 'b'].map((name) => new Parameter(noise([5, 3], name))) as [Parameter, Parameter, Parameter];
  const muon = new Muon([a, b]);
  a.grad = noise([5, 3], 'g');
  const before = await valuesOf([a, b]);
  muon.step();
  expectSameBits(await valuesOf([b]), before.slice(1));
  expect((await valuesOf([a]))[0]).not.toEqual(before[0]);
  expect([...muon.stateDict().tensors.keys()].filter((k) => k.startsWith('1/'))).toEqual([]);
  for (const p of [b, fresh]) p.grad = noise([5, 3], 'g');
  muon.step();
  new Muon([fresh]).step();
  expectSameBits(await valuesOf([b]), await valuesOf([fresh]));
});
