import { mkdirSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { DataError } from '../native/errors.ts';

/**
 * A file to whose end pieces are written in the background, whole and in order. After a failure (a full disk) no more is gathered; `flush` and `close` throw
 * it, with the number of pieces lost.
 */
export class AppendFile {
  readonly path: string;
  readonly #pieces: string;
  readonly #prepare: ((file: FileHandle) => Promise<void>) | undefined;
  #pending: (string | Uint8Array)[] = [];
  #writing: Promise<void> | undefined;
  #file: FileHandle | undefined;
  #error: DataError | undefined;
  #lost = 0;
  #closed = false;

  /**
   * @param path is created with its folder when the first piece is written
   * @param pieces what they are called: 'lines'
   * @param prepare looks at the file, open for reading and appending, before the first piece
   */
  constructor(path: string, pieces: string, prepare?: (file: FileHandle) => Promise<void>) {
    this.path = path;
    this.#pieces = pieces;
    this.#prepare = prepare;
  }

  append(piece: string | Uint8Array): void {
    if (this.#closed) throw new DataError(`${this.path}: the log is closed.`);
    if (this.#error) {
      this.#lost++;
      return;
    }
    this.#pending.push(piece);
    this.#writing ??= this.#drain();
  }

  async #drain(): Promise<void> {
    try {
      this.#file ??= await this.#open();
      while (this.#pending.length > 0) {
        const pieces = this.#pending;
        this.#pending = [];
        try {
          await this.#file.appendFile(Buffer.concat(pieces.map((p) => (typeof p === 'string' ? Buffer.from(p) : p))));
        } catch (error) {
          this.#lost += pieces.length;
          throw error;
        }
      }
    } catch (cause) {
      this.#lost += this.#pending.length;
      this.#pending = [];
      this.#error = new DataError(`${this.path}: the log cannot be written: ${(cause as Error).message}.`, { cause });
    } finally {
      this.#writing = undefined;
    }
  }

  async #open(): Promise<FileHandle> {
    mkdirSync(dirname(this.path), { recursive: true });
    const file = await open(this.path, 'a+');
    await this.#prepare?.(file);
    return file;
  }

  /** Waits until all that was appended has been written. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing;
    if (this.#error)
      throw new DataError(`${this.#error.message} ${this.#lost} ${this.#pieces} are lost.`, { cause: this.#error.cause });
  }

  async close(): Promise<void> {
    this.#closed = true;
    try {
      await this.flush();
    } finally {
      await this.#file?.close();
      this.#file = undefined;
    }
  }
}
