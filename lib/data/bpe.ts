// Training of a byte-level BPE (Sennrich et al. 2016; Radford et al. 2019): the merges, and ties among them, of Hugging Face's BpeTrainer.
import { breathe } from './slice.ts';

/** GPT-2's words: contractions, letters, digits and other signs with the space before them, white space. */
const words = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** The character that stands for each byte: itself where it can be seen, else one from 256 on. */
export const byteCharacters: readonly string[] = (() => {
  const seen = (b: number) => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(seen(b) ? b : next++));
})();

interface Word {
  readonly count: number;
  tokens: number[];
}

/** A pair of tokens as one number; vocabularies are far below 2^26. */
const keyOf = (a: number, b: number): number => a * 2 ** 26 + b;

/** How often each pair occurs, and in which words. */
class Pairs {
  readonly counts = new Map<number, number>();
  readonly #places = new Map<number, Set<number>>();

  add(key: number, count: number, word: number): void {
    this.counts.set(key, (this.counts.get(key) ?? 0) + count);
    const at = this.#places.get(key);
    if (at) at.add(word);
    else this.#places.set(key, new Set([word]));
  }
  remove(key: number, count: number): void {
    this.counts.set(key, (this.counts.get(key) as number) - count);
  }
  /** The words that have, or had, the pair. */
  take(key: number): Iterable<number> {
    const at = this.#places.get(key) ?? [];
    this.#places.delete(key);
    this.counts.delete(key);
    return at;
  }
}

/** The most frequent pair first, of equals the one whose tokens came first. Counts grow old: whoever takes one asks for it again. */
class Heap {
  readonly #items: { key: number; count: number }[] = [];

  static #before(a: { key: number; count: number }, b: { key: number; count: number }): boolean {
    return a.count > b.count || (a.count === b.count && a.key < b.key);
  }
  push(item: { key: number; count: number }): void {
    const items = this.#items;
    let at = items.length;
    items.push(item);
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (!Heap.#before(item, items[up] as typeof item)) break;
      items[at] = items[up] as typeof item;
      at = up;
    }
    items[at] = item;
  }
  pop(): { key: number; count: number } | undefined {
    const items = this.#items;
    const top = items[0];
    const last = items.pop();
    if (!top || !last || items.length === 0) return top;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= items.length) break;
      if (down + 1 < items.length && Heap.#before(items[down + 1] as typeof last, items[down] as typeof last)) down++;
      if (!Heap.#before(items[down] as typeof last, last)) break;
      items[at] = items[down] as typeof last;
      at = down;
    }
    items[at] = last;
    return top;
  }
}

/** Replaces each `a b` of a word by `joined`, and counts the pairs that come and go. Gives the pairs whose count rose. */
function merge(
  word: Word,
  index: number,
  [a, b, joined]: readonly [number, number, number],
  pairs: Pairs,
  risen: Set<number>,
): void {
  const { tokens, count } = word;
  const out: number[] = [];
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] !== a || tokens[i + 1] !== b) {
      out.push(tokens[i] as number);
      continue;
    }
    const before = out.at(-1);
    const after = tokens[i + 2];
    if (before !== undefined) {
      if (pairs.counts.has(keyOf(before, a))) pairs.remove(keyOf(before, a), count);
      pairs.add(keyOf(before, joined), count, index);
      risen.add(keyOf(before, joined));
    }
    if (after !== undefined) {
      if (pairs.counts.has(keyOf(b, after))) pairs.remove(keyOf(b, after), count);
      pairs.add(keyOf(joined, after), count, index);
      risen.add(keyOf(joined, after));
    }
    out.push(joined);
    i++;
  }
  word.tokens = out;
}

export interface BpeVocabulary {
  readonly vocab: ReadonlyMap<string, number>;
  readonly merges: readonly (readonly [string, string])[];
}

interface Training {
  readonly vocabSize: number;
  readonly minFrequency: number;
  readonly special: readonly string[];
  readonly progress: ((tokens: number, of: number) => void) | undefined;
}

/** Merges until the vocabulary is full or no pair is frequent enough. Leaves the event loop free now and then. */
export async function trainBytePairs(texts: Iterable<string> | AsyncIterable<string>, options: Training): Promise<BpeVocabulary> {
  const { vocabSize, minFrequency, special, progress } = options;
  const tokens = [...special, ...[...byteCharacters].sort((a, b) => (a.codePointAt(0) as number) - (b.codePointAt(0) as number))];
  const ids = new Map(tokens.map((t, i) => [t, i]));
  const counts = new Map<string, number>();
  for await (const text of texts) {
    for (const [word] of text.matchAll(words)) counts.set(word, (counts.get(word) ?? 0) + 1);
    await breathe();
  }
  const encoder = new TextEncoder();
  const list: Word[] = Array.from(counts, ([word, count]) => ({
    count,
    tokens: Array.from(encoder.encode(word), (b) => ids.get(byteCharacters[b] as string) as number),
  }));
  const pairs = new Pairs();
  for (const [index, { tokens, count }] of list.entries())
    for (let i = 0; i + 1 < tokens.length; i++) pairs.add(keyOf(tokens[i] as number, tokens[i + 1] as number), count, index);
  const heap = new Heap();
  for (const [key, count] of pairs.counts) heap.push({ key, count });
  const merges: [string, string][] = [];
  while (tokens.length < vocabSize) {
    const top = heap.pop();
    if (!top) break;
    const now = pairs.counts.get(top.key) ?? 0;
    if (now !== top.count) {
      if (now > 0) heap.push({ key: top.key, count: now });
      continue;
    }
    if (top.count < minFrequency) break;
    const [a, b] = [Math.floor(top.key / 2 ** 26), top.key % 2 ** 26];
    const [left, right] = [tokens[a] as string, tokens[b] as string];
    const known = ids.get(left + right);
    const joined = known ?? tokens.push(left + right) - 1;
    ids.set(left + right, joined);
    merges.push([left, right]);
    const risen = new Set<number>();
    for (const index of pairs.take(top.key)) merge(list[index] as Word, index, [a, b, joined], pairs, risen);
    for (const key of risen) heap.push({ key, count: pairs.counts.get(key) as number });
    progress?.(tokens.length, vocabSize);
    await breathe();
  }
  return { vocab: ids, merges };
}
