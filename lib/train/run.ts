import { join } from 'node:path';
import { setImmediate as macrotask } from 'node:timers/promises';
import { type HistoryRecord, JsonLinesSink, type Sink } from '../monitor/index.ts';
import { ConfigError, checkOptions } from '../native/errors.ts';
import type { StateDict } from '../nn/module.ts';
import { assign } from '../nn/module.ts';
import { loadCheckpoint, type Restored, stageCheckpoint } from './checkpoint.ts';
import type { Checkpoint } from './checkpoint-files.ts';
import { EarlyStopping } from './early-stopping.ts';
import { type EvalMetrics, EventStream, type TrainEvent } from './events.ts';
import { ask, type Decision, type Hook, loadHooks, saveHooks } from './hooks.ts';
import { Progress } from './progress.ts';
import { saveSafetensors, snapshot } from './state.ts';
import { Stepper, type StepResult } from './stepper.ts';
import type { FitOptions, FitResult, Trainer, TrainerOptions } from './trainer.ts';

const checkpoints = 'checkpoints';
const bestFile = 'best.safetensors';

/** Stopped from outside: a resume goes on. */
const interrupted = (reason: string | undefined): boolean => reason === 'aborted' || reason === 'stopped';

interface Best {
  step: number;
  metrics: Record<string, number>;
}

/** Early stopping as a hook. */
class EarlyStoppingHook implements Hook {
  readonly name = 'earlyStopping';
  readonly #metric: string;
  readonly #rule: EarlyStopping;
  constructor(options: NonNullable<TrainerOptions['earlyStopping']>) {
    this.#rule = new EarlyStopping(options);
    this.#metric = options.metric ?? 'val/loss';
  }
  onEval(metrics: Readonly<Record<string, number>>, _: EvalMetrics, step: number): Decision {
    const value = metrics[this.#metric];
    if (value === undefined)
      throw new ConfigError(
        `earlyStopping: no metric '${this.#metric}'. Known here: ${Object.keys(metrics).join(', ')}. Is it among the Trainer's metrics?`,
      );
    const d = this.#rule.check(value, step);
    return { markBest: d.improved, stop: d.stop ? (d.reason ?? 'earlyStopping') : undefined };
  }
  state() {
    return this.#rule.state();
  }
  load(state: never) {
    this.#rule.load(state);
  }
}

/** One run of a Trainer: an async iterable of its events, controls, and the result. */
export class Run implements AsyncIterable<TrainEvent> {
  readonly result: Promise<FitResult>;
  /** Changes what may be changed while training; takes effect at the next step boundary and is written to the history. */
  readonly control = { set: (change: { lr?: number }): Promise<void> => this.#control(change) };
  done = false;
  readonly #trainer: Trainer;
  readonly #options: FitOptions;
  readonly #events = new EventStream();
  readonly #hooks: Hook[];
  readonly #sinks: Sink[];
  readonly #progress: Progress;
  #stepper: Stepper;
  #stopReason: string | undefined;
  #pendingLr: { lr: number; done: () => void } | undefined;
  #best: Best | undefined;
  #bestWeights: StateDict | undefined;
  #last: EvalMetrics | undefined;
  #attempt = 1;
  #writing: Promise<Checkpoint> | undefined;

  constructor(trainer: Trainer, options: FitOptions) {
    checkOptions('fit', options, ['train', 'validation', 'epochs', 'steps', 'accumulate', 'resume', 'signal']);
    if (!options.train)
      throw new ConfigError('fit: train is missing: a loader, for example data.loader(set, { batchSize: 64, shuffle: true })');
    if ((options.epochs === undefined) === (options.steps === undefined))
      throw new ConfigError('fit: give one of epochs and steps');
    const o = trainer.options;
    if (options.resume === 'auto' && !o.dir)
      throw new ConfigError("fit: resume: 'auto' needs the Trainer's dir, where checkpoints are");
    this.#trainer = trainer;
    this.#options = options;
    this.#hooks = [...(o.earlyStopping ? [new EarlyStoppingHook(o.earlyStopping)] : []), ...(o.hooks ?? [])];
    this.#sinks = [...(o.dir ? [new JsonLinesSink(join(o.dir, 'metrics.jsonl'))] : []), ...(o.sinks ?? [])];
    this.#stepper = this.#makeStepper();
    this.#progress = new Progress(o.progress, this.totalSteps, options.epochs);
    this.result = this.#go().finally(() => {
      this.done = true;
      this.#events.end();
    });
    this.result.catch(() => {}); // whoever awaits it gets the error; nobody need
  }

  [Symbol.asyncIterator](): AsyncIterator<TrainEvent, undefined> {
    return this.#events[Symbol.asyncIterator]();
  }
  /** Ends training at the next micro-batch boundary. */
  stop(reason = 'stopped'): void {
    this.#stopReason ??= reason;
  }

  /** Steps of the whole run, where they can be known. */
  get totalSteps(): number | undefined {
    const { train, epochs, steps, accumulate = 1 } = this.#options;
    if (steps !== undefined) return steps;
    return train.length === undefined ? undefined : Math.ceil(train.length / accumulate) * (epochs as number);
  }

  #makeStepper(): Stepper {
    const { model, optimizer, precision, clipNorm, seed, schedule } = this.#trainer.options;
    let resolved = schedule;
    if (schedule && schedule.totalSteps === undefined) {
      if (this.totalSteps === undefined)
        throw new ConfigError('fit: the schedule needs the number of steps, which a stream does not tell. Give steps.');
      resolved = schedule.over(this.totalSteps);
    }
    return new Stepper({
      model,
      optimizer,
      ...(resolved ? { schedule: resolved } : {}),
      ...(precision ? { precision } : {}),
      ...(clipNorm === undefined ? {} : { clipNorm }),
      ...(seed === undefined ? {} : { seed }),
    });
  }

  async #go(): Promise<FitResult> {
    const { options } = this.#trainer;
    const started = performance.now();
    try {
      await this.#resume();
      options.model.train();
      await this.#train();
      await this.#writing;
      await this.#restoreBest();
      const { cursor } = this.#stepper;
      const stopReason = this.#stopReason ?? 'finished';
      this.#events.push({ type: 'end', step: cursor.step, stopReason });
      return {
        stopReason,
        steps: cursor.step,
        epochs: cursor.epoch,
        seconds: (performance.now() - started) / 1000,
        samplesPerSecond: this.#progress.overallRate,
        best: this.#best ?? { step: cursor.step, metrics: {} },
        last: this.#last,
      };
    } finally {
      this.#progress.finish();
      await this.#writing?.catch(() => {});
      for (const sink of this.#sinks) await sink.close();
    }
  }

  // ---- the loop -------------------------------------------------------------------------------------------------------------

  /** One step is always queued while the one before it runs, so that the device never waits for JavaScript. */
  async #train(): Promise<void> {
    const { train, epochs, steps, accumulate = 1 } = this.#options;
    const stepper = this.#stepper;
    const windows = train.windows({
      accumulate,
      from: stepper.cursor,
      ...(steps === undefined ? { epochs: epochs as number } : { steps }),
    });
    let inFlight: Promise<StepResult> | undefined;
    this.#progress.start(stepper.cursor.step);
    for await (const window of windows) {
      if (this.#mustStop()) break;
      this.#applyControl();
      const epoch = stepper.cursor.epoch;
      const next = stepper.step(window, (batch) => this.#trainer.options.loss(this.#trainer.forward(batch), batch));
      next.catch(() => {}); // awaited below
      if (inFlight) await this.#report(await inFlight, epoch);
      inFlight = next;
      const epochEnds = stepper.cursor.batch === 0;
      const every = this.#trainer.options.checkpoint?.everySteps ?? 0;
      const due = every > 0 && stepper.cursor.step % every === 0;
      if (epochEnds || due) {
        await this.#report(await inFlight, epoch);
        inFlight = undefined;
        if (epochEnds) await this.#epochEnd();
        await this.#checkpoint();
      }
      await macrotask(); // lets finalizers and whoever shares the event loop run
    }
    if (inFlight) await this.#report(await inFlight, stepper.cursor.epoch);
    if (interrupted(this.#stopReason)) await this.#checkpoint();
  }

  #mustStop(): boolean {
    if (this.#options.signal?.aborted) this.#stopReason ??= 'aborted';
    return this.#stopReason !== undefined;
  }

  async #report(result: StepResult, epoch: number): Promise<void> {
    const samplesPerSecond = this.#progress.step(result, epoch);
    this.#events.push({ type: result.applied ? 'step' : 'skipped', epoch, samplesPerSecond, ...result } as TrainEvent);
    const { step, loss, lr, gradNorm, applied, samples } = result;
    this.#write({ type: 'step', step, loss, lr, gradNorm, applied, samples, samplesPerSecond });
    this.#obey(await ask(this.#hooks, (h) => h.onStep?.(result)));
  }

  async #epochEnd(): Promise<void> {
    const { validation, signal } = this.#options;
    if (!validation) return;
    const { step, epoch } = this.#stepper.cursor;
    this.#progress.pause();
    const metrics = await this.#trainer.evaluate(validation, signal ? { signal } : {});
    this.#progress.resume();
    this.#last = metrics;
    const named: Record<string, number> = {};
    for (const [name, value] of Object.entries(metrics)) if (typeof value === 'number') named[`val/${name}`] = value;
    const decision = await ask(this.#hooks, (h) => h.onEval?.(named, metrics, step));
    const watched = this.#trainer.options.earlyStopping !== undefined;
    if (decision.markBest || !watched) this.#best = { step, metrics: named };
    if (decision.markBest) this.#keepBest();
    this.#progress.evaluated(epoch, named, decision.markBest === true);
    this.#events.push({ type: 'eval', step, epoch, metrics, improved: decision.markBest === true });
    this.#write({ type: 'eval', step, epoch, ...named });
    this.#obey(decision);
  }

  #obey(decision: Decision): void {
    if (decision.stop !== undefined) this.stop(decision.stop);
    if (decision.lrScale !== undefined) this.#stepper.setLrScale(decision.lrScale);
  }

  #write(record: Omit<HistoryRecord, 'attempt'>): void {
    for (const sink of this.#sinks) sink.write({ attempt: this.#attempt, ...record } as HistoryRecord);
  }

  // ---- live control ---------------------------------------------------------------------------------------------------------

  #control(change: { lr?: number }): Promise<void> {
    checkOptions('control.set', change, ['lr']);
    const { lr } = change;
    if (lr === undefined) return Promise.resolve();
    if (!(lr >= 0 && lr < Infinity)) throw new ConfigError(`control.set: lr must be a number >= 0, got ${lr}`);
    return new Promise((done) => {
      this.#pendingLr = { lr, done };
    });
  }

  /** Sets the rate that is in force now; the schedule's shape goes on from it. */
  #applyControl(): void {
    const pending = this.#pendingLr;
    if (!pending) return;
    this.#pendingLr = undefined;
    const now = this.#stepper.lrAt(this.#stepper.applied);
    this.#stepper.setLrScale(now > 0 ? (this.#stepper.lrScale * pending.lr) / now : this.#stepper.lrScale);
    this.#write({ type: 'control', step: this.#stepper.cursor.step, lr: pending.lr });
    pending.done();
  }

  // ---- best weights and checkpoints -----------------------------------------------------------------------------------------

  #keepBest(): void {
    for (const t of this.#bestWeights?.values() ?? []) t.dispose();
    this.#bestWeights = snapshot(this.#trainer.options.model);
  }

  async #restoreBest(): Promise<void> {
    const { model, dir } = this.#trainer.options;
    if (this.#bestWeights) {
      const own = model.stateDict();
      for (const [name, t] of this.#bestWeights) assign(own.get(name) as never, t);
    }
    if (dir) await saveSafetensors(join(dir, bestFile), model.stateDict());
    for (const t of this.#bestWeights?.values() ?? []) t.dispose();
  }

  /** Copies the state now and writes it while training goes on; one write at a time. */
  async #checkpoint(): Promise<void> {
    const { dir, checkpoint, earlyStopping } = this.#trainer.options;
    if (!dir) return;
    const json = {
      attempt: this.#attempt,
      hooks: saveHooks(this.#hooks),
      best: this.#best ?? null,
      lrScale: this.#stepper.lrScale,
      stopReason: interrupted(this.#stopReason) ? null : (this.#stopReason ?? null),
    };
    const tensors: Record<string, StateDict> = this.#bestWeights ? { [bestFile]: this.#bestWeights } : {};
    const metric = earlyStopping?.metric ?? 'val/loss';
    const value = this.#best?.metrics[metric];
    const options = {
      keep: checkpoint?.keep ?? {},
      ...(value === undefined ? {} : { score: { metric, value, mode: earlyStopping?.mode ?? 'min' } as const }),
    };
    const write = await stageCheckpoint(join(dir, checkpoints), this.#stepper, { json, tensors }, options);
    await this.#writing;
    this.#writing = write();
    this.#writing.then(
      (c) => this.#events.push({ type: 'checkpoint', step: c.step, path: c.path }),
      () => {}, // awaited before the next checkpoint and at the end
    );
  }

  async #resume(): Promise<void> {
    const { dir } = this.#trainer.options;
    const restored =
      this.#options.resume === 'auto' && dir ? await loadCheckpoint(join(dir, checkpoints), this.#stepper) : undefined;
    if (restored) await this.#restore(restored);
    for (const sink of this.#sinks) sink.begin?.(this.#attempt, this.#stepper.cursor.step);
  }

  async #restore({ extra, tensors }: Restored): Promise<void> {
    const saved = extra as {
      attempt: number;
      hooks: Record<string, unknown>;
      best: Best | null;
      lrScale: number;
      stopReason: string | null;
    };
    this.#attempt = saved.attempt + 1;
    loadHooks(this.#hooks, saved.hooks);
    this.#best = saved.best ?? undefined;
    this.#bestWeights = await tensors(bestFile);
    if (saved.stopReason !== null) this.#stopReason = saved.stopReason;
    if (saved.lrScale !== 1) this.#stepper.setLrScale(saved.lrScale);
  }
}
