// Every technique of the guide on few digits: a run with all of them, beside one with none.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { augment, data, losses, manualSeed, optim, type Precision, schedule, Trainer } from 'anneal';
import { cnn } from '../mnist/model.ts';

const help = `Learns MNIST from few images: with augmentation, dropout, weight decay, label smoothing, an average of the weights, warm-up and cosine,
mixed precision and early stopping, and with none of them.

  npm run example -- mnist-everything [options]

  --images N       to learn from (default 1000); 500 others validate
  --epochs N       at most (default 30)
  --patience N     epochs without a better validation that end the run with everything (default 8)
  --precision P    of the run with everything: f32, bf16 or f16 (default bf16)
  --test N         test images (default 10000)
  --seed N         default 1
  --dir PATH       where summary.json goes (default runs/mnist-everything)
  --help           this text
`;
const { values: args } = parseArgs({
  options: {
    images: { type: 'string', default: '1000' },
    epochs: { type: 'string', default: '30' },
    patience: { type: 'string', default: '8' },
    precision: { type: 'string', default: 'bf16' },
    test: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    dir: { type: 'string', default: 'runs/mnist-everything' },
    help: { type: 'boolean', default: false },
  },
});

interface Digits {
  fit: data.Dataset;
  validation: data.Dataset;
  test: data.Dataset;
}
interface Outcome {
  accuracy: number;
  epochs: number;
  stopReason: string;
  seconds: number;
}
const seed = Number(args.seed);
const tested = async (trainer: Trainer, { test }: Digits) =>
  (await trainer.evaluate(data.loader(test, { batchSize: 500 }))).accuracy as number;

/** Adam at one rate, and the images as they are. */
async function nothing(digits: Digits): Promise<Outcome> {
  const model = cnn({ dropout: [0, 0] });
  const trainer = new Trainer({
    model,
    loss: (logits, { y }) => losses.crossEntropy(logits, y),
    optimizer: new optim.Adam(model.parameters(), { lr: 1e-3 }),
    metrics: ['accuracy'],
    seed,
    progress: process.stderr,
  });
  const train = data.loader(digits.fit, { batchSize: 50, shuffle: true, seed });
  const { epochs, stopReason, seconds } = await trainer.fit({ train, epochs: Number(args.epochs) });
  return { accuracy: await tested(trainer, digits), epochs, stopReason, seconds };
}

async function everything(digits: Digits): Promise<Outcome> {
  const model = cnn({ dropout: [0.25, 0.5] });
  const steps = Math.ceil(digits.fit.length / 50) * Number(args.epochs);
  const trainer = new Trainer({
    model,
    loss: (logits, { y }) => losses.crossEntropy(logits, y, { labelSmoothing: 0.1 }),
    optimizer: new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.1 }), { lr: 1e-3 }),
    schedule: schedule.warmup({ steps: Math.ceil(steps / 10) }).followedBy(schedule.cosine({ to: 0 })),
    precision: args.precision as Precision,
    clipNorm: 1,
    ema: { decay: 0.99 }, // of some hundred steps in all, the last hundred
    earlyStopping: { metric: 'val/loss', patience: Number(args.patience) },
    metrics: ['accuracy'],
    seed,
    progress: process.stderr,
  });
  const transform = [augment.randomRotation(10), augment.randomCrop(28, { padding: 2 })];
  const train = data.loader(digits.fit, { batchSize: 50, shuffle: true, seed, transform });
  const validation = data.loader(digits.validation, { batchSize: 500 });
  const { epochs, stopReason, seconds } = await trainer.fit({ train, validation, epochs: Number(args.epochs) });
  return { accuracy: await tested(trainer, digits), epochs, stopReason, seconds };
}

async function main(): Promise<void> {
  if (args.help) {
    console.log(help);
    return;
  }
  const { train, test } = await data.mnist();
  const images = Number(args.images);
  const [fit, validation] = data.split(train, [images, 500, train.length - images - 500], { stratify: 'label', seed });
  const [some] = data.split(test, [Number(args.test), test.length - Number(args.test)], { stratify: 'label', seed });
  const digits = { fit, validation, test: some };
  const results: Record<string, Outcome> = {};
  for (const [name, learn] of Object.entries({ nothing, everything })) {
    manualSeed(seed); // both start alike
    const outcome = await learn(digits);
    results[name] = outcome;
    const { accuracy, epochs, stopReason, seconds } = outcome;
    console.log(
      `${name.padEnd(12)}${(100 * accuracy).toFixed(2)} % of ${some.length} test digits right; ${stopReason} after ${epochs} epochs, ${seconds.toFixed(0)} s`,
    );
  }
  await mkdir(args.dir, { recursive: true });
  await writeFile(join(args.dir, 'summary.json'), `${JSON.stringify(results, null, 2)}\n`);
  console.log(`Written: ${join(args.dir, 'summary.json')}`);
}

await main();
