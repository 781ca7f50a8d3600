// Our side of the bench, in a process of its own. Speaks lines with main.ts: 'run N' -> milliseconds per step.
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { device, losses, optim, Stepper } from 'anneal';
import { build, type Workload } from './models.ts';

const { values } = parseArgs({
  options: { workload: { type: 'string' }, dtype: { type: 'string' }, threads: { type: 'string' } },
});
const w = JSON.parse(values.workload as string) as Workload;
device('cpu').threads = Number(values.threads);

const memoryMB = (): number => process.resourceUsage().maxRSS / 1024;
const base = memoryMB();
const { model, x, y, flops } = build(w);
const stepper = new Stepper({
  model,
  optimizer: new optim.AdamW(model.parameters(), { lr: 1e-3 }),
  clipNorm: 1,
  precision: values.dtype as 'f32' | 'bf16',
});
const window = { micro: [{ x, y }] };
const step = () => stepper.step(window, (b) => losses.crossEntropy(model.forward(b.x), b.y));

async function run(n: number): Promise<number> {
  const start = performance.now();
  let last = await step();
  if (w.awaitEach) {
    for (let i = 1; i < n; i++) last = await step();
  } else {
    let before = step();
    for (let i = 2; i < n; i++) {
      const next = step();
      last = await before;
      before = next;
    }
    last = await before;
  }
  if (!last.applied) throw new Error(`step ${last.step} was skipped: ${last.reason}`);
  return (performance.now() - start) / n;
}

const first = await step();
// V8 optimises what has run often: measure what a training run sees after its first seconds.
const warm = performance.now();
while (performance.now() - warm < 2000) await run(5);
console.log(JSON.stringify({ ready: true, loss: first.loss, flops }));
for await (const line of createInterface({ input: process.stdin })) {
  const [command, n] = line.split(' ');
  if (command !== 'run') break;
  const ms = await run(Math.max(2, Number(n)));
  console.log(JSON.stringify({ ms, peakMB: memoryMB() - base }));
}
