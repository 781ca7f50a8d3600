import { ConfigError, checkFunction, checkOptions, describe } from '../native/errors.ts';
import { checkNumber, formatDuration, formatNumber, formatRate, sparkline } from './text.ts';

/** What the bar shows. All but `step` may be left out. */
export interface ProgressState {
  /** Optimizer steps done. */
  step: number;
  /** Steps of the whole run; without it there is neither bar nor ETA. */
  totalSteps?: number;
  /** The step from which this process went on: earlier ones took none of `elapsed`. Default 0. */
  startStep?: number;
  /** From 1. */
  epoch?: number;
  epochs?: number;
  /** Seconds since the start of this process' training. */
  elapsed?: number;
  loss?: number;
  lr?: number;
  /** Samples (or tokens) a second, and their unit (default 'samples'). */
  throughput?: number;
  unit?: string;
  /** Recent losses, oldest first, for the sparkline. */
  losses?: ArrayLike<number>;
  /** More figures, such as 'val/accuracy'. */
  metrics?: Readonly<Record<string, number>>;
}

function checkState(where: string, state: ProgressState): void {
  if (typeof (state as ProgressState | null | undefined)?.step !== 'number')
    throw new ConfigError(`${where}: expected the run's state, at least { step }, got ${describe(state)}.`);
}

/** Seconds to the end at the mean pace so far; undefined before the first step, or without an end. */
export function secondsLeft(state: ProgressState): number | undefined {
  checkState('secondsLeft', state);
  const { step, totalSteps, elapsed, startStep = 0 } = state;
  const done = step - startStep;
  if (totalSteps === undefined || elapsed === undefined || done <= 0) return undefined;
  return (Math.max(0, totalSteps - step) * elapsed) / done;
}

function bar(share: number, width: number): string {
  const eighths = Math.round(Math.max(0, Math.min(1, share)) * width * 8);
  const partial = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'][eighths % 8] as string;
  return ('█'.repeat(eighths >> 3) + partial).padEnd(width, '░');
}

/**
 * One line of at most `width` columns: epoch, bar, step, ETA, loss with sparkline, lr, throughput, further metrics. What
 * does not fit is left out, the least important first. A loss that is not finite is shown as it is. A pure function.
 */
export function renderProgress(state: ProgressState, width: number): string {
  checkState('renderProgress', state);
  checkNumber('renderProgress', 'width', width);
  const { step, totalSteps, epoch, epochs, loss, lr, throughput, unit = 'samples', losses, metrics, elapsed } = state;
  // [importance, text]: 0 stays longest. The line keeps this order.
  const parts: [importance: number, text: string][] = [];
  if (epoch !== undefined) parts.push([4, `epoch ${epoch}${epochs === undefined ? '' : `/${epochs}`}`]);
  if (totalSteps !== undefined) {
    const share = totalSteps > 0 ? step / totalSteps : 1;
    const percent = `${Math.floor(Math.max(0, Math.min(1, share)) * 100)}%`.padStart(4);
    parts.push([5, bar(share, 16)], [1, percent], [3, `${step}/${totalSteps}`]);
  } else {
    parts.push([3, `step ${step}`]);
  }
  const left = secondsLeft(state);
  if (left !== undefined)
    parts.push([2, step >= (totalSteps ?? 0) ? `in ${formatDuration(elapsed as number)}` : `ETA ${formatDuration(left)}`]);
  else if (elapsed !== undefined) parts.push([6, formatDuration(elapsed)]);
  if (loss !== undefined) parts.push([0, `loss ${formatNumber(loss)}`]);
  if (losses !== undefined && losses.length > 1) parts.push([9, sparkline(losses, 16)]);
  if (lr !== undefined) parts.push([7, `lr ${formatNumber(lr)}`]);
  if (throughput !== undefined) parts.push([6, `${formatRate(throughput)} ${unit}/s`]);
  for (const [name, value] of Object.entries(metrics ?? {})) parts.push([8, `${name} ${formatNumber(value)}`]);
  const length = () => parts.reduce((n, [, text]) => n + text.length + 1, -1);
  while (parts.length > 1 && length() > width) {
    const worst = Math.max(...parts.map(([importance]) => importance));
    parts.splice(
      parts.findLastIndex(([importance]) => importance === worst),
      1,
    );
  }
  return parts
    .map(([, text]) => text)
    .join(' ')
    .slice(0, Math.max(0, width));
}

/** As much of a stream as the bar needs: process.stderr, process.stdout, or a test's. */
export interface ProgressStream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
}

export interface ProgressBarOptions {
  /** Milliseconds between redraws on a terminal. Default 100. */
  interval?: number;
  /** Milliseconds between lines where the stream is no terminal. Default 5,000. */
  lineInterval?: number;
  /** Columns; by default the terminal's, or 100. */
  width?: number;
  /** The clock in milliseconds; for tests. */
  now?: () => number;
}

/**
 * Draws `renderProgress` on a stream: on a terminal one line that is redrawn, elsewhere (a log file) a line now and then.
 * Nothing is printed but on the stream that it is given. It keeps the last 256 losses for the sparkline, if the state has
 * none of its own.
 */
export class ProgressBar {
  readonly #stream: ProgressStream;
  readonly #options: Required<Omit<ProgressBarOptions, 'width'>> & { width: number | undefined };
  #last = Number.NEGATIVE_INFINITY;
  #drawn = 0;
  #state: ProgressState | undefined;
  #shown = true;
  #losses: number[] = [];

  constructor(stream: ProgressStream, options: ProgressBarOptions = {}) {
    checkOptions('ProgressBar', options, ['interval', 'lineInterval', 'width', 'now']);
    if (typeof stream?.write !== 'function') {
      throw new ConfigError('ProgressBar: give the stream to draw on, for example new ProgressBar(process.stderr).');
    }
    for (const name of ['interval', 'lineInterval', 'width'] as const)
      if (options[name] != null && !(Number.isFinite(options[name]) && options[name] >= 0))
        throw new ConfigError(`ProgressBar: ${name} must be a number >= 0, got ${describe(options[name])}.`);
    if (options.now != null) checkFunction('ProgressBar', 'now', options.now, '() => performance.now()');
    this.#stream = stream;
    this.#options = {
      interval: options.interval ?? 100,
      lineInterval: options.lineInterval ?? 5000,
      width: options.width,
      now: options.now ?? (() => performance.now()),
    };
  }

  /** The latest state. Drawn if enough time has passed since the last drawing, or if `force` is set. */
  update(state: ProgressState, force = false): void {
    checkState('ProgressBar.update', state);
    if (state.loss !== undefined && state.step !== this.#state?.step) {
      this.#losses.push(state.loss);
      if (this.#losses.length > 256) this.#losses.shift();
    }
    this.#state = state;
    this.#shown = false;
    const now = this.#options.now();
    const { interval, lineInterval } = this.#options;
    if (force || now - this.#last >= (this.#stream.isTTY ? interval : lineInterval)) {
      this.#last = now;
      this.#draw();
    }
  }

  /** Prints a line of text above the bar. */
  log(text: string): void {
    if (this.#drawn > 0) this.#stream.write(`\r${' '.repeat(this.#drawn)}\r`);
    this.#stream.write(`${text}\n`);
    const redraw = this.#drawn > 0;
    this.#drawn = 0;
    if (redraw) this.#draw();
  }

  /** Draws the last state, unless it is on the screen, and ends the line. */
  finish(): void {
    if (!this.#shown) this.#draw();
    if (this.#drawn > 0) this.#stream.write('\n');
    this.#drawn = 0;
  }

  #draw(): void {
    if (!this.#state) return;
    const columns = this.#options.width ?? this.#stream.columns ?? 100;
    // The last column stays free: a terminal may break the line after it.
    const line = renderProgress({ losses: this.#losses, ...this.#state }, this.#stream.isTTY ? columns - 1 : columns);
    this.#shown = true;
    if (!this.#stream.isTTY) {
      this.#stream.write(`${line}\n`);
      return;
    }
    this.#stream.write(`\r${line.padEnd(this.#drawn)}`);
    this.#drawn = line.length;
  }
}

/** Events a second over a moving window, for throughput: `add` a count, read `rate`. */
export class RateMeter {
  readonly #window: number;
  #times: number[] = [];
  #counts: number[] = [];

  /** `seconds`: length of the window (10). */
  constructor(seconds = 10) {
    if (!(typeof seconds === 'number' && seconds > 0))
      throw new ConfigError(`RateMeter: the window must be > 0 seconds, got ${describe(seconds)}.`);
    this.#window = seconds * 1000;
  }

  /** `count` samples were done by `now` (milliseconds; the present by default). The first call only starts the clock. */
  add(count: number, now = performance.now()): void {
    checkNumber('RateMeter.add', 'count', count);
    checkNumber('RateMeter.add', 'now', now);
    const n = this.#times.length;
    if (n > 1 && now - (this.#times[n - 2] as number) < this.#window / 100) {
      this.#times[n - 1] = now; // merged: some hundred entries are enough, however short the steps
      (this.#counts[n - 1] as number) += count;
    } else {
      this.#times.push(now);
      this.#counts.push(count);
    }
    while (this.#times.length > 2 && (this.#times[1] as number) <= now - this.#window) {
      this.#times.shift();
      this.#counts.shift();
    }
  }

  /** Samples a second in the window; NaN before the second call. */
  get rate(): number {
    const seconds = ((this.#times.at(-1) ?? 0) - (this.#times[0] ?? 0)) / 1000;
    const counted = this.#counts.reduce((a, b) => a + b, 0) - (this.#counts[0] ?? 0);
    return seconds > 0 ? counted / seconds : Number.NaN;
  }
}
