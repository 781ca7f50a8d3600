import { readFile, rename, writeFile } from 'node:fs/promises';
import type { Tokenizer as Library } from '@huggingface/tokenizers';
import { AnnealError, ConfigError, checkList, checkOptions, checkText, DataError, describe } from '../native/errors.ts';
import { trainBytePairs } from './bpe.ts';
import { checkBytes, inspectFile } from './files.ts';
import { checkInteger } from './options.ts';
import { importPackage } from './packages.ts';

const packageName = '@huggingface/tokenizers';

/** Text to tokens and back. */
export class Tokenizer {
  readonly #library: Library;
  readonly #json: object;
  /** Tokens, special ones included. */
  readonly vocabSize: number;

  /** Use `data.tokenizer` or `data.trainTokenizer`. */
  constructor(library: Library, json: object) {
    this.#library = library;
    this.#json = json;
    this.vocabSize = library.get_vocab(true).size;
  }

  /** The tokens of a text, i32 [length]. `special`: with those that the tokenizer puts around a text, if it has such. Default false. */
  encode(text: string, options: { special?: boolean } = {}): Int32Array {
    checkOptions('Tokenizer.encode', options, ['special']);
    if (typeof text !== 'string') throw new DataError(`Tokenizer.encode: expected a string, got ${describe(text)}.`);
    return Int32Array.from(this.#library.encode(text, { add_special_tokens: options.special === true }).ids);
  }

  /** The text of tokens. `skipSpecial`: without the special ones. Default false. */
  decode(tokens: ArrayLike<number>, options: { skipSpecial?: boolean } = {}): string {
    checkOptions('Tokenizer.decode', options, ['skipSpecial']);
    const ids = Array.from(checkIds(tokens));
    const bad = ids.find((id) => !Number.isInteger(id) || this.#library.id_to_token(id) === undefined);
    if (bad !== undefined)
      throw new DataError(`Tokenizer.decode: ${describe(bad)} is no token; tokens are 0 to ${this.vocabSize - 1}.`);
    if (ids.length === 0) return '';
    return this.#library.decode(ids, { skip_special_tokens: options.skipSpecial === true, clean_up_tokenization_spaces: false });
  }

  /** The number of a token, such as a special one; undefined if there is none. */
  idOf(token: string): number | undefined {
    return this.#library.token_to_id(checkText('Tokenizer.idOf', 'the token', token));
  }

  /** Writes a tokenizer.json, whole or not at all, as Hugging Face's libraries read it. */
  async save(path: string): Promise<void> {
    checkText('Tokenizer.save', 'the path', path);
    const next = `${path}.${process.pid}.next`;
    try {
      await writeFile(next, `${JSON.stringify(this.#json, null, 1)}\n`);
      await rename(next, path);
    } catch (cause) {
      throw new DataError(`Tokenizer.save: ${path} cannot be written (${(cause as Error).message}).`, { cause });
    }
  }
}

function checkIds(tokens: unknown): ArrayLike<number> {
  if (Array.isArray(tokens) || (ArrayBuffer.isView(tokens) && 'length' in tokens)) return tokens as ArrayLike<number>;
  throw new DataError(`Tokenizer.decode: expected a list of tokens, got ${describe(tokens)}.`);
}

async function made(where: string, json: object): Promise<Tokenizer> {
  const library = await importPackage<{ Tokenizer: typeof Library }>(where, packageName);
  return new Tokenizer(new library.Tokenizer(json, {}), json);
}

/**
 * Loads a tokenizer.json (BPE, WordPiece, Unigram) by the package @huggingface/tokenizers. Throws DataError naming a file that is damaged or of another kind, or the package
 * where it is missing.
 */
export async function tokenizer(path: string | URL, options: { maxBytes?: number } = {}): Promise<Tokenizer> {
  const where = 'data.tokenizer';
  checkOptions(where, options, ['maxBytes']);
  const maxBytes = checkBytes(where, options.maxBytes ?? 2 ** 28);
  const file = await inspectFile(where, path);
  if (file.bytes > maxBytes)
    throw new DataError(`${where}: ${file.path} has ${file.bytes} bytes, more than maxBytes (${maxBytes}).`);
  const damaged = (why: string, cause?: unknown) =>
    new DataError(`${where}: ${file.path} is no tokenizer.json, or damaged: ${why}. Save it again.`, { cause });
  let json: { model?: { vocab?: unknown } };
  try {
    json = JSON.parse(await readFile(file.path, 'utf8'));
  } catch (cause) {
    throw damaged((cause as Error).message, cause);
  }
  if (typeof json !== 'object' || json === null || typeof json.model?.vocab !== 'object')
    throw damaged('it has no model with a vocabulary');
  try {
    const loaded = await made(where, json);
    loaded.encode('A test of 1 text.'); // what is wrong inside shows when it is used
    return loaded;
  } catch (cause) {
    if (cause instanceof AnnealError) throw cause;
    throw damaged((cause as Error).message, cause);
  }
}

/** Options of `trainTokenizer`. */
export interface TrainTokenizerOptions {
  /** Tokens at most: special ones, 256 bytes, and one for each merge. */
  vocabSize: number;
  /** Tokens of their own, numbered from 0 on, such as ['<|end|>']. Default: none. */
  special?: readonly string[];
  /** A pair that is rarer is not merged. Default 2. */
  minFrequency?: number;
  /** Told after each merge how many tokens of how many there are. */
  progress?: (tokens: number, of: number) => void;
}

/**
 * Trains a byte-level BPE, as GPT-2's: any text has tokens, and the tokens give the same text back. The same texts give the same tokenizer, and the one that Hugging Face's
 * BpeTrainer gives. Throws ConfigError for options, DataError where the package @huggingface/tokenizers is missing.
 */
export async function trainTokenizer(
  texts: Iterable<string> | AsyncIterable<string>,
  options: TrainTokenizerOptions,
): Promise<Tokenizer> {
  const where = 'data.trainTokenizer';
  checkOptions(where, options, ['vocabSize', 'special', 'minFrequency', 'progress']);
  const given = Object(texts) as object;
  if (typeof texts === 'string' || !(Symbol.iterator in given || Symbol.asyncIterator in given))
    throw new ConfigError(`${where}: texts must be a list or stream of strings, got ${describe(texts)}.`);
  const special = options?.special === undefined ? [] : checkList(where, 'special', options.special);
  for (const token of special) checkText(where, 'a special token', token);
  if (new Set(special).size < special.length)
    throw new ConfigError(`${where}: a special token stands twice in ${describe(special)}.`);
  const vocabSize = checkInteger(where, 'vocabSize', options?.vocabSize, 256 + special.length, 2 ** 24);
  const minFrequency = checkInteger(where, 'minFrequency', options.minFrequency ?? 2, 1);
  const { progress } = options;
  if (progress !== undefined && typeof progress !== 'function')
    throw new ConfigError(`${where}: progress must be a function, got ${describe(progress)}.`);
  const { vocab, merges } = await trainBytePairs(strings(where, texts), { vocabSize, minFrequency, special, progress });
  return made(where, fileOf(special, vocab, merges));
}

async function* strings(where: string, texts: Iterable<string> | AsyncIterable<string>): AsyncGenerator<string> {
  let n = 0;
  for await (const text of texts) {
    if (typeof text !== 'string') throw new DataError(`${where}: text ${n} is ${describe(text)}, not a string.`);
    n++;
    yield text;
  }
}

/** What a tokenizer.json holds. */
function fileOf(
  special: readonly string[],
  vocab: ReadonlyMap<string, number>,
  merges: readonly (readonly [string, string])[],
): object {
  const bytes = { type: 'ByteLevel', trim_offsets: true, use_regex: true };
  const token = (content: string, id: number) => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: special.map(token),
    normalizer: null,
    pre_tokenizer: { ...bytes, add_prefix_space: false },
    post_processor: null,
    decoder: { ...bytes, add_prefix_space: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocab),
      merges,
    },
  };
}
