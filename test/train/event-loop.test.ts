import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { temporary } from './helpers.ts';

const child = fileURLToPath(new URL('event-loop-child.ts', import.meta.url));

type Stalls = Record<'p50' | 'p99' | 'p999' | 'max' | 'busyP999' | 'busyMax', number>;

const text = (s: Stalls) =>
  `p50 ${s.p50.toFixed(2)}, p99 ${s.p99.toFixed(2)}, p99.9 ${s.p999.toFixed(2)}, max ${s.max.toFixed(2)} ms; this thread's own work p99.9 ${s.busyP999.toFixed(2)}, max ${s.busyMax.toFixed(2)} ms`;

// The goal, on a machine of one's own, is p99.9 <= 10 ms and max <= 50 ms; here others may want the processors too.
test('the event loop turns while a CNN trains, evaluates and saves', { timeout: 120_000 }, async () => {
  const args = ['--import', 'tsx', child, '10', temporary()];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const { idle, training, steps } = JSON.parse(stdout) as { idle: Stalls; training: Stalls; steps: number };
  console.log(`event loop late by\n  idle:     ${text(idle)}\n  training: ${text(training)} (${steps} steps)`);
  expect(steps).toBeGreaterThan(5);
  expect(training.p999).toBeLessThanOrEqual(50 + 2 * idle.p999);
  expect(training.busyP999).toBeLessThanOrEqual(20);
});
