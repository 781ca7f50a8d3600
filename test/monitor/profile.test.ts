import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { build, type Workload } from '../../bench/models.ts';
import {
  ConfigError,
  DataError,
  defaultDevice,
  embedding,
  losses,
  optim,
  type Profile,
  profile,
  Stepper,
  scope,
  tensor,
  zeros,
} from '../../lib/index.ts';
import { onGpu } from '../helpers/device.ts';
import { traceFaults } from './trace-schema.ts';

const workloads = JSON.parse(readFileSync(new URL('../../bench/workloads.json', import.meta.url), 'utf8')) as Record<
  string,
  Workload
>;
const peak = 1e11;

function stepsOf(name: string) {
  const { model, x, y, flops } = build(workloads[name] as Workload);
  const stepper = new Stepper({ model, optimizer: new optim.AdamW(model.parameters(), { lr: 1e-3 }), clipNorm: 1 });
  const step = () => stepper.step({ micro: [{ x, y }] }, (b) => losses.crossEntropy(model.forward(b.x), b.y));
  return { step, flops };
}
const sumOf = (p: Profile): number => p.rows.reduce((s, r) => s + r.ms, 0) + p.idleMs;
const multiply = () =>
  scope.run(() =>
    zeros([64, 32])
      .matmul(zeros([32, 16]))
      .sum()
      .item(),
  );

// The clock on the JavaScript thread and those of the streams know nothing of each other.
describe.skipIf(onGpu)('whole steps on the CPU: parts and gaps are the time', () => {
  test.each(['cnn', 'gpt-cpu'])('%s', async (name) => {
    const { step, flops } = stepsOf(name);
    for (let i = 0; i < 3; i++) await step();
    let ms = 0;
    const p = await profile(
      async () => {
        const start = performance.now();
        for (let i = 0; i < 4; i++) await step();
        ms = performance.now() - start;
      },
      { peak },
    );
    expect(Math.abs(sumOf(p) - ms) / ms).toBeLessThan(0.05);
    expect(Math.abs(p.kinds.reduce((s, r) => s + r.ms, 0) + p.idleMs - ms) / ms).toBeLessThan(0.05);
    const found = p.rows.reduce((s, r) => s + r.gflops * r.ms * 1e6, 0) / 4;
    expect(Math.abs(found / flops - 1)).toBeLessThan(0.01);
    expect(p.rows[0]?.kind).toMatch(/conv|matmul/);
    expect(p.dropped).toBe(0);
    expect(traceFaults(JSON.stringify(p.chromeTrace()))).toEqual([]);
  });

  test('without a peak given it is measured', async () => {
    const p = await profile(() => multiply());
    expect(p.peak).toBeGreaterThan(1e9);
    expect(p.rows.find((r) => r.op === 'matmul')?.peakShare).toBeGreaterThan(0);
  });
});

describe('profile', () => {
  test('tells each op: calls, time, bytes, multiply-adds, and when it was queued', async () => {
    await multiply();
    const p = await profile(() => multiply(), { peak });
    expect(p.result).toBe(0);
    const row = p.rows.find((r) => r.op === 'matmul');
    expect(row).toMatchObject({ kind: 'matmul', calls: 1, bytes: 4 * (64 * 32 + 32 * 16 + 64 * 16) });
    const call = p.calls.find((c) => c.op === 'matmul');
    expect(call).toMatchObject({ macs: 64 * 32 * 16, stream: 'compute' });
    expect(call?.shapes).toEqual([
      [64, 32],
      [32, 16],
    ]);
    expect(row?.gflops).toBeCloseTo((2 * 64 * 32 * 16) / (row?.ms as number) / 1e6, 6);
    expect(row?.peakShare).toBeCloseTo(((row?.gflops as number) * 1e9) / peak, 9);
    // In the order in which they were queued, none before it was.
    const compute = p.calls.filter((c) => c.stream === 'compute');
    compute.forEach((c, i) => {
      const before = compute[i - 1];
      if (before) expect(c.begin).toBeGreaterThanOrEqual(before.begin + before.ms - 0.005);
      if (c.queued) expect(c.begin).toBeGreaterThan(c.queued.begin - 0.1);
    });
    expect(p.rows.map((r) => r.op)).toContain('download');
    expect(sumOf(p)).toBeCloseTo(p.ms, 1);
  });

  test('as text: a title, a row for each op, the gaps, the total', async () => {
    const p = await profile(() => multiply(), { peak });
    const lines = String(p).split('\n');
    expect(lines[0]).toMatch(/^profile on (cpu|cuda:0)/);
    expect(lines[1]).toMatch(/op +kind +calls +ms +share +bytes +GB\/s +GFLOP\/s +of peak/);
    expect(lines.some((l) => l.startsWith('idle'))).toBe(true);
    expect(lines.some((l) => /^matmul +matmul +1 /.test(l))).toBe(true);
    expect(p.table(1)).toMatch(/\d+ more/);
    const { gpu } = defaultDevice();
    expect(String(p).includes('SIMULATED')).toBe(gpu?.simulated ?? false);
  });

  test('as a trace that viewers can open', async () => {
    const p = await profile(() => multiply(), { peak });
    const trace = p.chromeTrace();
    expect(traceFaults(JSON.stringify(trace))).toEqual([]);
    const names = trace.traceEvents.filter((e) => e.ph === 'M').map((e) => e.args?.name);
    expect(names).toEqual(['anneal', 'JavaScript', 'compute stream']);
    expect(trace.traceEvents.find((e) => e.name === 'matmul')).toMatchObject({
      cat: 'matmul',
      args: { inputs: '[64, 32] [32, 16]' },
    });
    // The check itself sees what is wrong.
    const broken = (change: (events: typeof trace.traceEvents) => void) => {
      const copy = structuredClone(trace);
      change(copy.traceEvents);
      return traceFaults(JSON.stringify(copy)).length;
    };
    const event = (ts: number, dur: number) => ({ name: 'a', cat: 'b', ph: 'X' as const, pid: 1, tid: 2, ts, dur });
    expect(broken((e) => e.push({ ...event(0, 1), dur: -1 }))).toBe(1);
    expect(broken((e) => e.push({ ...event(1e9, 1), ph: 'Y' as 'X' }))).toBe(1);
    expect(broken((e) => e.push({ ...event(1e9, 1), tid: 99 }))).toBe(1);
    expect(broken((e) => e.push(event(1e9, 10), event(1e9 + 5, 10)))).toBe(1);
    expect(broken((e) => e.push({ name: 'thread_name', ph: 'M', pid: 1, tid: 2 }))).toBe(1);
  });

  test('room for so many calls; the rest are counted', async () => {
    const p = await profile(() => multiply(), { peak, capacity: 2 });
    expect(p.calls.filter((c) => c.stream === 'compute').length).toBe(2);
    expect(p.dropped).toBeGreaterThan(0);
    expect(String(p)).toContain(`${p.dropped} calls were dropped`);
  });

  test('one at a time; what fn throws comes through, and so do errors of kernels; the next works', async () => {
    await expect(profile(() => profile(() => 1, { peak }), { peak })).rejects.toThrow(/another profile is under way/);
    await expect(
      profile(
        () => {
          throw new Error('mine');
        },
        { peak },
      ),
    ).rejects.toThrow('mine');
    await expect(profile(() => void embedding(tensor([7], { dtype: 'i32' }), zeros([3, 2])), { peak })).rejects.toThrow(
      DataError,
    );
    expect((await profile(() => multiply(), { peak })).rows.length).toBeGreaterThan(2);
    await expect(profile(1 as never)).rejects.toThrow(ConfigError);
    await expect(profile(() => 1, { capacity: 0 })).rejects.toThrow(ConfigError);
    await expect(profile(() => 1, { peak: -1 })).rejects.toThrow(ConfigError);
    await expect(profile(() => 1, { device: 'gpu' as never })).rejects.toThrow(/unknown device/);
    await expect(profile(() => 1, { capcity: 1 } as never)).rejects.toThrow(/capacity/);
  });
});
