import { DataError, describe } from '../native/errors.ts';
import type { DType } from '../tensor/dtype.ts';

/** The typed arrays that hold values on the host. f16 and bf16 are kept as their 16 bits; bool as bytes 0 and 1. */
export type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array | Uint16Array;

/** Values on the host: `data` holds the product of `shape` elements, row-major, in the array type of `dtype`. */
export interface HostArray {
  readonly data: TypedArray;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

const constructors = {
  f32: Float32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  f64: Float64Array,
  i32: Int32Array,
  u8: Uint8Array,
  bool: Uint8Array,
} as const;

/** The number of elements of `shape`; 1 for []. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

/** A zero-filled array of `length` elements of `dtype`; over a SharedArrayBuffer if `shared`. */
export function allocate(dtype: DType, length: number, shared = false): TypedArray {
  const Constructor = constructors[dtype];
  const bytes = length * Constructor.BYTES_PER_ELEMENT;
  try {
    const buffer = shared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes);
    return new Constructor(buffer as ArrayBuffer); // the one cast that a union of two buffer kinds needs
  } catch (cause) {
    throw new DataError(`cannot allocate ${bytes} bytes on the host for ${length} elements of ${dtype}.`, { cause });
  }
}

/** The dtype that a typed array means when none is named. Throws DataError for arrays of other kinds. */
export function dtypeOfArray(where: string, array: unknown): DType {
  if (array instanceof Float32Array) return 'f32';
  if (array instanceof Int32Array) return 'i32';
  if (array instanceof Uint8Array) return 'u8';
  if (array instanceof Float64Array) return 'f64';
  throw new DataError(
    `${where}: expected a Float32Array, Float64Array, Int32Array or Uint8Array, got ${describe(array)}. ` +
      `For 16-bit floats give { data: Uint16Array, shape, dtype: 'f16' or 'bf16' }.`,
  );
}

/** Throws DataError unless `shape` is a list of integers >= 0 whose product is `length`, and the array type fits the dtype. */
export function checkHostArray(where: string, { data, shape, dtype }: HostArray): void {
  if (!Array.isArray(shape) || shape.some((n) => !Number.isSafeInteger(n) || n < 0)) {
    throw new DataError(`${where}: shape must be a list of integers >= 0, got ${describe(shape)}.`);
  }
  const Constructor = Object.hasOwn(constructors, dtype) ? constructors[dtype] : undefined;
  if (!Constructor || !(data instanceof Constructor)) {
    throw new DataError(
      `${where}: data of dtype ${String(dtype)} must be a ${Constructor?.name ?? 'known dtype'}, got ${describe(data)}.`,
    );
  }
  if (sizeOf(shape) !== data.length) {
    throw new DataError(`${where}: shape [${shape.join(', ')}] holds ${sizeOf(shape)} elements, but data has ${data.length}.`);
  }
}

/** The same values over a SharedArrayBuffer: itself if it is there already, else a copy. */
export function toShared(data: TypedArray, dtype: DType): TypedArray {
  if (data.buffer instanceof SharedArrayBuffer) return data;
  const copy = allocate(dtype, data.length, true);
  copy.set(data);
  return copy;
}
