import { record } from '../autograd/graph.ts';
import { ConfigError, checkOptions, DTypeError, describe } from '../native/errors.ts';
import { firstElement, nextDraw } from '../tensor/context.ts';
import { checkDType, isFloat } from '../tensor/dtype.ts';
import type { Shape } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { blank, type CreateOptions } from './create.ts';
import { cast, checkFloat, checkNumber, dense, nativeOp, run, unwritten } from './define.ts';

export { type DropoutOptions, dropout, dropout2d, type FusedBiasOptions, fusedBias } from './dropout.ts';

// Every number is a function of its place: seed, stream (a hash of the path), attempt, element (lib/tensor/philox.ts, native/src/core/philox.h).
// The attributes of all these ops begin with it.

/** Where the numbers of a tensor stand: the draw, and the index of its first element in the window over micro-batches and ranks. */
export function drawAttributes(path: string, shape: Shape, size: number): number[] {
  const draw = nextDraw(path);
  return [...draw.attributes, firstElement(draw, size, shape[0] ?? 1)];
}

const split = <O extends CreateOptions>(op: string, options: O, own: readonly string[]): CreateOptions => {
  checkOptions(op, options, ['dtype', 'device', 'requiresGrad', ...own]);
  const { dtype, device, requiresGrad } = options;
  return { dtype, device, requiresGrad };
};

function drawn(op: string, shape: Shape, options: CreateOptions, attrs: readonly number[], where = op): Tensor {
  const out = blank(where, shape, options);
  run(nativeOp(op), [], [out], [...drawAttributes(op, shape, out.size), ...attrs]);
  return out;
}

function checkFloatOutput(op: string, options: CreateOptions): void {
  if (options.dtype !== undefined && !isFloat(checkDType(op, options.dtype)))
    throw new DTypeError(`${op}: dtype must be a float type, got ${options.dtype}. For integers use randint.`);
}

nativeOp('randomWords');
/** The raw 32-bit words behind every draw, as i32. Mostly for tests. */
export function randomWords(shape: Shape, options: Omit<CreateOptions, 'dtype'> = {}): Tensor {
  return drawn('randomWords', shape, { ...split('randomWords', options, []), dtype: 'i32' }, []);
}

nativeOp('uniform');
type UniformOptions = CreateOptions & { low?: number; high?: number };
/** Uniform numbers, for the function that errors are to name. */
export function uniformAs(where: string, shape: Shape, options: UniformOptions): Tensor {
  const common = split(where, options, ['low', 'high']);
  checkFloatOutput(where, common);
  const low = checkNumber(where, options.low ?? 0, 'low', -Number.MAX_VALUE, Number.MAX_VALUE);
  const high = checkNumber(where, options.high ?? 1, 'high', -Number.MAX_VALUE, Number.MAX_VALUE);
  if (low > high) throw new ConfigError(`${where}: low ${low} is above high ${high}`);
  return drawn('uniform', shape, common, [low, high], where);
}
/** Uniform numbers in [low, high), by default [0, 1): 24 random bits each (8 for bf16, 11 for f16). Default dtype f32. */
export const uniform = (shape: Shape, options: UniformOptions = {}): Tensor => uniformAs('uniform', shape, options);

/** Uniform numbers in [0, 1). */
export const rand = (shape: Shape, options: CreateOptions = {}): Tensor => uniformAs('rand', shape, split('rand', options, []));

nativeOp('normal');
type NormalOptions = CreateOptions & { mean?: number; std?: number };
/** Normal numbers, for the function that errors are to name. */
export function normalAs(where: string, shape: Shape, options: NormalOptions): Tensor {
  const common = split(where, options, ['mean', 'std']);
  checkFloatOutput(where, common);
  const mean = checkNumber(where, options.mean ?? 0, 'mean', -Number.MAX_VALUE, Number.MAX_VALUE);
  const std = checkNumber(where, options.std ?? 1, 'std', 0, Number.MAX_VALUE);
  return drawn('normal', shape, common, [mean, std], where);
}
/** Normal numbers of the given mean (default 0) and standard deviation (default 1), by Box and Muller's rule in one fixed sequence of f32 operations: the same bits everywhere. */
export const normal = (shape: Shape, options: NormalOptions = {}): Tensor => normalAs('normal', shape, options);

/** Standard normal numbers. */
export const randn = (shape: Shape, options: CreateOptions = {}): Tensor => normalAs('randn', shape, split('randn', options, []));

nativeOp('randint');
/** Whole numbers in [low, high), low 0 by default. Default dtype i32. One 32-bit word each, so a number's chance is off by at most 2^-32. */
export function randint(shape: Shape, options: CreateOptions & { low?: number; high: number }): Tensor {
  if (options === undefined) throw new ConfigError('randint: high is missing, for example randint([2, 3], { high: 10 })');
  const common = split('randint', options, ['low', 'high']);
  const low = options.low ?? 0;
  const { high } = options;
  for (const [name, value] of [
    ['low', low],
    ['high', high],
  ] as const)
    if (!Number.isInteger(value) || value < -(2 ** 31) || value > 2 ** 31)
      throw new ConfigError(`randint: ${name} must be a whole number from -2^31 to 2^31, got ${describe(value)}`);
  if (low >= high) throw new ConfigError(`randint: low ${low} must be below high ${high}`);
  const dtype = checkDType('randint', common.dtype ?? 'i32');
  if ((dtype === 'u8' && (low < 0 || high > 256)) || (dtype === 'bool' && (low < 0 || high > 2)))
    throw new ConfigError(`randint: [${low}, ${high}) does not fit ${dtype}`);
  return drawn('randint', shape, { ...common, dtype }, [low, high - low]);
}

nativeOp('permutation');
/** The numbers 0 to n-1 in random order, i32 [n]: Fisher and Yates's shuffle, as PhiloxStream.permutation. */
export function permutation(n: number, options: Pick<CreateOptions, 'device'> = {}): Tensor {
  checkOptions('permutation', options, ['device']);
  if (!Number.isSafeInteger(n) || n < 0 || n > 2 ** 31 - 1)
    throw new ConfigError(`permutation: n must be a whole number from 0 to 2^31 - 1, got ${describe(n)}`);
  return drawn('permutation', [n], { ...options, dtype: 'i32' }, []);
}

const bernoulliOp = nativeOp('bernoulli');
/**
 * Ones with probability p (default 0.5), else zeros: `bernoulli(shape, { p })`, or `bernoulli(probabilities)`, a tensor of them. Default dtype f32,
 * or that of the probabilities.
 */
export function bernoulli(of: Shape | Tensor, options: CreateOptions & { p?: number } = {}): Tensor {
  const common = split('bernoulli', options, of instanceof Tensor ? [] : ['p']);
  if (!(of instanceof Tensor)) {
    const p = checkNumber('bernoulli', options.p ?? 0.5, 'p', 0, 1);
    return drawn('bernoulli', of, common, [Math.floor(p * 2 ** 32)]);
  }
  const p = dense(cast(checkFloat('bernoulli', of, 'probabilities'), 'f32'));
  const out = unwritten(p.shape, checkDType('bernoulli', common.dtype ?? of.dtype), p.device);
  out.requiresGrad = common.requiresGrad ?? false;
  run(bernoulliOp, [p], [out], [...drawAttributes('bernoulli', p.shape, p.size), 0]);
  return out;
}

const stochasticRoundOp = nativeOp('stochasticRound');
/**
 * f32 as bf16, each number up or down with the chance that keeps its mean: small updates are not lost in a sum that is kept in bf16. Inf and NaN
 * stay; the gradient is that of `cast`. Source: Gupta et al., Deep Learning with Limited Numerical Precision (2015).
 */
export function stochasticRound(x: Tensor): Tensor {
  if (checkFloat('stochasticRound', x).dtype !== 'f32')
    throw new DTypeError(`stochasticRound: expected f32, got ${x.dtype}. Convert it first: cast(x, 'f32').`);
  const from = dense(x);
  const out = unwritten(from.shape, 'bf16', from.device);
  run(stochasticRoundOp, [from], [out], drawAttributes('stochasticRound', from.shape, from.size));
  record('stochasticRound', [from], [out], [], ([g]) => [g && cast(g, 'f32')]);
  return out;
}
