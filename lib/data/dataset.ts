import { ConfigError, checkOptions, checkText, DataError, describe, didYouMean } from '../native/errors.ts';
import { checkDType, type DType } from '../tensor/dtype.ts';
import { allocate, checkHostArray, dtypeOfArray, type HostArray, sizeOf, type TypedArray, toShared } from './host.ts';

/** Where a sample is asked for: datasets that draw at random key their draws by these and the sample id. */
export interface SampleContext {
  readonly seed: number | bigint;
  readonly epoch: number;
}

/** A map-style dataset: `length` samples, of which `get(i)` gives the i-th (0 <= i < length), at once or as a promise. */
export interface Dataset<S = unknown> {
  readonly length: number;
  get(i: number, context?: SampleContext): S | Promise<S>;
}

/** An iterable-style dataset: samples in a row, or a function that starts a new pass for each epoch. */
export type SampleStream<S = unknown> = AsyncIterable<S> | Iterable<S> | ((epoch: number) => AsyncIterable<S> | Iterable<S>);

/** How stored values become the numbers a model sees: (value * scale - mean) / std, in f32. One mean and std, or one per channel. */
export interface Encoding {
  readonly scale?: number;
  readonly mean?: readonly number[];
  readonly std?: readonly number[];
}

/**
 * Where a column's samples lie in its shared memory: the sample at position p is the `size` elements from p * step + shift.
 * Rows of a table have step = size, shift = 0; windows over a token sequence have step = 1.
 */
export interface ColumnSource {
  readonly name: string;
  readonly data: TypedArray;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly step: number;
  readonly shift: number;
  readonly encoding?: Encoding | undefined;
}

/** A dataset that loader threads can gather from without the main thread: columns in shared memory, and positions in them. */
export interface ColumnBacked {
  readonly sources: readonly ColumnSource[];
  /** The position in the columns of each sample id. */
  locate(ids: ArrayLike<number>, context: SampleContext): Uint32Array;
}

export const isColumnBacked = (dataset: object): dataset is ColumnBacked => 'sources' in dataset && 'locate' in dataset;

/** A column as given by the user: all samples' values in a row. `shape` is one sample's shape, [] by default. */
export interface Column {
  readonly data: TypedArray;
  readonly shape?: readonly number[];
  readonly dtype?: DType;
  readonly encoding?: Encoding;
}

/** One sample of a TensorDataset: each column's values, as stored (its encoding is applied by the loader). */
export type Row<K extends string = string> = { readonly [name in K]: HostArray };

function source(name: string, column: Column): ColumnSource {
  const where = `TensorDataset: column "${name}"`;
  if (name === 'ids')
    throw new ConfigError('TensorDataset: a column cannot be called "ids": batches keep the sample ids there. Rename it.');
  if (typeof column !== 'object' || column === null)
    throw new DataError(`${where}: expected { data, shape }, got ${describe(column)}.`);
  checkOptions(where, column, ['data', 'shape', 'dtype', 'encoding']);
  const dtype = column.dtype === undefined ? dtypeOfArray(where, column.data) : checkDType(where, column.dtype);
  const shape = column.shape ?? [];
  const size = Array.isArray(shape) ? sizeOf(shape) : 0;
  if (!(size >= 1) || !Number.isSafeInteger(size)) {
    throw new DataError(`${where}: the shape of one sample must be positive integers, got ${describe(shape)}.`);
  }
  if (!ArrayBuffer.isView(column.data)) dtypeOfArray(where, column.data);
  const length = column.data.length / size;
  if (!Number.isInteger(length)) {
    throw new DataError(
      `${where}: ${column.data.length} elements are not whole samples of shape [${shape.join(', ')}] (${size} elements each).`,
    );
  }
  checkHostArray(where, { data: column.data, shape: [length, ...shape], dtype });
  return { name, data: toShared(column.data, dtype), dtype, shape, step: size, shift: 0, encoding: column.encoding };
}

/**
 * Named columns of equal length in shared memory, so that loader threads gather batches from them without copying.
 * Columns that do not lie on a SharedArrayBuffer are copied to one. Throws DataError for shapes and lengths that do not fit.
 *
 *     new data.TensorDataset({ x: { data: pixels, shape: [1, 28, 28] }, y: { data: labels } })
 */
export class TensorDataset<K extends string = string> implements Dataset<Row<K>>, ColumnBacked {
  readonly sources: readonly ColumnSource[];
  readonly length: number;
  readonly #rows: Uint32Array | undefined; // a view's rows; undefined for all of them

  constructor(columns: { readonly [name in K]: Column } | readonly ColumnSource[], rows?: Uint32Array) {
    if (columns === null || typeof columns !== 'object' || ArrayBuffer.isView(columns))
      throw new DataError(
        `TensorDataset: expected columns by name, for example { x: { data, shape: [4] } }, got ${describe(columns)}.`,
      );
    if (Array.isArray(columns) && !columns.every((c: Partial<ColumnSource> | null) => ArrayBuffer.isView(c?.data)))
      throw new DataError(`TensorDataset: expected columns by name, for example { x: { data, shape: [4] } }, got a list.`);
    if (rows !== undefined && !(rows instanceof Uint32Array))
      throw new DataError(`TensorDataset: rows must be a Uint32Array, got ${describe(rows)}. To pick samples, use select(ids).`);
    this.sources = Array.isArray(columns)
      ? columns
      : Object.entries<Column>(columns as Record<string, Column>).map(([name, column]) => source(name, column));
    const first = this.sources[0];
    if (!first)
      throw new DataError('TensorDataset: a dataset needs at least one column, for example { x: { data, shape: [4] } }.');
    const total = first.data.length / first.step;
    for (const s of this.sources) {
      if (s.data.length / s.step === total) continue;
      throw new DataError(
        `TensorDataset: column "${s.name}" has ${s.data.length / s.step} samples, but column "${first.name}" has ${total}.`,
      );
    }
    this.#rows = rows;
    this.length = rows ? rows.length : total;
  }

  get(i: number): Row<K> {
    const row = this.locate([i])[0] as number;
    const values = this.sources.map((s) => {
      const data = s.data.slice(row * s.step, (row + 1) * s.step);
      return [s.name, { data, shape: s.shape, dtype: s.dtype }] as const;
    });
    return Object.fromEntries(values) as Row<K>;
  }

  locate(ids: ArrayLike<number>): Uint32Array {
    checkIds('TensorDataset', ids);
    const positions = new Uint32Array(ids.length);
    for (let k = 0; k < positions.length; k++) {
      const id = ids[k] as number;
      checkIndex(id, this.length);
      positions[k] = this.#rows ? (this.#rows[id] as number) : id;
    }
    return positions;
  }

  /** A column by name: one source, in stored order (a view's rows are those of `locate`). Throws DataError if there is none. */
  column(name: string): ColumnSource {
    checkText('TensorDataset.column', 'the name', name);
    const found = this.sources.find((s) => s.name === name);
    if (found) return found;
    const names = this.sources.map((s) => s.name);
    const near = didYouMean(name, names);
    throw new DataError(
      `TensorDataset: no column "${name}". ${near ? `Did you mean "${near}"?` : `Columns: ${names.join(', ')}.`}`,
    );
  }

  /** A view of the samples with these ids, on the same memory. */
  select(ids: ArrayLike<number>): TensorDataset<K> {
    return new TensorDataset<K>(this.sources, this.locate(ids));
  }
}

/** TensorDataset under its other common name. */
export { TensorDataset as ArrayDataset };

/** Throws DataError unless `ids` is a list of numbers; whether each is a sample is seen where it is looked up. */
function checkIds(where: string, ids: ArrayLike<number>): void {
  if (!Array.isArray(ids) && !(ArrayBuffer.isView(ids) && 'length' in ids))
    throw new DataError(`${where}: expected a list of sample ids, got ${describe(ids)}.`);
}

function checkIndex(i: number, length: number): void {
  if (!Number.isInteger(i) || i < 0 || i >= length) {
    throw new DataError(`dataset: sample ${describe(i)} does not exist: the dataset has ${length} samples, 0 to ${length - 1}.`);
  }
}

/** Throws ConfigError unless `dataset` is map-style. */
export function checkDataset(where: string, dataset: Dataset): void {
  const { length, get } = Object(dataset) as Partial<Dataset>;
  if (typeof get !== 'function' || !Number.isSafeInteger(length))
    throw new ConfigError(`${where}: expected a dataset ({ length, get }), got ${describe(dataset)}.`);
}

class SubsetDataset<S> implements Dataset<S> {
  readonly length: number;
  constructor(
    readonly base: Dataset<S>,
    readonly ids: ArrayLike<number>,
  ) {
    this.length = ids.length;
  }
  get(i: number, context?: SampleContext): S | Promise<S> {
    checkIndex(i, this.length);
    return this.base.get(this.ids[i] as number, context);
  }
}

class ConcatDataset<S> implements Dataset<S> {
  readonly length: number;
  constructor(readonly parts: readonly Dataset<S>[]) {
    this.length = parts.reduce((sum, p) => sum + p.length, 0);
  }
  get(i: number, context?: SampleContext): S | Promise<S> {
    checkIndex(i, this.length);
    let at = i;
    for (const part of this.parts) {
      if (at < part.length) return part.get(at, context);
      at -= part.length;
    }
    throw new DataError(`sample ${i} does not exist.`);
  }
}

/** The samples of `dataset` with these ids, in this order; repeats are allowed. A view: no sample is copied. */
export function subset<K extends string>(dataset: TensorDataset<K>, ids: ArrayLike<number>): TensorDataset<K>;
export function subset<S>(dataset: Dataset<S>, ids: ArrayLike<number>): Dataset<S>;
export function subset<S>(dataset: Dataset<S>, ids: ArrayLike<number>): Dataset<S> {
  checkDataset('data.subset', dataset);
  checkIds('data.subset', ids);
  if (dataset instanceof TensorDataset) return dataset.select(ids) as unknown as Dataset<S>;
  for (let k = 0; k < ids.length; k++) checkIndex(ids[k] as number, dataset.length);
  return new SubsetDataset(dataset, ids);
}

/** The datasets one after the other. TensorDatasets are copied into one when their columns agree, so that loader threads still serve them. */
export function concat<K extends string>(datasets: readonly TensorDataset<K>[]): TensorDataset<K>;
export function concat<S>(datasets: readonly Dataset<S>[]): Dataset<S>;
export function concat(datasets: readonly Dataset[]): Dataset {
  if (!Array.isArray(datasets) || datasets.length === 0)
    throw new ConfigError(`data.concat: expected at least one dataset in a list, got ${describe(datasets)}.`);
  for (const d of datasets) checkDataset('data.concat', d);
  const first = datasets[0];
  if (!datasets.every((d): d is TensorDataset => d instanceof TensorDataset)) return new ConcatDataset(datasets);
  const columns = (first as TensorDataset).sources.map((s): ColumnSource => {
    const parts = datasets.map((d) => ({
      positions: d.locate(Uint32Array.from({ length: d.length }, (_, i) => i)),
      from: d.column(s.name),
    }));
    const total = parts.reduce((sum, p) => sum + p.positions.length, 0);
    const data = allocate(s.dtype, total * s.step, true);
    let at = 0;
    for (const { positions, from } of parts) {
      if (from.dtype !== s.dtype || from.shape.join() !== s.shape.join()) {
        throw new DataError(
          `data.concat: column "${s.name}" is ${s.dtype} [${s.shape.join(', ')}] in one dataset and ${from.dtype} [${from.shape.join(', ')}] in another.`,
        );
      }
      if (JSON.stringify(from.encoding) !== JSON.stringify(s.encoding)) {
        throw new DataError(`data.concat: column "${s.name}" has different encodings (scale, mean, std) in the datasets.`);
      }
      for (const row of positions) data.set(from.data.subarray(row * s.step, (row + 1) * s.step), s.step * at++);
    }
    return { ...s, data };
  });
  return new TensorDataset(columns);
}
