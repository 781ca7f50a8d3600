import { ConfigError, checkOptions, DTypeError, describe } from '../native/errors.ts';
import { transfer } from '../native/run.ts';
import { type Device, type DeviceName, device } from '../tensor/device.ts';
import { type DType, isDType } from '../tensor/dtype.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { attach, cast, checkFloat, checkNumber, checkTensor, matching, nativeOp, record, run, unwritten } from './define.ts';

/** What an op keeps for its backward rule; native/src/ops/functors.h computes the rule itself. */
type Saves = 'nothing' | 'input' | 'output';

/**
 * An elementwise op of one input: `name` computes it, `name.grad` its gradient from the incoming one and the saved value. A gradient that
 * already waits on the input is added in the same pass. `integers`: i32 is taken too.
 */
function unary(name: string, saves: Saves, integers = false): (x: Tensor, p?: number, q?: number) => Tensor {
  const forward = nativeOp(name);
  const gradient = nativeOp(`${name}.grad`);
  return (x, p = 0, q = 0) => {
    if (!(integers && checkTensor(name, x).dtype === 'i32')) checkFloat(name, x);
    const { format } = x;
    const out = unwritten(x.shape, x.dtype, x.device, format);
    const attrs = [p, q];
    run(forward, [x], [out], attrs);
    const saved = saves === 'nothing' ? [] : [saves === 'input' ? x : out];
    record(name, [x], [out], saved, ([g], [s], back) => {
      const grad = matching(g as Tensor, format);
      const have = back.take(0, grad);
      const dx = have ?? unwritten(grad.shape, grad.dtype, grad.device, format);
      run(gradient, [grad, s ?? null, have ?? null], [dx], attrs);
      return [dx];
    });
    return out;
  };
}

export const neg = unary('neg', 'nothing', true);
export const abs = unary('abs', 'input', true);
export const exp = unary('exp', 'output');
export const expm1 = unary('expm1', 'output');
export const log = unary('log', 'input');
export const log1p = unary('log1p', 'input');
export const sqrt = unary('sqrt', 'output');
export const rsqrt = unary('rsqrt', 'output');
export const square = unary('square', 'input', true);
export const reciprocal = unary('reciprocal', 'output');
export const sin = unary('sin', 'input');
export const cos = unary('cos', 'input');
export const tan = unary('tan', 'output');
export const asin = unary('asin', 'input');
export const acos = unary('acos', 'input');
export const atan = unary('atan', 'input');
export const sinh = unary('sinh', 'input');
export const cosh = unary('cosh', 'input');
export const exp2 = unary('exp2', 'output');
export const log2 = unary('log2', 'input');
export const log10 = unary('log10', 'input');
export const tanh = unary('tanh', 'output');
export const sigmoid = unary('sigmoid', 'output');
export const relu = unary('relu', 'output');
export const silu = unary('silu', 'input');
export const softplus = unary('softplus', 'input');
export const erf = unary('erf', 'input');
export const floor = unary('floor', 'nothing');
export const ceil = unary('ceil', 'nothing');
/** To the nearest integer; halves to even, as NumPy. */
export const round = unary('round', 'nothing');
export const sign = unary('sign', 'nothing', true);

const leaky = unary('leakyRelu', 'input');
/** x where positive, else slope * x. `slope` defaults to 0.01. */
export const leakyRelu = (x: Tensor, options: { slope?: number } = {}): Tensor => {
  checkOptions('leakyRelu', options, ['slope']);
  return leaky(x, checkNumber('leakyRelu', options.slope ?? 0.01, 'slope'));
};

const eluOp = unary('elu', 'input');
/** x where positive, else alpha * (e^x - 1). `alpha` defaults to 1. */
export const elu = (x: Tensor, options: { alpha?: number } = {}): Tensor => {
  checkOptions('elu', options, ['alpha']);
  return eluOp(x, checkNumber('elu', options.alpha ?? 1, 'alpha'));
};

/** The form of GELU that an option names; 'none' without one. */
export function checkApproximate(where: string, value: unknown): 'none' | 'tanh' {
  if (value === undefined || value === 'none') return 'none';
  if (value === 'tanh') return 'tanh';
  throw new ConfigError(`${where}: approximate must be 'none' or 'tanh', got ${describe(value)}`);
}
const geluExact = unary('gelu', 'input');
const geluTanh = unary('geluTanh', 'input');
/** x Phi(x) (Hendrycks and Gimpel 2016): exact by default, `approximate: 'tanh'` for GPT-2's form. */
export const gelu = (x: Tensor, options: { approximate?: 'none' | 'tanh' } = {}): Tensor => {
  checkOptions('gelu', options, ['approximate']);
  return checkApproximate('gelu', options.approximate) === 'tanh' ? geluTanh(x) : geluExact(x);
};

const clampOp = unary('clamp', 'input');
/** Values limited to [min, max]; either may be left out. The gradient passes inside the limits, bounds included. */
export const clamp = (x: Tensor, options: { min?: number; max?: number }): Tensor => {
  checkOptions('clamp', options, ['min', 'max']);
  if (options?.min === undefined && options?.max === undefined)
    throw new ConfigError('clamp: give min, max, or both, for example x.clamp({ min: 0 })');
  return clampOp(x, checkNumber('clamp', options.min ?? -Infinity, 'min'), checkNumber('clamp', options.max ?? Infinity, 'max'));
};

/** x to a constant power. */
export const powScalar = unary('powScalar', 'input');

/** The same values on another device; the gradient comes back. Queued on both, nothing waits. */
function moved(x: Tensor, on: Device): Tensor {
  if (x.device === on) return x;
  const out = unwritten(x.shape, x.dtype, on, x.format);
  transfer(x, out, x.bytes);
  const home = x.device;
  record('to', [x], [out], [], ([g]) => [g && moved(g, home)]);
  return out;
}

/** Another dtype, or another device: x.to('bf16'), x.to('cuda'). */
export function to(x: Tensor, target: DType | DeviceName | Device): Tensor {
  checkTensor('to', x);
  if (target === undefined) throw new DTypeError("to: give a dtype or a device, for example x.to('f32')");
  return isDType(target) ? cast(x, target) : moved(x, device(target));
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    neg(): Tensor;
    abs(): Tensor;
    exp(): Tensor;
    expm1(): Tensor;
    log(): Tensor;
    log1p(): Tensor;
    sqrt(): Tensor;
    rsqrt(): Tensor;
    square(): Tensor;
    reciprocal(): Tensor;
    sin(): Tensor;
    cos(): Tensor;
    tan(): Tensor;
    asin(): Tensor;
    acos(): Tensor;
    atan(): Tensor;
    sinh(): Tensor;
    cosh(): Tensor;
    exp2(): Tensor;
    log2(): Tensor;
    log10(): Tensor;
    tanh(): Tensor;
    sigmoid(): Tensor;
    relu(): Tensor;
    silu(): Tensor;
    softplus(): Tensor;
    erf(): Tensor;
    floor(): Tensor;
    ceil(): Tensor;
    round(): Tensor;
    sign(): Tensor;
    leakyRelu(options?: { slope?: number }): Tensor;
    elu(options?: { alpha?: number }): Tensor;
    gelu(options?: { approximate?: 'none' | 'tanh' }): Tensor;
    clamp(options: { min?: number; max?: number }): Tensor;
    /** The same values as another dtype ('f32', 'bf16', ...). */
    to(target: DType | DeviceName | Device): Tensor;
  }
}

attach({
  neg,
  abs,
  exp,
  expm1,
  log,
  log1p,
  sqrt,
  rsqrt,
  square,
  reciprocal,
  sin,
  cos,
  tan,
  asin,
  acos,
  atan,
  sinh,
  cosh,
  exp2,
  log2,
  log10,
  tanh,
  sigmoid,
  relu,
  silu,
  softplus,
  erf,
  floor,
  ceil,
  round,
  sign,
  leakyRelu,
  elu,
  gelu,
  clamp,
  to,
});
