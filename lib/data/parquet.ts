import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { ConfigError, checkOptions, DataError, describe } from '../native/errors.ts';
import { type DataFile, inspectFile } from './files.ts';
import { checkInteger } from './options.ts';
import { packageFile } from './packages.ts';
import { checkTableOptions, type Fail, type Field, Table, type TableDataset, type TableOptions, tableOptions } from './table.ts';
import { workerFile } from './worker-file.ts';

/** Options of `parquet`. */
export interface ParquetOptions extends TableOptions {
  /** Told after each group of rows how many are read. */
  progress?: (state: { readonly rows: number; readonly of: number }) => void;
  /** The longest time for one group of rows, in milliseconds: damage can make reading endless. Default 60,000. */
  timeoutMs?: number;
}

const where = 'data.parquet';

type Odd = { readonly kind: string };
/** What the thread says: first of the file, then of each group that is asked for. */
interface Contents {
  readonly names: readonly string[];
  /** Rows of each group, and of the file as it says. */
  readonly groups: readonly number[];
  readonly total: number;
  readonly nested?: string;
}
interface Group {
  readonly rows?: readonly (readonly (Field | Odd)[])[];
  readonly error?: string;
}

/** A thread that reads the file. */
class Reader {
  readonly #worker: Worker;
  readonly #timeoutMs: number;

  constructor(file: DataFile, reader: string, timeoutMs: number) {
    const workerData = { path: file.path, bytes: file.bytes, reader };
    this.#worker = new Worker(workerFile(where, 'parquet-worker.mjs', 'parquet-worker.cjs'), { execArgv: [], workerData });
    this.#worker.on('error', () => {}); // told by next(); an error that nobody waits for would end the process
    this.#timeoutMs = timeoutMs;
  }

  /** The next thing that it says. */
  async next<T>(): Promise<T> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), this.#timeoutMs);
    try {
      const [said] = await once(this.#worker, 'message', { signal: late.signal });
      return said as T;
    } catch (cause) {
      if (late.signal.aborted) throw new Error(`nothing was read in ${this.#timeoutMs} ms (timeoutMs)`);
      throw cause;
    } finally {
      clearTimeout(timer);
    }
  }

  async group(index: number, columns: readonly string[]): Promise<readonly (readonly (Field | Odd)[])[]> {
    this.#worker.postMessage({ index, columns });
    const { rows, error } = await this.next<Group>();
    if (!rows) throw new Error(error);
    return rows;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}

/**
 * Reads numbers from a Parquet file into a dataset with x [features] and, with a `label`, y []; columns that are not asked for are not read. Booleans are 0 and 1,
 * integers of 64 bits are rounded to the nearest number. Compressed by nothing, Snappy, gzip or Brotli. Needs the package hyparquet; runs on a thread of its own.
 * Throws DataError naming the file, and the row, for what is damaged or no number, or naming the package where it is missing.
 */
export async function parquet(path: string | URL, options: ParquetOptions = {}): Promise<TableDataset> {
  checkOptions(where, options, [...tableOptions, 'progress', 'timeoutMs']);
  checkTableOptions(where, options);
  const { progress } = options;
  if (progress !== undefined && typeof progress !== 'function')
    throw new ConfigError(`${where}: progress must be a function, got ${describe(progress)}.`);
  const timeoutMs = checkInteger(where, 'timeoutMs', options.timeoutMs ?? 60_000, 1, 2 ** 31 - 1);
  const info = await inspectFile(where, path);
  const fail: Fail = (row, what) => new DataError(`${where}: ${info.path}: ${row > 0 ? `row ${row}: ` : ''}${what}.`);
  const reader = new Reader(info, packageFile(where, 'hyparquet'), timeoutMs);
  let done = 0;
  const read = async <T>(part: Promise<T>): Promise<T> => {
    try {
      return await part;
    } catch (cause) {
      const what = `it is damaged, or of a kind that cannot be read (${(cause as Error).message})`;
      throw new DataError(`${where}: ${info.path}: ${what}${done ? `, after row ${done}` : ''}. Write it again.`, { cause });
    }
  };
  try {
    const { names, groups, total, nested } = await read(reader.next<Contents>());
    if (nested !== undefined)
      throw fail(0, `column "${nested}" is nested; only flat columns of numbers, booleans and texts are read`);
    const table = new Table(options, names, 0, fail);
    const { used } = table;
    const places = names.map((name) => used.indexOf(name));
    const of = groups.reduce((a, b) => a + b, 0);
    if (of !== total) throw fail(0, `its groups hold ${of} rows, but it says ${total}: it is damaged. Write it again`);
    for (const index of groups.keys()) {
      const rows = await read(reader.group(index, used));
      for (const fields of rows) {
        done++;
        const odd = fields.findIndex((f) => typeof f === 'object' && f !== null);
        if (odd >= 0) throw fail(done, `column "${used[odd]}" holds a ${(fields[odd] as Odd).kind}, which is no number`);
        table.add(
          done,
          places.map((at) => (at < 0 ? null : (fields[at] as Field))),
        );
      }
      progress?.({ rows: done, of });
    }
    return table.finish();
  } finally {
    await reader.close();
  }
}
