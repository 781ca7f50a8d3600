import type { Histogram } from './events.ts';

/** Upper ends of TensorFlow's buckets (tensorflow/core/lib/histogram): 1e-12 times powers of 1.1 to 1e20, on both sides of 0, and the largest double. */
const limits: readonly number[] = (() => {
  const positive: number[] = [];
  for (let v = 1e-12; v < 1e20; v *= 1.1) positive.push(v);
  positive.push(Number.MAX_VALUE);
  return [...positive.map((v) => -v).reverse(), 0, ...positive];
})();

/** The bucket of a value: the first whose end is above it. */
function bucketOf(v: number): number {
  let [low, high] = [0, limits.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((limits[middle] as number) > v) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The histogram of what is finite; `skipped` counts the rest. Buckets run from the first that holds anything to the last, with an empty one before. */
export function histogramOf(values: ArrayLike<number>): { histogram: Histogram; skipped: number } {
  const h: Histogram = { min: Infinity, max: -Infinity, count: 0, sum: 0, sumSquares: 0, limits: [], counts: [] };
  const counts = new Float64Array(limits.length);
  for (let i = 0; i < values.length; i++) {
    const v = values[i] as number;
    if (!Number.isFinite(v)) continue;
    h.min = Math.min(h.min, v);
    h.max = Math.max(h.max, v);
    h.count++;
    h.sum += v;
    h.sumSquares += v * v;
    (counts[bucketOf(v)] as number)++;
  }
  if (h.count === 0)
    return { histogram: { ...h, min: 0, max: 0, limits: [Number.MAX_VALUE], counts: [0] }, skipped: values.length };
  const first = Math.max(0, counts.findIndex((c) => c > 0) - 1);
  const last = counts.findLastIndex((c) => c > 0);
  h.limits = limits.slice(first, last + 1);
  h.counts = [...counts.subarray(first, last + 1)];
  return { histogram: h, skipped: values.length - h.count };
}
