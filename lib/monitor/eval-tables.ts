// The tables of an evaluation beside a run's log: eval/latest.json and eval/best.json. Written whole, read by the report and the live page.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ConfigError, checkText, DataError, describe } from '../native/errors.ts';
import type { ReliabilityBin } from './metrics/calibration.ts';
import type { ClassMetrics } from './metrics/confusion.ts';
import type { DoubtfulSample } from './metrics/samples.ts';

/** What was given to the model: a picture as a data URL of a PNG, or text. */
export interface ShownInput {
  image?: string;
  text?: string;
}
export interface ShownMistake extends DoubtfulSample {
  input?: ShownInput;
}
export interface ConfusedPair {
  target: string;
  prediction: string;
  count: number;
}

/** The tables of one evaluation; which there are the Trainer's `metrics` say. */
export interface EvalTables {
  attempt: number;
  step: number;
  epoch: number;
  /** Every figure that is a number. */
  figures: Record<string, number>;
  /** Names of the classes. */
  labels?: readonly string[];
  perClass?: readonly ClassMetrics[];
  /** Rows of true classes, columns of predicted ones. Left out beyond `classesShown`. */
  confusion?: readonly (readonly number[])[];
  mostConfused?: readonly ConfusedPair[];
  reliability?: readonly ReliabilityBin[];
  strata?: readonly { stratum: string; samples: number; accuracy: number; macroF1: number }[];
  mistakes?: readonly ShownMistake[];
}

/** Beyond so many classes a confusion matrix is not written: the most confused pairs tell what can be seen of it. */
export const classesShown = 200;
export const evalFolder = 'eval';

/** The tables of the best evaluation (where early stopping looked for it) or the latest; undefined where there is none, or none that can be read. */
export async function readEvalTables(dir: string, which: 'best' | 'latest'): Promise<EvalTables | undefined> {
  checkText('readEvalTables', "the run's folder", dir);
  if (which !== 'best' && which !== 'latest')
    throw new ConfigError(`readEvalTables: which must be 'best' or 'latest', got ${describe(which)}.`);
  const path = join(dir, evalFolder, `${which}.json`);
  const text = await readFile(path, 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    const named: Record<string, number> = {
      NaN: Number.NaN,
      Infinity: Number.POSITIVE_INFINITY,
      '-Infinity': Number.NEGATIVE_INFINITY,
    };
    value = JSON.parse(text, (key, v) => (textual.has(key) || typeof v !== 'string' || !Object.hasOwn(named, v) ? v : named[v]));
  } catch (cause) {
    throw new DataError(`${path}: not JSON: ${(cause as Error).message}.`, { cause });
  }
  const tables = Object(value) as Partial<EvalTables>;
  if (!Number.isSafeInteger(tables.step) || typeof tables.figures !== 'object' || tables.figures === null)
    throw new DataError(`${path}: no tables of an evaluation: step and figures are missing.`);
  return withoutOthers(tables as EvalTables);
}

type Kinds = { readonly [field: string]: 'number' | 'string' };
const rows = {
  perClass: { label: 'string', precision: 'number', recall: 'number', f1: 'number', support: 'number' },
  mostConfused: { target: 'string', prediction: 'string', count: 'number' },
  reliability: { from: 'number', to: 'number', count: 'number', confidence: 'number', accuracy: 'number' },
  strata: { stratum: 'string', samples: 'number', accuracy: 'number', macroF1: 'number' },
  mistakes: { id: 'number', target: 'number', prediction: 'number', confidence: 'number', targetProbability: 'number' },
} as const satisfies { readonly [table: string]: Kinds };

/** A file may hold anything: what is no row of its table is left out, so that readers can rely on the types. */
function withoutOthers(given: EvalTables): EvalTables {
  const { attempt, step, epoch, figures, labels, confusion } = given;
  const number = (v: unknown) => (typeof v === 'number' ? v : 0);
  const isRow = (row: unknown, kinds: Kinds) =>
    typeof row === 'object' && row !== null && Object.entries(kinds).every(([k, kind]) => typeof row[k as never] === kind);
  const tables = Object.entries(rows).flatMap(([name, kinds]) => {
    const list: unknown = given[name as keyof EvalTables];
    return Array.isArray(list) ? [[name, list.filter((row) => isRow(row, kinds))]] : [];
  });
  const numbers = (v: unknown): boolean => Array.isArray(v) && v.every((n) => typeof n === 'number');
  return {
    ...{ attempt: number(attempt), step, epoch: number(epoch) },
    figures: Object.fromEntries(Object.entries(figures).filter(([, v]) => typeof v === 'number')),
    ...(Array.isArray(labels) && labels.every((l) => ['string', 'number'].includes(typeof l))
      ? { labels: labels.map(String) }
      : {}),
    ...(Array.isArray(confusion) && confusion.every(numbers) ? { confusion } : {}),
    ...Object.fromEntries(tables),
  };
}

/** Where a text called NaN is a text. */
const textual = new Set(['label', 'target', 'prediction', 'text', 'image', 'stratum']);
