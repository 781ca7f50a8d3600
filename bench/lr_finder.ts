// The learning-rate range test on the MNIST network, beside a grid: npm run example -- bench/lr_finder.ts [--seed N] [--steps N] [--out FILE].
// Every run of the grid is a line of JSON in FILE (default runs/lr-finder.jsonl); what is there already is not run again. Prints the table of
// docs/techniques/lr-finder.md.
import { parseArgs } from 'node:util';
import { data, losses, manualSeed, type nn, optim, Trainer } from 'anneal';
import { cnn } from '../examples/mnist/model.ts';
import { Outcomes } from './measured.ts';

const { values: args } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    steps: { type: 'string', default: '60' },
    out: { type: 'string', default: 'runs/lr-finder.jsonl' },
  },
});
const [seed, steps] = [Number(args.seed), Number(args.steps)];

interface Outcome {
  name: string;
  seed: number;
  steps: number;
  lr: number;
  /** Of 1,500 images that were not trained on. */
  loss: number;
}
const kinds = [
  {
    name: 'AdamW',
    make: (model: nn.Module, lr: number) => new optim.AdamW(optim.paramGroups(model, { weightDecay: 0.01 }), { lr }),
    grid: [3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
  },
  {
    name: 'SGD, momentum 0.9',
    make: (model: nn.Module, lr: number) => new optim.SGD(model.parameters(), { lr, momentum: 0.9 }),
    grid: [3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1],
  },
];

const { train } = await data.mnist();
const [fit, held] = data.split(train, [58_500, 1500], { stratify: 'label', seed });
const loader = () => data.loader(fit, { batchSize: 128, shuffle: true, seed });

function trainerOf({ make }: (typeof kinds)[number], lr: number): Trainer {
  manualSeed(seed);
  const model = cnn();
  return new Trainer({ model, optimizer: make(model, lr), loss: (logits, { y }) => losses.crossEntropy(logits, y), seed });
}

const outcomes = new Outcomes<Outcome>(args.out);
console.log(
  '| optimizer | belowRise | valley | steepest | best of the grid | belowRise over best | grid, with its losses |\n|---|---|---|---|---|---|---|',
);
for (const kind of kinds) {
  const { suggestions } = await trainerOf(kind, 1e-3).findLearningRate({ train: loader() });
  const own = (lr: number) =>
    outcomes.all.find((o) => o.name === kind.name && o.seed === seed && o.steps === steps && o.lr === lr);
  const grid: Outcome[] = [];
  for (const lr of kind.grid)
    grid.push(
      own(lr) ??
        (await outcomes.add(async () => {
          const trainer = trainerOf(kind, lr);
          await trainer.fit({ train: loader(), steps });
          const { loss } = await trainer.evaluate(data.loader(held, { batchSize: 500 }));
          return { name: kind.name, seed, steps, lr, loss };
        })),
    );
  const best = grid.reduce((a, b) => (b.loss < a.loss ? b : a));
  const rate = (lr: number | undefined) => (lr === undefined ? 'none' : lr.toExponential(1));
  const { belowRise, valley, steepest } = suggestions;
  const losses = grid.map((o) => `${rate(o.lr)}: ${o.loss.toFixed(3)}`).join(', ');
  const ratio = ((belowRise ?? Number.NaN) / best.lr).toFixed(2);
  console.log(
    `| ${kind.name} | ${rate(belowRise)} | ${rate(valley)} | ${rate(steepest)} | ${rate(best.lr)} (${best.loss.toFixed(3)}) | ${ratio} | ${losses} |`,
  );
}
