// A network that has learnt to tell the digits 0 to 4 is saved, loaded, and learns 5 to 9 from a few images.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { data, loadSafetensors, losses, manualSeed, nn, optim, saveSafetensors, schedule, Trainer } from 'anneal';

const help = `Fine-tunes a CNN from a safetensors checkpoint: digits 0 to 4 first, then 5 to 9 from few images, against the same from nothing.

  npm run example -- finetune [options]

  --base N       images of 0 to 4 that the checkpoint is made of (default 5000)
  --epochs N     epochs over them (default 4)
  --images N     images of 5 to 9 to fine-tune on (default 50)
  --steps N      fine-tuning steps of 25 images (default 100)
  --runs N       draws of those images (default 3)
  --test N       test images of 5 to 9 at most (default: all)
  --seed N       default 1
  --dir PATH     where base.safetensors and summary.json go (default runs/finetune)
  --help         this text
`;
const { values: args } = parseArgs({
  options: {
    base: { type: 'string', default: '5000' },
    epochs: { type: 'string', default: '4' },
    images: { type: 'string', default: '50' },
    steps: { type: 'string', default: '100' },
    runs: { type: 'string', default: '3' },
    test: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '1' },
    dir: { type: 'string', default: 'runs/finetune' },
    help: { type: 'boolean', default: false },
  },
});

/** Two parts with names of their own: what is loaded and frozen is told by them. */
class Cnn extends nn.Module {
  body = new nn.Sequential(
    new nn.Conv2d(1, 16, { kernelSize: 3 }),
    new nn.ReLU(),
    new nn.Conv2d(16, 32, { kernelSize: 3 }),
    new nn.ReLU(),
    new nn.MaxPool2d(2),
    new nn.Flatten(),
    new nn.Linear(4608, 128),
    new nn.ReLU(),
  );
  head = new nn.Linear(128, 5);
  forward(x: Parameters<nn.Linear['forward']>[0]) {
    return this.head.forward(this.body.forward(x));
  }
}

type Digits = data.TensorDataset<'x' | 'y'>;

/** `count` of the images of the five digits from `first`, which become classes 0 to 4; `skip` of them are passed over. */
function five(set: Digits, first: number, count: number, skip = 0): Digits {
  const ids = Array.from({ length: set.length }, (_, i) => i).filter((i) => {
    const digit = Number(set.get(i).y.data[0]);
    return digit >= first && digit < first + 5;
  });
  const rows = ids.slice(skip, skip + count).map((i) => set.get(i));
  if (rows.length === 0)
    throw new Error(`no images of ${first} to ${first + 4} after ${skip}: there are ${ids.length}. Ask for fewer.`);
  const x = new Uint8Array(rows.length * 784);
  rows.forEach((row, k) => {
    x.set(row.x.data as Uint8Array, k * 784);
  });
  return new data.TensorDataset({
    x: { data: x, shape: [1, 28, 28], encoding: { scale: 1 / 255, mean: [0.1307], std: [0.3081] } },
    y: { data: Int32Array.from(rows, ({ y }) => Number(y.data[0]) - first) },
  });
}

interface Course {
  epochs: number;
  batchSize: number;
  /** Peak rates of the two parts. */
  rates: { body: number; head: number };
  seed: number;
}

/** Trains what is not frozen. */
async function train(model: Cnn, set: Digits, { epochs, batchSize, rates, seed }: Course): Promise<Trainer> {
  const trainer = new Trainer({
    model,
    loss: (logits, { y }) => losses.crossEntropy(logits, y),
    optimizer: new optim.AdamW([
      { params: model.body.parameters(), lr: rates.body },
      { params: model.head.parameters(), lr: rates.head },
    ]),
    schedule: schedule.warmup({ steps: 5 }).followedBy(schedule.cosine({ to: 0 })),
    metrics: ['accuracy'],
    seed,
  });
  await trainer.fit({ train: data.loader(set, { batchSize, shuffle: true, seed }), epochs });
  return trainer;
}

async function main(): Promise<void> {
  if (args.help) {
    console.log(help);
    return;
  }
  const started = performance.now();
  const [base, epochs, images, steps, runs, seed] = (['base', 'epochs', 'images', 'steps', 'runs', 'seed'] as const).map((name) =>
    Number(args[name]),
  ) as [number, number, number, number, number, number];
  const even = { body: 1e-3, head: 1e-3 };
  const { train: digits, test } = await data.mnist();
  const low = data.loader(five(test, 0, Number(args.test)), { batchSize: 500 });
  const high = data.loader(five(test, 5, Number(args.test)), { batchSize: 500 });

  manualSeed(seed);
  const first = new Cnn();
  const judge = await train(first, five(digits, 0, base), { epochs, batchSize: 100, rates: even, seed });
  const { accuracy: known = 0 } = await judge.evaluate(low);
  await mkdir(args.dir, { recursive: true });
  const checkpoint = join(args.dir, 'base.safetensors');
  await saveSafetensors(checkpoint, first.stateDict());
  console.log(`${checkpoint}: ${(100 * known).toFixed(2)} % of the test digits 0 to 4 right`);

  /** The body as it was learnt, of it frozen what `frozen` names, under a new head. */
  const loaded = async (frozen?: RegExp) => {
    const model = new Cnn();
    const body = [...(await loadSafetensors(checkpoint))].filter(([name]) => name.startsWith('body.'));
    model.loadStateDict(new Map(body), { strict: false });
    for (const [name, p] of model.namedParameters()) if (frozen?.test(name)) p.freeze();
    return model;
  };
  const ways = [
    { name: 'from nothing', make: async () => new Cnn(), rates: even },
    { name: 'loaded, body frozen', make: () => loaded(/^body/), rates: { body: 0, head: 5e-3 } },
    { name: 'convolutions frozen', make: () => loaded(/^body\.[02]\./), rates: even },
    { name: 'loaded, body at a tenth', make: () => loaded(), rates: { body: 5e-4, head: 5e-3 } },
    { name: 'loaded, all at one rate', make: () => loaded(), rates: even },
  ];
  const results: Record<string, number[]> = Object.fromEntries(ways.map(({ name }) => [name, []]));
  /** Weights that may change. */
  const learning: Record<string, number> = {};
  for (let run = 0; run < runs; run++) {
    const few = five(digits, 5, images, run * images);
    const passes = Math.ceil(steps / Math.ceil(few.length / 25));
    for (const { name, make, rates } of ways) {
      manualSeed(seed + run);
      const model = await make();
      learning[name] = model.parameters().reduce((sum, p) => sum + (p.frozen ? 0 : p.size), 0);
      const trainer = await train(model, few, { epochs: passes, batchSize: 25, rates, seed: seed + run });
      const { accuracy = 0 } = await trainer.evaluate(high);
      (results[name] as number[]).push(accuracy);
    }
  }
  console.log(`\n${images} images of 5 to 9, accuracy on the test digits, %`);
  for (const [name, of] of Object.entries(results)) {
    const mean = of.reduce((a, b) => a + b) / of.length;
    const accuracies = of.map((a) => (100 * a).toFixed(2)).join(', ');
    console.log(`${name.padEnd(26)}${`${learning[name]} weights`.padEnd(16)}${accuracies}   mean ${(100 * mean).toFixed(2)}`);
  }
  const seconds = (performance.now() - started) / 1000;
  await writeFile(join(args.dir, 'summary.json'), `${JSON.stringify({ base: known, learning, results, seconds }, null, 2)}\n`);
  console.log(`${seconds.toFixed(0)} s. Written: ${checkpoint}, ${join(args.dir, 'summary.json')}`);
}

await main();
