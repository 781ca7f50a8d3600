// A tiny training that lasts until it is stopped or killed, in a folder. Tells attempt and steps on stdout, at the end how it ended.
import { writeSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { data, losses, nn, optim, Trainer } from '../../lib/index.ts';

const [dir = '', epochs = '1000000'] = process.argv.slice(2);
const say = (message: unknown) => writeSync(1, `${JSON.stringify(message)}\n`);
const x = Float32Array.from({ length: 256 }, (_, i) => Math.sin(i));
const set = new data.TensorDataset({ x: { data: x, shape: [4] }, y: { data: Int32Array.from({ length: 64 }, (_, i) => i % 3) } });
const model = new nn.Linear(4, 3);
const trainer = new Trainer({
  model,
  dir,
  loss: (out, { y }) => losses.crossEntropy(out, y),
  optimizer: new optim.SGD(model.parameters(), { lr: 0.01 }),
  metrics: ['accuracy'],
  hooks: [{ name: 'slow', onStep: () => delay(2) }],
});
const loader = () => data.loader(set, { batchSize: 8, workers: 0 });
const run = trainer.start({ train: loader(), validation: loader(), epochs: Number(epochs), resume: 'auto' });
for await (const e of run) if (e.type === 'step' && e.step % 5 === 0) say({ step: e.step, lr: e.lr });
const { stopReason, steps } = await run.result;
say({ done: { stopReason, steps } });
