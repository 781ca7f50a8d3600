/** Workers terminated and processes ended in mid-step: no abort, no hang, whatever the streams are doing. */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'anneal-teardown-'));
const loop = join(folder, 'loop.mjs');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

// As one plain file: a worker that has to compile the library takes ten times as long to start.
beforeAll(async () => {
  await build({
    entryPoints: [join(root, 'test/helpers/training-loop.ts')],
    outfile: loop,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
  });
});

let programsMade = 0;

interface Ending {
  code: number | null;
  signal: string | null;
  out: string;
  error: string;
}

/** Runs a program (a module's text) in a process of its own; a hang ends as signal SIGKILL. */
function program(text: string, timeout = 60_000): Promise<Ending> {
  const prelude = `
    import { Worker } from 'node:worker_threads';
    import { setTimeout as wait } from 'node:timers/promises';
    const loop = ${JSON.stringify(loop)};
    const ready = (worker) => new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    // A few milliseconds, other ones each time, so that the end comes at every stage of a step.
    let moment = ${Math.floor(Math.random() * 1000)};
    const soon = () => wait((moment = (moment * 1103515245 + 12345) % 2 ** 31) % 12);
  `;
  const env = { ...process.env, ANNEAL_BINARY: process.env.ANNEAL_BINARY || join(root, 'build/Release/anneal.node') };
  const file = join(folder, `program-${++programsMade}.mjs`);
  writeFileSync(file, prelude + text);
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [file], { env, timeout, killSignal: 'SIGKILL' });
    const [out, error]: [string[], string[]] = [[], []];
    child.stdout.on('data', (data) => out.push(String(data)));
    child.stderr.on('data', (data) => error.push(String(data)));
    child.on('close', (code, signal) => resolve({ code, signal, out: out.join('').trim(), error: error.join('').trim() }));
  });
}

/** `count` runs of a program, two at a time; all must end alike. */
async function programs(count: number, text: string, expected: Partial<Ending>): Promise<void> {
  for (let i = 0; i < count; i += 2) {
    const endings = await Promise.all([program(text), program(text)]);
    for (const ending of endings) expect(ending).toMatchObject({ signal: null, error: '', ...expected });
  }
}

describe('workers terminated in mid-step', () => {
  const terminate = (count: number, together: number) => `
    let done = 0;
    const one = async () => {
      const worker = new Worker(loop);
      await ready(worker);
      await soon();
      await worker.terminate();
      done++;
    };
    const line = async () => { for (let i = 0; i < ${count / together}; i++) await one(); };
    await Promise.all(Array.from({ length: ${together} }, line));
    console.log(done);`;

  test('one after another, and the process ends by itself', async () => {
    expect(await program(terminate(60, 1))).toEqual({ code: 0, signal: null, out: '60', error: '' });
  });

  test('several at once', async () => {
    expect(await program(terminate(102, 3))).toEqual({ code: 0, signal: null, out: '102', error: '' });
  });

  test('beside a main thread that trains on', async () => {
    const text = `
      const { step, train } = await import(loop);
      let training = true;
      const main = (async () => { for (let i = 0; training; i++) await Promise.all(step()); })();
      ${terminate(40, 1)}
      training = false;
      await main;
      console.log((await Promise.all(step())).length);`;
    expect(await program(text)).toEqual({ code: 0, signal: null, out: '40\n2', error: '' });
  });

  test('a worker that ends itself', async () => {
    const text = `
      for (let i = 0; i < 10; i++) {
        const worker = new Worker(\`import(\${JSON.stringify(loop)}).then(({ train }) => train(() => setTimeout(() => process.exit(3), \${i})))\`, { eval: true });
        const code = await new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject));
        if (code !== 3) throw new Error('exit code ' + code);
      }
      console.log('done');`;
    expect(await program(text)).toEqual({ code: 0, signal: null, out: 'done', error: '' });
  });

  test('their memory comes back', async () => {
    const text = `
      const cycle = async (n) => { for (let i = 0; i < n; i++) {
        const worker = new Worker(\`import(\${JSON.stringify(loop)}).then(({ step }) => {
          for (let i = 0; i < 60; i++) step();
          require('node:worker_threads').parentPort.postMessage('ready');
        })\`, { eval: true });
        await ready(worker);
        await worker.terminate();
      } };
      await cycle(3);
      const before = process.memoryUsage.rss();
      await cycle(8);
      console.log(Math.round((process.memoryUsage.rss() - before) / 1e6));`;
    const { code, out, error } = await program(text);
    expect({ code, error }).toEqual({ code: 0, error: '' });
    // Sixty queued steps hold some 10 MB of uploads and results each time.
    expect(Number(out)).toBeLessThan(60);
  });
});

describe('processes ended in mid-step', () => {
  const training = `const { train } = await import(loop); void train(async () => { await soon();`;

  test('process.exit', () => programs(12, `${training} process.exit(7); });`, { code: 7 }));

  test('an uncaught exception', async () => {
    for (const ending of await Promise.all([1, 2].map(() => program(`${training} throw new Error('on purpose'); });`)))) {
      expect(ending).toMatchObject({ code: 1, signal: null });
      expect(ending.error).toContain('on purpose');
    }
  });

  test('process.exit with workers in mid-step', () =>
    programs(
      6,
      `const workers = [new Worker(loop), new Worker(loop)];
       await Promise.all(workers.map(ready));
       ${training} process.exit(7); });`,
      { code: 7 },
    ));

  test('process.exit before the first step is over', () =>
    programs(4, `const { step } = await import(loop); for (let i = 0; i < 50; i++) step(); process.exit(7);`, { code: 7 }));

  test('SIGTERM', async () => {
    const ending = await program(`${training} process.kill(process.pid, 'SIGTERM'); });`);
    expect(ending).toMatchObject({ signal: 'SIGTERM', error: '' });
  });

  test('an idle addon keeps no process alive, a promise that is awaited does', () =>
    programs(
      4,
      `const { step } = await import(loop); const r = await Promise.all(step()); console.log(r.length); step()[0].then(() => console.log('read'));`,
      {
        code: 0,
        out: '2\nread',
      },
    ));
});
