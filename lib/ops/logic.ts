import { checkOptions } from '../native/errors.ts';
import { isFloat } from '../tensor/dtype.ts';
import { checkAxes } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { eq, gt, lt, maximum, minimum, ne, type Operand } from './binary.ts';
import { attach, checkTensor, filled } from './define.ts';
import { type ReduceOptions, sum } from './reduce.ts';
import { abs } from './unary.ts';

// ---- of what kind a number is -----------------------------------------------------------------------------------------------

/** True where NaN. */
export function isnan(x: Tensor): Tensor {
  return ne(checkTensor('isnan', x), x);
}
/** True where infinite, of either sign. Whole numbers never are. */
export function isinf(x: Tensor): Tensor {
  return isFloat(checkTensor('isinf', x).dtype) ? eq(abs(x), Infinity) : filled(x.shape, 0, 'bool', x);
}
/** True where neither infinite nor NaN. */
export function isfinite(x: Tensor): Tensor {
  return isFloat(checkTensor('isfinite', x).dtype) ? lt(abs(x), Infinity) : filled(x.shape, 1, 'bool', x);
}

// ---- truth ------------------------------------------------------------------------------------------------------------------

/** What is not 0 is true, NaN too. */
const truth = (op: string, x: Operand): Operand =>
  typeof x === 'number' ? +(x !== 0) : checkTensor(op, x).dtype === 'bool' ? x : ne(x, 0);
function logical(op: string, of: (a: Operand, b: Operand) => Tensor): (a: Operand, b: Operand) => Tensor {
  return (a, b) => of(truth(op, a), truth(op, b));
}
/** True where both are not 0: bool, by NumPy's broadcasting. */
export const logicalAnd = logical('logicalAnd', minimum);
/** True where one or both are not 0. */
export const logicalOr = logical('logicalOr', maximum);
/** True where exactly one is not 0. */
export const logicalXor = logical('logicalXor', ne);
/** True where 0. */
export function logicalNot(x: Tensor): Tensor {
  return eq(checkTensor('logicalNot', x), 0);
}

// ---- over axes --------------------------------------------------------------------------------------------------------------

function counted(op: string, x: Tensor, options: ReduceOptions, test: (x: Tensor, value: number) => Tensor): Tensor {
  checkTensor(op, x);
  checkOptions(op, options, ['axis', 'keepDims']);
  checkAxes(op, options.axis, x.ndim);
  return sum(test(x, 0), options);
}
/** How many elements over `axis` are not 0, i32. */
export const countNonzero = (x: Tensor, options: ReduceOptions = {}): Tensor => counted('countNonzero', x, options, ne);
/** Is any element over `axis` not 0? Of none, false. */
export const any = (x: Tensor, options: ReduceOptions = {}): Tensor => gt(counted('any', x, options, ne), 0);
/** Are all elements over `axis` not 0? Of none, true. */
export const all = (x: Tensor, options: ReduceOptions = {}): Tensor => eq(counted('all', x, options, eq), 0);

declare module '../tensor/tensor.ts' {
  interface Tensor {
    isnan(): Tensor;
    isinf(): Tensor;
    isfinite(): Tensor;
    logicalAnd(other: Tensor | number): Tensor;
    logicalOr(other: Tensor | number): Tensor;
    logicalXor(other: Tensor | number): Tensor;
    logicalNot(): Tensor;
    /** How many elements are not 0. */
    countNonzero(options?: ReduceOptions): Tensor;
    any(options?: ReduceOptions): Tensor;
    all(options?: ReduceOptions): Tensor;
  }
}
attach({ isnan, isinf, isfinite, logicalAnd, logicalOr, logicalXor, logicalNot, countNonzero, any, all });
