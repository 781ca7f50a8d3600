/** Process groups on the CPU: Gloo's collectives, over TCP, on the comm stream. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { checkInteger } from '../data/options.ts';
import { CollectiveError, ConfigError, checkOptions, checkText, DTypeError, describe, ShapeError } from '../native/errors.ts';
import { addonFile } from '../native/load.ts';
import { type ListOperand, native, nativeOp, type Operand, run, streams, synchronize } from '../native/run.ts';
import type { NativeList } from '../optim/lists.ts';
import { StreamEvent } from '../tensor/device.ts';
import { Tensor, unwritten } from '../tensor/tensor.ts';
import type { CollectiveOptions, Pending, ProcessGroup, Reduction } from './process-group.ts';
import type { Store } from './store.ts';

export interface GlooGroupOptions {
  store: Store;
  rank: number;
  size: number;
  /** This machine's address among the ranks. Default '127.0.0.1'. */
  host?: string;
  /** Milliseconds for connecting, and for each collective. Default 30,000. */
  timeoutMs?: number;
  /** Ranks that form several groups over one store name them. Default 'world'. */
  name?: string;
}

// In the order of native/src/comm/module.h.
const kinds = { allReduce: 0, broadcast: 1, allGather: 2, reduceScatter: 3, barrier: 4, send: 5, recv: 6 } as const;
const reductions = { sum: 0, max: 1, min: 2 } as const;
const op = nativeOp('collective');
const library = 'anneal-gloo.so';

/** Opens the library of Gloo's collectives beside the addon. */
function openGloo(): void {
  const path = join(dirname(addonFile()), library);
  if (!existsSync(path))
    throw new CollectiveError(
      `${path} is not there: this build of Anneal has no collectives. Install Gloo (Debian: apt-get install libgloo-dev) and build again: npm run build:native.`,
    );
  try {
    native().openCollectives(path);
  } catch (cause) {
    throw new CollectiveError(
      `${path} cannot be opened: ${(cause as Error).message}. If a library is missing, install it (Debian: apt-get install libgloo0).`,
      { cause },
    );
  }
}

/**
 * Joins the group: all `size` ranks call this with the same store.
 * @throws CollectiveError where a rank does not come in time
 */
export async function glooGroup(options: GlooGroupOptions): Promise<ProcessGroup> {
  checkOptions('glooGroup', options, ['store', 'rank', 'size', 'host', 'timeoutMs', 'name']);
  const { store, size, host = '127.0.0.1', timeoutMs = 30_000, name = 'world' } = options;
  if (typeof store?.get !== 'function')
    throw new ConfigError(`glooGroup: store must be a store, got ${describe(store)}. It comes with dist.init.`);
  checkInteger('glooGroup', 'size', size, 1, 65_536);
  const rank = checkInteger('glooGroup', 'rank', options.rank, 0, size - 1);
  checkInteger('glooGroup', 'timeoutMs', timeoutMs, 1, 2 ** 31 - 1);
  checkText('glooGroup', 'host', host);
  checkText('glooGroup', 'name', name);
  const place = { rank, size, name, timeoutMs };
  const round = await agree(store, place, 'worlds', [`ranks ${size}`, `ops ${native().info().ops.length}`]);
  openGloo();
  let id: number;
  try {
    id = native().openGroup(rank, size, host, timeoutMs);
  } catch (cause) {
    throw new CollectiveError(`${name}: rank ${rank} cannot listen on ${host}: ${(cause as Error).message}.`, { cause });
  }
  try {
    await exchange(store, id, place, round);
  } catch (error) {
    native().closeGroup(id);
    throw error;
  }
  return new GlooGroup(id, { store, ...place });
}

interface Place {
  rank: number;
  size: number;
  name: string;
  timeoutMs: number;
}

/** Carries what the mesh tells to the store, and what it asks for back, until it is connected. */
async function exchange(store: Store, id: number, { rank, name, timeoutMs }: Place, round: number): Promise<void> {
  const until = performance.now() + timeoutMs;
  const asked = new Set<string>();
  let told = 0;
  let failed: unknown;
  for (;;) {
    const state = native().groupState(id);
    if (state === true) return;
    if (failed) throw failed;
    if (typeof state === 'string') throw new CollectiveError(`${name}: rank ${rank}: ${state}.`);
    if (performance.now() > until)
      throw new CollectiveError(`${name}: rank ${rank} was not connected with all others within ${timeoutMs} ms.`);
    for (let entry = native().groupTold(id, told); entry.length > 0; entry = native().groupTold(id, ++told)) {
      const end = entry.indexOf(0);
      await store.set(`${name}/gloo/${round}/${entry.toString('utf8', 0, end)}`, entry.subarray(end + 1));
    }
    const key = native().groupWanted(id);
    if (key !== '' && !asked.has(key)) {
      asked.add(key);
      store
        .get(`${name}/gloo/${round}/${key}`, timeoutMs)
        .then((value) => native().groupGive(id, key, value))
        .catch((error) => {
          failed = error; // or nobody looks any more: the group was closed meanwhile
        });
    }
    await delay(1);
  }
}

/** Rounds so far, by store and group: every rank makes the same calls, so that a round has one number everywhere. */
const agreements = new WeakMap<Store, Map<string, number>>();

interface Facts {
  hash: string;
  text: string;
}

/** Every rank tells its lines to the store and compares all others' with rank 0's. Gives the round's number. */
async function agree(store: Store, place: Place, what: string, facts: readonly string[]): Promise<number> {
  const { rank, size, name, timeoutMs } = place;
  const rounds = agreements.get(store) ?? new Map<string, number>();
  const round = (rounds.get(name) ?? 0) + 1;
  agreements.set(store, rounds.set(name, round));
  const text = [what, ...facts].join('\n');
  const hash = createHash('sha256').update(text).digest('hex');
  const key = (r: number) => `${name}/agree/${round}/${r}`;
  const of = async (r: number): Promise<Facts> => JSON.parse(String(await store.get(key(r), timeoutMs)));
  await store.set(key(rank), JSON.stringify({ hash, text: text.slice(0, 2 ** 20) }));
  const first = await of(0);
  // As they come: where sizes differ, some rank that this one waits for may never come.
  await Promise.all(
    Array.from({ length: size }, async (_, r) => {
      const other = await of(r);
      if (other.hash !== first.hash)
        throw new CollectiveError(`${name}: the ranks' ${what} differ: ${difference(first, other, r)}`);
    }),
  );
  return round;
}

function difference(first: Facts, other: Facts, rank: number): string {
  const [left, right] = [first.text.split('\n'), other.text.split('\n')];
  const at = left.findIndex((line, i) => line !== right[i]);
  const line = at < 0 ? left.length : at;
  return `rank 0 has "${left[line] ?? 'nothing'}" where rank ${rank} has "${right[line] ?? 'nothing'}" (line ${line} of ${left.length - 1} and ${right.length - 1}). Start all ranks with the same script and options.`;
}

class GlooGroup implements ProcessGroup {
  readonly rank: number;
  readonly size: number;
  readonly #id: number;
  readonly #place: Place;
  readonly #store: Store;
  readonly #messages = new Map<string, number>();
  #sequence = 0;
  #closed = false;

  constructor(id: number, { store, ...place }: Place & { store: Store }) {
    this.#id = id;
    this.#place = place;
    this.#store = store;
    this.rank = place.rank;
    this.size = place.size;
  }

  allReduce(x: Tensor, options: CollectiveOptions & { reduction?: Reduction } = {}): Pending {
    checkOptions('allReduce', options, ['timeoutMs', 'reduction']);
    return this.#queue(
      'allReduce',
      [],
      [this.#operand('allReduce', x)],
      options,
      this.#reduction('allReduce', options.reduction),
    );
  }
  allReduceList(list: NativeList): Pending {
    return this.#queue('allReduce', [list], [], {});
  }
  broadcast(x: Tensor, root: number, options: CollectiveOptions = {}): Pending {
    checkOptions('broadcast', options, ['timeoutMs']);
    return this.#queue('broadcast', [], [this.#operand('broadcast', x)], options, 0, this.#peer('broadcast', 'root', root));
  }
  allGather(x: Tensor, options: CollectiveOptions = {}): Pending & { result: Tensor } {
    checkOptions('allGather', options, ['timeoutMs']);
    this.#operand('allGather', x);
    const result = unwritten([this.size, ...x.shape], x.dtype, x.device);
    return { ...this.#queue('allGather', [x], [result], options), result };
  }
  reduceScatter(x: Tensor, options: CollectiveOptions & { reduction?: Reduction } = {}): Pending & { result: Tensor } {
    checkOptions('reduceScatter', options, ['timeoutMs', 'reduction']);
    this.#operand('reduceScatter', x);
    if (x.shape[0] !== this.size)
      throw new ShapeError(`reduceScatter: the first size must be the group's, ${this.size}; got [${x.shape.join(', ')}].`);
    const result = unwritten(x.shape.slice(1), x.dtype, x.device);
    const reduction = this.#reduction('reduceScatter', options.reduction);
    return { ...this.#queue('reduceScatter', [x], [result], options, reduction), result };
  }
  barrier(options: CollectiveOptions = {}): Pending {
    checkOptions('barrier', options, ['timeoutMs']);
    return this.#queue('barrier', [], [], options);
  }
  send(x: Tensor, to: number, options: CollectiveOptions = {}): Pending {
    checkOptions('send', options, ['timeoutMs']);
    return this.#queue('send', [this.#operand('send', x)], [], options, 0, this.#peer('send', 'to', to, true));
  }
  recv(x: Tensor, from: number, options: CollectiveOptions = {}): Pending {
    checkOptions('recv', options, ['timeoutMs']);
    return this.#queue('recv', [], [this.#operand('recv', x)], options, 0, this.#peer('recv', 'from', from, true));
  }

  async agree(what: string, facts: readonly string[]): Promise<void> {
    await agree(this.#store, this.#place, what, facts);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    native().closeGroup(this.#id);
    await synchronize('comm').catch(() => {}); // what was queued has failed; nobody waits for it any more
  }

  /** Between two events: compute's work so far comes before it, and `wait` puts it before compute's work to come. */
  #queue(
    kind: keyof typeof kinds,
    inputs: readonly (Operand | ListOperand)[],
    outputs: readonly Operand[],
    { timeoutMs = this.#place.timeoutMs }: CollectiveOptions,
    reduction = 0,
    peer = 0,
  ): Pending {
    if (this.#closed) throw new CollectiveError(`${this.#place.name}: ${kind}: the group is closed.`);
    checkInteger(kind, 'timeoutMs', timeoutMs, 1, 2 ** 31 - 1);
    const sequence = ++this.#sequence;
    const tag = kind === 'send' || kind === 'recv' ? this.#between(kind, peer) : sequence;
    new StreamEvent('cpu').record('compute').wait('comm');
    const listed = inputs[0] !== undefined && 'list' in inputs[0];
    run(op, inputs, outputs, [this.#id, kinds[kind], reduction, peer, tag, timeoutMs, +listed], streams.comm);
    const after = new StreamEvent('cpu').record('comm');
    return {
      sequence,
      wait: () => {
        after.wait('compute');
      },
      done: () => this.#settled(kind, sequence),
    };
  }

  /** Two ranks' messages are told apart by their own count: others need not know of them. */
  #between(kind: 'send' | 'recv', peer: number): number {
    const count = (this.#messages.get(`${kind} ${peer}`) ?? 0) + 1;
    this.#messages.set(`${kind} ${peer}`, count);
    return count;
  }

  async #settled(kind: string, sequence: number): Promise<void> {
    try {
      await synchronize('comm');
    } catch (cause) {
      const { name, rank, size } = this.#place;
      throw new CollectiveError(
        `${name}: rank ${rank} of ${size}: ${kind}, or one before it (the last was queued as number ${sequence}): ${(cause as Error).message}`,
        { cause },
      );
    }
  }

  #operand(where: string, x: Tensor): Tensor {
    if (!(x instanceof Tensor)) throw new ConfigError(`${where}: expected a tensor, got ${describe(x)}.`);
    if (x.device.number !== 0) throw new CollectiveError(`${where}: this group is of CPU tensors, and x is on ${x.device}.`);
    if (x.dtype === 'bool') throw new DTypeError(`${where}: bool has no sum. Convert it first: x.to('u8').`);
    return x;
  }
  #reduction(where: string, reduction: Reduction = 'sum'): number {
    if (!Object.hasOwn(reductions, reduction))
      throw new ConfigError(
        `${where}: reduction must be one of ${Object.keys(reductions).join(', ')}, got ${describe(reduction)}.`,
      );
    return reductions[reduction];
  }
  #peer(where: string, name: string, rank: number, other = false): number {
    checkInteger(where, name, rank, 0, this.size - 1);
    if (other && rank === this.rank) throw new ConfigError(`${where}: ${name} is this rank itself, ${rank}.`);
    return rank;
  }
}
