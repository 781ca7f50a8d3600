import type { Module } from '../nn/module.ts';
import type { Loss } from '../ops/loss.ts';
import type { AveragedWeights } from '../optim/index.ts';
import { bind, type Precision, rngState, setRngState } from '../tensor/context.ts';
import { defaultDevice } from '../tensor/device.ts';
import { scope } from '../tensor/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type BatchSource, rowsIn, type TensorBatch, toTensors } from './batch.ts';
import type { Mistake } from './eval-files.ts';
import { EvalAccumulator, type MetricName } from './eval-metrics.ts';
import type { EvalMetrics } from './events.ts';
import { rememberModes } from './modes.ts';

export interface Evaluation {
  model: Module;
  forward: (batch: TensorBatch) => Tensor;
  loss: (output: Tensor, batch: TensorBatch) => Loss;
  metrics: readonly MetricName[];
  classNames?: readonly string[] | undefined;
  /** Column of whole numbers by whose values the classification is told too. */
  stratifyBy?: string | undefined;
  precision: Precision;
  /** Averages that stand in for the weights. */
  average?: AveragedWeights | undefined;
  signal?: AbortSignal | undefined;
  /** Gets the most confidently wrong, where 'mistakes' is among the metrics. */
  mistakes?: ((worst: readonly Mistake[]) => void) | undefined;
}

interface Readings {
  terms: Promise<{ sum: number; count: number; weight: number }[]>;
  outputs: ReturnType<EvalAccumulator['read']> | undefined;
}

/** Queues one batch; its tensors are freed, its figures are promises. */
function evaluateBatch(e: Evaluation, batch: TensorBatch, metrics: EvalAccumulator): Readings {
  const output = e.forward(batch);
  const { terms } = e.loss(output, batch);
  const numbers = terms.map(async ({ sum, count, weight }) => {
    const [s, c] = await Promise.all([sum.item(), typeof count === 'number' ? count : count.item()]);
    return { sum: s, count: c, weight };
  });
  const outputs = metrics.idle ? undefined : metrics.read(output, batch);
  return { terms: Promise.all(numbers), outputs };
}

/**
 * The loss (sums over counts of the whole set) and the metrics of a model over a loader, in evaluation mode, without gradients. Each sample
 * counts once; a term that counts nothing is 0. Every module's mode is put back.
 */
export async function evaluate(e: Evaluation, loader: BatchSource): Promise<EvalMetrics> {
  const on = e.model.parameters()[0]?.device ?? defaultDevice();
  const putBack = rememberModes(e.model);
  e.model.eval();
  try {
    const totals: { sum: number; count: number; weight: number }[] = [];
    const filled = new EvalAccumulator(e);
    let samples = 0;
    for await (const batch of loader.epoch(0, e.signal ? { signal: e.signal } : {})) {
      const read = () =>
        bind(
          { grad: false, precision: e.precision },
          () => scope(() => ({ r: evaluateBatch(e, toTensors(batch, on), filled) })).r,
        );
      const readings = e.average ? e.average.within(read) : read();
      samples += rowsIn(batch);
      for (const [k, term] of (await readings.terms).entries()) {
        totals[k] ??= { sum: 0, count: 0, weight: term.weight };
        const total = totals[k];
        total.sum += term.sum;
        total.count += term.count;
      }
      if (readings.outputs) await filled.add(readings.outputs, batch);
    }
    const loss = totals.reduce((total, t) => total + (t.count > 0 ? (t.weight * t.sum) / t.count : 0), 0);
    const metrics: EvalMetrics = { loss: samples ? loss : Number.NaN, samples };
    filled.finish(metrics, totals[0]);
    e.mistakes?.(filled.mistakes);
    return metrics;
  } finally {
    putBack();
  }
}

/** Does something that leaves the default random numbers where they were, so that whoever only looks changes nothing. */
export async function undrawn<T>(look: () => Promise<T>): Promise<T> {
  const rng = rngState();
  try {
    return await look();
  } finally {
    setRngState(rng);
  }
}
