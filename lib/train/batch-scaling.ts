import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import type { Optimizer } from '../optim/index.ts';
import { type ScalingRule, scaleLearningRate } from '../optim/scaling.ts';
import type { Schedule } from '../schedule/index.ts';
import * as schedules from '../schedule/index.ts';
import type { BatchSource } from './batch.ts';

/**
 * A rule of scaling, 'auto' being 'linear' for SGD and 'sqrt' for the others. Alone, the optimizer's rates are for one process's batch without accumulation;
 * with `baseBatchSize`, for a batch of so many samples.
 */
export type ScaleLr = ScalingRule | 'auto' | { rule: ScalingRule | 'auto'; baseBatchSize: number };

/** Throws ConfigError unless it is one. */
export function checkScaleLr(where: string, value: ScaleLr): { rule: ScalingRule | 'auto'; baseBatchSize?: number } {
  const given = typeof value === 'string' ? { rule: value } : value;
  checkOptions(`${where}: scaleLr`, given, ['rule', 'baseBatchSize']);
  if (given.rule !== 'linear' && given.rule !== 'sqrt' && given.rule !== 'auto')
    throw new ConfigError(
      `${where}: scaleLr must be 'linear', 'sqrt' or 'auto', or { rule, baseBatchSize }, got ${describe(value)}. Leave it out for the rates as they are.`,
    );
  const base = 'baseBatchSize' in given ? given.baseBatchSize : undefined;
  if ('baseBatchSize' in given && !(Number.isSafeInteger(base) && (base as number) >= 1))
    throw new ConfigError(`${where}: scaleLr: baseBatchSize must be a whole number >= 1, got ${describe(base)}`);
  return given;
}

/** What scaling does to a run. */
export interface BatchScaling {
  /** Multiplies every rate. */
  factor: number;
  schedule: Schedule | undefined;
  /** What was done, to be told. */
  notice?: string;
}

interface RunParts {
  optimizer: Optimizer;
  /** Its length known. */
  schedule: Schedule | undefined;
  train: BatchSource;
  accumulate: number;
  worldSize: number;
  totalSteps: number | undefined;
}

/** Steps of a warm-up that is added: five epochs (Goyal et al. 2017), a tenth of the run at most, a thousand where neither is known. */
function warmupSteps({ train, accumulate, totalSteps }: RunParts): number {
  const epochs = train.length === undefined ? 1000 : 5 * Math.ceil(train.length / accumulate);
  return Math.max(1, Math.min(epochs, totalSteps === undefined ? 1000 : Math.floor(totalSteps / 10)));
}

/** The factor for a run's batch; where the rate grows and its schedule does not begin lower than it goes on, a warm-up from the rate before. */
export function scaleForBatch(option: ScaleLr, parts: RunParts): BatchScaling {
  const { optimizer, schedule, train, accumulate, worldSize, totalSteps } = parts;
  const { rule: asked, baseBatchSize } = checkScaleLr('Trainer', option);
  const rule = asked === 'auto' ? (optimizer.kind === 'SGD' ? 'linear' : 'sqrt') : asked;
  const batchSize = baseBatchSize === undefined ? 1 : (train as { batchSize?: unknown }).batchSize;
  if (!Number.isSafeInteger(batchSize))
    throw new ConfigError(
      `fit: scaleLr has a baseBatchSize, but train does not tell its own (batchSize is ${describe(batchSize)}). Give a loader of data.loader, or scale the rate yourself: optim.scaleLearningRate.`,
    );
  const sizes = { batchSize: batchSize as number, accumulate, worldSize, baseBatchSize: baseBatchSize ?? 1 };
  const factor = scaleLearningRate(1, { rule, ...sizes });
  if (factor === 1) return { factor, schedule };
  const batches =
    baseBatchSize === undefined
      ? `${accumulate * worldSize} batches a step`
      : `a batch of ${(batchSize as number) * accumulate * worldSize} in place of ${baseBatchSize}`;
  const scaled = `scaleLr: every rate is multiplied by ${+factor.toPrecision(4)} (${rule}, ${batches})`;
  const steps = warmupSteps(parts);
  if (factor < 1 || (schedule && schedule.factor(0) < 0.9 * schedule.factor(steps)))
    return { factor, schedule, notice: `${scaled}.` };
  const warm = schedules.warmup({ steps, from: 1 / factor });
  const then = warm.followedBy(schedule ?? schedules.constant());
  const total = schedule?.totalSteps ?? totalSteps;
  return {
    factor,
    schedule: total === undefined ? then : then.over(total),
    notice: `${scaled}. The schedule had no warm-up: one of ${steps} steps stands before it. Choose another with schedule.warmup.`,
  };
}
