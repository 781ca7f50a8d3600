import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { describe, expect, it } from 'vitest';
import { loader } from '../../lib/data/loader.ts';
import { parquet } from '../../lib/data/parquet.ts';
import { ConfigError, DataError } from '../../lib/native/errors.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { collect, errorOf } from './helpers.ts';

const golden = (name: string) => fileURLToPath(new URL(`../golden/tables/${name}`, import.meta.url));
const table = JSON.parse(readFileSync(golden('table.json'), 'utf8')) as {
  a: number[];
  b: number[];
  flag: boolean[];
  big: number[];
  half: (number | null)[];
  kind: string[];
};
const dir = mkdtempSync(join(tmpdir(), 'anneal-parquet-'));
let files = 0;
const written = (bytes: Uint8Array) => {
  const path = join(dir, `${files++}.parquet`);
  writeFileSync(path, bytes);
  return path;
};

describe('data.parquet', () => {
  // Written by pyarrow: test/golden/tables/write.py
  it.each(['plain', 'snappy', 'gzip', 'brotli', 'delta'])('reads what pyarrow wrote: %s', async (name) => {
    const told: number[] = [];
    const ds = await parquet(golden(`${name}.parquet`), {
      columns: ['a', 'big', 'flag', 'half'],
      label: 'kind',
      dtype: 'f64',
      missing: -1,
      progress: ({ rows, of }) => told.push(rows / of),
    });
    expect([ds.length, ds.names, ds.classes]).toEqual([300, ['a', 'big', 'flag', 'half'], ['cat', 'dog', 'eel']]);
    for (let i = 0; i < 300; i++) {
      const { x, y } = ds.get(i);
      expect(Array.from(x.data)).toEqual([table.a[i], table.big[i], Number(table.flag[i]), table.half[i] ?? -1]);
      expect(ds.classes?.[y.data[0] as number]).toBe(table.kind[i]);
    }
    expect(told.at(-1)).toBe(1);
    expect(told.length).toBe({ snappy: 5, gzip: 3 }[name] ?? 1);
  });

  it('of integers makes an i32 label, and trains from loader threads', async () => {
    const ds = await parquet(golden('snappy.parquet'), { columns: [0], label: 'b' });
    expect([ds.get(3).y.dtype, ds.get(3).x.dtype]).toEqual(['i32', 'f32']);
    const batches = await collect(loader(ds, { batchSize: 100 }));
    expect(batches.length).toBe(3);
  });

  it.each([
    ['a missing value', 'plain', { columns: ['half'] }, /row 5: column "half" is empty.*missing/],
    ['text among numbers', 'plain', { columns: ['kind'] }, /row 1: column "kind": "cat" is not a number/],
    ['a column that is not there', 'plain', { label: 'knid' }, /no column "knid"\. Did you mean "kind"\?/],
    ['zstd', 'zstd', { columns: ['a'] }, /zstd\.parquet: .*ZSTD/],
    ['dates', 'dates', { columns: ['when'] }, /row 1: column "when" holds a Date, which is no number/],
    ['lists', 'nested', {}, /column "x" is nested/],
  ] as const)('%s: says so', async (_, name, options, message) => {
    const error = await errorOf(() => parquet(golden(`${name}.parquet`), options as never));
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(message);
  });

  it('refuses wrong options', async () => {
    const path = golden('plain.parquet');
    await expect(parquet(path, { lable: 'b' } as never)).rejects.toThrow(/lable.*"label"/);
    await expect(parquet(path, { progress: 3 as never })).rejects.toThrow(ConfigError);
    await expect(parquet(path, { dtype: 'f16' as never })).rejects.toThrow(/data\.parquet: dtype/);
    await expect(parquet(join(dir, 'none'))).rejects.toThrow(/data\.parquet: .*no such file/);
  });

  it('a count of rows that is wrong somewhere is an error, not fewer rows', async () => {
    const rows = Array.from({ length: 40 }, (_, i) => i);
    const good = new Uint8Array(parquetWriteBuffer({ columnData: [{ name: 'x', data: rows, type: 'INT32' }] }));
    let refused = 0;
    for (const [at, byte] of good.entries()) {
      if (byte !== 0x50) continue; // 40 as Thrift writes it
      const path = written(good.with(at, 0x40));
      const got = await parquet(path, { timeoutMs: 5000 }).catch((e: unknown) => e);
      if (got instanceof Error) refused++;
      else expect((got as { length: number }).length).toBe(40);
    }
    expect(refused).toBeGreaterThan(1);
  });

  it('a damaged file is an error in words, or reads as it is: 60 files with flipped bytes or cut short', async () => {
    const random = new PhiloxStream(1, 'parquet');
    const rows = Array.from({ length: 40 }, (_, i) => i);
    const small = new Uint8Array(
      parquetWriteBuffer({
        columnData: [
          { name: 'x', data: rows, type: 'INT32' },
          { name: 'y', data: rows.map((i) => i / 3), type: 'DOUBLE' },
        ],
      }),
    );
    let refused = 0;
    for (let n = 0; n < 60; n++) {
      const bytes = small.slice(0, n % 4 === 0 ? random.below(small.length) : small.length);
      for (let k = 0; k < 1 + (n % 3) && bytes.length > 0; k++) bytes[random.below(bytes.length)] = random.below(256);
      try {
        const ds = await parquet(written(bytes), { timeoutMs: 500 });
        expect(ds.length).toBeLessThanOrEqual(40);
      } catch (error) {
        refused++;
        expect(error).toBeInstanceOf(DataError);
        expect((error as Error).message).toMatch(/^data\.parquet: .*\.parquet: /);
      }
    }
    expect(refused).toBeGreaterThan(15);
  });
});
