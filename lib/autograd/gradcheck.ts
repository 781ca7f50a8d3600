import {
  AnnealError,
  ConfigError,
  checkFunction,
  checkList,
  checkOptions,
  DTypeError,
  describe,
  GraphError,
} from '../native/errors.ts';
import { upload } from '../native/run.ts';
import { bind } from '../tensor/context.ts';
import { fromHost } from '../tensor/create.ts';
import { isFloat } from '../tensor/dtype.ts';
import { scope } from '../tensor/scope.ts';
import { type Shape, show } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { backward } from './graph.ts';

export interface GradcheckOptions {
  /** The step to each side of an element x is eps * max(1, |x|). Default: 1e-5. */
  eps?: number;
  /** Largest relative error allowed. Default: 1e-6. */
  tolerance?: number;
}

type Checked = (...inputs: Tensor[]) => Tensor | readonly Tensor[];

/** Numbers from -1 to 1, none near 0, the same each time: every output must count, and none like its neighbour. */
const weightsOf = (output: number, size: number): Float64Array =>
  Float64Array.from({ length: size }, (_, i) => {
    const u = Math.imul(i + 1 + output * 7919, 0x9e3779b1) >>> 8;
    return (u & 1 ? 1 : -1) * (0.25 + (0.75 * u) / 2 ** 24);
  });

function checkInputs(inputs: readonly Tensor[]): void {
  if (!Array.isArray(inputs)) throw new ConfigError(`gradcheck: inputs must be a list of tensors, got ${describe(inputs)}`);
  inputs.forEach((x, i) => {
    if (!(x instanceof Tensor)) throw new DTypeError(`gradcheck: input ${i} is not a Tensor`);
    if (!isFloat(x.dtype)) return;
    if (x.dtype !== 'f64')
      throw new DTypeError(
        `gradcheck: input ${i} ${show(x.shape)} is ${x.dtype}, whose rounding hides a wrong gradient. Make it f64: tensor(data, { dtype: 'f64', requiresGrad: true }).`,
      );
    if (x.requiresGrad && (x.node !== null || x.format !== 'contiguous'))
      throw new GraphError(
        `gradcheck: input ${i} ${show(x.shape)} is the result of an op or not plain row-major memory. Give leaves: x.detach().contiguous(), with requiresGrad set.`,
      );
  });
  if (!inputs.some((x) => isFloat(x.dtype))) throw new ConfigError('gradcheck: there is no f64 input to check.');
}

/** fn's results; random ops draw the same numbers at every call. */
function forward(fn: Checked, inputs: readonly Tensor[]): Tensor[] {
  const rng = { seed: 0, attempt: 0, rowOffset: 0, rows: 0, calls: new Map<string, number>(), inStep: false };
  const result = bind({ rng, precision: 'f32', grad: true }, () => fn(...inputs));
  const outputs = result instanceof Tensor ? [result] : checkList('gradcheck', "the function's result", result);
  return outputs.filter((t, k) => {
    if (!(t instanceof Tensor)) throw new ConfigError(`gradcheck: output ${k} is no Tensor, but ${describe(t)}`);
    if (!isFloat(t.dtype)) return false;
    if (t.dtype !== 'f64')
      throw new DTypeError(`gradcheck: output ${k} ${show(t.shape)} is ${t.dtype}; f64 inputs must give f64 outputs.`);
    return true;
  });
}

const values = (fn: Checked, inputs: readonly Tensor[]): Promise<ArrayLike<number>[]> =>
  Promise.all(scope(() => forward(fn, inputs).map((t) => t.data())));

/** The gradients by backward. One walk per output: a walk frees the graph. */
async function analytic(fn: Checked, inputs: readonly Tensor[]): Promise<(ArrayLike<number> | null)[]> {
  const before = inputs.map((x) => x.grad);
  for (const x of inputs) x.grad = null;
  try {
    const count = scope(() => forward(fn, inputs).length);
    for (let k = 0; k < count; k++) {
      scope(() => {
        const out = forward(fn, inputs)[k] as Tensor;
        if (out.node) backward(out, fromHost(weightsOf(k, out.size), out.shape, 'f64', out.device));
      });
    }
    return await Promise.all(inputs.map((x) => x.grad?.data() ?? null));
  } finally {
    inputs.forEach((x, i) => {
      x.grad?.dispose();
      x.grad = before[i] as Tensor | null;
    });
  }
}

/** Central differences of the weighted sum of all outputs, for each element of input `i`, written in place and put back. */
async function numeric(fn: Checked, inputs: readonly Tensor[], i: number, eps: number): Promise<Float64Array> {
  const x = inputs[i] as Tensor;
  const data = (await x.data()) as Float64Array;
  const write = (element: number, value: number) => {
    data[element] = value;
    x.storage.version++;
    upload(x, data);
  };
  const result = new Float64Array(x.size);
  for (let e = 0; e < x.size; e++) {
    const at = data[e] as number;
    const h = eps * Math.max(1, Math.abs(at));
    let above: ArrayLike<number>[];
    let below: ArrayLike<number>[];
    try {
      write(e, at + h);
      above = await values(fn, inputs);
      write(e, at - h);
      below = await values(fn, inputs);
    } finally {
      write(e, at);
    }
    const width = at + h - (at - h);
    above.forEach((up, k) => {
      const [down, w] = [below[k] as ArrayLike<number>, weightsOf(k, up.length)];
      for (let j = 0; j < up.length; j++)
        result[e] = (result[e] as number) + ((w[j] as number) * ((up[j] as number) - (down[j] as number))) / width;
    });
  }
  return result;
}

/** Row-major position of an element, as [1, 0, 2]. */
function place(element: number, shape: Shape): string {
  const at: number[] = [];
  let rest = element;
  for (let d = shape.length - 1; d >= 0; d--) {
    at.unshift(rest % (shape[d] as number));
    rest = Math.floor(rest / (shape[d] as number));
  }
  return show(at);
}

/**
 * Holds `backward` of `fn` against central differences in f64, for every input that requires a gradient; where none says so, for every f64
 * input. The outputs are weighted with fixed
 * pseudo-random numbers. An element's error is measured against its own gradient, or a hundredth of the input's largest where that is more.
 * @param fn from tensors to a tensor or several; synchronous, the same result at each call (random ops are given the same numbers)
 * @param inputs f64 leaves; integers may stand among them
 * @returns the largest relative error
 * @throws AnnealError (code GRADCHECK) naming input, element, both values; DTypeError for inputs that are not f64
 */
export async function gradcheck(fn: Checked, inputs: readonly Tensor[], options: GradcheckOptions = {}): Promise<number> {
  checkFunction('gradcheck', 'the first argument', fn, 'gradcheck((x) => x.exp(), [x])');
  checkOptions('gradcheck', options, ['eps', 'tolerance']);
  for (const [name, value] of Object.entries({ eps: options.eps, tolerance: options.tolerance }))
    if (value != null && !(typeof value === 'number' && value > 0 && value < Infinity))
      throw new ConfigError(`gradcheck: ${name} must be a number above 0, got ${describe(value)}`);
  checkInputs(inputs);
  const all = inputs.some((x) => x.requiresGrad) ? [] : inputs.filter((x) => isFloat(x.dtype));
  for (const x of all) x.requiresGrad = true;
  try {
    return await compare(fn, inputs, options);
  } finally {
    for (const x of all) x.requiresGrad = false;
  }
}

async function compare(fn: Checked, inputs: readonly Tensor[], options: GradcheckOptions): Promise<number> {
  const { eps = 1e-5, tolerance = 1e-6 } = options;
  const found = await analytic(fn, inputs);
  let worst = 0;
  for (const [i, x] of inputs.entries()) {
    if (!x.requiresGrad) continue;
    const expected = await numeric(fn, inputs, i, eps);
    const actual = found[i] ?? new Float64Array(x.size);
    const largest = expected.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
    for (let e = 0; e < x.size; e++) {
      const [n, a] = [expected[e] as number, actual[e] as number];
      const error = n === a ? 0 : Math.abs(n - a) / Math.max(Math.abs(n), Math.abs(a), largest / 100);
      if (!(error <= tolerance))
        throw new AnnealError(
          'GRADCHECK',
          `gradcheck: input ${i} ${show(x.shape)}, element ${place(e, x.shape)}: numeric ${n}, backward ${found[i] ? a : 'gave no gradient'} (relative error ${error.toExponential(1)}, allowed ${tolerance}). ` +
            'Look at the rule of the op that reads this input, or for a kink (relu at 0, a tie) within eps of the value.',
        );
      worst = Math.max(worst, error);
    }
  }
  return worst;
}
