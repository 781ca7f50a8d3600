import { describe, expect, it } from 'vitest';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { ConfigError, DTypeError, ShapeError } from '../../lib/native/errors.ts';
import { add } from '../../lib/ops/binary.ts';
import { toFormat } from '../../lib/ops/define.ts';
import { dropout, dropout2d, type FusedBiasOptions, fusedBias, normal } from '../../lib/ops/random.ts';
import { gelu, relu } from '../../lib/ops/unary.ts';
import { bind, manualSeed, type Rng } from '../../lib/tensor/context.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { device } from '../../lib/tensor/device.ts';
import type { DType } from '../../lib/tensor/dtype.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { sizeOf } from '../../lib/tensor/shape.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { expectClose } from '../helpers/compare.ts';
import { deviceFor, onGpu } from '../helpers/device.ts';
import { widened } from '../helpers/place.ts';

const step = (rowOffset = 0, attempt = 2): Rng => ({ seed: 11, attempt, rowOffset, rows: 0, calls: new Map(), inStep: true });
const within = <T>(rng: Rng, fn: () => T): T => bind({ rng }, fn);
const leaf = (data: ArrayLike<number>, shape: number[], dtype: DType = 'f32') =>
  tensor(Float64Array.from(data), { shape, dtype, device: deviceFor(dtype), requiresGrad: true });
const noise = (shape: number[], dtype: DType = 'f32', name = 'noise') => {
  const s = new PhiloxStream(4, name);
  return leaf(
    Array.from({ length: sizeOf(shape) }, () => 2 * s.uniform() - 1),
    shape,
    dtype,
  );
};
/** 1 / (1 - p) where kept, else 0; from the words that lib/tensor/philox.ts gives. */
function mask(path: string, n: number, p: number, first = 0, attempt = 2): number[] {
  const s = new PhiloxStream(11, path, attempt);
  return Array.from({ length: n }, (_, i) => (s.wordAt(first + i) >>> 0 >= Math.floor(p * 2 ** 32) ? 1 / (1 - p) : 0));
}

describe('dropout', () => {
  it.each([0, 1, 7, 33, 129, 1000])('of %i elements: mask, scale, gradient', async (n) => {
    for (const p of [0.1, 0.5, 0.9]) {
      const x = noise([n]);
      const y = within(step(3), () => dropout(x, p, { path: 'a.b' }));
      const m = mask('a.b', n, p, 3);
      const values = await x.data();
      expectClose(
        'forward',
        { shape: [n], data: await y.data() },
        { shape: [n], data: m.map((k, i) => k * (values[i] as number)) },
        1e-6,
      );
      if (n === 0) continue;
      y.backward(noise([n], 'f32', 'g').detach());
      const g = await noise([n], 'f32', 'g').data();
      expectClose(
        'gradient',
        { shape: [n], data: await (x.grad as Tensor).data() },
        { shape: [n], data: m.map((k, i) => k * (g[i] as number)) },
        1e-6,
      );
    }
  });

  it('adds to a gradient that already waits', async () => {
    const x = noise([40, 5]);
    const m = mask('d', 200, 0.4);
    within(step(), () => {
      const y = x.mul(1);
      add(dropout(y, 0.4, { path: 'd' }), y.mul(3))
        .sum()
        .backward();
    });
    expectClose(
      'sum',
      { shape: [200], data: await (x.grad as Tensor).data() },
      { shape: [200], data: m.map((k) => k + 3) },
      1e-6,
    );
  });

  it.each<DType>(['f64', 'bf16', 'f16'])('%s has the mask of f32', async (dtype) => {
    const x = leaf(new Array(99).fill(1), [99], dtype);
    const y = await within(step(), () => dropout(x, 0.5, { path: 'd' })).data();
    expect(Array.from(y)).toEqual(mask('d', 99, 0.5));
  });

  it('micro-batches together draw the mask of the whole batch', async () => {
    const x = noise([32, 3, 7]);
    const whole = await within(step(), () => dropout(x, 0.3, { path: 'd' })).data();
    const values = await x.data();
    for (let i = 0; i < 4; i++) {
      const part = tensor(values.slice(i * 168, (i + 1) * 168), { shape: [8, 3, 7] });
      const got = await within(step(8 * i), () => dropout(part, 0.3, { path: 'd' })).data();
      expect(got).toEqual(whole.slice(i * 168, (i + 1) * 168));
    }
    expect(await within(step(0, 3), () => dropout(x, 0.3, { path: 'd' })).data()).not.toEqual(whole);
    expect(await within(step(), () => dropout(x, 0.3, { path: 'e' })).data()).not.toEqual(whole);
  });

  it('masks do not depend on the layout', async () => {
    const x = noise([3, 5, 4, 6]);
    const plain = within(step(), () => dropout(x, 0.3, { path: 'd' }));
    const last = within(step(), () => dropout(toFormat(x, 'channelsLast'), 0.3, { path: 'd' }));
    expect(await last.data()).toEqual(await plain.data());
    last.sum().backward();
    expect(Array.from(await (x.grad as Tensor).data())).toEqual(mask('d', 360, 0.3).map(Math.fround));
  });

  it.skipIf(onGpu)('is the same for any number of threads', async () => {
    const cpu = device('cpu');
    const before = cpu.threads;
    const x = noise([200_003]);
    const draw = () => within(step(), () => dropout(x, 0.3)).data();
    cpu.threads = 1;
    const one = await draw();
    cpu.threads = 3;
    expect(await draw()).toEqual(one);
    cpu.threads = before;
  });

  it('p of 0 gives x, p of 1 zeros with a gradient of zeros', async () => {
    const x = noise([9]);
    expect(dropout(x, 0)).toBe(x);
    const y = dropout(x, 1);
    expect(Array.from(await y.data())).toEqual(new Array(9).fill(0));
    y.sum().backward();
    expect(Array.from(await (x.grad as Tensor).data())).toEqual(new Array(9).fill(0));
  });

  it('NaN and inf pass where kept', async () => {
    const x = tensor([Number.NaN, Infinity, -Infinity, Number.NaN, Infinity, 1, 2, 3]);
    const y = await within(step(), () => dropout(x, 0.5, { path: 'd' })).data();
    const m = mask('d', 8, 0.5);
    const values = await x.data();
    expect(Array.from(y)).toEqual(m.map((k, i) => (k ? (values[i] as number) * k : 0)));
  });
});

describe('dropout2d', () => {
  it.each(['contiguous', 'channelsLast'] as const)('drops whole channels of %s, counted over the window', async (format) => {
    const [n, c, area] = [3, 600, 4];
    const x = noise([n, c, 2, 2]);
    const y = within(step(5), () => dropout2d(toFormat(x, format), 0.3, { path: 'd' }));
    expect(y.format).toBe(format);
    const m = mask('d', n * c, 0.3, 5 * c);
    const values = await x.data();
    const expected = Array.from(values, (v, i) => v * (m[Math.floor(i / area)] as number));
    expectClose('forward', { shape: [1], data: await y.data() }, { shape: [1], data: expected }, 1e-6);
    y.sum().backward();
    const grad = await (x.grad as Tensor).data();
    expect(Array.from(grad)).toEqual(Array.from(values, (_, i) => Math.fround(m[Math.floor(i / area)] as number)));
  });
  it('p of 1, empty, wrong rank', async () => {
    expect(Array.from(await dropout2d(noise([1, 2, 1, 2]), 1).data())).toEqual([0, 0, 0, 0]);
    expect((await dropout2d(noise([0, 2, 1, 2]), 0.5).data()).length).toBe(0);
    expect(() => dropout2d(noise([2, 2]), 0.5)).toThrow(ShapeError);
  });
});

describe('fusedBias', () => {
  const act = { none: (x: Tensor) => x, relu, gelu, geluTanh: (x: Tensor) => gelu(x, { approximate: 'tanh' }) };
  type Activation = keyof typeof act;
  const parts = (x: Tensor, { bias, residual, activation = 'none', p = 0, path }: FusedBiasOptions): Tensor => {
    let h = act[activation](bias ? add(x, bias) : x);
    h = dropout(h, p, { path });
    return residual ? add(residual, h) : h;
  };
  const cases = (['none', 'relu', 'gelu', 'geluTanh'] as Activation[]).flatMap((activation) =>
    [0, 0.4].flatMap((p) => [0, 1, 2, 3].map((k) => ({ activation, p, bias: (k & 1) === 1, residual: (k & 2) === 2 }))),
  );
  it.each(cases)('equals its parts: %j', async ({ activation, p, bias, residual }) => {
    for (const [rows, width] of [
      [33, 7],
      [1, 1],
      [3, 1100],
      [0, 4],
      [130, 16],
    ] as const) {
      const make = () => ({
        x: noise([rows, width]),
        bias: bias ? noise([width], 'f32', 'bias') : null,
        residual: residual ? noise([rows, width], 'f32', 'residual') : null,
      });
      const [a, b] = [make(), make()];
      const options = { activation, p, path: 'q' };
      const y = within(step(2), () => fusedBias(a.x, { ...options, bias: a.bias, residual: a.residual }));
      const z = within(step(2), () => parts(b.x, { ...options, bias: b.bias, residual: b.residual }));
      const shape = [rows, width];
      expectClose('forward', { shape, data: await y.data() }, { shape, data: await z.data() }, 1e-6);
      if (rows === 0) continue;
      if (!y.tracked) continue;
      y.backward(noise(shape, 'f32', 'g').detach());
      if (z.node) z.backward(noise(shape, 'f32', 'g').detach());
      for (const name of ['x', 'bias', 'residual'] as const) {
        const [s, t] = [a[name], b[name]];
        if (!s || !t?.grad) continue;
        expectClose(
          name,
          { shape: s.shape, data: await (s.grad as Tensor).data() },
          { shape: t.shape, data: await t.grad.data() },
          2e-6,
        );
      }
    }
  });

  it.skipIf(onGpu).each(['none', 'relu', 'gelu', 'geluTanh'] as const)('gradcheck, %s', async (activation) => {
    const inputs = [noise([5, 7], 'f64'), noise([7], 'f64', 'bias'), noise([5, 7], 'f64', 'r')] as const;
    const fn = (x: Tensor, bias: Tensor, residual: Tensor) => fusedBias(x, { bias, residual, activation, p: 0.3, path: 'g' });
    expect(await gradcheck(fn as never, [...inputs])).toBeLessThan(1e-6);
  });
  it.skipIf(onGpu)('gradcheck, dropout and dropout2d', async () => {
    expect(await gradcheck((x) => dropout(x, 0.3), [noise([4, 9], 'f64')])).toBeLessThan(1e-6);
    expect(await gradcheck((x) => dropout2d(x, 0.3), [noise([2, 5, 2, 3], 'f64')])).toBeLessThan(1e-6);
  });

  it.each<DType>(['bf16', 'f16'])('%s rounds once', async (dtype) => {
    manualSeed(1);
    const x = normal([9, 40], { dtype });
    const bias = normal([40]);
    const got = await fusedBias(x, { bias, activation: 'gelu' }).data();
    const exact = await gelu(add(widened(x), widened(bias))).data();
    const limit = dtype === 'bf16' ? 2 ** -8 : 2 ** -11;
    got.forEach((v, i) => {
      expect(Math.abs(v - (exact[i] as number))).toBeLessThanOrEqual(limit * Math.abs(exact[i] as number) + 1e-6);
    });
  });

  it.skipIf(onGpu)('the bias gradient is the same for any number of threads, and is added to one that waits', async () => {
    const cpu = device('cpu');
    const before = cpu.threads;
    const grad = async () => {
      const bias = noise([48], 'f32', 'bias');
      for (let i = 0; i < 2; i++)
        within(step(), () =>
          fusedBias(noise([2000, 48]), { bias, activation: 'gelu', p: 0.1 })
            .sum()
            .backward(),
        );
      return (bias.grad as Tensor).data();
    };
    cpu.threads = 1;
    const one = await grad();
    cpu.threads = 2;
    expect(await grad()).toEqual(one);
    cpu.threads = before;
  });

  it('all dropped leaves the residual', async () => {
    const [x, bias, residual] = [noise([3, 4]), noise([4], 'f32', 'b'), noise([3, 4], 'f32', 'r')];
    const y = fusedBias(x, { bias, residual, p: 1 });
    expect(await y.data()).toEqual(await residual.data());
    y.sum().backward();
    expect(Array.from(await (residual.grad as Tensor).data())).toEqual(new Array(12).fill(1));
    expect(Array.from(await (x.grad as Tensor).data())).toEqual(new Array(12).fill(0));
    expect(Array.from(await (bias.grad as Tensor).data())).toEqual(new Array(4).fill(0));
  });
});

describe('bad input', () => {
  const x = tensor([[1, 2, 3]]);
  it.each<[string, () => unknown, unknown, RegExp]>([
    ['p', () => dropout(x, 1.5), ConfigError, /p must be a number from 0 to 1, got 1.5/],
    ['NaN', () => dropout(x, Number.NaN), ConfigError, /got NaN/],
    ['dtype', () => dropout(tensor([1], { dtype: 'i32' }), 0.5), DTypeError, /float tensor, got i32/],
    ['option', () => dropout(x, 0.5, { pat: 'a' } as never), ConfigError, /should be "path"/],
    ['activation', () => fusedBias(x, { activation: 'tanh' as never }), ConfigError, /one of none, relu, gelu, geluTanh/],
    ['bias', () => fusedBias(x, { bias: tensor([1, 2]) }), ShapeError, /bias must have shape \[3\], got \[2\]/],
    ['residual', () => fusedBias(x, { residual: tensor([1, 2, 3]) }), ShapeError, /residual must have shape \[1, 3\]/],
  ])('%s', (_, fn, kind, message) => {
    expect(fn).toThrow(kind as never);
    expect(fn).toThrow(message);
  });
});
