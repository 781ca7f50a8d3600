// Wages of 534 workers: does a network beat a line, and do mixup and noise help it? Ten folds, so that chance shows.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { augment, data, losses, manualSeed, nn, optim, schedule, Trainer } from 'anneal';
import { quantities, wages } from './wages.ts';

const help = `Learns the logarithm of a wage from education, experience, occupation and the like, and is judged by folds it did not see.

  npm run example -- tabular [options]

  --folds N      parts of the table, each held out once (default 10)
  --repeats N    times that the table is cut anew (default 2)
  --epochs N     default 60
  --width N      of the two hidden layers (default 64)
  --alpha X      of mixup's Beta distribution (default 0.4)
  --noise X      spread of the noise on education and experience, standardised (default 0.3)
  --seed N       default 1
  --dir PATH     where summary.json goes (default runs/tabular)
  --help         this text
`;
const { values: args } = parseArgs({
  options: {
    folds: { type: 'string', default: '10' },
    repeats: { type: 'string', default: '2' },
    epochs: { type: 'string', default: '60' },
    width: { type: 'string', default: '64' },
    alpha: { type: 'string', default: '0.4' },
    noise: { type: 'string', default: '0.3' },
    seed: { type: 'string', default: '1' },
    dir: { type: 'string', default: 'runs/tabular' },
    help: { type: 'boolean', default: false },
  },
});

type Wages = data.TensorDataset<'x' | 'y'>;
type Extra = (ReturnType<typeof augment.gaussianNoise> | ReturnType<typeof augment.mixup>)[];
/** The rows of a column, in the order of the samples. */
const rowsOf = (set: Wages, column: 'x' | 'y') =>
  Array.from({ length: set.length }, (_, i) => set.get(i)[column].data as Float32Array);

/** The fold with education and experience standardised by mean and spread of the rows that are trained on. */
function standardize({ train, validation }: data.Fold<Wages>): data.Fold<Wages> {
  const known = rowsOf(train, 'x');
  const scales = Array.from({ length: quantities }, (_, f) => {
    const values = known.map((row) => row[f] as number);
    const mean = values.reduce((a, b) => a + b) / values.length;
    return { mean, std: Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length) };
  });
  const scaled = (set: Wages) => {
    const x = rowsOf(set, 'x').flatMap((row) => {
      const numbers = [...row];
      for (const [f, { mean, std }] of scales.entries()) numbers[f] = ((numbers[f] as number) - mean) / std;
      return numbers;
    });
    const y = Float32Array.from(rowsOf(set, 'y'), ([value]) => value as number);
    return new data.TensorDataset({
      x: { data: Float32Array.from(x), shape: [x.length / set.length] },
      y: { data: y, shape: [1] },
    });
  };
  return { train: scaled(train), validation: scaled(validation) };
}

/** Share of the held-out variance that the model explains once trained: 1 - its squared errors over those of the training mean. */
async function learn(
  model: nn.Module,
  { train, validation }: data.Fold<Wages>,
  transform: Extra,
  lr: number,
  seed: number,
): Promise<number> {
  const trainer = new Trainer({
    model,
    loss: (out, { y }) => losses.mse(out, y),
    optimizer: new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.01 }), { lr }),
    schedule: schedule.warmup({ steps: 20 }).followedBy(schedule.cosine({ to: 0 })),
    seed,
  });
  const loader = data.loader(train, { batchSize: 64, shuffle: true, seed, transform });
  await trainer.fit({ train: loader, epochs: Number(args.epochs) });
  const { loss } = await trainer.evaluate(data.loader(validation, { batchSize: 64 }));
  const [known, held] = [train, validation].map((set) => rowsOf(set, 'y').map(([y]) => y as number)) as [number[], number[]];
  const guess = known.reduce((a, b) => a + b) / known.length;
  return 1 - loss / (held.reduce((sum, y) => sum + (y - guess) ** 2, 0) / held.length);
}

async function main(): Promise<void> {
  if (args.help) {
    console.log(help);
    return;
  }
  const started = performance.now();
  const [folds, repeats, width, seed] = [args.folds, args.repeats, args.width, args.seed].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  const table = wages();
  const features = table.get(0).x.data.length;
  const line = () => new nn.Linear(features, 1);
  const network = () =>
    new nn.Sequential(
      new nn.Linear(features, width),
      new nn.ReLU(),
      new nn.Linear(width, width),
      new nn.ReLU(),
      new nn.Linear(width, 1),
    );
  const noise = augment.gaussianNoise(Array.from({ length: features }, (_, f) => (f < quantities ? Number(args.noise) : 0)));
  const mixup = augment.mixup({ alpha: Number(args.alpha) });
  const ways = [
    { name: 'line', make: line, lr: 0.03, extra: [] },
    { name: 'network', make: network, lr: 3e-3, extra: [] },
    { name: 'noise', make: network, lr: 3e-3, extra: [noise] },
    { name: 'mixup', make: network, lr: 3e-3, extra: [mixup] },
    { name: 'noise and mixup', make: network, lr: 3e-3, extra: [noise, mixup] },
  ];
  const results: Record<string, number[]> = Object.fromEntries(ways.map(({ name }) => [name, []]));
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const [k, fold] of data.kFold(table, folds, { seed: seed + repeat }).entries()) {
      const scaled = standardize(fold);
      for (const { name, make, extra, lr } of ways) {
        manualSeed(seed + 1000 * repeat + k); // all networks of a fold start alike
        (results[name] as number[]).push(await learn(make(), scaled, extra, lr, seed + repeat));
      }
      console.error(`cut ${repeat + 1}, fold ${k + 1} of ${folds}`);
    }
  }
  const plain = results.network as number[];
  console.log(`variance explained in ${plain.length} held-out folds${' '.repeat(6)}mean  spread  better than the plain network`);
  for (const [name, of] of Object.entries(results)) {
    const mean = of.reduce((a, b) => a + b) / of.length;
    const spread = Math.sqrt(of.reduce((sum, v) => sum + (v - mean) ** 2, 0) / Math.max(1, of.length - 1));
    const better = of.filter((v, i) => v > (plain[i] as number)).length;
    console.log(
      `${name.padEnd(40)}${mean.toFixed(3).padStart(8)}${spread.toFixed(3).padStart(8)}  ${name === 'network' ? '' : `${better} of ${of.length}`}`,
    );
  }
  const seconds = (performance.now() - started) / 1000;
  await mkdir(args.dir, { recursive: true });
  await writeFile(join(args.dir, 'summary.json'), `${JSON.stringify({ results, seconds }, null, 2)}\n`);
  console.log(`${seconds.toFixed(0)} s. Written: ${join(args.dir, 'summary.json')}`);
}

await main();
