/** Where a run tells what it does as it does it: its events, a logger, and diagnostics_channel. What it writes down is journal.ts's. */
import { type Channel, channel } from 'node:diagnostics_channel';
import { ConfigError, describe } from '../native/errors.ts';
import { EventStream, type TrainEvent } from './events.ts';

/** A logger of pino's shape: console will do, too. */
export interface Logger {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const levels = ['debug', 'info', 'warn', 'error'] as const;

/** Throws ConfigError unless `logger` has the methods of one. */
export function checkLogger(where: string, logger: unknown): void {
  const missing = levels.find((level) => typeof (Object(logger) as Partial<Logger>)[level] !== 'function');
  if (missing !== undefined)
    throw new ConfigError(
      `${where}: logger must have ${levels.join(', ')} as pino's has, (fields, message) each; ${describe(logger)} has no ${missing}()`,
    );
}

/** A run's start, told to loggers and channels. */
interface Begin {
  type: 'begin';
  attempt: number;
  step: number;
  totalSteps: number | undefined;
}
/** A run's failure, likewise. */
interface Failure {
  type: 'error';
  step: number;
  error: unknown;
}
type Told = TrainEvent | Begin | Failure;

/** What one channel carries: `anneal:run` has begin, end and error, `anneal:step` skipped steps too. Others are named like their events. */
const channelOf: Partial<Record<Told['type'], string>> = { begin: 'run', end: 'run', error: 'run', skipped: 'step' };
const channels = new Map<string, Channel>();

function channelFor(type: Told['type']): Channel {
  let found = channels.get(type);
  if (!found) {
    found = channel(`anneal:${channelOf[type] ?? type}`);
    channels.set(type, found);
  }
  return found;
}

const figure = (v: number): string => (Number.isInteger(v) ? String(v) : v.toPrecision(5));

export class Telling {
  readonly events = new EventStream();
  readonly #dir: string | undefined;
  readonly #logger: Logger | undefined;
  #attempt = 1;

  constructor(dir: string | undefined, logger: Logger | undefined) {
    this.#dir = dir;
    this.#logger = logger;
  }

  begin(attempt: number, step: number, totalSteps: number | undefined): void {
    this.#attempt = attempt;
    this.#tell({ type: 'begin', attempt, step, totalSteps });
  }

  /** To readers of the run's events, to the logger and to subscribers of its channel. */
  event(event: TrainEvent): void {
    this.events.push(event);
    this.#tell(event);
  }

  failed(step: number, error: unknown): void {
    this.#tell({ type: 'error', step, error });
  }

  #tell(told: Told): void {
    const to = channelFor(told.type);
    if (to.hasSubscribers) to.publish({ dir: this.#dir, attempt: this.#attempt, ...told });
    if (this.#logger) this.#log(this.#logger, told);
  }

  #log(logger: Logger, told: Told): void {
    const run = this.#dir === undefined ? {} : { dir: this.#dir };
    const { type, step } = told;
    if (type === 'step') {
      const { epoch, loss, lr, gradNorm, samplesPerSecond } = told;
      logger.debug({ ...run, step, epoch, loss, lr, gradNorm, samplesPerSecond }, `step ${step}: loss ${figure(loss)}`);
    } else if (type === 'skipped') {
      const { reason, sampleIds } = told;
      logger.warn({ ...run, step, reason, sampleIds: [...sampleIds] }, `step ${step} was skipped: ${reason}`);
    } else if (type === 'eval') {
      const figures = Object.entries(told.metrics).filter((e): e is [string, number] => typeof e[1] === 'number');
      const text = figures.map(([name, v]) => `${name} ${figure(v)}`).join(', ');
      logger.info({ ...run, step, epoch: told.epoch, ...Object.fromEntries(figures) }, `evaluated at step ${step}: ${text}`);
    } else if (type === 'samples') {
      const names = told.samples.map((s) => s.name);
      logger.info({ ...run, step, epoch: told.epoch, names }, `${names.length} sample outputs at step ${step}`);
    } else if (type === 'error') {
      logger.error({ ...run, step, err: told.error }, `the run failed at step ${step}: ${String(told.error)}`);
    } else {
      const { level, text } = sentence(told);
      logger[level]({ ...run, ...told }, text);
    }
  }
}

function sentence(told: Exclude<Told, { type: 'step' | 'skipped' | 'eval' | 'samples' | 'error' }>): {
  level: 'info' | 'warn';
  text: string;
} {
  const { step } = told;
  switch (told.type) {
    case 'begin':
      return {
        level: 'info',
        text: step === 0 ? 'the run begins' : `the run goes on from step ${step}, attempt ${told.attempt}`,
      };
    case 'checkpoint':
      return { level: 'info', text: `checkpoint of step ${step}: ${told.path}` };
    case 'control': {
      const what = told.lr === undefined ? told.what : `lr ${told.lr}`;
      if (told.refused === undefined) return { level: 'info', text: `control at step ${step}: ${what}, asked by ${told.by}` };
      return { level: 'warn', text: `control at step ${step}: ${what} was refused: ${told.refused}` };
    }
    case 'finding': {
      const { severity, title, evidence, action } = told.finding;
      return { level: severity === 'info' ? 'info' : 'warn', text: `${title}: ${evidence}. ${action}` };
    }
    case 'notice':
      return { level: 'warn', text: told.message };
    case 'end':
      return { level: 'info', text: `the run ended at step ${step}: ${told.stopReason}` };
  }
}
