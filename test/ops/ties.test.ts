/**
 * Reductions of few different values, so that extremes are tied across threads, warps and blocks and products meet zeros; gradients added to earlier ones. Against
 * plain JavaScript.
 */
import { describe, expect, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import { scope, type Tensor } from '../../lib/index.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { placed, sizeOf } from '../helpers/place.ts';

/** Reduced over the middle axis: along rows of memory where the last is 1, else across them. */
type Shape = readonly [outer: number, n: number, inner: number];
const shapes: readonly Shape[] = [
  [1, 1, 1],
  [3, 7, 1],
  [2, 33, 1],
  [5, 129, 1],
  [2, 1000, 1],
  [1, 3001, 1],
  [1, 20_001, 1],
  [1, 7, 3],
  [2, 33, 7],
  [2, 129, 33],
  [1, 1000, 5],
  [3, 40, 64],
  [1, 3000, 5],
];
type DType = 'f32' | 'f16' | 'bf16' | 'i32' | 'u8';

const drawn = (shape: Shape, values: readonly number[]): number[] => {
  const stream = new PhiloxStream(23, `${shape}`);
  return Array.from({ length: sizeOf(shape) }, () => values[Math.floor(values.length * stream.uniform())] as number);
};
/** The values over which each output is taken, and where they stand. */
const groups = ([outer, n, inner]: Shape): number[][] =>
  Array.from({ length: outer * inner }, (_, o) =>
    Array.from({ length: n }, (_, k) => (Math.floor(o / inner) * n + k) * inner + (o % inner)),
  );
const op = (name: string) =>
  (anneal as unknown as Record<string, (x: Tensor, o: { axis: number }) => Tensor>)[name] as (
    x: Tensor,
    o: { axis: number },
  ) => Tensor;
const list = async (t: Tensor) => Array.from(await t.data(), Number);
const first = (of: readonly number[], better: (a: number, b: number) => boolean) =>
  of.reduce((best, v, k) => (better(v, of[best] as number) ? k : best), 0);

/** Few values, so that ties are everywhere, and many, so that each value taken from a wrong place shows. */
const kinds: readonly ('few' | 'many')[] = ['few', 'many'];
const range = (from: number, to: number, step = 1) => Array.from({ length: (to - from) / step + 1 }, (_, i) => from + i * step);
const valuesOf = { few: { u8: [1, 2, 3], other: [-1, 0, 2] }, many: { u8: range(3, 250), other: range(-240, 250, 2) } };
describe.each(['f32', 'f16', 'bf16', 'i32', 'u8'] as const)('extremes, %s', (dtype: DType) => {
  test.each(kinds.flatMap((kind) => shapes.map((s) => [kind, ...s] as const)))('%s values, [%i, %i, %i]', (kind, ...shape) =>
    scope.run(async () => {
      const data = drawn(shape, valuesOf[kind][dtype === 'u8' ? 'u8' : 'other']);
      const rows = groups(shape).map((at) => at.map((i) => data[i] as number));
      const x = placed(data, shape, dtype);
      const [least, most] = [
        rows.map((r) => r.reduce((a, b) => Math.min(a, b))),
        rows.map((r) => r.reduce((a, b) => Math.max(a, b))),
      ];
      expect(await list(op('max')(x, { axis: 1 }))).toEqual(most);
      expect(await list(op('min')(x, { axis: 1 }))).toEqual(least);
      expect(await list(op('argmax')(x, { axis: 1 }))).toEqual(rows.map((r) => first(r, (a, b) => a > b)));
      expect(await list(op('argmin')(x, { axis: 1 }))).toEqual(rows.map((r) => first(r, (a, b) => a < b)));
    }),
  );
});

const count = (of: readonly number[], v: number) => of.filter((x) => x === v).length;
const product = (of: readonly number[]) => of.reduce((a, b) => a * b, 1);
/** What an output's gradient of 1 gives to each value of its group. */
const derivatives: { readonly [name: string]: (of: readonly number[]) => number[] } = {
  max: (of) => shared(of, Math.max(...of)),
  min: (of) => shared(of, Math.min(...of)),
  sum: (of) => of.map(() => 1),
  mean: (of) => of.map(() => 1 / of.length),
  prod: (of) => {
    const zeros = count(of, 0);
    const others = product(of.filter((v) => v !== 0));
    return of.map((v) => (zeros > 1 || (zeros === 1 && v !== 0) ? 0 : v === 0 ? others : others / v));
  },
  logSumExp: (of) => {
    const top = Math.max(...of);
    if (top === -Infinity) return of.map(() => 0);
    const sum = of.reduce((s, v) => s + Math.exp(v - top), 0);
    return of.map((v) => Math.exp(v - top) / sum);
  },
};
const shared = (of: readonly number[], v: number) => of.map((x) => (x === v ? 1 / count(of, v) : 0));
/** Few values; of a product nearly all are 1, none, one or two of each group 0. */
function valuesFor(name: string, shape: Shape): number[] {
  if (name === 'logSumExp') return drawn(shape, [-Infinity, 0, 2]);
  if (name !== 'prod') return drawn(shape, [-1, 0, 2]);
  const data = drawn(shape, [1, 1, 1, 1, 1, 1, 1, -1]);
  for (const [o, at] of groups(shape).entries())
    for (let zero = 0; zero < o % 3; zero++) data[at[(17 * (zero + 1) + o) % at.length] as number] = 0;
  return data;
}

/** Of a product nearly all values are 1 or -1, and six (fewer of a short group) 2: whose part is left out shows. */
function factors(shape: Shape): number[] {
  const data = drawn(shape, [1, -1]);
  for (const [o, at] of groups(shape).entries())
    for (let two = 0; two < Math.min(6, at.length); two++)
      data[at[(((at.length * two) / 6) | 0) + (o % 2)] ?? (at[0] as number)] = 2;
  return data;
}
const mean = (of: readonly number[]) => of.reduce((s, v) => s + v, 0) / of.length;
const spread = (of: readonly number[]) => of.reduce((s, v) => s + (v - mean(of)) ** 2, 0) / (of.length - 1);
const results: { readonly [name: string]: (of: readonly number[]) => number } = {
  sum: (of) => of.length * mean(of),
  mean,
  prod: product,
  variance: spread,
};
describe.each(['f32', 'f16', 'bf16'] as const)('results, %s', (dtype) => {
  for (const [name, f] of Object.entries(results))
    test.each(shapes.filter(([, n]) => n > 1))(`${name} [%i, %i, %i]`, (...shape) =>
      scope.run(async () => {
        const data = name === 'prod' ? factors(shape) : drawn(shape, [-1, 0, 1, 1]);
        const found = await list(op(name)(placed(data, shape, dtype), { axis: 1 }));
        const expected = groups(shape).map((at) => f(at.map((i) => data[i] as number)));
        const unit = { f32: 2e-6, f16: 2 ** -10, bf16: 2 ** -7 }[dtype];
        const wrong = expected.findIndex((e, i) => !(Math.abs((found[i] as number) - e) <= unit * Math.max(Math.abs(e), 1e-3)));
        expect([wrong, found[wrong], expected[wrong]], `element ${wrong}`).toEqual([-1, undefined, undefined]);
      }),
    );
});

describe.each(['f32', 'f16', 'bf16'] as const)('gradients, added to earlier ones, %s', (dtype) => {
  for (const [name, derivative] of Object.entries(derivatives))
    test.each(shapes)(`${name} [%i, %i, %i]`, (...shape) =>
      scope.run(async () => {
        const data = valuesFor(name, shape);
        const x = placed(data, shape, dtype);
        x.requiresGrad = true;
        const seed = groups(shape).map((_, o) => (o % 5) - 2);
        const y = op(name)(x, { axis: 1 })
          .mul(0.5)
          .add(op(name)(x, { axis: 1 }).mul(0.25))
          .sub(op(name)(x, { axis: 1 }));
        y.backward(placed(seed, [shape[0], shape[2]], y.dtype as 'f32'));
        const found = await list(x.grad as Tensor);
        const expected = new Array<number>(data.length).fill(0);
        for (const [o, at] of groups(shape).entries())
          derivative(at.map((i) => data[i] as number)).forEach((d, k) => {
            expected[at[k] as number] = -0.25 * (seed[o] as number) * d;
          });
        const unit = { f32: 1e-6, f16: 2 ** -9, bf16: 2 ** -6 }[dtype];
        const wrong = expected.findIndex(
          (e, i) => !(Math.abs((found[i] as number) - e) <= unit * Math.max(Math.abs(e) * 5, 1e-3)),
        );
        expect([wrong, found[wrong], expected[wrong]], `element ${wrong}`).toEqual([-1, undefined, undefined]);
      }),
    );
});
