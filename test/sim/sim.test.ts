// The simulated GPU's machine on its own: kernels that nvcc compiles, run against numbers computed on the host, and every fault it must catch.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const here = join(root, 'test/sim');
const build = join(root, 'build/cmake/simulator');
const ptx = join(tmpdir(), `anneal-sim-ptx-${process.pid}`);

const has = (tool: string) => spawnSync(tool, ['--version']).status === 0;
const missing = ['nvcc', 'cmake'].filter((tool) => !has(tool));
const names = readdirSync(here)
  .filter((file) => file.endsWith('.cc'))
  .flatMap((file) => [...readFileSync(join(here, file), 'utf8').matchAll(/^TEST\((\w+)\)/gm)].map((match) => match[1] as string));

describe.skipIf(missing.length > 0)(
  `simulated GPU${missing.length > 0 ? ` (skipped: no ${missing.join(', ')} on PATH)` : ''}`,
  () => {
    const results = new Map<string, string>();

    beforeAll(() => {
      mkdirSync(ptx, { recursive: true });
      execFileSync(process.execPath, [join(root, 'scripts/build-simulator.mjs')], { stdio: 'pipe' }); // the same objects
      execFileSync('cmake', ['--build', build, '--target', 'anneal_sim_test', '-j', '2'], { stdio: 'pipe' });
      for (const file of readdirSync(join(here, 'kernels'))) {
        const out = join(ptx, file.replace('.cu', '.ptx'));
        execFileSync('nvcc', ['-arch=compute_80', '-ptx', '-lineinfo', '-std=c++17', join(here, 'kernels', file), '-o', out], {
          stdio: 'pipe',
        });
        expect(existsSync(out)).toBe(true);
      }
      const run = spawnSync(join(build, 'anneal_sim_test'), [ptx], { encoding: 'utf8', maxBuffer: 1 << 24 });
      let last = '';
      for (const line of run.stdout.split('\n')) {
        const match = /^(ok|FAIL) (\w+)(.*)$/.exec(line);
        if (match) {
          last = match[2] as string;
          results.set(last, match[1] === 'ok' ? 'ok' : (match[3] as string));
        } else if (last && results.get(last) !== 'ok') {
          results.set(last, `${results.get(last)}\n${line}`);
        }
      }
    }, 1_800_000);

    test.each(names)('%s', (name) => {
      expect(results.get(name) ?? 'did not run').toBe('ok');
    });
  },
);
