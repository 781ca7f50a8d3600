import type { FileHandle } from 'node:fs/promises';
import { checkText } from '../native/errors.ts';
import { AppendFile } from './append-file.ts';
import { formatRecord, type HistoryRecord, type Sink } from './history.ts';

/**
 * Appends each record as a line of JSON. Lines are gathered and written in the background. A resumed run appends too: an
 * 'attempt' line says from which step it went on, and readers pass over what it did again, so nothing is ever rewritten.
 *
 * After a failure to write (a full disk) no more is gathered; `flush` and `close` throw it, with the number of lines lost.
 */
export class JsonLinesSink implements Sink {
  readonly path: string;
  readonly #file: AppendFile;

  /** `path` is created with its folder when the first line is written. */
  constructor(path: string) {
    this.path = checkText('JsonLinesSink', 'the path', path);
    this.#file = new AppendFile(path, 'lines', endLine);
  }
  begin(attempt: number, from: number): void {
    this.write({ attempt, step: from, type: 'attempt', time: Date.now() });
  }
  write(record: HistoryRecord): void {
    this.#file.append(`${formatRecord(record)}\n`);
  }
  flush(): Promise<void> {
    return this.#file.flush();
  }
  close(): Promise<void> {
    return this.#file.close();
  }
}

/** A killed run may have left half a line; ours must not be glued to it. */
async function endLine(file: FileHandle): Promise<void> {
  const { size } = await file.stat();
  if (size === 0) return;
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  if (buffer[0] !== 0x0a) await file.appendFile('\n');
}
