import { ConfigError, checkList, checkOptions, DataError, describe, ShapeError } from '../../native/errors.ts';
import { type Classes, checkClasses, checkIgnore, mergedState } from './classes.ts';

/** Figures of one class. */
export interface ClassMetrics {
  label: string;
  /** Correct among those predicted as this class. */
  precision: number;
  /** Correct among those that are of this class. */
  recall: number;
  /** Harmonic mean of the two: 2 tp / (2 tp + fp + fn). */
  f1: number;
  /** Samples that are of this class. */
  support: number;
}

/** Averages over the classes. */
export type AverageMetrics = Omit<ClassMetrics, 'label'>;

export interface ConfusionOptions {
  /** Names of the classes; by default their indices. */
  labels?: readonly string[];
  /** Targets of this value are not counted. Default -100. */
  ignoreIndex?: number;
  /** The value of 0/0, such as the precision of a class never predicted. Default 0, as scikit-learn. */
  zeroDivision?: number;
}

/** Names for `k` classes. */
const labelsOf = (k: number, labels?: readonly string[]) =>
  (labels && checkList('ConfusionMatrix', 'labels', labels)) ?? Array.from({ length: k }, (_, i) => String(i));

/**
 * A confusion matrix that is filled batch by batch, and the figures that follow from it. Row: the true class; column: the
 * predicted one. Definitions are scikit-learn's; averages run over the classes that occur as target or prediction.
 */
export class ConfusionMatrix {
  readonly classes: number;
  readonly labels: readonly string[];
  /** classes x classes counts, row-major. */
  readonly counts: Float64Array;
  /** Samples of each true class without a prediction (-1); they count as wrong. */
  readonly unpredicted: Float64Array;
  readonly #ignoreIndex: number;
  readonly #zeroDivision: number;

  constructor(classes: number, options: ConfusionOptions = {}) {
    checkOptions('ConfusionMatrix', options, ['labels', 'ignoreIndex', 'zeroDivision']);
    if (!Number.isSafeInteger(classes) || classes < 1 || classes > 16384) {
      throw new ConfigError(`ConfusionMatrix: classes must be an integer from 1 to 16384, got ${describe(classes)}.`);
    }
    this.classes = classes;
    this.labels = labelsOf(classes, options.labels);
    if (this.labels.length !== classes) {
      throw new ConfigError(`ConfusionMatrix: ${this.labels.length} labels for ${classes} classes.`);
    }
    this.counts = new Float64Array(classes * classes);
    this.unpredicted = new Float64Array(classes);
    this.#ignoreIndex = checkIgnore('ConfusionMatrix', options.ignoreIndex);
    this.#zeroDivision = options.zeroDivision ?? 0;
    if (typeof this.#zeroDivision !== 'number')
      throw new ConfigError(`ConfusionMatrix: zeroDivision must be a number, got ${describe(this.#zeroDivision)}.`);
  }

  /**
   * Counts one batch. Throws ShapeError when the lengths differ and DataError for a class that does not exist; nothing is
   * counted then.
   */
  add(predictions: Classes, targets: Classes): this {
    const k = this.classes;
    checkClasses('ConfusionMatrix.add', predictions, targets);
    if (predictions.length !== targets.length) {
      throw new ShapeError(`ConfusionMatrix: ${predictions.length} predictions for ${targets.length} targets.`);
    }
    const isClass = (c: number) => Number.isInteger(c) && c >= 0 && c < k;
    for (let i = 0; i < targets.length; i++) {
      const t = targets[i] as number;
      const p = predictions[i] as number;
      if (t === this.#ignoreIndex) continue;
      if (!isClass(t)) throw new DataError(`ConfusionMatrix: target ${t} at ${i} is no class; there are ${k}, from 0.`);
      if (p !== -1 && !isClass(p))
        throw new DataError(`ConfusionMatrix: prediction ${p} at ${i} is no class; there are ${k}, from 0.`);
    }
    for (let i = 0; i < targets.length; i++) {
      const t = targets[i] as number;
      const p = predictions[i] as number;
      if (t === this.#ignoreIndex) continue;
      if (p === -1) (this.unpredicted[t] as number)++;
      else (this.counts[t * k + p] as number)++;
    }
    return this;
  }

  /** Adds another matrix's counts, or its state: of another rank, or of another part of the data. */
  merge(other: ConfusionMatrix | readonly number[]): this {
    if (other instanceof ConfusionMatrix && other.classes !== this.classes)
      throw new ShapeError(`ConfusionMatrix.merge: ${other.classes} classes into ${this.classes}.`);
    const k = this.classes;
    const state = mergedState('ConfusionMatrix.merge', ConfusionMatrix, other, k * k + k);
    for (let i = 0; i < k * k; i++) (this.counts[i] as number) += state[i] as number;
    for (let i = 0; i < k; i++) (this.unpredicted[i] as number) += state[k * k + i] as number;
    return this;
  }
  /** What `merge` takes on another rank, as plain numbers. */
  state(): number[] {
    return [...this.counts, ...this.unpredicted];
  }

  reset(): void {
    this.counts.fill(0);
    this.unpredicted.fill(0);
  }

  /** Samples of true class `target` predicted as `prediction`. */
  at(target: number, prediction: number): number {
    for (const c of [target, prediction])
      if (!Number.isInteger(c) || c < 0 || c >= this.classes)
        throw new DataError(`ConfusionMatrix.at: ${describe(c)} is no class; there are ${this.classes}, from 0.`);
    return this.counts[target * this.classes + prediction] ?? Number.NaN;
  }

  /** Samples counted. */
  get total(): number {
    return sum(this.counts) + sum(this.unpredicted);
  }

  #tally() {
    const k = this.classes;
    const correct = new Float64Array(k);
    const predicted = new Float64Array(k);
    const support = Float64Array.from(this.unpredicted);
    for (let t = 0; t < k; t++) {
      correct[t] = this.at(t, t);
      for (let p = 0; p < k; p++) {
        (support[t] as number) += this.at(t, p);
        (predicted[p] as number) += this.at(t, p);
      }
    }
    return { correct, predicted, support };
  }

  #ratio(a: number, b: number): number {
    return b === 0 ? this.#zeroDivision : a / b;
  }

  #metrics(correct: number, predicted: number, support: number): AverageMetrics {
    return {
      precision: this.#ratio(correct, predicted),
      recall: this.#ratio(correct, support),
      f1: this.#ratio(2 * correct, predicted + support),
      support,
    };
  }

  /** Share of the samples that are right; NaN before the first one. */
  accuracy(): number {
    return sum(this.#tally().correct) / this.total;
  }

  /** Precision, recall, F1 and support of each class. */
  perClass(): ClassMetrics[] {
    const { correct, predicted, support } = this.#tally();
    return this.labels.map((label, c) => ({
      label,
      ...this.#metrics(correct[c] as number, predicted[c] as number, support[c] as number),
    }));
  }

  /** Plain mean over the classes: rare ones weigh as much as common ones. */
  macro(): AverageMetrics {
    return this.#average(() => 1);
  }

  /** Mean over the classes, weighted by support. */
  weighted(): AverageMetrics {
    return this.#average((m) => m.support);
  }

  /** From the pooled counts. Where each sample has a prediction all three equal the accuracy. */
  micro(): AverageMetrics {
    const { correct, predicted, support } = this.#tally();
    return this.#metrics(sum(correct), sum(predicted), sum(support));
  }

  #average(weightOf: (m: ClassMetrics) => number): AverageMetrics {
    const { predicted } = this.#tally();
    const out = { precision: 0, recall: 0, f1: 0, support: 0 };
    let weights = 0;
    for (const [c, m] of this.perClass().entries()) {
      if (m.support === 0 && predicted[c] === 0) continue;
      const w = weightOf(m);
      weights += w;
      out.support += m.support;
      if (w === 0) continue; // 0 times an undefined precision is nothing, not NaN
      for (const name of ['precision', 'recall', 'f1'] as const) out[name] += w * m[name];
    }
    for (const name of ['precision', 'recall', 'f1'] as const) out[name] /= weights;
    return out;
  }

  /** The `n` pairs (10) of classes that are most often taken one for the other, by count. */
  mostConfused(n = 10): { target: string; prediction: string; count: number }[] {
    const pairs: { target: string; prediction: string; count: number }[] = [];
    for (let t = 0; t < this.classes; t++) {
      for (let p = 0; p < this.classes; p++) {
        const count = this.at(t, p);
        if (t !== p && count > 0) pairs.push({ target: this.labels[t] as string, prediction: this.labels[p] as string, count });
      }
    }
    return pairs.sort((a, b) => b.count - a.count).slice(0, n);
  }

  /** The per-class figures and their averages as a table of text, `digits` (4) behind the point. */
  report(digits = 4): string {
    const name = Math.max(12, ...this.labels.map((l) => l.length));
    const row = (label: string, m: AverageMetrics) =>
      [
        label.padEnd(name),
        ...[m.precision, m.recall, m.f1].map((v) => v.toFixed(digits).padStart(10)),
        String(m.support).padStart(9),
      ].join(' ');
    const head = [' '.repeat(name), ...['precision', 'recall', 'f1'].map((h) => h.padStart(10)), 'support'.padStart(9)].join(' ');
    const rows = this.perClass().map((m) => row(m.label, m));
    const averages = [row('macro', this.macro()), row('weighted', this.weighted()), row('micro', this.micro())];
    const lost = sum(this.unpredicted);
    const note = lost > 0 ? [`${lost} samples had no prediction (NaN) and count as wrong.`] : [];
    return [head, ...rows, '', ...averages, `accuracy ${this.accuracy().toFixed(digits)} on ${this.total} samples`, ...note].join(
      '\n',
    );
  }
}

const sum = (a: Float64Array) => a.reduce((x, y) => x + y, 0);
