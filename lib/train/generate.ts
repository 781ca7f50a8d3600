import { checkInteger } from '../data/options.ts';
import { ConfigError, checkFunction, checkOptions, checkSignal, DataError, describe } from '../native/errors.ts';
import { KVCache } from '../nn/kv-cache.ts';
import { Module } from '../nn/module.ts';
import { narrow } from '../ops/index.ts';
import { bind, checkPrecision, nextDraw, type Precision } from '../tensor/context.ts';
import { tensor } from '../tensor/create.ts';
import { type Device, defaultDevice } from '../tensor/device.ts';
import { PhiloxStream } from '../tensor/philox.ts';
import { scope } from '../tensor/scope.ts';
import { show } from '../tensor/shape.ts';
import { Tensor } from '../tensor/tensor.ts';
import { rememberModes } from './modes.ts';
import { checkSampling, type SamplingOptions, sampleToken } from './sampling.ts';

/** A decoder: tokens i32 [B, T] to logits [B, T, vocabulary]. It passes the cache on to its attention layers; positions begin at `cache.length`. */
export interface Decoder {
  forward(tokens: Tensor, cache?: KVCache): Tensor;
}

export interface GenerateOptions extends SamplingOptions {
  /** Tokens to add to each prompt at most. Default 100. */
  maxNewTokens?: number;
  /** Ends a row: a token, tokens or sequences of tokens after any of which it ends, or a function of the row so far. What ends it stays in. */
  stop?: number | readonly (number | readonly number[])[] | ((tokens: readonly number[]) => boolean);
  /**
   * The most tokens that the model can see. Beyond it only the last ones are given, from position 0 on, so that each token takes a pass over all of
   * them. Default: no limit.
   */
  contextLength?: number;
  /** What the draws are keyed by, with row and position. Default: the next draw of the global seed. */
  seed?: number;
  /** Dtype of matrix products. Default 'f32'. */
  precision?: Precision;
  /** Sees each new token as it comes; the row counts from 0. What it throws ends the generation. */
  onToken?: (token: number, row: number) => void;
  /** Ends the generation by throwing its reason. */
  signal?: AbortSignal;
}

type Prompt = readonly number[] | Int32Array | Uint16Array | Uint32Array;
type Stop = (tokens: readonly number[]) => boolean;

const known = ['temperature', 'topK', 'topP', 'maxNewTokens', 'stop', 'contextLength', 'seed', 'precision', 'onToken', 'signal'];

function endsWith(tokens: readonly number[], end: readonly number[]): boolean {
  const from = tokens.length - end.length;
  return from >= 0 && end.every((token, i) => tokens[from + i] === token);
}

function stopOf(stop: GenerateOptions['stop']): Stop {
  if (stop === undefined) return () => false;
  if (typeof stop === 'function') return stop;
  const given: readonly unknown[] = Array.isArray(stop) ? stop : [stop];
  const ends = given.map((end) => (typeof end === 'number' ? [end] : end)) as number[][];
  if (ends.some((end) => !Array.isArray(end) || end.length === 0 || !end.every((t) => Number.isSafeInteger(t) && t >= 0)))
    throw new ConfigError(
      `generate: stop must be a token, a list of tokens or of lists of tokens, or a function of the tokens, got ${describe(stop)}`,
    );
  return (tokens) => ends.some((end) => endsWith(tokens, end));
}

/** The prompts as rows of one length. */
function rowsOf(prompt: unknown): number[][] {
  const single = ArrayBuffer.isView(prompt) || (Array.isArray(prompt) && typeof prompt[0] === 'number');
  const given: unknown[] = single ? [prompt] : Array.isArray(prompt) ? prompt : [];
  const rows = given.map((row) => (Array.isArray(row) || ArrayBuffer.isView(row) ? [...(row as unknown as number[])] : []));
  const [first] = rows;
  if (!first?.length)
    throw new DataError(
      'generate: the prompt must hold at least one token, for example [text.encode("A")], or the token that begins a text.',
    );
  for (const row of rows) {
    if (row.length !== first.length)
      throw new DataError(
        `generate: prompts of one batch must be of one length, got ${first.length} and ${row.length} tokens. Call it once for each length.`,
      );
    const wrong = row.find((t) => !(Number.isSafeInteger(t) && t >= 0 && t < 2 ** 31));
    if (wrong !== undefined) throw new DataError(`generate: tokens must be whole numbers from 0, got ${describe(wrong)}`);
  }
  return rows;
}

/** One forward pass: the logits of each row's last position, on their way to the host. */
function queueLogits(
  model: Decoder,
  tokens: readonly number[][],
  cache: KVCache,
  on: Device,
): { read: Promise<Float32Array>; vocabulary: number } {
  const shape = [tokens.length, (tokens[0] as number[]).length];
  const given: unknown = model.forward(tensor(Int32Array.from(tokens.flat()), { shape, device: on }), cache);
  if (!(given instanceof Tensor) || given.ndim !== 3 || given.shape[0] !== shape[0] || given.shape[1] !== shape[1])
    throw new DataError(
      `generate: the model must give logits [batch, time, vocabulary] for tokens ${show(shape)}, got ${given instanceof Tensor ? show(given.shape) : describe(given)}`,
    );
  const last = narrow(given, 1, (shape[1] as number) - 1, 1);
  return { read: last.to('f32').data() as Promise<Float32Array>, vocabulary: given.shape[2] as number };
}

/** What the model is to see next: what its cache lacks, or, once the window slides, all of the window again. */
function nextTokens(rows: readonly number[][], cache: KVCache, contextLength: number): number[][] {
  const length = (rows[0] as number[]).length;
  if (length > contextLength) cache.reset();
  const from = length > contextLength ? length - contextLength : cache.used ? cache.length : 0;
  return rows.map((row) => row.slice(from));
}

function check(model: Module & Decoder, o: GenerateOptions): void {
  if (!(model instanceof Module)) throw new ConfigError(`generate: expected a Module, got ${describe(model)}.`);
  checkOptions('generate', o, known);
  checkSampling('generate', o);
  stopOf(o.stop);
  if (o.maxNewTokens !== undefined) checkInteger('generate', 'maxNewTokens', o.maxNewTokens, 0);
  if (o.contextLength !== undefined) checkInteger('generate', 'contextLength', o.contextLength, 1);
  if (o.seed !== undefined) checkInteger('generate', 'seed', o.seed, 0);
  if (o.onToken !== undefined)
    checkFunction('generate', 'onToken', o.onToken, '(token) => process.stdout.write(text.decode([token]))');
  checkPrecision('generate', o.precision);
  checkSignal('generate', o.signal);
}

/** Adds tokens to `rows`, in place, until all have ended. */
async function extend(model: Module & Decoder, rows: number[][], cache: KVCache, on: Device, o: GenerateOptions): Promise<void> {
  const { maxNewTokens = 100, contextLength = Number.POSITIVE_INFINITY, precision = 'f32' } = o;
  const stop = stopOf(o.stop);
  const [low, high, stream, attempt] = nextDraw('generate').attributes as [number, number, number, number];
  const seed = o.seed ?? (BigInt(high) << 32n) | BigInt(low);
  const random = new PhiloxStream(seed, stream, o.seed === undefined ? attempt : 0);
  const ended = rows.map(() => false);
  const fed = rows.map((row) => [...row]);
  for (let step = 0; step < maxNewTokens && ended.includes(false); step++) {
    o.signal?.throwIfAborted();
    const position = (fed[0] as number[]).length;
    const { read, vocabulary } = bind({ grad: false, precision }, () =>
      scope(() => queueLogits(model, nextTokens(fed, cache, contextLength), cache, on)),
    );
    cache.advance();
    const logits = await read;
    rows.forEach((row, r) => {
      const uniform = (random.wordAt(position * 2 ** 20 + r) >>> 0) / 2 ** 32;
      // An ended row goes on beside the others, and nobody sees what it says.
      const token = ended[r] ? 0 : sampleToken(logits.subarray(r * vocabulary, (r + 1) * vocabulary), o, uniform);
      (fed[r] as number[]).push(token);
      if (ended[r]) return;
      row.push(token);
      o.onToken?.(token, r);
      ended[r] = stop(row);
    });
  }
}

/**
 * Lets a decoder speak: the prompt's tokens and those that it draws after them, in evaluation mode and without gradients. Prompts of one length
 * form a batch; each row's draws are keyed by seed, row and position. A model that passes its cache on to its attention layers computes each
 * token once; one that does not sees the whole row again for each token. Both give the same tokens, up to rounding of the logits.
 * @throws ConfigError, DataError; NumericsError where the logits are NaN
 * @example const tokens = await generate(gpt, text.encode('The '), { maxNewTokens: 200, temperature: 0.8, topK: 50, contextLength: 64 });
 */
export function generate(model: Module & Decoder, prompt: Prompt, options?: GenerateOptions): Promise<number[]>;
export function generate(model: Module & Decoder, prompt: readonly Prompt[], options?: GenerateOptions): Promise<number[][]>;
export async function generate(
  model: Module & Decoder,
  prompt: Prompt | readonly Prompt[],
  options: GenerateOptions = {},
): Promise<number[] | number[][]> {
  check(model, options);

  const rows = rowsOf(prompt);
  const on = model.parameters()[0]?.device ?? defaultDevice();
  const putBack = rememberModes(model);
  const cache = new KVCache();
  model.eval();
  try {
    await extend(model, rows, cache, on, options);
  } finally {
    cache.dispose();
    putBack();
  }
  return ArrayBuffer.isView(prompt) || typeof prompt[0] === 'number' ? (rows[0] as number[]) : rows;
}
