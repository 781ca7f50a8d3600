/** Averages of weights (ema, swa): their formulas, what sees them, that nothing else does, and that a resume goes on with them. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  ConfigError,
  data,
  loadSafetensors,
  losses,
  manualSeed,
  nn,
  optim,
  Stepper,
  type StepperOptions,
  scope,
  type Tensor,
  Trainer,
  type TrainerOptions,
  tensor,
  updateBatchNorm,
} from '../../lib/index.ts';
import { bind } from '../../lib/tensor/context.ts';
import { clusters, distance, mlp, normals, temporary, valuesOf } from './helpers.ts';

const set = clusters(32);
const loader = () => data.loader(set, { batchSize: 8, shuffle: true, seed: 3 });
const validation = () => data.loader(clusters(16, { name: 'held' }), { batchSize: 16 });
const lossOf = (model: nn.Sequential) => (b: { x: Tensor; y: Tensor }) => losses.crossEntropy(model.forward(b.x), b.y);

/** Weights and averages after every one of `steps` steps; step `bad` has a sample that is not finite, and is skipped. */
async function course(options: Partial<StepperOptions>, steps: number, bad = -1) {
  const model = mlp([8, 16, 3]);
  const optimizer = new optim.Adam(model.parameters(), { lr: 0.02 });
  const stepper = new Stepper({ model, optimizer, ...options });
  const seen: Map<string, number[]>[] = [];
  let at = 0;
  for await (const w of loader().windows({ steps })) {
    const spoilt = at++ === bad;
    const r = await stepper.step(w, (b) => losses.crossEntropy(model.forward(spoilt ? b.x.mul(Number.NaN) : b.x), b.y));
    expect(r.applied).toBe(!spoilt);
    if (r.applied) seen.push(await valuesOf(model.stateDict()));
  }
  return { stepper, model, seen, averages: await valuesOf(stepper.average?.stateDict() ?? []) };
}
/** The same average in f64, from the weights after each update. */
function reference(seen: readonly Map<string, number[]>[], weight: (t: number) => number): Map<string, number[]> {
  const out = new Map<string, number[]>();
  seen.forEach((weights, i) => {
    const w = weight(i + 1);
    for (const [name, values] of weights) {
      const before = out.get(name) ?? values;
      out.set(
        name,
        values.map((v, k) => (before[k] as number) + w * (v - (before[k] as number))),
      );
    }
  });
  return out;
}

describe('the averages are their formulas; a skipped step is none of theirs', () => {
  test.each([
    ['ema with warm-up', { ema: { decay: 0.9 } }, (t: number) => Math.max(0.1, t ** (-2 / 3))],
    ['ema, warm-up all along', { ema: {} }, (t: number) => t ** (-2 / 3)],
    // As torch.optim.swa_utils.AveragedModel: the first update is copied.
    ['ema as PyTorch', { ema: { decay: 0.95, warmup: false } }, (t: number) => (t === 1 ? 1 : 0.05)],
    ['swa', { swa: { from: 10, every: 7 } }, (t: number) => (t < 10 ? 1 : (t - 10) % 7 ? 0 : 1 / ((t - 10) / 7 + 1))],
    ['swa of every update', { swa: { from: 1 } }, (t: number) => 1 / t],
  ] as const)('%s', async (_, options, weight) => {
    const { seen, averages } = await course(options, 41, 12);
    expect(seen.length).toBe(40);
    expect(distance(averages, reference(seen, weight))).toBeLessThan(1e-6);
    expect(distance(averages, seen.at(-1) as Map<string, number[]>)).toBeGreaterThan(1e-3);
  });

  test('before swa’s first update, and after ema’s, the average is the weights to the last bit', async () => {
    const early = await course({ swa: { from: 100 } }, 9);
    expect(early.averages).toEqual(early.seen.at(-1));
    const first = await course({ ema: {} }, 1);
    expect(first.averages).toEqual(first.seen[0]);
    // Whatever the average held before: a copy, or what was loaded.
    const model = mlp([8, 4, 3]);
    const average = optim.ema(model, { decay: 0.9, warmup: false });
    average.load(optim.ema(mlp([8, 4, 3], { seed: 8 })).state());
    average.update();
    expect(await valuesOf(average.stateDict())).toEqual(await valuesOf(model.stateDict()));
  });

  test('averages train nothing: weights are those of a run without', async () => {
    const [a, b] = [await course({ ema: {} }, 12), await course({}, 12)];
    expect(a.seen).toEqual(b.seen);
  });

  test('in a loop of one’s own, batch norm’s statistics too', async () => {
    manualSeed(2);
    const model = new nn.Sequential(new nn.Linear(3, 4), new nn.BatchNorm1d(4), new nn.Linear(4, 1));
    const average = optim.ema(model, { decay: 0.5 });
    const sgd = new optim.SGD(model.parameters(), { lr: 0.1 });
    const x = tensor(normals('x', 24), { shape: [8, 3] });
    const seen: Map<string, number[]>[] = [];
    for (let i = 0; i < 9; i++) {
      scope(() => {
        losses
          .mse(model.forward(x), x.sum({ axis: 1, keepDims: true }))
          .mean()
          .backward();
        sgd.step();
        sgd.zeroGrad();
      });
      average.update();
      seen.push(await valuesOf(model.stateDict()));
    }
    const want = reference(seen, (t) => Math.max(0.5, t ** (-2 / 3)));
    expect([...want.keys()]).toContain('1.running_var');
    expect(distance(await valuesOf(average.stateDict()), want)).toBeLessThan(1e-6);
    average.apply();
    expect(distance(await valuesOf(model.stateDict()), want)).toBeLessThan(1e-6);
    average.dispose();
  });
});

describe('within', () => {
  test.each(['f32', 'bf16'] as const)('sees the averages and leaves the weights to the last bit: %s', async (precision) => {
    const { stepper, model } = await course({ ema: { decay: 0.9 }, precision }, 15);
    const average = stepper.average as optim.AveragedWeights;
    const other = mlp([8, 16, 3]);
    other.loadStateDict(average.stateDict());
    const x = tensor(normals('x', 40), { shape: [5, 8] });
    // Queued before it returns, as within() asks.
    const through = (m: nn.Sequential) =>
      bind({ precision, grad: false }, () => m.forward(x))
        .data()
        .then((d) => Array.from(d));
    const before = [await valuesOf(model.stateDict()), await through(model)];
    const storages = model.parameters().map((p) => p.storage);
    let inside: Promise<number[]> | undefined;
    for (let i = 0; i < 2; i++)
      average.within(() => {
        inside = through(model);
      });
    expect(await inside).toEqual(await through(other));
    expect(await inside).not.toEqual(before[1]);
    expect([await valuesOf(model.stateDict()), await through(model)]).toEqual(before);
    expect(model.parameters().map((p) => p.storage)).toEqual(storages);
  });

  test('low-precision copies follow both: training between two looks, in bf16', async () => {
    const { stepper, model } = await course({ ema: { decay: 0.9 }, precision: 'bf16' }, 3);
    const average = stepper.average as optim.AveragedWeights;
    const x = tensor(normals('x', 40), { shape: [5, 8] });
    const through = (m: nn.Sequential) => bind({ precision: 'bf16', grad: false }, () => m.forward(x)).data().then((d) => Array.from(d)); // biome-ignore format: one line
    for await (const w of loader().windows({ steps: 4 })) {
      const looks: Promise<number[]>[] = [];
      average.within(() => {
        looks.push(through(model));
      });
      const [averaged, own] = [mlp([8, 16, 3]), mlp([8, 16, 3])];
      averaged.loadStateDict(average.stateDict());
      own.loadStateDict(model.stateDict());
      expect(await looks[0]).toEqual(await through(averaged));
      expect(await through(model)).toEqual(await through(own));
      await stepper.step(w, lossOf(model));
    }
  });

  test('puts the weights back when the function throws; nests; refuses promises and changes from within', async () => {
    const { stepper, model } = await course({ ema: { decay: 0.9 } }, 8);
    const average = stepper.average as optim.AveragedWeights;
    const own = await valuesOf(model.stateDict());
    expect(() =>
      average.within(() => {
        throw new Error('mine');
      }),
    ).toThrow('mine');
    const weight = model.parameters()[0] as Tensor;
    const [outer, inner] = average.within(() => [weight.storage, average.within(() => weight.storage)]);
    expect(inner).toBe(outer);
    expect(weight.storage).not.toBe(outer);
    expect(() => average.within(async () => 1)).toThrow(/gave a promise.*Await outside/);
    expect(() => average.within(() => average.update())).toThrow(/not within/);
    expect(() => average.within(() => average.apply())).toThrow(ConfigError);
    expect(() => average.within(3 as never)).toThrow(/expected a function, got 3/);
    expect(await valuesOf(model.stateDict())).toEqual(own);
  });

  test('throughout: the averages stay across awaits, and nobody changes them; the weights come back, also after a failure', async () => {
    const { stepper, model } = await course({ ema: { decay: 0.9 } }, 8);
    const average = stepper.average as optim.AveragedWeights;
    const own = await valuesOf(model.stateDict());
    const averaged = await valuesOf(average.stateDict());
    const seen = await average.throughout(async () => {
      const before = await valuesOf(model.stateDict());
      expect(() => average.update()).toThrow(/not within/);
      return [before, average.within(() => 'nested'), await valuesOf(model.stateDict())];
    });
    expect(seen).toEqual([averaged, 'nested', averaged]);
    const fails = average.throughout(async () => {
      await model.parameters()[0]?.data();
      throw new Error('mine');
    });
    await expect(fails).rejects.toThrow('mine');
    expect(await valuesOf(model.stateDict())).toEqual(own);
    await expect(average.throughout(3 as never)).rejects.toThrow(/throughout: the argument must be a function/);
  });

  test('before the first update it sees the model as it is, loaded weights too', async () => {
    const [model, other] = [mlp([8, 16, 3]), mlp([8, 16, 3], { seed: 5 })];
    const average = optim.ema(model);
    model.loadStateDict(other.stateDict());
    const x = tensor(normals('x', 16), { shape: [2, 8] });
    expect(Array.from(await average.within(() => model.forward(x)).data())).toEqual(Array.from(await other.forward(x).data()));
    expect(await valuesOf(average.stateDict())).toEqual(await valuesOf(other.stateDict()));
  });
});

describe('checkpoints', () => {
  test.each([{ ema: { decay: 0.95 } }, { swa: { from: 3, every: 4 } }])(
    'a resumed run has the same averages: %j',
    async (options) => {
      const make = () => {
        const model = mlp([8, 16, 3]);
        return {
          model,
          stepper: new Stepper({ model, optimizer: new optim.Adam(model.parameters(), { lr: 0.02 }), ...options }),
        };
      };
      const train = async ({ model, stepper }: ReturnType<typeof make>, steps: number) => {
        for await (const w of loader().windows({ steps, from: stepper.cursor })) await stepper.step(w, lossOf(model));
      };
      const dir = temporary();
      const whole = make();
      await train(whole, 21);
      const first = make();
      await train(first, 9);
      await first.stepper.save(dir);
      const second = make();
      expect(await second.stepper.resume(dir)).toBe(true);
      await train(second, 21);
      const state = async ({ stepper }: ReturnType<typeof make>) => valuesOf(stepper.average?.state() ?? []);
      expect(await state(second)).toEqual(await state(whole));
      expect((await state(whole)).get('updates')).toEqual([21]);

      const kind = 'ema' in options ? { swa: { from: 1 } } : { ema: {} };
      const model = mlp([8, 16, 3]);
      const other = new Stepper({ model, optimizer: new optim.Adam(model.parameters()), ...kind });
      await expect(other.resume(dir)).rejects.toThrow(/these averages are of (ema|swa), and the run asks for (ema|swa)/);
    },
  );

  test('averages that do not fit are refused, and nothing is changed', async () => {
    const { stepper } = await course({ ema: {} }, 4);
    const average = stepper.average as optim.AveragedWeights;
    const before = await valuesOf(average.state());
    const wrong = (change: (m: Map<string, Tensor>) => void) => {
      const state = new Map(average.state());
      change(state);
      return () => average.load(state);
    };
    expect(wrong((m) => m.delete('updates'))).toThrow(/number of updates is missing/);
    expect(wrong((m) => m.delete('average/0.weight'))).toThrow(/0\.weight is missing/);
    expect(wrong((m) => m.set('average/0.weight', tensor([1, 2])))).toThrow(/0\.weight: expected \[16, 8\], got \[2\]/);
    expect(() => average.load(3 as never)).toThrow(/expected what state\(\) gives, got 3/);
    expect(await valuesOf(average.state())).toEqual(before);
  });

  test('a run that asks for an average on its way begins it with the weights that it goes on from', async () => {
    const dir = temporary();
    const { stepper } = await course({}, 4);
    await stepper.save(dir);
    const model = mlp([8, 16, 3]);
    const later = new Stepper({ model, optimizer: new optim.Adam(model.parameters()), ema: {} });
    await later.resume(dir);
    expect(await valuesOf(later.average?.stateDict() ?? [])).toEqual(await valuesOf(model.stateDict()));
  });
});

describe('in the Trainer', () => {
  const make = (options: Partial<TrainerOptions> = {}) => {
    const model = mlp([8, 16, 3]);
    const trainer = new Trainer({
      model,
      loss: (logits, { y }) => losses.crossEntropy(logits, y),
      optimizer: new optim.Adam(model.parameters(), { lr: 0.05 }),
      metrics: ['accuracy'],
      ...options,
    });
    return { model, trainer };
  };

  test('validation judges the average, in hooks too, and the model holds it at the end', async () => {
    const dir = temporary();
    const seen: number[] = [];
    const hook = {
      name: 'mine',
      onEval: async (metrics: Readonly<Record<string, number>>) => {
        seen.push(metrics['val/loss'] as number, (await trainer.evaluate(validation())).loss);
        seen.push((await trainer.predict(validation())).data[0] as number);
      },
    };
    const { model, trainer } = make({ ema: { decay: 0.95 }, dir, hooks: [hook as never] });
    const { last } = await trainer.fit({ train: loader(), validation: validation(), epochs: 6 });
    const raw = make();
    await raw.trainer.fit({ train: loader(), validation: validation(), epochs: 6 });
    expect((await raw.trainer.evaluate(validation())).loss).not.toBe(last?.loss);
    expect((await trainer.evaluate(validation())).loss).toBe(last?.loss);
    expect(seen.slice(-3)).toEqual([last?.loss, last?.loss, (await trainer.predict(validation())).data[0]]);
    expect(await valuesOf(await loadSafetensors(join(dir, 'best.safetensors')))).toEqual(await valuesOf(model.stateDict()));
    // What is trained on is kept in the checkpoint: it is the run's without averages.
    const own = make();
    const stepper = new Stepper({ model: own.model, optimizer: new optim.Adam(own.model.parameters(), { lr: 0.05 }) });
    await stepper.resume(join(dir, 'checkpoints'));
    expect(await valuesOf(own.model.stateDict())).toEqual(await valuesOf(raw.model.stateDict()));
  });

  test('early stopping keeps the best averages', async () => {
    const { trainer } = make({ ema: { decay: 0.9 }, earlyStopping: { patience: 3 } });
    const { best } = await trainer.fit({ train: loader(), validation: validation(), epochs: 30 });
    expect((await trainer.evaluate(validation())).loss).toBe(best.metrics['val/loss']);
  });

  test('swa: at the end batch norm has the statistics of the averaged weights', async () => {
    manualSeed(4);
    const model = new nn.Sequential(
      new nn.Linear(8, 16),
      new nn.Dropout(0.5), // inert in the pass that makes the statistics
      new nn.BatchNorm1d(16),
      new nn.ReLU(),
      new nn.Linear(16, 3),
    );
    const { trainer } = make({ model, optimizer: new optim.Adam(model.parameters(), { lr: 0.05 }), swa: { from: 8, every: 2 } });
    await trainer.fit({ train: loader(), epochs: 6 });
    const dict = await valuesOf(model.stateDict());
    const inner = new nn.Linear(8, 16);
    inner.loadStateDict(new Map([...model.stateDict()].filter(([k]) => k.startsWith('0.')).map(([k, t]) => [k.slice(2), t])));
    const [mean, variance] = [new Float64Array(16), new Float64Array(16)];
    for await (const b of loader().epoch(0)) {
      const out = await inner.forward(tensor(b.x?.data as Float32Array, { shape: [8, 8] })).data();
      for (let c = 0; c < 16; c++) {
        const column = Array.from({ length: 8 }, (_, r) => out[r * 16 + c] as number);
        const m = column.reduce((a, v) => a + v, 0) / 8;
        mean[c] = (mean[c] as number) + m / 4;
        variance[c] = (variance[c] as number) + column.reduce((a, v) => a + (v - m) ** 2, 0) / 7 / 4;
      }
    }
    const want = new Map([
      ['2.running_mean', [...mean]],
      ['2.running_var', [...variance]],
    ]);
    expect(distance(dict, want)).toBeLessThan(1e-5);
    expect(model.modules().every((m) => m.training)).toBe(true);
    expect((model.modules()[3] as nn.BatchNorm1d).momentum).toBe(0.1);
  });
});

test('updateBatchNorm: momentum and modes come back; a model without batch norm reads nothing', async () => {
  const plain = mlp([8, 4, 3]);
  expect(await updateBatchNorm(plain, { epoch: () => expect.unreachable() as never })).toBe(0);
  const model = new nn.Sequential(new nn.BatchNorm1d(8, { momentum: 0.3 }));
  expect(await updateBatchNorm(model, loader())).toBe(4);
  expect((model.modules()[1] as nn.BatchNorm1d).momentum).toBe(0.3);
  await expect(updateBatchNorm(model, loader(), { forward: () => { throw new Error('mine'); } })).rejects.toThrow('mine'); // biome-ignore format: one line
  expect((model.modules()[1] as nn.BatchNorm1d).momentum).toBe(0.3);
  expect(model.modules().every((m) => m.training)).toBe(true);
  await expect(updateBatchNorm(3 as never, loader())).rejects.toThrow(/expected a Module, got 3/);
  await expect(updateBatchNorm(model, 3 as never)).rejects.toThrow(/expected a loader/);
  await expect(updateBatchNorm(model, loader(), { averages: 1 } as never)).rejects.toThrow(/"averages" should be "average"/);
});

test('options that make no sense', () => {
  const model = mlp([8, 4, 3]);
  const stepper = (options: object) => () => new Stepper({ model, optimizer: new optim.Adam(model.parameters()), ...options });
  expect(stepper({ ema: { decay: 1 } })).toThrow(/decay must be a number from 0 to below 1, got 1/);
  expect(stepper({ ema: { warmUp: true } })).toThrow(/"warmUp" should be "warmup"/);
  expect(stepper({ ema: { warmup: 100 } })).toThrow(/warmup must be true or false/);
  expect(stepper({ ema: true })).toThrow(ConfigError);
  expect(stepper({ swa: {} })).toThrow(/from must be a whole number of updates >= 1, got undefined/);
  expect(stepper({ swa: { from: 1, every: 0 } })).toThrow(/every must be a whole number/);
  expect(stepper({ ema: {}, swa: { from: 1 } })).toThrow(/one of ema and swa/);
  expect(() => optim.ema(3 as never)).toThrow(/expected a Module, got 3/);
  expect(() => optim.swa(undefined as never, { from: 1 })).toThrow(ConfigError);
});
