import { ConfigError } from '../native/errors.ts';
import { type BatchScaling, scaleForBatch } from './batch-scaling.ts';
import type { Ranks } from './ranks.ts';
import { ratioEvery } from './recording.ts';
import { Stepper } from './stepper.ts';
import type { FitOptions, TrainerOptions } from './trainer.ts';

/** The stepper of a run, its schedule closed over `totalSteps`, and what the size of the batch made of the rate. */
export function stepperOf(
  settings: TrainerOptions,
  { train, accumulate = 1 }: FitOptions,
  totalSteps: number | undefined,
  ranks: Ranks,
): { stepper: Stepper; scaling: BatchScaling | undefined } {
  const { model, optimizer, precision, lossScaling, clipNorm, ema, swa, seed, schedule, detectAnomaly, layerStats } = settings;
  const recorded = (settings.diagnose ?? true) || settings.dir !== undefined || (settings.sinks ?? []).length > 0;
  let resolved = schedule;
  if (schedule && schedule.totalSteps === undefined) {
    if (totalSteps === undefined)
      throw new ConfigError('fit: the schedule needs the number of steps, which a stream does not tell. Give steps.');
    resolved = schedule.over(totalSteps);
  }
  let scaling: BatchScaling | undefined;
  if (settings.scaleLr) {
    const parts = { optimizer, schedule: resolved, train, accumulate, worldSize: ranks.size, totalSteps };
    scaling = scaleForBatch(settings.scaleLr, parts);
    resolved = scaling.schedule;
  }
  const stepper = new Stepper({
    model,
    optimizer,
    ...(resolved ? { schedule: resolved } : {}),
    ...(precision ? { precision } : {}),
    ...(lossScaling ? { lossScaling } : {}),
    ...(clipNorm === undefined ? {} : { clipNorm }),
    ...(ema ? { ema } : {}),
    ...(swa ? { swa } : {}),
    ...(seed === undefined ? {} : { seed }),
    ...(detectAnomaly === undefined ? {} : { detectAnomaly }),
    ...(layerStats === undefined ? {} : { layerStats }),
    ...(ranks.parallel ? { parallel: ranks.parallel } : {}),
    updateRatioEvery: recorded ? ratioEvery : 0,
  });
  return { stepper, scaling };
}
