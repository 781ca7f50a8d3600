/** Rates that go with the batch: the rules, what is counted, the warm-up that is added and told of. */
import { describe, expect, test } from 'vitest';
import { ConfigError, data, losses, optim, schedule, Trainer, type TrainerOptions } from '../../lib/index.ts';
import { clusters, mlp, temporary } from './helpers.ts';

describe('scaleLearningRate', () => {
  test.each([
    ['linear', { rule: 'linear', batchSize: 1024, baseBatchSize: 256 }, 0.4],
    [
      'linear, accumulation and processes counted',
      { rule: 'linear', batchSize: 64, accumulate: 4, worldSize: 8, baseBatchSize: 256 },
      0.8,
    ],
    ['sqrt', { rule: 'sqrt', batchSize: 1024, baseBatchSize: 256 }, 0.2],
    ['a smaller batch', { rule: 'sqrt', batchSize: 64, baseBatchSize: 256 }, 0.05],
  ] as const)('%s', (_, options, want) => {
    expect(optim.scaleLearningRate(0.1, options)).toBeCloseTo(want, 12);
  });
  test('refuses what makes no sense', () => {
    const right = { rule: 'linear', batchSize: 8, baseBatchSize: 8 } as const;
    expect(() => optim.scaleLearningRate(-1, right)).toThrow(/lr must be a number >= 0, got -1/);
    expect(() => optim.scaleLearningRate(1, { ...right, rule: 'square' as never })).toThrow(/'linear' \(SGD\) or 'sqrt'/);
    expect(() => optim.scaleLearningRate(1, { ...right, worldSize: 0 })).toThrow(/worldSize must be a whole number >= 1, got 0/);
    expect(() => optim.scaleLearningRate(1, { ...right, baseBatch: 8 } as never)).toThrow(
      /unknown option "baseBatch"\. Known options/,
    );
  });
});

const set = clusters(64);
const makers = {
  SGD: (p: never) => new optim.SGD(p, { lr: 0.1 }),
  Adam: (p: never) => new optim.Adam(p, { lr: 0.1 }),
};
/** Rates of the steps (2 an epoch with accumulation of 4) and what the run told. */
async function course(
  kind: keyof typeof makers,
  options: Partial<TrainerOptions>,
  fit: { accumulate?: number; epochs?: number; resume?: 'auto' } = {},
) {
  const model = mlp([8, 16, 3]);
  const optimizer = makers[kind](model.parameters() as never);
  const trainer = new Trainer({ model, loss: (logits, { y }) => losses.crossEntropy(logits, y), optimizer, ...options });
  const run = trainer.start({ train: data.loader(set, { batchSize: 8, shuffle: true }), accumulate: 4, epochs: 10, ...fit });
  const [rates, notices]: [number[], string[]] = [[], []];
  for await (const e of run) {
    if (e.type === 'step') rates[e.step - 1] = e.lr;
    if (e.type === 'notice') notices.push(e.message);
  }
  await run.result;
  return { rates, notices, optimizer };
}
const flat = schedule.warmup({ steps: 1, from: 0.5 }).followedBy(schedule.constant());

describe('scaleLr in the Trainer', () => {
  test.each([
    ['SGD', 'linear', 4],
    ['SGD', 'auto', 4],
    ['Adam', 'auto', 2],
    ['Adam', 'sqrt', 2],
    ['Adam', 'linear', 4],
    ['SGD', { rule: 'linear', baseBatchSize: 16 }, 2],
    ['SGD', { rule: 'auto', baseBatchSize: 64 }, 0.5],
  ] as const)('%s, %j: a factor of %s', async (kind, scaleLr, factor) => {
    const { rates, notices, optimizer } = await course(kind, { scaleLr, schedule: flat });
    expect(rates.slice(1)).toEqual(rates.slice(1).map(() => 0.1 * factor));
    expect(rates[0]).toBeCloseTo(0.05 * factor, 12);
    expect(notices).toEqual([expect.stringMatching(new RegExp(`every rate is multiplied by ${factor} `))]);
    expect(notices[0]).not.toMatch(/warm-up/);
    expect(optimizer.groups[0]?.lr).toBe(0.1); // the optimizer's own stays
  });

  test('without a warm-up one is added, from the rate before, and told of', async () => {
    const { rates, notices } = await course('SGD', { scaleLr: 'linear' }); // 20 steps: a tenth
    expect(rates.slice(0, 4)).toEqual([0.1, 0.25, 0.4, 0.4]);
    expect(notices[0]).toMatch(
      /multiplied by 4 \(linear, 4 batches a step\)\. The schedule had no warm-up: one of 2 steps stands before it/,
    );
    const cosine = await course('SGD', { scaleLr: 'linear', schedule: schedule.cosine({ to: 0 }) });
    expect(cosine.rates.slice(0, 3)).toEqual([0.1, 0.25, 0.4]);
    expect(cosine.rates[11]).toBeCloseTo(0.2, 6); // half way down what is left of the run
  });

  test('nothing is done and told without it, or where the batch is the base', async () => {
    for (const options of [{}, { scaleLr: { rule: 'linear', baseBatchSize: 32 } }] as const) {
      const { rates, notices } = await course('SGD', options);
      expect(new Set(rates)).toEqual(new Set([0.1]));
      expect(notices).toEqual([]);
    }
  });

  test('a smaller batch wants no warm-up', async () => {
    const { rates, notices } = await course('SGD', { scaleLr: { rule: 'linear', baseBatchSize: 64 } });
    expect(new Set(rates)).toEqual(new Set([0.05]));
    expect(notices).toEqual([expect.not.stringMatching(/warm-up/)]);
  });

  test('a resumed run has the factor of its own batch', async () => {
    const dir = temporary();
    await course('SGD', { scaleLr: 'linear', schedule: flat, dir }, { accumulate: 4, epochs: 3 });
    const { rates } = await course(
      'SGD',
      { scaleLr: 'linear', schedule: flat, dir },
      { accumulate: 2, epochs: 6, resume: 'auto' },
    );
    expect(rates.at(-1)).toBe(0.2);
  });

  test('refuses what is no rule, and a base that nobody can compare with', async () => {
    await expect(course('SGD', { scaleLr: 'log' as never })).rejects.toThrow(/scaleLr must be 'linear', 'sqrt' or 'auto'/);
    await expect(course('SGD', { scaleLr: { rule: 'sqrt', baseBatchSize: 0 } })).rejects.toThrow(
      /baseBatchSize must be a whole number/,
    );
    await expect(course('SGD', { scaleLr: { rule: 'sqrt', base: 3 } as never })).rejects.toThrow(ConfigError);
    const model = mlp([8, 16, 3]);
    const trainer = new Trainer({
      model,
      loss: (logits, { y }) => losses.crossEntropy(logits, y),
      optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }),
      scaleLr: { rule: 'linear', baseBatchSize: 8 },
    });
    const loader = data.loader(set, { batchSize: 8 });
    const own = { length: loader.length, epoch: loader.epoch.bind(loader), windows: loader.windows.bind(loader) };
    expect(() => trainer.start({ train: own, epochs: 1 })).toThrow(/train does not tell its own.*scaleLearningRate/);
  });
});
