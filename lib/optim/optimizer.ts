import { CheckpointError, ConfigError, checkList, checkOptions, DTypeError, describe, GraphError } from '../native/errors.ts';
import { type ListOperand, run } from '../native/run.ts';
import { assign } from '../nn/module.ts';
import { checkDevice, filled, nativeOp } from '../ops/define.ts';
import { defaultDevice } from '../tensor/device.ts';
import { persistent } from '../tensor/scope.ts';
import { sameShape, show } from '../tensor/shape.ts';
import { Parameter, Tensor } from '../tensor/tensor.ts';
import { columnCount, columns, GradientList, NativeList } from './lists.ts';
import type { StepState } from './step-state.ts';

/** What every group has; optimizers add theirs. All may be changed between steps. */
export interface GroupOptions {
  /** Peak learning rate; a schedule's factor multiplies it. */
  lr: number;
  weightDecay: number;
  /** Ascend instead of descend. */
  maximize: boolean;
}
export type GroupInput<O> = { params: Iterable<Tensor> } & Partial<O>;
export type ParamGroup<O> = { readonly params: readonly Tensor[] } & O;

/** What an optimizer takes: parameters, or groups of them with options of their own. */
export type Trainable<O> = Iterable<Tensor> | Iterable<GroupInput<O>>;

/** Tensors by '<parameter>/<role>', and the groups' options with their parameters' keys. */
export interface OptimizerState {
  kind: string;
  groups: Record<string, unknown>[];
  tensors: Map<string, Tensor>;
}

const fillOp = nativeOp('fill');

/** A parameter with its state. */
interface Row {
  readonly param: Tensor;
  /** Updates so far, f64 []: Adam's t. */
  readonly step: Tensor;
  /** By role; made when the parameter first has a gradient, so that frozen ones cost nothing. */
  readonly states: Tensor[];
}

/** What stands behind a group. */
class Plan {
  readonly rows: readonly Row[];
  readonly list: NativeList;
  /** Where the group begins in the optimizer's list of gradients. */
  readonly offset: number;

  constructor(params: readonly Tensor[], offset: number) {
    const steps = persistent(() => filled([params.length], 0, 'f64', { device: params[0]?.device ?? defaultDevice() }));
    this.rows = params.map((param, i) => ({ param, step: persistent(() => steps.alias([], 8 * i)), states: [] }));
    steps.dispose();
    this.list = new NativeList(params.length, columnCount);
    this.offset = offset;
    this.rows.forEach(({ param, step }, i) => {
      this.list.set(i, columns.param, param);
      this.list.set(i, columns.step, step);
    });
  }
}

function checkParameter(where: string, p: unknown): Tensor {
  if (!(p instanceof Tensor))
    throw new ConfigError(
      `${where}: parameters must be tensors, got ${describe(p)}. Pass model.parameters(), or groups { params, lr, ... }.`,
    );
  if (p.node) throw new GraphError(`${where}: ${p} is a result, not a leaf. Pass the parameters that it was computed from.`);
  if (!p.requiresGrad && !(p instanceof Parameter))
    throw new GraphError(`${where}: ${p} does not require a gradient. Make it with { requiresGrad: true }, or as a Parameter.`);
  if (p.dtype !== 'f32' && p.dtype !== 'f64')
    throw new DTypeError(
      `${where}: parameters are f32 (or f64), got ${p.dtype}. Keep them f32 and set precision: '${p.dtype}' for the products.`,
    );
  return p;
}

/**
 * Base of all optimizers: groups, state, and one native call per group and step, which unscales, clips, updates and writes the
 * low-precision shadow in one pass over memory.
 *
 * A parameter without a gradient is skipped, state and decay included, as in PyTorch; a frozen one has no gradient, so it may be given
 * and begins to train once it is unfrozen. A parameter given twice in one group counts once; in two groups it is an error.
 */
export abstract class Optimizer<O extends GroupOptions = GroupOptions> {
  /** The optimizer's public name. */
  readonly kind: string;
  readonly groups: readonly ParamGroup<O>[];
  /** Every parameter once, in the order of the groups. */
  readonly parameters: readonly Tensor[];
  /** The gradients as one operand; StepState.norm shares it with the update. */
  readonly gradients: GradientList;
  readonly #plans: readonly Plan[];
  readonly #owned: ReadonlySet<Tensor>;

  /** @param defaults options of groups that do not give their own; also the names that are known */
  constructor(kind: string, params: Trainable<O>, options: Partial<O>, defaults: O) {
    this.kind = kind;
    const where = kind;
    const known = Object.keys(defaults);
    checkOptions(where, options, known);
    const common = { ...defaults, ...withoutUndefined(options ?? {}) };
    const owned = new Map<Tensor, number>();
    this.groups = grouped<O>(where, params).map((given, index) => {
      checkOptions(`${where} group ${index}`, given, ['params', ...known]);
      const own: Tensor[] = [];
      for (const p of checkList(`${where} group ${index}`, 'params', given.params)) {
        checkParameter(where, p);
        const other = owned.get(p);
        if (other !== undefined && other !== index)
          throw new ConfigError(`${where}: ${label(p)} is in groups ${other} and ${index}. Give each parameter to one group.`);
        if (other === undefined) own.push(p);
        owned.set(p, index);
      }
      const group = { ...common, ...withoutUndefined(given), params: own } as ParamGroup<O>;
      this.check(group, index);
      return group;
    });
    if (owned.size === 0)
      throw new ConfigError(`${where}: no parameters were given. Was model.parameters() read before its layers were made?`);
    this.parameters = [...owned.keys()];
    checkDevice(where, ...this.parameters);
    this.#owned = new Set(this.parameters);
    this.gradients = new GradientList(this.parameters);
    let offset = 0;
    this.#plans = this.groups.map((g) => {
      const plan = new Plan(g.params, offset);
      offset += g.params.length;
      return plan;
    });
  }

  /** Names of the state tensors that a group's options ask for, in the kernel's order. */
  protected abstract roles(group: ParamGroup<O>): readonly string[];
  /** What a state tensor begins with. */
  protected initial(_group: ParamGroup<O>, _role: string): number {
    return 0;
  }
  /** Queues the update of one group. */
  protected abstract launch(
    group: ParamGroup<O>,
    inputs: readonly [ListOperand, ListOperand, Tensor | null],
    offset: number,
  ): void;
  /** Throws ConfigError where a group's options make no sense. */
  protected check(group: ParamGroup<O>, index: number): void {
    this.finite(index, 'lr', group.lr);
    this.finite(index, 'weightDecay', group.weightDecay);
  }
  protected finite(index: number, name: string, value: number, least = 0): void {
    if (!(typeof value === 'number' && value >= least && value < Infinity))
      this.refuse(index, `${name} must be a number >= ${least}`, value);
  }
  protected betas(index: number, betas: readonly [number, number]): void {
    const [beta1 = -1, beta2 = -1] = Array.isArray(betas) ? betas : [];
    if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1))
      this.refuse(index, 'betas must be two numbers from 0 to below 1', betas);
  }
  protected refuse(index: number, what: string, found: unknown): never {
    throw new ConfigError(`${this.kind} group ${index}: ${what}, got ${describe(found)}`);
  }

  /** The state of each parameter of the group that begins at `offset`; empty before the parameter's first update. */
  protected statesOf(offset: number): readonly (readonly Tensor[])[] {
    return (this.#plans.find((plan) => plan.offset === offset) as Plan).rows.map((row) => row.states);
  }

  /** Is this tensor one of the parameters? */
  owns(t: Tensor): boolean {
    return this.#owned.has(t);
  }

  /** One update with the gradients as they are and each group's `lr` as it is now. Queues; nothing is checked for inf or NaN. */
  step(): void {
    this.#update(null);
  }

  /**
   * One update under a step state: gradients are multiplied by its unscale and clip factors, `lr` by the schedule's factor, and nothing
   * happens on the device if the step is to be skipped. Between `state.begin` (and `norm`) and `state.end`.
   */
  apply(state: StepState): void {
    if (!(state?.tensor instanceof Tensor))
      throw new ConfigError(`${this.kind}.apply: expected a StepState, got ${describe(state)}. Without one, use step().`);
    this.#update(state.tensor);
  }

  /** Drops the gradients and frees their memory. */
  zeroGrad(): void {
    for (const p of this.parameters) {
      p.grad?.dispose();
      p.grad = null;
    }
    this.gradients.release();
  }

  #update(state: Tensor | null): void {
    this.gradients.refresh();
    this.groups.forEach((group, i) => {
      const plan = this.#plans[i] as Plan;
      this.check(group, i);
      if (!this.#prepare(plan, group)) return;
      this.launch(group, [plan.list, this.gradients.operand, state], plan.offset);
      for (const { param } of plan.rows) if (param.grad) written(param);
    });
  }

  /** Sees that every parameter with a gradient has its state and that the list knows its shadow. False: no parameter has a gradient. */
  #prepare(plan: Plan, group: ParamGroup<O>): boolean {
    const roles = this.roles(group);
    let any = false;
    for (let i = 0; i < plan.rows.length; i++) {
      const row = plan.rows[i] as Row;
      if (row.param.grad === null) continue;
      any = true;
      if (row.step.device !== row.param.device) this.#follow(plan, i);
      if (row.states.length < roles.length) this.#allocate(plan, i, group);
      const shadow = row.param instanceof Parameter ? row.param.shadow : null;
      plan.list.set(i, columns.shadow, shadow && shadow.storage.handle > 0 ? shadow : null);
    }
    return any;
  }

  /** The parameter has moved to another device. */
  #follow(plan: Plan, i: number): void {
    const { param, step, states } = plan.rows[i] as Row;
    plan.list.set(i, columns.param, param);
    plan.list.set(i, columns.step, step.relocate(param.device));
    states.forEach((state, s) => {
      plan.list.set(i, columns.state + s, state.relocate(param.device));
    });
  }

  #allocate(plan: Plan, i: number, group: ParamGroup<O>): void {
    const { param, states } = plan.rows[i] as Row;
    for (const role of this.roles(group).slice(states.length)) {
      const made = persistent(() => filled(param.shape, this.initial(group, role), param.dtype, param));
      plan.list.set(i, columns.state + states.length, made);
      states.push(made);
    }
  }

  // ---- state ----------------------------------------------------------------------------------------------------------------

  /** Keys of the parameters: their names where all have one of their own (a model names them), else their positions. */
  #keys(): string[] {
    const names = this.parameters.map((p) => (p instanceof Parameter ? p.name : ''));
    return new Set(names).size === names.length && !names.includes('') ? names : names.map((_, i) => String(i));
  }

  /**
   * The state: every group's options with its parameters' keys, and tensors '<parameter>/<role>' ('step': updates so far; 'expAvg', ...). The
   * tensors are the optimizer's own (aliases): copy what must not change.
   */
  stateDict(): OptimizerState {
    const keys = this.#keys();
    const tensors = new Map<string, Tensor>();
    const groups = this.groups.map((group, g) => {
      const plan = this.#plans[g] as Plan;
      const roles = this.roles(group);
      plan.rows.forEach(({ step, states }, i) => {
        const key = keys[plan.offset + i] as string;
        if (states.length < roles.length) return;
        tensors.set(`${key}/step`, step);
        roles.forEach((role, s) => {
          tensors.set(`${key}/${role}`, states[s] as Tensor);
        });
      });
      const { params, ...options } = group;
      return { ...options, params: params.map((_, i) => keys[plan.offset + i] as string) };
    });
    return { kind: this.kind, groups, tensors };
  }

  /**
   * Copies a saved state in: options and tensors. The optimizer must have the same groups of parameters; parameters without saved tensors
   * begin anew.
   * @throws CheckpointError naming what does not fit; nothing is changed then
   */
  loadStateDict(state: OptimizerState): this {
    const keys = this.#keys();
    if (!Array.isArray(state?.groups) || !(state.tensors instanceof Map))
      throw new CheckpointError(
        `${this.kind}.loadStateDict: expected { kind, groups, tensors }, as stateDict() gives, got ${describe(state)}.`,
      );
    const faults = this.#faults(state, keys);
    if (faults.length)
      throw new CheckpointError(
        `${this.kind}.loadStateDict: the state does not fit. ${faults.join('. ')}. Is it the same optimizer over the same model?`,
      );
    this.groups.forEach((group, g) => {
      const { params: _, ...options } = state.groups[g] as Record<string, unknown>;
      Object.assign(group, structuredClone(options));
      const plan = this.#plans[g] as Plan;
      plan.rows.forEach((row, i) => {
        this.#restore(plan, row, i, keys[plan.offset + i] as string, group, state.tensors);
      });
    });
    return this;
  }

  #restore(plan: Plan, row: Row, i: number, key: string, group: ParamGroup<O>, saved: Map<string, Tensor>): void {
    const roles = this.roles(group);
    if (roles.some((r) => saved.has(`${key}/${r}`))) this.#allocate(plan, i, group);
    const put = (from: Tensor | undefined, to: Tensor, initial: number) =>
      persistent(() => {
        if (from) return assign(to, from);
        run(fillOp, [], [to], [initial]);
        to.storage.version++;
      });
    row.states.forEach((t, s) => {
      const role = roles[s] as string;
      put(saved.get(`${key}/${role}`), t, this.initial(group, role));
    });
    put(saved.get(`${key}/step`), row.step, 0);
  }

  #faults(state: OptimizerState, keys: readonly string[]): string[] {
    if (state.kind !== this.kind) return [`it is ${String(state.kind)}'s`];
    if (state.groups.length !== this.groups.length)
      return [`it has ${state.groups.length} groups, this one ${this.groups.length}`];
    const faults: string[] = [];
    this.groups.forEach((group, g) => {
      const { offset } = this.#plans[g] as Plan;
      const own = group.params.map((_, i) => keys[offset + i] as string);
      const { params: given = [], ...options } = state.groups[g] as { params?: string[] };
      try {
        checkOptions(`group ${g}`, options, Object.keys(group));
        this.check({ ...group, ...options }, g);
      } catch (error) {
        faults.push((error as Error).message);
      }
      const missing = own.filter((k) => !given.includes(k));
      const unexpected = given.filter((k) => !own.includes(k));
      if (missing.length) faults.push(`group ${g} lacks ${missing.join(', ')}`);
      if (unexpected.length) faults.push(`group ${g} has ${unexpected.join(', ')} too`);
      own.forEach((key, i) => {
        const { shape } = group.params[i] as Tensor;
        for (const role of this.roles(group)) {
          const t = state.tensors.get(`${key}/${role}`);
          if (t && !sameShape(t.shape, shape)) faults.push(`${key}/${role}: expected ${show(shape)}, got ${show(t.shape)}`);
        }
      });
    });
    return faults;
  }

  /** Frees the state. The optimizer must not be used afterwards. */
  dispose(): void {
    this.gradients.dispose();
    for (const plan of this.#plans) {
      plan.list.release();
      for (const row of plan.rows) for (const t of [row.step, ...row.states]) t.dispose();
    }
  }
}

const label = (p: Tensor): string => (p instanceof Parameter && p.name ? p.name : String(p));

/** The device has been told to write `param` and its shadow; a skipped step leaves both, so the shadow is current if it was before. */
function written(param: Tensor): void {
  const { storage } = param;
  const before = storage.version++;
  if (!(param instanceof Parameter) || param.shadow === null) return;
  param.shadow.storage.version++;
  if (param.shadowVersion === before) param.shadowVersion = storage.version;
}

function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)) as T;
}

/** Parameters as one group, groups as they are. */
function grouped<O>(where: string, params: Trainable<O>): GroupInput<O>[] {
  const given = params as unknown;
  if (given instanceof Tensor) throw new ConfigError(`${where}: pass a list: [parameter].`);
  if (given === null || typeof given !== 'object' || !(Symbol.iterator in given))
    throw new ConfigError(
      `${where}: expected parameters or groups { params, ... }, got ${describe(given)}. Pass model.parameters().`,
    );
  const list = [...(given as Iterable<unknown>)];
  const isGroup = (v: unknown) => v !== null && typeof v === 'object' && !(v instanceof Tensor) && 'params' in v;
  if (!list.some(isGroup)) return [{ params: list } as unknown as GroupInput<O>];
  if (!list.every(isGroup))
    throw new ConfigError(`${where}: groups and parameters are mixed. Put the parameters in a group: { params: [...] }.`);
  return list as GroupInput<O>[];
}
