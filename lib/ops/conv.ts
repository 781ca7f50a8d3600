import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import { show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
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
import { columnSum } from './linear.ts';
import { computeCopy, weightCopy } from './precision.ts';

const forwardOp = nativeOp('conv2d');
const gradInputOp = nativeOp('conv2d.gradInput');
const gradWeightOp = nativeOp('conv2d.gradWeight');
const reluGrad = nativeOp('relu.grad');
const reluGradSum = nativeOp('relu.gradSum');

/** One number for both directions, or [height, width]. */
export type Pair = number | readonly [number, number];

/** Both numbers of a pair, checked to be whole and at least `low`. */
export function pair(op: string, name: string, value: unknown, low: number): [number, number] {
  const both = typeof value === 'number' ? [value, value] : value;
  if (!Array.isArray(both) || both.length !== 2 || !both.every((v) => Number.isSafeInteger(v) && v >= low))
    throw new ConfigError(
      `${op}: ${name} must be a whole number of at least ${low}, or [height, width] of such; got ${describe(value)}`,
    );
  return [both[0] as number, both[1] as number];
}

/** Windows that fit along one direction; too large a kernel is refused. */
export function windows(
  op: string,
  side: 'height' | 'width',
  size: number,
  k: number,
  stride: number,
  padding: number,
  dilation = 1,
): number {
  const reach = (k - 1) * dilation + 1;
  if (reach > size + 2 * padding)
    throw new ShapeError(
      `${op}: the kernel's ${side} ${k}${dilation > 1 ? ` (${reach} with dilation ${dilation})` : ''} is larger than the input's ${size}${
        padding ? ` with padding ${padding} on both sides` : ''
      }. Use a smaller kernel, or more padding.`,
    );
  return Math.floor((size + 2 * padding - reach) / stride) + 1;
}

export interface Conv2dOptions {
  /** Default 1. */
  stride?: Pair;
  /** Zeros on both sides. Default 0. */
  padding?: Pair;
  /** Steps between the kernel's elements. Default 1. */
  dilation?: Pair;
  /** Groups of channels that do not mix. Default 1. */
  groups?: number;
  /** Applied to the result inside the convolution's own pass. */
  activation?: 'none' | 'relu';
}

/** What a convolution's three kernels share: the attributes of native/src/cpu/conv.h, and the shapes of x, weight and y. */
interface Plan {
  attrs: readonly number[];
  x: readonly number[];
  weight: readonly number[];
  y: readonly number[];
}

function plan(x: Tensor, weight: Tensor, options: Conv2dOptions): Plan {
  checkRank('conv2d', x, 4, '[N, C, H, W]');
  checkRank('conv2d', weight, 4, '[O, C / groups, KH, KW]', 'weight');
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const [o, perGroup, kh, kw] = weight.shape as [number, number, number, number];
  const stride = pair('conv2d', 'stride', options.stride ?? 1, 1);
  const padding = pair('conv2d', 'padding', options.padding ?? 0, 0);
  const dilation = pair('conv2d', 'dilation', options.dilation ?? 1, 1);
  const groups = options.groups ?? 1;
  if (!Number.isSafeInteger(groups) || groups < 1)
    throw new ConfigError(`conv2d: groups must be a whole number of at least 1, got ${describe(groups)}`);
  if (c % groups || o % groups)
    throw new ShapeError(
      `conv2d: groups ${groups} must divide the ${c} channels of x and the ${o} outputs of weight ${show(weight.shape)}`,
    );
  if (c !== perGroup * groups)
    throw new ShapeError(
      `conv2d: x ${show(x.shape)} has ${c} channels, weight ${show(weight.shape)} takes ${perGroup * groups}${
        groups > 1 ? ` (${perGroup} in each of ${groups} groups)` : ''
      }. x is [N, C, H, W], weight [O, C / groups, KH, KW].`,
    );
  if (kh === 0 || kw === 0) throw new ShapeError(`conv2d: weight ${show(weight.shape)} has a kernel of no elements`);
  const oh = windows('conv2d', 'height', h, kh, stride[0], padding[0], dilation[0]);
  const ow = windows('conv2d', 'width', w, kw, stride[1], padding[1], dilation[1]);
  return {
    attrs: [n, c, h, w, o, kh, kw, oh, ow, ...stride, ...padding, ...dilation, groups],
    x: x.shape,
    weight: weight.shape,
    y: [n, o, oh, ow],
  };
}

const sumType = (t: Tensor): 'f32' | 'f64' => (t.dtype === 'f64' ? 'f64' : 'f32');

/** The gradient before the relu, and its sums over all but the channels where asked; both in one pass. `g` itself is written over where nobody else sees it. */
function throughRelu(g: Tensor, y: Tensor, wantsSum: boolean, have: Tensor | undefined): { g: Tensor; sum: Tensor | null } {
  const masked = g.storage.refs === 1 ? g : unwritten(g.shape, g.dtype, g.device, 'channelsLast');
  if (!wantsSum) {
    run(reluGrad, [g, y], [masked], [0, 0]);
    return { g: masked, sum: null };
  }
  const channels = g.shape[1] as number;
  const sum = have ?? unwritten([channels], sumType(g), g.device);
  run(reluGradSum, [g, y], [masked, sum], [channels ? g.size / channels : 0, channels, have ? 1 : 0]);
  return { g: masked, sum };
}

interface Types {
  x: Tensor['dtype'];
  weight: Tensor['dtype'];
  bias: Tensor['dtype'] | null;
}

/** dx, dw and db of y = relu?(x * w + b), each only where it is needed. */
function gradients(grad: Tensor, saved: readonly Tensor[], p: Plan, types: Types, back: Backward): (Tensor | null)[] {
  const [x, w, y] = saved as [Tensor, Tensor, Tensor | undefined];
  let g = toFormat(cast(grad, x.dtype), 'channelsLast');
  const waiting = (i: number) => back.take(i, { dtype: sumType(x), format: 'contiguous' });
  const wantsBias = types.bias !== null && back.needs(2);
  const haveBias = wantsBias ? waiting(2) : undefined;
  let db: Tensor | null = null;
  if (y) ({ g, sum: db } = throughRelu(g, y, wantsBias, haveBias));
  else if (wantsBias) {
    const channels = p.y[1] as number;
    const rows = g.alias([channels ? g.size / channels : 0, channels], g.offset, 'contiguous');
    db = columnSum(rows, channels, haveBias);
  }
  let dw: Tensor | null = null;
  if (back.needs(1)) {
    const have = waiting(1);
    dw = have ?? unwritten(p.weight, sumType(x), x.device);
    run(gradWeightOp, [g, x], [dw], [...p.attrs, have ? 1 : 0]);
  }
  let dx: Tensor | null = null;
  if (back.needs(0)) {
    dx = unwritten(p.x, x.dtype, x.device, 'channelsLast');
    run(gradInputOp, [g, w], [dx], [...p.attrs, 0]);
  }
  const grads = [dx && cast(dx, types.x), dw && cast(dw, types.weight)];
  return types.bias === null ? grads : [...grads, db && cast(db, types.bias)];
}

/**
 * Convolution (cross-correlation, as in PyTorch) of x [N, C, H, W] with weight [O, C / groups, KH, KW], plus bias [O] or null; the result is
 * [N, O, H', W'] with H' = floor((H + 2 padding - dilation (KH - 1) - 1) / stride) + 1, channelsLast in memory (as is the gradient of x). Under
 * a 16-bit policy x and weight are rounded to it; sums and the gradients of weight and bias are f32.
 * @throws ShapeError for other shapes, or a kernel larger than the padded input; ConfigError for wrong options
 */
export function conv2d(x: Tensor, weight: Tensor, bias: Tensor | null = null, options: Conv2dOptions = {}): Tensor {
  checkFloat('conv2d', x);
  checkFloat('conv2d', weight, 'weight');
  checkDevice('conv2d', x, weight, bias);
  checkOptions('conv2d', options, ['stride', 'padding', 'dilation', 'groups', 'activation']);
  const { activation = 'none' } = options;
  if (activation !== 'none' && activation !== 'relu')
    throw new ConfigError(`conv2d: activation must be 'none' or 'relu', got ${describe(activation)}`);
  const p = plan(x, weight, options);
  if (bias != null) checkShapeIs('conv2d', checkFloat('conv2d', bias, 'bias'), [weight.shape[0] as number], 'bias');

  const a = toFormat(computeCopy(x), 'channelsLast');
  const w = toFormat(weightCopy(weight, a.dtype), 'contiguous');
  const relu = activation === 'relu';
  const out = unwritten(p.y, a.dtype, a.device, 'channelsLast');
  run(forwardOp, [a, w, bias && cast(bias, sumType(a))], [out], [...p.attrs, relu ? 1 : 0]);

  const types: Types = { x: x.dtype, weight: weight.dtype, bias: bias?.dtype ?? null };
  record('conv2d', bias ? [x, weight, bias] : [x, weight], [out], relu ? [a, w, out] : [a, w], ([g], saved, back) =>
    gradients(g as Tensor, saved, p, types, back),
  );
  return out;
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    conv2d(weight: Tensor, bias?: Tensor | null, options?: Conv2dOptions): Tensor;
  }
}
attach({ conv2d });
