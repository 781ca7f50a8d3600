/** Programs whose shapes fit compile (the project's type check includes them), run, and give the shapes that their types say. */
import { describe, expect, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import * as typed from '../../lib/typed/index.ts';
import { nets } from './right/nets.ts';
import { ops } from './right/ops.ts';

const programs = Object.entries({ ...ops, ...nets });

describe('programs that must compile', () => {
  test('are thirty or more', () => {
    expect(programs.length).toBeGreaterThanOrEqual(30);
  });
  test.for(programs)('%s', ([, run]) => {
    scope(run);
  });
});

describe('anneal/typed', () => {
  const rooms = [
    [{ ...typed.nn }, { ...anneal.nn }],
    [{ ...typed.losses }, { ...anneal.losses }],
  ] as readonly (readonly [Record<string, unknown>, Record<string, unknown>])[];

  test("has anneal's own objects", () => {
    const own = ['assertShape', 'typed', 'Parameter', 'nn', 'losses'];
    const plain: Record<string, unknown> = { ...anneal };
    expect(Object.entries(typed).filter(([name, value]) => !own.includes(name) && value !== plain[name])).toEqual([]);
    expect(typed.Parameter).toBe(anneal.Parameter);
    for (const [theirs, ours] of rooms)
      expect(Object.entries(theirs).filter(([name, value]) => value !== ours[name])).toEqual([]);
  });

  test('has every layer and loss of anneal', () => {
    for (const [theirs, ours] of rooms) expect(Object.keys(ours).filter((name) => !(name in theirs))).toEqual([]);
  });

  test('checks asserted shapes at run time', () => {
    const x: Tensor = anneal.zeros([2, 3]);
    expect(typed.typed(x, [null, 3])).toBe(x);
    expect(() => typed.typed(x, [3, null])).toThrow(
      expect.objectContaining({ name: 'ShapeError', message: 'assertShape: expected [3, any], got [2, 3]' }),
    );
    expect(() => typed.assertShape(x, [2])).toThrow(anneal.ShapeError);
    expect(() => typed.assertShape(x, [2, 3, 1])).toThrow(anneal.ShapeError);
    expect(() => typed.assertShape([2, 3] as never, [2])).toThrow(/must be a Tensor/);
    expect(() => typed.assertShape(x, 2 as never)).toThrow(/array of sizes/);
  });
});
