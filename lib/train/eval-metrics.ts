import type { HostArray } from '../data/host.ts';
import {
  Calibration,
  ConfidentlyWrong,
  ConfusionMatrix,
  type DoubtfulSample,
  Perplexity,
  predictedClasses,
  probabilitiesOf,
  RankingMetrics,
  RegressionMetrics,
  type ReliabilityBin,
  Stratified,
  TopKAccuracy,
} from '../monitor/index.ts';
import { DataError } from '../native/errors.ts';
import { isFloat } from '../tensor/dtype.ts';
import { Tensor } from '../tensor/tensor.ts';
import { type AnyBatch, rowsIn, type TensorBatch } from './batch.ts';
import type { HostSample, Mistake } from './eval-files.ts';
import type { Evaluation } from './evaluate.ts';
import type { EvalMetrics } from './events.ts';

/**
 * What an evaluation can tell beside the loss. Of logits [..., classes] against i32 `y` [...]: 'accuracy', 'top5', 'averages' (macroPrecision, macroRecall,
 * macroF1, weightedF1), 'perClass', 'confusion', 'calibration' (ece, mce, reliability), 'mistakes' (the most confidently wrong, by sample id). 'rocAuc' and
 * 'averagePrecision': of the same, or of one score a sample against `y` of 0 and 1. 'regression': of an output of y's size. 'perplexity': exp of the loss'
 * first term, which is to be a plain cross-entropy.
 */
export const metricNames = [
  'accuracy',
  'perClass',
  'averages',
  'top5',
  'confusion',
  'rocAuc',
  'averagePrecision',
  'calibration',
  'mistakes',
  'regression',
  'perplexity',
] as const;
export type MetricName = (typeof metricNames)[number];
const ranked: readonly MetricName[] = ['rocAuc', 'averagePrecision'];

/** A confusion matrix as an evaluation tells it. */
export interface ConfusionTable {
  labels: readonly string[];
  /** Rows of true classes, columns of predicted ones. */
  counts: number[][];
  mostConfused: { target: string; prediction: string; count: number }[];
}
/** Figures of the samples that have this value in the column of `stratifyBy`. */
export interface StratumMetrics {
  stratum: string;
  samples: number;
  accuracy: number;
  macroF1: number;
}

/** An output and its targets on their way to the host. */
interface Reading {
  output: Promise<Float32Array>;
  y: Promise<ArrayLike<number>>;
  /** Scores in a row; 1 where the output has y's size. */
  width: number;
  ids: Int32Array | undefined;
  strata: Promise<ArrayLike<number>> | undefined;
}

/** What one rank's accumulator holds, for the others to take up. */
export interface EvalState {
  width: number;
  metrics: Record<string, number[]>;
  strata: [string, number[]][];
  mistakes: Mistake[];
}

/** Metrics that are filled batch by batch, each where it is wanted. */
interface Filled {
  confusion?: ConfusionMatrix;
  top5?: TopKAccuracy;
  ranking?: RankingMetrics;
  calibration?: Calibration;
  regression?: RegressionMetrics;
}

/** Fills the metrics of one evaluation, batch by batch. */
export class EvalAccumulator {
  readonly #names: ReadonlySet<MetricName>;
  readonly #stratifyBy: string | undefined;
  readonly #classNames: readonly string[] | undefined;
  /** Scores in a row; 0 until the first batch. */
  #width = 0;
  #filled: Filled = {};
  #mistakes: ConfidentlyWrong | undefined;
  #strata: Stratified<ConfusionMatrix> | undefined;
  /** Inputs of the worst so far, where they are wanted. */
  #inputs: Map<DoubtfulSample, HostSample | undefined> | undefined;
  #seen = 0;

  constructor({
    metrics,
    stratifyBy,
    classNames,
    mistakes,
  }: Pick<Evaluation, 'metrics' | 'stratifyBy' | 'classNames' | 'mistakes'>) {
    this.#names = new Set(metrics);
    this.#stratifyBy = stratifyBy;
    this.#classNames = classNames;
    this.#inputs = mistakes && new Map();
  }
  /** The most confidently wrong with their inputs. */
  get mistakes(): Mistake[] {
    return [...(this.#mistakes?.value() ?? [])].map((mistake) => ({ mistake, sample: this.#inputs?.get(mistake) }));
  }
  /** Does nothing but the loss' own terms need the output? */
  get idle(): boolean {
    return this.#stratifyBy === undefined && [...this.#names].every((n) => n === 'perplexity');
  }
  #wants(...names: MetricName[]): boolean {
    return names.some((n) => this.#names.has(n));
  }
  /** Does anything take predicted classes? */
  get #classes(): boolean {
    return this.#stratifyBy !== undefined || [...this.#names].some((n) => ![...ranked, 'regression', 'perplexity'].includes(n));
  }

  /** Queues the reading of a batch; throws DataError where the metrics cannot be of it. */
  read(output: Tensor, batch: TensorBatch): Reading {
    const { y, ids } = batch;
    const width = output.size === y.size ? 1 : (output.shape[output.ndim - 1] ?? 0);
    const rows = output.ndim >= 2 && output.size / width === y.size && y.dtype === 'i32';
    if (width === 1 ? this.#classes : this.#wants('regression') || !rows) this.#refuse(output, y, width);
    const column = this.#stratifyBy === undefined ? undefined : batch[this.#stratifyBy];
    if (this.#stratifyBy !== undefined && !(column instanceof Tensor && column.size === y.size && !isFloat(column.dtype)))
      throw new DataError(
        `evaluate: stratifyBy '${this.#stratifyBy}' needs a column of whole numbers, one for each of ${y}; the batch has ${column ? String(column) : Object.keys(batch).join(', ')}.`,
      );
    const strata = column instanceof Tensor ? (column.data() as Promise<ArrayLike<number>>) : undefined;
    const numbers = y.data() as Promise<ArrayLike<number>>;
    return {
      output: output.data() as Promise<Float32Array>,
      y: numbers,
      width,
      ids: ids?.length === y.size ? ids : undefined,
      strata,
    };
  }
  #refuse(output: Tensor, y: Tensor, width: number): never {
    const names = [...this.#names, ...(this.#stratifyBy === undefined ? [] : ['stratifyBy'])];
    const regression = this.#wants('regression') && width !== 1;
    const need = regression ? "an output of y's size" : 'logits [..., classes] and an i32 y of one class each';
    throw new DataError(
      `evaluate: metrics ${names.join(', ')} need ${need}; got ${output} and ${y}. Leave metrics out for other tasks.`,
    );
  }

  /** @param batch as the loader gave it */
  async add(reading: Reading, batch: AnyBatch): Promise<void> {
    const [output, given, strata] = await Promise.all([reading.output, reading.y, reading.strata]);
    const { width, ids } = reading;
    this.#open(width);
    const { confusion, top5, ranking, calibration, regression } = this.#filled;
    const y = given instanceof Int32Array ? given : Array.from(given);
    regression?.add(output, Array.from(given));
    ranking?.add(output, y);
    if (!confusion) return;
    const predicted = predictedClasses(output, width);
    confusion.add(predicted, y);
    top5?.add(output, y);
    const p = this.#wants('calibration', 'mistakes') ? probabilitiesOf(output, width) : [];
    calibration?.add(p, y);
    if (this.#mistakes) {
      this.#mistakes.add(p, y, ids);
      this.#keepInputs(this.#mistakes.value(), batch, ids, y.length);
    }
    if (strata) {
      const pick = (v: ArrayLike<number>, rows: number[]) => rows.map((i) => v[i] as number);
      this.#strata?.split(strata, (m, rows) => m.add(pick(predicted, rows), pick(y, rows)));
    }
  }

  /** Makes the metrics that are wanted, once it is known of how many scores. */
  #open(width: number): void {
    if (this.#width > 0) return;
    this.#width = width;
    this.#filled = {
      ...(this.#wants('regression') ? { regression: new RegressionMetrics() } : {}),
      ...(this.#wants(...ranked) ? { ranking: new RankingMetrics(width > 1 ? { classes: width } : {}) } : {}),
      ...(this.#classes ? { confusion: this.#matrix(width) } : {}),
      ...(this.#wants('top5') ? { top5: new TopKAccuracy({ classes: width, k: 5 }) } : {}),
      ...(this.#wants('calibration') ? { calibration: new Calibration({ classes: width }) } : {}),
    };
    if (this.#wants('mistakes')) this.#mistakes = new ConfidentlyWrong({ classes: width });
    if (this.#stratifyBy !== undefined) this.#strata = new Stratified(() => new ConfusionMatrix(width));
  }

  /** What it holds, for `merge` on another rank. */
  state(): EvalState {
    const metrics = Object.entries(this.#filled).map(([name, m]): [string, number[]] => [name, m.state()]);
    const strata = this.#strata?.entries().map(([name, m]): [string, number[]] => [name, m.state()]) ?? [];
    return { width: this.#width, metrics: Object.fromEntries(metrics), strata, mistakes: this.mistakes };
  }
  /** Takes up what another rank saw. */
  merge({ width, metrics, strata, mistakes }: EvalState): void {
    if (width === 0) return; // it had no batch
    this.#open(width);
    for (const [name, m] of Object.entries(this.#filled)) m.merge(metrics[name]);
    for (const [name, state] of strata) this.#strata?.of(name).merge(state);
    this.#mistakes?.merge(mistakes.map((m) => m.mistake));
    for (const { mistake, sample } of mistakes) this.#inputs?.set(mistake, sample);
  }

  #matrix(width: number): ConfusionMatrix {
    const labels = this.#classNames;
    if (labels && labels.length !== width)
      throw new DataError(`evaluate: ${labels.length} classNames for outputs of ${width} classes.`);
    return new ConfusionMatrix(width, labels ? { labels } : {});
  }
  /** Copies the rows of those among the worst that came with this batch; forgets those that are among them no more. */
  #keepInputs(worst: readonly DoubtfulSample[], batch: AnyBatch, ids: Int32Array | undefined, targets: number): void {
    const before = this.#inputs;
    if (!before) return;
    const perRow = targets / rowsIn(batch);
    const row = (s: DoubtfulSample) => (ids ? ids.indexOf(s.id) : Math.floor((s.id - this.#seen) / perRow));
    this.#inputs = new Map(worst.map((s) => [s, before.has(s) ? before.get(s) : sampleOf(batch, row(s))]));
    this.#seen += targets;
  }

  /** @param first sum and count of the loss' first term */
  finish(metrics: EvalMetrics, first: { sum: number; count: number } | undefined): void {
    const { confusion, top5, ranking, calibration, regression } = this.#filled;
    if (confusion) metrics.accuracy = confusion.accuracy();
    if (confusion && this.#wants('perClass')) metrics.perClass = confusion.perClass();
    if (confusion && this.#wants('averages')) {
      const { precision, recall, f1 } = confusion.macro();
      Object.assign(metrics, {
        macroPrecision: precision,
        macroRecall: recall,
        macroF1: f1,
        weightedF1: confusion.weighted().f1,
      });
    }
    if (confusion && this.#wants('confusion')) metrics.confusion = tableOf(confusion);
    if (top5) metrics.top5 = top5.value();
    if (ranking && this.#wants('rocAuc')) metrics.rocAuc = ranking.rocAuc();
    if (ranking && this.#wants('averagePrecision')) metrics.averagePrecision = ranking.averagePrecision();
    if (calibration)
      Object.assign(metrics, {
        ...{ ece: calibration.ece(), mce: calibration.mce() },
        reliability: calibration.bins() satisfies ReliabilityBin[],
      });
    if (this.#mistakes) metrics.mistakes = this.#mistakes.value() satisfies DoubtfulSample[];
    if (regression) Object.assign(metrics, regression.value());
    if (this.#wants('perplexity') && first) metrics.perplexity = new Perplexity().add(first.sum, first.count).value();
    if (this.#strata)
      metrics.strata = this.#strata.entries().map(([stratum, m]) => ({
        ...{ stratum, samples: m.total, accuracy: m.accuracy(), macroF1: m.macro().f1 },
      })) satisfies StratumMetrics[];
  }
}

function tableOf(m: ConfusionMatrix): ConfusionTable {
  const counts = m.labels.map((_, t) => [...m.counts.subarray(t * m.classes, (t + 1) * m.classes)]);
  return { labels: m.labels, counts, mostConfused: m.mostConfused() };
}

/** A copy of one row of the columns that are on the host. */
function sampleOf(batch: AnyBatch, row: number): HostSample {
  const columns = Object.entries(batch).flatMap(([name, column]): [string, HostArray][] => {
    if (!column || column instanceof Tensor || column instanceof Int32Array) return [];
    const [, ...shape] = column.shape;
    const size = shape.reduce((a, b) => a * b, 1);
    return [[name, { data: column.data.slice(row * size, (row + 1) * size), shape, dtype: column.dtype }]];
  });
  return Object.fromEntries(columns);
}
