/** The plateau rule in the Trainer: when the rate falls, that a resume decides the same, and that it stands beside what others make of the rate. */
import { describe, expect, test } from 'vitest';
import { ConfigError, data, losses, type nn, optim, schedule, Trainer, type TrainerOptions } from '../../lib/index.ts';
import { clusters, mlp, temporary } from './helpers.ts';

const [set, held] = [clusters(32), clusters(16, { name: 'held' })];
const train = () => data.loader(set, { batchSize: 8, shuffle: true, seed: 3 }); // 4 steps an epoch
const validation = () => data.loader(held, { batchSize: 16 });
// No gain is large enough: the first check is the best for ever.
const never = { threshold: 1e9, thresholdMode: 'abs', patience: 1, factor: 0.5 } as const;

function trainer(options: Partial<TrainerOptions> = {}) {
  const model: nn.Module = mlp([8, 16, 3]);
  return new Trainer({
    model,
    loss: (logits, { y }) => losses.crossEntropy(logits, y),
    optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }),
    ...options,
  });
}
/** The rate of every step, as applied. */
async function rates(t: Trainer, epochs: number, more: { resume?: 'auto'; stopAt?: number } = {}): Promise<number[]> {
  const { stopAt, ...fit } = more;
  const run = t.start({ train: train(), validation: validation(), epochs, ...fit });
  const seen: number[] = [];
  for await (const e of run)
    if (e.type === 'step') {
      seen[e.step - 1] = e.lr;
      if (e.step === stopAt) t.stop();
    }
  await run.result;
  return seen;
}
const perEpoch = (...lr: number[]) => lr.flatMap((x) => [x, x, x, x]);

describe('plateau in the Trainer', () => {
  test('after patience checks without improvement the rate falls, for the first step of the next epoch on', async () => {
    const seen = await rates(trainer({ plateau: never }), 7);
    expect(seen).toEqual(perEpoch(0.1, 0.1, 0.1, 0.05, 0.05, 0.025, 0.025));
  });

  test('improvements keep the rate; minLr is the floor', async () => {
    expect(await rates(trainer({ plateau: { patience: 0, threshold: 0 } }), 3)).toEqual(perEpoch(0.1, 0.1, 0.1));
    expect(await rates(trainer({ plateau: { ...never, patience: 0, minLr: 0.04 } }), 4)).toEqual(perEpoch(0.1, 0.1, 0.05, 0.04));
  });

  test('multiplies the schedule’s factor and what a hook decides', async () => {
    const hook = { name: 'mine', onStep: ({ step }: { step: number }) => (step === 14 ? { lrScale: 0.1 } : undefined) };
    const seen = await rates(
      trainer({ plateau: never, hooks: [hook], schedule: schedule.linear({ from: 1, to: 0, steps: 40 }) }),
      5,
    );
    seen.forEach((lr, i) => {
      const scale = (i < 12 ? 1 : 0.5) * (i < 15 ? 1 : 0.1); // a hook's word holds from the step after the one in flight on
      expect(lr).toBeCloseTo(0.1 * (1 - i / 40) * scale, 10);
    });
  });

  test('a run that is stopped and resumed decides the same at the same steps', async () => {
    const dir = temporary();
    const options = { plateau: { ...never, patience: 2, cooldown: 1 } };
    const whole = await rates(trainer({ ...options, dir: temporary() }), 9);
    expect(new Set(whole).size).toBe(3);
    const seen: number[] = [];
    for (const stopAt of [9, 18, 26, undefined]) {
      const part = await rates(trainer({ ...options, dir }), 9, { resume: 'auto', ...(stopAt ? { stopAt } : {}) });
      part.forEach((lr, i) => {
        seen[i] = lr;
      });
    }
    expect(seen).toEqual(whole);
  });

  test('larger is better for accuracy; a metric that says neither is refused, as are bad options and missing data', async () => {
    // Accuracy reaches its height and cannot rise by more than 1.
    const t = trainer({
      metrics: ['accuracy'],
      plateau: { metric: 'val/accuracy', threshold: 2, thresholdMode: 'abs', patience: 0, factor: 0.5 },
    });
    expect(await rates(t, 3)).toEqual(perEpoch(0.1, 0.1, 0.05));
    expect(() => trainer({ plateau: { metric: 'val/quality' } })).toThrow(/plateau: is a larger "val\/quality" better/);
    expect(() => trainer({ plateau: { factor: 2 } })).toThrow(/factor must be < 1/);
    expect(() => trainer({ plateau: { patient: 3 } as never })).toThrow(/"patient" should be "patience"/);
    expect(() => trainer({ plateau: 3 as never })).toThrow(ConfigError);
    expect(() => trainer({ hooks: [{ name: 'plateau' }] })).toThrow(/two hooks are called 'plateau'/);
    expect(() => trainer({ plateau: {} }).fit({ train: train(), epochs: 1 })).toThrow(
      /plateau watches 'val\/loss'.*Give a loader/,
    );
    await expect(
      trainer({ plateau: { metric: 'val/accuracy' } }).fit({ train: train(), validation: validation(), epochs: 1 }),
    ).rejects.toThrow(/plateau: no metric 'val\/accuracy'/);
  });
});
