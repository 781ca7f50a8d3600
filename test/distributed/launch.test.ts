/** `anneal launch` and torchrun over real processes. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import { firstHost, readEnvironment } from '../../lib/distributed/environment.ts';
import { failureOf } from '../../lib/distributed/launcher.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(root, 'build', 'launch-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
// The room itself, not the whole package: each process then starts in a fraction of the time.
const library = pathToFileURL(join(root, 'lib/distributed/index.ts')).href;
const script = (name: string, body: string): string => {
  const path = join(folder, name);
  const text = `import * as dist from ${JSON.stringify(library)};\nimport { writeFileSync } from 'node:fs';\n${body}`;
  writeFileSync(path, text);
  return path;
};
const args = (...more: string[]) => ['--import', 'tsx', 'lib/cli/main.ts', 'launch', '--log-dir', join(folder, 'logs'), ...more];
const launch = (...more: string[]) => spawnSync(process.execPath, args('--grace', '2', ...more), { cwd: root, encoding: 'utf8' });
const exchange = `await dist.run(async ({ rank, worldSize, store }) => {
  await store.set('from' + rank, 'hello of ' + rank);
  console.log('heard ' + (await store.get('from' + (worldSize - 1 - rank))) + ' ' + process.argv.slice(2));
});`;

describe('anneal launch', () => {
  test('what a rank tells of its failure may be anything', () => {
    const told = { rank: 1, code: 'DATA', message: 'row 3', time: 5 };
    expect(failureOf(Buffer.from(JSON.stringify({ ...told, step: 7, more: 1 })))).toEqual({ ...told, step: 7 });
    expect(failureOf(Buffer.from(JSON.stringify({ ...told, step: 'x' })))).toEqual(told);
    for (const bad of [
      '',
      'nonsense',
      'null',
      '7',
      '[]',
      '{}',
      JSON.stringify({ ...told, message: 3 }),
      JSON.stringify({ ...told, time: null }),
    ])
      expect(failureOf(Buffer.from(bad)), bad).toBeUndefined();
  });

  test('two processes exchange through the store; arguments, prefixes, log files', () => {
    const { stdout, stderr, status } = launch('--nproc-per-node', '2', script('a.ts', exchange), '--lr', '3');
    expect([stderr, status]).toEqual(['', 0]);
    expect(stdout).toContain('[0] heard hello of 1 --lr,3\n');
    expect(stdout).toContain('[1] heard hello of 0 --lr,3\n');
    expect(readFileSync(join(folder, 'logs/attempt-0/rank-1.log'), 'utf8')).toContain('heard hello of 0');
  });

  test('names the rank that failed first, its step and last lines, not those that lost it', () => {
    const path = script(
      'b.ts',
      `await dist.run(async (world) => {
        world.step = 7;
        if (world.rank === 0) await world.store.get('never');
        console.log('about to fail');
        throw new Error('disk on fire');
      });`,
    );
    const { stderr, status } = launch('--nproc-per-node', '2', path);
    expect(status).toBe(10);
    expect(stderr).toMatch(/root cause: rank 1 ended with exit code 1 at step 7\n {2}disk on fire\n[\s\S]* {4}about to fail/);
  });

  test('explains SIGKILL, and starts again until it succeeds', () => {
    const path = script(
      'c.ts',
      `await dist.run(async ({ rank, store }) => {
        if (process.env.TORCHELASTIC_RESTART_COUNT !== '1' && rank === 1) process.kill(process.pid, 'SIGKILL');
        if (rank === 1) await store.set('second', 'try');
        console.log('got ' + (await store.get('second')));
      });`,
    );
    const { stdout, stderr, status } = launch('--nproc-per-node', '2', '--max-restarts', '1', path);
    expect(stderr).toMatch(/root cause: rank 1 was ended by SIGKILL \(137 .*out of memory/);
    expect(stdout).toContain('[0] got try');
    expect(status).toBe(0);
  });

  test('leaves no orphan when it is killed itself', async () => {
    const pids = join(folder, 'pid');
    const path = script(
      'd.ts',
      `const { rank } = await dist.init(); process.on('SIGTERM', () => {});
       writeFileSync(${JSON.stringify(pids)} + rank, String(process.pid)); setInterval(() => {}, 1000);`,
    );
    const child = spawn(process.execPath, args('--nproc-per-node', '2', path), { cwd: root, stdio: 'ignore' });
    await expect.poll(() => existsSync(`${pids}0`) && existsSync(`${pids}1`), { timeout: 20_000 }).toBe(true);
    const alive = () => [0, 1].filter((rank) => existsSync(`/proc/${readFileSync(pids + rank, 'utf8')}/exe`));
    child.kill('SIGKILL');
    await once(child, 'exit');
    await expect.poll(alive, { timeout: 2000, interval: 50 }).toEqual([]);
  });
});

describe('other launchers', () => {
  const torchrun = spawnSync('torchrun', ['--help']).status === 0;
  test.skipIf(!torchrun)(`torchrun starts the same script${torchrun ? '' : ' (not installed)'}`, () => {
    const path = script('t.ts', exchange);
    const command = ['--standalone', '--nproc-per-node', '2', '--no-python', process.execPath, '--import', 'tsx', path];
    const { stdout, status } = spawnSync('torchrun', command, { cwd: root, encoding: 'utf8' });
    expect(status).toBe(0);
    expect(stdout).toMatch(/heard hello of 1/);
  });

  test('variables: each launcher, and the name of a wrong one', () => {
    const slurm = { SLURM_PROCID: '3', SLURM_NTASKS: '4', SLURM_LOCALID: '1', SLURM_JOB_ID: '9', SLURM_JOB_NODELIST: 'n[07-09]' };
    expect(readEnvironment(slurm)).toMatchObject({ rank: 3, worldSize: 4, localRank: 1, host: 'n07', run: '9' });
    expect(firstHost('a,b[1-2]')).toBe('a');
    const mpi = { OMPI_COMM_WORLD_RANK: '1', OMPI_COMM_WORLD_SIZE: '2', OMPI_COMM_WORLD_LOCAL_RANK: '1' };
    expect(readEnvironment(mpi)).toMatchObject({ rank: 1, worldSize: 2 });
    expect(readEnvironment({ RANK: '1', WORLD_SIZE: '2', MASTER_PORT: '500' })).toMatchObject({ port: 501 });
    expect(readEnvironment({})).toBeUndefined();
    for (const [name, value] of [
      ['RANK', '2'],
      ['RANK', ''],
      ['WORLD_SIZE', '0'],
      ['LOCAL_RANK', '1e9'],
      ['MASTER_PORT', '-1'],
    ])
      expect(() => readEnvironment({ RANK: '1', WORLD_SIZE: '2', [name as string]: value })).toThrow(`${name} must be`);
    expect(() => readEnvironment({ RANK: '1' })).toThrow('RANK is set without WORLD_SIZE');
  });
});
