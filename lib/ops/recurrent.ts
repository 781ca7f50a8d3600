import { ConfigError, checkOptions, DTypeError, describe, ShapeError } from '../native/errors.ts';
import { fromHost } from '../tensor/create.ts';
import { bytesOf, type DType } from '../tensor/dtype.ts';
import { scope } from '../tensor/scope.ts';
import { type Shape, show } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { lt } from './binary.ts';
import {
  cast,
  checkDevice,
  checkFloat,
  checkRank,
  checkShapeIs,
  dense,
  filled,
  nativeOp,
  record,
  run,
  unwritten,
} from './define.ts';
import { inputGradient, weightGradients } from './linear.ts';
import { product } from './matmul.ts';
import { computeCopy, weightCopy } from './precision.ts';
import { where } from './select.ts';
import { reshape } from './view.ts';

const copyOp = nativeOp('copy');
const lstmStep = nativeOp('lstmStep');
const lstmGrad = nativeOp('lstmStep.grad');
const gruStep = nativeOp('gruStep');
const gruGrad = nativeOp('gruStep.grad');
const rnnStep = nativeOp('rnnStep');
const rnnGrad = nativeOp('rnnStep.grad');

export type RecurrentMode = 'lstm' | 'gru' | 'tanh' | 'relu';

/** Rows of the weights for one unit, in PyTorch's order: i, f, g, o; r, z, n. */
export const gatesOf = (mode: RecurrentMode): number => (mode === 'lstm' ? 4 : mode === 'gru' ? 3 : 1);

export interface RecurrentWeights {
  /** [gates H, I]. */
  readonly ih: Tensor;
  /** [gates H, H]. */
  readonly hh: Tensor;
  /** [gates H], both or neither. */
  readonly biasIh: Tensor | null;
  readonly biasHh: Tensor | null;
}

export interface RecurrentOptions {
  /** From the last step to the first. Default false. */
  reverse?: boolean;
  /** How many steps of each row count: i32 [B], or numbers. Default: all. */
  lengths?: Tensor | readonly number[] | null;
  /** The first hidden state, [B, H]. Default: zeros. */
  h0?: Tensor | null;
  /** The first cell state of an LSTM, [B, H]. Default: zeros. */
  c0?: Tensor | null;
}

export interface RecurrentResult {
  /** [T, B, H]; zeros behind the end of a row. */
  output: Tensor;
  /** [B, H]: the state behind each row's last step. */
  h: Tensor;
  /** The cell state of an LSTM; f32 for 16-bit activations. */
  c: Tensor | null;
}

/** `lengths` as i32 [batch] on the device of `x`. Numbers are checked: whole, from 0 to `steps`. */
export function lengthsOf(
  op: string,
  lengths: RecurrentOptions['lengths'],
  batch: number,
  steps: number,
  x: Tensor,
): Tensor | null {
  if (lengths === null || lengths === undefined) return null;
  if (lengths instanceof Tensor) {
    if (lengths.dtype !== 'i32') throw new DTypeError(`${op}: lengths must be i32, got ${lengths.dtype}`);
    checkShapeIs(op, lengths, [batch], 'lengths');
    checkDevice(op, x, lengths);
    return dense(lengths);
  }
  if (!Array.isArray(lengths) || lengths.length !== batch)
    throw new ShapeError(`${op}: lengths must be ${batch} numbers, one for each row of the batch, got ${describe(lengths)}`);
  if (!lengths.every((n) => Number.isInteger(n) && n >= 0 && n <= steps))
    throw new ConfigError(`${op}: lengths must be whole numbers from 0 to ${steps}, the steps of x, got ${describe(lengths)}`);
  return fromHost(Int32Array.from(lengths), [batch], 'i32', x.device);
}

/** What every step needs to know. */
interface Plan {
  readonly mode: RecurrentMode;
  readonly steps: number;
  readonly batch: number;
  readonly width: number;
  readonly gates: number;
  readonly dtype: DType;
  /** Of cells and of gradients of parameters. */
  readonly wide: DType;
  readonly reverse: boolean;
}

/** States of all steps lie in one tensor [T + 1, B, H]: step t reads one slot and writes its neighbour, so that all that were read are one matrix. */
const slots = (p: Plan, t: number): { from: number; to: number } => (p.reverse ? { from: t + 1, to: t } : { from: t, to: t + 1 });
/** [count, rest] of `x` from its place `at` along the first dimension: the same memory. */
function slice(x: Tensor, at: number, count?: number): Tensor {
  const rest = x.shape.slice(1);
  const size = rest.reduce((n, d) => n * d, bytesOf(x.dtype));
  return x.alias(count === undefined ? rest : [count, ...rest], x.offset + at * size);
}
const order = (p: Plan): number[] => Array.from({ length: p.steps }, (_, i) => (p.reverse ? p.steps - 1 - i : i));

/** A tensor that has its memory: parts of it are written one by one. */
const allocated = (shape: Shape, dtype: DType, like: Tensor): Tensor => filled(shape, 0, dtype, like);

/** States [T + 1, B, H] with the first in its slot. */
function states(p: Plan, first: Tensor | null, dtype: DType, like: Tensor): Tensor {
  const all = allocated([p.steps + 1, p.batch, p.width], dtype, like);
  if (first) run(copyOp, [dense(cast(first.detach(), dtype))], [slice(all, p.reverse ? p.steps : 0)]);
  return all;
}

interface Made {
  readonly h: Tensor;
  readonly c: Tensor | null;
  /** What backward needs of the gates; for an LSTM they lie where their sums were. */
  readonly kept: Tensor | null;
}

/** Steps forward. Between two of them stand a product and one pass over the units; what concerns x is one product for all. */
function forward(p: Plan, x: Tensor, w: RecurrentWeights, h0: Tensor | null, c0: Tensor | null, lengths: Tensor | null): Made {
  const { mode, batch, width, gates, dtype } = p;
  const n = gates * width;
  const h = states(p, h0, dtype, x);
  const c = mode === 'lstm' ? states(p, c0, p.wide, x) : null;
  const bias = (b: Tensor | null) => b && cast(b.detach(), p.wide);
  const [one, two] = [bias(w.biasIh), bias(w.biasHh)];
  const first = mode !== 'gru' && one && two ? one.add(two) : one;
  const all = { m: p.steps * batch, n, k: x.shape[2] as number, transposeB: true };
  const sums = product(x, w.ih, all, dtype, [p.steps, batch, n], undefined, first);
  const kept = mode === 'gru' ? allocated([p.steps, batch, 4 * width], dtype, x) : null;
  for (const t of order(p)) {
    const { from, to } = slots(p, t);
    const [before, after, at] = [slice(h, from), slice(h, to), slice(sums, t)];
    const attrs = [batch, width, t, mode === 'relu' ? 1 : 0];
    const step = { m: batch, n, k: width, transposeB: true };
    // A GRU's reset gate stands between the two sums; elsewhere the product adds to that of x.
    const own = product(before, w.hh, step, dtype, [batch, n], undefined, kept ? two : null, kept ? null : at);
    if (kept) run(gruStep, [at, own, before, lengths], [after, slice(kept, t)], attrs);
    else if (c) run(lstmStep, [own, slice(c, from), before, lengths], [after, slice(c, to), at], attrs);
    else run(rnnStep, [own, before, lengths], [after], attrs);
    own.dispose();
  }
  return { h, c, kept: kept ?? (c ? sums : null) };
}

interface Saved extends Made {
  readonly x: Tensor;
  readonly ih: Tensor;
  readonly hh: Tensor;
  readonly lengths: Tensor | null;
}

/** Steps back. Gives the gradients of the sums from x and of those from h (one tensor but in a GRU), and of the first states. */
function through(p: Plan, s: Saved, grads: readonly (Tensor | undefined)[]) {
  const { mode, batch, width, dtype, wide } = p;
  const n = p.gates * width;
  const given = (g: Tensor | undefined, as: DType) => (g ? dense(cast(g, as)) : null);
  const dy = given(grads[0], dtype);
  let [dh, dc] = [given(grads[1], dtype), given(grads[2], wide)];
  const dx = allocated([p.steps, batch, n], dtype, s.x);
  const dg = mode === 'gru' ? allocated([p.steps, batch, n], dtype, s.x) : dx;
  for (const t of order(p).reverse()) {
    const { from, to } = slots(p, t);
    const [at, y] = [slice(dx, t), dy && slice(dy, t)];
    const attrs = [batch, width, t, mode === 'relu' ? 1 : 0];
    // What reaches the state before beside the product: all of it where a row is over, and a GRU's leak.
    const pass = s.lengths || mode === 'gru' ? unwritten([batch, width], dtype, s.x.device) : null;
    if (mode === 'lstm') {
      const before = unwritten([batch, width], wide, s.x.device);
      const cells = s.c as Tensor;
      const inputs = [slice(s.kept as Tensor, t), slice(cells, from), slice(cells, to), dh, y, dc, s.lengths];
      run(lstmGrad, inputs, [at, before, pass], attrs);
      dc = before;
    } else if (mode === 'gru') {
      run(gruGrad, [slice(s.kept as Tensor, t), slice(s.h, from), dh, y, s.lengths], [at, slice(dg, t), pass], attrs);
    } else {
      run(rnnGrad, [slice(s.h, to), dh, y, s.lengths], [at, pass], attrs);
    }
    dh = product(slice(dg, t), s.hh, { m: batch, n: width, k: n }, dtype, [batch, width], pass ?? undefined);
  }
  return { dx, dg, dh, dc };
}

function checkWeights(op: string, x: Tensor, w: RecurrentWeights, gates: number): number {
  checkRank(op, checkFloat(op, w.hh, 'weights.hh'), 2, '[gates H, H]', 'weights.hh');
  const width = w.hh.shape[1] as number;
  checkShapeIs(op, w.hh, [gates * width, width], 'weights.hh');
  checkShapeIs(op, checkFloat(op, w.ih, 'weights.ih'), [gates * width, x.shape[2] as number], 'weights.ih');
  if ((w.biasIh === null) !== (w.biasHh === null)) throw new ConfigError(`${op}: give both biases, or neither`);
  for (const b of [w.biasIh, w.biasHh]) if (b) checkShapeIs(op, checkFloat(op, b, 'a bias'), [gates * width], 'a bias');
  checkDevice(op, x, w.ih, w.hh, w.biasIh, w.biasHh);
  return width;
}

function planOf(mode: RecurrentMode, x: Tensor, w: RecurrentWeights, options: RecurrentOptions): Plan {
  const op = 'recurrent';
  checkRank(op, checkFloat(op, x), 3, '[T, B, I]');
  checkOptions(op, options, ['reverse', 'lengths', 'h0', 'c0']);
  const gates = gatesOf(mode);
  const width = checkWeights(op, x, w, gates);
  const [steps, batch] = x.shape as [number, number, number];
  if (steps === 0) throw new ShapeError(`${op}: x ${show(x.shape)} has no steps`);
  for (const name of ['h0', 'c0'] as const)
    if (options[name]) checkShapeIs(op, checkFloat(op, options[name], name), [batch, width], name);
  checkDevice(op, x, options.h0, options.c0);
  if (options.c0 && mode !== 'lstm') throw new ConfigError(`${op}: only an LSTM has a cell state c0`);
  const { dtype } = computeCopy(x);
  return { mode, steps, batch, width, gates, dtype, wide: dtype === 'f64' ? 'f64' : 'f32', reverse: !!options.reverse };
}

/** One direction of one layer over time-major x [T, B, I]; lib/nn/recurrent.ts makes layers of it. State, gates and gradients are PyTorch's. */
export function recurrent(mode: RecurrentMode, x: Tensor, w: RecurrentWeights, options: RecurrentOptions = {}): RecurrentResult {
  const p = planOf(mode, x, w, options);
  const lengths = lengthsOf('recurrent', options.lengths, p.batch, p.steps, x);
  const { h0 = null, c0 = null } = options;
  const a = dense(computeCopy(x));
  const [ih, hh] = [dense(weightCopy(w.ih, p.dtype)), dense(weightCopy(w.hh, p.dtype))];
  const { h, c, kept } = scope(() => forward(p, a, { ...w, ih, hh }, h0, c0, lengths));
  const last = p.reverse ? 0 : p.steps;
  const all = slice(h, p.reverse ? 0 : 1, p.steps);
  const output = lengths ? masked(all, lengths) : all;
  const result = { output, h: slice(h, last), c: c && slice(c, last) };

  const biased = w.biasIh !== null;
  const inputs = [x, w.ih, ...(w.biasIh ? [w.biasIh] : []), w.hh, ...(w.biasHh ? [w.biasHh] : [])];
  const types = { x: x.dtype, weight: w.ih.dtype, bias: w.biasIh?.dtype ?? null };
  const own = { x: x.dtype, weight: w.hh.dtype, bias: w.biasHh?.dtype ?? null };
  const firsts = [h0, c0].filter((t): t is Tensor => t !== null);
  const like = { shape: x.shape, h0: h0?.dtype, c0: c0?.dtype };
  const present = [a, ih, hh, h, lengths, c, kept].map((t) => t !== null);
  const saved = [a, ih, hh, h, lengths, c, kept].filter((t): t is Tensor => t !== null);
  const outputs = [output, result.h, ...(result.c ? [result.c] : [])];
  const name = mode === 'lstm' || mode === 'gru' ? mode : 'rnn';
  record(name, [...inputs, ...firsts], outputs, saved, (grads, found, back) => {
    const rest = [...found];
    const [sx, sih, shh, sh, sl, sc, sk] = present.map((is) => (is ? (rest.shift() as Tensor) : null));
    const s = { x: sx, ih: sih, hh: shh, h: sh, lengths: sl, c: sc, kept: sk } as Saved;
    const { dx, dg, dh, dc } = through(p, s, grads);
    const before = slice(s.h, p.reverse ? 1 : 0, p.steps);
    const second = biased ? 3 : 2; // where weights.hh stands among the inputs
    const wih = weightGradients(dx, s.x, types, back, 1);
    const whh = weightGradients(dg, before, own, back, second);
    const into = inputGradient(dx, s.ih, like.shape, types.x, back, 0);
    const states = [...(like.h0 ? [dh && cast(dh, like.h0)] : []), ...(like.c0 ? [dc && cast(dc, like.c0)] : [])];
    return [into, ...wih, ...whh, ...states];
  });
  return result;
}

/** `x` [T, B, H] with zeros behind the end of each row. */
function masked(x: Tensor, lengths: Tensor): Tensor {
  const [steps, batch] = x.shape as [number, number, number];
  return scope(() => {
    const time = fromHost(
      Int32Array.from({ length: steps }, (_, i) => i),
      [steps, 1, 1],
      'i32',
      x.device,
    );
    return where(lt(time, reshape(lengths.detach(), [1, batch, 1])), x, 0);
  });
}
