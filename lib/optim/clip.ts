import { checkList } from '../native/errors.ts';
import { checkNumber, checkTensor, nativeOp, run, unwritten } from '../ops/define.ts';
import { persistent } from '../tensor/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { GradientList } from './lists.ts';
import { StepState } from './step-state.ts';

const normOp = nativeOp('gradNorm');
const scaleOp = nativeOp('gradScale');

/**
 * Scales the gradients in place so that their norm, all taken together, is at most `maxNorm`: each is multiplied by
 * min(1, maxNorm / (norm + 1e-6)), as PyTorch's clip_grad_norm_. Parameters without a gradient are left out. For the plain form
 * `backward(); clipGradNorm(); step()`; the Stepper clips inside the update.
 * @returns the norm before clipping, a scalar f32 tensor (f64 where the gradients are). NaN or inf if a gradient is not finite: the gradients are spoilt then, as in PyTorch
 */
export function clipGradNorm(params: Iterable<Tensor>, maxNorm: number): Tensor {
  checkNumber('clipGradNorm', maxNorm, 'maxNorm', 0);
  const given = checkList('clipGradNorm', 'parameters', params);
  given.forEach((p, i) => void checkTensor('clipGradNorm', p, `parameter ${i}`));
  const all = [...new Set(given)].filter((p) => p.grad !== null);
  const norm = unwritten([], all[0]?.dtype === 'f64' ? 'f64' : 'f32', all[0]?.device);
  const state = persistent(() => new StepState());
  const list = persistent(() => new GradientList(all));
  try {
    list.refresh();
    state.begin();
    run(normOp, [list.operand], [state.tensor, list.partials, norm], [1, 1, Math.max(maxNorm, Number.MIN_VALUE)]);
    run(scaleOp, [list.operand, state.tensor], []);
    for (const p of all) if (p.grad) p.grad.storage.version++;
  } finally {
    list.dispose();
    state.dispose();
  }
  return norm;
}
