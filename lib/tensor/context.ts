import { AsyncLocalStorage } from 'node:async_hooks';
import { ConfigError, checkFunction, describe } from '../native/errors.ts';
import { hashStream } from './philox.ts';

/** Tensors and tape nodes made inside, freed at the end unless kept. */
export interface ScopeRecord {
  readonly tensors: Set<{ dispose(): void }>;
  readonly nodes: Set<{ release(): void }>;
}

/** Where random numbers come from: key = seed, counter = (element, stream, attempt). See lib/tensor/philox.ts. */
export interface Rng {
  seed: number;
  /** The optimizer attempt in a step; outside steps, a count of draws. */
  attempt: number;
  /** First row of this micro-batch in the whole window over micro-batches and ranks. */
  rowOffset: number;
  /** Rows of this micro-batch; 0 where nobody counts them. */
  rows: number;
  /** Draws so far by module path, restarted for each micro-batch. */
  readonly calls: Map<string, number>;
  /** In a step, masks are keyed by module path and attempt; outside, every draw counts `attempt` up. */
  inStep: boolean;
}

export type Precision = 'f32' | 'bf16' | 'f16';

/** Throws ConfigError unless `precision` is left out or one. */
export function checkPrecision(where: string, precision: unknown): void {
  if (precision !== undefined && precision !== 'f32' && precision !== 'bf16' && precision !== 'f16')
    throw new ConfigError(`${where}: precision must be 'f32', 'bf16' or 'f16', got ${describe(precision)}`);
}

/** Everything ambient, in one object, bound synchronously. */
export interface Context {
  readonly scope: ScopeRecord | null;
  readonly grad: boolean;
  readonly precision: Precision;
  readonly rng: Rng;
}

const newRng = (seed: number): Rng => ({ seed, attempt: 0, rowOffset: 0, rows: 0, calls: new Map(), inStep: false });

/** What is in force where nothing is bound. */
const root: Context = { scope: null, grad: true, precision: 'f32', rng: newRng(0) };

export { root as unbound };

let bound: Context = root;
let asynchronous: AsyncLocalStorage<Context> | undefined;

/** The context in force: the innermost synchronous binding, else that of the enclosing `scope.run`. */
export function current(): Context {
  if (bound !== root || asynchronous === undefined) return bound;
  return asynchronous.getStore() ?? root;
}

/** The context in force with parts replaced. Written out: spreading is several times slower, and every op's scope passes here. */
function changed(change: Partial<Context>): Context {
  const c = current();
  return {
    scope: change.scope === undefined ? c.scope : change.scope,
    grad: change.grad ?? c.grad,
    precision: change.precision ?? c.precision,
    rng: change.rng ?? c.rng,
  };
}

/** Runs `fn` with parts of the context replaced. `fn` must be synchronous: a promise would outlive the binding. */
export function bind<T>(change: Partial<Context>, fn: () => T): T {
  const before = bound;
  bound = changed(change);
  try {
    return fn();
  } finally {
    bound = before;
  }
}

/** Runs an async function with parts of the context replaced, across its awaits. */
export function bindAsync<T>(change: Partial<Context>, fn: () => Promise<T>): Promise<T> {
  asynchronous ??= new AsyncLocalStorage<Context>();
  const next = changed(change);
  const before = bound;
  bound = root;
  try {
    return asynchronous.run(next, fn);
  } finally {
    bound = before;
  }
}

/** Replaces the bound context until `restore` is called with what this returned; for `using _ = scope()`. */
export function enter(change: Partial<Context>): Context {
  const before = bound;
  bound = changed(change);
  return before;
}
export function restore(before: Context): void {
  bound = before;
}

/** Rejects promises: shared by every form that binds synchronously. */
export function refusePromise<T>(where: string, value: T): T {
  if (value !== null && typeof value === 'object' && typeof (value as { then?: unknown }).then === 'function')
    throw new ConfigError(
      `${where}: the function is async, but what it does after an await would run outside. Use scope.run(async () => ...) around awaits.`,
    );
  return value;
}

/** A synchronous function: an async one is a type error. */
export type Sync<T> = T extends PromiseLike<unknown> ? never : T;

/** Runs `fn` without recording gradients. Async functions are refused, by the types and at run time. */
export function noGrad<T>(fn: () => Sync<T>): T {
  checkFunction('noGrad', 'the argument', fn, 'noGrad(() => model.forward(x))');
  return refusePromise('noGrad', bind({ grad: false }, fn) as T);
}

/** Runs `fn` with gradients recorded, inside a noGrad for example. */
export function enableGrad<T>(fn: () => Sync<T>): T {
  checkFunction('enableGrad', 'the argument', fn, 'enableGrad(() => model.forward(x))');
  return refusePromise('enableGrad', bind({ grad: true }, fn) as T);
}

export const isGradEnabled = (): boolean => current().grad;

/** Starts the random numbers of this thread anew. Default seed: 0. */
export function manualSeed(seed: number): void {
  if (!Number.isSafeInteger(seed)) throw new ConfigError(`manualSeed: ${describe(seed)} is not a whole number`);
  Object.assign(root.rng, newRng(seed), { calls: root.rng.calls });
  root.rng.calls.clear();
}

/** A place in the random number space: numbers for seed lo, hi, stream, attempt, and the index of the first element's row. */
export interface Draw {
  readonly attributes: readonly [seedLow: number, seedHigh: number, stream: number, attempt: number];
  readonly rowOffset: number;
  /** Rows of the micro-batch that the draw belongs to; 0 or absent: the tensor's own first dimension counts. */
  readonly rows?: number;
}

/**
 * Where the elements of a tensor begin in the whole window. A tensor holds its micro-batch's share of elements however it is shaped, so batch
 * and time may have been merged; only one that the rows do not divide is counted by its own first dimension.
 */
export function firstElement(draw: Draw, size: number, leading: number): number {
  const rows = draw.rows && size % draw.rows === 0 ? draw.rows : leading;
  return rows > 0 ? draw.rowOffset * (size / rows) : 0;
}

/**
 * The next draw for `path` (a module's path, or an op's name). In a training step the stream is the hash of path and call index and the
 * attempt is the optimizer's, so masks never repeat and do not depend on how the window is split; outside, each draw is an attempt of its own.
 */
export function nextDraw(path: string): Draw {
  const { rng } = current();
  const low = rng.seed >>> 0;
  const high = Math.floor(rng.seed / 2 ** 32) >>> 0;
  if (!rng.inStep) return { attributes: [low, high, hashStream(path), rng.attempt++ >>> 0], rowOffset: 0 };
  const call = rng.calls.get(path) ?? 0;
  rng.calls.set(path, call + 1);
  return {
    attributes: [low, high, hashStream(call === 0 ? path : `${path}#${call}`), rng.attempt >>> 0],
    rowOffset: rng.rowOffset,
    rows: rng.rows,
  };
}

/** The state that makes the sequence of draws continue after a resume. */
export const rngState = (): { seed: number; attempt: number } => ({ seed: root.rng.seed, attempt: root.rng.attempt });
export function setRngState(state: { seed: number; attempt: number }): void {
  const { seed, attempt } = Object(state) as typeof state;
  if (!Number.isSafeInteger(seed) || !Number.isSafeInteger(attempt) || attempt < 0)
    throw new ConfigError(`setRngState: expected what rngState() gives, { seed, attempt }, got ${describe(state)}`);
  Object.assign(root.rng, { seed, attempt });
}
