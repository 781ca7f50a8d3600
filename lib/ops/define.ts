import { type Backward, record, records, setArithmetic, type Vjp, backward as walk } from '../autograd/graph.ts';
import {
  ConfigError,
  checkFunction,
  checkText,
  DeviceError,
  DTypeError,
  describe,
  GraphError,
  ShapeError,
} from '../native/errors.ts';
import { type NativeOp, nativeOp, run } from '../native/run.ts';
import { bind } from '../tensor/context.ts';
import type { Device } from '../tensor/device.ts';
import { bytesOf, checkDType, type DType, isFloat } from '../tensor/dtype.ts';
import { broadcastAttributes, type Shape, sameShape, show } from '../tensor/shape.ts';
import { defineMethods, type Format, setReadable, Tensor, unwritten } from '../tensor/tensor.ts';

export type { Backward, NativeOp, Vjp };
export { nativeOp, record, records, run, unwritten };

// ---- checks that every op shares --------------------------------------------------------------------------------------------

/** Throws unless `x` is a usable tensor; returns it. */
export function checkTensor(op: string, x: unknown, name = 'x'): Tensor {
  if (!(x instanceof Tensor))
    throw new DTypeError(`${op}: ${name} must be a Tensor, got ${describe(x)}. Make one with tensor(...).`);
  if (x.storage.handle <= 0 && x.size >= 0 && x.disposed)
    throw new GraphError(
      `${op}: ${name} ${show(x.shape)} was freed. A tensor made inside scope() ends with it unless it is returned or kept().`,
    );
  return x;
}

export function checkFloat(op: string, x: Tensor, name = 'x'): Tensor {
  checkTensor(op, x, name);
  if (!isFloat(x.dtype))
    throw new DTypeError(`${op}: ${name} must be a float tensor, got ${x.dtype}. Convert it first: x.to('f32').`);
  return x;
}

/** All on one device. */
export function checkDevice(op: string, ...tensors: (Tensor | null | undefined)[]): void {
  const first = tensors.find((t) => t);
  for (const t of tensors)
    if (t instanceof Tensor && first instanceof Tensor && t.device !== first.device)
      throw new DeviceError(`${op}: inputs are on ${first.device} and ${t.device}. Move one: x.to('${first.device}').`);
}

export function checkShapeIs(op: string, x: Tensor, shape: Shape, name: string): void {
  if (!sameShape(x.shape, shape)) throw new ShapeError(`${op}: ${name} must have shape ${show(shape)}, got ${show(x.shape)}`);
}

export function checkRank(op: string, x: Tensor, rank: number, layout: string, name = 'x'): void {
  if (x.ndim !== rank) throw new ShapeError(`${op}: ${name} must be ${layout} (${rank} dimensions), got ${show(x.shape)}`);
}

export function checkNumber(op: string, value: unknown, name: string, low = -Infinity, high = Infinity): number {
  if (typeof value !== 'number' || Number.isNaN(value) || value < low || value > high) {
    const range = low === -Infinity && high === Infinity ? '' : ` from ${low} to ${high}`;
    throw new ConfigError(`${op}: ${name} must be a number${range}, got ${describe(value)}`);
  }
  return value;
}

// ---- layout and dtype -------------------------------------------------------------------------------------------------------

const layoutOp = nativeOp('layout');

/** The same values in another memory format. [N, C, H, W] either way; the tape passes through. */
export function toFormat(x: Tensor, format: Format): Tensor {
  if (x.format === format) return x;
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const toLast = format === 'channelsLast';
  const same = c === 1 || h * w === 1; // both formats are the same memory
  const out = same ? x.alias(x.shape, x.offset, format) : unwritten(x.shape, x.dtype, x.device, format);
  if (!same) run(layoutOp, [x], [out], [n, toLast ? c : h * w, toLast ? h * w : c, bytesOf(x.dtype)]);
  record('layout', [x], [out], [], ([g]) => [g]);
  return out;
}

/** `x` as plain row-major memory; what every op gets that does not say it keeps channelsLast. */
export const dense = (x: Tensor): Tensor => toFormat(x, 'contiguous');

const castOp = nativeOp('cast');

/** Elements converted to `dtype`; the gradient is converted back. Floats to integers truncate and saturate, NaN gives 0. */
export function cast(x: Tensor, dtype: DType): Tensor {
  if (checkTensor('cast', x).dtype === checkDType('cast', dtype)) return x;
  const out = unwritten(x.shape, dtype, x.device, x.format);
  run(castOp, [x], [out]);
  const from = x.dtype;
  if (isFloat(dtype) && isFloat(from)) record('cast', [x], [out], [], ([g]) => [g && cast(g, from)]);
  return out;
}

// ---- arithmetic that other rooms need ---------------------------------------------------------------------------------------

const fillOp = nativeOp('fill');
const addOp = nativeOp('add');
const copyOp = nativeOp('copy');

/** Every element `value`, on the device and in the format of `like`. */
export function filled(shape: Shape, value: number, dtype: DType, like: { device: Device; format?: Format }): Tensor {
  const out = unwritten(shape, dtype, like.device, like.format);
  run(fillOp, [], [out], [value]);
  return out;
}

setArithmetic({
  add(a, b, into) {
    const [x, y] = a.format === b.format ? [a, b] : [dense(a), dense(b)];
    const out = into === x || into === y ? into : unwritten(x.shape, x.dtype, x.device, x.format);
    run(addOp, [x, y.dtype === x.dtype ? y : cast(y, x.dtype)], [out], broadcastAttributes([x.size], [x.size], [x.size]));
    return out;
  },
  copy(a, like) {
    const x = cast(toFormat(a, like.format), like.dtype);
    if (x.storage !== a.storage) return x;
    const out = unwritten(x.shape, x.dtype, x.device, x.format);
    run(copyOp, [x], [out]);
    return out;
  },
  ones: (like) => filled(like.shape, 1, like.dtype, like),
});

setReadable((t) => {
  const plain = dense(t.node ? t.detach() : t);
  return plain.dtype === 'f16' || plain.dtype === 'bf16' ? cast(plain, 'f32') : plain;
});

/** Gives ops whose first argument is a tensor as methods: `attach({ relu })` makes `x.relu()`. The caller declares them on the interface. */
export function attach(ops: Record<string, (x: Tensor, ...rest: never[]) => unknown>): void {
  const methods: Record<string, (this: Tensor, ...args: never[]) => unknown> = {};
  for (const [name, op] of Object.entries(ops)) {
    methods[name] = function (this: Tensor, ...rest: never[]) {
      return op(this, ...rest);
    };
  }
  defineMethods(methods);
}

/** The gradient in the layout of the op's output. */
export const matching = (g: Tensor, format: Format): Tensor => toFormat(g, format);

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** Walks the tape from this scalar (or with `seed`, its gradient) and adds gradients to the leaves' `grad`. Queues; nothing blocks. */
    backward(seed?: Tensor): void;
    /** Plain row-major memory. */
    contiguous(): Tensor;
  }
}
defineMethods({
  backward(this: Tensor, seed?: Tensor) {
    walk(this, seed);
  },
  contiguous(this: Tensor) {
    return dense(this);
  },
});

// ---- custom ops -------------------------------------------------------------------------------------------------------------

/** The tensors among an op's arguments, in order. */
export type TensorsOf<A extends unknown[]> = A extends []
  ? []
  : A extends [infer First, ...infer Rest]
    ? First extends Tensor
      ? [First, ...TensorsOf<Rest>]
      : TensorsOf<Rest>
    : Tensor[];

export interface CustomOp<A extends unknown[]> {
  /** The result; any tensors may be captured. Runs without recording. */
  forward: (...args: A) => Tensor;
  /** Gradients of the tensor arguments, in order, from that of the result. `output` is the result. */
  backward: (back: { inputs: TensorsOf<A>; output: Tensor; grad: Tensor }) => (Tensor | null)[];
}

/**
 * An op of one's own: `forward` computes from other ops, `backward` gives the gradients of its tensor arguments.
 * @example const double = defineOp('double', { forward: (x: Tensor) => x.mul(2), backward: ({ grad }) => [grad.mul(2)] });
 */
export function defineOp<A extends unknown[]>(name: string, rule: CustomOp<A>): (...args: A) => Tensor {
  checkText('defineOp', 'the name', name);
  const { forward, backward } = Object(rule) as Partial<CustomOp<A>>;
  checkFunction('defineOp', 'forward', forward, 'forward: (x) => x.mul(2)');
  checkFunction('defineOp', 'backward', backward, 'backward: ({ grad }) => [grad.mul(2)]');
  return (...args: A) => {
    const inputs = args.filter((a): a is A[number] & Tensor => a instanceof Tensor) as Tensor[];
    const made = bind({ grad: false }, () => rule.forward(...args));
    checkTensor(name, made, 'the result of forward');
    const out = made.tracked || inputs.includes(made) ? made.alias() : made;
    record(name, inputs, [out], [...inputs, out], ([grad], saved) => {
      const result = rule.backward({
        inputs: saved.slice(0, -1) as TensorsOf<A>,
        output: saved[saved.length - 1] as Tensor,
        grad: grad as Tensor,
      });
      if (!Array.isArray(result) || result.length !== inputs.length)
        throw new GraphError(
          `${name}: backward returned ${Array.isArray(result) ? result.length : describe(result)} gradients for ${inputs.length} tensor arguments`,
        );
      return result;
    });
    return out;
  };
}
