// API part 1, as a user writes it.
import { DeviceError, manualSeed, noGrad, randn, scope, tensor, zeros } from 'anneal';
import { expect, test, vi } from 'vitest';
import { defaultDevice } from '../../lib/tensor/device.ts';
import { onGpu } from '../helpers/device.ts';

const here = defaultDevice(); // the CPU unless told otherwise

test('tensors', async () => {
  manualSeed(7);
  const a = tensor(
    [
      [1, 2],
      [3, 4],
    ],
    { requiresGrad: true },
  ); // f32 on the default device (cpu)
  const y = a.matmul(a.transpose(0, 1)).relu().sum();
  y.backward(); // enqueues; nothing blocks
  const value: number = await y.item();
  expect(value).toBe(5 + 11 + 11 + 25);
  const gradient = await (a.grad as NonNullable<typeof a.grad>).data();
  expect(gradient).toBeInstanceOf(Float32Array);
  // d/da sum(a a^T) = 2 (column sums of a, in every row)
  expect([...gradient]).toEqual([8, 12, 8, 12]);

  const said: string[] = [];
  const log = vi.spyOn(console, 'log').mockImplementation((line) => void said.push(line));
  await a.print(); // values, shape, dtype, device
  log.mockRestore();
  expect(said.join('\n')).toBe(`tensor([[1., 2.],\n        [3., 4.]], [2, 2] f32 on ${here})`);
  const { inspect } = await import('node:util');
  expect(inspect(y)).toBe(`Tensor [] f32 on ${here}, from sum`); // the header at once

  const kept = scope(() => noGrad(() => a.add(1))); // what is made inside is freed, unless returned or kept()
  expect([...(await kept.data())]).toEqual([2, 3, 4, 5]);
  const { live, cached, peak } = here.memory(); // in bytes
  expect([live, cached, peak].every((n) => Number.isInteger(n) && n >= 0)).toBe(true);
  expect(zeros([2, 3]).shape).toEqual([2, 3]);

  // where there is no such device: throws, naming library and remedy
  const there = () => randn([2, 2], { dtype: 'bf16', device: 'cuda:0' });
  if (!onGpu) {
    expect(there).toThrow(DeviceError);
    expect(there).toThrow(/cuda:0.*libcuda\.so\.1/);
  }
  expect(randn([2, 2], { dtype: 'bf16' }).dtype).toBe('bf16');
});

test('a tensor is no number by accident', () => {
  const x = tensor([1]);
  expect(() => +(x as unknown as number)).toThrow(/await x\.item\(\)/);
  expect(`${x}`).toBe(`Tensor [1] f32 on ${here}`);
});

test('using', async () => {
  const before = here.memory().handles;
  {
    using _ = scope();
    tensor([1, 2, 3]).exp();
    expect(here.memory().handles).toBeGreaterThan(before);
  }
  expect(here.memory().handles).toBeLessThanOrEqual(before);
});
