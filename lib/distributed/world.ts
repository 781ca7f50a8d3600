/** Many processes as one world: who this one is, the store they share, and what is told when one fails. */
import { fstatSync } from 'node:fs';
import { Socket } from 'node:net';
import { hostname } from 'node:os';
import { AnnealError, ConfigError, checkFunction, checkOptions, describe } from '../native/errors.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { glooGroup } from './gloo-group.ts';
import type { ProcessGroup } from './process-group.ts';
import { type Store, StoreClient } from './store.ts';
import { StoreServer } from './store-server.ts';

export interface InitOptions {
  /** Deadline of each call of the store, and of finding it, in seconds. Default 30. */
  timeout?: number;
}

export interface GroupOptions {
  /** This machine's address among the ranks. Default: '127.0.0.1' where rank 0 is on this machine, else this machine's name. */
  host?: string;
  /** Milliseconds for connecting, and for each collective. Default 30,000. */
  timeoutMs?: number;
}

/** What a rank tells of its own failure. */
export interface Failure {
  rank: number;
  code: string;
  message: string;
  step?: number;
  /** Milliseconds since 1970. */
  time: number;
}

export interface World extends AsyncDisposable {
  readonly rank: number;
  readonly worldSize: number;
  readonly localRank: number;
  readonly localWorldSize: number;
  readonly store: Store;
  /**
   * All ranks as a process group, connected at the first call, which every rank makes. Needs Gloo's library beside the addon.
   * @throws CollectiveError where a rank does not come in time, or there is no such library
   */
  processGroup(options?: GroupOptions): Promise<ProcessGroup>;
  /** The step under way, told with a failure. */
  step: number | undefined;
  /** Waits until every rank closes, or the timeout. */
  close(): Promise<void>;
}

const alone = (): Environment => ({
  rank: 0,
  worldSize: 1,
  localRank: 0,
  localWorldSize: 1,
  node: 0,
  attempt: 0,
  run: `alone-${process.pid}`,
  host: '127.0.0.1',
  port: 0,
  secret: `${process.pid}`,
  hosted: false,
});

/** Ends this process when its launcher has ended: the pipe that the launcher holds reaches its end. */
function followLauncher(descriptor: string | undefined): void {
  if (descriptor === undefined) return;
  const fd = Number(descriptor);
  if (!Number.isInteger(fd) || fd < 3 || !(fstatSync(fd).isFIFO() || fstatSync(fd).isSocket()))
    throw new ConfigError(`dist.init: ANNEAL_CONTROL must be the number of an open pipe, got ${describe(descriptor)}`);
  new Socket({ fd, readable: true, writable: false })
    .on('error', () => process.exit(143))
    .on('end', () => process.exit(143))
    .resume()
    .unref();
}
let follows = false;

let current: World | undefined;
/** The world that this process has joined and not yet left. */
export const currentWorld = (): World | undefined => current;

async function join(options: InitOptions): Promise<{ world: World; fail: (error: unknown) => Promise<void> }> {
  checkOptions('dist.init', options, ['timeout']);
  const { timeout = 30 } = options;
  if (!(typeof timeout === 'number' && timeout > 0 && timeout <= 86_400))
    throw new ConfigError(`dist.init: timeout must be above 0 and up to 86,400 seconds, got ${describe(timeout)}`);
  const environment = readEnvironment() ?? alone();
  const { rank, worldSize, localRank, localWorldSize, run, attempt, secret, host, hosted } = environment;
  if (hosted && !follows) followLauncher(process.env.ANNEAL_CONTROL);
  follows = true;
  const local = /^(localhost|127\.|::1$)/.test(host);
  const server =
    hosted || rank > 0
      ? undefined
      : await StoreServer.listen({ secret, run, attempt, port: environment.port, host: local ? '127.0.0.1' : '0.0.0.0' });
  const port = server?.port ?? environment.port;
  const timeoutMs = timeout * 1000;
  const where = { host: server ? '127.0.0.1' : host, port, secret, run, attempt, who: `rank ${rank}`, timeoutMs };
  const store = await StoreClient.connect(where).catch(async (error) => {
    await server?.close();
    throw error;
  });
  let [group, closed]: [Promise<ProcessGroup> | undefined, Promise<void> | undefined] = [undefined, undefined];
  const leave = async () => {
    try {
      if ((await store.add('anneal/left', 1)) === worldSize) await store.set('anneal/all-left', '');
      await store.get('anneal/all-left');
    } finally {
      await end();
    }
  };
  const end = async () => {
    if (current === world) current = undefined;
    await (await group?.catch(() => undefined))?.close(); // whoever waits for this rank need not be too late to know
    await store.close();
    await server?.close();
  };
  const world: World = {
    rank,
    worldSize,
    localRank,
    localWorldSize,
    store,
    step: undefined,
    processGroup(options: GroupOptions = {}) {
      checkOptions('processGroup', options, ['host', 'timeoutMs']);
      group ??= glooGroup({ store, rank, size: worldSize, host: local ? '127.0.0.1' : hostname(), ...options });
      return group;
    },
    close() {
      closed ??= leave();
      return closed;
    },
    [Symbol.asyncDispose]: () => world.close(),
  };
  const fail = async (error: unknown) => {
    const failure: Failure = {
      rank,
      code: error instanceof AnnealError ? error.code : 'ERROR',
      message: String(error instanceof Error ? error.message : error).slice(0, 4000),
      ...(world.step !== undefined && { step: world.step }),
      time: Date.now(),
    };
    closed = Promise.resolve(); // ranks that fail wait for nobody
    try {
      await store.set(`anneal/failure/${rank}`, JSON.stringify(failure));
    } finally {
      await end();
    }
  };
  current = world;
  return { world, fail };
}

/** Joins the world that torchrun, `anneal launch`, Slurm or mpirun made; alone, a world of one. Rejects with ConfigError or CollectiveError. */
export async function init(options: InitOptions = {}): Promise<World> {
  return (await join(options)).world;
}

/** Joins, runs `body` and leaves. What `body` throws is told to the launcher, with `world.step`, and thrown. */
export async function run<T>(body: (world: World) => T | Promise<T>, options: InitOptions = {}): Promise<T> {
  checkFunction('dist.run', 'body', body, 'async (world) => { console.log(world.rank); }');
  const { world, fail } = await join(options);
  let result: T;
  try {
    result = await body(world);
  } catch (error) {
    await fail(error).catch(() => {}); // the store is gone: what failed first matters more
    throw error;
  }
  await world.close();
  return result;
}
