/** Whole numbers and booleans, exactly: every elementwise op, reduction and move that takes them, against plain JavaScript. */
import { describe, expect, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import { type DType, scope, type Tensor, tensor } from '../../lib/index.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { sizeOf } from '../../lib/tensor/shape.ts';

const wrap = { i32: (x: number) => x | 0, u8: (x: number) => x & 255 };
const range = { i32: [-9, 9], u8: [0, 15] } as const;

const drawn = (shape: readonly number[], dtype: DType, name: string): number[] => {
  const stream = new PhiloxStream(3, name);
  const [low, high] = dtype === 'u8' ? range.u8 : range.i32;
  return Array.from({ length: sizeOf(shape) }, () => low + Math.floor((high - low + 1) * stream.uniform()));
};
const place = (values: readonly number[], shape: readonly number[], dtype: DType) =>
  tensor([...values], { shape: [...shape], dtype, device: defaultDevice() });

/** Strides of a shape broadcast to `to`. */
function at(shape: readonly number[], to: readonly number[], i: number): number {
  let [index, step, rest] = [0, 1, i];
  for (let d = to.length - 1, s = shape.length - 1; d >= 0; d--, s--) {
    const place = rest % (to[d] as number);
    rest = Math.floor(rest / (to[d] as number));
    if (s < 0) continue;
    if (shape[s] !== 1) index += place * step;
    step *= shape[s] as number;
  }
  return index;
}
const read = async (t: Tensor) => Array.from(await t.data(), Number);
const op = (name: string) =>
  (anneal as unknown as Record<string, (...args: unknown[]) => Tensor>)[name] as (...args: unknown[]) => Tensor;

const shapes: [number[], number[], number[]][] = [
  [[1], [1], [1]],
  [[7], [7], [7]],
  [[33], [33], [33]],
  [[1000], [1000], [1000]],
  [[0], [0], [0]],
  [[129], [1], [129]],
  [[1], [130], [130]],
  [[5, 33], [33], [5, 33]],
  [
    [5, 33],
    [5, 1],
    [5, 33],
  ],
  [
    [3, 1, 7],
    [1, 4, 7],
    [3, 4, 7],
  ],
  [
    [2, 3, 4, 5],
    [3, 1, 5],
    [2, 3, 4, 5],
  ],
];

const binary: { readonly [name: string]: (a: number, b: number) => number } = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  maximum: Math.max,
  fmod: (a, b) => (b === 0 ? 0 : a % b),
  remainder: (a, b) => (b === 0 ? 0 : a - b * Math.floor(a / b)),
  floorDivide: (a, b) => (b === 0 ? 0 : Math.floor(a / b)),
  bitwiseAnd: (a, b) => a & b,
  bitwiseOr: (a, b) => a | b,
  bitwiseXor: (a, b) => a ^ b,
  minimum: Math.min,
  eq: (a, b) => +(a === b),
  ne: (a, b) => +(a !== b),
  lt: (a, b) => +(a < b),
  le: (a, b) => +(a <= b),
  gt: (a, b) => +(a > b),
  ge: (a, b) => +(a >= b),
};

describe.each(['i32', 'u8'] as const)('elementwise %s', (dtype) => {
  for (const [name, f] of Object.entries(binary))
    test(name, () =>
      scope.run(async () => {
        for (const [sa, sb, to] of shapes) {
          const [a, b] = [drawn(sa, dtype, 'a'), drawn(sb, dtype, 'b')];
          const expected = Array.from({ length: sizeOf(to) }, (_, i) =>
            wrap[dtype](f(a[at(sa, to, i)] as number, b[at(sb, to, i)] as number)),
          );
          const out = op(name)(place(a, sa, dtype), place(b, sb, dtype));
          expect(out.shape).toEqual(to);
          expect(await read(out), `[${sa}], [${sb}]`).toEqual(expected);
        }
        // A number beside a tensor, on either side.
        const some = drawn([1000], dtype, 'e');
        const t = place(some, [1000], dtype);
        expect(await read(op(name)(t, 3))).toEqual(some.map((v) => wrap[dtype](f(v, 3))));
        expect(await read(op(name)(3, t))).toEqual(some.map((v) => wrap[dtype](f(3, v))));
        // From an odd element on.
        const [a, b] = [drawn([203], dtype, 'c'), drawn([203], dtype, 'd')];
        const cut = (values: number[]) => op('narrow')(place(values, [203], dtype), 0, 3, 199);
        const expected = a.slice(3, 202).map((v, i) => wrap[dtype](f(v, b[i + 3] as number)));
        expect(await read(op(name)(cut(a), cut(b)))).toEqual(expected);
      }),
    );

  const unary: { readonly [name: string]: (x: number) => number } = {
    neg: (x) => -x,
    abs: Math.abs,
    square: (x) => x * x,
    sign: Math.sign,
  };
  for (const [name, f] of Object.entries(unary))
    test(name, () =>
      scope.run(async () => {
        if (dtype === 'u8') return expect(() => op(name)(place([1], [1], dtype))).toThrow(/must be a float tensor, got u8/);
        for (const n of [0, 1, 7, 33, 129, 1000]) {
          const x = drawn([n], dtype, 'x');
          expect(await read(op(name)(place(x, [n], dtype)))).toEqual(x.map((v) => wrap[dtype](f(v)) || 0));
        }
      }),
    );

  test('where, and casts to every dtype', () =>
    scope.run(async () => {
      for (const n of [1, 7, 33, 1000]) {
        const [x, y] = [drawn([n], dtype, 'x'), drawn([n], dtype, 'y')];
        const [a, b] = [place(x, [n], dtype), place(y, [n], dtype)];
        const picked = x.map((v, i) => (v < (y[i] as number) ? v : (y[i] as number)));
        expect(await read(op('where')(op('lt')(a, b), a, b))).toEqual(picked);
        for (const to of ['f32', 'f16', 'bf16', 'i32', 'u8'] as const)
          expect(await read(a.to(to)), to).toEqual(to === 'u8' ? x.map(wrap.u8) : x);
        expect(await read(a.to('bool'))).toEqual(x.map((v) => +(v !== 0)));
        for (const from of ['f32', 'f16', 'bf16'] as const) {
          expect(await read(a.to(from).to(dtype)), `${from} to ${dtype}`).toEqual(x);
          expect(await read(a.to(from).to('bool'))).toEqual(x.map((v) => +(v !== 0)));
        }
      }
    }));
});

describe.each(['i32', 'u8', 'f32', 'f16', 'bf16'] as const)('reductions of whole numbers in %s', (dtype) => {
  /** Rows, the reduced dimension, columns. */
  const sizes = [
    [1, 1, 1],
    [3, 7, 1],
    [2, 33, 5],
    [4, 129, 33],
    [1, 5000, 1],
    [1, 3000, 3],
    [70, 2, 40],
  ] as const;
  const rules: { readonly [name: string]: (values: number[]) => number } = {
    sum: (v) => v.reduce((a, b) => a + b, 0) | 0,
    max: (v) => v.reduce((a, b) => Math.max(a, b)),
    min: (v) => v.reduce((a, b) => Math.min(a, b)),
    argmax: (v) => v.indexOf(Math.max(...v)),
    argmin: (v) => v.indexOf(Math.min(...v)),
  };
  // Of few different numbers many are equal: the first of them is the place of an extreme.
  for (const [name, rule] of Object.entries(rules))
    test.skipIf(name === 'sum' && dtype.endsWith('f16'))(name, () =>
      scope.run(async () => {
        for (const [o, n, c] of sizes) {
          const x = drawn([o, n, c], dtype, 'x');
          const expected = Array.from({ length: o * c }, (_, i) =>
            rule(Array.from({ length: n }, (_, k) => x[(Math.floor(i / c) * n + k) * c + (i % c)] as number)),
          );
          const out = op(name)(place(x, [o, n, c], dtype), { axis: 1 });
          expect(await read(out as Tensor), `[${o}, ${n}, ${c}]`).toEqual(expected);
        }
      }),
    );

  test('topK, gather, permute, concat', () =>
    scope.run(async () => {
      for (const [rows, n] of [
        [1, 9],
        [5, 33],
        [3, 300],
      ] as const) {
        const x = drawn([rows, n], dtype, 'x');
        const t = place(x, [rows, n], dtype);
        const row = (r: number) => x.slice(r * n, (r + 1) * n);
        const { values } = anneal.topK(t, 4);
        const best = Array.from({ length: rows }, (_, r) => row(r).sort((a, b) => b - a).slice(0, 4)); // biome-ignore format: one line
        expect(await read(values)).toEqual(best.flat());
        const picks = Array.from({ length: rows * 6 }, (_, i) => (i * 5) % n);
        const index = place(picks, [rows, 6], 'i32');
        expect(await read(anneal.gather(t, index, { axis: 1 }))).toEqual(
          picks.map((p, i) => x[Math.floor(i / 6) * n + p] as number),
        );
        expect(await read(t.transpose(0, 1))).toEqual(
          Array.from({ length: rows * n }, (_, i) => x[(i % rows) * n + Math.floor(i / rows)]),
        );
        expect(await read(anneal.concat([t, t]))).toEqual([...x, ...x]);
      }
    }));
});
