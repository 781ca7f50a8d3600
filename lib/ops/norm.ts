import { ConfigError, checkOptions, DTypeError, describe, needOptions, ShapeError } from '../native/errors.ts';
import type { DType } from '../tensor/dtype.ts';
import { checkShape, type Shape, sameShape, show, sizeOf } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  type Backward,
  cast,
  checkDevice,
  checkFloat,
  checkNumber,
  checkShapeIs,
  dense,
  matching,
  type NativeOp,
  nativeOp,
  record,
  run,
  unwritten,
} from './define.ts';

/** Parameters and statistics are f32; f64 for f64. */
const wide = (x: Tensor): DType => (x.dtype === 'f64' ? 'f64' : 'f32');

/** What is added to the variance: a number >= 0; default 1e-5. */
export const checkEps = (where: string, eps: number | undefined): number =>
  checkNumber(where, eps ?? 1e-5, 'eps', 0, Number.MAX_VALUE);

/** A weight or bias in the dtype that kernels read. */
function parameter(op: string, p: Tensor | null | undefined, x: Tensor, shape: Shape, name: string): Tensor | null {
  if (p === null || p === undefined) return null;
  checkShapeIs(op, checkFloat(op, p, name), shape, name);
  checkDevice(op, x, p);
  return cast(p, wide(x));
}

const present = (...tensors: (Tensor | null)[]): Tensor[] => tensors.filter((t): t is Tensor => t != null);

/** Which of weight and bias an op was given: what its backward rule needs to place their gradients. */
interface Affine {
  weight: boolean;
  bias: boolean;
}

/** Runs a gradient kernel, whose outputs are dx, dweight, dbias, each added to what already waits where that can be. */
function gradients(
  op: NativeOp,
  inputs: readonly (Tensor | null)[],
  x: Tensor,
  parameters: { shape: Shape; dtype: DType },
  affine: Affine,
  attrs: readonly number[],
  back: Backward,
): (Tensor | null)[] {
  const have = back.needs(0) ? back.take(0, x) : undefined;
  const dx = have ?? (back.needs(0) ? unwritten(x.shape, x.dtype, x.device, x.format) : null);
  const place = (i: number, given: boolean): { out: Tensor | null; add: number } => {
    if (!given || !back.needs(i)) return { out: null, add: 0 };
    const waiting = back.take(i, { dtype: parameters.dtype, format: 'contiguous' });
    return { out: waiting ?? unwritten(parameters.shape, parameters.dtype, x.device), add: waiting ? 1 : 0 };
  };
  const dweight = place(1, affine.weight);
  const dbias = place(affine.weight ? 2 : 1, affine.bias);
  if (dx || dweight.out || dbias.out)
    run(op, [...inputs, have ?? null], [dx, dweight.out, dbias.out], [...attrs, dweight.add, dbias.add]);
  return [dx, ...(affine.weight ? [dweight.out] : []), ...(affine.bias ? [dbias.out] : [])];
}

// ---- layer norm and RMS norm ------------------------------------------------------------------------------------------------

export interface LayerNormOptions {
  /** The last dimensions, over which to normalise. Default: the weight's shape, or without one the last dimension. */
  normalizedShape?: number | readonly number[];
  /** Added to the variance. Default 1e-5. */
  eps?: number;
}

function normalized(op: string, x: Tensor, weight: Tensor | null | undefined, options: LayerNormOptions): Shape {
  const asked = options.normalizedShape ?? weight?.shape ?? x.shape.slice(-1);
  const shape = checkShape(op, typeof asked === 'number' ? [asked] : asked);
  if (shape.length === 0 || !sameShape(x.shape.slice(-shape.length), shape) || sizeOf(shape) === 0)
    throw new ShapeError(`${op}: x ${show(x.shape)} must end in the normalized shape ${show(shape)}`);
  return shape;
}

const layerNormOp = nativeOp('layerNorm');
const layerNormGrad = nativeOp('layerNorm.grad');

/**
 * (x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions (Ba, Kiros and Hinton 2016). Statistics are computed and kept in
 * f32 about the mean; the variance is the biased one. weight and bias have the shape `normalizedShape`; either may be null.
 */
export function layerNorm(
  x: Tensor,
  weight: Tensor | null = null,
  bias: Tensor | null = null,
  options: LayerNormOptions = {},
): Tensor {
  checkFloat('layerNorm', x);
  checkOptions('layerNorm', options, ['normalizedShape', 'eps']);
  const eps = checkEps('layerNorm', options.eps);
  if (weight) checkFloat('layerNorm', weight, 'weight');
  const shape = normalized('layerNorm', x, weight, options);
  const w = parameter('layerNorm', weight, x, shape, 'weight');
  const b = parameter('layerNorm', bias, x, shape, 'bias');
  const plain = dense(x);
  const n = sizeOf(shape);
  const rows = x.size / n;
  const out = unwritten(x.shape, x.dtype, x.device);
  const [mean, rstd] = [unwritten([rows], wide(x), x.device), unwritten([rows], wide(x), x.device)];
  run(layerNormOp, [plain, w, b], [out, mean, rstd], [rows, n, eps]);
  const parameters = { shape, dtype: wide(x) };
  const affine = { weight: w !== null, bias: b !== null };
  record('layerNorm', present(plain, w, b), [out], present(plain, mean, rstd, w), ([g], [sx, sm, sr, sw], back) =>
    gradients(
      layerNormGrad,
      [dense(g as Tensor), sx as Tensor, sm as Tensor, sr as Tensor, sw ?? null],
      sx as Tensor,
      parameters,
      affine,
      [rows, n],
      back,
    ),
  );
  return out;
}

const rmsNormOp = nativeOp('rmsNorm');
const rmsNormGrad = nativeOp('rmsNorm.grad');

/** x / sqrt(mean(x^2) + eps) * weight over the last dimensions (Zhang and Sennrich 2019). weight has the shape `normalizedShape`, or is null. */
export function rmsNorm(x: Tensor, weight: Tensor | null = null, options: LayerNormOptions = {}): Tensor {
  checkFloat('rmsNorm', x);
  checkOptions('rmsNorm', options, ['normalizedShape', 'eps']);
  const eps = checkEps('rmsNorm', options.eps);
  if (weight) checkFloat('rmsNorm', weight, 'weight');
  const shape = normalized('rmsNorm', x, weight, options);
  const w = parameter('rmsNorm', weight, x, shape, 'weight');
  const plain = dense(x);
  const n = sizeOf(shape);
  const rows = x.size / n;
  const out = unwritten(x.shape, x.dtype, x.device);
  const rstd = unwritten([rows], wide(x), x.device);
  run(rmsNormOp, [plain, w, null], [out, null, rstd], [rows, n, eps]);
  const parameters = { shape, dtype: wide(x) };
  const affine = { weight: w !== null, bias: false };
  record('rmsNorm', present(plain, w), [out], present(plain, rstd, w), ([g], [sx, sr, sw], back) =>
    gradients(
      rmsNormGrad,
      [dense(g as Tensor), sx as Tensor, null, sr as Tensor, sw ?? null],
      sx as Tensor,
      parameters,
      affine,
      [rows, n],
      back,
    ),
  );
  return out;
}

// ---- by channel: group norm and batch norm ----------------------------------------------------------------------------------

/** [N, C, pixels, channelsLast] of [N, C, ...]. */
function layout(op: string, x: Tensor): [number, number, number, number] {
  if (x.ndim < 2) throw new ShapeError(`${op}: x must be [N, C, ...], got ${show(x.shape)}`);
  const [n, c, ...rest] = x.shape as [number, number, ...number[]];
  return [n, c, sizeOf(rest), x.format === 'channelsLast' ? 1 : 0];
}

export interface GroupNormOptions {
  /** Into how many groups of neighbouring channels to divide the channels. */
  numGroups: number;
  /** Added to the variance. Default 1e-5. */
  eps?: number;
}

const groupNormOp = nativeOp('groupNorm');
const groupNormGrad = nativeOp('groupNorm.grad');

/**
 * Normalises x [N, C, ...] over groups of channels of each sample, then scales and shifts each channel (Wu and He 2018). weight and bias are
 * [C] or null. The memory format of x is kept.
 */
export function groupNorm(x: Tensor, weight: Tensor | null, bias: Tensor | null, options: GroupNormOptions): Tensor {
  checkFloat('groupNorm', x);
  needOptions('groupNorm', options, ['numGroups', 'eps'], '{ numGroups: 4 }');
  const dims = layout('groupNorm', x);
  const [n, c, pixels] = dims;
  const { numGroups } = options;
  if (!Number.isInteger(numGroups) || numGroups < 1 || c % numGroups !== 0)
    throw new ConfigError(`groupNorm: numGroups must divide the ${c} channels of ${show(x.shape)}, got ${describe(numGroups)}`);
  if (pixels === 0 || c === 0) throw new ShapeError(`groupNorm: a group of ${show(x.shape)} has no elements`);
  const eps = checkEps('groupNorm', options.eps);
  const w = parameter('groupNorm', weight, x, [c], 'weight');
  const b = parameter('groupNorm', bias, x, [c], 'bias');
  const out = unwritten(x.shape, x.dtype, x.device, x.format);
  const statistics = unwritten([2, n, numGroups], wide(x), x.device);
  run(groupNormOp, [x, w, b], [out, statistics], [...dims, numGroups, eps]);
  const parameters = { shape: [c], dtype: wide(x) };
  const affine = { weight: w !== null, bias: b !== null };
  record('groupNorm', present(x, w, b), [out], present(x, statistics, w), ([g], [sx, ss, sw], back) => {
    const grad = matching(g as Tensor, (sx as Tensor).format);
    const inputs = [grad, sx as Tensor, ss as Tensor, sw ?? null];
    return gradients(groupNormGrad, inputs, sx as Tensor, parameters, affine, [...dims, numGroups], back);
  });
  return out;
}

export interface BatchNormOptions {
  /** Normalise by the batch and update the running statistics (true), or normalise by them (false, the default). */
  training?: boolean;
  /** Share of the batch in the running statistics: running = (1 - momentum) running + momentum batch. Default 0.1. */
  momentum?: number;
  /** Added to the variance. Default 1e-5. */
  eps?: number;
}

const batchNormOp = nativeOp('batchNorm');
const batchNormGrad = nativeOp('batchNorm.grad');

function checkRunning(x: Tensor, t: Tensor | null, channels: number, name: string): void {
  if (t === null || t === undefined) return;
  checkShapeIs('batchNorm', checkFloat('batchNorm', t, name), [channels], name);
  checkDevice('batchNorm', x, t);
  if (t.dtype !== wide(x))
    throw new DTypeError(
      `batchNorm: ${name} must be ${wide(x)} for x of ${x.dtype}, since it is updated in place; got ${t.dtype}`,
    );
}

/**
 * Normalises each channel of x [N, C, ...], then scales and shifts it (Ioffe and Szegedy 2015). In training by the biased variance of the batch,
 * while `runningMean` and `runningVar` [C] move, in place, towards its mean and unbiased variance; in evaluation by those. weight and bias are
 * [C] or null; the running statistics may be null in training. The memory format of x is kept.
 */
export function batchNorm(
  x: Tensor,
  weight: Tensor | null,
  bias: Tensor | null,
  runningMean: Tensor | null,
  runningVar: Tensor | null,
  options: BatchNormOptions = {},
): Tensor {
  checkFloat('batchNorm', x);
  checkOptions('batchNorm', options, ['training', 'momentum', 'eps']);
  const training = options.training ?? false;
  const eps = checkEps('batchNorm', options.eps);
  const momentum = checkNumber('batchNorm', options.momentum ?? 0.1, 'momentum', 0, 1);
  const dims = layout('batchNorm', x);
  const [n, c, pixels] = dims;
  checkRunning(x, runningMean, c, 'runningMean');
  checkRunning(x, runningVar, c, 'runningVar');
  if (!training && !(runningMean && runningVar))
    throw new ConfigError('batchNorm: evaluation needs runningMean and runningVar. Give both, or { training: true }.');
  if (training && n * pixels < 2)
    throw new ShapeError(
      `batchNorm: training needs more than one value per channel, ${show(x.shape)} has ${n * pixels}. Use a larger batch, or eval().`,
    );
  const w = parameter('batchNorm', weight, x, [c], 'weight');
  const b = parameter('batchNorm', bias, x, [c], 'bias');
  const out = unwritten(x.shape, x.dtype, x.device, x.format);
  const statistics = unwritten([2, c], wide(x), x.device);
  const attrs = [...dims, training ? 1 : 0];
  if (training) {
    run(batchNormOp, [x, w, b], [out, statistics, runningMean ?? null, runningVar ?? null], [...attrs, eps, momentum]);
    for (const t of present(runningMean, runningVar)) t.storage.version++;
  } else {
    run(batchNormOp, [x, w, b, runningMean, runningVar], [out, statistics], [...attrs, eps, momentum]);
  }
  const parameters = { shape: [c], dtype: wide(x) };
  const affine = { weight: w !== null, bias: b !== null };
  record('batchNorm', present(x, w, b), [out], present(x, statistics, w), ([g], [sx, ss, sw], back) => {
    const grad = matching(g as Tensor, (sx as Tensor).format);
    return gradients(
      batchNormGrad,
      [grad, sx as Tensor, ss as Tensor, sw ?? null],
      sx as Tensor,
      parameters,
      affine,
      attrs,
      back,
    );
  });
  return out;
}
