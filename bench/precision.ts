// Precisions beside each other on 1,000 MNIST images: npm run example -- bench/precision.ts [--epochs N] [--seeds 1,2,3] [--out FILE].
// Every run is a line of JSON in FILE (default runs/precision.jsonl); what is there already is not run again. Prints the table of docs/precision.md.
import { parseArgs } from 'node:util';
import { data, device, losses, manualSeed, optim, type Precision, Stepper, schedule, Trainer, type TrainerOptions } from 'anneal';
import { Outcomes, smallCnn } from './measured.ts';

const { values: args } = parseArgs({
  options: {
    epochs: { type: 'string', default: '15' },
    seeds: { type: 'string', default: '1,2,3' },
    out: { type: 'string', default: 'runs/precision.jsonl' },
  },
});
const epochs = Number(args.epochs); // of 20 steps

interface Setting {
  precision: Precision;
  lossScaling?: TrainerOptions['lossScaling'];
  /** The loss is multiplied by it and the rate divided: in exact arithmetic nothing changes, so that what does is the precision's doing. */
  weight: number;
}
const tiny = 2 ** -24;
const unscaled = { init: 1, growth: 1 };
const settings: Record<string, Setting> = {
  f32: { precision: 'f32', weight: 1 },
  bf16: { precision: 'bf16', weight: 1 },
  f16: { precision: 'f16', weight: 1 },
  'f16 without scaling': { precision: 'f16', lossScaling: unscaled, weight: 1 },
  'loss times 2^-24, f32': { precision: 'f32', weight: tiny },
  'loss times 2^-24, bf16': { precision: 'bf16', weight: tiny },
  'loss times 2^-24, f16': { precision: 'f16', weight: tiny },
  'loss times 2^-24, f16 without scaling': { precision: 'f16', lossScaling: unscaled, weight: tiny },
};

interface Outcome {
  name: string;
  seed: number;
  epochs: number;
  /** In %, of the 10,000 test images. */
  accuracy: number;
  loss: number;
}

const { train, test } = await data.mnist();

async function run(name: string, seed: number, { precision, lossScaling, weight }: Setting): Promise<Outcome> {
  manualSeed(seed);
  const model = smallCnn();
  const [fit] = data.split(train, [1000, 59_000], { stratify: 'label', seed });
  const trainer = new Trainer({
    model,
    loss: (logits, { y }) => losses.crossEntropy(logits, y).times(weight),
    optimizer: new optim.SGD(model.parameters(), { lr: 0.02 / weight, momentum: 0.9 }),
    schedule: schedule.warmup({ steps: 20 }).followedBy(schedule.cosine({ to: 0 })),
    metrics: ['accuracy'],
    precision,
    ...(lossScaling ? { lossScaling } : {}),
    seed,
  });
  await trainer.fit({ train: data.loader(fit, { batchSize: 50, shuffle: true, seed }), epochs });
  const { accuracy = Number.NaN, loss } = await trainer.evaluate(data.loader(test, { batchSize: 500 }));
  return { name, seed, epochs, accuracy: 100 * accuracy, loss: loss / weight };
}

/** Megabytes in tensors between two steps, and at most in a step, of a model that has trained two. */
async function memory(precision: Precision, batchSize: number): Promise<{ between: number; peak: number }> {
  const before = device('cpu').memory().live;
  const model = smallCnn();
  const stepper = new Stepper({ model, optimizer: new optim.SGD(model.parameters(), { lr: 0.02, momentum: 0.9 }), precision });
  let [between, peak] = [0, 0];
  for await (const window of data.loader(train, { batchSize }).windows({ steps: 3 })) {
    between = device('cpu').memory().live - before;
    device('cpu').resetPeak();
    await stepper.step(window, ({ x, y }) => losses.crossEntropy(model.forward(x), y));
    peak = device('cpu').memory().peak - before;
  }
  return { between: between / 1e6, peak: peak / 1e6 };
}

// First of all, so that no garbage of a run is counted.
console.log('| | batch | MB between steps | MB at most in a step |\n|---|---|---|---|');
for (const batchSize of [50, 500])
  for (const precision of ['f32', 'bf16', 'f16'] as const) {
    const { between, peak } = await memory(precision, batchSize);
    console.log(`| ${precision} | ${batchSize} | ${between.toFixed(1)} | ${peak.toFixed(1)} |`);
  }
console.log();

const outcomes = new Outcomes<Outcome>(args.out);
for (const seed of args.seeds.split(',').map(Number))
  for (const [name, setting] of Object.entries(settings))
    if (!outcomes.all.some((o) => o.name === name && o.seed === seed && o.epochs === epochs))
      await outcomes.add(() => run(name, seed, setting));

console.log('| | test accuracy, % (each seed) | test loss, mean |\n|---|---|---|');
for (const name of Object.keys(settings)) {
  const own = outcomes.all.filter((o) => o.name === name && o.epochs === epochs).sort((a, b) => a.seed - b.seed);
  const mean = own.reduce((sum, o) => sum + o.loss, 0) / own.length;
  console.log(`| ${name} | ${own.map((o) => o.accuracy.toFixed(2)).join(', ')} | ${mean.toFixed(3)} |`);
}
