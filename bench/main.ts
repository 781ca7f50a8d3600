// npm run bench: whole training steps, ours and (with --python) PyTorch's, in alternation in one run.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cpuInfo, device, measurePeak } from 'anneal';
import { build } from 'esbuild';
import type { Workload } from './models.ts';

const help = `Times whole training steps (forward, backward, clip 1.0, AdamW).

  npm run bench -- [options]

  --only NAME,...   workloads (default all): tiny, mlp, cnn, gpt-cpu, gpt-small
  --dtype D,...     f32, bf16 (default both)
  --python PATH     a Python with torch: measures PyTorch eager beside ours, alternating
  --compile         torch.compile as well
  --rounds N        measurements of each side (default 7)
  --threads N       default: all processors
  --json FILE       results as JSON
  --simulated       instead: every CUDA kernel's counters on the simulated GPU (npm run build:simulator, build:kernels); --only chooses cases
`;

const here = fileURLToPath(new URL('.', import.meta.url));
const bundle = join(here, '../build/bench/ours.mjs');
const all = JSON.parse(readFileSync(join(here, 'workloads.json'), 'utf8')) as Record<string, Workload>;

const { values: args } = parseArgs({
  options: {
    only: { type: 'string' },
    dtype: { type: 'string', default: 'f32,bf16' },
    python: { type: 'string' },
    compile: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '7' },
    threads: { type: 'string' },
    json: { type: 'string' },
    simulated: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

/** A side of the comparison: a process that answers a line with a line. */
class Side {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly times: number[] = [];
  peakMB = 0;

  constructor(command: string, commandArgs: string[], threads: number) {
    this.#child = spawn(command, commandArgs, {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, OMP_NUM_THREADS: String(threads), MKL_NUM_THREADS: String(threads) },
    });
    this.#lines = createInterface({ input: this.#child.stdout as never })[Symbol.asyncIterator]();
  }
  async answer(): Promise<Record<string, number>> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the process ended early, exit code ${this.#child.exitCode}`);
    return JSON.parse(value);
  }
  async measure(steps: number): Promise<void> {
    this.#child.stdin?.write(`run ${steps}\n`);
    const { ms, peakMB } = await this.answer();
    this.times.push(ms as number);
    this.peakMB = Math.max(this.peakMB, peakMB as number);
  }
  get median(): number {
    const sorted = [...this.times].sort((a, b) => a - b);
    return sorted[sorted.length >> 1] as number;
  }
  end(): void {
    this.#child.stdin?.end();
  }
}

interface Row {
  workload: string;
  dtype: string;
  oursMs: number;
  torchEagerMs: number | null;
  torchCompileMs: number | null;
  oursPeakMB: number;
  torchPeakMB: number | null;
  fmaShare: number;
}

async function compare(name: string, dtype: string, threads: number, peak: number): Promise<Row> {
  const w = all[name] as Workload;
  const shared = ['--workload', JSON.stringify(w), '--dtype', dtype, '--threads', String(threads)];
  const ours = new Side(process.execPath, [bundle, ...shared], threads);
  const { flops } = await ours.answer();
  const python = (...more: string[]) =>
    new Side(args.python as string, [join(here, 'torch_side.py'), ...shared, ...more], threads);
  const eager = args.python ? python() : null;
  await eager?.answer();
  const compiled = args.python && args.compile ? python('--compile') : null;
  await compiled?.answer();
  for (let round = 0; round < Number(args.rounds); round++)
    for (const side of [ours, eager, compiled]) await side?.measure(w.steps);
  for (const side of [ours, eager, compiled]) side?.end();
  return {
    workload: name,
    dtype,
    oursMs: ours.median,
    torchEagerMs: eager?.median ?? null,
    torchCompileMs: compiled?.median ?? null,
    oursPeakMB: ours.peakMB,
    torchPeakMB: eager?.peakMB ?? null,
    fmaShare: (flops as number) / (ours.median / 1000) / peak,
  };
}

const cell = (v: number | null, digits = 2): string => (v === null ? '-' : v.toFixed(digits)).padStart(11);

async function main(): Promise<void> {
  if (args.help) return console.log(help);
  if (args.simulated) return (await import('./simulated.ts')).benchSimulated(args);
  const names = args.only?.split(',') ?? Object.keys(all);
  for (const name of names) if (!all[name]) throw new Error(`unknown workload '${name}'. Known: ${Object.keys(all).join(', ')}`);
  if (args.threads) device('cpu').threads = Number(args.threads);
  const { threads } = device('cpu');
  // Measured as users run it: bundled JavaScript, without the development loader's helpers around every function.
  await build({
    entryPoints: [join(here, 'ours.ts')],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    alias: { anneal: join(here, '../lib/index.ts') },
    logLevel: 'error',
  });
  const peak = await measurePeak();
  const machine = { processor: cpus()[0]?.model ?? 'unknown', threads, fmaPeakGflops: peak / 1e9, ...cpuInfo() };
  console.log(
    `${machine.processor}, ${threads} threads, kernels ${machine.isa}, f32 multiply-add peak ${machine.fmaPeakGflops.toFixed(0)} GFLOP/s`,
  );
  console.log('workload    dtype     ours ms   torch ms  compile ms      ratio    ours MB   torch MB  FMA share');
  const rows: Row[] = [];
  for (const name of names) {
    for (const dtype of args.dtype.split(',')) {
      const row = await compare(name, dtype, threads, peak);
      rows.push(row);
      const ratio = row.torchEagerMs === null ? null : row.torchEagerMs / row.oursMs;
      console.log(
        name.padEnd(12) +
          dtype.padEnd(6) +
          [
            cell(row.oursMs, 3),
            cell(row.torchEagerMs, 3),
            cell(row.torchCompileMs, 3),
            cell(ratio),
            cell(row.oursPeakMB, 0),
            cell(row.torchPeakMB, 0),
            cell(row.fmaShare),
          ].join(''),
      );
    }
  }
  const ratios = rows
    .filter((r) => r.dtype === 'f32' && r.workload !== 'tiny' && r.torchEagerMs !== null)
    .map((r) => (r.torchEagerMs as number) / r.oursMs);
  if (ratios.length > 1)
    console.log(
      `geometric mean of the f32 ratios without tiny: ${Math.exp(ratios.reduce((s, r) => s + Math.log(r), 0) / ratios.length).toFixed(2)}`,
    );
  if (args.json) writeFileSync(args.json, `${JSON.stringify({ machine, rows }, null, 2)}\n`);
}

await main();
