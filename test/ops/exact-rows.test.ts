/**
 * Normalised rows whose results are plain numbers: a peak far above the rest, so that a softmax is 0, 1/2 or 1 and a row's largest element must be found before
 * anything overflows; rows of as many 1 as -1, which a norm leaves as they are. The peaks stand at each kind of place, and every element is told from its
 * neighbours. Against the formulas.
 */
import { describe, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import { batchNorm, groupNorm, layerNorm, logSoftmax, narrow, rmsNorm, scope, softmax, type Tensor } from '../../lib/index.ts';
import { nativeOp, run, toFormat } from '../../lib/ops/define.ts';
import { expectClose } from '../helpers/compare.ts';
import { drawn, expectExact, floats, whole } from '../helpers/exact.ts';
import { placed, sizeOf } from '../helpers/place.ts';

const height = 300;
/** Places where threads, packs, warps and blocks meet. */
const places = (n: number): number[] =>
  [0, 1, 3, 7, 8, 31, 32, 127, 255, 256, 511, 1023, 2047, 4095]
    .flatMap((p) => [p, n - 1 - p])
    .filter((p, i, all) => p >= 0 && p < n && all.indexOf(p) === i);
/** [rows, n]: a warp or a block to a row, kept on the chip or not, on every alignment. */
const peaked = (dtype: string) =>
  [2, 9, 40, 129, 264, 777, 2048, 2056, 4101]
    .map((n) => [Math.min(places(n).length, n > 2000 ? 10 : 20), n] as const)
    .concat([[2, dtype === 'f32' ? 24_585 : 49_161]]);

describe.each(floats)('a peak far above the rest, %s', (dtype) => {
  const limit = { f32: 1e-6, f16: 1e-3, bf16: 4e-3 }[dtype];
  const grid = (rows: number, n: number, axis: number) => ({
    shape: axis === 1 ? [rows, n] : [n, rows],
    at: (r: number, k: number) => (axis === 1 ? r * n + k : k * rows + r),
  });
  const columns = [
    [3, 2],
    [8, 33],
    [40, 130],
    [300, 9],
  ] as const;
  test.each([1, 0])('softmax over axis %i, two peaks', (axis) =>
    scope.run(async () => {
      for (const [rows, n] of axis ? peaked(dtype) : columns)
        await scope.run(async () => {
          const { shape, at } = grid(rows, n, axis);
          const data = new Array<number>(rows * n).fill(0);
          const y = new Array<number>(rows * n).fill(0);
          const dx = new Array<number>(rows * n).fill(0);
          const g = whole(rows * n, 4, 'g').map((v) => 4 * v);
          for (let r = 0; r < rows; r++) {
            const all = places(n);
            const [p, q] = [all[r % all.length] as number, all[(r + 1) % all.length] as number].map((k) => at(r, k)) as [
              number,
              number,
            ];
            data[p] = data[q] = height;
            y[p] = y[q] = 0.5;
            dx[p] = ((g[p] as number) - (g[q] as number)) / 4;
            dx[q] = -(dx[p] as number);
          }
          const x = Object.assign(placed(data, shape, dtype), { requiresGrad: true });
          const first = softmax(x, { axis });
          await expectExact(first, y, `[${shape}]`, limit);
          first.add(softmax(x, { axis })).backward(placed(g, shape, dtype));
          const found = { shape, data: await (x.grad as Tensor).data() };
          expectClose(`gradient of [${shape}]`, found, { shape, data: dx.map((d) => 2 * d) }, limit);
        });
    }),
  );
  test.each([1, 0])('logSoftmax over axis %i', (axis) =>
    scope.run(async () => {
      for (const [rows, n] of axis ? peaked(dtype) : columns)
        await scope.run(async () => {
          const { shape, at } = grid(rows, n, axis);
          const data = new Array<number>(rows * n).fill(0);
          const g = whole(rows * n, 4, 'g');
          const [y, dx] = [new Array<number>(rows * n).fill(-height), g.map((v) => 2 * v)];
          for (let r = 0; r < rows; r++) {
            const p = at(r, places(n)[r % places(n).length] as number);
            data[p] = height;
            y[p] = 0;
            for (let k = 0; k < n; k++) dx[p] = (dx[p] as number) - 2 * (g[at(r, k)] as number);
          }
          const x = Object.assign(placed(data, shape, dtype), { requiresGrad: true });
          const first = logSoftmax(x, { axis });
          await expectExact(first, y, `[${shape}]`);
          first.add(logSoftmax(x, { axis })).backward(placed(g, shape, dtype));
          await expectExact(x.grad as Tensor, dx, `gradient of [${shape}]`, dtype === 'f32' ? 0 : 2 * limit);
        });
    }),
  );
  test.each(['hard', 'hard, weighed', 'soft', 'soft, weighed'])('crossEntropy, %s', (kind) =>
    scope.run(async () => {
      const [soft, weighed] = [kind.startsWith('soft'), kind.endsWith('weighed')];
      for (const [rows, n] of peaked(dtype))
        await scope.run(async () => {
          const data = new Array<number>(rows * n).fill(0);
          const target = new Array<number>(rows * n).fill(0);
          const hard: number[] = [];
          const weight = Array.from({ length: n }, (_, c) => (weighed ? 1 + (c % 3) : 1));
          const all = places(n);
          const peaks = Array.from({ length: rows }, (_, r) => all[r % all.length] as number);
          for (const [r, p] of peaks.entries()) {
            data[r * n + p] = height;
            // The peak itself in every third row.
            const t = all[(r + (r % 3)) % all.length] as number;
            hard.push(t);
            target[r * n + t] = (target[r * n + t] as number) + (soft ? 0.5 : 1);
            if (soft) target[r * n + (all[(r + 2) % all.length] as number)] = 0.5;
          }
          if (soft) for (const [r, t] of hard.entries()) if (all[(r + 2) % all.length] === t) target[r * n + t] = 1;
          const [dx, dt] = [[] as number[], [] as number[]];
          let loss = 0;
          for (const [r, p] of peaks.entries()) {
            const mass = weight.reduce((sum, w, c) => sum + w * (target[r * n + c] as number), 0);
            for (let c = 0; c < n; c++) {
              const [t, w] = [target[r * n + c] as number, weight[c] as number];
              loss += c === p ? 0 : t * w * height;
              dx.push((c === p ? mass : 0) - t * w);
              dt.push(c === p ? 0 : w * height);
            }
          }
          const x = Object.assign(placed(data, [rows, n], dtype), { requiresGrad: true });
          const aim = soft
            ? Object.assign(placed(target, [rows, n], dtype), { requiresGrad: true })
            : placed(hard, [rows], 'i32');
          const of = anneal.losses.crossEntropy(x, aim, weighed ? { weight: placed(weight, [n], 'f32') } : {}).terms[0]
            ?.sum as Tensor;
          await expectExact(of, [loss], `[${rows}, ${n}]`, 1e-6);
          of.backward(anneal.ones([], { dtype: of.dtype, device: of.device }));
          await expectExact(x.grad as Tensor, dx, `gradient of [${rows}, ${n}]`, limit);
          if (soft) await expectExact(aim.grad as Tensor, dt, `gradient of the target of [${rows}, ${n}]`, limit);
        });
    }),
  );
});

/** The same values, from the second element of a block of memory on. */
const shifted = (data: readonly number[], dtype: (typeof floats)[number]): Tensor =>
  narrow(placed([0, ...data], [data.length + 1], dtype), 0, 1, data.length).detach();

// Each of a gradient's operands alone begins off the boundary that the others begin on.
describe.each(floats)('one operand elsewhere, %s', (dtype) => {
  test.each(['g', 'y', 'have', 'dx', 'none'])('%s', (which) =>
    scope.run(async () => {
      for (const [rows, n] of [
        [3, 9],
        [2, 264],
        [1, 2100],
      ] as const)
        await scope.run(async () => {
          const [g, have] = [whole(rows * n, 4, 'g').map((v) => 4 * v), whole(rows * n, 9, 'have')];
          const y = g.map((_, i) => (i % n === 1 || i % n === n - 2 ? 0.5 : 0));
          const at = (name: string, data: readonly number[]) =>
            name === which ? shifted(data, dtype) : placed(data, [data.length], dtype);
          const dx = at(
            'dx',
            g.map(() => 0),
          );
          run(nativeOp('softmax.grad'), [at('g', g), at('y', y), at('have', have)], [dx], [rows, n, 1]);
          const expected = g.map((v, i) => {
            const row = i - (i % n);
            const mean = ((g[row + 1] as number) + (g[row + n - 2] as number)) / 2;
            return (have[i] as number) + (y[i] as number) * (v - mean);
          });
          await expectExact(dx, expected, `[${rows}, ${n}]`);
          run(
            nativeOp('logSoftmax.grad'),
            [
              at('g', g),
              at(
                'y',
                y.map((v) => (v ? 0 : -height)),
              ),
              at('have', have),
            ],
            [dx],
            [rows, n, 1],
          );
          // e^0 at two places, though no softmax has that.
          const sums = g.map((_, i) => g.slice(i - (i % n), i - (i % n) + n).reduce((a, b) => a + b, 0));
          await expectExact(
            dx,
            g.map((v, i) => (have[i] as number) + v - (y[i] ? (sums[i] as number) : 0)),
            `log, [${rows}, ${n}]`,
          );
        });
    }),
  );
});

// ---- norms ------------------------------------------------------------------------------------------------------------------

/** 1 and -1, as many of each in each group. */
function signs(n: number, groupOf: (i: number) => number): number[] {
  const next = drawn('signs');
  const waiting = new Map<number, number>();
  return Array.from({ length: n }, (_, i) => {
    const group = groupOf(i);
    const owed = waiting.get(group);
    waiting.delete(group);
    if (owed !== undefined) return owed;
    const sign = next(2) ? 1 : -1;
    waiting.set(group, -sign);
    return sign;
  });
}
interface Norm {
  shape: readonly number[];
  groupOf: (i: number) => number;
  /** Which weight and bias. */
  channelOf: (i: number) => number;
  channels: number;
  op: (x: Tensor, weight: Tensor, bias: Tensor) => Tensor;
  rms?: boolean;
}
async function compareNorm(
  { shape, groupOf, channelOf, channels, op, rms }: Norm,
  dtype: (typeof floats)[number],
): Promise<void> {
  const limit = { f32: 1e-5, f16: 2 ** -10, bf16: 2 ** -7 }[dtype];
  const n = sizeOf(shape);
  const h = rms ? whole(n, 1, 'h') : signs(n, groupOf);
  const [g, gamma] = [whole(n, 3, 'g'), whole(channels, 3, 'gamma')];
  const beta = gamma.map((_, c) => (rms ? 0 : 5 + (c % 4)));
  const [x, w, b] = [placed(h, shape, dtype), placed(gamma, [channels], 'f32'), placed(beta, [channels], 'f32')];
  for (const t of [x, w, b]) t.requiresGrad = true;
  const y = op(x, w, b);
  const expected = h.map((v, i) => v * (gamma[channelOf(i)] as number) + (beta[channelOf(i)] as number));
  const what = `[${shape}]`;
  await expectExact(y, expected, what, limit);
  // Each is used twice: the second gradients are added to the first.
  y.add(op(x, w, b)).backward(placed(g, shape, dtype));
  const sums = new Map<number, { n: number; u: number; uh: number }>();
  const [dw, db] = [gamma.map(() => 0), gamma.map(() => 0)];
  for (let i = 0; i < n; i++) {
    const [c, v, sign] = [channelOf(i), g[i] as number, h[i] as number];
    const s = sums.get(groupOf(i)) ?? { n: 0, u: 0, uh: 0 };
    sums.set(groupOf(i), { n: s.n + 1, u: s.u + v * (gamma[c] as number), uh: s.uh + v * sign * (gamma[c] as number) });
    dw[c] = (dw[c] as number) + 2 * v * sign;
    db[c] = (db[c] as number) + 2 * v;
  }
  const dx = g.map((v, i) => {
    const s = sums.get(groupOf(i)) as { n: number; u: number; uh: number };
    return 2 * (v * (gamma[channelOf(i)] as number) - (rms ? 0 : s.u / s.n) - ((h[i] as number) * s.uh) / s.n);
  });
  const close = async (t: Tensor, to: number[], name: string, within: number) =>
    expectClose(`${name} of ${what}`, { shape: t.shape, data: await t.data() }, { shape: t.shape, data: to }, within);
  await close(x.grad as Tensor, dx, 'dx', 2 * limit);
  await close(w.grad as Tensor, dw, 'dweight', 1e-5);
  if (!rms) await close(b.grad as Tensor, db, 'dbias', 1e-5);
}

describe.each(floats)('norms of 1 and -1, %s', (dtype) => {
  const eps = 1e-12;
  /** Rows of whole packs with 1, 2 and 4 packs to a thread; others, by blocks; many rows, so that parts are added up. */
  const rows = '1x2 3x8 5x32 9x40 4x130 3x264 2x1000 5x1032 3x2056 3x4104 2x8200 200x8 130x16 300x6 1100x6 2x2050 700x64'
    .split(' ')
    .map((s) => s.split('x').map(Number) as [number, number]);
  const along = (m: number, n: number) => ({
    shape: [m, n],
    groupOf: (i: number) => Math.floor(i / n),
    channelOf: (i: number) => i % n,
    channels: n,
  });
  test.each(rows)('layerNorm [%i, %i]', (m, n) =>
    scope.run(() => compareNorm({ ...along(m, n), op: (x, w, b) => layerNorm(x, w, b, { eps }) }, dtype)),
  );
  test.each([...rows, [4, 7], [3, 129], [2, 1029], [50, 33], [2, 2051]])('rmsNorm [%i, %i]', (m, n) =>
    scope.run(() => compareNorm({ ...along(m, n as number), op: (x, w) => rmsNorm(x, w, { eps }), rms: true }, dtype)),
  );
  const images = '2x3x4x5 4x8x3x3 2x40x5x5 6x33x2x7 2x4x40x40 64x6x2x2 3x130x2x1 2x2x90x100'
    .split(' ')
    .map((s) => s.split('x').map(Number) as [number, number, number, number]);
  for (const format of ['contiguous', 'channelsLast'] as const) {
    test.each(images)(`batchNorm [%i, %i, %i, %i], ${format}`, (m, c, h, w) =>
      scope.run(() => {
        const channelOf = (i: number) => Math.floor(i / (h * w)) % c;
        const op: Norm['op'] = (x, weight, bias) =>
          batchNorm(toFormat(x, format), weight, bias, null, null, { training: true, eps });
        return compareNorm({ shape: [m, c, h, w], groupOf: channelOf, channelOf, channels: c, op }, dtype);
      }),
    );
    test.each(images.filter(([, c, h, w]) => c % 2 === 0 && ((c / 2) * h * w) % 2 === 0))(
      `groupNorm [%i, %i, %i, %i], ${format}`,
      (m, c, h, w) =>
        scope.run(() => {
          const channelOf = (i: number) => Math.floor(i / (h * w)) % c;
          const groupOf = (i: number) => Math.floor(i / ((c / 2) * h * w));
          const op: Norm['op'] = (x, weight, bias) => groupNorm(toFormat(x, format), weight, bias, { numGroups: 2, eps });
          return compareNorm({ shape: [m, c, h, w], groupOf, channelOf, channels: c, op }, dtype);
        }),
    );
  }
});
