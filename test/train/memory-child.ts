// Trains a tiny model for many steps and tells how memory goes; memory.test.ts runs it with --expose-gc. Arguments: steps, 'read' to iterate over the events.
import { setImmediate as turn } from 'node:timers/promises';
import { data, device, losses, manualSeed, nn, optim, schedule, Trainer } from '../../lib/index.ts';

const steps = Number(process.argv[2]);
const reading = process.argv[3] === 'read';
const gc = (globalThis as { gc?: () => void }).gc as () => void;

manualSeed(1);
const model = new nn.Sequential(new nn.Linear(4, 32), new nn.ReLU(), new nn.Dropout(0.1), new nn.Linear(32, 3));
const x = Float32Array.from({ length: 320 * 4 }, (_, i) => Math.sin(i * i));
const y = Int32Array.from({ length: 320 }, (_, i) => i % 3);
const set = new data.TensorDataset({ x: { data: x, shape: [4] }, y: { data: y } });

/** By step: bytes live on the device, handles, and bytes resident and on V8's heap. */
const samples: { step: number; live: number; handles: number; resident: number; heap: number }[] = [];
const sample = async (step: number) => {
  for (let i = 0; i < 3; i++) {
    gc();
    await turn(); // finalizers
  }
  const { live, handles } = device('cpu').memory();
  const { rss, heapUsed } = process.memoryUsage();
  samples.push({ step, live, handles, resident: rss, heap: heapUsed });
};

const trainer = new Trainer({
  model,
  loss: (logits, batch) => losses.crossEntropy(logits, batch.y),
  optimizer: new optim.AdamW(model.parameters()),
  schedule: schedule.warmup({ steps: 50 }).followedBy(schedule.cosine({ to: 0 })),
  clipNorm: 1,
  earlyStopping: { patience: Infinity },
  metrics: ['accuracy'],
  hooks: [{ name: 'memory', onStep: async ({ step }) => (step % 100 === 0 ? sample(step).then(() => undefined) : undefined) }],
});
const run = trainer.start({
  train: data.loader(set, { batchSize: 32, shuffle: true }),
  validation: data.loader(set, { batchSize: 320 }),
  steps,
});
let events = 0;
if (reading) for await (const _ of run) events++;
await run.result;
process.stdout.write(JSON.stringify({ events, samples }));
