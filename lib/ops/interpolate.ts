import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import { tensor } from '../tensor/create.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { repeatInterleave } from './arrange.ts';
import { add, mul } from './binary.ts';
import { attach, cast, checkFloat } from './define.ts';
import { indexSelect } from './scatter.ts';
import { reshape } from './view.ts';

export interface InterpolateOptions {
  /** The sides of the result: one for each behind [N, C], or one number for all. This or `scaleFactor`. */
  size?: number | readonly number[];
  /** How many times as long each side gets; rounded down. */
  scaleFactor?: number | readonly number[];
  /** 'nearest' (default), or 'linear' for [N, C, W] and 'bilinear' for [N, C, H, W]. */
  mode?: 'nearest' | 'linear' | 'bilinear';
  /** The outermost samples stay where they are, instead of the outer edges of the pixels. Not for 'nearest'. Default false. */
  alignCorners?: boolean;
}

/** One side: its length before and after, and PyTorch's step in the source for a step in the result. */
interface Side {
  axis: number;
  from: number;
  to: number;
  step: number;
}

/** What can be said of the options before there is a picture. */
export function checkInterpolate(where: string, options: InterpolateOptions): void {
  checkOptions(where, options, ['size', 'scaleFactor', 'mode', 'alignCorners']);
  const { size, scaleFactor, mode = 'nearest', alignCorners } = options ?? {};
  if ((size === undefined) === (scaleFactor === undefined))
    throw new ConfigError(`${where}: give size or scaleFactor, and not both`);
  const given = size ?? scaleFactor;
  const right = (v: unknown) =>
    typeof v === 'number' && v > 0 && v < Number.POSITIVE_INFINITY && (size === undefined || v % 1 === 0);
  if (!(Array.isArray(given) ? given.every(right) : right(given)))
    throw new ConfigError(
      `${where}: ${size === undefined ? 'scaleFactor must be a number above 0' : 'size must be a whole number from 1'}, or one for each side, got ${describe(given)}`,
    );
  if (!['nearest', 'linear', 'bilinear'].includes(mode))
    throw new ConfigError(`${where}: mode must be 'nearest', 'linear' or 'bilinear', got ${describe(mode)}`);
  if (mode === 'nearest' && alignCorners !== undefined) throw new ConfigError(`${where}: alignCorners is not for mode 'nearest'`);
}

function sidesOf(x: Tensor, options: InterpolateOptions): Side[] {
  const { size, scaleFactor } = options;
  const sides = x.shape.slice(2);
  const given = size ?? scaleFactor;
  const list = typeof given === 'number' ? sides.map(() => given) : (given as readonly number[]);
  if (!Array.isArray(list) || list.length !== sides.length)
    throw new ShapeError(
      `interpolate: ${describe(given)} must be a number, or one for each of the ${sides.length} sides of ${show(x.shape)}`,
    );
  return sides.map((from, i) => {
    const v = list[i] as number;
    const to = size === undefined ? Math.floor(from * v) : v;
    if (typeof v !== 'number' || !Number.isSafeInteger(to) || to < 1 || from < 1)
      throw new ShapeError(
        `interpolate: side ${i} of ${show(x.shape)} cannot become ${describe(size === undefined ? from * v : v)}; sides are at least 1`,
      );
    const step = size === undefined ? 1 / v : from / to;
    return { axis: i + 2, from, to, step };
  });
}

function nearest(x: Tensor, { axis, from, to, step }: Side): Tensor {
  if (to === from && step === 1) return x;
  if (to % from === 0 && step === from / to) return repeatInterleave(x, to / from, { axis });
  return indexSelect(
    x,
    axis,
    // in f32, as PyTorch decides
    Array.from({ length: to }, (_, i) => Math.min(from - 1, Math.floor(Math.fround(i * Math.fround(step))))),
  );
}

/** Along one side: the two neighbours, weighted by how near they are. */
function linearly(x: Tensor, side: Side, corners: boolean): Tensor {
  const { axis, from, to } = side;
  const step = corners ? (to > 1 ? (from - 1) / (to - 1) : 0) : side.step;
  if (to === from && (corners || step === 1)) return x;
  const places = Array.from({ length: to }, (_, i) => (corners ? i * step : Math.max(0, (i + 0.5) * step - 0.5)));
  const left = places.map((p) => Math.min(from - 1, Math.floor(p)));
  const right = left.map((l) => Math.min(from - 1, l + 1));
  const part = places.map((p, i) => Math.min(1, p - (left[i] as number)));
  const shape = x.shape.map((_, i) => (i === axis ? to : 1));
  const weights = (w: number[]) => tensor(Float64Array.from(w), { shape, dtype: x.dtype, device: x.device });
  return add(mul(indexSelect(x, axis, left), weights(part.map((p) => 1 - p))), mul(indexSelect(x, axis, right), weights(part)));
}

/**
 * Pictures [N, C, H, W], or rows [N, C, W], made larger or smaller: PyTorch's interpolate. Weighted in f32 for 16-bit tensors. Gradients flow.
 * @throws ConfigError, ShapeError for a mode or a size that does not fit
 */
export function interpolate(x: Tensor, options: InterpolateOptions): Tensor {
  checkFloat('interpolate', x);
  checkInterpolate('interpolate', options);
  if (x.ndim !== 3 && x.ndim !== 4)
    throw new ShapeError(`interpolate: x must be [N, C, H, W] or [N, C, W], got ${show(x.shape)}`);
  const { mode = 'nearest', alignCorners } = options;
  const linear = x.ndim === 3 ? 'linear' : 'bilinear';
  if (mode !== 'nearest' && mode !== linear)
    throw new ConfigError(`interpolate: mode must be 'nearest' or '${linear}' for ${x.ndim} dimensions, got ${describe(mode)}`);
  const sides = sidesOf(x, options);
  const own = reshape(x, x.shape);
  if (mode === 'nearest') return sides.reduce(nearest, own);
  const wide = x.dtype === 'f64' ? own : cast(own, 'f32');
  return cast(
    sides.reduce((t, side) => linearly(t, side, !!alignCorners), wide),
    x.dtype,
  );
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** Larger or smaller pictures: nearest, linear, bilinear. */
    interpolate(options: InterpolateOptions): Tensor;
  }
}
attach({ interpolate });
