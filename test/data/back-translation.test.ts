import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { backTranslation } from '../../lib/data/augment/text-translate.ts';
import { apertium, transformersJs } from '../../lib/data/augment/translators.ts';
import { loader } from '../../lib/data/loader.ts';
import { ConfigError, DataError } from '../../lib/native/errors.ts';
import { errorOf } from './helpers.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-translate-'));
let files = 0;

/** A stand-in for Apertium: there it sets words in brackets, back it takes them out and says "fast" for "quick". */
function standIn(body?: string): string {
  const path = join(dir, `apertium-${files++}`);
  const usual = `[ "$1" = -u ] || exit 9
case "$2" in
  eng-spa) sed 's/.*/[&]/' "$3";;
  spa-eng) sed 's/^.//; s/.$//; s/quick/fast/' "$3";;
  *) echo "Error: Mode $2 does not exist. Try one of: eng-spa" >&2; exit 1;;
esac`;
  writeFileSync(path, `#!/bin/sh\n${body ?? usual}\n`);
  chmodSync(path, 0o755);
  return path;
}

const pair = (command: string) => ({
  there: apertium({ from: 'eng', to: 'spa', command }),
  back: apertium({ from: 'spa', to: 'eng', command }),
});

describe('through a stand-in program', () => {
  it('goes there and back, empty lines and all', async () => {
    expect(await pair(standIn()).there.translate(['a quick fox', ' ', 'ñ'])).toEqual(['[a quick fox]', ' ', '[ñ]']);
    expect(await backTranslation(pair(standIn())).translate(['a quick fox', 'b'])).toEqual(['a fast fox', 'b']);
  });

  it('says what is missing', async () => {
    const none = await errorOf(() => apertium({ from: 'eng', to: 'spa', command: join(dir, 'none') }).translate(['a']));
    expect(none).toBeInstanceOf(DataError);
    expect(none.message).toMatch(/is not there\. Install.*apertium apertium-eng-spa/);
    const mode = await errorOf(() => apertium({ from: 'eng', to: 'xyz', command: standIn() }).translate(['a']));
    expect(mode.message).toMatch(/no mode eng-xyz.*package apertium-eng-xyz/);
    const slow = apertium({ from: 'eng', to: 'spa', command: standIn('exec sleep 20'), timeoutMs: 100 });
    expect((await errorOf(() => slow.translate(['a']))).message).toMatch(/timeoutMs \(100\)/);
    const silent = apertium({ from: 'eng', to: 'spa', command: standIn('exit 0') });
    expect((await errorOf(() => silent.translate(['a']))).message).toMatch(/it said nothing/);
    expect(() => apertium({ from: '-rf', to: 'spa' })).toThrow(DataError);
    expect(() => apertium({ form: 'eng', to: 'spa' } as never)).toThrow(/should be "from"/);
  });
});

describe('the cache', () => {
  const counted = () => {
    const calls: string[] = [];
    const translator = (name: string) => ({
      name,
      translate: async (texts: readonly string[]) => {
        calls.push(...texts);
        return texts.map((t) => `${t}!`);
      },
    });
    return { calls, there: translator('there'), back: translator('back') };
  };

  it('translates a text once, in this process and the next', async () => {
    const cache = join(dir, 'cache.json');
    const { calls, ...both } = counted();
    const first = backTranslation({ ...both, cache });
    const done: string[] = [];
    const [a, b] = await Promise.all([
      first.translate(['x', 'y', 'x', '__proto__'], { progress: (n, of) => done.push(`${n}/${of}`) }),
      first.translate(['y']),
    ]);
    expect([a, b]).toEqual([['x!!', 'y!!', 'x!!', '__proto__!!'], ['y!!']]);
    expect(calls.sort()).toEqual(['__proto__', '__proto__!', 'x', 'x!', 'y', 'y!']);
    expect(done).toEqual(['1/4', '2/4', '3/4', '4/4']);
    const again = counted();
    expect(await backTranslation({ there: again.there, back: again.back, cache }).translate(['y', '__proto__'])).toEqual([
      'y!!',
      '__proto__!!',
    ]);
    expect(again.calls).toEqual([]);
    const other = counted();
    await backTranslation({ there: { ...other.there, name: 'another' }, back: other.back, cache }).translate(['y']);
    expect(other.calls).toEqual(['y', 'y!']);
    expect(Object.keys(JSON.parse(readFileSync(cache, 'utf8')).pairs).sort()).toEqual(['another | back', 'there | back']);
    expect(readdirSync(dir).filter((f) => f.endsWith('.next'))).toEqual([]);
  });

  it.each([
    '',
    '{',
    '[]',
    '{"anneal":"back-translation","version":2,"pairs":{}}',
    '{"anneal":"back-translation","version":1,"pairs":{"a":{"b":1}}}',
  ])('that is damaged (%j) is told, or set aside', async (content) => {
    const cache = join(dir, `damaged-${files++}.json`);
    writeFileSync(cache, content);
    const { calls, ...both } = counted();
    const bad = await errorOf(() => backTranslation({ ...both, cache }).translate(['x']));
    expect(bad).toBeInstanceOf(DataError);
    expect(bad.message).toMatch(/is damaged: .*rebuild/);
    expect(readFileSync(cache, 'utf8')).toBe(content);
    expect(await backTranslation({ ...both, cache, damaged: 'rebuild' }).translate(['x'])).toEqual(['x!!']);
    expect(readFileSync(`${cache}.damaged`, 'utf8')).toBe(content);
    expect(calls).toEqual(['x', 'x!']);
  });

  it('keeps what was done before a translator failed', async () => {
    const cache = join(dir, 'failed.json');
    const { calls, there, back } = counted();
    const failing = { ...there, translate: async (t: readonly string[]) => (t[0] === 'bad' ? [] : there.translate(t)) };
    const bt = backTranslation({ there: failing, back, cache });
    expect((await errorOf(() => bt.translate(['x', 'bad']))).message).toMatch(/translator "there" gave undefined/);
    expect(existsSync(cache)).toBe(true);
    calls.length = 0;
    expect(await backTranslation({ there, back, cache }).translate(['x'])).toEqual(['x!!']);
    expect(calls).toEqual([]);
  });

  it('replaces texts of a loader with probability p', async () => {
    const { there, back } = counted();
    const bt = backTranslation({ there, back });
    const set = { length: 400, get: (i: number) => ({ text: `t${i}`, x: i }) };
    let changed = 0;
    const count = (s: { text: string; x: number }) => {
      changed += Number(s.text.endsWith('!!'));
      return { x: s.x };
    };
    for await (const _ of loader(set, { batchSize: 50, transform: [bt.transform(0.3), count] })) void _;
    expect(Math.abs(changed / 400 - 0.3)).toBeLessThan(0.092); // 4 sigma
    expect(() => bt.transform(3)).toThrow(ConfigError);
    expect(() => backTranslation({ there } as never)).toThrow(/back must be a translator/);
  });
});

describe('transformers.js', () => {
  it('hands texts and options to the pipeline, made once', async () => {
    let made = 0;
    const pipeline = async (model: string) => {
      made++;
      return async (texts: string[], o: Record<string, unknown>) =>
        texts.map((t) => ({ translation_text: `${model} ${o.tgt_lang} ${t}` }));
    };
    const t = transformersJs({ model: 'm', call: { tgt_lang: 'es' }, pipeline });
    expect([await t.translate(['a', 'b']), await t.translate(['c']), made]).toEqual([['m es a', 'm es b'], ['m es c'], 1]);
    const wrong = transformersJs({ model: 'm', pipeline: async () => async () => [{ text: 'a' }] });
    expect((await errorOf(() => wrong.translate(['a']))).message).toMatch(/not \{ translation_text \}/);
  });

  // The project itself does not install it.
  it('names the package where it is missing', async () => {
    const error = await errorOf(() => transformersJs({ model: 'm' }).translate(['a']));
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(/npm install @huggingface\/transformers/);
  });
});

const installed = (spawnSync('apertium', ['-l'], { encoding: 'utf8' }).stdout ?? '').includes('eng-spa');
it.skipIf(!installed)(
  'real Apertium, English to Spanish and back (needs the packages apertium and apertium-eng-spa)',
  async () => {
    const bt = backTranslation(pair('apertium'));
    const texts = ['The house is big.', 'My brother lives in a small town near the sea.'];
    const out = await bt.translate(texts);
    expect(out[0]).toMatch(/house/);
    expect(out.every((t) => t.length > 10 && !/[*@#]/.test(t))).toBe(true);
  },
);
