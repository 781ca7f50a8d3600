import { checkInteger } from '../data/options.ts';
import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import type { FitOptions, TrainerOptions } from './trainer.ts';

/** Throws ConfigError unless the options of `fit` make sense for this trainer. */
export function checkFit(o: FitOptions, trainer: TrainerOptions): void {
  checkOptions('fit', o, ['train', 'validation', 'epochs', 'steps', 'accumulate', 'resume', 'signal']);
  const loader = 'a loader, for example data.loader(set, { batchSize: 64, shuffle: true })';
  if (!o?.train) throw new ConfigError(`fit: train is missing: ${loader}`);
  if (typeof o.train.windows !== 'function') throw new ConfigError(`fit: train must be ${loader}; this has no windows()`);
  if (o.validation !== undefined && typeof o.validation?.epoch !== 'function')
    throw new ConfigError(`fit: validation must be ${loader}; this has no epoch()`);
  if ((o.epochs === undefined) === (o.steps === undefined)) throw new ConfigError('fit: give one of epochs and steps');
  for (const name of ['epochs', 'steps', 'accumulate'] as const)
    if (o[name] !== undefined && o[name] !== Infinity) checkInteger('fit', name, o[name], 1);
  if (o.resume !== undefined && o.resume !== false && o.resume !== 'auto')
    throw new ConfigError(`fit: resume must be 'auto' or false, got ${describe(o.resume)}`);
  if (o.resume === 'auto' && !trainer.dir)
    throw new ConfigError("fit: resume: 'auto' needs the Trainer's dir, where checkpoints are");
  if (trainer.earlyStopping && !o.validation)
    throw new ConfigError(
      `fit: earlyStopping watches '${trainer.earlyStopping.metric ?? 'val/loss'}', but there is no validation. Give a loader: fit({ train, validation, ... }).`,
    );
  if (o.signal !== undefined && !(o.signal instanceof AbortSignal))
    throw new ConfigError('fit: signal must be an AbortSignal, for example AbortSignal.timeout(60_000)');
}
