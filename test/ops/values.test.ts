/**
 * Functions where their ways of computing meet: at 0, subnormal numbers, thresholds of approximations, overflow, infinities, NaN; and derivatives there.
 * Against the plain f64 functions of the same operands, rounded to the dtype, element by element.
 */
import { describe, expect, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import { scope, type Tensor } from '../../lib/index.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { placed, widened } from '../helpers/place.ts';
import { rounded, unitRoundoff } from '../helpers/rounding.ts';

const magnitudes = `
  0 1e-45 1e-40 1.1754944e-38 1e-30 1e-20 6e-8 1e-7 1e-5 2e-4 1e-3 0.01 0.1 0.25 0.3 0.4999 0.5 0.5001 0.55 0.6 0.625 0.7
  0.75 0.9 0.99 0.9999 1 1.0001 1.25 1.5 1.5707964 1.75 2 2.5 3 3.1415927 3.5 4 4.5 4.712389 5 6 7 8 9 9.01 9.02 10 11 12
  13 15 17 20 25 30 40 44 60 80 87 88 88.5 88.8 89 90 100 103 104 110 126 127 128 130 149 150 152 200 255 256 1000 4095
  4097 32767 65504 70000 71475 71476 71477 105615 105616 1e6 1e7 1e8 1e12 1e15 1e20 1e25 1e30 1e38 3.4e38 Infinity`
  .trim()
  .split(/\s+/)
  .map(Number);
const random = new PhiloxStream(17, 'values');
const between = Array.from({ length: 300 }, () => (random.uniform() < 0.5 ? -1 : 1) * 2 ** (40 * random.uniform() - 25));
const ladder = [...magnitudes.flatMap((m) => [m, -m]), ...between, Number.NaN];
/** Of two operands every pair of these. */
const steps = '0 1e-45 1e-38 1e-20 1e-3 0.1 0.3 0.5 0.9 1 1.5 2 2.5 3 7 10 33 127 128 1000 65504 1e7 1e10 1e20 1e38 Infinity'
  .split(' ')
  .map(Number)
  .flatMap((m) => [m, -m]);
const values = [...steps, Number.NaN];

type Op = (...x: Tensor[]) => Tensor;
const named = (name: string) => (anneal as unknown as Record<string, Op>)[name] as Op;

/** What may be wrong: of the result, or (where terms cancel) of numbers about 1 on the way; and in roundings of what was saved. */
interface Bound {
  relative?: number;
  absolute?: number;
  roundings?: number;
  saved?: number;
}
const subnormal = { absolute: 1e-37 }; // on the way, flushed to 0
const phi = { absolute: 1e-6 }; // 1 + erf, 1 + tanh: what is left of 1
/** Where more may be wrong than the last bits of the result: in the function, and in its derivative. */
const bounds: { readonly [name: string]: readonly [Bound, Bound] } = {
  // Derivatives are made from the rounded result, several times.
  expm1: [{}, { absolute: 1e-7, saved: 1 }], // y + 1
  tanh: [{}, { absolute: 2e-7, saved: 2 }], // 1 - y^2
  tan: [{}, { roundings: 2 }], // 1 + y^2
  rsqrt: [{}, { roundings: 3 }], // y^3
  reciprocal: [{}, { roundings: 2 }],
  sigmoid: [subnormal, { absolute: 1e-7, saved: 1 }],
  silu: [{ absolute: 1e-34 }, { absolute: 1e-7 }],
  softplus: [{}, subnormal],
  gelu: [phi, phi],
  asin: [{}, { relative: 1e-4 }], // 1 - x^2
  acos: [{}, { relative: 1e-4 }],
  atan: [{}, subnormal],
  log10: [{}, subnormal],
  erf: [{}, { relative: 1e-5 }], // e^(-x^2): x^2 times the rounding of x^2
  pow: [{}, subnormal],
  bceWithLogits: [{ relative: 1e-5 }, { absolute: 1e-6 }], // differences of numbers about 1
  kl: [{ absolute: 1e-3 }, { absolute: 1e-6 }], // of 300 terms up to 1000
  huber: [{ relative: 1e-5 }, {}],
};
async function close(what: string, actual: Tensor, exact: Tensor, inputs: readonly Float64Array[], b: Bound): Promise<void> {
  const dtype = actual.dtype as 'f32' | 'bf16' | 'f16';
  const expected = rounded(Float64Array.from(await exact.data()), dtype);
  const found = await actual.data();
  const unit = dtype === 'f32' ? 0 : unitRoundoff[dtype];
  const relative = (b.relative ?? 2e-6) + (2.01 + (b.roundings ?? 0)) * unit;
  const absolute = (b.absolute ?? 0) + (b.saved ?? 0) * unit;
  const least = dtype === 'f16' ? 6e-8 : dtype === 'bf16' ? 1e-40 : 1.5e-45;
  const wrong = Array.from(expected, (e, i) => [e, Number(found[i]), i] as const).filter(([e, f]) =>
    Number.isFinite(e) && Number.isFinite(f) ? Math.abs(f - e) > relative * Math.abs(e) + absolute + least : !Object.is(e, f),
  );
  const told = wrong.slice(0, 8).map(([e, f, i]) => `f(${inputs.map((x) => x[i])}) = ${f}, not ${e}`);
  expect(told, `${what}, ${wrong.length} of ${expected.length}`).toEqual([]);
}

async function compare(
  name: string,
  f: Op,
  columns: readonly (readonly number[])[],
  dtype: 'f32' | 'bf16' | 'f16',
  backward = true,
): Promise<void> {
  const [forward, gradient] = bounds[name] ?? [{}, {}];
  await scope.run(async () => {
    const data = columns.map((c) => rounded(Float64Array.from(c), dtype));
    const [narrow, wide] = [data.map((d) => placed(d, [d.length], dtype)), [] as Tensor[]];
    for (const x of narrow) wide.push(widened(x));
    for (const x of [...narrow, ...wide]) x.requiresGrad = backward;
    const [y, exact] = [f(...narrow), f(...wide)];
    await close(name, y, exact, data, forward);
    if (!backward) return;
    y.sum().backward();
    exact.sum().backward();
    for (const [i, x] of narrow.entries())
      await close(`gradient ${i} of ${name}`, x.grad as Tensor, wide[i]?.grad as Tensor, data, gradient);
  });
}

const unary =
  'neg abs exp expm1 log log2 log10 log1p sqrt rsqrt square reciprocal sin cos tan asin acos atan sinh cosh tanh sigmoid relu leakyRelu elu silu softplus erf gelu floor ceil round sign';
const { mse, l1, huber, bceWithLogits, kl } = anneal.losses;
const sumOf = (loss: ReturnType<typeof mse>): Tensor => loss.terms[0]?.sum as Tensor;
const losses: { readonly [name: string]: (x: Tensor, t: Tensor) => Tensor } = {
  mse: (x, t) => sumOf(mse(x, t)),
  l1: (x, t) => sumOf(l1(x, t)),
  huber: (x, t) => sumOf(huber(x, t, { delta: 0.4 })),
  bceWithLogits: (x, t) => {
    const posWeight = x
      .detach()
      .to(x.dtype === 'f64' ? 'f64' : 'f32')
      .gt(0)
      .to('f32')
      .add(0.5);
    return sumOf(bceWithLogits(x, t, { posWeight, weight: posWeight.add(1) }));
  },
  kl: (x, t) => sumOf(kl(x, t)),
  klLog: (x, t) => sumOf(kl(x, t, { logTarget: true })),
};
describe.each(['f32', 'bf16', 'f16'] as const)('%s', (dtype) => {
  test.each(unary.split(' '))('%s', (name) => compare(name, named(name), [ladder], dtype));
  // Beyond, the result is infinite and the derivative, less by ln 2, is not.
  test('exp2', () => compare('exp2', named('exp2'), [ladder.filter((x) => !(x > (dtype === 'f16' ? 15 : 127)))], dtype));
  // Beyond, the cube in the derivative overflows where its factor is 0: NaN, as in PyTorch.
  test('gelu by tanh', () =>
    compare(
      'gelu',
      (x) => anneal.gelu(x as Tensor, { approximate: 'tanh' }),
      [ladder.filter((x) => !(Math.abs(x) > 1e15))],
      dtype,
    ));
  test.each(['gelu', 'geluTanh'] as const)('%s after a bias', (activation) => {
    // Saved is x, and the derivative is of the rounded sum: a bias of 0 leaves it as it is.
    const zero = (x: Tensor) => anneal.zeros([x.size], { device: x.device, dtype: x.dtype === 'f64' ? 'f64' : 'f32' });
    const within = ladder.filter((x) => !(activation === 'geluTanh' && Math.abs(x) > 1e15));
    return compare('gelu', (x) => anneal.fusedBias(x as Tensor, { bias: zero(x as Tensor), activation }), [within], dtype);
  });
  test('clamp', () => compare('clamp', (x) => anneal.clamp(x as Tensor, { min: -1, max: 2 }), [ladder], dtype));
  test.each([0.5, 1.5, 2, 3, -1, -2.5, 7.25])('pow of %s', (p) =>
    compare('pow', (x) => anneal.pow(x as Tensor, p), [ladder], dtype),
  );

  const columns = [values.flatMap((a) => values.map(() => a)), values.flatMap(() => values)];
  test.each('add sub mul div pow atan2 fmod remainder floorDivide maximum minimum'.split(' '))('%s', (name) =>
    compare(name, named(name), columns, dtype, false),
  );

  // Logits or log-probabilities, with targets from 0 to 1, the ends included.
  const [inputs, targets] = [steps.filter((x) => Math.abs(x) <= 1000), [0, 1e-30, 0.1, 0.5, 0.9, 1]];
  const met = [inputs.flatMap((a) => targets.map(() => a)), inputs.flatMap(() => targets)];
  test.each(Object.keys(losses))('%s', (name) => compare(name, losses[name] as Op, met, dtype));
});
