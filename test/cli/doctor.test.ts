import { execFileSync, spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { describeInstallation, type Installation, inspect } from '../../lib/cli/doctor.ts';
import { simulator, withoutSimulator } from '../helpers/device.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const anneal = (args: string[], env: Record<string, string> = {}) =>
  spawnSync(process.execPath, ['--import', 'tsx', 'lib/cli/main.ts', ...args], {
    cwd: root,
    env: { ...process.env, ANNEAL_TEST_DEVICE: '', ...env },
    encoding: 'utf8',
  });
const report = (env: Record<string, string>): Installation => {
  const { stdout, status } = anneal(['doctor', '--json'], env);
  expect(status).toBe(0);
  return JSON.parse(stdout);
};
const noDriver = { ANNEAL_CUDA_DRIVER: 'libcuda-is-not-here.so.1' };
const remedyOf = (r: Installation, what: string) => r.missing.find((m) => m.what === what)?.remedy;

describe('anneal doctor', () => {
  test('without a driver: says which library, and what to do; nothing that is needed is missing', () => {
    const r = report(noDriver);
    expect(r.cpu?.isa).toMatch(/^v[234]$/);
    expect(r.cpu?.threads).toBeGreaterThan(0);
    expect(r.gpus).toEqual([]);
    expect(r.driver).toBeUndefined();
    const remedy = r.kernels.count ? remedyOf(r, 'gpu') : remedyOf(r, 'kernels');
    expect(remedy).toMatch(r.kernels.count ? /libcuda-is-not-here.*ANNEAL_CUDA_DRIVER/s : /npm run build:kernels/);
    expect(r.missing.every((m) => !m.needed)).toBe(true);
  });

  test.skipIf(withoutSimulator)(
    'with two GPUs: names them, their memory, the driver and its version; without NCCL the remedy',
    () => {
      const r = report({
        ANNEAL_CUDA_DRIVER: simulator,
        ANNEAL_SIM_DEVICES: '2',
        ANNEAL_SIM_CC: '90',
        ANNEAL_SIM_MEMORY: String(2 ** 30),
      });
      expect(r.gpus).toMatchObject([
        { computeCapability: 9, memory: 2 ** 30, simulated: true },
        { computeCapability: 9, memory: 2 ** 30, simulated: true },
      ]);
      expect(r.driver).toMatchObject({ library: simulator, version: '13.0' });
      expect(r.kernels.count).toBeGreaterThan(500);
      expect(r.nccl || remedyOf(r, 'nccl')).toBeTruthy();
      expect(remedyOf(r, 'gpu')).toBeUndefined();
    },
  );

  test.skipIf(withoutSimulator)('a GPU that is too old: what it has and what it needs', () => {
    const r = report({ ANNEAL_CUDA_DRIVER: simulator, ANNEAL_SIM_CC: '75' });
    expect(remedyOf(r, 'gpu')).toMatch(/7\.5.*8\.0/);
  });

  test('no addon: exit code 1, every place tried, the remedy, no stack', () => {
    const { status, stdout, stderr } = anneal(['doctor'], { ANNEAL_BINARY: '/nowhere/anneal.node' });
    expect(status).toBe(1);
    expect(stdout).toMatch(/needed: addon[\s\S]*\/nowhere\/anneal\.node[\s\S]*ANNEAL_BINARY is set/);
    expect(stderr).not.toMatch(/ at /);
  });

  test('for people: a line per thing', () => {
    const text = describeInstallation(inspect());
    for (const name of ['Node', 'processor', 'threads', 'driver', 'CUDA kernels', 'NCCL'])
      expect(text).toMatch(new RegExp(`^${name} `, 'm'));
    expect(anneal(['doctor'], noDriver).stdout).toMatch(/^threads {7}\d+ of \d+ processors$/m);
  });

  test('an unknown option or command ends with help', () => {
    const { status, stderr } = anneal(['docter']);
    expect(status).toBe(1);
    expect(stderr).toMatch(/unknown command 'docter'[\s\S]*doctor/);
    expect(anneal(['doctor', '--jsn']).stderr).toMatch(/unknown option '--jsn'[\s\S]*--json/);
  });

  test('the package carries the command', () => {
    expect(JSON.parse(execFileSync('cat', ['package.json'], { cwd: root, encoding: 'utf8' })).bin).toEqual({
      anneal: 'dist/anneal.cjs',
    });
  });
});
