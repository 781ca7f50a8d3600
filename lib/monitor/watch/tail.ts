import { constants, type Stats } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';

/** Bytes read in one go, so that whoever shares the event loop runs in between. */
const pieceBytes = 1 << 20;
/** A longer line is passed over as damage. */
const maxLineBytes = 4 << 20;
/** How much of the file's beginning tells that it is still the same file. */
const headBytes = 512;

/** What was new in a file: whole lines. `anew`: the file is another than before, or lost what it had, and this is its beginning. */
export interface News {
  anew: boolean;
  lines: string[];
  /** Is there more to read at once? */
  more: boolean;
}

/**
 * Follows a file that grows by lines. It may be replaced, emptied, or end in the middle of a line, whose rest comes later. Links and what is no
 * regular file are not opened.
 */
export class FileTail {
  readonly path: string;
  #offset = 0;
  #rest: Buffer = Buffer.alloc(0);
  #head: Buffer = Buffer.alloc(0);
  #inode = 0;
  #size = -1;
  #changed = -1;
  #skipping = false;

  constructor(path: string) {
    this.path = path;
  }

  /** Undefined where nothing is new, or there is no such file (then the next one is another). */
  async read(): Promise<News | undefined> {
    const found = await lstat(this.path).catch(() => undefined);
    if (!found?.isFile()) {
      const gone = this.#offset > 0;
      this.#forget();
      return gone ? { anew: true, lines: [], more: false } : undefined;
    }
    if (found.ino === this.#inode && found.size === this.#size && found.mtimeMs === this.#changed && this.#offset === found.size)
      return undefined;
    const file = await open(this.path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0)).catch(() => undefined);
    if (!file) return undefined;
    try {
      return await this.#news(file, await file.stat());
    } finally {
      await file.close();
    }
  }

  #forget(): void {
    this.#offset = 0;
    this.#rest = Buffer.alloc(0);
    this.#head = Buffer.alloc(0);
    this.#size = -1;
    this.#skipping = false;
  }

  async #news(file: FileHandle, { ino, size, mtimeMs }: Stats): Promise<News | undefined> {
    const head = Buffer.alloc(Math.min(headBytes, size));
    await file.read(head, 0, head.length, 0);
    const same = ino === this.#inode && size >= this.#offset && head.subarray(0, this.#head.length).equals(this.#head);
    const anew = !same && this.#offset > 0;
    if (!same) this.#forget();
    this.#inode = ino;
    this.#size = size;
    this.#changed = mtimeMs;
    this.#head = head;
    const buffer = Buffer.alloc(Math.min(pieceBytes, size - this.#offset));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, this.#offset);
    this.#offset += bytesRead;
    const lines = this.#lines(buffer.subarray(0, bytesRead));
    if (!anew && lines.length === 0 && bytesRead === 0) return undefined;
    return { anew, lines, more: this.#offset < size };
  }

  #lines(piece: Buffer): string[] {
    const end = piece.lastIndexOf(0x0a);
    if (end < 0) {
      if (this.#rest.length + piece.length > maxLineBytes) {
        this.#skipping = true;
        this.#rest = Buffer.alloc(0);
      } else if (!this.#skipping) this.#rest = Buffer.concat([this.#rest, piece]);
      return [];
    }
    const text = Buffer.concat([this.#rest, piece.subarray(0, end)]).toString('utf8');
    const lines = text.split('\n');
    if (this.#skipping) lines[0] = '(a line that was too long)'; // counted as damage by whoever parses it
    this.#skipping = false;
    this.#rest = Buffer.from(piece.subarray(end + 1));
    return lines.filter((line) => line.trim() !== '');
  }
}
