import { median, percent, shown } from '../numbers.ts';
import { thresholds } from '../thresholds.ts';
import type { Rule } from './rule.ts';

/** The loop waits for data, and the device for the loop. */
export const dataStarvation: Rule = {
  name: 'data-starvation',
  find(run) {
    const t = thresholds.dataStarvation;
    const turns = run.steps.flatMap(({ step, seconds, dataSeconds, deviceSeconds }) =>
      seconds !== undefined && seconds > 0 && dataSeconds !== undefined && deviceSeconds !== undefined
        ? [{ step, seconds, dataSeconds, deviceSeconds }]
        : [],
    );
    if (turns.length < thresholds.leastSteps / 2) return undefined;
    const recent = turns.slice(-t.window);
    const data = median(recent.map((r) => r.dataSeconds / r.seconds));
    const device = median(recent.map((r) => r.deviceSeconds / r.seconds));
    const wait = median(recent.map((r) => r.dataSeconds));
    if (!(data > t.data && device < t.device && wait > t.least)) return undefined;
    return {
      ...{ severity: 'warning', since: recent[0]?.step ?? 1, title: 'Training waits for its data' },
      evidence: `in the last ${recent.length} steps ${percent(data)} of the time goes by waiting for the next batch (${shown(1000 * wait)} ms a step), and ${percent(device)} waiting for the device`,
      figures: { data, device, milliseconds: 1000 * wait },
      action:
        'Give the loader more workers and a longer prefetch, keep decoded data in memory, or move a transform of your own into a module that loader threads run.',
    };
  },
};

/** A class that is never recognised behind a good accuracy. */
export const classCollapse: Rule = {
  name: 'class-collapse',
  find(run) {
    const t = thresholds.classCollapse;
    const last = run.classes.slice(-2);
    const accuracy = run.evaluated('val/accuracy').at(-1)?.value ?? Number.NaN;
    if (last.length < 2 || !(accuracy > t.accuracy)) return undefined;
    const [before, now] = last.map(({ classes }) => classes.filter((c) => c.support >= t.support && c.recall < t.recall));
    const lost = (now ?? []).filter((c) => before?.some((b) => b.label === c.label));
    const worst = lost.reduce<(typeof lost)[number] | undefined>((a, b) => (a && a.support >= b.support ? a : b), undefined);
    if (!worst) return undefined;
    const total = last[1]?.classes.reduce((a, c) => a + c.support, 0) ?? 0;
    const others = lost.length > 1 ? `, and ${lost.length - 1} more classes are like it` : '';
    return {
      ...{ severity: 'warning', since: last[0]?.step ?? 0, title: 'A class is never recognised' },
      evidence: `the accuracy is ${percent(accuracy)} at step ${last[1]?.step}, but ${percent(worst.recall)} of the ${worst.support} samples of class ${worst.label} (of ${total}) are recognised${others}`,
      figures: { accuracy, recall: worst.recall, support: worst.support, classes: lost.length },
      action:
        'Sample rare classes more often (data.balancedSampler), weight the loss by class, or get more samples of them; judge by macro F1.',
    };
  },
};
