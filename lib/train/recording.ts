import type { Anomaly } from '../monitor/anomaly.ts';
import type { HistoryRecord } from '../monitor/index.ts';
import type { BatchSource } from './batch.ts';
import type { ConfusionTable } from './eval-metrics.ts';
import type { EvalMetrics } from './events.ts';
import type { StepResult } from './stepper.ts';
import type { TrainerOptions } from './trainer.ts';

type Told = Omit<HistoryRecord, 'attempt'>;

/** Steps between two looks at how far updates move the weights. */
export const ratioEvery = 50;

/** Seconds of one turn of the training loop, and what of them went by waiting for the next window and for the device. */
export interface Turn {
  seconds: number;
  dataSeconds: number;
  deviceSeconds: number;
}

/** Where the loop's time goes. A device that is never waited for while data are is a device that starves. */
export class Pace {
  #began = performance.now();
  #data = 0;
  #device = 0;
  /** Of a turn that goes on after something that counts as none. */
  #carried = 0;

  /** The windows as they come; what they are waited for counts. */
  async *windows<W>(source: AsyncIterable<W>): AsyncGenerator<W, void, undefined> {
    let asked = performance.now();
    this.#began = asked;
    for await (const window of source) {
      this.#data = performance.now() - asked;
      yield window;
      asked = performance.now();
      this.#began = asked - this.#carried;
    }
  }
  /** What the device gives; what it is waited for counts. */
  async result<R>(arriving: Promise<R>): Promise<R> {
    const from = performance.now();
    const result = await arriving;
    this.#device += performance.now() - from;
    return result;
  }
  /** Waits for a step whose turn goes on later, before something that counts as none; tells whether it came. */
  async arrived(arriving: Promise<unknown>): Promise<boolean> {
    const came = await this.result(
      arriving.then(
        () => true,
        () => false,
      ),
    );
    this.#carried = performance.now() - this.#began;
    return came;
  }
  /** That is over. */
  goOn(): void {
    this.#began = performance.now() - this.#carried;
  }
  /** Ends a turn. */
  take(): Turn {
    const now = performance.now();
    const turn = {
      seconds: (now - this.#began) / 1000,
      dataSeconds: this.#data / 1000,
      deviceSeconds: this.#device / 1000,
    };
    [this.#began, this.#data, this.#device, this.#carried] = [now, 0, 0, 0];
    return turn;
  }
}

/**
 * A step as the history has it: figures the host knows anyway, so that nothing waits for the device. What a step skipped, or sent up like nothing before
 * it, is kept with its samples.
 */
export function stepRecord(
  result: StepResult,
  options: TrainerOptions,
  epoch: number,
  samplesPerSecond: number,
  turn: Turn,
): Told {
  const { step, loss, lr, plannedLr, gradNorm, clipFactor, applied, samples, lossScale, updateRatio, reason } = result;
  const memory = options.optimizer.parameters[0]?.device.memory();
  return {
    ...{ type: 'step', step, epoch, loss, lr, plannedLr, gradNorm, clippedGradNorm: gradNorm * clipFactor },
    ...{ applied, samples, samplesPerSecond, ...turn },
    ...(updateRatio === undefined ? {} : { updateRatio }),
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
    ...(options.earlyStopping ? { earlyStopping: true } : {}),
    ...(options.plateau ? { plateau: true } : {}),
  };
}

/** The first op that made NaN, as `detectAnomaly` found it. */
export function anomalyRecord(step: number, { op, module, backwardOf, at }: Anomaly): Told {
  return {
    type: 'anomaly',
    step,
    op,
    at,
    ...(module === undefined ? {} : { module }),
    ...(backwardOf === undefined ? {} : { backwardOf }),
  };
}

/** Figures of the layers, where the step has them. */
export function layersRecord({ step, layers }: StepResult): Told | undefined {
  return layers && { type: 'layers', step, layers: layers.map((l) => ({ ...l })) };
}

/** More classes than these are not written: a record is a line. */
const mostClasses = 200;

/** How an evaluation did class by class, where the metrics 'perClass' or 'confusion' were asked for. */
export function classesRecord(step: number, { perClass, confusion }: EvalMetrics): Told | undefined {
  const rows = perClass?.map(({ label, support, recall, precision }) => ({ label, support, recall, precision }));
  const classes = rows ?? (confusion && recalls(confusion));
  return classes && classes.length <= mostClasses ? { type: 'classes', step, classes } : undefined;
}
function recalls({ labels, counts }: ConfusionTable) {
  const sum = (v: readonly number[]) => v.reduce((a, b) => a + b, 0);
  return counts.map((row, i) => {
    const [support, right] = [sum(row), row[i] ?? 0];
    const predicted = sum(counts.map((r) => r[i] ?? 0));
    return { label: labels[i] ?? String(i), support, recall: right / (support || 1), precision: right / (predicted || 1) };
  });
}

/** The numbers of an evaluation under their names in the history: 'val/loss'. */
export function evalFigures(metrics: EvalMetrics): Record<string, number> {
  const numbers = Object.entries(metrics).filter((e): e is [string, number] => typeof e[1] === 'number');
  return Object.fromEntries(numbers.map(([name, value]) => [`val/${name}`, value]));
}
