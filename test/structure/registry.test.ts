/** The ops that TypeScript declares and the native table are the same set. */
import { existsSync, readdirSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { declaredOps, native } from '../../lib/native/run.ts';

// Every room that declares native ops.
const rooms = ['ops', 'optim', 'train', 'precision', 'nn', 'distributed'];
for (const room of rooms) {
  const folder = new URL(`../../lib/${room}/`, import.meta.url);
  if (!existsSync(folder)) continue; // a room that is planned
  for (const file of readdirSync(folder).filter((f) => f.endsWith('.ts')))
    await import(/* @vite-ignore */ new URL(file, folder).href);
}

describe('the op table', () => {
  const table = native().info().ops;
  const names = table.map((op) => op.name);

  test('has every op that TypeScript declares', () => {
    expect(declaredOps().filter((name) => !names.includes(name))).toEqual([]);
  });

  test('has none that TypeScript does not know', () => {
    const declared = new Set(declaredOps());
    expect(names.filter((name) => !declared.has(name))).toEqual([]);
  });

  test('names each op once, with a kind', () => {
    expect(new Set(names).size).toBe(names.length);
    expect(table.filter((op) => !op.kind)).toEqual([]);
  });

  test('has a kernel for the CPU in every row', () => {
    expect(table.filter((op) => !op.cpu).map((op) => op.name)).toEqual([]);
  });
});
