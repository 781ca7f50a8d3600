/** The middle value, of an even number the mean of both; NaN of none. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = Float64Array.from(values).sort();
  const half = sorted.length >> 1;
  return sorted.length % 2 ? (sorted[half] as number) : ((sorted[half - 1] as number) + (sorted[half] as number)) / 2;
}

export const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** The values cut into `parts` runs of about one length, fewer where there are fewer values. */
export function cut<T>(values: readonly T[], parts: number): T[][] {
  const n = Math.min(parts, values.length);
  const at = (i: number) => Math.round((i * values.length) / n);
  return Array.from({ length: n }, (_, i) => values.slice(at(i), at(i + 1)));
}

/** Share of pairs that fall minus share of those that rise (Kendall's tau against time): 1 where every value is below the ones before it. */
export function falling(values: readonly number[]): number {
  let [score, pairs] = [0, 0];
  for (let i = 0; i < values.length; i++)
    for (let j = i + 1; j < values.length; j++) {
      score += Math.sign((values[i] as number) - (values[j] as number));
      pairs++;
    }
  return pairs ? score / pairs : 0;
}

/** A number as evidence shows it. */
export const shown = (v: number): string =>
  Number.isInteger(v) && Math.abs(v) < 1e6 ? String(v) : String(Number(v.toPrecision(3)));
export const percent = (share: number): string => `${Math.round(100 * share)} %`;
