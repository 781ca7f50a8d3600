/** Figures of the layers against what the model itself gives for the batch. */
import { expect, test } from 'vitest';
import {
  losses,
  manualSeed,
  nn,
  noGrad,
  optim,
  randn,
  Stepper,
  type StepperOptions,
  type Tensor,
  tensor,
} from '../../lib/index.ts';

const values = async (t: Tensor) => [...(await t.data())] as number[];
const norm = (v: readonly number[]) => Math.sqrt(v.reduce((s, x) => s + x * x, 0));
const stepperOf = (model: nn.Module, options: Partial<StepperOptions> = {}) =>
  new Stepper({ model, optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }), layerStats: { every: 2 }, ...options });

test('norms, mean, deviation, zeros, dead units; every k-th step and the first', async () => {
  manualSeed(3);
  const [first, last] = [new nn.Linear(4, 6), new nn.Linear(6, 3)];
  nn.assign(first.bias as nn.Parameter, tensor([-50, 0.1, 0.2, -50, 0, 0.3]));
  const model = new nn.Sequential(first, new nn.ReLU(), last);
  const x = randn([10, 4]);
  const y = tensor([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], { dtype: 'i32' });
  const hidden = await values(noGrad(() => first.forward(x).relu()));
  // The gradient of the mean loss, by the tape.
  losses.crossEntropy(model.forward(x), y).mean().backward();
  const expected = norm((await Promise.all([last.weight, last.bias as Tensor].map((p) => values(p.grad as Tensor)))).flat());
  model.zeroGrad();
  const weights = norm((await Promise.all([last.weight, last.bias as Tensor].map(values))).flat());
  const stepper = stepperOf(model);
  const step = () => stepper.step({ micro: [{ x, y }] }, (b) => losses.crossEntropy(model.forward(b.x), b.y as Tensor));
  const { layers = [] } = await step();
  const relu = layers.find((l) => l.kind === 'ReLU');
  const mean = hidden.reduce((a, b) => a + b) / hidden.length;
  expect(relu?.mean).toBeCloseTo(mean, 5);
  expect(relu?.std).toBeCloseTo(Math.sqrt(hidden.reduce((s, v) => s + (v - mean) ** 2, 0) / hidden.length), 5);
  expect(relu?.zeros).toBeCloseTo(hidden.filter((v) => v === 0).length / hidden.length, 6);
  const alive = [...Array(6).keys()].map((unit) => hidden.some((v, i) => i % 6 === unit && v > 0));
  expect(relu?.dead).toBeCloseTo(alive.filter((a) => !a).length / 6, 6);
  const top = layers.find((l) => l.name === '2');
  expect(top).toMatchObject({ kind: 'Linear', weights: 21 });
  expect(top?.weightNorm).toBeCloseTo(weights, 4);
  expect(top?.gradNorm).toBeCloseTo(expected, 5);
  expect(layers.find((l) => l.kind === 'crossEntropy')?.saturated).toBe(0);
  expect([(await step()).layers === undefined, (await step()).layers === undefined]).toEqual([false, true]);
});

test('gradients of a window of two micro-batches are those of the whole; a loss scale is taken out', async () => {
  const run = async (options: Partial<StepperOptions>, parts: number) => {
    manualSeed(5);
    const model = new nn.Sequential(new nn.Linear(4, 2));
    const [x, y] = [randn([8, 4]), randn([8, 2])];
    const micro = [...Array(parts).keys()].map((i) => ({
      x: x.narrow(0, (8 / parts) * i, 8 / parts),
      y: y.narrow(0, (8 / parts) * i, 8 / parts),
    }));
    const { layers, gradNorm } = await stepperOf(model, options).step({ micro }, (b) =>
      losses.mse(model.forward(b.x), b.y as Tensor),
    );
    return [layers?.[0]?.gradNorm as number, gradNorm] as const;
  };
  const [whole, norm] = await run({}, 1);
  expect(whole).toBeCloseTo(norm, 5);
  expect((await run({}, 2))[0]).toBeCloseTo(whole, 5);
  expect((await run({ precision: 'f16' }, 1))[0]).toBeCloseTo(whole, 2);
});

test('attention that looks at one key only is saturated, whether q, k and v are packed or not', async () => {
  manualSeed(2);
  const self = new nn.MultiheadAttention(8, 2);
  const [x, y] = [randn([3, 6, 8]), randn([3, 6, 8])];
  const peakOf = async (scale: number, forward: () => Tensor) => {
    nn.assign(self.inProjWeight as nn.Parameter, (self.inProjWeight as Tensor).detach().mul(scale));
    const { layers } = await stepperOf(self).step({ micro: [{ x, y }] }, (b) => losses.mse(forward(), b.y as Tensor));
    return layers?.find((l) => l.kind === 'attention')?.peak as number;
  };
  const [small, other] = [await peakOf(1e-3, () => self.forward(x)), await peakOf(1, () => self.forward(x, y))];
  expect(small).toBeCloseTo(1 / 6, 2);
  expect(other).toBeCloseTo(1 / 6, 2);
  expect(await peakOf(1e6, () => self.forward(x))).toBeGreaterThan(0.99);
  expect(await peakOf(1, () => self.forward(x, y))).toBeGreaterThan(0.99);
});

test('options are checked', () => {
  const model = new nn.Linear(2, 2);
  expect(() => stepperOf(model, { layerStats: { every: 0 } })).toThrow(/layerStats.every must be a whole number of steps >= 1/);
  expect(() => stepperOf(model, { layerStats: { evry: 1 } as never })).toThrow(/every/);
  expect(() => stepperOf(model, { updateRatioEvery: -1 })).toThrow(/updateRatioEvery must be a whole number >= 0/);
});
