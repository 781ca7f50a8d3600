import { ConfigError, checkList, checkOptions, describe } from '../native/errors.ts';
import { nativeOp, type Operand, run, upload } from '../native/run.ts';
import { checkTensor } from '../ops/define.ts';
import { fromHost } from '../tensor/create.ts';
import { type Device, defaultDevice } from '../tensor/device.ts';
import { persistent } from '../tensor/scope.ts';
import { show } from '../tensor/shape.ts';
import { hostArray, type Tensor } from '../tensor/tensor.ts';
import { GradientList } from './lists.ts';

/** Slots of the state tensor; native/src/ops/step_state.h says what each holds. */
export const slots = {
  skip: 0,
  gradNorm: 1,
  clipFactor: 2,
  unscale: 3,
  applied: 4,
  rateFactor: 5,
  sumSquares: 6,
  attempts: 7,
  wasApplied: 8,
  reported: 9,
} as const;
export const mostReports = 6;
export const slotCount = 16;

const beginOp = nativeOp('stepBegin');
const normOp = nativeOp('gradNorm');
const endOp = nativeOp('stepEnd');

/** What a step did, on the host. */
export interface StepReport {
  /** Global norm of the unscaled gradients before clipping; NaN or Infinity where a gradient is not finite, 0 if `norm` was not called. */
  gradNorm: number;
  /** What gradients were multiplied by for clipping; 1 where nothing was clipped. */
  clipFactor: number;
  /** Was the update made? */
  applied: boolean;
  /** Not made because a gradient is inf or NaN. */
  foundInf: boolean;
  /** Not made because `divisorCount` was 0: the window held no target. */
  empty: boolean;
  /** Updates applied so far, this one included. */
  t: number;
  /** What gradients as they lay in memory were multiplied by: the inverse of the window's count and of the loss scale. */
  unscale: number;
  /** The schedule's factor that this step used. */
  rateFactor: number;
  /** The scalars given to `end`. */
  values: number[];
}

export interface BeginOptions {
  /** Multiplies every gradient. Default 1. */
  inverseScale?: number;
  /** A device scalar that every gradient is divided by: the count of the window. 0 or less skips the step. */
  divisorCount?: Tensor | null;
  /** A device scalar that every gradient is divided by: the loss scale, where the device keeps it. */
  scale?: Tensor | null;
}

/** What `norm` may run over: optimizers (which share the list with their update), or tensors with gradients. */
export type GradientSource = { readonly gradients: GradientList };

const isSource = (v: unknown): v is GradientSource => Object(v).gradients instanceof GradientList;

/**
 * The device's side of a training step. Per step, in this order, all queued without waiting:
 *
 * ```ts
 * state.begin({ inverseScale, divisorCount });   // unscale = inverseScale / count; factor = table[t]
 * state.norm([optimizer], { maxNorm: 1 });       // norm, inf/nan, clip factor
 * optimizer.apply(state);                        // reads unscale, clip, factor; does nothing when the step is to be skipped
 * state.end([lossSum, count]);                   // t += 1 unless skipped
 * const report = state.read();                   // a promise; later steps may be queued before it settles
 * optimizer.zeroGrad();
 * ```
 *
 * The gradients in memory stay as backward left them: unscaling and clipping happen inside the update.
 */
export class StepState {
  /** f64 [16], see `slots`. */
  readonly tensor: Tensor;
  #table: Tensor;
  #start = 0;
  #reports = 0;
  #own = new WeakMap<readonly Tensor[], GradientList>();

  /** @param on where the parameters are. Default: the default device. */
  constructor(on: Device = defaultDevice()) {
    this.tensor = persistent(() => fromHost(new Float64Array(slotCount), [slotCount], 'f64', on));
    this.#table = persistent(() => fromHost(Float64Array.of(1), [1], 'f64', on));
  }

  /**
   * Factors of the peak rates (each group's `lr`) for the applied steps start, start + 1, ...; steps behind the end use the last one. Takes
   * effect from the next `begin`, in stream order: refill while earlier steps are still queued. Default: 1 for ever.
   */
  setLearningRates(table: Float64Array, start = 0): void {
    if (!(table instanceof Float64Array) || table.length === 0)
      throw new ConfigError(
        'StepState.setLearningRates: the table must be a Float64Array of at least one factor, as schedule.table() gives.',
      );
    if (!Number.isSafeInteger(start) || start < 0)
      throw new ConfigError(`StepState.setLearningRates: start must be a whole number >= 0, got ${describe(start)}`);
    if (table.length === this.#table.size) {
      upload(this.#table, table);
    } else {
      this.#table.dispose();
      this.#table = persistent(() => fromHost(table, [table.length], 'f64', this.tensor.device));
    }
    this.#start = start;
  }

  /** Starts a step: nothing found, nothing clipped, the unscale factor and the schedule's factor set. */
  begin(options: BeginOptions = {}): void {
    checkOptions('StepState.begin', options, ['inverseScale', 'divisorCount', 'scale']);
    const { inverseScale = 1, divisorCount = null, scale = null } = options;
    if (typeof inverseScale !== 'number' || Number.isNaN(inverseScale))
      throw new ConfigError(`StepState.begin: inverseScale must be a number, got ${describe(inverseScale)}`);
    for (const [name, t] of Object.entries({ divisorCount, scale }))
      if (t !== null && checkTensor('StepState.begin', t, name).size !== 1)
        throw new ConfigError(`StepState.begin: ${name} must have one element, got shape ${show(t.shape)}`);
    run(beginOp, [this.#table, divisorCount, scale], [this.tensor], [inverseScale, this.#start]);
  }

  /**
   * The global norm of the unscaled gradients, whether all are finite, and with `maxNorm` the clip factor min(1, maxNorm / (norm + 1e-6)).
   * The sum is taken in f64 over fixed chunks: the same bits for any number of threads. Call it before `apply`; without it nothing is skipped.
   * @param over optimizers whose parameters to take together, or tensors (an array that stays the same from step to step is listed once)
   */
  norm(over: GradientSource | readonly GradientSource[] | readonly Tensor[], options: { maxNorm?: number } = {}): void {
    checkOptions('StepState.norm', options, ['maxNorm']);
    const { maxNorm = 0 } = options;
    if (options.maxNorm !== undefined && !(typeof maxNorm === 'number' && maxNorm > 0))
      throw new ConfigError(
        `StepState.norm: maxNorm must be a number > 0, got ${describe(maxNorm)}. Leave it out for no clipping.`,
      );
    const lists = this.#lists(over);
    lists.forEach((list, i) => {
      list.refresh();
      const last = i === lists.length - 1;
      run(normOp, [list.operand], [this.tensor, list.partials], [+(i === 0), +last, maxNorm]);
    });
  }

  /**
   * Ends the step: counts it as applied unless it was skipped.
   * @param values up to 6 device scalars (losses, counts) that `read` gives back as numbers
   */
  end(values: readonly Tensor[] = []): void {
    checkList('StepState.end', 'values', values).forEach((v, i) => void checkTensor('StepState.end', v, `value ${i}`));
    if (values.length > mostReports)
      throw new ConfigError(`StepState.end: at most ${mostReports} values can be reported, got ${values.length}`);
    for (const v of values)
      if (v.size !== 1)
        throw new ConfigError(`StepState.end: reported values have one element, got shape [${v.shape.join(', ')}]`);
    this.#reports = values.length;
    run(endOp, [...values], [this.tensor]);
  }

  /** The step that was last ended when this was called; steps queued afterwards do not change the answer. */
  async read(): Promise<StepReport> {
    const reports = this.#reports;
    const s = (await this.tensor.data()) as Float64Array;
    const at = (name: keyof typeof slots): number => s[slots[name]] as number;
    return {
      gradNorm: at('gradNorm'),
      clipFactor: at('clipFactor'),
      applied: at('wasApplied') === 1,
      foundInf: at('skip') === 1,
      empty: at('skip') === 2,
      t: at('applied'),
      unscale: at('unscale'),
      rateFactor: at('rateFactor'),
      values: Array.from(s.subarray(slots.reported, slots.reported + reports)),
    };
  }

  /** Sets the count of applied steps, in stream order: to go on from a checkpoint. Refill the table to match. */
  setApplied(t: number): void {
    if (!Number.isSafeInteger(t) || t < 0)
      throw new ConfigError(`StepState.setApplied: t must be a whole number >= 0, got ${describe(t)}`);
    const data = hostArray('f64', 1);
    data[0] = t;
    upload(slot(this.tensor, slots.applied), data);
  }

  /** Frees the device memory. */
  dispose(): void {
    this.tensor.dispose();
    this.#table.dispose();
  }

  #lists(over: GradientSource | readonly GradientSource[] | readonly Tensor[]): readonly GradientList[] {
    if (isSource(over)) return [over.gradients];
    const given = checkList<unknown>('StepState.norm', 'the first argument', over as readonly unknown[]);
    if (given.length > 0 && given.every(isSource)) return given.map((o) => o.gradients);
    given.forEach((t, i) => void checkTensor('StepState.norm', t, `parameter ${i}`));
    const tensors = over as readonly Tensor[];
    const known = this.#own.get(tensors);
    if (known) return [known];
    const list = new GradientList(tensors);
    this.#own.set(tensors, list);
    return [list];
  }
}

/** One element of a f64 tensor as an operand. */
export const slot = (t: Tensor, i: number): Operand => ({
  storage: t.storage,
  offset: t.offset + 8 * i,
  size: 1,
  code: t.code,
  shape: [],
  device: t.device,
});
