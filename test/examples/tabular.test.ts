/** The example runs as its help says. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { names, wages } from '../../examples/tabular/wages.ts';
import { example, expectHealthy } from './example.ts';

const tabular = (...args: string[]) => example('tabular', args);

describe('examples/tabular', { timeout: 110_000 }, () => {
  test('--help names every option, and a wrong one is refused', async () => {
    const { stdout: said } = await tabular('--help');
    for (const option of ['folds', 'repeats', 'epochs', 'width', 'alpha', 'noise', 'seed', 'dir'])
      expect(said).toContain(`--${option} `);
    await expect(tabular('--fold', '2')).rejects.toThrow(/--fold/);
    await expect(tabular('--alpha', '-1', '--folds', '2')).rejects.toThrow(/alpha/);
  });

  test('the first worker: 8 years of education, 21 of experience, a woman in a union, 5.10 dollars an hour', () => {
    const { x, y } = wages().get(0);
    const is = names.filter((_, f) => x.data[f] === 1);
    expect([...x.data].slice(0, 2)).toEqual([8, 21]);
    expect(is).toEqual(['female', 'union', 'race hispanic', 'occupation other', 'sector manufacturing']);
    expect(y.data[0]).toBeCloseTo(Math.log(5.1), 6);
  });

  test('a short course explains wages of workers that it did not see, each way', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'tabular-'));
    try {
      expectHealthy(await tabular('--folds', '2', '--repeats', '1', '--epochs', '30', '--dir', dir), 8);
      const { results } = JSON.parse(await readFile(join(dir, 'summary.json'), 'utf8')) as { results: Record<string, number[]> };
      expect(Object.keys(results)).toEqual(['line', 'network', 'noise', 'mixup', 'noise and mixup']);
      for (const [name, [a = 0, b = 0]] of Object.entries(results)) expect((a + b) / 2, name).toBeGreaterThan(0.12);
      expect(new Set(Object.values(results).map(([a]) => a)).size).toBe(5); // no two ways are the same
    } finally {
      await rm(dir, { recursive: true });
    }
  });
});
