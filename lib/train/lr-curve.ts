import { plotSvg, plotText } from '../schedule/plot.ts';

/** Suggestions of a learning rate: each a rate of the first group. */
export interface LearningRateSuggestions {
  /** A quarter of the rate at which the loss was least, just below the point from which it rises. The guide's, and the default. */
  belowRise: number;
  /** Midpoint of the longest falling stretch. */
  valley: number;
  /** Where the loss falls fastest, by the logarithm of the rate. */
  steepest: number;
}

/** Moving averages over each place and `radius` on both sides, as far as there are any. */
function smooth(values: readonly number[], radius: number): number[] {
  return values.map((_, i) => {
    const near = values.slice(Math.max(0, i - radius), i + radius + 1);
    return near.reduce((sum, v) => sum + v, 0) / near.length;
  });
}

/** First and last place of the longest falling subsequence. */
function longestFall(values: readonly number[]): [number, number] {
  const length = values.map(() => 1);
  const before = values.map((_, i) => i);
  let end = 0;
  for (let i = 1; i < values.length; i++) {
    for (let j = 0; j < i; j++)
      if ((values[i] as number) < (values[j] as number) && (length[j] as number) + 1 > (length[i] as number)) {
        length[i] = (length[j] as number) + 1;
        before[i] = j;
      }
    if ((length[i] as number) > (length[end] as number)) end = i;
  }
  let start = end;
  while (before[start] !== start) start = before[start] as number;
  return [start, end];
}

/** The loss over the rate, of `findLearningRate`; printed, it is a plot with the suggestions. */
export class LearningRateCurve {
  /** Rates of the steps, rising. */
  readonly rates: readonly number[];
  /** Losses of the steps, each before its update. */
  readonly losses: readonly number[];
  /** Moving averages of the losses. */
  readonly smoothed: readonly number[];
  readonly suggestions: LearningRateSuggestions;

  constructor(rates: readonly number[], losses: readonly number[]) {
    this.rates = rates;
    this.losses = losses;
    this.smoothed = smooth(losses, Math.max(1, Math.round(losses.length / 30)));
    // The first tenth is what the model was before, the last points are the fall.
    const [from, to] = [Math.floor(losses.length / 10), losses.length - 5];
    const [seen, at] = [this.smoothed.slice(from, to), rates.slice(from, to)];
    const least = seen.indexOf(Math.min(...seen));
    const slopes = seen.map((_, i) => {
      const [a, b] = [Math.max(0, i - 1), Math.min(seen.length - 1, i + 1)];
      return ((seen[b] as number) - (seen[a] as number)) / Math.log((at[b] as number) / (at[a] as number));
    });
    const [start, end] = longestFall(seen.slice(0, least + 1)); // what falls behind the rise falls from a height of its own
    this.suggestions = {
      belowRise: (at[least] as number) / 4,
      valley: at[Math.floor((start + end) / 2)] as number,
      steepest: at[slopes.indexOf(Math.min(...slopes.slice(0, least + 1)))] as number,
    };
  }

  /** The default suggestion, `belowRise`. */
  get suggestion(): number {
    return this.suggestions.belowRise;
  }

  /** The smoothed loss over the logarithm of the rate, `width` columns and `height` rows of text, and the suggestions. */
  plot({ width = 60, height = 8 }: { width?: number; height?: number } = {}): string {
    const all = Object.entries(this.suggestions).map(([name, lr]) => `${name} ${lr.toExponential(1)}`);
    return `${plotText(this.#columns(width), height, this.#ends())}\nsuggested learning rate: ${all.join(', ')}`;
  }
  /** The same curve as a self-contained SVG picture. */
  toSVG({ width = 640, height = 240 }: { width?: number; height?: number } = {}): string {
    return plotSvg(
      this.#columns(this.smoothed.length),
      width,
      height,
      this.#ends(),
      `loss over learning rate; suggested ${this.suggestion.toExponential(1)}`,
    );
  }
  toString(): string {
    return this.plot();
  }

  #ends(): [string, string] {
    return [this.rates[0] as number, this.rates.at(-1) as number].map((lr) => lr.toExponential(0)) as [string, string];
  }
  /** `count` of the smoothed losses; a rise beyond half more than the first is cut, so that the fall can be seen. */
  #columns(count: number): Float64Array {
    const { smoothed } = this;
    const most = 1.5 * (smoothed[0] as number);
    const last = smoothed.length - 1;
    return Float64Array.from({ length: count }, (_, i) =>
      Math.min(most, smoothed[Math.round((i * last) / Math.max(1, count - 1))] as number),
    );
  }
}
