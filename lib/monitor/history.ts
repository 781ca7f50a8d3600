import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { DataError } from '../native/errors.ts';

/** A value of a record as JSON has it, and numbers that JSON lacks: NaN and the infinities are written as their names. */
export type HistoryValue = number | string | boolean | null | readonly HistoryValue[] | { readonly [key: string]: HistoryValue };

/**
 * One line of a run's history. `attempt` counts the starts of the run (a resume is a new attempt), `step` the optimizer
 * steps done. `type` is 'step', 'eval', ... ; all else are values under their metric's name, such as 'loss', 'val/loss'.
 */
export interface HistoryRecord {
  attempt: number;
  step: number;
  type: string;
  [name: string]: HistoryValue;
}

/** A place where records go. `write` never waits: a sink must not slow training. */
export interface Sink {
  /** A run starts or resumes: later records are of this attempt, which goes on after step `from`. */
  begin?(attempt: number, from: number): void;
  write(record: HistoryRecord): void;
  /** Waits until all that was written has arrived; throws what went wrong on the way. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

const named: Record<string, number> = {
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  '-Infinity': Number.NEGATIVE_INFINITY,
};

/** One line of JSON without its end. JSON would write NaN as null, which hides it. */
export function formatRecord(record: HistoryRecord): string {
  return JSON.stringify(record, (_, v) => (typeof v === 'number' && !Number.isFinite(v) ? String(v) : v));
}

/** The record of a line. Throws DataError unless it is one. */
export function parseRecord(line: string): HistoryRecord {
  let value: unknown;
  try {
    value = JSON.parse(line, (_, v) => (typeof v === 'string' && Object.hasOwn(named, v) ? named[v] : v));
  } catch (cause) {
    throw new DataError('not JSON', { cause });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new DataError('not an object');
  const { attempt, step, type } = value as Record<string, unknown>;
  if (!Number.isSafeInteger(attempt) || !Number.isSafeInteger(step) || typeof type !== 'string') {
    throw new DataError('without attempt, step and type');
  }
  return value as HistoryRecord;
}

/**
 * The records that count: before each start of the run only those up to the step from which it went on. The lost tail of a run that was
 * killed and resumed is so overwritten by what was done again. 'attempt' records are left out.
 * @param records in the order in which they were written
 */
export function supersede(records: readonly HistoryRecord[]): HistoryRecord[] {
  const counting: HistoryRecord[] = [];
  let limit = Number.POSITIVE_INFINITY; // walked backwards: the lowest step from which a later start went on
  let start = limit; // of the attempt being walked
  for (let i = records.length - 1; i >= 0; i--) {
    const record = records[i] as HistoryRecord;
    if (record.attempt !== records[i + 1]?.attempt) limit = Math.min(limit, start);
    if (record.type !== 'attempt' && record.step <= limit) counting.push(record);
    // What a resume writes at its own step (an evaluation, a control) belongs to the step that the attempt before it did.
    start = Math.min(start, record.type === 'step' ? record.step - 1 : record.step);
    if (record.type === 'attempt') limit = Math.min(limit, record.step);
  }
  return counting.reverse();
}

/** What a history file holds. */
export interface HistoryFile {
  /** The records that count, in the order of the file. */
  records: HistoryRecord[];
  /** The attempt of the last start, 0 where there is none. */
  attempt: number;
  /** Lines of older attempts that a later one did again. */
  superseded: number;
  /** Lines that could not be read: the one cut short by a kill, or damage. Shown, not hidden. */
  damaged: { line: number; reason: string }[];
}

/** Reads a history that `JsonLinesSink` wrote. Throws DataError where there is no such file. */
export async function readHistory(path: string): Promise<HistoryFile> {
  const all: HistoryRecord[] = [];
  const damaged: HistoryFile['damaged'] = [];
  const stream = createReadStream(path, 'utf8');
  let line = 0;
  try {
    for await (const text of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
      line++;
      if (text.trim() === '') continue;
      try {
        all.push(parseRecord(text));
      } catch (error) {
        damaged.push({ line, reason: (error as Error).message });
      }
    }
  } catch (cause) {
    throw new DataError(`${path}: the history cannot be read: ${(cause as Error).message}.`, { cause });
  } finally {
    stream.destroy();
  }
  const records = supersede(all);
  const starts = all.filter((r) => r.type === 'attempt').length;
  const attempt = all.reduce((a, r) => Math.max(a, r.attempt), 0);
  return { records, attempt, superseded: all.length - starts - records.length, damaged };
}

/** One metric over the steps. */
export interface Series {
  steps: number[];
  values: number[];
}

/**
 * The history in memory, by metric: numbers only, 16 bytes a value. A sink, so that it is filled like the others. `begin`
 * drops the lost tail.
 */
export class History implements Sink {
  readonly #series = new Map<string, Series>();

  /** Names of the metrics seen so far, of whatever type of record. */
  get names(): string[] {
    return [...this.#series.keys()];
  }

  /** Steps and values of one metric, in order; empty for a name not seen. */
  series(name: string): Readonly<Series> {
    return this.#series.get(name) ?? { steps: [], values: [] };
  }

  /** The last value of a metric, or undefined. */
  last(name: string): number | undefined {
    return this.#series.get(name)?.values.at(-1);
  }

  begin(_attempt: number, from: number): void {
    for (const s of this.#series.values()) {
      let n = s.steps.length;
      while (n > 0 && (s.steps[n - 1] as number) > from) n--;
      s.steps.length = n;
      s.values.length = n;
    }
  }

  write(record: HistoryRecord): void {
    for (const [name, value] of Object.entries(record)) {
      if (typeof value !== 'number' || name === 'attempt' || name === 'step' || name === 'time') continue;
      const s = this.#series.get(name) ?? { steps: [], values: [] };
      this.#series.set(name, s);
      s.steps.push(record.step);
      s.values.push(value);
    }
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {}
}
