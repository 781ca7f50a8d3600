import { join } from 'node:path';
import { type HistoryRecord, JsonLinesSink, type Sink } from '../monitor/index.ts';
import { EvalFiles, type Mistake } from './eval-files.ts';
import type { Evaluation } from './evaluate.ts';
import type { EvalMetrics } from './events.ts';
import { evalFigures, runRecord } from './recording.ts';
import { configurationOf, environmentOf } from './run-facts.ts';
import type { FitOptions, TrainerOptions } from './trainer.ts';

export const historyFile = 'metrics.jsonl';
type Told = Omit<HistoryRecord, 'attempt'>;

/** What a run writes down: its records to all sinks, and the tables of its evaluations to its folder. */
export class Journal {
  readonly #options: TrainerOptions;
  readonly #sinks: readonly Sink[];
  readonly #tables: EvalFiles | undefined;
  #mistakes: readonly Mistake[] = [];
  #attempt = 0;
  #ended = false;

  constructor(options: TrainerOptions) {
    const { dir, sinks = [], showSample } = options;
    this.#options = options;
    this.#sinks = [...(dir ? [new JsonLinesSink(join(dir, historyFile))] : []), ...sinks];
    this.#tables = dir ? new EvalFiles(dir, showSample) : undefined;
  }
  /** The evaluation, that tells of its mistakes where tables are written. */
  attend(evaluation: Evaluation): Evaluation {
    this.#mistakes = [];
    return this.#tables ? { ...evaluation, mistakes: (worst) => (this.#mistakes = worst) } : evaluation;
  }

  /** A start of the run: which it is, what it trains, where and how. */
  begin(attempt: number, step: number, fit: FitOptions, totalSteps: number | undefined): void {
    this.#attempt = attempt;
    for (const sink of this.#sinks) sink.begin?.(attempt, step);
    if (this.#sinks.length === 0) return;
    const { model } = this.#options;
    this.write({
      ...runRecord(this.#options, fit.train, totalSteps),
      ...{ step, time: Date.now() },
      configuration: configurationOf(this.#options, fit),
      environment: environmentOf(String(model.parameters()[0]?.device ?? 'cpu')),
    });
  }
  write(record: Told): void {
    for (const sink of this.#sinks) sink.write({ attempt: this.#attempt, ...record } as HistoryRecord);
  }
  evaluated(at: { step: number; epoch: number }, metrics: EvalMetrics, best: boolean): void {
    this.write({ type: 'eval', ...at, ...evalFigures(metrics) });
    this.#tables?.write(metrics, this.#mistakes, { attempt: this.#attempt, ...at }, best);
  }
  /** The last record: why the run is over, and for a failure its message. Nothing where the run has not begun. */
  end(step: number, stopReason: string, error?: unknown): void {
    if (this.#ended || this.#attempt === 0) return;
    this.#ended = true;
    const message = error instanceof Error ? error.message : String(error);
    this.write({
      type: 'end',
      step,
      time: Date.now(),
      stopReason,
      ...(error === undefined ? {} : { error: message.slice(0, 2000) }),
    });
  }
  /** Every sink is closed, whatever befalls the others; throws the first error. */
  async close(): Promise<void> {
    const closing = [...this.#sinks, ...(this.#tables ? [this.#tables] : [])].map((s) => Promise.resolve().then(() => s.close()));
    const failed = (await Promise.allSettled(closing)).find((r) => r.status === 'rejected');
    if (failed) throw failed.reason;
  }
}
