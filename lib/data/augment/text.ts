// Transforms of text, as functions of a loader's `transform`: every draw is keyed by (seed, epoch, sample id, place in the list).
import { ConfigError, checkFunction, checkOptions, checkText, DataError, describe } from '../../native/errors.ts';
import type { PhiloxStream } from '../../tensor/philox.ts';
import type { SampleFunction, SampleInfo } from '../options.ts';
import { checkNumber, checkP, checkWhole } from './check.ts';
import { onText, pieces, wordPlaces } from './text-words.ts';

/** Swaps two words at random, max(1, round(alpha * words)) times (Wei and Zou, "EDA", 2019). Default alpha 0.1. */
export function randomSwap(alpha = 0.1, options: { column?: string } = {}): SampleFunction {
  const where = 'augment.randomSwap';
  checkOptions(where, options, ['column']);
  checkNumber(where, 'alpha', alpha, 0, 1);
  return onText(where, options.column, (text, { rng }) => {
    const parts = pieces(text);
    const places = wordPlaces(parts);
    if (places.length < 2 || alpha === 0) return text;
    for (let n = Math.max(1, Math.round(alpha * places.length)); n > 0; n--) {
      const first = rng.below(places.length);
      const second = (first + 1 + rng.below(places.length - 1)) % places.length; // another than the first
      const [a, b] = [places[first] as number, places[second] as number];
      [parts[a], parts[b]] = [parts[b] as string, parts[a] as string];
    }
    return parts.join('');
  });
}

/** Leaves out each word with probability `p` (default 0.1); one word always stays (Wei and Zou, 2019). Throws ConfigError unless 0 <= p <= 1. */
export function randomDelete(p = 0.1, options: { column?: string } = {}): SampleFunction {
  const where = 'augment.randomDelete';
  checkOptions(where, options, ['column']);
  checkP(where, p);
  return onText(where, options.column, (text, { rng }) => {
    const parts = pieces(text);
    const places = wordPlaces(parts);
    if (places.length < 2) return text;
    const gone = new Set(places.filter(() => rng.uniform() < p));
    if (gone.size === 0) return text;
    if (gone.size === places.length) return parts[places[rng.below(places.length)] as number] as string;
    return parts
      .filter((_, i) => !gone.has(i % 2 === 0 ? i : i - 1)) // a word takes the space after it along
      .join('')
      .trim();
  });
}

/** Options of `tokenMask`. */
export interface TokenMaskOptions {
  /** The token that stands for a masked one. */
  maskToken: number;
  /** Random tokens are drawn from 0 to vocabSize - 1, without the special ones. */
  vocabSize: number;
  /** The part of the words to predict. Default 0.15. */
  p?: number;
  /** Of the tokens to predict, the part that becomes maskToken (default 0.8) and the part that becomes a random token (default 0.1); the rest stays. */
  masked?: number;
  random?: number;
  /** Tokens never chosen and never drawn, such as padding and separators; maskToken always is one. */
  special?: readonly number[];
  /** Whether a token goes on with the word before it (such as "##ing"): words are chosen whole. Default: each token is a word. */
  continues?: (token: number) => boolean;
  /** The field of tokens. Default 'x'. */
  column?: string;
  /** The field that gets the targets: the token where one is to be predicted, else `ignoreIndex`. Default 'y'. */
  target?: string;
  /** Default -100: give the loss the same. */
  ignoreIndex?: number;
}

const maskNames = 'maskToken vocabSize p masked random special continues column target ignoreIndex'.split(' ');

function settleMask(where: string, options: TokenMaskOptions) {
  if (options === undefined)
    throw new ConfigError(`${where}: options are missing, for example { maskToken: 103, vocabSize: 30522 }.`);
  checkOptions(where, options, maskNames);
  const vocabSize = checkWhole(where, 'vocabSize', options.vocabSize, 1, 2 ** 31 - 1);
  const maskToken = checkWhole(where, 'maskToken', options.maskToken, 0, 2 ** 31 - 1);
  const p = checkP(where, options.p ?? 0.15);
  const masked = checkNumber(where, 'masked', options.masked ?? 0.8, 0, 1);
  const random = checkNumber(where, 'random', options.random ?? 0.1, 0, 1);
  if (masked + random > 1 + 1e-12) throw new ConfigError(`${where}: masked + random must be <= 1, got ${masked} + ${random}.`);
  if (options.special !== undefined && !Array.isArray(options.special))
    throw new ConfigError(`${where}: special must be a list of tokens, got ${describe(options.special)}.`);
  const special = new Set([maskToken, ...(options.special ?? []).map((t) => checkWhole(where, 'special', t, 0, 2 ** 31 - 1))]);
  const ordinary = vocabSize - [...special].filter((t) => t < vocabSize).length;
  if (random > 0 && ordinary < 1) throw new ConfigError(`${where}: all ${vocabSize} tokens are special: none is left to draw.`);
  if (options.continues !== undefined)
    checkFunction(where, 'continues', options.continues, '(token) => pieces[token].startsWith("##")');
  const column = options.column === undefined ? 'x' : checkText(where, 'column', options.column);
  const target = options.target === undefined ? 'y' : checkText(where, 'target', options.target);
  const ignoreIndex = checkWhole(where, 'ignoreIndex', options.ignoreIndex ?? -100, -(2 ** 31), 2 ** 31 - 1);
  return { vocabSize, maskToken, p, masked, random, special, continues: options.continues, column, target, ignoreIndex };
}

/** Words of tokens: [first, end) of each; a special token is none and ends one. */
function wordsOf(
  tokens: ArrayLike<number>,
  special: ReadonlySet<number>,
  continues?: (token: number) => boolean,
): [number, number][] {
  const words: [number, number][] = [];
  let open = false;
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i] as number;
    if (special.has(token)) {
      open = false;
      continue;
    }
    if (open && continues?.(token)) (words[words.length - 1] as [number, number])[1] = i + 1;
    else words.push([i, i + 1]);
    open = true;
  }
  return words;
}

function tokensOf(where: string, column: string, id: number, given: unknown): Int32Array {
  const { data, shape } = Object(given) as { data?: unknown; shape?: unknown };
  const tokens = data instanceof Int32Array ? data : given;
  const whole = Array.isArray(tokens) && tokens.every((t) => Number.isInteger(t) && t >= 0 && t < 2 ** 31);
  if ((tokens instanceof Int32Array || whole) && !(Array.isArray(shape) && shape.length !== 1))
    return Int32Array.from(tokens as number[]);
  throw new DataError(
    `${where}: sample ${id}: field "${column}" must be tokens [length], as an Int32Array or a list of integers >= 0, got ${describe(given)}.`,
  );
}

/**
 * BERT's masked language modelling: each word is chosen with probability p; its tokens become maskToken (80 %), a random token (10 %) or stay (10 %), each on
 * its own. Field `column` i32 [length]; `target` i32 [length] holds what to predict. Source: Devlin et al. (2019) and the whole-word variant of its code.
 */
export function tokenMask(options: TokenMaskOptions): SampleFunction {
  const where = 'augment.tokenMask';
  const { vocabSize, maskToken, p, masked, random, special, continues, column, target, ignoreIndex } = settleMask(where, options);
  const ordinary = (rng: PhiloxStream): number => {
    for (;;) {
      const token = rng.below(vocabSize);
      if (!special.has(token)) return token;
    }
  };
  return (sample: unknown, { id, rng }: SampleInfo) => {
    const tokens = tokensOf(where, column, id, (Object(sample) as Record<string, unknown>)[column]);
    const y = new Int32Array(tokens.length).fill(ignoreIndex);
    for (const [from, end] of wordsOf(tokens, special, continues)) {
      if (rng.uniform() >= p) continue;
      for (let i = from; i < end; i++) {
        y[i] = tokens[i] as number;
        const u = rng.uniform();
        if (u < masked) tokens[i] = maskToken;
        else if (u < masked + random) tokens[i] = ordinary(rng);
      }
    }
    const array = (data: Int32Array) => ({ data, shape: [data.length], dtype: 'i32' as const });
    return { ...(sample as object), [column]: array(tokens), [target]: array(y) };
  };
}
