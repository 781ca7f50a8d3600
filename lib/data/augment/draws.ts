import { philox, uniform01 } from '../../tensor/philox.ts';

/**
 * The random words of one sample under one transform. Their counter is [id, again << 24 | block, stream, epoch]: `stream` names the transform's place in
 * the list, `again` counts how often the sample has come before in this epoch (samplers may repeat it; 256 times count).
 * native/src/data/image.h draws the same words, where one is needed per pixel.
 */
export class SampleDraws {
  readonly #key: readonly [number, number];
  readonly #epoch: number;
  readonly #words = new Uint32Array(4);
  #stream = 0;
  #id = 0;
  #again = 0;
  #next = 0;

  constructor(key: readonly [number, number], epoch: number) {
    this.#key = key;
    this.#epoch = epoch >>> 0;
  }

  /** Goes to the first word of another sample or transform. */
  begin(stream: number, id: number, again = 0): this {
    this.#stream = stream;
    this.#id = id >>> 0;
    this.#again = again & 0xff;
    this.#next = 0;
    return this;
  }

  word(): number {
    const place = this.#next++;
    if ((place & 3) === 0) {
      const counter = [this.#id, ((this.#again << 24) | (place >> 2)) >>> 0, this.#stream, this.#epoch] as const;
      philox(counter, this.#key, this.#words);
    }
    return this.#words[place & 3] as number;
  }

  /** A uniform number in [0, 1). */
  uniform(): number {
    return uniform01(this.word());
  }

  /** A uniform number from a to b. */
  between([a, b]: readonly [number, number]): number {
    return a + (b - a) * this.uniform();
  }

  /** An integer in [0, n): one word, so the bias is below n / 2^32. */
  below(n: number): number {
    return Math.floor((this.word() * n) / 2 ** 32);
  }

  /** What native code needs to draw for itself: a stream beside this one, so that its words are no other's. */
  origin(): number[] {
    return [this.#key[0], this.#key[1], (this.#stream ^ 0x9e3779b9) >>> 0, this.#epoch, this.#id, this.#again];
  }
}
