import { join } from 'node:path';
import { setImmediate as macrotask } from 'node:timers/promises';
import { evalFolder, readHistory } from '../monitor/index.ts';
import { samplesFile } from '../monitor/samples.ts';
import { synchronize } from '../native/run.ts';
import type { AveragedWeights } from '../optim/index.ts';
import type { BatchSource } from './batch.ts';
import type { BatchScaling } from './batch-scaling.ts';
import { type Restored, setAside } from './checkpoint.ts';
import { scoreOf } from './early-stopping.ts';
import { evaluate, undrawn } from './evaluate.ts';
import type { EvalMetrics, TrainEvent } from './events.ts';
import { FewBatches } from './few-batches.ts';
import { settleFit, totalStepsOf } from './fit-options.ts';
import { ask, type Hook, hooksOf, loadHooks, type Ruling, saveHooks } from './hooks.ts';
import { historyFile, Journal } from './journal.ts';
import { checkpoints, Keeping } from './keeping.ts';
import { type Controlled, LiveControl, type RunControl } from './live-control.ts';
import { Orders } from './orders.ts';
import { Progress } from './progress.ts';
import { Ranks } from './ranks.ts';
import { RateControl } from './rate-control.ts';
import { evalFigures } from './recording.ts';
import { type Best, interrupted, type RunState } from './run-state.ts';
import { stepperOf } from './run-stepper.ts';
import { SampleTimes } from './sample-outputs.ts';
import type { Stepper, StepResult } from './stepper.ts';
import { Telling } from './telling.ts';
import type { FitOptions, FitResult, Trainer, TrainerOptions } from './trainer.ts';

/** One run of a Trainer: an async iterable of its events, controls, and the result. */
export class Run implements AsyncIterable<TrainEvent> {
  readonly result: Promise<FitResult>;
  /** Changes what may be changed while training; takes effect at the next step boundary and is written to the history. */
  readonly control: RunControl;
  done = false;
  readonly #trainer: Trainer;
  /** The trainer's options, as this run goes by them. */
  readonly #settings: TrainerOptions;
  /** Where every rank reads, and one writes. */
  readonly #folder: string | undefined;
  readonly #options: FitOptions;
  readonly #ranks: Ranks;
  /** The training data of all processes. */
  readonly #whole: BatchSource;
  readonly #telling: Telling;
  readonly #journal: Journal;
  readonly #hooks: Hook[];
  readonly #live: LiveControl;
  readonly #samples: SampleTimes;
  readonly #orders: Orders;
  readonly #progress: Progress;
  readonly #stepper: Stepper;
  #attempt = 1;
  #stopReason: string | undefined;
  /** Ends what a stop would wait for, data on their way or an evaluation; the user's signal does so at once. */
  readonly #cut = new AbortController();
  readonly #signal = this.#cut.signal;
  #grace: NodeJS.Timeout | undefined;
  readonly #abort = () => (this.#alone ? this.#cut.abort(this.#options.signal?.reason) : this.stop('aborted'));
  #inFlight: { result: Promise<StepResult>; epoch: number } | undefined;
  readonly #rate: RateControl;
  readonly #scaling: BatchScaling | undefined;
  /** Hooks, or the makers of samples, have the model: no step is queued meanwhile. */
  #asking = false;
  #best: Best | undefined;
  readonly #keeping: Keeping;
  #last: EvalMetrics | undefined;
  #evaluated: Best = { step: 0, metrics: {} };

  constructor(trainer: Trainer, options: FitOptions) {
    const ranks = new Ranks(trainer.options);
    const { fit, trainer: whole } = settleFit(options, trainer.options, (source) => ranks.part(source));
    const o = ranks.settings(whole);
    this.#trainer = trainer;
    this.#ranks = ranks;
    this.#settings = o;
    this.#folder = whole.dir;
    this.#options = fit;
    this.#whole = ranks.size === 1 ? fit.train : options.train;
    this.#hooks = hooksOf(o, () => this.#scaling?.factor ?? 1);
    this.#telling = new Telling(o.dir, o.logger);
    this.#journal = new Journal(o, this.#telling, (line) => this.#progress.log(line));
    const { stepper, scaling } = stepperOf(whole, fit, this.totalSteps, ranks);
    this.#stepper = stepper;
    this.#scaling = scaling;
    this.#keeping = new Keeping(o, stepper, this.#telling);
    this.#rate = new RateControl(this.#stepper);
    this.#live = new LiveControl(this.#controlled(), ranks.leads);
    this.#orders = new Orders(ranks, this.#live);
    this.control = this.#live;
    this.#progress = new Progress(o.progress, this.totalSteps, fit.epochs);
    this.#samples = new SampleTimes(o.samples, {
      progress: this.#progress,
      pace: this.#journal.pace,
      atRest: (use) => this.#atRest(use),
      made: (at, samples) => this.#tellAndWrite({ type: 'samples', ...at, samples }),
      failed: (sentence) => this.#notice(sentence),
    });
    if (this.#scaling) this.#rate.scale({ batch: this.#scaling.factor });
    if (fit.signal?.aborted) this.#abort();
    else fit.signal?.addEventListener('abort', this.#abort, { once: true });
    this.result = this.#go().finally(() => {
      this.done = true;
      clearTimeout(this.#grace);
      fit.signal?.removeEventListener('abort', this.#abort);
      this.#telling.events.end();
    });
    this.result.catch(() => {}); // whoever awaits it gets the error; nobody need
  }

  [Symbol.asyncIterator](): AsyncIterator<TrainEvent, undefined> {
    return this.#telling.events[Symbol.asyncIterator]();
  }
  /** Ends training at the next step boundary; a step that is queued already is made. After `graceMs` nothing but that step is waited for. */
  stop(reason = 'stopped', graceMs = Number.POSITIVE_INFINITY): void {
    if (this.#alone) this.#stopReason ??= reason;
    else this.#orders.want({ stop: reason }); // the others must stop at the same step
    if (graceMs < 2 ** 31) this.#grace ??= setTimeout(() => this.#cut.abort(), graceMs).unref();
  }
  get #alone(): boolean {
    return this.#ranks.size === 1;
  }
  /** Is no step being made: is the run over, or does it wait for a hook? */
  get resting(): boolean {
    return this.done || this.#asking;
  }

  /** Averages that stand in for the weights until the run is over; then the model holds them. */
  get average(): AveragedWeights | undefined {
    return this.done ? undefined : this.#stepper.average;
  }

  get totalSteps(): number | undefined {
    return totalStepsOf(this.#options);
  }

  async #go(): Promise<FitResult> {
    const options = this.#settings;
    const started = performance.now();
    try {
      await this.#resume();
      await this.#trySanity();
      options.model.train();
      await this.#train();
      await this.#keeping.writing;
      await this.#keeping.finish(this.#trainer, this.#signal.aborted ? undefined : this.#whole);
      const { cursor } = this.#stepper;
      const stopReason = this.#stopReason ?? 'finished';
      this.#journal.end(cursor.step, stopReason);
      await this.#close();
      this.#telling.event({ type: 'end', step: cursor.step, stopReason });
      return {
        stopReason,
        steps: cursor.step,
        epochs: cursor.epoch,
        seconds: (performance.now() - started) / 1000,
        samplesPerSecond: this.#progress.overallRate,
        best: this.#best ?? { step: cursor.step, metrics: {} },
        last: this.#last,
      };
    } catch (error) {
      // The first error is the one that counts. Whatever is queued behind it must have failed too before a next run begins.
      this.#telling.failed(this.#stepper.cursor.step, error);
      await this.#inFlight?.result.catch(() => {});
      await synchronize('compute', options.model.parameters()[0]?.device.number).catch(() => {});
      this.#journal.end(this.#stepper.cursor.step, 'failed', error);
      await this.#close().catch(() => {});
      throw error;
    }
  }

  async #close(): Promise<void> {
    this.#progress.finish();
    await this.#keeping.writing?.catch(() => {});
    await this.#live.end();
    await this.#journal.close();
  }

  // ---- the loop -------------------------------------------------------------------------------------------------------------

  async #train(): Promise<void> {
    const { cursor } = this.#stepper;
    this.#progress.start(cursor.step);
    const together = this.#ranks.sentence(this.#options);
    for (const told of [together, this.#scaling?.notice]) if (told) this.#notice(told);
    try {
      // A run that was stopped between the end of an epoch and its evaluation has that before it.
      if (cursor.step > 0 && cursor.batch === 0) await this.#evaluate();
      await this.#steps();
      await this.#settle();
      if (this.#stopReason === undefined) {
        await this.#evaluate();
        await this.#samples.take(this.#stepper, this.#signal, 'run');
      }
    } catch (error) {
      if (!this.#signal.aborted || error !== this.#signal.reason) throw error;
      this.#stopReason ??= 'aborted';
      await this.#settle();
    }
    await this.#keeping.checkpoint(this.#saved, this.#score);
  }

  /** One step is always queued while the one before it runs, so that the device never waits for JavaScript. */
  async #steps(): Promise<void> {
    const { train, epochs, steps, accumulate = 1 } = this.#options;
    const { loss, checkpoint } = this.#settings;
    const every = checkpoint?.everySteps ?? 0;
    const stepper = this.#stepper;
    const windows = train.windows({
      accumulate,
      from: stepper.cursor,
      ...(steps === undefined ? { epochs: epochs as number } : { steps }),
      signal: this.#signal,
    });
    for await (const window of this.#journal.pace.windows(windows)) {
      await this.#hear();
      if (this.#mustStop()) return;
      const { epoch } = stepper.cursor;
      const result = stepper.step(window, (batch) => loss(this.#trainer.forward(batch), batch));
      result.catch(() => {}); // awaited when it is settled
      const before = this.#inFlight;
      this.#inFlight = { result, epoch };
      if (before) await this.#report(await this.#journal.pace.result(before.result), before.epoch);
      const epochEnds = stepper.cursor.batch === 0;
      await this.#samples.take(stepper, this.#signal, epochEnds ? 'epoch' : undefined, result);
      if (epochEnds || (every > 0 && stepper.cursor.step % every === 0)) {
        await this.#settle();
        if (epochEnds) await this.#evaluate();
        await this.#keeping.checkpoint(this.#saved, this.#score);
        if (epochEnds && this.#live.endsWithEpoch) return this.#obey({ stop: 'stopped' });
      }
      await macrotask(); // lets finalizers and whoever shares the event loop run
    }
  }

  async #hear(): Promise<void> {
    const order = await this.#orders.hear(() => this.#settle(), this.#signal);
    if (!order) return;
    this.#obey(order);
    await this.#live.apply(order.wishes);
  }

  /** A few batches through validation, before an epoch is spent on the way to its errors. Nothing is told, nothing drawn. */
  async #trySanity(): Promise<void> {
    const { validation, sanityValidation = 0, signal } = this.#options;
    if (!validation || sanityValidation === 0 || this.#stepper.cursor.step > 0 || signal?.aborted) return;
    await undrawn(() => evaluate(this.#trainer.evaluation(signal), new FewBatches(validation, sanityValidation)));
  }

  /** Waits for the step in flight and tells of it. */
  async #settle(): Promise<void> {
    const arrived = this.#inFlight;
    this.#inFlight = undefined;
    if (arrived) await this.#report(await arrived.result, arrived.epoch);
  }

  #mustStop(): boolean {
    if (this.#alone && this.#options.signal?.aborted) this.#stopReason ??= 'aborted';
    return this.#stopReason !== undefined;
  }

  async #report(told: StepResult, epoch: number): Promise<void> {
    const result = { ...told, plannedLr: told.plannedLr * (this.#scaling?.factor ?? 1) };
    const samplesPerSecond = this.#progress.step(result, epoch);
    this.#telling.event({ type: result.applied ? 'step' : 'skipped', epoch, samplesPerSecond, ...result } as TrainEvent);
    this.#journal.step(result, epoch, samplesPerSecond);
    this.#ranks.at(result.step);
    this.#orders.told(result);
    const ruling = await this.#ask((h) => h.onStep?.(result));
    if (this.#alone) this.#obey(ruling);
    else this.#orders.want(ruling);
  }

  async #ask(question: Parameters<typeof ask>[1]): Promise<Ruling> {
    return this.#atRest(() => ask(this.#hooks, question));
  }
  /** Lets others use the model: no step is queued meanwhile. */
  async #atRest<T>(use: () => Promise<T>): Promise<T> {
    this.#asking = true;
    try {
      return await use();
    } finally {
      this.#asking = false;
    }
  }

  /** Evaluates unless that has been done at this step. */
  async #evaluate(): Promise<void> {
    const { validation } = this.#options;
    const { step, epoch } = this.#stepper.cursor;
    if (!validation || step === this.#evaluated.step) return;
    const metrics = await this.#validate(validation);
    this.#last = metrics;
    const named = evalFigures(metrics);
    this.#evaluated = { step, metrics: named };
    const own = await this.#ask((h) => h.onEval?.(named, metrics, step));
    const [decision = own] = await this.#ranks.exchange(own, this.#signal);
    const watched = this.#settings.earlyStopping !== undefined;
    if (decision.markBest || !watched) this.#best = { step, metrics: named };
    if (decision.markBest) this.#keeping.markBest();
    this.#tellEval(metrics, epoch, decision.markBest === true);
    this.#obey(decision);
  }

  async #validate(validation: BatchSource): Promise<EvalMetrics> {
    this.#progress.pause();
    this.#ranks.alignBuffers(this.#stepper);
    const own = this.#journal.attend(this.#trainer.evaluation(this.#signal));
    // Rank 0 writes down inputs that others saw.
    const all = { mistakes: () => {}, ...own, exchange: <T>(value: T) => this.#ranks.exchange(value, this.#signal) };
    const metrics = await evaluate(this.#alone ? own : all, validation);
    this.#progress.resume();
    return metrics;
  }

  #tellEval(metrics: EvalMetrics, epoch: number, improved: boolean): void {
    const { step } = this.#stepper.cursor;
    this.#progress.evaluated(epoch, evalFigures(metrics), improved);
    this.#telling.event({ type: 'eval', step, epoch, metrics, improved });
    this.#journal.evaluated({ step, epoch }, metrics, improved);
  }

  #obey(decision: Ruling): void {
    if (decision.stop !== undefined) this.#stopReason ??= decision.stop;
    if (decision.lrScale !== undefined) this.#rate.scale({ hooks: decision.lrScale });
    if (decision.plateauScale !== undefined) this.#rate.scale({ plateau: decision.plateauScale });
  }

  /** Tells what was done unasked. */
  #notice(message: string): void {
    this.#progress.log(message);
    this.#tellAndWrite({ type: 'notice', step: this.#stepper.cursor.step, message });
  }

  /** An event whose record has the same fields. */
  #tellAndWrite(event: Extract<TrainEvent, { type: 'control' | 'notice' | 'samples' }>): void {
    this.#telling.event(event);
    this.#journal.write({ ...event } as Parameters<Journal['write']>[0]);
  }

  // ---- live control ---------------------------------------------------------------------------------------------------------

  /** What live control may do with this run. */
  #controlled(): Controlled {
    const { validation } = this.#options;
    const step = () => this.#stepper.cursor.step;
    return {
      step,
      setLr: (lr) => this.#rate.set(lr),
      evaluate: validation && (() => this.#look(validation)),
      checkpoint: this.#folder === undefined ? undefined : () => this.#writeNow(),
      notice: (sentence) => this.#notice(sentence),
      told: (entry) => this.#tellAndWrite({ type: 'control', step: step(), ...entry }),
    };
  }

  async #writeNow() {
    await this.#keeping.checkpointNow(this.#saved, this.#score);
    return { written: this.#keeping.writing };
  }
  /** An evaluation that changes nothing: nobody decides by it, and nothing is drawn. */
  async #look(validation: BatchSource): Promise<EvalMetrics> {
    const metrics = await undrawn(() => this.#validate(validation));
    this.#tellEval(metrics, this.#stepper.cursor.epoch, false);
    return metrics;
  }

  // ---- best weights and checkpoints -----------------------------------------------------------------------------------------

  /** What a resume needs beside the stepper's own. */
  readonly #saved = (): RunState => ({
    attempt: this.#attempt,
    hooks: saveHooks(this.#hooks),
    best: this.#best ?? null,
    evaluated: this.#evaluated,
    lrScale: this.#rate.scales,
    stopReason: interrupted(this.#stopReason) ? null : (this.#stopReason ?? null),
  });
  get #score() {
    const { step, metrics } = this.#evaluated;
    return step === this.#stepper.cursor.step ? scoreOf(this.#settings.earlyStopping, metrics) : undefined;
  }

  async #resume(): Promise<void> {
    const { dir } = this.#settings;
    const restored = this.#options.resume === 'auto' && this.#folder ? await this.#keeping.resume(this.#folder) : undefined;
    if (restored) await this.#restore(restored, this.#folder as string);
    await this.#ranks.meet(this.#stepper, this.#trainer.options, this.#options);
    if (!restored && dir) await setAside(dir, [checkpoints, historyFile, samplesFile, evalFolder]);
    const { step } = this.#stepper.cursor;
    this.#journal.begin(this.#attempt, step, this.#options, this.totalSteps);
    this.#telling.begin(this.#attempt, step, this.totalSteps);
    if (dir) await this.#live.listen(dir, this.#attempt);
  }

  async #restore({ extra }: Restored, dir: string): Promise<void> {
    const saved = extra as RunState;
    // Attempts that were killed before their first checkpoint are in the history only.
    const told = await readHistory(join(dir, historyFile)).catch(() => undefined);
    this.#attempt = Math.max(saved.attempt, told?.attempt ?? 0) + 1;
    this.#journal.load(told?.records ?? [], this.#stepper.cursor.step);
    loadHooks(this.#hooks, saved.hooks);
    this.#best = saved.best ?? undefined;
    this.#evaluated = saved.evaluated;
    this.#samples.goOnFrom(this.#stepper.cursor.step);
    if (saved.stopReason !== null) this.#stopReason = saved.stopReason;
    this.#rate.scale({ ...saved.lrScale, batch: this.#scaling?.factor ?? 1 }); // the batch may be another now
  }
}
