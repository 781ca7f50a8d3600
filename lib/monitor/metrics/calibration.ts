import { checkOptions } from '../../native/errors.ts';
import { type Classes, checkCount, checkIgnore, checkRows, mergedState, type Scores } from './classes.ts';

export interface CalibrationOptions {
  /** Probabilities in a row. */
  classes: number;
  /** Bins of equal width from 0 to 1. Default 15. */
  bins?: number;
  /** Targets of this value are not counted. Default -100. */
  ignoreIndex?: number;
}

/** One bar of the reliability diagram. */
export interface ReliabilityBin {
  /** Confidences above `from`, up to `to`. */
  from: number;
  to: number;
  count: number;
  /** Mean confidence; NaN in an empty bin. */
  confidence: number;
  /** Share that was right; NaN in an empty bin. */
  accuracy: number;
}

/**
 * Does a classifier's confidence (its highest probability) mean what it says? Expected calibration error: the mean over samples of
 * |accuracy - confidence| of the bin they fall into. Guo et al., On Calibration of Modern Neural Networks, 2017. Rows with a NaN are counted in `broken`.
 */
export class Calibration {
  readonly classes: number;
  /** Samples whose probabilities hold a NaN. */
  broken = 0;
  readonly #ignoreIndex: number;
  /** Per bin: samples, right ones, sum of confidences. */
  readonly #sums: Float64Array;

  constructor(options: CalibrationOptions) {
    checkOptions('Calibration', options, ['classes', 'bins', 'ignoreIndex']);
    const { classes, bins = 15 } = options ?? ({} as CalibrationOptions);
    this.classes = checkCount('Calibration', 'classes', classes, 2);
    this.#sums = new Float64Array(3 * checkCount('Calibration', 'bins', bins));
    this.#ignoreIndex = checkIgnore('Calibration', options.ignoreIndex);
  }

  /** Counts one batch: rows x classes probabilities, row-major (`probabilitiesOf` makes them of logits). */
  add(probabilities: Scores, targets: Classes): this {
    const k = this.classes;
    checkRows('Calibration.add', probabilities, targets, { classes: k, ignore: this.#ignoreIndex });
    const bins = this.#sums.length / 3;
    for (let i = 0; i < targets.length; i++) {
      if (targets[i] === this.#ignoreIndex) continue;
      let best = 0;
      let nan = false;
      for (let c = 0; c < k; c++) {
        const v = probabilities[i * k + c] as number;
        nan ||= Number.isNaN(v);
        if (v > (probabilities[i * k + best] as number)) best = c;
      }
      if (nan) {
        this.broken++;
        continue;
      }
      const confidence = probabilities[i * k + best] as number;
      const b = 3 * binOf(confidence, bins);
      (this.#sums[b] as number)++;
      if (best === targets[i]) (this.#sums[b + 1] as number)++;
      (this.#sums[b + 2] as number) += confidence;
    }
    return this;
  }
  merge(other: Calibration | readonly number[]): this {
    const state = mergedState('Calibration.merge', Calibration, other, this.#sums.length + 1);
    for (let i = 0; i < this.#sums.length; i++) (this.#sums[i] as number) += state[i] as number;
    this.broken += state[this.#sums.length] as number;
    return this;
  }
  /** What `merge` takes on another rank. */
  state(): number[] {
    return [...this.#sums, this.broken];
  }

  bins(): ReliabilityBin[] {
    const n = this.#sums.length / 3;
    return Array.from({ length: n }, (_, i) => {
      const [count, right, confidence] = this.#sums.subarray(3 * i, 3 * i + 3) as unknown as [number, number, number];
      return { from: i / n, to: (i + 1) / n, count, confidence: confidence / count, accuracy: right / count };
    });
  }
  /** Expected calibration error; NaN before the first sample. */
  ece(): number {
    const full = this.bins().filter((b) => b.count > 0);
    const gaps = full.reduce((a, b) => a + b.count * Math.abs(b.accuracy - b.confidence), 0);
    return gaps / full.reduce((a, b) => a + b.count, 0);
  }
  /** The largest gap of any bin; NaN before the first sample. */
  mce(): number {
    const full = this.bins().filter((b) => b.count > 0);
    return full.length === 0 ? Number.NaN : Math.max(...full.map((b) => Math.abs(b.accuracy - b.confidence)));
  }
}

/** The bin (i / n, (i + 1) / n] that holds it; 0 belongs to the first. By comparison with the edges, which a product may miss by a bit. */
function binOf(confidence: number, n: number): number {
  let b = Math.max(0, Math.min(n - 1, Math.ceil(confidence * n) - 1));
  while (b > 0 && confidence <= b / n) b--;
  while (b < n - 1 && confidence > (b + 1) / n) b++;
  return b;
}
