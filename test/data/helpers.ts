import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TensorDataset } from '../../lib/data/dataset.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-data-'));
let files = 0;

/** Writes a file of its own and returns its path. */
export function tempFile(content: string | Uint8Array, name = 'f'): string {
  const path = join(dir, `${files++}-${name}`);
  writeFileSync(path, content);
  return path;
}

/** n samples: x [1, 6, 5] bytes that tell sample and place, y the sample's number mod 3. */
export function pictures(n: number, encoding?: { scale?: number; mean?: number[]; std?: number[] }): TensorDataset<'x' | 'y'> {
  return new TensorDataset({
    x: {
      data: Uint8Array.from({ length: n * 30 }, (_, i) => (i * 7 + Math.floor(i / 30)) % 256),
      shape: [1, 6, 5],
      ...(encoding ? { encoding } : {}),
    },
    y: { data: Int32Array.from({ length: n }, (_, i) => i % 3) },
  });
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const out: T[] = [];
  for await (const item of items) out.push(item);
  return out;
}

/** A batch as plain data, for comparison. */
export const plain = (batch: { readonly ids: Int32Array }) =>
  Object.fromEntries(Object.entries<unknown>(batch).map(([k, v]) => [k, v instanceof Int32Array ? [...v] : v]));

/** The error that fn throws or rejects with. */
export async function errorOf(fn: () => unknown): Promise<Error> {
  try {
    await fn();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
}
