/** Data parallelism: every rank has all weights and its own samples; gradients are summed in buckets while backward still runs. */
import { CollectiveError, ConfigError, checkOptions, describe } from '../native/errors.ts';
import { Module } from '../nn/module.ts';
import { filled } from '../ops/define.ts';
import { Optimizer } from '../optim/index.ts';
import { NativeList } from '../optim/lists.ts';
import { persistent } from '../tensor/scope.ts';
import { Parameter, type Tensor } from '../tensor/tensor.ts';
import type { Parallel } from './parallel.ts';
import type { Pending, ProcessGroup } from './process-group.ts';

export interface DataParallelOptions {
  /** Bytes of gradients that are summed at once; the first bucket, which is ready first, is small. Defaults 25 MiB and 1 MiB. */
  bucketBytes?: number;
  firstBucketBytes?: number;
  /** Sum while backward still runs. Default true; false is for comparison. */
  overlap?: boolean;
}

class Bucket {
  readonly parameters: readonly Tensor[];
  readonly list: NativeList;
  missing: number;

  constructor(parameters: readonly Tensor[]) {
    this.parameters = parameters;
    this.list = new NativeList(parameters.length, 1);
    this.missing = parameters.length;
  }

  launch(group: ProcessGroup): Pending {
    this.parameters.forEach((p, i) => {
      p.grad ??= persistent(() => filled(p.shape, 0, p.dtype, p));
      this.list.set(i, 0, p.grad);
    });
    return group.allReduceList(this.list);
  }
  /** The gradients are let go. The list is used no more, for compute waits for the sum. */
  rest(): void {
    this.list.release();
    this.list.operands.fill(0);
    this.missing = this.parameters.length;
  }
}

/** Backward comes to the last parameters first. A bucket has one dtype. */
function bucketsOf(parameters: readonly Tensor[], first: number, rest: number): Bucket[] {
  const buckets: Tensor[][] = [];
  let room = 0;
  for (const p of [...parameters].reverse()) {
    const bytes = p.size * (p.dtype === 'f64' ? 8 : 4);
    const last = buckets.at(-1);
    if (last && room >= bytes && last[0]?.dtype === p.dtype) last.push(p);
    else {
      room = buckets.length === 0 ? first : rest;
      buckets.push([p]);
    }
    room -= bytes;
  }
  return buckets.map((b) => new Bucket(b));
}

/** What `dist.dataParallel` gives; made before the ranks have met, it is of use once `connect` has resolved. */
export class DataParallel implements Parallel {
  asks = false;
  readonly #model: Module;
  readonly #optimizer: Optimizer;
  readonly #sizes: readonly [number, number];
  readonly #overlap: boolean;
  #group: ProcessGroup | undefined;
  #trained: readonly Tensor[] = [];
  #buckets: Bucket[] = [];
  #of = new Map<Tensor, Bucket>();
  #pending: Pending[] = [];
  #last: Pending | undefined;
  #abandoned = false;

  constructor(model: Module, optimizer: Optimizer, options: DataParallelOptions = {}) {
    const { bucketBytes, firstBucketBytes, overlap } = checkDataParallel(options);
    this.#model = model;
    this.#optimizer = optimizer;
    this.#sizes = [firstBucketBytes, bucketBytes];
    this.#overlap = overlap;
  }

  /** Checks that all ranks have the same model and optimizer, and gives every rank the weights and buffers of rank 0. */
  async connect(group: ProcessGroup): Promise<void> {
    const optimizer = this.#optimizer;
    await group.agree('models', [
      ...[...this.#model.stateDict()].map(([name, t]) => `${name} ${t.dtype} [${t.shape.join(', ')}]`),
      ...optimizer.parameters.map((p, i) => `${optimizer.kind} ${label(p, i)} [${p.shape.join(', ')}]`),
      ...optimizer.groups.map(
        ({ params, ...rest }, i) => `${optimizer.kind} group ${i} of ${params.length}: ${JSON.stringify(rest)}`,
      ),
      `buckets ${this.#sizes.join(' ')} ${this.#overlap}`,
    ]);
    broadcastAll(group, this.#model.stateDict().values());
    this.#group = group;
  }
  get group(): ProcessGroup {
    if (!this.#group) throw new CollectiveError('data parallelism: the ranks have not met yet. Await connect() first.');
    return this.#group;
  }
  get rank(): number {
    return this.group.rank;
  }
  get size(): number {
    return this.group.size;
  }

  /** Buckets of what is trained now: parameters may be frozen and unfrozen between steps, on all ranks alike. */
  #arrange(): void {
    // Other ranks may have sent what this one has not: sums would be of different things.
    if (this.#abandoned)
      throw new CollectiveError(
        `rank ${this.rank} of ${this.size}: an earlier step failed on this rank, and the others may have gone on. Start all processes again.`,
      );
    const trained = this.#optimizer.parameters.filter((p) => p.requiresGrad);
    if (trained.length === this.#trained.length && trained.every((p, i) => p === this.#trained[i])) return;
    this.#trained = trained;
    this.#buckets = bucketsOf(trained, ...this.#sizes);
    this.#of = new Map(this.#buckets.flatMap((b) => b.parameters.map((p) => [p, b])));
  }

  get leaves(): readonly Tensor[] {
    this.#arrange();
    return this.#overlap ? this.#trained : [];
  }
  ready(leaf: Tensor): void {
    if (!this.#overlap) return;
    const bucket = this.#of.get(leaf);
    if (bucket) bucket.missing--;
    // In one order on every rank, whatever the order in which they are filled.
    for (let next = this.#next; next?.missing === 0; next = this.#next) this.#pending.push(next.launch(this.group));
  }
  get #next(): Bucket | undefined {
    return this.#buckets[this.#pending.length];
  }

  finish(): void {
    this.#arrange();
    for (let next = this.#next; next; next = this.#next) this.#pending.push(next.launch(this.group));
    this.#rest();
  }
  abandon(): void {
    this.#abandoned = true;
    this.#rest();
  }
  #rest(): void {
    for (const p of this.#pending) p.wait();
    this.#pending = [];
    for (const b of this.#buckets) b.rest();
  }

  figures(own: Tensor): Tensor {
    const all = this.group.allGather(own);
    all.wait();
    this.#last = all;
    return all.result;
  }
  async done(): Promise<void> {
    await this.#last?.done();
  }
}

/** Throws ConfigError unless they are right; with the defaults. */
function checkDataParallel(options: DataParallelOptions): Required<DataParallelOptions> {
  const where = 'dist.dataParallel';
  checkOptions(where, options, ['bucketBytes', 'firstBucketBytes', 'overlap']);
  const { bucketBytes = 25 * 2 ** 20, firstBucketBytes = 2 ** 20, overlap = true } = options;
  for (const [name, bytes] of Object.entries({ bucketBytes, firstBucketBytes }))
    if (!(Number.isSafeInteger(bytes) && bytes >= 1))
      throw new ConfigError(`${where}: ${name} must be a whole number of bytes >= 1, got ${describe(bytes)}`);
  if (typeof overlap !== 'boolean') throw new ConfigError(`${where}: overlap must be true or false, got ${describe(overlap)}`);
  return { bucketBytes, firstBucketBytes, overlap };
}

/** Rank 0's values in every rank's tensors. */
export function broadcastAll(group: ProcessGroup, tensors: Iterable<Tensor>): void {
  for (const t of tensors) {
    group.broadcast(t, 0).wait();
    t.storage.version++;
  }
}

const label = (p: Tensor, i: number): string => (p instanceof Parameter && p.name) || `parameter ${i}`;

/**
 * Makes the ranks of `group` one: checks that model and optimizer are the same everywhere, and gives every rank the weights and buffers of rank 0. The result is
 * for `new Stepper({ ..., parallel })`, whose steps are then those of one process with all ranks' samples: sums over counts, one clipping, one decision to skip.
 * A parameter that no rank used gets zeros for its gradient, so that its decay and momentum go on. Batch norm takes each rank's own statistics.
 * @throws CollectiveError on every rank where they differ, with the first difference
 */
export async function dataParallel(
  group: ProcessGroup,
  model: Module,
  optimizer: Optimizer,
  options: DataParallelOptions = {},
): Promise<Parallel> {
  const where = 'dist.dataParallel';
  if (typeof group?.allReduce !== 'function')
    throw new ConfigError(`${where}: the group must be a process group, got ${describe(group)}: await world.processGroup()`);
  if (!(model instanceof Module)) throw new ConfigError(`${where}: the model must be an nn.Module, got ${describe(model)}`);
  if (!(optimizer instanceof Optimizer)) throw new ConfigError(`${where}: expected an optimizer, got ${describe(optimizer)}`);
  const parallel = new DataParallel(model, optimizer, options);
  await parallel.connect(group);
  return parallel;
}
