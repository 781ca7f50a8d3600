import { mkdirSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { checkText, DataError } from '../native/errors.ts';
import { formatRecord, type HistoryRecord, type Sink } from './history.ts';

/**
 * Appends each record as a line of JSON. Lines are gathered and written in the background. A resumed run appends too: an
 * 'attempt' line says from which step it went on, and readers pass over what it did again, so nothing is ever rewritten.
 *
 * After a failure to write (a full disk) no more is gathered; `flush` and `close` throw it, with the number of lines lost.
 */
export class JsonLinesSink implements Sink {
  readonly path: string;
  #pending: string[] = [];
  #writing: Promise<void> | undefined;
  #file: FileHandle | undefined;
  #error: DataError | undefined;
  #lost = 0;
  #closed = false;

  /** `path` is created with its folder when the first line is written. */
  constructor(path: string) {
    this.path = checkText('JsonLinesSink', 'the path', path);
  }

  begin(attempt: number, from: number): void {
    this.write({ attempt, step: from, type: 'attempt', time: Date.now() });
  }

  write(record: HistoryRecord): void {
    if (this.#closed) throw new DataError(`${this.path}: the log is closed.`);
    if (this.#error) {
      this.#lost++;
      return;
    }
    this.#pending.push(formatRecord(record));
    this.#writing ??= this.#drain();
  }

  async #drain(): Promise<void> {
    try {
      this.#file ??= await this.#open();
      while (this.#pending.length > 0) {
        const lines = this.#pending;
        this.#pending = [];
        try {
          await this.#file.appendFile(`${lines.join('\n')}\n`);
        } catch (error) {
          this.#lost += lines.length;
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
    const { size } = await file.stat();
    // A killed run may have left half a line; ours must not be glued to it.
    if (size > 0) {
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
      if (buffer[0] !== 0x0a) await file.appendFile('\n');
    }
    return file;
  }

  async flush(): Promise<void> {
    while (this.#writing) await this.#writing;
    if (this.#error) throw new DataError(`${this.#error.message} ${this.#lost} lines are lost.`, { cause: this.#error.cause });
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
