import { checkFunction, DTypeError, describe, GraphError, ShapeError } from '../native/errors.ts';
import type { ScopeRecord } from '../tensor/context.ts';
import { sameShape, show } from '../tensor/shape.ts';
import { defineMethods, Tensor } from '../tensor/tensor.ts';

/** Takes a hook off again; `using` does so at the end of the block. Safe to repeat. */
export interface HookHandle {
  remove(): void;
  [Symbol.dispose](): void;
}

/** Hooks of one thing, in the order of their registration. */
export class HookList<F> {
  #hooks: readonly F[] = [];
  get all(): readonly F[] {
    return this.#hooks;
  }
  add(hook: F, removed: () => void = () => {}): HookHandle {
    // The same function may be registered twice: an entry of its own each time.
    const entry = ((...args: never[]) => (hook as (...args: never[]) => unknown)(...args)) as F;
    this.#hooks = [...this.#hooks, entry];
    const remove = () => {
      if (!this.#hooks.includes(entry)) return;
      this.#hooks = this.#hooks.filter((h) => h !== entry);
      removed();
    };
    return { remove, [Symbol.dispose]: remove };
  }
}

/** Sees the gradient of a tensor, and may return another in its place. */
// biome-ignore lint/suspicious/noConfusingVoidType: a hook that only looks returns nothing
export type GradientHook = (gradient: Tensor) => Tensor | undefined | void;

/** What a node keeps for hooks on its outputs. */
export type OutputHooks = Map<number, HookList<GradientHook>>;

const onLeaves = new WeakMap<Tensor, HookList<GradientHook>>();
let hookedLeaves = 0;

/** The hooks of a leaf, where it has any. */
export const leafHooks = (leaf: Tensor): readonly GradientHook[] | undefined => {
  if (hookedLeaves === 0) return undefined;
  const all = onLeaves.get(leaf)?.all;
  return all?.length ? all : undefined;
};

/** The list under `key`, made where there is none. */
function listIn<K>(
  lists: { get(key: K): HookList<GradientHook> | undefined; set(key: K, list: HookList<GradientHook>): unknown },
  key: K,
) {
  const list = lists.get(key) ?? new HookList<GradientHook>();
  lists.set(key, list);
  return list;
}

function registerHook(this: Tensor, hook: GradientHook): HookHandle {
  checkFunction('registerHook', 'the hook', hook, '(gradient) => gradient.mul(0.5)');
  if (!this.tracked)
    throw new GraphError(
      `registerHook: no gradient reaches ${this}. Set requiresGrad, or register on a result that was computed with gradients on.`,
    );
  const node = this.node as { hooks?: OutputHooks | null } | null;
  if (node) {
    node.hooks ??= new Map();
    return listIn(node.hooks, this.output).add(hook);
  }
  hookedLeaves++;
  return listIn(onLeaves, this).add(hook, () => {
    hookedLeaves--;
  });
}

/** Throws unless `given` can stand for `gradient`; returns it. */
export function sameKind(where: string, given: Tensor, gradient: Tensor): Tensor {
  if (!sameShape(given.shape, gradient.shape))
    throw new ShapeError(`${where}: the hook returned ${show(given.shape)} for a gradient ${show(gradient.shape)}`);
  if (given.dtype !== gradient.dtype || given.device !== gradient.device)
    throw new DTypeError(
      `${where}: the hook returned ${given.dtype} on ${given.device} for a gradient ${gradient.dtype} on ${gradient.device}`,
    );
  return given;
}

/**
 * The gradient after its hooks; it and what they return belong to the walk. A hook gets a tensor of its own over the gradient's memory, which
 * may be kept().
 */
export function hooked(hooks: readonly GradientHook[], gradient: Tensor, walk: ScopeRecord): Tensor {
  let now = gradient;
  for (const hook of hooks) {
    const shown = now.alias();
    const given: unknown = hook(shown);
    if (given !== shown && walk.tensors.delete(shown)) shown.dispose();
    if (given === undefined || given === null) continue;
    if (!(given instanceof Tensor))
      throw new DTypeError(`registerHook: the hook must return a Tensor or nothing, got ${describe(given)}. It cannot be async.`);
    sameKind('registerHook', given, gradient);
    now = walk.tensors.has(given) ? given : given.alias();
  }
  return now;
}

declare module '../tensor/tensor.ts' {
  interface Tensor {
    /**
     * Calls `hook` with this tensor's gradient in every backward pass that computes it, before anything uses it; a tensor that it returns, of the same
     * shape and dtype, takes its place. On a leaf: once a pass, with the sum of what the pass brings, before that is added to `grad`. In a Stepper
     * gradients are those of the summed loss times a power of two, divided only in the update.
     * @throws GraphError where no gradient reaches this tensor
     */
    registerHook(hook: GradientHook): HookHandle;
  }
}
defineMethods({ registerHook });
