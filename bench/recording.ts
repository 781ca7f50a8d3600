// What recording costs: steps of a Trainer that writes its history and judges itself against steps of one that does neither, on one model, alternated.
//   node --import tsx bench/recording.ts [--workload gpt-cpu] [--rounds 12] [--steps 60] [--threads 1]
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { device, losses, monitor, optim, Trainer, type TrainerOptions } from 'anneal';
import { build, type Workload } from './models.ts';

const { values } = parseArgs({
  options: {
    workload: { type: 'string', default: 'gpt-cpu' },
    rounds: { type: 'string', default: '12' },
    steps: { type: 'string', default: '60' },
    threads: { type: 'string', default: '1' },
  },
});
const workloads = JSON.parse(readFileSync(new URL('workloads.json', import.meta.url), 'utf8')) as Record<string, Workload>;
const workload = workloads[values.workload];
if (!workload) throw new Error(`no workload ${values.workload}. Known: ${Object.keys(workloads).join(', ')}`);
const [rounds, counted] = [Number(values.rounds), Number(values.steps)];
/** Steps before the clock starts, in which code is compiled and memory found. */
const before = 20;
device('cpu').threads = Number(values.threads);

const { model, x, y } = build(workload);
const optimizer = new optim.AdamW(model.parameters(), { lr: 1e-4 });
/** The same batch again and again: no loader has a part in what is measured. */
const train = {
  length: undefined,
  async *epoch() {},
  async *windows({ steps = 0 }: { steps?: number }) {
    const ids = Int32Array.from({ length: 12 }, (_, i) => i);
    for (let step = 1; step <= steps; step++) yield { micro: [{ x, y }], cursor: { epoch: 0, batch: step, step }, ids };
  },
};

/** Of a step, in milliseconds: by the clock, and of all of the process's threads, which other programs on the machine change less. */
interface Cost {
  wall: number;
  cpu: number;
}
const now = (): Cost => {
  const { user, system } = process.cpuUsage();
  return { wall: performance.now(), cpu: (user + system) / 1000 };
};
async function run(options: Partial<TrainerOptions>): Promise<Cost> {
  let [began, ended] = [now(), now()];
  const clock = ({ step }: { step: number }) => {
    if (step === before) began = now();
    if (step === before + counted) ended = now();
    return undefined;
  };
  const trainer = new Trainer({
    ...{ model, optimizer, clipNorm: 1, loss: (out, b) => losses.crossEntropy(out, b.y) },
    hooks: [{ name: 'clock', onStep: clock }],
    ...options,
  });
  await trainer.fit({ train, steps: before + counted });
  return { wall: (ended.wall - began.wall) / counted, cpu: (ended.cpu - began.cpu) / counted };
}

const dir = mkdtempSync(join(tmpdir(), 'recording-'));
const modes = {
  off: () => run({ diagnose: false }),
  on: (round: number) => run({ sinks: [new monitor.JsonLinesSink(join(dir, `${round}.jsonl`))] }),
};
const median = (v: readonly number[]): number => [...v].sort((a, b) => a - b)[v.length >> 1] as number;
const [off, on]: [Cost[], Cost[]] = [[], []];
await modes.off();
for (let round = 0; round < rounds; round++) {
  // Whoever comes second finds a warmer machine, or a busier one: they take turns.
  const first = round % 2 === 0;
  if (first) off.push(await modes.off());
  on.push(await modes.on(round));
  if (!first) off.push(await modes.off());
}
rmSync(dir, { recursive: true, force: true });
const load = (loadavg()[0] as number).toFixed(1);
for (const kind of ['wall', 'cpu'] as const) {
  const [without, by] = [off, on].map((all) => all.map((c) => c[kind])) as [number[], number[]];
  const cost = median(by.map((v, i) => v / (without[i] as number))) - 1;
  console.log(
    `${values.workload}, ${kind} time: ${median(without).toFixed(2)} ms a step without, ${median(by).toFixed(2)} with; ${(100 * cost).toFixed(2)} % in the median of ${rounds} pairs (load ${load})`,
  );
}
