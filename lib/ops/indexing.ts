import { DTypeError, ShapeError } from '../native/errors.ts';
import { bind } from '../tensor/context.ts';
import { fromHost } from '../tensor/create.ts';
import { isFloat } from '../tensor/dtype.ts';
import { broadcastShapes, type Shape, sameShape, show, sizeOf } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { add, ge, lt, mul } from './binary.ts';
import { attach, checkDevice, checkTensor, dense, filled, record, unwritten } from './define.ts';
import { embedding } from './embedding.ts';
import { broadcastTo, permute, strided, type Walk, whole } from './index.ts';
import { type HostIndex, type Index, type Part, parseIndex } from './indexing-parse.ts';
import { gather, where } from './select.ts';
import { reshape } from './view.ts';

export type { Index } from './indexing-parse.ts';

/** The block that numbers, slices and new dimensions pick of a contiguous tensor; dimensions with lists stay whole. */
export function blockOf(shape: Shape, parts: readonly Part[]): { walk: Walk; shape: number[] } {
  let offset = 0;
  const [strides, dims]: [number[], number[]] = [[], []];
  let step = sizeOf(shape);
  let axis = 0;
  for (const p of parts) {
    if (p.kind === 'new') {
      strides.push(0);
      dims.push(1);
      continue;
    }
    const n = shape[axis++] as number;
    step = n ? step / n : 0;
    if (p.kind === 'int') offset += p.at * step;
    else if (p.kind === 'slice') {
      if (p.length > 0) offset += p.start * step;
      strides.push(p.step * step);
      dims.push(p.length);
    } else {
      strides.push(step);
      dims.push(n);
    }
  }
  return { walk: { offset, strides }, shape: dims };
}

const isAll = (p: Part, n: number) =>
  p.kind === 'list' || (p.kind === 'slice' && p.start === 0 && p.step === 1 && p.length === n);

/** A copy of a block, or x itself where lists go on and the block is all of it. */
function block(x: Tensor, parts: readonly Part[]): Tensor {
  const listed = parts.some((p) => p.kind === 'list');
  if (listed && parts.length === x.ndim && parts.every((p, i) => isAll(p, x.shape[i] as number))) return x;
  const { walk, shape } = blockOf(x.shape, parts);
  const out = unwritten(shape, x.dtype, x.device);
  strided(x, walk, out, whole(shape, 'contiguous'), shape);
  const { shape: from, dtype } = x;
  // the gradient of what was picked lies where it came from
  record('at', [x], [out], [], ([g], _, back) => {
    const have = back.take(0, { dtype, format: 'contiguous' });
    const dx = have ?? filled(from, 0, dtype, g as Tensor);
    return [strided(dense(g as Tensor), whole(shape, 'contiguous'), dx, walk, shape, have !== undefined)];
  });
  return out;
}

const onDevice = (i: Tensor | HostIndex, x: Tensor): Tensor =>
  i instanceof Tensor ? i : fromHost(Int32Array.from(i.values), i.shape, 'i32', x.device);

/** Places along several dimensions as one number each; -1, which no row has, where one is outside of its dimension. */
function linear(lists: readonly { index: Tensor | HostIndex; n: number }[], x: Tensor): Tensor {
  const one = lists.length === 1;
  const checked = lists.map(({ index, n }) => {
    const i = onDevice(index, x);
    if (!(index instanceof Tensor)) return { i, inside: null };
    const positive = where(lt(i, 0), add(i, n), i);
    return { i: positive, inside: one ? null : mul(ge(positive, 0).to('i32'), lt(positive, n).to('i32')) };
  });
  let sum: Tensor | null = null;
  let inside: Tensor | null = null;
  let step = 1;
  for (let k = lists.length - 1; k >= 0; k--) {
    const { i, inside: here } = checked[k] as (typeof checked)[number];
    const part = step === 1 ? i : mul(i, step);
    sum = sum ? add(sum, part) : part;
    if (here) inside = inside ? mul(inside, here) : here;
    step *= (lists[k] as { n: number }).n;
  }
  return inside ? where(inside.to('bool'), sum as Tensor, -1) : (sum as Tensor);
}

/** Rows of x [n, width] by index, of any dtype. */
function rows(x: Tensor, index: Tensor, shape: Shape): Tensor {
  const width = x.shape[1] as number;
  if (isFloat(x.dtype))
    return reshape(
      bind({ precision: 'f32' }, () => embedding(index, x)),
      shape,
    );
  const at = broadcastTo(reshape(index, [index.size, 1]), [index.size, width]);
  // gather asks for an index of x's width, and any number of rows
  return reshape(gather(x, at, { axis: 0 }), shape);
}

/** Lists picked out of y, whose dimensions `axes` they index; their shape stands first, or where they stood if that is one place. */
function lists(y: Tensor, axes: readonly number[], parts: readonly (Part & { kind: 'list' })[], place: number): Tensor {
  const shape = parts.reduce<Shape>((s, { index }) => broadcastShapes('at', s, index.shape), []);
  const others = y.shape.map((_, i) => i).filter((i) => !axes.includes(i));
  const order = [...axes, ...others];
  const first = order.every((a, i) => a === i) ? y : permute(y, order);
  const rest = others.map((a) => y.shape[a] as number);
  const n = parts.reduce((product, p) => product * p.n, 1);
  const index = linear(parts, y);
  const picked = rows(reshape(first, [n, sizeOf(rest)]), sameShape(index.shape, shape) ? index : broadcastTo(index, shape), [
    ...shape,
    ...rest,
  ]);
  if (place === 0) return picked;
  const [k, before] = [shape.length, Array.from({ length: place }, (_, i) => i)];
  const back = [...before.map((i) => k + i), ...shape.map((_, i) => i), ...rest.slice(place).map((_, i) => k + place + i)];
  return permute(picked, back);
}

/**
 * NumPy's indexing: `x.at(0)`, `x.at('1:3', '...', -1)`, `x.at('::-1')`, `x.at(null, 2)`, `x.at([0, 2], [1, 1])`, `x.at(indices)`. Numbers drop
 * their dimension; slices and '...' keep theirs; null adds one of 1; lists of whole numbers and i32 tensors are broadcast together and pick single
 * elements; nested lists of booleans pick where they are true. A copy, with gradients. For a mask on the device: `await x.maskedSelect(mask)`.
 * @throws ShapeError, ConfigError, DTypeError for an index that does not fit
 * @throws DataError at the next await for an index tensor with an element outside of its dimension
 */
export function at(x: Tensor, ...index: Index[]): Tensor {
  checkTensor('at', x);
  const parts = parseIndex('at', x.shape, index);
  for (const p of parts) if (p.kind === 'list' && p.index instanceof Tensor) checkDevice('at', x, p.index);
  const y = block(dense(x), parts);
  const many = parts.filter((p) => p.kind === 'list');
  if (many.length === 0) return y;
  const kept = parts.filter((p) => p.kind !== 'int');
  const axes = kept.flatMap((p, i) => (p.kind === 'list' ? [i] : []));
  // Numbers count as lists here: with a slice between, what was picked stands first.
  const picking = parts.flatMap((p, i) => (p.kind === 'list' || p.kind === 'int' ? [i] : []));
  const [from, to] = [picking[0] as number, picking[picking.length - 1] as number];
  const together = to - from === picking.length - 1;
  return lists(y, axes, many, together ? parts.slice(0, from).length : 0);
}

/**
 * The elements of `x` where `mask` (bool, of x's shape or its first dimensions) is true, in order: [count, ...]. Waits for the mask, since the
 * result's size is in it; gradients flow.
 */
export async function maskedSelect(x: Tensor, mask: Tensor): Promise<Tensor> {
  checkTensor('maskedSelect', x);
  checkDevice('maskedSelect', x, checkTensor('maskedSelect', mask, 'mask'));
  if (mask.dtype !== 'bool' && mask.dtype !== 'u8')
    throw new DTypeError(`maskedSelect: mask must be bool, got ${mask.dtype}. Compare first: x.gt(0).`);
  const k = mask.ndim;
  if (!sameShape(mask.shape, x.shape.slice(0, k)))
    throw new ShapeError(
      `maskedSelect: mask ${show(mask.shape)} must have the shape of x ${show(x.shape)}, or its first dimensions`,
    );
  const values = await mask.data();
  const places: number[] = [];
  for (let i = 0; i < values.length; i++) if (values[i]) places.push(i);
  return at(reshape(x, [mask.size, ...x.shape.slice(k)]), places.length ? places : '0:0');
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** NumPy's indexing: numbers, slices ('1:5', '::-1'), '...', null, lists, i32 tensors. A copy. */
    at(...index: Index[]): Tensor;
    /** The elements where a bool mask is true. Waits for the mask. */
    maskedSelect(mask: Tensor): Promise<Tensor>;
  }
}
attach({ at, maskedSelect });
