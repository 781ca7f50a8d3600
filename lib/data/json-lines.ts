import { ConfigError, checkOptions, DataError, describe } from '../native/errors.ts';
import type { Dataset } from './dataset.ts';
import { checkBytes, inspectFile, readChunks } from './files.ts';

/** What is wrong with a line: handed to a policy of one's own. */
export interface BadLine {
  readonly path: string;
  readonly line: number;
  readonly text: string;
  readonly error: DataError;
}

/** What becomes of a bad line: 'throw', 'skip' (it is counted), or a function that gives another value, or undefined to skip it. */
export type BadLinePolicy<S> = 'throw' | 'skip' | ((bad: BadLine) => S | undefined);

/** Options of `jsonLines`. */
export interface JsonLinesOptions<S> {
  /** Makes a sample of a line's value; what it throws makes the line bad. Default: the value itself. */
  map?: (value: unknown, line: number) => S;
  /** Default 'throw'. */
  badLines?: BadLinePolicy<S>;
  /** The longest line in bytes. Default 16 MiB. */
  maxLine?: number;
  /** Told after each 64 KiB how many bytes of how many on disk are read (inflated bytes for gzip) and how many samples there are. */
  progress?: (state: { readonly bytes: number; readonly of: number; readonly samples: number }) => void;
}

/** What `jsonLines` read. */
export interface JsonLines<S> {
  readonly dataset: Dataset<S>;
  /** Lines that were bad and left out. */
  readonly skipped: number;
}

class Samples<S> implements Dataset<S> {
  readonly length: number;
  readonly #samples: readonly S[];
  constructor(samples: readonly S[]) {
    this.#samples = samples;
    this.length = samples.length;
  }
  get(i: number): S {
    if (Number.isInteger(i) && i >= 0 && i < this.length) return this.#samples[i] as S;
    throw new DataError(`sample ${describe(i)} does not exist: there are ${this.length} samples, 0 to ${this.length - 1}.`);
  }
}

/** Lines as bytes, without their end, with numbers from 1; too long: its first bytes, `long`. */
class Lines {
  #held: Buffer[] = [];
  #size = 0;
  #line = 1;
  constructor(readonly most: number) {}

  *push(chunk: Buffer): Generator<{ line: number; bytes: Buffer; long: boolean }> {
    let from = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      this.#keep(chunk.subarray(from, end));
      yield this.#take();
      from = end + 1;
    }
    this.#keep(chunk.subarray(from));
  }
  *finish(): Generator<{ line: number; bytes: Buffer; long: boolean }> {
    if (this.#size > 0) yield this.#take();
  }
  #keep(part: Buffer): void {
    if (this.#size <= this.most) this.#held.push(part);
    this.#size += part.length;
  }
  #take() {
    const taken = { line: this.#line++, bytes: Buffer.concat(this.#held), long: this.#size > this.most };
    this.#held = [];
    this.#size = 0;
    return taken;
  }
}

/**
 * Reads JSON lines, plain or gzip: one JSON value a line, UTF-8, blank lines passed over. Throws DataError naming file and line, unless `badLines` says otherwise;
 * damaged gzip and unreadable files always throw.
 */
export async function jsonLines<S = unknown>(path: string | URL, options: JsonLinesOptions<S> = {}): Promise<JsonLines<S>> {
  const where = 'data.jsonLines';
  checkOptions(where, options, ['map', 'badLines', 'maxLine', 'progress']);
  const { map, badLines = 'throw', progress } = options;
  const maxLine = checkBytes(where, options.maxLine ?? 2 ** 24);
  for (const [name, fn] of Object.entries({ map, progress }))
    if (fn !== undefined && typeof fn !== 'function')
      throw new ConfigError(`${where}: ${name} must be a function, got ${describe(fn)}.`);
  if (badLines !== 'throw' && badLines !== 'skip' && typeof badLines !== 'function')
    throw new ConfigError(`${where}: badLines must be 'throw', 'skip' or a function, got ${describe(badLines)}.`);
  const file = await inspectFile(where, path);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const samples: S[] = [];
  let skipped = 0;

  const add = ({ line, bytes, long }: { line: number; bytes: Buffer; long: boolean }): void => {
    let what = `is longer than ${maxLine} bytes. Raise the limit with { maxLine }`;
    try {
      if (long) throw new Error(what);
      what = 'is not UTF-8';
      const text = decoder.decode(bytes);
      if (text.trim() === '') return;
      what = 'is not JSON';
      const value: unknown = JSON.parse(text);
      what = 'is refused by map';
      samples.push(map ? map(value, line) : (value as S));
    } catch (cause) {
      const detail = long ? '' : ` (${cause instanceof Error ? cause.message : String(cause)})`;
      const error = new DataError(`${where}: ${file.path}: line ${line} ${what}${detail}.`, { cause });
      if (badLines === 'throw') throw error;
      const text = bytes.subarray(0, 1000).toString('utf8');
      const instead = badLines === 'skip' ? undefined : badLines({ path: file.path, line, text, error });
      if (instead === undefined) skipped++;
      else samples.push(instead);
    }
  };

  const lines = new Lines(maxLine);
  let bytes = 0;
  for await (const chunk of readChunks(where, file)) {
    for (const line of lines.push(chunk)) add(line);
    bytes += chunk.length;
    progress?.({ bytes, of: file.bytes, samples: samples.length });
  }
  for (const line of lines.finish()) add(line);
  if (samples.length === 0)
    throw new DataError(`${where}: ${file.path}: no samples${skipped ? `; ${skipped} bad lines were left out` : ''}.`);
  return { dataset: new Samples(samples), skipped };
}
