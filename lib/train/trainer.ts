import { checkInteger } from '../data/options.ts';
import { ProgressBar, type ProgressStream, type Sink } from '../monitor/index.ts';
import { ConfigError, checkFunction, checkList, checkOptions, checkSignal, checkText, describe } from '../native/errors.ts';
import type { Module } from '../nn/module.ts';
import type { Loss } from '../ops/loss.ts';
import type { EMAOptions, Optimizer, SWAOptions } from '../optim/index.ts';
import type { LossScalerOptions } from '../precision/index.ts';
import type { PlateauOptions, Schedule } from '../schedule/index.ts';
import type { Precision } from '../tensor/context.ts';
import type { DeviceName } from '../tensor/device.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { BatchSource, TensorBatch } from './batch.ts';
import { checkScaleLr, type ScaleLr } from './batch-scaling.ts';
import { checkKeep, type Keep } from './checkpoint-files.ts';
import { EarlyStopping, type EarlyStoppingOptions } from './early-stopping.ts';
import type { ShowSample } from './eval-files.ts';
import { type MetricName, metricNames } from './eval-metrics.ts';
import { type Evaluation, evaluate } from './evaluate.ts';
import type { EvalMetrics } from './events.ts';
import { checkHooks, type Hook, plateauOf } from './hooks.ts';
import type { LearningRateCurve } from './lr-curve.ts';
import { type FindLearningRateOptions, findLearningRate } from './lr-finder.ts';
import { type Predictable, type Prediction, type PredictOptions, predict } from './predict.ts';
import { checkParallel, type ParallelOptions } from './ranks.ts';
import { Run } from './run.ts';
import { checkSamples, type SamplesOptions } from './sample-outputs.ts';
import { checkParts } from './stepper-options.ts';
import { checkLogger, type Logger } from './telling.ts';

/** From a model's output and the batch to the loss. */
export type TrainerLoss = (output: Tensor, batch: TensorBatch) => Loss;

export interface TrainerOptions {
  model: Module;
  loss: TrainerLoss;
  optimizer: Optimizer;
  /** How a batch goes through the model. Default: `model.forward(batch.x)`. */
  forward?: (batch: TensorBatch) => Tensor;
  /** Factors of the peak rate; a schedule of open length takes the run's. Default: constant. */
  schedule?: Schedule;
  /**
   * Scale all rates with the batch: 'linear', 'sqrt', or 'auto' (linear for SGD, sqrt else), counting accumulation. The optimizer's rates are then for one
   * batch of the loader; `{ rule, baseBatchSize }` says for which other. A schedule without a warm-up gets one, and a 'notice' event says so. Default: off.
   */
  scaleLr?: ScaleLr;
  /** Where to train: the model moves there. Default: where the model is. */
  device?: DeviceName;
  /** Dtype of matrix products. Default 'f32'. Under 'f16' the loss is scaled dynamically. */
  precision?: Precision;
  /** How the loss scale moves under 'f16'. */
  lossScaling?: LossScalerOptions;
  /** Limit of the global gradient norm. Default: none. */
  clipNorm?: number;
  /**
   * Processes that make this run together, within `dist.run`: each takes its part of every batch, and rank 0 writes. false: each process of a world
   * trains by itself. Default: alone, where there is one process; where there are several it must be said.
   */
  parallel?: ParallelOptions | false;
  /**
   * Keep an exponential moving average of the weights. Validation judges the average, and the model holds it (the best of it, under early stopping)
   * when the run is over; checkpoints keep both. One of `ema` and `swa`. Default: none.
   */
  ema?: EMAOptions;
  /** The same with a plain mean of the weights from an update on; at the end batch norm's statistics are made anew from `train`. */
  swa?: SWAOptions;
  /** Watches validation, keeps the best weights and puts them back at the end. Default: off. */
  earlyStopping?: EarlyStoppingOptions;
  /**
   * Watches validation and reduces all rates where it no longer improves; multiplies the schedule's factor. `minLr` and `eps` concern the first
   * group's peak. Default: off.
   */
  plateau?: PlateauOptions;
  /** Metrics of evaluations beside the loss. Default: none. */
  metrics?: readonly MetricName[];
  /** Names of the classes, in the tables of evaluations. Default: their indices. */
  classNames?: readonly string[];
  /**
   * What a report shows of an input that the model got confidently wrong (metrics 'mistakes'): text, or an image [channels, height, width]. Default:
   * an image where x is one, else its numbers.
   * @example ({ x }) => tokenizer.decode(x.data)
   */
  showSample?: ShowSample;
  /**
   * Outputs to look at while the model learns, generated text or predicted images: written to samples.jsonl in `dir`, told as events of type 'samples' and to
   * sinks, shown by `anneal report` and `anneal watch`. `make` is called at step boundaries, in evaluation mode, without gradients, under the run's
   * precision and with its averaged weights where there are some; training goes on to the bit as without. What it throws is told as a notice. Default: none.
   * @example { every: 500, make: async () => tokenizer.decode(await generate(model, prompt)) }
   */
  samples?: SamplesOptions;
  /** A column of whole numbers in the batches (a site, a language): evaluations tell accuracy and macro F1 for each of its values too. Default: none. */
  stratifyBy?: string;
  /** The run's folder: checkpoints/, metrics.jsonl, samples.jsonl, eval/, best.safetensors. Default: nothing is written. */
  dir?: string;
  /** Keys dropout masks. Default 0. */
  seed?: number;
  /** For debugging: a step that makes NaN or an infinity ends the run with AnomalyError (see `StepperOptions`). Default false. */
  detectAnomaly?: boolean;
  /**
   * Judge the run by its records while it goes on: findings are events of type 'finding', lines of the history and of the progress bar. Default true; costs
   * some milliseconds every 100 steps, less often as the run grows long.
   */
  diagnose?: boolean;
  /** Record figures of every layer at every so many steps (see `StepperOptions`); diagnosis then sees dead units and saturated softmax. Default: none. */
  layerStats?: { every: number };
  hooks?: readonly Hook[];
  sinks?: readonly Sink[];
  /** Hears of the run as pino would: steps at debug, evaluations, checkpoints and control at info, skipped steps and notices at warn. Default: silence. */
  logger?: Logger;
  /** A bar on this stream, process.stderr for example. Default: nothing is printed. */
  progress?: ProgressStream | ProgressBar;
  checkpoint?: {
    /** Steps between checkpoints; 0: at the ends of epochs only. Default 0. */
    everySteps?: number;
    /** Which stay. Default: the last 3 and the best. */
    keep?: Keep;
  };
}

const known = [
  'model',
  'loss',
  'optimizer',
  'forward',
  'schedule',
  'scaleLr',
  'device',
  'precision',
  'lossScaling',
  'clipNorm',
  'parallel',
  'ema',
  'swa',
  'earlyStopping',
  'plateau',
  'metrics',
  'stratifyBy',
  'classNames',
  'showSample',
  'samples',
  'dir',
  'seed',
  'detectAnomaly',
  'diagnose',
  'layerStats',
  'hooks',
  'sinks',
  'logger',
  'progress',
  'checkpoint',
] as const satisfies readonly (keyof TrainerOptions)[];

export interface FitOptions {
  train: BatchSource;
  /** Evaluated after every epoch. */
  validation?: BatchSource;
  /** Epochs in all, a resumed part included. One of `epochs` and `steps`. */
  epochs?: number;
  /** Optimizer steps in all. */
  steps?: number;
  /** Micro-batches per step. Default 1. */
  accumulate?: number;
  /** 'auto': go on from the newest valid checkpoint in the run's folder, if there is one. Default false. */
  resume?: 'auto' | false;
  /** Ends training at the next micro-batch boundary. */
  signal?: AbortSignal;
  /**
   * A first test of a model: every epoch is the first batch of `train`, made once, and validation is its own first batch; the loss must go to its
   * floor. Default false.
   */
  overfitOneBatch?: boolean;
  /**
   * A smoke test: one epoch of 1 (or so many) batches of each loader, where nothing is written to `dir` or sinks, nothing is resumed and early
   * stopping is off. The weights do move. Default false.
   */
  fastDevRun?: boolean | number;
  /** Batches of validation to try before the first step of a fresh run; their figures are dropped. Infinity: all. Default 0. */
  sanityValidation?: number;
}

/** How a run ended. */
export interface FitResult {
  /** 'finished', 'aborted', 'stopped', an early-stopping reason, or a hook's. */
  stopReason: string;
  /** Steps and epochs done in all. */
  steps: number;
  epochs: number;
  /** Seconds of training in this process, evaluations included. */
  seconds: number;
  /** Samples trained on per second of this process's training, evaluations excluded. */
  samplesPerSecond: number;
  /** The best evaluation: by early stopping's metric where it watches, else the last. */
  best: { step: number; metrics: Record<string, number> };
  last: EvalMetrics | undefined;
}

/** Trains a model: data, step, validation, early stopping, checkpoints, events. `fit(...)` is `start(...).result`. */
export class Trainer {
  readonly options: TrainerOptions;
  #run: Run | undefined;

  constructor(options: TrainerOptions) {
    checkOptions('Trainer', options, known);
    const { parallel, ...parts } = Object(options) as TrainerOptions;
    checkParts('Trainer', parts);
    checkParallel(parallel);
    if (typeof options.loss !== 'function')
      throw new ConfigError(
        'Trainer: loss must be a function (output, batch) => loss, for example (logits, { y }) => losses.crossEntropy(logits, y)',
      );
    if (options.forward !== undefined && typeof options.forward !== 'function')
      throw new ConfigError('Trainer: forward must be a function (batch) => output');
    for (const m of checkList('Trainer', 'metrics', options.metrics ?? []))
      if (!metricNames.includes(m))
        throw new ConfigError(`Trainer: unknown metric ${describe(m)}. Known: ${metricNames.join(', ')}.`);
    if (options.stratifyBy !== undefined) checkText('Trainer', 'stratifyBy', options.stratifyBy);
    for (const name of checkList('Trainer', 'classNames', options.classNames ?? [])) checkText('Trainer', 'a class name', name);
    if (options.showSample !== undefined) checkFunction('Trainer', 'showSample', options.showSample, '({ x }, id) => texts[id]');
    if (options.samples !== undefined) checkSamples('Trainer: samples', options.samples);
    checkOptions('Trainer: checkpoint', options.checkpoint, ['everySteps', 'keep']);
    checkInteger('Trainer: checkpoint', 'everySteps', options.checkpoint?.everySteps ?? 0, 0);
    if (options.checkpoint?.keep) checkKeep(options.checkpoint.keep);
    if (options.scaleLr !== undefined) checkScaleLr('Trainer', options.scaleLr);
    if (options.earlyStopping !== undefined) new EarlyStopping(options.earlyStopping);
    if (options.plateau !== undefined) plateauOf(options.plateau);
    const { progress } = options;
    if (
      progress !== undefined &&
      typeof (Object(progress) as Partial<ProgressStream>).write !== 'function' &&
      !(progress instanceof ProgressBar)
    )
      throw new ConfigError(
        `Trainer: progress must be a stream such as process.stderr, or a ProgressBar, got ${describe(progress)}`,
      );
    if (options.logger !== undefined) checkLogger('Trainer', options.logger);
    if (options.dir !== undefined) checkText('Trainer', 'dir', options.dir);
    checkList('Trainer', 'sinks', options.sinks ?? []);
    checkHooks(checkList('Trainer', 'hooks', options.hooks ?? []));
    if (!['undefined', 'boolean'].includes(typeof options.diagnose))
      throw new ConfigError(`Trainer: diagnose must be true or false, got ${describe(options.diagnose)}`);
    if (options.device !== undefined) options.model.to(options.device);
    this.options = options;
  }

  /** Starts training and returns at once: iterate over the run for its events, await `result` for the end. */
  start(options: FitOptions): Run {
    if (this.#run && !this.#run.done) throw new ConfigError('Trainer: a run is under way. Await its result first.');
    this.#run = new Run(this, options);
    return this.#run;
  }
  fit(options: FitOptions): Promise<FitResult> {
    return this.start(options).result;
  }
  /**
   * Ends the run under way at the next step boundary, with a checkpoint; its result then arrives with stopReason 'stopped'. An evaluation that is under way
   * is finished first, and the next batch waited for, but with `graceMs` no longer than so many milliseconds: a resume then begins with that evaluation.
   */
  stop(options: { graceMs?: number } = {}): void {
    checkOptions('trainer.stop', options, ['graceMs']);
    const { graceMs = Number.POSITIVE_INFINITY } = options;
    if (!(typeof graceMs === 'number' && graceMs >= 0))
      throw new ConfigError(`trainer.stop: graceMs must be a number >= 0, got ${describe(graceMs)}`);
    this.#run?.stop('stopped', graceMs);
  }

  /** The batch through the model. */
  forward(batch: TensorBatch): Tensor {
    const { forward, model } = this.options;
    return forward ? forward(batch) : (model as Module & { forward(x: Tensor): Tensor }).forward(batch.x);
  }
  /** What an evaluation needs to know. */
  evaluation(signal?: AbortSignal): Evaluation {
    const { model, loss, metrics = [], stratifyBy, classNames, precision = 'f32' } = this.options;
    return {
      model,
      loss,
      metrics,
      stratifyBy,
      classNames,
      precision,
      forward: (b) => this.forward(b),
      average: this.#run?.average,
      signal,
    };
  }
  /**
   * The learning-rate range test with this trainer's model, loss, optimizer and precision; everything is as before when it is over. Print the curve;
   * `curve.suggestion` is a rate for the first group.
   * @throws ConfigError while a run trains the model; NumericsError where the loss is not finite from the beginning
   */
  async findLearningRate(options: FindLearningRateOptions): Promise<LearningRateCurve> {
    this.#checkResting('findLearningRate');
    const { model, optimizer, precision, lossScaling, clipNorm, seed, loss } = this.options;
    const parts = {
      ...{ model, optimizer },
      ...(precision ? { precision } : {}),
      ...(lossScaling ? { lossScaling } : {}),
      ...(clipNorm === undefined ? {} : { clipNorm }),
      ...(seed === undefined ? {} : { seed }),
    };
    return findLearningRate(parts, (batch) => loss(this.forward(batch), batch), options);
  }
  /**
   * Loss and metrics over a loader, in evaluation mode.
   * @throws ConfigError while a run trains the model: hooks, which it waits for, may evaluate
   */
  async evaluate(loader: BatchSource, options: { signal?: AbortSignal } = {}): Promise<EvalMetrics> {
    checkOptions('evaluate', options, ['signal']);
    checkSignal('evaluate', options.signal);
    if (typeof loader?.epoch !== 'function')
      throw new ConfigError('evaluate: expected a loader, for example data.loader(set, { batchSize: 512 })');
    this.#checkResting('evaluate');
    return evaluate(this.evaluation(options.signal), loader);
  }
  /**
   * The model's outputs over a loader, or over the rows of a tensor, on the host, in their order: `predict` with the trainer's forward and precision.
   * @throws ConfigError while a run trains the model: hooks, which it waits for, may predict
   */
  async predict(input: Predictable, options: Pick<PredictOptions, 'batchSize' | 'signal'> = {}): Promise<Prediction> {
    checkOptions('predict', options, ['batchSize', 'signal']);
    this.#checkResting('predict');
    const { model, precision = 'f32' } = this.options;
    const average = this.#run?.average;
    const forward = (b: TensorBatch) => (average ? average.within(() => this.forward(b)) : this.forward(b));
    return predict(model, input, { ...options, precision, forward });
  }

  #checkResting(what: string): void {
    if (this.#run && !this.#run.resting)
      throw new ConfigError(
        `${what}: a run is under way, whose model this would put into evaluation mode. Await its result first, or ${what} in a hook or in samples.make.`,
      );
  }
}
