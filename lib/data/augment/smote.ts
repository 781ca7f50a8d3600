// Oversampling of rare classes by points between neighbours.
import { ConfigError, checkOptions, checkText, describe } from '../../native/errors.ts';
import { PhiloxStream, seedKey } from '../../tensor/philox.ts';
import { type ColumnSource, concat, TensorDataset } from '../dataset.ts';
import { allocate } from '../host.ts';
import { breathe } from '../slice.ts';
import { checkNumber, checkWhole } from './check.ts';

/** Options of `smote`. */
export interface SmoteOptions {
  /** The column of features, f32. Default 'x'. */
  column?: string;
  /** The column of classes, one integer per sample. Default 'y'. */
  label?: string;
  /** A new row lies between a row and one of this many nearest rows of its class. Default 5. */
  neighbors?: number;
  /** Classes are brought up to this share of the largest class's count. Default 1. */
  to?: number;
  /** Keys the draws. Default 0. */
  seed?: number | bigint;
}

function columnOf(where: string, { sources }: TensorDataset, name: string): ColumnSource {
  const found = sources.find((s) => s.name === name);
  if (found) return found;
  throw new ConfigError(`${where}: no column "${name}". Columns: ${sources.map((s) => s.name).join(', ')}.`);
}

/** The `count` rows of `rows` nearest to `row`, itself left out, by Euclidean distance; ties by place. */
function nearest(x: ColumnSource, rows: readonly number[], row: number, count: number): number[] {
  const { data, step } = x;
  const at = row * step;
  const found = rows
    .filter((r) => r !== row)
    .map((r) => {
      let d = 0;
      for (let i = 0; i < step; i++) d += ((data[r * step + i] as number) - (data[at + i] as number)) ** 2;
      return { r, d };
    });
  return found
    .sort((a, b) => a.d - b.d || a.r - b.r)
    .slice(0, count)
    .map(({ r }) => r);
}

function groupsOf(y: ColumnSource, rows: Uint32Array): number[][] {
  const groups = new Map<number, number[]>();
  for (const row of rows) {
    const label = y.data[row] as number;
    const group = groups.get(label);
    if (group) group.push(row);
    else groups.set(label, [row]);
  }
  return [...groups].sort((a, b) => a[0] - b[0]).map(([, group]) => group);
}

/**
 * SMOTE (Chawla et al., 2002): the dataset with new rows appended until each class has `to` times the largest class's count. A new row is
 * x + u (n - x): x a random row of the class, n one of its nearest, u even in [0, 1); its other columns are those of x. Do it after the split, on the training part
 * alone, and with features of like scale. Nearest rows are found by comparing all of a class, in slices that leave the event loop free.
 * Throws ConfigError for options out of range, columns of another kind, and a class of one row, which has no neighbour.
 */
export async function smote<K extends string>(dataset: TensorDataset<K>, options: SmoteOptions = {}): Promise<TensorDataset<K>> {
  const where = 'augment.smote';
  checkOptions(where, options, ['column', 'label', 'neighbors', 'to', 'seed']);
  if (!(dataset instanceof TensorDataset)) throw new ConfigError(`${where}: expected a TensorDataset, got ${describe(dataset)}.`);
  const { column = 'x', label = 'y', seed = 0 } = options;
  const neighbors = checkWhole(where, 'neighbors', options.neighbors ?? 5, 1, 1000);
  const to = checkNumber(where, 'to', options.to ?? 1, 0, 1);
  seedKey(seed, where);
  const x = columnOf(where, dataset, checkText(where, 'column', column));
  const y = columnOf(where, dataset, checkText(where, 'label', label));
  if (x.dtype !== 'f32' && x.dtype !== 'f64')
    throw new ConfigError(`${where}: features "${column}" are ${x.dtype}; points between rows need f32 or f64.`);
  if (y.step !== 1 || !['i32', 'u8', 'bool'].includes(y.dtype))
    throw new ConfigError(`${where}: classes "${label}" must be one integer per sample, got ${y.dtype} [${y.shape.join(', ')}].`);
  const rows = dataset.locate(Uint32Array.from({ length: dataset.length }, (_, i) => i));
  const groups = groupsOf(y, rows);
  const wanted = Math.round(to * Math.max(...groups.map((g) => g.length)));
  const bases: number[] = [];
  const made: number[] = [];
  for (const [c, group] of groups.entries()) {
    if (group.length >= wanted) continue;
    if (group.length < 2)
      throw new ConfigError(
        `${where}: class ${y.data[group[0] as number]} has one row and so no neighbour. Collect more, or use data.balancedSampler.`,
      );
    const rng = new PhiloxStream(seed, 'data/smote', c);
    const known = new Map<number, number[]>();
    for (let n = group.length; n < wanted; n++) {
      const row = group[rng.below(group.length)] as number;
      const near = known.get(row) ?? nearest(x, group, row, neighbors);
      known.set(row, near);
      const other = near[rng.below(near.length)] as number;
      const u = rng.uniform();
      for (let i = 0; i < x.step; i++) {
        const from = x.data[row * x.step + i] as number;
        made.push(from + u * ((x.data[other * x.step + i] as number) - from));
      }
      bases.push(row);
      await breathe();
    }
  }
  if (bases.length === 0) return dataset;
  const fresh = dataset.sources.map((s): ColumnSource => {
    const data = allocate(s.dtype, bases.length * s.step, true);
    if (s.name === column) data.set(made);
    else for (const [k, row] of bases.entries()) data.set(s.data.subarray(row * s.step, (row + 1) * s.step), k * s.step);
    return { ...s, data };
  });
  return concat([dataset, new TensorDataset<K>(fresh)]) as TensorDataset<K>;
}
