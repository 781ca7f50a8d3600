import { ConfigError, checkOptions } from '../native/errors.ts';
import { conv2d, pair } from '../ops/conv.ts';
import { avgPool2d, maxPool2d } from '../ops/pool.ts';
import { Parameter, type Tensor } from '../tensor/tensor.ts';
import * as init from './init.ts';
import { checkActivation, checkCount } from './linear.ts';
import { Module } from './module.ts';

/** One number for both directions, or [height, width]. */
export type Pair = number | readonly [number, number];

export interface Conv2dOptions {
  kernelSize: Pair;
  stride?: Pair;
  padding?: Pair;
  dilation?: Pair;
  groups?: number;
  bias?: boolean;
  /** Applied to the result inside the convolution's own pass. Default 'none'. */
  activation?: 'none' | 'relu';
}

/** Convolution [N, C, H, W] to [N, O, H', W']. Weight [O, C / groups, KH, KW]; starts as PyTorch's: U(+-1/sqrt(fan in)). */
export class Conv2d extends Module {
  weight: Parameter;
  bias: Parameter | null;
  readonly options: { stride: Pair; padding: Pair; dilation: Pair; groups: number; activation: 'none' | 'relu' };
  constructor(inChannels: number, outChannels: number, options: Conv2dOptions) {
    super();
    checkOptions('Conv2d', options, ['kernelSize', 'stride', 'padding', 'dilation', 'groups', 'bias', 'activation']);
    if (options?.kernelSize === undefined)
      throw new ConfigError('Conv2d: kernelSize is missing, for example new Conv2d(1, 32, { kernelSize: 3 })');
    const { kernelSize, stride = 1, padding = 0, dilation = 1, groups = 1 } = options;
    checkCount('Conv2d', 'inChannels', inChannels);
    checkCount('Conv2d', 'outChannels', outChannels);
    checkCount('Conv2d', 'groups', groups);
    if (inChannels % groups || outChannels % groups)
      throw new ConfigError(`Conv2d: groups ${groups} must divide inChannels ${inChannels} and outChannels ${outChannels}`);
    const [kh, kw] = pair('Conv2d', 'kernelSize', kernelSize, 1);
    const shape = [outChannels, inChannels / groups, kh, kw];
    const bound = 1 / Math.sqrt(init.fans(shape).fanIn);
    this.weight = new Parameter(init.uniform(shape, bound));
    this.bias = (options.bias ?? true) ? new Parameter(init.uniform([outChannels], bound)) : null;
    pair('Conv2d', 'stride', stride, 1);
    pair('Conv2d', 'padding', padding, 0);
    pair('Conv2d', 'dilation', dilation, 1);
    const activation = checkActivation('Conv2d', options.activation, ['none', 'relu']);
    this.options = { stride, padding, dilation, groups, activation };
  }
  forward(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.bias, this.options);
  }
  /** relu(forward(x)) in one pass; Sequential uses it. */
  forwardRelu(x: Tensor): Tensor {
    return conv2d(x, this.weight, this.bias, { ...this.options, activation: 'relu' });
  }
}

export interface PoolOptions {
  /** Default: the window's size. */
  stride?: Pair;
  padding?: Pair;
}

abstract class Pool extends Module {
  readonly options: { kernelSize: Pair; stride?: Pair; padding?: Pair };
  constructor(kernelSize: Pair, options: PoolOptions = {}) {
    super();
    const where = new.target.name;
    checkOptions(where, options, ['stride', 'padding']);
    pair(where, 'kernelSize', kernelSize, 1);
    if (options.stride !== undefined) pair(where, 'stride', options.stride, 1);
    if (options.padding !== undefined) pair(where, 'padding', options.padding, 0);
    this.options = { kernelSize, ...options };
  }
}

/** The largest value of each window. */
export class MaxPool2d extends Pool {
  forward(x: Tensor): Tensor {
    return maxPool2d(x, this.options);
  }
}

/** The mean of each window. */
export class AvgPool2d extends Pool {
  forward(x: Tensor): Tensor {
    return avgPool2d(x, this.options);
  }
}
