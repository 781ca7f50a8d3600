import { ConfigError, ShapeError } from '../native/errors.ts';
import { full } from '../ops/create.ts';
import { normal as normalOp, uniform as uniformOp } from '../ops/random.ts';
import { checkShape, type Shape, show, sizeOf } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** Inputs and outputs that a weight connects: [out, in, ...kernel] as in PyTorch. */
export function fans(shape: Shape): { fanIn: number; fanOut: number } {
  if (checkShape('init', shape).length < 2)
    throw new ShapeError(`init: fan-in and fan-out need a weight of at least 2 dimensions, got ${show(shape)}`);
  const [out, inputs, ...kernel] = shape as [number, number, ...number[]];
  const field = sizeOf(kernel);
  return { fanIn: inputs * field, fanOut: out * field };
}

export type Nonlinearity = 'linear' | 'sigmoid' | 'tanh' | 'relu' | 'leakyRelu' | 'selu';

/** The recommended factor on the standard deviation (PyTorch's calculate_gain). */
export function gain(nonlinearity: Nonlinearity, slope = 0.01): number {
  const gains: Record<Nonlinearity, number> = {
    linear: 1,
    sigmoid: 1,
    tanh: 5 / 3,
    relu: Math.SQRT2,
    leakyRelu: Math.sqrt(2 / (1 + slope * slope)),
    selu: 3 / 4,
  };
  if (!(nonlinearity in gains))
    throw new ConfigError(`init: unknown nonlinearity '${nonlinearity}'. Known: ${Object.keys(gains).join(', ')}.`);
  return gains[nonlinearity];
}

export interface KaimingOptions {
  /** Default 'fanIn': keeps the scale of activations; 'fanOut' keeps that of gradients. */
  mode?: 'fanIn' | 'fanOut';
  nonlinearity?: Nonlinearity;
  /** Negative slope for 'leakyRelu'. */
  slope?: number;
}

const kaimingStd = (shape: Shape, { mode = 'fanIn', nonlinearity = 'leakyRelu', slope = 0 }: KaimingOptions): number =>
  gain(nonlinearity, slope) / Math.sqrt(Math.max(1, fans(shape)[mode]));

export const zeros = (shape: Shape): Tensor => full(shape, 0);
export const ones = (shape: Shape): Tensor => full(shape, 1);
export const constant = (shape: Shape, value: number): Tensor => full(shape, value);
/** U(-bound, bound). */
export const uniform = (shape: Shape, bound: number): Tensor => uniformOp(shape, { low: -bound, high: bound });
/** N(0, std^2). */
export const normal = (shape: Shape, std = 1): Tensor => normalOp(shape, { mean: 0, std });
/** He et al. 2015, uniform. */
export const kaimingUniform = (shape: Shape, options: KaimingOptions = {}): Tensor =>
  uniform(shape, Math.sqrt(3) * kaimingStd(shape, options));
/** He et al. 2015, normal. */
export const kaimingNormal = (shape: Shape, options: KaimingOptions = {}): Tensor => normal(shape, kaimingStd(shape, options));
/** Glorot and Bengio 2010, uniform. */
export function xavierUniform(shape: Shape, factor = 1): Tensor {
  const { fanIn, fanOut } = fans(shape);
  return uniform(shape, factor * Math.sqrt(6 / (fanIn + fanOut)));
}
/** Glorot and Bengio 2010, normal. */
export function xavierNormal(shape: Shape, factor = 1): Tensor {
  const { fanIn, fanOut } = fans(shape);
  return normal(shape, factor * Math.sqrt(2 / (fanIn + fanOut)));
}
