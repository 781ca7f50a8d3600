// The package's public names, and nothing else.
export { checkpoint } from './autograd/checkpoint.ts';
export { type GradcheckOptions, gradcheck } from './autograd/gradcheck.ts';
export type { GradientHook, HookHandle } from './autograd/hooks.ts';
export * as augment from './data/augment/index.ts';
export * as data from './data/index.ts';
export * as dist from './distributed/index.ts';
export { type Anomaly, AnomalyError, detectAnomaly, type OperandRange } from './monitor/anomaly.ts';
export * as monitor from './monitor/index.ts';
export { type Profile, type ProfiledCall, type ProfileOptions, type ProfileRow, profile } from './monitor/profile.ts';
export { type Summary, type SummaryOptions, type SummaryRow, type SummaryTotals, summary } from './monitor/summary.ts';
export type { ChromeTrace, TraceEvent } from './monitor/trace.ts';
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
export type { MemoryStats, QueueStats, StreamName } from './native/run.ts';
export * as nn from './nn/index.ts';
export { oneHot, outer, repeat, repeatInterleave, roll, tile, tril, triu } from './ops/arrange.ts';
export { type AttentionOptions, attention, type PackedAttentionOptions, packedAttention } from './ops/attention.ts';
export { type BiasedAttentionOptions, biasedAttention } from './ops/attention-bias.ts';
export {
  add,
  atan2,
  bitwiseAnd,
  bitwiseNot,
  bitwiseOr,
  bitwiseXor,
  div,
  eq,
  floorDivide,
  fmod,
  ge,
  gt,
  le,
  lt,
  maximum,
  minimum,
  mul,
  ne,
  type Operand,
  pow,
  remainder,
  sub,
} from './ops/binary.ts';
export { type Conv2dOptions, conv2d } from './ops/conv.ts';
export { type Conv1dOptions, type Conv3dOptions, conv1d, conv3d } from './ops/conv-nd.ts';
export {
  type ConvTranspose1dOptions,
  type ConvTranspose2dOptions,
  convTranspose1d,
  convTranspose2d,
} from './ops/conv-transpose.ts';
export { arange, type CreateOptions, full, ones, zeros, zerosLike } from './ops/create.ts';
export { type CustomOp, cast, defineOp } from './ops/define.ts';
export { einsum } from './ops/einsum.ts';
export { type EmbeddingOptions, embedding } from './ops/embedding.ts';
export { type EmbeddingBagOptions, embeddingBag } from './ops/embedding-bag.ts';
export { type FeedForwardOptions, feedForward } from './ops/feedforward.ts';
export { broadcastTo, concat, flip, narrow, pad, permute, split, stack, transpose } from './ops/index.ts';
export { at, type Index, maskedSelect } from './ops/indexing.ts';
export { setAt, withAt } from './ops/indexing-write.ts';
export { type InterpolateOptions, interpolate } from './ops/interpolate.ts';
export { type LinearOptions, linear } from './ops/linear.ts';
export { all, any, countNonzero, isfinite, isinf, isnan, logicalAnd, logicalNot, logicalOr, logicalXor } from './ops/logic.ts';
export * as losses from './ops/losses/index.ts';
export { type NormOptions, norm } from './ops/magnitude.ts';
export { type MatmulOptions, matmul } from './ops/matmul.ts';
export { type MultinomialOptions, multinomial } from './ops/multinomial.ts';
export {
  type BatchNormOptions,
  batchNorm,
  type GroupNormOptions,
  groupNorm,
  type LayerNormOptions,
  layerNorm,
  rmsNorm,
} from './ops/norm.ts';
export { measurePeak } from './ops/peak.ts';
export { type AvgPool2dOptions, avgPool2d, type MaxPool2dOptions, maxPool2d } from './ops/pool.ts';
export {
  type AvgPool1dOptions,
  adaptiveAvgPool1d,
  adaptiveAvgPool2d,
  adaptiveMaxPool1d,
  adaptiveMaxPool2d,
  avgPool1d,
  maxPool1d,
  type OutputSize,
  type Pool1dOptions,
  pixelShuffle,
  pixelUnshuffle,
} from './ops/pool-nd.ts';
export {
  alibi,
  alibiSlopes,
  type PositionOptions,
  type RotaryOptions,
  rotary,
  rotaryTables,
  sinusoidalPositions,
} from './ops/positions.ts';
export {
  bernoulli,
  type DropoutOptions,
  dropout,
  dropout2d,
  type FusedBiasOptions,
  fusedBias,
  normal,
  permutation,
  rand,
  randint,
  randn,
  randomWords,
  stochasticRound,
  uniform,
} from './ops/random.ts';
export { eye, linspace } from './ops/ranges.ts';
export {
  type ArgOptions,
  argmax,
  argmin,
  logSumExp,
  max,
  mean,
  min,
  prod,
  type ReduceOptions,
  std,
  sum,
  type VarianceOptions,
  variance,
} from './ops/reduce.ts';
export { argsort, cumprod, cumsum, type SortOptions, sort, type UniqueOptions, unique } from './ops/scan.ts';
export { type AlongOptions, indexSelect, maskedFill, scatter, scatterAdd, takeAlongAxis } from './ops/scatter.ts';
export { gather, type TopKOptions, topK, where } from './ops/select.ts';
export { logSoftmax, type SoftmaxOptions, softmax } from './ops/softmax.ts';
export {
  abs,
  acos,
  asin,
  atan,
  ceil,
  clamp,
  cos,
  cosh,
  elu,
  erf,
  exp,
  exp2,
  expm1,
  floor,
  gelu,
  leakyRelu,
  log,
  log1p,
  log2,
  log10,
  neg,
  reciprocal,
  relu,
  round,
  rsqrt,
  sigmoid,
  sign,
  silu,
  sin,
  sinh,
  softplus,
  sqrt,
  square,
  tan,
  tanh,
} from './ops/unary.ts';
export { flatten, reshape, squeeze, unsqueeze } from './ops/view.ts';
export * as optim from './optim/index.ts';
export * as schedule from './schedule/index.ts';
export {
  enableGrad,
  isGradEnabled,
  manualSeed,
  noGrad,
  type Precision,
  rngState,
  setRngState,
} from './tensor/context.ts';
export { type Nested, type TensorOptions, tensor } from './tensor/create.ts';
export { cpuInfo, type Device, type DeviceName, defaultDevice, device, StreamEvent, setDefaultDevice } from './tensor/device.ts';
export type { DType, FloatDType } from './tensor/dtype.ts';
export { PhiloxStream } from './tensor/philox.ts';
export { kept, scope } from './tensor/scope.ts';
export type { Shape } from './tensor/shape.ts';
export { type Format, type HostArray, Parameter, Tensor } from './tensor/tensor.ts';
export * from './train/index.ts';
