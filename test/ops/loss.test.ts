import { describe, expect, test } from 'vitest';
import '../../lib/ops/create.ts';
import '../../lib/ops/unary.ts';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { native, synchronize } from '../../lib/native/run.ts';
import { add, mul } from '../../lib/ops/binary.ts';
import { cast } from '../../lib/ops/define.ts';
import { narrow } from '../../lib/ops/index.ts';
import { bceWithLogits, crossEntropy, huber, kl, Loss, l1, lossTerm, mse } from '../../lib/ops/loss.ts';
import { sum } from '../../lib/ops/reduce.ts';
import { logSoftmax, softmax } from '../../lib/ops/softmax.ts';
import { fromHost, tensor } from '../../lib/tensor/create.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';
import type { DType, FloatDType } from '../../lib/tensor/dtype.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { scope } from '../../lib/tensor/scope.ts';
import { Tensor } from '../../lib/tensor/tensor.ts';
import { expectClose } from '../helpers/compare.ts';
import { deviceFor, onGpu } from '../helpers/device.ts';
import { placed, widened } from '../helpers/place.ts';
import { unitRoundoff } from '../helpers/rounding.ts';

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
function uniforms(name: string, shape: readonly number[], low: number, high: number, dtype: DType = 'f64'): Tensor {
  const random = new PhiloxStream(3, name);
  const data = Float64Array.from({ length: sizeOf(shape) }, () => low + (high - low) * random.uniform());
  return placed(data, shape, dtype);
}
function leaf(x: Tensor): Tensor {
  const t = x.detach();
  t.requiresGrad = true;
  return t;
}
const ints = (values: readonly number[], shape: readonly number[] = [values.length]) =>
  fromHost(Int32Array.from(values), shape, 'i32');
const classesOf = (rows: number, classes: number, ignoreEach = 0) =>
  ints(Array.from({ length: rows }, (_, i) => (ignoreEach && i % ignoreEach === 1 ? -100 : (i * 7 + 3) % classes)));
const list = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const countOf = async (loss: Loss): Promise<number> => {
  const count = loss.terms[0]?.count;
  return count instanceof Tensor ? count.item() : (count as number);
};
const sumOf = (loss: Loss) => loss.terms[0]?.sum as Tensor;

/** The gradients of sums, read. */
async function gradientsOf(inputs: readonly Tensor[], loss: () => Loss): Promise<(Float32Array | Float64Array | undefined)[]> {
  for (const x of inputs) x.grad = null;
  scope(() => sumOf(loss()).backward());
  return Promise.all(inputs.map(async (x) => (await x.grad?.data()) as Float64Array | undefined));
}

describe.skipIf(onGpu)('gradcheck', () => {
  const probabilities = (name: string) => softmax(uniforms(name, [4, 7], -1, 1)).detach();
  const weight = uniforms('w', [7], 0.5, 2);
  const hard = ints([3, 0, -100, 6]);
  const x = () => leaf(uniforms('x', [4, 7], -3, 3));
  const t = () => leaf(uniforms('t', [4, 7], -3, 3));
  const cases: { [name: string]: [(...inputs: Tensor[]) => Loss, Tensor[]] } = {
    crossEntropy: [(a) => crossEntropy(a as Tensor, hard), [x()]],
    'crossEntropy, smoothing and weights': [(a) => crossEntropy(a as Tensor, hard, { labelSmoothing: 0.2, weight }), [x()]],
    'crossEntropy, classes first': [(a) => crossEntropy(a as Tensor, ints([3, 0, 1, 2, 3, 1, 0]), { axis: 0 }), [x()]],
    'crossEntropy, 40 classes': [(a) => crossEntropy(a as Tensor, ints([39, 7])), [leaf(uniforms('many', [2, 40], -3, 3))]],
    'crossEntropy, soft': [(a, b) => crossEntropy(a as Tensor, b as Tensor), [x(), leaf(probabilities('p'))]],
    'crossEntropy, soft, smoothing and weights': [
      (a, b) => crossEntropy(a as Tensor, b as Tensor, { labelSmoothing: 0.2, weight }),
      [x(), leaf(probabilities('p'))],
    ],
    mse: [(a, b) => mse(a as Tensor, b as Tensor), [x(), t()]],
    l1: [(a, b) => l1(a as Tensor, b as Tensor), [x(), t()]],
    huber: [(a, b) => huber(a as Tensor, b as Tensor, { delta: 0.7 }), [x(), t()]],
    bceWithLogits: [(a, b) => bceWithLogits(a as Tensor, b as Tensor), [x(), leaf(probabilities('q'))]],
    'bceWithLogits, weights': [
      (a, b) => bceWithLogits(a as Tensor, b as Tensor, { posWeight: weight, weight: uniforms('v', [4, 1], 0.5, 2) }),
      [x(), leaf(probabilities('q'))],
    ],
    kl: [(a, b) => kl(a as Tensor, b as Tensor), [x(), leaf(probabilities('r'))]],
    'kl, log target': [(a, b) => kl(a as Tensor, b as Tensor, { logTarget: true }), [x(), leaf(uniforms('lt', [4, 7], -3, 0))]],
  };
  for (const [name, [loss, inputs]] of Object.entries(cases)) {
    test(`${name}: sum`, async () => expect(await gradcheck((...a) => sumOf(loss(...a)), inputs)).toBeLessThan(1e-6));
    test(`${name}: mean`, async () => expect(await gradcheck((...a) => loss(...a).mean(), inputs)).toBeLessThan(1e-6));
  }
  test('several terms, more than one call holds', async () => {
    const five = (a: Tensor) =>
      [1, 2, 3, 4, 5].map((k) => mse(a, uniforms(`t${k}`, [4, 7], -1, 1)).times(k)).reduce((p, q) => p.plus(q));
    expect(await gradcheck((a) => five(a as Tensor).mean(), [x()])).toBeLessThan(1e-6);
    expect(await gradcheck((a) => five(a as Tensor).sum(), [x()])).toBeLessThan(1e-6);
  });
});

describe('crossEntropy', () => {
  const shapes: [number, number][] = [
    [0, 5],
    [1, 1],
    [7, 2],
    [33, 10],
    [64, 10],
    [129, 32],
    [100, 33],
    [768, 65],
    [5, 1000],
    [3, 8192],
  ];
  const options = [{}, { labelSmoothing: 0.1 }, { weighted: true }, { labelSmoothing: 0.1, weighted: true }];

  /** The definition, from other ops in f64. */
  const reference = (x: Tensor, target: readonly number[], smoothing: number, weight: Tensor | undefined): Tensor => {
    const [n, c] = x.shape as [number, number];
    const share = new Float64Array(n * c);
    target.forEach((y, r) => {
      if (y < 0) return;
      for (let k = 0; k < c; k++) share[r * c + k] = (k === y ? 1 - smoothing : 0) + smoothing / c;
    });
    const q = fromHost(share, [n, c], 'f64', x.device);
    return mul(sum(mul(weight ? mul(q, weight) : q, logSoftmax(x))), -1);
  };
  for (const dtype of ['f64', 'f32', 'bf16', 'f16'] as const satisfies FloatDType[])
    test(`sum and gradient against the definition, ${dtype}`, async () => {
      const u = Math.max(unitRoundoff[dtype], unitRoundoff.f32 / 4);
      for (const [n, c] of shapes)
        for (const { labelSmoothing = 0, weighted } of options) {
          const x = leaf(uniforms(`${n}x${c}`, [n, c], -8, 8, dtype));
          const exact = leaf(widened(x));
          const weight = weighted ? uniforms('w', [c], 0.5, 2, 'f32').to(x.device) : undefined;
          const target = classesOf(n, c, 5).to(x.device);
          const place = `${n} x ${c} ${dtype} ${JSON.stringify({ labelSmoothing, weighted })}`;
          const loss = () => crossEntropy(x, target, { labelSmoothing, weight });
          const truth = lossTerm(reference(exact, await list(target), labelSmoothing, weight && widened(weight)), 1);
          const got = loss();
          expect(sumOf(got).dtype).toBe(dtype === 'f64' ? 'f64' : 'f32');
          const wide = dtype === 'f64' ? 1e-12 : 1e-6;
          expectClose(place, { shape: [], data: await list(sumOf(got)) }, { shape: [], data: await list(sumOf(truth)) }, wide);
          const [gradient] = await gradientsOf([x], loss);
          const [expected] = await gradientsOf([exact], () => truth);
          if (!n) continue;
          expect(x.grad?.dtype).toBe(dtype);
          const limit = dtype === 'f64' ? 1e-12 : Math.max(1e-6, 2 * u);
          expectClose(
            place,
            { shape: x.shape, data: gradient as Float32Array },
            { shape: x.shape, data: expected as Float64Array },
            limit,
          );
        }
    });
  test.each(['f32', 'bf16', 'f16'] as const)('distributions over so many classes that every warp has some, %s', async (dtype) => {
    for (const c of [65, 1000, 3001, 8192]) {
      const x = leaf(uniforms(`soft ${c}`, [3, c], -8, 8, dtype));
      const exact = leaf(widened(x));
      const target = softmax(uniforms(`target ${c}`, [3, c], -3, 3, dtype)).detach();
      const loss = () => crossEntropy(x, target);
      const truth = lossTerm(mul(sum(mul(widened(target), logSoftmax(exact))), -1), 1);
      expectClose(`${c}`, { shape: [], data: await list(sumOf(loss())) }, { shape: [], data: await list(sumOf(truth)) }, 1e-6);
      const [[gradient], [expected]] = [await gradientsOf([x], loss), await gradientsOf([exact], () => truth)];
      const limit = Math.max(1e-6, 2 * unitRoundoff[dtype]);
      expectClose(
        `${c}`,
        { shape: x.shape, data: gradient as Float32Array },
        { shape: x.shape, data: expected as Float64Array },
        limit,
      );
    }
  });
  test('a one-hot distribution gives what its index gives', async () => {
    for (const c of [10, 65]) {
      const x = leaf(uniforms('x', [9, c], -5, 5, 'f32'));
      const target = classesOf(9, c);
      const oneHot = Float32Array.from({ length: 9 * c }, (_, i) => +((Math.floor(i / c) * 7 + 3) % c === i % c));
      const [hard, soft] = [crossEntropy(x, target), crossEntropy(x, fromHost(oneHot, [9, c], 'f32'))];
      expect(await sumOf(soft).item()).toBeCloseTo(await sumOf(hard).item(), 4);
      expect(await countOf(soft)).toBe(await countOf(hard));
    }
  });
  test('counts: rows not ignored, by weight; all rows for distributions', async () => {
    const x = uniforms('x', [4, 3], -1, 1, 'f32');
    const weight = tensor([1, 2, 4]);
    expect(await countOf(crossEntropy(x, ints([0, -100, 2, 1])))).toBe(3);
    expect(await countOf(crossEntropy(x, ints([0, -100, 2, 1]), { weight }))).toBe(7);
    expect(await countOf(crossEntropy(x, ints([0, 1, 2, 1]), { ignoreIndex: 1 }))).toBe(2);
    expect(await countOf(crossEntropy(x, softmax(x), { weight }))).toBe(4);
  });
  test('u8 labels, leading dimensions, and a vector of logits', async () => {
    const x = uniforms('x', [6, 5], -1, 1, 'f32');
    const value = await sumOf(crossEntropy(x, ints([0, 1, 2, 3, 4, 0]))).item();
    expect(await sumOf(crossEntropy(x, cast(ints([0, 1, 2, 3, 4, 0]), 'u8'))).item()).toBe(value);
    expect(await sumOf(crossEntropy(x.reshape([2, 3, 5]), ints([0, 1, 2, 3, 4, 0], [2, 3]))).item()).toBe(value);
    expect(await sumOf(crossEntropy(narrow(x, 0, 1, 1).reshape([5]), ints([1], []))).item()).toBeGreaterThan(0);
  });
  test('every target ignored: sum 0, count 0, mean 0, gradient 0', async () => {
    const x = leaf(uniforms('x', [3, 4], -1, 1, 'f32'));
    const loss = crossEntropy(x, ints([-100, -100, -100]));
    expect([await sumOf(loss).item(), await countOf(loss), await loss.mean().item()]).toEqual([0, 0, 0]);
    crossEntropy(x, ints([-100, -100, -100]))
      .mean()
      .backward();
    expect(await list(x.grad as Tensor)).toEqual(new Array(12).fill(0));
  });
  test('large logits do not overflow; a masked class has no share; NaN and inf pass through', async () => {
    for (const c of [3, 40]) {
      const fill = (a: number[], rest: number) =>
        fromHost(
          Float32Array.from({ length: c }, (_, i) => a[i] ?? rest),
          [1, c],
          'f32',
        );
      const far = leaf(fill([1e4, -1e4], -1e4));
      expect(await sumOf(crossEntropy(far, ints([1]))).item()).toBe(2e4);
      const masked = leaf(fill([1, 1], -Infinity));
      const [g] = await gradientsOf([masked], () => crossEntropy(masked, ints([0])));
      expect(await sumOf(crossEntropy(masked, ints([0]))).item()).toBeCloseTo(Math.log(2), 6);
      expect([...(g as Float32Array)].slice(0, 3)).toEqual([-0.5, 0.5, 0]);
      expect(await sumOf(crossEntropy(masked, ints([2]))).item()).toBe(Infinity);
      expect(await sumOf(crossEntropy(fill([NaN, 1], 0), ints([1]))).item()).toBeNaN();
      expect(await sumOf(crossEntropy(fill([Infinity], 0), ints([0]))).item()).toBeNaN();
      // an ignored row is not looked at
      expect(await sumOf(crossEntropy(fill([NaN, 1], 0), ints([-100]))).item()).toBe(0);
    }
  });
  test.skipIf(onGpu)('the same bits for any number of threads', async () => {
    const before = native().threads();
    for (const [n, c] of [
      [2048, 33],
      [768, 65],
      [4000, 10],
      [40, 8192],
    ] as const) {
      const x = leaf(uniforms('x', [n, c], -8, 8, 'f32'));
      const once = async (threads: number) => {
        native().threads(threads);
        const loss = await list(sumOf(crossEntropy(x, classesOf(n, c), { labelSmoothing: 0.1 })));
        const [g] = await gradientsOf([x], () => crossEntropy(x, classesOf(n, c)));
        return { loss, g: Buffer.from((g as Float32Array).buffer).toString('base64') };
      };
      expect(await once(1)).toEqual(await once(Math.max(2, before)));
    }
    native().threads(before);
  });
  test('a target outside the classes is a DataError at the next await, forward and backward', async () => {
    const x = leaf(uniforms('x', [4, 10], -1, 1, 'f32'));
    await expect(sumOf(crossEntropy(x, ints([1, 2, 3, 12]))).item()).rejects.toThrow(
      /crossEntropy\(\[4, 10\], \[4\]\): target 12 is outside \[0, 10\) at row 3/,
    );
    scope(() =>
      crossEntropy(x, ints([-1, 0, 0, 0]))
        .mean()
        .backward(),
    );
    await expect(synchronize('compute', defaultDevice().number)).rejects.toThrow(/target -1 is outside \[0, 10\) at row 0/);
  });
  test('logits that nobody else sees take the gradient in their own memory', async () => {
    const w = leaf(uniforms('w', [64, 1024], -1, 1, 'f32'));
    const target = classesOf(64, 1024);
    const run = (disposed: boolean) => {
      w.grad = null;
      const { number } = defaultDevice();
      native().memory(number, true);
      const logits = mul(w, 2);
      const mean = crossEntropy(logits, target).mean();
      if (disposed) logits.dispose();
      const live = native().memory(number, true).live;
      mean.backward();
      return native().memory(number).peak - live;
    };
    const [apart, inPlace] = [run(false), run(true)];
    expect(apart - inPlace).toBeGreaterThanOrEqual(64 * 1024 * 4);
    const kept = await list(w.grad as unknown as Tensor);
    run(false);
    expect(await list(w.grad as unknown as Tensor)).toEqual(kept);
  });
});

describe('elementwise losses', () => {
  const losses = { mse, l1, huber, bceWithLogits, kl };
  for (const [name, loss] of Object.entries(losses))
    test(`${name}: every size; 16-bit inputs within their rounding`, async () => {
      for (const n of [0, 1, 7, 33, 129, 1000, 70_000]) {
        const [x, t] = [uniforms('x', [n], -3, 3), uniforms('t', [n], 0.01, 1)];
        for (const dtype of ['f32', 'bf16', 'f16'] as const) {
          const [a, b] = [leaf(cast(x, dtype).to(deviceFor(dtype))), leaf(cast(t, dtype).to(deviceFor(dtype)))];
          const [p, q] = [leaf(widened(a)), leaf(widened(b))];
          const [got, truth] = [await list(sumOf(loss(a, b))), await list(sumOf(loss(p, q)))];
          expectClose(`${name} ${n} ${dtype}`, { shape: [], data: got }, { shape: [], data: truth }, 2e-6);
          const [g, e] = [await gradientsOf([a, b], () => loss(a, b)), await gradientsOf([p, q], () => loss(p, q))];
          for (const i of [0, 1])
            if (n)
              expectClose(
                `${name} ${n} ${dtype}, gradient ${i}`,
                { shape: [n], data: g[i] as Float32Array },
                { shape: [n], data: e[i] as Float64Array },
                Math.max(2e-6, 2 * unitRoundoff[dtype]),
              );
        }
      }
    });
  test('operands of two float dtypes meet in the wider; each keeps its own gradient dtype', () => {
    const [x, t] = [leaf(uniforms('x', [5], 0, 1, 'bf16')), leaf(uniforms('t', [5], 0, 1, 'f32'))];
    mse(x, t).mean().backward();
    expect([x.grad?.dtype, t.grad?.dtype]).toEqual(['bf16', 'f32']);
  });
});

describe('Loss', () => {
  const x = tensor([1, 2, 3, 4]);
  const zero = tensor([0, 0, 0, 0]);
  test('mean, sum, times, plus', async () => {
    const loss = mse(x, zero);
    expect(await loss.mean().item()).toBe(7.5);
    expect(await loss.sum().item()).toBe(30);
    expect(await loss.times(2).mean().item()).toBe(15);
    const both = loss.times(0.5).plus(l1(narrow(x, 0, 0, 2), narrow(zero, 0, 0, 2)));
    expect(both.terms.map((t) => [t.count, t.weight])).toEqual([
      [4, 0.5],
      [2, 1],
    ]);
    expect(await both.mean().item()).toBe(3.75 + 1.5);
    expect(await both.sum().item()).toBe(15 + 3);
  });
  test('nothing over nothing is 0; something over nothing is not hidden', async () => {
    expect(await mse(tensor([]), tensor([])).mean().item()).toBe(0);
    expect(await lossTerm(tensor(2), 0).mean().item()).toBe(Infinity);
    expect(await lossTerm(tensor(NaN), 3).mean().item()).toBeNaN();
  });
  test('a term of one’s own, in 16 bits, with a count on the device', async () => {
    const w = leaf(cast(tensor(3), 'bf16'));
    const loss = lossTerm(mul(w, w), tensor(2));
    expect(await loss.mean().item()).toBe(4.5);
    loss.mean().backward();
    expect(await list(w.grad as Tensor)).toEqual([3]);
  });
  test('sums and counts of parts add up to those of the whole', async () => {
    const logits = uniforms('l', [8, 10], -3, 3);
    const target = ints([1, -100, 3, 4, -100, -100, 7, 8]).to(logits.device);
    const whole = await crossEntropy(logits, target).mean().item();
    const parts = [0, 3, 5].map((s, i) =>
      crossEntropy(narrow(logits, 0, s, [3, 2, 3][i] as number), narrow(target, 0, s, [3, 2, 3][i] as number)),
    );
    const total = parts.map(sumOf).reduce((a, b) => add(a, b));
    const count = parts.map((p) => p.terms[0]?.count as Tensor).reduce((a, b) => add(a, b));
    expect((await total.item()) / (await count.item())).toBeCloseTo(whole, 12);
  });
});

describe('bad input', () => {
  const x = () => uniforms('x', [4, 10], -1, 1, 'f32');
  const cases: [string, () => unknown, RegExp][] = [
    ['target of another length', () => crossEntropy(x(), ints([1, 2])), /need a target of \[4\], got \[2\]/],
    ['class axis that does not exist', () => crossEntropy(x(), ints([1]), { axis: 2 }), /axis 2 does not exist/],
    [
      'float target of one number per row',
      () => crossEntropy(x(), tensor([1, 2, 3, 4])),
      /distribution per row .* Class indices are i32/,
    ],
    ['bool target', () => crossEntropy(x(), tensor([true, false, true, true])), /target is bool. Give class indices/],
    ['integer logits', () => crossEntropy(ints([1, 2]), ints([1, 2])), /logits must be a float tensor, got i32/],
    ['no classes', () => crossEntropy(uniforms('n', [4, 0], 0, 1, 'f32'), classesOf(4, 1)), /have no classes/],
    ['scalar logits', () => crossEntropy(tensor(1), ints([0], [])), /dimension of classes, got a scalar/],
    [
      'smoothing above 1',
      () => crossEntropy(x(), classesOf(4, 10), { labelSmoothing: 10 }),
      /labelSmoothing must be a number from 0 to 1, got 10/,
    ],
    [
      'class weights of another size',
      () => crossEntropy(x(), classesOf(4, 10), { weight: tensor([1, 2]) }),
      /one number per class, \[10\], got \[2\]/,
    ],
    ['ignoreIndex with a distribution', () => crossEntropy(x(), x(), { ignoreIndex: 0 }), /applies to class indices/],
    [
      'misspelled option',
      () => crossEntropy(x(), classesOf(4, 10), { labelSmooting: 0.1 } as never),
      /should be "labelSmoothing"/,
    ],
    [
      'shapes that differ',
      () => mse(x(), uniforms('y', [10], 0, 1, 'f32')),
      /input \[4, 10\] and target \[10\] must have one shape/,
    ],
    ['integer target', () => bceWithLogits(tensor([1, 2]), ints([0, 1])), /target must be a float tensor, got i32/],
    ['delta of 0', () => huber(x(), x(), { delta: 0 }), /delta must be a number/],
    ['a sum that is no scalar', () => lossTerm(x(), 4), /sum must be a scalar, got \[4, 10\]/],
    ['a negative count', () => lossTerm(tensor(1), -1), /count must be a number from 0/],
    ['plus a tensor', () => mse(x(), x()).plus(tensor(1) as never), /must be a Loss/],
    ['times a tensor', () => mse(x(), x()).times(tensor(1) as never), /weight must be a number/],
    ['no terms', () => new Loss([]).mean(), /has no terms/],
  ];
  for (const [name, call, message] of cases) test(name, () => expect(call).toThrow(message));
});
