import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type Conv2dOptions, conv2d, windows } from './conv.ts';
import { attach, checkDevice, checkFloat, checkRank } from './define.ts';
import { pad, permute } from './index.ts';
import { unfold } from './unfold.ts';
import { reshape } from './view.ts';

/** A number, checked to be whole and at least `low`. */
export function single(op: string, name: string, value: unknown, low: number): number {
  if (!Number.isSafeInteger(value) || (value as number) < low)
    throw new ConfigError(`${op}: ${name} must be a whole number of at least ${low}, got ${describe(value)}`);
  return value as number;
}

/** One number for all directions, or [depth, height, width]. */
export type Triple = number | readonly [number, number, number];

/** The three numbers of a triple, checked to be whole and at least `low`. */
export function triple(op: string, name: string, value: unknown, low: number): [number, number, number] {
  const all = typeof value === 'number' ? [value, value, value] : value;
  if (!Array.isArray(all) || all.length !== 3 || !all.every((v) => Number.isSafeInteger(v) && v >= low))
    throw new ConfigError(
      `${op}: ${name} must be a whole number of at least ${low}, or [depth, height, width] of such; got ${describe(value)}`,
    );
  return all as [number, number, number];
}

function checkGroups(op: string, x: Tensor, weight: Tensor, groups: unknown): number {
  if (!Number.isSafeInteger(groups) || (groups as number) < 1)
    throw new ConfigError(`${op}: groups must be a whole number of at least 1, got ${describe(groups)}`);
  const n = groups as number;
  const [channels, outs, perGroup] = [x.shape[1] as number, weight.shape[0] as number, weight.shape[1] as number];
  if (outs % n || channels !== perGroup * n)
    throw new ShapeError(
      `${op}: x ${show(x.shape)} has ${channels} channels, weight ${show(weight.shape)} takes ${perGroup} in each of ${n} groups, and its ${outs} outputs must divide into them`,
    );
  return n;
}

export interface Conv1dOptions {
  /** Default 1. */
  stride?: number;
  /** Zeros on both sides. Default 0. */
  padding?: number;
  /** Steps between the kernel's elements. Default 1. */
  dilation?: number;
  /** Groups of channels that do not mix. Default 1. */
  groups?: number;
  /** Applied to the result inside the convolution's own pass. */
  activation?: 'none' | 'relu';
}

/**
 * Convolution of x [N, C, L] with weight [O, C / groups, K], plus bias [O] or null: [N, O, L'] with
 * L' = floor((L + 2 padding - dilation (K - 1) - 1) / stride) + 1. conv2d with a height of 1.
 * @throws ShapeError for other shapes, or a kernel larger than the padded input; ConfigError for wrong options
 */
export function conv1d(x: Tensor, weight: Tensor, bias: Tensor | null = null, options: Conv1dOptions = {}): Tensor {
  const op = 'conv1d';
  checkRank(op, checkFloat(op, x), 3, '[N, C, L]');
  checkRank(op, checkFloat(op, weight, 'weight'), 3, '[O, C / groups, K]', 'weight');
  checkOptions(op, options, ['stride', 'padding', 'dilation', 'groups', 'activation']);
  checkDevice(op, x, weight, bias);
  if (bias != null) checkRank(op, checkFloat(op, bias, 'bias'), 1, '[O]', 'bias');
  const stride = single(op, 'stride', options.stride ?? 1, 1);
  const padding = single(op, 'padding', options.padding ?? 0, 0);
  const dilation = single(op, 'dilation', options.dilation ?? 1, 1);
  const groups = checkGroups(op, x, weight, options.groups ?? 1);
  const [n, c, l] = x.shape as [number, number, number];
  const [o, perGroup, k] = weight.shape as [number, number, number];
  if (bias != null && bias.size !== o) throw new ShapeError(`${op}: bias must have shape [${o}], got ${show(bias.shape)}`);
  if (k === 0) throw new ShapeError(`${op}: weight ${show(weight.shape)} has a kernel of no elements`);
  windows(op, 'width', l, k, stride, padding, dilation);
  const { activation = 'none' } = options;
  if (activation !== 'none' && activation !== 'relu')
    throw new ConfigError(`${op}: activation must be 'none' or 'relu', got ${describe(activation)}`);
  const flat: Conv2dOptions = { stride: [1, stride], padding: [0, padding], dilation: [1, dilation], groups, activation };
  const y = conv2d(reshape(x, [n, c, 1, l]), reshape(weight, [o, perGroup, 1, k]), bias, flat);
  return reshape(y, [n, o, y.shape[3] as number]);
}

export interface Conv3dOptions {
  stride?: Triple;
  /** Zeros on both sides. Default 0. */
  padding?: Triple;
  dilation?: Triple;
  groups?: number;
}

/**
 * Convolution of x [N, C, D, H, W] with weight [O, C / groups, KD, KH, KW], plus bias [O] or null: [N, O, D', H', W']. Windows along the depth
 * become channels of one conv2d, so the sum is one sum; x is held KD / stride times over while it runs.
 * @throws ShapeError, ConfigError as conv2d
 */
export function conv3d(x: Tensor, weight: Tensor, bias: Tensor | null = null, options: Conv3dOptions = {}): Tensor {
  const op = 'conv3d';
  checkRank(op, checkFloat(op, x), 5, '[N, C, D, H, W]');
  checkRank(op, checkFloat(op, weight, 'weight'), 5, '[O, C / groups, KD, KH, KW]', 'weight');
  checkOptions(op, options, ['stride', 'padding', 'dilation', 'groups']);
  checkDevice(op, x, weight, bias);
  if (bias != null) checkRank(op, checkFloat(op, bias, 'bias'), 1, '[O]', 'bias');
  const [sd, sh, sw] = triple(op, 'stride', options.stride ?? 1, 1);
  const [pd, ph, pw] = triple(op, 'padding', options.padding ?? 0, 0);
  const [dd, dh, dw] = triple(op, 'dilation', options.dilation ?? 1, 1);
  const groups = checkGroups(op, x, weight, options.groups ?? 1);
  const [n, c, d, h, w] = x.shape as [number, number, number, number, number];
  const [o, perGroup, kd, kh, kw] = weight.shape as [number, number, number, number, number];
  if (bias != null && bias.size !== o) throw new ShapeError(`${op}: bias must have shape [${o}], got ${show(bias.shape)}`);
  if (kd * kh * kw === 0) throw new ShapeError(`${op}: weight ${show(weight.shape)} has a kernel of no elements`);
  if ((kd - 1) * dd + 1 > d + 2 * pd)
    throw new ShapeError(`${op}: the kernel's depth ${kd} is larger than the input's ${d} with padding ${pd} on both sides`);
  windows(op, 'height', h, kh, sh, ph, dh);
  windows(op, 'width', w, kw, sw, pw, dw);
  const none = [0, 0] as const;
  const padded = pd ? pad(x, [none, none, [pd, pd], none, none]) : x;
  // [N, C, D', H, W, KD] to [N D', C KD, H, W]: the order of the weight's own sums.
  const deep = permute(unfold(padded, { axis: 2, size: kd, step: sd, dilation: dd }), [0, 2, 1, 5, 3, 4]);
  const depth = deep.shape[1] as number;
  const y = conv2d(reshape(deep, [n * depth, c * kd, h, w]), reshape(weight, [o, perGroup * kd, kh, kw]), bias, {
    stride: [sh, sw],
    padding: [ph, pw],
    dilation: [dh, dw],
    groups,
  });
  const [, , oh, ow] = y.shape as [number, number, number, number];
  return permute(reshape(y, [n, depth, o, oh, ow]), [0, 2, 1, 3, 4]);
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    conv1d(weight: Tensor, bias?: Tensor | null, options?: Conv1dOptions): Tensor;
    conv3d(weight: Tensor, bias?: Tensor | null, options?: Conv3dOptions): Tensor;
  }
}
attach({ conv1d, conv3d });
