// Spam or not, from 200 mails with labels: what the other mails teach without theirs (token masking), and what synonyms add.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { augment, data, losses, manualSeed, optim, schedule, type Tensor, Trainer, type TrainerOptions } from 'anneal';
import { longest, type Mail, mails, naiveBayes, Vocabulary } from './mails.ts';
import { Reader } from './model.ts';

const help = `Learns to tell spam from 200 mails of the SpamAssassin corpus; all others but 1,000 are read without their labels.

  npm run example -- spam [options]

  --labels N     mails with labels (default 200)
  --pretrain N   epochs of token masking over the mails without (default 4)
  --epochs N     epochs over those with labels (default 12)
  --runs N       times that it learns from labels, each way (default 3)
  --ways LIST    which ways: labels, synonyms, masking, both (default: all four, with commas between)
  --mails N      use only so many of the corpus, a fifth of them to test at most (default: all)
  --seed N       default 1
  --dir PATH     where summary.json goes (default runs/spam)
  --help         this text
`;
const { values: args } = parseArgs({
  options: {
    labels: { type: 'string', default: '200' },
    pretrain: { type: 'string', default: '4' },
    epochs: { type: 'string', default: '12' },
    runs: { type: 'string', default: '3' },
    ways: { type: 'string', default: 'labels,synonyms,masking,both' },
    mails: { type: 'string', default: '100000' },
    seed: { type: 'string', default: '1' },
    dir: { type: 'string', default: 'runs/spam' },
    help: { type: 'boolean', default: false },
  },
});
const [labels, pretrainEpochs, epochs, runs, seed] = (['labels', 'pretrain', 'epochs', 'runs', 'seed'] as const).map((name) =>
  Number(args[name]),
) as [number, number, number, number, number];

const known = {
  labels: { name: 'labels alone', masking: false, replaces: false },
  synonyms: { name: 'synonyms', masking: false, replaces: true },
  masking: { name: 'token masking first', masking: true, replaces: false },
  both: { name: 'token masking first, synonyms', masking: true, replaces: true },
};
const ways = args.ways.split(',').map((way) => {
  if (!Object.hasOwn(known, way)) throw new Error(`--ways ${way}: the ways are ${Object.keys(known).join(', ')}`);
  return known[way as keyof typeof known];
});

const rate = () => schedule.warmup({ steps: 5 }).followedBy(schedule.cosine({ to: 0 }));
const adamw = (model: Reader, lr: number) => new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.05 }), { lr });
const common = { schedule: rate(), clipNorm: 1, progress: process.stderr } satisfies Partial<TrainerOptions>;

/** 15 % of the words are hidden, and the model says what they were. */
async function pretrain(model: Reader, texts: readonly Mail[], words: Vocabulary): Promise<void> {
  const mask = augment.tokenMask({ maskToken: Vocabulary.mask, vocabSize: words.size, special: Vocabulary.special });
  const trainer = new Trainer({
    model,
    forward: ({ x, paddingMask }) => model.fill(x, paddingMask as Tensor),
    loss: (logits, { y }) => losses.crossEntropy(logits, y, { ignoreIndex: -100 }),
    optimizer: adamw(model, 2e-3),
    ...common,
    seed,
  });
  const train = data.loader(texts, {
    batchSize: 32,
    shuffle: true,
    seed,
    transform: [({ text }: Mail) => ({ x: words.encode(text) }), mask],
    collate: data.padded({ pad: { x: 0, y: -100 } }),
  });
  await trainer.fit({ train, epochs: pretrainEpochs });
}

interface Verdict {
  accuracy: number;
  /** Of spam that is found, and of what is called spam that is. */
  recall: number;
  precision: number;
}

/** Learns from the labels and is judged by `test`. */
async function learn(
  model: Reader,
  train: readonly Mail[],
  test: readonly Mail[],
  words: Vocabulary,
  synonyms: data.SampleFunction[],
  run: number,
): Promise<Verdict> {
  const encode = ({ text, y }: Mail) => ({ x: words.encode(text), y });
  const collate = data.padded({ pad: { x: 0 }, dtypes: { y: 'i32' } });
  const trainer = new Trainer({
    model,
    forward: ({ x, paddingMask, lengths }) => model.forward(x, paddingMask as Tensor, lengths as Tensor),
    loss: (logits, { y }) => losses.crossEntropy(logits, y),
    optimizer: adamw(model, 1e-3),
    metrics: ['accuracy', 'perClass'],
    ...common,
    seed: run,
  });
  const loader = data.loader(train, { batchSize: 20, shuffle: true, seed: run, transform: [...synonyms, encode], collate });
  await trainer.fit({ train: loader, epochs });
  const { accuracy, perClass } = await trainer.evaluate(data.loader(test, { batchSize: 100, transform: [encode], collate }));
  const spam = perClass?.[1] as { recall: number; precision: number };
  return { accuracy: accuracy as number, recall: spam.recall, precision: spam.precision };
}

async function main(): Promise<void> {
  if (args.help) {
    console.log(help);
    return;
  }
  const started = performance.now();
  manualSeed(seed);
  const all = mails(seed).slice(0, Number(args.mails));
  const held = Math.min(1000, Math.floor(all.length / 5));
  const [test, others] = [all.slice(0, held), all.slice(held)];
  const words = new Vocabulary(
    others.map(({ text }) => text),
    4000,
  );
  if (runs * labels > others.length)
    throw new Error(`${runs} times ${labels} labels: there are ${others.length} mails to learn from. Ask for fewer.`);
  const ham = test.filter(({ y }) => y === 0).length / held;
  console.log(
    `${all.length} different mails, ${held} to test by, ${(100 * ham).toFixed(1)} % of them wanted; ${words.size} words`,
  );

  const make = () => new Reader({ vocabulary: words.size, longest, layers: 2, heads: 4, width: 64 });
  const read = make();
  if (ways.some((w) => w.masking)) await pretrain(read, others, words);
  const synonyms = [augment.synonymReplacement(await augment.wordnet(), 0.1)];
  const results: Record<string, Verdict[]> = {};
  const bayes: number[] = [];
  for (let run = 1; run <= runs; run++) {
    const train = others.slice((run - 1) * labels, run * labels);
    bayes.push(naiveBayes(train, test));
    for (const { name, masking, replaces } of ways) {
      manualSeed(seed + run);
      const model = make();
      if (masking) model.loadStateDict(read.stateDict());
      const verdict = await learn(model, train, test, words, replaces ? synonyms : [], seed + run);
      results[name] = [...(results[name] ?? []), verdict];
      console.log(`run ${run}, ${name}: ${(100 * verdict.accuracy).toFixed(1)} %`);
    }
  }
  const percent = (values: readonly number[]) => values.map((v) => (100 * v).toFixed(1)).join(', ');
  console.log(`\nnaive Bayes of the same labels: accuracy ${percent(bayes)} %`);
  for (const [name, of] of Object.entries(results))
    console.log(
      `${name}: accuracy ${percent(of.map((v) => v.accuracy))} %, of spam found ${percent(of.map((v) => v.recall))} %, ` +
        `of what was called spam ${percent(of.map((v) => v.precision))} %`,
    );
  const seconds = (performance.now() - started) / 1000;
  await mkdir(args.dir, { recursive: true });
  await writeFile(join(args.dir, 'summary.json'), `${JSON.stringify({ bayes, results, seconds }, null, 2)}\n`);
  console.log(`${seconds.toFixed(0)} s. Written: ${join(args.dir, 'summary.json')}`);
}

await main();
