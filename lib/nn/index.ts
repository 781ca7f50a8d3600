export { Parameter } from '../tensor/tensor.ts';
export {
  CELU,
  ELU,
  GELU,
  Hardsigmoid,
  Hardswish,
  Hardtanh,
  LeakyReLU,
  LogSigmoid,
  Mish,
  ReLU,
  ReLU6,
  SELU,
  Sigmoid,
  SiLU,
  Softplus,
  Softsign,
  Tanh,
  Tanhshrink,
} from './activation.ts';
export { TransformerBlock } from './attention.ts';
export { AvgPool2d, Conv2d, MaxPool2d } from './conv.ts';
export { Conv1d, Conv3d, ConvTranspose1d, ConvTranspose2d } from './conv-nd.ts';
export { DropPath } from './drop-path.ts';
export { Dropout, Dropout2d } from './dropout.ts';
export { EmbeddingBag, type EmbeddingBagLayerOptions } from './embedding-bag.ts';
export { GLU, LogSoftmax, PReLU, Softmax, SwiGLU } from './gated.ts';
export type { BackwardHook, ForwardHook, ForwardPreHook } from './hooks.ts';
export * as init from './init.ts';
export { InstanceNorm1d, InstanceNorm2d } from './instance-norm.ts';
export { KVCache } from './kv-cache.ts';
export { Embedding, Flatten, Identity, Linear } from './linear.ts';
export { type ApplyLoRAOptions, applyLoRA, LoRALinear, type LoRAOptions } from './lora.ts';
export { assign, Buffer, Module, type StateDict } from './module.ts';
export { type AttendOptions, MultiheadAttention } from './multihead.ts';
export { BatchNorm1d, BatchNorm2d, BatchNorm3d, type BatchNormOptions, GroupNorm, LayerNorm, RMSNorm } from './norm.ts';
export { removeSpectralNorm, removeWeightNorm, type SpectralNormOptions, spectralNorm, weightNorm } from './parametrize.ts';
export {
  AdaptiveAvgPool1d,
  AdaptiveAvgPool2d,
  AdaptiveMaxPool1d,
  AdaptiveMaxPool2d,
  AvgPool1d,
  MaxPool1d,
  PixelShuffle,
  PixelUnshuffle,
  Upsample,
} from './pool.ts';
export { RotaryPositions, SinusoidalPositions } from './positions.ts';
export { GRU, LSTM, type RecurrentInputs, type RecurrentLayerOptions, RNN } from './recurrent.ts';
export { Lambda, type Layer, Sequential } from './sequential.ts';
