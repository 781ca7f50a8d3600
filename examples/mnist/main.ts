// Trains a convolutional network on MNIST and shows what it got wrong.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  augment,
  data,
  losses,
  manualSeed,
  monitor,
  type nn,
  noGrad,
  optim,
  schedule,
  scope,
  type Tensor,
  Trainer,
  tensor,
} from 'anneal';
import { cnn } from './model.ts';

const help = `Trains a CNN on MNIST: 55,000 digits to fit, 5,000 to validate, 10,000 to test once.

  npm start -- [options]

  --epochs N       epochs at most (default 8; early stopping may end sooner)
  --batch-size N   samples per step (default 128)
  --lr X           peak learning rate (default 0.002)
  --precision P    f32 or bf16 (default f32)
  --seed N         seed of weights, masks, order and shifts (default 1)
  --dir PATH       folder of the run (default runs/mnist)
  --resume         go on from the newest checkpoint in that folder
  --help           this text
`;

const { values: args } = parseArgs({
  options: {
    epochs: { type: 'string', default: '8' },
    'batch-size': { type: 'string', default: '128' },
    lr: { type: 'string', default: '0.002' },
    precision: { type: 'string', default: 'f32' },
    seed: { type: 'string', default: '1' },
    dir: { type: 'string', default: 'runs/mnist' },
    resume: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

interface Mistake {
  id: number;
  target: number;
  predicted: number;
  confidence: number;
  /** Grey values from 0 to 1. */
  image: Float32Array;
}

/** The test images that the model got wrong, the most confident first. */
async function mistakes(model: nn.Sequential, loader: data.Loader): Promise<Mistake[]> {
  const found: Mistake[] = [];
  model.eval();
  for await (const batch of loader.epoch(0)) {
    const probabilities = scope(() =>
      noGrad(() => ({
        read: model
          .forward(tensor(batch.x.data as Float32Array, { shape: batch.x.shape }))
          .softmax()
          .data(),
      })),
    );
    const p = await probabilities.read;
    batch.ids.forEach((id, row) => {
      const scores = Array.from(p.subarray(row * 10, row * 10 + 10));
      const confidence = Math.max(...scores);
      const predicted = scores.indexOf(confidence);
      const target = Number(batch.y.data[row]);
      if (predicted === target) return;
      const image = (batch.x.data as Float32Array).slice(row * 784, row * 784 + 784).map((v) => v * 0.3081 + 0.1307);
      found.push({ id, target, predicted, confidence, image });
    });
  }
  return found.sort((a, b) => b.confidence - a.confidence);
}

/** Some digits, and what the model takes them for while it learns: to look at in `anneal report`, and live in `anneal watch`. */
async function readAs(trainer: Trainer, digits: data.TensorDataset<'x' | 'y'>) {
  const scores = await trainer.predict(data.loader(digits, { batchSize: digits.length }));
  const read: number[] = [];
  const pictures: Record<string, ReturnType<typeof digits.get>['x']> = {};
  for (let i = 0; i < digits.length; i++) {
    const own = [...(scores.data as Float32Array).subarray(i * 10, i * 10 + 10)];
    read.push(own.indexOf(Math.max(...own)));
    pictures[`digit ${i + 1}`] = digits.get(i).x;
  }
  return { 'read as': read.join(' '), ...pictures };
}

/** Pictures side by side, each under its caption. */
function gallery(pictures: { caption: string; image: string }[], columns: number): string {
  const width = 30;
  const rows: string[] = [];
  for (let i = 0; i < pictures.length; i += columns) {
    const row = pictures.slice(i, i + columns);
    rows.push(row.map((p) => p.caption.padEnd(width)).join(''));
    const lines = row.map((p) => p.image.split('\n'));
    for (let y = 0; y < 14; y++) rows.push(lines.map((l) => (l[y] ?? '').padEnd(width)).join(''));
  }
  return rows.join('\n');
}

async function main(): Promise<void> {
  if (args.help) {
    console.log(help);
    return;
  }
  const dir = args.dir;
  const seed = Number(args.seed);
  manualSeed(seed);

  const { train, test } = await data.mnist();
  const [fit, validation] = data.split(train, [55_000, 5_000], { stratify: 'label', seed });
  const model = cnn();
  const few = data.subset(validation, [0, 1, 2, 3, 4, 5, 6, 7]);
  const trainer = new Trainer({
    model,
    loss: (logits: Tensor, { y }) => losses.crossEntropy(logits, y, { labelSmoothing: 0.1 }),
    optimizer: new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.01 }), { lr: Number(args.lr) }),
    schedule: schedule.warmup({ steps: 200 }).followedBy(schedule.cosine({ to: 0 })),
    precision: args.precision as 'f32' | 'bf16',
    clipNorm: 1,
    earlyStopping: { metric: 'val/loss', patience: 5 },
    metrics: ['accuracy', 'perClass', 'confusion', 'calibration', 'mistakes'],
    samples: {
      every: 100,
      make: () => readAs(trainer, few),
    },
    dir,
    seed,
    progress: process.stderr,
  });
  const result = await trainer.fit({
    train: data.loader(fit, {
      batchSize: Number(args['batch-size']),
      shuffle: true,
      seed,
      transform: [augment.randomCrop(28, { padding: 2 })],
    }),
    validation: data.loader(validation, { batchSize: 500 }),
    epochs: Number(args.epochs),
    resume: args.resume ? 'auto' : false,
  });

  const tests = data.loader(test, { batchSize: 500 });
  const { accuracy = 0, loss, perClass = [] } = await trainer.evaluate(tests);
  console.log(
    `\nBest epoch's weights on the 10,000 test digits: accuracy ${(100 * accuracy).toFixed(2)} %, loss ${loss.toFixed(4)}\n`,
  );
  console.log('digit  precision  recall     f1  support');
  for (const c of perClass)
    console.log(
      `${c.label.padStart(5)}  ${c.precision.toFixed(4).padStart(9)}  ${c.recall.toFixed(4)}  ${c.f1.toFixed(4).padStart(5)}  ${String(c.support).padStart(7)}`,
    );

  const wrong = await mistakes(model, tests);
  console.log(`\n${wrong.length} wrong. The most confident of them:\n`);
  const pictures = wrong.slice(0, 10).map(({ target, predicted, confidence, image }) => ({
    caption: `a ${target}, taken for ${predicted} (${(100 * confidence).toFixed(0)} %)`,
    image: monitor.terminalImage(image, 28, 28),
  }));
  console.log(gallery(pictures, Math.max(1, Math.min(5, Math.floor((process.stdout.columns ?? 150) / 30)))));

  const summary = {
    testAccuracy: accuracy,
    epochs: result.epochs,
    seconds: result.seconds,
    device: 'cpu',
    stopReason: result.stopReason,
    imagesPerSecond: result.samplesPerSecond,
  };
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
  console.log(
    `\n${result.stopReason} after ${result.epochs} epochs, ${result.seconds.toFixed(0)} s, ${result.samplesPerSecond.toFixed(0)} images/s. Written: ${join(dir, 'summary.json')}, ${join(dir, 'best.safetensors')}`,
  );
}

await main();
