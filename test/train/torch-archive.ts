/** Archives and pickles put together byte by byte, as torch.save would not. */
import type { FileHandle } from 'node:fs/promises';
import { Tensor, type TorchValue } from '../../lib/index.ts';
import { readTorch } from '../../lib/train/torch-file/index.ts';

/** A byte, text in latin1, or bytes. */
export type Part = number | string | Uint8Array;
export const bytes = (...parts: readonly Part[]): Buffer =>
  Buffer.concat(parts.map((p) => (typeof p === 'number' ? Buffer.of(p) : typeof p === 'string' ? Buffer.from(p, 'latin1') : p)));
export const u32 = (n: number): Buffer => {
  const b = Buffer.alloc(4);
  b.writeUInt32LE(n);
  return b;
};
export const u64 = (n: bigint): Buffer => {
  const b = Buffer.alloc(8);
  b.writeBigUInt64LE(n);
  return b;
};

export const text = (s: string): Buffer => bytes('X', u32(Buffer.byteLength(s)), Buffer.from(s));
export const int = (n: number | bigint): Buffer => {
  if (typeof n === 'number' && Number.isInteger(n) && n >= -(2 ** 31) && n < 2 ** 31) return bytes('J', u32(n >>> 0));
  const b = Buffer.alloc(9);
  b.writeBigInt64LE(BigInt.asIntN(64, BigInt(n)));
  return bytes(0x8a, b.length, b); // LONG1, nine bytes: the sign is plain
};
export const global = (module: string, name: string): string => `c${module}\n${name}\n`;
export const tuple = (...items: readonly Part[]): Buffer => bytes('(', ...items, 't');
export const call = (module: string, name: string, ...args: readonly Part[]): Buffer =>
  bytes(global(module, name), tuple(...args), 'R');
export const pickle = (...body: readonly Part[]): Buffer => bytes(0x80, 2, ...body, '.');

export interface View {
  key?: string;
  kind?: string;
  numel?: number | bigint;
  offset?: number | bigint;
  size?: readonly (number | bigint)[];
  stride?: readonly (number | bigint)[];
}
export const storage = ({ key = '0', kind = 'FloatStorage', numel = 4 }: View = {}): Buffer =>
  bytes(tuple(text('storage'), global('torch', kind), text(key), text('cpu'), int(numel)), 'Q');
export const tensor = (v: View = {}): Buffer => {
  const { offset = 0, size = [4], stride = [1] } = v;
  const counts = (list: readonly (number | bigint)[]) => tuple(...list.map(int));
  const hooks = bytes(global('collections', 'OrderedDict'), ')R');
  return call('torch._utils', '_rebuild_tensor_v2', storage(v), int(offset), counts(size), counts(stride), 0x89, hooks);
};

export interface Entry {
  name: string;
  data: Uint8Array;
  /** What the directory says instead of the truth. */
  header?: number;
  size?: number;
  method?: number;
  flags?: number;
  extra?: Uint8Array;
}

/** A zip archive of stored entries. */
export function archive(entries: readonly Entry[], end: { count?: number; size?: number; at?: number } = {}): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  for (const { name, data, header = at, size = data.length, method = 0, flags = 0, extra = new Uint8Array() } of entries) {
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50);
    local.writeUInt16LE(name.length, 26);
    parts.push(bytes(local, name, data));
    const d = Buffer.alloc(46);
    d.writeUInt32LE(0x02014b50);
    d.writeUInt16LE(flags, 8);
    d.writeUInt16LE(method, 10);
    d.writeUInt32LE(size, 20);
    d.writeUInt32LE(size, 24);
    d.writeUInt16LE(name.length, 28);
    d.writeUInt16LE(extra.length, 30);
    d.writeUInt32LE(header, 42);
    directory.push(bytes(d, name, extra));
    at += 30 + name.length + data.length;
  }
  const whole = Buffer.concat(directory);
  const e = Buffer.alloc(22);
  e.writeUInt32LE(0x06054b50);
  e.writeUInt16LE(end.count ?? entries.length, 8);
  e.writeUInt16LE(end.count ?? entries.length, 10);
  e.writeUInt32LE(end.size ?? whole.length, 12);
  e.writeUInt32LE(end.at ?? at, 16);
  return Buffer.concat([...parts, whole, e]);
}

/** A torch file with this pickle and storage 0 of four f32. */
export const torchFile = (data: Uint8Array, more: readonly Entry[] = []): Buffer =>
  archive([
    { name: 'a/data.pkl', data },
    { name: 'a/data/0', data: new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer) },
    ...more,
  ]);

/** What `loadTorch` makes of the bytes; they stand for the file, and a read outside of them is an error. */
export async function readBytes(content: Uint8Array, maxBytes = 64 << 20): Promise<unknown> {
  const read = (into: Uint8Array, offset: number, length: number, at: number) => {
    if (!(at >= 0 && offset >= 0 && offset + length <= into.length)) throw new Error(`a read at ${at} of ${length} bytes`);
    const part = content.subarray(at, at + length);
    into.set(part, offset);
    return Promise.resolve({ bytesRead: part.length, buffer: into });
  };
  return readTorch('x.pt', { read } as unknown as FileHandle, content.length, { nested: true, maxBytes });
}

/** Frees the tensors in a value that was read. */
export function free(value: unknown): void {
  if (value instanceof Tensor) value.dispose();
  else if (value instanceof Map || Array.isArray(value)) for (const v of value.values() as Iterable<TorchValue>) free(v);
}
