import { percent, shown } from '../numbers.ts';
import { thresholds } from '../thresholds.ts';
import type { Rule } from './rule.ts';

/** Under 'f16': no loss scale keeps the gradients finite. */
export const lossScaleCollapse: Rule = {
  name: 'loss-scale-collapse',
  find(run) {
    const { collapsed, skipped, window } = thresholds.lossScale;
    const scaled = run.steps.filter((s) => s.lossScale !== undefined);
    const [first, last] = [scaled[0], scaled.at(-1)];
    if (!first || !last) return undefined;
    const recent = scaled.slice(-window);
    const share = recent.filter((s) => !s.applied).length / recent.length;
    const low = scaled.find((s) => (s.lossScale as number) <= collapsed && !s.applied);
    if (!low && !(recent.length >= window / 2 && share > skipped)) return undefined;
    const begun = low ?? recent.find((s) => !s.applied);
    return {
      ...{ severity: 'error', since: begun?.step ?? last.step, title: 'The loss scale has collapsed' },
      evidence: `the scale went from ${shown(first.lossScale as number)} to ${shown(last.lossScale as number)} by step ${last.step}, and ${percent(share)} of the last ${recent.length} steps are skipped`,
      figures: { from: first.lossScale as number, to: last.lossScale as number, skipped: share },
      action:
        "Train with precision 'bf16', whose range is f32's, or find the activations that pass 65504 (layerStats tells their size) and normalise them.",
    };
  },
};
