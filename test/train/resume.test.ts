import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { latestValid, monitor } from '../../lib/index.ts';
import { temporary } from './helpers.ts';

const child = fileURLToPath(new URL('resume-child.ts', import.meta.url));

interface Outcome {
  /** What the process said at its end; undefined where it was killed before. */
  done: Record<string, unknown> | undefined;
  lastStep: number;
}

/** Runs the child; kills it `after` milliseconds after it told of `step`. */
async function train(mode: string, dir: string, kill?: { step: number; after: number }): Promise<Outcome> {
  const process_: ChildProcess = spawn(process.execPath, ['--import', 'tsx', child, mode, dir], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let stderr = '';
  process_.stderr?.on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<NodeJS.Signals | number | null>((resolve) =>
    process_.on('close', (code, signal) => resolve(signal ?? code)),
  );
  const outcome: Outcome = { done: undefined, lastStep: 0 };
  for await (const line of createInterface({ input: process_.stdout as NonNullable<typeof process_.stdout> })) {
    const { step, done } = JSON.parse(line) as { step?: number; done?: Record<string, unknown> };
    if (done) outcome.done = done;
    if (step === undefined) continue;
    outcome.lastStep = step;
    if (kill && step >= kill.step) {
      await delay(kill.after);
      process_.kill('SIGKILL');
    }
  }
  const how = await ended;
  if (how !== 0 && how !== 'SIGKILL') throw new Error(`the child ended with ${how}: ${stderr}`);
  return outcome;
}

const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

/** Digests of the newest checkpoint's weights, optimizer and best weights. */
async function digests(dir: string): Promise<Record<string, string>> {
  const { checkpoint } = await latestValid(dir);
  const files = readdirSync(checkpoint?.path ?? dir).filter((f) => f.endsWith('.safetensors'));
  return Object.fromEntries(files.map((f) => [f, digest(join(checkpoint?.path ?? dir, f))]));
}

// Another place to kill at each time; the message of a failure names them.
const seed = Date.now() % 100_000;
let drawn = seed;
const random = (n: number) => {
  drawn = (drawn * 48_271) % 2_147_483_647;
  return drawn % n;
};

describe('killed at random, resumed until done: bit by bit the run that nobody disturbed', { timeout: 300_000 }, () => {
  test('the Trainer, with dropout, batch norm, shuffling, augmentation, schedule, accumulation, early stopping, plateau, f16, EMA, AdamW', async () => {
    const whole = temporary();
    const reference = (await train('trainer', whole)).done;
    expect(reference?.stopReason).toBe('patience');
    const steps = reference?.steps as number;
    expect(steps).toBeGreaterThan(30);

    const dir = temporary();
    const kills: string[] = [];
    let outcome: Outcome = { done: undefined, lastStep: 0 };
    for (let i = 0; i < 4 && !outcome.done; i++) {
      const kill = { step: Math.floor((steps * i) / 4) + 2 + random(Math.floor(steps / 4)), after: random(12) };
      outcome = await train('trainer', dir, kill);
      kills.push(`${outcome.lastStep} + ${kill.after} ms`);
    }
    expect(kills.length, 'it was done before it could be killed').toBeGreaterThanOrEqual(2);
    for (let i = 0; i < 3 && !outcome.done; i++) outcome = await train('trainer', dir);
    const told = `seed ${seed}, killed after steps ${kills.join(', ')}`;
    console.log(told);

    expect(outcome.done, told).toEqual(reference);
    expect(digest(join(dir, 'best.safetensors')), told).toBe(digest(join(whole, 'best.safetensors')));
    const files = await digests(join(whole, 'checkpoints'));
    expect(Object.keys(files).sort()).toEqual([
      'average.safetensors',
      'best.safetensors',
      'optimizer.safetensors',
      'weights.safetensors',
    ]);
    expect(await digests(join(dir, 'checkpoints')), told).toEqual(files);
    // every loss on the way too
    const losses = async (run: string) => {
      const { records } = await monitor.readHistory(join(run, 'metrics.jsonl'));
      // Each start says what it trains, and how it ended.
      const course = records.filter(({ type }) => type !== 'run' && type !== 'end');
      return course.map((r) => [r.type, r.step, r.loss ?? r['val/loss'], r.lr, r.lossScale, r.applied]);
    };
    const reached = await losses(whole);
    expect(await losses(dir), told).toEqual(reached);
    const made = async (run: string) => (await monitor.readSamples(run)).outputs.map((o) => [o.step, o.samples]);
    expect(await made(dir), told).toEqual(await made(whole));
    expect((await made(whole)).length).toBe(Math.ceil(steps / 3));
    const stepsTold = reached.filter(([type]) => type === 'step');
    expect(stepsTold.filter(([, , , , , applied]) => applied === false).length, 'skipped').toBeGreaterThan(5);
    expect(new Set(stepsTold.map(([, , , , scale]) => scale)).size, 'scales').toBeGreaterThan(3);
    const { checkpoint } = await latestValid(join(whole, 'checkpoints'));
    const { extra } = JSON.parse(readFileSync(join(checkpoint?.path ?? '', 'state.json'), 'utf8'));
    expect(extra.lrScale.plateau, 'the plateau rule reduced').toBeLessThan(1);
    expect((await monitor.readHistory(join(dir, 'metrics.jsonl'))).attempt).toBeGreaterThan(2);
  });

  test('a loop of one’s own: stepper.save and stepper.resume, SWA', async () => {
    const whole = temporary();
    const reference = (await train('stepper', whole)).done;
    expect(reference?.steps).toBe(90);
    const dir = temporary();
    const kills: string[] = [];
    for (let i = 0; i < 3; i++) {
      const kill = { step: 25 * i + 6 + random(20), after: random(8) };
      const { lastStep } = await train('stepper', dir, kill);
      kills.push(`${lastStep} + ${kill.after} ms`);
    }
    const told = `seed ${seed}, killed after steps ${kills.join(', ')}`;
    console.log(told);
    expect((await train('stepper', dir)).done, told).toEqual(reference);
    expect(await digests(dir), told).toEqual(await digests(whole));
  });
});

test('the killed leave nothing that looks whole and is not', async () => {
  const dir = temporary();
  await train('trainer', dir, { step: 11, after: 0 });
  const folder = join(dir, 'checkpoints');
  const { checkpoint, rejected } = await latestValid(folder);
  expect(rejected).toEqual([]);
  expect(checkpoint?.step).toBeGreaterThanOrEqual(5);
  expect(existsSync(join(dir, 'best.safetensors'))).toBe(false); // written at the end only
});
