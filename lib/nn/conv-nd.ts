import { ConfigError, describe, needOptions } from '../native/errors.ts';
import { pair } from '../ops/conv.ts';
import { conv1d, conv3d, single, type Triple, triple } from '../ops/conv-nd.ts';
import { convTranspose1d, convTranspose2d } from '../ops/conv-transpose.ts';
import { Parameter, type Tensor } from '../tensor/tensor.ts';
import * as init from './init.ts';
import { checkCount } from './linear.ts';
import { Module } from './module.ts';

/** Weight and bias as PyTorch starts them: U(-b, b), b = 1 / sqrt(fan in), the product of all of the weight's dimensions but the first. */
function started(shape: readonly number[], outs: number, bias: boolean): { weight: Parameter; bias: Parameter | null } {
  const bound = 1 / Math.sqrt(init.fans(shape).fanIn);
  return {
    weight: new Parameter(init.uniform(shape, bound)),
    bias: bias ? new Parameter(init.uniform([outs], bound)) : null,
  };
}

/** The channels of each group: [of the input, of the output]. */
function perGroup(where: string, inChannels: number, outChannels: number, groups: number): [number, number] {
  checkCount(where, 'inChannels', inChannels);
  checkCount(where, 'outChannels', outChannels);
  checkCount(where, 'groups', groups);
  if (inChannels % groups || outChannels % groups)
    throw new ConfigError(`${where}: groups ${groups} must divide inChannels ${inChannels} and outChannels ${outChannels}`);
  return [inChannels / groups, outChannels / groups];
}

const conv = ['kernelSize', 'stride', 'padding', 'dilation', 'groups', 'bias'];

export interface Conv1dLayerOptions {
  kernelSize: number;
  stride?: number;
  padding?: number;
  dilation?: number;
  groups?: number;
  bias?: boolean;
}

/** Convolution [N, C, L] to [N, O, L']. Weight [O, C / groups, K]; starts as PyTorch's: U(+-1/sqrt(fan in)). */
export class Conv1d extends Module {
  weight: Parameter;
  bias: Parameter | null;
  readonly options: { stride: number; padding: number; dilation: number; groups: number };
  constructor(inChannels: number, outChannels: number, options: Conv1dLayerOptions) {
    super();
    needOptions('Conv1d', options, conv, '{ kernelSize: 3 }');
    const { kernelSize, stride = 1, padding = 0, dilation = 1, groups = 1 } = options;
    const [ins] = perGroup('Conv1d', inChannels, outChannels, groups);
    const shape = [outChannels, ins, single('Conv1d', 'kernelSize', kernelSize, 1)];
    const { weight, bias } = started(shape, outChannels, options.bias ?? true);
    this.weight = weight;
    this.bias = bias;
    single('Conv1d', 'stride', stride, 1);
    single('Conv1d', 'padding', padding, 0);
    single('Conv1d', 'dilation', dilation, 1);
    this.options = { stride, padding, dilation, groups };
  }
  forward(x: Tensor): Tensor {
    return conv1d(x, this.weight, this.bias, this.options);
  }
  /** relu(forward(x)) in one pass; Sequential uses it. */
  forwardRelu(x: Tensor): Tensor {
    return conv1d(x, this.weight, this.bias, { ...this.options, activation: 'relu' });
  }
}

export interface Conv3dLayerOptions {
  kernelSize: Triple;
  stride?: Triple;
  padding?: Triple;
  dilation?: Triple;
  groups?: number;
  bias?: boolean;
}

/** Convolution [N, C, D, H, W] to [N, O, D', H', W']. Weight [O, C / groups, KD, KH, KW]; starts as PyTorch's: U(+-1/sqrt(fan in)). */
export class Conv3d extends Module {
  weight: Parameter;
  bias: Parameter | null;
  readonly options: { stride: Triple; padding: Triple; dilation: Triple; groups: number };
  constructor(inChannels: number, outChannels: number, options: Conv3dLayerOptions) {
    super();
    needOptions('Conv3d', options, conv, '{ kernelSize: 3 }');
    const { kernelSize, stride = 1, padding = 0, dilation = 1, groups = 1 } = options;
    const [ins] = perGroup('Conv3d', inChannels, outChannels, groups);
    const shape = [outChannels, ins, ...triple('Conv3d', 'kernelSize', kernelSize, 1)];
    const { weight, bias } = started(shape, outChannels, options.bias ?? true);
    this.weight = weight;
    this.bias = bias;
    triple('Conv3d', 'stride', stride, 1);
    triple('Conv3d', 'padding', padding, 0);
    triple('Conv3d', 'dilation', dilation, 1);
    this.options = { stride, padding, dilation, groups };
  }
  forward(x: Tensor): Tensor {
    return conv3d(x, this.weight, this.bias, this.options);
  }
}

type Pair = number | readonly [number, number];
const transpose = [...conv, 'outputPadding'];

/** Throws unless outputPadding is below stride or dilation in every direction. */
function checkOutputPadding(
  where: string,
  extra: readonly number[],
  stride: readonly number[],
  dilation: readonly number[],
): void {
  if (extra.some((e, i) => e >= Math.max(stride[i] as number, dilation[i] as number)))
    throw new ConfigError(`${where}: outputPadding ${describe(extra)} must be below the stride or the dilation`);
}

export interface ConvTranspose1dLayerOptions extends Conv1dLayerOptions {
  outputPadding?: number;
}

/** Transposed convolution [N, C, L] to [N, O, (L - 1) stride - 2 padding + dilation (K - 1) + outputPadding + 1]. Weight [C, O / groups, K]. */
export class ConvTranspose1d extends Module {
  weight: Parameter;
  bias: Parameter | null;
  readonly options: { stride: number; padding: number; outputPadding: number; dilation: number; groups: number };
  constructor(inChannels: number, outChannels: number, options: ConvTranspose1dLayerOptions) {
    super();
    const where = 'ConvTranspose1d';
    needOptions(where, options, transpose, '{ kernelSize: 3 }');
    const { kernelSize, stride = 1, padding = 0, outputPadding = 0, dilation = 1, groups = 1 } = options;
    const [, outs] = perGroup(where, inChannels, outChannels, groups);
    const shape = [inChannels, outs, single(where, 'kernelSize', kernelSize, 1)];
    const { weight, bias } = started(shape, outChannels, options.bias ?? true);
    this.weight = weight;
    this.bias = bias;
    single(where, 'padding', padding, 0);
    const one = [single(where, 'stride', stride, 1), single(where, 'dilation', dilation, 1)] as const;
    checkOutputPadding(where, [single(where, 'outputPadding', outputPadding, 0)], [one[0]], [one[1]]);
    this.options = { stride, padding, outputPadding, dilation, groups };
  }
  forward(x: Tensor): Tensor {
    return convTranspose1d(x, this.weight, this.bias, this.options);
  }
}

export interface ConvTranspose2dLayerOptions {
  kernelSize: Pair;
  stride?: Pair;
  padding?: Pair;
  outputPadding?: Pair;
  dilation?: Pair;
  groups?: number;
  bias?: boolean;
}

/** Transposed convolution [N, C, H, W] to [N, O, H', W'], H' as in ConvTranspose1d. Weight [C, O / groups, KH, KW]. */
export class ConvTranspose2d extends Module {
  weight: Parameter;
  bias: Parameter | null;
  readonly options: { stride: Pair; padding: Pair; outputPadding: Pair; dilation: Pair; groups: number };
  constructor(inChannels: number, outChannels: number, options: ConvTranspose2dLayerOptions) {
    super();
    const where = 'ConvTranspose2d';
    needOptions(where, options, transpose, '{ kernelSize: 3 }');
    const { kernelSize, stride = 1, padding = 0, outputPadding = 0, dilation = 1, groups = 1 } = options;
    const [, outs] = perGroup(where, inChannels, outChannels, groups);
    const shape = [inChannels, outs, ...pair(where, 'kernelSize', kernelSize, 1)];
    const { weight, bias } = started(shape, outChannels, options.bias ?? true);
    this.weight = weight;
    this.bias = bias;
    pair(where, 'padding', padding, 0);
    const [strides, dilations] = [pair(where, 'stride', stride, 1), pair(where, 'dilation', dilation, 1)];
    checkOutputPadding(where, pair(where, 'outputPadding', outputPadding, 0), strides, dilations);
    this.options = { stride, padding, outputPadding, dilation, groups };
  }
  forward(x: Tensor): Tensor {
    return convTranspose2d(x, this.weight, this.bias, this.options);
  }
}
