// What the addon offers, as types.

export interface NativeAddon {
  readonly block: Float64Array;
  attach(settled: (ticket: number, value: number, message?: string, op?: string, sequence?: number) => void): void;
  run(): void;
  release(handle: number): void;
  allocate(bytes: number, device: number): number;
  upload(handle: number, offset: number, size: number, code: number, data: ArrayBufferView, device: number): void;
  download(
    handle: number,
    offset: number,
    size: number,
    code: number,
    data: ArrayBufferView,
    ticket: number,
    device: number,
  ): void;
  transfer(size: number, code: number, from: number, offset: number, on: number, to: number, at: number, device: number): void;
  item(handle: number, offset: number, code: number, ticket: number, device: number): void;
  notify(stream: number, ticket: number, device: number): void;
  list(rows: number, columns: number, operands: Float64Array, perRow: Float64Array, device: number): number;
  open(device: number): GpuInfo;
  /** The dynamic linker's words where it cannot load a library of that name. */
  library(name: string): string | undefined;
  kernels(): KernelInfo;
  memory(device: number, resetPeak?: boolean): MemoryStats;
  setMemoryLimit(device: number, bytes: number): void;
  trim(device: number): void;
  threads(n?: number): number;
  info(): NativeInfo;
  createEvent(): number;
  recordEvent(event: number, stream: number, device: number): void;
  waitEvent(event: number, stream: number, device: number): void;
  queues(device: number): QueueStats[];
  beginProfile(device: number, stream: number, capacity: number): void;
  endProfile(device: number, stream: number, ticket: number): void;
  readProfile(device: number, stream: number): StreamProfile;
  abandon(): void;
  /** Opens the library that carries collectives out; throws with the dynamic linker's words. */
  openCollectives(path: string): void;
  openGroup(rank: number, size: number, host: string, timeoutMs: number): number;
  /** The index-th entry that this rank tells the others: key, a zero, value. Empty while there is none. */
  groupTold(group: number, index: number): Buffer;
  /** The key that the group waits for; empty where it waits for none. */
  groupWanted(group: number): string;
  groupGive(group: number, key: string, value: Buffer): void;
  /** True when connected, false while connecting, or what went wrong. */
  groupState(group: number): boolean | string;
  closeGroup(group: number): void;
}

/** Bytes in use by tensors, kept for reuse, the most ever in use, and the bound; `handles`: storages and lists alive. */
export interface MemoryStats {
  live: number;
  cached: number;
  peak: number;
  limit: number;
  handles: number;
}
export interface QueueStats {
  name: string;
  enqueued: number;
  completed: number;
  timesFull: number;
}
/** When a stream's calls ran, in milliseconds of the clock of process.hrtime. */
export interface StreamProfile {
  started: number;
  ended: number;
  /** Calls for which there was no room. */
  dropped: number;
  names: string[];
  /** Four numbers a call: index of its name, sequence (0: the stream's own work), begin after `started`, duration. */
  spans: Float64Array;
}
/** A GPU as its driver tells of it. `memory` in bytes; `driver` is the library that was opened; `simulated`: it is no hardware. */
export interface GpuInfo {
  name: string;
  /** 8.6, 9, ... */
  computeCapability: number;
  multiprocessors: number;
  /** Bytes. */
  memory: number;
  /** The driver's library. */
  driver: string;
  /** The CUDA version that the driver supports: 13.0, ... */
  driverVersion: number;
  simulated: boolean;
}
/** The CUDA kernels beside the addon; without machine code the driver compiles their PTX. `missing` says why there are none, and the remedy. */
export interface KernelInfo {
  count: number;
  machineCode: boolean;
  missing?: string;
}
export interface NativeInfo {
  ops: { name: string; kind: string; cpu: boolean; cuda: boolean }[];
  cpu: { isa: string; avx2: boolean; avx512: boolean; bf16: boolean; amxBf16: boolean; available: number };
}
