import { CheckpointError, ConfigError, checkOptions, checkText, describe } from '../native/errors.ts';
import { checkNumber } from './shapes.ts';

/** Options of the plateau rule. */
export interface PlateauOptions {
  /** The metric that is watched. Default 'val/loss'. */
  metric?: string;
  /** Whether a smaller or a larger value is better. Default 'min'. */
  mode?: 'min' | 'max';
  /** The rate is multiplied by this. Default 0.1. */
  factor?: number;
  /** Checks without improvement that are borne; the next one reduces. Default 10. */
  patience?: number;
  /** What counts as an improvement. Default 1e-4. */
  threshold?: number;
  /** 'rel': better than best by threshold * |best|; 'abs': by threshold. Default 'rel'. */
  thresholdMode?: 'rel' | 'abs';
  /** Checks after a reduction during which nothing is counted. Default 0. */
  cooldown?: number;
  /** The rate is never reduced below this. Default 0. */
  minLr?: number;
  /** A reduction by no more than this is not made. Default 1e-8. */
  eps?: number;
}

/** What a plateau check decided. */
export interface PlateauDecision {
  improved: boolean;
  reduced: boolean;
  /** The rate from now on. */
  lr: number;
  /** Product of all reductions so far: multiplies the schedule's factor. */
  scale: number;
}

/** JSON state of a plateau rule. */
export interface PlateauState {
  best: number | null;
  bad: number;
  cooldown: number;
  scale: number;
}

const names = ['metric', 'mode', 'factor', 'patience', 'threshold', 'thresholdMode', 'cooldown', 'minLr', 'eps'];

/**
 * Reduces the rate when a metric no longer improves. The rules are PyTorch's ReduceLROnPlateau, but that the relative
 * threshold is measured on |best|: with a negative metric PyTorch calls a slightly worse value an improvement.
 * A value that is not finite is no improvement.
 */
export class Plateau {
  readonly options: Required<PlateauOptions>;
  #state: PlateauState = { best: null, bad: 0, cooldown: 0, scale: 1 };

  constructor(options: PlateauOptions = {}) {
    const where = 'schedule.plateau';
    checkOptions(where, options, names);
    const { metric = 'val/loss', mode = 'min', thresholdMode = 'rel' } = options;
    if (mode !== 'min' && mode !== 'max') throw new ConfigError(`${where}: mode must be 'min' or 'max', got ${describe(mode)}.`);
    if (thresholdMode !== 'rel' && thresholdMode !== 'abs') {
      throw new ConfigError(`${where}: thresholdMode must be 'rel' or 'abs', got ${describe(thresholdMode)}.`);
    }
    checkText(where, 'metric', metric);
    const factor = checkNumber(where, 'factor', options.factor ?? 0.1, { above: 0 });
    if (factor >= 1) throw new ConfigError(`${where}: factor must be < 1, got ${factor}: the rate is multiplied by it.`);
    this.options = {
      metric,
      mode,
      factor,
      patience: checkNumber(where, 'patience', options.patience ?? 10, { integer: true, min: 0 }),
      threshold: checkNumber(where, 'threshold', options.threshold ?? 1e-4, { min: 0 }),
      thresholdMode,
      cooldown: checkNumber(where, 'cooldown', options.cooldown ?? 0, { integer: true, min: 0 }),
      minLr: checkNumber(where, 'minLr', options.minLr ?? 0, { min: 0 }),
      eps: checkNumber(where, 'eps', options.eps ?? 1e-8, { min: 0 }),
    };
  }

  /** Product of all reductions so far. */
  get scale(): number {
    return this.#state.scale;
  }

  /** One check: the metric's value and the rate in force; returns the rate to use from now on. */
  check(value: number, lr: number): PlateauDecision {
    if (typeof value !== 'number') throw new ConfigError(`plateau.check: the metric must be a number, got ${describe(value)}.`);
    checkNumber('plateau.check', 'lr', lr, { min: 0 });
    const s = this.#state;
    const { patience, cooldown, factor, minLr, eps } = this.options;
    const improved = this.#better(value);
    if (improved) {
      s.best = value;
      s.bad = 0;
    } else {
      s.bad++;
    }
    if (s.cooldown > 0) {
      s.cooldown--;
      s.bad = 0;
    }
    let next = lr;
    if (s.bad > patience) {
      s.bad = 0;
      s.cooldown = cooldown;
      const lower = Math.max(lr * factor, minLr);
      if (lr - lower > eps) next = lower;
    }
    const reduced = next !== lr;
    if (reduced) s.scale *= next / lr;
    return { improved, reduced, lr: next, scale: s.scale };
  }

  #better(value: number): boolean {
    const { best } = this.#state;
    const { mode, threshold, thresholdMode } = this.options;
    if (!Number.isFinite(value)) return false;
    if (best === null) return true;
    const margin = thresholdMode === 'rel' ? Math.abs(best) * threshold : threshold;
    return mode === 'min' ? value < best - margin : value > best + margin;
  }

  /** JSON state that a checkpoint keeps. */
  state(): PlateauState {
    return { ...this.#state };
  }

  /** Restores `state()`. Throws CheckpointError for anything else. */
  load(state: PlateauState): void {
    const count = (v: unknown) => Number.isSafeInteger(v) && (v as number) >= 0;
    const ok =
      typeof state === 'object' &&
      state !== null &&
      (state.best === null || Number.isFinite(state.best)) &&
      count(state.bad) &&
      count(state.cooldown) &&
      Number.isFinite(state.scale) &&
      state.scale > 0;
    if (!ok) throw new CheckpointError(`plateau.load: this is not a saved state: ${describe(state)}.`);
    this.#state = { best: state.best, bad: state.bad, cooldown: state.cooldown, scale: state.scale };
  }
}

/** The plateau rule; see `Plateau`. It is combined with any schedule: the rate is lr * factor(step) * scale. */
export const plateau = (options: PlateauOptions = {}): Plateau => new Plateau(options);
