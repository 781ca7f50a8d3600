import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { checkDType, type DType } from '../tensor/dtype.ts';
import { type PhiloxStream, seedKey } from '../tensor/philox.ts';
import type { Transform } from './augment/descriptors.ts';
import type { HostArray } from './host.ts';
import type { Sampler } from './sampler.ts';
import { checkShard, type Shard } from './shard.ts';

/** What a user's function is told about a sample: its id, the epoch, and random numbers keyed by (seed, epoch, id). */
export interface SampleInfo {
  readonly id: number;
  readonly epoch: number;
  readonly rng: PhiloxStream;
}

/** A user's transform of one sample, on the main thread; it may be asynchronous. */
// biome-ignore lint/suspicious/noExplicitAny: a transform may narrow the sample as it likes
export type SampleFunction = (sample: any, info: SampleInfo) => unknown;

/** Options of `data.loader`. */
export interface LoaderOptions {
  /** Samples in a batch; with `shard`, of each process. One of `batchSize` and `globalBatchSize`. */
  batchSize?: number;
  /** Samples in a batch of all processes together: a multiple of their number. */
  globalBatchSize?: number;
  /**
   * This process' part of every batch: the batches are those that one process would have with `batchSize` times `size`, each sample is in exactly one part, and
   * the windows know their `share`. Give all processes the same options otherwise. A stream is read whole by each. Default: all of it.
   */
  shard?: Shard;
  /** A new order each epoch, keyed by (seed, epoch). For a stream: through a buffer of `buffer` samples (default 1024). Default false. */
  shuffle?: boolean | { buffer: number };
  /**
   * Batches of samples of like length: `pool` batches' samples at a time (in the epoch's order) are sorted by `lengths`, one per sample, and cut into
   * batches; shuffled, these come in a random order, keyed by (seed, epoch); a shorter one comes last. Not for streams. Default: off; `pool` 50.
   */
  buckets?: { lengths: ArrayLike<number>; pool?: number };
  /** Chooses an epoch's samples in place of each once: `data.weightedSampler(...)`, `data.balancedSampler(...)`, or one's own. Not with shuffle. */
  sampler?: Sampler;
  /** Leave out a last batch of fewer samples. Default false. */
  dropLast?: boolean;
  /** Keys the order and every random transform. Default 0. */
  seed?: number | bigint;
  /** Functions first (main thread), then descriptors of `augment` (loader threads), in order. */
  transform?: readonly (Transform | SampleFunction)[];
  /** Makes a batch's columns from its samples, on the main thread, in place of stacking. */
  collate?: (samples: readonly unknown[], ids: Int32Array) => Readonly<Record<string, HostArray>>;
  /** The dtype of plain fields, such as { y: 'i32' }: a number in a sample is f32 otherwise. */
  dtypes?: Readonly<Record<string, DType>>;
  /** Loader threads for column-backed data and for transforms. Default 1; 0 works on the main thread in slices of a few ms. */
  workers?: number;
  /** Batches made ahead of the one in use. Default 2. */
  prefetch?: number;
  /** A sample that cannot be had: 'error' (default) throws DataError with its id; 'replace' takes another, the same in every run. */
  badSamples?: 'error' | 'replace';
}

/** Options as the loader works with them. */
export interface Settings {
  /** Of all processes together. */
  readonly batchSize: number;
  readonly shard: Shard;
  readonly shuffle: boolean;
  readonly buffer: number;
  readonly buckets: { readonly lengths: Float64Array; readonly pool: number } | undefined;
  readonly sampler: Sampler | undefined;
  readonly dropLast: boolean;
  readonly seed: number | bigint;
  readonly functions: readonly SampleFunction[];
  readonly transforms: readonly Transform[];
  readonly collate: LoaderOptions['collate'];
  readonly dtypes: Readonly<Record<string, DType>>;
  readonly workers: number;
  readonly prefetch: number;
  readonly replace: boolean;
}

const names = [
  'batchSize',
  'globalBatchSize',
  'shard',
  'shuffle',
  'buckets',
  'sampler',
  'dropLast',
  'seed',
  'transform',
  'collate',
  'dtypes',
  'workers',
  'prefetch',
  'badSamples',
];

/** Throws ConfigError unless `value` is an integer from `least` to `most`. */
export function checkInteger(where: string, name: string, value: unknown, least: number, most = Number.MAX_SAFE_INTEGER): number {
  if (Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most) return value as number;
  const range = most === Number.MAX_SAFE_INTEGER ? `>= ${least}` : `from ${least} to ${most}`;
  throw new ConfigError(`${where}: ${name} must be an integer ${range}, got ${describe(value)}.`);
}

/** Throws ConfigError unless `value` is true, false or absent. */
function checkBoolean(name: string, value: unknown): boolean {
  if (value === undefined || typeof value === 'boolean') return value ?? false;
  throw new ConfigError(`data.loader: ${name} must be true or false, got ${describe(value)}.`);
}

function checkTransform(list: unknown): Pick<Settings, 'functions' | 'transforms'> {
  if (!Array.isArray(list)) {
    throw new ConfigError(
      `data.loader: transform must be a list, such as [augment.randomHorizontalFlip()], got ${describe(list)}.`,
    );
  }
  const functions = list.filter((t): t is SampleFunction => typeof t === 'function');
  if (list.slice(0, functions.length).some((t) => typeof t !== 'function')) {
    throw new ConfigError(
      'data.loader: functions in transform come before descriptors, which run where the batch is made. Put the functions first.',
    );
  }
  return { functions, transforms: list.slice(functions.length) as Transform[] };
}

function checkBuckets(given: LoaderOptions['buckets'], stream: boolean): Settings['buckets'] {
  if (given === undefined) return undefined;
  const where = 'data.loader: buckets';
  if (given === null || typeof given !== 'object')
    throw new ConfigError(`${where} must be { lengths }, one length per sample, got ${describe(given)}.`);
  checkOptions(where, given, ['lengths', 'pool']);
  if (stream)
    throw new ConfigError(`${where}: a stream has no samples to choose from. Give a dataset with a length, or sort the stream.`);
  const { lengths, pool = 50 } = given;
  if (!Array.isArray(lengths) && !(ArrayBuffer.isView(lengths) && 'length' in lengths))
    throw new ConfigError(`${where}: lengths must be a list of numbers, one per sample, got ${describe(lengths)}.`);
  const wrong = Array.prototype.findIndex.call(lengths, (n: unknown) => typeof n !== 'number' || !(n >= 0 && n < Infinity));
  if (wrong >= 0)
    throw new ConfigError(`${where}: the length of sample ${wrong} is ${describe(lengths[wrong])}, not a number >= 0.`);
  return { lengths: Float64Array.from(lengths), pool: checkInteger(where, 'pool', pool, 1) };
}

function checkSampler(sampler: unknown, shuffle: unknown, stream: boolean): Sampler | undefined {
  if (sampler === undefined) return undefined;
  const { order, samples } = Object(sampler) as Partial<Sampler>;
  if (typeof order !== 'function' || !Number.isSafeInteger(samples) || (samples as number) < 1)
    throw new ConfigError(
      `data.loader: sampler must be { samples, order }, such as data.weightedSampler(weights) makes, got ${describe(sampler)}.`,
    );
  if (stream)
    throw new ConfigError('data.loader: sampler: a stream has no samples to choose from. Give a dataset with a length.');
  if (shuffle !== false)
    throw new ConfigError('data.loader: a sampler gives the order itself: leave shuffle out, or leave the sampler out.');
  return sampler as Sampler;
}

/** Samples in a batch of all processes. */
function checkBatchSize({ batchSize, globalBatchSize }: LoaderOptions, { size }: Shard): number {
  const where = 'data.loader';
  if (globalBatchSize === undefined) return checkInteger(where, 'batchSize', batchSize, 1, 2 ** 24) * size;
  if (batchSize !== undefined)
    throw new ConfigError(`${where}: give one of batchSize (of each process) and globalBatchSize (of all together)`);
  checkInteger(where, 'globalBatchSize', globalBatchSize, 1, 2 ** 40);
  if (globalBatchSize % size !== 0)
    throw new ConfigError(
      `${where}: globalBatchSize must be a multiple of the ${size} processes, got ${globalBatchSize}. ${Math.max(1, Math.round(globalBatchSize / size)) * size} is.`,
    );
  return globalBatchSize;
}

/** Checks the options and fills in the defaults. Throws ConfigError. */
export function settle(options: LoaderOptions, stream: boolean): Settings {
  checkOptions('data.loader', options, names);
  const { dtypes: given } = options ?? {};
  if (given !== undefined && (given === null || typeof given !== 'object' || Array.isArray(given)))
    throw new ConfigError(`data.loader: dtypes must be an object such as { y: 'i32' }, got ${describe(given)}.`);
  const { shuffle = false, seed = 0, collate, dtypes = {}, badSamples = 'error' } = options ?? {};
  const where = 'data.loader';
  let buffer = 1024;
  if (typeof shuffle === 'object' && shuffle !== null) {
    checkOptions('data.loader: shuffle', shuffle, ['buffer']);
    if (!stream)
      throw new ConfigError(
        'data.loader: a shuffle buffer is for streams; this dataset has a length and is shuffled whole. Use shuffle: true.',
      );
    buffer = checkInteger(where, 'shuffle.buffer', shuffle.buffer, 1);
  } else checkBoolean('shuffle', shuffle);
  seedKey(seed, 'data.loader');
  for (const [name, dtype] of Object.entries(dtypes)) checkDType(`data.loader: dtypes.${name}`, dtype);
  if (collate !== undefined && typeof collate !== 'function')
    throw new ConfigError(`data.loader: collate must be a function, got ${describe(collate)}.`);
  if (badSamples !== 'error' && badSamples !== 'replace') {
    throw new ConfigError(`data.loader: badSamples must be 'error' or 'replace', got ${describe(badSamples)}.`);
  }
  if (stream && badSamples === 'replace') {
    throw new ConfigError("data.loader: badSamples: 'replace' needs a dataset with get(i); a stream that throws is at its end.");
  }
  const shard = checkShard(where, options?.shard);
  return {
    batchSize: checkBatchSize(options ?? {}, shard),
    shard,
    shuffle: shuffle !== false,
    buffer,
    buckets: checkBuckets(options?.buckets, stream),
    sampler: checkSampler(options.sampler, shuffle, stream),
    dropLast: checkBoolean('dropLast', options.dropLast),
    seed,
    ...checkTransform(options.transform ?? []),
    collate,
    dtypes,
    workers: checkInteger(where, 'workers', options.workers ?? 1, 0, 256),
    prefetch: checkInteger(where, 'prefetch', options.prefetch ?? 2, 0, 1024),
    replace: badSamples === 'replace',
  };
}
