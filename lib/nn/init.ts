import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import { constant as filled } from '../ops/create.ts';
import { checkNumber } from '../ops/define.ts';
import { normalAs, uniformAs } from '../ops/random.ts';
import { checkShape, type Shape, show, sizeOf } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** Inputs and outputs that a weight connects: [out, in, ...kernel] as in PyTorch. */
export const fans = (shape: Shape): { fanIn: number; fanOut: number } => fansOf('init.fans', shape);

function fansOf(where: string, shape: Shape): { fanIn: number; fanOut: number } {
  if (checkShape(where, shape).length < 2)
    throw new ShapeError(`${where}: fan-in and fan-out need a weight of at least 2 dimensions, got ${show(shape)}`);
  const [out, inputs, ...kernel] = shape as [number, number, ...number[]];
  const field = sizeOf(kernel);
  return { fanIn: inputs * field, fanOut: out * field };
}

export type Nonlinearity = 'linear' | 'sigmoid' | 'tanh' | 'relu' | 'leakyRelu' | 'selu';

/** The recommended factor on the standard deviation (PyTorch's calculate_gain). */
export const gain = (nonlinearity: Nonlinearity, slope = 0.01): number => gainOf('init.gain', nonlinearity, slope);

function gainOf(where: string, nonlinearity: Nonlinearity, slope: number): number {
  checkNumber(where, slope, 'slope');
  const gains: Record<Nonlinearity, number> = {
    linear: 1,
    sigmoid: 1,
    tanh: 5 / 3,
    relu: Math.SQRT2,
    leakyRelu: Math.sqrt(2 / (1 + slope * slope)),
    selu: 3 / 4,
  };
  if (typeof nonlinearity !== 'string' || !Object.hasOwn(gains, nonlinearity))
    throw new ConfigError(`${where}: unknown nonlinearity ${describe(nonlinearity)}. Known: ${Object.keys(gains).join(', ')}.`);
  return gains[nonlinearity];
}

export interface KaimingOptions {
  /** Default 'fanIn': keeps the scale of activations; 'fanOut' keeps that of gradients. */
  mode?: 'fanIn' | 'fanOut';
  nonlinearity?: Nonlinearity;
  /** Negative slope for 'leakyRelu'. */
  slope?: number;
}

function kaimingStd(where: string, shape: Shape, options: KaimingOptions): number {
  checkOptions(where, options, ['mode', 'nonlinearity', 'slope']);
  const { mode = 'fanIn', nonlinearity = 'leakyRelu', slope = 0 } = options;
  if (mode !== 'fanIn' && mode !== 'fanOut')
    throw new ConfigError(`${where}: mode must be 'fanIn' or 'fanOut', got ${describe(mode)}`);
  return gainOf(where, nonlinearity, slope) / Math.sqrt(Math.max(1, fansOf(where, shape)[mode]));
}

/** U(-bound, bound) for the function that errors are to name. */
function between(where: string, shape: Shape, bound: number): Tensor {
  checkNumber(where, bound, 'bound', 0, Number.MAX_VALUE);
  return uniformAs(where, shape, { low: -bound, high: bound });
}

export const zeros = (shape: Shape): Tensor => filled('init.zeros', shape, 0);
export const ones = (shape: Shape): Tensor => filled('init.ones', shape, 1);
export const constant = (shape: Shape, value: number): Tensor => filled('init.constant', shape, value);
/** U(-bound, bound). */
export const uniform = (shape: Shape, bound: number): Tensor => between('init.uniform', shape, bound);
/** N(0, std^2). */
export const normal = (shape: Shape, std = 1): Tensor => normalAs('init.normal', shape, { std });
/** He et al. 2015, uniform. */
export const kaimingUniform = (shape: Shape, options: KaimingOptions = {}): Tensor =>
  between('init.kaimingUniform', shape, Math.sqrt(3) * kaimingStd('init.kaimingUniform', shape, options));
/** He et al. 2015, normal. */
export const kaimingNormal = (shape: Shape, options: KaimingOptions = {}): Tensor =>
  normalAs('init.kaimingNormal', shape, { std: kaimingStd('init.kaimingNormal', shape, options) });
/** Glorot and Bengio 2010, uniform. */
export function xavierUniform(shape: Shape, factor = 1): Tensor {
  const where = 'init.xavierUniform';
  const { fanIn, fanOut } = fansOf(where, shape);
  return between(where, shape, checkNumber(where, factor, 'factor', 0) * Math.sqrt(6 / (fanIn + fanOut)));
}
/** Glorot and Bengio 2010, normal. */
export function xavierNormal(shape: Shape, factor = 1): Tensor {
  const where = 'init.xavierNormal';
  const { fanIn, fanOut } = fansOf(where, shape);
  return normalAs(where, shape, { std: checkNumber(where, factor, 'factor', 0) * Math.sqrt(2 / (fanIn + fanOut)) });
}
