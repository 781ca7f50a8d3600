import { ConfigError, checkList, checkOptions, DataError, describe } from '../native/errors.ts';
import { PhiloxStream } from '../tensor/philox.ts';
import type { ColumnBacked, ColumnSource, Dataset, Row, SampleContext } from './dataset.ts';
import { checkBytes, inspectFile, readChunks } from './files.ts';
import { type HostArray, toShared } from './host.ts';

/** Options of `text`. */
export interface TextOptions {
  /** The longest file to accept, in bytes of text. Default 256 MiB. */
  maxBytes?: number;
}

/** Reads a UTF-8 text file, plain or gzip; a byte order mark is dropped. Throws DataError naming the file, and the bytes that are not UTF-8. */
export async function text(path: string | URL, options: TextOptions = {}): Promise<string> {
  checkOptions('data.text', options, ['maxBytes']);
  const maxBytes = checkBytes('data.text', options.maxBytes ?? 2 ** 28);
  const file = await inspectFile('data.text', path);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const pieces: string[] = [];
  let offset = 0;
  try {
    for await (const chunk of readChunks('data.text', file)) {
      if (offset + chunk.length > maxBytes) {
        throw new DataError(`data.text: ${file.path}: more than ${maxBytes} bytes of text. Raise the limit with { maxBytes }.`);
      }
      pieces.push(decoder.decode(chunk, { stream: true }));
      offset += chunk.length;
    }
    pieces.push(decoder.decode());
  } catch (cause) {
    if (cause instanceof DataError) throw cause;
    throw new DataError(
      `data.text: ${file.path}: bytes that are not UTF-8 in the 64 KiB from byte ${offset}. Convert the file to UTF-8.`,
      { cause },
    );
  }
  return pieces.join('');
}

/** A text as numbers: each character (Unicode code point) is a token. */
export interface CharTokens {
  /** One token per character, in shared memory. */
  readonly tokens: Int32Array;
  /** The characters in code point order; a token is an index into it. */
  readonly vocabulary: readonly string[];
  /** Tokens of another text. Throws DataError for a character that is not in the vocabulary. */
  encode(text: string): Int32Array;
  /** The text of tokens. Throws DataError for a number that is no token. */
  decode(tokens: ArrayLike<number>): string;
}

/** Tokens of `text` by character; its own characters are the vocabulary unless one is given. */
export function charTokens(source: string, options: { vocabulary?: readonly string[] } = {}): CharTokens {
  checkOptions('data.charTokens', options, ['vocabulary']);
  if (typeof source !== 'string') throw new DataError(`data.charTokens: expected a string, got ${describe(source)}.`);
  if (options.vocabulary !== undefined) checkList('data.charTokens', 'vocabulary', options.vocabulary);
  const codePoint = (c: string) => c.codePointAt(0) as number;
  const vocabulary = options.vocabulary ?? [...new Set(source)].sort((a, b) => codePoint(a) - codePoint(b));
  const index = new Map(vocabulary.map((c, i) => [c, i]));
  const encode = (text: string): Int32Array => {
    const out = new Int32Array(new SharedArrayBuffer(4 * text.length));
    let n = 0;
    for (const c of text) {
      const token = index.get(c);
      if (token === undefined)
        throw new DataError(
          `charTokens: character ${n} is ${JSON.stringify(c)}, which is not in the vocabulary of ${vocabulary.length}.`,
        );
      out[n++] = token;
    }
    return n === out.length ? out : (toShared(out.slice(0, n), 'i32') as Int32Array); // fewer code points than UTF-16 units
  };
  const decode = (tokens: ArrayLike<number>): string =>
    Array.from(tokens, (t, i) => {
      const c = vocabulary[t];
      if (c === undefined) throw new DataError(`charTokens: token ${i} is ${t}; tokens are 0 to ${vocabulary.length - 1}.`);
      return c;
    }).join('');
  return { tokens: encode(source), vocabulary, encode, decode };
}

/** Options of `TextWindows`. */
export interface TextWindowsOptions {
  /** Tokens in a window. */
  block: number;
  /** Windows in an epoch. Default: as many as fit side by side. */
  samples?: number;
  /** Each window starts at a random token, keyed by (seed, epoch, sample id) (default); false: window i starts at token i * block. */
  random?: boolean;
}

/**
 * Windows of a token sequence for language models: x [block] and y [block], both i32, y one token further on than x.
 * Loader threads gather them straight from the sequence.
 */
export class TextWindows implements Dataset<Row<'x' | 'y'>>, ColumnBacked {
  readonly length: number;
  readonly block: number;
  readonly random: boolean;
  readonly sources: readonly ColumnSource[];
  readonly #starts: number;

  constructor(tokens: Int32Array | Uint8Array, options: TextWindowsOptions) {
    checkOptions('TextWindows', options, ['block', 'samples', 'random']);
    const { block, random = true } = options ?? {};
    if (!Number.isSafeInteger(block) || block < 1)
      throw new ConfigError(`TextWindows: block must be an integer >= 1, got ${describe(block)}.`);
    if (!(tokens instanceof Int32Array) && !(tokens instanceof Uint8Array)) {
      throw new DataError(
        `TextWindows: tokens must be an Int32Array or Uint8Array, got ${describe(tokens)}. data.charTokens(text).tokens gives one.`,
      );
    }
    if (tokens.length < block + 1) {
      throw new DataError(
        `TextWindows: ${tokens.length} tokens are too few for a window of ${block} and the token after it. Give more text or a smaller block.`,
      );
    }
    this.#starts = tokens.length - block;
    const side = Math.floor((tokens.length - 1) / block);
    this.length = options.samples ?? side;
    if (!Number.isSafeInteger(this.length) || this.length < 1 || (!random && this.length > side)) {
      throw new ConfigError(
        `TextWindows: samples must be an integer >= 1${random ? '' : ` and <= ${side}`}, got ${describe(options.samples)}.`,
      );
    }
    this.block = block;
    this.random = random;
    const data = toShared(tokens instanceof Int32Array ? tokens : Int32Array.from(tokens), 'i32');
    const shape = [block];
    this.sources = ['x', 'y'].map((name, shift) => ({ name, data, dtype: 'i32', shape, step: 1, shift }));
  }

  locate(ids: ArrayLike<number>, { seed, epoch }: SampleContext): Uint32Array {
    const stream = this.random ? new PhiloxStream(seed, 'data/windows', epoch) : undefined;
    return Uint32Array.from(ids, (id) => {
      if (!Number.isInteger(id) || id < 0 || id >= this.length) {
        throw new DataError(`window ${describe(id)} does not exist: there are ${this.length} windows, 0 to ${this.length - 1}.`);
      }
      return stream ? stream.seek(id * 4).below(this.#starts) : id * this.block;
    });
  }

  get(i: number, context: SampleContext = { seed: 0, epoch: 0 }): Row<'x' | 'y'> {
    const start = this.locate([i], context)[0] as number;
    const window = (at: number): HostArray => {
      const data = (this.sources[0] as ColumnSource).data.slice(at, at + this.block);
      return { data, shape: [this.block], dtype: 'i32' };
    };
    return { x: window(start), y: window(start + 1) };
  }
}
