/**
 * Reductions whose exact result is known and to which each element matters: sums of whole numbers that stay small, one value that differs from all
 * others at each kind of place (a warp's first and last element, a pack's, a block's). Against integer arithmetic, without tolerance where the dtype holds the result.
 */
import { describe, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import { scope, type Tensor } from '../../lib/index.ts';
import { columnSum } from '../../lib/ops/linear.ts';
import { drawn, expectExact, floats, whole } from '../helpers/exact.ts';
import { placed, sizeOf } from '../helpers/place.ts';

/** What a result of f32 arithmetic may be wrong by, once it is rounded. */
const close = { f32: 2e-6, f16: 2 ** -11, bf16: 2 ** -8 };
const op = (name: string) =>
  (anneal as unknown as Record<string, (x: Tensor, o: object) => Tensor>)[name] as (x: Tensor, o: object) => Tensor;

// ---- sums -------------------------------------------------------------------------------------------------------------------

/** Whole numbers of which no stretch of an output's elements adds up to more than 40, so that each of them shows in the last place of a bf16. */
function balanced(shape: readonly number[], axes: readonly number[]): { data: number[]; sums: number[] } {
  const next = drawn(`${shape}`);
  const kept = shape.map((_, d) => d).filter((d) => !axes.includes(d));
  const strides = shape.map((_, d) =>
    kept.includes(d) ? kept.filter((k) => k > d).reduce((p, k) => p * (shape[k] as number), 1) : 0,
  );
  const sums = new Array<number>(kept.reduce((p, d) => p * (shape[d] as number), 1)).fill(0);
  const at = new Array<number>(shape.length).fill(0);
  const data = Array.from({ length: sizeOf(shape) }, () => {
    const o = at.reduce((p, i, d) => p + i * (strides[d] as number), 0);
    const value = ((sums[o] as number) > 0 ? -1 : 1) * (1 + next(40));
    sums[o] = (sums[o] as number) + value;
    for (let d = shape.length - 1; d >= 0 && ++(at[d] as number) === shape[d]; d--) at[d] = 0;
    return value;
  });
  return { data, sums };
}
const alternating = [
  { shape: [5, 3, 7], axes: [0, 2] },
  { shape: [9, 4, 40], axes: [0, 2] },
  { shape: [40, 3, 64], axes: [0, 2] },
  { shape: [3, 4, 5, 6], axes: [0, 2] },
  { shape: [7, 3, 40, 16], axes: [0, 2] },
  { shape: [4, 6, 3, 24], axes: [1, 3] },
];
/** Rows: 1 to 9 packs a lane with and without a rest, a warp or a block each, cut or not. Columns: likewise; and dimensions that alternate. */
const sumShapes: readonly (readonly [shape: number[], axes: number[]])[] = [
  ...[
    1, 7, 8, 9, 33, 255, 256, 257, 511, 512, 520, 777, 1032, 1300, 1536, 2047, 2048, 2049, 4104, 6152, 10_000, 16_384, 16_385,
    24_577,
  ].map((n): [number[], number[]] => [[1, n], [1]]),
  ...[8, 40, 129, 264, 520, 776, 1024, 1288, 2056, 4104].map((n): [number[], number[]] => [[9, n], [1]]),
  ...[
    [1, 3],
    [5, 2],
    [8, 8],
    [9, 33],
    [64, 16],
    [100, 130],
    [257, 9],
    [300, 64],
    [513, 31],
    [600, 257],
    [1025, 40],
    [8200, 3],
    [8193, 8],
  ].map((shape): [number[], number[]] => [shape, [0]]),
  [[3, 70, 40], [1]],
  [[2, 300, 17], [1]],
  ...alternating.map(({ shape, axes }): [number[], number[]] => [shape, axes]),
];
describe.each([...floats, 'i32', 'u8'] as const)('sums, %s', (dtype) => {
  test.each([0, 1, 2, 3])('part %i of the shapes', (part) =>
    scope.run(async () => {
      for (const [shape, axes] of sumShapes.filter((_, i) => i % 4 === part))
        await scope.run(async () => {
          const { data, sums } = balanced(shape, axes);
          if (dtype === 'u8') {
            const n = data.length / sums.length;
            const x = placed(
              data.map((v) => v + 100),
              shape,
              'u8',
            );
            await expectExact(
              anneal.sum(x, { axis: axes }),
              sums.map((s) => s + 100 * n),
              `[${shape}] over ${axes}`,
            );
            return;
          }
          const x = placed(data, shape, dtype);
          await expectExact(anneal.sum(x, { axis: axes }), sums, `[${shape}] over ${axes}`);
          if (dtype === 'i32' || shape.length !== 2 || axes[0] !== 0) return;
          const width = shape[1] as number;
          const before = whole(width, 9, 'before');
          const into = placed(before, [width], 'f32');
          await expectExact(
            columnSum(x, width, into),
            sums.map((s, i) => s + (before[i] as number)),
            `columns of [${shape}], added`,
          );
        });
    }),
  );
});

// ---- one value that differs -------------------------------------------------------------------------------------------------

/** What all elements have, what one has, and the result; `of` the number of elements and where the one stands. */
interface Spike {
  rest: number;
  one: number;
  result: (n: number, at: number) => number;
  gradient?: (n: number, mine: boolean) => number;
}
const spikes: { readonly [op: string]: Spike } = {
  max: { rest: -3, one: 5, result: () => 5, gradient: (_, mine) => +mine },
  min: { rest: -3, one: -7, result: () => -7, gradient: (_, mine) => +mine },
  argmax: { rest: -3, one: 5, result: (_, at) => at },
  argmin: { rest: -3, one: -7, result: (_, at) => at },
  sum: { rest: 0, one: 3, result: () => 3, gradient: () => 1 },
  mean: { rest: 0, one: 16, result: (n) => 16 / n, gradient: (n) => 1 / n },
  prod: { rest: 1, one: 3, result: () => 3, gradient: (_, mine) => (mine ? 1 : 3) },
  logSumExp: { rest: -Infinity, one: 2, result: () => 2, gradient: (_, mine) => +mine },
  variance: {
    rest: 0,
    one: 16,
    result: (n) => 256 / n,
    gradient: (n, mine) => (2 / (n - 1)) * ((mine ? 16 : 0) - 16 / n),
  },
};
const ofWhole = ['max', 'min', 'argmax', 'argmin', 'sum'];
const rounds = ['mean', 'variance', 'logSumExp'];
/** Places where threads, packs, warps, blocks and chunks meet. */
const places = (n: number): number[] =>
  [0, 1, 3, 4, 7, 8, 15, 31, 32, 63, 127, 128, 255, 256, 257, 511, 512, 1023, 2047, 2048, 4095, 8192, 16_383]
    .flatMap((p) => [p, n - 1 - p])
    .filter((p, i, all) => p >= 0 && p < n && all.indexOf(p) === i);
/** Rows of their own each, or one alone, which may end in part of a pack. */
const rowLengths = [9, 40, 129, 264, 513, 776, 1300, 2056];
const longRows = [2051, 16_391];
/** Rows by columns: a place for each column. */
const columnShapes = [
  [2, 3],
  [9, 8],
  [33, 40],
  [40, 31],
  [130, 64],
  [257, 9],
  [300, 24],
  [600, 33],
  [8200, 2],
  [4200, 5],
  [4200, 9],
] as const;

/** The elements that each output is taken over, in order. */
function groupsOf(shape: readonly number[], axes: readonly number[]): number[][] {
  const groups: number[][] = [];
  for (let i = 0; i < sizeOf(shape); i++) {
    let [rest, o, step] = [i, 0, 1];
    for (let d = shape.length - 1; d >= 0; d--) {
      const size = shape[d] as number;
      if (!axes.includes(d)) {
        o += (rest % size) * step;
        step *= size;
      }
      rest = Math.floor(rest / size);
    }
    groups[o] ??= [];
    groups[o]?.push(i);
  }
  return groups;
}

describe.each([...floats, 'i32'] as const)('one value that differs, %s', (dtype) => {
  for (const [name, { rest, one, result, gradient }] of Object.entries(spikes)) {
    if (dtype === 'i32' && !ofWhole.includes(name)) continue;
    const tolerance = dtype !== 'i32' && rounds.includes(name) ? close[dtype] * 2 : 0;
    /** x with the one at `at(o, n)` of each output's n elements. */
    const compare = async (shape: readonly number[], axes: readonly number[], at: (o: number, n: number) => number) =>
      scope.run(async () => {
        const groups = groupsOf(shape, axes);
        const n = sizeOf(shape) / groups.length;
        const ones = groups.map((_, o) => at(o, n));
        const data = new Array<number>(sizeOf(shape)).fill(rest);
        for (const [o, of] of groups.entries()) data[of[ones[o] as number] as number] = one;
        const x = placed(data, shape, dtype);
        x.requiresGrad = gradient !== undefined && dtype !== 'i32';
        const reduced = () => op(name)(x, { axis: name.startsWith('arg') ? axes[0] : axes });
        const what = `[${shape}] over ${axes}`;
        const y = reduced();
        await expectExact(
          y,
          ones.map((p) => result(n, p)),
          what,
          tolerance,
        );
        if (!gradient || dtype === 'i32') return;
        // The second gradient is added to the first where it is made: 2 - 3.
        const seed = ones.map((_, o) => (o % 3) + 1);
        y.mul(2)
          .sub(reduced().mul(3))
          .backward(placed(seed, y.shape, dtype));
        const expected = new Array<number>(data.length).fill(0);
        for (const [o, of] of groups.entries())
          for (const [k, i] of of.entries()) expected[i] = -(seed[o] as number) * gradient(n, k === ones[o]);
        // Two rounded terms were subtracted; a mean near 0 was taken from a first element of 16.
        const limit = tolerance && { f32: 1e-3, f16: 8 * tolerance, bf16: 8 * tolerance }[dtype];
        await expectExact(x.grad as Tensor, expected, `gradient of ${what}`, limit);
      });
    const spread = (o: number, n: number): number => places(n)[o % places(n).length] as number;
    test(`${name} along rows`, async () => {
      for (const n of rowLengths) await compare([places(n).length, n], [1], spread);
      for (const n of longRows) for (const p of [0, 255, 2047, n - 3, n - 1]) await compare([1, n], [1], () => p);
    });
    test(`${name} down columns`, async () => {
      for (const shape of columnShapes) await compare(shape, [0], spread);
    });
    if (!name.startsWith('arg'))
      test(`${name} over dimensions that alternate`, async () => {
        for (const { shape, axes } of alternating) await compare(shape, axes, spread);
      });
  }
});

// What a search begins with must not win over the same value of an element.
describe.each([...floats, 'i32'] as const)('nothing but the worst value there is, %s', (dtype) => {
  test.each(['argmax', 'argmin', 'max', 'min'])('%s', (name) =>
    scope.run(async () => {
      const lowest = name.endsWith('max');
      const worst = dtype === 'i32' ? (lowest ? -(2 ** 31) : 2 ** 31 - 1) : lowest ? -Infinity : Infinity;
      for (const shape of [
        [3, 5],
        [9, 40],
        [2, 2056],
        [300, 24],
        [8200, 2],
        [1, 16_391],
      ])
        for (const axis of [0, 1])
          await scope.run(async () => {
            const found = op(name)(placed(new Array(sizeOf(shape)).fill(worst), shape, dtype), { axis });
            const expected = new Array<number>(shape[1 - axis] as number).fill(name.startsWith('arg') ? 0 : worst);
            await expectExact(found, expected, `[${shape}] over ${axis}`);
          });
    }),
  );
});

describe.each([...floats, 'i32'] as const)('two equal extremes: the first, %s', (dtype) => {
  test.each([0, 1] as const)('over axis %i', (axis) =>
    scope.run(async () => {
      for (const n of [9, 40, 130, 264, 520, 1300, 2056])
        await scope.run(async () => {
          const pairs = places(n).flatMap((p, i, all) => {
            const q = all[(i + 5) % all.length] as number;
            return p === q ? [] : [[p, q] as const];
          });
          const shape = axis === 1 ? ([pairs.length, n] as const) : ([n, pairs.length] as const);
          const index = (o: number, k: number) => (axis === 1 ? o * n + k : k * pairs.length + o);
          for (const [sign, arg, extreme] of [
            [1, 'argmax', 'max'],
            [-1, 'argmin', 'min'],
          ] as const) {
            // The rest comes nearer and nearer, so that every element is taken until a better one is met.
            const data = new Array<number>(sizeOf(shape)).fill(0);
            for (let o = 0; o < pairs.length; o++) for (let k = 0; k < n; k++) data[index(o, k)] = sign * ((k % 97) - 99);
            for (const [o, pair] of pairs.entries()) for (const p of pair) data[index(o, p)] = sign;
            const x = placed(data, shape, dtype);
            await expectExact(
              op(arg)(x, { axis }),
              pairs.map(([p, q]) => Math.min(p, q)),
              `${arg} of ${n}`,
            );
            await expectExact(
              op(extreme)(x, { axis }),
              pairs.map(() => sign),
              `${extreme} of ${n}`,
            );
          }
        });
    }),
  );
});
