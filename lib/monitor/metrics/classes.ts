import { ConfigError, DataError, describe, ShapeError } from '../../native/errors.ts';

/** Class indices on the host, one a sample. -1 as a prediction is 'none': the model's output was NaN. */
export type Classes = Int32Array | readonly number[];

export const isClasses = (v: unknown): v is Classes => Array.isArray(v) || (ArrayBuffer.isView(v) && 'length' in v);

/** Throws ConfigError unless both are lists of class indices. */
export function checkClasses(where: string, predictions: Classes, targets: Classes): void {
  for (const [name, v] of Object.entries({ predictions, targets }))
    if (!isClasses(v))
      throw new ConfigError(
        `${where}: ${name} must be a list of class indices on the host, got ${describe(v)}. Read a tensor first: await x.data().`,
      );
}

export function checkIgnore(where: string, value = -100): number {
  if (!Number.isInteger(value)) throw new ConfigError(`${where}: ignoreIndex must be a whole number, got ${describe(value)}.`);
  return value;
}

/** What a metric was given to merge, as numbers: another of its kind, or what `state()` of one gave, which has this length (-1: any). */
export function mergedState<M extends { state(): number[] }>(
  where: string,
  kind: abstract new (...args: never[]) => M,
  other: M | readonly number[],
  length: number,
): readonly number[] {
  const state = other instanceof kind ? other.state() : other;
  if (!Array.isArray(state) || !state.every((v) => typeof v === 'number'))
    throw new ConfigError(`${where}: expected a ${kind.name}, or what its state() gave, got ${describe(other)}.`);
  if (length >= 0 && state.length !== length)
    throw new ShapeError(
      `${where}: a state of ${state.length} numbers, where this one has ${length}. Was it made with the same options?`,
    );
  return state;
}

/** Numbers on the host, row-major. */
export type Scores = Float32Array | Float64Array | readonly number[];

export function checkScores(where: string, name: string, v: unknown): Scores {
  if (!Array.isArray(v) && !(v instanceof Float32Array) && !(v instanceof Float64Array))
    throw new ConfigError(
      `${where}: ${name} must be numbers on the host (Float32Array, Float64Array or a list), got ${describe(v)}. Read a tensor first: await x.data().`,
    );
  return v;
}

/** Throws unless there is a row of `width` scores (the number of classes) for each target, and each target is a class or `ignore`. */
export function checkRows(
  where: string,
  scores: Scores,
  targets: Classes,
  { classes, width = classes, ignore }: { classes: number; width?: number; ignore: number },
): void {
  checkScores(where, 'scores', scores);
  if (!isClasses(targets))
    throw new ConfigError(`${where}: targets must be a list of class indices on the host, got ${describe(targets)}.`);
  if (scores.length !== targets.length * width)
    throw new ShapeError(`${where}: ${scores.length} scores are no rows of ${width} for ${targets.length} targets.`);
  for (let i = 0; i < targets.length; i++) {
    const t = targets[i] as number;
    if (t !== ignore && !(Number.isInteger(t) && t >= 0 && t < classes))
      throw new DataError(`${where}: target ${describe(t)} at ${i} is no class; there are ${classes}, from 0.`);
  }
}

/** Throws ConfigError unless `classes` is a sensible number of classes. */
export function checkCount(where: string, name: string, value: unknown, least = 1): number {
  if (!Number.isSafeInteger(value) || (value as number) < least || (value as number) > 2 ** 24)
    throw new ConfigError(`${where}: ${name} must be a whole number >= ${least}, got ${describe(value)}.`);
  return value as number;
}

/** Softmax of each row of logits in f64, for the metrics that take probabilities. A row with a NaN is all NaN. */
export function probabilitiesOf(logits: Scores, classes: number): Float64Array {
  checkScores('probabilitiesOf', 'logits', logits);
  checkCount('probabilitiesOf', 'classes', classes);
  if (logits.length % classes !== 0)
    throw new ShapeError(`probabilitiesOf: ${logits.length} logits are no whole rows of ${classes} classes.`);
  const out = Float64Array.from(logits);
  for (let r = 0; r < out.length; r += classes) {
    const row = out.subarray(r, r + classes);
    const top = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
    let total = 0;
    for (let c = 0; c < classes; c++) {
      row[c] = Math.exp((row[c] as number) - top);
      total += row[c] as number;
    }
    for (let c = 0; c < classes; c++) (row[c] as number) /= total;
  }
  return out;
}

/**
 * Index of the largest of each row's `classes` scores, the first of equals; -1 for a row with a NaN, so that a broken model
 * does not score the share of class 0. `scores` is row-major, rows x classes.
 */
export function predictedClasses(scores: Float32Array | Float64Array, classes: number): Int32Array {
  if (!Array.isArray(scores) && !(scores instanceof Float32Array) && !(scores instanceof Float64Array))
    throw new ConfigError(`predictedClasses: scores must be a Float32Array or Float64Array, got ${describe(scores)}.`);
  if (!Number.isSafeInteger(classes) || classes < 1 || scores.length % classes !== 0) {
    throw new ShapeError(`predictedClasses: ${scores.length} scores are no whole rows of ${describe(classes)} classes.`);
  }
  const out = new Int32Array(scores.length / classes);
  for (let r = 0; r < out.length; r++) {
    let best = 0;
    for (let c = 0; c < classes; c++) {
      const v = scores[r * classes + c] as number;
      if (Number.isNaN(v)) {
        best = -1;
        break;
      }
      if (v > (scores[r * classes + best] as number)) best = c;
    }
    out[r] = best;
  }
  return out;
}
