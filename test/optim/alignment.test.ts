/** Gradients that begin anywhere in memory, as views do: an optimizer takes the same step, element by element instead of in packs. */
import { expect, test } from 'vitest';
import { concat, narrow, scope } from '../../lib/index.ts';
import { Adagrad, Adam, AdamW, clipGradNorm, LAMB, Lion, Muon, type Optimizer, RMSprop, SGD } from '../../lib/optim/index.ts';
import { Parameter, type Tensor } from '../../lib/tensor/tensor.ts';
import { expectClose } from '../helpers/compare.ts';
import { noise, valuesOf } from './helpers.ts';

const optimizers: { readonly [name: string]: (p: Parameter[]) => Optimizer } = {
  SGD: (p) => new SGD(p, { lr: 0.1, momentum: 0.9, nesterov: true, weightDecay: 0.1 }),
  'SGD without momentum': (p) => new SGD(p, { lr: 0.1 }),
  Adam: (p) => new Adam(p, { lr: 0.1, amsgrad: true, weightDecay: 0.1 }),
  AdamW: (p) => new AdamW(p, { lr: 0.1 }),
  RMSprop: (p) => new RMSprop(p, { lr: 0.1, momentum: 0.5, centered: true }),
  Adagrad: (p) => new Adagrad(p, { lr: 0.1 }),
  Lion: (p) => new Lion(p, { lr: 0.1 }),
  LAMB: (p) => new LAMB(p, { lr: 0.1 }),
  Muon: (p) => new Muon(p, { lr: 0.1 }),
};
/** More than one chunk of an update, and no whole number of packs. */
const shape = [91, 101];
/** The same values, from the second element of a block of memory on. */
const shifted = (t: Tensor): Tensor => {
  const flat = t.reshape([t.size]);
  return narrow(concat([narrow(flat, 0, 0, 1), flat]), 0, 1, t.size).reshape(t.shape);
};

test.each(Object.entries(optimizers))('%s', (name, make) =>
  scope.run(async () => {
    const [plain, views] = [new Parameter(noise(shape, 'p')), new Parameter(noise(shape, 'p'))];
    const both = [make([plain]), make([views])];
    for (let step = 0; step < 3; step++) {
      plain.grad = noise(shape, `g${step}`);
      views.grad = shifted(noise(shape, `g${step}`));
      for (const optimizer of both) optimizer.step();
    }
    const [a, b] = await valuesOf([plain, views]);
    // The compiler contracts products and sums in one of the two ways; sums of squares run in another order.
    expectClose(name, { shape, data: b as Float32Array }, { shape, data: a as Float32Array }, 1e-6);
  }),
);

test('clipGradNorm', () =>
  scope.run(async () => {
    const p = new Parameter(noise(shape, 'p'));
    const norms: number[] = [];
    for (const place of [(t: Tensor) => t, shifted]) {
      p.grad = place(noise(shape, 'g'));
      norms.push(Number(await clipGradNorm([p], 1e9).item()));
    }
    expect(Math.abs((norms[1] as number) / (norms[0] as number) - 1)).toBeLessThan(1e-6);
  }));
