import { DTypeError } from '../native/errors.ts';
import { type DType, isFloat, promote } from '../tensor/dtype.ts';
import { broadcastAttributes, broadcastShapes, sameShape } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { attach, cast, checkDevice, checkTensor, dense, type NativeOp, nativeOp, record, run, unwritten } from './define.ts';
import { sumTo } from './reduce.ts';
import { powScalar } from './unary.ts';

/** A tensor, or a number that stands for one of any shape. */
export type Operand = Tensor | number;

/** Runs a binary kernel over broadcast operands; `dtype` is the result's. A number crosses as an attribute and becomes no tensor. */
function compute(op: NativeOp, a: Operand, b: Operand, dtype?: DType): Tensor {
  if (typeof a === 'number' || typeof b === 'number') {
    const x = (typeof a === 'number' ? b : a) as Tensor;
    const s = (typeof a === 'number' ? a : b) as number;
    if (!isFloat(x.dtype) && !Number.isInteger(s))
      throw new DTypeError(`${op.name}: cannot mix ${x.dtype} with ${s}. Convert the tensor first: x.to('f32').`);
    const out = unwritten(x.shape, dtype ?? x.dtype, x.device, x.format);
    run(op, [x], [out], [s, typeof a === 'number' ? 1 : 0]);
    return out;
  }
  const common = promote(op.name, a.dtype, b.dtype);
  let [x, y] = [cast(a, common), cast(b, common)];
  const shape = broadcastShapes(op.name, a.shape, b.shape);
  if (x.format !== y.format || !sameShape(a.shape, b.shape)) [x, y] = [dense(x), dense(y)];
  const out = unwritten(shape, dtype ?? common, x.device, x.format);
  const flat = [out.size];
  run(
    op,
    [x, y],
    [out],
    sameShape(x.shape, y.shape) ? broadcastAttributes(flat, flat, flat) : broadcastAttributes(shape, x.shape, y.shape),
  );
  return out;
}

function check(name: string, a: Operand, b: Operand): void {
  if (typeof a !== 'number') checkTensor(name, a, 'the first operand');
  if (typeof b !== 'number') checkTensor(name, b, 'the second operand');
  if (typeof a === 'number' && typeof b === 'number') throw new DTypeError(`${name}: at least one operand must be a Tensor`);
  if (a instanceof Tensor && b instanceof Tensor) checkDevice(name, a, b);
}

type Rule = (g: Tensor, a: Operand, b: Operand, y: Tensor) => Tensor;

/**
 * A differentiable op of two inputs with NumPy broadcasting. `da` and `db` give the gradients before they are summed back to the operands'
 * shapes; `keeps` says whether the rules look at the operands, and at the result.
 */
function binary(name: string, keeps: 'nothing' | 'operands' | 'all', da: Rule, db: Rule): (a: Operand, b: Operand) => Tensor {
  const op = nativeOp(name);
  return (a, b) => {
    check(name, a, b);
    const out = compute(op, a, b);
    const inputs = [a, b].filter((t): t is Tensor => t instanceof Tensor);
    const saved = keeps === 'nothing' ? [] : keeps === 'operands' ? inputs : [...inputs, out];
    const shapes = inputs.map((t) => ({ shape: t.shape, dtype: t.dtype }));
    const [left, right] = [typeof a === 'number' ? a : null, typeof b === 'number' ? b : null];
    record(name, inputs, [out], saved, ([grad], s, back) => {
      const g = grad as Tensor;
      const pool = [...s];
      const x = left ?? (keeps === 'nothing' ? 0 : (pool.shift() as Tensor));
      const y = right ?? (keeps === 'nothing' ? 0 : (pool.shift() as Tensor));
      const rules = [left === null ? da : null, right === null ? db : null].filter((r): r is Rule => r !== null);
      return rules.map((rule, i) => {
        if (!back.needs(i)) return null;
        const { shape, dtype } = shapes[i] as { shape: readonly number[]; dtype: DType };
        return cast(sumTo(rule(g, x, y, pool[0] as Tensor), shape), dtype);
      });
    });
    return out;
  };
}

export const add = binary(
  'add',
  'nothing',
  (g) => g,
  (g) => g,
);
export const sub = binary(
  'sub',
  'nothing',
  (g) => g,
  (g) => g.neg(),
);
export const mul = binary(
  'mul',
  'operands',
  (g, _, b) => mul(g, b),
  (g, a) => mul(g, a),
);
// d(a/b)/db = -a/b^2 = -y/b
export const div = binary(
  'div',
  'all',
  (g, _, b) => div(g, b),
  (g, _, b, y) => div(mul(g, y), b).neg(),
);
// Ties share the gradient evenly.
const share = (g: Tensor, wins: Tensor, ties: Tensor): Tensor => mul(g, wins.to(g.dtype).add(ties.to(g.dtype).mul(0.5)));
export const maximum = binary(
  'maximum',
  'operands',
  (g, a, b) => share(g, gt(a, b), eq(a, b)),
  (g, a, b) => share(g, gt(b, a), eq(a, b)),
);
export const minimum = binary(
  'minimum',
  'operands',
  (g, a, b) => share(g, lt(a, b), eq(a, b)),
  (g, a, b) => share(g, lt(b, a), eq(a, b)),
);

// d(a^b) = b a^(b-1) da + a^b ln a db
const power = binary(
  'pow',
  'all',
  (g, a, b) => mul(g, mul(power(a, sub(b, 1)), b)),
  (g, a, _, y) => mul(g, mul(y, typeof a === 'number' ? Math.log(a) : a.log())),
);
/** a to the power b. A constant exponent has a kernel of its own. */
export const pow = (a: Operand, b: Operand): Tensor =>
  a instanceof Tensor && typeof b === 'number' && isFloat(a.dtype) ? powScalar(a, b) : power(a, b);

function compare(name: string): (a: Operand, b: Operand) => Tensor {
  const op = nativeOp(name);
  return (a, b) => {
    check(name, a, b);
    return compute(op, a, b, 'bool');
  };
}
export const eq = compare('eq');
export const ne = compare('ne');
export const lt = compare('lt');
export const le = compare('le');
export const gt = compare('gt');
export const ge = compare('ge');

declare module '../tensor/tensor.ts' {
  interface Tensor {
    add(other: Tensor | number): Tensor;
    sub(other: Tensor | number): Tensor;
    mul(other: Tensor | number): Tensor;
    div(other: Tensor | number): Tensor;
    pow(exponent: Tensor | number): Tensor;
    maximum(other: Tensor | number): Tensor;
    minimum(other: Tensor | number): Tensor;
    eq(other: Tensor | number): Tensor;
    ne(other: Tensor | number): Tensor;
    lt(other: Tensor | number): Tensor;
    le(other: Tensor | number): Tensor;
    gt(other: Tensor | number): Tensor;
    ge(other: Tensor | number): Tensor;
  }
}
attach({ add, sub, mul, div, pow, maximum, minimum, eq, ne, lt, le, gt, ge });
