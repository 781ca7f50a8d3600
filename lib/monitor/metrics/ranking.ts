import { ConfigError, checkOptions, describe } from '../../native/errors.ts';
import { type Classes, checkCount, checkIgnore, checkRows, mergedState, type Scores } from './classes.ts';

export interface RankingOptions {
  /** Scores in a row, one class against the rest. Left out: two classes and one score a sample, that of class 1. */
  classes?: number;
  /** Targets of this value are not counted. Default -100. */
  ignoreIndex?: number;
}

/** How figures of several classes become one; undefined classes are left out. */
export type RankingAverage = 'macro' | 'weighted';

/**
 * ROC-AUC and PR-AUC (average precision), one class against the rest. All scores are kept (8 bytes each), so that the areas are those of the whole set,
 * however it came in batches, equal scores included. Definitions are scikit-learn's `roc_auc_score` and `average_precision_score`: without samples of both
 * kinds the first is NaN; without a positive the second is 0. Unlike there, an average passes over classes whose area is NaN.
 */
export class RankingMetrics {
  readonly classes: number | undefined;
  readonly #ignoreIndex: number;
  /** A row each: the target, then its scores. */
  #rows = new Float64Array(0);
  #used = 0;

  constructor(options: RankingOptions = {}) {
    checkOptions('RankingMetrics', options, ['classes', 'ignoreIndex']);
    this.classes = options.classes == null ? undefined : checkCount('RankingMetrics', 'classes', options.classes, 2);
    this.#ignoreIndex = checkIgnore('RankingMetrics', options.ignoreIndex);
  }
  get #width(): number {
    return this.classes ?? 1;
  }
  /** Samples counted. */
  get total(): number {
    return this.#used / (this.#width + 1);
  }

  /** Takes a batch. A NaN score ranks below all others. */
  add(scores: Scores, targets: Classes): this {
    const width = this.#width;
    checkRows('RankingMetrics.add', scores, targets, { width, classes: Math.max(2, width), ignore: this.#ignoreIndex });
    this.#reserve(targets.length * (width + 1));
    for (let i = 0; i < targets.length; i++) {
      if (targets[i] === this.#ignoreIndex) continue;
      this.#rows[this.#used++] = targets[i] as number;
      for (let c = 0; c < width; c++) {
        const v = scores[i * width + c] as number;
        this.#rows[this.#used++] = Number.isNaN(v) ? Number.NEGATIVE_INFINITY : v;
      }
    }
    return this;
  }
  #reserve(more: number): void {
    if (this.#used + more <= this.#rows.length) return;
    const grown = new Float64Array(Math.max(1024, 2 * this.#rows.length, this.#used + more));
    grown.set(this.#rows.subarray(0, this.#used));
    this.#rows = grown;
  }
  merge(other: RankingMetrics | readonly number[]): this {
    const state = mergedState('RankingMetrics.merge', RankingMetrics, other, -1);
    if (state.length % (this.#width + 1) !== 0)
      throw new ConfigError(`RankingMetrics.merge: a state of ${state.length} numbers is not of ${this.#width} scores a sample.`);
    this.#reserve(state.length);
    this.#rows.set(state, this.#used);
    this.#used += state.length;
    return this;
  }
  /** What `merge` takes on another rank. */
  state(): number[] {
    return [...this.#rows.subarray(0, this.#used)];
  }

  /** Both areas of each class (of class 1 where there is one score a sample), and its samples. */
  perClass(): { rocAuc: number; averagePrecision: number; support: number }[] {
    return Array.from({ length: this.#width }, (_, c) => this.#areas(c));
  }
  rocAuc(options: { average?: RankingAverage } = {}): number {
    return this.#average('rocAuc', options);
  }
  averagePrecision(options: { average?: RankingAverage } = {}): number {
    return this.#average('averagePrecision', options);
  }

  #average(which: 'rocAuc' | 'averagePrecision', options: { average?: RankingAverage }): number {
    checkOptions(`RankingMetrics.${which}`, options, ['average']);
    const { average = 'macro' } = options;
    if (average !== 'macro' && average !== 'weighted')
      throw new ConfigError(`RankingMetrics.${which}: average must be 'macro' or 'weighted', got ${describe(average)}.`);
    const weight = average === 'macro' || this.#width === 1 ? () => 1 : (f: { support: number }) => f.support;
    const defined = this.perClass().filter((f) => !Number.isNaN(f[which]));
    return defined.reduce((a, f) => a + weight(f) * f[which], 0) / defined.reduce((a, f) => a + weight(f), 0);
  }

  /** Counts are whole numbers, so the sums of the first area are exact in any order. */
  #areas(c: number): { rocAuc: number; averagePrecision: number; support: number } {
    const width = this.#width;
    const n = this.total;
    const positive = width === 1 ? 1 : c;
    const score = new Float64Array(n);
    for (let i = 0; i < n; i++) score[i] = this.#rows[i * (width + 1) + 1 + c] as number;
    const order = Uint32Array.from({ length: n }, (_, i) => i).sort((a, b) => compare(score[b] as number, score[a] as number));
    let [tp, fp, area, precision] = [0, 0, 0, 0];
    for (let i = 0; i < n; ) {
      const at = score[order[i] as number];
      let [hits, misses] = [0, 0];
      for (; i < n && score[order[i] as number] === at; i++)
        if (this.#rows[(order[i] as number) * (width + 1)] === positive) hits++;
        else misses++;
      area += misses * (2 * tp + hits);
      tp += hits;
      fp += misses;
      precision += hits * (tp / (tp + fp));
    }
    return { rocAuc: area / (2 * tp * fp), averagePrecision: tp === 0 ? 0 : precision / tp, support: tp };
  }
}

const compare = (a: number, b: number): number => (a < b ? -1 : a > b ? 1 : 0);
