// From views in the file to tensors: one at a time is on the host, and only the part of its storage that it spans.
import { CheckpointError } from '../../native/errors.ts';
import { upload } from '../../native/run.ts';
import { persistent } from '../../tensor/scope.ts';
import { type Tensor, unwritten } from '../../tensor/tensor.ts';
import { allocate, narrowI64, type Readable, readExactly } from '../reading.ts';
import type { Stored, TensorRef } from './names.ts';

/** Where each storage begins in the file. */
export type Places = (key: string) => Promise<number>;

/** Row-major strides, where dimensions of 1 have any. */
function contiguous(shape: readonly number[], stride: readonly number[]): boolean {
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && stride[i] !== step) return false;
    step *= shape[i] as number;
  }
  return true;
}

const words = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array, 8: BigUint64Array } as const;

/** The elements of a view in row-major order. `span` begins with its first element. */
function gathered(
  what: string,
  span: Uint8Array<ArrayBuffer>,
  { shape, stride, size, stored }: TensorRef,
): Uint8Array<ArrayBuffer> {
  const Words = words[stored.bytes as keyof typeof words];
  const from = new Words(span.buffer) as Uint8Array;
  const raw = allocate(what, size * stored.bytes);
  const to = new Words(raw.buffer) as Uint8Array;
  const last = shape.length - 1;
  const [inner, step] = [shape[last] as number, stride[last] as number];
  const index = new Array<number>(last).fill(0);
  let at = 0;
  for (let done = 0; done < size; ) {
    for (let k = 0, source = at; k < inner; k++, source += step) to[done++] = from[source] as number;
    for (let d = last - 1; d >= 0; d--) {
      index[d] = (index[d] as number) + 1;
      at += stride[d] as number;
      if ((index[d] as number) < (shape[d] as number)) break;
      at -= (stride[d] as number) * (index[d] as number);
      index[d] = 0;
    }
  }
  return raw;
}

/** Elements as Anneal keeps them. */
function converted(what: string, raw: Uint8Array<ArrayBuffer>, { name }: Stored): Uint8Array {
  const wide = (values: ArrayLike<number>): Uint8Array => new Uint8Array(Int32Array.from(values).buffer);
  if (name === 'int64') return narrowI64(what, raw);
  if (name === 'int16') return wide(new Int16Array(raw.buffer));
  if (name === 'uint16') return wide(new Uint16Array(raw.buffer));
  if (name === 'int8') return wide(new Int8Array(raw.buffer));
  const wrong =
    name === 'uint32'
      ? new Uint32Array(raw.buffer).findIndex((v) => v > 0x7fffffff)
      : name === 'bool'
        ? raw.findIndex((b) => b > 1)
        : -1;
  if (wrong >= 0)
    throw new CheckpointError(
      `${what}: element ${wrong} of a tensor of ${name} is ${name === 'bool' ? 'neither 0 nor 1' : 'beyond i32'}.`,
    );
  return raw;
}

/** Reads views as tensors on the default device; one that is asked for twice, as tied weights are, is one tensor. */
export class TensorReader {
  readonly #path: string;
  readonly #file: Readable;
  readonly #places: Places;
  readonly #most: number;
  readonly #read = new Map<string, Tensor>();
  #bytes = 0;

  /** @param most bytes that may be read and made in all */
  constructor(path: string, file: Readable, places: Places, most: number) {
    this.#path = path;
    this.#file = file;
    this.#places = places;
    this.#most = most;
  }

  async tensor(ref: TensorRef): Promise<Tensor> {
    const before = this.#read.get(ref.key);
    if (before) return before;
    const what = `${this.#path}: storage ${ref.storage.key}`;
    const wide = ref.stored.bytes;
    // An expanded view is larger than its storage, and a strided one smaller than what it spans: either may be out of all proportion to the file.
    this.#bytes += Math.max(ref.span, ref.size) * wide;
    if (this.#bytes > this.#most)
      throw new CheckpointError(
        `${what}: its tensors overlap so much that they take more than ${this.#most} bytes. If the file is to be trusted, raise maxBytes, or save clones.`,
      );
    const span = allocate(what, ref.span * wide);
    if (span.length) await readExactly(this.#path, this.#file, span, (await this.#places(ref.storage.key)) + ref.offset * wide);
    const raw = ref.span === ref.size && contiguous(ref.shape, ref.stride) ? span : gathered(what, span, ref);
    const bytes = converted(what, raw, ref.stored);
    const tensor = persistent(() => {
      const out = unwritten(ref.shape, ref.stored.dtype);
      upload(out, bytes);
      return out;
    });
    this.#read.set(ref.key, tensor);
    return tensor;
  }

  /** Frees what was read. */
  dispose(): void {
    for (const t of this.#read.values()) t.dispose();
  }
}
