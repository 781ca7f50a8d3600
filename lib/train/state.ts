import { CheckpointError, checkText, describe } from '../native/errors.ts';
import { download, upload } from '../native/run.ts';
import { assign, type Module, type StateDict } from '../nn/module.ts';
import { mul } from '../ops/binary.ts';
import { zeros } from '../ops/create.ts';
import { dense } from '../ops/define.ts';
import { where } from '../ops/select.ts';
import type { Optimizer } from '../optim/index.ts';
import { noGrad } from '../tensor/context.ts';
import type { DType } from '../tensor/dtype.ts';
import { persistent, scope } from '../tensor/scope.ts';
import { Tensor, unwritten } from '../tensor/tensor.ts';
import { encodeSafetensors, readSafetensors, type SafetensorsEntry, writeSafetensors } from './safetensors.ts';

const bytesOf = (a: ArrayBufferView): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

/** A tensor's elements as they lie in memory, row-major. */
async function bytesIn(t: Tensor): Promise<Uint8Array> {
  if (t.dtype !== 'bf16' && t.dtype !== 'f16') return bytesOf(await t.data());
  const bits = new Uint16Array(t.size);
  await scope.run(async () => download(dense(t.detach()), bits));
  return bytesOf(bits);
}

/** A copy of the tensors on the host, taken now; writing it can wait while training goes on. */
export async function staged(state: StateDict): Promise<SafetensorsEntry[]> {
  return Promise.all([...state].map(async ([name, t]) => ({ name, dtype: t.dtype, shape: t.shape, data: await bytesIn(t) })));
}

/** The bytes of a safetensors file of these tensors. */
export async function encoded(state: StateDict): Promise<AsyncIterable<Uint8Array>> {
  return encodeSafetensors(await staged(state));
}

/**
 * Writes tensors as a safetensors file, whole or not at all.
 * @param state by name: `model.stateDict()`, say
 */
export async function saveSafetensors(
  path: string,
  state: StateDict | Record<string, Tensor>,
  metadata?: Record<string, string>,
): Promise<void> {
  if (state === null || typeof state !== 'object' || Array.isArray(state) || state instanceof Tensor)
    throw new CheckpointError(`saveSafetensors: expected tensors by name, as model.stateDict() gives, got ${describe(state)}`);
  const map = state instanceof Map ? state : new Map(Object.entries(state));
  for (const [name, t] of map) if (!(t instanceof Tensor)) throw new CheckpointError(`saveSafetensors: ${name} is not a Tensor`);
  checkText('saveSafetensors', 'the path', path);
  await writeSafetensors(path, await staged(map), metadata);
}

function toTensor(bytes: Uint8Array, shape: readonly number[], dtype: DType): Tensor {
  const out = unwritten(shape, dtype);
  upload(out, bytes);
  return out;
}

/**
 * Reads a safetensors file (i64 becomes i32, range-checked).
 * @throws CheckpointError for a file that is truncated, hostile, or not safetensors
 */
export async function loadSafetensors(path: string): Promise<StateDict> {
  const file = await readSafetensors(path, 'loadSafetensors');
  try {
    const state: StateDict = new Map();
    for (const [name, info] of file.tensors) {
      const bytes = await file.read(name);
      state.set(
        name,
        persistent(() => toTensor(bytes, info.shape, info.dtype)),
      );
    }
    return state;
  } finally {
    await file.close();
  }
}

/** Zeroes what belongs to parameters without an update so far: where the call that did so was dropped, memory holds anything. */
export function renewState(optimizer: Optimizer): void {
  const { tensors } = optimizer.stateDict();
  for (const [name, t] of tensors) {
    const updates = tensors.get(name.replace(/[^/]*$/, 'step')) as Tensor;
    if (t !== updates)
      scope(() => noGrad(() => assign(t, where(begun(updates, t), t, zeros([], { dtype: t.dtype, device: t.device })))));
  }
}

/** Counts are f64, which only the CPU compares. */
const begun = (updates: Tensor, t: Tensor): Tensor => updates.to('cpu').gt(0).to(t.device);

/** Copies of the tensors of a model, or of its averages, on their device: best weights, and what must be put back. */
export function snapshot(model: Pick<Module, 'stateDict'>): StateDict {
  return new Map([...model.stateDict()].map(([name, t]) => [name, persistent(() => copyOf(t))]));
}

const copyOf = (t: Tensor): Tensor => mul(t.detach(), 1);
