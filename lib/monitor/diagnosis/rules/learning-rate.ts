import { cut, falling, median, percent, shown } from '../numbers.ts';
import { thresholds } from '../thresholds.ts';
import type { RunView } from '../view.ts';
import type { Rule } from './rule.ts';

const medians = (run: RunView, parts: number): number[] =>
  cut(
    run.losses.map((l) => l.loss),
    parts,
  ).map(median);

/** What the rate was where it was highest. */
const peakRate = (run: RunView): number => Math.max(...run.steps.map((s) => s.lr ?? 0));

/** The loss goes up, or stays up while updates tear at the weights. */
export const learningRateTooHigh: Rule = {
  name: 'learning-rate-too-high',
  find(run) {
    const t = thresholds.learningRateTooHigh;
    // A run that broke off may have done so soon.
    if (run.losses.length < (run.broke ? 3 : thresholds.leastSteps / 2) || !(run.startLoss > 0)) return undefined;
    const parts = medians(run, 20);
    const best = Math.min(...parts);
    const { startLoss, endLoss, lossLeft } = run;
    const ratio = median(run.updateRatios.map((r) => r.ratio));
    const diverged = (endLoss > t.rise * best && lossLeft > t.left) || lossLeft > t.above;
    const values = run.losses.map((l) => l.loss);
    const highest = Math.max(
      ...cut(
        run.losses.map((l) => l.loss),
        Math.ceil(run.losses.length / 3),
      ).map(median),
    );
    const shot = highest > t.shot * startLoss && lossLeft > t.left;
    const burst = Math.max(...cut(values, Math.ceil(values.length / 10)).map(median)) > t.burst * startLoss;
    const torn = ratio > t.updateRatio && lossLeft > t.left;
    if (!diverged && !torn && !shot && !burst) return undefined;
    const at = run.losses[Math.round((parts.indexOf(best) * run.losses.length) / parts.length)]?.step ?? 1;
    const moves = Number.isNaN(ratio) ? '' : `; updates move the weights by ${percent(ratio)} of their norm a step`;
    return {
      ...{ severity: 'error', since: at, title: 'The learning rate is too high' },
      evidence: `the loss began at ${shown(startLoss)}, was ${shown(best)} about step ${at}, at worst ${shown(highest)}, and is ${shown(endLoss)} at step ${run.lastStep}, at a rate of up to ${shown(peakRate(run))}${moves}`,
      figures: {
        start: startLoss,
        best,
        end: endLoss,
        lr: peakRate(run),
        ...(Number.isNaN(ratio) ? {} : { updateRatio: ratio }),
      },
      action:
        'Divide the learning rate by 10, or let trainer.findLearningRate suggest one; add a warm-up and clipNorm: 1 where only the beginning is rough.',
    };
  },
};

/** The loss falls, but at a crawl, because the weights hardly move. */
export const learningRateTooLow: Rule = {
  name: 'learning-rate-too-low',
  unless: ['vanishing-gradients', 'dead-units', 'saturated-softmax'],
  find(run) {
    const t = thresholds.learningRateTooLow;
    if (run.losses.length < thresholds.leastSteps || !run.isPast(t.after)) return undefined;
    const { startLoss, endLoss, lossLeft } = run;
    const ratios = run.updateRatios.map((r) => r.ratio);
    const ratio = median(ratios);
    if (!(lossLeft > t.left && ratio < t.updateRatio)) return undefined;
    if (ratio * run.lastStep > t.travelled && falling(medians(run, 12)) < t.falling) return undefined;
    return {
      ...{ severity: 'warning', since: run.losses[0]?.step ?? 1, title: 'The learning rate is too low' },
      evidence: `after ${run.lastStep} steps the loss has gone from ${shown(startLoss)} to ${shown(endLoss)}, and updates move the weights by ${shown(ratio)} of their norm a step (1e-3 is usual), at a rate of up to ${shown(peakRate(run))}`,
      figures: { start: startLoss, end: endLoss, updateRatio: ratio, lr: peakRate(run) },
      action: 'Multiply the learning rate by 10, or let trainer.findLearningRate suggest one.',
    };
  },
};

/** The rate that was applied is not the schedule's, and neither live control nor the plateau rule was asked for. */
export const ratePlan: Rule = {
  name: 'rate-off-plan',
  find(run) {
    const t = thresholds.ratePlan;
    if (run.run.plateau === true) return undefined;
    const known = run.steps.flatMap(({ step, lr, plannedLr }) =>
      lr === undefined || plannedLr === undefined ? [] : [{ step, lr, plannedLr }],
    );
    const off = known.filter(({ lr, plannedLr }) => Math.abs(lr - plannedLr) > t.apart * Math.max(Math.abs(plannedLr), 1e-30));
    const first = off[0];
    if (!first || off.length < t.share * known.length) return undefined;
    const asked = run.controls.some((step) => step <= first.step);
    const times = median(off.map(({ lr, plannedLr }) => lr / plannedLr));
    return {
      ...{ severity: asked ? 'info' : 'warning', since: first.step, title: 'The learning rate is not the planned one' },
      evidence: `from step ${first.step} on the rate is ${shown(first.lr)} where the schedule says ${shown(first.plannedLr)}, at ${off.length} of ${known.length} steps (${shown(times)} times in the median)${asked ? '; it was set while the run went on' : ''}`,
      figures: { steps: off.length, of: known.length, times },
      action: asked
        ? 'Write the rate that was set into the script, so that the next run has it from the start.'
        : 'Look for the hook whose decision has an lrScale; where it is meant, plan it in the schedule.',
    };
  },
};
