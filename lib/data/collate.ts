import { checkFunction, DataError, describe } from '../native/errors.ts';
import type { DType } from '../tensor/dtype.ts';
import { allocate, checkHostArray, dtypeOfArray, type HostArray, sizeOf } from './host.ts';

/** A batch: columns whose first dimension is the batch, and the ids of its samples in the dataset given to the loader. */
export type Batch<T, K extends string = 'x' | 'y'> = { readonly [name in K]: T } & { readonly ids: Int32Array };
/** A batch on the host. */
export type HostBatch<K extends string = 'x' | 'y'> = Batch<HostArray, K>;

/**
 * The batch with each column made into T by `makeTensor`, in column order; `ids` stay on the host.
 * It is the one place where host arrays become tensors.
 */
export function toDevice<T, K extends string>(
  batch: HostBatch<K>,
  makeTensor: (array: HostArray, name: string) => T,
): Batch<T, K> {
  if (batch === null || typeof batch !== 'object' || Array.isArray(batch) || ArrayBuffer.isView(batch))
    throw new DataError(`data.toDevice: expected a batch of columns, as a loader gives, got ${describe(batch)}.`);
  checkFunction('data.toDevice', 'the second argument', makeTensor, '({ data, shape, dtype }) => tensor(data, { shape, dtype })');
  const out: Record<string, unknown> = {};
  for (const [name, value] of Object.entries<unknown>(batch)) {
    out[name] = name === 'ids' ? value : makeTensor(value as HostArray, name);
  }
  return out as Batch<T, K>;
}

/** One field of one sample as values: numbers are f32 and booleans bool unless `dtype` says otherwise. */
export function toHost(
  where: string,
  value: unknown,
  dtype: DType | undefined,
): { data: ArrayLike<number>; shape: readonly number[]; dtype: DType } {
  if (typeof value === 'number') return { data: [value], shape: [], dtype: dtype ?? 'f32' };
  if (typeof value === 'boolean') return { data: [value ? 1 : 0], shape: [], dtype: dtype ?? 'bool' };
  if (Array.isArray(value) && value.every((v) => typeof v === 'number')) {
    return { data: value, shape: [value.length], dtype: dtype ?? 'f32' };
  }
  if (ArrayBuffer.isView(value)) {
    const own = dtypeOfArray(where, value);
    const data = value as unknown as ArrayLike<number>;
    return { data, shape: [data.length], dtype: dtype ?? own };
  }
  if (typeof value === 'object' && value !== null && 'data' in value && 'shape' in value && 'dtype' in value) {
    checkHostArray(where, value as HostArray);
    const array = value as HostArray;
    if (dtype !== undefined && dtype !== array.dtype && (dtype.endsWith('f16') || array.dtype.endsWith('f16'))) {
      throw new DataError(`${where}: ${array.dtype} cannot be made ${dtype} here; convert the tensor instead.`);
    }
    return { ...array, dtype: dtype ?? array.dtype };
  }
  throw new DataError(
    `${where}: expected a number, a boolean, numbers in an array, or { data, shape, dtype }, got ${describe(value)}.`,
  );
}

export const integers: readonly DType[] = ['i32', 'u8', 'bool'];
const ranges: Partial<Record<DType, readonly [number, number]>> = { i32: [-(2 ** 31), 2 ** 31 - 1], u8: [0, 255], bool: [0, 1] };

export function checkIntegers(where: string, data: ArrayLike<number>, dtype: DType): void {
  const [low, high] = ranges[dtype] as readonly [number, number];
  for (let i = 0; i < data.length; i++) {
    const v = data[i] as number;
    if (!Number.isInteger(v) || v < low || v > high) {
      throw new DataError(`${where}: ${v} is no ${dtype} (an integer from ${low} to ${high}).`);
    }
  }
}

/**
 * Stacks samples into columns, on memory that is shared if `shared`. Every sample has the fields and shapes of the first.
 * Throws DataError naming the sample and the field otherwise.
 */
export function stack(
  samples: readonly unknown[],
  ids: ArrayLike<number>,
  dtypes: Readonly<Record<string, DType>>,
  shared: boolean,
): Record<string, HostArray> {
  const first = samples[0];
  if (typeof first !== 'object' || first === null || Array.isArray(first) || ArrayBuffer.isView(first)) {
    throw new DataError(
      `sample ${ids[0]}: expected an object of columns such as { x, y }, got ${describe(first)}. Or give a collate function.`,
    );
  }
  const names = Object.keys(first);
  if (names.includes('ids'))
    throw new DataError(`sample ${ids[0]}: a field cannot be called "ids": batches keep the sample ids there. Rename it.`);
  if (names.length === 0) throw new DataError(`sample ${ids[0]} has no fields; expected columns such as { x, y }.`);
  const columns = names.map((name) => {
    let column: HostArray | undefined;
    samples.forEach((sample, k) => {
      const where = `sample ${ids[k]}, field "${name}"`;
      const value = toHost(where, (Object(sample) as Record<string, unknown>)[name], dtypes[name]);
      const size = sizeOf(value.shape);
      column ??= {
        data: allocate(value.dtype, size * samples.length, shared),
        shape: [samples.length, ...value.shape],
        dtype: value.dtype,
      };
      if (value.dtype !== column.dtype || value.shape.join() !== column.shape.slice(1).join()) {
        throw new DataError(
          `${where} is ${value.dtype} [${value.shape.join(', ')}], but sample ${ids[0]} of the same batch is ` +
            `${column.dtype} [${column.shape.slice(1).join(', ')}]. Make samples of one shape, or give a collate function.`,
        );
      }
      if (integers.includes(column.dtype) && value.data.constructor !== column.data.constructor)
        checkIntegers(where, value.data, column.dtype);
      column.data.set(value.data, k * size);
    });
    return [name, column as HostArray] as const;
  });
  return Object.fromEntries(columns);
}
