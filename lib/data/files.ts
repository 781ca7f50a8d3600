import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { createGunzip } from 'node:zlib';
import { AnnealError, ConfigError, DataError, describe } from '../native/errors.ts';

/** A file of data, looked at before it is read. */
export interface DataFile {
  readonly path: string;
  /** Bytes on disk. */
  readonly bytes: number;
  /** Whether it is gzip, by its first two bytes. */
  readonly gzip: boolean;
}

/** A limit on bytes: a number above 0. */
export function checkBytes(where: string, maxBytes: number): number {
  if (typeof maxBytes === 'number' && maxBytes > 0) return maxBytes;
  throw new ConfigError(`${where}: maxBytes must be a number of bytes above 0, got ${describe(maxBytes)}.`);
}

/** Finds out what `path` is. Throws DataError unless it is a regular file that can be read, so that a pipe or device never hangs a reader. */
export async function inspectFile(where: string, path: string | URL): Promise<DataFile> {
  if (typeof path !== 'string' && !(path instanceof URL)) {
    throw new ConfigError(`${where}: the path must be a string or a file URL, got ${describe(path)}.`);
  }
  const name = typeof path === 'string' ? path : fileURLToPath(path);
  try {
    const info = await stat(name);
    if (!info.isFile()) {
      throw new DataError(
        `${where}: ${name} is ${info.isDirectory() ? 'a directory' : 'not a regular file'}. Give the path of a file.`,
      );
    }
    const file = await open(name, 'r');
    try {
      const head = Buffer.alloc(2);
      const { bytesRead } = await file.read(head, 0, 2, 0);
      return { path: name, bytes: info.size, gzip: bytesRead === 2 && head[0] === 0x1f && head[1] === 0x8b };
    } finally {
      await file.close();
    }
  } catch (cause) {
    if (cause instanceof AnnealError) throw cause;
    const code = (cause as NodeJS.ErrnoException).code;
    const what = code === 'ENOENT' ? 'there is no such file' : `it cannot be read (${code ?? String(cause)})`;
    throw new DataError(`${where}: ${name}: ${what}. Check the path${code === 'EACCES' ? ' and its permissions' : ''}.`, {
      cause,
    });
  }
}

/** The bytes of `file` in pieces of 64 KiB, inflated if it is gzip. I/O and inflation errors come as DataError with the offset. */
export async function* readChunks(where: string, file: DataFile): AsyncGenerator<Buffer> {
  const raw = createReadStream(file.path, { highWaterMark: 65536 });
  const stream = file.gzip ? raw.pipe(createGunzip({ chunkSize: 65536 })) : raw;
  if (stream !== raw) raw.on('error', (error) => stream.destroy(error));
  let offset = 0;
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      yield chunk;
      offset += chunk.length;
    }
  } catch (cause) {
    if (cause instanceof AnnealError) throw cause;
    const what = file.gzip ? 'the gzip data is damaged or cut short' : 'reading failed';
    throw new DataError(
      `${where}: ${file.path}: ${what} after ${offset} ${file.gzip ? 'inflated ' : ''}bytes (${(cause as Error).message}). Fetch the file again.`,
      { cause },
    );
  } finally {
    stream.destroy();
    raw.destroy();
  }
}
