import { checkInteger } from '../data/options.ts';
import { ConfigError, checkOptions, checkSignal, describe, NumericsError } from '../native/errors.ts';
import { assign, type Module } from '../nn/module.ts';
import type { Optimizer } from '../optim/index.ts';
import * as schedule from '../schedule/index.ts';
import type { BatchSource } from './batch.ts';
import { LearningRateCurve } from './lr-curve.ts';
import { rememberModes } from './modes.ts';
import { snapshot } from './state.ts';
import { type LossFunction, Stepper, type StepperOptions } from './stepper.ts';

export interface FindLearningRateOptions {
  train: BatchSource;
  /** The first rate. Default 1e-7. */
  from?: number;
  /** The last rate, if the loss lets it come to that. Default 10. */
  to?: number;
  /** Optimizer steps, each with a higher rate. Default 100. */
  iterations?: number;
  /** Micro-batches per step. Default 1. */
  accumulate?: number;
  /** Ends the search once the smoothed loss is so many times the best. Default 4. */
  stopAt?: number;
  /** Ends it by throwing its reason. */
  signal?: AbortSignal;
}

const known = ['train', 'from', 'to', 'iterations', 'accumulate', 'stopAt', 'signal'];

function check(o: FindLearningRateOptions): Required<Omit<FindLearningRateOptions, 'signal'>> {
  const where = 'findLearningRate';
  checkOptions(where, o, known);
  const { train, from = 1e-7, to = 10, iterations = 100, accumulate = 1, stopAt = 4 } = Object(o) as FindLearningRateOptions;
  if (typeof train?.windows !== 'function')
    throw new ConfigError(`${where}: train must be a loader, for example data.loader(set, { batchSize: 64, shuffle: true })`);
  for (const [name, v] of Object.entries({ from, to }))
    if (!(typeof v === 'number' && v > 0 && v < Number.POSITIVE_INFINITY))
      throw new ConfigError(`${where}: ${name} must be a rate above 0, got ${describe(v)}`);
  if (from >= to) throw new ConfigError(`${where}: from (${from}) must be below to (${to})`);
  checkInteger(where, 'iterations', iterations, 20);
  checkInteger(where, 'accumulate', accumulate, 1);
  if (!(typeof stopAt === 'number' && stopAt > 1))
    throw new ConfigError(`${where}: stopAt must be a number above 1, got ${describe(stopAt)}`);
  checkSignal(where, o.signal);
  return { train, from, to, iterations, accumulate, stopAt };
}

/** Another of the same kind over the same parameters and options, whose state begins anew. */
const fresh = (o: Optimizer): Optimizer =>
  new (o.constructor as new (groups: unknown) => Optimizer)(o.groups.map((group) => ({ ...group })));

/** Weights, buffers and modes; put back by the function that it returns. A step draws from a sequence of its own: the global one stays where it is. */
function remember(model: Module): () => void {
  const weights = snapshot(model);
  const putBack = rememberModes(model);
  return () => {
    const own = model.stateDict();
    for (const [name, t] of weights) {
      assign(own.get(name) as never, t);
      t.dispose();
    }
    putBack();
  };
}

/**
 * The learning-rate range test (Smith 2017): steps of exponentially rising rate until the loss goes up, then everything as it was before: weights,
 * buffers, the sequence of draws; the optimizer is not touched, for another of its kind makes the steps. The rate is the first group's; the others'
 * keep their proportion to it.
 * @throws NumericsError where the loss is not finite from the beginning
 */
export async function findLearningRate(
  parts: Omit<StepperOptions, 'schedule'>,
  loss: LossFunction,
  options: FindLearningRateOptions,
): Promise<LearningRateCurve> {
  const { train, from, to, iterations, accumulate, stopAt } = check(options);
  const { signal } = options;
  const rateAt = (t: number) => from * (to / from) ** (t / (iterations - 1));
  const optimizer = fresh(parts.optimizer);
  const peak = optimizer.groups[0]?.lr as number;
  if (!(peak > 0)) throw new ConfigError("findLearningRate: the first group's lr is 0, to which the others' have no proportion");
  const restore = remember(parts.model);
  const [rates, losses]: [number[], number[]] = [[], []];
  try {
    parts.model.train();
    const rising = schedule.custom((t) => rateAt(t) / peak, { steps: iterations, name: 'rising' }).over(iterations);
    const stepper = new Stepper({ ...parts, optimizer, schedule: rising });
    let [average, best] = [0, Number.POSITIVE_INFINITY];
    for await (const window of train.windows({ accumulate, steps: iterations, ...(signal ? { signal } : {}) })) {
      const r = await stepper.step(window, loss);
      if (!r.applied && Number.isFinite(r.loss)) continue; // a loss scale too large says nothing of the rate
      if (!Number.isFinite(r.loss)) break;
      rates.push(r.lr);
      losses.push(r.loss);
      average = 0.9 * average + 0.1 * r.loss;
      const smoothed = average / (1 - 0.9 ** losses.length);
      best = Math.min(best, smoothed);
      if (losses.length > 10 && smoothed - stopAt * best > 0) break;
    }
  } finally {
    optimizer.zeroGrad();
    optimizer.dispose();
    restore();
  }
  if (losses.length < 20)
    throw new NumericsError(
      `findLearningRate: after ${losses.length} steps the loss was not finite or ${stopAt} times its best, at a rate of ${(rates.at(-1) ?? from).toExponential(1)}. Begin lower (from), or look at the data and the model first.`,
    );
  return new LearningRateCurve(rates, losses);
}
