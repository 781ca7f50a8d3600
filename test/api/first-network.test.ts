// API parts 2 and 3, on less data.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { augment, data, losses, nn, optim, schedule, Trainer } from 'anneal';
import { afterAll, expect, test } from 'vitest';

const dir = mkdtempSync(join(tmpdir(), 'anneal-api-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const network = () =>
  new nn.Sequential(
    new nn.Conv2d(1, 32, { kernelSize: 3 }),
    new nn.ReLU(),
    new nn.Conv2d(32, 64, { kernelSize: 3 }),
    new nn.ReLU(),
    new nn.MaxPool2d(2),
    new nn.Dropout(0.25),
    new nn.Flatten(),
    new nn.Linear(9216, 128),
    new nn.ReLU(),
    new nn.Dropout(0.5),
    new nn.Linear(128, 10),
  );

test('a first network', async () => {
  const { train, test } = await data.mnist();
  const [fit, validation] = data.split(train, [1280, 400, 58_320], { stratify: 'label', seed: 1 });
  const [some] = data.split(test, [400, 9600], { stratify: 'label' }); // test is read once, at the end
  const model = network();
  const trainer = new Trainer({
    model,
    loss: (logits, { y }) => losses.crossEntropy(logits, y, { labelSmoothing: 0.1 }),
    optimizer: new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.01 }), { lr: 1e-3 }),
    schedule: schedule.warmup({ steps: 3 }).followedBy(schedule.cosine({ to: 0 })), // factors of the peak rate
    precision: 'f32',
    clipNorm: 1,
    earlyStopping: { metric: 'val/loss', patience: 5 },
    metrics: ['accuracy', 'perClass'],
    dir,
    seed: 1,
  });
  const result = await trainer.fit({
    train: data.loader(fit, { batchSize: 128, shuffle: true, transform: [augment.randomCrop(28, { padding: 2 })] }),
    validation: data.loader(validation, { batchSize: 200 }),
    epochs: 2,
    resume: 'auto',
  });
  expect(result.stopReason).toBe('finished');
  expect(result.best.metrics['val/accuracy']).toBeGreaterThan(0.5);
  const { accuracy, perClass } = await trainer.evaluate(data.loader(some, { batchSize: 200 }));
  expect(accuracy).toBeGreaterThan(0.5);
  expect(perClass?.map((c) => c.label)).toEqual([...'0123456789']);
  expect(readFileSync(join(dir, 'metrics.jsonl'), 'utf8').trim().split('\n').length).toBeGreaterThan(20);
}, 180_000);

test('watching a run from the same program', async () => {
  const x = Float32Array.from({ length: 64 * 4 }, (_, i) => Math.sin(i));
  const y = Int32Array.from({ length: 64 }, (_, i) => i % 2);
  const set = new data.TensorDataset({ x: { data: x, shape: [4] }, y: { data: y } });
  const [train, validation] = [data.loader(set, { batchSize: 8, shuffle: true }), data.loader(set, { batchSize: 64 })];
  const model = new nn.Linear(4, 2);
  const trainer = new Trainer({
    model,
    loss: (logits, batch) => losses.crossEntropy(logits, batch.y),
    optimizer: new optim.AdamW(model.parameters()),
    metrics: ['perClass'],
  });
  const run = trainer.start({ train, validation, epochs: 5, signal: AbortSignal.timeout(60_000) }); // fit() = start().result
  const rates: number[] = [];
  let tables = 0;
  let changed: Promise<void> | undefined;
  // a discriminated union; iterating is optional and never slows training
  for await (const e of run) {
    if (e.type === 'step' && e.step % 10 === 0) rates.push(e.lr + 0 * (e.loss + e.gradNorm)); // plain numbers, already on the host
    if (e.type === 'step' && e.step === 15) changed = run.control.set({ lr: 1e-4 }); // at the next step boundary, journalled
    if (e.type === 'skipped') console.warn(e.reason, e.sampleIds);
    if (e.type === 'eval') tables += e.metrics.perClass?.length === 2 ? 1 : 0;
  }
  await changed;
  const { best, stopReason } = await run.result;
  expect(stopReason).toBe('finished');
  expect(best.metrics['val/loss']).toBeGreaterThan(0);
  expect(tables).toBe(5);
  expect(rates).toEqual([1e-3, 1e-4, 1e-4, 1e-4].map((v) => expect.closeTo(v, 12)));
});
