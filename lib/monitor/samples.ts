// Sample outputs beside a run's log, samples.jsonl: a line for each time that the Trainer made some. Read by the report and the live page.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checkText } from '../native/errors.ts';
import type { ShownInput } from './eval-tables.ts';
import { type HistoryRecord, type HistoryValue, readHistory } from './history.ts';

export const samplesFile = 'samples.jsonl';
/** Outputs of one time at most, and bytes of them. */
export const samplesAtOnce = 64;
export const sampleBytes = 2 << 20;

/** What a model gave: text, or a picture as a data URL of a PNG. */
export interface ShownSample extends ShownInput {
  name: string;
}
/** What was made after one step. */
export interface SampleOutputs {
  attempt: number;
  step: number;
  epoch: number;
  samples: readonly ShownSample[];
}

/** The log reads the texts NaN, Infinity and -Infinity as numbers. */
const textOf = (v: HistoryValue | undefined): string | undefined =>
  typeof v === 'string' ? v : typeof v === 'number' ? String(v) : undefined;

/** What a record holds of outputs; undefined where it is of another type. A file may hold anything: what is no output is left out. */
export function sampleOutputs({ type, attempt, step, epoch, samples }: HistoryRecord): SampleOutputs | undefined {
  if (type !== 'samples' || !Array.isArray(samples)) return undefined;
  const shown = samples.slice(0, samplesAtOnce).flatMap((given): ShownSample[] => {
    const { name, text, image } = Object(given) as Record<string, HistoryValue | undefined>;
    const [named, words] = [textOf(name), textOf(text)];
    if (named === undefined) return [];
    if (typeof image === 'string') return [{ name: named, image }];
    return words === undefined ? [] : [{ name: named, text: words }];
  });
  return { attempt, step, epoch: typeof epoch === 'number' ? epoch : 0, samples: shown };
}

/**
 * The sample outputs of a run, in order; what a resumed run did again is there once. A run that was killed is read to its last whole record; `damaged` counts
 * the lines that could not be read. Nothing where the Trainer was asked for none.
 * @param dir the run's folder
 */
export async function readSamples(dir: string): Promise<{ outputs: SampleOutputs[]; damaged: number }> {
  checkText('readSamples', "the run's folder", dir);
  const path = join(dir, samplesFile);
  if (!(await stat(path).catch(() => undefined))) return { outputs: [], damaged: 0 };
  const { records, damaged } = await readHistory(path);
  return { outputs: records.flatMap((r) => sampleOutputs(r) ?? []), damaged: damaged.length };
}
