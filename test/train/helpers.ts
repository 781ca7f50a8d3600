import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { HostArray } from '../../lib/data/index.ts';
import { data, manualSeed, nn, PhiloxStream, type Tensor } from '../../lib/index.ts';

/** A folder that goes when the test is over. */
export function temporary(): string {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-train-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Standard normal numbers, the same for the same name. */
export function normals(name: string, size: number): Float32Array {
  const stream = new PhiloxStream(7, name);
  return Float32Array.from({ length: size }, () => {
    const u = Math.max(stream.uniform(), 1e-12);
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * stream.uniform());
  });
}

export const host = (values: Float32Array | Int32Array, ...shape: number[]): HostArray => ({
  data: values,
  shape,
  dtype: values instanceof Int32Array ? 'i32' : 'f32',
});

/** Rows from..to of a column. */
export function rows({ data, shape, dtype }: HostArray, from: number, to: number): HostArray {
  const [n, ...rest] = shape as [number, ...number[]];
  const size = data.length / n;
  return { data: data.slice(from * size, to * size) as never, shape: [to - from, ...rest], dtype };
}

/** Points around `classes` centres in `dim` dimensions: a task that a small network learns in seconds. */
export function clusters(samples: number, options: { dim?: number; classes?: number; noise?: number; name?: string } = {}) {
  const { dim = 8, classes = 3, noise = 0.7, name = 'clusters' } = options;
  const centres = normals('centres', classes * dim);
  const y = Int32Array.from({ length: samples }, (_, i) => i % classes);
  const x = normals(name, samples * dim).map(
    (v, i) => v * noise + (centres[(y[Math.floor(i / dim)] as number) * dim + (i % dim)] as number),
  );
  return new data.TensorDataset({ x: { data: x, shape: [dim] }, y: { data: y } });
}

export function mlp(sizes: readonly number[], options: { dropout?: number; seed?: number } = {}): nn.Sequential {
  manualSeed(options.seed ?? 1);
  const layers = sizes.slice(1).flatMap((out, i): nn.Layer[] => {
    const last = i === sizes.length - 2;
    const product = new nn.Linear(sizes[i] as number, out);
    if (last) return [product];
    return [product, new nn.ReLU(), ...(options.dropout ? [new nn.Dropout(options.dropout)] : [])];
  });
  return new nn.Sequential(...layers);
}

/** All values of some tensors by name, on the host. */
export async function valuesOf(state: Iterable<readonly [string, Tensor]>): Promise<Map<string, number[]>> {
  const read = [...state].map(async ([name, t]) => [name, Array.from(await t.data())] as const);
  return new Map(await Promise.all(read));
}

/** Max |a - b| over max |b|, over all tensors. */
export function distance(a: Map<string, number[]>, b: Map<string, number[]>): number {
  let [difference, scale] = [0, 1e-30];
  for (const [name, values] of b)
    values.forEach((v, i) => {
      const d = Math.abs((a.get(name)?.[i] ?? Number.NaN) - v);
      difference = Number.isNaN(d) ? Infinity : Math.max(difference, d);
      scale = Math.max(scale, Math.abs(v));
    });
  return difference / scale;
}
