// Which samples an epoch takes, where it is not each of them once.
import { ConfigError, checkOptions, DataError, describe } from '../native/errors.ts';
import { PhiloxStream } from '../tensor/philox.ts';
import { checkDataset, type Dataset, type SampleContext } from './dataset.ts';
import { checkInteger } from './options.ts';
import { breathe } from './slice.ts';
import { groups, type SplitOptions } from './split.ts';

/** Chooses each epoch's samples, in order. What it chooses depends on seed and epoch alone, so that a run can be resumed. */
export interface Sampler {
  /** How many samples an epoch has. */
  readonly samples: number;
  /** The ids of an epoch's samples, `samples` of them; ids may repeat. */
  order(context: SampleContext): Uint32Array | Promise<Uint32Array>;
}

/** Options of `weightedSampler`. */
export interface WeightedOptions {
  /** Samples in an epoch. Default: as many as there are weights. */
  samples?: number;
  /** Whether a sample may come more than once in an epoch. Default true. */
  replacement?: boolean;
}

/** Draws samples by weight. Made by `weightedSampler` and `balancedSampler`. */
class WeightedSampler implements Sampler {
  readonly samples: number;
  readonly #weights: Float64Array;
  readonly #replacement: boolean;

  constructor(weights: Float64Array, samples: number, replacement: boolean) {
    this.samples = samples;
    this.#weights = weights;
    this.#replacement = replacement;
  }

  async order({ seed, epoch }: SampleContext): Promise<Uint32Array> {
    const rng = new PhiloxStream(seed, 'data/sampler', epoch);
    return this.#replacement ? this.#again(rng) : this.#once(rng);
  }

  /** By the running sum of the weights: two words each, since one would leave the rarest of a million samples out. */
  async #again(rng: PhiloxStream): Promise<Uint32Array> {
    const sums = new Float64Array(this.#weights.length);
    let total = 0;
    this.#weights.forEach((w, i) => {
      total += w;
      sums[i] = total;
    });
    const order = new Uint32Array(this.samples);
    for (let k = 0; k < order.length; k++) {
      const at = ((rng.word() * 2 ** 21 + (rng.word() >>> 11)) / 2 ** 53) * total;
      let [low, high] = [0, sums.length - 1];
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((sums[middle] as number) > at) high = middle;
        else low = middle + 1;
      }
      order[k] = low;
      if (k % 1024 === 0) await breathe();
    }
    return order;
  }

  /** Efraimidis and Spirakis (2006): the first to arrive at exponential times of these rates. */
  async #once(rng: PhiloxStream): Promise<Uint32Array> {
    const times = new Float64Array(this.#weights.length);
    for (let i = 0; i < times.length; i++) {
      const u = (rng.word() * 2 ** 21 + (rng.word() >>> 11) + 1) / 2 ** 53;
      const w = this.#weights[i] as number;
      times[i] = w > 0 ? -Math.log(u) / w : Infinity;
      if (i % 1024 === 0) await breathe();
    }
    const order = Uint32Array.from(times, (_, i) => i);
    return order.sort((a, b) => (times[a] as number) - (times[b] as number) || a - b).slice(0, this.samples);
  }
}

function makeSampler(where: string, weights: Float64Array, options: WeightedOptions): Sampler {
  const { replacement = true } = options;
  if (typeof replacement !== 'boolean')
    throw new ConfigError(`${where}: replacement must be true or false, got ${describe(replacement)}.`);
  const samples = checkInteger(where, 'samples', options.samples ?? weights.length, 1, 2 ** 31 - 1);
  const possible = weights.reduce((n, w) => n + (w > 0 ? 1 : 0), 0);
  if (possible === 0) throw new ConfigError(`${where}: at least one weight must be above 0.`);
  if (!replacement && samples > possible)
    throw new ConfigError(
      `${where}: without replacement an epoch has at most the ${possible} samples whose weight is above 0, got samples: ${samples}.`,
    );
  return new WeightedSampler(weights, samples, replacement);
}

/**
 * A sampler for `data.loader(..., { sampler })` that draws sample i with a chance in proportion to weights[i], as PyTorch's WeightedRandomSampler. A sample
 * that comes again in an epoch gets other random transforms. Throws ConfigError unless weights are numbers >= 0, some of them above 0.
 */
export function weightedSampler(weights: ArrayLike<number>, options: WeightedOptions = {}): Sampler {
  const where = 'data.weightedSampler';
  if (!Array.isArray(weights) && !(ArrayBuffer.isView(weights) && 'length' in weights))
    throw new ConfigError(`${where}: weights must be a list of numbers, one per sample, got ${describe(weights)}.`);
  checkOptions(where, options, ['samples', 'replacement']);
  const wrong = Array.prototype.findIndex.call(weights, (w: unknown) => typeof w !== 'number' || !(w >= 0 && w < Infinity));
  if (wrong >= 0)
    throw new ConfigError(
      `${where}: the weight of sample ${wrong} must be a finite number >= 0, got ${describe(weights[wrong])}.`,
    );
  return makeSampler(where, Float64Array.from(weights), options);
}

/**
 * A sampler that draws every class as often as every other, with replacement: a sample's weight is 1 over its class's count. `labels` are a column's name
 * (default 'label', which is the column y unless there is one of that name) or the classes themselves, one per sample.
 * Throws as `weightedSampler`, and DataError for labels that do not fit.
 */
export function balancedSampler(
  dataset: Dataset,
  options: { labels?: SplitOptions['stratify']; samples?: number } = {},
): Sampler {
  const where = 'data.balancedSampler';
  checkDataset(where, dataset);
  checkOptions(where, options, ['labels', 'samples']);
  const weights = new Float64Array(dataset.length);
  for (const group of groups(where, 'labels', dataset, options.labels ?? 'label'))
    for (const id of group) weights[id] = 1 / group.length;
  return makeSampler(where, weights, { samples: options.samples ?? dataset.length });
}

/** An epoch's order, checked against the dataset's length. */
export async function sampled(sampler: Sampler, context: SampleContext, length: number): Promise<Uint32Array> {
  const order = await sampler.order(context);
  if (!(order instanceof Uint32Array) || order.length !== sampler.samples)
    throw new DataError(
      `data.loader: the sampler must give a Uint32Array of ${sampler.samples} ids, got ${describe(order)}${order instanceof Uint32Array ? ` of ${order.length}` : ''}.`,
    );
  const wrong = order.find((id) => id >= length);
  if (wrong !== undefined)
    throw new DataError(
      `data.loader: the sampler chose sample ${wrong}, but the dataset has ${length}. Are its weights another dataset's?`,
    );
  return order;
}

/** How often each of an epoch's samples has come before in it, up to 255. */
export function repeats(order: Uint32Array): Uint8Array {
  const seen = new Map<number, number>();
  return Uint8Array.from(order, (id) => {
    const before = seen.get(id) ?? 0;
    seen.set(id, before + 1);
    return Math.min(255, before);
  });
}
