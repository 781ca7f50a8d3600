/** The example runs as its help says. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { Vocabulary } from '../../examples/spam/mails.ts';

const cwd = fileURLToPath(new URL('../..', import.meta.url));
async function spam(...args: string[]): Promise<string> {
  const env = { ...process.env, ANNEAL_TEST_DEVICE: '' };
  const command = ['--import', 'tsx', 'examples/spam/main.ts', ...args];
  const { stdout } = await promisify(execFile)(process.execPath, command, { cwd, env, timeout: 100_000 });
  return stdout;
}

describe('examples/spam', { timeout: 110_000 }, () => {
  test('--help names every option, and a wrong one is refused', async () => {
    const said = await spam('--help');
    for (const option of ['labels', 'pretrain', 'epochs', 'runs', 'mails', 'seed', 'dir']) expect(said).toContain(`--${option} `);
    await expect(spam('--label', '1')).rejects.toThrow(/--label/);
    await expect(spam('--mails', '100', '--labels', '81', '--runs', '1')).rejects.toThrow(/81 labels: there are 80 mails/);
  });

  test('words: the commonest get numbers, of equals the first in the alphabet; others are unknown', () => {
    const words = new Vocabulary(['a c', 'a b', 'a d'], 3);
    expect(words.size).toBe(6);
    expect([...words.encode('a b  c d')]).toEqual([3, 4, 5, 1]);
  });
});
