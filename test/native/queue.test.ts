import { afterEach, describe, expect, test } from 'vitest';
import { DeviceError, GraphError, OutOfMemoryError } from '../../lib/native/errors.ts';
import { native, nativeOp, registerList, release, run, synchronize } from '../../lib/native/run.ts';
import { add, mul } from '../../lib/ops/binary.ts';
import { zeros } from '../../lib/ops/create.ts';
import { matmul } from '../../lib/ops/matmul.ts';
import { relu } from '../../lib/ops/unary.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { device } from '../../lib/tensor/device.ts';
import { scope } from '../../lib/tensor/scope.ts';
import { type Tensor, unwritten } from '../../lib/tensor/tensor.ts';

const cpu = device('cpu');
const fill = nativeOp('fill');
const reluOp = nativeOp('relu');

describe('a full queue', () => {
  test('is a typed error that names the remedy; nothing leaks, and the process goes on', async () => {
    const a = tensor(new Float32Array(1 << 20), { shape: [1 << 10, 1 << 10] });
    const out = zeros([16]);
    await synchronize();
    const before = cpu.memory();
    const timesFull = cpu.queues()[0]?.timesFull as number;
    let thrown: unknown;
    let queued = 0;
    scope(() => {
      for (let i = 0; i < 20; i++) matmul(a, a); // something slow, so that the queue fills behind it
      try {
        for (; queued < 1_000_000; queued++) run(fill, [], [out], [queued]);
      } catch (error) {
        thrown = error;
      }
      const { handles } = cpu.memory();
      expect(() => relu(out)).toThrow(DeviceError);
      expect(cpu.memory().handles, 'the output of the call that failed').toBe(handles);
    });
    expect(thrown).toBeInstanceOf(DeviceError);
    expect(String(thrown)).toMatch(/fill\(\): the compute stream's queue is full\. .*await device\.synchronize\(\)/);
    expect(queued).toBeGreaterThan(100_000);
    expect(cpu.queues()[0]?.timesFull).toBe(timesFull + 2);
    while ((cpu.queues()[0]?.enqueued ?? 0) > (cpu.queues()[0]?.completed ?? 0)) await new Promise((r) => setTimeout(r, 20));
    expect(new Set(await out.data())).toEqual(new Set([queued - 1]));
    expect(cpu.memory()).toMatchObject({ live: before.live, handles: before.handles });
  }, 120_000);

  test('counts calls', async () => {
    const out = zeros([16]);
    await synchronize();
    const before = cpu.queues()[0];
    for (let i = 0; i < 10; i++) run(fill, [], [out], [i]);
    await synchronize();
    const after = cpu.queues()[0];
    expect([before?.name, (after?.enqueued ?? 0) - (before?.enqueued ?? 0)]).toEqual(['compute', 11]);
    // The call that told us is counted just after it has told us.
    await expect.poll(() => cpu.queues()[0]?.completed).toBe(after?.enqueued);
  });
});

describe('handles', () => {
  const stale = () => {
    const t = tensor([1, 2]);
    const { handle } = t.storage;
    t.dispose();
    return { storage: { handle }, offset: 0, size: 2, code: 0, shape: [2], device: cpu };
  };

  test('a freed one is recognised, although its slot is in use again', () => {
    const old = stale();
    const next = tensor([3, 4]);
    expect(next.storage.handle).not.toBe(old.storage.handle);
    expect(() => run(reluOp, [old], [unwritten([2], 'f32')], [0, 0])).toThrow(GraphError);
    expect(() => run(reluOp, [old], [unwritten([2], 'f32')], [0, 0])).toThrow(
      /relu\(\[2\]\): this tensor was freed\. .*scope\(\)/,
    );
    expect(() => release(old.storage.handle)).toThrow();
    next.dispose();
  });

  test('numbers that never were handles are errors, not corruption', () => {
    const x = tensor([1, 2]);
    for (const handle of [1, -1, 0.5, 2 ** 24, 2 ** 40, 2 ** 53, Number.NaN, Infinity, -Infinity])
      expect(() =>
        run(
          reluOp,
          [{ ...x, storage: { handle }, offset: 0, size: 2, code: 0, shape: [2], device: cpu }],
          [unwritten([2], 'f32')],
          [0, 0],
        ),
      ).toThrow();
  });

  test('an operand that reaches past its memory is refused', () => {
    const x = tensor([1, 2]);
    const operand = (offset: number, size: number, code = 0) => ({
      storage: x.storage,
      offset,
      size,
      code,
      shape: [size],
      device: cpu,
    });
    for (const o of [
      operand(0, 1000),
      operand(64, 1),
      operand(-4, 1),
      operand(0, -1),
      operand(0, Number.NaN),
      operand(Number.NaN, 1),
      operand(0, 2, 99),
      operand(0, 2 ** 60),
    ])
      expect(() => run(reluOp, [o], [unwritten([2], 'f32')], [0, 0])).toThrow();
  });

  test('a list holds its tensors until it is released, and is no tensor', async () => {
    const before = cpu.memory().handles;
    const [a, b] = [tensor([1, 2]), tensor([3])];
    const list = registerList([
      [a, null],
      [b, null],
    ]);
    a.dispose();
    b.dispose();
    expect(cpu.memory().handles).toBe(before + 3);
    expect(() =>
      run(
        reluOp,
        [{ storage: { handle: list.list }, offset: 0, size: 2, code: 0, shape: [2], device: cpu }],
        [unwritten([2], 'f32')],
        [0, 0],
      ),
    ).toThrow(/list/);
    release(list.list);
    expect(cpu.memory().handles).toBe(before);
    await synchronize();
  });

  test('more operands than the crossing carries', () => {
    const x = tensor([1]);
    expect(() => run(reluOp, Array(9).fill(x), [unwritten([1], 'f32')])).toThrow();
    expect(() => run(reluOp, [x], Array(5).fill(unwritten([1], 'f32')))).toThrow();
    expect(() => run(reluOp, [x], [unwritten([1], 'f32')], Array(65).fill(0))).toThrow();
  });
});

describe('memory', () => {
  const { limit } = cpu.memory();
  afterEach(() => cpu.setMemoryLimit(limit));

  test('live, cached, peak, handles', () => {
    const before = cpu.memory();
    const x = zeros([1 << 18]);
    const during = cpu.memory();
    expect(during.live - before.live).toBe(1 << 20);
    expect(during.handles - before.handles).toBe(1);
    cpu.resetPeak();
    x.dispose();
    const after = cpu.memory();
    expect(after).toMatchObject({ live: before.live, handles: before.handles });
    expect(after.peak).toBe(during.live);
    expect(after.cached).toBeGreaterThanOrEqual(1 << 20);
    const again = zeros([1 << 18]);
    expect(cpu.memory().cached).toBe(after.cached - (1 << 20));
    again.dispose();
  });

  test('emptyCache gives it back', () => {
    zeros([1 << 18]).dispose();
    cpu.emptyCache();
    expect(cpu.memory().cached).toBe(0);
  });

  test('the limit is a typed error at the call that asked', () => {
    cpu.setMemoryLimit(cpu.memory().live + 1e6);
    expect(() => zeros([1 << 20])).toThrow(OutOfMemoryError);
    expect(() => zeros([1 << 20])).toThrow(/fill: asked for 4\.2 MB .* the limit is/);
    const { handles } = cpu.memory();
    expect(() => zeros([1 << 20])).toThrow();
    expect(cpu.memory().handles).toBe(handles);
  });

  test('blocks of sizes no longer wanted are given back before the limit is passed', () => {
    cpu.emptyCache();
    cpu.setMemoryLimit(cpu.memory().live + 100e6);
    for (let i = 0; i < 200; i++) zeros([200_000 + 25_000 * i]).dispose();
    const { live, cached, limit: most } = cpu.memory();
    expect(live + cached).toBeLessThanOrEqual(most);
  });

  test('sizes 0 and 1', async () => {
    expect(await zeros([0]).data()).toEqual(new Float32Array(0));
    expect(await zeros([0, 3]).data()).toEqual(new Float32Array(0));
    expect(await zeros([]).data()).toEqual(new Float32Array(1));
    expect(() => native().allocate(-1, 0)).toThrow();
    expect(() => native().allocate(Number.NaN, 0)).toThrow();
  });
});

describe('the cost of a call', () => {
  /** Nanoseconds per call on the JavaScript thread, amortised over a scope of 1000; the best of many, since other work shares the cores. */
  async function cost(call: () => unknown): Promise<number> {
    const calls = 1000;
    let best = Infinity;
    for (let i = 0; i < 60; i++) {
      const start = process.hrtime.bigint();
      scope(() => {
        for (let j = 0; j < calls; j++) call();
      });
      best = Math.min(best, Number(process.hrtime.bigint() - start) / calls);
      await synchronize();
    }
    return best;
  }

  test('an elementwise op on 16 numbers takes a few microseconds at most to queue', async () => {
    const x = tensor(new Float32Array(16));
    const w = tensor(new Float32Array(16), { requiresGrad: true });
    const found: Record<string, number> = {
      relu: await cost(() => relu(x)),
      add: await cost(() => add(x, x)),
      'add a number': await cost(() => add(x, 1)),
      'mul, recorded': await cost(() => mul(w, x)),
    };
    const report = Object.entries(found).map(([name, ns]) => `${name} ${ns.toFixed(0)} ns`);
    console.log(`to queue one call: ${report.join(', ')}`);
    for (const [name, ns] of Object.entries(found)) expect(ns, name).toBeLessThan(5000);
  });

  test('backward of a chain costs a few microseconds per op', async () => {
    const w = tensor(new Float32Array(16), { requiresGrad: true });
    const seed = tensor(new Float32Array(16));
    const length = 200;
    let best = Infinity;
    for (let i = 0; i < 40; i++) {
      scope(() => {
        let y: Tensor = w;
        for (let j = 0; j < length; j++) y = relu(y);
        const start = process.hrtime.bigint();
        y.backward(seed);
        best = Math.min(best, Number(process.hrtime.bigint() - start) / length);
      });
      await synchronize();
    }
    console.log(`backward, per op: ${best.toFixed(0)} ns`);
    expect(best).toBeLessThan(20_000);
  });
});
