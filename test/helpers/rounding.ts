import type { FloatDType } from '../../lib/tensor/dtype.ts';

/** Half the distance between neighbours, relative: the error of one rounding. */
export const unitRoundoff: { readonly [D in FloatDType]: number } = {
  f64: 2 ** -53,
  f32: 2 ** -24,
  f16: 2 ** -11,
  bf16: 2 ** -8,
};

const word = new Uint32Array(1);
const single = new Float32Array(word.buffer);

/** To the nearest bf16, ties to even. */
function toBf16(x: number): number {
  single[0] = x;
  const w = word[0] as number;
  if (Number.isNaN(x) || !Number.isFinite(single[0])) return single[0];
  word[0] = (w + 0x7fff + ((w >>> 16) & 1)) & 0xffff0000;
  return single[0];
}

/** To the nearest f16, ties to even; 65520 and above are infinite, steps below 2^-14 are 2^-24. */
function toF16(x: number): number {
  if (x === 0 || !Number.isFinite(x)) return x;
  const size = Math.abs(x);
  if (size >= 65520) return x > 0 ? Infinity : -Infinity;
  const exponent = Math.max(Math.floor(Math.log2(size)), -14);
  const step = 2 ** (exponent - 10);
  const whole = x / step;
  const low = Math.floor(whole);
  const rest = whole - low;
  const near = rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low;
  return near * step;
}

const round: { readonly [D in FloatDType]: (x: number) => number } = {
  f64: (x) => x,
  f32: Math.fround,
  bf16: toBf16,
  f16: toF16,
};

/** The nearest values that `dtype` holds: written here on purpose, so that the library's own rounding is tested against it. */
export const rounded = (values: ArrayLike<number>, dtype: FloatDType): Float64Array => Float64Array.from(values, round[dtype]);
