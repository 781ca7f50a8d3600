import { ConfigError, checkOptions, DTypeError, describe, GraphError, ShapeError } from '../native/errors.ts';
import { current, type Draw, firstElement, nextDraw } from '../tensor/context.ts';
import { type Shape, show } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import {
  cast,
  checkDevice,
  checkFloat,
  checkNumber,
  checkRank,
  checkTensor,
  dense,
  nativeOp,
  record,
  run,
  unwritten,
} from './define.ts';
import { computeCopy } from './precision.ts';

const forwardOp = nativeOp('attention');
const backwardOp = nativeOp('attention.grad');

export interface AttentionOptions {
  /** Query i sees key j where j <= i + Tk - Tq: the last query sees all keys. Default false. */
  causal?: boolean;
  /** Bool, broadcastable to [B, heads, Tq, Tk]; true where a query may attend. Default: everywhere. */
  mask?: Tensor | null;
  /** What scores are multiplied by. Default 1 / sqrt(D). */
  scale?: number;
  /** Probability with which each attention weight is dropped (the rest grow by 1 / (1 - p)); with the place of its random numbers, or the next one. */
  dropout?: number | { p: number; draw: Draw };
  /** How many rows of k and v count, from the first: for buffers that fill, as a KVCache's. Default: all. Without gradients for k and v. */
  keyLength?: number;
}

export interface PackedAttentionOptions extends Omit<AttentionOptions, 'keyLength'> {
  /** Query heads. */
  heads: number;
  /** Key and value heads; `heads` must be a multiple. Default: `heads`. */
  kvHeads?: number;
}

const known = ['causal', 'mask', 'scale', 'dropout'];

/** Where (batch, head, row) lies: elements from the start; native/src/cpu/attention.h. */
type Strides = readonly [offset: number, batch: number, head: number, row: number];

interface Plan {
  readonly batch: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly tq: number;
  readonly tk: number;
  readonly d: number;
  readonly q: Strides;
  readonly k: Strides;
  readonly v: Strides;
  readonly out: Strides;
}

function maskStrides(op: string, mask: Tensor | null, p: Plan): number[] {
  if (!mask) return [0, 0, 0, 0];
  if (mask.dtype !== 'bool')
    throw new DTypeError(
      `${op}: mask must be bool (true where a query may attend), got ${mask.dtype}. Compare first: mask.ne(0).`,
    );
  const full = [p.batch, p.heads, p.tq, p.tk];
  const strides = [0, 0, 0, 0];
  const extra = mask.ndim - 4;
  let step = 1;
  for (let i = mask.ndim - 1; i >= 0; i--) {
    const size = mask.shape[i] as number;
    const at = i - extra;
    if (at < 0 || (size !== 1 && size !== full[at]))
      throw new ShapeError(`${op}: mask ${show(mask.shape)} does not broadcast to [B, heads, Tq, Tk] = ${show(full)}`);
    if (size !== 1) strides[at] = step;
    step *= size;
  }
  return strides;
}

/** The draw (native/src/cpu/random.h), and the dropout's own: threshold and 1 / (1 - p). */
function dropoutAttributes(op: string, dropout: AttentionOptions['dropout'], p: Plan): { draw: number[]; own: number[] } {
  const given = dropout ?? 0;
  const rate = checkNumber(op, typeof given === 'object' ? given.p : given, 'dropout', 0, 1);
  if (rate === 0) return { draw: [0, 0, 0, 0, 0], own: [0, 1] };
  const draw = typeof given === 'object' ? given.draw : nextDraw(op);
  return {
    draw: [...draw.attributes, firstElement(draw, p.batch * p.heads * p.tq * p.tk, p.batch)],
    own: [Math.floor(rate * 2 ** 32), rate < 1 ? 1 / (1 - rate) : 0],
  };
}

/** The attributes of native/src/cpu/attention.h, and the mask as it goes there. */
function prepare(op: string, plan: Plan, options: AttentionOptions): { attrs: number[]; mask: Tensor | null } {
  const scale = checkNumber(
    op,
    options.scale ?? 1 / Math.sqrt(Math.max(1, plan.d)),
    'scale',
    -Number.MAX_VALUE,
    Number.MAX_VALUE,
  );
  const mask = options.mask != null ? dense(checkTensor(op, options.mask, 'mask')) : null;
  const { batch, heads, kvHeads, tq, tk, d } = plan;
  const { draw, own } = dropoutAttributes(op, options.dropout, plan);
  const attrs = [
    ...draw,
    ...[batch, heads, kvHeads, tq, tk, d, scale, options.causal ? 1 : 0],
    ...[...plan.q, ...plan.k, ...plan.v, ...plan.out],
    ...maskStrides(op, mask, plan),
    ...own,
  ];
  return { attrs, mask };
}

/** Runs on operands [q, k, v], or [qkv] with all three inside, and records the rule. */
function attend(op: string, operands: readonly Tensor[], mask: Tensor | null, attrs: number[], plan: Plan, shape: Shape): Tensor {
  const [q, k = null, v = null] = operands as [Tensor, Tensor?, Tensor?];
  const { dtype } = q;
  const out = unwritten(shape, dtype, q.device);
  // Saved for backward instead of the weights: [B, heads, Tq], so memory grows with T and not with its square.
  const lse = unwritten([plan.batch, plan.heads, plan.tq], dtype === 'f64' ? 'f64' : 'f32', q.device);
  run(forwardOp, [q, k, v, mask], [out, lse], attrs);
  const saved = [...operands, out, lse];
  const n = operands.length;
  record(op, operands, [out], mask ? [...saved, mask] : saved, ([grad], s, back) => {
    const [o, l, m = null] = s.slice(n) as [Tensor, Tensor, Tensor?];
    const g = dense(cast(grad as Tensor, dtype));
    const into = s.slice(0, n).map((x, i) => (back.needs(i) ? unwritten(x.shape, dtype, x.device) : null));
    const [sq, sk = null, sv = null] = s.slice(0, n) as [Tensor, Tensor?, Tensor?];
    run(backwardOp, [sq, sk, sv, m, o, l, g], [into[0] ?? null, into[1] ?? null, into[2] ?? null], attrs);
    return into;
  });
  return out;
}

/**
 * Scaled dot-product attention: softmax(q k^T scale, where allowed) v. q [B, heads, Tq, D]; k and v [B, kvHeads, Tk, D], where heads is a
 * multiple of kvHeads (query head h reads key head floor(h kvHeads / heads)). The result has q's shape; a query that may attend to nothing gives
 * zeros. One fused pass each way that keeps O(T) memory (Dao et al., FlashAttention, 2022). Under a 16-bit policy q, k and v are rounded to it.
 * @throws ShapeError, DTypeError, ConfigError
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const op = 'attention';
  const layout = '[B, heads, T, D]';
  for (const [x, name] of [
    [q, 'q'],
    [k, 'k'],
    [v, 'v'],
  ] as const)
    checkRank(op, checkFloat(op, x, name), 4, layout, name);
  checkDevice(op, q, k, v, options?.mask);
  checkOptions(op, options, [...known, 'keyLength']);
  const [batch, heads, tq, d] = q.shape as [number, number, number, number];
  const [, kvHeads, capacity] = k.shape as [number, number, number, number];
  const tk = checkKeyLength(op, options.keyLength, k, v);
  if (k.shape[0] !== batch || k.shape[3] !== d)
    throw new ShapeError(`${op}: q ${show(q.shape)} and k ${show(k.shape)} must agree in B and D; both are ${layout}`);
  if (v.shape.some((n, i) => n !== k.shape[i]))
    throw new ShapeError(`${op}: v must have k's shape ${show(k.shape)}, got ${show(v.shape)}`);
  if (kvHeads === 0 || heads % kvHeads !== 0)
    throw new ShapeError(`${op}: q has ${heads} heads, which is not a multiple of the ${kvHeads} heads of k and v`);
  const operands = [q, k, v].map((x) => dense(computeCopy(x)));
  const [a, b, c] = operands as [Tensor, Tensor, Tensor];
  if (a.dtype !== b.dtype || a.dtype !== c.dtype)
    throw new DTypeError(`${op}: q, k and v are ${a.dtype}, ${b.dtype} and ${c.dtype}. Convert them to one: k.to('${a.dtype}').`);
  const rows = (h: number, t: number): Strides => [0, h * t * d, t * d, d];
  const [mine, theirs] = [rows(heads, tq), rows(kvHeads, capacity)];
  const plan: Plan = { batch, heads, kvHeads, tq, tk, d, q: mine, k: theirs, v: theirs, out: mine };
  const { attrs, mask } = prepare(op, plan, options);
  return attend(op, operands, mask, attrs, plan, q.shape);
}

function checkKeyLength(op: string, given: number | undefined, k: Tensor, v: Tensor): number {
  const capacity = k.shape[2] as number;
  if (given === undefined) return capacity;
  if (!Number.isSafeInteger(given) || given < 0 || given > capacity)
    throw new ConfigError(`${op}: keyLength must be a whole number from 0 to ${capacity}, the rows of k, got ${describe(given)}`);
  if (current().grad && (k.tracked || v.tracked))
    throw new GraphError(`${op}: with keyLength no gradients flow to k and v. Use noGrad(), or k.narrow(2, 0, ${given}).`);
  return given;
}

const checkHeads = (value: unknown, name: string): number => {
  if (!Number.isSafeInteger(value) || (value as number) < 1)
    throw new ConfigError(`packedAttention: ${name} must be a whole number from 1, got ${describe(value)}`);
  return value as number;
};

/**
 * Attention of a sequence with itself, as a projection leaves it: qkv [B, T, (heads + 2 kvHeads) D], in each row q, then k, then v, head by head.
 * The result is [B, T, heads D], ready for the next projection. Nothing is copied, and backward writes one gradient of qkv's shape.
 * @throws ShapeError where the last dimension does not divide into the heads; DTypeError, ConfigError
 */
export function packedAttention(qkv: Tensor, options: PackedAttentionOptions): Tensor {
  const op = 'packedAttention';
  checkRank(op, checkFloat(op, qkv, 'qkv'), 3, '[B, T, (heads + 2 kvHeads) D]', 'qkv');
  checkOptions(op, options, [...known, 'heads', 'kvHeads']);
  const heads = checkHeads(options?.heads, 'heads');
  const kvHeads = checkHeads(options.kvHeads ?? heads, 'kvHeads');
  checkDevice(op, qkv, options.mask);
  if (heads % kvHeads !== 0) throw new ConfigError(`${op}: heads (${heads}) must be a multiple of kvHeads (${kvHeads})`);
  const [batch, t, width] = qkv.shape as [number, number, number];
  const d = width / (heads + 2 * kvHeads);
  if (!Number.isInteger(d))
    throw new ShapeError(
      `${op}: the last dimension of qkv ${show(qkv.shape)} is not a multiple of heads + 2 kvHeads = ${heads + 2 * kvHeads}: q, k and v side by side, D numbers a head`,
    );
  const x = dense(computeCopy(qkv));
  const from = (offset: number): Strides => [offset, t * width, d, width];
  const plan: Plan = {
    ...{ batch, heads, kvHeads, tq: t, tk: t, d },
    ...{ q: from(0), k: from(heads * d), v: from((heads + kvHeads) * d) },
    out: [0, t * heads * d, d, heads * d],
  };
  const { attrs, mask } = prepare(op, plan, options);
  return attend(op, [x], mask, attrs, plan, [batch, t, heads * d]);
}
