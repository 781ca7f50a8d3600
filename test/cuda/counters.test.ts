/** What the kernels move and execute, counted by the simulated GPU (bench/simulated.ts), against the least that their ops need. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Launch, movedBytes } from '../../bench/simulated.ts';
import { simulator, withoutSimulator } from '../helpers/device.ts';

function counted(only: string, env: Record<string, string> = {}): Launch[] {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-counted-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const file = join(dir, 'counts.json');
  const args = ['--import', 'tsx', 'bench/main.ts', '--simulated', '--only', only, '--json', file];
  const all = { ...process.env, ANNEAL_TEST_DEVICE: 'cpu', ANNEAL_CUDA_DRIVER: simulator, ...env };
  execFileSync(process.execPath, args, { cwd: fileURLToPath(new URL('../..', import.meta.url)), env: all, stdio: 'pipe' });
  const cases = JSON.parse(readFileSync(file, 'utf8')) as { launches: Launch[] }[];
  expect(cases.length, `cases named ${only}`).toBeGreaterThan(0);
  return cases.flatMap((c) => c.launches);
}

/** Below this, headers of rows and tables weigh more than what a kernel is for. */
const small = 100_000;
describe.skipIf(withoutSimulator)('counters of the simulated GPU', { timeout: 240_000 }, () => {
  test.each([
    'LayerNorm',
    'RMSNorm',
    'BatchNorm2d',
    'MaxPool2d',
    'gelu',
    'softmax',
    'sum over',
    'permute',
    'crossEntropy',
    'embedding',
    'AdamW',
  ])('%s: bytes moved are at most 1.05 of the least', (name) => {
    const measured = counted(name).filter((l) => (l.leastBytes ?? 0) > small);
    expect(measured.length).toBeGreaterThan(0);
    for (const l of measured) {
      const ratio = movedBytes(l) / (l.leastBytes as number);
      expect(ratio, l.kernel).toBeLessThanOrEqual(1.05);
      expect(ratio, `${l.kernel}: less than its op needs`).toBeGreaterThan(0.98);
    }
  });

  test("a convolution's weights are put in the order of its sums, and their gradients back, with the bytes that takes", () => {
    const turned = counted('Conv2d').filter((l) => /^conv2d_(order|gradWeight_finish)_/.test(l.kernel));
    expect(turned.length).toBe(3);
    for (const l of turned) expect(movedBytes(l) / (l.leastBytes as number), l.kernel).toBeLessThanOrEqual(1.05);
  });

  test('the big tile of bf16 products: 4 mma for each ldmatrix, no bank conflict, every sector whole', () => {
    const [l] = counted('matmul 1024', { ANNEAL_SIM_PROCESSORS: '64' }) as [Launch];
    expect(l.kernel).toBe('matmul_nn_big_bf16');
    expect(l.mma / l.ldmatrix).toBeGreaterThanOrEqual(4);
    expect(l.sharedWavefronts).toBe(l.idealSharedWavefronts);
    const sectors = (l.globalLoadSectors + l.globalStoreSectors) / (l.idealLoadSectors + l.idealStoreSectors);
    expect(sectors).toBeLessThanOrEqual(1.05);
  });
});

describe.skipIf(withoutSimulator)('16-bit products whose rows begin anywhere, by the simulated GPU', { timeout: 240_000 }, () => {
  /** Sectors over what each request needs; and sectors loaded over the distinct bytes that the blocks' tiles are made of, 128 x 128 each. */
  const figures = (l: Launch, m: number, n: number, k: number) => ({
    requests: (l.globalLoadSectors + l.globalStoreSectors) / (l.idealLoadSectors + l.idealStoreSectors),
    loads: (32 * l.globalLoadSectors) / (2 * k * (Math.ceil(m / 128) * n + Math.ceil(n / 128) * m)),
  });

  // Rows along k are read from sector to sector. Rows along m or n are cut into tiles of 256 bytes, which lie in nine sectors instead of eight where rows
  // do not begin on one (1000: every other row; 777, 1023: all but one in sixteen), and of which a lone request reads the half that is missing.
  test.each([
    [1000, 1000, 1000, 'nt', 'matmul_nt_late_big_bf16', 1.02, 1.01],
    [1000, 1000, 1000, 'nn', 'matmul_nn_late_big_bf16', 1.05, 1.04],
    [1000, 1000, 1000, 'tn', 'matmul_tn_big_bf16', 1.07, 1.07],
    [1023, 777, 513, 'nt', 'matmul_nt_ragged_big_bf16', 1.01, 1.03],
    [1023, 777, 513, 'nn', 'matmul_nn_ragged_big_bf16', 1.03, 1.08],
    [1023, 777, 513, 'tn', 'matmul_tn_ragged_big_bf16', 1.06, 1.13],
  ] as const)(
    '%i x %i x %i, %s: sectors, no bank conflict, 4 mma for each ldmatrix',
    (m, n, k, layout, kernel, requests, loads) => {
      const [l] = counted(`matmul ragged ${m} x ${n} x ${k}, ${layout}`, { ANNEAL_SIM_PROCESSORS: '40' }) as [Launch];
      expect(l.kernel).toBe(kernel);
      const reached = figures(l, m, n, k);
      expect(reached.requests).toBeLessThanOrEqual(requests);
      expect(reached.loads).toBeLessThanOrEqual(loads);
      expect(reached.loads).toBeGreaterThanOrEqual(1);
      expect(l.mma / l.ldmatrix).toBeGreaterThanOrEqual(4);
      expect(l.sharedWavefronts).toBe(l.idealSharedWavefronts);
    },
  );
});
