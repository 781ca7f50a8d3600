import { ConfigError, describe, needOptions, ShapeError } from '../native/errors.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { single } from './conv-nd.ts';
import { attach, checkFloat, checkRank } from './define.ts';
import { concat, narrow } from './index.ts';
import { avgPool2d, maxPool2d } from './pool.ts';
import { reshape } from './view.ts';

export interface Pool1dOptions {
  /** The window. */
  kernelSize: number;
  /** Default: the window's size. */
  stride?: number;
  /** On both sides, at most half the window. Default 0. */
  padding?: number;
}
export interface AvgPool1dOptions extends Pool1dOptions {
  /** Does padding count in the mean's divisor? Default true. */
  countIncludePad?: boolean;
}

function pool1d(op: string, x: Tensor, options: AvgPool1dOptions, known: readonly string[], pool: typeof avgPool2d): Tensor {
  checkRank(op, checkFloat(op, x), 3, '[N, C, L]');
  needOptions(op, options, known, '{ kernelSize: 2 }');
  const { kernelSize, stride = kernelSize, padding = 0, ...rest } = options;
  const k = single(op, 'kernelSize', kernelSize, 1);
  const p = single(op, 'padding', padding, 0);
  const [n, c, l] = x.shape as [number, number, number];
  if (2 * p > k) throw new ShapeError(`${op}: padding ${p} must be at most half of kernelSize ${k}`);
  if (k > l + 2 * p) throw new ShapeError(`${op}: the window of ${k} is larger than the ${l} elements of x ${show(x.shape)}`);
  const flat = { kernelSize: [1, k], stride: [1, single(op, 'stride', stride, 1)], padding: [0, p], ...rest } as const;
  const y = pool(reshape(x, [n, c, 1, l]), flat);
  return reshape(y, [n, c, y.shape[3] as number]);
}

/** The largest value of each window of x [N, C, L]. Of equal values the first gets the gradient; NaN wins over all. */
export const maxPool1d = (x: Tensor, options: Pool1dOptions): Tensor =>
  pool1d('maxPool1d', x, options, ['kernelSize', 'stride', 'padding'], maxPool2d);

/** The mean of each window of x [N, C, L]. */
export const avgPool1d = (x: Tensor, options: AvgPool1dOptions): Tensor =>
  pool1d('avgPool1d', x, options, ['kernelSize', 'stride', 'padding', 'countIncludePad'], avgPool2d);

// ---- adaptive: the result's size is given -----------------------------------------------------------------------------------

/** One number for both directions, or [height, width]; null keeps the input's. */
export type OutputSize = number | null | readonly [number | null, number | null];

/** The result's height and width, null where they are the input's. */
export function outputSizes(op: string, size: unknown): [number | null, number | null] {
  const both = Array.isArray(size) ? size : [size, size];
  if (both.length !== 2 || !both.every((v) => v === null || (Number.isSafeInteger(v) && v >= 1)))
    throw new ConfigError(
      `${op}: outputSize must be a whole number above 0, null for the input's, or [height, width] of such; got ${describe(size)}`,
    );
  return both as [number | null, number | null];
}

/** Window i of `count` over `length`: from floor(i length / count) to ceil((i + 1) length / count). */
const place = (i: number, count: number, length: number): { start: number; size: number } => {
  const start = Math.floor((i * length) / count);
  return { start, size: Math.ceil(((i + 1) * length) / count) - start };
};

type Pool = (x: Tensor, options: { kernelSize: [number, number] }) => Tensor;

/** Windows of different sizes along one axis (2 or 3), each by a pooling of its own. */
function along(x: Tensor, axis: 2 | 3, count: number, pool: Pool): Tensor {
  const length = x.shape[axis] as number;
  const kernel = (k: number): [number, number] => (axis === 2 ? [k, 1] : [1, k]);
  if (length % count === 0) return pool(x, { kernelSize: kernel(length / count) });
  const parts = Array.from({ length: count }, (_, i) => {
    const { start, size } = place(i, count, length);
    return pool(narrow(x, axis, start, size), { kernelSize: kernel(size) });
  });
  return concat(parts, { axis });
}

function adaptive2d(op: string, x: Tensor, size: OutputSize, pool: Pool): Tensor {
  const [oh, ow] = outputSizes(op, size);
  checkRank(op, checkFloat(op, x), 4, '[N, C, H, W]');
  const [, , h, w] = x.shape as [number, number, number, number];
  if (h === 0 || w === 0) throw new ShapeError(`${op}: x ${show(x.shape)} has no pixels`);
  const [rows, columns] = [oh ?? h, ow ?? w];
  if (h % rows === 0 && w % columns === 0) return pool(x, { kernelSize: [h / rows, w / columns] });
  // Columns before rows: of equal values the first row's is found last, as in a walk row by row.
  return along(along(x, 3, columns, pool), 2, rows, pool);
}

function adaptive1d(op: string, x: Tensor, size: number | null, pool: Pool): Tensor {
  if (size !== null) single(op, 'outputSize', size, 1);
  checkRank(op, checkFloat(op, x), 3, '[N, C, L]');
  const [n, c, l] = x.shape as [number, number, number];
  if (l === 0) throw new ShapeError(`${op}: x ${show(x.shape)} has no elements along its last dimension`);
  const y = along(reshape(x, [n, c, 1, l]), 3, size ?? l, pool);
  return reshape(y, [n, c, size ?? l]);
}

/** Means over windows that divide x [N, C, H, W] into `outputSize`: window i reaches from floor(i H / H') to ceil((i + 1) H / H'). */
export const adaptiveAvgPool2d = (x: Tensor, outputSize: OutputSize): Tensor =>
  adaptive2d('adaptiveAvgPool2d', x, outputSize, avgPool2d);
/** Largest values over windows that divide x [N, C, H, W] into `outputSize`. Of equal values the first, row by row, gets the gradient. */
export const adaptiveMaxPool2d = (x: Tensor, outputSize: OutputSize): Tensor =>
  adaptive2d('adaptiveMaxPool2d', x, outputSize, maxPool2d);
/** Means over windows that divide x [N, C, L] into `outputSize`. */
export const adaptiveAvgPool1d = (x: Tensor, outputSize: number | null): Tensor =>
  adaptive1d('adaptiveAvgPool1d', x, outputSize, avgPool2d);
/** Largest values over windows that divide x [N, C, L] into `outputSize`. */
export const adaptiveMaxPool1d = (x: Tensor, outputSize: number | null): Tensor =>
  adaptive1d('adaptiveMaxPool1d', x, outputSize, maxPool2d);

// ---- pixels and channels ----------------------------------------------------------------------------------------------------

/** [N, C r^2, H, W] to [N, C, H r, W r] (Shi et al. 2016). */
export function pixelShuffle(x: Tensor, factor: number): Tensor {
  const op = 'pixelShuffle';
  checkRank(op, checkFloat(op, x), 4, '[N, C, H, W]');
  const r = single(op, 'factor', factor, 1);
  const [n, c, h, w] = x.shape as [number, number, number, number];
  if (c % (r * r)) throw new ShapeError(`${op}: the ${c} channels of x ${show(x.shape)} do not divide into ${r} x ${r} pixels`);
  const parts = x.reshape([n, c / (r * r), r, r, h, w]).permute([0, 1, 4, 2, 5, 3]);
  return reshape(parts, [n, c / (r * r), h * r, w * r]);
}

/** [N, C, H r, W r] to [N, C r^2, H, W]: the inverse of pixelShuffle. */
export function pixelUnshuffle(x: Tensor, factor: number): Tensor {
  const op = 'pixelUnshuffle';
  checkRank(op, checkFloat(op, x), 4, '[N, C, H, W]');
  const r = single(op, 'factor', factor, 1);
  const [n, c, h, w] = x.shape as [number, number, number, number];
  if (h % r || w % r) throw new ShapeError(`${op}: ${h} x ${w} pixels of x ${show(x.shape)} do not divide by ${r}`);
  const parts = x.reshape([n, c, h / r, r, w / r, r]).permute([0, 1, 3, 5, 2, 4]);
  return reshape(parts, [n, c * r * r, h / r, w / r]);
}

attach({ pixelShuffle, pixelUnshuffle });
declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** [N, C r^2, H, W] to [N, C, H r, W r]. */
    pixelShuffle(factor: number): Tensor;
    pixelUnshuffle(factor: number): Tensor;
  }
}
