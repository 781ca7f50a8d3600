/**
 * Kernels of the simulated GPU against f64 written here from the formula, with no kernel of ours, of either device, in between.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import { gelu, nn, optim, softmax } from '../../lib/index.ts';
import { attention } from '../../lib/ops/attention.ts';
import { conv2d } from '../../lib/ops/conv.ts';
import { fusedBias } from '../../lib/ops/dropout.ts';
import { embedding } from '../../lib/ops/embedding.ts';
import { crossEntropy } from '../../lib/ops/loss.ts';
import { matmul } from '../../lib/ops/matmul.ts';
import { layerNorm } from '../../lib/ops/norm.ts';
import { bind } from '../../lib/tensor/context.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { type Device, device } from '../../lib/tensor/device.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { expectClose } from '../helpers/compare.ts';
import { withoutSimulator, withSimulatedGpu } from '../helpers/device.ts';
import { sizeOf } from '../helpers/place.ts';
import { rounded, unitRoundoff } from '../helpers/rounding.ts';

type Floats = 'f32' | 'bf16' | 'f16';
let gpu: Device;

/** Numbers that `dtype` holds, and a leaf of them on the GPU. */
function draw(name: string, shape: number[], dtype: Floats = 'f32', scale = 2) {
  const stream = new PhiloxStream(17, name);
  const data = rounded(
    Float64Array.from({ length: sizeOf(shape) }, () => scale * (2 * stream.uniform() - 1)),
    dtype,
  );
  return { data, leaf: tensor(data, { shape, dtype, device: gpu, requiresGrad: true }) };
}
/** f32: what single precision leaves. 16 bits: so many roundings beside it. */
async function agree(what: string, t: Tensor | null, expected: Float64Array, roundings = 1): Promise<void> {
  expect(t, what).not.toBeNull();
  const { shape, dtype } = t as Tensor;
  const limit = dtype === 'f32' && roundings <= 1 ? 1e-5 : 1e-5 + roundings * unitRoundoff[dtype as Floats];
  expectClose(what, { shape, data: await (t as Tensor).data() }, { shape, data: expected }, limit);
}
const at = (a: Float64Array, i: number): number => a[i] as number;
const sum = (n: number, f: (i: number) => number): number => {
  let total = 0;
  for (let i = 0; i < n; i++) total += f(i);
  return total;
};
/** [m, k] by [k, n]. */
const product = (a: Float64Array, b: Float64Array, m: number, k: number, n: number): Float64Array =>
  Float64Array.from({ length: m * n }, (_, p) => sum(k, (l) => at(a, Math.floor(p / n) * k + l) * at(b, l * n + (p % n))));
const turned = (a: Float64Array, m: number, n: number): Float64Array =>
  Float64Array.from({ length: m * n }, (_, p) => at(a, (p % m) * n + Math.floor(p / m)));
/** p_i = e^x_i / sum e^x_j */
function distribution(x: ArrayLike<number>): number[] {
  const most = Math.max(...Array.from(x));
  const e = Array.from(x, (v) => Math.exp(v - most));
  const total = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / total);
}
/** 2 / sqrt(pi) sum (-1)^n x^(2n+1) / (n! (2n+1)), for small x. */
function erf(x: number): number {
  let [term, total] = [x, x];
  for (let n = 1; n < 120; n++) {
    term *= (-x * x) / n;
    total += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * total;
}

describe.skipIf(withoutSimulator)('against the formula', { timeout: 60_000 }, () => {
  beforeAll(() => {
    gpu = withSimulatedGpu();
  });

  test.each(['f32', 'bf16', 'f16'] as const)('softmax, %s', async (dtype) => {
    const [rows, n] = [5, 133];
    const [x, g] = [draw('x', [rows, n], dtype, 6), draw('g', [rows, n], dtype)];
    const y = softmax(x.leaf);
    y.backward(g.leaf.detach());
    const p = Float64Array.from(Array.from({ length: rows }, (_, r) => distribution(x.data.subarray(r * n, (r + 1) * n))).flat());
    // dx = p (g - sum g p)
    const dx = p.map((v, i) => {
      const r = Math.floor(i / n) * n;
      return v * (at(g.data, i) - sum(n, (j) => at(g.data, r + j) * at(p, r + j)));
    });
    await agree('y', y, p);
    await agree('dx', x.leaf.grad, dx, dtype === 'f32' ? 1 : 4);
  });

  test.each(['f32', 'bf16', 'f16'] as const)('layerNorm, %s', async (dtype) => {
    const [rows, n, eps] = [7, 97, 1e-5];
    const [x, g] = [draw('x', [rows, n], dtype), draw('g', [rows, n], dtype)];
    const [w, b] = [draw('w', [n]), draw('b', [n])];
    const y = layerNorm(x.leaf, w.leaf, b.leaf);
    y.backward(g.leaf.detach());
    const [out, dx, dw, db] = [new Float64Array(rows * n), new Float64Array(rows * n), new Float64Array(n), new Float64Array(n)];
    for (let r = 0; r < rows; r++) {
      const row = x.data.subarray(r * n, (r + 1) * n);
      const mean = sum(n, (i) => at(row, i)) / n;
      const deviation = Math.sqrt(sum(n, (i) => (at(row, i) - mean) ** 2) / n + eps);
      const z = row.map((v) => (v - mean) / deviation);
      const dz = z.map((_, i) => at(g.data, r * n + i) * at(w.data, i));
      const [m1, m2] = [sum(n, (i) => at(dz, i)) / n, sum(n, (i) => at(dz, i) * at(z, i)) / n];
      for (let i = 0; i < n; i++) {
        const upstream = at(g.data, r * n + i);
        out[r * n + i] = at(z, i) * at(w.data, i) + at(b.data, i);
        dx[r * n + i] = (at(dz, i) - m1 - at(z, i) * m2) / deviation;
        dw[i] = at(dw, i) + upstream * at(z, i);
        db[i] = at(db, i) + upstream;
      }
    }
    await agree('y', y, out);
    await agree('dx', x.leaf.grad, dx);
    await agree('dw', w.leaf.grad, dw);
    await agree('db', b.leaf.grad, db);
  });

  test.each(['f32', 'bf16', 'f16'] as const)('gelu, %s', async (dtype) => {
    const [x, g] = [draw('x', [301], dtype, 3), draw('g', [301], dtype)];
    const y = gelu(x.leaf);
    y.backward(g.leaf.detach());
    const normal = (v: number) => 0.5 * (1 + erf(v / Math.SQRT2));
    const density = (v: number) => Math.exp((-v * v) / 2) / Math.sqrt(2 * Math.PI);
    await agree(
      'y',
      y,
      x.data.map((v) => v * normal(v)),
    );
    await agree(
      'dx',
      x.leaf.grad,
      x.data.map((v, i) => at(g.data, i) * (normal(v) + v * density(v))),
    );
  });

  test.each(['f32', 'bf16', 'f16'] as const)('crossEntropy with label smoothing, %s', async (dtype) => {
    const [rows, n, smoothing] = [9, 65, 0.1];
    const x = draw('x', [rows, n], dtype, 5);
    const labels = Array.from({ length: rows }, (_, r) => (r === 4 ? -100 : (r * 7) % n));
    const loss = crossEntropy(x.leaf, tensor(Int32Array.from(labels), { device: gpu }), { labelSmoothing: smoothing }).mean();
    loss.backward();
    const counted = labels.filter((y) => y >= 0).length;
    let total = 0;
    const dx = new Float64Array(rows * n);
    labels.forEach((y, r) => {
      if (y < 0) return;
      distribution(x.data.subarray(r * n, (r + 1) * n)).forEach((p, k) => {
        const q = (k === y ? 1 - smoothing : 0) + smoothing / n;
        total -= q * Math.log(p);
        dx[r * n + k] = (p - q) / counted;
      });
    });
    await agree('loss', loss, Float64Array.of(total / counted));
    await agree('dx', x.leaf.grad, dx, 2);
  });

  test.each(['f32', 'bf16', 'f16'] as const)('matmul, %s', async (dtype) => {
    const [m, k, n] = [37, 50, 43];
    const [a, b, g] = [draw('a', [m, k], dtype), draw('b', [k, n], dtype), draw('g', [m, n], dtype)];
    const y = matmul(a.leaf, b.leaf);
    y.backward(g.leaf.detach());
    await agree('y', y, product(a.data, b.data, m, k, n));
    await agree('da', a.leaf.grad, product(g.data, turned(b.data, k, n), m, n, k));
    await agree('db', b.leaf.grad, product(turned(a.data, m, k), g.data, k, m, n));
  });

  test.each(['f32', 'bf16', 'f16'] as const)('causal attention, %s', async (dtype) => {
    const [t, d] = [41, 16];
    const [q, k, v, g] = ['q', 'k', 'v', 'g'].map((name) => draw(name, [1, 1, t, d], dtype)) as ReturnType<typeof draw>[] as [
      ReturnType<typeof draw>,
      ReturnType<typeof draw>,
      ReturnType<typeof draw>,
      ReturnType<typeof draw>,
    ];
    const y = attention(q.leaf, k.leaf, v.leaf, { causal: true });
    y.backward(g.leaf.detach());
    const scale = 1 / Math.sqrt(d);
    const dot = (a: Float64Array, i: number, b: Float64Array, j: number) => sum(d, (c) => at(a, i * d + c) * at(b, j * d + c));
    const [out, dq, dk, dv] = [0, 0, 0, 0].map(() => new Float64Array(t * d)) as [
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    for (let i = 0; i < t; i++) {
      const p = distribution(Array.from({ length: i + 1 }, (_, j) => scale * dot(q.data, i, k.data, j)));
      const dp = p.map((_, j) => dot(g.data, i, v.data, j));
      const mean = p.reduce((s, w, j) => s + w * (dp[j] as number), 0);
      p.forEach((w, j) => {
        const ds = w * ((dp[j] as number) - mean) * scale;
        for (let c = 0; c < d; c++) {
          out[i * d + c] = at(out, i * d + c) + w * at(v.data, j * d + c);
          dv[j * d + c] = at(dv, j * d + c) + w * at(g.data, i * d + c);
          dq[i * d + c] = at(dq, i * d + c) + ds * at(k.data, j * d + c);
          dk[j * d + c] = at(dk, j * d + c) + ds * at(q.data, i * d + c);
        }
      });
    }
    const roundings = dtype === 'f32' ? 1 : 4; // probabilities and their slopes are rounded for the tensor cores, and the output before backward
    await agree('y', y, out, dtype === 'f32' ? 1 : 2);
    await agree('dq', q.leaf.grad, dq, roundings);
    await agree('dk', k.leaf.grad, dk, roundings);
    await agree('dv', v.leaf.grad, dv, roundings);
  });

  test('three steps of AdamW', async () => {
    const n = 77;
    const [lr, beta1, beta2, eps, weightDecay] = [0.01, 0.9, 0.99, 1e-8, 0.1];
    const start = draw('p', [n]);
    const p = new nn.Parameter(start.leaf.detach());
    const optimizer = new optim.AdamW([p], { lr, betas: [beta1, beta2], eps, weightDecay });
    const [w, m, v] = [Float64Array.from(start.data), new Float64Array(n), new Float64Array(n)];
    for (let s = 1; s <= 3; s++) {
      const g = draw(`g${s}`, [n]);
      p.grad = g.leaf.detach();
      optimizer.step();
      for (let i = 0; i < n; i++) {
        m[i] = beta1 * at(m, i) + (1 - beta1) * at(g.data, i);
        v[i] = beta2 * at(v, i) + (1 - beta2) * at(g.data, i) ** 2;
        const [mhat, vhat] = [at(m, i) / (1 - beta1 ** s), at(v, i) / (1 - beta2 ** s)];
        w[i] = at(w, i) * (1 - lr * weightDecay) - (lr * mhat) / (Math.sqrt(vhat) + eps);
      }
    }
    expectClose('p', { shape: [n], data: await p.data() }, { shape: [n], data: w }, 1e-6);
  });

  test.each(['f32', 'bf16', 'f16'] as const)(
    'dropout beside a residual: which share falls, and the scale of the rest, %s',
    async (dtype) => {
      const [rows, width, p] = [100, 200, 0.3];
      const [x, residual] = [draw('x', [rows, width], dtype), draw('r', [rows, width], dtype)];
      const [bias, g] = [draw('b', [width]), draw('g', [rows, width], dtype)];
      const rng = { seed: 3, attempt: 1, rowOffset: 0, rows: 0, calls: new Map(), inStep: true };
      const y = bind({ rng }, () => fusedBias(x.leaf, { bias: bias.leaf, residual: residual.leaf, p, path: 'd' }));
      y.backward(g.leaf.detach());
      const [dx, dr] = [await (x.leaf.grad as Tensor).data(), await (residual.leaf.grad as Tensor).data()];
      // The gradient shows the mask; the result must show the same one.
      const kept = Array.from(dx, (v, i) => +(v !== 0 || g.data[i] === 0));
      const scale = 1 / (1 - p);
      await agree(
        'dx',
        x.leaf.grad,
        g.data.map((v, i) => v * (kept[i] as number) * scale),
      );
      await agree(
        'y',
        y,
        x.data.map((v, i) => at(residual.data, i) + (kept[i] as number) * scale * (v + at(bias.data, i % width))),
      );
      expect(Array.from(dr)).toEqual(Array.from(g.data));
      await agree(
        'db',
        bias.leaf.grad,
        bias.data.map((_, c) => sum(rows, (r) => at(g.data, r * width + c) * (kept[r * width + c] as number) * scale)),
      );
      const n = rows * width;
      const deviation = Math.sqrt(p * (1 - p));
      const fallen = n - kept.reduce((a, b) => a + b, 0);
      expect(Math.abs(fallen - p * n) / (deviation * Math.sqrt(n))).toBeLessThan(4);
      // Neighbours fall independently.
      for (const step of [1, 2, 4, width]) {
        const both = sum(n - step, (i) => (1 - (kept[i] as number)) * (1 - (kept[i + step] as number))) / (n - step);
        expect(Math.abs(both - p * p) * Math.sqrt(n), `neighbours at ${step}`).toBeLessThan(4 * Math.sqrt(p * p * (1 - p * p)));
      }
    },
  );

  test.each(['f32', 'bf16', 'f16'] as const)('gradient of embedding, %s', async (dtype) => {
    const [rows, width, n] = [13, 21, 150];
    const [w, g] = [draw('w', [rows, width], dtype), draw('g', [n, width], dtype)];
    const index = Int32Array.from({ length: n }, (_, i) => (i * i + 3 * i) % rows);
    const y = embedding(tensor(index, { device: gpu }), w.leaf);
    y.backward(g.leaf.detach());
    const dw = new Float64Array(rows * width);
    index.forEach((row, i) => {
      for (let c = 0; c < width; c++) dw[row * width + c] = at(dw, row * width + c) + at(g.data, i * width + c);
    });
    await agree(
      'y',
      y,
      Float64Array.from({ length: n * width }, (_, i) =>
        at(w.data, (index[Math.floor(i / width)] as number) * width + (i % width)),
      ),
    );
    await agree('dw', w.leaf.grad, dw);
  });

  test.each(['f32', 'bf16', 'f16'] as const)('conv2d, %s', async (dtype) => {
    const [n, c, h, wd, o, k, stride, padding] = [2, 5, 9, 8, 7, 3, 2, 1];
    const [oh, ow] = [Math.floor((h + 2 * padding - k) / stride) + 1, Math.floor((wd + 2 * padding - k) / stride) + 1];
    const [x, w, g] = [draw('x', [n, c, h, wd], dtype), draw('w', [o, c, k, k], dtype), draw('g', [n, o, oh, ow], dtype)];
    const b = draw('b', [o]);
    const y = conv2d(x.leaf, w.leaf, b.leaf, { stride, padding });
    y.backward(g.leaf.detach());
    const [dx, dw, db] = [x.data, w.data, b.data].map((t) => new Float64Array(t.length)) as [
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    const result = new Float64Array(n * o * oh * ow);
    for (let p = 0; p < result.length; p++) {
      const [column, row] = [p % ow, Math.floor(p / ow) % oh];
      const [channel, image] = [Math.floor(p / (ow * oh)) % o, Math.floor(p / (ow * oh * o))];
      let total = at(b.data, channel);
      db[channel] = at(db, channel) + at(g.data, p);
      for (let f = 0; f < c * k * k; f++) {
        const [v, u, ci] = [f % k, Math.floor(f / k) % k, Math.floor(f / (k * k))];
        const [yy, xx] = [row * stride + u - padding, column * stride + v - padding];
        if (yy < 0 || yy >= h || xx < 0 || xx >= wd) continue;
        const [from, by] = [((image * c + ci) * h + yy) * wd + xx, channel * c * k * k + f];
        total += at(x.data, from) * at(w.data, by);
        dx[from] = at(dx, from) + at(g.data, p) * at(w.data, by);
        dw[by] = at(dw, by) + at(g.data, p) * at(x.data, from);
      }
      result[p] = total;
    }
    await agree('y', y, result);
    await agree('dx', x.leaf.grad, dx);
    await agree('dw', w.leaf.grad, dw);
    await agree('db', b.leaf.grad, db);
  });

  test('all of it ran on the simulated GPU', () => {
    expect(gpu).toBe(device('cuda'));
    expect(gpu.gpu?.name).toMatch(/simulated/i);
  });
});
