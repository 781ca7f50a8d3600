/** trainer.stop: what is waited for, and for how long. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ConfigError, data, losses, optim, Trainer } from '../../lib/index.ts';
import { clusters, mlp, temporary } from './helpers.ts';

const set = clusters(32);
const fast = (n = 8) => data.loader(set, { batchSize: n, shuffle: true, seed: 3, workers: 0 });
/** A loader whose every batch takes `ms`; it ends early when it is told to. */
function slow(ms: number) {
  const loader = fast();
  async function* late<T>(batches: AsyncIterable<T>, signal?: AbortSignal) {
    for await (const batch of batches) {
      await delay(ms, undefined, signal ? { signal } : {}).catch(() => signal?.throwIfAborted());
      yield batch;
    }
  }
  return {
    length: loader.length,
    batchSize: 8,
    epoch: (n: number, o: data.EpochOptions = {}) => late(loader.epoch(n, o), o.signal),
    windows: (o: data.WindowsOptions) => late(loader.windows(o), o.signal),
  };
}
const make = (dir?: string) => {
  const model = mlp([8, 16, 3]);
  return new Trainer({
    model,
    loss: (logits, { y }) => losses.crossEntropy(logits, y),
    optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }),
    ...(dir ? { dir } : {}),
  });
};

test('an evaluation is finished first, or cut after graceMs and made by the resume', async () => {
  const dir = temporary();
  const stopped = async (options: { graceMs?: number }) => {
    const trainer = make(dir);
    const result = trainer.fit({ train: fast(), validation: slow(250), epochs: 3 });
    await delay(350); // the epoch of 4 steps is over, its evaluation of a second is not
    const began = performance.now();
    trainer.stop(options);
    return { ...(await result), waited: performance.now() - began };
  };
  const patient = await stopped({});
  expect(patient).toMatchObject({ stopReason: 'stopped', steps: 4 });
  expect(patient.last?.samples).toBe(32);
  const hurried = await stopped({ graceMs: 50 });
  expect(hurried).toMatchObject({ stopReason: 'stopped', steps: 4, last: undefined });
  expect(hurried.waited).toBeLessThan(patient.waited);
  const evals: number[] = [];
  const run = make(dir).start({ train: fast(), validation: fast(), epochs: 2, resume: 'auto' });
  for await (const e of run) if (e.type === 'eval') evals.push(e.step);
  expect(evals).toEqual([4, 8]);
});

test('a batch that does not come is waited for no longer than graceMs', async () => {
  const trainer = make();
  const result = trainer.fit({ train: slow(60_000), epochs: 1 });
  await delay(50);
  trainer.stop({ graceMs: 20 });
  expect(await result).toMatchObject({ stopReason: 'stopped', steps: 0 });
});

test('graceMs is checked; a stop that came in time leaves nothing behind', async () => {
  const trainer = make();
  expect(() => trainer.stop({ graceMs: -1 })).toThrow(/graceMs must be a number >= 0, got -1/);
  expect(() => trainer.stop({ grace: 1 } as never)).toThrow(ConfigError);
  const result = trainer.fit({ train: fast(), epochs: 1000 });
  await delay(50);
  trainer.stop({ graceMs: 1e9 });
  expect((await result).stopReason).toBe('stopped');
});
