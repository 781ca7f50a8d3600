/** A Trainer's run made by several processes, against the same made by one. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, test } from 'vitest';
import { type EvalMetrics, monitor } from '../../lib/index.ts';
import { root, startRanks, withoutGloo } from './ranks.ts';
import type { Task } from './trainer-child.ts';

interface Told {
  rank: number;
  steps: { step: number; loss: number; lr: number; samples: number }[];
  evals: EvalMetrics[];
  stopReason: string;
  weights: number[][];
  notice?: string;
  refused?: string;
  error?: { name: string; message: string };
}
/** Kills of the sweep; a long one is asked for by the variable. */
const points = Number(process.env.ANNEAL_TEST_KILLS ?? 20);
const folders: string[] = [];
const folder = () => {
  folders.push(mkdtempSync(join(tmpdir(), 'ranks-')));
  return folders.at(-1) as string;
};
afterAll(() => {
  for (const f of folders) rmSync(f, { recursive: true, force: true });
});

/** What each rank tells; of one that was killed, nothing. */
async function train(size: number, task: Task = {}): Promise<Told[]> {
  const ended = await startRanks(size, 'test/distributed/trainer-child.ts', task);
  return ended.flatMap(({ stdout, stderr, signal }) => {
    if (signal === 'SIGKILL') return [];
    if (!stdout) throw new Error(stderr);
    return [JSON.parse(stdout) as Told];
  });
}
const one = async (task?: Task) => (await train(1, task))[0] as Told;
const losses = ({ steps }: Told) => steps.map((s) => s.loss);
const rates = ({ steps }: Told) => steps.map((s) => s.lr);
const apart = (a: readonly number[], b: readonly number[]) => {
  expect(a.length).toBe(b.length);
  return Math.max(...a.map((v, i) => Math.abs(v - (b[i] as number)))) / Math.max(...b.map(Math.abs));
};
const alike = (ranks: readonly Told[]) => {
  for (const { error, rank: _, notice: __, ...rest } of ranks) {
    expect(error).toBeUndefined();
    expect(rest).toEqual({ ...ranks[0], rank: undefined, notice: undefined, error: undefined }); // bit by bit
  }
  return ranks[0] as Told;
};

describe.skipIf(withoutGloo)('a Trainer over processes (needs libgloo-dev when the addon is built)', { timeout: 120_000 }, () => {
  test.each<[number, Task]>([
    [2, {}],
    [3, { accumulate: 2, average: 'ema' }],
    [4, { optimizer: 'sgd', earlyStopping: true, epochs: 8, data: 4 }],
    [2, { average: 'swa', samples: 13 }],
  ])('%i processes equal one, evaluations too: %o', async (size, task) => {
    const single = await one({ ...task, ...(task.data ? { data: 1 } : {}) });
    const first = alike(await train(size, task));
    expect(apart(losses(first), losses(single))).toBeLessThanOrEqual(1e-5);
    expect(rates(first)).toEqual(rates(single));
    expect(first.steps.map((s) => s.samples)).toEqual(single.steps.map((s) => s.samples));
    expect(first.stopReason).toBe(single.stopReason);
    expect(apart(first.weights.flat(), single.weights.flat())).toBeLessThanOrEqual(task.optimizer === 'sgd' ? 1e-5 : 1e-4);
    expect(first.evals.length).toBe(single.evals.length);
    first.evals.forEach((e, i) => {
      const want = single.evals[i] as EvalMetrics;
      const figures = (m: EvalMetrics) => Object.entries(m).filter((f): f is [string, number] => typeof f[1] === 'number');
      expect(figures(e).map(([name]) => name)).toEqual(figures(want).map(([name]) => name));
      for (const [name, value] of figures(e)) expect(value, name).toBeCloseTo((want as never)[name], 4);
      expect(e.samples).toBe(31); // each once
      expect(e.confusion).toEqual(want.confusion);
      expect(e.strata?.map((s) => [s.stratum, s.samples])).toEqual(want.strata?.map((s) => [s.stratum, s.samples]));
      expect(e.mistakes?.map((m) => m.id)).toEqual(want.mistakes?.map((m) => m.id));
    });
  });

  test('batch norm: rank 0 has its statistics judged and kept, on every rank', async () => {
    const first = alike(await train(2, { batchNorm: true, samples: 64 }));
    expect(first.evals.length).toBe(4);
  });

  test('rank 0 alone writes; a stop on any rank ends all at one step; a resume equals a run without the stop', async () => {
    const whole = alike(await train(2, { dir: folder() }));
    const dir = folder();
    const stopped = alike(await train(2, { dir, at: { step: 8, rank: 1, what: 'stop' } }));
    expect(stopped.stopReason).toBe('stopped');
    expect(stopped.steps.length).toBeGreaterThanOrEqual(8);
    expect(stopped.steps.length).toBeLessThanOrEqual(11);
    expect(readdirSync(join(dir, 'checkpoints')).length).toBeGreaterThan(0);
    const resumed = alike(await train(2, { dir, resume: true }));
    expect([...losses(stopped), ...losses(resumed)]).toEqual(losses(whole));
    expect(resumed.weights).toEqual(whole.weights);
    expect(existsSync(join(dir, 'best.safetensors'))).toBe(true);
  });

  test('rank 0 makes sample outputs, and no rank’s training notices', async () => {
    const dir = folder();
    const first = alike(await train(2, { dir, look: 3, average: 'ema' }));
    expect(first).toMatchObject({ ...alike(await train(2, { average: 'ema' })), notice: expect.any(String) });
    const { outputs } = await monitor.readSamples(dir);
    expect(outputs.map((o) => o.samples[0]?.text)).toEqual(new Array(Math.ceil(first.steps.length / 3)).fill('rank 0: 2,5'));
  });

  test('wishes, and what hooks ask for, take effect on all ranks at the same step', async () => {
    const plain = alike(await train(2));
    for (const [what, rank] of [
      ['control', 0],
      ['hookScale', 0],
      ['hookStop', 1],
    ] as const) {
      const first = alike(await train(2, { at: { step: 5, rank, what } }));
      const from = rates(first).findIndex((lr, i) => lr !== rates(plain)[i]);
      if (what === 'hookStop') expect(first.stopReason).toBe('enough');
      else expect([6, 7, 8]).toContain(from);
    }
    const [, second] = await train(2, { at: { step: 5, rank: 1, what: 'control' } });
    expect(second?.refused).toMatch(/control.set: ask on rank 0/);
  });

  test('a checkpoint of one number of processes is gone on from by another', async () => {
    const whole = await one({ data: 1 });
    const dir = folder();
    alike(await train(3, { dir, at: { step: 9, rank: 0, what: 'stop' } }));
    const resumed = alike(await train(2, { dir, resume: true }));
    expect(apart(losses(resumed), losses(whole).slice(-resumed.steps.length))).toBeLessThanOrEqual(1e-4);
    expect(resumed.steps.at(-1)?.step).toBe(whole.steps.length);
  });

  test('what does not fit is refused, on every rank', async () => {
    const errors = async (size: number, task: Task) => (await train(size, task)).map((t) => t.error);
    for (const e of await errors(2, { data: false }))
      expect(e).toMatchObject({
        name: 'ConfigError',
        message: expect.stringMatching(/process \d of 2.*parallel: \{ data: 2 \}/),
      });
    for (const e of await errors(2, { data: 3 }))
      expect(e).toMatchObject({ name: 'ConfigError', message: expect.stringMatching(/asks for 3 processes, and there are 2/) });
    for (const e of await errors(1, { data: 2 }))
      expect(e).toMatchObject({ name: 'ConfigError', message: expect.stringMatching(/asks for 2 processes, and there is 1/) });
    for (const e of await errors(2, { otherSamples: 62 }))
      expect(e).toMatchObject({
        name: 'CollectiveError',
        message: expect.stringMatching(/the ranks' runs differ: rank 0 has "train: .*61.*rank 1 has "train: .*62/),
      });
  });

  test('a rank that fails or dies ends the others soon', async () => {
    const [zero, one] = await train(2, { at: { step: 6, rank: 1, what: 'throw' } });
    expect(one?.error).toMatchObject({ message: 'of the test' });
    expect(zero?.error).toMatchObject({ name: 'CollectiveError' });
    const started = performance.now();
    const survivors = await train(2, { at: { step: 6, rank: 1, what: 'kill' } });
    expect(survivors.map((s) => s.error?.name)).toEqual(['CollectiveError']);
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  test(`${points} kills of ranks in turn, at any moment: started again each time, the end has the same bits`, {
    timeout: 60_000 + points * 10_000,
  }, async () => {
    const whole = alike(await train(2, { dir: folder(), everySteps: 2, epochs: 12 }));
    const [dir, out] = [folder(), join(folder(), 'told')];
    // Before the ranks have met, while they train and write, and behind it: 0 to 600 ms after a rank has joined, dealt out evenly.
    const kills = Array.from({ length: points }, (_, i) => ((i * 37) % points) * (600 / points));
    const task: Task = { dir, out, everySteps: 2, epochs: 12, resume: true, kills };
    const options = [
      '--nproc-per-node',
      '2',
      '--max-restarts',
      String(points),
      '--grace',
      '1',
      '--log-dir',
      join(folder(), 'logs'),
    ];
    const args = [
      '--import',
      'tsx',
      'lib/cli/main.ts',
      'launch',
      ...options,
      'test/distributed/trainer-child.ts',
      JSON.stringify(task),
    ];
    const env = { ...process.env, ANNEAL_TEST_DEVICE: '', OMP_NUM_THREADS: '1' };
    const { stderr } = await promisify(execFile)(process.execPath, args, { cwd: root, env, maxBuffer: 64 << 20 });
    const causes = stderr.match(/root cause: .*/g) ?? [];
    expect(causes.length).toBeGreaterThan(points / 2); // a run may be over before its kill
    for (const cause of causes) expect(cause).toMatch(/rank \d was ended by SIGKILL/);
    const told = [0, 1].map((rank) => JSON.parse(readFileSync(`${out}-${rank}`, 'utf8')) as Told);
    expect(alike(told).weights).toEqual(whole.weights);
    expect(losses(told[0] as Told)).toEqual(losses(whole).slice(losses(whole).length - (told[0] as Told).steps.length));
  });
});
