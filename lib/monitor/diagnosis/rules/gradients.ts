import type { Found } from '../finding.ts';
import { cut, median, shown } from '../numbers.ts';
import { thresholds } from '../thresholds.ts';
import type { RunView } from '../view.ts';
import type { Rule } from './rule.ts';

/** Gradients grow out of all proportion. */
export const explodingGradients: Rule = {
  name: 'exploding-gradients',
  find(run): Found | undefined {
    const t = thresholds.explodingGradients;
    const norms = run.steps.flatMap(({ step, gradNorm, clippedGradNorm }) =>
      gradNorm !== undefined && Number.isFinite(gradNorm) && gradNorm > 0
        ? [{ step, gradNorm, left: (clippedGradNorm ?? gradNorm) / gradNorm }]
        : [],
    );
    // A run that broke off may have done so soon, and its norms then grow from step to step.
    if (norms.length < (run.broke ? 3 : thresholds.leastSteps / 2)) return undefined;
    const length = run.broke ? 1 : 10;
    const first = median(norms.slice(0, length).map((n) => n.gradNorm));
    const parts = cut(norms, Math.ceil(norms.length / length)).map((p) => ({
      step: p[0]?.step ?? 0,
      norm: median(p.map((n) => n.gradNorm)),
    }));
    const grown = parts.find((p) => p.norm > t.growth * first);
    const left = median(norms.map((n) => n.left));
    const usual = median(norms.map((n) => n.gradNorm));
    if (!grown && !(left < t.clipped) && !(usual > t.norm)) return undefined;
    const worst = Math.max(...parts.map((p) => p.norm));
    return {
      ...{ severity: 'error', since: grown?.step ?? norms[0]?.step ?? 1, title: 'Exploding gradients' },
      evidence: grown
        ? `the gradient norm was ${shown(first)} at the beginning, passed ${shown(grown.norm)} about step ${grown.step} and reached ${shown(worst)}`
        : `the gradient norm is ${shown(usual)} in the median of all steps${left < 1 ? `, of which clipping leaves ${shown(100 * left)} %` : ''}`,
      figures: { first, worst, left },
      action:
        'Set clipNorm: 1 and a warm-up; where it stays so, lower the learning rate or add normalisation and residual connections.',
    };
  },
};

const vanishing = {
  severity: 'warning',
  title: 'Vanishing gradients',
  action:
    'Use ReLU-like activations with their initialisation, normalisation layers, residual connections, or fewer layers; LSTM or GRU instead of a plain RNN.',
} as const;

/** Layers whose weights get next to nothing of what those of the best-served layer get. A gradient of exactly 0 is cut off, not vanished: dead units tell. */
function starvedLayers(run: RunView): Found | undefined {
  const t = thresholds.vanishingGradients;
  const told = run.layers.flatMap(({ step, layers }) => {
    const all = layers
      .filter((l) => (l.weights ?? 0) > 0 && (l.gradNorm ?? 0) > 0 && Number.isFinite(l.gradNorm))
      .map((l) => ({ name: l.name, rms: (l.gradNorm as number) / Math.sqrt(l.weights as number) }));
    const most = Math.max(...all.map((l) => l.rms));
    const starved = all.filter((l) => l.rms < t.layers * most).sort((a, b) => a.rms - b.rms);
    return all.length ? [{ step, of: all.length, most, starved }] : [];
  });
  const bad = told.filter((r) => r.starved.length > 0);
  const [first, last] = [bad[0], bad.at(-1)];
  const least = last?.starved[0];
  if (!first || !last || !least || told.length < 2 || bad.length < t.records * told.length) return undefined;
  const share = least.rms / last.most;
  return {
    ...vanishing,
    since: first.step,
    evidence: `at step ${last.step} the weights of ${last.starved.length} of ${last.of} layers get less than ${shown(t.layers)} of the gradient that those of the best-served layer get, ${least.name || 'the model'} ${shown(share)}; so it is in ${bad.length} of ${told.length} records`,
    figures: { layers: last.starved.length, of: last.of, least: share },
  };
}

/** Layers, or the whole model, get next to no gradient. */
export const vanishingGradients: Rule = {
  name: 'vanishing-gradients',
  unless: ['non-finite'],
  find(run) {
    const t = thresholds.vanishingGradients;
    const starved = starvedLayers(run);
    if (starved) return starved;
    const norms = run.steps.slice(-50).flatMap((s) => (s.gradNorm === undefined ? [] : [s.gradNorm]));
    const norm = median(norms);
    if (run.losses.length < thresholds.leastSteps || !(norm < t.norm && run.lossLeft > t.left)) return undefined;
    return {
      ...vanishing,
      since: run.losses[0]?.step ?? 1,
      evidence: `the gradient norm is ${shown(norm)} in the median of the last ${norms.length} steps, and the loss has gone from ${shown(run.startLoss)} to ${shown(run.endLoss)} in ${run.lastStep} steps`,
      figures: { gradNorm: norm, start: run.startLoss, end: run.endLoss },
    };
  },
};
