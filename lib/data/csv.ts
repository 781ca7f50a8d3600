import { ConfigError, checkList, checkOptions, DataError, describe, didYouMean } from '../native/errors.ts';
import { CsvRecords } from './csv-records.ts';
import { TensorDataset } from './dataset.ts';
import { inspectFile, readChunks } from './files.ts';
import { allocate, type TypedArray } from './host.ts';
import { checkInteger } from './options.ts';

/** Options of `csv`. */
export interface CsvOptions {
  /** Whether the first record names the columns (default true), or the names themselves where the file has none. */
  header?: boolean | readonly string[];
  /** The columns that make x, by name or number from 0, in this order. Default: all but the label. */
  columns?: readonly (string | number)[];
  /** The column that makes y. Without it the dataset has only x. */
  label?: string | number;
  /** One character, default ','. */
  delimiter?: string;
  /** The type of x. Default 'f32'. */
  dtype?: 'f32' | 'f64';
  /**
   * How the label is read: 'class' (each text a class; numbered in sorted order: `classes`), 'i32' or 'f32'.
   * By default 'i32' if every label is an integer, else 'f32' if every label is a number, else 'class'.
   */
  labelType?: 'class' | 'i32' | 'f32';
  /** What an empty field of x becomes: an error (default), or a number, for example Number.NaN. */
  missing?: 'error' | number;
  /** The longest field in characters. Default 1 MiB. */
  maxField?: number;
}

/** What `csv` read: x [features], y [] if there is a label; the names of x's columns, and the classes of a text label. */
export class CsvDataset extends TensorDataset<'x' | 'y'> {
  readonly names: readonly string[];
  readonly classes: readonly string[] | undefined;
  constructor(columns: ConstructorParameters<typeof TensorDataset>[0], names: readonly string[], classes?: readonly string[]) {
    super(columns as ConstructorParameters<typeof TensorDataset<'x' | 'y'>>[0]);
    checkList('CsvDataset', 'names', names);
    if (classes !== undefined) checkList('CsvDataset', 'classes', classes);
    this.names = names;
    this.classes = classes;
  }
}

type Fail = (line: number, what: string) => DataError;

/** Numbers in the order they come, in memory that doubles. */
class Growing {
  data: TypedArray;
  length = 0;
  constructor(readonly dtype: 'f32' | 'f64') {
    this.data = allocate(dtype, 1024);
  }
  push(value: number): void {
    if (this.length === this.data.length) {
      const wider = allocate(this.dtype, this.length * 2);
      wider.set(this.data);
      this.data = wider;
    }
    this.data[this.length++] = value;
  }
  /** The values on shared memory of just their size. */
  shared(): TypedArray {
    const out = allocate(this.dtype, this.length, true);
    out.set(this.data.subarray(0, this.length));
    return out;
  }
}

const number = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
const special: Readonly<Record<string, number>> = { nan: Number.NaN, inf: Infinity, '+inf': Infinity, '-inf': -Infinity };

function parseNumber(text: string): number | undefined {
  const trimmed = text.trim();
  if (number.test(trimmed)) return Number(trimmed);
  return Object.hasOwn(special, trimmed.toLowerCase()) ? special[trimmed.toLowerCase()] : undefined;
}

/** Which fields make x and y, once the first record has told how many there are. */
interface Layout {
  readonly width: number;
  readonly names: readonly string[];
  readonly x: readonly number[];
  readonly y: number | undefined;
}

function layoutOf(options: CsvOptions, first: readonly string[], line: number, fail: Fail): Layout {
  const { header = true } = options;
  const names = header === true ? first.map((n) => n.trim()) : header === false ? first.map((_, i) => `column ${i}`) : header;
  if (names.length !== first.length) {
    throw fail(line, `${first.length} fields, but the header option names ${names.length} columns`);
  }
  const double = names.find((n, i) => names.indexOf(n) !== i);
  if (double !== undefined)
    throw fail(line, `the column name ${JSON.stringify(double)} stands twice; give other names by the header option`);
  const find = (column: string | number): number => {
    const at = typeof column === 'number' ? column : names.indexOf(column);
    if (Number.isInteger(at) && at >= 0 && at < names.length) return at;
    const near = typeof column === 'string' ? didYouMean(column, names) : undefined;
    const known = names.slice(0, 20).join(', ') + (names.length > 20 ? ', ...' : '');
    throw fail(line, `no column ${JSON.stringify(column)}. ${near ? `Did you mean "${near}"?` : `Columns: ${known}.`}`);
  };
  const y = options.label === undefined ? undefined : find(options.label);
  const x = options.columns ? options.columns.map(find) : names.map((_, i) => i).filter((i) => i !== y);
  if (x.length === 0) throw fail(line, 'no column is left for x: the file has only the label');
  return { width: names.length, names, x, y };
}

/** Gathers records into x, and labels as text until all are known. */
class Table {
  readonly x: Growing;
  readonly labels: { text: string; line: number }[] = [];
  layout: Layout | undefined;

  constructor(
    readonly options: CsvOptions,
    readonly fail: Fail,
  ) {
    this.x = new Growing(options.dtype ?? 'f32');
  }

  add({ line, fields }: { line: number; fields: string[] }): void {
    if (!this.layout) {
      this.layout = layoutOf(this.options, fields, line, this.fail);
      if ((this.options.header ?? true) === true) return;
    }
    const { width, names, x, y } = this.layout;
    if (fields.length !== width) {
      throw this.fail(
        line,
        `expected ${width} fields, found ${fields.length}${fields.length === 1 && width > 1 ? '; is the delimiter right?' : ''}`,
      );
    }
    for (const c of x) this.x.push(this.#value(fields[c] as string, names[c] as string, line));
    if (y !== undefined) this.labels.push({ text: (fields[y] as string).trim(), line });
  }

  #value(text: string, name: string, line: number): number {
    const value = parseNumber(text);
    if (value !== undefined) return value;
    const { missing = 'error' } = this.options;
    if (text.trim() !== '') {
      throw this.fail(
        line,
        `column "${name}": ${JSON.stringify(text.slice(0, 60))} is not a number. Leave the column out by the columns option, or encode it first`,
      );
    }
    if (missing !== 'error') return missing;
    throw this.fail(line, `column "${name}" is empty. Give a value for such fields: { missing: Number.NaN }`);
  }

  finish(): CsvDataset {
    if (!this.layout) throw this.fail(1, 'the file holds no records');
    const { names, x, y } = this.layout;
    const used = x.map((c) => names[c] as string);
    if (this.x.length === 0) throw this.fail(1, 'the file holds a header and no records');
    const features = { data: this.x.shared(), shape: [x.length], dtype: this.x.dtype };
    if (y === undefined) return new CsvDataset({ x: features }, used);
    const { data, classes } = this.#labels(names[y] as string);
    return new CsvDataset({ x: features, y: { data } }, used, classes);
  }

  #labels(name: string): { data: TypedArray; classes?: string[] } {
    const values = this.labels.map((l) => parseNumber(l.text));
    const isInt = (v: number | undefined) => v !== undefined && Number.isInteger(v) && Math.abs(v) < 2 ** 31;
    const kind = this.options.labelType ?? (values.every(isInt) ? 'i32' : values.every((v) => v !== undefined) ? 'f32' : 'class');
    if (kind === 'class') {
      const classes = [...new Set(this.labels.map((l) => l.text))].sort();
      const codes = new Map(classes.map((c, i) => [c, i]));
      return { data: Int32Array.from(this.labels, (l) => codes.get(l.text) as number), classes };
    }
    const bad = values.findIndex((v) => (kind === 'i32' ? !isInt(v) : v === undefined));
    const wrong = this.labels[bad];
    if (wrong)
      throw this.fail(
        wrong.line,
        `label "${name}": ${JSON.stringify(wrong.text.slice(0, 60))} is not ${kind === 'i32' ? 'a 32-bit integer' : 'a number'}`,
      );
    return { data: kind === 'i32' ? Int32Array.from(values as number[]) : Float32Array.from(values as number[]) };
  }
}

function checkCsvOptions(options: CsvOptions): void {
  checkOptions('data.csv', options, ['header', 'columns', 'label', 'delimiter', 'dtype', 'labelType', 'missing', 'maxField']);
  const { delimiter = ',', dtype = 'f32', labelType, missing, header } = options;
  if (options.columns !== undefined) checkList('data.csv', 'columns', options.columns);
  for (const c of [...(options.columns ?? []), ...(options.label === undefined ? [] : [options.label])])
    if (typeof c !== 'string' && !(Number.isInteger(c) && c >= 0))
      throw new ConfigError(`data.csv: a column is named by its name or its number from 0, got ${describe(c)}.`);
  if (options.maxField !== undefined) checkInteger('data.csv', 'maxField', options.maxField, 1);
  if (typeof delimiter !== 'string' || delimiter.length !== 1 || '"\r\n'.includes(delimiter)) {
    throw new ConfigError(
      `data.csv: delimiter must be one character other than a quote or a line end, got ${describe(delimiter)}.`,
    );
  }
  if (dtype !== 'f32' && dtype !== 'f64')
    throw new ConfigError(`data.csv: dtype must be 'f32' or 'f64', got ${describe(dtype)}.`);
  if (labelType !== undefined && !['class', 'i32', 'f32'].includes(labelType)) {
    throw new ConfigError(`data.csv: labelType must be 'class', 'i32' or 'f32', got ${describe(labelType)}.`);
  }
  if (missing !== undefined && missing !== 'error' && typeof missing !== 'number') {
    throw new ConfigError(`data.csv: missing must be 'error' or a number, got ${describe(missing)}.`);
  }
  if (header !== undefined && typeof header !== 'boolean' && !Array.isArray(header)) {
    throw new ConfigError(`data.csv: header must be true, false or a list of names, got ${describe(header)}.`);
  }
}

/**
 * Reads numbers from a CSV file (RFC 4180; UTF-8, plain or gzip) into a dataset with x [features] and, with a `label`, y [].
 * The file is read in pieces, so that its text is never in memory whole. Throws DataError, naming the file and the line, for a field
 * that is not a number, a record of another width, a quote left open, bytes that are not UTF-8.
 */
export async function csv(path: string | URL, options: CsvOptions = {}): Promise<CsvDataset> {
  checkCsvOptions(options);
  const file = await inspectFile('data.csv', path);
  const fail: Fail = (line, what) => new DataError(`data.csv: ${file.path}: line ${line}: ${what}.`);
  const dialect = { delimiter: options.delimiter ?? ',', maxField: options.maxField ?? 2 ** 20, maxFields: 65_536 };
  const records = new CsvRecords(dialect, fail);
  const table = new Table(options, fail);
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let offset = 0;
  const decode = (chunk?: Buffer): string => {
    try {
      return decoder.decode(chunk, { stream: chunk !== undefined });
    } catch (cause) {
      const message = `data.csv: ${file.path}: bytes that are not UTF-8 in the 64 KiB from byte ${offset}. Convert the file to UTF-8.`;
      throw new DataError(message, { cause });
    }
  };
  for await (const chunk of readChunks('data.csv', file)) {
    for (const record of records.push(decode(chunk))) table.add(record);
    offset += chunk.length;
  }
  for (const record of [...records.push(decode()), ...records.finish()]) table.add(record);
  return table.finish();
}
