import type { LayerFigures } from '../../layer-stats.ts';
import { percent, shown } from '../numbers.ts';
import { thresholds } from '../thresholds.ts';
import type { RunView } from '../view.ts';
import type { Rule } from './rule.ts';

/** The layers that fulfil a condition in two records, one after the other; as they are in the second. By default the last two; else the first such. */
function lasting(
  run: RunView,
  is: (layer: LayerFigures, step: number) => boolean,
  records = run.layers.slice(-2),
): { step: number; layers: LayerFigures[] } | undefined {
  const key = (l: LayerFigures) => `${l.kind} ${l.name}`;
  const found = records.map(({ step, layers }) => ({ step, layers: layers.filter((l) => is(l, step)) }));
  for (const [i, { layers }] of found.entries()) {
    const before = found[i - 1];
    const both = before ? layers.filter((l) => before.layers.some((b) => key(b) === key(l))) : [];
    if (before && both.length) return { step: before.step, layers: both };
  }
  return undefined;
}
const named = (l: LayerFigures): string => `${l.name || 'the model'} (${l.kind})`;

/** Units that give 0 whatever comes in, and so get no gradient. */
export const deadUnits: Rule = {
  name: 'dead-units',
  find(run) {
    const t = thresholds.deadUnits;
    // Embeddings and dropout have zeros of their own.
    const found = lasting(run, (l) => (l.dead ?? 0) > t.share && !['Dropout', 'Dropout2d', 'DropPath'].includes(l.kind));
    if (!found) return undefined;
    const worst = found.layers.reduce((a, b) => ((b.dead ?? 0) > (a.dead ?? 0) ? b : a));
    const dead = worst.dead as number;
    return {
      ...{ severity: dead > t.error ? 'error' : 'warning', since: found.step, title: 'Dead units' },
      evidence: `${percent(dead)} of the units of ${named(worst)} are 0 for every sample of the batch, since step ${found.step} at least${found.layers.length > 1 ? `; ${found.layers.length} layers have such` : ''}`,
      figures: { share: dead, layers: found.layers.length },
      action:
        'Lower the learning rate, start biases at 0, normalise the inputs, or use LeakyReLU, GELU or SiLU, which have a gradient everywhere.',
    };
  },
};

/** A softmax that is sure of everything passes no gradient. */
export const saturatedSoftmax: Rule = {
  name: 'saturated-softmax',
  find(run) {
    const t = thresholds.saturatedSoftmax;
    const lossAt = (step: number) => run.losses.find((l) => l.step >= step)?.loss ?? Number.NaN;
    const output = (l: LayerFigures, step: number) =>
      l.kind === 'crossEntropy' && (l.saturated ?? 0) > t.output && lossAt(step) > t.loss;
    const found =
      lasting(run, (l) => l.kind !== 'crossEntropy' && (l.saturated ?? 0) > t.share) ?? lasting(run, output, [...run.layers]);
    if (!found) return undefined;
    const worst = found.layers.reduce((a, b) => ((b.saturated ?? 0) > (a.saturated ?? 0) ? b : a));
    const isOutput = worst.kind === 'crossEntropy';
    const { saturated = 0, peak = Number.NaN } = worst;
    return {
      ...{ severity: 'warning', since: found.step, title: 'A saturated softmax' },
      evidence: `the softmax of ${named(worst)} puts more than 0.99 on one place in ${percent(saturated)} of its rows (${shown(peak)} in the mean), at the record after step ${found.step}${isOutput ? ` while the loss was ${shown(lossAt(found.step))}` : ''}`,
      figures: { share: saturated, peak, layers: found.layers.length },
      action: isOutput
        ? 'Start the last layer with smaller weights, normalise the inputs, add label smoothing, or lower the learning rate.'
        : 'Scale the scores by 1 / sqrt(D), start the projections with smaller weights, or normalise queries and keys.',
    };
  },
};
