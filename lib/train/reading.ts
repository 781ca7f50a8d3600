import { type FileHandle, open, stat } from 'node:fs/promises';
import { AnnealError, CheckpointError } from '../native/errors.ts';

/** What reading asks of a file. */
export type Readable = Pick<FileHandle, 'read'>;

/** Zeroed memory for a part of a file; throws CheckpointError where there is not so much. */
export function allocate(what: string, bytes: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(bytes);
  } catch (cause) {
    throw new CheckpointError(`${what}: its ${bytes} bytes do not fit into memory.`, { cause });
  }
}

/** Fills `into` from byte `at` on. One read takes at most 2^31 - 1 bytes; and a signal or a pipe may give less than was asked. */
export async function readExactly(path: string, file: Readable, into: Uint8Array, at: number): Promise<void> {
  for (let done = 0; done < into.byteLength; ) {
    const { bytesRead } = await file.read(into, done, Math.min(into.byteLength - done, 1 << 30), at + done);
    if (bytesRead === 0) throw new CheckpointError(`${path}: cut short at byte ${at + done} while it was read.`);
    done += bytesRead;
  }
}

/** 64-bit integers as i32: the low halves, where each high half is only their sign. */
export function narrowI64(what: string, raw: Uint8Array): Uint8Array {
  const halves = new Int32Array(raw.buffer, raw.byteOffset, raw.byteLength / 4);
  const out = new Int32Array(halves.length / 2);
  for (let i = 0; i < out.length; i++) {
    const low = halves[2 * i] as number;
    if (halves[2 * i + 1] !== low >> 31) {
      const value = new BigInt64Array(raw.buffer, raw.byteOffset, out.length)[i];
      throw new CheckpointError(`${what}: element ${i} is ${value}, which does not fit into i32. Anneal has no 64-bit integers.`);
    }
    out[i] = low;
  }
  return new Uint8Array(out.buffer);
}

/** Opens a regular file and gives it with its size to `use`; whatever the file system says becomes a CheckpointError. The file is closed if `use` fails. */
export async function opened<T>(path: string, kind: string, use: (file: FileHandle, size: number) => Promise<T>): Promise<T> {
  let file: FileHandle | undefined;
  try {
    const found = await stat(path);
    // Not opened before this check: opening a named pipe would wait for ever.
    if (!found.isFile()) throw new CheckpointError(`${path}: not a regular file. Give the path of a ${kind} file.`);
    file = await open(path, 'r');
    return await use(file, (await file.stat()).size);
  } catch (error) {
    await file?.close();
    if (error instanceof AnnealError || (error as NodeJS.ErrnoException).code === undefined) throw error;
    const why = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : (error as Error).message;
    throw new CheckpointError(`${path}: could not be opened: ${why}.`, { cause: error });
  }
}
