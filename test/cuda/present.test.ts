import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { DeviceError } from '../../lib/index.ts';
import { native } from '../../lib/native/run.ts';
import { withoutSimulator, withSimulatedGpu } from '../helpers/device.ts';

describe.skipIf(withoutSimulator === 'nvcc is not installed')(
  'the simulated GPU (skipped only where nvcc is not installed)',
  () => {
    test('is there, and says that it is no hardware', () => {
      expect(withoutSimulator).toBeUndefined();
      const { gpu } = withSimulatedGpu();
      expect(gpu).toMatchObject({ simulated: true, computeCapability: 8 });
    });
    test('has a kernel for every op that the CPU has but collectives; the rate of the processor is the CPU’s own', () => {
      const missing = native()
        .info()
        .ops.filter((op) => op.cpu && !op.cuda)
        .map((op) => op.name);
      expect(missing).toEqual(['collective', 'peak']); // collectives on a GPU are NCCL's, which is not there yet
    });
  },
);

/** In a process of its own: a driver is chosen once. */
const told = (script: string, env: Record<string, string>): string =>
  execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...process.env, ANNEAL_TEST_DEVICE: '', ...env },
    encoding: 'utf8',
  });
const opening = `
  const { device, DeviceError } = await import('./lib/index.ts');
  try { device('cuda'); console.log('opened'); }
  catch (e) { console.log(e instanceof DeviceError ? e.message : e); }`;

describe("device('cuda') without a GPU", () => {
  test('no driver: names the library and the remedy', () => {
    expect(told(opening, { ANNEAL_CUDA_DRIVER: 'libcuda-is-not-here.so.1' })).toMatch(
      /^device\('cuda'\): the NVIDIA driver's library could not be opened \(libcuda-is-not-here\.so\.1.*ANNEAL_CUDA_DRIVER/,
    );
  });
  test('a library that is no driver', () => {
    expect(told(opening, { ANNEAL_CUDA_DRIVER: 'libm.so.6' })).toMatch(/libm\.so\.6 has no cuInit/);
  });
  test.skipIf(withoutSimulator)('below sm_80: says what it has and what it needs', () => {
    const { ANNEAL_CUDA_DRIVER = '' } = process.env;
    expect(told(opening, { ANNEAL_CUDA_DRIVER, ANNEAL_SIM_CC: '75' })).toMatch(/compute capability 7\.5.*8\.0 \(Ampere\)/);
  });
  test.skipIf(withoutSimulator)('an ordinal that is not there', () => {
    expect(() => withSimulatedGpu() && native().open(9)).toThrow(/there is no GPU 8/);
    expect(DeviceError.name).toBe('DeviceError');
  });
});
