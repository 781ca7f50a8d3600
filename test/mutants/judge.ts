/** Judges kernels by the suite: a folder of kernels in which one file is not as it should be, and the tests that launch what is in it. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { simulator } from '../helpers/device.ts';
import type { TestRun } from './child.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const work = join(root, 'build/mutants');
/** The good kernels, as they were when this process began: a build beside it changes nothing. */
export const kernels = join(work, `kernels-${process.pid}`);
const built = join(root, 'build/Release/kernels');
if (existsSync(built)) {
  cpSync(built, kernels, { recursive: true, filter: (from) => !/\.(work|fatbin)/.test(from) });
  process.once('exit', () => rmSync(kernels, { recursive: true, force: true }));
}

/** Every kernel and its family; none where nvcc has built none. */
export const index: readonly [string, string][] = existsSync(built)
  ? readFileSync(join(kernels, 'index.txt'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(' ') as [string, string])
  : [];

/** How long the tests of one mutant may take on good kernels, in ms: the quickest first. */
const budget = 25_000;

interface Ended {
  said: string;
  /** How it ended otherwise than by exit code 0. */
  trouble?: string;
}
const child = (args: string[], env: Record<string, string>, timeout: number): Promise<Ended> =>
  new Promise((resolve) => {
    const command = ['--import', 'tsx', 'test/mutants/child.ts', ...args];
    const all = {
      ...process.env,
      ANNEAL_TEST_DEVICE: 'simulated',
      TSX_TSCONFIG_PATH: 'test/mutants/tsconfig.json',
      ANNEAL_CUDA_DRIVER: simulator,
      ...env,
    };
    const options = { cwd: root, env: all, timeout, killSignal: 'SIGKILL' as const, maxBuffer: 1 << 26 };
    execFile(process.execPath, command, options, (error, said, err) => {
      if (!error) return resolve({ said: said.trim() });
      const trouble = error.killed ? 'does not end' : error.signal ? `dies by ${error.signal}` : `${said}${err}`;
      resolve({ said: said.trim(), trouble });
    });
  });

/** Lines of PTX, from 1: those of a kernel's instructions, and those that the suite executes. */
export interface Reach {
  all: Set<number>;
  reached: Set<number>;
}
export interface Coverage {
  tests: TestRun[];
  reach: Map<string, Reach>;
}

/** Where the coverage of these kernels by these tests is kept. */
export function coverageFiles(): [string, string] {
  const hash = createHash('sha256');
  for (const name of readdirSync(kernels).sort()) if (name.endsWith('.ptx')) hash.update(readFileSync(join(kernels, name)));
  for (const dir of ['golden', 'golden/cases', 'nn', 'ops', 'optim', 'helpers'])
    for (const f of readdirSync(join(root, 'test', dir)).sort())
      if (/\.(ts|safetensors)$/.test(f)) hash.update(readFileSync(join(root, 'test', dir, f)));
  const stem = join(work, hash.digest('hex').slice(0, 16));
  return [`${stem}-tests.json`, `${stem}-reached.jsonl`];
}

/** Which tests launch which kernel, and which instructions they reach: from one run of them all, kept while kernels and tests stay as they are. */
export async function coverage(): Promise<Coverage> {
  const [runs, reached] = coverageFiles();
  if (!existsSync(runs) || !existsSync(reached)) {
    const trace = join(work, `trace-${process.pid}`);
    rmSync(reached, { force: true });
    const env = { ANNEAL_KERNELS: kernels, ANNEAL_SIM_TRACE: trace, ANNEAL_SIM_COVERAGE: reached };
    const { said, trouble } = await child(['map', runs], env, 3_600_000);
    if (said) console.log(said);
    rmSync(trace, { force: true });
    if (trouble) throw new Error(`the suite does not pass on the good kernels: ${trouble}`);
  }
  const reach = new Map<string, Reach>();
  for (const line of readFileSync(reached, 'utf8').trim().split('\n')) {
    const { kernel, lines, reached } = JSON.parse(line) as { kernel: string; lines: number[]; reached: number[] };
    reach.set(kernel, { all: new Set(lines), reached: new Set(reached) });
  }
  return { tests: JSON.parse(readFileSync(runs, 'utf8')), reach };
}

/** A family's PTX that is not as it should be, and the tests that judge it: by number, in that order, or by name. */
export interface Suspect {
  family: string;
  ptx: string;
  tests: readonly number[] | RegExp;
}
/** Tests of one kind: their names differ in numbers and dtypes. */
const kindOf = (name: string): string => name.replace(/\d+/g, '').replace(/\b(bf|f|i|u)\b/g, '');
/** The tests that launch a kernel, up to the budget: the quickest of every kind, then the next of every kind, the quickest first. */
export function quickest(tests: readonly TestRun[], kernel: string): number[] {
  const nth = new Map<string, number>();
  const hit = tests
    .flatMap(({ name, ms, kernels }, i) => (kernels.includes(kernel) ? [{ i, ms, kind: kindOf(name) }] : []))
    .sort((a, b) => a.ms - b.ms)
    .map((t) => {
      const turn = nth.get(t.kind) ?? 0;
      nth.set(t.kind, turn + 1);
      return { ...t, turn };
    })
    .sort((a, b) => a.turn - b.turn || a.ms - b.ms);
  let spent = 0;
  return hit.flatMap(({ i, ms }) => {
    spent += ms;
    return spent - ms < budget ? [i] : [];
  });
}
export interface Verdict {
  caught: boolean;
  /** Which test caught it and how, or how many did not. */
  how: string;
}

export async function judge({ family, ptx, tests }: Suspect): Promise<Verdict> {
  const which = tests instanceof RegExp ? ['match', tests.source, tests.flags] : ['run', tests.join(',')];
  if (!(tests instanceof RegExp) && tests.length === 0) return { caught: false, how: 'no test launches this kernel' };
  const folder = mkdtempSync(join(tmpdir(), 'anneal-mutant-'));
  try {
    const file = `${family}.ptx`;
    for (const name of readdirSync(kernels)) if (name !== file) symlinkSync(join(kernels, name), join(folder, name));
    writeFileSync(join(folder, file), ptx);
    const env = { ANNEAL_KERNELS: folder, ANNEAL_SIM_STEP_LIMIT: '20000000' };
    const { said, trouble } = await child(which, env, 120_000);
    if (trouble && !/^(does not end|dies by)/.test(trouble)) throw new Error(`judging ${family} failed: ${trouble}`);
    if (said.startsWith('survived')) return { caught: false, how: said };
    return { caught: true, how: (trouble ?? said).slice(0, 300) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
