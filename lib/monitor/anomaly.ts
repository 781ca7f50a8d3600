import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { watchTape } from '../autograd/graph.ts';
import { ConfigError, checkFunction, checkOptions, describe, NumericsError } from '../native/errors.ts';
import { type ListOperand, type NativeOp, native, nativeOp, type Operand, run, watchCalls } from '../native/run.ts';
import { watchModules } from '../nn/hooks.ts';
import { Module } from '../nn/module.ts';
import { filled } from '../ops/define.ts';
import type { Device } from '../tensor/device.ts';
import { bytesOf, type DType, dtypes, isFloat } from '../tensor/dtype.ts';
import { persistent } from '../tensor/scope.ts';
import { show } from '../tensor/shape.ts';
import type { TapeNode, Tensor } from '../tensor/tensor.ts';

/** A tensor as it was when the op read or wrote it. */
export interface OperandRange {
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Both NaN where an element is. */
  readonly min: number;
  readonly max: number;
}

/** The first op that made NaN or an infinity from finite numbers. */
export interface Anomaly {
  /** The native op: 'log', 'matmul', 'softmax.grad'. */
  readonly op: string;
  /** In backward: what was called in the forward pass, whose rule this op belongs to. */
  readonly backwardOf?: string;
  /** Path and class of the module in whose `forward` it was called; undefined outside, or where no model was given. */
  readonly module?: string;
  /** The line of the program that called it, for backward that of the forward call: 'at loss (train.ts:12:3)'. */
  readonly at: string;
  readonly inputs: readonly OperandRange[];
  readonly outputs: readonly OperandRange[];
}

/** Thrown by `detectAnomaly`, and by steps of a Stepper or Trainer with that option. */
export class AnomalyError extends NumericsError {
  readonly anomaly: Anomaly;
  constructor(message: string, anomaly: Anomaly, options?: ErrorOptions) {
    super(message, options);
    this.anomaly = anomaly;
  }
}

const extremeOp = nativeOp('extreme');
/** Ranges that one tensor of them holds, two numbers each. */
const PAGE = 2048;

/** Smallest and largest elements of many operands, taken on the device in the order of its work, read together. */
class Ranges {
  readonly #pages: { tensor: Tensor; key: string; used: number }[] = [];
  /** Where an operand's range is, if it is as it was then. */
  #known = new WeakMap<object, { offset: number; size: number; place: number }>();

  /** Takes the operand's range; returns where it will be found. */
  take(o: Operand, written: boolean): number {
    const known = this.#known.get(o.storage);
    if (!written && known && known.offset === o.offset && known.size === o.size) return known.place;
    const dtype = dtypes[o.code] as DType;
    const page = this.#page(o.device as Device, dtype);
    const place = this.#pages.indexOf(page) * PAGE + page.used++;
    const { storage, device, code } = page.tensor;
    const walk = o.size === 1 ? [0] : [1, o.size, 1];
    const flat = { ...{ storage: o.storage, offset: o.offset, size: o.size, code: o.code }, shape: [o.size], device: o.device };
    [-1, 1].forEach((sign, i) => {
      const offset = (2 * (place % PAGE) + i) * bytesOf(dtype);
      run(extremeOp, [flat], [{ storage, offset, size: 1, code, shape: [], device }], [sign, ...walk]);
    });
    this.#known.set(o.storage, { offset: o.offset, size: o.size, place });
    return place;
  }
  /** What was written out of sight may be anything. */
  forget(): void {
    this.#known = new WeakMap();
  }
  #page(device: Device, dtype: DType) {
    const key = `${device}:${dtype}`;
    let page = this.#pages.find((p) => p.key === key && p.used < PAGE);
    if (!page) {
      page = { tensor: persistent(() => filled([2 * PAGE], 0, dtype, { device })), key, used: 0 };
      this.#pages.push(page);
    }
    return page;
  }
  /** [min, max] by place. */
  async read(): Promise<(place: number) => [number, number]> {
    const data = await Promise.all(this.#pages.map(({ tensor }) => tensor.data()));
    return (place) => {
      const page = data[Math.floor(place / PAGE)] as ArrayLike<number>;
      const at = 2 * (place % PAGE);
      return [page[at] as number, page[at + 1] as number];
    };
  }
  dispose(): void {
    for (const { tensor } of this.#pages) tensor.dispose();
  }
}

interface Seen {
  readonly place: number;
  readonly shape: readonly number[];
  readonly dtype: DType;
}
interface Noted {
  readonly op: string;
  /** Holds the stack, which is put into words only where it is wanted. */
  readonly stack: Error;
  readonly module: string | undefined;
  readonly node: TapeNode | undefined;
  readonly inputs: readonly Seen[];
  outputs: readonly Seen[];
}

const here = fileURLToPath(import.meta.url);
/** The library's own folder, whose lines are nobody's mistake. */
const own = /[\\/]monitor[\\/][^\\/]+$/.test(here) ? dirname(dirname(here)) : dirname(here);

/** The nearest line of a stack that is neither the library's nor Node's. */
function lineOf(stack: Error | undefined): string {
  const lines = (stack?.stack ?? '').split('\n').slice(1);
  const line = lines.find((l) => !l.includes(own) && !l.includes('node:') && l.trim().startsWith('at '));
  return (line ?? lines[0])?.trim() ?? 'before the search began';
}

/** Notes ranges of all that is computed while it is on. Used by `detectAnomaly` and the Stepper. */
export class AnomalyWatch {
  readonly #ranges = new Ranges();
  readonly #noted: Noted[] = [];
  readonly #modules: Module[] = [];
  readonly #walking: TapeNode[] = [];
  readonly #recorded = new WeakMap<TapeNode, { stack: Error; module: string | undefined }>();
  readonly #off: (() => void)[] = [];

  constructor(model?: Module) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 64;
    const before = watchTape({
      recorded: (node) => this.#recorded.set(node, { stack: new Error(), module: this.#module() }),
      entering: (node) => this.#walking.push(node),
      left: () => this.#walking.pop(),
    });
    const kinds = new Map(
      native()
        .info()
        .ops.map((o) => [o.name, o.kind]),
    );
    let noted: Noted | undefined;
    this.#off.push(
      watchCalls({
        before: (op, inputs) => {
          noted = this.#before(op, inputs, kinds.get(op.name) === 'optim');
        },
        after: (_, __, outputs) => {
          if (!noted) return;
          const seen = this.#seen(outputs, true);
          if (seen.length === 0) return;
          noted.outputs = seen;
          this.#noted.push(noted);
        },
      }),
      () => watchTape(before),
      () => {
        Error.stackTraceLimit = limit;
      },
    );
    if (model) this.#watchModules(model);
  }

  #watchModules(model: Module): void {
    const paths = new Map([...model.namedModules()].map(([path, m]) => [m, path]));
    const entering = (m: Module) => this.#modules.push(m);
    const off = watchModules(paths.keys(), { entering, left: () => this.#modules.pop() });
    this.#off.push(off);
    this.#paths = paths;
  }
  #paths = new Map<Module, string>();

  #module(): string | undefined {
    const m = this.#modules[this.#modules.length - 1];
    return m && `${this.#paths.get(m) || 'the model'} (${m.constructor.name})`;
  }
  #seen(operands: readonly (Operand | ListOperand | null)[], written: boolean): Seen[] {
    return operands.flatMap((o) => {
      if (!o || 'list' in o || o.size === 0) return [];
      const dtype = dtypes[o.code] as DType;
      if (dtype === 'f64' && o.device.number !== 0) return []; // the step's state, which a GPU cannot compute with
      return isFloat(dtype) ? [{ place: this.#ranges.take(o, written), shape: o.shape, dtype }] : [];
    });
  }
  /** What the optimizer writes is not looked at: its state may hold what it skips. */
  #before(op: NativeOp, inputs: readonly (Operand | ListOperand | null)[], optimizer: boolean): Noted | undefined {
    if (optimizer) {
      this.#ranges.forget();
      return undefined;
    }
    const node = this.#walking[this.#walking.length - 1];
    return { op: op.name, stack: new Error(), module: this.#module(), node, inputs: this.#seen(inputs, false), outputs: [] };
  }

  /** Ends the watch; calls from here on are not looked at. */
  stop(): void {
    for (const off of this.#off.splice(0).reverse()) off();
  }

  /** Waits for the device, and throws AnomalyError where there is something to tell. */
  async verdict(cause?: unknown): Promise<void> {
    this.stop();
    try {
      const range = await this.#ranges.read();
      const told = ({ place, shape, dtype }: Seen): OperandRange => {
        const [min, max] = range(place);
        return { shape, dtype, min, max };
      };
      const finite = (s: Seen) => range(s.place).every(Number.isFinite);
      for (const n of this.#noted) {
        const fromOutside = n.inputs.some((s) => range(s.place).some(Number.isNaN));
        const made = n.inputs.length > 0 && n.inputs.every(finite) && !n.outputs.every(finite);
        if (fromOutside || made) throw this.#error(n, n.inputs.map(told), n.outputs.map(told), made, cause);
      }
    } finally {
      this.#ranges.dispose();
    }
  }

  #error(n: Noted, inputs: OperandRange[], outputs: OperandRange[], made: boolean, cause: unknown): AnomalyError {
    const recorded = n.node && this.#recorded.get(n.node);
    const module = n.node ? recorded?.module : n.module;
    const at = n.node ? lineOf(recorded?.stack) : lineOf(n.stack);
    const line = (name: string) => (r: OperandRange, i: number) =>
      `  ${name} ${i}: ${show(r.shape)} ${r.dtype}, ${Number.isNaN(r.min) ? 'with NaN' : `from ${r.min} to ${r.max}`}`;
    const what = outputs.some((r) => Number.isNaN(r.min)) ? 'NaN' : 'an infinity';
    const backward = n.node ? `, in the backward pass of ${n.node.op},` : '';
    const text = [
      made
        ? `${n.op}${backward} made ${what} from finite numbers`
        : `${n.op}${backward} was given NaN that no op made: it was in the data, the parameters or a constant`,
      `  ${n.node ? 'recorded ' : ''}${at}`,
      ...(module === undefined ? [] : [`  in module ${module}`]),
      ...inputs.map(line('input')),
      ...outputs.map(line('output')),
    ].join('\n');
    const anomaly: Anomaly = { op: n.op, at, inputs, outputs };
    Object.assign(anomaly, n.node ? { backwardOf: n.node.op } : {}, module === undefined ? {} : { module });
    return new AnomalyError(`detectAnomaly: ${text}`, anomaly, cause === undefined ? {} : { cause });
  }
}

/**
 * Runs `fn` and throws where an op in it, forward or backward, made NaN or an infinity from finite numbers: names the first such op, the line that called
 * it, the module (where `model` is given) and the ranges of its operands. NaN that was there before is named where it is first used; infinities that
 * were (masks) are taken as meant. For debugging: every operand is read once more (1.2 to 5 times the time, the more the
 * smaller the model), and it waits for the device at the end. What
 * the optimizer's own ops write is not looked at. Under precision 'f16' gradients are scaled, and overflow that the loss scaler handles is reported.
 * @example await detectAnomaly(() => losses.mse(model.forward(x), y).mean().backward(), { model })
 * @returns what `fn` returned
 * @throws AnomalyError (a NumericsError) with the findings in `anomaly`
 */
export async function detectAnomaly<T>(fn: () => T | Promise<T>, options: { model?: Module } = {}): Promise<T> {
  checkFunction('detectAnomaly', 'the first argument', fn, 'detectAnomaly(() => loss.backward())');
  checkOptions('detectAnomaly', options, ['model']);
  if (options.model !== undefined && !(options.model instanceof Module))
    throw new ConfigError(`detectAnomaly: model must be an nn.Module, got ${describe(options.model)}`);
  const watch = new AnomalyWatch(options.model);
  let result: T;
  try {
    result = await fn();
  } catch (error) {
    await watch.verdict(error);
    throw error;
  }
  await watch.verdict();
  return result;
}
