import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { Tensor } from '../tensor/tensor.ts';
import {
  cast,
  checkDevice,
  checkFloat,
  checkRank,
  checkShapeIs,
  dense,
  nativeOp,
  record,
  records,
  run,
  unwritten,
} from './define.ts';
import { inputGradient, linear, type Types, weightGradients } from './linear.ts';
import { product, rowsOf } from './matmul.ts';
import { computeCopy, weightCopy } from './precision.ts';
import { checkApproximate } from './unary.ts';

/** A layer's weight [out, in] and bias [out]. */
export interface Affine {
  weight: Tensor;
  bias: Tensor | null;
}

export interface FeedForwardOptions {
  /** Form of GELU. Default 'none': exact. */
  approximate?: 'none' | 'tanh';
  /** Added to the result in the product's own pass; of the result's shape. */
  residual?: Tensor;
}

function checkAffine(given: Affine, name: string): void {
  if (given === null || typeof given !== 'object' || given instanceof Tensor)
    throw new ConfigError(`feedForward: ${name} must be { weight, bias }, such as an nn.Linear, got ${describe(given)}`);
  checkRank('feedForward', checkFloat('feedForward', given.weight, `${name}.weight`), 2, '[out, in]', `${name}.weight`);
  if (given.bias != null) checkFloat('feedForward', given.bias, `${name}.bias`);
}

const gelu = nativeOp('gelu');
const geluTanh = nativeOp('geluTanh');
const geluBoth = nativeOp('gelu.both');
const geluTanhBoth = nativeOp('geluTanh.both');

/**
 * down(gelu(up(x))): the transformer's feed-forward part as one op. The activation lies over the first product, its derivative is kept instead
 * of its input, and backward multiplies by it inside the product that needs it: no pass of its own.
 */
export function feedForward(x: Tensor, up: Affine, down: Affine, options: FeedForwardOptions = {}): Tensor {
  checkFloat('feedForward', x);
  checkOptions('feedForward', options, ['approximate', 'residual']);
  const approximate = checkApproximate('feedForward', options.approximate);
  const { residual } = options;
  checkAffine(up, 'up');
  checkAffine(down, 'down');
  const [hiddenWidth, width] = [up.weight.shape[0] as number, down.weight.shape[0] as number];
  checkShapeIs('feedForward', up.weight, [hiddenWidth, x.shape.at(-1) ?? 0], 'up.weight');
  checkShapeIs('feedForward', down.weight, [width, hiddenWidth], 'down.weight');
  if (up.bias) checkShapeIs('feedForward', up.bias, [hiddenWidth], 'up.bias');
  if (down.bias) checkShapeIs('feedForward', down.bias, [width], 'down.bias');
  if (residual != null)
    checkShapeIs('feedForward', checkFloat('feedForward', residual, 'residual'), [...x.shape.slice(0, -1), width], 'residual');
  checkDevice('feedForward', x, up.weight, up.bias, down.weight, down.bias, residual);
  const given = [up.weight, up.bias, down.weight, down.bias, residual].filter((t): t is Tensor => t != null);
  const keep = records([x, ...given]);
  // The first layer without a tape of its own.
  const a = dense(computeCopy(x));
  const w1 = dense(weightCopy(up.weight, a.dtype));
  const hidden = linear(a.detach(), w1.detach(), up.bias?.detach() ?? null);
  const tanh = approximate === 'tanh';
  const slope = keep ? unwritten(hidden.shape, hidden.dtype, hidden.device) : null;
  run(slope ? (tanh ? geluTanhBoth : geluBoth) : tanh ? geluTanh : gelu, [hidden], slope ? [hidden, slope] : [hidden], [0, 0]);

  const w2 = dense(weightCopy(down.weight, a.dtype));
  const plus = residual && dense(cast(residual, a.dtype)).detach();
  const out = linear(hidden, w2.detach(), down.bias?.detach() ?? null, plus ? { residual: plus } : {});
  if (!slope) return out;

  const one: Types = { x: x.dtype, weight: up.weight.dtype, bias: up.bias?.dtype ?? null };
  const two: Types = { x: a.dtype, weight: down.weight.dtype, bias: down.bias?.dtype ?? null };
  const xShape = x.shape;
  const residualType = residual?.dtype;
  record('feedForward', [x, ...given], [out], [a, w1, hidden, slope, w2], ([grad], saved, back) => {
    const [sa, sw1, h, d, sw2] = saved as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const g = dense(cast(grad as Tensor, sa.dtype));
    const second = one.bias ? 3 : 2; // where down.weight stands among the inputs
    const downs = weightGradients(g, h, two, back, second);
    const [n, k] = sw2.shape as [number, number];
    const dz = product(g, sw2, { m: rowsOf(g), n: k, k: n, multiply: true }, g.dtype, h.shape, undefined, null, d);
    const ups = weightGradients(dz, sa, one, back, 1);
    const dx = inputGradient(dz, sw1, xShape, one.x, back, 0);
    return [dx, ...ups, ...downs, ...(residualType ? [cast(g, residualType)] : [])];
  });
  return out;
}
