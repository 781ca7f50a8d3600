import { describe, expect, test } from 'vitest';
import '../../lib/ops/binary.ts';
import '../../lib/ops/create.ts';
import '../../lib/ops/unary.ts';
import { native, synchronize } from '../../lib/native/run.ts';
import { cast } from '../../lib/ops/define.ts';
import { embedding } from '../../lib/ops/embedding.ts';
import { gather } from '../../lib/ops/select.ts';
import { bind } from '../../lib/tensor/context.ts';
import { fromHost } from '../../lib/tensor/create.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { ints, leaf, list, place } from '../helpers/place.ts';

describe('embedding', () => {
  const run = async (w: Tensor, index: Tensor, g: Tensor, times = 1) => {
    w.grad = null;
    for (let i = 0; i < times; i++) scope(() => embedding(index, w).backward(g));
    return (await (w.grad as Tensor | null)?.data()) as Float32Array;
  };
  test('the gradient adds to one that waits, and is the same for any number of threads', async () => {
    for (const [v, d, n] of [
      [65, 128, 768],
      [1000, 33, 129],
      [3, 7, 1000],
      [50, 384, 300],
    ] as const) {
      const w = leaf([v, d], 'w', 'f32');
      const index = cast(
        cast(
          place([n], 'f32', 'i')
            .mul(v)
            .add(v / 2),
          'i32',
        ),
        'i32',
      );
      const g = place([n, d], 'f32', 'g');
      const before = native().threads();
      native().threads(1);
      const one = await run(w, index, g);
      native().threads(Math.max(2, before));
      const more = await run(w, index, g);
      expect(Buffer.compare(Buffer.from(one.buffer), Buffer.from(more.buffer))).toBe(0);
      native().threads(before);
      const twice = await run(w, index, g, 2);
      for (let i = 0; i < one.length; i += 17) expect(twice[i]).toBeCloseTo(2 * (one[i] as number), 4);
    }
  });
  test('is rounded once to the policy dtype; the gradient stays f32', async () => {
    const w = leaf([5, 8], 'w', 'f32');
    const y = bind({ precision: 'bf16' }, () => embedding(ints([4, 0]), w));
    expect(y.dtype).toBe('bf16');
    expect(await list(y)).toEqual(await list(cast(embedding(ints([4, 0]), w), 'bf16')));
    y.backward(cast(place([2, 8]), 'bf16'));
    expect(w.grad?.dtype).toBe('f32');
  });
  test('a 16-bit weight gets a 16-bit gradient, summed in f32', async () => {
    const w = leaf([2, 4], 'w', 'bf16');
    scope(() =>
      embedding(ints(new Array(1000).fill(1)), w).backward(
        cast(fromHost(new Float32Array(4000).fill(1), [1000, 4], 'f32'), 'bf16'),
      ),
    );
    expect(w.grad?.dtype).toBe('bf16');
    expect(await list(w.grad as Tensor)).toEqual([0, 0, 0, 0, 1000, 1000, 1000, 1000]);
  });
  test('an index outside the weight is a DataError at the next await', async () => {
    const y = embedding(ints([1, 70]), place([65, 2]));
    await expect(y.data()).rejects.toThrow(/embedding.*index 70 is outside \[0, 65\) at position 1/);
    gather(place([3]), ints([-1]));
    await expect(synchronize('compute', defaultDevice().number)).rejects.toThrow(/index -1 is outside \[0, 3\)/);
  });
});
