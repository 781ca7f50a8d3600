import { describe, expect, it } from 'vitest';
import * as nn from '../../lib/nn/index.ts';
import { add } from '../../lib/ops/binary.ts';
import { arange } from '../../lib/ops/create.ts';
import { linear } from '../../lib/ops/linear.ts';
import { crossEntropy } from '../../lib/ops/loss.ts';
import { AdamW } from '../../lib/optim/index.ts';
import { fromHost } from '../../lib/tensor/create.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { Stepper } from '../../lib/train/index.ts';
import { expectClose } from '../helpers/compare.ts';
import { type GoldenTensor, loadGolden, type TrajectoryCase } from './golden.ts';
import { GRADIENT, place } from './run.ts';

// 20 steps of AdamW from PyTorch's initial weights on its batches: losses, gradient norms and final weights within 1e-4.

const golden = loadGolden('models');
const TRAJECTORY = 1e-4;

class Gpt extends nn.Module {
  wte = new nn.Embedding(17, 16);
  wpe = new nn.Embedding(8, 16);
  blocks = [0, 1].map(() => new nn.TransformerBlock(16, 2, { dropout: 0, approximate: 'tanh' }));
  lnF = new nn.LayerNorm(16);
  forward(tokens: Tensor): Tensor {
    let x = add(this.wte.forward(tokens), this.wpe.forward(arange(tokens.shape[1] as number)));
    for (const block of this.blocks) x = block.forward(x);
    return linear(this.lnF.forward(x), this.wte.weight);
  }
}

const models: Record<string, () => nn.Module & { forward(x: Tensor): Tensor }> = {
  MLP: () => new nn.Sequential(new nn.Linear(16, 32), new nn.ReLU(), new nn.Linear(32, 16), new nn.ReLU(), new nn.Linear(16, 4)),
  CNN: () =>
    new nn.Sequential(
      new nn.Conv2d(1, 4, { kernelSize: 3 }),
      new nn.ReLU(),
      new nn.Conv2d(4, 8, { kernelSize: 3 }),
      new nn.ReLU(),
      new nn.MaxPool2d(2),
      new nn.Flatten(),
      new nn.Linear(72, 10),
    ),
  GPT: () => new Gpt(),
};

/** Step k's slice of a stack of batches. */
function slice(stack: GoldenTensor, k: number): Tensor {
  const shape = stack.shape.slice(1);
  const size = shape.reduce((a, b) => a * b, 1);
  return fromHost(stack.data.slice(k * size, (k + 1) * size) as never, shape, stack.dtype);
}

/** A copy of the values with some rows set to 0, where a comparison would compare rounding noise. */
function without(t: { shape: readonly number[]; data: ArrayLike<number> }, rows: readonly [number, number] | undefined) {
  const data = Float64Array.from(t.data);
  const width = data.length / (t.shape[0] ?? 1);
  if (rows) data.fill(0, rows[0] * width, rows[1] * width);
  return { shape: t.shape, data };
}

async function run(c: TrajectoryCase): Promise<void> {
  const at = (role: string) => golden.tensor(`${c.name}/${role}`);
  const model = (models[c.name] as () => nn.Module & { forward(x: Tensor): Tensor })();
  const init = new Map<string, Tensor>();
  for (const key of c.parameters) init.set(key, await place(at(`init.${key}`), 'f32'));
  model.loadStateDict(init);
  const [x, y] = [at('batch.x'), at('batch.y')];

  // The gradients of the first step, by the plain form.
  scope(() => crossEntropy(model.forward(slice(x, 0)), slice(y, 0)).mean().backward());
  for (const [key, p] of model.namedParameters()) {
    const grad = { shape: p.shape, data: await (p.grad as Tensor).data() };
    expectClose(`${c.name}: first gradient of ${key}`, grad, at(`grad1.${key}`), GRADIENT);
  }
  model.zeroGrad();

  const stepper = new Stepper({ model, optimizer: new AdamW(model.parameters(), { lr: 1e-3, weightDecay: 1e-2 }) });
  const losses: number[] = [];
  const norms: number[] = [];
  for (let k = 0; k < c.steps; k++) {
    const r = await stepper.step({ micro: [{ x: slice(x, k), y: slice(y, k) }] }, (b) => crossEntropy(model.forward(b.x), b.y));
    expect(r.applied).toBe(true);
    losses.push(r.loss);
    norms.push(r.gradNorm);
  }
  expectClose(`${c.name}: losses`, { shape: [c.steps], data: losses }, at('losses'), TRAJECTORY);
  expectClose(`${c.name}: gradient norms`, { shape: [c.steps], data: norms }, at('gradNorms'), TRAJECTORY);
  const ignore = (c.attrs.ignoreFinal ?? {}) as Record<string, readonly [number, number]>;
  for (const [key, p] of model.namedParameters()) {
    const ours = without({ shape: p.shape, data: await p.data() }, ignore[key]);
    expectClose(`${c.name}: final ${key}`, ours, without(at(`final.${key}`), ignore[key]), TRAJECTORY);
  }
}

describe('whole models against PyTorch', () => {
  for (const c of golden.cases) if (c.kind === 'trajectory') it(c.name, () => run(c));
});
