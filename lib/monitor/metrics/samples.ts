import { ConfigError, checkFunction, checkOptions, DataError, describe, ShapeError } from '../../native/errors.ts';
import { type Classes, checkCount, checkRows, isClasses, type Scores } from './classes.ts';

/** A sample that the model got wrong, or whose label it doubts. */
export interface DoubtfulSample {
  /** As the loader numbers samples; the place in the order of `add` where no ids were given. */
  id: number;
  target: number;
  prediction: number;
  /** Probability of the prediction. */
  confidence: number;
  /** Probability of the target. */
  targetProbability: number;
}

/** The `keep` wrong predictions made with the highest probability, batch by batch; equal ones by id. To be looked at: they tell of systematic mistakes. */
export class ConfidentlyWrong {
  readonly classes: number;
  readonly keep: number;
  #worst: DoubtfulSample[] = [];
  #seen = 0;

  constructor(options: { classes: number; keep?: number }) {
    checkOptions('ConfidentlyWrong', options, ['classes', 'keep']);
    const { classes, keep = 20 } = options ?? ({} as { classes: number; keep?: number });
    this.classes = checkCount('ConfidentlyWrong', 'classes', classes, 2);
    this.keep = checkCount('ConfidentlyWrong', 'keep', keep);
  }
  /** Targets of -100 are passed over; so are rows with a NaN. */
  add(probabilities: Scores, targets: Classes, ids?: Classes): this {
    const k = this.classes;
    checkRows('ConfidentlyWrong.add', probabilities, targets, { classes: k, ignore: -100 });
    if (ids != null && (!isClasses(ids) || ids.length !== targets.length))
      throw new ShapeError(
        `ConfidentlyWrong.add: ids must be one for each of the ${targets.length} targets, got ${describe(ids)}.`,
      );
    for (let i = 0; i < targets.length; i++) {
      const target = targets[i] as number;
      const id = ids ? (ids[i] as number) : this.#seen + i;
      const prediction = target === -100 ? target : highest(probabilities, i * k, k);
      if (prediction === target || prediction < 0) continue;
      const confidence = probabilities[i * k + prediction] as number;
      if (this.#worst.length >= this.keep && confidence < (this.#worst[this.keep - 1] as DoubtfulSample).confidence) continue;
      this.#insert({ id, target, prediction, confidence, targetProbability: probabilities[i * k + target] as number });
    }
    this.#seen += targets.length;
    return this;
  }
  /** @param other another one, or what its value() gave on another rank */
  merge(other: ConfidentlyWrong | readonly DoubtfulSample[]): this {
    const worst = other instanceof ConfidentlyWrong ? other.value() : other;
    if (!Array.isArray(worst) || !worst.every((s) => Number.isFinite(Object(s).confidence)))
      throw new ConfigError(
        `ConfidentlyWrong.merge: expected a ConfidentlyWrong, or what its value() gave, got ${describe(other)}.`,
      );
    for (const s of worst as readonly DoubtfulSample[]) this.#insert(s);
    return this;
  }
  #insert(s: DoubtfulSample): void {
    const before = (a: DoubtfulSample) => a.confidence > s.confidence || (a.confidence === s.confidence && a.id <= s.id);
    const at = this.#worst.findIndex((a) => !before(a));
    this.#worst.splice(at < 0 ? this.#worst.length : at, 0, s);
    this.#worst.length = Math.min(this.#worst.length, this.keep);
  }
  /** The most confident first. */
  value(): DoubtfulSample[] {
    return [...this.#worst];
  }
}

/** The first of the highest; -1 where there is a NaN. */
function highest(scores: Scores, from: number, n: number): number {
  let best = 0;
  for (let c = 0; c < n; c++) {
    const v = scores[from + c] as number;
    if (Number.isNaN(v)) return -1;
    if (v > (scores[from + best] as number)) best = c;
  }
  return best;
}

/**
 * Samples whose label is probably wrong, by confident learning (Northcutt et al., Confident Learning, 2021): class j is likely for a sample where its
 * probability reaches the mean probability of j among the samples labelled j; a sample whose likeliest such class is not its label is doubted.
 * The probabilities must be out of sample (from models that did not train on these samples: cross-validation folds), else the model has learnt
 * the mistakes by heart and nothing is found. Ordered by how much more probable the other class is.
 * @param probabilities rows x classes, row-major
 * @throws DataError where a probability is NaN
 */
export function suspectedLabelErrors(probabilities: Scores, labels: Classes, options: { classes: number }): DoubtfulSample[] {
  checkOptions('suspectedLabelErrors', options, ['classes']);
  const k = checkCount('suspectedLabelErrors', 'classes', options?.classes, 2);
  checkRows('suspectedLabelErrors', probabilities, labels, { classes: k, ignore: -100 });
  const [sums, counts] = [new Float64Array(k), new Float64Array(k)];
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i] as number;
    if (label === -100) continue;
    if (highest(probabilities, i * k, k) < 0) throw new DataError(`suspectedLabelErrors: a probability of sample ${i} is NaN.`);
    (sums[label] as number) += probabilities[i * k + label] as number;
    (counts[label] as number)++;
  }
  const threshold = sums.map((s, c) => s / (counts[c] as number)); // NaN for a class without samples: nothing reaches it
  const doubted: DoubtfulSample[] = [];
  for (let id = 0; id < labels.length; id++) {
    const target = labels[id] as number;
    if (target === -100) continue;
    const p = (c: number) => probabilities[id * k + c] as number;
    let likely = -1;
    // Where all of a class are alike its mean may round above them.
    for (let c = 0; c < k; c++) if (p(c) >= (threshold[c] as number) - 1e-6 && (likely < 0 || p(c) > p(likely))) likely = c;
    if (likely < 0 || likely === target) continue;
    doubted.push({ id, target, prediction: likely, confidence: p(likely), targetProbability: p(target) });
  }
  const margin = (s: DoubtfulSample) => s.confidence - s.targetProbability;
  return doubted.sort((a, b) => margin(b) - margin(a) || a.id - b.id);
}

/**
 * One metric for each value of a column: accuracy by site, by language, by device.
 * @example const bySite = new Stratified(() => new Accuracy()); bySite.of(site).add(predictions, targets)
 */
export class Stratified<M> {
  readonly #make: () => M;
  readonly #parts = new Map<string, M>();

  constructor(make: () => M) {
    checkFunction('Stratified', 'the first argument', make, '() => new monitor.Accuracy()');
    this.#make = make;
  }
  /** The metric of one stratum, made when first asked for. */
  of(stratum: string | number): M {
    if (typeof stratum !== 'string' && typeof stratum !== 'number')
      throw new ConfigError(`Stratified.of: a stratum is a text or a number, got ${describe(stratum)}.`);
    const key = String(stratum);
    const found = this.#parts.get(key) ?? this.#make();
    this.#parts.set(key, found);
    return found;
  }
  /** Cuts a batch by its strata and hands each part's rows to `add` with that part's metric. */
  split(strata: ArrayLike<string | number>, add: (metric: M, rows: number[]) => void): this {
    if (!Array.isArray(strata) && !ArrayBuffer.isView(strata))
      throw new ConfigError(`Stratified.split: strata must be a list, one for each sample, got ${describe(strata)}.`);
    checkFunction('Stratified.split', 'the second argument', add, '(metric, rows) => ...');
    const rows = new Map<string, number[]>();
    for (let i = 0; i < strata.length; i++) {
      const stratum = strata[i] as string | number;
      this.of(stratum);
      const known = rows.get(String(stratum));
      if (known) known.push(i);
      else rows.set(String(stratum), [i]);
    }
    for (const [stratum, list] of rows) add(this.of(stratum), list);
    return this;
  }
  /** Strata and their metrics, numbers in their order, then texts in theirs. */
  entries(): [string, M][] {
    const number = (key: string) => (key.trim() === '' || Number.isNaN(Number(key)) ? undefined : Number(key));
    return [...this.#parts].sort(([a], [b]) => {
      const [x, y] = [number(a), number(b)];
      if (x !== undefined && y !== undefined) return x - y;
      return +(x === undefined) - +(y === undefined) || (a < b ? -1 : 1);
    });
  }
}
