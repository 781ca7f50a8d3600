import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { BatchMaker, type Ticket } from './batches.ts';
import type { HostBatch } from './collate.ts';
import type { Dataset, SampleStream } from './dataset.ts';

import { checkInteger, type LoaderOptions, type Settings, settle } from './options.ts';
import { prefetched } from './prefetch.ts';
import { type Part, type Shard, type Share, shareOfParts } from './shard.ts';
import { MapSource, StreamSource, type TicketSource } from './sources.ts';

/** A place between two batches, as plain JSON: `batch` batches of `epoch` are done, and `step` windows in all. */
export interface Cursor {
  readonly epoch: number;
  readonly batch: number;
  readonly step: number;
}

/** The batches of one optimizer step, and the place after them. */
export interface Window<K extends string = 'x' | 'y'> {
  readonly micro: readonly HostBatch<K>[];
  readonly cursor: Cursor;
  /** The ids of all its samples, in order. */
  readonly ids: Int32Array;
  /** How many samples it has. */
  readonly samples: number;
  /** With `shard`: where its rows lie among those of all processes. Of a short window a process may have no batch. */
  readonly share?: Share;
}

/** Options of `epoch`. */
export interface EpochOptions {
  /** Batches to pass over. Default 0. */
  from?: number;
  /** Ends the iteration by throwing its reason. */
  signal?: AbortSignal;
}

/** Options of `windows`. One of `steps` and `epochs` must be given; both are totals, counted from the very beginning and not from `from`. */
export interface WindowsOptions {
  /** Batches in a window. Default 1. */
  accumulate?: number;
  /** Windows in all. */
  steps?: number;
  /** Epochs in all; Infinity goes on until the loop is left. */
  epochs?: number;
  /** Where to go on: the cursor of the last window done. Default: the beginning. */
  from?: Partial<Cursor> | undefined;
  /** Fill the last window of an epoch from the next epoch. Default false: it is shorter, so that epochs end on a window's end. */
  spanEpochs?: boolean;
  /** Ends the iteration by throwing its reason. */
  signal?: AbortSignal;
}

/** Batches of a dataset, on the host. Iterate over it (each loop is the next epoch), over one `epoch`, or over `windows`. */
export class Loader<K extends string = 'x' | 'y'> implements AsyncIterable<HostBatch<K>> {
  /** Batches per epoch; undefined for a stream. */
  readonly length: number | undefined;
  /** Samples per epoch, of all processes, dropped ones left out; undefined for a stream. */
  readonly samples: number | undefined;
  /** Samples in a batch, of this process. */
  readonly batchSize: number;
  /** This process' part of how many. */
  readonly shard: Shard;
  readonly seed: number | bigint;
  readonly #dataset: Dataset | SampleStream;
  readonly #options: LoaderOptions;
  readonly #settings: Settings;
  readonly #maker: BatchMaker;
  readonly #source: TicketSource;
  #epoch = 0;

  /** @internal Use data.loader. */
  constructor(dataset: Dataset | SampleStream, options: LoaderOptions) {
    const map = asMap(dataset);
    this.#dataset = dataset;
    this.#options = options;
    this.#settings = settle(options, map === undefined);
    this.#maker = new BatchMaker(this.#settings, map);
    this.#source = map
      ? new MapSource(this.#settings, this.#maker, map.length)
      : new StreamSource(this.#settings, this.#maker, dataset as SampleStream);
    this.batchSize = this.#settings.batchSize / this.#settings.shard.size;
    this.shard = this.#settings.shard;
    this.seed = this.#settings.seed;
    this.length = this.#source.length;
    const perEpoch = this.#settings.sampler?.samples ?? map?.length;
    this.samples = map && (this.#settings.dropLast ? (this.length as number) * this.#settings.batchSize : perEpoch);
  }

  /** Samples that `badSamples: 'replace'` replaced so far. */
  get replaced(): number {
    return this.#maker.replaced;
  }

  /** The same loader as one process' part: `batchSize` samples of each, or `globalBatchSize` of all. */
  sharded(shard: Shard): Loader<K> {
    return new Loader(this.#dataset, { ...this.#options, shard });
  }

  /** The batches of epoch `n`, from batch `from` on. */
  async *epoch(n: number, options: EpochOptions = {}): AsyncGenerator<HostBatch<K>, void, undefined> {
    checkOptions('loader.epoch', options, ['from', 'signal']);
    checkInteger('loader.epoch', 'the epoch', n, 0, 2 ** 32 - 1);
    const tickets = this.#source.tickets(n, checkInteger('loader.epoch', 'from', options.from ?? 0, 0));
    for await (const { batch } of this.#made(tickets, options.signal)) if (batch) yield batch;
  }

  /** The batches of the next epoch: the first loop is epoch 0. */
  [Symbol.asyncIterator](): AsyncGenerator<HostBatch<K>, void, undefined> {
    return this.epoch(this.#epoch++);
  }

  /**
   * Windows of `accumulate` batches, epoch after epoch, to the given number of `steps` or `epochs`, whichever comes first. To go
   * on from a window's `cursor` gives exactly the windows that would have followed. Throws ConfigError for options that do not fit.
   */
  async *windows(options: WindowsOptions): AsyncGenerator<Window<K>, void, undefined> {
    const { accumulate, steps, epochs, from, spanEpochs, signal } = windowOptions(options);
    if (from.step >= steps || from.epoch >= epochs) return;
    let step = from.step;
    let micro: HostBatch<K>[] = [];
    let parts: Part[] = [];
    let after = { epoch: from.epoch, batch: from.batch };
    const window = (): Window<K> => {
      const done = micro;
      const share = this.#settings.shard.size > 1 ? { share: shareOfParts(parts) } : {};
      micro = [];
      parts = [];
      const ids = concatIds(done);
      return { micro: done, cursor: { ...after, step: ++step }, ids, samples: ids.length, ...share };
    };
    for await (const { ticket, batch } of this.#made(this.#across(from, epochs), signal)) {
      if (batch) micro.push(batch);
      parts.push(ticket.part);
      after = ticket.last ? { epoch: ticket.epoch + 1, batch: 0 } : { epoch: ticket.epoch, batch: ticket.batch + 1 };
      if (parts.length < accumulate && !(ticket.last && !spanEpochs)) continue;
      yield window();
      if (step >= steps) return;
    }
    if (parts.length > 0) yield window();
  }

  async *#across(from: Cursor, epochs: number): AsyncGenerator<Ticket> {
    for (let epoch = from.epoch; epoch < epochs; epoch++) {
      yield* this.#source.tickets(epoch, epoch === from.epoch ? from.batch : 0);
    }
  }

  #made(tickets: AsyncGenerator<Ticket>, signal: AbortSignal | undefined) {
    const { prefetch } = this.#settings;
    const thunks = (async function* () {
      for await (const ticket of tickets) {
        const none = ticket.part.from === ticket.part.to;
        yield async () => ({ ticket, batch: none ? undefined : ((await ticket.make()) as unknown as HostBatch<K>) });
      }
    })();
    return prefetched(thunks, prefetch, signal);
  }
}

function windowOptions(options: WindowsOptions) {
  const where = 'loader.windows';
  checkOptions(where, options, ['accumulate', 'steps', 'epochs', 'from', 'spanEpochs', 'signal']);
  const { accumulate = 1, steps, epochs, from = {}, spanEpochs = false, signal } = options ?? {};
  if (steps === undefined && epochs === undefined) {
    throw new ConfigError(
      `${where}: say how long: { steps } or { epochs }, in all. { epochs: Infinity } goes on until the loop is left.`,
    );
  }
  checkOptions(`${where}: from`, from, ['epoch', 'batch', 'step']);
  const total = (name: string, value: number | undefined) =>
    value === undefined || value === Infinity ? Infinity : checkInteger(where, name, value, 0);
  return {
    accumulate: checkInteger(where, 'accumulate', accumulate, 1),
    steps: total('steps', steps),
    epochs: total('epochs', epochs),
    from: {
      epoch: checkInteger(where, 'from.epoch', from.epoch ?? 0, 0, 2 ** 32 - 1),
      batch: checkInteger(where, 'from.batch', from.batch ?? 0, 0),
      step: checkInteger(where, 'from.step', from.step ?? 0, 0),
    },
    spanEpochs,
    signal,
  };
}

function concatIds(batches: readonly { readonly ids: Int32Array }[]): Int32Array {
  const ids = new Int32Array(batches.reduce((n, b) => n + b.ids.length, 0));
  let at = 0;
  for (const b of batches) {
    ids.set(b.ids, at);
    at += b.ids.length;
  }
  return ids;
}

/** `dataset` as map-style, if it is: something with length and get, or an array of samples. */
function asMap(dataset: unknown): Dataset | undefined {
  if (Array.isArray(dataset)) return { length: dataset.length, get: (i) => dataset[i] };
  const given = Object(dataset) as Partial<Dataset>;
  if (typeof given.get === 'function' && typeof dataset === 'object') {
    checkInteger('data.loader', "the dataset's length", given.length, 0, 2 ** 31 - 1);
    return dataset as Dataset;
  }
  if (
    typeof dataset === 'function' ||
    (typeof dataset === 'object' && dataset !== null && (Symbol.asyncIterator in dataset || Symbol.iterator in dataset))
  ) {
    return undefined;
  }
  throw new ConfigError(
    `data.loader: expected a dataset ({ length, get }), an array of samples, or an iterable of samples, got ${describe(dataset)}.`,
  );
}

/**
 * A loader of batches from `dataset`: a map-style Dataset, an array of samples, or a stream (iterable or a function of the epoch).
 * What it yields depends on the data, `batchSize` and `seed` alone, never on `workers` or `prefetch`; a sample's random transforms
 * depend on (seed, epoch, sample id) alone. Threads and memory are taken when the iteration starts.
 * Throws ConfigError for options that do not fit; the iteration throws DataError for samples that cannot be had.
 *
 *     for await (const { x, y, ids } of data.loader(train, { batchSize: 64, shuffle: true })) ...
 */
export function loader<C extends Readonly<Record<string, unknown>>>(
  dataset: Dataset | SampleStream | readonly unknown[],
  options: LoaderOptions & { collate: (samples: readonly unknown[], ids: Int32Array) => C },
): Loader<keyof C & string>;
export function loader<S>(dataset: Dataset<S> | readonly S[] | SampleStream<S>, options: LoaderOptions): Loader<keyof S & string>;
export function loader(dataset: Dataset | SampleStream | readonly unknown[], options: LoaderOptions): Loader<string> {
  return new Loader<string>(dataset, options);
}
