// Tensor methods that this file uses are added by these two.
import '../ops/binary.ts';
import '../ops/unary.ts';
import { ConfigError, DataError } from '../native/errors.ts';
import { filled } from '../ops/define.ts';
import { stack } from '../ops/index.ts';
import type { Loss } from '../ops/loss.ts';
import type { Device } from '../tensor/device.ts';
import { Tensor } from '../tensor/tensor.ts';

type Count = number | Tensor;
type Term = Loss['terms'][number];

const times = (a: Count, b: Count): Count => (a instanceof Tensor ? a.mul(b) : b instanceof Tensor ? b.mul(a) : a * b);
const plus = (a: Count, b: Count): Count => (a instanceof Tensor ? a.add(b) : b instanceof Tensor ? b.add(a) : a + b);
const minus = (a: Count, b: Count): Count => plus(a, times(b, -1));
const over = (a: Count, b: Count): Count =>
  a instanceof Tensor ? a.div(b) : b instanceof Tensor ? filled([], a, 'f32', b).div(b) : a / b;
/** A count of nothing divides nothing: 0 / tiny is 0, where 0 / 0 would be NaN. */
const safe = (c: Count): Count => (c instanceof Tensor ? c.clamp({ min: 1e-20 }) : Math.max(c, 1e-20));

/** How far the proportions of two micro-batches may be apart: f32 sums of class weights. */
const TOLERANCE = 1e-5;
const UNEQUAL =
  'a loss of several terms whose counts do not keep one ratio cannot be accumulated over micro-batches: its parts would be weighted wrongly. Use accumulate: 1, or one term.';

/** Terms of a loss that is summed over processes. */
const mostTerms = 8;
/** Beyond every proportion: where there is none, it is neither the largest nor the smallest. */
const FAR = -1e30;
/** What is reported where the ranks' windows are not parts of one; proportions that differ report less. */
const UNLIKE = 1e6;
const UNLIKE_WINDOWS =
  "the ranks' windows are not parts of one: their rows do not add up to what each takes them all to have, or their losses have different terms. Give every rank as many rows, or take them from a loader with shard.";

/**
 * The one rule of normalisation: each micro-batch's sums go backward scaled by a power of two only, and the division by the true count of
 * the whole window happens once, when gradients are unscaled. With several terms that count is the sum of theirs, and each term is
 * brought to it by the ratio, which must be the same in every micro-batch (or there must be one). Where only the device knows the
 * counts, it does the comparing: a window that fails it has count 0, so that nothing is applied, and `checked` throws.
 */
export class Seeding {
  /** 2^-ceil(log2 count): exact, and small enough that 16-bit gradients do not overflow. */
  readonly factor: number;
  /** A device scalar that the seed is multiplied by: the loss scale. */
  readonly #scale: Tensor | null;
  readonly #micros: number;
  /** Sums over the window: of all counts, of each term's, of the loss, and of what was wrong with the proportions. */
  #count: Count = 0;
  #counts: Count[] = [];
  #loss: Count = 0;
  #unequal: Count = 0;
  #asked: Tensor | undefined;
  readonly #device: Device;

  /** @param samples of the whole window, of all processes; stands for its count where the power of two is chosen */
  constructor(device: Device, samples: number, micros: number, scale: Tensor | null = null) {
    this.#device = device;
    this.#scale = scale;
    this.factor = 2 ** -Math.ceil(Math.log2(Math.max(1, samples)));
    this.#micros = micros;
  }

  /** Takes up one micro-batch's loss; gives the scalar to walk back from, and the gradient to start with. */
  add(loss: Loss): { root: Tensor; seed: Tensor } {
    const [first, ...others] = loss.terms;
    if (!first)
      throw new ConfigError(
        'the loss has no terms. Return what a function of losses gives, for example losses.mse(output, target).',
      );
    const all = others.reduce((sum: Count, t) => plus(sum, t.count), first.count);
    this.#compare(loss.terms, all);
    const shares = loss.terms.map((t) => (others.length ? times(over(all, safe(t.count)), t.weight) : t.weight));
    loss.terms.forEach((t, k) => {
      this.#counts[k] = plus(this.#counts[k] ?? 0, t.count);
      this.#loss = plus(this.#loss, times(t.sum.detach(), shares[k] as Count));
    });
    this.#count = plus(this.#count, all);
    if (!others.length)
      return { root: first.sum, seed: this.#scaled(filled([], first.weight * this.factor, first.sum.dtype, first.sum)) };
    // One walk for all terms: they share a graph, which a walk consumes.
    const root = loss.terms
      .map((t, k) => times(t.sum, times(shares[k] as Count, this.factor)) as Tensor)
      .reduce((a, b) => a.add(b));
    return { root, seed: this.#scaled(filled([], 1, root.dtype, root)) };
  }

  #scaled(seed: Tensor): Tensor {
    return this.#scale ? seed.mul(this.#scale.to(seed.dtype)) : seed;
  }

  /** Are the terms' counts in the proportions of what came before? c_k C = C_k c, so that an empty micro-batch fits any. */
  #compare(terms: readonly Term[], all: Count): void {
    if (this.#counts.length > 0 && terms.length !== this.#counts.length)
      throw new ConfigError(
        `the loss has ${terms.length} terms in this micro-batch and had ${this.#counts.length} before. Return the same terms each time; an empty one has count 0.`,
      );
    if (this.#micros === 1 || terms.length === 1) return;
    for (const [k, { count }] of terms.entries()) {
      const before = this.#counts[k];
      if (before === undefined) continue;
      const apart = minus(times(count, this.#count), times(before, all));
      const limit = times(times(all, this.#count), TOLERANCE);
      if (apart instanceof Tensor)
        this.#unequal = plus(
          this.#unequal,
          apart
            .abs()
            .gt(limit as Tensor)
            .to(apart.dtype),
        );
      else if (Math.abs(apart) > (limit as number)) throw new ConfigError(UNEQUAL);
    }
  }

  /**
   * The sums become those of all ranks, whose proportions must be one too.
   * @param own rows of this rank's window
   * @param all rows of all ranks' windows, as this rank knows it
   * @param asks whether this rank does
   * @param gather every rank's figures
   */
  across(own: number, all: number, asks: boolean, gather: (own: Tensor) => Tensor): void {
    if (this.#counts.length > mostTerms)
      throw new ConfigError(`a loss of ${this.#counts.length} terms cannot be summed over processes, at most ${mostTerms} can.`);
    const none = this.#empty();
    const shares = Array.from({ length: mostTerms }, (_, k) => over(this.#counts[k] ?? 0, safe(this.#count)));
    const largest = shares.map((s) => plus(s, times(none, FAR)));
    const smallest = shares.map((s) => plus(s, times(none, -FAR)));
    const terms = own === 0 ? [FAR, -FAR] : [this.#counts.length, this.#counts.length];
    const figures = [this.#count, this.#loss, this.#unequal, own, all, ...terms, ...largest, ...smallest, +asks];
    const everyone = gather(stack(figures.map((v) => this.#scalar(v))));
    const sums = everyone.sum({ axis: 0 });
    this.#asked = sums.at(7 + 2 * mostTerms);
    const [max, min] = [everyone.max({ axis: 0 }), everyone.min({ axis: 0 })];
    const apart = (high: number, low: number) => max.at(high).sub(min.at(low));
    this.#count = sums.at(0);
    this.#loss = sums.at(1);
    const unlike = [apart(4, 4), apart(5, 6), sums.at(3).sub(all).abs()].map((t) => t.gt(0).to('f32').mul(UNLIKE));
    const unequal = max
      .at(`7:${7 + mostTerms}`)
      .sub(min.at(`${7 + mostTerms}:${7 + 2 * mostTerms}`))
      .gt(TOLERANCE)
      .to('f32')
      .sum();
    this.#unequal = [unequal, ...unlike].reduce((a, b) => a.add(b), sums.at(2));
  }

  #empty(): Count {
    return this.#count instanceof Tensor ? this.#count.eq(0).to('f32') : +(this.#count === 0);
  }
  #scalar(v: Count): Tensor {
    if (!(v instanceof Tensor)) return filled([], v, 'f32', { device: this.#device });
    return v.dtype === 'f32' ? v.reshape([]) : v.to('f32').reshape([]);
  }

  /** The running sums, for the scope around a micro-batch to keep. */
  running(): unknown {
    return [this.#count, this.#counts, this.#loss, this.#unequal];
  }
  /** The count of the window: a number where it is known on the host. */
  get count(): Count {
    const bad = this.#unequal;
    return bad instanceof Tensor ? times(this.#count, bad.eq(0).to(bad.dtype)) : this.#count;
  }
  /** How many ranks ask to be heard, where there are several. */
  get asked(): Tensor | undefined {
    return this.#asked;
  }
  /** What the host reads back: the window's loss (sums over counts), and whether its proportions held. Scalars on the device. */
  report(): Tensor[] {
    const values = [
      over(this.#loss, safe(this.#count)),
      ...(this.#unequal instanceof Tensor || this.#scale ? [this.#unequal] : []),
    ];
    return values.map((v) => (v instanceof Tensor ? v : this.#scalar(v)));
  }
  /** The loss, from what `report` gave. Throws ConfigError where the proportions did not hold. */
  static checked([loss = Number.NaN, unequal = 0]: readonly number[]): number {
    if (unequal >= UNLIKE) throw new DataError(UNLIKE_WINDOWS);
    if (unequal !== 0) throw new ConfigError(UNEQUAL);
    return loss;
  }
}
