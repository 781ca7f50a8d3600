/**
 * What the kernels of a test cost, counted by the simulated GPU: no more than is recorded in test/costs. A kernel that takes the slower of two ways which give the
 * same is wrong too, and no other test would tell. Counts are exact, and the same each time, of one compiler's PTX.
 *
 *   ANNEAL_COSTS=record npx vitest run --project simulated FILE ...      writes them anew
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeEach } from 'vitest';
import type { Launch } from '../../bench/simulated.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';

/** Test files whose costs are recorded: between them they launch nearly every kernel, at sizes on each side of its thresholds. */
const costed = /\/test\/(ops|nn)\/[\w-]+\.test\.ts$/;
export const isCosted = (file: string): boolean => costed.test(file);

/** Warp instructions; sectors of global memory, 32 bytes each; wavefronts of shared memory. */
type Cost = [instructions: number, sectors: number, wavefronts: number];
const units = ['warp instructions', 'sectors of global memory', 'wavefronts of shared memory'];
interface Recorded {
  nvcc: string;
  costs: { [test: string]: Cost };
}

const table = (file: string): string =>
  fileURLToPath(new URL(`../costs/${basename(dirname(file))}-${basename(file, '.test.ts')}.json`, import.meta.url));
/** The version of nvcc. */
export const compiler = (): string =>
  /V([\d.]+)/.exec(execFileSync('nvcc', ['--version'], { encoding: 'utf8' }))?.[1] ?? 'unknown';

const counts = join(tmpdir(), `anneal-counts-${process.pid}.jsonl`);
/** Before the driver is loaded: its launches are counted. */
export function countLaunches(): void {
  process.env.ANNEAL_SIM_COUNTERS = counts;
  process.once('exit', () => rmSync(counts, { force: true }));
}

async function spent(): Promise<Cost> {
  await defaultDevice().synchronize();
  const total: Cost = [0, 0, 0];
  if (!existsSync(counts)) return total;
  for (const line of readFileSync(counts, 'utf8').split('\n')) {
    if (!line) continue;
    const l = JSON.parse(line) as Launch;
    total[0] += l.instructions;
    total[1] += l.globalLoadSectors + l.globalStoreSectors;
    total[2] += l.sharedWavefronts;
  }
  truncateSync(counts);
  return total;
}

/** Holds each test of the file that is being collected to what is recorded of it. */
export function holdToCosts(file: string): void {
  const recording = process.env.ANNEAL_COSTS === 'record';
  const nvcc = compiler();
  const known: Recorded = existsSync(table(file)) ? JSON.parse(readFileSync(table(file), 'utf8')) : { nvcc, costs: {} };
  if (!recording && known.nvcc !== nvcc) {
    console.warn(`${file}: costs are those of nvcc ${known.nvcc}, this is ${nvcc}: not compared`);
    return;
  }
  const found: Recorded = { nvcc, costs: {} };
  beforeEach(async () => void (await spent()));
  afterEach(async ({ task }) => {
    const name = task.fullTestName;
    const cost = await spent();
    if (recording) {
      if (cost[0]) found.costs[name] = cost;
      return;
    }
    const allowed = known.costs[name] ?? [0, 0, 0];
    for (const [i, unit] of units.entries())
      if ((cost[i] as number) > (allowed[i] as number))
        throw new Error(
          `${name}: ${cost[i]} ${unit}, recorded are ${allowed[i]}. If that is meant: ANNEAL_COSTS=record (test/helpers/costs.ts)`,
        );
  });
  if (recording) afterAll(() => Object.keys(found.costs).length > 0 && write(table(file), found));
}

/** A line for each test, so that a change shows what it costs. */
function write(to: string, { nvcc, costs }: Recorded): void {
  const lines = Object.entries(costs).map(([name, cost]) => `    ${JSON.stringify(name)}: [${cost.join(', ')}]`);
  writeFileSync(to, `{\n  "nvcc": "${nvcc}",\n  "costs": {\n${lines.join(',\n')}\n  }\n}\n`);
}
