/** The example runs as its help says. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Vocabulary } from '../../examples/spam/mails.ts';
import { example, expectHealthy } from './example.ts';

const spam = (...args: string[]) => example('spam', args);

describe('examples/spam', { timeout: 110_000 }, () => {
  test('--help names every option, and a wrong one is refused', async () => {
    const { stdout: said } = await spam('--help');
    for (const option of ['labels', 'pretrain', 'epochs', 'runs', 'ways', 'mails', 'seed', 'dir'])
      expect(said).toContain(`--${option} `);
    await expect(spam('--label', '1')).rejects.toThrow(/--label/);
    await expect(spam('--ways', 'label')).rejects.toThrow(/--ways label: the ways are labels, synonyms/);
    await expect(spam('--mails', '100', '--labels', '81', '--runs', '1')).rejects.toThrow(/81 labels: there are 80 mails/);
  });

  test('a short course from 100 labels tells more than that most mails are wanted, each way', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'spam-'));
    try {
      const short = ['--mails', '1500', '--labels', '100', '--pretrain', '1', '--epochs', '8', '--runs', '1'];
      expectHealthy(await spam(...short, '--ways', 'labels,both', '--dir', dir), 3);
      const { bayes, results } = JSON.parse(await readFile(join(dir, 'summary.json'), 'utf8'));
      expect(Object.keys(results)).toEqual(['labels alone', 'token masking first, synonyms']);
      expect(bayes[0]).toBeGreaterThan(0.8);
      for (const [verdict] of Object.values<{ accuracy: number; recall: number }[]>(results)) {
        expect(verdict?.accuracy).toBeGreaterThan(0.78); // 68 % are wanted
        expect(verdict?.recall).toBeGreaterThan(0.4);
      }
    } finally {
      await rm(dir, { recursive: true });
    }
  });

  test('words: the commonest get numbers, of equals the first in the alphabet; others are unknown', () => {
    const words = new Vocabulary(['a c', 'a b', 'a d'], 3);
    expect(words.size).toBe(6);
    expect([...words.encode('a b  c d')]).toEqual([3, 4, 5, 1]);
  });
});
