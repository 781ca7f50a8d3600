import { ConfigError, checkFunction, checkOptions, describe } from '../native/errors.ts';
import {
  beginProfile,
  endProfile,
  type ListOperand,
  native,
  type Operand,
  type StreamName,
  type StreamProfile,
  watchCalls,
} from '../native/run.ts';
import { macsOf } from '../ops/cost.ts';
import { measurePeak } from '../ops/peak.ts';
import { type Device, type DeviceName, defaultDevice, device } from '../tensor/device.ts';
import { bytesOf, type DType, dtypes } from '../tensor/dtype.ts';
import { formatBytes, table } from './text.ts';
import { type ChromeTrace, chromeTrace } from './trace.ts';

export interface ProfileOptions {
  /** Whose streams are timed. Default: the default device. */
  device?: DeviceName | Device;
  /** Room for so many calls, taken beforehand; later ones are counted as dropped. Default 200 000. */
  capacity?: number;
  /** FLOP/s to hold products against. Default: the CPU's f32 peak, measured once (`measurePeak`, half a second); nothing on a GPU. */
  peak?: number;
}

/** One call as it ran. */
export interface ProfiledCall {
  readonly op: string;
  readonly kind: string;
  readonly stream: StreamName;
  /** Milliseconds after the profile's start, and how long. */
  readonly begin: number;
  readonly ms: number;
  /** Shapes of its inputs; empty for what the stream does by itself (uploads, replies). */
  readonly shapes: readonly (readonly number[])[];
  readonly bytes: number;
  readonly macs: number;
  /** When JavaScript queued it, and how long that took. */
  readonly queued?: { readonly begin: number; readonly ms: number };
}

/** All calls of one op, or of one kind of op. */
export interface ProfileRow {
  readonly op: string;
  readonly kind: string;
  readonly calls: number;
  readonly ms: number;
  /** Of the profile's whole time. */
  readonly share: number;
  /** Bytes of operands, each read or written once. 0 for calls over lists of tensors (the optimizer's), which say no size. */
  readonly bytes: number;
  /** 10^9 floating-point operations a second, two to a multiply-add; 0 where none are counted. */
  readonly gflops: number;
  /** Of the peak; undefined where there is no figure for it. */
  readonly peakShare: number | undefined;
}

interface Queued {
  shapes: (readonly number[])[];
  bytes: number;
  macs: number;
  begin: number;
  end: number;
}

const sizeInBytes = (o: Operand | ListOperand | null): number =>
  o && !('list' in o) ? o.size * bytesOf(dtypes[o.code] as DType) : 0;

/** Milliseconds of the clock by which the streams' threads go too. */
const clock = (): number => Number(process.hrtime.bigint()) / 1e6;

/** Notes what each call is, when it is queued. */
function noteCalls(): { calls: Map<number, Queued>; off: () => void } {
  const calls = new Map<number, Queued>();
  let begin = 0;
  const off = watchCalls({
    before() {
      begin = clock();
    },
    after(op, inputs, outputs, attrs, sequence) {
      const end = clock();
      const listed = inputs.some((o) => o && 'list' in o);
      const bytes = listed ? 0 : [...inputs, ...outputs].reduce((sum, o) => sum + sizeInBytes(o), 0);
      const shapes = inputs.flatMap((o) => (o && !('list' in o) ? [o.shape] : []));
      calls.set(sequence, { shapes, bytes, macs: macsOf(op.name, attrs), begin, end });
    },
  });
  return { calls, off };
}

/** @param origin when the profiled function began: times count from here */
function callsOf(
  stream: StreamName,
  p: StreamProfile,
  queued: Map<number, Queued>,
  kinds: Map<string, string>,
  origin: number,
): ProfiledCall[] {
  const all: ProfiledCall[] = [];
  let until = 0;
  for (let at = 0; at < p.spans.length; at += 4) {
    const [name, sequence, after, ms] = p.spans.subarray(at, at + 4) as unknown as [number, number, number, number];
    const op = p.names[name] as string;
    const q = queued.get(sequence);
    const { shapes = [], bytes = 0, macs = 0 } = q ?? {};
    // One after the other, as a stream runs them: a GPU's events are rounded, and its clock may be a microsecond behind.
    const begin = Math.max(until, p.started + after - origin);
    until = begin + ms;
    const call = { op, kind: kinds.get(op) ?? 'stream', stream, begin, ms, shapes, bytes, macs };
    all.push(q ? { ...call, queued: { begin: q.begin - origin, ms: q.end - q.begin } } : call);
  }
  return all;
}

/** Where the time of some calls went; print it. */
export class Profile<T = unknown> {
  /** What the function returned. */
  readonly result: T;
  readonly device: Device;
  /** Milliseconds from the start until everything queued was done. */
  readonly ms: number;
  /** Milliseconds of that in which the compute stream had nothing to do: its gaps. */
  readonly idleMs: number;
  /** Calls for which there was no room. */
  readonly dropped: number;
  readonly calls: readonly ProfiledCall[];
  /** FLOP/s, where known. */
  readonly peak: number | undefined;

  constructor(
    result: T,
    on: Device,
    streams: Record<StreamName, StreamProfile>,
    calls: readonly ProfiledCall[],
    peak: number | undefined,
    origin: number,
  ) {
    this.result = result;
    this.device = on;
    this.peak = peak;
    this.calls = calls;
    const { compute } = streams;
    this.ms = compute.ended - origin;
    this.dropped = compute.dropped + streams.copy.dropped + streams.comm.dropped;
    let [busyUntil, idle] = [0, 0];
    for (const c of calls) {
      if (c.stream !== 'compute') continue;
      idle += Math.max(0, c.begin - busyUntil);
      busyUntil = Math.max(busyUntil, c.begin + c.ms);
    }
    this.idleMs = idle + Math.max(0, this.ms - busyUntil);
  }

  /** Rows by op, the slowest first. Streams other than 'compute' run beside it: their ops are named 'copy: upload'. */
  get rows(): ProfileRow[] {
    return this.#rows((c) => (c.stream === 'compute' ? c.op : `${c.stream}: ${c.op}`));
  }
  /** Rows by kind of op: matmul, conv, elementwise, ... */
  get kinds(): ProfileRow[] {
    return this.#rows((c) => (c.stream === 'compute' ? c.kind : `${c.stream}: ${c.kind}`));
  }

  #rows(key: (call: ProfiledCall) => string): ProfileRow[] {
    const groups = new Map<string, ProfiledCall[]>();
    for (const c of this.calls) {
      const group = groups.get(key(c));
      if (group) group.push(c);
      else groups.set(key(c), [c]);
    }
    const rows = [...groups].map(([op, calls]) => {
      const sum = (of: (c: ProfiledCall) => number) => calls.reduce((s, c) => s + of(c), 0);
      const ms = sum((c) => c.ms);
      const gflops = ms > 0 ? (2 * sum((c) => c.macs)) / ms / 1e6 : 0;
      const peakShare = this.peak !== undefined && gflops > 0 ? (gflops * 1e9) / this.peak : undefined;
      const kind = (calls[0] as ProfiledCall).kind;
      return { op, kind, calls: calls.length, ms, share: ms / this.ms, bytes: sum((c) => c.bytes), gflops, peakShare };
    });
    return rows.sort((a, b) => b.ms - a.ms);
  }

  /** The table as text, at most `limit` ops. */
  table(limit = 30): string {
    const percent = (v: number) => `${(100 * v).toFixed(1)} %`;
    const cells = (r: ProfileRow) => [
      r.op,
      r.kind,
      String(r.calls),
      r.ms.toFixed(3),
      percent(r.share),
      r.bytes ? formatBytes(r.bytes) : '-',
      r.bytes && r.ms > 0 ? (r.bytes / r.ms / 1e6).toFixed(1) : '-',
      r.gflops ? r.gflops.toFixed(1) : '-',
      r.peakShare === undefined ? '-' : percent(r.peakShare),
    ];
    const all = this.rows;
    const rest = all.slice(limit);
    const blank = ['', '', '', '', ''];
    const idle = ['idle', 'stream', '', this.idleMs.toFixed(3), percent(this.idleMs / this.ms), ...blank.slice(1)];
    const more = rest.length
      ? [[`${rest.length} more`, '', '', rest.reduce((s, r) => s + r.ms, 0).toFixed(3), '', ...blank.slice(1)]]
      : [];
    const head = ['op', 'kind', 'calls', 'ms', 'share', 'bytes', 'GB/s', 'GFLOP/s', 'of peak'];
    const total = ['total', '', String(this.calls.length), this.ms.toFixed(3), '', ...blank.slice(1)];
    return [this.#title(), table(head, [...all.slice(0, limit).map(cells), ...more, idle], total, 2)].join('\n');
  }

  #title(): string {
    const { gpu } = this.device;
    const place = gpu ? `${this.device} (${gpu.name})` : `${this.device} (${this.device.threads} threads)`;
    const peak = this.peak === undefined ? '' : `, peak ${(this.peak / 1e9).toFixed(0)} GFLOP/s (f32)`;
    const simulated = gpu?.simulated ? '. SIMULATED: times are what the simulator took on this machine, not a GPU' : '';
    const dropped = this.dropped ? `. ${this.dropped} calls were dropped: raise capacity` : '';
    return `profile on ${place}${peak}${simulated}${dropped}`;
  }
  toString(): string {
    return this.table();
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.table();
  }

  /** The calls for chrome://tracing and ui.perfetto.dev: write it to a file as JSON. */
  chromeTrace(): ChromeTrace {
    return chromeTrace(this.calls, { title: this.#title(), ms: this.ms });
  }
}

const peaks = new Map<number, number>();
async function knownPeak(on: Device): Promise<number | undefined> {
  if (on.gpu) return undefined;
  const peak = peaks.get(on.threads) ?? (await measurePeak());
  peaks.set(on.threads, peak);
  return peak;
}

let busy = false;

/**
 * Runs `fn` and tells where its time went: each call's begin and end, taken on the stream's thread (on a GPU by its events), by op and by kind, with the
 * gaps as a row of their own, and a trace. Waits for the device before and after; in between nothing waits that did not before. Let `fn` run a few
 * steps, and once before: first calls prepare kernels. Everything that this thread does meanwhile is in the profile.
 * @example const p = await profile(() => stepper.step(window, loss)); console.log(`${p}`)
 * @throws ConfigError while another profile is under way
 */
export async function profile<T>(fn: () => T | Promise<T>, options: ProfileOptions = {}): Promise<Profile<T>> {
  checkFunction('profile', 'the first argument', fn, 'profile(() => stepper.step(window, loss))');
  checkOptions('profile', options, ['device', 'capacity', 'peak']);
  const { capacity = 200_000, peak: given } = options;
  if (!(Number.isSafeInteger(capacity) && capacity > 0 && capacity <= 1e8))
    throw new ConfigError(`profile: capacity must be a whole number of calls above 0, got ${describe(capacity)}`);
  if (given !== undefined && !(typeof given === 'number' && given > 0))
    throw new ConfigError(`profile: peak must be a number of FLOP/s above 0, got ${describe(given)}`);
  if (busy) throw new ConfigError('profile: another profile is under way. Await it first.');
  busy = true;
  try {
    const on = device(options.device ?? defaultDevice());
    const peak = given ?? (await knownPeak(on));
    await on.synchronize();
    beginProfile(capacity, on.number);
    const { calls, off } = noteCalls();
    let result: T;
    let streams: Record<StreamName, StreamProfile>;
    const origin = clock();
    try {
      result = await fn();
    } finally {
      off();
      streams = await endProfile(on.number);
    }
    const kinds = new Map(
      native()
        .info()
        .ops.map((o) => [o.name, o.kind]),
    );
    const names = Object.keys(streams) as StreamName[];
    const all = names.flatMap((name) => callsOf(name, streams[name], calls, kinds, origin));
    return new Profile(result, on, streams, all, peak, origin);
  } finally {
    busy = false;
  }
}
