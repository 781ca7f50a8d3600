import type { HistoryRecord } from '../history.ts';
import type { LayerFigures } from '../layer-stats.ts';
import { median } from './numbers.ts';

/** A step as rules see it; what a record lacks, or has as something else, is undefined. */
export interface StepView {
  readonly step: number;
  readonly applied: boolean;
  readonly reason: string | undefined;
  readonly epoch: number | undefined;
  readonly loss: number | undefined;
  readonly lr: number | undefined;
  readonly plannedLr: number | undefined;
  readonly gradNorm: number | undefined;
  readonly clippedGradNorm: number | undefined;
  readonly lossScale: number | undefined;
  readonly updateRatio: number | undefined;
  readonly seconds: number | undefined;
  readonly dataSeconds: number | undefined;
  readonly deviceSeconds: number | undefined;
  readonly sampleIds: readonly number[] | undefined;
}
export interface EvalView {
  readonly step: number;
  readonly figures: Readonly<Record<string, number>>;
}
export interface ClassView {
  readonly label: string;
  readonly support: number;
  readonly recall: number;
}
/** The first op that made NaN, as a run recorded it. */
export interface AnomalyView {
  readonly step: number;
  readonly op: string;
  readonly module: string | undefined;
  readonly backwardOf: string | undefined;
  readonly at: string | undefined;
}

type Fields = Readonly<Record<string, unknown>>;
const number = (v: unknown): number | undefined => (typeof v === 'number' ? v : undefined);
const text = (v: unknown): string | undefined => (typeof v === 'string' ? v : undefined);
const list = (v: unknown): readonly unknown[] => (Array.isArray(v) ? v : []);
const fields = (v: unknown): Fields => (typeof v === 'object' && v !== null && !Array.isArray(v) ? (v as Fields) : {});

function stepOf(r: HistoryRecord): StepView {
  const ids = r.sampleIds === undefined ? [] : list(r.sampleIds).filter((v): v is number => typeof v === 'number');
  // One literal: made of spread parts it takes several times as long, and a run that goes on is looked at again and again.
  return {
    step: r.step,
    applied: r.applied !== false,
    reason: text(r.reason),
    epoch: number(r.epoch),
    loss: number(r.loss),
    lr: number(r.lr),
    plannedLr: number(r.plannedLr),
    gradNorm: number(r.gradNorm),
    clippedGradNorm: number(r.clippedGradNorm),
    lossScale: number(r.lossScale),
    updateRatio: number(r.updateRatio),
    seconds: number(r.seconds),
    dataSeconds: number(r.dataSeconds),
    deviceSeconds: number(r.deviceSeconds),
    sampleIds: ids.length ? ids : undefined,
  };
}

function layersOf(r: HistoryRecord): LayerFigures[] {
  return list(r.layers)
    .map(fields)
    .filter((l) => typeof l.name === 'string' && typeof l.kind === 'string')
    .map((l) => {
      const figures = Object.entries(l).filter(([name, v]) => name === 'name' || name === 'kind' || typeof v === 'number');
      return Object.fromEntries(figures) as unknown as LayerFigures;
    });
}

function classesOf(r: HistoryRecord): ClassView[] {
  return list(r.classes)
    .map(fields)
    .map((c) => ({ label: String(c.label), support: number(c.support) ?? 0, recall: number(c.recall) ?? Number.NaN }));
}

function anomalyOf(r: HistoryRecord): AnomalyView {
  const { op, module, backwardOf, at } = r;
  return { step: r.step, op: text(op) ?? 'an op', module: text(module), backwardOf: text(backwardOf), at: text(at) };
}

/** A run's records sorted by kind, whatever is missing or damaged in them; and figures that several rules take. */
export class RunView {
  readonly run: Fields;
  readonly steps: readonly StepView[];
  readonly evals: readonly EvalView[];
  readonly layers: readonly { step: number; layers: readonly LayerFigures[] }[];
  readonly classes: readonly { step: number; classes: readonly ClassView[] }[];
  readonly anomalies: readonly AnomalyView[];
  /** Steps at which someone set a rate while the run went on. */
  readonly controls: readonly number[];
  /** Losses of the steps that were applied and finite, with their steps. */
  readonly losses: readonly { step: number; loss: number }[];
  /** The first loss, or the median of the first few where that is less, and the median of the last. */
  readonly startLoss: number;
  readonly endLoss: number;

  constructor(records: readonly HistoryRecord[]) {
    const of = (type: string) => records.filter((r) => r.type === type);
    this.run = of('run').at(-1) ?? {};
    this.steps = of('step').map(stepOf);
    this.evals = of('eval').map((r) => ({
      step: r.step,
      figures: Object.fromEntries(Object.entries(r).filter((e): e is [string, number] => typeof e[1] === 'number')),
    }));
    this.layers = of('layers').map((r) => ({ step: r.step, layers: layersOf(r) }));
    this.classes = of('classes').map((r) => ({ step: r.step, classes: classesOf(r) }));
    this.anomalies = of('anomaly').map(anomalyOf);
    this.controls = of('control')
      .filter((r) => typeof r.lr === 'number')
      .map((r) => r.step);
    this.losses = this.steps.flatMap(({ step, loss, applied }) =>
      applied && loss !== undefined && Number.isFinite(loss) ? [{ step, loss }] : [],
    );
    const n = this.losses.length;
    const ends = Math.max(3, Math.min(50, Math.round(n / 20)));
    const values = this.losses.map((l) => l.loss);
    // A rate that is too high shows from the second step on.
    this.startLoss = Math.min(values[0] ?? Number.NaN, median(values.slice(0, Math.min(ends, 5))));
    this.endLoss = median(values.slice(-ends));
  }

  /** Has this share of the planned steps been done? True where nobody knows how many there are. */
  isPast(share: number): boolean {
    const total = this.run.totalSteps;
    return typeof total !== 'number' || this.lastStep >= share * total;
  }
  /** Did a loss or a gradient norm become NaN or infinite? */
  get broke(): boolean {
    return this.steps.some((s) => [s.loss, s.gradNorm].some((v) => v !== undefined && !Number.isFinite(v)));
  }
  get lastStep(): number {
    return this.steps.at(-1)?.step ?? 0;
  }
  /** Share of the loss at the beginning that is left at the end; NaN for losses that are not positive. */
  get lossLeft(): number {
    return this.startLoss > 0 ? this.endLoss / this.startLoss : Number.NaN;
  }
  /** How far updates moved the weights, but for the first few steps, which are a warm-up's or Adam's. */
  get updateRatios(): readonly { step: number; ratio: number }[] {
    const all = this.steps.flatMap(({ step, updateRatio }) => (updateRatio === undefined ? [] : [{ step, ratio: updateRatio }]));
    const later = all.filter((r) => r.step >= 8);
    return later.length ? later : all;
  }
  /** A figure of the evaluations that have it as a number that is not NaN. */
  evaluated(name: string): { step: number; value: number }[] {
    return this.evals.flatMap(({ step, figures }) => {
      const value = figures[name];
      return value === undefined || Number.isNaN(value) ? [] : [{ step, value }];
    });
  }
}
