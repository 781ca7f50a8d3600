import { deepStrictEqual } from 'node:assert';
import type { Shaped } from 'anneal/typed';
import type { Same } from '../../../lib/typed/shape.ts';

/** Literal sizes; null where the type must say `number`. */
type Expected = readonly (number | null)[];
type Sizes<E extends Expected> = { -readonly [I in keyof E]: E[I] extends number ? E[I] : number };

/** The type's shape is exactly `expected` (the compiler sees to it), and so is the tensor's. */
export function has<S extends readonly number[], const E extends Expected>(
  x: Shaped<S>,
  expected: E & (Same<S, Sizes<E>> extends true ? unknown : { theTypeSays: S }),
): void {
  deepStrictEqual(
    x.shape.map((d, i) => (expected[i] === null ? null : d)),
    [...expected],
  );
}

/** What a test runs: by name, a program that compiles. */
export type Programs = Readonly<Record<string, () => void>>;
