/**
 * Does the suite notice a wrong kernel? One fault at a time is put into a kernel, and the tests that launch it run on the simulated GPU.
 *
 *   npm run mutants -- [options]     faults generated in the PTX, of instructions that the suite reaches
 *   npm run mutants -- --hand        the list of hand.ts, in the source: needs nvcc
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { PhiloxStream } from '../../lib/index.ts';
import { compiled, handMade } from './hand.ts';
import {
  type Coverage,
  coverage,
  index,
  judge,
  kernels,
  quickest,
  type Reach,
  type Suspect,
  type Verdict,
  work,
} from './judge.ts';
import { effective, type Mutation, mutationsOf } from './mutate.ts';

interface Mutant {
  class: string;
  /** Kernel and instruction, or file and mistake. */
  what: string;
  suspect: () => Suspect | Promise<Suspect>;
}

/** matmul_nt_small_bf16 and its f16 brother are one template: one mutant of either. */
const template = (kernel: string): string => kernel.replace(/(?<=_)(f32|f16|bf16)(?=_|$)/g, 'T');

/** Faults in instructions that the suite executes and whose results it uses, every template in turn, until there are `count`. */
function generated(count: number, seed: number, only: RegExp, { tests, reach }: Coverage): Mutant[] {
  const random = new PhiloxStream(seed, 'mutants');
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random.uniform() * of.length)] as T;
  const lines = new Map<string, string[]>();
  const byTemplate = new Map<string, [string, string][]>();
  for (const [kernel, family] of index) {
    if (!lines.has(family)) lines.set(family, readFileSync(join(kernels, `${family}.ptx`), 'utf8').split('\n'));
    if (only.test(kernel)) byTemplate.set(template(kernel), [...(byTemplate.get(template(kernel)) ?? []), [kernel, family]]);
  }
  const mutant = (kernel: string, family: string, { class: kind, line, to }: Mutation): Mutant => {
    const text = lines.get(family) as string[];
    return {
      class: kind,
      what: `${kernel}, line ${line + 1}: ${text[line]?.trim()}  ->  ${to}`,
      suspect: () => ({ family, ptx: text.with(line, to).join('\n'), tests: quickest(tests, kernel) }),
    };
  };
  const chosen: Mutant[] = [];
  while (chosen.length < count) {
    for (const brothers of byTemplate.values()) {
      const [kernel, family] = pick(brothers);
      const text = lines.get(family) as string[];
      const lived = effective(text, kernel, reach.get(kernel)?.reached ?? new Set());
      const all = mutationsOf(text, kernel).filter((m) => lived.has(m.line));
      const kind = pick([...new Set(all.map((m) => m.class))]); // rare classes as often as common ones
      if (all.length && chosen.length < count) chosen.push(mutant(kernel, family, pick(all.filter((m) => m.class === kind))));
    }
    if (!chosen.length) throw new Error(`the suite reaches no kernel that matches ${only}`);
  }
  return chosen;
}

const written = (only: RegExp): Mutant[] =>
  handMade
    .filter((h) => only.test(h.family))
    .map((h) => ({ class: h.class, what: `${h.file}: ${h.what}`, suspect: () => compiled(h) }));

/** How much of the kernels the suite executes, by family, and the kernels that no test launches. */
function tellReach(reach: Map<string, Reach>): void {
  for (const family of new Set(index.map(([, f]) => f))) {
    const own = index.filter(([, f]) => f === family).map(([kernel]) => kernel);
    const sum = (part: keyof Reach) => own.reduce((n, kernel) => n + (reach.get(kernel)?.[part].size ?? 0), 0);
    const idle = own.filter((kernel) => !reach.has(kernel));
    const share = ((100 * sum('reached')) / sum('all')).toFixed(1);
    console.log(
      `${family.padEnd(20)}${share.padStart(6)} % of ${sum('all')} instructions${idle.length ? `; never launched: ${idle.join(' ')}` : ''}`,
    );
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      hand: { type: 'boolean', default: false },
      count: { type: 'string', default: '320' },
      seed: { type: 'string', default: '1' },
      jobs: { type: 'string', default: String(availableParallelism()) },
      only: { type: 'string', default: '' },
      out: { type: 'string', default: join(work, 'verdicts.json') },
    },
  });
  const only = new RegExp(values.only);
  const known = values.hand ? undefined : await coverage();
  if (known) tellReach(known.reach);
  const mutants = known ? generated(Number(values.count), Number(values.seed), only, known) : written(only);
  const verdicts: (Verdict & { class: string; what: string })[] = [];
  const waiting = [...mutants];
  const worker = async () => {
    for (let m = waiting.shift(); m; m = waiting.shift()) {
      const verdict = await judge(await m.suspect());
      verdicts.push({ class: m.class, what: m.what, ...verdict });
      if (!verdict.caught) console.log(`survived: ${m.class}: ${m.what}  (${verdict.how})`);
      else if (values.hand) console.log(`${m.class}: ${m.what}: ${verdict.how}`);
    }
  };
  await Promise.all(Array.from({ length: Number(values.jobs) }, worker));
  writeFileSync(values.out, JSON.stringify(verdicts, null, 1));
  for (const kind of [...new Set(verdicts.map((v) => v.class)), undefined]) {
    const of = verdicts.filter((v) => !kind || v.class === kind);
    const caught = of.filter((v) => v.caught).length;
    console.log(
      `${(kind ?? 'all').padEnd(12)}${String(caught).padStart(5)} of ${String(of.length).padEnd(5)}${((100 * caught) / of.length).toFixed(1)} %`,
    );
  }
  process.exitCode = values.hand && verdicts.some((v) => !v.caught) ? 1 : 0;
}

await main();
