/**
 * Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11), exactly as
 * Random123 computes it. The native side (C++ and CUDA) draws the same words and uniforms bit for bit.
 *
 * House rule: key = 64-bit seed [lo, hi]; counter = [block lo, block hi, stream, attempt], where an element's block is its index >> 2
 * and its word within the block is its index & 3.
 */
import { ConfigError, describe } from '../native/errors.ts';

/** Four (or two) unsigned 32-bit words. */
export type Words4 = readonly [number, number, number, number];
export type Words2 = readonly [number, number];

const M0 = 0xd2511f53;
const M1 = 0xcd9e8d57;
const W0 = 0x9e3779b9;
const W1 = 0xbb67ae85;

/** High 32 bits of the 64-bit product of two unsigned 32-bit numbers. */
export function mulhi(a: number, b: number): number {
  const ah = a >>> 16;
  const al = a & 0xffff;
  const bh = b >>> 16;
  const bl = b & 0xffff;
  const u = ah * bl + ((al * bl) >>> 16);
  const v = al * bh + (u & 0xffff);
  return (ah * bh + (u >>> 16) + (v >>> 16)) >>> 0;
}

/** The ten rounds: writes the four words of block `counter` under `key` to out[at..at+3] and returns `out`. */
export function philox<T extends Uint32Array | number[]>(counter: Words4, key: Words2, out: T, at = 0): T {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const hi0 = mulhi(M0, c0);
    const lo0 = Math.imul(M0, c0);
    const hi1 = mulhi(M1, c2);
    const lo1 = Math.imul(M1, c2);
    c0 = (hi1 ^ c1 ^ k0) >>> 0;
    c1 = lo1 >>> 0;
    c2 = (hi0 ^ c3 ^ k1) >>> 0;
    c3 = lo0 >>> 0;
    k0 = (k0 + W0) >>> 0;
    k1 = (k1 + W1) >>> 0;
  }
  out[at] = c0;
  out[at + 1] = c1;
  out[at + 2] = c2;
  out[at + 3] = c3;
  return out;
}

/** A uniform number in [0, 1) from one word: its 24 high bits, exact in f32. */
export const uniform01 = (word: number): number => (word >>> 8) * 2 ** -24;

/** FNV-1a, 32 bits, over the UTF-8 bytes of `text`: the stream number of a module path, an op's call or a data step. */
export function hashStream(text: string): number {
  let h = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) h = Math.imul(h ^ byte, 0x01000193);
  return h >>> 0;
}

/** The key [lo, hi] of a seed: its 64 bits, two's complement. Throws ConfigError unless the seed is an integer. */
export function seedKey(seed: number | bigint, where = 'PhiloxStream'): [number, number] {
  if (typeof seed !== 'bigint' && !Number.isSafeInteger(seed)) {
    throw new ConfigError(`${where}: seed: expected a safe integer or a bigint, got ${describe(seed)}. Use for example seed: 1.`);
  }
  const bits = BigInt.asUintN(64, BigInt(seed));
  return [Number(bits & 0xffffffffn), Number(bits >> 32n)];
}

/** Throws ConfigError unless `value` is a whole number >= 0. */
function checkWhole(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new ConfigError(`PhiloxStream: ${name}: expected a whole number >= 0, got ${describe(value)}.`);
}

/**
 * The words of one (seed, stream, attempt) in element order: 0, 1, 2, ... A stream given as text is hashed with hashStream.
 * `attempt` is the optimizer attempt for masks, the epoch for data.
 */
export class PhiloxStream {
  readonly #key: [number, number];
  readonly #stream: number;
  readonly #attempt: number;
  readonly #block = new Uint32Array(4);
  #at = -1; // the block held
  #next = 0; // the next element

  constructor(seed: number | bigint, stream: number | string, attempt = 0) {
    this.#key = seedKey(seed);
    if (typeof stream !== 'string') checkWhole('stream', stream);
    checkWhole('attempt', attempt);
    this.#stream = typeof stream === 'string' ? hashStream(stream) : stream >>> 0;
    this.#attempt = attempt >>> 0;
  }

  /** The word of any element (an integer below 2^53); does not move the sequence. */
  wordAt(element: number): number {
    if (typeof element !== 'number' || !(element >= 0) || element % 1 !== 0) checkWhole('wordAt', element);
    const block = Math.floor(element / 4);
    if (block !== this.#at) {
      const hi = Math.floor(block / 2 ** 32);
      philox([block >>> 0, hi, this.#stream, this.#attempt], this.#key, this.#block);
      this.#at = block;
    }
    return this.#block[element % 4] as number;
  }

  /** Makes `element` the next one drawn. */
  seek(element: number): this {
    checkWhole('seek', element);
    this.#next = element;
    return this;
  }

  /** The next word, an unsigned 32-bit number. */
  word(): number {
    return this.wordAt(this.#next++);
  }

  /** The next uniform number in [0, 1). */
  uniform(): number {
    return uniform01(this.word());
  }

  /** An unbiased integer in [0, n), 1 <= n < 2^32: Lemire's multiply with rejection, so it may draw more than one word. */
  below(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 0xffffffff) {
      throw new ConfigError(`PhiloxStream.below: n must be an integer from 1 to 2^32 - 1, got ${describe(n)}.`);
    }
    let word = this.word();
    if (Math.imul(word, n) >>> 0 < n) {
      const threshold = (2 ** 32 - n) % n;
      while (Math.imul(word, n) >>> 0 < threshold) word = this.word();
    }
    return mulhi(word, n);
  }

  /**
   * Steps i = from, from-1, ..., to+1 of Fisher-Yates, in place: swaps values[i] with values[below(i + 1)]. All of it is
   * from = length - 1, to = 0; given in pieces, so that a long shuffle can be spread over turns of the event loop.
   */
  shuffle(values: Uint32Array | Int32Array, from = values.length - 1, to = 0): void {
    for (let i = from; i > to; i--) {
      const j = this.below(i + 1);
      const kept = values[i] as number;
      values[i] = values[j] as number;
      values[j] = kept;
    }
  }

  /** The numbers 0 to n-1 in an order drawn from this stream. */
  permutation(n: number): Uint32Array {
    checkWhole('permutation', n);
    const order = Uint32Array.from({ length: n }, (_, i) => i);
    this.shuffle(order);
    return order;
  }
}
