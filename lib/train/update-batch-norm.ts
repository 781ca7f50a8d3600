import { ConfigError, checkFunction, checkOptions, checkSignal, describe } from '../native/errors.ts';
import { BatchNorm1d, BatchNorm2d, BatchNorm3d, Module } from '../nn/index.ts';
import { assign } from '../nn/module.ts';
import { ones, zeros } from '../ops/create.ts';
import type { AveragedWeights } from '../optim/index.ts';
import { bind, checkPrecision, type Precision } from '../tensor/context.ts';
import { defaultDevice } from '../tensor/device.ts';
import { scope } from '../tensor/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type BatchSource, type TensorBatch, toTensors } from './batch.ts';
import { rememberModes } from './modes.ts';

export interface UpdateBatchNormOptions {
  /** How a batch goes through the model. Default: `model.forward(batch.x)`. */
  forward?: (batch: TensorBatch) => unknown;
  /** Dtype of matrix products. Default 'f32'. */
  precision?: Precision;
  /** See the model with these averages as its weights; the statistics are the averages' then. */
  average?: AveragedWeights;
  /** Ends the pass by throwing its reason; the statistics are then of the batches so far. */
  signal?: AbortSignal;
}

type Norm = BatchNorm1d | BatchNorm2d | BatchNorm3d;
const isNorm = (m: Module): m is Norm => m instanceof BatchNorm1d || m instanceof BatchNorm2d || m instanceof BatchNorm3d;

/**
 * Batch norm's running statistics anew, as the mean over the batches of one epoch: for weights that no step has trained, such as averages. Only batch
 * norm is in training mode meanwhile. Without batch norm in the model nothing is read. As PyTorch's torch.optim.swa_utils.update_bn.
 * @returns the number of batches
 */
export async function updateBatchNorm(
  model: Module,
  loader: Pick<BatchSource, 'epoch'>,
  options: UpdateBatchNormOptions = {},
): Promise<number> {
  const where = 'updateBatchNorm';
  if (!(model instanceof Module)) throw new ConfigError(`${where}: expected a Module, got ${describe(model)}.`);
  if (typeof (loader as Partial<BatchSource> | null | undefined)?.epoch !== 'function')
    throw new ConfigError(`${where}: expected a loader, for example data.loader(set, { batchSize: 512 })`);
  checkOptions(where, options, ['forward', 'precision', 'average', 'signal']);
  const { precision = 'f32', average, signal } = options;
  if (options.forward !== undefined) checkFunction(where, 'forward', options.forward, '({ x }) => model.forward(x)');
  checkPrecision(where, precision);
  checkSignal(where, signal);
  const forward = options.forward ?? (({ x }: TensorBatch) => (model as Module & { forward(x: Tensor): unknown }).forward(x));
  const norms = model.modules().filter(isNorm);
  if (norms.length === 0) return 0;
  const on = model.parameters()[0]?.device ?? defaultDevice();
  const within = <T>(use: () => T): T => (average ? average.within(use) : use());
  const putBack = rememberModes(model);
  const momenta = norms.map((m) => m.momentum);
  const setMomentum = (m: Norm, momentum: number) => {
    (m as { momentum: number }).momentum = momentum;
  };
  model.eval();
  let batches = 0;
  try {
    within(() => {
      for (const { runningMean, runningVar } of norms)
        scope(() => {
          assign(runningMean, zeros(runningMean.shape));
          assign(runningVar, ones(runningVar.shape));
        });
    });
    for await (const batch of loader.epoch(0, signal ? { signal } : {})) {
      batches++;
      for (const m of norms) {
        m.training = true;
        setMomentum(m, 1 / batches); // a mean over all batches alike
      }
      within(() => bind({ grad: false, precision }, () => scope(() => void forward(toTensors(batch, on)))));
    }
  } finally {
    norms.forEach((m, i) => {
      setMomentum(m, momenta[i] as number);
    });
    putBack();
  }
  return batches;
}
