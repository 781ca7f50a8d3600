/** A hundred steps of every optimizer: against PyTorch's (test/golden/cases/optimizers.py), Lion against its formula in f64. */
import { describe, expect, test } from 'vitest';
import { Adagrad, Adam, AdamW, Lion, type Optimizer, RMSprop, SGD } from '../../lib/optim/index.ts';
import { tensor } from '../../lib/tensor/create.ts';
import type { DType } from '../../lib/tensor/dtype.ts';
import { scope } from '../../lib/tensor/scope.ts';
import { sizeOf } from '../../lib/tensor/shape.ts';
import { Parameter, type Tensor } from '../../lib/tensor/tensor.ts';
import { loadGolden, type OptimizerCase } from '../golden/golden.ts';
import { expectClose } from '../helpers/compare.ts';
import { deviceFor } from '../helpers/device.ts';

const golden = loadGolden('optimizers');
const kinds: Record<string, new (params: never, options: never) => Optimizer> = { SGD, Adam, AdamW, RMSprop, Adagrad } as never;
const camel = (name: string) => name.replace(/_(.)/g, (_, c: string) => c.toUpperCase());
const given = (data: ArrayLike<number>, shape: readonly number[], dtype: DType) =>
  tensor(Float64Array.from(data), { shape, dtype, device: deviceFor(dtype) });

describe('100 steps as PyTorch', () => {
  const cases = golden.cases as readonly OptimizerCase[];
  test.each(cases.flatMap((c) => (['f32', 'f64'] as DType[]).map((dtype) => [c.name, dtype, c] as const)))(
    '%s %s',
    async (_, dtype, c) => {
      const places = Array.from({ length: c.params }, (_, i) => i);
      const params = places.map((i) => {
        const { data, shape } = golden.tensor(`${c.name}/param.${i}`);
        return new Parameter(given(data, shape, dtype));
      });
      const grads = places.map((i) => golden.tensor(`${c.name}/grads.${i}`));
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
      const limit = dtype === 'f64' ? 1e-7 : 2e-6; // PyTorch's own are stored in f32
      for (const [i, p] of params.entries())
        expectClose(`parameter ${i}`, { shape: p.shape, data: await p.data() }, golden.tensor(`${c.name}/final.${i}`), limit);
      const { tensors } = optimizer.stateDict();
      for (const key of golden.keys(c, 'state.')) {
        const [i, role] = key.split('.') as [string, string];
        const t = tensors.get(`${i}/${camel(role)}`) as Tensor;
        expectClose(key, { shape: t.shape, data: await t.data() }, golden.tensor(`${c.name}/state.${key}`), 5e-6);
      }
    },
  );
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
