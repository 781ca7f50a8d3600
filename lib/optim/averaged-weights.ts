import { CheckpointError, ConfigError, checkFunction, checkOptions, describe } from '../native/errors.ts';
import { nativeOp, run } from '../native/run.ts';
import { assign, Module, type StateDict } from '../nn/module.ts';
import { mul } from '../ops/binary.ts';
import { filled } from '../ops/define.ts';
import { noGrad } from '../tensor/context.ts';
import { persistent } from '../tensor/scope.ts';
import { sameShape, show } from '../tensor/shape.ts';
import { Parameter, type Tensor } from '../tensor/tensor.ts';
import { columnCount, columns, NativeList } from './lists.ts';
import type { StepState } from './step-state.ts';

export interface EMAOptions {
  /** What the average keeps at each update, from 0 to below 1. Default 0.9999. */
  decay?: number;
  /** Keep less at first: 1 - t^(-2/3) at update t, until that is `decay`. Default true. */
  warmup?: boolean;
}

export interface SWAOptions {
  /** The first update whose weights count, from 1; a common choice is three quarters of the run. Until then the average is the weights. */
  from: number;
  /** Updates between those that count. Default 1. */
  every?: number;
}

/** The numbers that the update's kernel takes (native/src/ops/update_rules.h). */
interface Rule {
  readonly kind: 'ema' | 'swa';
  readonly attrs: readonly [number, number, number, number];
}

interface Row {
  readonly live: Tensor;
  /** A Parameter, since products keep a low-precision copy of those. */
  readonly average: Parameter;
  /** Updates so far, f64 []. */
  readonly step: Tensor;
}

const averageOp = nativeOp('average');
const prefix = 'average/';

/**
 * Averages of a model's weights and of its floating-point buffers, updated by one call over all of them. `optim.ema` and `optim.swa` make one.
 *
 * The model's own weights are never written: `within` lets a function see the averages in their place and puts them back before it returns, so that
 * nothing else, no save and no step, can come in between.
 */
export class AveragedWeights {
  readonly kind: 'ema' | 'swa';
  readonly model: Module;
  readonly #rule: Rule;
  #rows: Row[] | undefined;
  #averages: NativeList | undefined;
  #weights: NativeList | undefined;
  #inside = false;

  /** Use `optim.ema` and `optim.swa`. */
  constructor(model: Module, rule: Rule) {
    this.model = model;
    this.kind = rule.kind;
    this.#rule = rule;
  }

  /** Made at the first use, so that weights which were loaded meanwhile are those that it begins with. */
  #prepare(): Row[] {
    if (this.#rows) return this.#rows;
    const live = [...new Set(this.model.stateDict().values())].filter((t) => t.dtype === 'f32' || t.dtype === 'f64');
    const steps = persistent(() => filled([live.length], 0, 'f64', { device: live[0]?.device as Tensor['device'] }));
    this.#rows = live.map((t, i) =>
      persistent(() =>
        noGrad(() => ({ live: t, average: new Parameter(mul(t.detach(), 1)).freeze(), step: steps.alias([], 8 * i) })),
      ),
    );
    steps.dispose();
    this.#averages = new NativeList(live.length, columnCount);
    this.#weights = new NativeList(live.length, 1);
    return this.#rows;
  }

  /** The averages follow a model that has moved to another device. */
  #follow(): Row[] {
    const rows = this.#prepare();
    for (const { live, average, step } of rows) {
      average.relocate(live.device);
      step.relocate(live.device);
    }
    return rows;
  }

  /**
   * Takes the weights as they are now into the average; under a step state, only if its step was not skipped. Queues. The Stepper calls it after its
   * update; in a loop of one's own: `optimizer.step(); average.update();`.
   */
  update(state: StepState | null = null): void {
    this.#refuseInside('update');
    const rows = this.#follow();
    const [averages, weights] = [this.#averages as NativeList, this.#weights as NativeList];
    rows.forEach(({ live, average, step }, i) => {
      averages.set(i, columns.param, average);
      averages.set(i, columns.step, step);
      weights.set(i, 0, live);
      average.storage.version++;
    });
    run(averageOp, [averages, weights, state?.tensor ?? null], [], [0, 0, 0, 0, ...this.#rule.attrs]);
  }

  /**
   * What `use` returns while the model has the averages as its weights. `use` may not be asynchronous: the weights are the model's own again as soon as
   * it returns. Before the first update it sees the model as it is.
   * @example const logits = average.within(() => model.forward(x))
   */
  within<T>(use: () => T): T {
    if (typeof use !== 'function')
      throw new ConfigError(`AveragedWeights.within: expected a function, got ${describe(use)}. () => model.forward(x)`);
    if (this.#inside || !this.#rows) return use();
    const rows = this.#follow();
    exchange(rows);
    this.#inside = true;
    let result: T;
    try {
      result = use();
    } finally {
      this.#inside = false;
      exchange(rows);
    }
    if (typeof (Object(result) as Partial<Promise<unknown>>).then === 'function')
      throw new ConfigError(
        'AveragedWeights.within: the function gave a promise, and what it does later would see the model’s own weights. Await outside, or use apply().',
      );
    return result;
  }

  /**
   * As `within`, around awaits. Until it is over nobody may step, save or load the model, which has the averages as its weights: `update`, `apply` and `load`
   * refuse, others cannot know.
   * @example const text = await average.throughout(() => generate(model, prompt))
   */
  async throughout<T>(use: () => Promise<T>): Promise<T> {
    checkFunction('AveragedWeights.throughout', 'the argument', use, '() => generate(model, prompt)');
    if (this.#inside || !this.#rows) return await use();
    const rows = this.#follow();
    exchange(rows);
    this.#inside = true;
    try {
      return await use();
    } finally {
      this.#inside = false;
      exchange(rows);
    }
  }

  /** Writes the averages over the model's weights, for good: at the end of training. */
  apply(): void {
    this.#refuseInside('apply');
    for (const { live, average } of this.#rows ?? []) assign(live, average);
  }

  /** The model's state with the averages in place of its weights; the tensors are the average's own: copy what must not change. */
  stateDict(): StateDict {
    const own = new Map((this.#rows ?? []).map(({ live, average }) => [live, average]));
    return new Map([...this.model.stateDict()].map(([name, t]) => [name, own.get(t) ?? t]));
  }

  /** What a checkpoint keeps: the averages, and how many updates there were. */
  state(): StateDict {
    const rows = new Map(this.#prepare().map((row) => [row.live, row]));
    const state: StateDict = new Map();
    for (const [name, t] of this.model.stateDict()) {
      const row = rows.get(t);
      if (!row) continue;
      state.set(prefix + name, row.average);
      state.set('updates', row.step);
    }
    return state;
  }

  /**
   * Copies what `state` gave in.
   * @throws CheckpointError naming what does not fit; nothing is changed then
   */
  load(state: StateDict): void {
    this.#refuseInside('load');
    if (!(state instanceof Map))
      throw new CheckpointError(`AveragedWeights.load: expected what state() gives, got ${describe(state)}`);
    const rows = new Map(this.#follow().map((row) => [row.live, row]));
    const [faults, pairs]: [string[], [Tensor, Tensor][]] = [[], []];
    const updates = state.get('updates');
    if (updates?.size !== 1) faults.push('the number of updates is missing');
    for (const [name, t] of this.model.stateDict()) {
      const row = rows.get(t);
      const saved = state.get(prefix + name);
      if (!row) continue;
      if (!saved) faults.push(`${name} is missing`);
      else if (!sameShape(saved.shape, t.shape)) faults.push(`${name}: expected ${show(t.shape)}, got ${show(saved.shape)}`);
      else pairs.push([row.average, saved], [row.step, updates as Tensor]);
    }
    if (faults.length)
      throw new CheckpointError(`AveragedWeights.load: the averages do not fit. ${faults.join('. ')}. Is it the same model?`);
    persistent(() => {
      for (const [to, from] of pairs) assign(to, from);
    });
  }

  /** Frees the averages; the model stays as it is. */
  dispose(): void {
    this.#averages?.release();
    this.#weights?.release();
    for (const { average, step } of this.#rows ?? []) {
      average.shadow?.dispose();
      average.dispose();
      step.dispose();
    }
    this.#rows = undefined;
  }

  #refuseInside(what: string): void {
    if (this.#inside)
      throw new ConfigError(`AveragedWeights.${what}: not within(), where the model's weights are the averages. Call it after.`);
  }
}

/** Each tensor takes the other's memory; nothing is copied. */
function exchange(rows: readonly Row[]): void {
  for (const { live, average } of rows) {
    const { storage, offset } = live;
    live.storage = average.storage;
    live.offset = average.offset;
    average.storage = storage;
    average.offset = offset;
    if (!(live instanceof Parameter)) continue;
    const { shadow, shadowVersion } = live;
    live.shadow = average.shadow;
    live.shadowVersion = average.shadowVersion;
    average.shadow = shadow;
    average.shadowVersion = shadowVersion;
  }
}

function checkModel(where: string, model: unknown): void {
  if (!(model instanceof Module)) throw new ConfigError(`${where}: expected a Module, got ${describe(model)}.`);
}

/** Throws ConfigError unless the options of an exponential average make sense. */
export function emaRule(options: EMAOptions): Rule {
  checkOptions('ema', options, ['decay', 'warmup']);
  const { decay = 0.9999, warmup = true } = options;
  if (!(typeof decay === 'number' && decay >= 0 && decay < 1))
    throw new ConfigError(`ema: decay must be a number from 0 to below 1, got ${describe(decay)}`);
  if (typeof warmup !== 'boolean') throw new ConfigError(`ema: warmup must be true or false, got ${describe(warmup)}`);
  return { kind: 'ema', attrs: [decay, +warmup, 0, 0] };
}

/** Throws ConfigError unless the options of a plain mean make sense. */
export function swaRule(options: SWAOptions): Rule {
  checkOptions('swa', options, ['from', 'every']);
  const { from, every = 1 } = Object(options) as Partial<SWAOptions>;
  for (const [name, n] of Object.entries({ from, every }))
    if (!(Number.isSafeInteger(n) && (n as number) >= 1))
      throw new ConfigError(
        `swa: ${name} must be a whole number of updates >= 1, got ${describe(n)}. For example { from: 750, every: 50 }.`,
      );
  return { kind: 'swa', attrs: [from as number, every, 0, 1] };
}

/**
 * Exponential moving average of a model's weights (Polyak averaging): average = d average + (1 - d) weights, where d rises as 1 - t^(-2/3) to `decay`.
 * As PyTorch's AveragedModel with get_ema_multi_avg_fn, but for the warm-up (EMA Warmup, Crowson) and for buffers, which are averaged too.
 */
export function ema(model: Module, options: EMAOptions = {}): AveragedWeights {
  checkModel('ema', model);
  return new AveragedWeights(model, emaRule(options));
}

/**
 * Stochastic weight averaging (Izmailov et al. 2018): the plain mean of the weights after update `from` and every `every` updates after it. Batch norm's
 * statistics are averaged too; those of the averaged weights are had by `updateBatchNorm` afterwards.
 */
export function swa(model: Module, options: SWAOptions): AveragedWeights {
  checkModel('swa', model);
  return new AveragedWeights(model, swaRule(options));
}
