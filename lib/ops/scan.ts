import { checkOptions } from '../native/errors.ts';
import { bind } from '../tensor/context.ts';
import { fromHost } from '../tensor/create.ts';
import { isFloat } from '../tensor/dtype.ts';
import { checkAxis, sizeOf } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { add, mul } from './binary.ts';
import { attach, cast, checkTensor, record } from './define.ts';
import { flip, narrow, pad } from './index.ts';
import { type AlongOptions, indexSelect } from './scatter.ts';
import { topK } from './select.ts';
import { reshape } from './view.ts';

// ---- running sums and products ----------------------------------------------------------------------------------------------

/** Each element with all before it along `axis`, in log2(n) passes (Hillis and Steele 1986): a fixed order, so bits repeat. */
function scan(x: Tensor, axis: number, combine: (a: Tensor, b: Tensor) => Tensor, neutral: number): Tensor {
  const n = x.shape[axis] as number;
  let y = x;
  for (let d = 1; d < n; d *= 2) {
    const padding = x.shape.map((_, i): [number, number] => [i === axis ? d : 0, 0]);
    y = combine(y, pad(narrow(y, axis, 0, n - d), padding, { value: neutral }));
  }
  return y;
}

/** What sums are kept in: f32 for 16-bit floats, i32 for whole numbers and bools. */
const wide = (x: Tensor): Tensor => cast(x, isFloat(x.dtype) ? (x.dtype === 'f64' ? 'f64' : 'f32') : 'i32');

/** Running sums along `axis` (default: the last). Whole numbers and bools add up to i32; 16-bit floats are summed in f32. */
export function cumsum(x: Tensor, options: AlongOptions = {}): Tensor {
  checkTensor('cumsum', x);
  checkOptions('cumsum', options, ['axis']);
  const axis = checkAxis('cumsum', options.axis ?? -1, x.ndim);
  const sums = bind({ grad: false }, () => scan(wide(x.detach()), axis, add, 0));
  const made = isFloat(x.dtype) ? cast(sums, x.dtype) : sums;
  const out = made.storage === x.storage ? made.alias() : made;
  // an element is in every sum from its own on
  if (isFloat(x.dtype)) record('cumsum', [x], [out], [], ([g]) => [flip(cumsum(flip(g as Tensor, axis), { axis }), axis)]);
  return out;
}

/** Running products along `axis` (default: the last). The gradient is right at zeros; it keeps log2(n) times x. */
export function cumprod(x: Tensor, options: AlongOptions = {}): Tensor {
  checkTensor('cumprod', x);
  checkOptions('cumprod', options, ['axis']);
  const axis = checkAxis('cumprod', options.axis ?? -1, x.ndim);
  const products = scan(wide(reshape(x, x.shape)), axis, mul, 1);
  return isFloat(x.dtype) ? cast(products, x.dtype) : products;
}

// ---- order ------------------------------------------------------------------------------------------------------------------

export interface SortOptions extends AlongOptions {
  /** The largest first. Default false. */
  descending?: boolean;
}
/**
 * Elements along `axis` (default: the last) in order, and the i32 places they came from. Stable; NaN counts as larger than every number. A GPU
 * compares all pairs of a row: it is meant for rows of some thousands.
 */
export const sort = (x: Tensor, options: SortOptions = {}): { values: Tensor; indices: Tensor } => sorted('sort', x, options);
/** The i32 places of elements along `axis` (default: the last) in order: `sort`'s indices. */
export const argsort = (x: Tensor, options: SortOptions = {}): Tensor => sorted('argsort', x, options).indices;

function sorted(op: string, x: Tensor, options: SortOptions): { values: Tensor; indices: Tensor } {
  checkTensor(op, x);
  checkOptions(op, options, ['axis', 'descending']);
  const axis = checkAxis(op, options.axis ?? -1, x.ndim);
  return topK(op === 'sort' ? x : x.detach(), x.shape[axis] as number, { axis, largest: !!options.descending });
}

export interface UniqueOptions {
  /** The different slices along this axis, in the order of their elements, instead of the different elements. */
  axis?: number;
}

/** What is alike becomes a group: numbered in `compare`'s order, with each item's group, a member of each group, and their sizes. */
function groups(
  n: number,
  compare: (i: number, j: number) => number,
): { inverse: Int32Array; first: number[]; counts: number[] } {
  const order = new Uint32Array(n).map((_, i) => i).sort((i, j) => compare(i, j) || i - j);
  const inverse = new Int32Array(n);
  const [first, counts]: [number[], number[]] = [[], []];
  order.forEach((item, at) => {
    if (at === 0 || compare(order[at - 1] as number, item) !== 0) {
      first.push(item);
      counts.push(0);
    }
    inverse[item] = first.length - 1;
    counts[first.length - 1] = (counts[first.length - 1] as number) + 1;
  });
  return { inverse, first, counts };
}

/**
 * The different elements of x in order [n]; for each element of x the place of its value among them (`inverse`, i32, x's shape); and how often
 * each comes (`counts`, i32 [n]). With `axis` slices along it instead of elements: `values` has n of them there, `inverse` is [length of the axis].
 * Waits for x, since the size of the result is in it, and sorts on the host. NaN differs from NaN, and stands last.
 */
export async function unique(
  x: Tensor,
  options: UniqueOptions = {},
): Promise<{ values: Tensor; inverse: Tensor; counts: Tensor }> {
  checkTensor('unique', x);
  checkOptions('unique', options, ['axis']);
  const { shape, device } = x;
  const axis = options.axis === undefined ? null : checkAxis('unique', options.axis, x.ndim);
  const data = (await x.data()) as ArrayLike<number>;
  const items = axis === null ? data.length : (shape[axis] as number);
  // Slices in the order of memory: `outer` runs of `inner` elements each, `items * inner` apart.
  const inner = axis === null ? 1 : sizeOf(shape.slice(axis + 1));
  const outer = axis === null ? 1 : sizeOf(shape.slice(0, axis));
  const compare = (i: number, j: number): number => {
    for (let o = 0; o < outer; o++)
      for (let e = 0; e < inner; e++) {
        const [a, b] = [data[(o * items + i) * inner + e] as number, data[(o * items + j) * inner + e] as number];
        if (a < b) return -1;
        if (a > b) return 1;
        if (a !== b) return Number.isNaN(b) ? (Number.isNaN(a) ? i - j : -1) : 1;
      }
    return 0;
  };
  const { inverse, first, counts } = groups(items, compare);
  return {
    values: axis === null ? indexSelect(reshape(x.detach(), [items]), 0, first) : indexSelect(x.detach(), axis, first),
    inverse: fromHost(inverse, axis === null ? shape : [items], 'i32', device),
    counts: fromHost(Int32Array.from(counts), [counts.length], 'i32', device),
  };
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    cumsum(options?: AlongOptions): Tensor;
    cumprod(options?: AlongOptions): Tensor;
    /** In order along an axis (default: the last), and the places. */
    sort(options?: SortOptions): { values: Tensor; indices: Tensor };
    argsort(options?: SortOptions): Tensor;
    /** The different elements, or slices, in order. Waits for the tensor. */
    unique(options?: UniqueOptions): Promise<{ values: Tensor; inverse: Tensor; counts: Tensor }>;
  }
}
attach({ cumsum, cumprod, sort, argsort, unique });
