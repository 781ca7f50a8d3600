// The package's public names, and nothing else.
export { gradcheck } from './autograd/gradcheck.ts';
export * as augment from './data/augment/index.ts';
export * as data from './data/index.ts';
export * as monitor from './monitor/index.ts';
export {
  AnnealError,
  CheckpointError,
  CollectiveError,
  ConfigError,
  DataError,
  DeviceError,
  DTypeError,
  GraphError,
  NumericsError,
  OutOfMemoryError,
  ShapeError,
} from './native/errors.ts';
export * as nn from './nn/index.ts';
export { attention, packedAttention } from './ops/attention.ts';
export { add, div, eq, ge, gt, le, lt, maximum, minimum, mul, ne, pow, sub } from './ops/binary.ts';
export { conv2d } from './ops/conv.ts';
export { arange, full, ones, zeros, zerosLike } from './ops/create.ts';
export { cast, defineOp } from './ops/define.ts';
export { embedding } from './ops/embedding.ts';
export { broadcastTo, concat, flip, narrow, pad, permute, split, stack, transpose } from './ops/index.ts';
export { linear } from './ops/linear.ts';
export * as losses from './ops/loss.ts';
export { matmul } from './ops/matmul.ts';
export { batchNorm, groupNorm, layerNorm, rmsNorm } from './ops/norm.ts';
export { measurePeak } from './ops/peak.ts';
export { avgPool2d, maxPool2d } from './ops/pool.ts';
export * from './ops/random.ts';
export * from './ops/reduce.ts';
export { gather, topK, where } from './ops/select.ts';
export * from './ops/softmax.ts';
export * from './ops/unary.ts';
export { flatten, reshape, squeeze, unsqueeze } from './ops/view.ts';
export * as optim from './optim/index.ts';
export * as schedule from './schedule/index.ts';
export { enableGrad, isGradEnabled, manualSeed, noGrad } from './tensor/context.ts';
export { type TensorOptions, tensor } from './tensor/create.ts';
export { cpuInfo, type Device, type DeviceName, device, StreamEvent } from './tensor/device.ts';
export type { DType } from './tensor/dtype.ts';
export { PhiloxStream } from './tensor/philox.ts';
export { kept, scope } from './tensor/scope.ts';
export { Parameter, Tensor } from './tensor/tensor.ts';
export * from './train/index.ts';
