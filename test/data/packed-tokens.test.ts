import { truncateSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { loader } from '../../lib/data/loader.ts';
import { type PackedTokensOptions, packedTokens } from '../../lib/data/packed-tokens.ts';
import { TextWindows } from '../../lib/data/text.ts';
import { AnnealError, ConfigError, DataError } from '../../lib/native/errors.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { collect, errorOf, plain, tempFile } from './helpers.ts';

const bytesOf = (tokens: readonly number[], width: 2 | 4, header = 0) => {
  const out = Buffer.alloc(header + tokens.length * width, 0xee);
  for (const [i, t] of tokens.entries()) out[width === 2 ? 'writeUInt16LE' : 'writeUInt32LE'](t, header + i * width);
  return out;
};
const tokens = [35_615, ...Array.from({ length: 999 }, (_, i) => (i * 37) % 60_000)]; // the first is gzip's mark

describe('data.packedTokens', () => {
  it.each([
    ['u16', 2, true],
    ['u32', 4, true],
    ['u16', 2, false],
    ['u32', 4, false],
  ] as const)('gives the batches of TextWindows over the same tokens (%s, %d bytes, random %s)', async (dtype, width, random) => {
    const packed = await packedTokens(tempFile(bytesOf(tokens, width, 12)), { block: 20, dtype, header: 12, random });
    const held = new TextWindows(Int32Array.from(tokens), { block: 20, random });
    expect([packed.length, packed.tokens]).toEqual([held.length, 1000]);
    for (const epoch of [0, 1]) {
      const run = async (set: typeof packed | typeof held) =>
        (await collect(loader(set as typeof packed, { batchSize: 8, shuffle: true, seed: 4 }).epoch(epoch))).map(plain);
      expect(await run(packed)).toEqual(await run(held));
    }
    await packed.close();
  });

  const open = (content: Uint8Array, options: Partial<PackedTokensOptions> = {}) =>
    packedTokens(tempFile(content, 'f.bin'), { block: 4, ...options });
  it('says where a file is wrong', async () => {
    const refused: [Uint8Array, Partial<PackedTokensOptions>, RegExp][] = [
      [Buffer.alloc(11), {}, /f\.bin: 11 bytes less a header of 0 are no whole number of u16/],
      [Buffer.alloc(8), { header: 9 }, /8 bytes less a header of 9/],
      [Buffer.alloc(8), {}, /4 tokens are too few for a window of 4/],
    ];
    for (const [content, options, message] of refused) {
      const error = await errorOf(() => open(content, options));
      expect(error).toBeInstanceOf(DataError);
      expect(error.message).toMatch(message);
    }
    const large = await open(bytesOf([1, 2, 3, 4, 5, 6, 99, 8, 9], 2, 2), { header: 2, vocabSize: 50, random: false });
    expect((await errorOf(() => large.get(1))).message).toMatch(/token 6 \(byte 14\) is 99; tokens are 0 to 49/);
    await large.close();
    for (const [vocabSize, fits] of [
      [70_000, false],
      [70_001, true],
    ] as const) {
      const wide = await open(bytesOf([1, 70_000, 3, 4, 5], 4), { dtype: 'u32', vocabSize, random: false });
      const got = await wide.get(0).then(
        ({ x }) => Array.from(x.data),
        () => undefined,
      );
      expect(got).toEqual(fits ? [1, 70_000, 3, 4] : undefined);
      await wide.close();
    }
    const path = tempFile(bytesOf(tokens, 2), 'f.bin');
    const cut = await packedTokens(path, { block: 4, random: false });
    truncateSync(path, 101);
    expect((await errorOf(() => cut.get(12))).message).toMatch(/the file ends at byte 101/);
    expect((await errorOf(() => cut.get(249 + 1))).message).toMatch(/window 250 does not exist/);
    await cut.close();
  });

  it('refuses wrong options', async () => {
    const content = bytesOf(tokens, 2);
    for (const wrong of [
      { block: 0 },
      { dtype: 'i32' },
      { header: -1 },
      { samples: 0 },
      { random: 1 },
      { vocabSize: 0 },
      { blok: 3 },
    ])
      expect(await errorOf(() => open(content, wrong as never))).toBeInstanceOf(ConfigError);
  });

  it('survives files of any bytes and length', async () => {
    const rng = new PhiloxStream(3, 'fuzz/packed');
    for (let round = 0; round < 200; round++) {
      const content = Uint8Array.from({ length: rng.below(60) }, () => rng.below(256));
      try {
        const set = await open(content, { dtype: round % 2 ? 'u16' : 'u32', header: rng.below(8) });
        for (let i = 0; i < set.length; i++)
          await set.get(i, { seed: round, epoch: 0 }).catch((e) => expect(e).toBeInstanceOf(DataError));
        await set.close();
      } catch (error) {
        expect(error).toBeInstanceOf(AnnealError);
      }
    }
  });
});
