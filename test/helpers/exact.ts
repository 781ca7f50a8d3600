/** Results that are known exactly, because they are made of whole numbers that stay small, and the check that has no tolerance. */
import { expect } from 'vitest';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { rounded } from './rounding.ts';

export type Floats = 'f32' | 'f16' | 'bf16';
export const floats: readonly Floats[] = ['f32', 'f16', 'bf16'];

/** Whole numbers in [0, below), a sequence for each name. */
export const drawn = (name: string): ((below: number) => number) => {
  const stream = new PhiloxStream(31, name);
  return (below) => Math.floor(below * stream.uniform());
};
/** Whole numbers from -most to most, none of them 0. */
export function whole(n: number, most: number, name: string): number[] {
  const next = drawn(name);
  return Array.from({ length: n }, () => (next(2) ? -1 : 1) * (1 + next(most)));
}

/** Fails unless every element is the expected one, rounded once to the dtype; or, where `relative` is given, within that part of it. */
export async function expectExact(found: Tensor, expected: ArrayLike<number>, what: string, relative = 0): Promise<void> {
  const values = await found.data();
  const exact = Array.from(found.dtype === 'i32' ? expected : rounded(expected, found.dtype as Floats));
  const wrong = exact.findIndex((e, i) => !(Math.abs((values[i] as number) - e) <= relative * Math.abs(e) || values[i] === e));
  expect([wrong, values[wrong], exact[wrong]], `${what}, element ${wrong}`).toEqual([-1, undefined, undefined]);
}
