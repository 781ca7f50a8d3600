/** Whole models: 20 steps of training from stored weights on stored batches, as PyTorch makes them in f64. */
import { describe, expect, test } from 'vitest';
import * as nn from '../../lib/nn/index.ts';
import { add } from '../../lib/ops/binary.ts';
import { arange } from '../../lib/ops/create.ts';
import { linear } from '../../lib/ops/linear.ts';
import { crossEntropy } from '../../lib/ops/loss.ts';
import { AdamW, clipGradNorm } from '../../lib/optim/index.ts';
import { fromHost } from '../../lib/tensor/create.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { Stepper } from '../../lib/train/stepper.ts';
import { expectClose } from '../helpers/compare.ts';
import { type GoldenTensor, loadGolden, type TrajectoryCase } from './golden.ts';
import { GRADIENT } from './run.ts';

const TRAJECTORY = 1e-4;
const golden = loadGolden('models');

class GPT extends nn.Module {
  wte: nn.Embedding;
  wpe: nn.Embedding;
  blocks: nn.TransformerBlock[];
  lnF: nn.LayerNorm;
  constructor(m: { vocab: number; block: number; layers: number; heads: number; width: number }) {
    super();
    this.wte = new nn.Embedding(m.vocab, m.width);
    this.wpe = new nn.Embedding(m.block, m.width);
    const options = { causal: true, dropout: 0, approximate: 'tanh' } as const;
    this.blocks = Array.from({ length: m.layers }, () => new nn.TransformerBlock(m.width, m.heads, options));
    this.lnF = new nn.LayerNorm(m.width);
  }
  forward(tokens: Tensor): Tensor {
    let x = add(this.wte.forward(tokens), this.wpe.forward(arange(tokens.shape[1] as number)));
    for (const block of this.blocks) x = block.forward(x);
    return linear(this.lnF.forward(x), this.wte.weight);
  }
}

type Model = nn.Module & { forward(x: Tensor): Tensor };
const makers: { readonly [name: string]: (c: TrajectoryCase) => Model } = {
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
  GPT: (c) => new GPT(c.attrs.model as never),
};

/** Rows `from` to `to` of step `i`'s part of a stored tensor. */
function part(name: string, i: number, from = 0, to?: number): Tensor {
  const t = golden.tensor(name);
  const [, rows, ...rest] = t.shape as [number, number, ...number[]];
  const size = rest.reduce((a, b) => a * b, 1);
  const end = to ?? rows;
  const data = t.data.slice((i * rows + from) * size, (i * rows + end) * size);
  return fromHost(data, [end - from, ...rest], t.dtype);
}

function made(c: TrajectoryCase): { model: Model; optimizer: AdamW } {
  const model = (makers[c.name] as (typeof makers)[string])(c);
  const state = new Map(
    c.parameters.map((key) => {
      const t = golden.tensor(`${c.name}/init.${key}`);
      return [key, fromHost(t.data, t.shape, t.dtype)] as const;
    }),
  );
  scope(() => {
    model.loadStateDict(state);
  });
  const { lr, betas, eps, weightDecay } = c.attrs as { lr: number; betas: [number, number]; eps: number; weightDecay: number };
  return { model, optimizer: new AdamW(model.parameters(), { lr, betas, eps, weightDecay }) };
}

/** Without the rows whose gradient is rounding noise, which Adam scales up to a full step. */
function without(t: { shape: readonly number[]; data: ArrayLike<number> }, rows?: readonly [number, number]) {
  if (!rows) return t;
  const size = t.shape.slice(1).reduce((a, b) => a * b, 1);
  const data = Array.from(t.data).filter((_, i) => Math.floor(i / size) < rows[0] || Math.floor(i / size) >= rows[1]);
  return { shape: [data.length], data };
}

async function compareFinal(c: TrajectoryCase, model: Model): Promise<void> {
  const ignore = c.attrs.ignoreFinal as { [key: string]: [number, number] };
  for (const key of c.parameters) {
    const p = model.stateDict().get(key) as Tensor;
    const final: GoldenTensor = golden.tensor(`${c.name}/final.${key}`);
    expectClose(key, without({ shape: p.shape, data: await p.data() }, ignore[key]), without(final, ignore[key]), TRAJECTORY);
  }
}

const curve = (c: TrajectoryCase, role: string, found: number[]) =>
  expectClose(role, { shape: [found.length], data: found }, golden.tensor(`${c.name}/${role}`), TRAJECTORY);

describe.each((golden.cases as readonly TrajectoryCase[]).map((c) => [c.name, c] as const))('%s', (_, c) => {
  test('by hand: forward, backward, clipGradNorm, step', async () => {
    const { model, optimizer } = made(c);
    const [losses, norms]: [number[], number[]] = [[], []];
    for (let i = 0; i < c.steps; i++) {
      const [loss, norm] = await Promise.all(
        scope(() => {
          const loss = crossEntropy(model.forward(part(`${c.name}/batch.x`, i)), part(`${c.name}/batch.y`, i)).mean();
          loss.backward();
          return [loss.item(), clipGradNorm(model.parameters(), 1e30).item()] as const;
        }),
      );
      losses.push(loss);
      norms.push(norm);
      if (i === 0)
        for (const [key, p] of model.namedParameters())
          expectClose(key, { shape: p.shape, data: await (p.grad as Tensor).data() }, golden.tensor(`${c.name}/grad1.${key}`), GRADIENT);
      optimizer.step();
      optimizer.zeroGrad();
    }
    curve(c, 'losses', losses);
    curve(c, 'gradNorms', norms);
    await compareFinal(c, model);
  });

  test.each([1, 2, 3])('by the Stepper, in %i micro-batches', async (pieces) => {
    const { model, optimizer } = made(c);
    const stepper = new Stepper({ model, optimizer });
    const [losses, norms]: [number[], number[]] = [[], []];
    const rows = golden.tensor(`${c.name}/batch.x`).shape[1] as number;
    const cut = Array.from({ length: pieces + 1 }, (_, i) => Math.round((i * rows) / pieces));
    for (let i = 0; i < c.steps; i++) {
      const micro = cut.slice(1).map((to, k) => ({
        x: part(`${c.name}/batch.x`, i, cut[k], to),
        y: part(`${c.name}/batch.y`, i, cut[k], to),
      }));
      const result = await stepper.step({ micro }, ({ x, y }) => crossEntropy(model.forward(x), y));
      expect(result.applied).toBe(true);
      losses.push(result.loss);
      norms.push(result.gradNorm);
    }
    curve(c, 'losses', losses);
    curve(c, 'gradNorms', norms);
    await compareFinal(c, model);
  });
});
