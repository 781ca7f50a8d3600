/** The processes that make one run: what they agree on, and who of them writes. */
import type { Shard } from '../data/index.ts';
import { broadcastAll, DataParallel } from '../distributed/data-parallel.ts';
import { exchange } from '../distributed/exchange.ts';
import { currentWorld, type World } from '../distributed/world.ts';
import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import type { BatchSource } from './batch.ts';
import { configurationOf } from './run-facts.ts';
import type { Stepper } from './stepper.ts';
import type { FitOptions, TrainerOptions } from './trainer.ts';

/** How many processes train together, and how: all of the world's. */
export interface ParallelOptions {
  /** Processes that each take their part of every batch. Default: all. */
  data?: number;
  /** See `DataParallelOptions`. */
  bucketBytes?: number;
  firstBucketBytes?: number;
  overlap?: boolean;
}

/** Throws ConfigError unless it is the option of a Trainer. */
export function checkParallel(option: unknown): void {
  if (option === undefined || option === false) return;
  if (option === null || typeof option !== 'object')
    throw new ConfigError(`Trainer: parallel must be { data: processes }, or false, got ${describe(option)}`);
  checkOptions('Trainer: parallel', option, ['data', 'bucketBytes', 'firstBucketBytes', 'overlap']);
  const { data } = option as ParallelOptions;
  if (data !== undefined && !(Number.isSafeInteger(data) && data >= 1))
    throw new ConfigError(`Trainer: parallel: data must be a whole number of processes >= 1, got ${describe(data)}`);
}

/** The world that trains together; undefined where this process trains alone. */
function worldOf(option: TrainerOptions['parallel']): World | undefined {
  const world = currentWorld();
  const size = world?.worldSize ?? 1;
  if (option === false || (option === undefined && size === 1)) return undefined;
  if (option === undefined)
    throw new ConfigError(
      `Trainer: this is process ${world?.rank} of ${size}, and nothing says whether they train together. Say parallel: { data: ${size} }, or parallel: false where each is to train by itself.`,
    );
  const { data = size } = option;
  if (data !== size)
    throw new ConfigError(
      `Trainer: parallel asks for ${data} processes, and there ${size === 1 ? 'is 1' : `are ${size}`}. ${world ? '' : 'Call within dist.run, and s'}${world ? 'S' : ''}tart them all: anneal launch --nproc-per-node ${data} script.ts`,
    );
  return size > 1 ? world : undefined;
}

/** One process, or all that train together; every rank makes the same calls in one order. */
export class Ranks {
  /** What the stepper works through; undefined alone. */
  readonly parallel: DataParallel | undefined;
  readonly #world: World | undefined;

  constructor({ parallel, model, optimizer }: TrainerOptions) {
    this.#world = worldOf(parallel);
    const { data: _, ...options } = parallel || {};
    if (this.#world) this.parallel = new DataParallel(model, optimizer, options);
  }
  get size(): number {
    return this.#world?.worldSize ?? 1;
  }
  get #rank(): number {
    return this.#world?.rank ?? 0;
  }
  /** Does this rank write to the run's folder, and talk to people? */
  get leads(): boolean {
    return this.#rank === 0;
  }
  /** The options as this rank goes by them. */
  settings(options: TrainerOptions): TrainerOptions {
    if (this.leads) return options;
    const { dir: _dir, sinks: _sinks, progress: _progress, logger: _logger, samples: _samples, ...rest } = options;
    return { ...rest, diagnose: false };
  }

  /** This rank's part of a source; one that cannot be dealt out is taken to be that. */
  part(source: BatchSource): BatchSource {
    const { shard } = source as { shard?: Shard };
    if (!this.#world) return source;
    const own = { rank: this.#rank, size: this.size };
    if (shard && shard.size > 1) {
      if (shard.rank === own.rank && shard.size === own.size) return source;
      throw new ConfigError(
        `fit: the loader's shard is ${shard.rank} of ${shard.size}, and this process is ${own.rank} of ${own.size}. Leave shard out: the Trainer deals the batches out.`,
      );
    }
    return source.sharded?.(own) ?? source;
  }

  /** Meets the others, each where its resume took it, and checks that all are about to do the same. Then all hold rank 0's weights and averages. */
  async meet(stepper: Stepper, settings: TrainerOptions, fit: FitOptions): Promise<void> {
    const { parallel } = this;
    if (!this.#world || !parallel) return;
    const group = await this.#world.processGroup();
    const { cursor } = stepper;
    const { diagnose: _, dir: _dir, ...configuration } = configurationOf(settings, fit);
    await group.agree('runs', [
      `at step ${cursor.step}, epoch ${cursor.epoch}, batch ${cursor.batch}`,
      ...Object.entries(configuration).map(([name, value]) => `${name}: ${JSON.stringify(value)}`),
    ]);
    await parallel.connect(group);
    if (stepper.average) broadcastAll(group, stepper.average.state().values());
  }
  /** Rank 0's statistics for all, such as batch norm's. */
  alignBuffers({ model }: Stepper): void {
    const trained = new Set(model.parameters());
    if (this.parallel)
      broadcastAll(
        this.parallel.group,
        [...model.stateDict().values()].filter((t) => !trained.has(t as never)),
      );
  }

  /** Every rank's value, in their order. @throws the signal's reason once it is aborted: then nobody is waited for */
  async exchange<T>(value: T, signal?: AbortSignal): Promise<T[]> {
    if (!this.parallel) return [value];
    const all = exchange(this.parallel.group, value);
    if (!signal) return all;
    signal.throwIfAborted();
    const aborted = new AbortController();
    const end = new Promise<never>((_, reject) =>
      signal.addEventListener('abort', () => reject(signal.reason), { once: true, signal: aborted.signal }),
    );
    all.catch(() => {}); // nobody waits for it any more where the signal came first
    return Promise.race([all, end]).finally(() => aborted.abort());
  }
  /** Told with a failure. */
  at(step: number): void {
    if (this.#world) this.#world.step = step;
  }
  /** What a person is told at the beginning. */
  sentence({ train, accumulate = 1 }: FitOptions): string | undefined {
    const { batchSize } = train as { batchSize?: number };
    if (this.size === 1) return undefined;
    const batches =
      batchSize === undefined
        ? ''
        : `; batchSize ${batchSize} in each, globalBatchSize ${batchSize * this.size}${accumulate > 1 ? `, ${accumulate} such batches a step` : ''}`;
    return `data parallel over ${this.size} processes${batches}`;
  }
}
