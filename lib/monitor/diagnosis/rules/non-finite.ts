import type { RunView, StepView } from '../view.ts';
import type { Rule } from './rule.ts';

const broken = (v: number | undefined): boolean => v !== undefined && !Number.isFinite(v);
/** Under 'f16' a gradient that overflows is the loss scale's matter, as long as the loss is a number. */
const isBad = (s: StepView): boolean =>
  broken(s.loss) || (s.lossScale === undefined && (broken(s.gradNorm) || s.reason === 'nonFiniteGradient'));

function origin(run: RunView): string {
  const a = run.anomalies[0];
  if (!a) return '';
  const where = `${a.module ? ` in module ${a.module}` : ''}${a.at ? ` (${a.at})` : ''}`;
  return `; the first op that made one was ${a.op}${a.backwardOf ? `, in the backward pass of ${a.backwardOf},` : ''}${where}`;
}

/** NaN or an infinity in the loss or the gradients. */
export const nonFinite: Rule = {
  name: 'non-finite',
  find(run) {
    const bad = run.steps.filter(isBad);
    const first = bad[0];
    const evaluated = run.evals.find((e) => broken(e.figures['val/loss']));
    const step = Math.min(first?.step ?? Infinity, evaluated?.step ?? Infinity, run.anomalies[0]?.step ?? Infinity);
    if (step === Infinity) return undefined;
    const value = first && (broken(first.loss) ? `the loss is ${first.loss}` : `the gradient norm is ${first.gradNorm}`);
    const skipped = bad.filter((s) => !s.applied).length;
    const what = first
      ? `at step ${first.step} ${value}, at ${bad.length} of ${run.steps.length} steps in all${skipped ? `, ${skipped} of them skipped` : ''}`
      : evaluated
        ? `the validation loss of step ${evaluated.step} is ${evaluated.figures['val/loss']}`
        : `at step ${step}`;
    const known = run.anomalies.length > 0;
    return {
      ...{ severity: 'error', since: step, title: 'NaN or infinity' },
      evidence: what + origin(run),
      figures: { steps: bad.length, skipped, of: run.steps.length },
      action: known
        ? 'Keep the input of that op in its range (an eps, a clamp, a loss that takes logits), or repair the samples that bring it out of range.'
        : 'Run again with detectAnomaly: true to learn the op and the layer that make it, and look at the samples of that step.',
      ...(first?.sampleIds ? { sampleIds: first.sampleIds } : {}),
    };
  },
};
