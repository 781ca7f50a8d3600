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
  /** Of several processes, each with its part of the samples: gives every rank's value on every rank. */
  exchange?: (<T>(own: T) => Promise<T[]>) | undefined;
}

/** Sums of one term of the loss. */
interface Total {
  sum: number;
  count: number;
  weight: number;
}
interface Readings {
  terms: Promise<Total[]>;
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

function addUp(totals: Total[], terms: readonly Total[]): void {
  for (const [k, { sum, count, weight }] of terms.entries()) {
    totals[k] ??= { sum: 0, count: 0, weight };
    totals[k].sum += sum;
    totals[k].count += count;
  }
}

interface Seen {
  samples: number;
  totals: Total[];
  filled: EvalAccumulator;
}

/** What all ranks saw, taken up in one order: every rank has the same. */
async function together(e: Evaluation, { samples, totals, filled }: Seen): Promise<Seen> {
  const parts = (await e.exchange?.({ samples, totals, state: filled.state() })) ?? [];
  const all: Seen = { samples: 0, totals: [], filled: new EvalAccumulator(e) };
  for (const part of parts) {
    all.samples += part.samples;
    addUp(all.totals, part.totals);
    all.filled.merge(part.state);
  }
  return all;
}

async function concluded(e: Evaluation, own: Seen): Promise<EvalMetrics> {
  const { samples, totals, filled } = e.exchange ? await together(e, own) : own;
  const loss = totals.reduce((total, t) => total + (t.count > 0 ? (t.weight * t.sum) / t.count : 0), 0);
  const metrics: EvalMetrics = { loss: samples ? loss : Number.NaN, samples };
  filled.finish(metrics, totals[0]);
  e.mistakes?.(filled.mistakes);
  return metrics;
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
    const totals: Total[] = [];
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
      addUp(totals, await readings.terms);
      if (readings.outputs) await filled.add(readings.outputs, batch);
    }
    return await concluded(e, { samples, totals, filled });
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
