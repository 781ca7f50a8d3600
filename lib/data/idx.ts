import { checkOptions, DataError } from '../native/errors.ts';
import type { DType } from '../tensor/dtype.ts';
import { checkBytes, type DataFile, inspectFile, readChunks } from './files.ts';
import { allocate, type HostArray, type TypedArray } from './host.ts';

interface Element {
  readonly bytes: number;
  readonly dtype: DType;
  readonly read: (view: DataView, at: number) => number;
}

// The type byte of the IDX format (http://yann.lecun.com/exdb/mnist). Values are big-endian.
const elements: Readonly<Record<number, Element>> = {
  8: { bytes: 1, dtype: 'u8', read: (v, at) => v.getUint8(at) },
  9: { bytes: 1, dtype: 'i32', read: (v, at) => v.getInt8(at) },
  11: { bytes: 2, dtype: 'i32', read: (v, at) => v.getInt16(at) },
  12: { bytes: 4, dtype: 'i32', read: (v, at) => v.getInt32(at) },
  13: { bytes: 4, dtype: 'f32', read: (v, at) => v.getFloat32(at) },
  14: { bytes: 8, dtype: 'f64', read: (v, at) => v.getFloat64(at) },
};

const maxDims = 8;
const deflateRatio = 1032; // deflate cannot expand a byte further (zlib's technical notes)

/** Options of `idx`. */
export interface IdxOptions {
  /** The largest array to accept, in bytes of the file's elements. Default 8 GiB. */
  maxBytes?: number;
}

interface Header {
  readonly element: Element;
  readonly shape: number[];
  readonly count: number;
  readonly bytes: number;
}

/** Reads the header, or returns undefined if `head` is too short to hold it. */
function parseHeader(fail: (what: string) => DataError, head: Buffer): Header | undefined {
  if (head.length < 4) return undefined;
  const [zero0, zero1, type, dims] = head as unknown as [number, number, number, number];
  if (zero0 !== 0 || zero1 !== 0) {
    throw fail(`bytes 0 and 1 must be 0, found ${zero0} and ${zero1}: this is not an IDX file`);
  }
  const element = elements[type];
  if (!element) throw fail(`byte 2 is the element type and must be 8, 9, 11, 12, 13 or 14, found ${type}`);
  if (dims < 1 || dims > maxDims) throw fail(`byte 3 is the number of dimensions and must be 1 to ${maxDims}, found ${dims}`);
  const bytes = 4 + 4 * dims;
  if (head.length < bytes) return undefined;
  const shape = Array.from({ length: dims }, (_, i) => head.readUInt32BE(4 + 4 * i));
  const zero = shape.indexOf(0);
  if (zero >= 0) throw fail(`dimension ${zero} (at byte ${4 + 4 * zero}) is 0: the file holds no elements`);
  return { element, shape, count: shape.reduce((product, n) => product * n, 1), bytes };
}

/** Refuses a header whose array cannot be in the file, before anything of its size is allocated. */
function checkSize(fail: (what: string) => DataError, header: Header, file: DataFile, maxBytes: number): void {
  const body = header.count * header.element.bytes; // may be beyond 2^53: inexact, but then far beyond any file
  const asked = `the header asks for [${header.shape.join(', ')}] = ${body} bytes after its own ${header.bytes}`;
  if (!file.gzip && file.bytes !== body + header.bytes) {
    const rest = file.bytes - header.bytes;
    throw fail(`${asked}, but ${rest} follow: the file is ${rest < body ? 'cut short' : 'longer than it says'}`);
  }
  if (file.gzip && body + header.bytes > file.bytes * deflateRatio) {
    throw fail(`${asked}, more than ${file.bytes} bytes of gzip can inflate to`);
  }
  if (body > maxBytes)
    throw fail(`${asked}, more than the limit of ${maxBytes}; raise it with { maxBytes: ${body} } if that is meant`);
}

/** Converts big-endian elements as they arrive; a value cut by a piece's end waits for the next piece. */
class Filler {
  readonly data: TypedArray;
  #at = 0;
  #carry: Buffer = Buffer.alloc(0);

  constructor(
    readonly element: Element,
    readonly count: number,
  ) {
    this.data = allocate(element.dtype, count, true);
  }

  /** Takes the next bytes; false if there are more than the array holds. */
  push(piece: Buffer): boolean {
    const { element, data, count } = this;
    const chunk = this.#carry.length > 0 ? Buffer.concat([this.#carry, piece]) : piece;
    const whole = Math.floor(chunk.length / element.bytes);
    if (this.#at + whole > count) return false;
    if (element.dtype === 'u8') data.set(chunk, this.#at);
    else {
      const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      for (let i = 0; i < whole; i++) data[this.#at + i] = element.read(view, i * element.bytes);
    }
    this.#at += whole;
    this.#carry = chunk.subarray(whole * element.bytes);
    return true;
  }

  get bytes(): number {
    return this.#at * this.element.bytes + this.#carry.length;
  }
}

/**
 * Reads an IDX file (the format of MNIST), plain or gzip, into shared memory: u8 stays u8; i8, i16 and i32 give i32; f32 and f64 stay.
 * The header is checked against the file's size before memory is taken. Throws DataError, naming the file and the byte,
 * for anything that is not exactly one IDX array.
 */
export async function idx(path: string | URL, options: IdxOptions = {}): Promise<HostArray> {
  checkOptions('data.idx', options, ['maxBytes']);
  const maxBytes = checkBytes('data.idx', options.maxBytes ?? 2 ** 33);
  const file = await inspectFile('data.idx', path);
  const fail = (what: string) =>
    new DataError(`data.idx: ${file.path}: ${what}. Fetch the file again, or check that it is the right one.`);
  let head: Buffer | undefined = Buffer.alloc(0);
  let header: Header | undefined;
  let filler: Filler | undefined;
  for await (const chunk of readChunks('data.idx', file)) {
    let piece = chunk;
    if (head !== undefined) {
      head = Buffer.concat([head, chunk]);
      header = parseHeader(fail, head);
      if (!header) continue;
      checkSize(fail, header, file, maxBytes);
      filler = new Filler(header.element, header.count);
      piece = head.subarray(header.bytes);
      head = undefined;
    }
    if (filler && !filler.push(piece)) {
      throw fail(`more bytes follow than the ${filler.count * filler.element.bytes} that the header asks for`);
    }
  }
  if (!header || !filler) throw fail(`the file ends within the header, after ${head?.length ?? 0} bytes`);
  const expected = header.count * header.element.bytes;
  if (filler.bytes !== expected)
    throw fail(`expected ${expected} bytes of elements after the header, found ${filler.bytes}: the file is cut short`);
  return { data: filler.data, shape: header.shape, dtype: header.element.dtype };
}
