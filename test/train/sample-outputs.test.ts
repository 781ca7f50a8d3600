/** Outputs that a Trainer makes now and then: training does not notice, and what was made is written, told and shown. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  data,
  embedding,
  type Hook,
  isGradEnabled,
  losses,
  manualSeed,
  monitor,
  nn,
  optim,
  randn,
  type SampleMoment,
  type SamplesOptions,
  Trainer,
  type TrainerOptions,
  tensor,
} from '../../lib/index.ts';
import { rngState } from '../../lib/tensor/context.ts';
import { clusters, temporary, valuesOf } from './helpers.ts';

const set = clusters(96);

/** Dropout, batch norm, an average, a hook that decides by what it sees, and default random numbers: whatever outputs could disturb. */
function run(options: Partial<TrainerOptions> & { fit?: object; wide?: (m: nn.Sequential) => SamplesOptions } = {}) {
  manualSeed(3);
  const model = new nn.Sequential(
    new nn.Linear(8, 16),
    new nn.BatchNorm1d(16),
    new nn.ReLU(),
    new nn.Dropout(0.3),
    new nn.Linear(16, 3),
  );
  const { fit, wide, ...rest } = options;
  const seen: unknown[] = [];
  const watch: Hook = {
    name: 'watch',
    onStep: ({ step, loss, lr, gradNorm }) => {
      seen.push([step, loss, lr, gradNorm]);
      return { lrScale: 1 / (1 + loss) };
    },
  };
  const trainer = new Trainer({
    ...{ model, loss: (o, { y }) => losses.crossEntropy(o.add(randn(o.shape).mul(0.01)), y), hooks: [watch], seed: 5 },
    ...{ optimizer: new optim.AdamW(model.parameters(), { lr: 0.02 }), ema: { decay: 0.8 }, clipNorm: 1 },
    ...(wide ? { samples: wide(model) } : {}),
    ...rest,
  });
  const train = data.loader(set, { batchSize: 16, shuffle: true, seed: 2 });
  const events: string[] = [];
  const notices: string[] = [];
  const started = trainer.start({ train, validation: data.loader(set, { batchSize: 32 }), epochs: 3, accumulate: 2, ...fit });
  const told = (async () => {
    for await (const e of started) {
      if (e.type === 'samples') events.push(`${e.step}: ${e.samples.map((s) => s.text ?? s.name).join(', ')}`);
      if (e.type === 'notice') notices.push(e.message);
    }
  })();
  const done = async () => {
    const result = await started.result;
    await told;
    return { steps: seen, weights: await valuesOf(model.stateDict()), rng: rngState(), evaluated: [result.best, result.last] };
  };
  return { model, trainer, events, notices, done };
}

describe('training is the same to the bit', () => {
  const disturbing = (model: nn.Sequential): SamplesOptions => ({
    every: 1,
    make: async () => {
      manualSeed(99);
      const p = await model
        .forward(randn([4, 8]))
        .softmax()
        .data();
      model.train(); // put back
      return String(p[0]);
    },
  });
  const broken = (model: nn.Sequential): SamplesOptions => ({
    every: 1,
    make: async ({ step }) => {
      // What the device refuses, told or not, and products whose calls are dropped behind it.
      const bad = embedding(tensor(Int32Array.of(9)), randn([2, 2]));
      const after = model.forward(randn([4, 8]));
      if (step % 2) await bad.data();
      return after.shape.join();
    },
  });
  for (const precision of ['f32', 'bf16', 'f16'] as const)
    test(`${precision}: with outputs that draw, that change modes, that fail on the device`, async () => {
      const plain = await run({ precision }).done();
      const disturbed = run({ precision, wide: disturbing });
      expect(await disturbed.done()).toEqual(plain);
      expect([disturbed.events.length, disturbed.notices]).toEqual([9, []]);
      const failing = run({ precision, wide: broken });
      expect(await failing.done()).toEqual(plain);
      expect(failing.notices).toHaveLength(9);
      expect(failing.notices[4]).toMatch(/^samples: make failed at step 5, and training goes on: .*index 9/);
    });

  test('a step that fails is the run’s failure, not the outputs’', async () => {
    const y = new Int32Array(64);
    y[40] = 7; // of three classes
    const wrong = new data.TensorDataset({ x: { data: new Float32Array(64 * 8), shape: [8] }, y: { data: y } });
    const { done, notices } = run({
      wide: disturbing,
      fit: { train: data.loader(wrong, { batchSize: 16 }), validation: undefined, accumulate: 1 },
    });
    await expect(done()).rejects.toThrow(/7/);
    expect(notices).toEqual([]);
  });
});

test('is called after steps or epochs and at the end, in evaluation mode, without gradients, under the precision, with the averages', async () => {
  const at: unknown[] = [];
  const weights = async (model: nn.Sequential) => {
    const values = await (model.parameters()[0] as nn.Linear['weight']).data();
    return Array.from(values as ArrayLike<number>).reduce((a, b) => a + b, 0);
  };
  const looking = (every: number | 'epoch') => (model: nn.Sequential) => ({
    every,
    make: async ({ step, epoch, signal }: SampleMoment) => {
      const mean = await weights(model);
      at.push([step, epoch, model.training, model.modules().some((m) => m.training), isGradEnabled(), signal.aborted, mean]);
      return 'x';
    },
  });
  const { model, done, events } = run({ wide: looking(4), ema: { decay: 0.5 } });
  await done();
  const rest = [false, false, false, false, expect.any(Number)];
  expect(at).toEqual([[4, 1, ...rest], [8, 2, ...rest], [9, 3, ...rest]]); // biome-ignore format: as one reads it
  expect(events).toEqual(['4: x', '8: x', '9: x']);
  // When the run is over the model holds the average, as the last output saw it.
  expect((at[2] as number[])[6]).toBe(await weights(model));
  expect(model.training).toBe(true);
  at.length = 0;
  await run({ wide: looking('epoch'), fit: { epochs: undefined, steps: 7 } }).done();
  expect(at.map((a) => (a as number[]).slice(0, 2))).toEqual([[3, 1], [6, 2], [7, 2]]); // biome-ignore format: as one reads it
  at.length = 0;
  await run({ wide: looking(50), fit: { epochs: undefined, fastDevRun: true } }).done();
  expect(at).toHaveLength(1);
});

test('make may use the trainer itself; what it takes counts neither as training nor as waiting', async () => {
  const dir = temporary();
  const few = data.loader(clusters(6), { batchSize: 6 });
  const made: { trainer?: Trainer } = {};
  const wide = () => ({
    every: 2,
    make: async () => {
      const { shape } = await (made.trainer as Trainer).predict(few);
      const { samples } = await (made.trainer as Trainer).evaluate(few);
      const until = performance.now() + 300;
      while (performance.now() < until) await new Promise(setImmediate);
      return `${shape} ${samples}`;
    },
  });
  const one = run({ dir, wide });
  made.trainer = one.trainer;
  const began = performance.now();
  await one.done();
  const seconds = (performance.now() - began) / 1000;
  expect([one.events, one.notices]).toEqual([[2, 4, 6, 8, 9].map((step) => `${step}: 6,3 6`), []]);
  const steps = (await monitor.readHistory(join(dir, 'metrics.jsonl'))).records.filter((r) => r.type === 'step');
  const turns = steps.map((r) => r.seconds as number);
  expect(turns.reduce((a, b) => a + b, 0)).toBeLessThan(seconds - 5 * 0.3);
  for (const r of steps) expect(r.deviceSeconds).toBeLessThanOrEqual(r.seconds as number);
  expect(Math.min(...(steps.map((r) => r.samplesPerSecond) as number[]))).toBeGreaterThan(32 / 0.3);
});

test('a stop that waits for nothing cuts it off by its signal, and that is no failure of it', async () => {
  const made: { trainer?: Trainer } = {};
  const wide = () => ({
    every: 4,
    make: ({ signal }: SampleMoment) => {
      made.trainer?.stop({ graceMs: 0 });
      return new Promise<string>((_, reject) => signal.addEventListener('abort', () => reject(new Error('cut off'))));
    },
  });
  const one = run({ wide });
  made.trainer = one.trainer;
  const { steps } = await one.done();
  expect([steps.length, one.events, one.notices]).toEqual([4, [], []]);
});

test('texts, images and tensors, alone, as a list and by name; what is none of these is told, and training goes on', async () => {
  const dir = temporary();
  const grey = { data: Float32Array.of(0, 0.5, 1, 0.25), shape: [2, 2] };
  const made: unknown[] = [
    'NaN',
    ['a', 'b'.repeat(5000)],
    { '<b>': '</script>', grey, red: { data: Uint8Array.of(255, 0, 0), shape: [3, 1, 1] } },
    tensor([1, 0, 0, 1, 0.5, 0.5, 0.5, 0.5], { shape: [2, 1, 2, 2] }),
    5,
    { data: [1, 2], shape: [2, 2] },
    tensor([1, 2]),
    new Array(65).fill('x'),
    [],
  ];
  const { done, notices, events } = run({ dir, wide: () => ({ every: 1, make: async ({ step }) => made[step - 1] as never }) });
  await done();
  const { outputs, damaged } = await monitor.readSamples(dir);
  expect(damaged).toBe(0);
  expect(outputs.map((o) => [o.attempt, o.step, o.epoch])).toEqual([1, 2, 3, 4, 9].map((s) => [1, s, Math.floor(s / 3)]));
  const size = (url: string | undefined) => {
    const png = Buffer.from((url as string).replace('data:image/png;base64,', ''), 'base64');
    return [png.readUInt32BE(16), png.readUInt32BE(20), png[25]];
  };
  expect(outputs[0]?.samples).toEqual([{ name: 'sample', text: 'NaN' }]);
  expect(outputs[1]?.samples).toEqual([
    { name: 'sample 1', text: 'a' },
    { name: 'sample 2', text: `${'b'.repeat(4000)} ...` },
  ]);
  expect(outputs[2]?.samples.map((s) => [s.name, s.text])).toEqual([['<b>', '</script>'], ['grey', undefined], ['red', undefined]]); // biome-ignore format: as one reads it
  expect(outputs[2]?.samples.slice(1).map((s) => size(s.image))).toEqual([[2, 2, 0], [1, 1, 2]]); // biome-ignore format: as one reads it
  expect(outputs[3]?.samples.map((s) => [s.name, ...size(s.image)])).toEqual([['sample 1', 2, 2, 0], ['sample 2', 2, 2, 0]]); // biome-ignore format: as one reads it
  expect(notices.map((n) => n.replace(/^.*goes on: /, '').slice(0, 60))).toEqual([
    expect.stringMatching(/^'sample' is neither text nor a picture/),
    expect.stringMatching(/2 values are no image \[1, 2, 2\]/),
    expect.stringMatching(/^'sample' is a tensor of shape \[2\], which is no picture/),
    expect.stringMatching(/^65 outputs at once, where at most 64 are kept/),
  ]);
  const { records } = await monitor.readHistory(join(dir, 'metrics.jsonl'));
  expect(records.filter((r) => r.type === 'notice').map((r) => r.step)).toEqual([5, 6, 7, 8]);
  expect(records.some((r) => r.type === 'samples')).toBe(false); // they would make the log long
  expect(events).toHaveLength(5);
});

test('a resumed run does its lost tail again, also one that asks for none; a line cut short is counted; a fresh run sets the file aside', async () => {
  const dir = temporary();
  const wide = (word: string) => () => ({ every: 1, make: ({ step }: SampleMoment) => `${word} ${step}` });
  const fails: Hook = {
    name: 'watch',
    onStep: ({ step }) => (step === 7 ? Promise.reject(new Error('as if killed')) : undefined),
  };
  const parts = { dir, ema: { decay: 0.5 }, checkpoint: { everySteps: 5 } };
  const first = run({ ...parts, wide: wide('lost'), hooks: [fails] });
  await expect(first.done()).rejects.toThrow('as if killed');
  const texts = async () => (await monitor.readSamples(dir)).outputs.map((o) => [o.attempt, o.samples[0]?.text]);
  const lost = [1, 2, 3, 4, 5, 6].map((step) => [1, `lost ${step}`]);
  expect(await texts()).toEqual([...lost, [1, 'lost 7']]);
  appendFileSync(join(dir, 'samples.jsonl'), '{"attempt":1,"step":8,"type":"sam');
  await run({ ...parts, wide: wide('again'), fit: { resume: 'auto' } }).done();
  const again = [...lost, ...[7, 8, 9].map((step) => [2, `again ${step}`])]; // the checkpoint was of step 6
  expect(await texts()).toEqual(again);
  expect((await monitor.readSamples(dir)).damaged).toBe(1);
  await run({ ...parts, fit: { resume: 'auto', epochs: 4 } }).done();
  expect(await texts()).toEqual(again);
  await run({ ...parts }).done();
  expect(existsSync(join(dir, 'samples.jsonl'))).toBe(false);
  expect(existsSync(join(dir, 'previous/samples.jsonl'))).toBe(true);
});

test('sinks get them: TensorBoard’s has texts and images under samples/; a logger and a channel hear of them', async () => {
  const dir = temporary();
  const picture = { data: Uint8Array.of(0, 255, 255, 0), shape: [1, 2, 2] };
  const text = '# a title\n<b>';
  const record = { attempt: 1, step: 4, type: 'samples', epoch: 1 };
  const dirs = ['made', 'told'].map((name) => join(dir, name)) as [string, string];
  const boards = dirs.map((d) => new monitor.TensorBoardSink(d, { now: () => 1e9 })) as [monitor.TensorBoardSink, monitor.TensorBoardSink]; // biome-ignore format: one line
  const [made, told] = boards;
  const lines: [object, string][] = [];
  const quiet = { debug() {}, warn() {}, error() {}, info: (fields: object, line: string) => void lines.push([fields, line]) };
  const records: monitor.HistoryRecord[] = [];
  const sink = { write: (r: monitor.HistoryRecord) => void records.push(r), flush: async () => {}, close: async () => {} };
  const wide = () => ({ every: 4, make: () => ({ text, picture }) });
  await run({ sinks: [sink], logger: quiet, wide, fit: { epochs: undefined, steps: 4 } }).done();
  const one = records.filter((r) => r.type === 'samples');
  expect(one).toMatchObject([record]);
  made.write(one[0] as monitor.HistoryRecord);
  told.text('samples/text', '    # a title\n    <b>', 4); // a block of code, in which Markdown changes nothing
  told.image('samples/picture', picture, 4);
  await Promise.all(boards.map((b) => b.close()));
  expect(readFileSync(made.path)).toEqual(readFileSync(told.path));
  const said = lines.filter(([, line]) => line.includes('sample outputs'));
  expect(said).toEqual([[{ step: 4, epoch: 1, names: ['text', 'picture'] }, '2 sample outputs at step 4']]);
});
