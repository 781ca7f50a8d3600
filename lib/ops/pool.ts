import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type Pair, pair, windows } from './conv.ts';
import { attach, checkFloat, checkRank, nativeOp, record, records, run, toFormat, unwritten } from './define.ts';

const maxOp = nativeOp('maxPool2d');
const maxGrad = nativeOp('maxPool2d.grad');
const averageOp = nativeOp('avgPool2d');
const averageGrad = nativeOp('avgPool2d.grad');

interface PoolOptions {
  /** The window: a number, or [height, width]. */
  kernelSize: Pair;
  /** Default: the window's size. */
  stride?: Pair;
  /** On both sides, at most half the window. Never the largest in maxPool2d, zeros in avgPool2d. Default 0. */
  padding?: Pair;
}
export interface MaxPool2dOptions extends PoolOptions {
  /**
   * 'relu': relu(maxPool2d(x)), which is maxPool2d(relu(x)), values and gradients alike, at a fraction of the work: a convolution before it
   * needs no relu of its own.
   */
  activation?: 'none' | 'relu';
}
export interface AvgPool2dOptions extends PoolOptions {
  /** Does padding count in the mean's divisor? Default true. */
  countIncludePad?: boolean;
}

/** The attributes of native/src/cpu/pool.cc without the flag, and the result's shape. */
function plan(op: string, x: Tensor, options: PoolOptions): { attrs: number[]; shape: number[]; area: number } {
  checkFloat(op, x);
  checkRank(op, x, 4, '[N, C, H, W]');
  if (options?.kernelSize === undefined) throw new ConfigError(`${op}: kernelSize is missing, for example { kernelSize: 2 }`);
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const kernel = pair(op, 'kernelSize', options.kernelSize, 1);
  const stride = pair(op, 'stride', options.stride ?? options.kernelSize, 1);
  const padding = pair(op, 'padding', options.padding ?? 0, 0);
  if (padding[0] * 2 > kernel[0] || padding[1] * 2 > kernel[1])
    throw new ShapeError(`${op}: padding [${padding}] must be at most half of kernelSize [${kernel}]`);
  const oh = windows(op, 'height', h, kernel[0], stride[0], padding[0]);
  const ow = windows(op, 'width', w, kernel[1], stride[1], padding[1]);
  return {
    attrs: [n, c, h, w, ...kernel, oh, ow, ...stride, ...padding],
    shape: [n, c, oh, ow],
    area: kernel[0] * kernel[1],
  };
}

/**
 * The largest value of each window of x [N, C, H, W], channelsLast in memory. Of equal values the first (row by row) gets the gradient; NaN wins
 * over all.
 * @throws ShapeError for other shapes, or a window larger than the padded input; ConfigError for wrong options
 */
export function maxPool2d(x: Tensor, options: MaxPool2dOptions): Tensor {
  checkOptions('maxPool2d', options, ['kernelSize', 'stride', 'padding', 'activation']);
  const { attrs, shape, area } = plan('maxPool2d', x, options);
  const { activation = 'none' } = options;
  if (activation !== 'none' && activation !== 'relu')
    throw new ConfigError(`maxPool2d: activation must be 'none' or 'relu', got ${describe(activation)}`);
  const { shape: from } = x;
  attrs.push(activation === 'relu' ? 1 : 0);
  const out = unwritten(shape, x.dtype, x.device, 'channelsLast');
  // Where each largest value stood in its window, for backward.
  const places = records([x]) ? unwritten(shape, area <= 255 ? 'u8' : 'i32', x.device, 'channelsLast') : null;
  run(maxOp, [toFormat(x, 'channelsLast')], [out, places], attrs);
  if (!places) return out;
  record('maxPool2d', [x], [out], [places], ([grad], [at], back) => {
    const g = toFormat(grad as Tensor, 'channelsLast');
    const have = back.take(0, { dtype: g.dtype, format: 'channelsLast' });
    const dx = have ?? unwritten(from, g.dtype, g.device, 'channelsLast');
    run(maxGrad, [g, at as Tensor, have ?? null], [dx], attrs);
    return [dx];
  });
  places.dispose(); // the tape has it
  return out;
}

/**
 * The mean of each window of x [N, C, H, W], channelsLast in memory.
 * @throws ShapeError for other shapes, or a window larger than the padded input; ConfigError for wrong options
 */
export function avgPool2d(x: Tensor, options: AvgPool2dOptions): Tensor {
  checkOptions('avgPool2d', options, ['kernelSize', 'stride', 'padding', 'countIncludePad']);
  const { attrs, shape } = plan('avgPool2d', x, options);
  attrs.push((options.countIncludePad ?? true) ? 1 : 0);
  const { shape: from } = x;
  const out = unwritten(shape, x.dtype, x.device, 'channelsLast');
  run(averageOp, [toFormat(x, 'channelsLast')], [out], attrs);
  record('avgPool2d', [x], [out], [], ([grad], _, back) => {
    const g = toFormat(grad as Tensor, 'channelsLast');
    const have = back.take(0, { dtype: g.dtype, format: 'channelsLast' });
    const dx = have ?? unwritten(from, g.dtype, g.device, 'channelsLast');
    run(averageGrad, [g, have ?? null], [dx], attrs);
    return [dx];
  });
  return out;
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    maxPool2d(options: MaxPool2dOptions): Tensor;
    avgPool2d(options: AvgPool2dOptions): Tensor;
  }
}
attach({ maxPool2d, avgPool2d });
