import { ProgressBar, type ProgressStream, RateMeter } from '../monitor/index.ts';
import type { StepResult } from './stepper.ts';

/** A run's pace, and its bar where one was asked for. */
export class Progress {
  readonly #bar: ProgressBar | undefined;
  readonly #totalSteps: number | undefined;
  readonly #epochs: number | undefined;
  readonly #meter = new RateMeter();
  #started = performance.now();
  #startStep = 0;
  #samples = 0;
  #pausedAt = 0;
  #paused = 0;
  #metrics: Record<string, number> = {};

  constructor(to: ProgressStream | ProgressBar | undefined, totalSteps: number | undefined, epochs: number | undefined) {
    this.#bar = to === undefined || to instanceof ProgressBar ? to : new ProgressBar(to);
    this.#totalSteps = totalSteps;
    this.#epochs = epochs;
  }

  start(step: number): void {
    this.#started = performance.now();
    this.#startStep = step;
    this.#meter.add(0);
  }
  /** Takes up a step; returns samples per second of late. */
  step(result: StepResult, epoch: number): number {
    this.#samples += result.samples;
    this.#meter.add(result.samples);
    const throughput = this.#meter.rate;
    const { step, loss, lr } = result;
    this.#bar?.update({
      step,
      startStep: this.#startStep,
      epoch: epoch + 1,
      elapsed: (performance.now() - this.#started) / 1000,
      loss,
      lr,
      throughput,
      metrics: this.#metrics,
      ...(this.#totalSteps === undefined ? {} : { totalSteps: this.#totalSteps }),
      ...(this.#epochs === undefined ? {} : { epochs: this.#epochs }),
    });
    return throughput;
  }
  pause(): void {
    this.#pausedAt = performance.now();
  }
  resume(): void {
    this.#paused += performance.now() - this.#pausedAt;
    this.#meter.add(0);
  }
  evaluated(epoch: number, metrics: Record<string, number>, improved: boolean): void {
    this.#metrics = metrics;
    const figures = Object.entries(metrics).map(([name, v]) => `${name} ${Number.isInteger(v) ? v : v.toPrecision(5)}`);
    this.#bar?.log(`epoch ${epoch}: ${figures.join('  ')}${improved ? '  (best so far)' : ''}`);
  }
  log(line: string): void {
    this.#bar?.log(line);
  }
  finish(): void {
    this.#bar?.finish();
  }
  /** Samples per second since the start, pauses left out. */
  get overallRate(): number {
    return this.#samples / Math.max(1e-9, (performance.now() - this.#started - this.#paused) / 1000);
  }
}
