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
  const { step, figures } = Object(value) as Partial<EvalTables>;
  if (!Number.isSafeInteger(step) || typeof figures !== 'object')
    throw new DataError(`${path}: no tables of an evaluation: step and figures are missing.`);
  return value as EvalTables;
}

/** Where a text called NaN is a text. */
const textual = new Set(['label', 'target', 'prediction', 'text', 'image', 'stratum']);
