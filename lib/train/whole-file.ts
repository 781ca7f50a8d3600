import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CheckpointError } from '../native/errors.ts';

/** What a file is to hold: at once, or in pieces made while it is written. A string is written as UTF-8. */
export type FileContent = string | Uint8Array | AsyncIterable<Uint8Array>;

/** The file system as checkpoints use it. Tests put faults in it. */
export interface FileIo {
  open: (path: string, flags: string) => Promise<Pick<FileHandle, 'write' | 'sync' | 'close'>>;
  mkdir: typeof mkdir;
  rename: typeof rename;
  rm: typeof rm;
  readdir: (path: string) => Promise<string[]>;
  /** fsync of a folder: makes the names in it durable. */
  syncFolder: (path: string) => Promise<void>;
}

export const nodeIo: FileIo = {
  open,
  mkdir,
  rename,
  rm,
  readdir,
  async syncFolder(path) {
    if (process.platform === 'win32') return; // there a folder cannot be opened, and a rename is durable by itself
    const folder = await open(path, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  },
};

/** Small enough that hashing one piece does not stall the event loop (about 1 ms), big enough to cost no calls. */
const pieceBytes = 1 << 20;

async function* pieces(content: FileContent): AsyncGenerator<Uint8Array> {
  const source =
    typeof content === 'string' ? [Buffer.from(content, 'utf8')] : content instanceof Uint8Array ? [content] : content;
  for await (const chunk of source) {
    for (let at = 0; at < chunk.byteLength; at += pieceBytes) yield chunk.subarray(at, at + pieceBytes);
  }
}

/** Bytes written and, if asked for, their SHA-256 in hex. */
export interface Written {
  bytes: number;
  sha256: string;
}

/** Writes a new file and fsyncs it; the path must not exist. The caller removes it after a failure. */
export async function writeNew(path: string, content: FileContent, io: FileIo = nodeIo, hashed = true): Promise<Written> {
  const hash = hashed ? createHash('sha256') : undefined;
  let bytes = 0;
  const file = await io.open(path, 'wx');
  try {
    for await (const piece of pieces(content)) {
      hash?.update(piece);
      for (let done = 0; done < piece.byteLength; ) {
        const { bytesWritten } = await file.write(piece, done, piece.byteLength - done, bytes + done);
        if (bytesWritten <= 0) throw new CheckpointError(`${path}: the file system accepted no more bytes at ${bytes + done}.`);
        done += bytesWritten;
      }
      bytes += piece.byteLength;
    }
    await file.sync();
  } finally {
    await file.close();
  }
  return { bytes, sha256: hash?.digest('hex') ?? '' };
}

/** A failure of the file system as a CheckpointError that says what is still intact. */
export function writeFailed(what: string, intact: string, cause: unknown): CheckpointError {
  if (cause instanceof CheckpointError) return cause;
  const code = (cause as NodeJS.ErrnoException)?.code;
  const likely =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? 'The disk is full: free some space, or keep fewer checkpoints.'
      : code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
        ? 'The folder is not writable by this user.'
        : code === 'ENOENT'
          ? 'A folder on the way there does not exist.'
          : 'See the cause.';
  const text = cause instanceof Error ? cause.message : String(cause);
  return new CheckpointError(`${what}: could not be written (${text}). ${intact} ${likely}`, { cause });
}

/**
 * The file appears whole or not at all: written beside, fsynced, renamed over `path`, the folder fsynced. What was there
 * before stays until then. Throws CheckpointError with the cause.
 */
export async function writeWhole(path: string, content: FileContent, io: FileIo = nodeIo, hashed = true): Promise<Written> {
  const folder = dirname(path);
  const beside = join(folder, `.${basename(path)}.tmp-${process.pid}-${randomBytes(6).toString('hex')}`);
  try {
    const written = await writeNew(beside, content, io, hashed);
    await io.rename(beside, path);
    await io.syncFolder(folder);
    return written;
  } catch (error) {
    await io.rm(beside, { force: true }).catch(() => {});
    throw writeFailed(path, 'A file that was there before is untouched.', error);
  }
}

/** SHA-256 of a file in hex, read in pieces; throws CheckpointError unless it is a regular file of `bytes` bytes. */
export async function hashFile(path: string, bytes: number): Promise<string> {
  const found = await stat(path);
  // Not opened before this check: opening a named pipe would wait for ever.
  if (!found.isFile()) throw new CheckpointError(`${path}: not a regular file.`);
  if (found.size !== bytes) throw new CheckpointError(`${path}: ${found.size} bytes, but the manifest says ${bytes}.`);
  const hash = createHash('sha256');
  const file = await open(path, 'r');
  try {
    const buffer = new Uint8Array(pieceBytes);
    for (let at = 0; at < bytes; ) {
      const { bytesRead } = await file.read(buffer, 0, Math.min(pieceBytes, bytes - at), at);
      if (bytesRead === 0) throw new CheckpointError(`${path}: shrank to ${at} bytes while it was read.`);
      hash.update(buffer.subarray(0, bytesRead));
      at += bytesRead;
    }
  } finally {
    await file.close();
  }
  return hash.digest('hex');
}
