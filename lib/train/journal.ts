import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { AnomalyError } from '../monitor/anomaly.ts';
import { type HistoryRecord, JsonLinesSink, type Sink } from '../monitor/index.ts';
import { samplesFile } from '../monitor/samples.ts';
import { EvalFiles, type Mistake } from './eval-files.ts';
import type { Evaluation } from './evaluate.ts';
import type { EvalMetrics } from './events.ts';
import { LiveDiagnosis } from './live-diagnosis.ts';
import { anomalyRecord, classesRecord, evalFigures, layersRecord, Pace, runRecord, stepRecord } from './recording.ts';
import { configurationOf, environmentOf } from './run-facts.ts';
import type { StepResult } from './stepper.ts';
import type { Telling } from './telling.ts';
import type { FitOptions, TrainerOptions } from './trainer.ts';

export const historyFile = 'metrics.jsonl';
type Told = Omit<HistoryRecord, 'attempt'>;

/** What a run writes down: its records to all sinks, and the tables of its evaluations to its folder. */
export class Journal {
  readonly #options: TrainerOptions;
  readonly #sinks: readonly Sink[];
  /** For sample outputs, which would make the log long. */
  #samples: Sink | undefined;
  readonly #tables: EvalFiles | undefined;
  readonly #diagnosis: LiveDiagnosis;
  /** Where the loop's time goes. */
  readonly pace = new Pace();
  #mistakes: readonly Mistake[] = [];
  #attempt = 0;
  #ended = false;

  /** @param telling hears of findings; @param log and so do people, a line each */
  constructor(options: TrainerOptions, telling: Pick<Telling, 'event'>, log: (line: string) => void) {
    const { dir, sinks = [], showSample } = options;
    this.#diagnosis = new LiveDiagnosis(options.diagnose ?? true, {
      log,
      event: (event) => telling.event(event),
      write: (record) => this.#toSinks(record),
    });
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
    const { dir, samples } = this.#options;
    // One that asks for none goes on from a run that did: what it does again counts no more.
    if (dir && (samples || existsSync(join(dir, samplesFile)))) this.#samples = new JsonLinesSink(join(dir, samplesFile));
    this.#samples?.begin?.(attempt, step);
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
  /** What earlier attempts wrote, which a resumed run goes on from. */
  load(records: readonly HistoryRecord[], upTo: number): void {
    this.#diagnosis.load(records.filter((r) => r.step <= upTo));
  }
  write(record: Told): void {
    this.#toSinks(record);
    if (record.type !== 'samples') this.#diagnosis.take(record);
  }
  #toSinks(record: Told): void {
    const instead = record.type === 'samples' && this.#samples;
    for (const sink of instead ? [instead, ...this.#sinks.slice(1)] : this.#sinks)
      sink.write({ attempt: this.#attempt, ...record } as HistoryRecord);
  }
  step(result: StepResult, epoch: number, samplesPerSecond: number): void {
    const record = stepRecord(result, this.#options, epoch, samplesPerSecond, this.pace.take());
    const layers = layersRecord(result);
    if (layers) this.write(layers);
    this.write(this.#diagnosis.marked(record, result.sampleIds));
  }
  evaluated(at: { step: number; epoch: number }, metrics: EvalMetrics, best: boolean): void {
    const classes = classesRecord(at.step, metrics);
    if (classes) this.write(classes);
    this.write({ type: 'eval', ...at, ...evalFigures(metrics) });
    this.#tables?.write(metrics, this.#mistakes, { attempt: this.#attempt, ...at }, best);
  }
  /** The last record: why the run is over, and for a failure its message. Nothing where the run has not begun. */
  end(step: number, stopReason: string, error?: unknown): void {
    if (this.#ended || this.#attempt === 0) return;
    this.#ended = true;
    if (error instanceof AnomalyError) this.write(anomalyRecord(step, error.anomaly));
    this.#diagnosis.conclude();
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
    const closing = [...this.#sinks, ...[this.#samples, this.#tables].filter((s) => s !== undefined)].map((s) =>
      Promise.resolve().then(() => s.close()),
    );
    const failed = (await Promise.allSettled(closing)).find((r) => r.status === 'rejected');
    if (failed) throw failed.reason;
  }
}
