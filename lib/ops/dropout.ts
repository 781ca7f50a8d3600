import { ConfigError, checkOptions, checkText, describe } from '../native/errors.ts';
import { firstElement, nextDraw } from '../tensor/context.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  attach,
  cast,
  checkDevice,
  checkFloat,
  checkNumber,
  checkRank,
  checkShapeIs,
  dense,
  filled,
  matching,
  nativeOp,
  record,
  run,
  unwritten,
} from './define.ts';

export interface DropoutOptions {
  /** Keys the mask together with seed and step: the module's path. Default: the op's name. */
  path?: string;
}

/** Where the mask stands, and the rule: [seed, stream, attempt, index of the first element, threshold, scale]. */
function maskAttributes(path: string, size: number, rows: number, p: number): number[] {
  const draw = nextDraw(path);
  return [...draw.attributes, firstElement(draw, size, rows), Math.floor(p * 2 ** 32), 1 / (1 - p)];
}

function checkDropout(op: string, x: Tensor, p: number, options: DropoutOptions): void {
  checkFloat(op, x);
  checkNumber(op, p, 'p', 0, 1);
  checkOptions(op, options, ['path']);
  if (options.path !== undefined) checkText(op, 'path', options.path);
}

/** Everything dropped: zeros, and zeros as the gradient. */
function allDropped(op: string, x: Tensor): Tensor {
  const out = filled(x.shape, 0, x.dtype, x);
  const { shape, dtype, device } = x;
  record(op, [x], [out], [], () => [filled(shape, 0, dtype, { device })]);
  return out;
}

const dropoutOp = nativeOp('dropout');

/**
 * Inverted dropout (Srivastava et al. 2014): each element is zeroed with probability `p`, the rest multiplied by 1 / (1 - p). The caller decides
 * whether it is training. The mask depends on seed, path, step and the element's place in the whole window, never on how the window is cut;
 * it is recomputed in backward, not stored. channelsLast is first made contiguous. p = 0 gives x itself.
 */
export function dropout(x: Tensor, p: number, options: DropoutOptions = {}): Tensor {
  checkDropout('dropout', x, p, options);
  if (p === 0) return x;
  if (p === 1) return allDropped('dropout', x);
  const plain = dense(x);
  const out = unwritten(x.shape, x.dtype, x.device);
  const attrs = maskAttributes(options.path ?? 'dropout', x.size, x.shape[0] ?? 1, p);
  run(dropoutOp, [plain], [out], attrs);
  // dx = mask g / (1 - p)
  record('dropout', [plain], [out], [], ([grad], _, back) => {
    const g = dense(grad as Tensor);
    const have = back.take(0, { dtype: g.dtype, format: 'contiguous' });
    const dx = have ?? unwritten(g.shape, g.dtype, g.device);
    run(dropoutOp, [g, have ?? null], [dx], attrs);
    return [dx];
  });
  return out;
}

const dropout2dOp = nativeOp('dropout2d');

/** Zeroes whole channels of [N, C, H, W] with probability `p` (Tompson et al. 2015), the rest multiplied by 1 / (1 - p). Keeps the layout. As `dropout` otherwise. */
export function dropout2d(x: Tensor, p: number, options: DropoutOptions = {}): Tensor {
  checkDropout('dropout2d', x, p, options);
  checkRank('dropout2d', x, 4, '[N, C, H, W]');
  if (p === 0) return x;
  if (p === 1) return allDropped('dropout2d', x);
  const [n, c, h, w] = x.shape as [number, number, number, number];
  const { format } = x;
  const attrs = [...maskAttributes(options.path ?? 'dropout2d', n * c, n, p), n, c, h * w, +(format === 'channelsLast')];
  const masked = (t: Tensor): Tensor => {
    const out = unwritten(t.shape, t.dtype, t.device, format);
    run(dropout2dOp, [t], [out], attrs);
    return out;
  };
  const out = masked(x);
  record('dropout2d', [x], [out], [], ([g]) => [masked(matching(g as Tensor, format))]);
  return out;
}

// ---- bias, activation, dropout and residual in one pass ---------------------------------------------------------------------

/** The order is native/src/cpu/dropout.cc's. */
const activations = ['none', 'relu', 'gelu', 'geluTanh'] as const;

export interface FusedBiasOptions {
  /** [C], added along the last axis. */
  bias?: Tensor | null;
  /** 'gelu' is the exact one, 'geluTanh' GPT-2's. Default 'none'. */
  activation?: (typeof activations)[number];
  /** Probability of dropping. Default 0. */
  p?: number;
  /** Added at the end, of the shape of x; rounded to the dtype of x if that is another. */
  residual?: Tensor | null;
  /** Keys the mask, as in `dropout`. Default 'fusedBias'. */
  path?: string;
}

const fusedOp = nativeOp('fusedBias');
const fusedGradOp = nativeOp('fusedBias.grad');

/** Rows whose column sums are taken together: at most 64 chunks, whatever the number of threads. */
const rowsPerChunk = (rows: number): number => Math.max(16, Math.ceil(rows / 64));

/**
 * residual + dropout(activation(x + bias)) in one pass over memory; x is [..., C]. Backward is one pass too and recomputes activation and
 * mask from x, which is all that is saved (nothing without an activation). The caller decides whether it is training (p = 0 otherwise).
 */
export function fusedBias(x: Tensor, options: FusedBiasOptions = {}): Tensor {
  checkOptions('fusedBias', options, ['bias', 'activation', 'p', 'residual', 'path']);
  const { activation = 'none', bias = null, residual = null } = options;
  if (options.path !== undefined) checkText('fusedBias', 'path', options.path);
  const p = checkNumber('fusedBias', options.p ?? 0, 'p', 0, 1);
  checkFloat('fusedBias', x);
  checkDevice('fusedBias', x, bias, residual);
  const code = activations.indexOf(activation);
  if (code < 0)
    throw new ConfigError(`fusedBias: activation must be one of ${activations.join(', ')}, got ${describe(activation)}`);
  const width = x.ndim === 0 ? 1 : (x.shape[x.ndim - 1] as number);
  if (bias != null) checkShapeIs('fusedBias', checkFloat('fusedBias', bias, 'bias'), [width], 'bias');
  if (residual != null) checkShapeIs('fusedBias', checkFloat('fusedBias', residual, 'residual'), x.shape, 'residual');

  const vector = x.dtype === 'f64' ? 'f64' : 'f32';
  const plain = dense(x);
  const b = bias && cast(bias, vector);
  const r = residual && dense(cast(residual, x.dtype));
  if (p === 1) return allDroppedBias(plain, b, r);
  const drawn = p > 0 ? maskAttributes(options.path ?? 'fusedBias', x.size, x.shape[0] ?? 1, p) : [0, 0, 0, 0, 0, 0, 1];
  const rows = width > 0 ? x.size / width : 0;
  const attrs = [...drawn, rows, width, code];
  const out = unwritten(x.shape, x.dtype, x.device);
  run(fusedOp, [plain, b, r], [out], attrs);

  const saved = code === 0 ? [] : b ? [plain, b] : [plain];
  const inputs = [plain, ...(b ? [b] : []), ...(r ? [r] : [])];
  const [hasBias, hasResidual] = [b !== null, r !== null];
  // h = x + bias: dh = act'(h) mask g / (1 - p), dx = dh, dbias = column sums of dh, dresidual = g
  record('fusedBias', inputs, [out], saved, ([grad], [sx, sb], back) => {
    const g = dense(grad as Tensor);
    const dx = back.needs(0) ? unwritten(g.shape, g.dtype, g.device) : null;
    const wantsBias = hasBias && back.needs(1);
    const have = wantsBias ? back.take(1, { dtype: vector, format: 'contiguous' }) : undefined;
    const db = wantsBias ? (have ?? unwritten([width], vector, g.device)) : null;
    const per = rowsPerChunk(rows);
    const partials = db && unwritten([Math.ceil(rows / per) * width], vector, g.device);
    if (dx || db) run(fusedGradOp, [g, sx ?? null, sb ?? null, have ?? null], [dx, db, partials], [...attrs, per]);
    return [dx, ...(hasBias ? [db] : []), ...(hasResidual ? [g] : [])];
  });
  return out;
}

/** What is left of fusedBias at p = 1. */
function allDroppedBias(x: Tensor, bias: Tensor | null, residual: Tensor | null): Tensor {
  const out = residual ? residual.alias() : filled(x.shape, 0, x.dtype, x);
  const given = [x, bias].filter((t): t is Tensor => t !== null);
  const zeros = given.map(({ shape, dtype, device }) => ({ shape, dtype, device }));
  const passes = residual !== null;
  record('fusedBias', residual ? [...given, residual] : given, [out], [], ([g]) => [
    ...zeros.map(({ shape, dtype, device }) => filled(shape, 0, dtype, { device })),
    ...(passes ? [g] : []),
  ]);
  return out;
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /** Inverted dropout; the caller decides whether it is training. */
    dropout(p: number, options?: DropoutOptions): Tensor;
    dropout2d(p: number, options?: DropoutOptions): Tensor;
  }
}
attach({ dropout, dropout2d });
