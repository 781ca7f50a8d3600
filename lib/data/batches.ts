import { type AnnealError, ConfigError, DataError, describe } from '../native/errors.ts';
import { addonFile, loadAddon } from '../native/load.ts';
import { PhiloxStream } from '../tensor/philox.ts';
import { type HostBatch, stack } from './collate.ts';
import { type ColumnSource, type Dataset, isColumnBacked } from './dataset.ts';
import { allocateOut, gather, mix } from './gather.mjs';
import { checkHostArray, type HostArray, sizeOf, type TypedArray, toShared } from './host.ts';
import type { Augmenter, GatherJob } from './job.ts';
import type { Settings } from './options.ts';
import { pool } from './pool.ts';
import type { Part } from './shard.ts';
import { breathe } from './slice.ts';
import { type BatchSamples, Transforms } from './transforms.ts';

/** A batch to come: where it stands, and how to make it. */
export interface Ticket {
  readonly epoch: number;
  readonly batch: number;
  /** Whether it is its epoch's last. */
  readonly last: boolean;
  /** Which rows of the whole batch `make` makes; where there are none, it must not be called. */
  readonly part: Part;
  readonly make: () => Promise<HostBatch<string>>;
}

/** Puts columns under the rows' ids. */
const withIds = (columns: Record<string, HostArray>, ids: Int32Array) => ({ ...columns, ids }) as unknown as HostBatch<string>;

/** Makes batches: gathers columns, or fetches, transforms and stacks samples. One per loader. */
export class BatchMaker {
  readonly #settings: Settings;
  readonly #transforms: Transforms;
  /** Samples that were replaced so far. */
  replaced = 0;

  constructor(
    settings: Settings,
    readonly dataset: Dataset | undefined,
  ) {
    this.#settings = settings;
    this.#transforms = new Transforms(settings.transforms, settings.seed);
    if (dataset && isColumnBacked(dataset)) this.#transforms.check(dataset.sources);
  }

  /** The batch of the samples `ids`; `again`: how often each has come before in this epoch, where a sampler repeats samples. */
  async byIds(ids: Int32Array, epoch: number, again?: Uint8Array): Promise<HostBatch<string>> {
    const dataset = this.dataset as Dataset;
    const { seed, functions, collate } = this.#settings;
    if (isColumnBacked(dataset) && functions.length === 0 && !collate) {
      return withIds(await this.#gather(dataset.sources, dataset.locate(ids, { seed, epoch }), { ids, epoch, again }), ids);
    }
    const used = Int32Array.from(ids);
    const samples = await this.#fetch(dataset, used, epoch, again);
    return this.ofSamples(samples, used, epoch, again);
  }

  /** The batch of samples in hand; user functions have run. */
  async ofSamples(samples: readonly unknown[], ids: Int32Array, epoch: number, again?: Uint8Array): Promise<HostBatch<string>> {
    const { collate, dtypes, workers } = this.#settings;
    const columns = collate
      ? this.#checked(collate(samples, ids), ids)
      : stack(samples, ids, dtypes, !this.#transforms.empty && workers > 0);
    const stored = this.dataset && isColumnBacked(this.dataset) ? this.dataset.sources : [];
    const sources = Object.entries(columns).map(([name, { data, shape, dtype }]): ColumnSource => {
      const rest = shape.slice(1);
      // A column that still is what the dataset stores is still encoded as the dataset says.
      const encoding = stored.find((s) => s.name === name && s.dtype === dtype)?.encoding;
      return { name, data, shape: rest, dtype, step: sizeOf(rest), shift: 0, encoding };
    });
    this.#transforms.check(sources);
    const moved = sources.filter((s) => this.#transforms.changes(s));
    if (moved.length === 0) return withIds(columns, ids);
    const positions = Uint32Array.from(ids, (_, k) => k);
    return withIds({ ...columns, ...(await this.#gather(moved, positions, { ids, epoch, again })) }, ids);
  }

  /** One sample through the user's functions. */
  async apply(sample: unknown, id: number, epoch: number, again = 0): Promise<unknown> {
    const { functions, seed } = this.#settings;
    let value = sample;
    for (const [i, fn] of functions.entries()) {
      const rng = new PhiloxStream(seed, `data/function/${i}${again > 0 ? `/again/${again}` : ''}`, epoch).seek(id * 2 ** 20);
      value = await fn(value, { id, epoch, rng });
    }
    return value;
  }

  #checked(columns: Readonly<Record<string, HostArray>>, ids: Int32Array): Record<string, HostArray> {
    if (typeof columns !== 'object' || columns === null) {
      throw new DataError(`collate must return columns { name: { data, shape, dtype } }, got ${describe(columns)}.`);
    }
    for (const [name, column] of Object.entries(columns)) {
      if (name === 'ids') throw new DataError('collate: a column cannot be called "ids": batches keep the sample ids there.');
      checkHostArray(`collate: column "${name}"`, column);
      if (column.shape[0] !== ids.length) {
        throw new DataError(
          `collate: column "${name}" has shape [${column.shape.join(', ')}]; its first dimension must be the batch, ${ids.length}.`,
        );
      }
    }
    return { ...columns };
  }

  async #gather(
    sources: readonly ColumnSource[],
    positions: Uint32Array,
    samples: BatchSamples,
  ): Promise<Record<string, HostArray>> {
    const { workers } = this.#settings;
    const routed = sources.map((s) => this.#transforms.column(s, samples));
    const columns = routed.map((r, i) => {
      const dtype = (sources[i] as ColumnSource).dtype;
      return workers > 0 ? { ...r.column, data: toShared(r.column.data, dtype) } : r.column;
    });
    const mixes = this.#transforms.mixes(sources, positions, samples);
    const needed = mixes.length > 0 || columns.some((c) => c.program);
    const outs = await run({ positions, columns, mixes, addon: needed ? addonFile() : undefined }, workers);
    return Object.fromEntries(
      sources.map(({ name, dtype }, i) => {
        const soft = mixes.find((m) => m.kind === 'soft' && m.column === i);
        const isF32 = soft !== undefined || columns[i]?.encoding !== undefined;
        const shape = [samples.ids.length, ...(soft?.kind === 'soft' ? [soft.classes] : (routed[i]?.shape ?? []))];
        return [name, { data: outs[i] as TypedArray, shape, dtype: isF32 ? 'f32' : dtype }] as const;
      }),
    );
  }

  /** Gets and transforms the samples, all at once if get is asynchronous; `ids` is told of replacements. */
  async #fetch(dataset: Dataset, ids: Int32Array, epoch: number, again?: Uint8Array): Promise<unknown[]> {
    const one = async (k: number): Promise<unknown> => {
      const id = ids[k] as number;
      try {
        return await this.#one(dataset, id, epoch, again?.[k]);
      } catch (error) {
        if (!this.#settings.replace) throw sampleError(id, error);
        const { by, sample } = await this.#replacement(dataset, id, epoch, error);
        ids[k] = by;
        this.replaced++;
        return sample;
      }
    };
    const samples: Promise<unknown>[] = [];
    for (let k = 0; k < ids.length; k++) {
      const sample = one(k);
      sample.catch(() => {}); // thrown by Promise.all below
      samples.push(sample);
      await breathe();
    }
    return Promise.all(samples);
  }

  async #one(dataset: Dataset, id: number, epoch: number, again = 0): Promise<unknown> {
    const got = dataset.get(id, { seed: this.#settings.seed, epoch });
    const sample = this.apply(await got, id, epoch, again);
    const value = await sample;
    if (value === undefined || value === null) throw new DataError(`get(${id}) gave ${value}`);
    return value;
  }

  /** Another sample, drawn by (seed, epoch, id): the same in every run. */
  async #replacement(dataset: Dataset, id: number, epoch: number, cause: unknown): Promise<{ by: number; sample: unknown }> {
    const draw = new PhiloxStream(this.#settings.seed, 'data/replace', epoch).seek(id * 64);
    for (let attempt = 0; attempt < 16; attempt++) {
      const by = draw.below(dataset.length);
      try {
        return { by, sample: await this.#one(dataset, by, epoch) };
      } catch {
        // this one is bad too
      }
    }
    const message = `sample ${id} could not be had, nor any of 16 others in its place; the first failure: ${(cause as Error)?.message ?? cause}.`;
    throw new DataError(message, { cause });
  }
}

function sampleError(id: number, cause: unknown): AnnealError {
  if (cause instanceof ConfigError) return cause;
  const message = cause instanceof Error ? cause.message : String(cause);
  return new DataError(
    `sample ${id}: ${message}${/[.!?]$/.test(message) ? '' : '.'} To go on without such samples: { badSamples: 'replace' }.`,
    { cause },
  );
}

/** Runs a job on a loader thread, or here in slices. */
async function run(job: GatherJob, workers: number): Promise<TypedArray[]> {
  if (workers > 0) return pool.run(job, workers);
  const native = job.addon === undefined ? undefined : (loadAddon() as Augmenter);
  const outs = allocateOut(job);
  const widest = job.columns.reduce((most, c) => Math.max(most, c.outSize), 1);
  const step = Math.max(1, Math.floor(65_536 / widest));
  for (let from = 0; from < job.positions.length; from += step) {
    gather(job, outs, from, Math.min(job.positions.length, from + step), native);
    await breathe();
  }
  mix(job, outs, native);
  return outs;
}
