// Back-translation with a cache on disk.
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { ConfigError, checkOptions, checkText, DataError, describe } from '../../native/errors.ts';
import type { SampleFunction } from '../options.ts';
import { checkP, checkWord } from './check.ts';
import { onText } from './text-words.ts';
import type { Translator } from './translators.ts';

/** Options of `backTranslation`. */
export interface BackTranslationOptions {
  /** From the texts' language into another, and back. */
  there: Translator;
  back: Translator;
  /** A JSON file that keeps each text's translation; written whole. Without it texts are kept in memory only. */
  cache?: string;
  /** A cache file that is damaged: 'error' (default), or 'rebuild': it is renamed to FILE.damaged and a new one begun. */
  damaged?: 'error' | 'rebuild';
}

/** Texts there and back. */
export interface BackTranslation {
  /** Each text in other words, in order; `progress` is told how many are done. A text that is known is not translated again. */
  translate(texts: readonly string[], options?: { progress?: (done: number, total: number) => void }): Promise<string[]>;
  /** A loader's function: with probability `p` (default 0.5) the text in field `column` ('text') is replaced. Translate all texts first: it is slow. */
  transform(p?: number, options?: { column?: string }): SampleFunction;
}

type Table = Map<string, string>;

/** The cache file: { "anneal": "back-translation", "version": 1, "pairs": { translators: { text: text } } }. */
class CacheFile {
  #writing: Promise<void> | undefined;
  #again = false;

  constructor(
    readonly path: string,
    readonly pair: string,
    readonly others: Record<string, Record<string, string>>,
    readonly table: Table,
  ) {}

  static async open(path: string, pair: string, damaged: 'error' | 'rebuild'): Promise<CacheFile> {
    let content: string;
    try {
      content = await readFile(path, 'utf8');
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return new CacheFile(path, pair, {}, new Map());
      throw new DataError(`augment.backTranslation: the cache ${path} cannot be read (${(cause as Error).message}).`, { cause });
    }
    const pairs = parse(content);
    if (typeof pairs === 'string') {
      if (damaged === 'error')
        throw new DataError(
          `augment.backTranslation: the cache ${path} is damaged: ${pairs}. Delete it, or give { damaged: 'rebuild' } to set it aside and begin anew.`,
        );
      await rename(path, `${path}.damaged`);
      return new CacheFile(path, pair, {}, new Map());
    }
    const { [pair]: mine = {}, ...others } = pairs;
    return new CacheFile(path, pair, others, new Map(Object.entries(mine)));
  }

  /** Writes the table as it is now; calls that come while it writes share the next write. */
  save(): Promise<void> {
    this.#again = true;
    this.#writing ??= this.#loop().finally(() => {
      this.#writing = undefined;
    });
    return this.#writing;
  }

  async #loop(): Promise<void> {
    while (this.#again) {
      this.#again = false;
      const pairs = { ...this.others, [this.pair]: Object.fromEntries(this.table) };
      const next = `${this.path}.${process.pid}.next`;
      try {
        await writeFile(next, JSON.stringify({ anneal: 'back-translation', version: 1, pairs }));
        await rename(next, this.path); // whole or not at all
      } catch (cause) {
        await rm(next, { force: true });
        throw new DataError(`augment.backTranslation: the cache ${this.path} cannot be written (${(cause as Error).message}).`, {
          cause,
        });
      }
    }
  }
}

const isRecord = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && v !== null && !Array.isArray(v);

/** The pairs of a cache file, or what is wrong with it. */
function parse(content: string): Record<string, Record<string, string>> | string {
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (cause) {
    return (cause as Error).message.slice(0, 200);
  }
  if (!isRecord(value) || value.anneal !== 'back-translation') return 'it is no cache of translations';
  if (value.version !== 1) return `its version is ${describe(value.version)}, not 1`;
  if (!isRecord(value.pairs)) return 'it has no pairs';
  for (const [name, texts] of Object.entries(value.pairs)) {
    if (!isRecord(texts)) return `pair ${describe(name)} has no texts`;
    for (const [text, other] of Object.entries(texts))
      if (typeof other !== 'string') return `pair ${describe(name)}: the translation of ${describe(text)} is ${describe(other)}`;
  }
  return value.pairs as Record<string, Record<string, string>>;
}

async function through(translator: Translator, text: string): Promise<string> {
  const [out, ...more] = await translator.translate([text]);
  if (typeof out === 'string' && more.length === 0) return out;
  throw new DataError(
    `augment.backTranslation: translator "${translator.name}" gave ${describe(out)} for one text, not one text.`,
  );
}

function checkTranslator(name: string, value: unknown): Translator {
  const { name: own, translate } = Object(value) as Partial<Translator>;
  if (typeof own === 'string' && typeof translate === 'function') return value as Translator;
  throw new ConfigError(
    `augment.backTranslation: ${name} must be a translator { name, translate }, such as augment.apertium({ from: 'eng', to: 'spa' }), got ${describe(value)}.`,
  );
}

/**
 * Says a text in other words by translating it there and back (Sennrich et al., 2016). A text is translated once: the cache keeps it, under the translators' names.
 * Throws DataError for a cache that is damaged or a translator that fails.
 */
export function backTranslation(options: BackTranslationOptions): BackTranslation {
  const where = 'augment.backTranslation';
  checkOptions(where, options, ['there', 'back', 'cache', 'damaged']);
  const there = checkTranslator('there', options?.there);
  const back = checkTranslator('back', options.back);
  const path = options.cache === undefined ? undefined : checkText(where, 'cache', options.cache);
  const damaged = checkWord(where, 'damaged', options.damaged ?? 'error', ['error', 'rebuild']);
  const memory: Table = new Map();
  const underWay = new Map<string, Promise<string>>();
  let opened: Promise<CacheFile> | undefined;

  const one = (text: string, table: Table): Promise<string> => {
    const known = table.get(text);
    if (known !== undefined) return Promise.resolve(known);
    let made = underWay.get(text);
    if (!made) {
      made = through(there, text)
        .then((other) => through(back, other))
        .then((result) => {
          table.set(text, result);
          return result;
        })
        .finally(() => underWay.delete(text));
      underWay.set(text, made);
    }
    return made;
  };

  const translate: BackTranslation['translate'] = async (texts, { progress } = {}) => {
    if (!Array.isArray(texts) || texts.some((t) => typeof t !== 'string'))
      throw new DataError(`${where}: texts must be a list of strings, got ${describe(texts)}.`);
    if (path !== undefined && !opened) {
      opened = CacheFile.open(path, `${there.name} | ${back.name}`, damaged);
      opened.catch(() => {
        opened = undefined; // mended meanwhile: the next call may try again
      });
    }
    const file = await opened;
    const table = file?.table ?? memory;
    const before = table.size;
    const out: string[] = [];
    try {
      for (const text of texts) {
        out.push(await one(text, table));
        progress?.(out.length, texts.length);
        if (file && (table.size - before) % 100 === 99) await file.save(); // a long preparation that is stopped keeps most of its work
      }
    } finally {
      if (file && table.size > before) await file.save();
    }
    return out;
  };

  const transform: BackTranslation['transform'] = (p = 0.5, given = {}) => {
    checkOptions(`${where}: transform`, given, ['column']);
    checkP(`${where}: transform`, p);
    return onText(`${where}: transform`, given.column, async (text, { rng }) =>
      rng.uniform() < p ? ((await translate([text]))[0] as string) : text,
    );
  };
  return { translate, transform };
}
