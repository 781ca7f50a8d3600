import { checkInteger } from '../data/options.ts';
import { ConfigError, checkFunction, checkOptions, checkSignal, DataError, describe } from '../native/errors.ts';
import { Module } from '../nn/module.ts';
import { checkTensor } from '../ops/define.ts';
import { narrow } from '../ops/index.ts';
import { to } from '../ops/unary.ts';
import { bind, checkPrecision, type Precision } from '../tensor/context.ts';
import { type Device, defaultDevice } from '../tensor/device.ts';
import type { DType } from '../tensor/dtype.ts';
import { scope } from '../tensor/scope.ts';
import { show } from '../tensor/shape.ts';
import { type HostArray, hostArray, Tensor } from '../tensor/tensor.ts';
import { type BatchSource, rowsIn, type TensorBatch, toTensors } from './batch.ts';
import { rememberModes } from './modes.ts';

/** A loader, or a tensor whose first dimension is the samples. */
export type Predictable = Pick<BatchSource, 'epoch'> | Tensor;

export interface PredictOptions {
  /** Rows of a tensor at once; a loader has its own. Default 64. */
  batchSize?: number;
  /** How a batch goes through the model. Default: `model.forward(batch.x)`. */
  forward?: (batch: TensorBatch) => Tensor;
  /** Dtype of matrix products. Default 'f32'. */
  precision?: Precision;
  /** Ends the prediction by throwing its reason. */
  signal?: AbortSignal;
}

/** Outputs on the host, one after another: f32 for 16-bit floats, else of the outputs' dtype. */
export interface Prediction {
  readonly data: HostArray;
  /** The outputs' shape, with all samples in the first dimension. */
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Which sample each row is, where the loader tells: it may shuffle. */
  readonly ids?: Int32Array;
}

interface Part {
  readonly values: Promise<HostArray>;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** Batches that are made in the scope of whoever uses them, and how many rows each has. */
type Make = { readonly rows: number; readonly ids: Int32Array | undefined; readonly make: () => TensorBatch };

async function* batchesOf(input: Predictable, on: Device, { batchSize = 64, signal }: PredictOptions): AsyncGenerator<Make> {
  if (!(input instanceof Tensor)) {
    for await (const batch of input.epoch(0, signal ? { signal } : {})) {
      const ids = batch.ids instanceof Int32Array ? batch.ids : undefined;
      yield { rows: rowsIn(batch), ids, make: () => toTensors(batch, on) };
    }
    return;
  }
  const n = input.shape[0] as number;
  // No rows are a batch too: the model says what its outputs are.
  for (let from = 0; from === 0 || from < n; from += batchSize) {
    signal?.throwIfAborted();
    const rows = Math.min(batchSize, n - from);
    const make = () => ({ x: to(narrow(input.detach(), 0, from, rows), on) }) as TensorBatch;
    yield { rows, ids: undefined, make };
  }
}

/** Queues one batch; its tensors are freed, its outputs are promised. */
function queue({ rows, make }: Make, forward: (batch: TensorBatch) => Tensor): Part {
  const output: unknown = forward(make());
  if (!(output instanceof Tensor))
    throw new DataError(
      `predict: forward must give one tensor, got ${describe(output)}. Pick it: predict(model, x, { forward: ({ x }) => model.forward(x).output })`,
    );
  const { shape, dtype } = output;
  if (shape[0] !== rows)
    throw new DataError(
      `predict: a batch of ${rows} samples gave an output of shape ${show(shape)}; its first dimension must be the samples.`,
    );
  const values = output.data();
  values.catch(() => {}); // awaited when its turn comes
  return { values, shape, dtype: dtype === 'bf16' || dtype === 'f16' ? 'f32' : dtype };
}

function joined(
  parts: readonly { values: HostArray; shape: readonly number[]; dtype: DType }[],
  ids: readonly Int32Array[],
): Prediction {
  const [first] = parts;
  if (!first) throw new DataError('predict: the loader gave no batch.');
  const rest = first.shape.slice(1);
  const data = hostArray(
    first.dtype,
    parts.reduce((n, p) => n + p.values.length, 0),
  );
  let at = 0;
  for (const { values, shape, dtype } of parts) {
    if (shape.slice(1).join() !== rest.join() || dtype !== first.dtype)
      throw new DataError(
        `predict: one batch gave ${first.dtype} ${show(first.shape)} and another ${dtype} ${show(shape)}. Pad to one length, or predict batch by batch.`,
      );
    data.set(values as never, at);
    at += values.length;
  }
  const rows = parts.reduce((n, p) => n + (p.shape[0] as number), 0);
  const result = { data, shape: [rows, ...rest], dtype: first.dtype };
  return ids.length < parts.length ? result : { ...result, ids: Int32Array.from(ids.flatMap((i) => [...i])) };
}

function check(model: Module, input: Predictable, o: PredictOptions): void {
  if (!(model instanceof Module)) throw new ConfigError(`predict: expected a Module, got ${describe(model)}.`);
  checkOptions('predict', o, ['batchSize', 'forward', 'precision', 'signal']);
  if (o.batchSize !== undefined) checkInteger('predict', 'batchSize', o.batchSize, 1);
  if (o.forward !== undefined) checkFunction('predict', 'forward', o.forward, '({ x }) => model.forward(x)');
  checkPrecision('predict', o.precision);
  checkSignal('predict', o.signal);
  if (input instanceof Tensor) {
    if (checkTensor('predict', input).ndim === 0)
      throw new DataError('predict: a tensor of no dimension has no samples. Give it one: x.reshape([1]).');
  } else if (typeof (input as Partial<BatchSource> | null | undefined)?.epoch !== 'function')
    throw new ConfigError(
      'predict: expected a tensor of samples, or a loader, for example data.loader(set, { batchSize: 512 }).',
    );
}

/**
 * The model's outputs over the rows of a tensor or the batches of a loader, in their order, in evaluation mode and without gradients. Two batches at a
 * time are on the device; the outputs are on the host. Every module's mode is put back.
 * @throws ConfigError for arguments that do not fit, DataError for outputs that are no tensor, or of a shape that differs between batches
 */
export async function predict(model: Module, input: Predictable, options: PredictOptions = {}): Promise<Prediction> {
  check(model, input, options);
  const { precision = 'f32', forward = ({ x }: TensorBatch) => (model as Module & { forward(x: Tensor): Tensor }).forward(x) } =
    options;
  const on = model.parameters()[0]?.device ?? (input instanceof Tensor ? input.device : defaultDevice());
  const putBack = rememberModes(model);
  model.eval();
  try {
    const parts: { values: HostArray; shape: readonly number[]; dtype: DType }[] = [];
    const ids: Int32Array[] = [];
    let before: Part | undefined;
    const arrive = async () => {
      if (before) parts.push({ ...before, values: await before.values });
    };
    for await (const batch of batchesOf(input, on, options)) {
      const queued = bind({ grad: false, precision }, () => scope(() => ({ part: queue(batch, forward) }))).part;
      if (batch.ids) ids.push(batch.ids);
      await arrive(); // the device has the next batch meanwhile
      before = queued;
    }
    await arrive();
    return joined(parts, ids);
  } finally {
    putBack();
  }
}
