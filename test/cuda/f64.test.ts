/** f64 is the CPU's: on a GPU every op that computes says so, in the same words, and the device goes on. */
import { describe, expect, test } from 'vitest';
import type { Tensor } from '../../lib/index.ts';
import * as anneal from '../../lib/index.ts';
import { withoutSimulator, withSimulatedGpu } from '../helpers/device.ts';

describe.skipIf(withoutSimulator)('f64 on the simulated GPU', () => {
  const on = withoutSimulator ? undefined : withSimulatedGpu();
  const x = (...shape: number[]): Tensor =>
    anneal.tensor(
      Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i % 7),
      { shape, device: on },
    );
  const i32 = (...values: number[]): Tensor => anneal.tensor(Int32Array.from(values), { device: on });

  test.each<[string, () => Tensor]>([
    ['relu', () => x(2, 2).relu()],
    ['add', () => x(2, 2).add(x(2, 2))],
    ['gt', () => x(3).gt(1)],
    ['sum', () => x(2, 2).sum()],
    ['variance', () => x(2, 2).variance()],
    ['logSumExp', () => anneal.logSumExp(x(2, 3))],
    ['argmax', () => anneal.argmax(x(2, 3), { axis: 1 })],
    ['softmax', () => x(2, 3).softmax()],
    ['matmul', () => x(2, 3).matmul(x(3, 2))],
    ['attention', () => anneal.attention(x(1, 1, 4, 8), x(1, 1, 4, 8), x(1, 1, 4, 8))],
    ['conv2d', () => anneal.conv2d(x(1, 2, 5, 5), x(3, 2, 3, 3))],
    ['maxPool2d', () => anneal.maxPool2d(x(1, 2, 4, 4), { kernelSize: 2 })],
    ['layerNorm', () => anneal.layerNorm(x(2, 4))],
    ['groupNorm', () => anneal.groupNorm(x(2, 4, 2, 2), null, null, { numGroups: 2 })],
    ['crossEntropy', () => anneal.losses.crossEntropy(x(2, 4), i32(1, 2)).mean()],
    ['mse', () => anneal.losses.mse(x(2), x(2)).mean()],
    ['gather', () => anneal.gather(x(3, 2), i32(0, 1, 1, 0, 1, 0).reshape([3, 2]), { axis: 0 })],
    ['embedding', () => anneal.embedding(i32(0, 1), x(3, 4))],
    ['uniform', () => anneal.uniform([4], { dtype: 'f64', device: on })],
    ['cast', () => anneal.cast(x(3), 'f32')],
  ])('%s', async (name, make) => {
    await expect(async () => await make().data()).rejects.toThrow(
      new RegExp(
        `^${name === 'argmax' ? 'argExtreme' : name}\\(.*f64 is computed on the CPU only: convert to f32, or move the tensor there`,
      ),
    );
    expect((await i32(1, 2).data())[1], 'the device goes on').toBe(2);
  });

  test('moving bytes is no computing: reshape, transpose, concat, reading', async () => {
    expect(Array.from(await anneal.concat([x(2, 2).transpose(0, 1), x(1, 2)]).data())).toEqual([0, 2, 1, 3, 0, 1]);
  });
});
