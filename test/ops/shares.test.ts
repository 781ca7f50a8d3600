/**
 * Elementwise kernels hand each thread several elements: all of a pack, or some spread over the block. Whatever share an element falls into, and however
 * operands are broadcast, its result has the bits that it has in a long, aligned tensor (which kernels-vs-f64 holds to the formulas).
 */
import { describe, expect, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import { broadcastTo, cast, narrow, scope, type Tensor, tensor, where } from '../../lib/index.ts';
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

function expectBits(values: ArrayLike<number>, expected: ArrayLike<number>, what: string): void {
  const at = Array.from(values).findIndex((v, k) => !Object.is(v, expected[k]));
  expect(at, what).toBe(-1);
}

/**
 * What each part gives is that part of what all gives, forward and, where `differentiable`, backward; there each operand is used twice, so that
 * the second gradient is added to the first.
 */
async function agree(operands: readonly Tensor[], f: (...x: Tensor[]) => Tensor, differentiable: boolean): Promise<void> {
  const run = (from: number, n: number) => {
    const cut = operands.map((t) => {
      const part = narrow(t.detach(), 0, from, n).detach();
      part.requiresGrad = differentiable;
      return part;
    });
    const y = f(...cut);
    if (!differentiable) return [y.data()];
    // A sum over the part is no part of the sum.
    const summed = y.shape.length === 0;
    const g = summed ? anneal.ones([], { device: y.device }) : narrow(operands[0] as Tensor, 0, from, n).detach();
    y.backward(g.to(y.dtype));
    const gradients = () => cut.flatMap((c) => c.grad ?? []);
    const once = gradients();
    for (const c of cut) c.grad = null;
    const again = f(...cut);
    again
      .mul(0.5)
      .add(f(...cut))
      .backward(g.to(again.dtype));
    return [...(summed ? [] : [y]), ...once, ...gradients()].map((t) => t.data());
  };
  await scope.run(async () => {
    const whole = await Promise.all(run(0, all));
    for (const [from, n] of parts)
      await scope.run(async () => {
        const part = await Promise.all(run(from, n));
        part.forEach((values, i) => {
          expectBits(values, (whole[i] as Float32Array).slice(from, from + n), `result ${i}, [${from}, ${from + n})`);
        });
      });
  });
}

/** Shapes of two operands: one value beside many, rows beside columns, with rows of whole packs (16 of u8) and without. */
const pairs: readonly (readonly [number[], number[]])[] = [
  [[1], [1000]],
  [[1000], [1]],
  [
    [9, 1],
    [9, 32],
  ],
  [[9, 33], [33]],
  [[32], [9, 32]],
  [
    [3, 1, 7],
    [1, 5, 7],
  ],
  [
    [2, 3, 1, 16],
    [3, 5, 16],
  ],
];
/** Broadcasting gives what the op gives of operands that are written out. */
async function broadcasts(a: Tensor, b: Tensor, f: (x: Tensor, y: Tensor) => Tensor): Promise<void> {
  const cut = (t: Tensor, shape: number[]) =>
    narrow(
      t,
      0,
      1,
      shape.reduce((p, q) => p * q),
    ).reshape(shape);
  for (const [sa, sb] of pairs)
    await scope.run(async () => {
      const [x, y] = [cut(a, sa), cut(b, sb)];
      const out = f(x, y);
      const written = [x, y].map((t) => broadcastTo(t, out.shape as number[])) as [Tensor, Tensor];
      expectBits(await out.data(), await f(...written).data(), `[${sa}] and [${sb}]`);
    });
}

const op = (name: string) =>
  (anneal as unknown as Record<string, (...x: unknown[]) => Tensor>)[name] as (...x: unknown[]) => Tensor;

/** Functions, by the numbers that they are given. */
const unary: readonly (readonly [low: number, high: number, names: string])[] = [
  [
    -2,
    2,
    'neg abs exp exp2 expm1 sin cos tan tanh sinh cosh atan sigmoid relu silu softplus erf gelu floor ceil round sign square leakyRelu elu',
  ],
  [-0.95, 0.95, 'asin acos'],
  [0.1, 3, 'log log2 log10 log1p sqrt rsqrt reciprocal'],
];
const rows = unary.flatMap(([low, high, names]) => names.split(' ').map((name) => [name, low, high] as const));

describe.each(['f32', 'f16', 'bf16'] as const)('%s', (dtype) => {
  test.each(rows)('%s', (name, low, high) => agree([placed(name, dtype, low, high)], (x) => op(name)(x), true));
  test('gelu by tanh', () => agree([placed('a', dtype)], (x) => anneal.gelu(x, { approximate: 'tanh' }), true));
  test('clamp', () => agree([placed('a', dtype)], (x) => anneal.clamp(x, { min: -1, max: 0.5 }), true));
  test('pow of a number', () => agree([placed('a', dtype, 0.1, 3)], (x) => anneal.pow(x, 2.5), true));
  test('at 0, where they have no derivative: 0', () =>
    scope.run(async () => {
      // At each place of a pack.
      const values = [0, -0, 0, 1, -1].flatMap((v) => [v, 0, 1]).flatMap((v) => [v, v, -v, 0]);
      const derivatives = { abs: Math.sign, relu: (v: number) => +(v > 0), sign: () => 0 };
      for (const [name, derivative] of Object.entries(derivatives)) {
        const x = Object.assign(tensor(values, { device: anneal.defaultDevice() }).to(dtype).detach(), { requiresGrad: true });
        op(name)(x).backward(anneal.ones([values.length], { dtype, device: anneal.defaultDevice() }));
        const found = Array.from(await (x.grad as Tensor).data(), (v) => v + 0);
        expect(found, name).toEqual(values.map((v) => derivative(v) + 0));
      }
    }));
  test.each('add sub mul div maximum minimum atan2 fmod remainder'.split(' '))('%s', async (name) => {
    await agree([placed('a', dtype), placed('b', dtype, 0.5, 2)], (x, y) => op(name)(x, y), true);
    await agree([placed('a', dtype, 0.5, 2)], (x) => op(name)(x, 1.5), true);
  });
  test('pow', () => agree([placed('a', dtype, 0.5, 2), placed('b', dtype)], (x, y) => anneal.pow(x, y), true));
});

const arithmetic = 'add sub mul pow maximum minimum fmod remainder floorDivide eq ne lt le gt ge'.split(' ');
const bits = 'bitwiseAnd bitwiseOr bitwiseXor'.split(' ');
describe.each(['f32', 'f16', 'bf16', 'i32', 'u8'] as const)('two operands, %s', (dtype) => {
  const operands = () => [placed('a', dtype, 0, 9), placed('b', dtype, 0, 9)] as const;
  const whole = dtype === 'i32' || dtype === 'u8';
  test.each(whole ? [...arithmetic, ...bits] : [...arithmetic, 'div', 'atan2'])('%s', async (name) => {
    await agree(operands(), (x, y) => op(name)(x, y), false);
    await agree(operands().slice(0, 1), (x) => op(name)(x, 3), false);
    await broadcasts(...operands(), (x, y) => op(name)(x, y));
  });
  test('where', async () => {
    await agree(operands(), (x, y) => where(x.gt(y), x, y), false);
    await broadcasts(...operands(), (x, y) => where(y.gt(4), x, y));
    await broadcasts(...operands(), (x, y) => where(x.gt(4), 2, y));
  });
  test('cast to every dtype', async () => {
    for (const to of ['f32', 'f16', 'bf16', 'i32', 'u8'] as const) await agree(operands().slice(0, 1), (x) => cast(x, to), false);
    // Half of them 0.
    await agree([placed('d', dtype, 0, 1.999)], (x) => cast(cast(x, 'i32').to(dtype), 'bool'), false);
  });
  if (dtype === 'i32')
    test.each('neg abs square sign'.split(' '))('%s', (name) => agree([placed('c', dtype, -9, 9)], (x) => op(name)(x), false));
});

type Loss = ReturnType<typeof anneal.losses.mse>;
/** With a weight for each element, and for each positive one, where the loss takes them. */
const losses: { readonly [name: string]: (x: Tensor, t: Tensor, weight: Tensor) => Loss } = {
  mse: anneal.losses.mse,
  l1: anneal.losses.l1,
  huber: (x, t) => anneal.losses.huber(x, t, { delta: 0.4 }),
  bceWithLogits: (x, t, weight) => anneal.losses.bceWithLogits(x, t, { weight, posWeight: weight.mul(2) }),
  kl: (x, t) => anneal.losses.kl(x, t),
  klLog: (x, t) => anneal.losses.kl(x, t, { logTarget: true }),
};
describe.each(['f32', 'f16', 'bf16'] as const)('losses, %s', (dtype) => {
  test.each(Object.keys(losses))('%s', (name) =>
    agree(
      [placed('x', dtype), placed('t', dtype, 0.05, 0.95), placed('w', 'f32', 0.5, 2)],
      (x, t, w) => (losses[name] as (typeof losses)[string])(x, t, w.detach()).terms[0]?.sum as Tensor,
      true,
    ),
  );
});
