import type { ClassMetrics, DoubtfulSample, Finding, ReliabilityBin, ShownSample } from '../monitor/index.ts';
import type { ConfusionTable, StratumMetrics } from './eval-metrics.ts';
import type { ControlEntry } from './live-control.ts';
import type { StepResult } from './stepper.ts';

/** Figures of an evaluation by name, and tables: what the Trainer's `metrics` asked for. */
export interface EvalMetrics {
  loss: number;
  samples: number;
  accuracy?: number;
  perClass?: readonly ClassMetrics[];
  confusion?: ConfusionTable;
  reliability?: readonly ReliabilityBin[];
  mistakes?: readonly DoubtfulSample[];
  strata?: readonly StratumMetrics[];
  [name: string]: unknown;
}

/** What a run tells, in order. `step` events may be merged away when nobody reads; the others never are. */
export type TrainEvent =
  | ({ readonly type: 'step'; readonly epoch: number; readonly samplesPerSecond: number } & StepResult)
  | ({ readonly type: 'skipped'; readonly epoch: number } & StepResult)
  | {
      readonly type: 'eval';
      readonly step: number;
      readonly epoch: number;
      readonly metrics: EvalMetrics;
      readonly improved: boolean;
    }
  | { readonly type: 'checkpoint'; readonly step: number; readonly path: string }
  /** What somebody asked of the run at this step (`lr` with its value), or why it was not done. */
  | ({ readonly type: 'control'; readonly step: number } & ControlEntry)
  /** What the run did unasked, in a sentence. */
  | { readonly type: 'notice'; readonly step: number; readonly message: string }
  /** What is wrong with the run, when it is first seen. */
  | { readonly type: 'finding'; readonly step: number; readonly finding: Finding }
  /** What the model gave, where the Trainer's `samples` asked for it. */
  | { readonly type: 'samples'; readonly step: number; readonly epoch: number; readonly samples: readonly ShownSample[] }
  | { readonly type: 'end'; readonly step: number; readonly stopReason: string };

/** Unread `step` events kept before the oldest of them is merged away. */
const keptSteps = 256;

/**
 * An async iterator that never slows the one who pushes: of the events nobody has read, at most 256 are steps. Several readers each get
 * every event from when they began.
 */
export class EventStream implements AsyncIterable<TrainEvent> {
  readonly #readers = new Set<Reader>();
  #ended = false;

  push(event: TrainEvent): void {
    for (const reader of this.#readers) reader.push(event);
  }
  end(): void {
    this.#ended = true;
    for (const reader of this.#readers) reader.end();
  }
  [Symbol.asyncIterator](): AsyncIterator<TrainEvent, undefined> {
    const reader = new Reader(() => this.#readers.delete(reader));
    if (this.#ended) reader.end();
    else this.#readers.add(reader);
    return reader;
  }
}

class Reader implements AsyncIterator<TrainEvent, undefined> {
  readonly #queue: TrainEvent[] = [];
  #waiting: ((r: IteratorResult<TrainEvent, undefined>) => void)[] = [];
  #steps = 0;
  #ended = false;
  readonly #leave: () => void;

  constructor(leave: () => void) {
    this.#leave = leave;
  }
  push(event: TrainEvent): void {
    const waiting = this.#waiting.shift();
    if (waiting) {
      waiting({ value: event, done: false });
      return;
    }
    if (event.type === 'step' && ++this.#steps > keptSteps) {
      this.#queue.splice(
        this.#queue.findIndex((e) => e.type === 'step'),
        1,
      );
      this.#steps--;
    }
    this.#queue.push(event);
  }
  end(): void {
    this.#ended = true;
    for (const waiting of this.#waiting.splice(0)) waiting({ value: undefined, done: true });
  }
  next(): Promise<IteratorResult<TrainEvent, undefined>> {
    const event = this.#queue.shift();
    if (event) {
      if (event.type === 'step') this.#steps--;
      return Promise.resolve({ value: event, done: false });
    }
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }
  return(): Promise<IteratorResult<TrainEvent, undefined>> {
    this.#leave();
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }
}
