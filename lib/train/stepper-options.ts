import type { Parallel } from '../distributed/parallel.ts';
import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { Module } from '../nn/module.ts';
import { type EMAOptions, emaRule, type SWAOptions, swaRule } from '../optim/averaged-weights.ts';
import { Optimizer } from '../optim/index.ts';
import type { LossScalerOptions } from '../precision/index.ts';
import { Schedule } from '../schedule/index.ts';
import { checkPrecision, type Precision } from '../tensor/context.ts';

export interface StepperOptions {
  model: Module;
  optimizer: Optimizer;
  /** Factors of each group's learning rate by applied step. Its length must be known: close it with `.over(steps)`. Default: constant. */
  schedule?: Schedule;
  /** Dtype of matrix products. Default 'f32'. Under 'f16' the loss is scaled dynamically. */
  precision?: Precision;
  /** How the loss scale moves under 'f16'. */
  lossScaling?: LossScalerOptions;
  /** Limit of the global gradient norm. Default: none. */
  clipNorm?: number;
  /** Keep an exponential moving average of the weights, `stepper.average`. One of `ema` and `swa`. Default: none. */
  ema?: EMAOptions;
  /** Keep a plain mean of the weights from an update on (stochastic weight averaging), `stepper.average`. */
  swa?: SWAOptions;
  /** Keys dropout masks. Default 0. */
  seed?: number;
  /**
   * Measure how far updates move the weights at every so many steps, and at steps 1, 2, 4, 8, ... before: `updateRatio` of the result. Costs a copy of the
   * weights (of 2^24 of them at most) at those steps and no waiting. Default 0: never; a Trainer does so at every 50th.
   */
  updateRatioEvery?: number;
  /**
   * Figures of every layer at step 1 and at every so many steps, `layers` of the result: norms of weights and gradients, mean, deviation and zeros of what it gives,
   * dead units, saturated softmax. Computed on the device, a few small passes a layer, and read without waiting. What is watched runs
   * layer by layer, so that the last bits of such a step may differ where layers are fused otherwise. Default: none.
   */
  layerStats?: { every: number };
  /** Other processes that make the same step with other samples, of `dist.dataParallel`. Default: none. */
  parallel?: Parallel;
  /**
   * For debugging, see `detectAnomaly`: a step in which an op makes NaN or an infinity rejects with AnomalyError, which names op, line and module. Each
   * step then waits for the device and takes several times as long. Default false.
   */
  detectAnomaly?: boolean;
}

export const stepperOptions = [
  'model',
  'optimizer',
  'schedule',
  'precision',
  'lossScaling',
  'clipNorm',
  'ema',
  'swa',
  'seed',
  'updateRatioEvery',
  'layerStats',
  'parallel',
  'detectAnomaly',
] as const satisfies readonly (keyof StepperOptions)[];

/** Throws ConfigError unless what Stepper and Trainer have in common makes sense. */
export function checkParts<O extends StepperOptions>(where: string, options: O): O {
  const { model, optimizer, schedule, precision = 'f32', clipNorm, seed = 0 } = options ?? ({} as O);
  const what = (v: unknown) => (v === undefined ? 'is missing' : `must be one, got ${describe(v)}`);
  if (!(model instanceof Module))
    throw new ConfigError(`${where}: model ${what(model)}: an nn.Module, for example new nn.Sequential(...)`);
  if (!(optimizer instanceof Optimizer))
    throw new ConfigError(`${where}: optimizer ${what(optimizer)}: for example new optim.AdamW(model.parameters())`);
  if (schedule !== undefined && !(schedule instanceof Schedule))
    throw new ConfigError(`${where}: schedule ${what(schedule)}: for example schedule.cosine({ to: 0 })`);
  checkPrecision(where, precision);
  if (options.lossScaling !== undefined && precision !== 'f16')
    throw new ConfigError(
      `${where}: lossScaling is for precision 'f16'; under '${precision}' nothing needs scaling. Leave it out.`,
    );
  if (clipNorm !== undefined && !(typeof clipNorm === 'number' && clipNorm > 0))
    throw new ConfigError(
      `${where}: clipNorm must be a number above 0, got ${describe(clipNorm)}. Leave it out for no clipping.`,
    );
  if (options.parallel !== undefined && typeof options.parallel?.finish !== 'function')
    throw new ConfigError(
      `${where}: parallel must come from dist.dataParallel(group, model, optimizer), got ${describe(options.parallel)}`,
    );
  if (options.ema !== undefined && options.swa !== undefined) throw new ConfigError(`${where}: give one of ema and swa`);
  if (options.ema !== undefined) emaRule(options.ema);
  if (options.swa !== undefined) swaRule(options.swa);
  if (!['undefined', 'boolean'].includes(typeof options.detectAnomaly))
    throw new ConfigError(`${where}: detectAnomaly must be true or false, got ${describe(options.detectAnomaly)}`);
  const { updateRatioEvery = 0 } = options;
  if (!(Number.isSafeInteger(updateRatioEvery) && updateRatioEvery >= 0))
    throw new ConfigError(`${where}: updateRatioEvery must be a whole number >= 0, got ${describe(updateRatioEvery)}`);
  if (options.layerStats !== undefined) {
    checkOptions(`${where}: layerStats`, options.layerStats, ['every']);
    const every = options.layerStats?.every;
    if (!(Number.isSafeInteger(every) && every >= 1))
      throw new ConfigError(`${where}: layerStats.every must be a whole number of steps >= 1, got ${describe(every)}`);
  }
  if (!Number.isSafeInteger(seed)) throw new ConfigError(`${where}: seed must be a whole number, got ${describe(seed)}`);
  return options;
}

/** Is the update of this step measured? Early steps are, at growing distances, for runs that end, or go wrong, soon. */
export const isSampled = (step: number, every: number): boolean =>
  every > 0 && (step % every === 0 || (step < every && (step & (step - 1)) === 0));
