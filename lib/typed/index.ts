// The names of 'anneal/typed': anneal's own objects under types that know the sizes of shapes. Nothing that is not here is needed by it at run time.
export { arange, full, normal, ones, rand, randint, randn, tensor, uniform, zeros, zerosLike } from './create.ts';
export * as losses from './losses.ts';
export * as nn from './nn.ts';
export {
  add,
  argmax,
  argmin,
  attention,
  concat,
  div,
  embedding,
  exp,
  gelu,
  linear,
  log,
  logSoftmax,
  logSumExp,
  matmul,
  max,
  maximum,
  mean,
  min,
  minimum,
  mul,
  relu,
  sigmoid,
  silu,
  softmax,
  sqrt,
  square,
  stack,
  sub,
  sum,
  tanh,
  where,
} from './ops.ts';
export type { DimensionMismatch } from './shape.ts';
export { assertShape, Parameter, type ParameterOf, type Pattern, type Shaped, type TensorOf, typed } from './tensor.ts';
