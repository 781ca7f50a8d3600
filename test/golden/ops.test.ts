import { describe, expect, test } from 'vitest';
import type { GoldenFamily, OpCase } from './golden.ts';
import { casesOf, loadOps, runOp } from './run.ts';

const families: readonly GoldenFamily[] = [
  'unary',
  'binary',
  'reduce',
  'matmul',
  'conv',
  'norm',
  'attention',
  'loss',
  'index',
  'layers',
  'losses',
  'array',
];
const ops = await loadOps();
const present = (c: OpCase) => ops.functions.has(c.op);
const promised = (c: OpCase) => !c.tags?.includes('optional');

for (const family of families) {
  describe(family, () => {
    const cases = casesOf(family);
    test('every op that the goldens name is there', () => {
      const missing = new Set(cases.filter((c) => promised(c) && !present(c)).map((c) => c.op));
      expect([...missing], ops.broken.join('\n')).toEqual([]);
    });
    for (const c of cases.filter(present)) test(c.name, () => runOp(c));
    // The reference of every other kernel must itself be right.
    for (const c of cases.filter(present)) test(`${c.name}, f64`, () => runOp(c, 'f64'));
  });
}
