// The zip container of torch >= 1.6: stored entries, the directory at the end, zip64 where sizes ask for it. APPNOTE.TXT 6.3.10.
import { CheckpointError } from '../../native/errors.ts';
import { type Readable, readExactly } from '../reading.ts';

/** A file in the archive, as the directory describes it. */
export interface ZipEntry {
  readonly name: string;
  /** Where its local header stands. */
  readonly header: number;
  readonly bytes: number;
  /** How it is packed: 0 as it is. */
  readonly method: number;
}

const endBytes = 22;
const locatorBytes = 20;
const end64Bytes = 56;
const entryBytes = 46;
const localBytes = 30;
/** A storage takes about 100 bytes: 600,000 of them. */
const maxDirectory = 64 << 20;

/** An open archive. Entries lie one after another before the directory, none over another. */
export class ZipFile {
  readonly entries = new Map<string, ZipEntry>();
  readonly #path: string;
  readonly #file: Readable;
  #directory = 0;

  private constructor(path: string, file: Readable) {
    this.#path = path;
    this.#file = file;
  }

  /** Reads the directory. Throws CheckpointError where the file is not an archive, or its directory says what cannot be. */
  static async open(path: string, file: Readable, size: number): Promise<ZipFile> {
    const zip = new ZipFile(path, file);
    const { at, bytes, count } = await zip.#end(size);
    zip.#directory = at;
    zip.#parse(await zip.#read(at, bytes), count);
    return zip;
  }

  #fail(why: string): never {
    throw new CheckpointError(`${this.#path}: not a valid torch file: ${why}.`);
  }

  async #read(at: number, bytes: number): Promise<DataView> {
    const raw = new Uint8Array(bytes);
    await readExactly(this.#path, this.#file, raw, at);
    return new DataView(raw.buffer);
  }

  /** Finds the end record (behind it only a comment) and the directory that it, or its zip64 form, names. */
  async #end(size: number): Promise<{ at: number; bytes: number; count: number }> {
    const tail = await this.#read(Math.max(0, size - endBytes - 0xffff), Math.min(size, endBytes + 0xffff));
    let end = tail.byteLength - endBytes;
    while (
      end >= 0 &&
      !(tail.getUint32(end, true) === 0x06054b50 && end + endBytes + tail.getUint16(end + 20, true) === tail.byteLength)
    )
      end--;
    if (end < 0) this.#fail('its zip directory is missing. Is it cut short?');
    const found = {
      at: tail.getUint32(end + 16, true),
      bytes: tail.getUint32(end + 12, true),
      count: tail.getUint16(end + 10, true),
    };
    let limit = size - tail.byteLength + end;
    const locator = limit - locatorBytes;
    if (locator >= 0) {
      const view = await this.#read(locator, locatorBytes);
      if (view.getUint32(0, true) === 0x07064b50) {
        limit = this.#size(view, 8, locator - end64Bytes);
        const end64 = await this.#read(limit, end64Bytes);
        if (end64.getUint32(0, true) !== 0x06064b50) this.#fail('its zip64 end record is not where it should be');
        found.count = this.#size(end64, 32, maxDirectory);
        found.bytes = this.#size(end64, 40, limit);
        found.at = this.#size(end64, 48, limit);
      }
    }
    const { at, bytes, count } = found;
    if (at + bytes > limit) this.#fail('its zip directory reaches beyond its end');
    if (bytes > maxDirectory) this.#fail(`its zip directory takes ${bytes} bytes, more than ${maxDirectory}`);
    if (count * entryBytes > bytes) this.#fail(`its zip directory says ${count} entries in ${bytes} bytes`);
    return found;
  }

  /** A 64-bit number that must not exceed `most`. */
  #size(view: DataView, at: number, most: number): number {
    const value = view.getBigUint64(at, true);
    if (most < 0 || value > BigInt(most)) this.#fail('a zip64 number is beyond the file');
    return Number(value);
  }

  #parse(view: DataView, count: number): void {
    let at = 0;
    for (let i = 0; i < count; i++) {
      if (at + entryBytes > view.byteLength || view.getUint32(at, true) !== 0x02014b50)
        this.#fail(`entry ${i} of its zip directory is broken`);
      const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((o) => view.getUint16(at + o, true)) as [
        number,
        number,
        number,
      ];
      const next = at + entryBytes + nameBytes + extraBytes + commentBytes;
      if (next > view.byteLength) this.#fail(`entry ${i} of its zip directory is cut off`);
      const name = new TextDecoder().decode(new Uint8Array(view.buffer, at + entryBytes, nameBytes));
      this.#add(name, view, at, at + entryBytes + nameBytes, extraBytes);
      at = next;
    }
    const inOrder = [...this.entries.values()].sort((a, b) => a.header - b.header);
    inOrder.forEach((entry, i) => {
      if (entry.header + localBytes + entry.bytes > (inOrder[i + 1]?.header ?? this.#directory))
        this.#fail(`${JSON.stringify(entry.name)} reaches over what follows it`);
    });
  }

  #add(name: string, view: DataView, at: number, extra: number, extraBytes: number): void {
    const what = JSON.stringify(name.slice(0, 200));
    if (this.entries.has(name)) this.#fail(`${what} is in its zip directory twice`);
    if (view.getUint16(at + 8, true) & 1) this.#fail(`${what} is encrypted`);
    const method = view.getUint16(at + 10, true);
    const wide = this.#wide(view, extra, extraBytes);
    const number = (offset: number): number => {
      const value = view.getUint32(at + offset, true);
      if (value !== 0xffffffff || wide === undefined) return value;
      if (wide.at + 8 > wide.end) this.#fail(`${what} lacks its zip64 numbers`);
      wide.at += 8;
      return this.#size(view, wide.at - 8, Number.MAX_SAFE_INTEGER);
    };
    const whole = number(24);
    const bytes = number(20);
    const header = number(42);
    if (method === 0 && whole !== bytes) this.#fail(`${what} has two lengths, ${whole} and ${bytes}`);
    if (header + localBytes + bytes > this.#directory) this.#fail(`${what} reaches beyond the archive's data`);
    this.entries.set(name, { name, header, bytes, method });
  }

  /** Where the zip64 numbers among the extra fields are. */
  #wide(view: DataView, extra: number, bytes: number): { at: number; end: number } | undefined {
    for (let at = extra; at + 4 <= extra + bytes; ) {
      const end = at + 4 + view.getUint16(at + 2, true);
      if (end > extra + bytes) return undefined;
      if (view.getUint16(at, true) === 1) return { at: at + 4, end };
      at = end;
    }
    return undefined;
  }

  /** Where an entry's data begin in the file. */
  async start(entry: ZipEntry): Promise<number> {
    if (entry.method !== 0)
      this.#fail(
        `${JSON.stringify(entry.name)} is compressed, which torch.save never does. Unpack the archive and zip it anew without compression (zip -0)`,
      );
    const local = await this.#read(entry.header, localBytes);
    if (local.getUint32(0, true) !== 0x04034b50) this.#fail(`${JSON.stringify(entry.name)} is not where the zip directory says`);
    const start = entry.header + localBytes + local.getUint16(26, true) + local.getUint16(28, true);
    if (start + entry.bytes > this.#directory) this.#fail(`${JSON.stringify(entry.name)} reaches beyond the archive's data`);
    return start;
  }

  /** A whole small entry. */
  async content(entry: ZipEntry): Promise<Uint8Array> {
    const raw = new Uint8Array(entry.bytes);
    await readExactly(this.#path, this.#file, raw, await this.start(entry));
    return raw;
  }
}
