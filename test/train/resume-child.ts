// Trains until done, in a folder; resume.test.ts kills it on the way. Arguments: mode, folder. Tells each step on stdout, at the end the result.
import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { augment, data, losses, manualSeed, nn, optim, Stepper, schedule, type Tensor, Trainer, zeros } from '../../lib/index.ts';

const [mode, dir = ''] = process.argv.slice(2);
const say = (message: unknown) => writeSync(1, `${JSON.stringify(message)}\n`);

/** Images whose labels mean nothing: validation soon gets worse, and early stopping has something to count. */
function images(n: number, seed: number): data.TensorDataset<'x' | 'y'> {
  const x = Float32Array.from({ length: n * 64 }, (_, i) => Math.sin(i * (seed + 1.7)) * Math.cos(i * i * 0.01));
  const y = Int32Array.from({ length: n }, (_, i) => (i * 7919 + (i >> 2) * seed) % 4);
  return new data.TensorDataset({ x: { data: x, shape: [1, 8, 8] }, y: { data: y } });
}

manualSeed(11);
const model = new nn.Sequential(
  new nn.Conv2d(1, 6, { kernelSize: 3 }),
  new nn.BatchNorm2d(6),
  new nn.ReLU(),
  new nn.Dropout2d(0.1),
  new nn.MaxPool2d(2),
  new nn.Flatten(),
  new nn.Linear(54, 24),
  new nn.ReLU(),
  new nn.Dropout(0.3),
  new nn.Linear(24, 4),
);
const optimizer = new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.05 }), { lr: 0.01 });
const rate = schedule.warmup({ steps: 15 }).followedBy(schedule.cosine({ to: 0.2 }));
const train = data.loader(images(90, 1), {
  batchSize: 8,
  shuffle: true,
  seed: 3,
  transform: [augment.randomCrop(8, { padding: 1 }), augment.randomHorizontalFlip()],
});
const loss = (logits: Tensor, { y }: { y: Tensor }) => losses.crossEntropy(logits, y, { labelSmoothing: 0.1 });

if (mode === 'trainer') {
  const trainer = new Trainer({
    model,
    loss,
    optimizer,
    schedule: rate,
    clipNorm: 1,
    ema: { decay: 0.8 },
    precision: 'f16',
    lossScaling: { init: 2 ** 24, interval: 5 }, // overflows at first, and whenever it has grown
    plateau: { patience: 1, threshold: 0.02, factor: 0.7 },
    earlyStopping: { patience: 4 },
    metrics: ['accuracy'],
    dir,
    seed: 5,
    checkpoint: { everySteps: 5 },
    samples: { every: 3, make: async () => String((await model.forward(zeros([1, 1, 8, 8])).data())[0]) },
    hooks: [{ name: 'slow', onStep: () => delay(5) }],
  });
  const run = trainer.start({
    train,
    validation: data.loader(images(40, 2), { batchSize: 16 }),
    epochs: 16,
    accumulate: 2,
    resume: 'auto',
  });
  for await (const e of run) if (e.type === 'step') say({ step: e.step });
  const { stopReason, steps, epochs, best } = await run.result;
  say({ done: { stopReason, steps, epochs, best } });
} else {
  const stepper = new Stepper({ model, optimizer, schedule: rate.over(90), clipNorm: 1, swa: { from: 20, every: 7 }, seed: 5 });
  await stepper.resume(dir);
  const losses: number[] = [];
  for await (const window of train.windows({ accumulate: 2, steps: 90, from: stepper.cursor })) {
    const r = await stepper.step(window, (batch) => loss(model.forward(batch.x), batch));
    losses.push(r.loss);
    await delay(5);
    if (r.step % 4 === 0 || r.step === 90) await stepper.save(dir);
    say({ step: r.step });
  }
  say({ done: { steps: stepper.applied, last: losses.at(-1) ?? null } });
}
