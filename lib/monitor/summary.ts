import { watchTape } from '../autograd/graph.ts';
import { AnnealError, ConfigError, checkOptions, describe } from '../native/errors.ts';
import { watchCalls } from '../native/run.ts';
import { watchModules } from '../nn/hooks.ts';
import { Buffer, Module } from '../nn/module.ts';
import { macsOf } from '../ops/cost.ts';
import { zeros } from '../ops/create.ts';
import { bind, checkPrecision, current, type Precision } from '../tensor/context.ts';
import { persistent, scope } from '../tensor/scope.ts';
import { type Shape, show } from '../tensor/shape.ts';
import { Parameter, type Storage, Tensor } from '../tensor/tensor.ts';
import { formatBytes, formatCount, table } from './text.ts';

export interface SummaryOptions {
  /** Dtype of matrix products, as in training. Default: the one in force, 'f32'. */
  precision?: Precision;
}

/** One module. Its numbers are its own: what its children do and hold is theirs, so that columns add up to the totals. */
export interface SummaryRow {
  /** Path in the model, '' for the model itself. */
  readonly name: string;
  /** The class. */
  readonly kind: string;
  readonly depth: number;
  /** Calls of `forward`; 0 where another layer used the module's parameters, or nobody did. */
  readonly calls: number;
  /** Shapes of the first call's tensors. */
  readonly input: readonly Shape[];
  readonly output: readonly Shape[];
  readonly trainable: number;
  readonly frozen: number;
  /** Multiply-adds of products, convolutions and attention. */
  readonly macs: number;
  /** Bytes that backward needs and no earlier module saved; parameters, buffers and the input are not counted. */
  readonly activationBytes: number;
}
export type SummaryTotals = Pick<SummaryRow, 'trainable' | 'frozen' | 'macs' | 'activationBytes'> & {
  readonly parameterBytes: number;
  readonly bufferBytes: number;
};

type Row = { -readonly [K in keyof SummaryRow]: SummaryRow[K] };

/** What `summary` found; print it. */
export class Summary {
  readonly rows: readonly SummaryRow[];
  readonly totals: SummaryTotals;
  constructor(rows: readonly SummaryRow[], totals: SummaryTotals) {
    this.rows = rows;
    this.totals = totals;
  }
  toString(): string {
    const shapes = (all: readonly Shape[]) => all.map(show).join(' ') || '-';
    const count = (trainable: number, frozen: number) =>
      frozen ? `${trainable} + ${frozen} frozen` : trainable ? String(trainable) : '-';
    const lines = this.rows.map((r) => [
      `${'  '.repeat(r.depth)}${r.name === '' ? '(model)' : r.name}`,
      r.calls > 1 ? `${r.kind} x${r.calls}` : r.kind,
      shapes(r.input),
      shapes(r.output),
      count(r.trainable, r.frozen),
      r.macs ? formatCount(r.macs) : '-',
      r.activationBytes ? formatBytes(r.activationBytes) : '-',
    ]);
    const t = this.totals;
    const head = ['module', 'kind', 'input', 'output', 'parameters', 'MACs', 'saved'];
    const total = ['total', '', '', '', count(t.trainable, t.frozen), formatCount(t.macs), formatBytes(t.activationBytes)];
    return `${table(head, lines, total, 4)}\nparameters ${formatBytes(t.parameterBytes)}, buffers ${formatBytes(t.bufferBytes)}`;
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }
}

function tensorsIn(value: unknown): Tensor[] {
  if (value instanceof Tensor) return [value];
  if (value === null || typeof value !== 'object') return [];
  return (Array.isArray(value) ? value : Object.values(value)).flatMap(tensorsIn);
}
const shapesIn = (value: unknown): Shape[] => tensorsIn(value).map((t) => t.shape);

const isShape = (v: unknown): v is number[] => Array.isArray(v) && v.every((n) => Number.isSafeInteger(n) && n >= 0);

function inputsOf(model: Module, input: unknown): readonly unknown[] {
  if (input instanceof Tensor) return [input];
  if (isShape(input)) return [zeros(input, { device: model.stateDict().values().next().value?.device.name ?? 'cpu' })];
  if (Array.isArray(input) && input.every((t) => t instanceof Tensor)) return input;
  throw new ConfigError(
    `summary: the input must be a Tensor, an array of the forward's tensors, or the shape of one f32 tensor such as [1, 3, 224, 224]; got ${describe(input)}`,
  );
}

/** One row for each module, with its parameters; a tied one belongs to the first that holds it. */
function emptyRows(model: Module): Map<Module, Row> {
  const rows = new Map<Module, Row>();
  const seen = new Set<Tensor>();
  for (const [name, module] of model.namedModules()) {
    const row: Row = {
      ...{ name, kind: module.constructor.name, depth: name === '' ? 0 : depthOf(name, rows), calls: 0 },
      ...{ input: [], output: [], trainable: 0, frozen: 0, macs: 0, activationBytes: 0 },
    };
    for (const [, p] of module.entries()) {
      if (!(p instanceof Parameter) || seen.has(p)) continue;
      seen.add(p);
      row[p.frozen ? 'frozen' : 'trainable'] += p.size;
    }
    rows.set(module, row);
  }
  return rows;
}
const depthOf = (name: string, rows: Map<Module, Row>): number =>
  1 + Math.max(0, ...[...rows.values()].filter((r) => name.startsWith(`${r.name}.`)).map((r) => r.depth));

/** Lets `fn` write over the model's buffers and compute copies, and puts everything back as it was. */
function restoring<T>(state: readonly Tensor[], fn: () => T): T {
  const buffers = [...new Set(state)].filter((t) => t instanceof Buffer);
  const kept = buffers.map((b) => ({ b, storage: b.storage, offset: b.offset, copy: persistent(() => b.add(0)) }));
  const shadowless = state.filter((t): t is Parameter => t instanceof Parameter && t.shadow === null);
  for (const { b, copy } of kept) Object.assign(b, { storage: copy.storage, offset: copy.offset });
  try {
    return fn();
  } finally {
    for (const { b, storage, offset, copy } of kept) {
      Object.assign(b, { storage, offset });
      copy.dispose();
    }
    for (const p of shadowless) {
      p.shadow?.dispose();
      p.shadow = null;
      p.shadowVersion = -1;
    }
  }
}

/** Runs `fn` with everything that happens in it written into the rows. */
function counted(rows: Map<Module, Row>, given: readonly unknown[], state: readonly Tensor[], fn: () => unknown): void {
  const open: Row[] = [];
  const counts = (storage: Storage) => !seen.has(storage) && !state.some((t) => t.storage === storage || shadowOf(t) === storage);
  const seen = new Set<Storage>(tensorsIn(given).map((t) => t.storage));
  const here = () => open[open.length - 1];
  let failed: Row | undefined;
  const offModules = watchModules(rows.keys(), {
    entering(module, inputs) {
      const row = rows.get(module) as Row;
      if (row.calls++ === 0) row.input = shapesIn(inputs);
      open.push(row);
    },
    left(_, output) {
      const row = open.pop() as Row;
      if (output === undefined) failed ??= row; // the innermost that threw, if one did
      if (row.calls === 1) row.output = shapesIn(output);
    },
  });
  const offCalls = watchCalls({
    after(op, _inputs, _outputs, attrs) {
      const row = here();
      if (row) row.macs += macsOf(op.name, attrs);
    },
  });
  const before = watchTape({
    recorded(_, saved) {
      const row = here();
      for (const t of saved) {
        if (!row || !counts(t.storage)) continue;
        seen.add(t.storage);
        row.activationBytes += t.bytes;
      }
    },
  });
  try {
    fn();
  } catch (error) {
    if (error instanceof AnnealError && failed)
      error.message = `summary: in ${failed.name || 'the model'} (${failed.kind}): ${error.message}`;
    throw error;
  } finally {
    watchTape(before);
    offCalls();
    offModules();
  }
}
const shadowOf = (t: Tensor): Storage | undefined => (t instanceof Parameter ? t.shadow?.storage : undefined);

/**
 * What each module takes, gives, holds and costs, by one forward pass with gradients on, in the mode (training or not) that the model is in. Nothing
 * is left changed: running statistics, random numbers and compute copies are as before. Layers that otherwise run two modules in one pass
 * (Linear and ReLU) run each by itself here.
 * @param input the forward's tensor, an array of its tensors, or the shape of one f32 tensor (of zeros)
 * @example console.log(`${summary(model, [64, 1, 28, 28])}`)
 */
export function summary(
  model: Module,
  input: Tensor | readonly Tensor[] | readonly number[],
  options: SummaryOptions = {},
): Summary {
  if (!(model instanceof Module)) throw new ConfigError(`summary: the model must be an nn.Module, got ${describe(model)}`);
  checkOptions('summary', options, ['precision']);
  checkPrecision('summary', options.precision);
  const state = [...model.stateDict().values()];
  const rows = emptyRows(model);
  const { rng, precision } = current();
  const change = { grad: true, precision: options.precision ?? precision, rng: { ...rng, calls: new Map(rng.calls) } };
  scope(() => {
    const given = inputsOf(model, input);
    const forward = () => (model.forward as (...inputs: unknown[]) => unknown)(...given);
    restoring(state, () => counted(rows, given, state, () => bind(change, forward)));
  });
  const all = [...rows.values()];
  const sum = (key: 'trainable' | 'frozen' | 'macs' | 'activationBytes') => all.reduce((s, r) => s + r[key], 0);
  const bytes = (kind: typeof Parameter | typeof Buffer) =>
    [...new Set(state)].reduce((s, t) => s + (t instanceof kind ? t.bytes : 0), 0);
  return new Summary(all, {
    ...{ trainable: sum('trainable'), frozen: sum('frozen'), macs: sum('macs'), activationBytes: sum('activationBytes') },
    ...{ parameterBytes: bytes(Parameter), bufferBytes: bytes(Buffer) },
  });
}
