import { ConfigError } from '../native/errors.ts';
import { filled } from '../ops/define.ts';
import type { Loss } from '../ops/loss.ts';
import { Tensor } from '../tensor/tensor.ts';

type Count = number | Tensor;
type Term = Loss['terms'][number];

const times = (a: Count, b: Count): Count => (a instanceof Tensor ? a.mul(b) : b instanceof Tensor ? b.mul(a) : a * b);
const plus = (a: Count, b: Count): Count => (a instanceof Tensor ? a.add(b) : b instanceof Tensor ? b.add(a) : a + b);
const over = (a: Count, b: Count): Count =>
  a instanceof Tensor ? a.div(b) : b instanceof Tensor ? filled([], a, 'f32').div(b) : a / b;
/** A count of nothing divides nothing: 0 / tiny is 0, where 0 / 0 would be NaN. */
const safe = (c: Count): Count => (c instanceof Tensor ? c.clamp({ min: 1e-30 }) : Math.max(c, 1e-30));

/**
 * The one rule of normalisation: each micro-batch's sums go backward scaled by a power of two only, and the division by the true count of
 * the whole window happens once, when gradients are unscaled. Terms of other counts are brought to the first term's count by their
 * ratio, which must be the same in every micro-batch (or there must be one).
 */
export class Seeding {
  /** scale x 2^-ceil(log2 count): exact, and small enough that 16-bit gradients do not overflow. */
  readonly factor: number;
  readonly #micros: number;
  #count: Count = 0;
  #loss: Count = 0;
  #ratios: Count[] | undefined;

  /** @param samples of the whole window; stands for its count where the power of two is chosen */
  constructor(scale: number, samples: number, micros: number) {
    this.factor = scale * 2 ** -Math.ceil(Math.log2(Math.max(1, samples)));
    this.#micros = micros;
  }

  /** Takes up one micro-batch's loss; gives each term's sum with the gradient to start from. */
  add(loss: Loss): { sum: Tensor; seed: Tensor }[] {
    const [first] = loss.terms;
    if (!first)
      throw new ConfigError(
        'the loss has no terms. Return what a function of losses gives, for example losses.mse(output, target).',
      );
    const ratios = loss.terms.map((t, k) => (k === 0 ? 1 : over(first.count, safe(t.count))));
    this.#checkRatios(ratios);
    this.#count = plus(this.#count, first.count);
    return loss.terms.map((term, k) => {
      const share = times(term.weight, ratios[k] as Count);
      this.#loss = plus(this.#loss, times(term.sum.detach(), share));
      return { sum: term.sum, seed: this.#seed(term, share) };
    });
  }

  #seed(term: Term, share: Count): Tensor {
    const seed = times(share, this.factor);
    return seed instanceof Tensor ? seed.to(term.sum.dtype) : filled([], seed, term.sum.dtype);
  }

  #checkRatios(ratios: Count[]): void {
    const known = this.#ratios;
    this.#ratios ??= ratios;
    if (this.#micros === 1 || ratios.length === 1) return;
    const same = (known ?? ratios).every((r, k) => {
      const now = ratios[k];
      return typeof r === 'number' && typeof now === 'number' && Math.abs(r - now) <= 1e-9 * Math.abs(r);
    });
    if (!same)
      throw new ConfigError(
        'a loss of several terms whose counts do not keep one ratio cannot be accumulated over micro-batches: its parts would be weighted wrongly. Use accumulate: 1, or one term.',
      );
  }

  /** The running sums, for the scope around a micro-batch to keep. */
  running(): Count[] {
    return [this.#count, this.#loss];
  }
  /** The count of the window: a number where it is known on the host. */
  get count(): Count {
    return this.#count;
  }
  /** The window's loss: sums over counts, a scalar on the device. */
  loss(): Tensor {
    const value = over(this.#loss, safe(this.#count));
    return value instanceof Tensor ? value : filled([], value, 'f32');
  }
}
