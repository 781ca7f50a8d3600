// Tables of numbers with a label, whatever file they come from.
import { ConfigError, checkList, type DataError, describe, didYouMean } from '../native/errors.ts';
import { TensorDataset } from './dataset.ts';
import { allocate, type TypedArray } from './host.ts';

/** What readers of tables have in common. */
export interface TableOptions {
  /** The columns that make x, by name or number from 0, in this order. Default: all but the label. */
  columns?: readonly (string | number)[];
  /** The column that makes y. Without it the dataset has only x. */
  label?: string | number;
  /** The type of x. Default 'f32'. */
  dtype?: 'f32' | 'f64';
  /**
   * How the label is read: 'class' (each text a class; numbered in sorted order: `classes`), 'i32' or 'f32'.
   * By default 'i32' if every label is an integer, else 'f32' if every label is a number, else 'class'.
   */
  labelType?: 'class' | 'i32' | 'f32';
  /** What an empty field of x becomes: an error (default), or a number, for example Number.NaN. */
  missing?: 'error' | number;
}
export const tableOptions = ['columns', 'label', 'dtype', 'labelType', 'missing'] as const;

/** What a table's reader gives: x [features], y [] if there is a label; the names of x's columns, and the classes of a text label. */
export class TableDataset extends TensorDataset<'x' | 'y'> {
  readonly names: readonly string[];
  readonly classes: readonly string[] | undefined;
  constructor(columns: ConstructorParameters<typeof TensorDataset>[0], names: readonly string[], classes?: readonly string[]) {
    super(columns as ConstructorParameters<typeof TensorDataset<'x' | 'y'>>[0]);
    checkList('TableDataset', 'names', names);
    if (classes !== undefined) checkList('TableDataset', 'classes', classes);
    this.names = names;
    this.classes = classes;
  }
}

/** The error for a line, or a row, that is not as it should be. */
export type Fail = (line: number, what: string) => DataError;

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

/** Which fields make x and y. */
interface Layout {
  readonly names: readonly string[];
  readonly x: readonly number[];
  readonly y: number | undefined;
}

function layoutOf(options: TableOptions, names: readonly string[], line: number, fail: Fail): Layout {
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
  return { names, x, y };
}

/** A field as a file holds it: text, a number, or nothing. */
export type Field = string | number | null;

/** Gathers records into x, and labels as text until all are known. */
export class Table {
  readonly #x: Growing;
  readonly #labels: { text: string; line: number }[] = [];
  readonly #options: TableOptions;
  readonly #fail: Fail;
  readonly #layout: Layout;

  /** `line`: where the columns' names stand. */
  constructor(options: TableOptions, names: readonly string[], line: number, fail: Fail) {
    this.#x = new Growing(options.dtype ?? 'f32');
    this.#options = options;
    this.#fail = fail;
    this.#layout = layoutOf(options, names, line, fail);
  }

  /** The names of the columns that are used, in the order of the file. */
  get used(): string[] {
    const { names, x, y } = this.#layout;
    return names.filter((_, i) => i === y || x.includes(i));
  }

  /** One record: a field for each column. */
  add(line: number, fields: readonly Field[]): void {
    const { names, x, y } = this.#layout;
    for (const c of x) this.#x.push(this.#value(fields[c] as Field, names[c] as string, line));
    if (y !== undefined) this.#labels.push({ text: String(fields[y] ?? '').trim(), line });
  }

  #value(field: Field, name: string, line: number): number {
    if (typeof field === 'number') return field;
    const text = field ?? '';
    const value = parseNumber(text);
    if (value !== undefined) return value;
    const { missing = 'error' } = this.#options;
    if (text.trim() !== '') {
      throw this.#fail(
        line,
        `column "${name}": ${JSON.stringify(text.slice(0, 60))} is not a number. Leave the column out by the columns option, or encode it first`,
      );
    }
    if (missing !== 'error') return missing;
    throw this.#fail(line, `column "${name}" is empty. Give a value for such fields: { missing: Number.NaN }`);
  }

  finish(): TableDataset {
    const { names, x, y } = this.#layout;
    if (this.#x.length === 0) throw this.#fail(1, 'there is a header and no records');
    const used = x.map((c) => names[c] as string);
    const features = { data: this.#x.shared(), shape: [x.length], dtype: this.#x.dtype };
    if (y === undefined) return new TableDataset({ x: features }, used);
    const { data, classes } = this.#codes(names[y] as string);
    return new TableDataset({ x: features, y: { data } }, used, classes);
  }

  #codes(name: string): { data: TypedArray; classes?: string[] } {
    const values = this.#labels.map((l) => parseNumber(l.text));
    const isInt = (v: number | undefined) => v !== undefined && Number.isInteger(v) && Math.abs(v) < 2 ** 31;
    const kind =
      this.#options.labelType ?? (values.every(isInt) ? 'i32' : values.every((v) => v !== undefined) ? 'f32' : 'class');
    if (kind === 'class') {
      const classes = [...new Set(this.#labels.map((l) => l.text))].sort();
      const codes = new Map(classes.map((c, i) => [c, i]));
      return { data: Int32Array.from(this.#labels, (l) => codes.get(l.text) as number), classes };
    }
    const bad = values.findIndex((v) => (kind === 'i32' ? !isInt(v) : v === undefined));
    const wrong = this.#labels[bad];
    if (wrong)
      throw this.#fail(
        wrong.line,
        `label "${name}": ${JSON.stringify(wrong.text.slice(0, 60))} is not ${kind === 'i32' ? 'a 32-bit integer' : 'a number'}`,
      );
    return { data: kind === 'i32' ? Int32Array.from(values as number[]) : Float32Array.from(values as number[]) };
  }
}

/** Throws ConfigError unless the options make sense. */
export function checkTableOptions(where: string, options: TableOptions): void {
  const { dtype = 'f32', labelType, missing } = options;
  if (options.columns !== undefined) checkList(where, 'columns', options.columns);
  for (const c of [...(options.columns ?? []), ...(options.label === undefined ? [] : [options.label])])
    if (typeof c !== 'string' && !(Number.isInteger(c) && c >= 0))
      throw new ConfigError(`${where}: a column is named by its name or its number from 0, got ${describe(c)}.`);
  if (dtype !== 'f32' && dtype !== 'f64')
    throw new ConfigError(`${where}: dtype must be 'f32' or 'f64', got ${describe(dtype)}.`);
  if (labelType !== undefined && !['class', 'i32', 'f32'].includes(labelType))
    throw new ConfigError(`${where}: labelType must be 'class', 'i32' or 'f32', got ${describe(labelType)}.`);
  if (missing !== undefined && missing !== 'error' && typeof missing !== 'number')
    throw new ConfigError(`${where}: missing must be 'error' or a number, got ${describe(missing)}.`);
}
