/**
 * Reads the golden files that generate.py writes (README.md beside this file says what they hold).
 *
 * On purpose not the library's own safetensors reader: the tests of that reader, and of everything else, stand on these files.
 */
import { readFileSync } from 'node:fs';

export const families = [
  'array',
  'unary',
  'binary',
  'reduce',
  'matmul',
  'conv',
  'norm',
  'attention',
  'loss',
  'index',
  'modules',
  'optim',
  'optimizers',
  'models',
  'layers',
  'recurrent',
  'losses',
  'layer_modules',
  'muon',
] as const;
export type GoldenFamily = (typeof families)[number];

export type GoldenAttrs = { readonly [name: string]: unknown };
export type GoldenTag = 'ties' | 'extreme' | 'nonfinite' | 'empty' | 'optional' | 'scalarOther';

interface CaseBase {
  /** Unique in its family; the prefix of its tensors. */
  readonly name: string;
  /** Anneal's public name: 'layerNorm', 'nn.Linear', 'optim.AdamW'; 'trajectory' for whole models. */
  readonly op: string;
  readonly attrs: GoldenAttrs;
  readonly dtype: 'f32' | 'i32' | 'bool';
  readonly tags?: readonly GoldenTag[];
}

interface CallFields {
  /** How many inputs (in.0 ...) and outputs (out.0 ...) there are, and what they are called. */
  readonly inputs: number;
  readonly args: readonly string[];
  /** Per input: whether grad.i is stored. */
  readonly differentiable: readonly boolean[];
  readonly outputs: number;
  readonly outs: readonly string[];
}

export interface OpCase extends CaseBase, CallFields {
  readonly kind: 'op';
  /** Where the defaults (forward 1e-5, grad 1e-4) ask more than f32 can give. */
  readonly tolerance?: { readonly forward: number; readonly grad: number };
  /** Compare each element with its own size, not with the largest of the tensor. */
  readonly compare?: 'elementwise';
}
export interface ModuleCase extends CaseBase, CallFields {
  readonly kind: 'module';
  readonly training: boolean;
  /** Forward is called this many times, on equal parts of the input along axis 0; out.0 is the last call's. Absent: once, on the whole. */
  readonly calls?: number;
}
export interface OptimizerCase extends CaseBase {
  readonly kind: 'optimizer';
  readonly params: number;
  readonly steps: number;
  /** PyTorch's names of the stored state, such as 'exp_avg'. */
  readonly state: readonly string[];
}
export interface TrajectoryCase extends CaseBase {
  readonly kind: 'trajectory';
  readonly steps: number;
  /** State-dict keys. */
  readonly parameters: readonly string[];
}
export type GoldenCase = OpCase | ModuleCase | OptimizerCase | TrajectoryCase;

interface Arrays {
  f32: Float32Array;
  f64: Float64Array;
  i32: Int32Array;
  u8: Uint8Array;
  /** One byte each, 0 or 1. */
  bool: Uint8Array;
}
export type GoldenTensor = {
  [D in keyof Arrays]: { readonly dtype: D; readonly shape: readonly number[]; readonly data: Arrays[D] };
}[keyof Arrays];

export interface Golden {
  readonly family: string;
  readonly cases: readonly GoldenCase[];
  /** Every tensor's name, `<case>/<role>`. */
  readonly names: readonly string[];
  has(name: string): boolean;
  /** A fresh copy of the data; throws if the file has no such tensor. */
  tensor(name: string): GoldenTensor;
  /** The roles of one case that begin with `prefix`, for example keys(c, 'state.') gives ['weight', 'bias']. */
  keys(goldenCase: GoldenCase, prefix: string): string[];
}

const types: { readonly [name: string]: keyof Arrays } = { F32: 'f32', F64: 'f64', I32: 'i32', U8: 'u8', BOOL: 'bool' };

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Copies, so that the array is aligned and the caller may write to it. */
function typed(dtype: keyof Arrays, shape: number[], bytes: Uint8Array): GoldenTensor {
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
  switch (dtype) {
    case 'f32':
      return { dtype, shape, data: new Float32Array(buffer) };
    case 'f64':
      return { dtype, shape, data: new Float64Array(buffer) };
    case 'i32':
      return { dtype, shape, data: new Int32Array(buffer) };
    default:
      return { dtype, shape, data: new Uint8Array(buffer) };
  }
}

function read(family: string): Golden {
  const file = readFileSync(new URL(`./${family}.safetensors`, import.meta.url));
  const headerBytes = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerBytes)) as Record<string, unknown>;
  const { cases } = header.__metadata__ as { cases: string };
  const entries = new Map(Object.entries(header).filter(([name]) => name !== '__metadata__')) as Map<string, Entry>;
  const start = 8 + headerBytes;
  return {
    family,
    cases: JSON.parse(cases) as GoldenCase[],
    names: [...entries.keys()],
    has: (name) => entries.has(name),
    tensor(name) {
      const entry = entries.get(name);
      if (!entry)
        throw new Error(`golden ${family}: no tensor '${name}'. Is the role right (in.0, out.0, grad_out.0, grad.0, ...)?`);
      const dtype = types[entry.dtype];
      if (!dtype) throw new Error(`golden ${family}: '${name}' has dtype ${entry.dtype}, which generate.py never writes.`);
      const [begin, end] = entry.data_offsets;
      return typed(dtype, [...entry.shape], file.subarray(start + begin, start + end));
    },
    keys(goldenCase, prefix) {
      const head = `${goldenCase.name}/${prefix}`;
      return [...entries.keys()].filter((name) => name.startsWith(head)).map((name) => name.slice(head.length));
    },
  };
}

const loaded = new Map<string, Golden>();

/** The cases and tensors of one family; each file is read once. */
export function loadGolden(family: GoldenFamily): Golden {
  let golden = loaded.get(family);
  if (!golden) {
    golden = read(family);
    loaded.set(family, golden);
  }
  return golden;
}
