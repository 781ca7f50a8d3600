/** Which process of how many this is: read from the variables of torchrun and `anneal launch`, else Slurm's, else Open MPI's. */
import { createHash } from 'node:crypto';
import { ConfigError } from '../native/errors.ts';

export interface Environment {
  rank: number;
  worldSize: number;
  localRank: number;
  localWorldSize: number;
  /** The machine's number. */
  node: number;
  /** How often the run was started before. */
  attempt: number;
  run: string;
  /** Where the store is. */
  host: string;
  port: number;
  secret: string;
  /** Whether `anneal launch` holds the store; else rank 0 does. */
  hosted: boolean;
}

type Variables = NodeJS.ProcessEnv;

function whole(env: Variables, name: string, least: number, most: number): number {
  const text = env[name] ?? '';
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < least || value > most)
    throw new ConfigError(`dist.init: ${name} must be a whole number from ${least} to ${most}, got ${JSON.stringify(text)}`);
  return value;
}

/** First host of Slurm's list: 'a[03-05,7],b' begins with 'a03'. */
export function firstHost(list: string): string {
  const [, head = '', inner] = /^([^,[]+)(?:\[([^\]]+)\])?/.exec(list) ?? [];
  return head + (inner?.split(/[-,]/)[0] ?? '');
}

interface Names {
  rank: string;
  worldSize: string;
  localRank: string;
  localWorldSize: string;
  node: string;
  job: string;
}
const launchers: readonly Names[] = [
  {
    rank: 'RANK',
    worldSize: 'WORLD_SIZE',
    localRank: 'LOCAL_RANK',
    localWorldSize: 'LOCAL_WORLD_SIZE',
    node: 'GROUP_RANK',
    job: 'TORCHELASTIC_RUN_ID',
  },
  {
    rank: 'SLURM_PROCID',
    worldSize: 'SLURM_NTASKS',
    localRank: 'SLURM_LOCALID',
    localWorldSize: 'SLURM_NTASKS_PER_NODE',
    node: 'SLURM_NODEID',
    job: 'SLURM_JOB_ID',
  },
  {
    rank: 'OMPI_COMM_WORLD_RANK',
    worldSize: 'OMPI_COMM_WORLD_SIZE',
    localRank: 'OMPI_COMM_WORLD_LOCAL_RANK',
    localWorldSize: 'OMPI_COMM_WORLD_LOCAL_SIZE',
    node: 'OMPI_COMM_WORLD_NODE_RANK',
    job: 'PMIX_NAMESPACE',
  },
];

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** What a launcher said, or undefined where none did: a process by itself. Throws ConfigError that names the variable. */
export function readEnvironment(env: Variables = process.env): Environment | undefined {
  const names = launchers.find(({ rank, worldSize }) => env[rank] !== undefined && env[worldSize] !== undefined);
  if (!names) {
    const half = ['RANK', 'WORLD_SIZE'].filter((name) => env[name] !== undefined);
    if (half.length > 0)
      throw new ConfigError(`dist.init: ${half[0]} is set without ${half[0] === 'RANK' ? 'WORLD_SIZE' : 'RANK'}`);
    return undefined;
  }
  const maybe = (name: string, least: number, most: number, otherwise: number) =>
    env[name] === undefined ? otherwise : whole(env, name, least, most);
  const worldSize = whole(env, names.worldSize, 1, 2 ** 20);
  const rank = whole(env, names.rank, 0, worldSize - 1);
  const localWorldSize = maybe(names.localWorldSize, 1, worldSize, names.rank === 'RANK' ? worldSize : 1);
  const localRank = maybe(names.localRank, 0, worldSize - 1, rank % localWorldSize);
  const job = env[names.job];
  const hosted = env.ANNEAL_STORE === 'launcher';
  const host = env.MASTER_ADDR ?? (env.SLURM_JOB_NODELIST ? firstHost(env.SLURM_JOB_NODELIST) : '127.0.0.1');
  // torchrun's own store may hold MASTER_PORT, so ours is the next one; without one, jobs of one machine differ by their id.
  const own = env.MASTER_PORT === undefined ? 20_000 + (digest(job ?? '').readUInt16BE() % 20_000) : undefined;
  const port = own ?? whole(env, 'MASTER_PORT', 1, 65_534) + (hosted ? 0 : 1);
  const run = job ?? `${host}:${port}`;
  return {
    rank,
    worldSize,
    localRank,
    localWorldSize: Math.max(localWorldSize, localRank + 1),
    node: maybe(names.node, 0, 2 ** 20, 0),
    attempt: maybe('TORCHELASTIC_RESTART_COUNT', 0, 2 ** 20, maybe('SLURM_RESTART_COUNT', 0, 2 ** 20, 0)),
    run,
    host,
    port,
    secret: env.ANNEAL_SECRET ?? digest(`anneal ${run} ${host}:${port}`).toString('hex'),
    hosted,
  };
}
