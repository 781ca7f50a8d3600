import { CheckpointError, ConfigError, checkOptions, checkText, describe } from '../../native/errors.ts';
import type { StateDict } from '../../nn/module.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import { opened, type Readable } from '../reading.ts';
import { readContainer } from './containers.ts';
import { isStorage, TensorRef } from './names.ts';
import { type PyKey, PyName } from './pickle.ts';
import { TensorReader } from './storages.ts';

/** What torch.save wrote: dicts are Maps, lists and tuples arrays, integers beyond 2^53 bigints, dtypes and devices their names. */
export type TorchValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Tensor
  | TorchValue[]
  | Set<TorchValue>
  | Map<PyKey, TorchValue>;

export interface LoadTorchOptions {
  /** Which part: a key of the outermost dict ('model'), or keys from outside to inside. Only its tensors are read. Default: all. */
  key?: string | number | readonly (string | number)[];
  /** Whatever the file holds, instead of tensors by name. Default false. */
  nested?: boolean;
  /** Bytes that tensors may take in all. Default: four times the file's, and 256 MiB. */
  maxBytes?: number;
}

const maxDepth = 256;
const spare = 256 << 20;

function some(keys: readonly unknown[]): string {
  const shown = keys.slice(0, 12).map((k) => (typeof k === 'string' ? k.slice(0, 60) : String(k)));
  return keys.length > 12 ? `${shown.join(', ')} and ${keys.length - 12} more` : shown.join(', ') || 'none';
}

/** The part of the value that `key` names. */
function part(where: string, value: unknown, key: LoadTorchOptions['key']): unknown {
  let at = value;
  const path = key === undefined ? [] : Array.isArray(key) ? key : [key];
  path.forEach((k, i) => {
    const before = path.slice(0, i).join('.') || 'the file';
    if (!(at instanceof Map || Array.isArray(at)))
      throw new CheckpointError(`${where}: ${before} has no keys, so no ${describe(k)}.`);
    const found = at instanceof Map ? at.has(k) : Number.isSafeInteger(k) && k >= 0 && k < at.length;
    if (!found)
      throw new CheckpointError(
        `${where}: ${before} has no key ${describe(k)}; it has ${at instanceof Map ? some([...at.keys()]) : `0 to ${at.length - 1}`}.`,
      );
    at = at instanceof Map ? at.get(k) : at[k];
  });
  return at;
}

/** Puts tensors in the places of their references, in the containers themselves, each of which is visited once. */
async function resolve(where: string, value: unknown, read: TensorReader): Promise<TorchValue> {
  const done = new Map<object, boolean>(); // false while its parts are being read
  const holder = (v: unknown): v is object => typeof v === 'object' && v !== null;
  const visit = async (v: unknown, depth: number): Promise<unknown> => {
    if (v instanceof TensorRef) return read.tensor(v);
    if (v instanceof PyName) throw new CheckpointError(`${where}: holds the Python class ${v.name} where a value should be.`);
    if (isStorage(v)) throw new CheckpointError(`${where}: holds a storage by itself. In Python, save a tensor.`);
    if (!holder(v) || v instanceof Uint8Array) return v;
    const state = done.get(v);
    if (state === false) throw new CheckpointError(`${where}: a container holds itself.`);
    if (state) return v;
    if (depth > maxDepth) throw new CheckpointError(`${where}: nested deeper than ${maxDepth}.`);
    done.set(v, false);
    if (Array.isArray(v)) {
      for (let i = 0; i < v.length; i++) if (holder(v[i])) v[i] = await visit(v[i], depth + 1);
    } else if (v instanceof Map) {
      for (const [k, item] of v) if (holder(item)) v.set(k, await visit(item, depth + 1));
    } else if (v instanceof Set) {
      for (const item of v)
        if (holder(item) && (await visit(item, depth + 1)) !== item) throw new CheckpointError(`${where}: a set holds a tensor.`);
    }
    done.set(v, true);
    return v;
  };
  return (await visit(value, 0)) as TorchValue;
}

/** Throws CheckpointError unless the value is a dict of tensors by name. */
function checkState(where: string, value: unknown): void {
  if (value instanceof TensorRef)
    throw new CheckpointError(`${where}: holds one tensor, without a name. Read it with { nested: true }.`);
  if (!(value instanceof Map)) throw new CheckpointError(`${where}: holds no dict of tensors. Read it with { nested: true }.`);
  const other = [...value].filter(([k, v]) => typeof k !== 'string' || !(v instanceof TensorRef)).map(([k]) => k);
  if (other.length === 0) return;
  const dicts = [...value].filter(([, v]) => v instanceof Map).map(([k]) => k);
  const remedy = dicts.length
    ? `Name the part that is one, { key: ${describe(dicts[0])} } say (dicts: ${some(dicts)}), or read`
    : 'Read';
  throw new CheckpointError(
    `${where}: not all of it is tensors by name: ${some(other)}. ${remedy} everything with { nested: true }.`,
  );
}

/** `loadTorch` of an open file. */
export async function readTorch(
  path: string,
  file: Readable,
  size: number,
  { key, nested, maxBytes }: LoadTorchOptions & { maxBytes: number },
): Promise<StateDict | TorchValue> {
  const { value, places } = await readContainer(path, file, size);
  const wanted = part(path, value, key);
  const where = key === undefined ? path : `${path}: ${Array.isArray(key) ? key.join('.') : key}`;
  if (!nested) checkState(where, wanted);
  const reader = new TensorReader(path, file, places, maxBytes);
  try {
    return await resolve(where, wanted, reader);
  } catch (error) {
    reader.dispose();
    throw error;
  }
}

/**
 * Reads a file of PyTorch's torch.save (.pt, .pth, .bin; also the format before 1.6) without running anything: its pickle is read by a small
 * interpreter that makes plain values and tensors, and refuses whatever else it names. Tensors are read one at a time, straight from their place; tied
 * weights are one tensor under both names. Small integers and i64 become i32, range-checked. Checksums are not looked at.
 *
 *     model.loadStateDict(await loadTorch('resnet18.pth'));
 *     const checkpoint = await loadTorch('last.pt', { nested: true }); // Map { 'model' => Map, 'optimizer' => Map, 'epoch' => 3 }
 *     const weights = await loadTorch('last.pt', { key: 'model' });
 *
 * @returns tensors by name, on the default device; with `nested` whatever the file holds
 * @throws CheckpointError for a file that is truncated, hostile, asks for code, or holds what Anneal has not (complex, quantised, sparse tensors)
 */
export function loadTorch(path: string, options?: LoadTorchOptions & { nested?: false }): Promise<StateDict>;
export function loadTorch(path: string, options: LoadTorchOptions & { nested: true }): Promise<TorchValue>;
export async function loadTorch(path: string, options: LoadTorchOptions = {}): Promise<StateDict | TorchValue> {
  checkText('loadTorch', 'the path', path);
  checkOptions('loadTorch', options, ['key', 'nested', 'maxBytes']);
  const { key, nested = false, maxBytes } = options;
  if (typeof nested !== 'boolean') throw new ConfigError(`loadTorch: nested must be true or false, got ${describe(nested)}.`);
  for (const k of Array.isArray(key) ? key : [key ?? ''])
    if (typeof k !== 'string' && typeof k !== 'number')
      throw new ConfigError(`loadTorch: key must be a name or a list of names, got ${describe(key)}.`);
  if (maxBytes !== undefined && !(typeof maxBytes === 'number' && maxBytes >= 0))
    throw new ConfigError(`loadTorch: maxBytes must be a number >= 0, got ${describe(maxBytes)}.`);
  return opened(path, 'torch', async (file, size) => {
    const result = await readTorch(path, file, size, { ...options, maxBytes: maxBytes ?? 4 * size + spare });
    await file.close();
    return result;
  });
}
