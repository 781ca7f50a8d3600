/** The example runs as its help says. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { example, expectHealthy } from './example.ts';

const everything = (...args: string[]) => example('mnist-everything', args);

describe('examples/mnist-everything', { timeout: 110_000 }, () => {
  test('--help names every option, and a wrong one is refused', async () => {
    const { stdout: said } = await everything('--help');
    for (const option of ['images', 'epochs', 'patience', 'precision', 'test', 'seed', 'dir'])
      expect(said).toContain(`--${option} `);
    await expect(everything('--image', '1')).rejects.toThrow(/--image/);
  });

  test('a short course of both learns', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'everything-'));
    try {
      expectHealthy(await everything('--images', '300', '--epochs', '3', '--patience', '3', '--test', '500', '--dir', dir), 2);
      const { nothing, everything: all } = JSON.parse(await readFile(join(dir, 'summary.json'), 'utf8'));
      expect([nothing.epochs, all.epochs, all.stopReason]).toEqual([3, 3, 'finished']);
      expect(nothing.accuracy).toBeGreaterThan(0.7);
      expect(all.accuracy).toBeGreaterThan(0.5);
    } finally {
      await rm(dir, { recursive: true });
    }
  });
});
