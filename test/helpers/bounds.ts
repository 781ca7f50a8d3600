import { expect } from 'vitest';
import type { DType, FloatDType } from '../../lib/tensor/dtype.ts';
import { difference, type Values } from './compare.ts';
import { rounded, unitRoundoff } from './rounding.ts';

/** Roundings to the dtype on the way: one forward; backward rules of several calls round between them, and save what was rounded. */
export const roundings = { forward: 1, grad: 4 };

export interface Held extends Values {
  readonly dtype: DType;
}
export interface Bound {
  /** What f32 arithmetic may leave. */
  f32: number;
  /** What the dtype's roundings may add. */
  rounding: number;
  elementwise: boolean;
}

/**
 * Throws unless a result is within the bound of the exact one, which the plain f64 kernel gave for the same rounded operands. What is no float must be
 * equal.
 */
export function againstExact(what: string, actual: Held, exact: Held, bound: Bound): void {
  const dtype = actual.dtype as FloatDType;
  if (!(dtype in unitRoundoff)) {
    expect(Array.from(actual.data), what).toEqual(Array.from(exact.data));
    return;
  }
  // Rounded, so that what overflows the dtype is infinite on both sides.
  const expected = { shape: exact.shape, data: rounded(exact.data, dtype) };
  const limit = bound.f32 + bound.rounding;
  const { error, at } = difference(actual, expected, bound.elementwise);
  if (!(error <= limit))
    throw new Error(`${what} (${dtype}): error ${error.toExponential(2)} above ${limit.toExponential(1)}: ${at}`);
}
