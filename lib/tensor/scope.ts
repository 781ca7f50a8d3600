import { ConfigError, checkFunction } from '../native/errors.ts';
import {
  bindAsync,
  type Context,
  current,
  enter,
  refusePromise,
  restore,
  type ScopeRecord,
  type Sync,
  unbound,
} from './context.ts';
import { Parameter, type TapeNode, Tensor } from './tensor.ts';

const open = (): ScopeRecord => ({ tensors: new Set(), nodes: new Set() });

/** Visits the tensors in a value: a tensor, or arrays, Maps, Sets and objects that hold some, however deep. */
function eachTensor(value: unknown, visit: (t: Tensor) => void, seen = new Set<object>()): void {
  if (value instanceof Tensor) {
    visit(value);
    return;
  }
  if (value === null || typeof value !== 'object' || ArrayBuffer.isView(value) || seen.has(value)) return;
  seen.add(value);
  const parts =
    Array.isArray(value) || value instanceof Set ? value : value instanceof Map ? value.values() : Object.values(value);
  for (const part of parts) eachTensor(part, visit, seen);
}

/** Moves a tensor, and the tape behind it, from a scope to the one around it (or to garbage collection where there is none). */
function hand(t: Tensor, from: ScopeRecord, to: ScopeRecord | null): void {
  if (!from.tensors.delete(t)) return;
  if (to) to.tensors.add(t);
  else t.escape();
  const pending: TapeNode[] = t.node ? [t.node] : [];
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (!from.nodes.delete(node)) continue;
    to?.nodes.add(node);
    node.eachSource((source) => pending.push(source));
  }
}

function close(record: ScopeRecord, result: unknown, outer: ScopeRecord | null): void {
  eachTensor(result, (t) => hand(t, record, outer));
  for (const node of record.nodes) node.release();
  for (const t of record.tensors) t.dispose();
  record.nodes.clear();
  record.tensors.clear();
}

function scoped<T>(fn: () => T): T {
  const outer = current().scope;
  const record = open();
  const before = enter({ scope: record });
  let result: T | undefined;
  try {
    result = refusePromise('scope', fn());
    return result;
  } finally {
    restore(before);
    close(record, result, outer);
  }
}

/** An open scope, closed by `using` or by `[Symbol.dispose]()`. */
class OpenScope {
  readonly #record = open();
  readonly #outer = current().scope;
  readonly #before: Context = enter({ scope: this.#record });

  [Symbol.dispose](): void {
    const left = current().scope === this.#record;
    // After an await nobody knows whose binding is in force, and there should be none.
    restore(left ? this.#before : unbound);
    close(this.#record, undefined, this.#outer);
    if (!left)
      throw new ConfigError(
        'using scope(): another scope was still open at its end, or an await came between. Around awaits use scope.run(async () => ...).',
      );
  }
}

/** `scope()` for a `using` declaration; `scope(fn)` runs fn. */
function scopeOf(): OpenScope;
function scopeOf<T>(fn: () => Sync<T>): T;
function scopeOf<T>(fn?: () => T): T | OpenScope {
  if (fn !== undefined) checkFunction('scope', 'the argument', fn, 'scope(() => x.add(1))');
  return fn ? scoped(fn) : new OpenScope();
}

/**
 * Frees what is made inside: `scope(fn)` returns fn's result, and tensors in the result survive; `using _ = scope()` frees at the end of the block;
 * `await scope.run(async () => ...)` is the form around awaits. Parameters survive always.
 */
export const scope = Object.assign(scopeOf, {
  async run<T>(fn: () => Promise<T>): Promise<T> {
    checkFunction('scope.run', 'the argument', fn, 'scope.run(async () => (await x.item()))');
    const outer = current().scope;
    const record = open();
    let result: T | undefined;
    try {
      result = await bindAsync({ scope: record }, fn);
      return result;
    } finally {
      close(record, result, outer);
    }
  },
});

/** Lets tensors outlive the scope in force: they move to the one around it, or to garbage collection. Returns its argument. */
export function kept<T>(value: T): T {
  const record = current().scope;
  if (record)
    eachTensor(value, (t) => {
      if (!(t instanceof Parameter)) hand(t, record, null);
    });
  return value;
}

/** Runs `fn` outside every scope: what it makes belongs to whoever holds it (optimizer state, shadows). */
export function persistent<T>(fn: () => T): T {
  const before = enter({ scope: null, grad: false });
  try {
    return fn();
  } finally {
    restore(before);
  }
}
