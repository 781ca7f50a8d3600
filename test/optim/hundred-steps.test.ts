/** A hundred steps of every optimizer: against PyTorch's (test/golden/cases/optimizers.py), Lion and LAMB against their formulas in f64. */
import { describe, expect, test } from 'vitest';
import { Adagrad, Adam, AdamW, LAMB, type LAMBOptions, Lion, Muon, type Optimizer, RMSprop, SGD } from '../../lib/optim/index.ts';
import { tensor } from '../../lib/tensor/create.ts';
import type { DType } from '../../lib/tensor/dtype.ts';
import { scope } from '../../lib/tensor/scope.ts';
import { sizeOf } from '../../lib/tensor/shape.ts';
import { Parameter, type Tensor } from '../../lib/tensor/tensor.ts';
import { type Golden, loadGolden, type OptimizerCase } from '../golden/golden.ts';
import { expectClose } from '../helpers/compare.ts';
import { deviceFor } from '../helpers/device.ts';

const golden = loadGolden('optimizers');
const muon = loadGolden('muon');
const kinds: Record<string, new (params: never, options: never) => Optimizer> = {
  SGD,
  Adam,
  AdamW,
  RMSprop,
  Adagrad,
  Muon,
} as never;
const camel = (name: string) => name.replace(/_(.)/g, (_, c: string) => c.toUpperCase());
const given = (data: ArrayLike<number>, shape: readonly number[], dtype: DType) =>
  tensor(Float64Array.from(data), { shape, dtype, device: deviceFor(dtype) });

/** The case's parameters and state after its steps, against those stored. */
async function follow(from: Golden, c: OptimizerCase, dtype: DType, limit: number, stateLimit: number): Promise<void> {
  const places = Array.from({ length: c.params }, (_, i) => i);
  const params = places.map((i) => {
    const { data, shape } = from.tensor(`${c.name}/param.${i}`);
    return new Parameter(given(data, shape, dtype));
  });
  const grads = places.map((i) => from.tensor(`${c.name}/grads.${i}`));
  const optimizer = new (kinds[c.op.slice(6)] as (typeof kinds)[string])(params as never, c.attrs as never);
  for (let step = 0; step < c.steps; step++)
    scope(() => {
      params.forEach((p, i) => {
        const n = sizeOf(p.shape);
        p.grad = given((grads[i] as { data: Float32Array }).data.slice(step * n, (step + 1) * n), p.shape, dtype);
      });
      optimizer.step();
      optimizer.zeroGrad();
    });
  for (const [i, p] of params.entries())
    expectClose(`parameter ${i}`, { shape: p.shape, data: await p.data() }, from.tensor(`${c.name}/final.${i}`), limit);
  const { tensors } = optimizer.stateDict();
  for (const key of from.keys(c, 'state.')) {
    const [i, role] = key.split('.') as [string, string];
    const t = tensors.get(`${i}/${camel(role)}`) as Tensor;
    expectClose(key, { shape: t.shape, data: await t.data() }, from.tensor(`${c.name}/state.${key}`), stateLimit);
  }
}

describe('100 steps as PyTorch', () => {
  const both = (g: Golden) =>
    (g.cases as readonly OptimizerCase[]).flatMap((c) => (['f32', 'f64'] as DType[]).map((dtype) => [c.name, dtype, c] as const));
  // PyTorch's own are stored in f32.
  test.each(both(golden))('%s %s', (_, dtype, c) => follow(golden, c, dtype, dtype === 'f64' ? 1e-7 : 2e-6, 5e-6));
  test.each(both(muon))('%s %s', (_, dtype, c) => follow(muon, c, dtype, 1e-2, 5e-6));
});

test.each([{}, { lr: 0.003, betas: [0.95, 0.98] as const, weightDecay: 0.1 }])('Lion is its formula: %j', async (options) => {
  const {
    lr = 1e-4,
    betas: [b1, b2] = [0.9, 0.99],
    weightDecay = 0,
  } = options as Partial<{
    lr: number;
    betas: readonly [number, number];
    weightDecay: number;
  }>;
  const [p0, grads] = [golden.tensor('Adam/param.0'), golden.tensor('Adam/grads.0')];
  const n = sizeOf(p0.shape);
  const p = new Parameter(given(p0.data, p0.shape, 'f32'));
  const want = Float64Array.from(p0.data);
  const m = new Float64Array(n);
  const optimizer = new Lion([p], options);
  for (let step = 0; step < 100; step++) {
    const g = grads.data.slice(step * n, (step + 1) * n);
    p.grad = given(g, p0.shape, 'f32');
    optimizer.step();
    optimizer.zeroGrad();
    for (let i = 0; i < n; i++) {
      const [gi, mi] = [g[i] as number, m[i] as number];
      want[i] = (want[i] as number) * (1 - lr * weightDecay) - lr * Math.sign(b1 * mi + (1 - b1) * gi);
      m[i] = b2 * mi + (1 - b2) * gi;
    }
  }
  expectClose('parameter', { shape: p.shape, data: await p.data() }, { shape: p.shape, data: want }, 2e-6);
  const state = optimizer.stateDict().tensors.get('0/expAvg') as Tensor;
  expectClose('momentum', { shape: p.shape, data: await state.data() }, { shape: p.shape, data: m }, 2e-6);
});

test('Lion: where the momentum and the gradient are 0 nothing moves; NaN is not hidden', async () => {
  const p = new Parameter(tensor([1, 2, 3]));
  p.grad = tensor([0, -5, Number.NaN]);
  new Lion([p], { lr: 0.5 }).step();
  expect(Array.from(await p.data())).toEqual([1, 2.5, Number.NaN]);
});

test.each([
  {},
  { lr: 0.02, betas: [0.8, 0.95] as const, eps: 1e-4, weightDecay: 0.1 },
  { lr: 0.01, weightDecay: 0 }, // not adapted
  { lr: 0.01, weightDecay: 0, adaptUndecayed: true },
  { lr: 0.01, zero: true }, // a parameter of zeros has no length to go by
])('LAMB is its formula: %j', async (options) => {
  const { zero = false, ...own } = options as Partial<{ zero: boolean } & LAMBOptions>;
  const { lr = 1e-3, betas: [b1, b2] = [0.9, 0.999], eps = 1e-6, weightDecay = 0.01, adaptUndecayed = false } = own;
  const n = 20_011; // more than a chunk on a GPU, and no multiple of anything
  const long = (at: number) => Float32Array.from({ length: n }, (_, i) => Math.fround(Math.sin(i * (at + 1.3)) * (1 + (at % 3))));
  const [a, b] = [golden.tensor('Adam/param.0'), { shape: [n], data: zero ? new Float32Array(n) : long(0.2) }];
  const grads = golden.tensor('Adam/grads.0');
  const params = [a, b].map(({ shape, data }) => new Parameter(given(data as Float32Array, shape, 'f32')));
  const optimizer = new LAMB(params, own);
  const want = [a, b].map(({ data }) => Float64Array.from(data));
  const [m, v] = [want.map((w) => new Float64Array(w.length)), want.map((w) => new Float64Array(w.length))];
  for (let step = 0; step < 100; step++) {
    const size = sizeOf(a.shape);
    const g = [(grads.data as Float32Array).slice(step * size, (step + 1) * size), long(step + 1)];
    scope(() => {
      params.forEach((p, i) => {
        p.grad = given(g[i] as Float32Array, p.shape, 'f32');
      });
      optimizer.step();
      optimizer.zeroGrad();
    });
    want.forEach((p, k) => {
      const [mk, vk, gk] = [m[k], v[k], g[k]] as [Float64Array, Float64Array, Float32Array];
      const direction = p.map((x, i) => {
        mk[i] = b1 * (mk[i] as number) + (1 - b1) * (gk[i] as number);
        vk[i] = b2 * (vk[i] as number) + (1 - b2) * (gk[i] as number) ** 2;
        const [mhat, vhat] = [(mk[i] as number) / (1 - b1 ** (step + 1)), (vk[i] as number) / (1 - b2 ** (step + 1))];
        return mhat / (Math.sqrt(vhat) + eps) + weightDecay * x;
      });
      const length = (x: Float64Array) => Math.sqrt(x.reduce((s, e) => s + e * e, 0));
      const [own, away] = [length(p), length(direction)];
      const trust = (weightDecay > 0 || adaptUndecayed) && own > 0 && away > 0 ? own / away : 1;
      p.forEach((x, i) => {
        p[i] = x - lr * trust * (direction[i] as number);
      });
    });
  }
  for (const [k, p] of params.entries())
    expectClose(
      `parameter ${k}`,
      { shape: p.shape, data: await p.data() },
      { shape: p.shape, data: want[k] as Float64Array },
      2e-6,
    );
});
