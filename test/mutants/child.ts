/**
 * One process of the judgement. `child.ts map OUT`: runs the whole suite of the simulated GPU and writes which kernels each test launches.
 * `child.ts run N,N,...` or `child.ts match REGEXP`: runs those tests, in that order, up to the first that fails, and says so on one line. Kernels come from ANNEAL_KERNELS.
 */
import { existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { setDefaultDevice } from '../../lib/tensor/device.ts';
import { countLaunches, holdToCosts, isCosted } from '../helpers/costs.ts';
import { withSimulatedGpu } from '../helpers/device.ts';
import { onEveryDevice } from '../helpers/every-device.ts';
import { collected, startFile } from './vitest.ts';

export interface TestRun {
  name: string;
  /** Of processors' time, so that faults are judged by as many tests when the machine is busy. */
  ms: number;
  kernels: string[];
  failed?: string | undefined;
}

/** Files of a pattern that vitest knows too: `*` and `{a,b}`. */
function filesOf(pattern: string): string[] {
  const folder = pattern.slice(0, pattern.lastIndexOf('/'));
  const source = pattern
    .replace(/[.]/g, '\\.')
    .replace(/\*/g, '[^/]*')
    .replace(/\{([^}]*)\}/g, (_, names) => `(${names.replace(/,/g, '|')})`);
  return readdirSync(folder)
    .map((name) => `${folder}/${name}`)
    .filter((file) => new RegExp(`^${source}$`).test(file))
    .sort();
}

async function map(out: string): Promise<void> {
  const trace = process.env.ANNEAL_SIM_TRACE as string;
  const all: TestRun[] = [];
  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  for (const [i, { name, run }] of collected.entries()) {
    // What one process keeps of thousands of tests that have no scope would soon be more than the device's allocations.
    if (i % 50 === 0) {
      collectGarbage();
      await new Promise(setImmediate);
    }
    const start = process.cpuUsage();
    const failed = await run().then(
      () => undefined,
      (error) => String(error),
    );
    const kernels = existsSync(trace)
      ? [...readFileSync(trace, 'utf8').matchAll(/^kernel (\w+)$/gm)].map((m) => m[1] as string)
      : [];
    if (kernels.length) truncateSync(trace);
    // What needs vitest itself judges nobody.
    if (failed) console.log(`left out, since it fails on the good kernels: "${name}": ${failed}`);
    const { user, system } = process.cpuUsage(start);
    all.push({ name, ms: (user + system) / 1000, kernels: failed ? [] : [...new Set(kernels)], failed });
  }
  const failures = all.filter((t) => t.failed).length;
  if (failures > all.length / 100) throw new Error(`${failures} of ${all.length} tests fail on the good kernels`);
  writeFileSync(out, JSON.stringify(all));
}

async function judge(numbers: readonly number[]): Promise<void> {
  for (const n of numbers) {
    const { name, run } = collected[n] as (typeof collected)[number];
    try {
      await run();
    } catch (error) {
      console.log(`caught by "${name}": ${String(error).split('\n')[0]}`);
      process.exit(0); // what is queued on a broken context need not end
    }
  }
  console.log(`survived ${numbers.length} tests`);
  process.exit(0);
}

countLaunches();
setDefaultDevice(withSimulatedGpu());
/** What is about the library around the kernels stays out: it launches the same ones, later, and counts on a process of its own. */
const judges = onEveryDevice.flatMap(filesOf).filter((file) => /^test\/(golden|nn|ops|optim)\/|loss-scaling/.test(file));
for (const file of judges) {
  const { href } = new URL(`../../${file}`, import.meta.url);
  startFile();
  if (isCosted(href)) holdToCosts(href);
  await import(href);
}
const [mode, argument = '', flags = ''] = process.argv.slice(2);
if (mode === 'map') await map(argument);
else if (mode === 'run') await judge(argument.split(',').map(Number));
else await judge(collected.flatMap(({ name }, i) => (new RegExp(argument, flags).test(name) ? [i] : [])));
