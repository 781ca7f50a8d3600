// Measures how long the event loop is kept waiting, idle and while a CNN trains. Arguments: seconds of training, folder of the run.
import { existsSync, openSync, readSync } from 'node:fs';
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { cnn } from '../../examples/mnist/model.ts';
import { augment, data, losses, manualSeed, optim, schedule, Trainer } from '../../lib/index.ts';

const seconds = Number(process.argv[2]);
const dir = process.argv[3] as string;

/** Milliseconds: how late a timer of 1 ms came; and how long this thread was on a processor between two timers, whoever else wanted one. */
interface Stalls {
  p50: number;
  p99: number;
  p999: number;
  max: number;
  busyP999: number;
  busyMax: number;
}

/** Nanoseconds that this thread has been on a processor; undefined where the system does not say. */
function onProcessor(): (() => number) | undefined {
  if (!existsSync('/proc/thread-self/schedstat')) return undefined;
  const file = openSync('/proc/thread-self/schedstat', 'r');
  const text = Buffer.alloc(128);
  return () => Number.parseInt(text.toString('latin1', 0, readSync(file, text, 0, 128, 0)), 10);
}

async function measured(work: () => Promise<unknown>): Promise<Stalls> {
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  const busy = createHistogram();
  const now = onProcessor();
  let last = now?.() ?? 0;
  const probe = setInterval(() => {
    const at = now?.() ?? 0;
    busy.record(Math.max(1, at - last));
    last = at;
  }, 1);
  histogram.enable();
  await work();
  histogram.disable();
  clearInterval(probe);
  const late = (ns: number) => Math.max(0, ns / 1e6 - 1);
  return {
    p50: late(histogram.percentile(50)),
    p99: late(histogram.percentile(99)),
    p999: late(histogram.percentile(99.9)),
    max: late(histogram.max),
    busyP999: busy.percentile(99.9) / 1e6,
    busyMax: busy.max / 1e6,
  };
}

manualSeed(1);
const model = cnn();
const pixels = Uint8Array.from({ length: 6400 * 784 }, (_, i) => (i * 2_654_435_761) >>> 24);
const labels = Int32Array.from({ length: 6400 }, (_, i) => i % 10);
const set = new data.TensorDataset({
  x: { data: pixels, shape: [1, 28, 28], encoding: { scale: 1 / 255, mean: [0.1307], std: [0.3081] } },
  y: { data: labels },
});
const [fit, held] = data.split(set, [6080, 320], { stratify: 'y' });

let steps = 0;
const trainer = new Trainer({
  model,
  loss: (logits, { y }) => losses.crossEntropy(logits, y, { labelSmoothing: 0.1 }),
  optimizer: new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.01 }), { lr: 1e-3 }),
  schedule: schedule.warmup({ steps: 3 }).followedBy(schedule.constant()),
  clipNorm: 1,
  earlyStopping: { patience: Infinity },
  metrics: ['accuracy', 'perClass'],
  dir,
  checkpoint: { everySteps: 60 },
  hooks: [
    {
      name: 'count',
      onStep() {
        steps++;
        return undefined;
      },
    },
  ],
});
const train = data.loader(fit, { batchSize: 64, shuffle: true, transform: [augment.randomCrop(28, { padding: 2 })] });
const validation = data.loader(held, { batchSize: 160 });
const run = (options: { steps?: number; signal?: AbortSignal }) =>
  trainer.fit({
    train,
    validation,
    ...(options.steps ? { steps: options.steps } : { epochs: 10_000 }),
    ...(options.signal ? { signal: options.signal } : {}),
  });

await run({ steps: 4 }); // what is compiled and started once
await delay(200);
const idle = await measured(() => delay(4000));
steps = 0;
const training = await measured(() => run({ signal: AbortSignal.timeout(seconds * 1000) }));
process.stdout.write(JSON.stringify({ idle, training, steps }));
