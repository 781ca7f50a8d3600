// Tensors of fixed numbers, and what an op of indices should give.
import { cast } from '../../lib/ops/define.ts';
import { fromHost } from '../../lib/tensor/create.ts';
import { device } from '../../lib/tensor/device.ts';
import type { DType } from '../../lib/tensor/dtype.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { deviceFor } from './device.ts';

export const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
/** Numbers as a tensor where its dtype belongs. The CPU rounds them: f64 is its own. */
export function placed(data: ArrayLike<number>, shape: readonly number[], dtype: DType): Tensor {
  const wide = fromHost(Float64Array.from(data), shape, 'f64', device('cpu'));
  return cast(wide, dtype).to(deviceFor(dtype)).detach();
}
/** An exact f64 copy, on the CPU. */
export const widened = (t: Tensor): Tensor => cast(t.detach().to('cpu'), 'f64');
/** Whole numbers that every dtype holds, or fractions for gradients. */
export function place(shape: readonly number[], dtype: DType = 'f32', name = 'x'): Tensor {
  const random = new PhiloxStream(5, name);
  const whole = dtype !== 'f64' && dtype !== 'f32';
  const data = Float64Array.from({ length: sizeOf(shape) }, () =>
    whole ? Math.floor(random.uniform() * 100) : random.uniform() - 0.5,
  );
  return placed(data, shape, dtype);
}
export function leaf(shape: readonly number[], name?: string, dtype: DType = 'f64'): Tensor {
  const t = place(shape, dtype, name);
  t.requiresGrad = true;
  return t;
}
export const ints = (values: number[], shape: readonly number[] = [values.length]) =>
  fromHost(Int32Array.from(values), shape, 'i32');
export const list = async (t: Tensor): Promise<number[]> => Array.from(await t.data());

/** The element of row-major `data` at an index. */
export function at(data: ArrayLike<number>, shape: readonly number[], index: readonly number[]): number {
  return data[index.reduce((o, k, d) => o * (shape[d] as number) + k, 0)] as number;
}
/** What an op should give: each output element from its index. */
export function built(shape: readonly number[], element: (index: number[]) => number): number[] {
  return Array.from({ length: sizeOf(shape) }, (_, i) => {
    const index = new Array<number>(shape.length);
    let rest = i;
    for (let d = shape.length - 1; d >= 0; d--) {
      index[d] = rest % (shape[d] as number);
      rest = Math.floor(rest / (shape[d] as number));
    }
    return element(index);
  });
}
