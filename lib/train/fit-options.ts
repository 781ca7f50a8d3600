import { checkInteger } from '../data/options.ts';
import { ConfigError, checkOptions, checkSignal, describe } from '../native/errors.ts';
import type { BatchSource } from './batch.ts';
import { FewBatches } from './few-batches.ts';
import type { FitOptions, TrainerOptions } from './trainer.ts';

const known = [
  'train',
  'validation',
  'epochs',
  'steps',
  'accumulate',
  'resume',
  'signal',
  'overfitOneBatch',
  'fastDevRun',
  'sanityValidation',
] as const satisfies readonly (keyof FitOptions)[];

/** Throws ConfigError unless the options of `fit` make sense for this trainer. */
export function checkFit(o: FitOptions, trainer: TrainerOptions): void {
  checkOptions('fit', o, known);
  const loader = 'a loader, for example data.loader(set, { batchSize: 64, shuffle: true })';
  if (!o?.train) throw new ConfigError(`fit: train is missing: ${loader}`);
  if (typeof o.train.windows !== 'function') throw new ConfigError(`fit: train must be ${loader}; this has no windows()`);
  if (o.validation !== undefined && typeof o.validation?.epoch !== 'function')
    throw new ConfigError(`fit: validation must be ${loader}; this has no epoch()`);
  checkTrials(o);
  if (!o.fastDevRun && (o.epochs === undefined) === (o.steps === undefined))
    throw new ConfigError('fit: give one of epochs and steps');
  for (const name of ['epochs', 'steps', 'accumulate'] as const)
    if (o[name] !== undefined && o[name] !== Infinity) checkInteger('fit', name, o[name], 1);
  if (o.resume !== undefined && o.resume !== false && o.resume !== 'auto')
    throw new ConfigError(`fit: resume must be 'auto' or false, got ${describe(o.resume)}`);
  if (o.resume === 'auto' && !trainer.dir)
    throw new ConfigError("fit: resume: 'auto' needs the Trainer's dir, where checkpoints are");
  for (const rule of ['earlyStopping', 'plateau'] as const)
    if (trainer[rule] && !o.validation)
      throw new ConfigError(
        `fit: ${rule} watches '${trainer[rule].metric ?? 'val/loss'}', but there is no validation. Give a loader: fit({ train, validation, ... }).`,
      );
  checkSignal('fit', o.signal);
}

function checkTrials({ overfitOneBatch, fastDevRun, sanityValidation, validation }: FitOptions): void {
  if (overfitOneBatch !== undefined && typeof overfitOneBatch !== 'boolean')
    throw new ConfigError(`fit: overfitOneBatch must be true or false, got ${describe(overfitOneBatch)}`);
  if (fastDevRun !== undefined && typeof fastDevRun !== 'boolean') checkInteger('fit', 'fastDevRun', fastDevRun, 1);
  if (overfitOneBatch && fastDevRun) throw new ConfigError('fit: give one of overfitOneBatch and fastDevRun');
  if (sanityValidation === undefined) return;
  if (sanityValidation !== Infinity) checkInteger('fit', 'sanityValidation', sanityValidation, 0);
  if (sanityValidation > 0 && !validation)
    throw new ConfigError(
      'fit: sanityValidation tries batches of validation, and there is none. Give a loader: fit({ train, validation, ... }).',
    );
}

/**
 * What a run goes by: `overfitOneBatch` and `fastDevRun` make the data few, and the latter writes nothing and watches nothing.
 * @param part of a source, what this process takes of it
 */
export function settleFit(
  given: FitOptions,
  trainer: TrainerOptions,
  part: (source: BatchSource) => BatchSource,
): { fit: FitOptions; trainer: TrainerOptions } {
  checkFit(given, trainer);
  const o = { ...given, train: part(given.train), ...(given.validation ? { validation: part(given.validation) } : {}) };
  const { fastDevRun, overfitOneBatch, train, validation } = o;
  if (!fastDevRun && !overfitOneBatch) return { fit: o, trainer };
  const count = typeof fastDevRun === 'number' ? fastDevRun : 1;
  const few = {
    ...o,
    train: new FewBatches(train, count, overfitOneBatch),
    ...(validation ? { validation: new FewBatches(validation, count) } : {}),
  };
  if (overfitOneBatch) return { fit: few, trainer };
  const { steps: _, ...fit } = { ...few, epochs: 1, resume: false as const, sanityValidation: 0 };
  const { dir: _dir, earlyStopping: _early, plateau: _plateau, sinks: _sinks, ...rest } = trainer;
  const { samples } = rest; // tried too, at the end
  return { fit, trainer: samples ? { ...rest, samples: { ...samples, every: 'epoch' } } : rest };
}

/** Steps of the whole run, where they can be known. */
export function totalStepsOf({ train, epochs, steps, accumulate = 1 }: FitOptions): number | undefined {
  if (steps !== undefined) return steps;
  return train.length === undefined ? undefined : Math.ceil(train.length / accumulate) * (epochs as number);
}
