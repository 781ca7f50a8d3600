import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const child = fileURLToPath(new URL('memory-child.ts', import.meta.url));

interface Sample {
  step: number;
  live: number;
  handles: number;
  resident: number;
  heap: number;
}

async function train(steps: number, ...rest: string[]): Promise<{ events: number; samples: Sample[] }> {
  // A small young generation: what V8 keeps of it at will is otherwise megabytes, up and down.
  const args = ['--expose-gc', '--max-semi-space-size=1', '--import', 'tsx', child, String(steps), ...rest];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 64 << 20 });
  return JSON.parse(stdout);
}

/** Slope of a line through the points, by Theil and Sen: one garbage collection more or less does not tilt it. */
function slope(points: readonly (readonly [number, number])[]): number {
  const slopes = points.flatMap(([x, y], i) => points.slice(i + 1).map(([x2, y2]) => (y2 - y) / (x2 - x)));
  return slopes.sort((a, b) => a - b)[slopes.length >> 1] as number;
}

describe('a Trainer of many steps, validation after every epoch, best weights kept', { timeout: 180_000 }, () => {
  for (const mode of ['nobody reads the events', 'read']) {
    test(`holds the same memory at step 100 and at step 9000 (${mode})`, async () => {
      const { samples, events } = await train(9000, mode);
      expect(events > 0).toBe(mode === 'read');
      expect(samples.map((s) => s.step)).toEqual(Array.from({ length: 90 }, (_, i) => 100 * (i + 1)));
      const [first] = samples as [Sample];
      for (const { step, live, handles } of samples)
        expect({ step, live, handles }).toEqual({ step, live: first.live, handles: first.handles });
      // What is resident goes up and down by 2 MB at will, and falls between the 3,000th and the 5,000th step: fewer steps have no slope of their own.
      const warm = samples.filter((s) => s.step >= 1000);
      const megabytes = (of: 'resident' | 'heap') => (1000 * slope(warm.map((s) => [s.step, s[of]] as const))) / 2 ** 20;
      console.log(
        `${mode}: ${first.live} bytes live in ${first.handles} handles at every hundredth step; per 1,000 steps after 1,000: resident ${megabytes('resident').toFixed(2)} MB, V8 heap ${megabytes('heap').toFixed(2)} MB`,
      );
      expect(megabytes('resident')).toBeLessThanOrEqual(1);
      expect(megabytes('heap')).toBeLessThanOrEqual(1);
    });
  }
});
