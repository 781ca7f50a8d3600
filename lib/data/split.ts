import { ConfigError, checkOptions, DataError, describe } from '../native/errors.ts';
import { PhiloxStream, seedKey } from '../tensor/philox.ts';
import { checkDataset, type Dataset, subset, TensorDataset } from './dataset.ts';

/** Options of `split`. */
export interface SplitOptions {
  /**
   * The column whose values each part holds in the proportions of the whole: a column's name ('label' is the column y unless there
   * is one of that name), or the values themselves, one per sample. By default the split is random without regard to any.
   */
  stratify?: string | ArrayLike<number | string | boolean>;
  /** Keys the draw; the same seed gives the same parts. Default 0. */
  seed?: number | bigint;
}

/** A view of some samples of D: a TensorDataset stays one. */
export type View<D> = D extends TensorDataset<infer K> ? TensorDataset<K> : D extends Dataset<infer S> ? Dataset<S> : never;
/** The parts of a split: as many datasets as sizes. */
export type Parts<D, N extends readonly number[]> = { [I in keyof N]: View<D> };

/** How many parts of `sizes` each class gives, in exact totals: per part, quotas of what is left, rounded by largest remainder. */
export function apportion(counts: readonly number[], sizes: readonly number[]): number[][] {
  const left = [...counts];
  let total = left.reduce((a, b) => a + b, 0);
  return sizes.map((size) => {
    const quota = left.map((n) => (total === 0 ? 0 : (n * size) / total));
    const take = quota.map(Math.floor);
    let missing = size - take.reduce((a, b) => a + b, 0);
    const byRemainder = quota.map((q, c) => ({ c, r: q - Math.floor(q) })).sort((a, b) => b.r - a.r || a.c - b.c);
    for (const { c } of byRemainder) {
      if (missing <= 0) break;
      if ((take[c] as number) >= (left[c] as number)) continue;
      take[c] = (take[c] as number) + 1;
      missing--;
    }
    take.forEach((n, c) => {
      left[c] = (left[c] as number) - n;
    });
    total -= size;
    return take;
  });
}

function columnValues(where: string, option: string, dataset: Dataset, name: string): ArrayLike<unknown> {
  const resolve = (has: (n: string) => boolean) => (name === 'label' && !has('label') && has('y') ? 'y' : name);
  if (dataset instanceof TensorDataset) {
    const source = dataset.column(resolve((n) => dataset.sources.some((s) => s.name === n)));
    if (source.step !== 1) {
      throw new DataError(
        `${where}: column "${source.name}" has ${source.step} values per sample; ${option} needs one. Name another column.`,
      );
    }
    const rows = dataset.locate(Uint32Array.from({ length: dataset.length }, (_, i) => i));
    return Array.from(rows, (row) => source.data[row]);
  }
  return Array.from({ length: dataset.length }, (_, i) => {
    const sample = dataset.get(i);
    if (sample instanceof Promise) {
      sample.catch(() => {}); // its failure is not this error's news
      throw new DataError(
        `${where}: this dataset's get() is asynchronous, so its labels cannot be read here. Give them: ${option}: labels.`,
      );
    }
    const record = Object(sample) as Record<string, unknown>;
    const field = resolve((n) => n in record);
    const value = record[field];
    const plain = typeof value === 'object' && value !== null && 'data' in value ? (value.data as ArrayLike<unknown>)[0] : value;
    if (plain === undefined || typeof plain === 'object') {
      throw new DataError(
        `${where}: sample ${i} has no plain value "${field}", got ${describe(plain)}. Name another column or give the labels.`,
      );
    }
    return plain;
  });
}

/** The ids of each class, or all in one where there are none. Throws for labels that do not fit, naming `where` and `option`. */
export function groups(where: string, option: string, dataset: Dataset, stratify: SplitOptions['stratify']): number[][] {
  const all = Array.from({ length: dataset.length }, (_, i) => i);
  if (stratify === undefined) return [all];
  if (typeof stratify !== 'string' && !Array.isArray(stratify) && !ArrayBuffer.isView(stratify))
    throw new ConfigError(`${where}: ${option} must be a column's name or the labels, got ${describe(stratify)}.`);
  const values = typeof stratify === 'string' ? columnValues(where, option, dataset, stratify) : stratify;
  if (values.length !== dataset.length) {
    throw new DataError(`${where}: ${option} has ${values.length} labels, but the dataset has ${dataset.length} samples.`);
  }
  const byValue = new Map<unknown, number[]>();
  for (const i of all) {
    const value = values[i];
    const group = byValue.get(value);
    if (group) group.push(i);
    else byValue.set(value, [i]);
  }
  return [...byValue.values()];
}

/**
 * Splits `dataset` into disjoint parts of exactly these sizes, which must add up to its length. With `stratify`, each part holds
 * each class in the proportion of the whole, rounded by largest remainder: with two parts no class is off by a whole sample.
 * Parts are views in ascending order of id. Throws ConfigError for sizes that do not fit.
 */
export function split<D extends Dataset, const N extends readonly number[]>(
  dataset: D,
  sizes: N,
  options: SplitOptions = {},
): Parts<D, N> {
  checkOptions('data.split', options, ['stratify', 'seed']);
  checkDataset('data.split', dataset);
  seedKey(options.seed ?? 0, 'data.split');
  if (!Array.isArray(sizes) || sizes.length === 0 || sizes.some((n) => !Number.isInteger(n) || n < 0)) {
    throw new ConfigError(`data.split: sizes must be integers >= 0, got ${describe(sizes)}. For example [55_000, 5_000].`);
  }
  const total = sizes.reduce((a, b) => a + b, 0);
  if (total !== dataset.length) {
    throw new ConfigError(
      `data.split: the sizes add up to ${total}, but the dataset has ${dataset.length} samples. ` +
        `Make them add up${total < dataset.length ? `, for example with a last part of ${dataset.length - total} that you ignore` : ''}.`,
    );
  }
  const parts = divide(groups('data.split', 'stratify', dataset, options.stratify), sizes, options.seed ?? 0, 'data/split');
  return parts.map((ids) => subset(dataset as Dataset, ids)) as unknown as Parts<D, N>;
}

/** The ids of each part, ascending: each class shuffled by (seed, its number) and dealt out in proportion. */
function divide(classes: readonly number[][], sizes: readonly number[], seed: number | bigint, stream: string): Uint32Array[] {
  const plan = apportion(
    classes.map((g) => g.length),
    sizes,
  );
  const orders = classes.map((group, c) => {
    const order = new PhiloxStream(seed, stream, c).permutation(group.length);
    return Array.from(order, (k) => group[k] as number);
  });
  const taken = classes.map(() => 0);
  return plan.map((counts) => {
    const ids = counts.flatMap((n, c) => {
      const from = taken[c] as number;
      taken[c] = from + n;
      return (orders[c] as number[]).slice(from, from + n);
    });
    return Uint32Array.from(ids).sort();
  });
}

/** One of the k ways to train on all folds but one. */
export interface Fold<D> {
  readonly train: D;
  readonly validation: D;
}

/**
 * Cuts `dataset` into k folds, each sample in one, and gives the k pairs of a fold (validation) and the rest (train). Folds differ in size by at most one
 * sample; with `stratify` (as in `split`) each class is spread over them in proportion, to within a sample. Parts are views in ascending order of id.
 * Throws ConfigError unless k is an integer from 2 to the number of samples.
 *
 *     for (const { train, validation } of data.kFold(set, 5, { stratify: 'label', seed: 1 })) ...
 */
export function kFold<D extends Dataset>(dataset: D, k: number, options: SplitOptions = {}): Fold<View<D>>[] {
  const where = 'data.kFold';
  checkDataset(where, dataset);
  checkOptions(where, options, ['stratify', 'seed']);
  const { seed = 0 } = options;
  seedKey(seed, where);
  const n = dataset.length;
  if (!Number.isInteger(k) || k < 2 || k > n)
    throw new ConfigError(`${where}: k must be an integer from 2 to the ${n} samples, got ${describe(k)}.`);
  const sizes = Array.from({ length: k }, (_, i) => Math.floor(n / k) + (i < n % k ? 1 : 0));
  const folds = divide(groups(where, 'stratify', dataset, options.stratify), sizes, seed, 'data/folds');
  return folds.map((ids) => {
    const held = new Set(ids);
    const rest = Uint32Array.from({ length: n }, (_, i) => i).filter((i) => !held.has(i));
    const [train, validation] = [subset(dataset as Dataset, rest), subset(dataset as Dataset, ids)];
    return { train, validation } as Fold<View<D>>;
  });
}
