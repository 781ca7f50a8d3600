// The curves of a report: figures of the steps over one axis, and those of evaluations put in at their steps.
import { decimate } from '../charts/page.mjs';
import type { HistoryRecord } from '../history.ts';

export interface ReportCurve {
  name: string;
  /** f32, base64; one for each step. */
  values?: string;
  /** Or few: places on the axis and what is there. */
  at?: number[];
  few?: (number | null)[];
  color?: number;
  dash?: boolean;
}
export interface ReportChart {
  id: string;
  title: string;
  format: 'number' | 'bytes';
  curves: ReportCurve[];
}
/** What the page's script draws. */
export interface ReportCurves {
  /** Steps, f64, base64. */
  x: string;
  /** Steps told of in all, and how many stand in the page. */
  steps: number;
  kept: number;
  charts: ReportChart[];
  marks: { step: number; color: string }[];
  /** Steps whose loss or gradient norm was not finite; steps skipped. */
  broken: number[];
  skipped: number[];
}

/** Steps of which a page keeps every value; of more, the smallest and largest of equal parts. */
export const stepsKept = 100_000;
const marksShown = 200;

const base64 = (a: Float64Array | Float32Array): string => Buffer.from(a.buffer, a.byteOffset, a.byteLength).toString('base64');

/** Figures of step records that are no curves, or are drawn with another. */
const passed = new Set(['attempt', 'step', 'time', 'epoch', 'samples', 'seconds', 'deviceSeconds']);
const titles: Record<string, [title: string, format: 'number' | 'bytes', names: string[]]> = {
  loss: ['Loss', 'number', ['loss']],
  lr: ['Learning rate', 'number', ['lr', 'plannedLr']],
  gradNorm: ['Gradient norm', 'number', ['gradNorm', 'clippedGradNorm']],
  samplesPerSecond: ['Throughput (samples per second)', 'number', ['samplesPerSecond']],
  memory: ['Memory of the device', 'bytes', ['memory', 'peakMemory']],
  lossScale: ['Loss scale', 'number', ['lossScale']],
  updateRatio: ['Update-to-weight ratio', 'number', ['updateRatio']],
  dataSeconds: ['Waiting for data (seconds a step)', 'number', ['dataSeconds']],
};
const labels: Record<string, string> = {
  ...{
    loss: 'training loss',
    lr: 'applied',
    plannedLr: 'planned',
    gradNorm: 'before clipping',
    clippedGradNorm: 'after clipping',
  },
  ...{ samplesPerSecond: 'samples per second', memory: 'in use', peakMemory: 'peak', lossScale: 'loss scale' },
  ...{ updateRatio: 'update over weight', dataSeconds: 'waiting for data' },
};

/** Every figure of the steps over the axis; NaN where a record lacks it. */
function columns(steps: readonly HistoryRecord[]): Map<string, Float32Array> {
  const found = new Map<string, Float32Array>();
  steps.forEach((record, i) => {
    for (const [name, value] of Object.entries(record)) {
      if (typeof value !== 'number' || passed.has(name)) continue;
      const column = found.get(name) ?? new Float32Array(steps.length).fill(Number.NaN);
      found.set(name, column);
      column[i] = value;
    }
  });
  return found;
}

/** The charts of a run's records. */
export function curvesOf(records: readonly HistoryRecord[]): ReportCurves {
  const evals = records.filter((r) => r.type === 'eval');
  const told = records.filter((r) => r.type === 'step');
  const steps = (told.length ? told : evals).toSorted((a, b) => a.step - b.step);
  let x = Float64Array.from(steps, (r) => r.step);
  let values = columns(told.length ? steps : []);
  const broken = steps.filter((r) => [r.loss, r.gradNorm].some((v) => typeof v === 'number' && !Number.isFinite(v)));
  const skipped = steps.filter((r) => r.applied === false);
  if (steps.length > stepsKept) {
    const names = [...values.keys()];
    const [kept, ...rest] = decimate(x, [...values.values()], 0, steps.length, stepsKept / 2);
    x = Float64Array.from(kept as number[]);
    values = new Map(names.map((name, i) => [name, Float32Array.from(rest[i] as (number | null)[], (v) => v ?? Number.NaN)]));
  }
  const marks = [
    ...broken.slice(0, marksShown).map(({ step }) => ({ step, color: '--bad' })),
    ...skipped.slice(0, marksShown).map(({ step }) => ({ step, color: '--warn' })),
  ];
  return {
    ...{ x: base64(x), steps: steps.length, kept: x.length, charts: [...ofSteps(values, evals, x), ...ofEvals(evals, x)], marks },
    broken: broken.map((r) => r.step),
    skipped: skipped.map((r) => r.step),
  };
}

function ofSteps(values: Map<string, Float32Array>, evals: readonly HistoryRecord[], x: Float64Array): ReportChart[] {
  const inChart = new Set(Object.values(titles).flatMap(([, , names]) => names));
  const others = [...values.keys()].filter((name) => !inChart.has(name)).map((n) => [n, [n, 'number', [n]]] as const);
  return [...Object.entries(titles), ...others].flatMap(([id, [title, format, names]]): ReportChart[] => {
    const lines = names.filter((name, i) => values.has(name) && (i === 0 || differs(values, names[0] as string, name)));
    const curves: ReportCurve[] = lines.map((name, i) => ({
      ...{ name: labels[name] ?? name, values: base64(values.get(name) as Float32Array), color: i },
      ...(i > 0 ? { dash: true } : {}),
    }));
    if (id === 'loss') curves.push(...few(evals, 'val/loss', 'validation loss', x, 1));
    return curves.length ? [{ id, title, format, curves }] : [];
  });
}

/** Is the second curve worth drawing beside the first? */
function differs(values: Map<string, Float32Array>, first: string, second: string): boolean {
  const [a, b] = [values.get(first), values.get(second)];
  return !a || !b || b.some((v, i) => Math.abs(v - (a[i] as number)) > 1e-6 * Math.abs(v));
}

/** A figure of the evaluations, at the step of each or the next before it. */
function few(evals: readonly HistoryRecord[], name: string, label: string, x: Float64Array, color: number): ReportCurve[] {
  const told = evals.filter((r) => typeof r[name] === 'number' && x.length > 0);
  if (told.length === 0) return [];
  const place = (step: number) => {
    let [low, high] = [0, x.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((x[middle] as number) <= step) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const value = (v: number) => (Number.isFinite(v) ? v : null);
  return [{ name: label, at: told.map((r) => place(r.step)), few: told.map((r) => value(r[name] as number)), color }];
}

/** Shares from 0 to 1 (accuracy, F1, ...) in one chart, every other figure in its own. */
function ofEvals(evals: readonly HistoryRecord[], x: Float64Array): ReportChart[] {
  const names = [...new Set(evals.flatMap((r) => Object.keys(r).filter((n) => n.includes('/') && typeof r[n] === 'number')))];
  const drawn = names.filter((n) => n !== 'val/loss' && n !== 'val/samples');
  const share = (n: string) => evals.every((r) => typeof r[n] !== 'number' || !((r[n] as number) < 0 || (r[n] as number) > 1));
  const label = (n: string) => n.replace(/^val\//, '');
  const shares = drawn.filter(share);
  const together: ReportChart[] = [];
  for (let i = 0; i < shares.length; i += 6) {
    const curves = shares.slice(i, i + 6).flatMap((n, c) => few(evals, n, label(n), x, c));
    together.push({ id: `shares${i}`, title: i ? 'Validation, more' : 'Validation', format: 'number', curves });
  }
  const alone = drawn.filter((n) => !share(n)).slice(0, 12);
  return [
    ...together,
    ...alone.map((n): ReportChart => {
      const curves = few(evals, n, label(n), x, 0);
      return { id: `eval ${n}`, title: `Validation: ${label(n)}`, format: 'number', curves };
    }),
  ].filter((c) => c.curves.length > 0);
}
