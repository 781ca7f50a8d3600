/** Values with their place: what a tensor is once it has been read. */
export interface Values {
  readonly shape: readonly number[];
  readonly data: ArrayLike<number>;
}

export interface Difference {
  /** Max |difference| over max |reference| (or over each element's own size); Infinity where something is plainly wrong. */
  readonly error: number;
  /** What is plainly wrong, or the place of the largest difference. */
  readonly at: string;
}

const sameSpecial = (a: number, b: number) => a === b || (Number.isNaN(a) && Number.isNaN(b));

/**
 * How far `actual` is from `expected`. Where the reference is inf or nan the result must be the same inf or nan; where it is all 0 the
 * scale is 1. `elementwise` measures each element against itself: for values that span many decades.
 */
export function difference(actual: Values, expected: Values, elementwise = false): Difference {
  const [a, b] = [actual.data, expected.data];
  if (String(actual.shape) !== String(expected.shape))
    return { error: Infinity, at: `shape [${actual.shape}], expected [${expected.shape}]` };
  let scale = 0;
  let worst = 0;
  let at = '';
  for (let i = 0; i < b.length; i++) if (Number.isFinite(b[i])) scale = Math.max(scale, Math.abs(b[i] as number));
  if (scale === 0) scale = 1;
  for (let i = 0; i < b.length; i++) {
    const [x, y] = [a[i] as number, b[i] as number];
    if (!Number.isFinite(y) || !Number.isFinite(x)) {
      if (!sameSpecial(x, y)) return { error: Infinity, at: `element ${i} is ${x}, expected ${y}` };
      continue;
    }
    const e = Math.abs(x - y) / (elementwise ? Math.max(Math.abs(y), 1e-30) : scale);
    if (e > worst) {
      worst = e;
      at = `element ${i} is ${x}, expected ${y}`;
    }
  }
  return { error: worst, at };
}

/** Throws unless `actual` is within `limit` of `expected`. */
export function expectClose(what: string, actual: Values, expected: Values, limit: number, elementwise = false): void {
  const { error, at } = difference(actual, expected, elementwise);
  if (!(error <= limit)) throw new Error(`${what}: error ${error.toExponential(2)} above ${limit.toExponential(1)}: ${at}`);
}
