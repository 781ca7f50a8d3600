import { CheckpointError } from '../native/errors.ts';
import { bytesOf, type DType } from '../tensor/dtype.ts';

/** Element types that a file may hold here. I64 is read as i32, range-checked. */
export type StoredDType = 'F32' | 'F16' | 'BF16' | 'F64' | 'I32' | 'I64' | 'U8' | 'BOOL';

const readable: Record<StoredDType, { dtype: DType; bytes: number }> = {
  F32: { dtype: 'f32', bytes: 4 },
  F16: { dtype: 'f16', bytes: 2 },
  BF16: { dtype: 'bf16', bytes: 2 },
  F64: { dtype: 'f64', bytes: 8 },
  I32: { dtype: 'i32', bytes: 4 },
  I64: { dtype: 'i32', bytes: 8 },
  U8: { dtype: 'u8', bytes: 1 },
  BOOL: { dtype: 'bool', bytes: 1 },
};
const storedOf = new Map(
  Object.entries(readable).flatMap(([stored, { dtype }]) => (stored === 'I64' ? [] : [[dtype, stored as StoredDType] as const])),
);

/** The limit of the reference implementation on the header's length. */
export const maxHeaderBytes = 100_000_000;

/** One tensor in a safetensors file. */
export interface TensorInfo {
  readonly name: string;
  /** The dtype that `read` gives. */
  readonly dtype: DType;
  /** The dtype in the file; differs from `dtype` for I64 only. */
  readonly stored: StoredDType;
  readonly shape: readonly number[];
  /** First byte, counted from the end of the header, and the byte after the last. */
  readonly begin: number;
  readonly end: number;
}

/** Elements of `shape`, or undefined for a dimension that is no count or a product beyond 2^53. */
export function elements(shape: readonly unknown[]): number | undefined {
  let n = 1;
  for (const d of shape) {
    if (typeof d !== 'number' || !Number.isSafeInteger(d) || d < 0) return undefined;
    n *= d;
    if (!Number.isSafeInteger(n)) return undefined;
  }
  return n;
}

/** Refuses what JSON.parse lets pass: a key given twice, and numbers that are not plain counts. `text` is valid JSON. */
function checkTokens(text: string, fail: (why: string) => never): void {
  const open: (Set<string> | undefined)[] = []; // a set of keys for each open object, undefined for an array
  let string: string | undefined;
  for (let i = 0; i < text.length; ) {
    const c = text[i] as string;
    if (c === '"') {
      let end = i;
      let slashes: number;
      do {
        end = text.indexOf('"', end + 1);
        slashes = 0;
        while (text[end - 1 - slashes] === '\\') slashes++;
      } while (slashes % 2 === 1);
      string = JSON.parse(text.slice(i, end + 1)) as string;
      i = end + 1;
      continue;
    }
    if (c === '-' || (c >= '0' && c <= '9')) {
      let end = i + 1;
      while (end < text.length && /[\d.eE+-]/.test(text[end] as string)) end++;
      const number = text.slice(i, end);
      if (!/^\d{1,16}$/.test(number)) fail(`the number ${number.slice(0, 40)} is not a count (an integer >= 0 in plain digits)`);
      i = end;
      continue;
    }
    if (c === '{') open.push(new Set());
    else if (c === '[') open.push(undefined);
    else if (c === '}' || c === ']') open.pop();
    else if (c === ':' && string !== undefined) {
      const keys = open.at(-1);
      if (keys?.has(string)) fail(`the key ${JSON.stringify(string)} occurs twice`);
      keys?.add(string);
    }
    i++;
  }
}

function parse(bytes: Uint8Array, fail: (why: string, cause?: unknown) => never): Record<string, unknown> {
  if (bytes[0] !== 0x7b) fail('the header does not begin with "{"');
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
    const value: unknown = JSON.parse(text);
    checkTokens(text, fail);
    return value as Record<string, unknown>; // it began with '{'
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    return fail('the header is not JSON in UTF-8', error);
  }
}

function tensorInfo(name: string, value: unknown, fail: (why: string) => never): TensorInfo {
  const where = `tensor ${JSON.stringify(name)}`;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return fail(`${where} is not described by an object`);
  const own = (key: string) => (Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined);
  const stored = own('dtype');
  const shape = own('shape');
  const offsets = own('data_offsets');
  if (typeof stored !== 'string') return fail(`${where} has no dtype`);
  if (!Object.hasOwn(readable, stored)) {
    return fail(
      `${where} has dtype ${JSON.stringify(stored)}; readable are ${Object.keys(readable).join(', ')}. Convert it where it was written`,
    );
  }
  if (!Array.isArray(shape)) return fail(`${where} has no shape`);
  const count = elements(shape);
  if (count === undefined) return fail(`${where} has the impossible shape ${JSON.stringify(shape).slice(0, 200)}`);
  const [begin, end, more] = Array.isArray(offsets) ? offsets : [];
  if (!Number.isSafeInteger(begin) || !Number.isSafeInteger(end) || more !== undefined || begin > end) {
    return fail(`${where} has wrong data_offsets ${JSON.stringify(offsets)?.slice(0, 200)}`);
  }
  const kind = readable[stored as StoredDType];
  if (end - begin !== count * kind.bytes) {
    return fail(`${where} spans ${end - begin} bytes, but ${stored} of shape [${shape.join(', ')}] takes ${count * kind.bytes}`);
  }
  return { name, dtype: kind.dtype, stored: stored as StoredDType, shape, begin, end };
}

/**
 * Checks a header (without its 8 length bytes) against the `dataBytes` that follow it, and gives the tensors in the order
 * of their data. Throws CheckpointError, naming `where`, for anything that the format forbids.
 */
export function parseHeader(
  where: string,
  header: Uint8Array,
  dataBytes: number,
): { tensors: Map<string, TensorInfo>; metadata: Map<string, string> } {
  const fail = (why: string, cause?: unknown): never => {
    throw new CheckpointError(`${where}: not a valid safetensors file: ${why}.`, { cause });
  };
  const metadata = new Map<string, string>();
  const infos: TensorInfo[] = [];
  for (const [name, value] of Object.entries(parse(header, fail))) {
    if (name !== '__metadata__') {
      infos.push(tensorInfo(name, value, fail));
      continue;
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) fail('__metadata__ is not an object of strings');
    for (const [k, v] of Object.entries(value as object)) {
      if (typeof v !== 'string') fail(`__metadata__ ${JSON.stringify(k)} is not a string`);
      metadata.set(k, v);
    }
  }
  infos.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const t of infos) {
    if (t.begin !== at)
      fail(`tensor ${JSON.stringify(t.name)} begins at byte ${t.begin}, expected ${at}: data overlap or leave a gap`);
    at = t.end;
  }
  if (at > dataBytes) fail(`the tensors need ${at} bytes of data and the file has ${dataBytes}: it was cut short`);
  if (at < dataBytes) fail(`${dataBytes - at} bytes follow the last tensor`);
  return { tensors: new Map(infos.map((t) => [t.name, t])), metadata };
}

/** Order of the reference implementation: bigger alignment first (so that every tensor is aligned), then by name. */
const rank: DType[] = ['f64', 'f32', 'i32', 'bf16', 'f16', 'u8', 'bool'];

interface Described {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/**
 * The 8 length bytes and the header for these tensors, and the tensors in the order in which their data follow. Byte for
 * byte what the reference implementation writes. Throws CheckpointError for names or shapes that it could not read.
 */
export function buildHeader<T extends Described>(
  where: string,
  tensors: readonly T[],
  metadata: Readonly<Record<string, string>> = {},
): { header: Uint8Array; order: { tensor: T; bytes: number }[] } {
  const fail = (why: string): never => {
    throw new CheckpointError(`${where}: ${why}.`);
  };
  const seen = new Set<string>();
  for (const { name } of tensors) {
    if (name === '__metadata__') fail('a tensor cannot be named "__metadata__": the format uses that name');
    if (/\p{Surrogate}/u.test(name)) fail(`the name ${JSON.stringify(name)} is not valid Unicode`);
    if (seen.has(name)) fail(`two tensors are named ${JSON.stringify(name)}`);
    seen.add(name);
  }
  const sorted = [...tensors].sort(
    (a, b) => rank.indexOf(a.dtype) - rank.indexOf(b.dtype) || Buffer.compare(Buffer.from(a.name), Buffer.from(b.name)),
  );
  // Joined by hand: an object would reorder names such as "0" and lose "__proto__".
  const parts: string[] = [];
  for (const [k, v] of Object.entries(metadata)) if (typeof v !== 'string') fail(`metadata ${JSON.stringify(k)} is not a string`);
  if (Object.keys(metadata).length > 0) parts.push(`"__metadata__":${JSON.stringify(metadata)}`);
  let at = 0;
  const order = sorted.map((tensor) => {
    const count = elements(tensor.shape) ?? fail(`${tensor.name} has the impossible shape [${tensor.shape.join(', ')}]`);
    const bytes = count * bytesOf(tensor.dtype);
    if (!Number.isSafeInteger(at + bytes)) fail(`${tensor.name} of shape [${tensor.shape.join(', ')}] is too big`);
    parts.push(
      `${JSON.stringify(tensor.name)}:{"dtype":"${storedOf.get(tensor.dtype)}","shape":${JSON.stringify(tensor.shape)},"data_offsets":[${at},${at + bytes}]}`,
    );
    at += bytes;
    return { tensor, bytes };
  });
  const text = Buffer.from(`{${parts.join(',')}}`, 'utf8');
  const length = Math.ceil(text.length / 8) * 8;
  if (length > maxHeaderBytes) fail(`the header takes ${length} bytes, more than the format's ${maxHeaderBytes}`);
  const header = new Uint8Array(8 + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(text, 8);
  return { header, order };
}
