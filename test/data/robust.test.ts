import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { describe, expect, it } from 'vitest';
import { normalize, randomCrop, randomHorizontalFlip } from '../../lib/data/augment/image.ts';
import { type Dataset, TensorDataset } from '../../lib/data/dataset.ts';
import { loader } from '../../lib/data/loader.ts';
import { pool } from '../../lib/data/pool.ts';
import { AnnealError, DataError } from '../../lib/native/errors.ts';
import { collect, errorOf, pictures } from './helpers.ts';

const big = () =>
  new TensorDataset({
    x: { data: new Uint8Array(new SharedArrayBuffer(2000 * 3 * 64 * 64)), shape: [3, 64, 64], encoding: { scale: 1 / 255 } },
  });

describe('off the main thread', () => {
  it('gathers on loader threads when it has workers, and only then', async () => {
    const before = pool.jobs;
    await collect(loader(pictures(20), { batchSize: 5, workers: 0 }));
    expect(pool.jobs).toBe(before);
    await collect(loader(pictures(20), { batchSize: 5 }));
    expect(pool.jobs).toBe(before + 4);
    expect(pool.threads.length).toBeLessThanOrEqual(4);
  });

  it('makes batches ahead while the consumer is busy, no more than prefetch', async () => {
    const before = pool.jobs;
    const it = loader(pictures(100), { batchSize: 5, prefetch: 3 }).epoch(0);
    await it.next();
    await new Promise((r) => setTimeout(r, 50));
    expect(pool.jobs - before).toBe(4);
    await it.return();
  });

  it.each([0, 1])('leaves the event loop free, %d workers', async (workers) => {
    await collect(loader(pictures(4), { batchSize: 4, workers })); // start the thread
    const gaps: number[] = [];
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      gaps.push(now - last);
      last = now;
    }, 1);
    await collect(loader(big(), { batchSize: 500, workers, shuffle: true, transform: [randomCrop(64, { padding: 4 })] }));
    clearInterval(timer);
    gaps.sort((a, b) => a - b);
    expect(gaps.length).toBeGreaterThan(5);
    expect(gaps[Math.floor(gaps.length * 0.9)]).toBeLessThan(40); // the machine may be shared; a batch at once takes 100 ms and more
  });
});

it('many small batches on the main thread do not starve the event loop', async () => {
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  await collect(loader(big(), { batchSize: 4, workers: 0, transform: [randomCrop(64, { padding: 4 })] }));
  clearInterval(timer);
  expect(turns).toBeGreaterThan(10);
});

describe('leaving early', () => {
  it('break closes a stream and stops the reading', async () => {
    let [read, closed] = [0, false];
    async function* endless() {
      try {
        for (;;) yield { x: read++ };
      } finally {
        closed = true;
      }
    }
    for await (const _ of loader(() => endless(), { batchSize: 2 })) break;
    await new Promise((r) => setTimeout(r, 20));
    expect(closed).toBe(true);
    expect(read).toBeLessThan(20);
  });

  it('a signal ends the loop with its reason, before, between and during batches', async () => {
    const reason = new Error('enough');
    expect(
      await errorOf(() => collect(loader(pictures(9), { batchSize: 2 }).epoch(0, { signal: AbortSignal.abort(reason) }))),
    ).toBe(reason);
    const controller = new AbortController();
    let seen = 0;
    const error = await errorOf(async () => {
      for await (const _ of loader(pictures(9), { batchSize: 2 }).windows({ epochs: Infinity, signal: controller.signal })) {
        if (++seen === 7) controller.abort(reason);
      }
    });
    expect([error, seen]).toEqual([reason, 7]);
    const never: Dataset<{ x: number }> = { length: 4, get: () => new Promise(() => {}) };
    const signal = AbortSignal.timeout(30);
    expect((await errorOf(() => collect(loader(never, { batchSize: 2 }).epoch(0, { signal })))).name).toBe('TimeoutError');
  });

  it('a failure in a batch made ahead is no unhandled rejection', async () => {
    const rejections: unknown[] = [];
    const listen = (e: unknown) => rejections.push(e);
    process.on('unhandledRejection', listen);
    const bad: Dataset<{ x: number }> = {
      length: 20,
      get: (i) => {
        if (i >= 4) throw new Error('no');
        return { x: i };
      },
    };
    for await (const _ of loader(bad, { batchSize: 2, prefetch: 4 })) break;
    await new Promise((r) => setTimeout(r, 30));
    process.off('unhandledRejection', listen);
    expect(rejections).toEqual([]);
  });
});

describe('failures', () => {
  it('a dead thread is a DataError, and the next epoch has a new thread', async () => {
    const loading = loader(big(), { batchSize: 1000, prefetch: 0 });
    const doomed = errorOf(() => collect(loading));
    while (!pool.threads[0]?.pending.size) await new Promise((r) => setImmediate(r));
    await pool.threads[0].worker.terminate();
    const error = await doomed;
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(/a loader thread died/);
    expect(await collect(loader(pictures(4), { batchSize: 2 }))).toHaveLength(2);
  });

  const bad: Dataset<{ x: number }> = {
    length: 12,
    get: (i) => {
      if (i % 5 === 3) throw new Error(`file ${i} is damaged`);
      return { x: i };
    },
  };

  it('a bad sample is an error with its id, or replaced: the same way in every run', async () => {
    const error = await errorOf(() => collect(loader(bad, { batchSize: 4 })));
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(/sample 3: file 3 is damaged.*badSamples/);
    const runs = [];
    for (const batchSize of [4, 4, 12]) {
      const loading = loader(bad, { batchSize, badSamples: 'replace' });
      const batches = await collect(loading);
      expect(loading.replaced).toBe(2);
      for (const b of batches) expect([...b.x.data]).toEqual([...b.ids]);
      runs.push(batches.flatMap((b) => [...b.ids]));
    }
    expect(runs[1]).toEqual(runs[0]);
    expect(runs[2]).toEqual(runs[0]);
    const hopeless: Dataset<{ x: number }> = { length: 3, get: () => Promise.reject(new Error('gone')) };
    expect((await errorOf(() => collect(loader(hopeless, { batchSize: 2, badSamples: 'replace' })))).message).toMatch(
      /nor any of 16 others.*gone/,
    );
  });

  const ds = pictures(10);
  const run = (samples: unknown, options: object = {}) =>
    collect(loader(samples as Dataset<{ x: number }>, { batchSize: 2, ...options } as never));
  const once = (function* () {
    yield { x: 1 };
  })();
  const refused: [string, () => unknown, RegExp][] = [
    ['no dataset', () => run(7), /expected a dataset/],
    ['a string', () => run('train'), /expected a dataset.*got "train"/],
    ['an empty dataset', () => run([]), /the dataset is empty/],
    ['no batchSize', () => loader(ds, {} as never), /batchSize must be an integer from 1/],
    ['no options', () => loader(ds, undefined as never), /batchSize must be an integer/],
    ['batchSize 0', () => run(ds, { batchSize: 0 }), /batchSize/],
    ['batchSize 2.5', () => run(ds, { batchSize: 2.5 }), /batchSize/],
    ['a misspelling', () => run(ds, { shufle: true }), /should be "shuffle"/],
    ['dropLast with too few', () => run(ds, { batchSize: 11, dropLast: true }), /leaves no batch of 11 from 10/],
    ['a buffer for a map', () => run(ds, { shuffle: { buffer: 8 } }), /shuffled whole/],
    ['a seed of 0.5', () => run(ds, { seed: 0.5 }), /seed: expected a safe integer/],
    ['workers -1', () => run(ds, { workers: -1 }), /workers must be an integer from 0/],
    ['an unknown dtype', () => run([{ x: 1 }], { dtypes: { x: 'i31' } }), /unknown dtype "i31"/],
    ['an unknown policy', () => run(ds, { badSamples: 'skip' }), /'error' or 'replace'/],
    ['an unknown transform', () => run(ds, { transform: [{ kind: 'randomCorp' }] }), /Did you mean "randomCrop"/],
    ['a transform that is no list', () => run(ds, { transform: randomHorizontalFlip() }), /must be a list/],
    [
      'a function after a descriptor',
      () => run(ds, { transform: [randomHorizontalFlip(), (s: unknown) => s] }),
      /functions first/,
    ],
    [
      'a transform of no column',
      () => run(ds, { transform: [randomHorizontalFlip(0.5, { column: 'image' })] }),
      /no column "image". Columns: x, y/,
    ],
    ['a flip of labels', () => run(ds, { transform: [randomHorizontalFlip(0.5, { column: 'y' })] }), /images are \[channels/],
    [
      'a crop too large',
      () => run(ds, { transform: [randomCrop(28, { padding: 2 })] }),
      /28 x 28 does not fit column "x", 6 x 5/,
    ],
    ['means for other channels', () => run(ds, { transform: [normalize([1, 2], [1, 1])] }), /2 values of mean for 1 channel/],
    ['samples of unlike shape', () => run([{ x: [1] }, { x: [1, 2] }]), /sample 1, field "x" is f32 \[2\], but sample 0/],
    ['a missing field', () => run([{ x: 1 }, { z: 1 }]), /sample 1, field "x".*got undefined/],
    ['samples that are numbers', () => run([1, 2]), /sample 0: expected an object of columns/],
    ['text in a sample', () => run([{ x: 'a' }]), /field "x": expected a number/],
    ['a fraction as i32', () => run([{ x: 0.5 }], { dtypes: { x: 'i32' } }), /0.5 is no i32/],
    ['a BigInt64Array', () => run([{ x: new BigInt64Array(1) }]), /expected a Float32Array.*got BigInt64Array/],
    ['a sample that is undefined', () => run({ length: 2, get: () => undefined }), /sample 0: get\(0\) gave undefined/],
    [
      'collate of another batch',
      () => run(ds, { collate: () => ({ x: { data: new Float32Array(3), shape: [3], dtype: 'f32' } }) }),
      /first dimension must be the batch, 2/,
    ],
    ['collate of nothing', () => run(ds, { collate: () => undefined }), /collate must return columns/],
    [
      'a stream that throws',
      () =>
        run(() =>
          (function* () {
            yield { x: 1 };
            throw new Error('cut');
          })(),
        ),
      /failed after 1 samples: cut/,
    ],
    ['an empty stream', () => run(() => []), /gave no batch in epoch 0/],
    [
      'an iterator in its second epoch',
      () => collect(loader(once, { batchSize: 1 }).windows({ epochs: 2 })),
      /epoch 1.*runs only once/,
    ],
    ['a function of no stream', () => run(() => 7), /must return an iterable/],
    ['windows without an end', () => collect(loader(ds, { batchSize: 2 }).windows({})), /say how long/],
    ['accumulate 0', () => collect(loader(ds, { batchSize: 2 }).windows({ steps: 1, accumulate: 0 })), /accumulate/],
    [
      'a cursor of another loader',
      () => collect(loader(ds, { batchSize: 2 }).windows({ steps: 9, from: { epoch: 0, batch: 6 } })),
      /batch 6 of epoch 0 does not exist: there are 5/,
    ],
    ['a damaged cursor', () => collect(loader(ds, { batchSize: 2 }).windows({ steps: 9, from: { epoch: -1 } })), /from.epoch/],
    ['epoch 1.5', () => collect(loader(ds, { batchSize: 2 }).epoch(1.5)), /the epoch must be an integer/],
    ['randomCrop(0)', () => randomCrop(0), /size must be a positive integer/],
    ['padding -1', () => randomCrop(3, { padding: -1 }), /padding/],
    ['p 2', () => randomHorizontalFlip(2), /p must be from 0 to 1/],
    ['std 0', () => normalize(0, 0), /other than 0/],
  ];
  it.each(refused)('refuses %s', async (_, fn, message) => {
    const error = await errorOf(fn);
    expect(error).toBeInstanceOf(AnnealError);
    expect(error.message).toMatch(message);
  });
});

describe('processes', () => {
  const lib = fileURLToPath(new URL('../../lib/data/', import.meta.url));
  const tsx = existsSync(fileURLToPath(new URL('../../node_modules/tsx', import.meta.url)));
  it.runIf(tsx)('runs from TypeScript sources, and loader threads never hold the process', async () => {
    const code = `
      import { loader } from '${lib}loader.ts';
      import { TensorDataset } from '${lib}dataset.ts';
      const ds = new TensorDataset({ x: { data: new Float32Array(100) } });
      let n = 0;
      for await (const b of loader(ds, { batchSize: 10, workers: 2 })) n += b.ids.length;
      const it = loader(ds, { batchSize: 10 }).epoch(0);
      await it.next(); // left open, batches ahead
      console.log(n);`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], {
      timeout: 30_000,
    });
    expect(stdout.trim()).toBe('100');
  });

  it('runs from a CommonJS bundle with its worker beside it, in the main thread and in a worker', async () => {
    const out = mkdtempSync(join(tmpdir(), 'anneal-bundle-'));
    const root = fileURLToPath(new URL('../../', import.meta.url));
    await build({
      absWorkingDir: root,
      entryPoints: { index: 'lib/data/index.ts', 'data-worker': 'lib/data/worker.mjs' },
      outdir: out,
      outExtension: { '.js': '.cjs' },
      bundle: true,
      keepNames: true,
      platform: 'node',
      format: 'cjs',
      define: { 'import.meta.url': '__url' },
      banner: { js: "const __url = require('node:url').pathToFileURL(__filename).href;" },
    });
    const main = join(out, 'main.cjs');
    writeFileSync(
      main,
      `const { isMainThread, Worker } = require('node:worker_threads');
      const data = require('./index.cjs');
      (async () => {
        const ds = new data.TensorDataset({ x: { data: new Float32Array(100) } });
        let n = 0;
        for await (const b of data.loader(ds, { batchSize: 10 })) n += b.ids.length;
        if (isMainThread) new Worker(__filename).on('exit', (code) => console.log(n, code));
        else if (n !== 100) process.exit(1);
      })();`,
    );
    const { stdout } = await promisify(execFile)(process.execPath, [main], { timeout: 30_000 });
    expect(stdout.trim()).toBe('100 0');
  });
});
