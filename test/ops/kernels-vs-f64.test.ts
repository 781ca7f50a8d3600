/**
 * Every kernel in f32, bf16 and f16 against the plain f64 kernel on the same operands: those of the golden cases, rounded to the dtype first.
 * A kernel computes in f32 and rounds once, so a result may be wrong by the rounding of its dtype and by what f32 leaves.
 */
import { describe, test } from 'vitest';
import type { FloatDType } from '../../lib/tensor/dtype.ts';
import type { GoldenFamily, OpCase } from '../golden/golden.ts';
import { casesOf, execute, FORWARD, GRADIENT, loadOps, type Read } from '../golden/run.ts';
import { againstExact, roundings } from '../helpers/bounds.ts';
import { unitRoundoff } from '../helpers/rounding.ts';

const families: readonly GoldenFamily[] = [
  'unary',
  'binary',
  'reduce',
  'matmul',
  'conv',
  'norm',
  'attention',
  'loss',
  'index',
  'layers',
  'losses',
  'array',
];

/** Vectors of parameters and statistics stay f32 beside 16-bit activations. */
const wide = new Set(['bias', 'runningMean', 'runningVar', 'options.weight', 'options.posWeight']);
const except =
  (c: OpCase) =>
  (arg: string): FloatDType | undefined =>
    wide.has(arg) || (arg === 'weight' && c.op.endsWith('Norm')) ? 'f32' : undefined;

/** Where rounded terms cancel: sums over a broadcast operand, extreme values. */
const cancels = (c: OpCase) => c.tags?.includes('extreme') || ['div', 'pow'].includes(c.op);

async function compare(c: OpCase, dtype: FloatDType): Promise<void> {
  const options = { rounding: dtype, except: dtype === 'f32' ? undefined : except(c) };
  const [actual, exact] = [await execute(c, { ...options, dtype }), await execute(c, { ...options, dtype: 'f64' })];
  const f32 = c.tolerance ?? { forward: FORWARD, grad: GRADIENT };
  const unit = dtype === 'f32' ? 0 : 2 * unitRoundoff[dtype]; // twice: the reference is rounded too
  const elementwise = c.compare === 'elementwise';
  const forward = { f32: f32.forward, rounding: unit * roundings.forward, elementwise };
  // Against its own size, a gradient far below the others has no digits left in 16 bits.
  const grad = {
    f32: f32.grad,
    rounding: unit * roundings.grad * (cancels(c) ? 2 : 1),
    elementwise: elementwise && dtype === 'f32',
  };
  for (const [k, out] of actual.outputs.entries()) againstExact(c.outs[k] as string, out, exact.outputs[k] as Read, forward);
  for (const [i, gradient] of actual.gradients.entries())
    if (c.differentiable[i]) againstExact(`gradient of ${c.args[i]}`, gradient as Read, exact.gradients[i] as Read, grad);
}

const { functions } = await loadOps();
for (const dtype of ['f32', 'bf16', 'f16'] as const) {
  for (const family of families) {
    describe(`${dtype} ${family}`, () => {
      for (const c of casesOf(family)) if (functions.has(c.op) && c.dtype === 'f32') test(c.name, () => compare(c, dtype));
    });
  }
}
