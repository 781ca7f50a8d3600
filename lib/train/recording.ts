import type { HistoryRecord } from '../monitor/index.ts';
import type { BatchSource } from './batch.ts';
import type { EvalMetrics } from './events.ts';
import type { StepResult } from './stepper.ts';
import type { TrainerOptions } from './trainer.ts';

type Told = Omit<HistoryRecord, 'attempt'>;

/** A step as the history has it: figures the host knows anyway, so that nothing waits for the device. What a step skipped is kept with its samples. */
export function stepRecord(result: StepResult, options: TrainerOptions, epoch: number, samplesPerSecond: number): Told {
  const { step, loss, lr, plannedLr, gradNorm, clipFactor, applied, samples, lossScale, reason } = result;
  const memory = options.optimizer.parameters[0]?.device.memory();
  return {
    ...{ type: 'step', step, epoch, loss, lr, plannedLr, gradNorm, clippedGradNorm: gradNorm * clipFactor },
    ...{ applied, samples, samplesPerSecond },
    ...(memory ? { memory: memory.live, peakMemory: memory.peak } : {}),
    ...(lossScale === undefined ? {} : { lossScale }),
    ...(reason === undefined ? {} : { reason, sampleIds: [...result.sampleIds] }),
  };
}

/** What a run is, told once at its beginning. */
export function runRecord(options: TrainerOptions, train: BatchSource, totalSteps: number | undefined): Told {
  const { model, optimizer, precision = 'f32' } = options;
  const parameters = optimizer.parameters.reduce((a, p) => a + p.size, 0);
  const { samples } = train;
  return {
    ...{ type: 'run', step: 0, model: model.constructor.name, optimizer: optimizer.constructor.name, precision, parameters },
    ...(samples === undefined ? {} : { trainSamples: samples, parametersPerSample: parameters / samples }),
    ...(totalSteps === undefined ? {} : { totalSteps }),
    ...(options.clipNorm === undefined ? {} : { clipNorm: options.clipNorm }),
  };
}

/** The numbers of an evaluation under their names in the history: 'val/loss'. */
export function evalFigures(metrics: EvalMetrics): Record<string, number> {
  const numbers = Object.entries(metrics).filter((e): e is [string, number] => typeof e[1] === 'number');
  return Object.fromEntries(numbers.map(([name, value]) => [`val/${name}`, value]));
}
