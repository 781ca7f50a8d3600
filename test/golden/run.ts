/**
 * Runs a golden case through the library: the public op by its name, inputs as tensors, backward from the stored output gradients; compares with
 * what is stored. A colleague's test of one op is `for (const c of casesOf('conv', 'conv2d')) test(c.name, () => runOp(c))`.
 */
import { readdirSync } from 'node:fs';
import { fromHost } from '../../lib/tensor/create.ts';
import { type Device, defaultDevice, device } from '../../lib/tensor/device.ts';
import type { DType, FloatDType } from '../../lib/tensor/dtype.ts';
import { scope } from '../../lib/tensor/scope.ts';
import { type HostArray, Tensor } from '../../lib/tensor/tensor.ts';
import { expectClose, type Values } from '../helpers/compare.ts';
import { rounded } from '../helpers/rounding.ts';
import { type Golden, type GoldenFamily, type GoldenTensor, loadGolden, type OpCase } from './golden.ts';

export const FORWARD = 1e-5;
export const GRADIENT = 1e-4;

export type Op = (...args: unknown[]) => unknown;

/** Every function that lib/ops exports, by name; a file that cannot be imported yet leaves its reason in `broken` and hinders no other. */
export interface Ops {
  readonly functions: ReadonlyMap<string, Op>;
  readonly broken: readonly string[];
}
let ops: Promise<Ops> | undefined;
async function importOps(): Promise<Ops> {
  const folder = new URL('../../lib/ops/', import.meta.url);
  const functions = new Map<string, Op>();
  const broken: string[] = [];
  for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((f) => f.endsWith('.ts'))) {
    try {
      const module = (await import(/* @vite-ignore */ new URL(file, folder).href)) as Record<string, unknown>;
      for (const [name, value] of Object.entries(module)) if (typeof value === 'function') functions.set(name, value as Op);
    } catch (error) {
      broken.push(`lib/ops/${file}: ${(error as Error).message.split('\n')[0]}`);
    }
  }
  return { functions, broken };
}
export function loadOps(): Promise<Ops> {
  ops ??= importOps();
  return ops;
}

const owners = new Map<OpCase, Golden>();
/** The cases of a family that call an op, of one op if it is named. */
export function casesOf(family: GoldenFamily, op?: string): OpCase[] {
  const golden = loadGolden(family);
  const found = golden.cases.filter((c): c is OpCase => c.kind === 'op' && (op === undefined || c.op === op));
  for (const c of found) owners.set(c, golden);
  return found;
}
const goldenOf = (c: OpCase): Golden => {
  const golden = owners.get(c);
  if (!golden) throw new Error(`${c.name}: take cases from casesOf(family)`);
  return golden;
};

// ---- the call ---------------------------------------------------------------------------------------------------------------

/** Operands that stand before the options although a case may leave them out. */
const optional: { readonly [op: string]: readonly string[] } = {
  linear: ['x', 'weight', 'bias'],
  conv2d: ['x', 'weight', 'bias'],
  conv1d: ['x', 'weight', 'bias'],
  conv3d: ['x', 'weight', 'bias'],
  convTranspose1d: ['x', 'weight', 'bias'],
  convTranspose2d: ['x', 'weight', 'bias'],
  layerNorm: ['x', 'weight', 'bias'],
  rmsNorm: ['x', 'weight'],
  groupNorm: ['x', 'weight', 'bias'],
};
/** Attributes that are arguments of their own, after the tensors. */
const positional: { readonly [op: string]: readonly string[] } = {
  pow: ['exponent'],
  cast: ['dtype'],
  broadcastTo: ['shape'],
  permute: ['axes'],
  split: ['sizes'],
  pad: ['padding'],
  topK: ['k'],
  adaptiveAvgPool1d: ['outputSize'],
  adaptiveMaxPool1d: ['outputSize'],
  adaptiveAvgPool2d: ['outputSize'],
  adaptiveMaxPool2d: ['outputSize'],
  pixelShuffle: ['factor'],
  pixelUnshuffle: ['factor'],
  maskedFill: ['value'],
  indexSelect: ['axis', 'index'],
  tril: ['diagonal'],
  triu: ['diagonal'],
  roll: ['shifts'],
  repeat: ['repeats'],
  tile: ['repeats'],
  repeatInterleave: ['repeats'],
  oneHot: ['numClasses'],
};

/** The arguments of the public function, from a case's operands and attributes. */
export function argumentsOf(c: OpCase, tensors: readonly Tensor[]): unknown[] {
  const options: Record<string, unknown> = { ...c.attrs };
  const named = new Map<string, unknown>();
  const list: Tensor[] = [];
  c.args.forEach((name, i) => {
    if (name.startsWith('options.')) options[name.slice('options.'.length)] = tensors[i];
    else if (name.startsWith('tensors.')) list.push(tensors[i] as Tensor);
    else named.set(name, tensors[i]);
  });
  const operands: unknown[] = optional[c.op]?.map((name) => named.get(name) ?? null) ?? [...named.values()];
  if (list.length) operands.push(list);
  for (const name of c.tags?.includes('scalarOther') ? ['other'] : (positional[c.op] ?? [])) {
    if (!(name in options)) continue;
    operands.push(options[name]);
    delete options[name];
  }
  if (c.op === 'einsum') return [options.equation, ...operands];
  // JSON has no infinity
  if (c.op === 'norm') options.p = Number(options.p);
  if (Object.keys(options).length) operands.push(options);
  return operands;
}

const isLoss = (value: unknown): value is { terms: { sum: Tensor; count: Tensor | number }[] } =>
  value !== null && typeof value === 'object' && Array.isArray((value as { terms?: unknown }).terms);

/** The results under the names that the case gives them. Running statistics are the operands themselves, written in place. */
function outputsOf(c: OpCase, result: unknown, tensors: readonly Tensor[]): (Tensor | number)[] {
  if (isLoss(result)) {
    const [term] = result.terms;
    if (result.terms.length !== 1 || !term) throw new Error(`${c.name}: a loss of ${result.terms.length} terms, expected one`);
    return [term.sum, term.count];
  }
  if (result instanceof Tensor) {
    return c.outs.map((name, k) => (k === 0 ? result : (tensors[c.args.indexOf(name)] as Tensor)));
  }
  if (Array.isArray(result)) return result as Tensor[];
  return c.outs.map((name) => (result as Record<string, Tensor>)[name] as Tensor);
}

// ---- execution --------------------------------------------------------------------------------------------------------------

export interface Read extends Values {
  readonly dtype: DType;
  readonly data: HostArray;
}
export interface Execution {
  readonly outputs: readonly Read[];
  /** One per input; undefined where none arrived. */
  readonly gradients: readonly (Read | undefined)[];
}
export interface ExecuteOptions {
  /** The dtype in which float operands are given. Default: f32. */
  dtype?: FloatDType;
  /** The dtype to which values are rounded first; default: `dtype`. With dtype f64 and this bf16, the exact result for bf16 operands. */
  rounding?: FloatDType;
  /** Operands that are given, and rounded, otherwise: 'f32' for a bias beside bf16 activations. */
  except?: (arg: string) => FloatDType | undefined;
  /** Where it runs. Default: the device under test; f64, which only the CPU computes, on the CPU. */
  device?: Device;
}

const read = async (t: Tensor | number): Promise<Read> =>
  typeof t === 'number'
    ? { shape: [], dtype: 'f64', data: new Float64Array([t]) }
    : { shape: t.shape, dtype: t.dtype, data: await t.data() };

/** A golden tensor on the device: floats rounded to `rounding` and held as `dtype`. */
export async function place(
  value: GoldenTensor,
  dtype: FloatDType,
  rounding: FloatDType = dtype,
  on: Device = defaultDevice(),
): Promise<Tensor> {
  if (value.dtype !== 'f32' && value.dtype !== 'f64') return fromHost(value.data, value.shape, value.dtype, on);
  const exact = rounded(value.data, rounding);
  if (dtype === 'f64') return fromHost(Float64Array.from(exact), value.shape, 'f64', on);
  const wide = fromHost(Float32Array.from(exact), value.shape, 'f32', on);
  if (dtype === 'f32') return wide;
  const { functions } = await loadOps();
  return (functions.get('cast') as Op)(wide, dtype) as Tensor;
}

/** The op of a case; throws a sentence that says which is missing. */
export async function opOf(c: OpCase): Promise<Op> {
  const { functions, broken } = await loadOps();
  const op = functions.get(c.op);
  if (!op) throw new Error([`missing op: ${c.op} is exported by no file of lib/ops`, ...broken].join('\n'));
  return op;
}

/** Runs forward and backward and reads everything. */
export async function execute(c: OpCase, options: ExecuteOptions = {}): Promise<Execution> {
  const golden = goldenOf(c);
  const op = await opOf(c);
  const { functions } = await loadOps();
  const dtype = options.dtype ?? 'f32';
  const rounding = options.rounding ?? dtype;
  const on = options.device ?? (dtype === 'f64' ? device('cpu') : defaultDevice());
  return scope.run(async () => {
    const tensors: Tensor[] = [];
    for (let i = 0; i < c.inputs; i++) {
      const other = options.except?.(c.args[i] as string);
      const held = other && dtype !== 'f64' ? other : dtype;
      const t = await place(golden.tensor(`${c.name}/in.${i}`), held, other ?? rounding, on);
      t.requiresGrad = c.differentiable[i] as boolean;
      tensors.push(t);
    }
    const outputs = outputsOf(c, op(...argumentsOf(c, tensors)), tensors);
    const seeded: { out: Tensor; seed: Tensor }[] = [];
    for (const [k, out] of outputs.entries()) {
      if (!golden.has(`${c.name}/grad_out.${k}`) || typeof out === 'number') continue;
      const seed = await place(golden.tensor(`${c.name}/grad_out.${k}`), out.dtype as FloatDType, rounding, on);
      seeded.push({ out, seed });
    }
    if (seeded.length === 1) {
      const [{ out, seed }] = seeded as [{ out: Tensor; seed: Tensor }];
      out.backward(seed);
    } else if (seeded.length) {
      const call = (name: string, ...args: unknown[]) => (functions.get(name) as Op)(...args) as Tensor;
      seeded.map(({ out, seed }) => call('sum', call('mul', out, seed))).reduce((a, b) => call('add', a, b)).backward();
    }
    return {
      outputs: await Promise.all(outputs.map(read)),
      gradients: await Promise.all(tensors.map((t) => (t.grad ? read(t.grad) : undefined))),
    };
  });
}

// ---- the comparison ---------------------------------------------------------------------------------------------------------

/** Integers and booleans are equal or wrong. */
const exact = (t: GoldenTensor): boolean => t.dtype !== 'f32' && t.dtype !== 'f64';

/** The truth is stored as f32: what overflows it is infinite there. */
const asStored = (t: Read): Values => (t.dtype === 'f64' ? { shape: t.shape, data: Float32Array.from(t.data) } : t);

/**
 * Runs a case and throws where it misses the stored truth: f32 within 1e-5 forward and 1e-4 for gradients (or the case's own tolerance), f64
 * within what f32 storage holds. 16-bit kernels are compared with f64 on rounded operands instead (test/ops/kernels-vs-f64.test.ts).
 */
export async function runOp(c: OpCase, dtype: 'f32' | 'f64' = 'f32'): Promise<void> {
  const golden = goldenOf(c);
  const elementwise = c.compare === 'elementwise';
  const limits = dtype === 'f64' ? { forward: 3e-7, grad: 3e-7 } : (c.tolerance ?? { forward: FORWARD, grad: GRADIENT });
  const { outputs, gradients } = await execute(c, { dtype });
  if (outputs.length !== c.outputs) throw new Error(`${c.name}: ${outputs.length} outputs, expected ${c.outputs} (${c.outs})`);
  for (const [k, out] of outputs.entries()) {
    const truth = golden.tensor(`${c.name}/out.${k}`);
    if (exact(truth) && out.dtype !== truth.dtype) throw new Error(`${c.name}: ${c.outs[k]} is ${out.dtype}, expected ${truth.dtype}`);
    expectClose(`${c.name}: ${c.outs[k]}`, asStored(out), truth, exact(truth) ? 0 : limits.forward, elementwise);
  }
  for (const [i, gradient] of gradients.entries()) {
    if (!c.differentiable[i]) continue;
    const what = `${c.name}: gradient of ${c.args[i]}`;
    if (!gradient) throw new Error(`${what}: none arrived`);
    if (gradient.dtype !== dtype) throw new Error(`${what} is ${gradient.dtype}, expected ${dtype}`);
    expectClose(what, asStored(gradient), golden.tensor(`${c.name}/grad.${i}`), limits.grad, elementwise);
  }
}
