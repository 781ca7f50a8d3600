import { tensor } from '../../lib/tensor/create.ts';
import type { DType } from '../../lib/tensor/dtype.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';

let drawn = 0;
/** The next of a fixed sequence of numbers in [0, 1): the same in each run of a file. */
export function next(): number {
  drawn = (Math.imul(drawn ^ (drawn >>> 15), 0x2c1b3c6d) + 0x9e3779b9) | 0;
  const x = Math.imul(drawn ^ (drawn >>> 12), 0x297a2d39);
  return ((x ^ (x >>> 15)) >>> 0) / 2 ** 32;
}

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
export interface Between {
  low?: number;
  high?: number;
  dtype?: DType;
  requiresGrad?: boolean;
}

/** Uniform numbers between `low` and `high` (default -1.5 and 1.5); f64 that require a gradient unless told otherwise. */
export function values(
  shape: readonly number[],
  { low = -1.5, high = 1.5, dtype = 'f64', requiresGrad = true }: Between = {},
): Tensor {
  return tensor(
    Float64Array.from({ length: sizeOf(shape) }, () => low + (high - low) * next()),
    { shape, dtype, requiresGrad },
  );
}

/** A shuffled ladder: no two values nearer than 0.1, none near 0, so that no step of gradcheck crosses a tie or a kink. */
export function distinct(shape: readonly number[], dtype: DType = 'f64'): Tensor {
  const ladder = Float64Array.from({ length: sizeOf(shape) }, (_, i) => (i % 2 ? 0.1 : -0.1) * (Math.floor(i / 2) + 1));
  for (let i = ladder.length - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [ladder[i], ladder[j]] = [ladder[j] as number, ladder[i] as number];
  }
  return tensor(ladder, { shape, dtype, requiresGrad: true });
}

/** Whole numbers in [0, below). */
export const whole = (shape: readonly number[], below: number): Tensor =>
  tensor(
    Int32Array.from({ length: sizeOf(shape) }, () => Math.floor(next() * below)),
    { shape },
  );

/** Booleans, true with probability p. */
export const truths = (shape: readonly number[], p = 0.6): Tensor =>
  tensor(
    Uint8Array.from({ length: sizeOf(shape) }, () => +(next() < p)),
    { shape, dtype: 'bool' },
  );
