import { expect } from 'vitest';
import { tensor } from '../../lib/tensor/create.ts';
import type { DType } from '../../lib/tensor/dtype.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { sizeOf } from '../../lib/tensor/shape.ts';
import type { HostArray, Tensor } from '../../lib/tensor/tensor.ts';
import { deviceFor } from '../helpers/device.ts';
import '../../lib/ops/binary.ts';
import '../../lib/ops/create.ts';
import '../../lib/ops/reduce.ts';

/** Numbers from -1 to 1, the same for the same name. */
export const noise = (shape: readonly number[], name: string, dtype: DType = 'f32'): Tensor => {
  const s = new PhiloxStream(9, name);
  return tensor(
    Float64Array.from({ length: sizeOf(shape) }, () => 2 * s.uniform() - 1),
    { shape, dtype, device: deviceFor(dtype) },
  );
};

export const valuesOf = (tensors: Iterable<Tensor>): Promise<HostArray[]> => Promise.all(Array.from(tensors, (t) => t.data()));

/** Equal to the last bit. (vitest compares long arrays one element at a time.) */
export function expectSameBits(a: readonly HostArray[], b: readonly HostArray[]): void {
  expect(a.length).toBe(b.length);
  a.forEach((x, i) => {
    const y = b[i] as HostArray;
    const same = Buffer.from(x.buffer, x.byteOffset, x.byteLength).equals(Buffer.from(y.buffer, y.byteOffset, y.byteLength));
    if (!same) throw new Error(`tensor ${i} of ${a.length} differs, first at ${x.findIndex((v, k) => v !== y[k])}`);
  });
}
