import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { tokenizer, trainTokenizer } from '../../lib/data/tokenizer.ts';
import { ConfigError, DataError } from '../../lib/native/errors.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { errorOf } from './helpers.ts';

const golden = (name: string) => fileURLToPath(new URL(`../golden/tokenizers/${name}`, import.meta.url));
const corpus = readFileSync(golden('corpus.txt'), 'utf8');
const encoded = JSON.parse(readFileSync(golden('encoded.json'), 'utf8')) as [string, number[]][];
const dir = mkdtempSync(join(tmpdir(), 'anneal-tokenizer-'));

describe('data.tokenizer', () => {
  // Trained and used by Hugging Face's tokenizers: test/golden/tokenizers/write.py
  it.each(encoded)('gives the tokens that Hugging Face gives: %j', async (text, ids) => {
    const t = await tokenizer(golden('bpe.json'));
    expect(Array.from(t.encode(text))).toEqual(ids);
    expect(t.decode(ids)).toBe(text);
  });

  it('knows its special tokens', async () => {
    const t = await tokenizer(golden('bpe.json'));
    expect([t.vocabSize, t.idOf('<|end|>'), t.idOf('nothing of the kind')]).toEqual([420, 1, undefined]);
    expect(t.decode(t.encode('a<|end|>b'), { skipSpecial: true })).toBe('ab');
  });

  it('a file that is damaged: an error in words', async () => {
    const good = readFileSync(golden('bpe.json'), 'utf8');
    const random = new PhiloxStream(2, 'tokenizer');
    const path = join(dir, 'damaged.json');
    for (let n = 0; n < 150; n++) {
      const bytes = Buffer.from(good);
      for (let k = 0; k <= n % 3; k++) bytes[random.below(bytes.length)] = 32 + random.below(95);
      writeFileSync(path, n % 4 === 3 ? bytes.subarray(0, random.below(bytes.length)) : bytes);
      const t = await tokenizer(path).catch((e: unknown) => e);
      if (t instanceof Error) {
        expect(t).toBeInstanceOf(DataError);
        expect(t.message).toMatch(/^data\.tokenizer: .*damaged\.json is no tokenizer\.json, or damaged/);
      }
    }
    for (const content of ['', 'null', '[]', '{}', '{"model":{}}', '{"model":{"type":"none","vocab":{}}}']) {
      writeFileSync(path, content);
      expect(await errorOf(() => tokenizer(path)), content).toBeInstanceOf(DataError);
    }
    await expect(tokenizer(golden('bpe.json'), { maxBytes: 10 })).rejects.toThrow(/more than maxBytes/);
    await expect(tokenizer(join(dir, 'none'))).rejects.toThrow(/no such file/);
  });

  it('refuses what is no text and no token', async () => {
    const t = await tokenizer(golden('bpe.json'));
    expect(() => t.encode(3 as never)).toThrow(DataError);
    expect(() => t.decode([420])).toThrow(/420 is no token; tokens are 0 to 419/);
    expect(() => t.decode('a' as never)).toThrow(DataError);
  });
});

describe('data.trainTokenizer', () => {
  it("makes Hugging Face's merges, ties included, and a file that both read", async () => {
    const model = (JSON.parse(readFileSync(golden('bpe.json'), 'utf8')) as { model: { vocab: object; merges: string[][] } })
      .model;
    const told: number[] = [];
    const t = await trainTokenizer([corpus.trimEnd()], {
      vocabSize: 420,
      special: ['<|pad|>', '<|end|>'],
      progress: (tokens, of) => told.push(tokens / of),
    });
    expect(told.at(-1)).toBe(1);
    const path = join(dir, 'trained.json');
    await t.save(path);
    const own = (JSON.parse(readFileSync(path, 'utf8')) as { model: typeof model }).model;
    expect(own.merges).toEqual(model.merges);
    expect(own.vocab).toEqual(model.vocab);
    const again = await tokenizer(path);
    for (const [text, ids] of encoded) expect(Array.from(again.encode(text))).toEqual(ids);
  });

  it('any text comes back, byte for byte', async () => {
    const t = await trainTokenizer(['low lower lowest', 'new newer'], { vocabSize: 270 });
    expect(t.vocabSize).toBeLessThanOrEqual(270);
    for (const text of ["we don ' t , do we ?", 'a . b ! c', " 's 're"]) expect(t.decode(t.encode(text))).toBe(text);
    const random = new PhiloxStream(8, 'texts');
    for (let n = 0; n < 200; n++) {
      const text = String.fromCodePoint(
        ...Array.from({ length: 1 + random.below(30) }, () => [32, 97, 0xe9, 0x4e2d, 0x1f600, 9, 10][random.below(7)] as number),
      );
      expect(t.decode(t.encode(text))).toBe(text);
    }
  });

  it('stops where no pair is frequent enough, takes streams, and refuses nonsense', async () => {
    async function* stream() {
      yield 'ab ab';
      yield 'cd';
    }
    const t = await trainTokenizer(stream(), { vocabSize: 1000 });
    expect(t.vocabSize).toBe(257); // 'ab' alone occurs twice
    await expect(trainTokenizer('text' as never, { vocabSize: 300 })).rejects.toThrow(ConfigError);
    await expect(trainTokenizer([3 as never], { vocabSize: 300 })).rejects.toThrow(/text 0 is 3/);
    await expect(trainTokenizer(['a'], { vocabSize: 255 })).rejects.toThrow(/vocabSize must be an integer from 256/);
    await expect(trainTokenizer(['a'], { vocabSize: 300, special: ['x', 'x'] })).rejects.toThrow(/stands twice/);
    await expect(trainTokenizer(['a'], { vocabsize: 300 } as never)).rejects.toThrow(/"vocabSize"/);
  });
});
