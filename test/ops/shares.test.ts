/**
 * Elementwise kernels hand each thread several elements: all of a pack, or some spread over the block. Whatever share an element falls into, its
 * result has the bits that it has in a long, aligned tensor (which kernels-vs-f64 holds to the formulas).
 */
import { describe, expect, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import { cast, narrow, scope, type Tensor, tensor, where } from '../../lib/index.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';

/** First element and length: every remainder of a pack of 4, 8 or 16, and 1 to 8 (or 16) elements for each of a block's 256 threads, on odd elements. */
const parts: readonly (readonly [number, number])[] = [
  [0, 10],
  [0, 11],
  [0, 12],
  [0, 13],
  [0, 14],
  [0, 15],
  [1, 13],
  [3, 356],
  [1, 612],
  [1, 868],
  [3, 1124],
  [1, 1380],
  [1, 1636],
  [5, 1892],
];
const all = 2048;

const numbers = (name: string, low = -2, high = 2): Float32Array => {
  const stream = new PhiloxStream(11, name);
  return Float32Array.from({ length: all }, () => low + (high - low) * stream.uniform());
};
type DType = 'f32' | 'f16' | 'bf16' | 'i32' | 'u8';
const placed = (name: string, dtype: DType, low?: number, high?: number): Tensor =>
  scope(() => tensor(numbers(name, low, high), { device: anneal.defaultDevice() }).to(dtype));

/** What each part gives is that part of what all gives, forward and, where `differentiable`, backward. */
async function agree(operands: readonly Tensor[], f: (...x: Tensor[]) => Tensor, differentiable: boolean): Promise<void> {
  const run = (from: number, n: number) => {
    const cut = operands.map((t) => {
      const part = narrow(t.detach(), 0, from, n).detach();
      part.requiresGrad = differentiable;
      return part;
    });
    const y = f(...cut);
    if (differentiable)
      y.backward(
        narrow(operands[0] as Tensor, 0, from, n)
          .detach()
          .to(y.dtype),
      );
    return [y, ...(differentiable ? cut.map((c) => c.grad as Tensor) : [])].map((t) => t.data());
  };
  await scope.run(async () => {
    const whole = await Promise.all(run(0, all));
    for (const [from, n] of parts)
      await scope.run(async () => {
        const part = await Promise.all(run(from, n));
        part.forEach((values, i) => {
          const expected = whole[i]?.slice(from, from + n) as Float32Array;
          const at = values.findIndex((v, k) => !Object.is(v, expected[k]));
          expect(at, `result ${i}, [${from}, ${from + n})`).toBe(-1);
        });
      });
  });
}
const op = (name: string) =>
  (anneal as unknown as Record<string, (...x: unknown[]) => Tensor>)[name] as (...x: unknown[]) => Tensor;

const unary =
  'neg abs exp expm1 sin cos tanh sigmoid relu silu softplus erf gelu floor ceil round sign square leakyRelu elu'.split(' ');
const positive = 'log log1p sqrt rsqrt reciprocal'.split(' ');

describe.each(['f32', 'f16', 'bf16'] as const)('%s', (dtype) => {
  test.each(unary)('%s', (name) => agree([placed(name, dtype)], (x) => op(name)(x), true));
  test.each(positive)('%s', (name) => agree([placed(name, dtype, 0.1, 3)], (x) => op(name)(x), true));
  test('clamp, pow of a number', async () => {
    await agree([placed('a', dtype)], (x) => anneal.clamp(x, { min: -1, max: 0.5 }), true);
    await agree([placed('a', dtype, 0.1, 3)], (x) => anneal.pow(x, 2.5), true);
  });
  test('at 0, where they have no derivative: 0', () =>
    scope.run(async () => {
      const zero = () =>
        Object.assign(tensor([0, -0, 1, -1], { device: anneal.defaultDevice() }).to(dtype).detach(), { requiresGrad: true });
      for (const [name, expected] of Object.entries({ abs: [0, 0, 1, -1], relu: [0, 0, 1, 0], sign: [0, 0, 0, 0] })) {
        const x = zero();
        op(name)(x).backward(anneal.ones([4], { dtype, device: anneal.defaultDevice() }));
        expect(
          Array.from(await (x.grad as Tensor).data(), (v) => v + 0),
          name,
        ).toEqual(expected);
      }
    }));
  test.each('add sub mul div maximum minimum'.split(' '))('%s', async (name) => {
    await agree([placed('a', dtype), placed('b', dtype, 0.5, 2)], (x, y) => op(name)(x, y), true);
    await agree([placed('a', dtype, 0.5, 2)], (x) => op(name)(x, 1.5), true);
  });
  test('pow', () => agree([placed('a', dtype, 0.5, 2), placed('b', dtype)], (x, y) => anneal.pow(x, y), true));
});

describe.each(['f32', 'f16', 'bf16', 'i32', 'u8'] as const)('two operands, %s', (dtype) => {
  const operands = () => [placed('a', dtype, 0, 9), placed('b', dtype, 0, 9)];
  test.each('add sub mul maximum minimum eq ne lt le gt ge'.split(' '))('%s', async (name) => {
    await agree(operands(), (x, y) => op(name)(x, y), false);
    await agree(operands().slice(0, 1), (x) => op(name)(x, 3), false);
  });
  test('where', () => agree(operands(), (x, y) => where(x.gt(y), x, y), false));
  test('cast to every dtype', async () => {
    for (const to of ['f32', 'f16', 'bf16', 'i32', 'u8', 'bool'] as const)
      await agree(operands().slice(0, 1), (x) => cast(x, to), false);
  });
});
