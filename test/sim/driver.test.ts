// The simulated GPU's driver as a C program sees it: build/Release/libanneal-sim-cuda.so is built, test/sim/driver linked against it, each of
// its tests run in a process of its own. And the worked example of docs/simulated-gpu.md.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const here = join(root, 'test/sim/driver');
const library = join(root, 'build/Release/libanneal-sim-cuda.so');
const has = (tool: string) => spawnSync(tool, ['--version']).status === 0;
const noCompiler = ['g++', 'cmake'].filter((tool) => !has(tool));
const noNvcc = noCompiler.length > 0 || !has('nvcc') ? ' (skipped: no nvcc on PATH)' : '';
const sources = readdirSync(here).filter((file) => file.endsWith('.cc') && file !== 'abi.cc');
const names = sources.flatMap((file) =>
  [...readFileSync(join(here, file), 'utf8').matchAll(/^TEST\(\w+, "([^"]+)"\)/gm)].map((match) => match[1] as string),
);
const out = mkdtempSync(join(tmpdir(), 'anneal-sim-driver-'));
const program = join(out, 'driver_test');

function run(command: string, args: string[], env: Record<string, string> = {}) {
  const done = spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, ...env }, timeout: 50_000 });
  return { status: done.signal ?? done.status, text: done.stdout + done.stderr };
}

afterAll(() => rmSync(out, { recursive: true, force: true }));

describe.skipIf(noCompiler.length > 0)(
  `simulated driver${noCompiler.length > 0 ? ` (skipped: no ${noCompiler.join(', ')} on PATH)` : ''}`,
  () => {
    beforeAll(() => {
      execFileSync(process.execPath, [join(root, 'scripts/build-simulator.mjs')], { stdio: 'pipe' });
      symlinkSync(library, join(out, 'libcuda.so.1'));
      const flags = ['-std=c++20', '-O1', '-Wall', '-Wextra', '-I', join(root, 'native/sim'), '-pthread'];
      execFileSync('g++', [...flags, ...sources.map((file) => join(here, file)), library, `-Wl,-rpath,${out}`, '-o', program], {
        stdio: 'pipe',
      });
    }, 1_800_000);

    const device = {
      ANNEAL_SIM_DEVICES: '2',
      ANNEAL_SIM_MEMORY: String(64 << 20),
      DRIVER_KERNELS: join(here, 'kernels.ptx'),
      TMPDIR: out,
    };
    test.each(names)('%s', (name) => {
      expect(run(program, [name], device)).toEqual({ status: 0, text: 'ok\n' });
    });

    test('the library exports the driver API and annealSim* of its own, nothing of the interpreter', () => {
      const exported = execFileSync('nm', ['-D', '--defined-only', library], { encoding: 'utf8' });
      const ours = [...exported.matchAll(/ [TBD] (\S+)$/gm)].map((match) => match[1] as string);
      const declared = readFileSync(join(root, 'native/sim/cuda_functions.h'), 'utf8');
      const api = [...declared.matchAll(/^SIM_API\(\d+, (\w+),/gm)].map((match) => match[1] as string);
      expect(ours.filter((name) => !name.startsWith('annealSim')).sort()).toEqual(api.sort());
    });

    test('without a device, cuInit says so', () => {
      const text = run(program, ['work of one stream runs in order, and a launch returns before it runs'], {
        ...device,
        ANNEAL_SIM_DEVICES: '0',
      }).text;
      expect(text).toContain('CUDA_ERROR_NO_DEVICE');
      expect(text).toContain('ANNEAL_SIM_DEVICES is 0');
    });
  },
);

describe.skipIf(noNvcc !== '')(`simulated driver, with the toolkit${noNvcc}`, () => {
  test("types, values and signatures are cuda.h's own", () => {
    const types = readFileSync(join(root, 'native/sim/cuda_types.h'), 'utf8');
    const values = [...types.matchAll(/^ {2}((?:CUDA|CU)_\w+) = /gm)].map((match) => `SAME(${match[1]})`);
    expect(values.length).toBeGreaterThan(100);
    const list = join(out, 'values.inc');
    writeFileSync(list, `${values.join('\n')}\n`);
    const args = [
      '-std=c++20',
      '-x',
      'c++',
      '-c',
      join(here, 'abi.cc'),
      '-I',
      join(root, 'native/sim'),
      `-DABI_VALUES="${list}"`,
    ];
    expect(run('nvcc', [...args, '-o', join(out, 'abi.o')])).toMatchObject({ status: 0 });
  });

  const example = join(root, 'test/sim/example');
  const main = join(out, 'main');
  beforeAll(() => {
    execFileSync('nvcc', ['-cudart', 'none', join(example, 'main.cc'), '-o', main, library]);
  });

  // MISTAKE, what the program prints, what the simulated GPU says of it, in which line of sum.cu.
  test.each([
    [0, '256 256 256 232 \n', '', 0],
    [1, 'unspecified launch failure', 'race in shared memory', 17],
    [2, 'an illegal memory access', 'is in no allocation (it is 0 bytes past the end of one of 4000 bytes)', 6],
    [3, 'unspecified launch failure', 'which no thread of this block has written', 17],
  ])('the example of docs/simulated-gpu.md, mistake %i', (mistake, prints, says, line) => {
    const ptx = join(out, `sum${mistake}.ptx`);
    execFileSync('nvcc', ['-ptx', '-arch=compute_80', '-lineinfo', `-DMISTAKE=${mistake}`, join(example, 'sum.cu'), '-o', ptx]);
    const done = run(main, [ptx], { LD_PRELOAD: library, ANNEAL_SIM_REPORT: '1' });
    expect(done.status).toBe(mistake ? 1 : 0);
    expect(done.text).toContain(prints);
    expect(done.text).toContain(says);
    if (mistake) expect(done.text).toContain(`sum.cu:${line}`);
    else expect(done.text).toBe(prints);
  });
});
