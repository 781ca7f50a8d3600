/**
 * Does the suite notice a wrong kernel? Puts one fault at a time into the kernels' PTX and runs the tests that launch the kernel, on the simulated
 * GPU. npm run mutants -- [--count 320] [--seed 1] [--jobs 2] [--only REGEXP] [--out FILE]
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { PhiloxStream } from '../../lib/index.ts';
import { simulator } from '../helpers/device.ts';
import type { Coverage } from './child.ts';
import { type Mutation, mutationsOf } from './mutate.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const kernels = join(root, 'build/Release/kernels');
const work = join(root, 'build/mutants');
/** How long the tests of one mutant may take on good kernels, in ms: the quickest first. */
const budget = 8000;

export interface Mutant extends Mutation {
  kernel: string;
  family: string;
  from: string;
}
export interface Verdict extends Mutant {
  caught: boolean;
  how: string;
}

const child = (args: string[], env: Record<string, string>, timeout: number): Promise<string> =>
  new Promise((resolve) => {
    const command = ['--import', 'tsx', 'test/mutants/child.ts', ...args];
    const all = { ...process.env, TSX_TSCONFIG_PATH: 'test/mutants/tsconfig.json', ANNEAL_CUDA_DRIVER: simulator, ...env };
    execFile(
      process.execPath,
      command,
      { cwd: root, env: all, timeout, killSignal: 'SIGKILL', maxBuffer: 1 << 26 },
      (error, out, err) =>
        resolve(error ? (error.killed ? 'caught: does not end' : `${out}${err}\nexit ${error.code ?? error.signal}`) : out),
    );
  });

/** Lines of PTX, from 1: those of a kernel's instructions, and those that the suite executes. */
interface Reach {
  all: Set<number>;
  reached: Set<number>;
}

/** Which tests launch which kernel, and which of its instructions they reach: found by running them all once, and kept while kernels and tests stay as they are. */
export async function coverage(): Promise<{ tests: Coverage[]; lines: Map<string, Reach> }> {
  mkdirSync(work, { recursive: true });
  const hash = createHash('sha256');
  for (const name of readdirSync(kernels).sort()) if (name.endsWith('.ptx')) hash.update(readFileSync(join(kernels, name)));
  for (const dir of ['golden', 'golden/cases', 'ops', 'optim', 'train', 'helpers', 'mutants'])
    for (const f of readdirSync(join(root, 'test', dir)).sort())
      if (/\.(ts|safetensors)$/.test(f)) hash.update(readFileSync(join(root, 'test', dir, f)));
  const out = join(work, `coverage-${hash.digest('hex').slice(0, 16)}.json`);
  const reached = out.replace('coverage-', 'reached-');
  if (!existsSync(out) || !existsSync(reached)) {
    const trace = join(work, 'trace.txt');
    for (const file of [trace, reached]) rmSync(file, { force: true });
    const said = await child(['map', out], { ANNEAL_SIM_TRACE: trace, ANNEAL_SIM_COVERAGE: reached }, 3_600_000);
    rmSync(trace, { force: true });
    if (!existsSync(out)) throw new Error(`the suite did not pass on the good kernels:\n${said}`);
  }
  const lines = new Map<string, Reach>();
  for (const line of readFileSync(reached, 'utf8').trim().split('\n')) {
    const { kernel, lines: all, reached: some } = JSON.parse(line) as { kernel: string; lines: number[]; reached: number[] };
    lines.set(kernel, { all: new Set(all), reached: new Set(some) });
  }
  return { tests: JSON.parse(readFileSync(out, 'utf8')), lines };
}

/** matmul_nt_bf16_128x64 and its f16 brother are one template: one mutant of either. */
const template = (kernel: string): string => kernel.replace(/(?<=_)(f32|f16|bf16)(?=_|$)/g, 'T');

/** Mutants of instructions that the suite executes, every template in turn, until there are `count`. */
export function choose(count: number, seed: number, only: RegExp, reach: Map<string, Reach>): Mutant[] {
  const random = new PhiloxStream(seed, 'mutants');
  const index = readFileSync(join(kernels, 'index.txt'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => line.split(' ') as [string, string]);
  const lines = new Map<string, string[]>();
  const byTemplate = new Map<string, [string, string][]>();
  for (const [kernel, family] of index) {
    if (!lines.has(family)) lines.set(family, readFileSync(join(kernels, `${family}.ptx`), 'utf8').split('\n'));
    if (only.test(kernel)) byTemplate.set(template(kernel), [...(byTemplate.get(template(kernel)) ?? []), [kernel, family]]);
  }
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random.uniform() * of.length)] as T;
  const chosen: Mutant[] = [];
  while (chosen.length < count) {
    for (const brothers of byTemplate.values()) {
      const [kernel, family] = pick(brothers);
      const text = lines.get(family) as string[];
      const all = mutationsOf(text, kernel).filter((m) => reach.get(kernel)?.reached.has(m.line + 1));
      if (!all.length) continue;
      const kind = pick([...new Set(all.map((m) => m.class))]); // rare classes as often as common ones
      const mutation = pick(all.filter((m) => m.class === kind));
      if (chosen.length < count) chosen.push({ ...mutation, kernel, family, from: (text[mutation.line] as string).trim() });
    }
    if (!chosen.length) throw new Error(`no kernel matches ${only}`);
  }
  return chosen;
}

/** Runs the tests that launch the kernel, on a folder of kernels that differs by one line. */
export async function judge(mutant: Mutant, tests: readonly Coverage[]): Promise<Verdict> {
  const hit = tests
    .map((t, i) => ({ ...t, i }))
    .filter((t) => t.kernels.includes(mutant.kernel))
    .sort((a, b) => a.ms - b.ms);
  if (!hit.length) return { ...mutant, caught: false, how: 'no test launches this kernel' };
  const numbers: number[] = [];
  for (let spent = 0; spent < budget && numbers.length < hit.length; spent += (hit[numbers.length - 1] as Coverage).ms)
    numbers.push((hit[numbers.length] as { i: number }).i);
  const folder = mkdtempSync(join(tmpdir(), 'anneal-mutant-'));
  try {
    const file = `${mutant.family}.ptx`;
    for (const name of readdirSync(kernels)) if (name !== file) symlinkSync(join(kernels, name), join(folder, name));
    const lines = readFileSync(join(kernels, file), 'utf8').split('\n');
    lines[mutant.line] = mutant.to;
    writeFileSync(join(folder, file), lines.join('\n'));
    const said = await child(['run', numbers.join(',')], { ANNEAL_KERNELS: folder, ANNEAL_SIM_STEP_LIMIT: '20000000' }, 60_000);
    const survived = said.trim() === 'survived';
    return {
      ...mutant,
      caught: !survived,
      how: survived ? `survived ${numbers.length} of ${hit.length} tests` : said.trim().slice(0, 300),
    };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export async function judgeAll(
  mutants: readonly Mutant[],
  tests: readonly Coverage[],
  jobs: number,
  tell: (v: Verdict) => void,
): Promise<Verdict[]> {
  const verdicts: Verdict[] = [];
  const waiting = [...mutants];
  const worker = async () => {
    for (let m = waiting.shift(); m; m = waiting.shift()) {
      const verdict = await judge(m, tests);
      verdicts.push(verdict);
      tell(verdict);
    }
  };
  await Promise.all(Array.from({ length: jobs }, worker));
  return verdicts;
}

/** How much of the kernels the suite executes: by family, and the kernels that no test launches. */
function tellReach(lines: Map<string, Reach>): void {
  const families = new Map<string, { all: number; reached: number; idle: string[] }>();
  for (const line of readFileSync(join(kernels, 'index.txt'), 'utf8').trim().split('\n')) {
    const [kernel, family] = line.split(' ') as [string, string];
    const sum = families.get(family) ?? { all: 0, reached: 0, idle: [] };
    const reach = lines.get(kernel);
    sum.all += reach?.all.size ?? 0;
    sum.reached += reach?.reached.size ?? 0;
    if (!reach) sum.idle.push(kernel);
    families.set(family, sum);
  }
  for (const [family, { all, reached, idle }] of families)
    console.log(
      `${family.padEnd(20)}${((100 * reached) / all).toFixed(1).padStart(6)} % of ${all} instructions reached${idle.length ? `; never launched: ${idle.join(' ')}` : ''}`,
    );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      count: { type: 'string', default: '320' },
      seed: { type: 'string', default: '1' },
      jobs: { type: 'string', default: String(availableParallelism()) },
      only: { type: 'string', default: '' },
      out: { type: 'string', default: join(work, 'verdicts.json') },
    },
  });
  const { tests, lines } = await coverage();
  tellReach(lines);
  const mutants = choose(Number(values.count), Number(values.seed), new RegExp(values.only), lines);
  const verdicts = await judgeAll(mutants, tests, Number(values.jobs), ({ caught, class: kind, kernel, line, from, to, how }) => {
    if (!caught) console.log(`survived: ${kind} in ${kernel}, line ${line + 1}: ${from}  ->  ${to}  (${how})`);
  });
  writeFileSync(values.out, JSON.stringify(verdicts, null, 1));
  const classes = [...new Set(verdicts.map((v) => v.class))].sort();
  for (const kind of [...classes, undefined]) {
    const of = verdicts.filter((v) => !kind || v.class === kind);
    const caught = of.filter((v) => v.caught).length;
    console.log(
      `${(kind ?? 'all').padEnd(12)}${String(caught).padStart(5)} of ${String(of.length).padEnd(5)}${((100 * caught) / of.length).toFixed(1)} %`,
    );
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
