export { Parameter } from '../tensor/tensor.ts';
export { ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh } from './activation.ts';
export { MultiheadAttention, TransformerBlock } from './attention.ts';
export { AvgPool2d, Conv2d, MaxPool2d } from './conv.ts';
export { Dropout, Dropout2d } from './dropout.ts';
export * as init from './init.ts';
export { Embedding, Flatten, Identity, Linear } from './linear.ts';
export { assign, Buffer, Lambda, type Layer, Module, Sequential, type StateDict } from './module.ts';
export { BatchNorm2d, GroupNorm, LayerNorm, RMSNorm } from './norm.ts';
