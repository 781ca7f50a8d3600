// Writing where an index points: indexing.ts reads.
import { DTypeError, GraphError, ShapeError } from '../native/errors.ts';
import { current } from '../tensor/context.ts';
import { checkFits, isFloat } from '../tensor/dtype.ts';
import { broadcastShapes, type Shape, sameShape, show } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { arange } from './create.ts';
import { attach, cast, checkDevice, checkTensor, dense, filled, record, unwritten } from './define.ts';
import { broadcastTo, strided, whole } from './index.ts';
import { at, blockOf } from './indexing.ts';
import { type Index, parseIndex } from './indexing-parse.ts';
import { scatter } from './scatter.ts';
import { reshape } from './view.ts';

/** `value` (a number, or a tensor that broadcasts) as a tensor of `shape` and of x's dtype. */
function filling(op: string, x: Tensor, value: Tensor | number, shape: Shape): Tensor {
  if (typeof value === 'number') {
    checkFits(op, value, x.dtype);
    return filled(shape, value, x.dtype, x);
  }
  checkDevice(op, x, checkTensor(op, value, 'value'));
  if (isFloat(value.dtype) && !isFloat(x.dtype))
    throw new DTypeError(`${op}: ${value.dtype} values do not go into ${x.dtype}. Convert them: value.to('${x.dtype}').`);
  if (value.ndim > shape.length || !sameShape(broadcastShapes(op, value.shape, shape), shape))
    throw new ShapeError(`${op}: a value of ${show(value.shape)} does not broadcast to what the index picks, ${show(shape)}`);
  return dense(cast(broadcastTo(value, shape), x.dtype));
}

/**
 * x with `value` at the places that lists and index tensors pick: at() on the elements' own numbers tells which they are, and scatter writes there.
 * Of places named several times the last counts.
 */
function withLists(op: string, x: Tensor, value: Tensor | number, index: readonly Index[]): Tensor {
  const places = at(reshape(arange(x.size, undefined, 1, { device: x.device }), x.shape), ...index);
  const filler = filling(op, x, value, places.shape);
  const flat = scatter(reshape(x, [x.size]), reshape(places, [places.size]), reshape(filler, [places.size]), { axis: 0 });
  return reshape(flat, x.shape);
}

/**
 * x with `value` (a number, or a tensor that broadcasts) where the index points; every form of `at`. A copy, with gradients for both. Of places
 * that lists name several times the last counts.
 */
export function withAt(x: Tensor, value: Tensor | number, ...index: Index[]): Tensor {
  const from = dense(checkTensor('withAt', x));
  const parts = parseIndex('withAt', from.shape, index);
  if (parts.some((p) => p.kind === 'list')) return withLists('withAt', from, value, index);
  const { walk, shape } = blockOf(from.shape, parts);
  const filler = filling('withAt', from, value, shape);
  const all = whole(from.shape, 'contiguous');
  const out = unwritten(from.shape, from.dtype, from.device);
  strided(from, all, out, all, from.shape);
  const inside = whole(shape, 'contiguous');
  strided(filler, inside, out, walk, shape);
  record('withAt', [from, filler], [out], [], ([grad], _, back) => {
    const g = dense(grad as Tensor);
    let dx: Tensor | null = null;
    if (back.needs(0)) {
      dx = unwritten(g.shape, g.dtype, g.device);
      strided(g, all, dx, all, g.shape);
      strided(filled(shape, 0, g.dtype, g), inside, dx, walk, shape);
    }
    const dv = back.needs(1) ? strided(g, walk, unwritten(shape, g.dtype, g.device), inside, shape) : null;
    return [dx, dv];
  });
  return out;
}

/**
 * Writes `value` where the index points (every form of `at`), in x's own memory. Off the tape: for gradients use `withAt`, which copies.
 * @throws GraphError where x or value is part of a computation that gradients flow through
 */
export function setAt(x: Tensor, value: Tensor | number, ...index: Index[]): Tensor {
  checkTensor('setAt', x);
  if (current().grad && (x.tracked || (value instanceof Tensor && value.tracked)))
    throw new GraphError(
      'setAt: gradients flow through this tensor or the value, and writing would break them. Use x.withAt(value, ...), or noGrad().',
    );
  if (x.format !== 'contiguous') throw new ShapeError('setAt: the tensor is channelsLast in memory. Take x.contiguous() first.');
  const parts = parseIndex('setAt', x.shape, index);
  if (parts.some((p) => p.kind === 'list')) {
    const all = whole(x.shape, 'contiguous');
    strided(withLists('setAt', x.detach(), value instanceof Tensor ? value.detach() : value, index), all, x, all, x.shape);
  } else {
    const { walk, shape } = blockOf(x.shape, parts);
    strided(filling('setAt', x, value, shape).detach(), whole(shape, 'contiguous'), x, walk, shape);
  }
  x.storage.version++;
  return x;
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** A copy with `value` where the index points. */
    withAt(value: Tensor | number, ...index: Index[]): Tensor;
    /** Writes `value` where the index points; off the tape. */
    setAt(value: Tensor | number, ...index: Index[]): Tensor;
  }
}
attach({ withAt, setAt });
