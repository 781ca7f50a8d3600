/** The example runs as its help says. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadSafetensors } from '../../lib/train/index.ts';
import { example, expectHealthy } from './example.ts';

const finetune = (...args: string[]) => example('finetune', args);

describe('examples/finetune', { timeout: 110_000 }, () => {
  test('--help names every option, and a wrong one is refused', async () => {
    const { stdout: said } = await finetune('--help');
    for (const option of ['base', 'epochs', 'images', 'steps', 'runs', 'test', 'seed', 'dir'])
      expect(said).toContain(`--${option} `);
    await expect(finetune('--image', '1')).rejects.toThrow(/--image/);
  });

  test('a short course: the checkpoint is right about its digits, and what is learnt from it beats what is learnt from nothing', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'finetune-'));
    try {
      const short = ['--base', '1000', '--epochs', '4', '--images', '25', '--steps', '15', '--runs', '1', '--test', '500'];
      expectHealthy(await finetune(...short, '--dir', dir), 6);
      const { base, learning, results } = JSON.parse(await readFile(join(dir, 'summary.json'), 'utf8'));
      expect(base).toBeGreaterThan(0.9);
      const all = 160 + 4640 + 589_952 + 645;
      expect(Object.values(learning)).toEqual([all, 645, all - 160 - 4640, all, all]);
      expect(results['loaded, all at one rate'][0]).toBeGreaterThan(results['from nothing'][0]);
      for (const [name, [accuracy]] of Object.entries<number[]>(results)) expect(accuracy, name).toBeGreaterThan(0.3);
      const checkpoint = await loadSafetensors(join(dir, 'base.safetensors'));
      expect(checkpoint.get('body.6.weight')?.shape).toEqual([128, 4608]);
    } finally {
      await rm(dir, { recursive: true });
    }
  });
});
