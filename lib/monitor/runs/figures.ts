import type { HistoryRecord, HistoryValue } from '../history.ts';
import type { RunFolder } from './read.ts';

/** One figure over a run. */
export interface Figure {
  /** As in the records: 'loss', 'val/accuracy'. */
  name: string;
  last: number;
  /** The best of what is finite, by what the name tells: losses and errors small, else large; NaN where none is. */
  best: number;
  /** Where it was. */
  step: number;
}

/** Is less better? By the names that metrics have here and elsewhere. */
export const lessIsBetter = (name: string): boolean =>
  /loss|error|err$|perplexity|(^|\/)(mse|mae|mape|rmse|nll|ece|mce|bpb|bpc|cer|wer|maxError|bias)$/i.test(name);

/** The training loss and every figure of the evaluations, in the order in which they are first told. */
export function figuresOf(run: RunFolder): Figure[] {
  const found = new Map<string, Figure>();
  const see = (name: string, value: number, step: number) => {
    const figure = found.get(name) ?? { name, last: value, best: Number.NaN, step };
    found.set(name, figure);
    figure.last = value;
    const better = lessIsBetter(name) ? value < figure.best : value > figure.best;
    if (!Number.isFinite(value) || !(Number.isNaN(figure.best) || better)) return;
    figure.best = value;
    figure.step = step;
  };
  for (const r of run.history.records) {
    if (r.type === 'step' && typeof r.loss === 'number') see('loss', r.loss, r.step);
    if (r.type !== 'eval') continue;
    for (const [name, value] of Object.entries(r))
      if (name.includes('/') && name !== 'val/samples' && typeof value === 'number') see(name, value, r.step);
  }
  return [...found.values()];
}

/** The losses of the steps, in order. */
export const lossesOf = (records: readonly HistoryRecord[]): number[] =>
  records.filter((r) => r.type === 'step' && typeof r.loss === 'number').map((r) => r.loss as number);

/** A configuration as lines: 'optimizer.groups.0.lr' and its value. */
export function flat(value: HistoryValue | undefined, path = ''): Map<string, string> {
  if (Array.isArray(value) && value.every((v) => typeof v !== 'object')) return new Map([[path, value.join(', ')]]);
  if (typeof value !== 'object' || value === null || Object.keys(value).length === 0)
    return new Map(value === undefined ? [] : [[path, typeof value === 'object' ? JSON.stringify(value) : String(value)]]);
  return new Map(Object.entries(value).flatMap(([k, v]) => [...flat(v, path ? `${path}.${k}` : k)]));
}

/** What two runs were told differently: configuration, then environment, without what is another at every start. */
export function differences(a: RunFolder, b: RunFolder): { name: string; a: string | undefined; b: string | undefined }[] {
  const passing = /^environment\.(pid|argv)/;
  const facts = ({ run }: RunFolder) =>
    new Map([...flat(run?.configuration), ...flat(run?.environment, 'environment')].filter(([name]) => !passing.test(name)));
  const [left, right] = [facts(a), facts(b)];
  return [...new Set([...left.keys(), ...right.keys()])]
    .filter((name) => left.get(name) !== right.get(name))
    .map((name) => ({ name, a: left.get(name), b: right.get(name) }));
}
