// Two networks against each other on MNIST: one draws digits, one tells drawn from real. A Stepper each.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  data,
  losses,
  manualSeed,
  monitor,
  type nn,
  noGrad,
  ones,
  optim,
  randn,
  Stepper,
  saveSafetensors,
  scope,
  type Tensor,
  tensor,
  zeros,
} from 'anneal';
import { discriminator, generator, judge, latent } from './model.ts';

const help = `Trains a generator of MNIST digits against a discriminator (Goodfellow et al. 2014), and has a classifier judge what it draws.

  npm run example -- gan [options]

  --epochs N       passes over the 60,000 digits (default 20)
  --batch-size N   default 128
  --lr X           of both (default 0.0003)
  --seed N         default 1
  --dir PATH       where weights and summary.json go (default runs/gan)
  --help           this text
`;
const { values: args } = parseArgs({
  options: {
    epochs: { type: 'string', default: '20' },
    'batch-size': { type: 'string', default: '128' },
    lr: { type: 'string', default: '0.0003' },
    seed: { type: 'string', default: '1' },
    dir: { type: 'string', default: 'runs/gan' },
    help: { type: 'boolean', default: false },
  },
});

/** Normalised MNIST to pictures from -1 to 1, and back to what the classifier was trained on. */
const toPicture = (x: Tensor): Tensor =>
  x
    .reshape([x.shape[0] as number, 784])
    .mul(0.3081 * 2)
    .add(0.1307 * 2 - 1);
const toNormalised = (x: Tensor): Tensor => x.add(1 - 0.1307 * 2).div(0.3081 * 2);

const flat = (x: Tensor): Tensor => x.reshape([x.shape[0] as number, 784]);

/** A classifier of digits, 3 epochs old: who judges must not know the generator. */
async function trainedJudge(train: data.Mnist['train'], test: data.Mnist['test'], seed: number): Promise<nn.Sequential> {
  const model = judge();
  const stepper = new Stepper({ model, optimizer: new optim.AdamW(model.parameters(), { lr: 1e-3 }), seed });
  for await (const window of data.loader(train, { batchSize: 128, shuffle: true, seed }).windows({ steps: 1400 }))
    await stepper.step(window, ({ x, y }) => losses.crossEntropy(model.forward(flat(x)), y));
  model.eval();
  let right = 0;
  for await (const { x, y } of data.loader(test, { batchSize: 500 }).epoch(0)) {
    const p = await probabilities(model, flat(tensor(x.data as Float32Array, { shape: x.shape })));
    right += p.filter(({ digit }, i) => digit === Number(y.data[i])).length;
  }
  console.log(`the judge tells ${((100 * right) / 10_000).toFixed(2)} % of the test digits`);
  return model;
}

/** The likeliest digit of each picture, and how likely. */
async function probabilities(model: nn.Sequential, x: Tensor): Promise<{ digit: number; confidence: number }[]> {
  const { read } = scope(() => noGrad(() => ({ read: model.forward(x).softmax().data() })));
  const p = await read;
  return Array.from({ length: p.length / 10 }, (_, i) => {
    const row = Array.from(p.subarray(i * 10, i * 10 + 10));
    const confidence = Math.max(...row);
    return { digit: row.indexOf(confidence), confidence };
  });
}

interface Verdict {
  /** Share of pictures that the judge takes for some digit with at least 0.9. */
  recognised: number;
  /** Of the digits among those, in nats; ln 10 = 2.303 where all ten are equally frequent. */
  entropy: number;
  counts: number[];
}
async function judged(classifier: nn.Sequential, pictures: Tensor): Promise<Verdict> {
  const seen = (await probabilities(classifier, toNormalised(pictures))).filter(({ confidence }) => confidence >= 0.9);
  const counts = Array.from({ length: 10 }, (_, d) => seen.filter(({ digit }) => digit === d).length);
  const entropy = counts.reduce((sum, n) => (n ? sum - (n / seen.length) * Math.log(n / seen.length) : sum), 0);
  return { recognised: seen.length / (pictures.shape[0] as number), entropy, counts };
}

/** Rows of terminal pictures side by side. */
function gallery(values: Float32Array, across: number, down: number): string {
  const rows = Array.from({ length: down }, (_, r) => {
    const images = Array.from({ length: across }, (_, c) => {
      const at = (r * across + c) * 784;
      return monitor
        .terminalImage(
          values.slice(at, at + 784).map((v) => (v + 1) / 2),
          28,
          28,
        )
        .split('\n');
    });
    return (images[0] as string[]).map((_, y) => images.map((lines) => lines[y]).join(' ')).join('\n');
  });
  return rows.join('\n');
}

async function main(): Promise<void> {
  if (args.help) {
    console.log(help);
    return;
  }
  const [seed, batchSize, epochs, lr] = [args.seed, args['batch-size'], args.epochs, args.lr].map(Number) as [
    number,
    number,
    number,
    number,
  ];
  manualSeed(seed);
  const { train, test } = await data.mnist();
  const classifier = await trainedJudge(train, test, seed);

  const [g, d] = [generator(), discriminator()];
  const adam = (model: nn.Module) => new optim.Adam(model.parameters(), { lr, betas: [0.5, 0.999] });
  const draw = new Stepper({ model: g, optimizer: adam(g), seed });
  const tell = new Stepper({ model: d, optimizer: adam(d), seed: seed + 1 });

  const loader = data.loader(train, { batchSize, shuffle: true, dropLast: true, seed });
  const perEpoch = Math.floor(60_000 / batchSize);
  const steps = epochs * perEpoch;
  const bar = new monitor.ProgressBar(process.stderr);
  const started = performance.now();
  for await (const window of loader.windows({ steps, from: tell.cursor })) {
    // The discriminator learns from real digits and from drawn ones, which give the generator no gradient here.
    const told = tell.step(window, ({ x }) => {
      const n = x.shape[0] as number;
      const drawn = noGrad(() => g.forward(randn([n, latent])));
      const real = losses.bceWithLogits(d.forward(toPicture(x)), ones([n, 1]).mul(0.9)); // one-sided smoothing (Salimans et al. 2016)
      return real.plus(losses.bceWithLogits(d.forward(drawn), zeros([n, 1])));
    });
    // The generator learns through the discriminator, which keeps no gradient of that.
    d.freeze();
    const drew = draw.step({ micro: window.micro }, ({ x }) => {
      const n = x.shape[0] as number;
      return losses.bceWithLogits(d.forward(g.forward(randn([n, latent]))), ones([n, 1]));
    });
    d.unfreeze();
    const [a, b] = await Promise.all([told, drew]);
    const elapsed = (performance.now() - started) / 1000;
    bar.update({
      step: a.step,
      totalSteps: steps,
      elapsed,
      loss: b.loss,
      lr,
      unit: 'images',
      throughput: (a.step * batchSize) / elapsed,
    });
    if (a.step % (5 * perEpoch) === 0 || a.step === steps) {
      const { recognised, entropy } = await judged(classifier, await drawn(g, 1000));
      bar.log(
        `epoch ${a.step / perEpoch}: recognised ${(100 * recognised).toFixed(1)} %, entropy of digits ${entropy.toFixed(3)} of 2.303, losses ${a.loss.toFixed(3)} and ${b.loss.toFixed(3)}`,
      );
    }
  }
  bar.finish();

  const seconds = (performance.now() - started) / 1000;
  const real = await judged(classifier, await someReal(test));
  const { recognised, entropy, counts } = await judged(classifier, await drawn(g, 2000));
  console.log(`\n${gallery((await (await drawn(g, 10)).data()) as Float32Array, 5, 2)}\n`);
  console.log(
    `of 2000 drawn pictures the judge takes ${(100 * recognised).toFixed(1)} % for a digit with at least 0.9 (of real ones ${(100 * real.recognised).toFixed(1)} %)`,
  );
  console.log(
    `digits 0 to 9: ${counts.join(' ')}; entropy ${entropy.toFixed(3)} (real ${real.entropy.toFixed(3)}); ${seconds.toFixed(0)} s`,
  );
  await mkdir(args.dir, { recursive: true });
  await saveSafetensors(join(args.dir, 'generator.safetensors'), g.stateDict());
  await writeFile(
    join(args.dir, 'summary.json'),
    `${JSON.stringify({ recognised, entropy, counts, real, epochs, seconds }, null, 2)}\n`,
  );
}

/** Pictures [n, 784] by the generator as it is in use: batch norm by its running statistics. */
async function drawn(g: nn.Sequential, n: number): Promise<Tensor> {
  g.eval();
  const pictures = noGrad(() => g.forward(randn([n, latent])));
  g.train();
  return pictures;
}
async function someReal(test: data.Mnist['test']): Promise<Tensor> {
  for await (const { x } of data.loader(test, { batchSize: 2000 }).epoch(0))
    return toPicture(tensor(x.data as Float32Array, { shape: x.shape }));
  throw new Error('no test digits');
}

await main();
