import { ConfigError, describe, needOptions, ShapeError } from '../native/errors.ts';
import { checkAxis, type Shape, show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { checkTensor, dense, filled, nativeOp, record, run, unwritten } from './define.ts';
import { collapse } from './index.ts';

const stridedOp = nativeOp('strided');

export interface UnfoldOptions {
  /** The axis that windows move along. Default: the last. */
  axis?: number;
  /** Elements of a window. */
  size: number;
  /** From one window to the next. Default 1. */
  step?: number;
  /** From one element of a window to the next. Default 1. */
  dilation?: number;
}

const plainStrides = (shape: Shape): number[] => {
  const strides = shape.map(() => 1);
  for (let i = shape.length - 2; i >= 0; i--) strides[i] = (strides[i + 1] as number) * (shape[i + 1] as number);
  return strides;
};

/** out[to] (+)= x[from], for a block of `dims` elements of two plain tensors. */
function move(
  x: Tensor,
  from: number,
  source: number[],
  out: Tensor,
  to: number,
  target: number[],
  dims: number[],
  add: boolean,
) {
  const c = collapse(dims, [source, target]);
  run(stridedOp, [x], [out], [c.dims.length, from, to, add ? 1 : 0, ...c.dims, ...c.strides.flat()]);
}

/**
 * Windows along an axis, side by side: [..., L, ...] to [..., windows, ..., size] (PyTorch's Tensor.unfold, and with dilation). A copy, since
 * windows may overlap; their gradients add up in order.
 * @throws ShapeError where no window fits
 */
export function unfold(x: Tensor, options: UnfoldOptions): Tensor {
  checkTensor('unfold', x);
  needOptions('unfold', options, ['axis', 'size', 'step', 'dilation'], '{ size: 3 }');
  const axis = checkAxis('unfold', options.axis ?? -1, x.ndim);
  const { size, step = 1, dilation = 1 } = options;
  for (const [name, v] of Object.entries({ size, step, dilation }))
    if (!Number.isSafeInteger(v) || v < 1)
      throw new ConfigError(`unfold: ${name} must be a whole number of at least 1, got ${describe(v)}`);
  const length = x.shape[axis] as number;
  const reach = (size - 1) * dilation + 1;
  if (reach > length) throw new ShapeError(`unfold: a window of ${reach} is longer than dimension ${axis} of ${show(x.shape)}`);
  const count = Math.floor((length - reach) / step) + 1;
  const windows = x.shape.map((d, i) => (i === axis ? count : d));
  const shape = [...windows, size];
  const own = plainStrides(x.shape);
  const stride = own[axis] as number;
  const moving = own.map((s, i) => (i === axis ? s * step : s));
  const out = unwritten(shape, x.dtype, x.device);
  move(dense(x), 0, [...moving, stride * dilation], out, 0, plainStrides(shape), shape, false);
  const { shape: from, dtype } = x;
  // Each place in the window by itself: what overlaps is then never added to twice in one pass.
  record('unfold', [x], [out], [], ([grad], _, back) => {
    const g = dense(grad as Tensor);
    const have = back.take(0, { dtype, format: 'contiguous' });
    const dx = have ?? filled(from, 0, dtype, g);
    const places = plainStrides(shape).slice(0, -1);
    for (let k = 0; k < size; k++) move(g, k, places, dx, k * dilation * stride, moving, windows, true);
    return [dx];
  });
  return out;
}
