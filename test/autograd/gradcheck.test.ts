import { describe, expect, test } from 'vitest';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { mul } from '../../lib/ops/binary.ts';
import { defineOp } from '../../lib/ops/define.ts';
import { exp } from '../../lib/ops/unary.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { device } from '../../lib/tensor/device.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';

const leaf = (data: number[] | number[][]) => tensor(data, { dtype: 'f64', requiresGrad: true });

describe('gradcheck', () => {
  test('returns the largest relative error of a right rule', async () => {
    expect(await gradcheck((x) => exp(x), [leaf([0.5, -1, 2])])).toBeLessThan(1e-8);
  });

  test('names input, element, both values of a wrong rule', async () => {
    const wrong = defineOp('wrong', {
      forward: (a: Tensor, b: Tensor) => a.mul(b),
      backward: ({ inputs: [a, b], grad }) => [
        grad.mul(b as Tensor),
        grad.mul(a as Tensor).mul(tensor([[1, 1, 1.001]], { dtype: 'f64' })),
      ],
    });
    const inputs = [leaf([[1, 2, 3]]), leaf([[4, 5, 6]])];
    await expect(gradcheck(wrong as never, inputs)).rejects.toThrow(
      /input 1 \[1, 3\], element \[0, 2\]: numeric -?\d.*, backward -?\d.*relative error 1\.0e-3, allowed 0\.000001/s,
    );
    await expect(gradcheck(wrong as never, inputs, { tolerance: 0.01 })).resolves.toBeCloseTo(0.001, 4);
  });

  test('a gradient that never arrives is an error', async () => {
    const lost = defineOp('lost', { forward: (x: Tensor) => x.mul(2), backward: () => [null] });
    await expect(gradcheck(lost as never, [leaf([1, 2])])).rejects.toThrow(/input 0 \[2\], element \[0\].*gave no gradient/);
    await expect(gradcheck((x) => x.detach().mul(3), [leaf([1])])).rejects.toThrow(/gave no gradient/);
  });

  test('weights several outputs differently, and their elements', async () => {
    const swapped = defineOp('swapped', {
      forward: (x: Tensor) => x.mul(1),
      backward: ({ grad }) => [grad.mul(tensor([2, 0], { dtype: 'f64' }))],
    });
    await expect(gradcheck(swapped as never, [leaf([1, 1])])).rejects.toThrow('GRADCHECK'.toLowerCase());
    const x = leaf([0.3, 0.7]);
    expect(await gradcheck((t) => [mul(t, t), exp(t)], [x])).toBeLessThan(1e-8);
  });

  test('refuses what is not f64, naming the remedy', async () => {
    const x = tensor([1, 2], { requiresGrad: true });
    await expect(gradcheck((t) => exp(t), [x])).rejects.toThrow(
      /input 0 \[2\] is f32.*tensor\(data, \{ dtype: 'f64', requiresGrad: true \}\)/,
    );
    // Where no input says that it wants a gradient, all are checked.
    const plain = tensor([1], { dtype: 'f64' });
    expect(await gradcheck((t) => exp(t), [plain])).toBeLessThan(1e-8);
    expect(plain.requiresGrad).toBe(false);
    await expect(gradcheck((t) => t, [tensor([1], { dtype: 'i32' })])).rejects.toThrow(/no f64 input/);
    await expect(gradcheck((t) => exp(t).to('f32'), [leaf([1])])).rejects.toThrow(/output 0 \[1\] is f32/);
  });

  test('leaves values, gradients and memory as they were', async () => {
    const x = leaf([0.5, -1]);
    exp(x).backward(tensor([1, 1], { dtype: 'f64' }));
    const [before, grad] = [await x.data(), x.grad];
    const live = device('cpu').memory().live;
    await gradcheck((t) => exp(t), [x]);
    expect(await x.data()).toEqual(before);
    expect(x.grad).toBe(grad);
    expect(device('cpu').memory().live).toBe(live);
  });
});
