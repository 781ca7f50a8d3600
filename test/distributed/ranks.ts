/** Starts a script as the ranks of a world, with a store of the test's. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { StoreServer } from '../../lib/distributed/store-server.ts';
import { addonFile } from '../../lib/native/load.ts';

export const root = fileURLToPath(new URL('../..', import.meta.url));
/** Is this a build without collectives? */
export const withoutGloo = !existsSync(join(dirname(addonFile()), 'anneal-gloo.so'));

export interface Ended {
  rank: number;
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** How each rank ended. `meanwhile` gets the processes. */
export async function startRanks(
  size: number,
  script: string,
  task: object,
  meanwhile: (ranks: readonly ChildProcess[]) => void = () => {},
): Promise<Ended[]> {
  const store = await StoreServer.listen({ secret: 'of the test', run: 'test' });
  try {
    const children = Array.from({ length: size }, (_, rank) => {
      const env = {
        ...process.env,
        ...{ ANNEAL_TEST_DEVICE: '', OMP_NUM_THREADS: '1', ANNEAL_STORE: 'launcher', ANNEAL_SECRET: 'of the test' },
        ...{ RANK: String(rank), WORLD_SIZE: String(size), TORCHELASTIC_RUN_ID: 'test' },
        ...{ MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(store.port) },
      };
      return spawn(process.execPath, ['--import', 'tsx', script, JSON.stringify(task)], { cwd: root, env });
    });
    const ended = children.map(async (child, rank): Promise<Ended> => {
      let [stdout, stderr] = ['', ''];
      child.stdout.on('data', (d) => (stdout += d));
      child.stderr.on('data', (d) => (stderr += d));
      const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
      return { rank, code, signal, stdout, stderr };
    });
    meanwhile(children);
    return await Promise.all(ended);
  } finally {
    await store.close();
  }
}
