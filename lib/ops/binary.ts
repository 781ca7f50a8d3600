import { DTypeError } from '../native/errors.ts';
import { type DType, fits, isFloat, promote } from '../tensor/dtype.ts';
import { broadcastAttributes, broadcastShapes, sameShape } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import {
  attach,
  cast,
  checkDevice,
  checkFloat,
  checkTensor,
  dense,
  type NativeOp,
  nativeOp,
  record,
  run,
  unwritten,
} from './define.ts';
import { sumTo } from './reduce.ts';
import { neg, powScalar, reciprocal, round, rsqrt, sqrt, square } from './unary.ts';

/** A tensor, or a number that stands for one of any shape. */
export type Operand = Tensor | number;

/** The walk over operands of one shape: one long loop. */
const flat = (size: number): number[] => (size === 1 ? [0] : [1, size, 1, 1]);

/** Runs a binary kernel over broadcast operands; `dtype` is the result's. A number crosses as an attribute and becomes no tensor. */
function compute(op: NativeOp, a: Operand, b: Operand, dtype?: DType): Tensor {
  if (typeof a === 'number' || typeof b === 'number') {
    const x = (typeof a === 'number' ? b : a) as Tensor;
    const s = (typeof a === 'number' ? a : b) as number;
    if (!fits(s, x.dtype))
      throw new DTypeError(
        `${op.name}: cannot mix ${x.dtype} with ${s}. Convert the tensor first: x.to('${Number.isInteger(s) && fits(s, 'i32') ? 'i32' : 'f32'}').`,
      );
    const out = unwritten(x.shape, dtype ?? x.dtype, x.device, x.format);
    run(op, [x], [out], [s, typeof a === 'number' ? 1 : 0]);
    return out;
  }
  const common = promote(op.name, a.dtype, b.dtype);
  let [x, y] = [cast(a, common), cast(b, common)];
  const same = sameShape(a.shape, b.shape);
  if (!same || x.format !== y.format) [x, y] = [dense(x), dense(y)];
  const shape = same ? a.shape : broadcastShapes(op.name, a.shape, b.shape);
  const out = unwritten(shape, dtype ?? common, x.device, x.format);
  run(op, [x, y], [out], same ? flat(out.size) : broadcastAttributes(shape, x.shape, y.shape));
  return out;
}

function check(name: string, a: Operand, b: Operand): void {
  if (typeof a !== 'number') checkTensor(name, a, 'the first operand');
  else if (typeof b === 'number') throw new DTypeError(`${name}: at least one operand must be a Tensor`);
  if (typeof b !== 'number') checkTensor(name, b, 'the second operand');
  if (typeof a !== 'number' && typeof b !== 'number' && a.device !== b.device) checkDevice(name, a, b);
}

/**
 * Arithmetic that a dtype has not, which kernels would refuse late or answer with what is no value of it: the quotient of integers is no
 * integer, and bools are 0 and 1. (PyTorch's answers are a float, and 'or'; nothing changes dtype by itself here.)
 */
const boolless: ReadonlySet<string> = new Set(['add', 'sub', 'pow', 'fmod', 'remainder', 'floorDivide']);
function checkArithmetic(name: string, a: Operand, b: Operand): void {
  const of = (v: Operand) => (typeof v === 'number' ? null : v.dtype);
  const [p, q] = [of(a), of(b)];
  if ((p && isFloat(p)) || (q && isFloat(q))) return;
  const both = p && q ? `${p} and ${q}` : (p ?? q);
  if (name === 'div')
    throw new DTypeError(
      `div: integers (${both}) have no quotient. Convert first, x.to('f32'); x.floorDivide(y) is floor division.`,
    );
  if ((p ?? 'bool') === 'bool' && (q ?? 'bool') === 'bool' && boolless.has(name))
    throw new DTypeError(`${name}: bool is not for arithmetic. Convert first, x.to('i32'); 'or' is maximum, 'and' is minimum.`);
  if (name === 'pow' && typeof b === 'number' && b < 0)
    throw new DTypeError(`pow: integers (${both}) to the power ${b} are no integers. Convert first: x.to('f32').`);
}

/** The gradient of one operand before it is summed back to the operand's shape, and what it looks at: the operands a and b, the result y. */
interface Rule {
  readonly uses: '' | 'a' | 'b' | 'ab' | 'ay' | 'by';
  of(g: Tensor, a: Operand, b: Operand, y: Tensor): Tensor;
}
/** What a gradient must look like; rules must not hold on to tensors. */
type Like = Pick<Tensor, 'shape' | 'dtype'>;
const likeOf = (t: Tensor): Like => ({ shape: t.shape, dtype: t.dtype });
const rule = (uses: Rule['uses'], of: Rule['of']): Rule => ({ uses, of });

/** Puts a call on the tape. Saves only what the rules of operands that want a gradient look at. */
function recordBinary(name: string, a: Operand, b: Operand, out: Tensor, da: Rule, db: Rule): void {
  const [p, q] = [typeof a === 'number' ? null : a, typeof b === 'number' ? null : b];
  const uses = (p?.tracked ? da.uses : '') + (q?.tracked ? db.uses : '');
  const saved: Tensor[] = [];
  const atA = p && uses.includes('a') ? saved.push(p) - 1 : -1;
  const atB = q && uses.includes('b') ? saved.push(q) - 1 : -1;
  const atY = uses.includes('y') ? saved.push(out) - 1 : -1;
  const [left, right] = [p ? 0 : (a as number), q ? 0 : (b as number)];
  const [like, other] = [p ? likeOf(p) : null, q ? likeOf(q) : null];
  record(name, p ? (q ? [p, q] : [p]) : [q as Tensor], [out], saved, ([g], s, back) => {
    const x = atA < 0 ? left : (s[atA] as Tensor);
    const y = atB < 0 ? right : (s[atB] as Tensor);
    const grads: (Tensor | null)[] = [];
    const give = (r: Rule, to: Like) => {
      const wanted = back.needs(grads.length);
      grads.push(wanted ? cast(sumTo(r.of(g as Tensor, x, y, s[atY] as Tensor), to.shape), to.dtype) : null);
    };
    if (like) give(da, like);
    if (other) give(db, other);
    return grads;
  });
}

/** A differentiable op of two inputs with NumPy broadcasting. */
function binary(name: string, da: Rule, db: Rule): (a: Operand, b: Operand) => Tensor {
  const op = nativeOp(name);
  return (a, b) => {
    check(name, a, b);
    checkArithmetic(name, a, b);
    const out = compute(op, a, b);
    if ((typeof a !== 'number' && a.tracked) || (typeof b !== 'number' && b.tracked)) recordBinary(name, a, b, out, da, db);
    return out;
  };
}

const through = rule('', (g) => g);
export const add = binary('add', through, through);
export const sub = binary(
  'sub',
  through,
  rule('', (g) => g.neg()),
);
export const mul = binary(
  'mul',
  rule('b', (g, _, b) => mul(g, b)),
  rule('a', (g, a) => mul(g, a)),
);
// d(a/b)/db = -a/b^2 = -y/b
export const div = binary(
  'div',
  rule('b', (g, _, b) => div(g, b)),
  rule('by', (g, _, b, y) => div(mul(g, y), b).neg()),
);
// Ties share the gradient evenly.
const share = (g: Tensor, wins: Tensor, ties: Tensor): Tensor => mul(g, wins.to(g.dtype).add(ties.to(g.dtype).mul(0.5)));
export const maximum = binary(
  'maximum',
  rule('ab', (g, a, b) => share(g, gt(a, b), eq(a, b))),
  rule('ab', (g, a, b) => share(g, gt(b, a), eq(a, b))),
);
export const minimum = binary(
  'minimum',
  rule('ab', (g, a, b) => share(g, lt(a, b), eq(a, b))),
  rule('ab', (g, a, b) => share(g, lt(b, a), eq(a, b))),
);

/** 1 where x is 0, else 0. */
const isZero = (x: Operand, like: Tensor): Operand => (typeof x === 'number' ? +(x === 0) : eq(x, 0).to(like.dtype));
// d(a^b) = b a^(b-1) da + a^b ln a db; where b is 0 the first is 0, where a is 0 the second, though a factor be infinite
const power = binary(
  'pow',
  rule('ab', (g, a, b) => {
    const less = typeof b === 'number' ? b - 1 + +(b === 0) : b.sub(1).add(isZero(b, g));
    return mul(g, mul(power(a, less), b));
  }),
  rule('ay', (g, a, _, y) => mul(g, mul(y, typeof a === 'number' ? Math.log(a + +(a === 0)) : a.add(isZero(a, g)).log()))),
);

/** a to the power b. A constant exponent has a kernel of its own, and some are simpler functions. */
export const pow = (a: Operand, b: Operand): Tensor => {
  if (!(a instanceof Tensor) || typeof b !== 'number' || !isFloat(a.dtype)) return power(a, b);
  const simple = simpler.get(b);
  return simple ? simple(a) : powScalar(a, b);
};
const simpler: ReadonlyMap<number, (x: Tensor) => Tensor> = new Map([
  [2, square],
  [0.5, sqrt],
  [-0.5, rsqrt],
  [-1, reciprocal],
]);

// ---- angles, remainders, bits -----------------------------------------------------------------------------------------------

/** 16-bit operands in f32: rules of several roundings. */
const widened = (v: Operand): Operand => (v instanceof Tensor && v.dtype !== 'f64' ? cast(v, 'f32') : v);
/** g v / (a^2 + b^2) */
function turned(g: Tensor, v: Operand, a: Operand, b: Operand): Tensor {
  const [p, q] = [widened(a), widened(b)];
  const square = (o: Operand): Operand => (typeof o === 'number' ? o * o : mul(o, o));
  return div(mul(widened(g), widened(v)), add(square(p), square(q)));
}
const atan2Of = binary(
  'atan2',
  rule('ab', (g, a, b) => turned(g, b, a, b)),
  rule('ab', (g, a, b) => neg(turned(g, a, a, b))),
);
/** The angle of the point (b, a), from -pi to pi. Floats. */
export const atan2 = (a: Operand, b: Operand): Tensor => {
  for (const v of [a, b]) if (v instanceof Tensor) checkFloat('atan2', v, 'an operand');
  return atan2Of(a, b);
};
/** The remainder of a / b with the sign of a, as C's. Whole numbers too, where a remainder by 0 is 0, as in NumPy. */
export const fmod = binary(
  'fmod',
  through,
  rule('ab', (g, a, b) => neg(mul(g, round(div(sub(a, fmod(a, b)), b))))),
);
/** The remainder of a / b with the sign of b, as Python's %. Whole numbers too, where a remainder by 0 is 0, as in NumPy. */
export const remainder = binary(
  'remainder',
  through,
  rule('ab', (g, a, b) => neg(mul(g, floorDivide(a, b)))),
);
const floorDivideOp = nativeOp('floorDivide');
/** a / b rounded down, as Python's //. Whole numbers too, where a quotient by 0 is 0, as in NumPy. No gradient. */
export function floorDivide(a: Operand, b: Operand): Tensor {
  check('floorDivide', a, b);
  checkArithmetic('floorDivide', a, b);
  return compute(floorDivideOp, a, b);
}

function checkBits(name: string, v: Operand): void {
  if (v instanceof Tensor && isFloat(v.dtype))
    throw new DTypeError(`${name}: operands must be whole numbers or bools, got ${v.dtype}. Convert first: x.to('i32').`);
}
function bitwise(name: string): (a: Operand, b: Operand) => Tensor {
  const op = nativeOp(name);
  return (a, b) => {
    check(name, a, b);
    checkBits(name, a);
    checkBits(name, b);
    return compute(op, a, b);
  };
}
/** Bits of i32, u8 or bool. */
export const bitwiseAnd = bitwise('bitwiseAnd');
export const bitwiseOr = bitwise('bitwiseOr');
export const bitwiseXor = bitwise('bitwiseXor');
/** Every bit turned; of a bool, its contrary. */
export function bitwiseNot(x: Tensor): Tensor {
  checkBits('bitwiseNot', checkTensor('bitwiseNot', x));
  return bitwiseXor(x, x.dtype === 'i32' ? -1 : x.dtype === 'u8' ? 255 : 1);
}

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
    /** The angle of the point (other, this). */
    atan2(other: Tensor | number): Tensor;
    /** The remainder with this tensor's sign. */
    fmod(other: Tensor | number): Tensor;
    /** The remainder with the divisor's sign. */
    remainder(other: Tensor | number): Tensor;
    /** The quotient rounded down. */
    floorDivide(other: Tensor | number): Tensor;
    bitwiseAnd(other: Tensor | number): Tensor;
    bitwiseOr(other: Tensor | number): Tensor;
    bitwiseXor(other: Tensor | number): Tensor;
    bitwiseNot(): Tensor;
  }
}
attach({ add, sub, mul, div, pow, maximum, minimum, eq, ne, lt, le, gt, ge });
attach({ atan2, fmod, remainder, floorDivide, bitwiseAnd, bitwiseOr, bitwiseXor, bitwiseNot });
