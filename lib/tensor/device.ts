import { DeviceError, describe } from '../native/errors.ts';
import { type GpuInfo, type MemoryStats, native, type QueueStats, type StreamName, streams, synchronize } from '../native/run.ts';

/** Names of devices: 'cpu', 'cuda' (the first GPU), 'cuda:1'. */
export type DeviceName = 'cpu' | 'cuda' | `cuda:${number}`;

function streamOf(method: string, name: StreamName): number {
  if (typeof name === 'string' && Object.hasOwn(streams, name)) return streams[name];
  throw new DeviceError(`StreamEvent.${method}: unknown stream ${describe(name)}. Known: ${Object.keys(streams).join(', ')}.`);
}

/** A point in a stream's work that another stream can wait for. */
export class StreamEvent {
  readonly #id = native().createEvent();
  readonly #device: Device;
  /** An event of the device's streams. Default: the default device's. */
  constructor(on: DeviceName | Device = defaultDevice()) {
    this.#device = device(on);
  }
  /** Marks the work queued on `stream` so far. */
  record(stream: StreamName): this {
    native().recordEvent(this.#id, streamOf('record', stream), this.#device.number);
    return this;
  }
  /** Makes what is queued on `stream` from now on wait for the mark; returns at once. */
  wait(stream: StreamName): this {
    native().waitEvent(this.#id, streamOf('wait', stream), this.#device.number);
    return this;
  }
}

/** A place where tensors live and calls run. One object per device. */
export class Device {
  readonly name: DeviceName;
  /** What native code calls it: 0 is the CPU, 1 the first GPU. */
  readonly number: number;
  /** A GPU's own data; undefined for the CPU. */
  readonly gpu: Readonly<GpuInfo> | undefined;
  /** Use `device(name)`. */
  constructor(name: DeviceName, number: number, gpu?: GpuInfo) {
    this.name = name;
    this.number = number;
    this.gpu = gpu;
  }
  /** Bytes: `live` in tensors, `cached` for reuse, `peak` of live since the start or the last `resetPeak`, `limit`; `handles` alive. */
  memory(): MemoryStats {
    return native().memory(this.number);
  }
  /** Makes `peak` start again from what is live now. */
  resetPeak(): void {
    native().memory(this.number, true);
  }
  /** The high-water mark of live bytes past which a call throws OutOfMemoryError. Default: three quarters of the machine's or container's memory. */
  setMemoryLimit(bytes: number): void {
    if (!(typeof bytes === 'number' && bytes > 0))
      throw new DeviceError(`setMemoryLimit: ${describe(bytes)} is not a number of bytes above 0`);
    native().setMemoryLimit(this.number, bytes);
  }
  /** Returns cached memory to the system. */
  emptyCache(): void {
    native().trim(this.number);
  }
  /** Threads that CPU kernels use. Default: the processors this process may run on, or its container's quota if smaller. */
  get threads(): number {
    return native().threads();
  }
  set threads(n: number) {
    if (!Number.isInteger(n) || n < 1) throw new DeviceError(`threads: ${describe(n)} is not a whole number above 0`);
    native().threads(n);
  }
  /** Calls queued and done per stream. */
  queues(): QueueStats[] {
    return native().queues(this.number);
  }
  /** Resolves when all work queued so far is done; rejects with the first error that it raised. */
  async synchronize(): Promise<void> {
    const { number } = this;
    await Promise.all([synchronize('compute', number), synchronize('copy', number), synchronize('comm', number)]);
  }
  toString(): string {
    return this.name;
  }
}

const cpu = new Device('cpu', 0);
const devices = new Map<string, Device>([['cpu', cpu]]);
let preferred = cpu;

/**
 * The device of that name. GPUs are opened at the first call.
 * @throws DeviceError where there is none, naming what is missing (driver, GPU, kernels) and the remedy; nothing falls back to the CPU
 */
export function device(name: DeviceName | Device): Device {
  if (name instanceof Device) return name;
  const known = devices.get(name);
  if (known) return known;
  const gpu = typeof name === 'string' ? /^cuda(?::(\d{1,3}))?$/.exec(name) : null;
  if (!gpu)
    throw new DeviceError(
      `device(${typeof name === 'string' ? `'${name}'` : describe(name)}): unknown device. Known: 'cpu', 'cuda', 'cuda:<index>'.`,
    );
  return open(name, Number(gpu[1] ?? 0));
}

function open(name: DeviceName, ordinal: number): Device {
  const full: DeviceName = `cuda:${ordinal}`;
  let made = devices.get(full);
  if (!made) {
    try {
      made = new Device(full, ordinal + 1, native().open(ordinal + 1));
    } catch (error) {
      const { code, message } = error as { code?: string; message: string };
      if (code !== 'UNAVAILABLE') throw error;
      throw new DeviceError(`device('${name}'): ${message}`);
    }
    devices.set(full, made);
  }
  devices.set(name, made);
  return made;
}

/** Where tensors are made unless told otherwise: the CPU until `setDefaultDevice`. */
export const defaultDevice = (): Device => preferred;
/** Makes `name` the device of new tensors and models that name none. */
export function setDefaultDevice(name: DeviceName | Device): void {
  preferred = device(name);
}

/** The processor as kernels see it: the instruction set chosen, what it offers, and the processors available to this process. */
export const cpuInfo = () => native().info().cpu;
