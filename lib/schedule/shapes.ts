import { ConfigError, checkList, checkOptions, checkText, describe } from '../native/errors.ts';
import { type Part, type PartJSON, Schedule, type ScheduleJSON } from './schedule.ts';

type Bounds = { min?: number; above?: number; max?: number; integer?: boolean };

/** Throws ConfigError unless `value` is a number within the bounds. */
export function checkNumber(where: string, name: string, value: unknown, b: Bounds = {}): number {
  const ok =
    typeof value === 'number' &&
    Number.isFinite(value) &&
    (!b.integer || Number.isSafeInteger(value)) &&
    (b.min === undefined || value >= b.min) &&
    (b.above === undefined || value > b.above) &&
    (b.max === undefined || value <= b.max);
  if (ok) return value;
  const range = [
    b.min === undefined ? '' : ` >= ${b.min}`,
    b.above === undefined ? '' : ` > ${b.above}`,
    b.max === undefined ? '' : ` <= ${b.max}`,
  ].join('');
  throw new ConfigError(
    `${where}: ${name} must be ${b.integer ? 'an integer' : 'a finite number'}${range}, got ${describe(value)}.`,
  );
}

const checkSteps = (where: string, steps: number | undefined, min = 1) =>
  steps === undefined ? undefined : checkNumber(where, 'steps', steps, { integer: true, min });

/** From `a` to `b`; exact at both ends, so nothing overshoots where one part hands over to the next. */
const between = (a: number, b: number, x: number) => (x <= 0 ? a : x >= 1 ? b : a + (b - a) * x);
/** The share of the part that is done; a part of no steps is done. */
const share = (t: number, n: number) => (n > 0 ? t / n : 1);
/** Half a cosine from 0 to 1, in closed form (Loshchilov & Hutter 2017). */
const halfCosine = (x: number) => (1 - Math.cos(Math.PI * x)) / 2;

function single(
  kind: string,
  steps: number | undefined,
  options: Record<string, unknown>,
  needsLength: boolean,
  at: Part['at'],
): Schedule {
  return new Schedule([{ kind, steps, options, needsLength, at }]);
}

/**
 * Linear warm-up over `steps`: factor = from + (1 - from) * t / steps, then 1. `from` defaults to 0.01; transformers want
 * 1,000 to 10,000 steps. `steps: 0` is no warm-up. Source: Goyal et al. 2017.
 */
export function warmup(options: { steps: number; from?: number }): Schedule {
  checkOptions('schedule.warmup', options, ['steps', 'from']);
  const steps = checkNumber('schedule.warmup', 'steps', options?.steps, { integer: true, min: 0 });
  const from = checkNumber('schedule.warmup', 'from', options.from ?? 0.01, { min: 0 });
  return single('warmup', steps, { from }, true, (t, n) => between(from, 1, share(t, n)));
}

/** The same factor throughout (1, the peak rate), for `steps` or without end. */
export function constant(options: { factor?: number; steps?: number } = {}): Schedule {
  checkOptions('schedule.constant', options, ['factor', 'steps']);
  const factor = checkNumber('schedule.constant', 'factor', options.factor ?? 1, { min: 0 });
  return single('constant', checkSteps('schedule.constant', options.steps), { factor }, false, () => factor);
}

interface Ends {
  /** Factor at the first step. Default 1. */
  from?: number;
  /** Factor at the last step. Default 0. */
  to?: number;
  /** Length; without it the part takes the rest of the run. */
  steps?: number;
}

function checkEnds(where: string, options: Ends, extra: string[] = []) {
  checkOptions(where, options, ['from', 'to', 'steps', ...extra]);
  const from = checkNumber(where, 'from', options.from ?? 1, { min: 0 });
  const to = checkNumber(where, 'to', options.to ?? 0, { min: 0 });
  return { from, to, steps: checkSteps(where, options.steps) };
}

/** A straight line: factor = from + (to - from) * t / steps. */
export function linear(options: Ends = {}): Schedule {
  const { from, to, steps } = checkEnds('schedule.linear', options);
  return single('linear', steps, { from, to }, true, (t, n) => between(from, to, share(t, n)));
}

/** Half a cosine: factor = to + (from - to) * (1 + cos(pi * t / steps)) / 2. Source: Loshchilov & Hutter 2017. */
export function cosine(options: Ends = {}): Schedule {
  const { from, to, steps } = checkEnds('schedule.cosine', options);
  return single('cosine', steps, { from, to }, true, (t, n) => between(from, to, halfCosine(share(t, n))));
}

/** factor = to + (from - to) * (1 - t / steps) ** power; `power` defaults to 1. As PyTorch's PolynomialLR. */
export function polynomial(options: Ends & { power?: number } = {}): Schedule {
  const { from, to, steps } = checkEnds('schedule.polynomial', options, ['power']);
  const power = checkNumber('schedule.polynomial', 'power', options.power ?? 1, { above: 0 });
  const at: Part['at'] = (t, n) => between(to, from, (1 - Math.min(share(t, n), 1)) ** power);
  return single('polynomial', steps, { from, to, power }, true, at);
}

/** factor = from + (to - from) * sqrt(t / steps): the '1 - sqrt' cooldown. Source: Haegele et al. 2024. */
export function oneMinusSqrt(options: Ends = {}): Schedule {
  const { from, to, steps } = checkEnds('schedule.oneMinusSqrt', options);
  return single('oneMinusSqrt', steps, { from, to }, true, (t, n) => between(from, to, Math.sqrt(share(t, n))));
}

/**
 * Cosine with warm restarts: cycles of `period`, `period * mult`, `period * mult^2`, ... steps, each from 1 to `to` (0).
 * `mult` is an integer >= 1 (1). The cycle is found in closed form. Source: SGDR (Loshchilov & Hutter 2017).
 */
export function cosineRestarts(options: { period: number; mult?: number; to?: number; steps?: number }): Schedule {
  const where = 'schedule.cosineRestarts';
  checkOptions(where, options, ['period', 'mult', 'to', 'steps']);
  const period = checkNumber(where, 'period', options?.period, { integer: true, min: 1 });
  const mult = checkNumber(where, 'mult', options.mult ?? 1, { integer: true, min: 1 });
  const to = checkNumber(where, 'to', options.to ?? 0, { min: 0 });
  const at: Part['at'] = (t) => {
    if (mult === 1) return between(1, to, halfCosine((t % period) / period));
    // Cycle c starts at period * (mult^c - 1) / (mult - 1); the log may be one off at a boundary, in floating point.
    const start = (c: number) => (period * (mult ** c - 1)) / (mult - 1);
    let cycle = Math.floor(Math.log((t * (mult - 1)) / period + 1) / Math.log(mult));
    if (start(cycle + 1) <= t) cycle++;
    if (start(cycle) > t) cycle--;
    return between(1, to, halfCosine((t - start(cycle)) / (period * mult ** cycle)));
  };
  return single('cosineRestarts', checkSteps(where, options.steps), { period, mult, to }, false, at);
}

/** Multiplies by `gamma` (0.1) `every` so many steps, or at each of the steps `at`. As PyTorch's StepLR and MultiStepLR. */
export function step(options: { every?: number; at?: readonly number[]; gamma?: number; steps?: number }): Schedule {
  const where = 'schedule.step';
  checkOptions(where, options, ['every', 'at', 'gamma', 'steps']);
  const gamma = checkNumber(where, 'gamma', options?.gamma ?? 0.1, { above: 0 });
  const steps = checkSteps(where, options?.steps);
  if ((options?.every === undefined) === (options?.at === undefined)) {
    throw new ConfigError(`${where}: give either \`every\` (a number of steps) or \`at\` (a list of steps).`);
  }
  if (options.at !== undefined) {
    const at = checkList(where, 'at', options.at)
      .map((s) => checkNumber(where, 'at', s, { integer: true, min: 0 }))
      .sort((a, b) => a - b);
    return single('step', steps, { at, gamma }, false, (t) => gamma ** at.filter((s) => s <= t).length);
  }
  const every = checkNumber(where, 'every', options.every, { integer: true, min: 1 });
  return single('step', steps, { every, gamma }, false, (t) => gamma ** Math.floor(t / every));
}

/** factor = gamma ** t, with t in steps (not epochs). As PyTorch's ExponentialLR. */
export function exponential(options: { gamma: number; steps?: number }): Schedule {
  checkOptions('schedule.exponential', options, ['gamma', 'steps']);
  const gamma = checkNumber('schedule.exponential', 'gamma', options?.gamma, { above: 0, max: 1 });
  return single('exponential', checkSteps('schedule.exponential', options.steps), { gamma }, false, (t) => gamma ** t);
}

/**
 * factor = sqrt(timescale / (timescale + t)). After a warm-up of W steps with `timescale: W` it is the schedule of Vaswani
 * et al. 2017, peak * sqrt(W / step). `timescale` defaults to 10,000.
 */
export function inverseSqrt(options: { timescale?: number; steps?: number } = {}): Schedule {
  const where = 'schedule.inverseSqrt';
  checkOptions(where, options, ['timescale', 'steps']);
  const timescale = checkNumber(where, 'timescale', options.timescale ?? 10_000, { above: 0 });
  const at: Part['at'] = (t) => Math.sqrt(timescale / (timescale + t));
  return single('inverseSqrt', checkSteps(where, options.steps), { timescale }, false, at);
}

/** Options of `oneCycle`, named as PyTorch's OneCycleLR. */
export interface OneCycleOptions {
  /** Length; without it the whole run. */
  steps?: number;
  /** Share of the steps that the rate rises. Default 0.3. */
  pctStart?: number;
  /** The rate starts at peak / divFactor. Default 25. */
  divFactor?: number;
  /** It ends at start / finalDivFactor. Default 1e4. */
  finalDivFactor?: number;
  /** Form of the rise and the fall. Default 'cos'. */
  anneal?: 'cos' | 'linear';
  /** Fall back to the start first, then to the end. Default false. */
  threePhase?: boolean;
}

/** The 1cycle policy: up to the peak, then down far below the start. Source: Smith & Topin 2018; steps as PyTorch's OneCycleLR. */
export function oneCycle(options: OneCycleOptions = {}): Schedule {
  const where = 'schedule.oneCycle';
  checkOptions(where, options, ['steps', 'pctStart', 'divFactor', 'finalDivFactor', 'anneal', 'threePhase']);
  const { anneal = 'cos', threePhase = false } = options;
  if (anneal !== 'cos' && anneal !== 'linear') {
    throw new ConfigError(`${where}: anneal must be 'cos' or 'linear', got ${describe(anneal)}.`);
  }
  const pctStart = checkNumber(where, 'pctStart', options.pctStart ?? 0.3, { min: 0, max: threePhase ? 0.5 : 1 });
  const divFactor = checkNumber(where, 'divFactor', options.divFactor ?? 25, { above: 0 });
  const finalDivFactor = checkNumber(where, 'finalDivFactor', options.finalDivFactor ?? 1e4, { above: 0 });
  const low = 1 / divFactor;
  const end = low / finalDivFactor;
  const form = anneal === 'cos' ? halfCosine : (x: number) => x;
  const at: Part['at'] = (t, n) => {
    const up = pctStart * n - 1;
    const phases: [until: number, from: number, to: number][] = threePhase
      ? [
          [up, low, 1],
          [2 * up, 1, low],
          [n - 1, low, end],
        ]
      : [
          [up, low, 1],
          [n - 1, 1, end],
        ];
    let start = 0;
    for (const [until, from, to] of phases) {
      if (t <= until) return between(from, to, until > start ? form((t - start) / (until - start)) : 1);
      start = Math.max(until, 0);
    }
    return end;
  };
  const described = { pctStart, divFactor, finalDivFactor, anneal, threePhase };
  return single('oneCycle', checkSteps(where, options.steps), described, true, at);
}

/**
 * Warm-up, stable, decay: `warmup` steps up, the peak for the rest of the run, `decay` steps down to `to` (0), linearly or
 * by another `shape`. Source: Hu et al. 2024 (MiniCPM), Haegele et al. 2024.
 */
export function wsd(options: {
  warmup: number;
  decay: number;
  from?: number;
  to?: number;
  shape?: 'linear' | 'cosine' | 'oneMinusSqrt';
}): Schedule {
  checkOptions('schedule.wsd', options, ['warmup', 'decay', 'from', 'to', 'shape']);
  const rise = checkNumber('schedule.wsd', 'warmup', options?.warmup, { integer: true, min: 0 });
  const steps = checkNumber('schedule.wsd', 'decay', options.decay, { integer: true, min: 1 });
  const shapes = { linear, cosine, oneMinusSqrt };
  const shape = options.shape ?? 'linear';
  if (typeof shape !== 'string' || !Object.hasOwn(shapes, shape)) {
    throw new ConfigError(`schedule.wsd: shape must be one of ${Object.keys(shapes).join(', ')}, got ${describe(shape)}.`);
  }
  const from = checkNumber('schedule.wsd', 'from', options.from ?? 0.01, { min: 0 });
  const to = checkNumber('schedule.wsd', 'to', options.to ?? 0, { min: 0 });
  return warmup({ steps: rise, from }).followedBy(constant()).followedBy(shapes[shape]({ to, steps }));
}

/** A function of one's own: `fn(t, n)` gives the factor at local step t of n (n is NaN while the length is open). It must be pure. */
export function custom(fn: (t: number, n: number) => number, options: { steps?: number; name?: string } = {}): Schedule {
  checkOptions('schedule.custom', options, ['steps', 'name']);
  if (typeof fn !== 'function') throw new ConfigError(`schedule.custom: expected a function of the step, got ${describe(fn)}.`);
  if (options.name !== undefined) checkText('schedule.custom', 'name', options.name);
  const at: Part['at'] = (t, n) => checkNumber('schedule.custom', `the factor at step ${t}`, fn(t, n));
  return single('custom', checkSteps('schedule.custom', options.steps), { name: options.name ?? fn.name }, false, at);
}

const kinds: Record<string, (options: never) => Schedule> = {
  warmup,
  constant,
  linear,
  cosine,
  polynomial,
  oneMinusSqrt,
  cosineRestarts,
  step,
  exponential,
  inverseSqrt,
  oneCycle,
};

/** The schedule that `toJSON` described. Throws ConfigError for an unknown kind, a wrong option, or a custom function. */
export function fromJSON(json: ScheduleJSON): Schedule {
  if (!Array.isArray(json?.parts) || json.parts.length === 0) {
    throw new ConfigError('schedule.fromJSON: expected { parts: [...] } with at least one part.');
  }
  const made = json.parts.map((part: PartJSON) => {
    const { kind, ...options } = Object(part) as PartJSON;
    const make = typeof kind === 'string' && Object.hasOwn(kinds, kind) ? kinds[kind] : undefined;
    if (make) return make(options as never);
    const why =
      kind === 'custom'
        ? 'a custom function is not in JSON; build the schedule in code'
        : `known: ${Object.keys(kinds).join(', ')}`;
    throw new ConfigError(`schedule.fromJSON: cannot make ${describe(kind)}; ${why}.`);
  });
  const whole = made.reduce((a, b) => a.followedBy(b));
  return json.over === undefined ? whole : whole.over(json.over);
}
