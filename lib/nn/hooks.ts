// How a module's calls are seen: while anyone hooks or watches it, its own `forward` stands in front of its class's. Nobody else pays.
import { type GradientHook, type HookHandle, HookList, sameKind } from '../autograd/hooks.ts';
import { ConfigError, checkFunction, describe } from '../native/errors.ts';
import { record } from '../ops/define.ts';
import { isGradEnabled } from '../tensor/context.ts';
import { persistent } from '../tensor/scope.ts';
import { Tensor } from '../tensor/tensor.ts';
import type { Module } from './module.ts';

export type { GradientHook, HookHandle };

/** Before `forward`: may return other inputs, an array or the only one. */
export type ForwardPreHook<M = Module> = (module: M, inputs: readonly unknown[]) => unknown;
/** After `forward`: may return another output. */
export type ForwardHook<M = Module> = (module: M, inputs: readonly unknown[], output: unknown) => unknown;
/** When gradients have come through: may return other gradients of the inputs, an array or the only one. */
export type BackwardHook<M = Module> = (
  module: M,
  gradInput: readonly (Tensor | null)[],
  gradOutput: readonly (Tensor | null)[],
) => unknown;
/** Sees calls without a say in them. */
export interface ModuleWatcher {
  entering?(module: Module, inputs: readonly unknown[]): void;
  /** Also where forward threw: `output` is then undefined. */
  left?(module: Module, output: unknown): void;
}

interface Hooks {
  readonly pre: HookList<ForwardPreHook>;
  readonly post: HookList<ForwardHook>;
  readonly back: HookList<BackwardHook>;
  readonly watchers: Set<ModuleWatcher>;
  /** The instance's own `forward`, where it is a field. */
  readonly field: PropertyDescriptor | undefined;
}
type Forward = (...inputs: unknown[]) => unknown;

const hooked = new Map<Module, Hooks>();
/** Layers that run two modules in one pass ask: one that is watched must be called by itself. */
export const isWatched = (module: Module): boolean => hooked.size > 0 && hooked.has(module);

function hooksOf(module: Module): Hooks {
  const known = hooked.get(module);
  if (known) return known;
  const made: Hooks = {
    pre: new HookList(),
    post: new HookList(),
    back: new HookList(),
    watchers: new Set(),
    field: Object.getOwnPropertyDescriptor(module, 'forward'),
  };
  const forward = module.forward as unknown as Forward;
  const value = (...inputs: unknown[]) => called(module, made, (given) => forward.apply(module, given), inputs);
  Object.defineProperty(module, 'forward', { value, writable: true, configurable: true, enumerable: false });
  hooked.set(module, made);
  return made;
}

/** Puts things back once nobody hooks the module any more. */
function tidy(module: Module, hooks: Hooks): void {
  if (hooks.pre.all.length || hooks.post.all.length || hooks.back.all.length || hooks.watchers.size) return;
  if (hooked.get(module) !== hooks) return;
  hooked.delete(module);
  if (hooks.field) Object.defineProperty(module, 'forward', hooks.field);
  else delete (module as { forward?: unknown }).forward;
}

export function registerHook<K extends 'pre' | 'post' | 'back'>(
  module: Module,
  kind: K,
  method: string,
  hook: Hooks[K] extends HookList<infer F> ? F : never,
): HookHandle {
  checkFunction(method, 'the hook', hook, '(module, inputs) => console.log(inputs[0].shape)');
  const hooks = hooksOf(module);
  return (hooks[kind] as HookList<unknown>).add(hook, () => tidy(module, hooks));
}

/** Watches modules' calls until the function returned is called. */
export function watchModules(modules: Iterable<Module>, watcher: ModuleWatcher): () => void {
  const all = [...modules].map((module) => ({ module, hooks: hooksOf(module) }));
  for (const { hooks } of all) hooks.watchers.add(watcher);
  return () => {
    for (const { module, hooks } of all) {
      hooks.watchers.delete(watcher);
      tidy(module, hooks);
    }
  };
}

function called(module: Module, hooks: Hooks, forward: (inputs: unknown[]) => unknown, given: unknown[]): unknown {
  let output: unknown;
  for (const w of hooks.watchers) w.entering?.(module, given);
  try {
    let inputs = given;
    for (const hook of hooks.pre.all) {
      const other = hook(module, inputs);
      if (other !== undefined) inputs = Array.isArray(other) ? other : [other];
    }
    const back = hooks.back.all.length && isGradEnabled() ? new BackwardPass(module, hooks.back) : undefined;
    if (back) inputs = back.entrance(inputs);
    output = forward(inputs);
    for (const hook of hooks.post.all) {
      const other = hook(module, inputs, output);
      if (other !== undefined) output = other;
    }
    if (back) output = back.exit(output);
    return output;
  } finally {
    for (const w of hooks.watchers) w.left?.(module, output);
  }
}

/** Tensors of an output: itself, or those of an array or a plain object. */
function mapTensors(value: unknown, fn: (t: Tensor) => Tensor): unknown {
  if (value instanceof Tensor) return fn(value);
  if (Array.isArray(value)) return value.map((v) => mapTensors(v, fn));
  if (value !== null && typeof value === 'object' && Object.getPrototypeOf(value) === Object.prototype)
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, mapTensors(v, fn)]));
  return value;
}

/** A node over tensors that lets everything through, and shows the gradients that pass to `seen`. */
function gate(
  name: string,
  tensors: readonly Tensor[],
  seen: (grads: readonly (Tensor | undefined)[]) => readonly (Tensor | null | undefined)[],
): Tensor[] {
  const through = tensors.map((t) => t.alias());
  record(name, tensors, through, [], seen);
  return through;
}

/** One call's way back: what arrives at its outputs is kept until what leaves at its inputs is known. */
class BackwardPass {
  readonly #module: Module;
  readonly #hooks: HookList<BackwardHook>;
  #inputs = 0;
  /** Places of the inputs that want a gradient. */
  #places: number[] = [];
  #gradOutput: (Tensor | null)[] = [];

  constructor(module: Module, hooks: HookList<BackwardHook>) {
    this.#module = module;
    this.#hooks = hooks;
  }

  entrance(inputs: readonly unknown[]): unknown[] {
    this.#inputs = inputs.length;
    this.#places = inputs.flatMap((v, i) => (v instanceof Tensor && v.tracked ? [i] : []));
    const tracked = this.#places.map((i) => inputs[i] as Tensor);
    const through = gate('moduleInput', tracked, (grads) => this.#call(grads));
    const all = [...inputs];
    this.#places.forEach((place, i) => {
      all[place] = through[i];
    });
    return all;
  }

  exit(output: unknown): unknown {
    const found: Tensor[] = [];
    mapTensors(output, (t) => {
      if (t.tracked) found.push(t);
      return t;
    });
    const through = gate('moduleOutput', found, (grads) => {
      this.#gradOutput = grads.map((g) => (g ? persistent(() => g.alias()) : null));
      if (this.#places.length === 0) this.#call([]);
      return grads;
    });
    let next = 0;
    return mapTensors(output, (t) => (t.tracked ? (through[next++] as Tensor) : t));
  }

  #call(grads: readonly (Tensor | undefined)[]): (Tensor | null)[] {
    let now: (Tensor | null)[] = new Array(this.#inputs).fill(null);
    this.#places.forEach((place, i) => {
      now[place] = grads[i] ?? null;
    });
    try {
      const gradOutput = this.#gradOutput.map((g) => g?.alias() ?? null); // the walk's own, which may be kept()
      for (const hook of this.#hooks.all) {
        const given = hook(this.#module, now, gradOutput);
        if (given !== undefined && given !== null) now = this.#replaced(now, Array.isArray(given) ? given : [given]);
      }
    } finally {
      for (const g of this.#gradOutput) g?.dispose();
      this.#gradOutput = [];
    }
    return this.#places.map((place) => now[place] ?? null);
  }

  #replaced(now: readonly (Tensor | null)[], given: readonly unknown[]): (Tensor | null)[] {
    const where = `registerFullBackwardHook on ${this.#module.constructor.name}`;
    if (given.length !== now.length)
      throw new ConfigError(
        `${where}: the hook returned ${given.length} gradients for ${now.length} inputs. Return one each, or nothing.`,
      );
    return given.map((g, i) => {
      const had = now[i];
      if (g === null || g === undefined || !had) return had ?? null;
      if (!(g instanceof Tensor)) throw new ConfigError(`${where}: gradient ${i} must be a Tensor or null, got ${describe(g)}`);
      return sameKind(where, g, had);
    });
  }
}
