// The Python names that torch.save writes for weights and plain values, and what stands for each here. Nothing else is looked up. (torch/_weights_only_unpickler.py)
import type { DType } from '../../tensor/dtype.ts';
import { elements } from '../safetensors-header.ts';
import { PyName, type Unpickler } from './pickle.ts';

/** How elements lie in the file; `dtype` is what they become. */
export interface Stored {
  readonly name: string;
  readonly dtype: DType;
  readonly bytes: number;
}
const stored = (name: string, dtype: DType, bytes: number): Stored => ({ name, dtype, bytes });

/** By torch's dtype names. Small integers become i32; 64 bits and unsigned 32 are range-checked. */
const dtypes: Readonly<Record<string, Stored>> = {
  float32: stored('float32', 'f32', 4),
  float64: stored('float64', 'f64', 8),
  float16: stored('float16', 'f16', 2),
  bfloat16: stored('bfloat16', 'bf16', 2),
  int64: stored('int64', 'i32', 8),
  int32: stored('int32', 'i32', 4),
  int16: stored('int16', 'i32', 2),
  int8: stored('int8', 'i32', 1),
  uint8: stored('uint8', 'u8', 1),
  uint16: stored('uint16', 'i32', 2),
  uint32: stored('uint32', 'i32', 4),
  bool: stored('bool', 'bool', 1),
};
/** Dtypes that torch has and Anneal has not. */
const foreign = [
  'complex32',
  'complex64',
  'complex128',
  'uint64',
  'qint8',
  'quint8',
  'qint32',
  'quint4x2',
  'quint2x4',
  'float8_e4m3fn',
];
const alsoForeign = [
  'float8_e5m2',
  'float8_e4m3fnuz',
  'float8_e5m2fnuz',
  'float8_e8m0fnu',
  'float4_e2m1fn_x2',
  'bits8',
  'bits16',
];

const storages: Readonly<Record<string, string>> = {
  FloatStorage: 'float32',
  DoubleStorage: 'float64',
  HalfStorage: 'float16',
  BFloat16Storage: 'bfloat16',
  LongStorage: 'int64',
  IntStorage: 'int32',
  ShortStorage: 'int16',
  CharStorage: 'int8',
  ByteStorage: 'uint8',
  BoolStorage: 'bool',
  UntypedStorage: 'untyped',
  ComplexFloatStorage: 'complex64',
  ComplexDoubleStorage: 'complex128',
  QInt8Storage: 'qint8',
  QUInt8Storage: 'quint8',
  QInt32Storage: 'qint32',
  QUInt4x2Storage: 'quint4x2',
  QUInt2x4Storage: 'quint2x4',
};

/** A class of storages: the name of their dtype. */
export class StorageClass extends PyName {
  readonly holds: string;
  constructor(name: string, holds: string) {
    super(name);
    this.holds = holds;
  }
}

/** Memory of a tensor, in the file. */
export interface StorageRef {
  readonly kind: 'storage';
  readonly key: string;
  readonly holds: string;
  readonly elements: number;
  /** Bytes of an element. */
  readonly each: number;
}
export const isStorage = (v: unknown): v is StorageRef => (v as Partial<StorageRef> | null)?.kind === 'storage';

/** A tensor that has not been read: a view of a storage, checked against the storage's own length. */
export class TensorRef {
  readonly storage: StorageRef;
  readonly stored: Stored;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly stride: readonly number[];
  /** Elements, and the elements of the storage from the first used to behind the last. */
  readonly size: number;
  readonly span: number;
  constructor(
    storage: StorageRef,
    dtype: Stored,
    offset: number,
    shape: readonly number[],
    stride: readonly number[],
    sizes: readonly [number, number],
  ) {
    this.storage = storage;
    this.stored = dtype;
    this.offset = offset;
    this.shape = shape;
    this.stride = stride;
    [this.size, this.span] = sizes;
  }
  /** Equal for views that are the same: a tied weight. */
  get key(): string {
    return JSON.stringify([this.storage.key, this.stored.name, this.offset, this.shape, this.stride]);
  }
}

/** The storage of ('storage', class, key, location, elements[, view]), which `length` (in bytes) knows. */
export function storageOf(id: unknown, vm: Unpickler, length: (key: string) => number | undefined): StorageRef {
  if (!Array.isArray(id) || id[0] !== 'storage' || id.length < 5) return vm.fail('a persistent id is not of a storage');
  const [, kind, key, , count] = id as unknown[];
  if (!(kind instanceof StorageClass) || typeof key !== 'string' || key.length > 100 || !isCount(count))
    return vm.fail('the id of a storage is broken');
  const each = kind.holds === 'untyped' ? 1 : dtypeOf(kind.holds, vm).bytes;
  const bytes = length(key);
  if (bytes === undefined) return vm.fail(`the storage ${JSON.stringify(key)} is not in the file`);
  if (count * each > bytes)
    return vm.fail(`the storage ${JSON.stringify(key)} takes ${count * each} bytes, but the file has ${bytes} of it`);
  return { kind: 'storage', key, holds: kind.holds, elements: count, each };
}

const isCount = (v: unknown): v is number => Number.isSafeInteger(v) && (v as number) >= 0;

function dtypeOf(name: string, vm: Unpickler): Stored {
  if (Object.hasOwn(dtypes, name)) return dtypes[name] as Stored;
  return vm.refuse(
    `a tensor of ${name}, which Anneal has not. Convert it in Python before it is saved: x.float(), or x.dequantize().`,
  );
}

/** torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...): a view, inside its storage. */
function view(vm: Unpickler, args: readonly unknown[], dtype?: string): TensorRef {
  const [storage, offset, shape, stride] = args;
  if (!isStorage(storage)) return vm.fail('a tensor has no storage');
  const kind = dtypeOf(dtype ?? (storage.holds === 'untyped' ? 'uint8' : storage.holds), vm);
  const counts = (list: unknown): list is number[] => Array.isArray(list) && list.length <= 64 && list.every(isCount);
  if (!isCount(offset) || !counts(shape) || !counts(stride) || shape.length !== stride.length)
    return vm.fail('a tensor has a wrong offset, size or stride');
  if (shape.length > 8)
    return vm.refuse(`a tensor of ${shape.length} dimensions; Anneal has at most 8. Reshape it in Python before it is saved.`);
  const size = elements(shape);
  if (size === undefined || size > 2 ** 40) return vm.fail(`a tensor of shape [${shape.join(', ')}] is too large`);
  let span = size === 0 ? 0 : 1;
  if (size > 0) for (const [i, n] of shape.entries()) span += (n - 1) * (stride[i] as number);
  // Strides of dimensions of 1 are never used; products of counts beyond 2^53 are inexact, but far beyond any storage.
  const capacity = storage.holds === 'untyped' ? Math.floor(storage.elements / kind.bytes) : storage.elements;
  if (offset + span > capacity) return vm.fail(`a tensor reaches to element ${offset + span} of a storage of ${capacity}`);
  return new TensorRef(storage, kind, offset, [...shape], [...stride], [size, span]);
}

function plainView(vm: Unpickler, args: readonly unknown[], metadata: unknown, dtype?: string): TensorRef {
  const flags = metadata instanceof Map ? [...metadata].filter(([, v]) => v !== false && v !== null).map(([k]) => String(k)) : [];
  if (flags.length)
    return vm.refuse(
      `a tensor that is marked ${flags.join(', ').slice(0, 100)}. Resolve it in Python before it is saved: x.resolve_neg().clone().`,
    );
  return view(vm, args, dtype);
}

const tensorIn = (vm: Unpickler, value: unknown): TensorRef =>
  value instanceof TensorRef ? value : vm.fail('a Parameter holds no tensor');

const pairs = (args: readonly unknown[], vm: Unpickler): Map<unknown, unknown> => {
  const map = new Map<unknown, unknown>();
  const [from] = args;
  if (from === undefined) return map;
  const list = from instanceof Map ? [...from] : from;
  if (args.length > 1 || !Array.isArray(list)) return vm.fail('an OrderedDict is made of something else than pairs');
  vm.charge(64 * list.length);
  for (const pair of list) {
    const [key, value] = Array.isArray(pair) && pair.length === 2 ? pair : [undefined, undefined];
    if (typeof key !== 'string' && typeof key !== 'number') return vm.fail('an OrderedDict is made of something else than pairs');
    map.set(key, value);
  }
  return map;
};

const items = (args: readonly unknown[], vm: Unpickler): unknown[] => {
  const [from = []] = args;
  if (args.length > 1 || !Array.isArray(from)) return vm.fail('a tuple is made of something else than a list');
  vm.charge(64 * from.length);
  return [...from];
};

/** torch._tensor._rebuild_from_type_v2(function, class, arguments, state): a Parameter or a tensor with attributes, which are left. */
const fromType = (args: readonly unknown[], vm: Unpickler): TensorRef => {
  const [fn, , inner] = args;
  if (!(fn instanceof PyName) || fn === known.get('torch._tensor._rebuild_from_type_v2') || !fn.call || !Array.isArray(inner))
    return vm.fail('a tensor is made by something else than a function of tensors');
  return tensorIn(vm, fn.call(inner, vm));
};

/** Python 2's way to write bytes: text of code points below 256. */
const encoded = (args: readonly unknown[], vm: Unpickler): Uint8Array => {
  const [text, how] = args;
  if (typeof text !== 'string' || (how !== 'latin1' && how !== 'latin-1')) return vm.fail('bytes are written in an unknown way');
  vm.charge(text.length);
  return Uint8Array.from(Buffer.from(text, 'latin1'));
};

/** Protocol 2's bytes() and bytearray(text, 'latin-1'). */
const bytes = (args: readonly unknown[], vm: Unpickler): Uint8Array => {
  const [from = new Uint8Array()] = args;
  return from instanceof Uint8Array ? from : encoded(args, vm);
};

/** Tensors of kinds that Anneal has not: refused in words, when they are made. */
const otherKind = (kind: string, remedy: string) => (_: readonly unknown[], vm: Unpickler) =>
  vm.refuse(`holds a ${kind} tensor, which Anneal has not. In Python, save ${remedy}.`);

const callable = (name: string, call: (args: readonly unknown[], vm: Unpickler) => unknown) =>
  [name, new PyName(name, call)] as const;
const builtins = ['builtins', '__builtin__'];

/** Everything that a pickle may name. */
export const known: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  callable('torch._utils._rebuild_tensor', (args, vm) => view(vm, args)),
  callable('torch._utils._rebuild_tensor_v2', (args, vm) => plainView(vm, args, args[6])),
  callable('torch._utils._rebuild_tensor_v3', (args, vm) =>
    plainView(
      vm,
      args,
      args[7],
      typeof args[6] === 'string' ? args[6].replace(/^torch\./, '') : vm.fail('a tensor has no dtype'),
    ),
  ),
  callable('torch._utils._rebuild_parameter', ([data], vm) => tensorIn(vm, data)),
  callable('torch._utils._rebuild_parameter_with_state', ([data], vm) => tensorIn(vm, data)),
  callable('torch._tensor._rebuild_from_type_v2', fromType),
  callable('torch._utils._rebuild_sparse_tensor', otherKind('sparse', 'x.to_dense()')),
  callable('torch._utils._rebuild_qtensor', otherKind('quantised', 'x.dequantize()')),
  callable('torch._utils._rebuild_meta_tensor_no_storage', otherKind('meta', 'it on a device that has its numbers')),
  callable('torch._utils._rebuild_nested_tensor', otherKind('nested', 'its parts, x.unbind()')),
  callable('collections.OrderedDict', pairs),
  callable('collections.Counter', pairs),
  callable('collections.defaultdict', ([, ...rest], vm) => pairs(rest, vm)),
  callable('torch.Size', items),
  callable('torch.device', (args, vm) =>
    args.every((a) => typeof a === 'string' || typeof a === 'number') ? args.join(':') : vm.fail('a device is no name'),
  ),
  callable('torch.serialization._get_layout', ([layout], vm) =>
    typeof layout === 'string' ? layout : vm.fail('a layout is no name'),
  ),
  callable('_codecs.encode', encoded),
  ...builtins.flatMap((b) => [
    callable(`${b}.set`, (args, vm) => new Set(items(args, vm))),
    callable(`${b}.frozenset`, (args, vm) => new Set(items(args, vm))),
    callable(`${b}.bytes`, bytes),
    callable(`${b}.bytearray`, bytes),
    ...['int', 'float', 'str', 'bool', 'list', 'dict', 'tuple'].map((n) => [`${b}.${n}`, new PyName(`${b}.${n}`)] as const),
  ]),
  ...['torch.Tensor', 'torch.nn.parameter.Parameter', 'torch.nn.Parameter', 'torch.nn.parameter.Buffer'].map(
    (n) => [n, new PyName(n)] as const,
  ),
  ...Object.entries(storages).flatMap(([n, holds]) =>
    [`torch.${n}`, `torch.cuda.${n}`, `torch.storage.${n}`].map((full) => [full, new StorageClass(full, holds)] as const),
  ),
  ...[...Object.keys(dtypes), ...foreign, ...alsoForeign].map((n) => [`torch.${n}`, `torch.${n}`] as const),
  ...[
    'strided',
    'sparse_coo',
    'sparse_csr',
    'per_tensor_affine',
    'per_channel_affine',
    'contiguous_format',
    'channels_last',
    'preserve_format',
  ].map((n) => [`torch.${n}`, `torch.${n}`] as const),
]);
