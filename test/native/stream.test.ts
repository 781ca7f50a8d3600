import { describe, expect, test } from 'vitest';
import { DataError } from '../../lib/native/errors.ts';
import { native, nativeOp, run, synchronize } from '../../lib/native/run.ts';
import { embedding } from '../../lib/ops/embedding.ts';
import { matmul } from '../../lib/ops/matmul.ts';
import { exp } from '../../lib/ops/unary.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { device, StreamEvent } from '../../lib/tensor/device.ts';
import { scope } from '../../lib/tensor/scope.ts';
import { type Tensor, unwritten } from '../../lib/tensor/tensor.ts';

const table = () => tensor(new Float32Array(65 * 4), { shape: [65, 4] });
const bad = (count = 3) => embedding(tensor(new Int32Array(count).fill(70), { shape: [count] }), table());
const message = /^embedding\(.*\[3\].*\): .*70.*65/;
const rejection = (p: Promise<unknown>): Promise<Error> =>
  p.then(
    () => new Error('resolved'),
    (e: Error) => e,
  );

/** Reads what fn makes in a scope of its own. */
const reading = (fn: () => Tensor): Promise<unknown> => scope(() => [fn().data()])[0] as Promise<unknown>;

describe('an error raised on the stream', () => {
  test('arrives at the next await with the op, its shapes, and what was wrong', async () => {
    const error = await rejection(reading(() => bad()));
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(message);
    expect(error.message).toContain('[65, 4]');
  });

  test('arrives at whichever await comes next', async () => {
    const x = tensor([1]);
    bad();
    expect((await rejection(x.item())).message).toMatch(message);
    bad();
    expect((await rejection(synchronize())).message).toMatch(message);
    bad();
    expect((await rejection(device('cpu').synchronize())).message).toMatch(message);
    expect(await x.item()).toBe(1);
  });

  test('rejects every read that was queued beside it, for its memory was never written', async () => {
    const [first, second, sound] = scope(() => {
      const y = bad();
      return [y.data(), exp(y).data(), tensor([1]).item()].map(rejection);
    });
    expect((await Promise.all([first, second, sound])).map((e) => message.test(e?.message as string))).toEqual([
      true,
      true,
      true,
    ]);
  });

  test('is over once it has been seen: calls made from then on run', async () => {
    const x = tensor([0, 0]);
    const reads: Promise<unknown>[] = [];
    bad();
    const other = rejection(x.data());
    await rejection(
      x.data().catch((e) => {
        // `other` has not settled yet, and must not take these with it.
        reads.push(exp(x).data());
        throw e;
      }),
    );
    await other;
    expect(await Promise.all(reads)).toEqual([new Float32Array([1, 1])]);
    for (let i = 0; i < 5; i++) {
      expect((await rejection(bad().data())).message).toMatch(message);
      expect(await exp(x).data()).toEqual(new Float32Array([1, 1]));
    }
  });

  test('in a kernel that runs on several threads it ends no process', async () => {
    const many = 200_000;
    const error = await rejection(reading(() => bad(many)));
    expect(error).toBeInstanceOf(DataError);
    const row = new Int32Array(many);
    row[many - 1] = -1;
    expect(await rejection(reading(() => embedding(tensor(row), table())))).toBeInstanceOf(DataError);
  });

  test('names the first of several', async () => {
    const a = embedding(tensor(new Int32Array([66])), table());
    const b = embedding(tensor(new Int32Array([-5, 0])), table());
    expect((await rejection(b.data())).message).toMatch(/66/);
    expect(a.shape).toEqual([1, 4]);
  });

  test('stands aside for calls so long ago that shapes are forgotten', async () => {
    const x = tensor([1]);
    bad();
    scope(() => {
      for (let i = 0; i < 5000; i++) exp(x);
    });
    expect((await rejection(x.item())).message).toMatch(/^embedding\(shapes no longer known\)/);
  });
});

describe('streams', () => {
  const fill = nativeOp('fill');
  const big = () => tensor(new Float32Array(300 * 300).fill(0.001), { shape: [300, 300] });
  const busy = (x: Tensor) =>
    scope(() => {
      for (let i = 0; i < 40; i++) matmul(x, x);
    });

  test('an event makes one wait for another', async () => {
    const a = big();
    const out = tensor(new Float32Array(4));
    await synchronize();
    busy(a);
    run(fill, [], [out], [5]);
    new StreamEvent().record('compute').wait('copy');
    run(fill, [], [out], [7], 1); // without the event this would come first
    await device('cpu').synchronize();
    expect(await out.data()).toEqual(new Float32Array(4).fill(7));
  });

  test('without one they do not wait', async () => {
    const a = big();
    await synchronize();
    const marks: string[] = [];
    busy(a);
    const compute = synchronize('compute').then(() => marks.push('compute'));
    await Promise.all([synchronize('comm').then(() => marks.push('comm')), compute]);
    expect(marks).toEqual(['comm', 'compute']);
  });

  test('an event keeps the meaning it had when it was waited for', async () => {
    const event = new StreamEvent().record('compute');
    event.wait('copy');
    event.record('compute');
    event.wait('comm');
    await device('cpu').synchronize();
    // A reply is on its way before its own record counts as done.
    await expect
      .poll(() =>
        device('cpu')
          .queues()
          .map((q) => q.enqueued - q.completed),
      )
      .toEqual([0, 0, 0]);
  });

  test('memory that another stream used is reused only after that stream is done', async () => {
    const a = big();
    await device('cpu').synchronize();
    const event = new StreamEvent();
    busy(a);
    event.record('compute').wait('copy'); // the copy stream stands still for a while
    const x = unwritten([1 << 10], 'f32');
    run(fill, [], [x], [1], 1);
    const late = x.storage.handle;
    x.dispose();
    const y = unwritten([1 << 10], 'f32');
    run(fill, [], [y], [2]);
    expect(late).not.toBe(0);
    await device('cpu').synchronize();
    expect(new Set(await y.data())).toEqual(new Set([2]));
  });

  test('no such stream is an error', () => {
    const out = tensor([1]);
    expect(() => run(fill, [], [out], [1], 3)).toThrow(/no such stream/);
    expect(() => native().notify(9, 1, 0)).toThrow(/no such stream/);
  });
});
