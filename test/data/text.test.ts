import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { loader } from '../../lib/data/loader.ts';
import { charTokens, TextWindows, text } from '../../lib/data/text.ts';
import { ConfigError, DataError } from '../../lib/native/errors.ts';
import { collect, errorOf, plain, tempFile } from './helpers.ts';

describe('data.text and data.charTokens', () => {
  it('reads UTF-8, plain and gzip', async () => {
    const long = 'héllo €😀\n'.repeat(20_000); // characters cut by the pieces
    for (const content of [long, gzipSync(long), `\ufeff${long}`]) expect(await text(tempFile(content))).toBe(long);
  });

  it('refuses other bytes and files beyond the limit', async () => {
    const bad = await errorOf(() => text(tempFile(Uint8Array.of(65, 0xc3))));
    expect(bad).toBeInstanceOf(DataError);
    expect(bad.message).toMatch(/not UTF-8/);
    expect((await errorOf(() => text(tempFile(gzipSync('a'.repeat(5000))), { maxBytes: 1000 }))).message).toMatch(
      /more than 1000 bytes/,
    );
  });

  it('encodes by code point and back', () => {
    const { tokens, vocabulary, encode, decode } = charTokens('b😀ab');
    expect(vocabulary).toEqual(['a', 'b', '😀']);
    expect([...tokens]).toEqual([1, 2, 0, 1]);
    expect(tokens.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(decode(tokens)).toBe('b😀ab');
    expect([...encode('ba')]).toEqual([1, 0]);
    expect(() => encode('abc')).toThrow(/character 2 is "c"/);
    expect(() => decode([3])).toThrow(/token 0 is 3; tokens are 0 to 2/);
    expect(() => charTokens(7 as unknown as string)).toThrow(DataError);
  });
});

describe('TextWindows', () => {
  const tokens = Int32Array.from({ length: 101 }, (_, i) => i);

  it('gives y one token after x, at random places that differ by epoch and not by workers', async () => {
    const ds = new TextWindows(tokens, { block: 10, samples: 50 });
    const seen = new Set<number>();
    for (const epoch of [0, 1]) {
      const runs = [];
      for (const workers of [0, 1]) runs.push(await collect(loader(ds, { batchSize: 8, workers, seed: 3 }).epoch(epoch)));
      expect(runs[0]?.map(plain)).toEqual(runs[1]?.map(plain));
      for (const { x, y, ids } of runs[0] ?? []) {
        expect(x.shape).toEqual([ids.length, 10]);
        expect([...y.data]).toEqual(Array.from(x.data, (v) => v + 1));
        for (let k = 0; k < ids.length; k++) {
          seen.add(x.data[k * 10] as number);
          expect(ds.get(ids[k] as number, { seed: 3, epoch }).x.data).toEqual(x.data.slice(k * 10, k * 10 + 10));
        }
      }
    }
    expect(seen.size).toBeGreaterThan(40);
    expect(Math.max(...seen)).toBeLessThanOrEqual(90);
  });

  it('covers the text side by side when not random', async () => {
    const [batch] = await collect(loader(new TextWindows(tokens, { block: 25, random: false }), { batchSize: 9 }));
    expect(Array.from(batch?.x.data ?? [])).toEqual(Array.from({ length: 100 }, (_, i) => i));
  });

  it('refuses what does not fit', () => {
    expect(() => new TextWindows(tokens, { block: 101 })).toThrow(/101 tokens are too few/);
    expect(() => new TextWindows(tokens, { block: 0 })).toThrow(ConfigError);
    expect(() => new TextWindows([1, 2] as unknown as Int32Array, { block: 1 })).toThrow(DataError);
    expect(() => new TextWindows(tokens, { block: 10, samples: 11, random: false })).toThrow(ConfigError);
    expect(() => new TextWindows(tokens, { blok: 10 } as never)).toThrow(/should be "block"/);
    expect(() => new TextWindows(tokens, { block: 10 }).get(10)).toThrow(/window 10 does not exist/);
  });
});
