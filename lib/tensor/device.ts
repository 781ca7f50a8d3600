import { DeviceError } from '../native/errors.ts';
import { type MemoryStats, native, type QueueStats, type StreamName, streams, synchronize } from '../native/run.ts';

/** Names of devices: 'cpu', 'cuda' (the first GPU), 'cuda:1'. */
export type DeviceName = 'cpu' | 'cuda' | `cuda:${number}`;

/** A point in a stream's work that another stream can wait for. */
export class StreamEvent {
  readonly #id = native().createEvent();
  /** Marks the work queued on `stream` so far. */
  record(stream: StreamName): this {
    native().recordEvent(this.#id, streams[stream]);
    return this;
  }
  /** Makes what is queued on `stream` from now on wait for the mark; returns at once. */
  wait(stream: StreamName): this {
    native().waitEvent(this.#id, streams[stream]);
    return this;
  }
}

/** A place where tensors live and calls run. One object per device. */
export class Device {
  readonly name: DeviceName;
  constructor(name: DeviceName) {
    this.name = name;
  }
  /** Bytes: `live` in tensors, `cached` for reuse, `peak` of live since the start or the last `resetPeak`, `limit`; `handles` alive. */
  memory(): MemoryStats {
    return native().memory();
  }
  /** Makes `peak` start again from what is live now. */
  resetPeak(): void {
    native().memory(true);
  }
  /** The high-water mark of live bytes past which a call throws OutOfMemoryError. Default: three quarters of the machine's or container's memory. */
  setMemoryLimit(bytes: number): void {
    if (!(bytes > 0)) throw new DeviceError(`setMemoryLimit: ${bytes} is not a number of bytes above 0`);
    native().setMemoryLimit(bytes);
  }
  /** Returns cached memory to the system. */
  emptyCache(): void {
    native().trim();
  }
  /** Threads that kernels use. Default: the processors this process may run on, or its container's quota if smaller. */
  get threads(): number {
    return native().threads();
  }
  set threads(n: number) {
    if (!Number.isInteger(n) || n < 1) throw new DeviceError(`threads: ${n} is not a whole number above 0`);
    native().threads(n);
  }
  /** Calls queued and done per stream. */
  queues(): QueueStats[] {
    return native().queues();
  }
  /** Resolves when all work queued so far is done; rejects with the first error that it raised. */
  async synchronize(): Promise<void> {
    await Promise.all([synchronize('compute'), synchronize('copy'), synchronize('comm')]);
  }
  toString(): string {
    return this.name;
  }
}

const cpu = new Device('cpu');

/** The device of that name. Throws DeviceError, naming the missing library and the remedy, where there is none; nothing falls back to the CPU. */
export function device(name: DeviceName | Device): Device {
  if (name instanceof Device) return name;
  if (name === 'cpu') return cpu;
  if (/^cuda(:\d+)?$/.test(name))
    throw new DeviceError(
      `device('${name}'): this build has no CUDA kernels. Use device 'cpu', or install a build of Anneal with CUDA and NVIDIA driver 580 or later (libcuda.so.1).`,
    );
  throw new DeviceError(`device('${String(name)}'): unknown device. Known: 'cpu', 'cuda', 'cuda:<index>'.`);
}

/** The processor as kernels see it: the instruction set chosen, what it offers, and the processors available to this process. */
export const cpuInfo = () => native().info().cpu;
