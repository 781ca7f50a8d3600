import { type FileHandle, open } from 'node:fs/promises';
import { ConfigError, checkOptions, DataError, describe } from '../native/errors.ts';
import { PhiloxStream } from '../tensor/philox.ts';
import type { Dataset, Row, SampleContext } from './dataset.ts';
import { inspectFile } from './files.ts';
import { checkInteger } from './options.ts';

/** Options of `packedTokens`. */
export interface PackedTokensOptions {
  /** Tokens in a window. */
  block: number;
  /** How tokens are stored, little-endian. Default 'u16'. */
  dtype?: 'u16' | 'u32';
  /** Bytes to pass over at the start of the file. Default 0. */
  header?: number;
  /** Windows in an epoch. Default: as many as fit side by side. */
  samples?: number;
  /** Each window starts at a random token, keyed by (seed, epoch, sample id) (default); false: window i starts at token i * block. */
  random?: boolean;
  /** A token of this number or above is an error naming its place. Default: 2^31. */
  vocabSize?: number;
}

/** Windows of a file of packed tokens; the file is open until `close`. */
export class PackedTokens implements Dataset<Row<'x' | 'y'>> {
  readonly #file: FileHandle;
  readonly #settings: Required<Omit<PackedTokensOptions, 'samples'>> & { readonly path: string };

  /** Use `data.packedTokens`. */
  constructor(
    file: FileHandle,
    settings: Required<Omit<PackedTokensOptions, 'samples'>> & { readonly path: string },
    readonly length: number,
    /** Tokens in the file. */
    readonly tokens: number,
  ) {
    this.#file = file;
    this.#settings = settings;
  }

  /** Reads one window: x [block] and y [block], both i32, y one token further on. */
  async get(id: number, { seed, epoch }: SampleContext = { seed: 0, epoch: 0 }): Promise<Row<'x' | 'y'>> {
    const { path, block, dtype, header, random, vocabSize } = this.#settings;
    if (!Number.isInteger(id) || id < 0 || id >= this.length)
      throw new DataError(`window ${describe(id)} does not exist: there are ${this.length} windows, 0 to ${this.length - 1}.`);
    const start = random ? new PhiloxStream(seed, 'data/windows', epoch).seek(id * 4).below(this.tokens - block) : id * block;
    const width = dtype === 'u16' ? 2 : 4;
    const bytes = Buffer.alloc((block + 1) * width);
    const at = header + start * width;
    let bytesRead = 0;
    while (bytesRead < bytes.length) {
      const piece = await this.#file.read(bytes, bytesRead, bytes.length - bytesRead, at + bytesRead);
      if (piece.bytesRead === 0)
        throw new DataError(
          `data.packedTokens: ${path}: the file ends at byte ${at + bytesRead}; it was longer when it was opened.`,
        );
      bytesRead += piece.bytesRead;
    }
    const window = new Int32Array(block + 1);
    for (let i = 0; i <= block; i++) {
      const token = width === 2 ? bytes.readUInt16LE(i * 2) : bytes.readUInt32LE(i * 4);
      if (token >= vocabSize)
        throw new DataError(
          `data.packedTokens: ${path}: token ${start + i} (byte ${at + i * width}) is ${token}; tokens are 0 to ${vocabSize - 1}. Is dtype '${dtype}' right?`,
        );
      window[i] = token;
    }
    const part = (from: number) => ({ data: window.slice(from, from + block), shape: [block], dtype: 'i32' as const });
    return { x: part(0), y: part(1) };
  }

  /** Closes the file. */
  close(): Promise<void> {
    return this.#file.close();
  }
}

/**
 * Windows of a file of tokens stored one after another as u16 or u32, little-endian, by positioned reads: memory holds one window at a time, whatever the file's size.
 * Windows start where TextWindows of the same tokens, seed and epoch start. Throws DataError naming the file and byte.
 */
export async function packedTokens(path: string | URL, options: PackedTokensOptions): Promise<PackedTokens> {
  const where = 'data.packedTokens';
  checkOptions(where, options, ['block', 'dtype', 'header', 'samples', 'random', 'vocabSize']);
  const block = checkInteger(where, 'block', options?.block, 1, 2 ** 24);
  const { dtype = 'u16', random = true } = options;
  if (dtype !== 'u16' && dtype !== 'u32')
    throw new ConfigError(`${where}: dtype must be 'u16' or 'u32', got ${describe(dtype)}.`);
  if (typeof random !== 'boolean') throw new ConfigError(`${where}: random must be true or false, got ${describe(random)}.`);
  const header = checkInteger(where, 'header', options.header ?? 0, 0);
  const vocabSize = checkInteger(where, 'vocabSize', options.vocabSize ?? 2 ** 31, 1, 2 ** 31);
  const file = await inspectFile(where, path);
  const width = dtype === 'u16' ? 2 : 4;
  const room = file.bytes - header;
  if (room < 0 || room % width !== 0)
    throw new DataError(
      `${where}: ${file.path}: ${file.bytes} bytes less a header of ${header} are no whole number of ${dtype} tokens.`,
    );
  const tokens = room / width;
  if (tokens < block + 1)
    throw new DataError(`${where}: ${file.path}: ${tokens} tokens are too few for a window of ${block} and the token after it.`);
  if (random && tokens - block > 0xffffffff)
    throw new DataError(
      `${where}: ${file.path}: ${tokens} tokens are too many for random windows (2^32). Split the file, or give { random: false }.`,
    );
  const side = Math.floor((tokens - 1) / block);
  const length = checkInteger(where, 'samples', options.samples ?? side, 1, random ? Number.MAX_SAFE_INTEGER : side);
  const handle = await open(file.path, 'r');
  return new PackedTokens(handle, { path: file.path, block, dtype, header, random, vocabSize }, length, tokens);
}
