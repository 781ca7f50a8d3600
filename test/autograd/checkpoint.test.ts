/** Activation checkpointing: the same bits with a fraction of the memory. */
import { describe, expect, test } from 'vitest';
import { Gpt } from '../../examples/gpt/model.ts';
import {
  checkpoint,
  DTypeError,
  losses,
  manualSeed,
  nn,
  noGrad,
  optim,
  type Precision,
  rand,
  randint,
  randn,
  Stepper,
  scope,
  type Tensor,
  tensor,
} from '../../lib/index.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';

const shape = { vocabulary: 50, block: 16, layers: 3, heads: 2, width: 32 };
const tokens = (batch: number, block: number) => {
  manualSeed(3);
  return [randint([batch, block], { high: 50 }), randint([batch, block], { high: 50 })] as [Tensor, Tensor];
};

describe.each<Precision>(['f32', 'bf16', 'f16'])('three steps of a GPT with dropout, %s', (precision) => {
  async function trained(checkpoint: boolean): Promise<Map<string, number[]>> {
    manualSeed(1);
    const model = new Gpt({ ...shape, dropout: 0.1, checkpoint });
    const optimizer = new optim.AdamW(model.parameters(), { lr: 1e-2 });
    const stepper = new Stepper({ model, optimizer, precision, clipNorm: 1, seed: 5 });
    const [x, y] = tokens(4, 16);
    const losses_: number[] = [];
    for (let i = 0; i < 3; i++) {
      // Two micro-batches: draws are counted in each.
      const r = await stepper.step(
        {
          micro: [
            { x, y },
            { x: y, y: x },
          ],
        },
        (b) => losses.crossEntropy(model.forward(b.x as Tensor), b.y as Tensor),
      );
      losses_.push(r.loss, r.gradNorm);
    }
    const state = new Map([['losses', losses_]]);
    for (const [name, p] of model.namedParameters()) state.set(name, Array.from(await p.data()));
    return state;
  }

  test('gives the same bits as keeping everything', async () => {
    const [frugal, all] = [await trained(true), await trained(false)];
    const differ = [...all].flatMap(([name, values]) =>
      values.some((v, i) => !Object.is(v, frugal.get(name)?.[i])) ? [name] : [],
    );
    expect(frugal.get('losses')).toEqual(all.get('losses'));
    expect(differ).toEqual([]);
  });
});

test('activations of a 12-block GPT take at most 0.35 of the memory', async () => {
  const on = defaultDevice();
  const held = (checkpoint: boolean) => {
    manualSeed(1);
    const model = new Gpt({ vocabulary: 50, block: 16, layers: 12, heads: 2, width: 32, checkpoint, dropout: 0.1 });
    const [x, y] = tokens(4, 16);
    return scope(() => {
      const { live } = on.memory();
      on.resetPeak();
      const loss = scope(() => losses.crossEntropy(model.forward(x), y).mean());
      const kept = on.memory().live - live;
      loss.backward();
      const gradients = model.parameters().reduce((sum, p) => sum + p.bytes, 0);
      return { kept, peak: on.memory().peak - live - gradients };
    });
  };
  const [all, frugal] = [held(false), held(true)];
  await on.synchronize();
  console.log(
    `kept for backward ${frugal.kept} of ${all.kept} bytes (${(frugal.kept / all.kept).toFixed(3)}), peak ${frugal.peak} of ${all.peak} (${(frugal.peak / all.peak).toFixed(3)})`,
  );
  expect(frugal.kept / all.kept).toBeLessThanOrEqual(0.35);
  expect(frugal.peak / all.peak).toBeLessThanOrEqual(0.35);
});

describe('checkpoint', () => {
  test('outside a step: draws of backward are those of forward, and later ones go on as if nothing was', async () => {
    const drop = new nn.Dropout(0.5); // its serial number is part of its draws
    const run = async (wrap: boolean) => {
      manualSeed(9);
      const [x, w] = [randn([5, 7]), randn([7])].map((t) => Object.assign(t, { requiresGrad: true })) as [Tensor, Tensor];
      const part = (x: Tensor) => drop.forward(x.mul(w)).tanh();
      const y = wrap ? checkpoint(part, x) : part(x);
      const next = rand([3]);
      y.sum().backward();
      return [y, x.grad as Tensor, w.grad as Tensor, next, rand([3])].map((t) => t.data());
    };
    expect(await Promise.all(await run(true))).toEqual(await Promise.all(await run(false)));
  });

  test('several inputs, whole numbers among them; nested; what only parameters want', async () => {
    const table = new nn.Embedding(10, 4);
    const index = tensor([1, 3, 3], { dtype: 'i32' });
    const x = tensor([[1, 2, 3, 4]], { requiresGrad: true });
    const inner = (i: Tensor, x: Tensor) => table.forward(i).mul(x);
    const run = async (f: (i: Tensor, x: Tensor) => Tensor) => {
      table.zeroGrad();
      x.grad = null;
      f(index, x).square().sum().backward();
      return [await (x.grad as unknown as Tensor).data(), await (table.weight.grad as Tensor).data()];
    };
    const expected = await run(inner);
    expect(await run((i, x) => checkpoint(inner, i, x))).toEqual(expected);
    expect(await run((i, x) => checkpoint((i, x) => checkpoint(inner, i, x), i, x))).toEqual(expected);
    table.zeroGrad();
    checkpoint((i) => table.forward(i), index)
      .sum()
      .backward();
    expect(Array.from(await (table.weight.grad as unknown as Tensor).data()).slice(4, 8)).toEqual([1, 1, 1, 1]);
  });

  test('without gradients it is the function', async () => {
    expect(noGrad(() => checkpoint((x) => x.add(1), tensor([1], { requiresGrad: true }))).tracked).toBe(false);
    expect(checkpoint((x) => x.add(1), tensor([1])).tracked).toBe(false);
  });

  test('refuses what it cannot compute again', () => {
    expect(() => checkpoint(((x: Tensor) => [x]) as never, tensor([1]))).toThrow(DTypeError);
    expect(() => checkpoint((async (x: Tensor) => x) as never, tensor([1]))).toThrow(/async|promise/);
    expect(() => checkpoint((x) => x, 3 as never)).toThrow(/input 0: expected a Tensor/);
    expect(() => checkpoint(3 as never)).toThrow(/the first argument/);
  });

  test('the Stepper still finds a leaf that no optimizer owns', async () => {
    const [own, foreign] = [new nn.Linear(3, 3), new nn.Linear(3, 3)];
    const stepper = new Stepper({ model: own, optimizer: new optim.SGD(own.parameters(), { lr: 0.1 }) });
    const step = () =>
      stepper.step({ micro: [{ x: randn([2, 3]) }] }, (b) =>
        losses.mse(
          checkpoint((x) => own.forward(foreign.forward(x)), b.x as Tensor),
          randn([2, 3]),
        ),
      );
    expect(step).toThrow(/the optimizer does not own/);
  });
});
