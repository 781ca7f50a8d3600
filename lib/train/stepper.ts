import { backward } from '../autograd/graph.ts';
import type { Parallel } from '../distributed/parallel.ts';
import { AnomalyWatch } from '../monitor/anomaly.ts';
import { type LayerFigures, LayerProbe } from '../monitor/layer-stats.ts';
import { CheckpointError, ConfigError, checkFunction, checkOptions, describe, GraphError } from '../native/errors.ts';
import { assignPaths, type Module } from '../nn/module.ts';
import type { Loss } from '../ops/loss.ts';
import { type AveragedWeights, ema, swa } from '../optim/averaged-weights.ts';
import { type Optimizer, type StepReport, StepState } from '../optim/index.ts';
import { UpdateRatio } from '../optim/update-ratio.ts';
import { LossScaler, type LossScalerState } from '../precision/index.ts';
import type { Schedule } from '../schedule/index.ts';
import { bind, type Precision, type Rng } from '../tensor/context.ts';
import { scope } from '../tensor/scope.ts';
import { Parameter, Tensor } from '../tensor/tensor.ts';
import { type AnyWindow, rowsIn, type TensorBatch, toTensors } from './batch.ts';
import { loadCheckpoint, saveCheckpoint } from './checkpoint.ts';
import { Seeding } from './seeding.ts';
import { shareOf } from './share.ts';
import { renewState } from './state.ts';
import { checkParts, isSampled, type StepperOptions, stepperOptions } from './stepper-options.ts';

export type { StepperOptions };

/** Where the data stand: what `loader.windows({ from })` takes. */
export interface DataCursor {
  readonly epoch: number;
  readonly batch: number;
  readonly step: number;
}

/** What one step did, as plain numbers. */
export interface StepResult {
  /** Attempts so far, this one included. */
  readonly step: number;
  /** Loss of the window: sums over counts, as one big batch would have it. */
  readonly loss: number;
  /** Learning rate of the first group in this step. */
  readonly lr: number;
  /** What the schedule alone says: differs from `lr` where hooks, the plateau rule or live control scale it. */
  readonly plannedLr: number;
  /** Global norm of the gradients before clipping. */
  readonly gradNorm: number;
  /** What they were multiplied by for clipping; 1 where nothing was clipped. */
  readonly clipFactor: number;
  /** False where the update was skipped. */
  readonly applied: boolean;
  /** Why not: a gradient was inf or NaN, or every target of the window was ignored. */
  readonly reason?: 'nonFiniteGradient' | 'noTargets';
  /** Samples of the window, of all processes. */
  readonly samples: number;
  /** Of this process. */
  readonly sampleIds: Int32Array;
  /** What the loss was scaled by, under precision 'f16'. */
  readonly lossScale?: number;
  /** Of several processes: has one asked to be heard (`Parallel.asks`) when this step was queued? */
  readonly asked?: boolean;
  /** Norm of the update over the norm of the weights that it moved, at the steps that `updateRatioEvery` chooses. */
  readonly updateRatio?: number;
  /** Figures of the layers, at the steps that `layerStats` chooses. */
  readonly layers?: readonly LayerFigures[];
}

/** From a micro-batch to its loss. */
export type LossFunction<B = TensorBatch> = (batch: B) => Loss;

/** JSON state of a Stepper, beside weights and optimizer tensors. */
export interface StepperState {
  attempts: number;
  applied: number;
  seed: number;
  cursor: DataCursor;
  lossScaler?: LossScalerState;
  /** Which average the checkpoint holds. */
  average?: AveragedWeights['kind'];
}

/** Learning-rate factors handed to the device at a time. */
const AHEAD = 1024;

/**
 * The training step, in its one order: micro-batches forward and backward; unscale by the window's count; look for inf and nan; norm; clip; update or
 * skip, decided on the device; average; count. The host waits for nothing in between.
 */
export class Stepper {
  readonly model: Module;
  readonly optimizer: Optimizer;
  readonly precision: Precision;
  readonly schedule: Schedule | undefined;
  readonly clipNorm: number | undefined;
  /** The averages that `ema` or `swa` asked for. */
  readonly average: AveragedWeights | undefined;
  /** Where the data stand after the last window given to `step`. */
  cursor: DataCursor = { epoch: 0, batch: 0, step: 0 };
  readonly #state: StepState;
  readonly #scaler: LossScaler | undefined;
  readonly #parallel: Parallel | undefined;
  readonly #detectAnomaly: boolean;
  readonly #ratioEvery: number;
  #ratio: UpdateRatio | undefined;
  readonly #layersEvery: number;
  #seed: number;
  #attempts = 0;
  #applied = 0;
  #tableEnd = -1;
  /** The last step that failed on the device, or that was in flight then. */
  #recovered = 0;
  /** Multiplies every learning rate: the plateau rule and live control. */
  lrScale = 1;

  constructor(options: StepperOptions) {
    checkOptions('Stepper', options, stepperOptions);
    const { model, optimizer, schedule, precision = 'f32', clipNorm, seed = 0 } = checkParts('Stepper', options);
    if (schedule && schedule.totalSteps === undefined)
      throw new ConfigError('Stepper: the schedule does not know its length. Close it with .over(totalSteps).');
    this.model = model;
    this.optimizer = optimizer;
    this.precision = precision;
    this.schedule = schedule;
    this.clipNorm = clipNorm;
    if (options.ema) this.average = ema(model, options.ema);
    if (options.swa) this.average = swa(model, options.swa);
    this.#seed = seed;
    this.#parallel = options.parallel;
    this.#detectAnomaly = options.detectAnomaly ?? false;
    // What it computes is the weights' own, which the search for NaN need not see.
    this.#ratioEvery = this.#detectAnomaly ? 0 : (options.updateRatioEvery ?? 0);
    this.#layersEvery = this.#detectAnomaly ? 0 : (options.layerStats?.every ?? 0);
    this.#state = new StepState(optimizer.parameters[0]?.device);
    if (precision === 'f16') this.#scaler = new LossScaler(options.lossScaling, this.#state.tensor.device);
    assignPaths(model);
  }

  /** Steps applied; skipped ones do not count, and do not advance the schedule. Up to date once a step's result has arrived. */
  get applied(): number {
    return this.#applied;
  }

  /** The first group's learning rate at an applied step. */
  lrAt(step: number): number {
    if (!Number.isSafeInteger(step) || step < 0)
      throw new ConfigError(`stepper.lrAt: step must be a whole number >= 0, got ${describe(step)}`);
    return (this.optimizer.groups[0]?.lr ?? 0) * this.lrScale * (this.schedule?.factor(step) ?? 1);
  }

  /**
   * One optimizer step over a window. Queues everything at once; the result arrives when the device is done, and awaiting it is the back-pressure.
   * @throws GraphError for gradients left over from before, or that reach a leaf which no optimizer owns
   */
  step<B = TensorBatch>(window: AnyWindow, lossOf: LossFunction<B>): Promise<StepResult> {
    checkFunction('stepper.step', 'the loss', lossOf, '({ x, y }) => losses.mse(model.forward(x), y)');
    if (!Array.isArray(window?.micro) || (window.micro.length === 0 && !(this.#parallel && window.share)))
      throw new ConfigError('stepper.step: the window has no batches. Give { micro: [batch] }, or a window of loader.windows().');
    this.#refuseLeftovers();
    let reading: { read: () => Promise<StepResult> };
    const watch = this.#detectAnomaly ? new AnomalyWatch(this.model) : undefined;
    const next = this.#attempts + 1;
    const probe = this.#layersEvery && (next === 1 || next % this.#layersEvery === 0) ? new LayerProbe(this.model) : undefined;
    try {
      reading = scope(() => this.#enqueue(window, lossOf as LossFunction<never>, probe));
    } catch (error) {
      this.#parallel?.abandon();
      this.optimizer.zeroGrad(); // of the micro-batches before the one that failed
      probe?.dispose();
      throw error;
    } finally {
      watch?.stop();
    }
    if (window.cursor) this.cursor = window.cursor;
    const result = reading.read();
    if (!watch) return result;
    // A failure on the device reaches both; it is told once.
    return Promise.allSettled([watch.verdict(), result]).then(([verdict]) =>
      verdict.status === 'rejected' ? Promise.reject(verdict.reason) : result,
    );
  }

  #enqueue(window: AnyWindow, lossOf: LossFunction<never>, probe: LayerProbe | undefined): { read: () => Promise<StepResult> } {
    const rows = window.micro.map(rowsIn);
    const own = rows.reduce((a, b) => a + b, 0);
    const { offsets, rows: samples } = shareOf(window, rows, this.#parallel);
    const seeding = new Seeding(this.#state.tensor.device, samples, rows.length, this.#scaler?.scale ?? null);
    const rng: Rng = { seed: this.#seed, attempt: this.#attempts, rowOffset: 0, rows: 0, calls: new Map(), inStep: true };
    window.micro.forEach((batch, i) => {
      rng.calls.clear();
      rng.rows = rows[i] as number;
      rng.rowOffset = offsets[i] as number;
      const last = i === rows.length - 1;
      bind({ precision: this.precision, rng, grad: true }, () => scope(() => this.#micro(batch as never, lossOf, seeding, last)));
      probe?.rest();
    });
    this.#parallel?.finish();
    const parallel = this.#parallel;
    if (parallel) seeding.across(own, samples, parallel.asks, (figures) => parallel.figures(figures));
    probe?.gradients();
    const measured = this.#finish(seeding);
    const report = this.#arrived(this.#state.read());
    const step = ++this.#attempts;
    const layers = probe?.read(report.then((r) => r.unscale));
    layers?.catch(() => {}); // awaited with the step
    const peak = this.optimizer.groups[0]?.lr ?? 0;
    return {
      read: async () => {
        const {
          gradNorm,
          clipFactor,
          applied,
          foundInf,
          t,
          rateFactor,
          values: all,
        } = await report.catch((error: unknown) => {
          this.#recover(step);
          throw error;
        });
        this.#applied = t;
        const told = measured ? all.slice(0, -2) : all;
        const values = parallel ? told.slice(0, -1) : told;
        const asked = parallel ? { asked: told.at(-1) !== 0 } : {};
        const loss = Seeding.checked(values);
        const sampleIds = window.ids ?? new Int32Array(0);
        const [, , scale] = values;
        const lossScale = this.#scaler ? { lossScale: scale as number } : {};
        const [weights = 0, update = 0] = measured ? all.slice(-2) : [];
        const updateRatio = measured && applied ? { updateRatio: update / weights } : {};
        const plannedLr = peak * (this.schedule?.factor(applied ? t - 1 : t) ?? 1);
        const rates = { lr: peak * rateFactor, plannedLr };
        const result = {
          step,
          loss,
          ...rates,
          gradNorm,
          clipFactor,
          applied,
          samples,
          sampleIds,
          ...lossScale,
          ...asked,
          ...updateRatio,
          ...(layers ? { layers: await layers } : {}),
        };
        return applied ? result : { ...result, reason: foundInf ? 'nonFiniteGradient' : 'noTargets' };
      },
    };
  }

  /** What the device reports is of this rank alone where the ranks did not come together. */
  async #arrived(report: Promise<StepReport>): Promise<StepReport> {
    const [arrived, together] = await Promise.allSettled([report, this.#parallel?.done()]);
    if (together.status === 'rejected') throw together.reason;
    if (arrived.status === 'rejected') throw arrived.reason;
    return arrived.value;
  }

  /** Returns what must outlive the micro-batch's scope. */
  #micro(batch: never, lossOf: LossFunction<never>, seeding: Seeding, last: boolean): unknown {
    // What the function made and did not return is then the tape's alone: backward frees it, or writes over it, as it goes.
    const loss = scope(() => checkLoss(lossOf(toTensors(batch, this.#state.tensor.device) as never)));
    const { root, seed } = seeding.add(loss);
    backward(root, seed, (leaf) => this.#checkOwned(leaf), last ? this.#parallel : undefined);
    return seeding.running();
  }

  /** Tells whether the update is measured: two norms at the end of what is reported. */
  #finish(seeding: Seeding): boolean {
    const { count } = seeding;
    const inverse = 1 / seeding.factor;
    this.#fillTable();
    const scale = this.#scaler?.scale ?? null;
    if (count instanceof Tensor) this.#state.begin({ inverseScale: inverse, divisorCount: count, scale });
    else this.#state.begin({ inverseScale: inverse / count, scale });
    this.#state.norm([this.optimizer], this.clipNorm === undefined ? {} : { maxNorm: this.clipNorm });
    const norms = isSampled(this.#attempts + 1, this.#ratioEvery) ? this.#measure() : undefined;
    this.optimizer.apply(this.#state);
    const measured = norms?.() ?? [];
    this.average?.update(this.#state);
    const asked = seeding.asked ? [seeding.asked] : [];
    this.#state.end([...seeding.report(), ...(scale ? [scale] : []), ...asked, ...measured]);
    this.#scaler?.update(this.#state.tensor);
    this.optimizer.zeroGrad();
    return measured.length > 0;
  }

  #measure() {
    const { parameters } = this.optimizer;
    this.#ratio ??= new UpdateRatio(this.#state.tensor.device);
    return this.#ratio.begin(parameters);
  }

  /** The device indexes the table by its own count of applied steps, which the host knows one step late: so it is filled ahead. */
  #fillTable(): void {
    const next = this.#applied;
    const horizon = this.#attempts;
    if (horizon < this.#tableEnd) return;
    // Of one length, whatever is in flight, so that memory does not go up and down.
    let length = AHEAD;
    while (length < 2 * (horizon - next)) length *= 2;
    const table = this.schedule ? this.schedule.table(next, length) : new Float64Array(length).fill(1);
    this.#state.setLearningRates(this.lrScale === 1 ? table : table.map((f) => f * this.lrScale), next);
    this.#tableEnd = next + table.length;
  }

  /** Scales all learning rates from the next step on. */
  setLrScale(scale: number): void {
    if (!(typeof scale === 'number' && scale >= 0 && scale < Infinity))
      throw new ConfigError(`stepper.setLrScale: the scale must be a number >= 0, got ${describe(scale)}`);
    this.lrScale = scale;
    this.#tableEnd = -1;
  }

  /** Calls queued behind one that failed are dropped until the host hears of it, those that first write shadows and optimizer state too. They are made again. */
  #recover(failed: number): void {
    if (failed <= this.#recovered) return;
    this.#recovered = this.#attempts; // the steps in flight failed with it
    for (const p of this.optimizer.parameters) if (p instanceof Parameter) p.shadowVersion = -1;
    renewState(this.optimizer);
  }

  #refuseLeftovers(): void {
    for (const p of this.optimizer.parameters)
      if (p.grad)
        throw new GraphError(
          `stepper.step: ${(p as Parameter).name || p} already has a gradient, from a backward() outside the step. Call optimizer.zeroGrad() first.`,
        );
  }

  #checkOwned(leaf: Tensor): void {
    if (this.optimizer.owns(leaf)) return;
    const name = (leaf as Parameter).name || String(leaf);
    leaf.grad?.dispose();
    leaf.grad = null;
    throw new GraphError(
      `stepper.step: a gradient reached ${name}, which the optimizer does not own, so it would never be trained. Give it to the optimizer, or freeze it with .freeze().`,
    );
  }

  /**
   * Writes a checkpoint: weights, optimizer, counts and the data's cursor, whole or not at all. Returns its path.
   * @param dir the run's checkpoint folder; each checkpoint is a folder in it
   */
  async save(dir: string): Promise<string> {
    return (await saveCheckpoint(dir, this)).path;
  }
  /**
   * Goes on from the newest valid checkpoint in `dir`; false where there is none.
   * @throws CheckpointError where it does not fit this model and optimizer
   */
  async resume(dir: string): Promise<boolean> {
    return (await loadCheckpoint(dir, this)) !== undefined;
  }

  /** JSON state as of the last step queued; the optimizer's and the model's tensors are saved beside it (lib/train/state.ts). */
  async state(): Promise<StepperState> {
    const now = { attempts: this.#attempts, seed: this.#seed, cursor: this.cursor };
    // The host may not have heard of the last steps yet.
    const [{ t }, lossScaler] = await Promise.all([this.#state.read(), this.#scaler?.state()]);
    return { ...now, applied: t, ...(lossScaler ? { lossScaler } : {}), ...(this.average ? { average: this.average.kind } : {}) };
  }
  load(state: StepperState): void {
    const { attempts, applied, seed, cursor } = Object(state) as Partial<StepperState>;
    if (![attempts, applied, seed].every(Number.isSafeInteger) || cursor === null || typeof cursor !== 'object')
      throw new CheckpointError(`stepper.load: this is not what state() gives: ${describe(state)}`);
    this.#attempts = state.attempts;
    this.#applied = state.applied;
    this.#seed = state.seed;
    this.cursor = state.cursor;
    this.#state.setApplied(state.applied);
    if (state.lossScaler) this.#scaler?.load(state.lossScaler);
    this.#tableEnd = -1;
  }
}

function checkLoss(loss: Loss): Loss {
  if (!loss || !Array.isArray(loss.terms))
    throw new ConfigError(
      'stepper.step: the function must return a loss, for example losses.crossEntropy(logits, y), not its mean and not a promise.',
    );
  return loss;
}
