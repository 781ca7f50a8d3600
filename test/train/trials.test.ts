/** What one tries a model with: predict, and fit's overfitOneBatch, fastDevRun and sanityValidation. */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  ConfigError,
  DataError,
  data,
  type FitOptions,
  losses,
  nn,
  optim,
  predict,
  rngState,
  type Tensor,
  type TrainEvent,
  Trainer,
  type TrainerOptions,
  tensor,
  zeros,
} from '../../lib/index.ts';
import { clusters, mlp, temporary, valuesOf } from './helpers.ts';

const set = clusters(50);
const loader = (options: Partial<data.LoaderOptions> = {}) => data.loader(set, { batchSize: 16, ...options });
const points = () => tensor((set.column('x').data as Float32Array).slice(), { shape: [50, 8] });

function trainer(options: Partial<TrainerOptions> = {}, model: nn.Module = mlp([8, 16, 3], { dropout: 0.5 })) {
  return new Trainer({
    model,
    loss: (logits, { y }) => losses.crossEntropy(logits, y),
    optimizer: new optim.AdamW(model.parameters(), { lr: 0.02 }),
    ...options,
  });
}
async function eventsOf(t: Trainer, options: FitOptions) {
  const run = t.start(options);
  const events: TrainEvent[] = [];
  for await (const e of run) events.push(e);
  return { events, result: await run.result };
}

describe('predict', () => {
  test('gives what one forward pass in evaluation mode gives, in the rows’ order, whatever the batches', async () => {
    const model = mlp([8, 16, 3], { dropout: 0.5 });
    model.eval();
    const whole = Array.from(await model.forward(points()).data());
    model.train();
    for (const batchSize of [1, 7, 50, 64]) {
      const { data: out, shape, dtype, ids } = await predict(model, points(), { batchSize });
      expect({ shape, dtype, ids }).toEqual({ shape: [50, 3], dtype: 'f32', ids: undefined });
      for (const [i, v] of Array.from(out).entries()) expect(v).toBeCloseTo(whole[i] as number, 4);
    }
    const shuffled = await predict(model, loader({ shuffle: true, seed: 3 }));
    expect([...(shuffled.ids as Int32Array)].sort((a, b) => a - b)).toEqual([...Array(50).keys()]);
    expect(shuffled.ids?.[0]).not.toBe(0);
    shuffled.ids?.forEach((id, row) => {
      expect(shuffled.data[3 * row]).toBeCloseTo(whole[3 * id] as number, 4);
    });
  });

  test('puts each module’s mode back, also after an error, and keeps no graph', async () => {
    const model = new nn.Sequential(new nn.Linear(8, 4), new nn.Dropout(0.5));
    const [first, dropout] = model.modules().slice(1) as [nn.Module, nn.Module];
    first.training = false;
    const modes = () => [model.training, first.training, dropout.training];
    await predict(model, points());
    expect(modes()).toEqual([true, false, true]);
    await expect(predict(model, zeros([5, 9]))).rejects.toThrow(/9/);
    expect(modes()).toEqual([true, false, true]);
    expect(model.parameters().every((p) => p.grad === null)).toBe(true);
  });

  test('takes a forward of one’s own, no rows, and integers', async () => {
    const model = mlp([8, 3]);
    const classes = await predict(model, points(), { forward: ({ x }) => model.forward(x).argmax({ axis: 1 }) });
    expect(classes).toMatchObject({ shape: [50], dtype: 'i32' });
    expect(await predict(model, zeros([0, 8]))).toMatchObject({ shape: [0, 3] });
    expect(await trainer({}, model).predict(loader())).toMatchObject({ shape: [50, 3], ids: expect.any(Int32Array) });
  });

  test('refuses in words what it cannot do', async () => {
    const model = mlp([8, 3]);
    const cases: [() => Promise<unknown>, typeof ConfigError | typeof DataError, RegExp][] = [
      [() => predict({} as never, points()), ConfigError, /predict: expected a Module/],
      [() => predict(model, 3 as never), ConfigError, /a tensor of samples, or a loader/],
      [() => predict(model, points(), { batchSize: 0 }), ConfigError, /batchSize must be an integer >= 1/],
      [() => predict(model, points(), { batchsize: 1 } as never), ConfigError, /"batchsize" should be "batchSize"/],
      [() => predict(model, points(), { precision: 'fp8' as never }), ConfigError, /precision must be/],
      [() => predict(model, tensor(1)), DataError, /no dimension/],
      [() => predict(model, points(), { forward: () => [] as never }), DataError, /must give one tensor/],
      [
        () => predict(model, points(), { forward: ({ x }) => x.sum() }),
        DataError,
        /a batch of 50 samples gave an output of shape \[\]/,
      ],
      [
        () => predict(model, points(), { batchSize: 40, forward: ({ x }) => x.matmul(zeros([8, x.shape[0] as number])) }),
        DataError,
        /one batch gave f32 \[40, 40\] and another f32 \[10, 10\]/,
      ],
      [() => predict(model, points(), { signal: AbortSignal.abort(new DataError('enough')) }), DataError, /enough/],
    ];
    for (const [call, kind, message] of cases) {
      await expect(call()).rejects.toThrow(message);
      await expect(call()).rejects.toBeInstanceOf(kind);
    }
    const t = trainer();
    const run = t.start({ train: loader(), epochs: 1 });
    await expect(t.predict(points())).rejects.toThrow(/predict: a run is under way/);
    await run.result;
  });
});

describe('overfitOneBatch', () => {
  test('trains on the first batch alone, until its loss is at the floor', async () => {
    const seen: number[][] = [];
    const model = mlp([8, 32, 3]);
    const t = trainer(
      {
        loss: (logits, { y, ids }) => {
          if (ids) seen.push([...ids]);
          return losses.crossEntropy(logits, y);
        },
      },
      model,
    );
    const { events, result } = await eventsOf(t, {
      train: loader({ shuffle: true, seed: 5 }),
      epochs: 80,
      overfitOneBatch: true,
    });
    expect(result).toMatchObject({ steps: 80, epochs: 80 });
    expect(new Set(seen.map(String)).size).toBe(1);
    expect(seen).toHaveLength(80);
    const last = events.findLast((e) => e.type === 'step');
    expect(last).toMatchObject({ samples: 16 });
    expect((last as { loss: number }).loss).toBeLessThan(0.02);
  });
  test('counts steps as well, and evaluates one batch', async () => {
    const t = trainer();
    const { result } = await eventsOf(t, { train: loader(), validation: loader(), steps: 3, overfitOneBatch: true });
    expect(result).toMatchObject({ steps: 3, last: { samples: 16 } });
  });
});

describe('fastDevRun', () => {
  test('runs a batch of everything and writes nothing', async () => {
    const dir = temporary();
    const lines: unknown[] = [];
    const sink = { write: (r: unknown) => void lines.push(r), close: async () => {} };
    const t = trainer({ dir, sinks: [sink as never], earlyStopping: { patience: 1 }, checkpoint: { everySteps: 1 } });
    const { events, result } = await eventsOf(t, { train: loader(), validation: loader(), epochs: 100, fastDevRun: true });
    expect(result).toMatchObject({ stopReason: 'finished', steps: 1, epochs: 1, last: { samples: 16 } });
    expect(events.map((e) => e.type)).toEqual(['step', 'eval', 'end']);
    expect(readdirSync(dir)).toEqual([]);
    expect(lines).toEqual([]);
    // Afterwards the trainer is what it was.
    await t.fit({ train: loader(), validation: loader(), steps: 2 });
    expect(existsSync(join(dir, 'checkpoints'))).toBe(true);
    expect(lines.length).toBeGreaterThan(0);
  });
  test('runs so many batches, and needs no length', async () => {
    const { result } = await eventsOf(trainer(), { train: loader(), fastDevRun: 3, accumulate: 2 });
    expect(result).toMatchObject({ steps: 2, epochs: 1, last: undefined });
    expect((await eventsOf(trainer(), { train: loader(), fastDevRun: 100 })).result.steps).toBe(4);
  });
});

describe('sanityValidation', () => {
  test('finds what is wrong with validation before the first step', async () => {
    let steps = 0;
    const bad = data.loader(clusters(9, { dim: 5 }), { batchSize: 3 });
    const t = trainer({ hooks: [{ name: 'count', onStep: () => void steps++ }] });
    const late = { train: loader(), validation: bad, steps: 2 };
    await expect(t.fit(late)).rejects.toThrow(/5/);
    expect(steps).toBe(2);
    await expect(t.fit({ ...late, sanityValidation: 1 })).rejects.toThrow(/5/);
    expect(steps).toBe(2);
  });
  test('looks at so many batches, tells nothing and changes nothing', async () => {
    const asked: number[] = [];
    const counted = {
      length: 4,
      windows: () => undefined as never,
      async *epoch(n: number) {
        let k = 0;
        for await (const batch of loader().epoch(n)) {
          asked.push(k++);
          yield batch;
        }
      },
    };
    const train = async (sanityValidation: number) => {
      const t = trainer();
      const { events } = await eventsOf(t, {
        train: loader({ shuffle: true }),
        validation: counted,
        epochs: 1,
        sanityValidation,
      });
      return { kinds: events.map((e) => e.type), weights: await valuesOf(t.options.model.stateDict()), rng: rngState() };
    };
    const without = await train(0);
    const before = asked.splice(0).length;
    const withTwo = await train(2);
    expect(asked.length - before).toBe(2);
    expect(withTwo.kinds).toEqual(without.kinds);
    expect(withTwo.weights).toEqual(without.weights);
    expect(withTwo.rng).toEqual(without.rng);
    expect((await train(Infinity)).weights).toEqual(without.weights);
  });
});

test.each<[Partial<FitOptions>, RegExp]>([
  [{ overfitOneBatch: 1 as never, epochs: 1 }, /overfitOneBatch must be true or false/],
  [{ fastDevRun: 0 }, /fastDevRun must be an integer >= 1/],
  [{ fastDevRun: true, overfitOneBatch: true }, /give one of overfitOneBatch and fastDevRun/],
  [{ sanityValidation: -1, epochs: 1, validation: loader() }, /sanityValidation must be an integer >= 0/],
  [{ sanityValidation: 2, epochs: 1 }, /sanityValidation tries batches of validation, and there is none/],
  [{ overfitOneBatch: true }, /give one of epochs and steps/],
  [{ fastDevrun: true } as never, /"fastDevrun" should be "fastDevRun"/],
])('fit refuses %o', (options, message) => {
  expect(() => trainer().start({ train: loader(), ...options })).toThrow(message);
});

test('predicts batches of tensors as well', async () => {
  const model = mlp([8, 3]);
  const x = points();
  const source = {
    async *epoch() {
      yield { x: x as Tensor };
      yield { x };
    },
  };
  expect(await predict(model, source)).toMatchObject({ shape: [100, 3] });
});
