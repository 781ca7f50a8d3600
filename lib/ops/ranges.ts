import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { tensor } from '../tensor/create.ts';
import { checkDType, isFloat } from '../tensor/dtype.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type CreateOptions, constant } from './create.ts';
import { checkNumber } from './define.ts';
import { setAt } from './indexing-write.ts';
import { reshape } from './view.ts';

const MOST = 2 ** 31 - 1;
/** A finite number. */
const finite = (op: string, value: unknown, name: string) => checkNumber(op, value, name, -Number.MAX_VALUE, Number.MAX_VALUE);

/** `n` numbers from start to end, both included, evenly apart. Default dtype f32; floats only. */
export function linspace(start: number, end: number, n: number, options: CreateOptions = {}): Tensor {
  finite('linspace', start, 'start');
  finite('linspace', end, 'end');
  if (!Number.isInteger(n) || n < 0 || n > MOST)
    throw new ConfigError(`linspace: n must be a whole number from 0 to 2^31 - 1, got ${describe(n)}`);
  checkOptions('linspace', options, ['dtype', 'device', 'requiresGrad']);
  const dtype = checkDType('linspace', options.dtype ?? 'f32');
  if (!isFloat(dtype)) throw new ConfigError(`linspace: dtype must be a float type, got ${dtype}. For whole numbers use arange.`);
  const step = n > 1 ? (end - start) / (n - 1) : 0;
  // from both ends, so that both are exact
  const values = Float64Array.from({ length: n }, (_, i) => (2 * i < n ? start + step * i : end - step * (n - 1 - i)));
  return tensor(values, { ...options, dtype });
}

/** Ones on the diagonal of zeros [n, m]; m is n by default. Default dtype f32. */
export function eye(n: number, m: number = n, options: CreateOptions = {}): Tensor {
  for (const [name, v] of Object.entries({ n, m }))
    if (!Number.isInteger(v) || v < 0) throw new ConfigError(`eye: ${name} must be a whole number >= 0, got ${describe(v)}`);
  checkOptions('eye', options, ['dtype', 'device', 'requiresGrad']);
  const { requiresGrad, ...rest } = options;
  const flat = constant('eye', [n * m], 0, rest);
  const k = Math.min(n, m);
  if (k) setAt(flat, 1, `0:${k * (m + 1)}:${m + 1}`);
  const out = reshape(flat, [n, m]);
  if (requiresGrad) out.requiresGrad = true;
  return out;
}
