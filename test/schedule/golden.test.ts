/** Every schedule over a whole run, to 1e-12 of the peak: PyTorch 2.13's rates, and formulas in f64 where it has none (test/golden/schedules.py). */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { fromJSON, type PartJSON, type PlateauOptions, plateau } from '../../lib/schedule/index.ts';

interface Goldens {
  peak: number;
  cases: { name: string; parts: PartJSON[]; at: number[]; rates: number[] }[];
  plateau: { options: PlateauOptions; values: number[]; rates: number[] }[];
}
const {
  peak,
  cases,
  plateau: plateaus,
} = JSON.parse(readFileSync(new URL('../golden/schedules.json', import.meta.url), 'utf8')) as Goldens;
const worst = (found: readonly number[], wanted: readonly number[]) =>
  Math.max(...wanted.map((w, i) => Math.abs((found[i] as number) - w))) / peak;

describe('rates', () => {
  test.each(cases.map((c) => [c.name, c] as const))('%s', (_, { parts, at, rates }) => {
    const schedule = fromJSON({ parts });
    expect(
      worst(
        at.map((t) => peak * schedule.factor(t)),
        rates,
      ),
    ).toBeLessThanOrEqual(1e-12);
  });
  test('every kind that JSON knows is among them', () => {
    let message = '';
    try {
      fromJSON({ parts: [{ kind: 'none' }] });
    } catch (error) {
      message = (error as Error).message;
    }
    const known = /known: (.*)\.$/.exec(message)?.[1]?.split(', ') ?? [];
    expect(known.length).toBeGreaterThan(10);
    const tried = new Set(cases.flatMap((c) => c.parts.map((p) => p.kind)));
    expect(known.filter((kind) => !tried.has(kind))).toEqual([]);
  });
});

test.each(plateaus.map((p) => [JSON.stringify(p.options), p] as const))(
  'plateau, 200 checks: %s',
  (_, { options, values, rates }) => {
    const rule = plateau(options);
    let lr = peak;
    const found = values.map((v) => {
      lr = rule.check(v, lr).lr;
      return lr;
    });
    expect(rates.at(-1)).toBeLessThan(peak);
    expect(worst(found, rates)).toBeLessThanOrEqual(1e-12);
  },
);
