import { ConfigError, checkOptions, describe, ShapeError } from '../../native/errors.ts';
import { type Classes, checkClasses, checkCount, checkIgnore, checkRows, mergedState, type Scores } from './classes.ts';

/** Share of the predictions that equal their target; NaN for none. Targets of `ignoreIndex` (-100) are not counted. */
export function accuracy(predictions: Classes, targets: Classes, options: { ignoreIndex?: number } = {}): number {
  checkOptions('accuracy', options, ['ignoreIndex']);
  return new Accuracy(options).add(predictions, targets).value();
}

/** Right ones among all, of one rank or several. */
abstract class Share {
  correct = 0;
  total = 0;

  /** Adds another's counts, or its state: of another rank, or of another part of the data. */
  merge(other: this | readonly number[]): this {
    const kind = this.constructor as new (...args: never[]) => Share;
    const [correct, total] = mergedState(`${kind.name}.merge`, kind, other, 2) as [number, number];
    this.correct += correct;
    this.total += total;
    return this;
  }
  /** What `merge` takes on another rank. */
  state(): number[] {
    return [this.correct, this.total];
  }
  /** NaN before the first sample. */
  value(): number {
    return this.correct / this.total;
  }
}

/** Accuracy, batch by batch. */
export class Accuracy extends Share {
  readonly #ignoreIndex: number;

  constructor(options: { ignoreIndex?: number } = {}) {
    super();
    checkOptions('Accuracy', options, ['ignoreIndex']);
    this.#ignoreIndex = checkIgnore('Accuracy', options.ignoreIndex);
  }

  /** Counts one batch. Throws ShapeError when the lengths differ. */
  add(predictions: Classes, targets: Classes): this {
    checkClasses('Accuracy.add', predictions, targets);
    if (predictions.length !== targets.length) {
      throw new ShapeError(`Accuracy: ${predictions.length} predictions for ${targets.length} targets.`);
    }
    for (let i = 0; i < targets.length; i++) {
      if (targets[i] === this.#ignoreIndex) continue;
      this.total++;
      if (predictions[i] === targets[i]) this.correct++;
    }
    return this;
  }
}

export interface TopKOptions {
  /** Scores in a row. */
  classes: number;
  /** A target among the k highest counts as right. Default 5. */
  k?: number;
  /** Of equal scores, which comes first: the lower index as in `predictedClasses` ('first'), or the higher as in scikit-learn ('last'). Default 'first'. */
  ties?: 'first' | 'last';
  /** Targets of this value are not counted. Default -100. */
  ignoreIndex?: number;
}

/** Share of the samples whose target is among the k highest scores. A row with a NaN is wrong. */
export class TopKAccuracy extends Share {
  readonly classes: number;
  readonly k: number;
  readonly #last: boolean;
  readonly #ignoreIndex: number;

  constructor(options: TopKOptions) {
    super();
    checkOptions('TopKAccuracy', options, ['classes', 'k', 'ties', 'ignoreIndex']);
    const { classes, k = 5, ties = 'first' } = options ?? ({} as TopKOptions);
    this.classes = checkCount('TopKAccuracy', 'classes', classes);
    this.k = checkCount('TopKAccuracy', 'k', k);
    if (ties !== 'first' && ties !== 'last')
      throw new ConfigError(`TopKAccuracy: ties must be 'first' or 'last', got ${describe(ties)}.`);
    this.#last = ties === 'last';
    this.#ignoreIndex = checkIgnore('TopKAccuracy', options.ignoreIndex);
  }

  /** Counts one batch: rows x classes scores (logits or probabilities), row-major. */
  add(scores: Scores, targets: Classes): this {
    const k = this.classes;
    checkRows('TopKAccuracy.add', scores, targets, { classes: k, ignore: this.#ignoreIndex });
    for (let i = 0; i < targets.length; i++) {
      const t = targets[i] as number;
      if (t === this.#ignoreIndex) continue;
      this.total++;
      const own = scores[i * k + t] as number;
      let before = 0;
      for (let c = 0; c < k && before <= this.k; c++) {
        const v = scores[i * k + c] as number;
        if (Number.isNaN(v)) before = Number.POSITIVE_INFINITY;
        else if (v > own || (v === own && (this.#last ? c > t : c < t))) before++;
      }
      if (before < this.k) this.correct++;
    }
    return this;
  }
}
