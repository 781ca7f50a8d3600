/**
 * The specified sequence of native/src/cpu/random.cc: Box and Muller's rule with every operation rounded to f32, in the order written.
 */
const f = Math.fround;
const view = new DataView(new ArrayBuffer(4));
const bitsOf = (x: number): number => {
  view.setFloat32(0, x);
  return view.getUint32(0);
};
const ofBits = (u: number): number => {
  view.setUint32(0, u);
  return view.getFloat32(0);
};

/** Horner's rule, each product and each sum rounded. */
const horner = (x: number, first: number, ...rest: number[]): number => rest.reduce((p, c) => f(f(p * x) + f(c)), f(first));

function logOfUniform(u: number): number {
  const bits = bitsOf(u);
  let e = (bits >>> 23) - 126;
  let m = ofBits((bits & 0x007fffff) | 0x3f000000);
  const low = m < f(Math.SQRT1_2);
  if (low) e -= 1;
  m = f((low ? f(m + m) : m) - 1);
  const z = f(m * m);
  const p = horner(
    m,
    7.0376836292e-2,
    -1.151461031e-1,
    1.167699874e-1,
    -1.242014084e-1,
    1.4249322787e-1,
    -1.6668057665e-1,
    2.0000714765e-1,
    -2.4999993993e-1,
    3.3333331174e-1,
  );
  let y = f(f(p * m) * z);
  y = f(y + f(e * f(-2.1219444e-4)));
  y = f(y - f(0.5 * z));
  return f(f(m + y) + f(e * f(0.693359375)));
}

function turn(word: number): [cosine: number, sine: number] {
  const k = word >>> 8;
  const q = (k + 2 ** 21) >> 22;
  const t = f((k - q * 2 ** 22) * f(f(6.283185307179586) * 2 ** -24));
  const z = f(t * t);
  const s = f(f(f(horner(z, -1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1) * z) * t) + t);
  let o = horner(z, 2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2);
  o = f(f(o * z) * z);
  o = f(f(o - f(0.5 * z)) + 1);
  const [a, b] = q & 1 ? [s, o] : [o, s];
  return [(q + 1) & 2 ? -a : a, q & 2 ? -b : b];
}

/** Standard normals of the elements first, first + 1, ...; elements 2j and 2j + 1 are a pair. */
export function normals(word: (element: number) => number, first: number, n: number): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => {
    const element = first + i;
    const even = element - (element % 2);
    const u = f(((word(even) >>> 8) + 1) * 2 ** -24);
    const r = f(Math.sqrt(f(-2 * logOfUniform(u))));
    const [cosine, sine] = turn(word(even + 1));
    return f(r * (element % 2 ? sine : cosine));
  });
}
