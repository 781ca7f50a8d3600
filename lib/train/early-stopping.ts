import { CheckpointError, ConfigError, checkOptions, checkText, describe } from '../native/errors.ts';

/** Options of early stopping. */
export interface EarlyStoppingOptions {
  /** The metric that is watched. Default 'val/loss'. */
  metric?: string;
  /** Whether a smaller or a larger value is better. By default read off the metric's name (loss: min, accuracy: max). */
  mode?: 'min' | 'max';
  /** Checks in a row without improvement after which training stops. Default 5. Infinity only keeps the best. */
  patience?: number;
  /** A value improves only if better than the best by more than this. Default 0. */
  minDelta?: number;
  /** Stop on NaN or an infinity. Default true. */
  checkFinite?: boolean;
  /** Stop as soon as the value is better than this: the goal is reached. */
  stoppingThreshold?: number;
  /** Stop as soon as the value is worse than this: training has diverged. */
  divergenceThreshold?: number;
}

/** Why training was stopped. */
export type EarlyStopReason = 'patience' | 'nonFinite' | 'stoppingThreshold' | 'divergenceThreshold';

/** What one check decided. */
export interface EarlyStoppingDecision {
  /** The value is the best so far: keep these weights. */
  improved: boolean;
  stop: boolean;
  reason?: EarlyStopReason;
  /** The reason in a sentence, with its figures. */
  message?: string;
}

/** JSON state of early stopping. */
export interface EarlyStoppingState {
  best: number | null;
  bestStep: number | null;
  /** Checks since the best. */
  waited: number;
  checks: number;
  stopped: EarlyStopReason | null;
}

const reasons: readonly EarlyStopReason[] = ['patience', 'nonFinite', 'stoppingThreshold', 'divergenceThreshold'];

/**
 * 'min' or 'max' from the last word of a metric's name: loss, error, perplexity fall; accuracy, f1, recall rise. Throws
 * ConfigError for a name that says neither, since a wrong guess would keep the worst weights. `rule` is who asks.
 */
export function modeOf(metric: string, rule = 'earlyStopping'): 'min' | 'max' {
  checkText('modeOf', 'the metric', metric);
  const word = metric.toLowerCase().split('/').at(-1) ?? '';
  if (/loss|err(or)?$|perplexity|ppl|^(mse|mae|mape|rmse|nll|ece|mce|bpb|bpc|cer|wer)$|divergence/.test(word)) return 'min';
  if (
    /acc(uracy)?|f1|precision|recall|auc|auroc|bleu|rouge|^(r2|iou|map|dice|psnr|ssim|top\d+|explainedvariance)$|score$/.test(
      word,
    )
  )
    return 'max';
  throw new ConfigError(`${rule}: is a larger ${JSON.stringify(metric)} better? Give mode: 'min' or 'max'.`);
}

function checkRule(options: EarlyStoppingOptions) {
  const where = 'earlyStopping';
  checkOptions(where, options, [
    'metric',
    'mode',
    'patience',
    'minDelta',
    'checkFinite',
    'stoppingThreshold',
    'divergenceThreshold',
  ]);
  const { metric = 'val/loss', patience = 5, minDelta = 0, checkFinite = true, stoppingThreshold, divergenceThreshold } = options;
  checkText(where, 'metric', metric);
  const mode = options.mode ?? modeOf(metric);
  if (mode !== 'min' && mode !== 'max') throw new ConfigError(`${where}: mode must be 'min' or 'max', got ${describe(mode)}.`);
  if (!(Number.isSafeInteger(patience) && patience >= 1) && patience !== Number.POSITIVE_INFINITY) {
    throw new ConfigError(`${where}: patience must be an integer >= 1 (in checks) or Infinity, got ${describe(patience)}.`);
  }
  if (!Number.isFinite(minDelta) || minDelta < 0)
    throw new ConfigError(`${where}: minDelta must be >= 0, got ${describe(minDelta)}.`);
  for (const [name, value] of Object.entries({ stoppingThreshold, divergenceThreshold })) {
    if (value !== undefined && !Number.isFinite(value))
      throw new ConfigError(`${where}: ${name} must be a finite number, got ${describe(value)}.`);
  }
  return { metric, mode, patience, minDelta, checkFinite, stoppingThreshold, divergenceThreshold };
}

/**
 * Early stopping, one `check` for each validation. The order of the rules is Lightning's: not finite, goal reached,
 * diverged, patience. It keeps no weights: the Trainer keeps those of the last check that said `improved`.
 */
export class EarlyStopping {
  readonly options: ReturnType<typeof checkRule>;
  #state: EarlyStoppingState = { best: null, bestStep: null, waited: 0, checks: 0, stopped: null };

  constructor(options: EarlyStoppingOptions = {}) {
    this.options = checkRule(options);
  }

  /** The best value so far and the step it was seen at; null before the first finite one. */
  get best(): { value: number; step: number } | null {
    const { best, bestStep } = this.#state;
    return best === null || bestStep === null ? null : { value: best, step: bestStep };
  }

  /** One check: the metric's value at `step`. */
  check(value: number, step: number): EarlyStoppingDecision {
    if (typeof value !== 'number')
      throw new ConfigError(`earlyStopping.check: the metric must be a number, got ${describe(value)}.`);
    if (!Number.isSafeInteger(step) || step < 0)
      throw new ConfigError(`earlyStopping.check: step must be an integer >= 0, got ${describe(step)}.`);
    const s = this.#state;
    const { metric, mode, patience, minDelta, checkFinite, stoppingThreshold, divergenceThreshold } = this.options;
    const better = (a: number, b: number) => (mode === 'min' ? a < b : a > b);
    const margin = mode === 'min' ? -minDelta : minDelta;
    // An infinity on the good side is a fault, not a record.
    const improved = Number.isFinite(value) && (s.best === null || better(value, s.best + margin));
    s.checks++;
    s.waited = improved ? 0 : s.waited + 1;
    if (improved) {
      s.best = value;
      s.bestStep = step;
    }
    const stop = (reason: EarlyStopReason, why: string): EarlyStoppingDecision => {
      s.stopped = reason;
      return { improved, stop: true, reason, message: `${metric} ${why}` };
    };
    if (checkFinite && !Number.isFinite(value)) return stop('nonFinite', `is ${value} at step ${step}.`);
    if (stoppingThreshold !== undefined && better(value, stoppingThreshold)) {
      return stop('stoppingThreshold', `reached its goal: ${value} is better than ${stoppingThreshold}.`);
    }
    if (divergenceThreshold !== undefined && better(divergenceThreshold, value)) {
      return stop('divergenceThreshold', `diverged: ${value} is worse than ${divergenceThreshold}.`);
    }
    if (s.waited >= patience) {
      const best = s.best === null ? 'no finite value yet' : `best ${s.best} at step ${s.bestStep}`;
      return stop('patience', `has not improved in ${s.waited} checks (${best}, now ${value}).`);
    }
    return { improved, stop: false };
  }

  /** JSON state that a checkpoint keeps, so that a resumed run has no new patience. */
  state(): EarlyStoppingState {
    return { ...this.#state };
  }

  /** Restores `state()`. Throws CheckpointError for anything else. */
  load(state: EarlyStoppingState): void {
    const count = (v: unknown) => Number.isSafeInteger(v) && (v as number) >= 0;
    const ok =
      typeof state === 'object' &&
      state !== null &&
      (state.best === null ? state.bestStep === null : Number.isFinite(state.best) && count(state.bestStep)) &&
      count(state.waited) &&
      count(state.checks) &&
      (state.stopped === null || reasons.includes(state.stopped));
    if (!ok) throw new CheckpointError(`earlyStopping.load: this is not a saved state: ${describe(state)}.`);
    const { best, bestStep, waited, checks, stopped } = state;
    this.#state = { best, bestStep, waited, checks, stopped };
  }
}

/** By which a checkpoint is judged: the metric that early stopping watches, by default 'val/loss'; undefined where it was not evaluated. */
export function scoreOf(
  options: EarlyStoppingOptions | undefined,
  metrics: Readonly<Record<string, number>>,
): { metric: string; value: number; mode: 'min' | 'max' } | undefined {
  const metric = options?.metric ?? 'val/loss';
  const value = metrics[metric];
  return value === undefined ? undefined : { metric, value, mode: options?.mode ?? modeOf(metric) };
}
