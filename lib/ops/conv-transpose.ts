import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type Pair, pair } from './conv.ts';
import { single } from './conv-nd.ts';
import {
  attach,
  type Backward,
  cast,
  checkDevice,
  checkFloat,
  checkRank,
  checkShapeIs,
  nativeOp,
  record,
  run,
  toFormat,
  unwritten,
} from './define.ts';
import { narrow, pad } from './index.ts';
import { columnSum } from './linear.ts';
import { computeCopy, weightCopy } from './precision.ts';
import { reshape } from './view.ts';

const forwardOp = nativeOp('conv2d');
const gradInputOp = nativeOp('conv2d.gradInput');
const gradWeightOp = nativeOp('conv2d.gradWeight');
const biasOp = nativeOp('fusedBias');

export interface ConvTranspose2dOptions {
  /** Default 1. */
  stride?: Pair;
  /** Taken off both sides of the result. Default 0. */
  padding?: Pair;
  /** Added to one side of the result's size, to choose among those that a stride above 1 makes equal; below stride or dilation. Default 0. */
  outputPadding?: Pair;
  /** Default 1. */
  dilation?: Pair;
  /** Default 1. */
  groups?: number;
}

/** The convolution whose gradient of the input this is: attributes of native/src/ops/conv_shape.h, where x stands for y and y for x. */
interface Plan {
  readonly attrs: readonly number[];
  readonly y: readonly number[];
}

function plan(op: string, x: Tensor, weight: Tensor, options: ConvTranspose2dOptions): Plan {
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const [inputs, perGroup, kh, kw] = weight.shape as [number, number, number, number];
  const stride = pair(op, 'stride', options.stride ?? 1, 1);
  const padding = pair(op, 'padding', options.padding ?? 0, 0);
  const extra = pair(op, 'outputPadding', options.outputPadding ?? 0, 0);
  const dilation = pair(op, 'dilation', options.dilation ?? 1, 1);
  const groups = options.groups ?? 1;
  if (!Number.isSafeInteger(groups) || groups < 1)
    throw new ConfigError(`${op}: groups must be a whole number of at least 1, got ${describe(groups)}`);
  if (c !== inputs || c % groups)
    throw new ShapeError(
      `${op}: x ${show(x.shape)} has ${c} channels, weight ${show(weight.shape)} takes ${inputs} in ${groups} groups. weight is [C, O / groups, KH, KW].`,
    );
  if (kh * kw === 0) throw new ShapeError(`${op}: weight ${show(weight.shape)} has a kernel of no elements`);
  if (h * w === 0) throw new ShapeError(`${op}: x ${show(x.shape)} has no pixels`);
  for (const i of [0, 1] as const)
    if (extra[i] >= Math.max(stride[i], dilation[i]))
      throw new ConfigError(`${op}: outputPadding [${extra}] must be below the stride [${stride}] or the dilation [${dilation}]`);
  const size = (i: 0 | 1, length: number, k: number) =>
    (length - 1) * stride[i] - 2 * padding[i] + dilation[i] * (k - 1) + extra[i] + 1;
  const [oh, ow] = [size(0, h, kh), size(1, w, kw)];
  if (oh < 1 || ow < 1)
    throw new ShapeError(
      `${op}: x ${show(x.shape)} gives a result of ${oh} x ${ow} pixels: padding [${padding}] takes off too much`,
    );
  const outs = perGroup * groups;
  return { attrs: [n, outs, oh, ow, c, kh, kw, h, w, ...stride, ...padding, ...dilation, groups], y: [n, outs, oh, ow] };
}

const sumType = (t: Tensor): 'f32' | 'f64' => (t.dtype === 'f64' ? 'f64' : 'f32');

interface Types {
  x: Tensor['dtype'];
  weight: Tensor['dtype'];
  bias: Tensor['dtype'] | null;
}

/** dx = the convolution of g, dw as the convolution's with x and g in each other's place, db = sums over all but the channels. */
function gradients(grad: Tensor, x: Tensor, w: Tensor, p: Plan, types: Types, back: Backward): (Tensor | null)[] {
  const g = toFormat(cast(grad, x.dtype), 'channelsLast');
  const waiting = (i: number) => back.take(i, { dtype: sumType(x), format: 'contiguous' });
  let dx: Tensor | null = null;
  if (back.needs(0)) {
    dx = unwritten(x.shape, x.dtype, x.device, 'channelsLast');
    run(forwardOp, [g, w, null], [dx], [...p.attrs, 0]);
  }
  let dw: Tensor | null = null;
  if (back.needs(1)) {
    const have = waiting(1);
    dw = have ?? unwritten(w.shape, sumType(x), x.device);
    run(gradWeightOp, [x, g], [dw], [...p.attrs, have ? 1 : 0]);
  }
  const grads = [dx && cast(dx, types.x), dw && cast(dw, types.weight)];
  if (types.bias === null) return grads;
  if (!back.needs(2)) return [...grads, null];
  const channels = p.y[1] as number;
  const rows = g.alias([g.size / channels, channels], g.offset, 'contiguous');
  return [...grads, cast(columnSum(rows, channels, waiting(2)), types.bias)];
}

function transposed(op: string, x: Tensor, weight: Tensor, bias: Tensor | null, options: ConvTranspose2dOptions): Tensor {
  const p = plan(op, x, weight, options);
  const channels = p.y[1] as number;
  if (bias != null) checkShapeIs(op, checkFloat(op, bias, 'bias'), [channels], 'bias');
  const a = toFormat(computeCopy(x), 'channelsLast');
  const w = toFormat(weightCopy(weight, a.dtype), 'contiguous');
  let out = unwritten(p.y, a.dtype, a.device, 'channelsLast');
  run(gradInputOp, [a, w], [out], [...p.attrs, 0]);
  if (bias != null && out.size > 0) {
    const plain = out;
    out = unwritten(p.y, a.dtype, a.device, 'channelsLast');
    run(biasOp, [plain, cast(bias.detach(), sumType(a)), null], [out], [0, 0, 0, 0, 0, 0, 1, out.size / channels, channels, 0]);
  }
  const types: Types = { x: x.dtype, weight: weight.dtype, bias: bias?.dtype ?? null };
  record(op, bias ? [x, weight, bias] : [x, weight], [out], [a, w], ([g], [sx, sw], back) =>
    gradients(g as Tensor, sx as Tensor, sw as Tensor, p, types, back),
  );
  return out;
}

/** Beyond stride - 1 the kernels cannot see outputPadding as theirs: the whole result is made, and cut (or continued by the bias) to size. */
function cutToSize(op: string, x: Tensor, weight: Tensor, bias: Tensor | null, options: ConvTranspose2dOptions): Tensor {
  const [padding, extra] = [
    pair(op, 'padding', options.padding ?? 0, 0),
    pair(op, 'outputPadding', options.outputPadding ?? 0, 0),
  ];
  plan(op, x, weight, options);
  let y = transposed(op, x, weight, null, { ...options, padding: 0, outputPadding: 0 });
  y = pad(y, [
    [0, 0],
    [0, 0],
    ...padding.map((_, i): [number, number] => [0, Math.max(0, (extra[i] as number) - (padding[i] as number))]),
  ]);
  for (const i of [0, 1] as const) {
    const whole = y.shape[i + 2] as number;
    const end = Math.min(whole, whole - padding[i] + Math.min(extra[i], padding[i]));
    y = narrow(y, i + 2, padding[i], end - padding[i]);
  }
  return bias ? y.add(reshape(bias, [1, bias.size, 1, 1])) : y;
}

/**
 * Transposed convolution of x [N, C, H, W] with weight [C, O / groups, KH, KW] (PyTorch's layout), plus bias [O] or null: the gradient of conv2d as
 * an op of its own. The result is [N, O, H', W'] with H' = (H - 1) stride - 2 padding + dilation (KH - 1) + outputPadding + 1, channelsLast.
 * Under a 16-bit policy x and weight are rounded to it; sums and the gradients of weight and bias are f32.
 * @throws ShapeError for other shapes; ConfigError for wrong options
 */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: ConvTranspose2dOptions = {},
): Tensor {
  const op = 'convTranspose2d';
  checkRank(op, checkFloat(op, x), 4, '[N, C, H, W]');
  checkRank(op, checkFloat(op, weight, 'weight'), 4, '[C, O / groups, KH, KW]', 'weight');
  checkOptions(op, options, ['stride', 'padding', 'outputPadding', 'dilation', 'groups']);
  checkDevice(op, x, weight, bias);
  const stride = pair(op, 'stride', options.stride ?? 1, 1);
  const extra = pair(op, 'outputPadding', options.outputPadding ?? 0, 0);
  if (bias != null) checkRank(op, checkFloat(op, bias, 'bias'), 1, '[O]', 'bias');
  if (extra[0] < stride[0] && extra[1] < stride[1]) return transposed(op, x, weight, bias, options);
  const { groups = 1 } = options;
  if (bias != null) checkShapeIs(op, bias, [(weight.shape[1] as number) * groups], 'bias');
  return cutToSize(op, x, weight, bias, options);
}

export interface ConvTranspose1dOptions {
  stride?: number;
  padding?: number;
  outputPadding?: number;
  dilation?: number;
  groups?: number;
}

/**
 * Transposed convolution of x [N, C, L] with weight [C, O / groups, K], plus bias [O] or null: [N, O, L'] with
 * L' = (L - 1) stride - 2 padding + dilation (K - 1) + outputPadding + 1. convTranspose2d with a height of 1.
 */
export function convTranspose1d(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: ConvTranspose1dOptions = {},
): Tensor {
  const op = 'convTranspose1d';
  checkRank(op, checkFloat(op, x), 3, '[N, C, L]');
  checkRank(op, checkFloat(op, weight, 'weight'), 3, '[C, O / groups, K]', 'weight');
  checkOptions(op, options, ['stride', 'padding', 'outputPadding', 'dilation', 'groups']);
  checkDevice(op, x, weight, bias);
  if (bias != null) checkRank(op, checkFloat(op, bias, 'bias'), 1, '[O]', 'bias');
  const [n, c, l] = x.shape as [number, number, number];
  const { groups = 1 } = options;
  const flat: ConvTranspose2dOptions = {
    stride: [1, single(op, 'stride', options.stride ?? 1, 1)],
    padding: [0, single(op, 'padding', options.padding ?? 0, 0)],
    outputPadding: [0, single(op, 'outputPadding', options.outputPadding ?? 0, 0)],
    dilation: [1, single(op, 'dilation', options.dilation ?? 1, 1)],
    groups: single(op, 'groups', groups, 1),
  };
  const [inputs, outs, k] = weight.shape as [number, number, number];
  if (c !== inputs)
    throw new ShapeError(`${op}: x ${show(x.shape)} has ${c} channels, weight ${show(weight.shape)} takes ${inputs}`);
  const y = convTranspose2d(reshape(x, [n, c, 1, l]), reshape(weight, [inputs, outs, 1, k]), bias, flat);
  return reshape(y, [n, y.shape[1] as number, y.shape[3] as number]);
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    convTranspose1d(weight: Tensor, bias?: Tensor | null, options?: ConvTranspose1dOptions): Tensor;
    convTranspose2d(weight: Tensor, bias?: Tensor | null, options?: ConvTranspose2dOptions): Tensor;
  }
}
attach({ convTranspose1d, convTranspose2d });
