import { DTypeError, describe } from '../native/errors.ts';

/** Element types. The order is the native enum's (native/src/core/dtype.h). */
export const dtypes = ['f32', 'f16', 'bf16', 'f64', 'i32', 'u8', 'bool'] as const;
export type DType = (typeof dtypes)[number];
export type FloatDType = 'f32' | 'f16' | 'bf16' | 'f64';

const bytes: Record<DType, number> = { f32: 4, f16: 2, bf16: 2, f64: 8, i32: 4, u8: 1, bool: 1 };
const codes: Record<DType, number> = { f32: 0, f16: 1, bf16: 2, f64: 3, i32: 4, u8: 5, bool: 6 };

/** Bytes of one element. */
export const bytesOf = (dtype: DType): number => bytes[dtype];
/** The native enum's value. */
export const codeOf = (dtype: DType): number => codes[dtype];
export const isFloat = (dtype: DType): dtype is FloatDType => codes[dtype] <= 3;

/** Can an element of `dtype` be this number? Floats take all, and round. */
export function fits(value: number, dtype: DType): boolean {
  if (isFloat(dtype)) return true;
  const [low, high] = dtype === 'i32' ? [-(2 ** 31), 2 ** 31 - 1] : [0, dtype === 'u8' ? 255 : 1];
  return Number.isInteger(value) && value >= low && value <= high;
}

/** Throws DTypeError unless an element of `dtype` can be this number. */
export function checkFits(where: string, value: number, dtype: DType): void {
  if (!fits(value, dtype)) throw new DTypeError(`${where}: ${value} is not a value of ${dtype}`);
}

export const isDType = (value: unknown): value is DType => typeof value === 'string' && Object.hasOwn(bytes, value);

/** Throws DTypeError unless `value` names a dtype. */
export function checkDType(where: string, value: unknown): DType {
  if (isDType(value)) return value;
  throw new DTypeError(`${where}: unknown dtype ${describe(value)}. Known: ${dtypes.join(', ')}.`);
}

/** The result type of an op over mixed inputs: floats widen (bf16 with f16 gives f32); integers with floats throw. */
export function promote(where: string, a: DType, b: DType): DType {
  if (a === b) return a;
  if (isFloat(a) && isFloat(b)) return a === 'f64' || b === 'f64' ? 'f64' : 'f32';
  if (!isFloat(a) && !isFloat(b)) return a === 'i32' || b === 'i32' ? 'i32' : 'u8';
  throw new DTypeError(`${where}: cannot mix ${a} with ${b}. Convert one side first, for example x.to('${isFloat(a) ? a : b}').`);
}
