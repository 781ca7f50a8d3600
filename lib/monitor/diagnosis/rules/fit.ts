import { cut, mean, median, percent, shown } from '../numbers.ts';
import { thresholds } from '../thresholds.ts';
import type { RunView } from '../view.ts';
import type { Rule } from './rule.ts';

/** Median training loss around a step: of those up to it and after `from`. */
function trainLoss(run: RunView, from: number, to: number): number {
  return median(run.losses.filter((l) => l.step > from && l.step <= to).map((l) => l.loss));
}

/** Training improves, validation gets worse. */
export const overfitting: Rule = {
  name: 'overfitting',
  unless: ['learning-rate-too-high', 'non-finite'],
  find(run) {
    const t = thresholds.overfitting;
    const all = run.evaluated('val/loss');
    if (all.length < t.evaluations) return undefined;
    const best = all.reduce((a, b) => (b.value < a.value ? b : a));
    const after = all.filter((e) => e.step > best.step);
    if (after.length < Math.min(2, t.last)) return undefined;
    const end = median(all.slice(-t.last).map((e) => e.value));
    const span = (step: number) => [all[all.findIndex((e) => e.step === step) - 1]?.step ?? 0, step] as const;
    const then = trainLoss(run, ...span(best.step));
    const now = trainLoss(run, ...span((all.at(-1) as { step: number }).step));
    const risen = end - best.value > Math.max(t.rise * Math.abs(best.value), t.riseOfStart * Math.abs(run.startLoss));
    if (!risen || !(now < then * (1 - t.trainFall))) return undefined;
    const early = run.run.earlyStopping === true;
    return {
      ...{ severity: early ? 'info' : 'warning', since: best.step, title: 'Overfitting' },
      evidence: `the validation loss was best at step ${best.step} (${shown(best.value)}) and is ${shown(end)} at step ${run.lastStep}, while the training loss went from ${shown(then)} to ${shown(now)}`,
      figures: { best: best.value, validation: end, trainAtBest: then, train: now },
      action: early
        ? `The weights of step ${best.step} are the ones that early stopping keeps; for better ones add data, augmentation, weight decay or dropout.`
        : 'Add earlyStopping, and then data, augmentation, weight decay or dropout, or make the model smaller.',
    };
  },
};

/** How far from guessing to perfect the model is, where an evaluation tells: by classes, or by R2. */
function skillOf(run: RunView): { value: number; what: string } | undefined {
  const classes = run.classes.at(-1)?.classes ?? [];
  const total = classes.reduce((a, c) => a + c.support, 0);
  const accuracy = run.evaluated('val/accuracy').at(-1)?.value;
  if (total > 0 && accuracy !== undefined) {
    const guess = Math.max(...classes.map((c) => c.support)) / total;
    if (guess < 1)
      return {
        value: (accuracy - guess) / (1 - guess),
        what: `the accuracy is ${percent(accuracy)}, ${percent(guess)} by guessing`,
      };
  }
  const r2 = run.evaluated('val/r2').at(-1)?.value;
  return r2 === undefined ? undefined : { value: r2, what: `R2 is ${shown(r2)}` };
}

/** The third and the last quarter of some values, each as one. */
function lastQuarters(values: readonly number[], of: (v: readonly number[]) => number): [number, number] {
  const [, , third, fourth] = cut(values, 4);
  return [third ? of(third) : Number.NaN, fourth ? of(fourth) : Number.NaN];
}

/** Training and validation have come to rest, and both are bad. */
export const underfitting: Rule = {
  name: 'underfitting',
  unless: [
    'non-finite',
    'learning-rate-too-high',
    'learning-rate-too-low',
    'vanishing-gradients',
    'exploding-gradients',
    'dead-units',
    'saturated-softmax',
    'loss-scale-collapse',
    'class-collapse',
    'overfitting',
  ],
  find(run) {
    const t = thresholds.underfitting;
    if (run.losses.length < thresholds.leastSteps || !(run.startLoss > 0) || !run.isPast(t.after)) return undefined;
    const [third, last] = lastQuarters(
      run.losses.map((l) => l.loss),
      mean,
    );
    const [before, after] = lastQuarters(
      run.evaluated('val/loss').map((e) => e.value),
      median,
    );
    const rests = (a: number, b: number, share: number) => Math.abs(a - b) < share * a;
    if (!rests(third, last, t.still) && !rests(before, after, t.stillSeen)) return undefined;
    const skill = skillOf(run);
    if (skill ? skill.value > t.skill : !(run.lossLeft > t.left)) return undefined;
    const validation = median(
      run
        .evaluated('val/loss')
        .slice(-3)
        .map((e) => e.value),
    );
    if (!(validation <= last * (1 + t.gap))) return undefined; // nor without any
    return {
      ...{ severity: 'warning', since: run.losses[Math.floor(run.losses.length / 2)]?.step ?? 1, title: 'Underfitting' },
      evidence: `the training loss began at ${shown(run.startLoss)} and has come to rest at ${shown(last)} by step ${run.lastStep}, the validation loss at ${shown(validation)}${skill ? `; ${skill.what}` : ''}`,
      figures: { start: run.startLoss, train: last, validation, ...(skill ? { skill: skill.value } : {}) },
      action:
        'Give the model more layers or width, take away regularisation (dropout, weight decay), or train longer at a higher rate.',
    };
  },
};
