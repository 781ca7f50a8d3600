/** What 16-bit precision saves of a GPU's memory. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { simulator, withoutSimulator } from '../helpers/device.ts';

const peak = (precision: string, layers: number, batch: number): number => {
  const args = ['--expose-gc', '--import', 'tsx', 'test/cuda/peak-child.ts', precision, `${layers}`, `${batch}`];
  const { stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...process.env, ANNEAL_TEST_DEVICE: '', ANNEAL_CUDA_DRIVER: simulator, ANNEAL_SIM_MEMORY: String(2 ** 33) },
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (!/^\d+\n$/.test(stdout)) throw new Error(`no figure: ${stdout}${stderr}`);
  return Number(stdout);
};

describe.skipIf(withoutSimulator)('peak memory of gpt-small with 2 layers, on the simulated GPU', { timeout: 120_000 }, () => {
  // Masters, moments and a 16-bit copy are 14 bytes a parameter, 12 in f32: what is saved is activations. The larger the batch, the nearer to half.
  // `most`: MB in f32. Logits and their gradient share memory, 67 MB at batch 8.
  for (const [batch, limit, most] of [
    [16, 0.65, 450],
    [8, 0.73, 275],
  ] as const)
    test(`batch ${batch}: at most ${most} MB in f32, and ${limit} of that in bf16 and f16`, () => {
      const f32 = peak('f32', 2, batch);
      const [bf16, f16] = [peak('bf16', 2, batch), peak('f16', 2, batch)];
      console.log(
        `batch ${batch}: f32 ${(f32 / 1e6).toFixed(1)} MB, bf16 ${(bf16 / f32).toFixed(3)}, f16 ${(f16 / f32).toFixed(3)} of it`,
      );
      expect(f32).toBeLessThanOrEqual(most * 1e6);
      expect(bf16 / f32).toBeLessThanOrEqual(limit);
      expect(f16 / f32).toBeLessThanOrEqual(limit);
      expect(bf16 / f32).toBeGreaterThan(0.5);
    });
});
