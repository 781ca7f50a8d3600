import { inspect } from 'node:util';
import { ConfigError, DTypeError, describe, GraphError, ShapeError } from '../native/errors.ts';
import { download, type Operand, readItem, release, transfer } from '../native/run.ts';
import { current } from './context.ts';
import { Device, defaultDevice } from './device.ts';
import { bytesOf, codeOf, type DType } from './dtype.ts';
import { EDGE, renderElements, THRESHOLD } from './print.ts';
import { type Shape, show, sizeOf } from './shape.ts';

/** Memory of one or more tensors. `refs` counts tensors and saved values; `version` counts writes, so that backward can notice one. */
export class Storage {
  handle = 0;
  refs = 1;
  version = 0;

  retain(): this {
    if (this.refs === 0)
      throw new GraphError('this tensor was freed. A tensor made inside scope() ends with it unless it is returned or kept().');
    this.refs++;
    return this;
  }
  release(): void {
    if (--this.refs > 0) return;
    const { handle } = this;
    this.handle = -1;
    if (handle > 0) release(handle);
  }
}

/** What a 4-D tensor's memory looks like; logical shapes are NCHW always. */
export type Format = 'contiguous' | 'channelsLast';

/** The typed array that holds each dtype on the host. 16-bit floats are read as f32. */
export type HostArray = Float32Array | Float64Array | Int32Array | Uint8Array;

/** A node of the tape, as far as a tensor needs to know it (lib/autograd/graph.ts). */
export interface TapeNode {
  readonly op: string;
  /** Visits the nodes that this one's inputs came from. */
  eachSource(visit: (source: TapeNode) => void): void;
  /** Lets go of what the node saved for backward. */
  release(): void;
}

/** Storages of tensors that JavaScript lost without a scope. Held in a cell, which `dispose` empties. */
interface Cell {
  storage: Storage | null;
}
const lost = new FinalizationRegistry<Cell>((cell) => cell.storage?.release());

/**
 * An n-dimensional array on a device. Ops return new tensors and are queued: reading (`data`, `item`) waits, nothing else does.
 * Methods for ops are added by the files of lib/ops.
 */
export class Tensor implements Operand {
  storage: Storage;
  readonly shape: Shape;
  readonly dtype: DType;
  device: Device;
  readonly format: Format;
  offset: number;
  readonly size: number;
  readonly code: number;
  /** The op that made this tensor, where gradients are recorded; and which of its outputs it is. */
  node: TapeNode | null = null;
  output = 0;
  /** A leaf's gradient, f32 for parameters; set by backward, accumulated until `zeroGrad`. */
  grad: Tensor | null = null;
  /** Set on leaves whose gradient is wanted. */
  requiresGrad = false;
  #disposed = false;
  #cell: Cell | null = null;

  /** Use `tensor()`, `zeros()` and their like. `storage` is taken over, not retained. */
  constructor(storage: Storage, shape: Shape, dtype: DType, on: Device, format: Format = 'contiguous', offset = 0) {
    if (
      !(
        storage instanceof Storage &&
        Array.isArray(shape) &&
        on instanceof Device &&
        typeof dtype === 'string' &&
        codeOf(dtype) !== undefined
      )
    )
      throw new ConfigError('Tensor: tensors are not made with new. Use tensor([1, 2]), zeros([2]) and their like.');
    this.storage = storage;
    this.shape = shape;
    this.dtype = dtype;
    this.device = on;
    this.format = format;
    this.offset = offset;
    this.size = sizeOf(shape);
    this.code = codeOf(dtype);
    const { scope } = current();
    if (scope) scope.tensors.add(this);
    else this.#finalize();
  }

  get ndim(): number {
    return this.shape.length;
  }
  /** Bytes of the elements. */
  get bytes(): number {
    return this.size * bytesOf(this.dtype);
  }
  /** Does a gradient flow to or through this tensor? */
  get tracked(): boolean {
    return this.requiresGrad || this.node !== null;
  }
  get disposed(): boolean {
    return this.#disposed;
  }

  /** Frees the memory, unless something else (a view, the tape) still uses it. Safe to repeat. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    if (this.#cell) this.#cell.storage = null;
    this.storage.release();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  #finalize(): void {
    this.#cell = { storage: this.storage };
    lost.register(this, this.#cell);
  }
  /** Takes the tensor out of its scope: from now on garbage collection, or `dispose`, frees it. */
  escape(from: ReadonlySet<unknown> | undefined = current().scope?.tensors): this {
    (from as Set<unknown> | undefined)?.delete(this);
    if (!this.#cell && !this.#disposed) this.#finalize();
    return this;
  }

  /** Moves the tensor itself, with its gradient: whoever holds it finds it on the other device. Views, and what the tape saved, stay. */
  relocate(on: Device): this {
    if (this.device === on) return this;
    const storage = new Storage();
    const { shape, size, code } = this;
    transfer(this, { storage, offset: 0, shape, size, code, device: on }, this.bytes);
    this.storage.release();
    this.storage = storage;
    this.device = on;
    this.offset = 0;
    if (this.#cell) this.#cell.storage = storage;
    this.grad?.relocate(on);
    return this;
  }

  /** The same memory as a tensor of its own, off the tape. */
  alias(shape: Shape = this.shape, offset = this.offset, format: Format = this.format): Tensor {
    return new Tensor(this.storage.retain(), shape, this.dtype, this.device, format, offset);
  }
  /** The same memory, off the tape: no gradient flows through it. */
  detach(): Tensor {
    return this.alias();
  }

  /** Elements as a typed array of their own, row-major: Float32Array for f32, bf16 and f16. Waits for the device, off the JavaScript thread. */
  async data(): Promise<HostArray> {
    if (this.#disposed)
      throw new GraphError(
        `data(): this tensor ${show(this.shape)} was freed. Read it before its scope ends, or keep it with kept().`,
      );
    const readable = readableOf(this);
    const into = hostArray(readable.dtype, readable.size);
    try {
      await download(readable, into);
    } finally {
      if (readable !== this) readable.dispose();
    }
    return into;
  }
  /** The only element, as a number. */
  async item(): Promise<number> {
    if (this.#disposed)
      throw new GraphError('item(): this tensor was freed. Read it before its scope ends, or keep it with kept().');
    if (this.size !== 1)
      throw new ShapeError(
        `item(): the tensor has shape ${show(this.shape)}, not one element. Reduce it first, for example with .mean().`,
      );
    return readItem(this);
  }
  /** Prints values as PyTorch does (head and tail of more than 1000), shape, dtype and device. Of what is large only the ends are read. */
  async print(): Promise<void> {
    if (this.#disposed) await this.data(); // says so
    const [n = 0, ...rest] = this.shape;
    const step = sizeOf(rest);
    const ends = this.size > THRESHOLD && n > 2 * EDGE;
    const part = (from: number) => this.alias([EDGE, ...rest], this.offset + from * step * bytesOf(this.dtype));
    const parts = ends ? [part(0), part(n - EDGE)] : [this.alias()];
    const [head, tail] = await Promise.all(parts.map((p) => p.data()));
    for (const p of parts) p.dispose();
    const start = (n - EDGE) * step;
    const element = (i: number) => (tail && i >= start ? tail[i - start] : (head as HostArray)[i]) as number;
    const text = renderElements(this.shape, this.dtype, element, 'tensor('.length);
    console.log(`tensor(${text}, ${show(this.shape)} ${this.dtype} on ${this.device})`);
  }
  toString(): string {
    return `Tensor ${show(this.shape)} ${this.dtype} on ${this.device}${this.node ? `, from ${this.node.op}` : ''}`;
  }
  [inspect.custom](): string {
    return this.toString();
  }
  /** Tensors do not convert by themselves: reading waits. */
  [Symbol.toPrimitive](hint: string): string {
    if (hint === 'string') return this.toString();
    throw new ConfigError('a tensor is not a number: use its methods (x.add(1)), or read one element with await x.item()');
  }
}

export function hostArray(dtype: DType, size: number): HostArray {
  if (dtype === 'f64') return new Float64Array(size);
  if (dtype === 'i32') return new Int32Array(size);
  if (dtype === 'u8' || dtype === 'bool') return new Uint8Array(size);
  return new Float32Array(size);
}

// Layout and 16-bit floats need ops to be read; lib/ops/define.ts provides the conversion, since this room knows no op.
let readableOf: (t: Tensor) => Tensor = (t) => t;
export function setReadable(convert: (t: Tensor) => Tensor): void {
  readableOf = convert;
}

/** A tensor without memory yet: the call that writes it allocates. */
export function unwritten(shape: Shape, dtype: DType, on: Device = defaultDevice(), format: Format = 'contiguous'): Tensor {
  return new Tensor(new Storage(), shape, dtype, on, format);
}

/** Adds methods to Tensor; the file that does so also declares them on the interface. */
export function defineMethods(methods: Record<string, (this: Tensor, ...args: never[]) => unknown>): void {
  for (const [name, value] of Object.entries(methods)) {
    Object.defineProperty(Tensor.prototype, name, { value, writable: true, configurable: true });
  }
}

/** Throws DTypeError unless `initial` is a tensor whose memory can be taken over. */
export function checkInitial(where: string, initial: unknown): void {
  if (!(initial instanceof Tensor))
    throw new DTypeError(`${where}: expected a Tensor, got ${describe(initial)}. Make one with tensor(...) or zeros(...).`);
  if (initial.disposed) throw new GraphError(`${where}: this tensor ${show(initial.shape)} was freed. Give one that is alive.`);
}

/**
 * A trainable tensor: the f32 master, a leaf that wants a gradient. Its low-precision copy for matrix products (`shadow`) is the
 * Parameter's own: never in a state dict, recast when the master has been written since.
 */
export class Parameter extends Tensor {
  /** Frozen: no gradient, no optimizer state. Toggle with `freeze()` and `unfreeze()`. */
  frozen = false;
  /** Where the parameter stands in its model; set when the model lists its parameters. */
  name = '';
  shadow: Tensor | null = null;
  shadowVersion = -1;

  /** Takes over the tensor's memory; `initial` must not be used afterwards. */
  constructor(initial: Tensor) {
    checkInitial('Parameter', initial);
    super(initial.storage.retain(), initial.shape, initial.dtype, initial.device, initial.format, initial.offset);
    initial.dispose();
    this.escape();
    this.requiresGrad = true;
  }
  /** The compute copy stays behind: it is made anew where the master is. */
  override relocate(on: Device): this {
    if (this.device === on) return this;
    this.shadow?.dispose();
    this.shadow = null;
    this.shadowVersion = -1;
    return super.relocate(on);
  }
  freeze(): this {
    this.frozen = true;
    this.requiresGrad = false;
    this.grad = null;
    return this;
  }
  unfreeze(): this {
    this.frozen = false;
    this.requiresGrad = true;
    return this;
  }
}
