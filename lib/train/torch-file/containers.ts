// The two containers that torch.save has written: zip since 1.6, before that pickles in a row and the storages behind them.
import { CheckpointError } from '../../native/errors.ts';
import { type Readable, readExactly } from '../reading.ts';
import { known, storageOf } from './names.ts';
import { limits, Unpickler } from './pickle.ts';
import type { Places } from './storages.ts';
import { ZipFile } from './zip.ts';

/** What the pickle holds, its tensors as views of storages, and where those are. */
export interface Contents {
  readonly value: unknown;
  readonly places: Places;
}

export async function readContainer(path: string, file: Readable, size: number): Promise<Contents> {
  const head = new Uint8Array(Math.min(size, 4));
  await readExactly(path, file, head, 0);
  if (head[0] === 0x50 && head[1] === 0x4b) return readZip(path, file, size);
  if (head[0] === 0x80) return readLegacy(path, file, size);
  throw new CheckpointError(
    `${path}: not a torch file: it begins neither as a zip archive nor as a pickle. For .safetensors there is loadSafetensors.`,
  );
}

async function readZip(path: string, file: Readable, size: number): Promise<Contents> {
  const zip = await ZipFile.open(path, file, size);
  const pickle = [...zip.entries.values()].filter(({ name }) => /^[^/]+\/data\.pkl$/.test(name));
  const [main] = pickle;
  if (!main || pickle.length > 1)
    throw new CheckpointError(`${path}: not a torch file: a zip archive with ${pickle.length} files NAME/data.pkl.`);
  const root = main.name.slice(0, -'data.pkl'.length);
  if (zip.entries.has(`${root}constants.pkl`))
    throw new CheckpointError(
      `${path}: a TorchScript program, which is code. In Python, save its weights: torch.save(module.state_dict(), path).`,
    );
  const order = zip.entries.get(`${root}byteorder`);
  if (order) {
    const text =
      order.bytes > 16
        ? ''
        : Buffer.from(await zip.content(order))
            .toString('latin1')
            .trim();
    if (text !== 'little')
      throw new CheckpointError(
        `${path}: its numbers are ${text === 'big' ? 'big-endian' : 'of unknown byte order'}. Save it anew on a little-endian machine.`,
      );
  }
  if (main.bytes > limits.bytes)
    throw new CheckpointError(`${path}: its pickle takes ${main.bytes} bytes, more than ${limits.bytes}.`);
  const length = (key: string) => zip.entries.get(`${root}data/${key}`)?.bytes;
  const vm = new Unpickler(`${path}: data.pkl`, await zip.content(main), {
    global: (name) => known.get(name),
    persistent: (id, at) => storageOf(id, at, length),
  });
  const value = vm.run();
  const starts = new Map<string, Promise<number>>();
  const places: Places = (key) => {
    const entry = zip.entries.get(`${root}data/${key}`);
    if (!entry) throw new CheckpointError(`${path}: the storage ${key} is not in the file.`);
    const start = starts.get(key) ?? zip.start(entry);
    starts.set(key, start);
    return start;
  };
  return { value, places };
}

const magic = 0x1950a86a20f9469cfc6cn;

/** A storage as the pickle says it is: what the file must hold of it. */
interface Wanted {
  readonly each: number;
  readonly elements: number;
}

/** torch/serialization.py, _legacy_save: magic number, version, system, the value, the storages' keys, each storage as a count and its elements. */
async function readLegacy(path: string, file: Readable, size: number): Promise<Contents> {
  const bytes = new Uint8Array(Math.min(size, limits.bytes));
  await readExactly(path, file, bytes, 0);
  const wanted = new Map<string, Wanted>();
  const resolver = {
    global: (name: string) => known.get(name),
    persistent: (id: unknown, vm: Unpickler) => {
      // The lengths stand behind the pickle: until then the whole file's is the limit.
      const ref = storageOf(id, vm, () => size);
      if ((id as unknown[])[5] !== undefined && (id as unknown[])[5] !== null) vm.fail('a storage is part of another');
      const before = wanted.get(ref.key);
      if (before && before.each !== ref.each) vm.fail(`the storage ${ref.key} has two dtypes`);
      wanted.set(ref.key, { each: ref.each, elements: Math.max(before?.elements ?? 0, ref.elements) });
      return ref;
    },
  };
  let at = 0;
  const next = (): unknown => {
    const vm = new Unpickler(path, bytes, resolver, at);
    const value = vm.run();
    at = vm.at;
    return value;
  };
  if (next() !== magic) throw new CheckpointError(`${path}: not a torch file: a pickle, but none of torch.save.`);
  if (next() !== 1001) throw new CheckpointError(`${path}: of an unknown version of torch.save. Save it anew with torch >= 1.6.`);
  const system = next();
  if (!(system instanceof Map) || system.get('little_endian') !== true)
    throw new CheckpointError(`${path}: its numbers are not little-endian. Save it anew on a little-endian machine.`);
  const value = next();
  const starts = await legacyStorages(path, file, size, next(), wanted, at);
  return { value, places: async (key) => starts.get(key) as number };
}

/** Where the storages of a legacy file begin: `keys`, each wanted one once, lie in a row behind the pickles, from `at` on. */
async function legacyStorages(
  path: string,
  file: Readable,
  size: number,
  keys: unknown,
  wanted: ReadonlyMap<string, Wanted>,
  at: number,
): Promise<Map<string, number>> {
  const starts = new Map<string, number>();
  let from = at;
  for (const key of Array.isArray(keys) ? keys : []) {
    const want = wanted.get(key);
    if (!want || starts.has(key)) throw new CheckpointError(`${path}: its list of storages does not fit its pickle.`);
    const count = new DataView(new ArrayBuffer(8));
    await readExactly(path, file, new Uint8Array(count.buffer), from);
    const elements = count.getBigUint64(0, true);
    starts.set(key, from + 8);
    if (elements > BigInt(size) || from + 8 + Number(elements) * want.each > size)
      throw new CheckpointError(`${path}: cut short in the storage ${key}.`);
    if (elements < want.elements)
      throw new CheckpointError(`${path}: the storage ${key} has ${elements} elements; its pickle says ${want.elements}.`);
    from += 8 + Number(elements) * want.each;
  }
  if (starts.size < wanted.size) throw new CheckpointError(`${path}: its list of storages does not fit its pickle.`);
  return starts;
}
