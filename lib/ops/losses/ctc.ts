import { ConfigError, checkOptions, DTypeError, describe, ShapeError } from '../../native/errors.ts';
import { fromHost } from '../../tensor/create.ts';
import { sameShape, show } from '../../tensor/shape.ts';
import { Tensor } from '../../tensor/tensor.ts';
import { add, div, lt, mul, ne } from '../binary.ts';
import { cast, checkDevice, checkTensor, dense, filled } from '../define.ts';
import { broadcastTo, concat, narrow, pad, split, stack } from '../index.ts';
import type { Loss } from '../loss.ts';
import { logSumExp } from '../reduce.ts';
import { gather, where } from '../select.ts';
import { neg } from '../unary.ts';
import { reshape } from '../view.ts';
import { floats, ofElements } from './shared.ts';

export interface CtcOptions {
  /** Steps of each row that count: numbers, or i32 [N]. Default: all. */
  inputLengths?: Tensor | readonly number[];
  /** Labels of each row: numbers, or i32 [N]. Default: all of the target's columns. */
  targetLengths?: Tensor | readonly number[];
  /** The class that stands for no label. Default 0. */
  blank?: number;
  /** A row whose labels do not fit into its steps has an infinite loss; with this, none. Its gradient is 0 either way. Default false. */
  zeroInfinity?: boolean;
  /** Divide each row's loss by its number of labels (at least 1), as PyTorch's mean does. Default true. */
  perLabel?: boolean;
}

/** Stands for log 0: far below any log-probability, and safe to add up. */
const NEVER = -1e30;

/** Lengths as i32 [n] on the device; numbers are checked. */
function lengths(
  op: string,
  name: string,
  given: CtcOptions['inputLengths'],
  n: number,
  low: number,
  most: number,
  like: Tensor,
): Tensor {
  if (given instanceof Tensor) {
    if (given.dtype !== 'i32' || !sameShape(given.shape, [n]))
      throw new ShapeError(`${op}: ${name} must be i32 [${n}], got ${given.dtype} ${show(given.shape)}`);
    checkDevice(op, like, given);
    return dense(given.detach());
  }
  const list: unknown = given ?? Array.from({ length: n }, () => most);
  if (!Array.isArray(list) || list.length !== n || !list.every((v) => Number.isInteger(v) && v >= low && v <= most))
    throw new ConfigError(
      `${op}: ${name} must be ${n} whole numbers from ${low} to ${most}, one for each row, got ${describe(given)}`,
    );
  return fromHost(Int32Array.from(list as number[]), [n], 'i32', like.device);
}

/** 0, 1, ..., n - 1 as i32 of a shape. */
const steps = (n: number, shape: number[], like: Tensor): Tensor =>
  fromHost(
    Int32Array.from({ length: n }, (_, i) => i),
    shape,
    'i32',
    like.device,
  );

/** Targets as [N, S]: as given, or cut from one list by lengths that are numbers. */
function rowsOf(op: string, targets: Tensor, given: CtcOptions['targetLengths'], n: number): Tensor {
  checkTensor(op, targets, 'targets');
  if (targets.dtype !== 'i32')
    throw new DTypeError(`${op}: targets must be i32 labels, got ${targets.dtype}. Convert them: targets.to('i32').`);
  if (targets.ndim === 2 && targets.shape[0] === n) return targets;
  if (targets.ndim !== 1 || !Array.isArray(given))
    throw new ShapeError(
      `${op}: targets must be [${n}, labels], or one list with targetLengths as numbers, got ${show(targets.shape)}`,
    );
  const sizes = given as number[];
  const total = sizes.reduce((a, b) => a + b, 0);
  if (sizes.length !== n || !sizes.every((v) => Number.isInteger(v) && v >= 0) || total !== targets.size)
    throw new ConfigError(
      `${op}: targetLengths ${describe(sizes)} must be ${n} numbers that add up to the ${targets.size} targets`,
    );
  const width = Math.max(0, ...sizes);
  if (targets.size === 0) return reshape(targets, [n, 0]);
  const places = new Int32Array(n * width);
  let start = 0;
  sizes.forEach((size, i) => {
    for (let j = 0; j < size; j++) places[i * width + j] = start + j;
    start += size;
  });
  return reshape(gather(targets, fromHost(places, [places.length], 'i32', targets.device), { axis: 0 }), [n, width]);
}

/** Labels with blanks around each, [N, 2 S + 1], and where a path may come from two places before: at a label unlike the one before it. */
function extended(labels: Tensor, blank: number): { states: Tensor; skips: Tensor } {
  const [n, s] = labels.shape as [number, number];
  const blanks = (columns: number) => filled([n, columns], blank, 'i32', { device: labels.device });
  const pairs = s ? reshape(stack([blanks(s), labels], { axis: 2 }), [n, 2 * s]) : blanks(0);
  const states = s ? concat([pairs, blanks(1)], { axis: 1 }) : blanks(1);
  const before = s ? concat([blanks(2), narrow(states, 1, 0, 2 * s - 1)], { axis: 1 }) : states;
  // A blank is never unlike the blank before it. The first label's 'label before' is a blank: its path comes from no place, which adds nothing.
  return { states, skips: ne(states, before) };
}

/** log sum over all paths, [N]: the forward recursion, one step of time after another, each differentiable (Graves et al. 2006, eq. 6 to 8). */
function forwardPaths(emit: Tensor, skips: Tensor, active: Tensor | null, ends: Tensor): Tensor {
  const [t, n, s] = emit.shape as [number, number, number];
  const each = split(emit, 1, { axis: 0 }).map((e) => reshape(e, [n, s]));
  const room: [number, number][] = [
    [0, 0],
    [2, 0],
  ];
  const start = Math.min(2, s);
  // alpha has two places that are never reached before the first.
  let alpha = pad(
    narrow(each[0] as Tensor, 1, 0, start),
    [
      [0, 0],
      [2, s - start],
    ],
    { value: NEVER },
  );
  const on = active ? split(active, 1, { axis: 0 }).map((a) => reshape(a, [n, 1])) : null;
  for (let i = 1; i < t; i++) {
    const stay = narrow(alpha, 1, 2, s);
    const two = where(skips, narrow(alpha, 1, 0, s), NEVER);
    const from = logSumExp(stack([stay, narrow(alpha, 1, 1, s), two], { axis: 0 }), { axis: 0 });
    const next = add(from, each[i] as Tensor);
    alpha = pad(on ? where(on[i] as Tensor, next, stay) : next, room, { value: NEVER });
  }
  return logSumExp(gather(alpha, ends, { axis: 1 }), { axis: 1 });
}

/**
 * Connectionist temporal classification (Graves et al. 2006): minus the log-probability of each row's labels over all alignments, from
 * log-probabilities [T, N, C] (logSoftmax before it) and i32 labels [N, S], or all rows' labels in one list with targetLengths as numbers. Columns
 * behind a row's length are not read. Count: rows; with `perLabel` the mean is that of PyTorch's nn.CTCLoss. The gradient is that of the
 * log-probabilities as they are given (PyTorch's own takes a logSoftmax before for granted; behind one both are the same).
 * @throws DataError at the next await for a label that is no class
 */
export function ctc(logProbs: Tensor, targets: Tensor, options: CtcOptions = {}): Loss {
  const op = 'ctc';
  const [x] = floats(op, { logProbs }) as [Tensor];
  checkOptions(op, options, ['inputLengths', 'targetLengths', 'blank', 'zeroInfinity', 'perLabel']);
  if (x.ndim !== 3) throw new ShapeError(`${op}: logProbs must be [T, N, C], got ${show(x.shape)}`);
  const [t, n, c] = x.shape as [number, number, number];
  const { blank = 0 } = options;
  if (t === 0) throw new ShapeError(`${op}: logProbs ${show(x.shape)} have no steps`);
  if (!Number.isInteger(blank) || blank < 0 || blank >= c)
    throw new ConfigError(`${op}: blank must be a class from 0 to ${c - 1}, got ${describe(blank)}`);
  const rows = rowsOf(op, targets, options.targetLengths, n);
  checkDevice(op, x, rows);
  const s = rows.shape[1] as number;
  const counts = lengths(op, 'targetLengths', options.targetLengths, n, 0, s, x);
  const column = reshape(counts, [n, 1]);
  const labels = s ? where(lt(steps(s, [1, s], x), column), rows, blank) : rows;
  const { states, skips } = extended(labels, blank);
  const emit = gather(x, broadcastTo(reshape(states, [1, n, 2 * s + 1]), [t, n, 2 * s + 1]), { axis: 2 });
  // A probability of 0 stands for a path that is never taken.
  const safe = where(emit.gt(NEVER), emit, NEVER);
  const given = options.inputLengths;
  const active =
    given === undefined ? null : lt(steps(t, [t, 1, 1], x), reshape(lengths(op, 'inputLengths', given, n, 1, t, x), [1, n, 1]));
  // The last label, and the blank behind it, two places on.
  const last = mul(column, 2);
  const ends = concat([add(last, 1), add(last, 2)], { axis: 1 });
  const loss = neg(forwardPaths(safe, skips, active, ends));
  const possible = lt(loss, -NEVER / 2);
  const each = where(possible, loss, options.zeroInfinity ? 0 : Infinity);
  if (options.perLabel === false) return ofElements(each, n);
  return ofElements(div(each, cast(counts.maximum(1), x.dtype)), n);
}
