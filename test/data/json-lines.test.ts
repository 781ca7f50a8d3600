import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type JsonLinesOptions, jsonLines } from '../../lib/data/json-lines.ts';
import { AnnealError, ConfigError, DataError } from '../../lib/native/errors.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { errorOf, tempFile } from './helpers.ts';

const all = async <S>(content: string | Uint8Array, options?: JsonLinesOptions<S>) => {
  const { dataset, skipped } = await jsonLines<S>(tempFile(content, 'f.jsonl'), options);
  return { rows: await Promise.all(Array.from({ length: dataset.length }, (_, i) => dataset.get(i))), skipped };
};

describe('data.jsonLines', () => {
  it('reads lines, blank ones, CRLF and gzip, in many pieces', async () => {
    expect((await all('{"a":1}\r\n\n"é"\n[2]')).rows).toEqual([{ a: 1 }, 'é', [2]]);
    const rows = Array.from({ length: 20_000 }, (_, i) => ({ i, text: `€${i}` }));
    const content = rows.map((r) => JSON.stringify(r)).join('\n');
    const seen: number[] = [];
    expect((await all(content, { progress: ({ bytes }) => seen.push(bytes) })).rows).toEqual(rows);
    expect([seen.length > 3, seen[seen.length - 1]]).toEqual([true, Buffer.byteLength(content)]);
    expect((await all(gzipSync(content))).rows.length).toBe(20_000);
  });

  const bad = '{"n":1}\n{"n":\n{"n":3}\n';
  it('throws, skips or replaces a bad line', async () => {
    const error = await errorOf(() => all(bad));
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(/f\.jsonl: line 2 is not JSON/);
    expect(await all(bad, { badLines: 'skip' })).toEqual({ rows: [{ n: 1 }, { n: 3 }], skipped: 1 });
    const other = await all<unknown>(bad, { badLines: ({ line, text }) => (line === 2 ? text : undefined) });
    expect(other).toEqual({ rows: [{ n: 1 }, '{"n":', { n: 3 }], skipped: 0 });
    const map = (v: unknown, line: number) => {
      if (line === 3) throw new Error('too large');
      return v;
    };
    expect((await errorOf(() => all('1\n2\n3\n', { map }))).message).toMatch(/line 3 is refused by map \(too large\)/);
  });

  it('refuses other bytes, long lines, empty files, damaged gzip', async () => {
    expect((await errorOf(() => all(Uint8Array.of(49, 10, 34, 0xff, 34)))).message).toMatch(/line 2 is not UTF-8/);
    expect((await errorOf(() => all(`1\n"${'a'.repeat(200)}"`, { maxLine: 100 }))).message).toMatch(
      /line 2 is longer than 100 bytes/,
    );
    expect((await errorOf(() => all('\n'))).message).toMatch(/no samples/);
    const cut = await errorOf(() => all(gzipSync('1\n'.repeat(5000)).subarray(0, 30), { badLines: 'skip' }));
    expect(cut.message).toMatch(/gzip data is damaged/);
    expect(await errorOf(() => all('1', { badLines: 'ignore' as never }))).toBeInstanceOf(ConfigError);
    expect((await errorOf(() => all('1', { badlines: 'skip' } as never))).message).toMatch(/should be "badLines"/);
  });

  it('survives 400 seeded mutations', async () => {
    const rng = new PhiloxStream(5, 'fuzz/jsonl');
    const source = Buffer.from('{"a":[1,2.5e3,"x\\n"],"b":{"c":null}}\n"é€"\n[true,false]\n');
    for (let round = 0; round < 400; round++) {
      const bytes = Buffer.from(source);
      for (let k = rng.below(4); k >= 0; k--) bytes[rng.below(bytes.length)] = rng.below(256);
      try {
        expect((await all(bytes)).rows.length).toBeLessThan(8);
      } catch (error) {
        expect(error).toBeInstanceOf(AnnealError);
        expect((error as Error).message).toMatch(/line \d+|gzip|no samples/);
      }
    }
  });
});
