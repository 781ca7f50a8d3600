/** The example runs as its help says. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const cwd = fileURLToPath(new URL('../..', import.meta.url));
async function everything(...args: string[]): Promise<string> {
  const env = { ...process.env, ANNEAL_TEST_DEVICE: '' };
  const command = ['--import', 'tsx', 'examples/mnist-everything/main.ts', ...args];
  const { stdout } = await promisify(execFile)(process.execPath, command, { cwd, env, timeout: 100_000 });
  return stdout;
}

describe('examples/mnist-everything', { timeout: 110_000 }, () => {
  test('--help names every option, and a wrong one is refused', async () => {
    const said = await everything('--help');
    for (const option of ['images', 'epochs', 'patience', 'precision', 'test', 'seed', 'dir'])
      expect(said).toContain(`--${option} `);
    await expect(everything('--image', '1')).rejects.toThrow(/--image/);
  });

  test('a short course of both learns', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'everything-'));
    try {
      await everything('--images', '300', '--epochs', '3', '--patience', '3', '--test', '500', '--dir', dir);
      const { nothing, everything: all } = JSON.parse(await readFile(join(dir, 'summary.json'), 'utf8'));
      expect([nothing.epochs, all.epochs, all.stopReason]).toEqual([3, 3, 'finished']);
      expect(nothing.accuracy).toBeGreaterThan(0.7);
      expect(all.accuracy).toBeGreaterThan(0.5);
    } finally {
      await rm(dir, { recursive: true });
    }
  });
});
