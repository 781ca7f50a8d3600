import { ShapeError } from '../native/errors.ts';
import { broadcastShapes, type Shape, sameShape, show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { attach, checkTensor, dense, nativeOp, record, run, unwritten } from './define.ts';
import { sumTo } from './reduce.ts';

const stridedOp = nativeOp('strided');

// ---- the one kernel that moves elements -------------------------------------------------------------------------------------

/** Strides of contiguous memory, in elements. */
function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  for (let i = shape.length - 1, step = 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i] as number;
  }
  return strides;
}

/** Merges neighbouring dimensions wherever every operand's strides allow it, so that kernels see few and long loops. */
function collapse(dims: Shape, strides: readonly (readonly number[])[]): { dims: number[]; strides: number[][] } {
  const out: number[] = [];
  const kept: number[][] = strides.map(() => []);
  dims.forEach((d, i) => {
    if (d === 1) return;
    const last = out.length - 1;
    if (last >= 0 && strides.every((s, o) => (kept[o] as number[])[last] === (s[i] as number) * d)) {
      out[last] = (out[last] as number) * d;
      for (let o = 0; o < strides.length; o++) (kept[o] as number[])[last] = (strides[o] as number[])[i] as number;
    } else {
      out.push(d);
      for (let o = 0; o < strides.length; o++) (kept[o] as number[]).push((strides[o] as number[])[i] as number);
    }
  });
  return { dims: out, strides: kept };
}

/** Where a block of `dims` elements lies in a tensor: element offset and strides. */
interface Walk {
  offset: number;
  strides: readonly number[];
}

/** out[block] = x[block], or += where `add`. Both are contiguous tensors; each is walked by strides of its own (0 repeats, negative flips). */
function strided(x: Tensor, from: Walk, out: Tensor, to: Walk, dims: Shape, add = false): Tensor {
  const c = collapse(dims, [from.strides, to.strides]);
  const [source, target] = c.strides as [number[], number[]];
  run(stridedOp, [x], [out], [c.dims.length, from.offset, to.offset, add ? 1 : 0, ...c.dims, ...source, ...target]);
  return out;
}

// ---- broadcast --------------------------------------------------------------------------------------------------------------

/** `x` repeated to `shape` by NumPy's rule: aligned at the end, dimensions of 1 repeat. A copy. */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  checkTensor('broadcastTo', x);
  if (sameShape(x.shape, shape)) return x;
  if (x.ndim > shape.length || !sameShape(broadcastShapes('broadcastTo', x.shape, shape), shape))
    throw new ShapeError(`broadcastTo: ${show(x.shape)} does not repeat to ${show(shape)}: only dimensions of 1 do`);
  const plain = dense(x);
  const missing = shape.length - x.ndim;
  const own = stridesOf(x.shape);
  const strides = shape.map((_, i) => (i < missing || x.shape[i - missing] === 1 ? 0 : (own[i - missing] as number)));
  const out = unwritten(shape, x.dtype, x.device);
  strided(plain, { offset: 0, strides }, out, { offset: 0, strides: stridesOf(shape) }, shape);
  const to = x.shape;
  // each element's gradient: the sum over its repetitions
  record('broadcastTo', [plain], [out], [], ([g]) => [g && sumTo(g, to)]);
  return out;
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** Repeated to `shape` by NumPy's broadcasting. A copy. */
    broadcastTo(shape: readonly number[]): Tensor;
  }
}
attach({ broadcastTo });
