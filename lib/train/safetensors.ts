import type { FileHandle } from 'node:fs/promises';
import { CheckpointError, ConfigError, checkList, checkText, describe } from '../native/errors.ts';
import { bytesOf, type DType } from '../tensor/dtype.ts';
import { allocate, narrowI64, opened, readExactly } from './reading.ts';
import { buildHeader, elements, maxHeaderBytes, parseHeader, type TensorInfo } from './safetensors-header.ts';
import { writeWhole } from './whole-file.ts';

export type { StoredDType, TensorInfo } from './safetensors-header.ts';

/** A tensor to write: little-endian, row-major bytes, at once or when their turn comes. */
export interface SafetensorsEntry {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Uint8Array | (() => Promise<Uint8Array>);
}

const checked = (where: string, entry: SafetensorsEntry, data: Uint8Array, bytes: number): Uint8Array => {
  if (data.byteLength === bytes) return data;
  throw new CheckpointError(
    `${where}: ${entry.name} is ${entry.dtype} of shape [${entry.shape.join(', ')}], ${bytes} bytes, but its data has ${data.byteLength}.`,
  );
};

/**
 * The bytes of a safetensors file, piece by piece: the header, then each tensor, whose `data` function is called when its
 * turn comes, so that one tensor at a time is in memory. Tensors follow in the reference implementation's order (widest
 * dtype first, then by name), so that equal content gives equal bytes. Throws CheckpointError for names given twice, data
 * of the wrong length, or a header beyond 100 MB.
 */
export async function* encodeSafetensors(
  entries: Iterable<SafetensorsEntry>,
  metadata: Readonly<Record<string, string>> = {},
  where = 'safetensors',
): AsyncGenerator<Uint8Array, void, undefined> {
  const list = checkList('encodeSafetensors', 'entries', entries);
  list.forEach((entry: Partial<SafetensorsEntry> | null | undefined, i) => {
    if (typeof entry?.name !== 'string' || !Array.isArray(entry.shape) || entry.data === undefined)
      throw new ConfigError(`encodeSafetensors: entry ${i} must be { name, dtype, shape, data }, got ${describe(entry)}.`);
  });
  if (metadata === null || typeof metadata !== 'object' || Array.isArray(metadata))
    throw new ConfigError(`encodeSafetensors: metadata must be an object of strings, got ${describe(metadata)}.`);
  const { header, order } = buildHeader(where, list, metadata);
  for (const { tensor, bytes } of order) if (tensor.data instanceof Uint8Array) checked(where, tensor, tensor.data, bytes);
  yield header;
  for (const { tensor, bytes } of order) {
    yield checked(where, tensor, tensor.data instanceof Uint8Array ? tensor.data : await tensor.data(), bytes);
  }
}

/**
 * Writes a safetensors file that appears whole or not at all (written beside, fsynced, renamed). `metadata` is a map of
 * strings. Gives the file's length in bytes. Throws CheckpointError; a file that was there before is then untouched.
 */
export async function writeSafetensors(
  path: string,
  entries: Iterable<SafetensorsEntry>,
  metadata?: Readonly<Record<string, string>>,
): Promise<number> {
  checkText('writeSafetensors', 'the path', path);
  return (await writeWhole(path, encodeSafetensors(entries, metadata, path), undefined, false)).bytes;
}

/** An open safetensors file whose header has been checked. Close it, or declare it with `await using`. */
export class SafetensorsFile implements AsyncDisposable {
  readonly path: string;
  /** The tensors by name, in the order of their data. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: ReadonlyMap<string, string>;
  readonly #file: FileHandle;
  readonly #start: number;

  /** Use `readSafetensors`. */
  constructor(path: string, file: FileHandle, start: number, header: ReturnType<typeof parseHeader>) {
    this.path = path;
    this.tensors = header.tensors;
    this.metadata = header.metadata;
    this.#file = file;
    this.#start = start;
  }

  /**
   * The bytes of one tensor, little-endian and row-major, in its `dtype` (I64 as i32); into `into` if given, whose length
   * must fit. Throws CheckpointError when there is no such tensor, an I64 is beyond i32, a bool is neither 0 nor 1, or the
   * file has shrunk since it was opened.
   */
  async read(name: string, into?: Uint8Array): Promise<Uint8Array> {
    const info = this.tensors.get(name);
    if (!info) throw new CheckpointError(`${this.path}: holds no tensor ${JSON.stringify(name)}; it has ${this.#some()}.`);
    const bytes = (elements(info.shape) as number) * bytesOf(info.dtype);
    if (into && into.byteLength !== bytes) {
      throw new CheckpointError(`${this.path}: ${name} takes ${bytes} bytes, the given buffer has ${into.byteLength}.`);
    }
    const raw = into && info.stored !== 'I64' ? into : allocate(`${this.path}: ${name}`, info.end - info.begin);
    await readExactly(this.path, this.#file, raw, this.#start + info.begin);
    if (info.stored === 'BOOL') {
      const wrong = raw.findIndex((b) => b > 1);
      if (wrong >= 0) throw new CheckpointError(`${this.path}: ${name} is BOOL, but byte ${wrong} is ${raw[wrong]}.`);
    }
    if (info.stored !== 'I64') return raw;
    const narrow = narrowI64(`${this.path}: ${name}`, raw);
    if (!into) return narrow;
    into.set(narrow);
    return into;
  }

  #some(): string {
    const names = [...this.tensors.keys()];
    return names.length > 8 ? `${names.slice(0, 8).join(', ')} and ${names.length - 8} more` : names.join(', ') || 'none';
  }

  close(): Promise<void> {
    return this.#file.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Opens a safetensors file and checks its header; tensors are read when asked for. Nothing in the file is trusted: no
 * length is used before it is compared with the file's size, and no more than the header is read here. Throws
 * CheckpointError naming the file and the fault.
 */
export async function readSafetensors(path: string, where = 'readSafetensors'): Promise<SafetensorsFile> {
  checkText(where, 'the path', path);
  return opened(path, '.safetensors', async (file, size) => {
    if (size < 10) throw new CheckpointError(`${path}: not a valid safetensors file: ${size} bytes are too few.`);
    const prefix = new Uint8Array(8);
    await readExactly(path, file, prefix, 0);
    const length = new DataView(prefix.buffer).getBigUint64(0, true);
    if (length > BigInt(Math.min(size - 8, maxHeaderBytes))) {
      const limit = length > BigInt(maxHeaderBytes) ? `more than the format's ${maxHeaderBytes}` : `the file has ${size}`;
      throw new CheckpointError(`${path}: not a valid safetensors file: its header would take ${length} bytes, ${limit}.`);
    }
    const header = new Uint8Array(Number(length));
    await readExactly(path, file, header, 8);
    return new SafetensorsFile(path, file, 8 + header.length, parseHeader(path, header, size - 8 - header.length));
  });
}
