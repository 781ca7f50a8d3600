import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import { bytesOf, checkFits, type DType, promote } from '../tensor/dtype.ts';
import { broadcastShapes, checkAxes, checkAxis, checkShape, type Shape, sameShape, show } from '../tensor/shape.ts';
import type { Format, Tensor } from '../tensor/tensor.ts';
import { attach, cast, checkDevice, checkNumber, checkTensor, filled, nativeOp, record, run, unwritten } from './define.ts';
import { sumTo } from './reduce.ts';
import { unsqueeze } from './view.ts';

// ---- the one kernel that moves elements -------------------------------------------------------------------------------------

const stridedOp = nativeOp('strided');
const fillOp = nativeOp('fill');

/** Where a block of elements lies in a tensor's memory: offset of its first element, stride of each dimension (0 repeats, negative flips). */
export interface Walk {
  offset: number;
  strides: readonly number[];
}

/** Strides of a tensor's dimensions, in elements, in the memory of either format. */
function stridesOf(shape: Shape, format: Format = 'contiguous'): number[] {
  const strides = new Array<number>(shape.length);
  const order = format === 'channelsLast' ? [0, 2, 3, 1] : shape.map((_, i) => i);
  let step = 1;
  for (let i = order.length - 1; i >= 0; i--) {
    const d = order[i] as number;
    strides[d] = step;
    step *= shape[d] as number;
  }
  return strides;
}

/** The block of a tensor that begins at `start` along `axis`. */
function blockAt(shape: Shape, format: Format, axis: number, start: number): Walk {
  const strides = stridesOf(shape, format);
  return { offset: start * (strides[axis] as number), strides };
}
export const whole = (shape: Shape, format: Format): Walk => ({ offset: 0, strides: stridesOf(shape, format) });

/** Merges neighbouring dimensions wherever every operand's strides allow it, so that kernels see few and long loops. */
export function collapse(
  dims: Shape,
  strides: readonly (readonly number[])[],
): { dims: readonly number[]; strides: readonly (readonly number[])[] } {
  const out: number[] = [];
  const kept: number[][] = strides.map(() => []);
  dims.forEach((d, i) => {
    if (d === 1) return;
    const last = out.length - 1;
    const merge = last >= 0 && strides.every((s, o) => (kept[o] as number[])[last] === (s[i] as number) * d);
    if (merge) out[last] = (out[last] as number) * d;
    else out.push(d);
    strides.forEach((s, o) => {
      (kept[o] as number[])[out.length - 1] = s[i] as number;
    });
  });
  return { dims: out, strides: kept };
}

/** out[to] = x[from] for a block of `dims` elements, or += where `add`. */
export function strided(x: Tensor, from: Walk, out: Tensor, to: Walk, dims: Shape, add = false): Tensor {
  // The kernel runs along the output's memory: its dimensions in the order of their strides there.
  const order = dims.map((_, i) => i).sort((a, b) => (to.strides[b] as number) - (to.strides[a] as number) || a - b);
  const pick = (v: readonly number[]) => order.map((i) => v[i] as number);
  const c = collapse(pick(dims), [pick(from.strides), pick(to.strides)]);
  run(stridedOp, [x], [out], [c.dims.length, from.offset, to.offset, add ? 1 : 0, ...c.dims, ...c.strides.flat()]);
  return out;
}

// ---- broadcast, permute, flip -----------------------------------------------------------------------------------------------

/** Strides with which a tensor of shape `from` repeats over `shape`. */
export function repeatingStrides(from: Shape, shape: Shape, format: Format = 'contiguous'): number[] {
  const own = stridesOf(from, format);
  const missing = shape.length - from.length;
  return shape.map((_, i) => (i < missing || from[i - missing] === 1 ? 0 : (own[i - missing] as number)));
}

/** `x` repeated to `shape` by NumPy's rule: aligned at the end, dimensions of 1 repeat. A copy. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  checkTensor('broadcastTo', x);
  if (sameShape(x.shape, checkShape('broadcastTo', shape))) return x;
  if (x.ndim > shape.length || !sameShape(broadcastShapes('broadcastTo', x.shape, shape), shape))
    throw new ShapeError(`broadcastTo: ${show(x.shape)} does not repeat to ${show(shape)}: only dimensions of 1 do`);
  const out = unwritten(shape, x.dtype, x.device);
  const from = { offset: 0, strides: repeatingStrides(x.shape, shape, x.format) };
  strided(x, from, out, whole(shape, 'contiguous'), shape);
  const to = x.shape;
  // each element's gradient: the sum over its repetitions
  record('broadcastTo', [x], [out], [], ([g]) => [g && sumTo(g, to)]);
  return out;
}

/** The dimensions in the order of `axes`: out.shape[i] = x.shape[axes[i]]. A copy. */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  checkTensor('permute', x);
  if (!Array.isArray(axes) || axes.length !== x.ndim)
    throw new ShapeError(
      `permute: axes must name each of the ${x.ndim} dimensions of ${show(x.shape)} once, got ${describe(axes)}`,
    );
  checkAxes('permute', axes, x.ndim);
  const order = axes.map((a) => checkAxis('permute', a, x.ndim));
  const shape = order.map((a) => x.shape[a] as number);
  const out = unwritten(shape, x.dtype, x.device);
  const own = stridesOf(x.shape, x.format);
  strided(x, { offset: 0, strides: order.map((a) => own[a] as number) }, out, whole(shape, 'contiguous'), shape);
  const back = order.map((_, i) => order.indexOf(i));
  record('permute', [x], [out], [], ([g]) => [g && permute(g, back)]);
  return out;
}

/** Dimensions `a` and `b` exchanged; default: the last two. A copy: for products use matmul's transposeA and transposeB, which cost nothing. */
export function transpose(x: Tensor, a = -2, b = -1): Tensor {
  checkTensor('transpose', x);
  const axes = x.shape.map((_, i) => i);
  const [i, j] = [checkAxis('transpose', a, x.ndim), checkAxis('transpose', b, x.ndim)];
  axes[i] = j;
  axes[j] = i;
  return permute(x, axes);
}

/** The order of elements reversed along `axes` (default: all). A copy. */
export function flip(x: Tensor, axes?: number | readonly number[]): Tensor {
  checkTensor('flip', x);
  const list = checkAxes('flip', axes, x.ndim);
  const out = unwritten(x.shape, x.dtype, x.device, x.format);
  const own = stridesOf(x.shape, x.format);
  let offset = 0;
  for (const a of list) {
    offset += Math.max(0, (x.shape[a] as number) - 1) * (own[a] as number);
    own[a] = -(own[a] as number);
  }
  strided(x, { offset, strides: own }, out, whole(x.shape, x.format), x.shape);
  record('flip', [x], [out], [], ([g]) => [g && flip(g, list)]);
  return out;
}

// ---- parts and wholes -------------------------------------------------------------------------------------------------------

const withAxis = (shape: Shape, axis: number, n: number): number[] => shape.map((d, i) => (i === axis ? n : d));

/** Is a block along `axis` one piece of memory? */
const leading = (x: Tensor, axis: number): boolean =>
  x.shape.slice(0, axis).every((d) => d === 1) && (x.format === 'contiguous' || axis === 0);

/** `length` elements of `x` from `start` along `axis`, without a rule for backward: a view where they are one piece of memory. */
function part(x: Tensor, axis: number, start: number, length: number): Tensor {
  const shape = withAxis(x.shape, axis, length);
  const from = blockAt(x.shape, x.format, axis, start);
  if (leading(x, axis)) return x.alias(shape, x.offset + from.offset * bytesOf(x.dtype));
  const out = unwritten(shape, x.dtype, x.device, x.format);
  return strided(x, from, out, whole(shape, x.format), shape);
}

interface Place {
  start: number;
  length: number;
}

/**
 * Puts parts of `x` on the tape. The gradient of `x` is those of its parts side by side, 0 where there is none; one that waits already
 * receives them in place.
 */
function recordParts(op: string, x: Tensor, parts: readonly Tensor[], axis: number, places: readonly Place[]): void {
  const { shape, dtype, format } = x;
  record(op, [x], parts, [], (grads, _, back) => {
    const have = back.take(0, { dtype, format });
    const first = grads.find((g) => g) as Tensor;
    const covered = places.reduce((n, p, i) => n + (grads[i] ? p.length : 0), 0);
    const dx = have ?? unwritten(shape, dtype, first.device, format);
    if (!have && covered !== shape[axis]) run(fillOp, [], [dx], [0]);
    places.forEach(({ start }, i) => {
      const g = grads[i];
      if (g) strided(g, whole(g.shape, g.format), dx, blockAt(shape, format, axis, start), g.shape, have !== undefined);
    });
    return [dx];
  });
}

/**
 * `length` elements from `start` along `axis`; a negative `start` counts from the back. A view along the first dimension (or where those before
 * it are 1), else a copy.
 */
export function narrow(x: Tensor, axis: number, start: number, length: number): Tensor {
  checkTensor('narrow', x);
  const a = checkAxis('narrow', axis, x.ndim);
  const n = x.shape[a] as number;
  const whole = Number.isInteger(start) && Number.isInteger(length);
  const s = whole && start < 0 ? start + n : start;
  if (!whole || s < 0 || length < 0 || s + length > n)
    throw new ShapeError(
      `narrow: ${describe(length)} elements from ${describe(start)} do not lie within dimension ${axis} of ${show(x.shape)}`,
    );
  const out = part(x, a, s, length);
  recordParts('narrow', x, [out], a, [{ start: s, length }]);
  return out;
}

/**
 * Parts of `x` along `axis` (default 0): of the given sizes, or all of size `sizes` (the last may be smaller). Views along the first
 * dimension, else copies.
 */
export function split(x: Tensor, sizes: number | readonly number[], options: { axis?: number } = {}): Tensor[] {
  checkTensor('split', x);
  checkOptions('split', options, ['axis']);
  const a = checkAxis('split', options.axis ?? 0, x.ndim);
  const n = x.shape[a] as number;
  if (Array.isArray(sizes) ? !sizes.every(Number.isInteger) : !(Number.isInteger(sizes) && (sizes as number) > 0))
    throw new ConfigError(
      `split: the size of the parts must be a whole number above 0, or a list of sizes, got ${describe(sizes)}`,
    );
  const list =
    typeof sizes === 'number'
      ? Array.from({ length: Math.max(1, Math.ceil(n / sizes)) }, (_, i) => Math.min(sizes, n - i * sizes))
      : [...sizes];
  if (list.some((s) => !Number.isInteger(s) || s < 0) || list.reduce((t, s) => t + s, 0) !== n)
    throw new ShapeError(`split: sizes ${show(list)} do not add up to ${n}, dimension ${options.axis ?? 0} of ${show(x.shape)}`);
  let at = 0;
  const places = list.map((length) => {
    at += length;
    return { start: at - length, length };
  });
  const parts = places.map(({ start, length }) => part(x, a, start, length));
  recordParts('split', x, parts, a, places);
  return parts;
}

function checkList(op: string, tensors: readonly Tensor[]): DType {
  if (!Array.isArray(tensors) || tensors.length === 0)
    throw new ConfigError(`${op}: needs a list of at least one tensor, got ${describe(tensors)}`);
  for (const [i, t] of tensors.entries()) checkTensor(op, t, `tensors[${i}]`);
  checkDevice(op, ...tensors);
  return tensors.reduce((d, t) => promote(op, d, t.dtype), (tensors[0] as Tensor).dtype);
}

/** Tensors joined along `axis` (default 0); their other dimensions must agree. Floats widen to the widest. channelsLast if all are. */
export function concat(tensors: readonly Tensor[], options: { axis?: number } = {}): Tensor {
  checkOptions('concat', options, ['axis']);
  const dtype = checkList('concat', tensors);
  const list = tensors.map((t) => cast(t, dtype));
  const [first] = list as [Tensor];
  const a = checkAxis('concat', options.axis ?? 0, first.ndim);
  list.forEach((t, i) => {
    if (t.ndim !== first.ndim || !sameShape(withAxis(t.shape, a, 0), withAxis(first.shape, a, 0)))
      throw new ShapeError(
        `concat: tensors[${i}] ${show(t.shape)} does not fit ${show(first.shape)}: all dimensions but ${a} must agree`,
      );
  });
  const lengths = list.map((t) => t.shape[a] as number);
  const shape = withAxis(
    first.shape,
    a,
    lengths.reduce((t, n) => t + n, 0),
  );
  const format = list.every((t) => t.format === 'channelsLast') ? 'channelsLast' : 'contiguous';
  const out = unwritten(shape, dtype, first.device, format);
  let at = 0;
  const starts = list.map((t, i) => {
    strided(t, whole(t.shape, t.format), out, blockAt(shape, format, a, at), t.shape);
    at += lengths[i] as number;
    return at - (lengths[i] as number);
  });
  const own = list.map((t) => t.format);
  record('concat', list, [out], [], ([grad], _, back) => {
    const g = grad as Tensor;
    return starts.map((start, i) => {
      if (!back.needs(i)) return null;
      const like = { dtype, format: own[i] as Format };
      const have = back.take(i, like);
      const part = withAxis(shape, a, lengths[i] as number);
      const dx = have ?? unwritten(part, dtype, g.device, like.format);
      return strided(g, blockAt(shape, g.format, a, start), dx, whole(part, like.format), part, have !== undefined);
    });
  });
  return out;
}

/** Tensors of one shape joined along a new dimension before `axis` (default 0). */
export function stack(tensors: readonly Tensor[], options: { axis?: number } = {}): Tensor {
  checkOptions('stack', options, ['axis']);
  checkList('stack', tensors);
  const [first] = tensors as readonly [Tensor];
  const a = checkAxis('stack', options.axis ?? 0, first.ndim + 1);
  tensors.forEach((t, i) => {
    if (!sameShape(t.shape, first.shape))
      throw new ShapeError(`stack: tensors[${i}] ${show(t.shape)} must have the shape of the first, ${show(first.shape)}`);
  });
  return concat(
    tensors.map((t) => unsqueeze(t, a)),
    { axis: a },
  );
}

/** `x` with `padding[i] = [before, after]` elements of `value` (default 0) around dimension i. */
export function pad(x: Tensor, padding: readonly (readonly [number, number])[], options: { value?: number } = {}): Tensor {
  checkTensor('pad', x);
  checkOptions('pad', options, ['value']);
  const value = checkNumber('pad', options.value ?? 0, 'value');
  if (!Array.isArray(padding) || padding.length !== x.ndim)
    throw new ShapeError(`pad: padding must be one [before, after] per dimension of ${show(x.shape)}, got ${describe(padding)}`);
  if (padding.some((p) => !Array.isArray(p) || p.length !== 2 || p.some((n) => !Number.isInteger(n) || n < 0)))
    throw new ConfigError(`pad: padding must be pairs of whole numbers >= 0, got ${describe(padding)}`);
  checkFits('pad', value, x.dtype);
  const shape = x.shape.map((d, i) => d + (padding[i] as [number, number])[0] + (padding[i] as [number, number])[1]);
  const out = filled(shape, value, x.dtype, x);
  const place = (format: Format): Walk => {
    const strides = stridesOf(shape, format);
    return { offset: strides.reduce((o, s, i) => o + s * (padding[i] as [number, number])[0], 0), strides };
  };
  const { shape: inner, format, dtype } = x;
  strided(x, whole(inner, format), out, place(format), inner);
  record('pad', [x], [out], [], ([grad], _, back) => {
    const g = grad as Tensor;
    const have = back.take(0, { dtype, format });
    const dx = have ?? unwritten(inner, dtype, g.device, format);
    return [strided(g, place(g.format), dx, whole(inner, format), inner, have !== undefined)];
  });
  return out;
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** Repeated to `shape` by NumPy's broadcasting. A copy. */
    broadcastTo(shape: readonly number[]): Tensor;
    /** The dimensions in the order of `axes`. A copy. */
    permute(axes: readonly number[]): Tensor;
    /** Two dimensions exchanged; default: the last two. A copy. */
    transpose(a?: number, b?: number): Tensor;
    /** Reversed along `axes`; default: all. A copy. */
    flip(axes?: number | readonly number[]): Tensor;
    /** `length` elements from `start` along `axis`. A view along the first dimension, else a copy. */
    narrow(axis: number, start: number, length: number): Tensor;
    /** Parts along `axis`. Views along the first dimension, else copies. */
    split(sizes: number | readonly number[], options?: { axis?: number }): Tensor[];
    pad(padding: readonly (readonly [number, number])[], options?: { value?: number }): Tensor;
  }
}
attach({ broadcastTo, permute, transpose, flip, narrow, split, pad });
