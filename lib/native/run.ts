import type { NativeAddon, StreamProfile } from './addon.ts';
import { AnnealError, DataError, DeviceError, GraphError, OutOfMemoryError } from './errors.ts';
import { loadAddon } from './load.ts';

export type { GpuInfo, KernelInfo, MemoryStats, NativeInfo, QueueStats, StreamProfile } from './addon.ts';

/** What crosses as an operand. A storage whose handle is 0 has no memory yet: as an output it is allocated by the call. */
export interface Operand {
  readonly storage: { handle: number };
  /** Bytes from the start of the storage. */
  readonly offset: number;
  /** Elements. */
  readonly size: number;
  /** Native dtype code. */
  readonly code: number;
  readonly shape: readonly number[];
  /** The device's native number: 0 is the CPU, 1 the first GPU. */
  readonly device: { readonly number: number };
}

/** The streams of a device, in the native order. */
export const streams = { compute: 0, copy: 1, comm: 2 } as const;
export type StreamName = keyof typeof streams;

/** A native op by name; its number is looked up at the first call, so that importing the package loads nothing. */
export interface NativeOp {
  readonly name: string;
  id: number;
}

const declared = new Map<string, NativeOp>();

/** Declares that TypeScript uses the native op `name`. */
export function nativeOp(name: string): NativeOp {
  const known = declared.get(name);
  if (known) return known;
  const op = { name, id: -1 };
  declared.set(name, op);
  return op;
}
/** Names of all ops that have been declared; the registry test holds them against the native table. */
export const declaredOps = (): string[] => [...declared.keys()];

let addon: NativeAddon | undefined;
let block: Float64Array = new Float64Array(0);
let ids = new Map<string, number>();

/** The addon, loaded at the first use. */
export function native(): NativeAddon {
  if (addon) return addon;
  const loaded = loadAddon() as NativeAddon;
  loaded.attach(settle);
  block = loaded.block;
  ids = new Map(loaded.info().ops.map((op, i) => [op.name, i]));
  process.once('exit', () => loaded.abandon());
  addon = loaded;
  return loaded;
}

// ---- the crossing -----------------------------------------------------------------------------------------------------------
// Places in the command block; native/src/binding/binding.h has the same map.
const INPUTS = 16;
const OUTPUTS = 48;
const ATTRIBUTES = 64;

/** Shapes of the latest calls' inputs, so that an error raised later on the stream can name them. Shapes only: tensors must not be held. */
const REMEMBERED = 4096;
const MOST_INPUTS = 8;
const shapes: (readonly number[] | undefined)[] = new Array(REMEMBERED * MOST_INPUTS);
let sequence = 0;

/** A tensor list as an operand (see `registerList`). */
export interface ListOperand {
  readonly list: number;
  readonly device: { readonly number: number };
}

/** Sees every call on its way: profiles, summaries and the search for NaN. */
export interface CallWatcher {
  before?(op: NativeOp, inputs: readonly (Operand | ListOperand | null)[]): void;
  /** The call is queued under this number. */
  after?(
    op: NativeOp,
    inputs: readonly (Operand | ListOperand | null)[],
    outputs: readonly (Operand | null)[],
    attrs: readonly number[],
    sequence: number,
  ): void;
}
/** Null where nobody watches: one comparison a call. */
let watchers: readonly CallWatcher[] | null = null;

/** Watches all calls of this thread until the function returned is called. Calls that a watcher makes itself are not shown to anyone. */
export function watchCalls(watcher: CallWatcher): () => void {
  watchers = [...(watchers ?? []), watcher];
  return () => {
    const rest = (watchers ?? []).filter((w) => w !== watcher);
    watchers = rest.length ? rest : null;
  };
}

/**
 * Queues one call and returns at once. Outputs without memory get it here, so out-of-memory is thrown by the call that asked.
 * @param inputs at most 8; `null` for an optional operand that is absent
 * @param outputs at most 4
 * @param attrs at most 64 numbers
 */
export function run(
  op: NativeOp,
  inputs: readonly (Operand | ListOperand | null)[],
  outputs: readonly (Operand | null)[],
  attrs: readonly number[] = [],
  stream = 0,
): void {
  if (watchers === null) cross(op, inputs, outputs, attrs, stream);
  else watched(watchers, op, inputs, outputs, attrs, stream);
}

function watched(
  all: readonly CallWatcher[],
  op: NativeOp,
  inputs: readonly (Operand | ListOperand | null)[],
  outputs: readonly (Operand | null)[],
  attrs: readonly number[],
  stream: number,
): void {
  watchers = null;
  try {
    for (const w of all) w.before?.(op, inputs);
    cross(op, inputs, outputs, attrs, stream);
    const number = sequence;
    for (const w of all) w.after?.(op, inputs, outputs, attrs, number);
  } finally {
    watchers = all;
  }
}

function cross(
  op: NativeOp,
  inputs: readonly (Operand | ListOperand | null)[],
  outputs: readonly (Operand | null)[],
  attrs: readonly number[],
  stream: number,
): void {
  const n = addon ?? native();
  if (op.id < 0) resolve(op);
  const b = block;
  b[0] = op.id;
  b[1] = inputs.length;
  b[2] = outputs.length;
  b[3] = attrs.length;
  b[4] = stream;
  b[5] = ++sequence;
  b[6] = numberOf(outputs, inputs);
  const memory = (sequence % REMEMBERED) * MOST_INPUTS;
  for (let i = 0, at = INPUTS; i < inputs.length; i++, at += 4) {
    const o = inputs[i] as Operand;
    writeInput(b, at, o);
    shapes[memory + i] = o?.shape;
  }
  if (inputs.length < MOST_INPUTS) shapes[memory + inputs.length] = undefined;
  for (let i = 0, at = OUTPUTS; i < outputs.length; i++, at += 4) {
    const o = outputs[i];
    b[at] = o ? o.storage.handle : 0;
    b[at + 1] = o ? o.offset : 0;
    b[at + 2] = o ? o.size : -1;
    b[at + 3] = o ? o.code : 0;
  }
  for (let i = 0; i < attrs.length; i++) b[ATTRIBUTES + i] = attrs[i] as number;
  try {
    n.run();
  } catch (error) {
    throw translate(error, op.name, inputs);
  }
  for (let i = 0, at = OUTPUTS; i < outputs.length; i++, at += 4) {
    const o = outputs[i];
    if (o && o.storage.handle === 0) o.storage.handle = b[at] as number;
  }
}

/** The device that runs the call: its operands' own. Native code refuses a call whose operands differ. */
function numberOf(outputs: readonly (Operand | null)[], inputs: readonly (Operand | ListOperand | null)[]): number {
  for (let i = 0; i < outputs.length; i++) if (outputs[i]) return (outputs[i] as Operand).device.number;
  for (let i = 0; i < inputs.length; i++) if (inputs[i]) return (inputs[i] as Operand).device.number;
  return 0;
}

function writeInput(b: Float64Array, at: number, o: Operand | ListOperand | null): void {
  if (o === null) {
    b[at] = 0;
  } else if ('list' in o) {
    b[at] = o.list;
    b[at + 1] = 0;
    b[at + 2] = 0;
    b[at + 3] = -1;
  } else {
    b[at] = o.storage.handle;
    b[at + 1] = o.offset;
    b[at + 2] = o.size;
    b[at + 3] = o.code;
  }
}

function resolve(op: NativeOp): void {
  const id = ids.get(op.name);
  if (id === undefined) throw new DeviceError(`${op.name}: the native addon has no such op. Rebuild it: npm run build:native`);
  op.id = id;
}

const describe = (inputs: readonly (Operand | ListOperand | null)[]): string =>
  inputs.map((o) => (o === null ? 'none' : 'list' in o ? 'list' : `[${o.shape.join(', ')}]`)).join(', ');

function translate(error: unknown, op: string, inputs: readonly (Operand | ListOperand | null)[]): unknown {
  const { code, message } = error as { code?: string; message: string };
  if (code === 'OUT_OF_MEMORY') return new OutOfMemoryError(message);
  const where = `${op}(${describe(inputs)})`;
  if (code === 'HANDLE')
    return new GraphError(
      `${where}: ${message}. A tensor made inside scope() is freed at its end unless it is returned or kept: return it, or call kept().`,
    );
  if (code === 'NO_KERNEL') return new DeviceError(`${where}: ${message}. Move its inputs to the CPU first: x.to('cpu').`);
  if (code === 'QUEUE_FULL')
    return new DeviceError(
      `${where}: ${message}. Let the device catch up now and then: await device.synchronize() or await x.item().`,
    );
  if (code === undefined) return error;
  return new AnnealError(code, `${where}: ${message}`);
}

// ---- waiting ----------------------------------------------------------------------------------------------------------------

interface Waiting {
  resolve(value: number): void;
  reject(error: Error): void;
}
const waiting = new Map<number, Waiting>();
let tickets = 0;

function settle(ticket: number, value: number, message?: string, op?: string, at?: number): void {
  const w = waiting.get(ticket);
  waiting.delete(ticket);
  if (!w) return;
  if (message === undefined) w.resolve(value);
  else w.reject(streamError(message, op as string, at as number));
}

function remembered(at: number): string {
  const start = (at % REMEMBERED) * MOST_INPUTS;
  const names: string[] = [];
  for (let i = 0; i < MOST_INPUTS && shapes[start + i]; i++) names.push(`[${(shapes[start + i] as number[]).join(', ')}]`);
  return names.join(', ');
}

/** An error raised by a kernel after its call had returned. Messages about the data begin with 'data: '. */
function streamError(message: string, op: string, at: number): AnnealError {
  const where = `${op}(${sequence - at < REMEMBERED ? remembered(at) : 'shapes no longer known'})`;
  const data = message.startsWith('data: ');
  const text = `${where}: ${data ? message.slice(6) : message}`;
  return data ? new DataError(text) : new AnnealError('KERNEL', text);
}

function awaited(start: (ticket: number) => void): Promise<number> {
  return new Promise<number>((resolve, reject) => {
    const ticket = ++tickets;
    waiting.set(ticket, { resolve, reject });
    try {
      start(ticket);
    } catch (error) {
      waiting.delete(ticket);
      reject(translate(error, 'await', []));
    }
  });
}

/** Resolves when everything queued on the stream so far is done; rejects with the first error raised on it since the last await. */
export async function synchronize(stream: StreamName = 'compute', device = 0): Promise<void> {
  await awaited((ticket) => native().notify(streams[stream], ticket, device));
}

/** Notes when each of at most `capacity` calls a stream runs, until `endProfile`. */
export function beginProfile(capacity: number, device: number): void {
  for (const stream of Object.values(streams)) native().beginProfile(device, stream, capacity);
}
/** The notes of a device's streams, once all that was queued before is done. Rejects with the first error raised there. */
export async function endProfile(device: number): Promise<Record<StreamName, StreamProfile>> {
  const all = Object.values(streams);
  const ends = await Promise.allSettled(all.map((s) => awaited((ticket) => native().endProfile(device, s, ticket))));
  const read = (name: StreamName) => native().readProfile(device, streams[name]);
  const profiles = { compute: read('compute'), copy: read('copy'), comm: read('comm') };
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  return profiles;
}

/** One element as a number. */
export const readItem = (o: Operand): Promise<number> =>
  awaited((ticket) => native().item(o.storage.handle, o.offset, o.code, ticket, o.device.number));

/** Copies the operand's elements into `into`, off the JavaScript thread. */
export async function download(o: Operand, into: ArrayBufferView): Promise<void> {
  await awaited((ticket) => native().download(o.storage.handle, o.offset, o.size, o.code, into, ticket, o.device.number));
}

/** Copies host data into the operand in stream order, giving it memory if it has none; `data` may be reused as soon as this returns. */
export function upload(o: Operand, data: ArrayBufferView): void {
  try {
    if (o.storage.handle === 0) o.storage.handle = native().allocate(data.byteLength, o.device.number);
    native().upload(o.storage.handle, o.offset, o.size, o.code, data, o.device.number);
  } catch (error) {
    throw translate(error, 'upload', [o]);
  }
}

/** Copies an operand's elements into one on another device, in the order of both devices' compute streams; returns at once. */
export function transfer(from: Operand, to: Operand, bytes: number): void {
  const n = native();
  try {
    if (to.storage.handle === 0) to.storage.handle = n.allocate(bytes, to.device.number);
    n.transfer(
      from.size,
      from.code,
      from.storage.handle,
      from.offset,
      from.device.number,
      to.storage.handle,
      to.offset,
      to.device.number,
    );
  } catch (error) {
    throw translate(error, 'to', [from]);
  }
}

/** Frees a storage's memory, in stream order: calls already queued still find it. */
export function release(handle: number): void {
  (addon as NativeAddon).release(handle);
}

/**
 * Registers tensors once, so that a call over all of them crosses with one handle. The list holds their memory until released.
 * @param rows each row's operands; every row has the same number of columns, `null` where there is none
 * @param perRow one number that stays with each row
 */
export function registerList(rows: readonly (readonly (Operand | null)[])[], perRow?: readonly number[]): ListOperand {
  const columns = rows[0]?.length ?? 1;
  const device = rows.flat().find((o) => o)?.device ?? { number: 0 };
  const operands = new Float64Array(rows.length * columns * 4);
  rows.forEach((row, r) => {
    row.forEach((o, c) => {
      if (o) operands.set([o.storage.handle, o.offset, o.size, o.code], (r * columns + c) * 4);
    });
  });
  const numbers = new Float64Array(rows.length);
  perRow?.forEach((v, i) => {
    numbers[i] = v;
  });
  return { list: native().list(rows.length, columns, operands, numbers, device.number), device };
}
