import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { plotSvg, plotText } from './plot.ts';

/** What a part of a schedule is, as plain JSON: `kind`, its options, and `steps` where its length was given. */
export interface PartJSON {
  kind: string;
  steps?: number;
  [option: string]: unknown;
}

/** A whole schedule as plain JSON. `over` is the total it was resolved for, if it was. */
export interface ScheduleJSON {
  parts: PartJSON[];
  over?: number;
}

/** One formula of a schedule. Made by the functions in shapes.ts, never by a user. */
export interface Part {
  readonly kind: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Its length in steps; undefined means that it takes what the other parts leave. */
  readonly steps: number | undefined;
  /** Whether the formula refers to its own length (cosine does, exponential does not). */
  readonly needsLength: boolean;
  /** The factor at local step t, where 0 <= t <= n; n is NaN for a part without end. */
  at(t: number, n: number): number;
}

/**
 * A learning-rate schedule: a pure function from the step (counted from 0, in applied optimizer steps) to a factor of the
 * peak rate. The rate is `lr * factor(step)`. It has no state: resuming needs nothing but the step.
 *
 * A part without `steps` takes what the other parts leave once `.over(total)` is known; the Trainer calls that. Past its
 * end a schedule holds its last value.
 */
export class Schedule {
  readonly #parts: readonly Part[];
  readonly #lengths: readonly (number | undefined)[];
  /** The total given to `.over()`, or undefined. */
  readonly totalSteps: number | undefined;

  constructor(parts: readonly Part[], totalSteps?: number) {
    if (!Array.isArray(parts) || !parts.every((p: Partial<Part> | null) => typeof p?.at === 'function'))
      throw new ConfigError(
        `Schedule: schedules are made by functions, for example schedule.cosine(), not of ${describe(parts)}.`,
      );
    if (totalSteps !== undefined && (!Number.isSafeInteger(totalSteps) || totalSteps < 1))
      throw new ConfigError(`Schedule: totalSteps must be a positive integer, got ${describe(totalSteps)}.`);
    this.#parts = parts;
    this.totalSteps = totalSteps;
    this.#lengths = totalSteps === undefined ? parts.map((p) => p.steps) : resolve(parts, totalSteps);
  }

  /** Steps of the parts whose length was given; the others take what remains. */
  get fixedSteps(): number {
    return this.#parts.reduce((sum, p) => sum + (p.steps ?? 0), 0);
  }

  /** Whether `factor` is defined at every step, that is, no part still waits for `.over(total)`. */
  get resolved(): boolean {
    const last = this.#parts.length - 1;
    return this.#lengths.every((n, i) => n !== undefined || (i === last && !this.#parts[i]?.needsLength));
  }

  /**
   * This schedule, then `next`, whose step 0 is the step at which this one ends. Factors are absolute, never rescaled: a
   * warm-up ends at 1, where cosine begins. Throws ConfigError when both wait for a length, since the rest of the run
   * could be divided between them in any way.
   */
  followedBy(next: Schedule): Schedule {
    if (!(next instanceof Schedule)) {
      throw new ConfigError('schedule.followedBy: expected a schedule, for example schedule.cosine({ to: 0 }).');
    }
    const parts = [...this.#parts, ...next.#parts];
    const open = parts.filter((p) => p.steps === undefined);
    if (open.length > 1) {
      throw new ConfigError(
        `schedule.followedBy: ${open.map((p) => p.kind).join(' and ')} both lack \`steps\`; only one part may take the rest of the run. Give the other its \`steps\`.`,
      );
    }
    return new Schedule(parts);
  }

  /**
   * The same schedule for a run of `totalSteps`: the part without `steps` takes what the others leave. May be called again
   * with another total. Throws ConfigError when the others leave nothing.
   */
  over(totalSteps: number): Schedule {
    if (!Number.isSafeInteger(totalSteps) || totalSteps < 1) {
      throw new ConfigError(`schedule.over: totalSteps must be a positive integer, got ${describe(totalSteps)}.`);
    }
    return new Schedule(this.#parts, totalSteps);
  }

  /** The factor of the peak rate at `step` (an integer >= 0). Throws ConfigError where a length is not yet known. */
  factor(step: number): number {
    if (!Number.isSafeInteger(step) || step < 0) {
      throw new ConfigError(`schedule.factor: step must be an integer >= 0, got ${describe(step)}.`);
    }
    let start = 0;
    const last = this.#parts.length - 1;
    for (let i = 0; i <= last; i++) {
      const part = this.#parts[i] as Part;
      const n = this.#lengths[i];
      if (n === undefined) {
        if (i === last && !part.needsLength) return part.at(step - start, Number.NaN);
        throw new ConfigError(
          `schedule: the length of ${part.kind} is not known. Give it \`steps\`, or call .over(totalSteps) on the whole schedule.`,
        );
      }
      if (i === last || step < start + n) return part.at(Math.min(step - start, n), n);
      start += n;
    }
    return 1;
  }

  /** Factors of the steps from, from+1, ..., from+n-1: what the device-side table of rates holds. */
  table(from: number, n: number): Float64Array {
    if (!Number.isSafeInteger(from) || from < 0)
      throw new ConfigError(`schedule.table: from must be an integer >= 0, got ${describe(from)}.`);
    if (!Number.isSafeInteger(n) || n < 0)
      throw new ConfigError(`schedule.table: n must be an integer >= 0, got ${describe(n)}.`);
    const out = new Float64Array(n);
    for (let i = 0; i < n; i++) out[i] = this.factor(from + i);
    return out;
  }

  /** Plain JSON, read back by `schedule.fromJSON`. A custom function is only named. */
  toJSON(): ScheduleJSON {
    const parts = this.#parts.map((p) => ({
      kind: p.kind,
      ...(p.steps === undefined ? {} : { steps: p.steps }),
      ...p.options,
    }));
    return this.totalSteps === undefined ? { parts } : { parts, over: this.totalSteps };
  }

  /** One line: `warmup(steps 300, from 0.01) -> cosine(from 1, to 0) over 2000 steps`. */
  describe(): string {
    const text = this.#parts.map((p) => {
      const options = Object.entries({ ...(p.steps === undefined ? {} : { steps: p.steps }), ...p.options });
      return `${p.kind}(${options.map(([k, v]) => `${k} ${Array.isArray(v) ? `[${v.join(' ')}]` : v}`).join(', ')})`;
    });
    return text.join(' -> ') + (this.totalSteps === undefined ? '' : ` over ${this.totalSteps} steps`);
  }

  /** A plot in block characters, `width` x `height` character cells (60 x 8), over `steps` (the whole schedule). */
  plot(options: PlotOptions = {}): string {
    const { steps, width, height } = plotSize('schedule.plot', options, { steps: this.#horizon(), width: 60, height: 8 });
    return plotText(this.#sample(steps, width), height, ['0', `${steps} steps`]);
  }

  /** The same curve as a self-contained SVG picture, `width` x `height` pixels (640 x 240). */
  toSVG(options: PlotOptions = {}): string {
    const { steps, width, height } = plotSize('schedule.toSVG', options, { steps: this.#horizon(), width: 640, height: 240 });
    return plotSvg(this.#sample(steps, Math.min(steps + 1, 512)), width, height, ['0', `${steps} steps`], this.describe());
  }

  /** The description and, once every length is known, the plot. */
  toString(): string {
    return this.resolved ? `${this.describe()}\n${this.plot()}` : `${this.describe()} (waits for .over(totalSteps))`;
  }

  #horizon(): number {
    if (this.totalSteps !== undefined) return this.totalSteps;
    const fixed = this.fixedSteps;
    return this.#parts.every((p) => p.steps !== undefined) ? Math.max(fixed, 1) : Math.max(4 * fixed, 1000);
  }

  #sample(steps: number, points: number): Float64Array {
    const out = new Float64Array(Math.max(points, 2));
    for (let i = 0; i < out.length; i++) out[i] = this.factor(Math.round((i * steps) / (out.length - 1)));
    return out;
  }
}

interface PlotOptions {
  steps?: number;
  width?: number;
  height?: number;
}

/** The size of a plot, checked. A hundred thousand cells or pixels a side are more than anyone looks at. */
function plotSize(where: string, options: PlotOptions, defaults: Required<PlotOptions>): Required<PlotOptions> {
  checkOptions(where, options, Object.keys(defaults));
  const size = { ...defaults };
  for (const name of Object.keys(defaults) as (keyof PlotOptions)[]) {
    const n = options[name] ?? defaults[name];
    const most = name === 'steps' ? Number.MAX_SAFE_INTEGER : 100_000;
    if (!Number.isSafeInteger(n) || n < 1 || n > most)
      throw new ConfigError(`${where}: ${name} must be an integer from 1 to ${most}, got ${describe(n)}.`);
    size[name] = n;
  }
  return size;
}

/** Lengths of all parts in a run of `total` steps. */
function resolve(parts: readonly Part[], total: number): number[] {
  const fixed = parts.reduce((sum, p) => sum + (p.steps ?? 0), 0);
  const open = parts.find((p) => p.steps === undefined);
  if (open && fixed >= total && fixed > 0) {
    const others = parts.filter((p) => p.steps !== undefined).map((p) => `${p.kind} ${p.steps}`);
    throw new ConfigError(
      `schedule.over: a run of ${total} steps leaves none for ${open.kind} (${others.join(', ')}). Shorten those parts or train longer.`,
    );
  }
  return parts.map((p) => p.steps ?? total - fixed);
}
