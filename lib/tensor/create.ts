import { checkOptions, DTypeError, describe, ShapeError } from '../native/errors.ts';
import { upload } from '../native/run.ts';
import { type Device, type DeviceName, defaultDevice, device } from './device.ts';
import { checkDType, type DType, fits } from './dtype.ts';
import { checkShape, type Shape, show, sizeOf } from './shape.ts';
import { type HostArray, hostArray, type Tensor, unwritten } from './tensor.ts';

export type Nested = number | boolean | readonly Nested[];

export interface TensorOptions {
  /** Default: f32 for numbers, the array's own type for typed arrays, bool for booleans. */
  dtype?: DType;
  /** Default: the default device, 'cpu' unless `setDefaultDevice` was called. */
  device?: DeviceName | Device;
  /** Make this a leaf that collects a gradient. */
  requiresGrad?: boolean;
  /** The shape of flat data; default: that of the nesting. */
  shape?: Shape;
}

/** The shape of nested arrays; ragged ones are refused with the place. */
function shapeOf(value: Nested): number[] {
  const shape: number[] = [];
  for (let v = value; Array.isArray(v); v = v[0] as Nested) shape.push(v.length);
  return shape;
}

function flattenInto(
  value: Nested,
  shape: readonly number[],
  into: { [i: number]: number },
  at: { i: number },
  depth = 0,
  path = '',
): void {
  if (depth === shape.length) {
    if (Array.isArray(value))
      throw new ShapeError(`tensor: ragged data: an array stands at ${path || 'the top'} where a number was expected`);
    if (typeof value !== 'number' && typeof value !== 'boolean')
      throw new DTypeError(
        `tensor: ${typeof value === 'string' ? value : describe(value)} at ${path || 'the top'} is neither a number nor a boolean`,
      );
    into[at.i++] = Number(value);
    return;
  }
  if (!Array.isArray(value) || value.length !== shape[depth])
    throw new ShapeError(
      `tensor: ragged data at ${path || 'the top'}: expected ${shape[depth]} elements, found ${Array.isArray(value) ? value.length : describe(value)}`,
    );
  for (let i = 0; i < value.length; i++) flattenInto(value[i] as Nested, shape, into, at, depth + 1, `${path}[${i}]`);
}

const arrayDType = (data: ArrayBufferView): DType => {
  if (data instanceof Float32Array) return 'f32';
  if (data instanceof Float64Array) return 'f64';
  if (data instanceof Int32Array) return 'i32';
  if (data instanceof Uint8Array || data instanceof Uint8ClampedArray) return 'u8';
  throw new DTypeError(
    `tensor: a ${data.constructor.name} has no dtype here. Use Float32Array, Float64Array, Int32Array or Uint8Array.`,
  );
};

/** How elements of each dtype lie in host memory on their way to the device; 16-bit floats travel as f32. */
const carrier = (dtype: DType): DType => (dtype === 'bf16' || dtype === 'f16' ? 'f32' : dtype);

/** Host data as elements of `dtype`. i32 and u8 are range-checked. */
function converted(data: ArrayLike<number>, from: DType, dtype: DType): HostArray {
  if (from === carrier(dtype)) return data as HostArray;
  const out = hostArray(carrier(dtype), data.length);
  for (let i = 0; i < data.length; i++) {
    const v = data[i] as number;
    if (dtype !== 'bool' && !fits(v, dtype)) throw new DTypeError(`tensor: ${v} at position ${i} does not fit ${dtype}`);
    out[i] = dtype === 'bool' ? +(v !== 0) : v;
  }
  return out;
}

// Rounding to 16 bits is an op; lib/ops/create.ts provides it.
let round: (x: Tensor, dtype: DType) => Tensor;
export function setRounding(cast: (x: Tensor, dtype: DType) => Tensor): void {
  round = cast;
}

/**
 * A tensor from nested arrays, or from a typed array with `shape`. The data is copied at once.
 * @throws ShapeError for ragged data or a shape that does not fit; DTypeError for what does not fit the dtype; DeviceError for an unknown device
 */
export function tensor(data: Nested | ArrayBufferView, options: TensorOptions = {}): Tensor {
  checkOptions('tensor', options, ['dtype', 'device', 'requiresGrad', 'shape']);
  const on = device(options.device ?? defaultDevice());
  let flat: ArrayLike<number>;
  let own: DType;
  let shape: Shape;
  if (ArrayBuffer.isView(data)) {
    own = arrayDType(data);
    // Node-API takes no view of shared memory; a slice of it is a copy in memory of one's own.
    flat = (data.buffer instanceof SharedArrayBuffer ? (data as Uint8Array).slice() : data) as unknown as ArrayLike<number>;
    shape = options.shape ?? [flat.length];
  } else {
    const nested = shapeOf(data);
    let first: Nested = data;
    while (Array.isArray(first)) first = first[0] as Nested;
    own = typeof first === 'boolean' ? 'bool' : 'f64';
    const values = hostArray(own, sizeOf(nested));
    flattenInto(data, nested, values, { i: 0 });
    flat = values;
    shape = options.shape ?? nested;
  }
  checkShape('tensor', shape);
  if (sizeOf(shape) !== flat.length) throw new ShapeError(`tensor: ${flat.length} elements do not fit the shape ${show(shape)}`);
  const dtype =
    options.dtype === undefined
      ? ArrayBuffer.isView(data) || own === 'bool'
        ? own
        : 'f32'
      : checkDType('tensor', options.dtype);
  const made = fromHost(converted(flat, own, dtype), shape, carrier(dtype), on);
  const result = made.dtype === dtype ? made : round(made, dtype);
  if (result !== made) made.dispose();
  if (options.requiresGrad) result.requiresGrad = true;
  return result;
}

/** A tensor over a copy of host data of exactly its dtype. */
export function fromHost(data: HostArray, shape: Shape, dtype: DType, on: Device = defaultDevice()): Tensor {
  const out = unwritten(shape, dtype, on);
  upload(out, data);
  return out;
}
