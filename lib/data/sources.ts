import { AnnealError, ConfigError, DataError, describe } from '../native/errors.ts';
import { PhiloxStream } from '../tensor/philox.ts';
import type { BatchMaker, Ticket } from './batches.ts';
import type { SampleStream } from './dataset.ts';

import type { Settings } from './options.ts';
import { repeats, sampled } from './sampler.ts';
import { partOf } from './shard.ts';
import { breathe } from './slice.ts';

/** The batches of an epoch, in order, from the `from`-th on. */
export interface TicketSource {
  /** Batches per epoch; undefined for a stream. */
  readonly length: number | undefined;
  tickets(epoch: number, from: number): AsyncGenerator<Ticket>;
}

/** An epoch's samples, and how often each has come before in it, where they may repeat. */
interface Order {
  readonly ids: Uint32Array;
  readonly again: Uint8Array | undefined;
}

/** Batches of a map-style dataset. */
export class MapSource implements TicketSource {
  readonly length: number;
  readonly #settings: Settings;
  readonly #maker: BatchMaker;
  readonly #samples: number;
  readonly #length: number;
  #order: { epoch: number; ids: Promise<Order> } | undefined;

  constructor(settings: Settings, maker: BatchMaker, length: number) {
    this.#settings = settings;
    this.#maker = maker;
    this.#length = length;
    const { batchSize, dropLast, sampler, buckets } = settings;
    const samples = length === 0 ? 0 : (sampler?.samples ?? length);
    this.#samples = samples;
    if (buckets && buckets.lengths.length !== length)
      throw new ConfigError(`data.loader: buckets: ${buckets.lengths.length} lengths were given for ${length} samples.`);
    this.length = dropLast ? Math.floor(samples / batchSize) : Math.ceil(samples / batchSize);
    if (this.length > 0) return;
    const why =
      samples === 0
        ? 'the dataset is empty'
        : `dropLast leaves no batch of ${batchSize} from ${samples} samples; use a smaller batchSize`;
    throw new ConfigError(`data.loader: ${why}.`);
  }

  async *tickets(epoch: number, from: number): AsyncGenerator<Ticket> {
    if (from > this.length) {
      throw new ConfigError(
        `data.loader: batch ${from} of epoch ${epoch} does not exist: there are ${this.length} batches. Is the cursor of another loader?`,
      );
    }
    const { shuffle, buckets, sampler, batchSize } = this.#settings;
    const order = shuffle || buckets || sampler ? await this.#ordered(epoch) : undefined;
    for (let batch = from; batch < this.length; batch++) {
      const start = batch * batchSize;
      const size = Math.min(batchSize, this.#samples - start);
      const part = partOf(this.#settings.shard, size);
      const first = start + part.from;
      const ids = Int32Array.from({ length: part.to - part.from }, (_, k) =>
        order ? (order.ids[first + k] as number) : first + k,
      );
      const again = order?.again?.subarray(first, start + part.to);
      yield { epoch, batch, last: batch === this.length - 1, part, make: () => this.#maker.byIds(ids, epoch, again) };
    }
  }

  /** The epoch's order; the last one is kept, since windows resume within an epoch. */
  #ordered(epoch: number): Promise<Order> {
    if (this.#order?.epoch !== epoch) {
      const repeating = this.#settings.sampler !== undefined;
      const ids = this.#newOrder(epoch).then((o) => ({ ids: o, again: repeating ? repeats(o) : undefined }));
      this.#order = { epoch, ids };
    }
    return this.#order.ids;
  }

  async #newOrder(epoch: number): Promise<Uint32Array> {
    const { seed, shuffle, buckets, batchSize, sampler } = this.#settings;
    const n = this.#samples;
    const order = sampler
      ? await sampled(sampler, { seed, epoch }, this.#length)
      : shuffle
        ? await permutation(seed, 'data/shuffle', epoch, n)
        : Uint32Array.from({ length: n }, (_, i) => i);
    if (!buckets) return order;
    // What dropLast leaves out is left out before lengths are looked at: else it would always be the longest.
    const used = order.subarray(0, Math.min(n, this.length * batchSize));
    const { lengths, pool } = buckets;
    for (let from = 0; from < used.length; from += pool * batchSize) {
      used.subarray(from, from + pool * batchSize).sort((a, b) => (lengths[a] as number) - (lengths[b] as number));
      await breathe();
    }
    if (!shuffle && !sampler) return used;
    const whole = Math.floor(used.length / batchSize);
    const places = await permutation(seed, 'data/buckets', epoch, whole);
    const out = used.slice();
    for (let b = 0; b < whole; b++) {
      const from = (places[b] as number) * batchSize;
      out.set(used.subarray(from, from + batchSize), b * batchSize);
    }
    return out;
  }
}

/** PhiloxStream(seed, name, epoch).permutation(n), in slices: a million samples take a tenth of a second. */
async function permutation(seed: number | bigint, name: string, epoch: number, n: number): Promise<Uint32Array> {
  const stream = new PhiloxStream(seed, name, epoch);
  const order = new Uint32Array(n);
  for (let i = 0; i < n; i++) order[i] = i;
  for (let from = n - 1; from > 0; from -= 4096) {
    stream.shuffle(order, from, Math.max(0, from - 4096));
    await breathe();
  }
  return order;
}

interface Numbered {
  readonly id: number;
  readonly sample: unknown;
}

/** Batches of a stream. A sample's id is its place in the stream; going on in mid-epoch reads and passes over what came before. */
export class StreamSource implements TicketSource {
  readonly length = undefined;
  readonly #settings: Settings;
  readonly #maker: BatchMaker;
  readonly #stream: SampleStream;

  constructor(settings: Settings, maker: BatchMaker, stream: SampleStream) {
    this.#settings = settings;
    this.#maker = maker;
    this.#stream = stream;
  }

  async *tickets(epoch: number, from: number): AsyncGenerator<Ticket> {
    const { batchSize, dropLast } = this.#settings;
    let batch = 0;
    let held: Numbered[] | undefined; // one batch is held back, to know which is the last
    let current: Numbered[] = [];
    for await (const sample of this.#settings.shuffle ? this.#shuffled(epoch) : this.#numbered(epoch)) {
      current.push(sample);
      if (current.length < batchSize) continue;
      if (held && batch++ >= from) yield this.#ticket(held, epoch, batch - 1, false);
      held = current;
      current = [];
    }
    if (current.length > 0 && !dropLast) {
      if (held && batch++ >= from) yield this.#ticket(held, epoch, batch - 1, false);
      held = current;
    }
    if (!held) throw new DataError(`data.loader: the stream gave no batch in epoch ${epoch}.${this.#whyEmpty(epoch)}`);
    if (batch >= from) yield this.#ticket(held, epoch, batch, true);
    else if (batch + 1 < from)
      throw new ConfigError(`data.loader: epoch ${epoch} of the stream has ${batch + 1} batches; the cursor says ${from}.`);
  }

  #whyEmpty(epoch: number): string {
    if (this.#settings.dropLast) return ' It may have fewer samples than batchSize, with dropLast.';
    return epoch > 0 && typeof this.#stream !== 'function'
      ? ' An iterator runs only once: give a function that starts a new one, (epoch) => samples().'
      : '';
  }

  #ticket(all: readonly Numbered[], epoch: number, batch: number, last: boolean): Ticket {
    const part = partOf(this.#settings.shard, all.length);
    const samples = all.slice(part.from, part.to);
    const make = async () => {
      const values: unknown[] = [];
      for (const { id, sample } of samples) {
        values.push(await this.#maker.apply(sample, id, epoch));
        await breathe();
      }
      return this.#maker.ofSamples(
        values,
        Int32Array.from(samples, (s) => s.id),
        epoch,
      );
    };
    return { epoch, batch, last, part, make };
  }

  async *#numbered(epoch: number): AsyncGenerator<Numbered> {
    const samples = typeof this.#stream === 'function' ? this.#stream(epoch) : this.#stream;
    if (typeof samples !== 'object' || samples === null || !(Symbol.asyncIterator in samples || Symbol.iterator in samples)) {
      throw new DataError(`data.loader: the function must return an iterable of samples, got ${describe(samples)}.`);
    }
    let id = 0;
    try {
      for await (const sample of samples) {
        yield { id: id++, sample };
        await breathe();
      }
    } catch (cause) {
      if (cause instanceof AnnealError) throw cause;
      throw new DataError(
        `data.loader: the stream failed after ${id} samples: ${cause instanceof Error ? cause.message : String(cause)}`,
        { cause },
      );
    }
  }

  /** Draws each next sample from a buffer that the stream refills. */
  async *#shuffled(epoch: number): AsyncGenerator<Numbered> {
    const draw = new PhiloxStream(this.#settings.seed, 'data/buffer', epoch);
    const buffer: Numbered[] = [];
    const take = (): Numbered => {
      const at = draw.below(buffer.length);
      const taken = buffer[at] as Numbered;
      buffer[at] = buffer[buffer.length - 1] as Numbered;
      buffer.pop();
      return taken;
    };
    for await (const sample of this.#numbered(epoch)) {
      buffer.push(sample);
      if (buffer.length > this.#settings.buffer) yield take();
    }
    while (buffer.length > 0) yield take();
  }
}
