/** The example runs as its help says. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { loadSafetensors } from '../../lib/train/index.ts';

const cwd = fileURLToPath(new URL('../..', import.meta.url));
async function finetune(...args: string[]): Promise<string> {
  const env = { ...process.env, ANNEAL_TEST_DEVICE: '' };
  const command = ['--import', 'tsx', 'examples/finetune/main.ts', ...args];
  const { stdout } = await promisify(execFile)(process.execPath, command, { cwd, env, timeout: 100_000 });
  return stdout;
}

describe('examples/finetune', { timeout: 110_000 }, () => {
  test('--help names every option, and a wrong one is refused', async () => {
    const said = await finetune('--help');
    for (const option of ['base', 'epochs', 'images', 'steps', 'runs', 'test', 'seed', 'dir'])
      expect(said).toContain(`--${option} `);
    await expect(finetune('--image', '1')).rejects.toThrow(/--image/);
  });

  test('a short course: the checkpoint is right about its digits, and what is learnt from it beats what is learnt from nothing', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'finetune-'));
    try {
      const short = ['--base', '1000', '--epochs', '4', '--images', '25', '--steps', '15', '--runs', '1', '--test', '500'];
      await finetune(...short, '--dir', dir);
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
