/** Who waits for the GPU, and when: the driver's own trace of a training run. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { simulator, withoutSimulator } from '../helpers/device.ts';

/** Calls by which a thread waits for the device, or that wait on hardware beside what they do. */
const waits = /^(cu\w*Synchronize|cuMemcpy(HtoD|DtoH|DtoD)|cuMem(Alloc|Free)Host|cuMemHostAlloc|cuModuleLoadData)$/;

function traced(child: string, ...args: string[]): { said: string; calls: string[] } {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-trace-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  const said = execFileSync(process.execPath, ['--import', 'tsx', `test/cuda/${child}.ts`, ...args], {
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
    env: { ...process.env, ANNEAL_TEST_DEVICE: '', ANNEAL_CUDA_DRIVER: simulator, ANNEAL_SIM_TRACE: join(dir, 'trace') },
    encoding: 'utf8',
  });
  return { said, calls: readFileSync(join(dir, 'trace'), 'utf8').trim().split('\n') };
}

/** The calls of each step, from the first kernel of its backward to the last of its update. */
function stepsOf(calls: readonly string[]): string[][] {
  const steps: string[][] = [];
  let from = -1;
  for (const [i, call] of calls.entries()) {
    if (from < 0 && call.startsWith('kernel crossEntropy_hard_grad')) from = i;
    if (from >= 0 && call.startsWith('kernel lossScale')) {
      steps.push(calls.slice(from, i + 1));
      from = -1;
    }
  }
  return steps;
}

describe.skipIf(withoutSimulator)('on the simulated GPU', { timeout: 120_000 }, () => {
  test('an overflow is skipped and the scale halved on the device: nobody waits between backward and update', () => {
    const { said, calls } = traced('overflow-child');
    expect(JSON.parse(said)).toMatchObject([
      { applied: true, lossScale: 1024 },
      { applied: false, lossScale: 1024, reason: 'nonFiniteGradient' },
      { applied: true, lossScale: 512 },
      { applied: true, lossScale: 512 },
    ]);
    const steps = stepsOf(calls);
    expect(steps.length).toBe(4);
    // The first loads kernels; from the second on nothing waits.
    for (const step of steps.slice(1)) {
      expect(step.some((call) => call.startsWith('kernel adam'))).toBe(true);
      expect(step.filter((call) => waits.test(call))).toEqual([]);
    }
    expect(calls.filter((call) => waits.test(call)).length).toBeGreaterThan(0); // the pattern does match waits: results are read after the update
  });

  test('nor in a whole network with two micro-batches; unscale, norm, clip and update are a launch each', () => {
    const { calls } = traced('course-child', 'f16');
    for (const step of stepsOf(calls).slice(1)) {
      expect(step.filter((call) => waits.test(call))).toEqual([]);
      const launches = (pattern: RegExp) => step.filter((call) => pattern.test(call)).length;
      expect(launches(/^kernel adam/)).toBe(1);
      expect(launches(/^kernel gradScale/)).toBeLessThanOrEqual(1);
      expect(launches(/^kernel gradNorm_(f32|f16|bf16)/)).toBe(1);
      expect(launches(/^kernel gradNorm_finish/)).toBe(1);
    }
  });
});
