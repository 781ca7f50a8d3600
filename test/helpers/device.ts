/**
 * The device under test: ANNEAL_TEST_DEVICE is 'cpu' (default), 'cuda' (a GPU), or 'simulated' (the simulated GPU of native/sim, as device
 * 'cuda'). test/helpers/setup.ts makes it the default device of every test file.
 */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Device, defaultDevice, device } from '../../lib/tensor/device.ts';
import type { DType } from '../../lib/tensor/dtype.ts';

const asked = process.env.ANNEAL_TEST_DEVICE ?? 'cpu';
if (!['cpu', 'cuda', 'simulated'].includes(asked))
  throw new Error(`ANNEAL_TEST_DEVICE is '${asked}'; known: cpu, cuda, simulated`);

export const simulator = fileURLToPath(new URL('../../build/Release/libanneal-sim-cuda.so', import.meta.url));

/** Why there is no simulated GPU here; undefined where there is one. CI has nvcc, and fails without (test/sim/present.test.ts). */
export const withoutSimulator: string | undefined = (() => {
  try {
    execFileSync('nvcc', ['--version'], { stdio: 'ignore' });
  } catch {
    return 'nvcc is not installed';
  }
  return existsSync(simulator) ? undefined : 'the simulated GPU is not built: npm run build:simulator';
})();

/**
 * The simulated GPU as device 'cuda'. The driver is chosen once per process: no test of a real GPU can share it. It has few multiprocessors unless
 * told otherwise: then small operands fill it, and the kernels for large ones are tested too.
 */
export function withSimulatedGpu(): Device {
  if (withoutSimulator) throw new Error(withoutSimulator);
  process.env.ANNEAL_CUDA_DRIVER = simulator;
  process.env.ANNEAL_SIM_PROCESSORS ??= '4';
  return device('cuda');
}

/** Where a test's tensors of that dtype belong: the device under test; f64, which only the CPU computes, on the CPU. */
export const deviceFor = (dtype: DType): Device => (dtype === 'f64' ? device('cpu') : defaultDevice());

/** Whether this run of the suite tests a GPU, or what stands for one: gradcheck and other f64 work is then left to the CPU's run. */
export const onGpu = asked !== 'cpu';

/** What a test does `full` times is done `fewer` times where a GPU is interpreted. */
export const fewer = (full: number, less: number): number => (asked === 'simulated' ? less : full);

/** The device that this run of the suite tests. */
export function deviceUnderTest(): Device {
  if (asked === 'simulated') return withSimulatedGpu();
  return device(asked as 'cpu' | 'cuda');
}
