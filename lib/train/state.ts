import { CheckpointError } from '../native/errors.ts';
import { assign, type Module, type StateDict } from '../nn/module.ts';
import { mul } from '../ops/binary.ts';
import { zeros } from '../ops/create.ts';
import { cast } from '../ops/define.ts';
import { where } from '../ops/select.ts';
import type { Optimizer } from '../optim/index.ts';
import { noGrad } from '../tensor/context.ts';
import { fromHost } from '../tensor/create.ts';
import type { DType } from '../tensor/dtype.ts';
import { persistent, scope } from '../tensor/scope.ts';
import { type HostArray, hostArray, Tensor } from '../tensor/tensor.ts';
import { encodeSafetensors, readSafetensors, type SafetensorsEntry, writeSafetensors } from './safetensors.ts';

const bytesOf = (a: ArrayBufferView): Uint8Array => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);

/** bf16 values, read as f32, back to their 16 bits: exact. */
function toBf16Bits(values: HostArray): Uint8Array {
  const words = new Uint32Array((values as Float32Array).buffer, values.byteOffset, values.length);
  return bytesOf(Uint16Array.from(words, (w) => w >>> 16));
}

/** A copy of the tensors on the host, taken now; writing it can wait while training goes on. */
export async function staged(state: StateDict): Promise<SafetensorsEntry[]> {
  return Promise.all(
    [...state].map(async ([name, t]) => {
      if (t.dtype === 'f16') throw new CheckpointError(`save: ${name} is f16. Convert it first: t.to('f32').`);
      const values = await t.data();
      return { name, dtype: t.dtype, shape: t.shape, data: t.dtype === 'bf16' ? toBf16Bits(values) : bytesOf(values) };
    }),
  );
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
  const map = state instanceof Map ? state : new Map(Object.entries(state));
  for (const [name, t] of map) if (!(t instanceof Tensor)) throw new CheckpointError(`saveSafetensors: ${name} is not a Tensor`);
  await writeSafetensors(path, await staged(map), metadata);
}

function toTensor(bytes: Uint8Array, shape: readonly number[], dtype: DType): Tensor {
  const size = shape.reduce((n, d) => n * d, 1);
  if (dtype === 'bf16') {
    const halves = new Uint16Array(bytes.slice().buffer);
    const words = Uint32Array.from(halves, (h) => h << 16);
    const wide = fromHost(new Float32Array(words.buffer), shape, 'f32');
    const narrow = cast(wide, 'bf16');
    wide.dispose();
    return narrow;
  }
  if (dtype === 'f16') throw new CheckpointError('loading f16 tensors is not supported yet; store the file as f32 or bf16');
  const values = hostArray(dtype, size);
  bytesOf(values).set(bytes);
  return fromHost(values, shape, dtype);
}

/**
 * Reads a safetensors file (i64 becomes i32, range-checked).
 * @throws CheckpointError for a file that is truncated, hostile, or not safetensors
 */
export async function loadSafetensors(path: string): Promise<StateDict> {
  const file = await readSafetensors(path);
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
    if (t !== updates) scope(() => noGrad(() => assign(t, where(updates.gt(0), t, zeros([], { dtype: t.dtype })))));
  }
}

/** Copies of the model's tensors on its device: best weights, and what must be put back. */
export function snapshot(model: Module): StateDict {
  return new Map([...model.stateDict()].map(([name, t]) => [name, persistent(() => copyOf(t))]));
}

const copyOf = (t: Tensor): Tensor => mul(t.detach(), 1);
