import { inspect } from 'node:util';
import { CheckpointError, ConfigError, checkOptions } from '../native/errors.ts';
import { run } from '../native/run.ts';
import { cast, checkShapeIs, checkTensor, dense, nativeOp } from '../ops/define.ts';
import { to as converted } from '../ops/unary.ts';
import { type Device, type DeviceName, device } from '../tensor/device.ts';
import { scope } from '../tensor/scope.ts';
import { sameShape, show } from '../tensor/shape.ts';
import { checkInitial, Parameter, Tensor } from '../tensor/tensor.ts';
import { drawTree, options } from './describe.ts';
import { type BackwardHook, type ForwardHook, type ForwardPreHook, type HookHandle, registerHook } from './hooks.ts';

/** A tensor that belongs to a module's state but is not trained: running statistics, say. */
export class Buffer extends Tensor {
  /** Takes over the tensor's memory; `initial` must not be used afterwards. */
  constructor(initial: Tensor) {
    checkInitial('Buffer', initial);
    super(initial.storage.retain(), initial.shape, initial.dtype, initial.device, initial.format, initial.offset);
    initial.dispose();
    this.escape();
  }
}

/** What a module's state is made of. */
export type Member = Parameter | Buffer | Module;
/** Weights by PyTorch's names. */
export type StateDict = Map<string, Tensor>;

const isMember = (v: unknown): v is Member => v instanceof Parameter || v instanceof Buffer || v instanceof Module;

/** `inProjWeight` -> `in_proj_weight`: how fields are named in state dicts. */
export const snakeCase = (name: string): string => name.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toLowerCase();

function* members(name: string, value: unknown): Iterable<[string, Member]> {
  if (isMember(value)) yield [name, value];
  else if (Array.isArray(value)) for (let i = 0; i < value.length; i++) yield* members(`${name}.${i}`, value[i]);
  else if (value instanceof Map) for (const [key, v] of value) yield* members(`${name}.${String(key)}`, v);
}

const copyOp = nativeOp('copy');

/**
 * Base of all layers. Fields that are Parameters, Buffers or Modules register by themselves, arrays and Maps of them too ('layers.0.weight').
 * Subclasses define `forward`.
 */
export abstract class Module {
  /** Dropout acts and batch norm uses the batch's statistics while this is true. Set by `train()` and `eval()`. */
  training = true;
  /** Where this module stands in its model: 'blocks.0.attn'. Set by `assignPaths`; keys its random numbers. */
  path = '';

  abstract forward(...inputs: never[]): unknown;

  /** Members by state-dict name. */
  *entries(): Iterable<[string, Member]> {
    for (const [field, value] of Object.entries(this)) yield* members(snakeCase(field), value);
  }

  /** This module and all below it, with their paths; each once. */
  *namedModules(prefix = '', seen = new Set<Module>()): Iterable<[string, Module]> {
    if (seen.has(this)) return;
    seen.add(this);
    yield [prefix, this];
    for (const [name, member] of this.entries()) {
      if (member instanceof Module) yield* member.namedModules(prefix ? `${prefix}.${name}` : name, seen);
    }
  }
  modules(): Module[] {
    return [...this.namedModules()].map(([, m]) => m);
  }

  /** Every tensor of the state under every name; tied ones come more than once. */
  private *named(prefix = '', above: readonly Module[] = []): Iterable<[string, Parameter | Buffer]> {
    if (above.includes(this))
      throw new ConfigError(
        `'${prefix}' is a module that contains itself, so its state has no end. Keep a reference to a parent in a private field (#parent).`,
      );
    for (const [name, member] of this.entries()) {
      const path = prefix ? `${prefix}.${name}` : name;
      if (member instanceof Module) yield* member.named(path, [...above, this]);
      else yield [path, member];
    }
  }
  /** Parameters with their names; a tied parameter once, under its first name. */
  *namedParameters(): Iterable<[string, Parameter]> {
    const seen = new Set<Parameter>();
    for (const [name, t] of this.named()) {
      if (!(t instanceof Parameter) || seen.has(t)) continue;
      seen.add(t);
      // A part of a model lists its parameters too, to freeze them say: the longer name stays.
      if (t.name === '' || name.endsWith(`.${t.name}`)) t.name = name;
      yield [name, t];
    }
  }
  parameters(): Parameter[] {
    return [...this.namedParameters()].map(([, p]) => p);
  }
  *namedBuffers(): Iterable<[string, Buffer]> {
    for (const [name, t] of this.named()) if (t instanceof Buffer) yield [name, t];
  }

  /** The state by PyTorch's names. The tensors are the module's own (aliases): copy what must not change. */
  stateDict(): StateDict {
    return new Map(this.named());
  }

  /**
   * Copies weights in, converting dtypes. `strict` (default true): every name must match. A tied parameter needs one of its names; PyTorch's
   * counts of batches (num_batches_tracked), which nothing here reads, are passed over.
   * @throws CheckpointError naming what is missing, unexpected, or of another shape; nothing is copied then
   */
  loadStateDict(state: Map<string, Tensor> | Record<string, Tensor>, options: { strict?: boolean } = {}): this {
    checkOptions('loadStateDict', options, ['strict']);
    if (state === null || typeof state !== 'object' || state instanceof Tensor)
      throw new CheckpointError('loadStateDict: expected tensors by name, a Map or an object. loadSafetensors(path) gives one.');
    const given = state instanceof Map ? state : new Map(Object.entries(state));
    const own = this.stateDict();
    const reached = new Set([...own].filter(([name]) => given.has(name)).map(([, t]) => t));
    const missing = [...own].filter(([name, t]) => !given.has(name) && !reached.has(t)).map(([name]) => name);
    const unexpected = [...given.keys()].filter((name) => !own.has(name) && !countsBatches(name, own));
    const unusable = [...own].flatMap(([name]) => {
      const g: unknown = given.get(name);
      if (g === undefined || (g instanceof Tensor && !g.disposed)) return [];
      return [`${name}: ${g instanceof Tensor ? 'was freed' : 'is no tensor'}`];
    });
    const wrong = [...own].flatMap(([name, t]) => {
      const g = given.get(name);
      return g instanceof Tensor && !sameShape(g.shape, t.shape)
        ? [`${name}: expected ${show(t.shape)}, got ${show(g.shape)}`]
        : [];
    });
    const faults = [
      ...((options.strict ?? true)
        ? [
            missing.length ? `missing: ${missing.join(', ')}` : '',
            unexpected.length ? `unexpected: ${unexpected.join(', ')}` : '',
          ]
        : []),
      unusable.join('; '),
      wrong.length ? `other shapes: ${wrong.join('; ')}` : '',
    ].filter((f) => f !== '');
    if (faults.length)
      throw new CheckpointError(
        `loadStateDict: the weights do not fit this model. ${faults.join('. ')}. Is it the same architecture? { strict: false } loads what matches by name.`,
      );
    for (const [name, t] of own) {
      const g = given.get(name);
      if (g) assign(t, g);
    }
    return this;
  }

  /** Training mode, here and below. */
  train(mode = true): this {
    for (const m of this.modules()) m.training = mode;
    return this;
  }
  /** Evaluation mode, here and below. */
  eval(): this {
    return this.train(false);
  }
  /** Moves parameters and buffers, themselves, to a device: an optimizer that holds them follows. */
  to(target: DeviceName | Device): this {
    const on = device(target);
    for (const t of this.stateDict().values()) t.relocate(on);
    return this;
  }
  /** Freezes every parameter: no gradients, no optimizer state. */
  freeze(): this {
    for (const p of this.parameters()) p.freeze();
    return this;
  }
  unfreeze(): this {
    for (const p of this.parameters()) p.unfreeze();
    return this;
  }
  /**
   * Calls `hook(module, inputs)` before every `forward` of this module; what it returns takes the inputs' place. As PyTorch's. Modules that are hooked
   * run by themselves where a layer otherwise runs two in one pass.
   */
  registerForwardPreHook(hook: ForwardPreHook<this>): HookHandle {
    return registerHook(this, 'pre', 'registerForwardPreHook', hook as ForwardPreHook);
  }
  /** Calls `hook(module, inputs, output)` after every `forward`; what it returns, unless undefined, takes the output's place. */
  registerForwardHook(hook: ForwardHook<this>): HookHandle {
    return registerHook(this, 'post', 'registerForwardHook', hook as ForwardHook);
  }
  /**
   * Calls `hook(module, gradInput, gradOutput)` when backward has passed the module: gradients of forward's arguments (null where one is no tensor or
   * wants none) and of the tensors it returned. What the hook returns takes the place of gradInput. For one call of `forward` each.
   */
  registerFullBackwardHook(hook: BackwardHook<this>): HookHandle {
    return registerHook(this, 'back', 'registerFullBackwardHook', hook as BackwardHook);
  }

  /** What stands in the brackets behind the module's name when it is printed. Default: its fields, and its parameters' shapes. */
  extraRepr(): string {
    return options(this);
  }
  /** The module and all below it as an indented tree; equal neighbours are folded. */
  toString(): string {
    return drawTree(this);
  }
  [inspect.custom](): string {
    return drawTree(this);
  }

  /** Drops the gradients. */
  zeroGrad(): void {
    for (const p of this.parameters()) {
      p.grad?.dispose();
      p.grad = null;
    }
  }
}

const countsBatches = (name: string, own: StateDict): boolean =>
  name.endsWith('num_batches_tracked') && own.has(name.replace(/num_batches_tracked$/, 'running_mean'));

/** Writes a tensor's values, from whatever device, over another of the same shape, in stream order. */
export function assign(to: Tensor, from: Tensor): void {
  checkTensor('assign', to, 'the target');
  checkShapeIs('assign', checkTensor('assign', from, 'the source'), to.shape, 'the source');
  scope(() => run(copyOp, [converted(cast(dense(from), to.dtype).detach(), to.device)], [to]));
  to.storage.version++;
}

/** Tells every module its path, which keys its random numbers, and every parameter its name. Trainer and Stepper call it. */
export function assignPaths(root: Module): void {
  for (const [path, m] of root.namedModules()) m.path = path;
  for (const [name, p] of root.namedParameters()) p.name = name;
}
