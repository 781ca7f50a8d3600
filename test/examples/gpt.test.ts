/** The example runs as its help says, on the CPU and on the simulated GPU, and both learn the same. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { simulator, withoutSimulator } from '../helpers/device.ts';

const cwd = fileURLToPath(new URL('../..', import.meta.url));
async function gpt(...args: string[]): Promise<string> {
  const env = { ...process.env, ANNEAL_TEST_DEVICE: '', ANNEAL_CUDA_DRIVER: simulator };
  const command = ['--import', 'tsx', 'examples/gpt/main.ts', ...args];
  const { stdout, stderr } = await promisify(execFile)(process.execPath, command, { cwd, env, timeout: 170_000 });
  return stdout + stderr;
}
const short = ['--steps', '2', '--batch-size', '1', '--precision', 'bf16', '--characters', '2', '--held', '4'];
const heldOut = (said: string): number => Number(/step 2: held-out loss (\d+\.\d+)/.exec(said)?.[1]);

describe('examples/gpt', { timeout: 180_000 }, () => {
  test('--help names every option, and a wrong one is refused', async () => {
    const said = await gpt('--help');
    for (const option of ['steps', 'batch-size', 'accumulate', 'held', 'precision', 'device', 'characters', 'seed'])
      expect(said).toContain(`--${option} `);
    await expect(gpt('--step', '1')).rejects.toThrow(/--step/);
  });

  test('two steps on the CPU: a held-out loss below that of guessing, and two samples', async () => {
    const said = await gpt(...short);
    expect(heldOut(said)).toBeLessThan(Math.log(96));
    expect(said).toMatch(/The state of our Union[\s\S]{2}\n/);
    expect(said).toMatch(/My fellow Americans, [\s\S]{2}\n/);
  });

  test.skipIf(withoutSimulator)('on the simulated GPU the same loss', async () => {
    const [cpu, cuda] = [await gpt(...short), await gpt(...short, '--device', 'cuda')].map(heldOut) as [number, number];
    expect(Math.abs(cuda - cpu)).toBeLessThan(0.01);
  });
});
