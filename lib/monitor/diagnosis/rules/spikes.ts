import { shown } from '../numbers.ts';
import { StepSpikes } from '../spikes.ts';
import { thresholds } from '../thresholds.ts';
import type { Rule } from './rule.ts';

/** Single steps at which loss or gradient norm jump, with the samples of those steps. */
export const spikes: Rule = {
  name: 'spikes',
  unless: ['learning-rate-too-high', 'exploding-gradients'],
  find(run) {
    const t = thresholds.spikes;
    const watch = new StepSpikes();
    const all = run.steps.flatMap((s) => {
      const of = watch.see(s.loss ?? Number.NaN, s.gradNorm ?? Number.NaN);
      return of ? [{ ...s, of }] : [];
    });
    const first = all[0];
    if (!first || all.length > t.share * run.steps.length) return undefined;
    const told = all
      .slice(0, t.told)
      .map((s) => `step ${s.step} (${s.of.map((n) => `${n} ${shown(s[n] as number)}`).join(', ')})`);
    const more = all.length > t.told ? ` and ${all.length - t.told} more` : '';
    const sampleIds = [...new Set(all.slice(0, t.told).flatMap((s) => s.sampleIds ?? []))];
    // What clipping cut has done no harm.
    const harmless = all.every((s) => !s.of.includes('loss') && (s.clippedGradNorm ?? Infinity) < (s.gradNorm ?? 0));
    return {
      ...{ severity: harmless ? 'info' : 'warning', since: first.step, title: 'Spikes' },
      evidence: `${all.length === 1 ? 'one step jumps' : `${all.length} steps jump`} out of the ${t.window} before: ${told.join(', ')}${more}`,
      figures: { steps: all.length, of: run.steps.length },
      action:
        'Look at the samples of these steps for damaged inputs or labels, and set clipNorm: 1 so that one batch cannot undo many.',
      ...(sampleIds.length ? { sampleIds } : {}),
    };
  },
};
