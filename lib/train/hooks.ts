import { ConfigError } from '../native/errors.ts';
import { Plateau, type PlateauOptions } from '../schedule/index.ts';
import { EarlyStopping, type EarlyStoppingOptions, modeOf } from './early-stopping.ts';
import type { EvalMetrics } from './events.ts';
import type { StepResult } from './stepper.ts';
import type { TrainerOptions } from './trainer.ts';

/** What a hook wants done. */
export interface Decision {
  /** End training after this, with the reason. */
  stop?: string | undefined;
  /** These weights are the best so far. */
  markBest?: boolean | undefined;
  /** Multiply all learning rates by this from the next step on (absolute, not relative to the last). */
  lrScale?: number | undefined;
}

/** What the Trainer's own rules may decide too. */
export interface Ruling extends Decision {
  /** Product of the plateau rule's reductions. */
  plateauScale?: number | undefined;
}

type Answer = Decision | undefined | Promise<Decision | undefined>;

/** Takes part in training: awaited, in order, at step and evaluation boundaries. Its state is saved in checkpoints under its name. */
export interface Hook {
  readonly name: string;
  onStep?(result: StepResult): Answer;
  /** @param metrics by full name: 'val/loss', 'val/accuracy' */
  onEval?(metrics: Readonly<Record<string, number>>, full: EvalMetrics, step: number): Answer;
  state?(): unknown;
  load?(state: never): void;
}

/** Throws ConfigError unless every hook has a name of its own: checkpoints keep their state under it. */
export function checkHooks(hooks: readonly Hook[]): void {
  const names = new Set(['earlyStopping', 'plateau']);
  for (const [i, hook] of hooks.entries()) {
    if (typeof hook?.name !== 'string' || hook.name === '')
      throw new ConfigError(
        `Trainer: hook ${i} has no name. Checkpoints keep its state under it: { name: 'mine', onStep() {} }.`,
      );
    if (names.has(hook.name))
      throw new ConfigError(
        `Trainer: two hooks are called '${hook.name}', the name under which checkpoints keep their state. Rename one.`,
      );
    names.add(hook.name);
  }
}

/** Asks hooks in order; later scales and reasons win, marks add up. */
export async function ask(hooks: readonly Hook[], question: (hook: Hook) => Answer): Promise<Ruling> {
  const all: Ruling = {};
  for (const hook of hooks) {
    const d: Ruling | undefined = await question(hook);
    if (!d) continue;
    if (d.stop !== undefined) all.stop = d.stop;
    if (d.lrScale !== undefined) all.lrScale = d.lrScale;
    if (d.plateauScale !== undefined) all.plateauScale = d.plateauScale;
    if (d.markBest) all.markBest = true;
  }
  return all;
}

export const saveHooks = (hooks: readonly Hook[]): Record<string, unknown> =>
  Object.fromEntries(hooks.filter((h) => h.state).map((h) => [h.name, h.state?.()]));

export function loadHooks(hooks: readonly Hook[], saved: Record<string, unknown>): void {
  for (const hook of hooks) if (saved[hook.name] !== undefined) hook.load?.(saved[hook.name] as never);
}

/** The metric that a rule watches. */
function watched(rule: string, metric: string, metrics: Readonly<Record<string, number>>): number {
  const value = metrics[metric];
  if (value === undefined)
    throw new ConfigError(
      `${rule}: no metric '${metric}'. Known here: ${Object.keys(metrics).join(', ')}. Is it among the Trainer's metrics?`,
    );
  return value;
}

/** Early stopping as a hook. */
export class EarlyStoppingHook implements Hook {
  readonly name = 'earlyStopping';
  readonly #metric: string;
  readonly #rule: EarlyStopping;
  constructor(options: EarlyStoppingOptions) {
    this.#rule = new EarlyStopping(options);
    this.#metric = options.metric ?? 'val/loss';
  }
  onEval(metrics: Readonly<Record<string, number>>, _: EvalMetrics, step: number): Decision {
    const d = this.#rule.check(watched(this.name, this.#metric, metrics), step);
    return { markBest: d.improved, stop: d.stop ? (d.reason ?? 'earlyStopping') : undefined };
  }
  state() {
    return this.#rule.state();
  }
  load(state: never) {
    this.#rule.load(state);
  }
}

/** The plateau rule as the Trainer's option: larger is better for metrics that are (accuracy, f1, ...), unless `mode` says otherwise. */
export function plateauOf(options: PlateauOptions): Plateau {
  const rule = new Plateau(options);
  return options.mode === undefined ? new Plateau({ ...options, mode: modeOf(rule.options.metric, 'plateau') }) : rule;
}

/** The plateau rule as a hook. */
export class PlateauHook implements Hook {
  readonly name = 'plateau';
  readonly #rule: Plateau;
  readonly #peak: () => number;
  /** @param peak the rate before the schedule's factor, which `minLr` and `eps` concern */
  constructor(options: PlateauOptions, peak: () => number) {
    this.#rule = plateauOf(options);
    this.#peak = peak;
  }
  onEval(metrics: Readonly<Record<string, number>>): Ruling {
    const rule = this.#rule;
    return { plateauScale: rule.check(watched(this.name, rule.options.metric, metrics), this.#peak() * rule.scale).scale };
  }
  state() {
    return this.#rule.state();
  }
  load(state: never) {
    this.#rule.load(state);
  }
}

/** A run's hooks, the Trainer's own rules first. `factor`: what the size of the batch makes of the rates. */
export function hooksOf({ earlyStopping, plateau, optimizer, hooks = [] }: TrainerOptions, factor: () => number): Hook[] {
  return [
    ...(earlyStopping ? [new EarlyStoppingHook(earlyStopping)] : []),
    ...(plateau ? [new PlateauHook(plateau, () => (optimizer.groups[0]?.lr ?? 0) * factor())] : []),
    ...hooks,
  ];
}
