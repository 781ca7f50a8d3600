// Tells a word's part of speech from its spelling: a bidirectional LSTM over letters, words of all lengths in one batch.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { data, losses, manualSeed, monitor, noGrad, optim, Stepper, schedule, scope, tensor } from 'anneal';
import { SpellingNet } from './model.ts';
import { classes, encode, longest, words } from './words.ts';

const help = `Trains an LSTM on WordNet: is a word a noun, a verb, an adjective or an adverb? By its letters alone.

  npm run example -- lstm [options]

  --epochs N       passes over the words (default 4)
  --batch-size N   words per step (default 256)
  --lr X           peak learning rate (default 0.004)
  --seed N         default 1
  --dir PATH       where summary.json goes (default runs/lstm)
  --help           this text
`;
const { values: args } = parseArgs({
  options: {
    epochs: { type: 'string', default: '4' },
    'batch-size': { type: 'string', default: '256' },
    lr: { type: 'string', default: '0.004' },
    seed: { type: 'string', default: '1' },
    dir: { type: 'string', default: 'runs/lstm' },
    help: { type: 'boolean', default: false },
  },
});

type Words = data.TensorDataset<'x' | 'y' | 'length'>;

function dataset(given: readonly { word: string; kind: number }[]): Words {
  const x = new Int32Array(given.length * longest);
  given.forEach(({ word }, i) => {
    x.set(encode(word), i * longest);
  });
  const column = (f: (w: { word: string; kind: number }) => number) => ({ data: Int32Array.from(given, f) });
  return new data.TensorDataset({
    x: { data: x, shape: [longest] },
    y: column((w) => w.kind),
    length: column((w) => w.word.length),
  });
}

/** What the last three letters say most often: the simplest rule worth beating. */
function bySuffix(train: readonly { word: string; kind: number }[], held: readonly { word: string; kind: number }[]): number {
  const counts = new Map<string, number[]>();
  const of = (word: string) => word.slice(-3);
  for (const { word, kind } of train) {
    const c = counts.get(of(word)) ?? classes.map(() => 0);
    c[kind] = (c[kind] as number) + 1;
    counts.set(of(word), c);
  }
  const right = held.filter(({ word, kind }) => {
    const c = counts.get(of(word));
    return (c ? c.indexOf(Math.max(...c)) : 0) === kind;
  });
  return right.length / held.length;
}

async function evaluate(model: SpellingNet, held: Words): Promise<monitor.ConfusionMatrix> {
  const matrix = new monitor.ConfusionMatrix(classes.length, { labels: classes });
  model.eval();
  for await (const batch of data.loader(held, { batchSize: 1000 }).epoch(0)) {
    const [x, length] = [batch.x, batch.length].map((c) => tensor(c.data as Int32Array, { shape: c.shape })) as [never, never];
    const { read } = scope(() => noGrad(() => ({ read: model.forward(x, length).data() })));
    matrix.add(monitor.predictedClasses((await read) as Float32Array, classes.length), batch.y.data as Int32Array);
  }
  model.train();
  return matrix;
}

async function main(): Promise<void> {
  if (args.help) {
    console.log(help);
    return;
  }
  const [seed, epochs, batchSize, lr] = [args.seed, args.epochs, args['batch-size'], args.lr].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  manualSeed(seed);
  const all = words(seed);
  const [held, train] = [all.slice(0, 5000), all.slice(5000)];
  const majority = held.filter(({ kind }) => kind === 0).length / held.length;
  console.log(`${all.length} words of one part of speech; held out: 5000, ${(100 * majority).toFixed(1)} % of them nouns`);
  const suffix = bySuffix(train, held);
  console.log(`the last three letters alone: ${(100 * suffix).toFixed(2)} %`);

  const model = new SpellingNet(classes.length);
  const loader = data.loader(dataset(train), { batchSize, shuffle: true, seed });
  const heldOut = dataset(held);
  const steps = epochs * (loader.length as number);
  const stepper = new Stepper({
    model,
    optimizer: new optim.AdamW(model.parameters(), { lr }),
    schedule: schedule
      .warmup({ steps: 100 })
      .followedBy(schedule.cosine({ to: 0 }))
      .over(steps),
    clipNorm: 1,
    seed,
  });
  const bar = new monitor.ProgressBar(process.stderr);
  const started = performance.now();
  let accuracy = 0;
  for await (const window of loader.windows({ steps, from: stepper.cursor })) {
    const r = await stepper.step(window, ({ x, y, length }) => losses.crossEntropy(model.forward(x, length as never), y));
    const elapsed = (performance.now() - started) / 1000;
    bar.update({
      step: r.step,
      totalSteps: steps,
      elapsed,
      loss: r.loss,
      lr: r.lr,
      unit: 'words',
      throughput: (r.step * batchSize) / elapsed,
    });
    if (r.step % (loader.length as number) === 0) {
      accuracy = (await evaluate(model, heldOut)).accuracy();
      bar.log(`epoch ${r.step / (loader.length as number)}: held-out accuracy ${(100 * accuracy).toFixed(2)} %`);
    }
  }
  bar.finish();
  const seconds = (performance.now() - started) / 1000;
  const matrix = await evaluate(model, heldOut);
  for (const c of matrix.perClass())
    console.log(`${c.label.padEnd(10)} precision ${c.precision.toFixed(3)}  recall ${c.recall.toFixed(3)}  of ${c.support}`);
  const invented = ['blorfing', 'snarkly', 'quimbulous', 'flinthood', 'regrumple'];
  for (const word of invented) {
    const { read } = scope(() =>
      noGrad(() => ({
        read: model
          .eval()
          .forward(tensor(encode(word), { shape: [1, longest] }), tensor([word.length], { dtype: 'i32' }))
          .softmax()
          .data(),
      })),
    );
    const p = Array.from(await read, (v, i) => `${classes[i]} ${(100 * v).toFixed(0)} %`);
    console.log(`${word.padEnd(10)} ${p.join(', ')}`);
  }
  await mkdir(args.dir, { recursive: true });
  await writeFile(
    join(args.dir, 'summary.json'),
    `${JSON.stringify({ accuracy, suffix, majority, epochs, seconds }, null, 2)}\n`,
  );
  console.log(`${seconds.toFixed(0)} s. Written: ${join(args.dir, 'summary.json')}`);
}

await main();
