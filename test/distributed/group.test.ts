/** Groups of real processes on this machine, by Gloo. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { glooGroup } from '../../lib/distributed/gloo-group.ts';
import { StoreClient } from '../../lib/distributed/store.ts';
import { StoreServer } from '../../lib/distributed/store-server.ts';
import { addonFile } from '../../lib/native/load.ts';

const cwd = fileURLToPath(new URL('../..', import.meta.url));
const without = !existsSync(join(dirname(addonFile()), 'anneal-gloo.so'));
const running = new Set<ChildProcess>();
afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
});

/** Ranks of one group. `lines(r)` gives what rank r prints, one after the other. */
async function start(what: string, size: number, timeoutMs: number) {
  const store = await StoreServer.listen({ secret: 'of the test', run: 'test' });
  const ranks = Array.from({ length: size }, (_, rank) => {
    const args = [what, rank, size, store.port, timeoutMs].map(String);
    const env = { ...process.env, ANNEAL_TEST_DEVICE: '', OMP_NUM_THREADS: '1' };
    const child = spawn(process.execPath, ['--import', 'tsx', 'test/distributed/group-child.ts', ...args], { cwd, env });
    running.add(child);
    let errors = '';
    child.stderr.on('data', (text) => {
      errors += text;
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const next = async () => {
      const { value, done } = await lines.next();
      if (done) throw new Error(`rank ${rank} ended: ${errors}`);
      return JSON.parse(value);
    };
    return { child, next };
  });
  return { store, ranks };
}

describe.skipIf(without)('groups of processes (need libgloo-dev when the addon is built)', { timeout: 60_000 }, () => {
  test.each([2, 3])('every collective among %i', async (size) => {
    const { store, ranks } = await start('all', size, 20_000);
    const told = await Promise.all(ranks.map(({ next }) => next()));
    const each = (f: (r: number) => number) => Array.from({ length: size }, (_, r) => f(r));
    const sum = (f: (r: number) => number) => each(f).reduce((a, b) => a + b, 0);
    for (const [rank, t] of told.entries()) {
      expect(t.sum).toEqual([sum((r) => r + 1), -sum((r) => r), size / 2]);
      expect(t.max).toEqual([size, 0, 0.5]);
      expect(t.min).toEqual([1, 1 - size, 0.5]);
      expect(t.bf16).toEqual([size, size / 256]);
      expect(t.broadcast).toEqual([size - 1, 10 * (size - 1)]);
      expect(t.allGather).toEqual([[size, 2], each((r) => r).flatMap((r) => [r, 7])]);
      expect(t.reduceScatter).toEqual([0, 1].map((i) => sum((r) => 2 * rank + i + r)));
      expect(t.ring).toEqual([100 + ((rank + size - 1) % size)]);
      expect(t.large).toEqual([100_001, 100_002].map((i) => sum((r) => i * (r + 1))));
      expect(t.differ).toMatch(/models differ: rank 0 has "weight \[3, 5\]" where rank 1 has "weight \[3, 4\]" \(line 2 of 2/);
    }
    await store.close();
  });

  /** Both ranks in this process, which connect and make no collective: they share one comm stream. */
  const connected = async (sizes: readonly number[], timeoutMs: number) => {
    const server = await StoreServer.listen({ secret: 'of the test', run: 'test' });
    onTestFinished(() => server.close());
    const stores = await Promise.all(
      sizes.map((_, rank) =>
        StoreClient.connect({
          host: '127.0.0.1',
          port: server.port,
          secret: 'of the test',
          run: 'test',
          attempt: 0,
          who: `rank ${rank}`,
        }),
      ),
    );
    return () =>
      Promise.allSettled(stores.map((store, rank) => glooGroup({ store, rank, size: sizes[rank] as number, timeoutMs })));
  };
  test('a group that was closed is made anew under its name, over the same store', async () => {
    const join = await connected([2, 2], 5000);
    for (let i = 0; i < 3; i++) {
      const groups = await join();
      expect(groups.map((g) => (g.status === 'fulfilled' ? 'joined' : g.reason.message))).toEqual(['joined', 'joined']);
      for (const g of groups) if (g.status === 'fulfilled') await g.value.close();
    }
  });
  test('a world of another size: every rank is told, and does not wait for who never comes', async () => {
    const join = await connected([2, 3], 20_000);
    const started = performance.now();
    for (const g of await join())
      expect(g.status === 'rejected' && g.reason.message).toMatch(
        /the ranks' worlds differ: rank 0 has "ranks 2" where rank 1 has "ranks 3"/,
      );
    expect(performance.now() - started).toBeLessThan(2000);
  });
  test('a rank that is killed: the others know within a second, and the group is of no more use', async () => {
    const { store, ranks } = await start('lose', 3, 30_000);
    await Promise.all(ranks.map(({ next }) => next()));
    await new Promise((resolve) => setTimeout(resolve, 200)); // the others wait in their collective by now, or come to it
    const killed = performance.now();
    ranks[2]?.child.kill('SIGKILL');
    const errors = await Promise.all(ranks.slice(0, 2).map(({ next }) => next()));
    expect(performance.now() - killed).toBeLessThan(1000);
    for (const e of errors)
      expect(e).toMatchObject({
        name: 'CollectiveError',
        message: expect.stringMatching(/rank \d of 3: allReduce.*number 4/),
        again: 'CollectiveError',
      });
    await store.close();
  });

  test('a rank that hangs: an error within its timeout and a second', async () => {
    const { store, ranks } = await start('hang', 2, 1500);
    await Promise.all(ranks.map(({ next }) => next()));
    const stopped = performance.now();
    ranks[1]?.child.kill('SIGSTOP');
    const error = await ranks[0]?.next();
    expect(performance.now() - stopped).toBeLessThan(2500);
    expect(error).toMatchObject({
      name: 'CollectiveError',
      message: expect.stringMatching(/Timed out waiting 1500ms/),
      again: 'CollectiveError',
    });
    await store.close();
  });
});
