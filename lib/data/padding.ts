import { ConfigError, checkOptions, DataError, describe } from '../native/errors.ts';
import { checkDType, type DType, fits } from '../tensor/dtype.ts';
import { checkIntegers, integers, stack, toHost } from './collate.ts';
import { allocate, type HostArray, sizeOf } from './host.ts';
import { checkInteger } from './options.ts';

/** Options of `padded`. */
export interface PadOptions {
  /** The fields whose first dimension differs between samples, and the number that fills them up: { x: 0, y: -100 }. */
  pad: Readonly<Record<string, number>>;
  /** The dtype of plain fields, such as { x: 'i32' }: numbers in an array are f32 otherwise. */
  dtypes?: Readonly<Record<string, DType>>;
  /** Lengths are filled up to a multiple of this: fewer shapes, and full tiles. Default 1. */
  multipleOf?: number;
  /** What is longer is cut off behind this. Default: nothing is. */
  maxLength?: number;
}

interface Rows {
  readonly data: ArrayLike<number>;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

function check(o: PadOptions): void {
  checkOptions('data.padded', o, ['pad', 'dtypes', 'multipleOf', 'maxLength']);
  const { pad, dtypes = {}, multipleOf, maxLength } = o ?? {};
  if (pad === null || typeof pad !== 'object' || Object.keys(pad).length === 0)
    throw new ConfigError(`data.padded: pad must name fields and what fills them, such as { x: 0 }, got ${describe(pad)}.`);
  for (const [name, value] of Object.entries(pad))
    if (typeof value !== 'number') throw new ConfigError(`data.padded: pad.${name} must be a number, got ${describe(value)}.`);
  if (dtypes === null || typeof dtypes !== 'object' || Array.isArray(dtypes))
    throw new ConfigError(`data.padded: dtypes must be an object such as { x: 'i32' }, got ${describe(dtypes)}.`);
  for (const [name, dtype] of Object.entries(dtypes)) checkDType(`data.padded: dtypes.${name}`, dtype);
  if (multipleOf !== undefined) checkInteger('data.padded', 'multipleOf', multipleOf, 1, 2 ** 20);
  if (maxLength !== undefined) checkInteger('data.padded', 'maxLength', maxLength, 1);
}

/** One padded column: [samples, longest, ...rest], with the lengths and, true behind each sample's end, the mask. */
function column(
  name: string,
  rows: readonly Rows[],
  ids: ArrayLike<number>,
  o: PadOptions,
): readonly [HostArray, HostArray, HostArray] {
  const { multipleOf = 1, maxLength = Infinity } = o;
  const value = o.pad[name] as number;
  const [first] = rows as [Rows];
  const rest = first.shape.slice(1);
  const size = sizeOf(rest);
  const lengths = Int32Array.from(rows, ({ shape }) => Math.min(shape[0] as number, maxLength));
  const longest = Math.ceil(lengths.reduce((a, b) => Math.max(a, b), 0) / multipleOf) * multipleOf;
  const { dtype } = first;
  if (dtype.endsWith('f16') ? value !== 0 : !fits(value, dtype))
    throw new DataError(`data.padded: field "${name}" is ${dtype}, which cannot be filled with ${value}.`);
  const data = allocate(dtype, rows.length * longest * size);
  if (value !== 0) data.fill(value);
  const mask = new Uint8Array(rows.length * longest).fill(1);
  rows.forEach((row, k) => {
    const where = `sample ${ids[k]}, field "${name}"`;
    if (row.dtype !== dtype || row.shape.slice(1).join() !== rest.join())
      throw new DataError(
        `${where} is ${row.dtype} [${row.shape.join(', ')}], but sample ${ids[0]} of the same batch is ${dtype} [${first.shape.join(', ')}]: only the first dimension may differ.`,
      );
    const length = lengths[k] as number;
    const end = length * size;
    const used = end === row.data.length ? row.data : (Array.prototype.slice.call(row.data, 0, end) as number[]);
    if (integers.includes(dtype) && row.data.constructor !== data.constructor) checkIntegers(where, used, dtype);
    data.set(used, k * longest * size);
    mask.fill(0, k * longest, k * longest + length);
  });
  const shape = [rows.length, longest];
  return [
    { data, shape: [...shape, ...rest], dtype },
    { data: lengths, shape: [rows.length], dtype: 'i32' },
    { data: mask, shape, dtype: 'bool' },
  ];
}

/**
 * A collate function for samples of different lengths: the fields in `pad` are filled up to the longest of the batch, the others stacked. Beside them
 * come `lengths` (i32 [N], as recurrent layers take them) and `paddingMask` (bool [N, T], true at padding, as MultiheadAttention's keyPaddingMask) of the
 * first field in `pad`; of each further one `<field>Lengths` and `<field>PaddingMask`.
 * Throws ConfigError for options that do not fit; batches throw DataError, naming the sample, for fields that differ in more than their length.
 *
 *     data.loader(samples, { batchSize: 32, collate: data.padded({ pad: { x: 0 }, dtypes: { x: 'i32' } }) })
 */
export function padded(options: PadOptions): (samples: readonly unknown[], ids: Int32Array) => Record<string, HostArray> {
  check(options);
  const names = Object.keys(options.pad);
  return (samples, ids) => {
    const columns: Record<string, HostArray> = {};
    const others = samples.map((sample) => Object.entries(Object(sample) as object).filter(([name]) => !names.includes(name)));
    const isRest = others.some((fields) => fields.length > 0);
    if (isRest)
      Object.assign(
        columns,
        stack(
          others.map((f) => Object.fromEntries(f)),
          ids,
          options.dtypes ?? {},
          false,
        ),
      );
    names.forEach((name, i) => {
      const rows = samples.map((sample, k): Rows => {
        const where = `sample ${ids[k]}, field "${name}"`;
        const row = toHost(where, (Object(sample) as Record<string, unknown>)[name], options.dtypes?.[name]);
        if (row.shape.length === 0)
          throw new DataError(`${where} is one number; what is padded is a list, or has a first dimension.`);
        return row;
      });
      const prefix = i === 0 ? '' : name;
      const [values, lengths, mask] = column(name, rows, ids, options);
      const beside = {
        [prefix ? `${prefix}Lengths` : 'lengths']: lengths,
        [prefix ? `${prefix}PaddingMask` : 'paddingMask']: mask,
      };
      for (const extra of Object.keys(beside))
        if (extra in columns || names.includes(extra))
          throw new DataError(`data.padded: samples have a field "${extra}", which is what padding adds. Rename it.`);
      Object.assign(columns, { [name]: values }, beside);
    });
    return columns;
  };
}
