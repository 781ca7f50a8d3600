import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import {
  ConfigError,
  DataError,
  data,
  type FitOptions,
  type Hook,
  loadSafetensors,
  losses,
  monitor,
  type nn,
  optim,
  schedule,
  type Tensor,
  type TrainEvent,
  Trainer,
  type TrainerOptions,
  tensor,
  zeros,
} from '../../lib/index.ts';
import { fewer } from '../helpers/device.ts';
import { clusters, mlp, temporary, valuesOf } from './helpers.ts';

const [fit, held] = data.split(clusters(240), [192, 48], { stratify: 'y', seed: 1 });
const train = (options: Partial<data.LoaderOptions> = {}) =>
  data.loader(fit, { batchSize: 32, shuffle: true, seed: 2, ...options });
const validation = () => data.loader(held, { batchSize: 20 });
const crossEntropy: TrainerOptions['loss'] = (logits, { y }) => losses.crossEntropy(logits, y);

function trainer(options: Partial<TrainerOptions> = {}) {
  const model = (options.model as nn.Sequential) ?? mlp([8, 24, 3], { dropout: 0.1 });
  return new Trainer({
    model,
    loss: crossEntropy,
    optimizer: new optim.AdamW(model.parameters(), { lr: 0.01 }),
    ...options,
  });
}
async function eventsOf(t: Trainer, options: FitOptions) {
  const run = t.start(options);
  const events: TrainEvent[] = [];
  for await (const e of run) events.push(e);
  return { events, result: await run.result };
}
const typed = <T extends TrainEvent['type']>(events: readonly TrainEvent[], type: T) =>
  events.filter((e): e is Extract<TrainEvent, { type: T }> => e.type === type);
const weightsOf = (t: Trainer) => valuesOf(t.options.model.stateDict());

/** Labels that mean nothing: the better they are learnt, the worse it goes with other ones. */
const noise = (n: number, name: string) => {
  const set = clusters(n, { name });
  const y = Int32Array.from({ length: n }, (_, i) => (i * 7919 + (i >> 3)) % 3);
  return new data.TensorDataset({ x: { data: set.column('x').data, shape: [8] }, y: { data: y } });
};

describe('a classification task', () => {
  test('is learnt, measured and told', async () => {
    const t = trainer({
      schedule: schedule.warmup({ steps: 6 }).followedBy(schedule.cosine({ to: 0 })),
      metrics: ['accuracy', 'perClass'],
      clipNorm: 1,
    });
    const before = await t.evaluate(validation());
    const { events, result } = await eventsOf(t, { train: train(), validation: validation(), epochs: 10 });
    expect(result).toMatchObject({ stopReason: 'finished', steps: 60, epochs: 10 });
    expect(result.seconds).toBeGreaterThan(0);
    expect(result.samplesPerSecond).toBeGreaterThan(100);
    const after = await t.evaluate(validation());
    expect(before.accuracy).toBeLessThan(0.7);
    expect(after.accuracy).toBeGreaterThan(0.9);
    expect(after.loss).toBeLessThan(before.loss / 2);
    expect(after.samples).toBe(48);
    expect(result.best.metrics['val/accuracy']).toBe(after.accuracy);
    expect(result.last).toEqual(after);
    // the schedule, of open length, took the run's
    const steps = typed(events, 'step');
    const rule = schedule
      .warmup({ steps: 6 })
      .followedBy(schedule.cosine({ to: 0 }))
      .over(60);
    for (const e of steps) expect(e.lr).toBeCloseTo(0.01 * rule.factor(e.step - 1), 14);
    expect(typed(events, 'eval').map((e) => e.step)).toEqual(Array.from({ length: 10 }, (_, i) => 6 * (i + 1)));
  });

  test('metrics are those of the predictions; the loss is over all samples, whatever the batches', async () => {
    const t = trainer({
      metrics: ['accuracy', 'perClass'],
      loss: (l, { y }) => losses.crossEntropy(l, y, { labelSmoothing: 0.1 }),
    });
    const whole = await t.evaluate(data.loader(held, { batchSize: 48 }));
    const parts = await t.evaluate(data.loader(held, { batchSize: 7 }));
    expect(parts.loss).toBeCloseTo(whole.loss, 6);
    expect({ ...parts, loss: 0 }).toEqual({ ...whole, loss: 0 });
    let right = 0;
    t.options.model.eval();
    for await (const batch of data.loader(held, { batchSize: 48 })) {
      const { x, y } = { x: batch.x.data as Float32Array, y: batch.y.data };
      const logits = await (t.options.model as nn.Sequential).forward(tensor(x, { shape: [48, 8] })).data();
      for (let i = 0; i < 48; i++) {
        const row = Array.from(logits.slice(3 * i, 3 * i + 3));
        if (row.indexOf(Math.max(...row)) === y[i]) right++;
      }
    }
    expect(whole.accuracy).toBe(right / 48);
    expect(whole.perClass?.reduce((n, c) => n + c.support, 0)).toBe(48);
  });

  test('metrics that do not fit the task', async () => {
    const regression = data.loader(
      new data.TensorDataset({ x: { data: new Float32Array(24), shape: [3] }, y: { data: new Float32Array(8) } }),
      { batchSize: 8 },
    );
    const linear = trainer({ model: mlp([3, 3]), metrics: ['accuracy'], loss: (o, { x }) => losses.mse(o, x) });
    await expect(linear.evaluate(regression)).rejects.toThrow(/accuracy need logits.*i32 y.*Leave metrics out/s);
    await expect(linear.evaluate(regression)).rejects.toThrow(DataError);
  });

  test('evaluation leaves every module in the mode it was in', async () => {
    const t = trainer();
    const model = t.options.model as nn.Sequential;
    const [, , drop] = model.layers as [nn.Module, nn.Module, nn.Module];
    drop.eval();
    let during: boolean | undefined;
    const watched = trainer({
      model,
      forward: ({ x }) => {
        during = model.training;
        return model.forward(x);
      },
    });
    await watched.evaluate(validation());
    expect(during).toBe(false);
    expect([model.training, drop.training]).toEqual([true, false]);
    const failing = data.loader([{ x: 'no numbers', y: 1 }], { batchSize: 1 }) as never;
    await expect(watched.evaluate(failing)).rejects.toThrow(DataError);
    expect([model.training, drop.training]).toEqual([true, false]);
  });

  test('accumulate, streams, a forward of one’s own, steps in place of epochs', async () => {
    const rows = Array.from({ length: 50 }, (_, i) => ({ x: Array.from({ length: 8 }, (_, j) => Math.sin(i * j)), y: i % 3 }));
    const stream = data.loader(() => rows, { batchSize: 8, dtypes: { y: 'i32' } });
    let rowsSeen = 0;
    const t = trainer({
      forward: ({ x }) => {
        rowsSeen += x.shape[0] as number;
        return (t.options.model as nn.Sequential).forward(x);
      },
    });
    const { events, result } = await eventsOf(t, { train: stream, steps: 5, accumulate: 3 });
    expect(result).toMatchObject({ stopReason: 'finished', steps: 5, epochs: 1 });
    // 7 batches an epoch: windows of 3, 3, 1, then 3, 3
    expect(typed(events, 'step').map((e) => e.samples)).toEqual([24, 24, 2, 24, 24]);
    expect(typed(events, 'step').map((e) => e.epoch)).toEqual([0, 0, 0, 1, 1]);
    expect(rowsSeen).toBe(98);
  });

  test('a second fit goes on with the same optimizer', async () => {
    const t = trainer();
    await t.fit({ train: train(), epochs: 2 });
    const first = await t.evaluate(validation());
    expect((await t.fit({ train: train(), epochs: 3 })).steps).toBe(18);
    expect((await t.evaluate(validation())).loss).toBeLessThan(first.loss);
  });

  test('the same seeds, the same bits; another seed, others', async () => {
    const weights: Map<string, number[]>[] = [];
    for (const seed of [1, 1, 2]) {
      const t = trainer({ seed });
      await t.fit({ train: train(), epochs: 2 });
      weights.push(await weightsOf(t));
    }
    expect(weights[1]).toEqual(weights[0]);
    expect(weights[2]).not.toEqual(weights[0]);
  });
});

describe('early stopping', () => {
  const overfitting = (options: Partial<TrainerOptions> = {}) => {
    const model = mlp([8, 96, 3]);
    return trainer({
      model,
      optimizer: new optim.Adam(model.parameters(), { lr: 0.02 }),
      earlyStopping: { patience: 3 },
      metrics: ['accuracy'],
      ...options,
    });
  };
  const task: FitOptions = {
    train: data.loader(noise(96, 'fit'), { batchSize: 16, shuffle: true }),
    validation: data.loader(noise(60, 'other'), { batchSize: 60 }),
    epochs: 30,
  };

  test('ends when patience is out, and the best weights are back', async () => {
    const dir = temporary();
    const seen = new Map<number, Map<string, number[]>>();
    const spy: Hook = {
      name: 'spy',
      async onEval(_, __, step) {
        seen.set(step, await valuesOf(t.options.model.stateDict()));
        return undefined;
      },
    };
    const t = overfitting({ dir, hooks: [spy] });
    const { events, result } = await eventsOf(t, task);
    const evals = typed(events, 'eval').map((e) => ({ step: e.step, loss: e.metrics.loss, improved: e.improved }));
    const best = evals.reduce((a, b) => (b.loss < a.loss ? b : a));
    expect(result.stopReason).toBe('patience');
    expect(evals.length).toBe(evals.indexOf(best) + 1 + 3);
    expect(evals.length).toBeLessThan(30);
    expect(result.best.step).toBe(best.step);
    expect(result.best.metrics['val/loss']).toBe(best.loss);
    expect(evals.filter((e) => e.improved).at(-1)?.step).toBe(best.step);
    expect(await weightsOf(t)).toEqual(seen.get(best.step));
    expect(seen.get(result.steps)).not.toEqual(seen.get(best.step));
    expect(await valuesOf(await loadSafetensors(join(dir, 'best.safetensors')))).toEqual(seen.get(best.step));
    expect((await t.evaluate(task.validation as never)).loss).toBeCloseTo(best.loss, 6);
    expect(events.at(-1)).toMatchObject({ type: 'end', stopReason: 'patience', step: result.steps });
    // resumed, it stays stopped
    const again = await overfitting({ dir }).fit({ ...task, resume: 'auto' });
    expect(again).toMatchObject({ stopReason: 'patience', steps: result.steps, best: result.best });
  });

  test('the checkpoint of the best epoch stays, where larger is better too', async () => {
    const dir = temporary();
    const t = overfitting({
      dir,
      earlyStopping: { metric: 'val/accuracy', patience: 6 },
      checkpoint: { keep: { last: 1, best: 1 } },
    });
    const { events, result } = await eventsOf(t, task);
    const best = typed(events, 'eval').reduce((a, b) =>
      (b.metrics.accuracy as number) > (a.metrics.accuracy as number) ? b : a,
    );
    expect(result.best.step).toBe(best.step);
    const kept = readdirSync(join(dir, 'checkpoints')).sort();
    const folder = (step: number) => `step-${String(step).padStart(8, '0')}`;
    expect(kept).toEqual([folder(best.step), folder(result.steps)]);
  });

  test('needs a validation, and a metric that there is', async () => {
    expect(() => overfitting().start({ train: train(), epochs: 1 })).toThrow(/earlyStopping watches 'val\/loss'.*no validation/);
    const t = overfitting({ metrics: [], earlyStopping: { metric: 'val/accuracy' } });
    await expect(t.fit({ ...task, epochs: 1 })).rejects.toThrow(/no metric 'val\/accuracy'.*val\/loss/);
  });
});

describe('events', () => {
  test('every type, in order', async () => {
    let calls = 0;
    const t = trainer({
      dir: temporary(),
      loss: (logits, { y }) => losses.crossEntropy(++calls === 3 ? logits.mul(Number.NaN) : logits, y),
    });
    const { events } = await eventsOf(t, { train: train(), validation: validation(), epochs: 2 });
    expect(typed(events, 'step').map((e) => e.step)).toEqual([1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    const [skipped] = typed(events, 'skipped');
    expect(skipped).toMatchObject({ step: 3, reason: 'nonFiniteGradient', applied: false, epoch: 0 });
    expect(skipped?.sampleIds).toHaveLength(32);
    expect(typed(events, 'eval').map((e) => [e.step, e.epoch])).toEqual([
      [6, 1],
      [12, 2],
    ]);
    expect(typed(events, 'checkpoint').map((e) => e.step)).toEqual([6, 12]);
    for (const c of typed(events, 'checkpoint')) expect(existsSync(join(c.path, 'manifest.json'))).toBe(true);
    expect(events.at(-1)).toEqual({ type: 'end', step: 12, stopReason: 'finished' });
    const [first] = typed(events, 'step');
    expect(first).toMatchObject({ applied: true, epoch: 0, samples: 32 });
    for (const v of [first?.loss, first?.lr, first?.gradNorm, first?.samplesPerSecond]) expect(typeof v).toBe('number');
  });

  test('whoever does not read loses the oldest steps, and nothing else', async () => {
    const t = trainer({ model: mlp([8, 3]) });
    const run = t.start({ train: train({ batchSize: 4 }), validation: validation(), epochs: 8 });
    const late = run[Symbol.asyncIterator]();
    const two = run[Symbol.asyncIterator]();
    const head = [await two.next(), await two.next()].map((r) => (r.value as TrainEvent).type);
    expect(head).toEqual(['step', 'step']);
    await two.return?.();
    expect(await two.next()).toEqual({ value: undefined, done: true });
    await run.result;
    const events: TrainEvent[] = [];
    for (let r = await late.next(); !r.done; r = await late.next()) events.push(r.value);
    const steps = typed(events, 'step').map((e) => e.step);
    expect(steps).toEqual(Array.from({ length: 256 }, (_, i) => 384 - 255 + i));
    expect(typed(events, 'eval')).toHaveLength(8);
    expect(typed(events, 'end')).toHaveLength(1);
    // begun after the end: over at once
    for await (const _ of run) throw new Error('there is nothing left');
  });

  test('several questions at once are answered in turn', async () => {
    const run = trainer().start({ train: train(), epochs: 1 });
    const reader = run[Symbol.asyncIterator]();
    const asked = await Promise.all([reader.next(), reader.next(), reader.next()]);
    expect(asked.map((r) => (r.value as { step: number }).step)).toEqual([1, 2, 3]);
    await run.result;
  });

  test('a reader that dawdles does not hold up training', async () => {
    const run = trainer().start({ train: train(), epochs: 1 });
    let read = 0;
    const slow = (async () => {
      for await (const _ of run) {
        read++;
        await delay(100);
      }
    })();
    await run.result;
    expect(read).toBeLessThan(6);
    await slow;
    expect(read).toBe(7);
  });
});

describe('hooks', () => {
  test('are asked in order and waited for; what they decide is done', async () => {
    const log: string[] = [];
    const hooks: Hook[] = [
      {
        name: 'first',
        async onStep({ step }) {
          log.push(`first begins ${step}`);
          await delay(step === 2 ? 30 : 0);
          log.push(`first ends ${step}`);
          return step === 3 ? { lrScale: 0.5 } : undefined;
        },
        onEval: (_, __, step) => ({ markBest: step === 6 }),
      },
      {
        name: 'second',
        onStep({ step }) {
          log.push(`second ${step}`);
          return step === 9 ? { stop: 'enough' } : undefined;
        },
      },
    ];
    const t = trainer({ hooks });
    const { events, result } = await eventsOf(t, { train: train(), validation: validation(), epochs: 5 });
    expect(log.slice(0, 6)).toEqual(['first begins 1', 'first ends 1', 'second 1', 'first begins 2', 'first ends 2', 'second 2']);
    expect(result.stopReason).toBe('enough');
    expect(result.steps).toBe(10); // the tenth was queued already
    const lr = typed(events, 'step').map((e) => e.lr);
    expect(lr.slice(0, 4)).toEqual([0.01, 0.01, 0.01, 0.01]);
    expect(lr.slice(4)).toEqual(Array(6).fill(0.005)); // one was queued already
    expect(typed(events, 'eval')[0]).toMatchObject({ improved: true });
    expect(result.best.step).toBe(6);
  });

  test('their state is in checkpoints, and comes back', async () => {
    const dir = temporary();
    const counter = () => {
      const hook = {
        name: 'counter',
        steps: 0,
        loadedWith: undefined as unknown,
        onStep() {
          hook.steps++;
          return undefined;
        },
        state: () => ({ steps: hook.steps }),
        load(state: { steps: number }) {
          hook.loadedWith = state;
          hook.steps = state.steps;
        },
      };
      return hook;
    };
    const a = counter();
    await trainer({ dir, hooks: [a as unknown as Hook] }).fit({ train: train(), epochs: 2 });
    const b = counter();
    const result = await trainer({ dir, hooks: [b as unknown as Hook] }).fit({ train: train(), epochs: 3, resume: 'auto' });
    expect(b.loadedWith).toEqual({ steps: 12 });
    expect(b.steps).toBe(18);
    expect(result.steps).toBe(18);
  });

  test('one that throws ends the run with its error', async () => {
    const t = trainer({
      hooks: [
        {
          name: 'bad',
          onStep() {
            throw new RangeError('mine');
          },
        },
      ],
    });
    const run = t.start({ train: train(), epochs: 1 });
    const events: TrainEvent[] = [];
    for await (const e of run) events.push(e);
    await expect(run.result).rejects.toThrow('mine');
    expect(typed(events, 'end')).toHaveLength(0);
    expect(run.done).toBe(true);
  });

  test('may evaluate, which nobody else may while the run goes on', async () => {
    const seen: number[] = [];
    const t = trainer({
      hooks: [
        {
          name: 'test',
          async onEval() {
            seen.push((await t.evaluate(validation())).loss);
            return undefined;
          },
        },
      ],
    });
    const run = t.start({ train: train(), validation: validation(), epochs: 2 });
    await expect(t.evaluate(validation())).rejects.toThrow(/a run is under way.*in a hook/);
    const { last } = await run.result;
    expect(seen).toHaveLength(2);
    expect(seen[1]).toBe(last?.loss);
    expect((await t.evaluate(validation())).loss).toBe(last?.loss);
  });
});

describe('control', () => {
  const history = async (dir: string) => (await monitor.readHistory(join(dir, 'metrics.jsonl'))).records;

  test('a rate is set at the next step, exactly, and journalled; the schedule’s shape goes on from it', async () => {
    const dir = temporary();
    const rule = schedule.linear({ from: 1, to: 0 }).over(30);
    const model = mlp([8, 24, 3]);
    const forward = ({ x }: { x: Tensor }) => {
      const n = fewer(800, 48);
      zeros([n, n]).matmul(zeros([n, n])); // takes a while, so that a step is under way when the rate is set
      return model.forward(x);
    };
    const t = trainer({ dir, schedule: rule, model, forward });
    const run = t.start({ train: train(), epochs: 5 });
    let at: Promise<void> | undefined;
    const lr = new Map<number, number>();
    for await (const e of run) {
      if (e.type !== 'step') continue;
      lr.set(e.step, e.lr);
      if (e.step === 7) at = run.control.set({ lr: 0.05 });
    }
    await at;
    const control = (await history(dir)).filter((r) => r.type === 'control');
    expect(control).toHaveLength(1);
    const step = (control[0]?.step as number) + 1; // the first with the new rate
    expect(control[0]).toMatchObject({ lr: 0.05 });
    expect(step).toBeGreaterThan(7);
    expect(step).toBeLessThan(11);
    expect(lr.get(step - 1)).toBeCloseTo(0.01 * rule.factor(step - 2), 14);
    expect(lr.get(step)).toBeCloseTo(0.05, 14);
    expect(lr.get(step + 5)).toBeCloseTo((0.05 * rule.factor(step + 4)) / rule.factor(step - 1), 14);
  });

  test('what a hook makes of the rate and what is set live both hold, over a resume too', async () => {
    const dir = temporary();
    // halved by a hook after the third step; 0.02 set by hand in the sixth's report; a tenth by the hook after the twelfth
    const hook: Hook = {
      name: 'h',
      onStep: ({ step }) => (step === 3 ? { lrScale: 0.5 } : step === 12 ? { lrScale: 0.05 } : undefined),
    };
    const course = async (epochs: number, resume?: 'auto') => {
      const t = trainer({ dir, hooks: [hook], schedule: schedule.constant().over(30) });
      const run = t.start({ train: train(), epochs, ...(resume ? { resume } : {}) });
      const lr: number[] = [];
      for await (const e of run) {
        if (e.type !== 'step') continue;
        lr.push(e.lr);
        if (e.step === 6) await run.control.set({ lr: 0.02 });
      }
      await run.result;
      return lr;
    };
    const lr = await course(3); // 18 steps
    expect(lr).toHaveLength(18);
    expect(lr[2]).toBeCloseTo(0.01, 14);
    expect(lr[5]).toBeCloseTo(0.005, 14);
    expect(lr[10]).toBeCloseTo(0.02, 14);
    expect(lr[17]).toBeCloseTo(0.002, 14); // 0.05 is a tenth of 0.5
    expect(await course(4, 'auto')).toEqual(Array.from({ length: 6 }, () => lr[17]));
  });

  test('where the schedule stands at 0 the peak is set; 0 itself stops learning and can be taken back', async () => {
    const t = trainer({ schedule: schedule.warmup({ steps: 10, from: 0 }).over(30) });
    const run = t.start({ train: train(), epochs: 5 });
    const first = run.control.set({ lr: 0.1 });
    const lr: number[] = [];
    let later: Promise<unknown> | undefined;
    for await (const e of run) {
      if (e.type !== 'step') continue;
      lr[e.step] = e.lr;
      if (e.step === 12) later = run.control.set({ lr: 0 }).then(() => run.control.set({ lr: 0.03 }));
    }
    await Promise.all([first, later]);
    expect(lr[1]).toBe(0);
    expect(lr[6]).toBeCloseTo(0.05, 12);
    expect(lr[12]).toBeCloseTo(0.1, 12);
    expect(lr.slice(12)).toContain(0);
    expect(lr.at(-1)).toBeCloseTo(0.03, 12);
  });

  test('two wishes before one step: both are answered, the later one holds', async () => {
    const run = trainer().start({ train: train(), epochs: 1 });
    const both = Promise.all([run.control.set({ lr: 1 }), run.control.set({ lr: 0.002 })]);
    const lr: number[] = [];
    for await (const e of run) if (e.type === 'step') lr.push(e.lr);
    await both;
    expect(lr.at(-1)).toBeCloseTo(0.002, 14);
  });

  test('what cannot be set', async () => {
    const run = trainer().start({ train: train(), epochs: 1 });
    expect(() => run.control.set({ lr: -1 })).toThrow(/lr must be a number >= 0, got -1/);
    expect(() => run.control.set({ rate: 1 } as never)).toThrow(ConfigError);
    await run.control.set({});
    await run.result;
    await expect(run.control.set({ lr: 0.1 })).rejects.toThrow(/has ended/);
  });

  test('a wish that came too late is refused, not left hanging', async () => {
    const run = trainer().start({ train: train(), epochs: 1 });
    let wish: Promise<void> | undefined;
    for await (const e of run) if (e.type === 'step' && e.step === 6) wish = run.control.set({ lr: 0.1 });
    await expect(wish).rejects.toThrow(/ended/);
  });

  test('lasts over a resume', async () => {
    const dir = temporary();
    const run = trainer({ dir }).start({ train: train(), epochs: 1 });
    await run.control.set({ lr: 0.002 });
    await run.result;
    const { events } = await eventsOf(trainer({ dir }), { train: train(), epochs: 2, resume: 'auto' });
    expect(typed(events, 'step').map((e) => e.lr)).toEqual(Array(6).fill(0.002));
  });
});

describe('stopping', () => {
  const whole = async () => {
    const t = trainer();
    await t.fit({ train: train(), epochs: 4 });
    return weightsOf(t);
  };

  test('trainer.stop: at the next step boundary; resumed, the run ends as if nothing had been', async () => {
    const dir = temporary();
    const t = trainer({ dir });
    const run = t.start({ train: train(), epochs: 4 });
    for await (const e of run) if (e.type === 'step' && e.step === 8) t.stop();
    const result = await run.result;
    expect(result.stopReason).toBe('stopped');
    expect(result.steps).toBeLessThan(12);
    const second = trainer({ dir });
    expect(await second.fit({ train: train(), epochs: 4, resume: 'auto' })).toMatchObject({ stopReason: 'finished', steps: 24 });
    expect(await weightsOf(second)).toEqual(await whole());
  });

  test('an AbortSignal, likewise', async () => {
    const dir = temporary();
    const stop = new AbortController();
    const t = trainer({ dir });
    const run = t.start({ train: train(), epochs: 4, signal: stop.signal });
    for await (const e of run) if (e.type === 'step' && e.step === 8) stop.abort();
    expect((await run.result).stopReason).toBe('aborted');
    const second = trainer({ dir });
    await second.fit({ train: train(), epochs: 4, resume: 'auto' });
    expect(await weightsOf(second)).toEqual(await whole());
  });

  test('in the middle of an evaluation: the resumed run evaluates first', async () => {
    const dir = temporary();
    const stop = new AbortController();
    const slow = validation();
    const aborting = {
      length: slow.length,
      windows: slow.windows.bind(slow),
      epoch: async function* (n: number, options: data.EpochOptions = {}) {
        for await (const batch of slow.epoch(n, options)) {
          yield batch;
          stop.abort();
        }
      },
    };
    const early = { earlyStopping: { patience: 9 } };
    const result = await trainer({ dir, ...early }).fit({ train: train(), validation: aborting, epochs: 3, signal: stop.signal });
    expect(result).toMatchObject({ stopReason: 'aborted', steps: 6, last: undefined });
    const { events } = await eventsOf(trainer({ dir, ...early }), {
      train: train(),
      validation: validation(),
      epochs: 3,
      resume: 'auto',
    });
    expect(typed(events, 'eval').map((e) => e.step)).toEqual([6, 12, 18]);
    expect(events[0]).toMatchObject({ type: 'eval', step: 6 });
  });

  test('a signal that has aborted already, or while the data let wait', async () => {
    expect(await trainer().fit({ train: train(), epochs: 1, signal: AbortSignal.abort() })).toMatchObject({
      stopReason: 'aborted',
      steps: 0,
    });
    const never = data.loader(
      async function* () {
        for (let i = 0; i < 8; i++) yield { x: new Float32Array(8), y: i % 3 };
        await delay(3_600_000, undefined, { ref: false });
        yield { x: new Float32Array(8), y: 0 };
      },
      { batchSize: 2, dtypes: { y: 'i32' } },
    );
    const started = performance.now();
    const result = await trainer().fit({ train: never, steps: 100, signal: AbortSignal.timeout(300) });
    expect(result.stopReason).toBe('aborted');
    expect(result.steps).toBe(3); // of a stream one batch is held back
    expect(performance.now() - started).toBeLessThan(5000);
  });

  test('an error ends the run; the trainer can go on', async () => {
    let calls = 0;
    const t = trainer({
      loss: (o, b) => {
        if (++calls === 3) throw new RangeError('mine');
        return crossEntropy(o, b);
      },
    });
    await expect(t.fit({ train: train(), epochs: 1, accumulate: 2 })).rejects.toThrow('mine');
    expect((await t.fit({ train: train(), epochs: 1 })).stopReason).toBe('finished');
    const bad = data.loader(
      new data.TensorDataset({ x: { data: new Float32Array(80), shape: [8] }, y: { data: new Int32Array(10).fill(5) } }),
      { batchSize: 5 },
    );
    await expect(t.fit({ train: bad, epochs: 1 })).rejects.toThrow(DataError);
    expect((await t.fit({ train: train(), epochs: 1 })).stopReason).toBe('finished');
  });

  test('one run at a time', async () => {
    const t = trainer();
    const run = t.start({ train: train(), epochs: 1 });
    expect(() => t.start({ train: train(), epochs: 1 })).toThrow(/under way/);
    await run.result;
  });
});

describe('the run’s folder', () => {
  test('metrics.jsonl has every step and evaluation once, over a resume too', async () => {
    const dir = temporary();
    await trainer({ dir }).fit({ train: train(), validation: validation(), epochs: 1 });
    await trainer({ dir }).fit({ train: train(), validation: validation(), epochs: 2, resume: 'auto' });
    const { records, attempt } = await monitor.readHistory(join(dir, 'metrics.jsonl'));
    expect(attempt).toBe(2);
    const steps = records.filter((r) => r.type === 'step');
    expect(steps.map((r) => r.step)).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    expect(steps.map((r) => r.attempt)).toEqual([...Array(6).fill(1), ...Array(6).fill(2)]);
    for (const r of steps) expect(r).toMatchObject({ applied: true, samples: 32, lr: 0.01 });
    for (const name of ['loss', 'gradNorm', 'samplesPerSecond']) expect(typeof steps[0]?.[name]).toBe('number');
    expect(records.filter((r) => r.type === 'eval').map((r) => [r.step, typeof r['val/loss']])).toEqual([
      [6, 'number'],
      [12, 'number'],
    ]);
  });

  test('steps that end within an epoch are evaluated and saved too', async () => {
    const dir = temporary();
    const { events, result } = await eventsOf(trainer({ dir, checkpoint: { everySteps: 3 } }), {
      train: train(),
      validation: validation(),
      steps: 8,
    });
    expect(typed(events, 'eval').map((e) => e.step)).toEqual([6, 8]);
    expect(typed(events, 'checkpoint').map((e) => e.step)).toEqual([3, 6, 8]);
    expect(result.best.step).toBe(8);
    expect((await trainer({ dir }).fit({ train: train(), steps: 10, resume: 'auto' })).steps).toBe(10);
  });

  test('a fresh start puts an earlier run aside: no later resume finds it', async () => {
    const dir = temporary();
    await trainer({ dir }).fit({ train: train(), epochs: 3 });
    await trainer({ dir }).fit({ train: train(), epochs: 1 });
    expect(readdirSync(join(dir, 'checkpoints'))).toEqual(['step-00000006']);
    expect(readdirSync(join(dir, 'previous', 'checkpoints'))).toContain('step-00000018');
    expect((await monitor.readHistory(join(dir, 'metrics.jsonl'))).records.filter((r) => r.type === 'step')).toHaveLength(6);
    expect((await trainer({ dir }).fit({ train: train(), epochs: 2, resume: 'auto' })).steps).toBe(12);
  });

  test('without dir nothing is written, without progress nothing printed', async () => {
    const before = readdirSync('.').sort();
    const printed: unknown[] = [];
    const write = process.stderr.write;
    process.stderr.write = ((chunk: unknown) => printed.push(chunk) > 0) as never;
    await trainer()
      .fit({ train: train(), validation: validation(), epochs: 1 })
      .finally(() => {
        process.stderr.write = write;
      });
    expect(printed).toEqual([]);
    expect(readdirSync('.').sort()).toEqual(before);
  });
});

test('misspelled options name the right one', () => {
  const model = mlp([8, 3]);
  const optimizer = new optim.AdamW(model.parameters());
  const base = { model, optimizer, loss: crossEntropy };
  for (const [options, message] of [
    [{ ...base, clipNrom: 1 }, /"clipNrom" should be "clipNorm"/],
    [{ ...base, checkpoint: { everyStep: 5 } }, /"everyStep" should be "everySteps"/],
    [{ ...base, checkpoint: { keep: { lst: 1 } } }, /"lst" should be "last"/],
    [{ ...base, earlyStopping: { patiance: 3 } }, /"patiance" should be "patience"/],
    [{ ...base, precision: 'fp32' }, /precision must be 'f32', 'bf16' or 'f16', got "fp32"/],
    [{ model, loss: crossEntropy }, /optimizer is missing/],
  ] as const)
    expect(() => new Trainer(options as never)).toThrow(message);
  expect(() => new Trainer(base).start({ train: train(), epoch: 5 } as never)).toThrow(/"epoch" should be "epochs"/);
  expect(() => new Trainer(base).start({ train: train(), epochs: 5, resume: true } as never)).toThrow(
    /resume must be 'auto' or false/,
  );
});

test('two-branch forward: y may be anything that the loss takes', async () => {
  const set = new data.TensorDataset({
    x: { data: new Float32Array(64).map((_, i) => Math.sin(i)), shape: [8] },
    y: { data: new Float32Array(24), shape: [3] },
  });
  const t = trainer({ loss: (o: Tensor, { y }) => losses.mse(o, y) });
  expect((await t.fit({ train: data.loader(set, { batchSize: 4 }), epochs: 2 })).steps).toBe(4);
});
