import { ConfigError, checkOptions, describe, ShapeError } from '../../native/errors.ts';
import { checkCount, checkScores, mergedState, type Scores } from './classes.ts';

/** Figures of a regression, as scikit-learn defines them. */
export interface RegressionFigures {
  /** Mean squared error. */
  mse: number;
  /** Its root; of several outputs the mean of their roots. */
  rmse: number;
  /** Mean absolute error. */
  mae: number;
  /** Mean of |error| / max(|target|, 2^-52). */
  mape: number;
  /** The largest |error|. */
  maxError: number;
  /** Mean of prediction - target: where it leans. */
  bias: number;
  /** 1 - residual sum of squares / that around the targets' mean; NaN below two samples. Constant targets: 1 if all were met, else 0. */
  r2: number;
  /** The same with the error's mean taken off first. */
  explainedVariance: number;
}

/** Per output: n, mean error, sum of squared errors around it, mean target, sum of squares around it, sum |e|, sum |e|/|t|, max |e|, sum e^2. */
const FIELDS = 9;

/** Regression figures, batch by batch. Sums of squares are kept around running means (Chan et al., 1983), so that large targets lose nothing. */
export class RegressionMetrics {
  readonly outputs: number;
  readonly #state: Float64Array;

  /** @param options.outputs numbers in a row; figures are means over them. Default 1. */
  constructor(options: { outputs?: number } = {}) {
    checkOptions('RegressionMetrics', options, ['outputs']);
    this.outputs = checkCount('RegressionMetrics', 'outputs', options.outputs ?? 1);
    this.#state = new Float64Array(FIELDS * this.outputs);
  }

  /** Takes a batch: rows x outputs each, row-major. */
  add(predictions: Scores, targets: Scores): this {
    const k = this.outputs;
    checkScores('RegressionMetrics.add', 'predictions', predictions);
    checkScores('RegressionMetrics.add', 'targets', targets);
    if (predictions.length !== targets.length || targets.length % k !== 0)
      throw new ShapeError(
        `RegressionMetrics.add: ${predictions.length} predictions for ${targets.length} targets, in rows of ${k}.`,
      );
    for (const v of [predictions, targets])
      if (Array.isArray(v) && v.some((x) => typeof x !== 'number'))
        throw new ConfigError('RegressionMetrics.add: predictions and targets must be numbers.');
    for (let i = 0; i < targets.length; i++) {
      const t = targets[i] as number;
      const e = (predictions[i] as number) - t;
      const size = Math.abs(e);
      combine(this.#state, FIELDS * (i % k), [1, e, 0, t, 0, size, size / Math.max(Math.abs(t), 2 ** -52), size, e * e], 0);
    }
    return this;
  }
  merge(other: RegressionMetrics | readonly number[]): this {
    const state = mergedState('RegressionMetrics.merge', RegressionMetrics, other, this.#state.length);
    for (let o = 0; o < this.#state.length; o += FIELDS) combine(this.#state, o, state, o);
    return this;
  }
  /** What `merge` takes on another rank. */
  state(): number[] {
    return [...this.#state];
  }
  /** Samples counted. */
  get total(): number {
    return this.#state[0] as number;
  }

  perOutput(): RegressionFigures[] {
    return Array.from({ length: this.outputs }, (_, o) => {
      const [n, bias, spread, , around, absolute, relative, maxError, squares] = this.#state.subarray(
        FIELDS * o,
      ) as never as number[];
      const mse = (squares as number) / (n as number);
      const share = (lost: number) => (around === 0 ? (lost === 0 ? 1 : 0) : 1 - lost / (around as number));
      return {
        ...{ mse, rmse: Math.sqrt(mse), mae: (absolute as number) / (n as number), mape: (relative as number) / (n as number) },
        ...{ maxError: n === 0 ? Number.NaN : (maxError as number), bias: n === 0 ? Number.NaN : (bias as number) },
        r2: (n as number) < 2 ? Number.NaN : share(squares as number),
        explainedVariance: n === 0 ? Number.NaN : share(spread as number),
      };
    });
  }
  /** Means over the outputs (the largest, for `maxError`); NaN before the first sample. */
  value(): RegressionFigures {
    const all = this.perOutput();
    const mean = (name: keyof RegressionFigures) => all.reduce((a, f) => a + f[name], 0) / all.length;
    return {
      ...{ mse: mean('mse'), rmse: mean('rmse'), mae: mean('mae'), mape: mean('mape'), bias: mean('bias') },
      ...{ maxError: Math.max(...all.map((f) => f.maxError)), r2: mean('r2'), explainedVariance: mean('explainedVariance') },
    };
  }
}

/** Adds a part's sums at `at` of `b` to those at `o` of `a`. */
function combine(a: Float64Array, o: number, b: ArrayLike<number>, at: number): void {
  const [na, nb] = [a[o] as number, b[at] as number];
  if (nb === 0) return;
  const n = na + nb;
  for (const mean of [1, 3]) {
    const delta = (b[at + mean] as number) - (a[o + mean] as number);
    (a[o + mean + 1] as number) += (b[at + mean + 1] as number) + (na > 0 ? (delta * delta * na * nb) / n : 0);
    a[o + mean] = na > 0 ? (a[o + mean] as number) + (delta * nb) / n : (b[at + mean] as number);
  }
  for (const sum of [5, 6, 8]) (a[o + sum] as number) += b[at + sum] as number;
  a[o + 7] = Math.max(a[o + 7] as number, b[at + 7] as number);
  a[o] = n;
}

/** exp of the mean negative log-likelihood per token (natural logarithm), batch by batch. */
export class Perplexity {
  #sum = 0;
  #tokens = 0;

  /** @param lossSum summed cross-entropy of a batch; @param tokens how many it sums over (targets that are not ignored) */
  add(lossSum: number, tokens: number): this {
    if (typeof lossSum !== 'number' || typeof tokens !== 'number' || !(tokens >= 0))
      throw new ConfigError(
        `Perplexity.add: expected a sum of losses and a count >= 0, got ${describe(lossSum)}, ${describe(tokens)}.`,
      );
    this.#sum += lossSum;
    this.#tokens += tokens;
    return this;
  }
  merge(other: Perplexity | readonly number[]): this {
    const [sum, tokens] = mergedState('Perplexity.merge', Perplexity, other, 2) as [number, number];
    return this.add(sum, tokens);
  }
  /** What `merge` takes on another rank. */
  state(): number[] {
    return [this.#sum, this.#tokens];
  }
  /** NaN before the first token. */
  value(): number {
    return Math.exp(this.#sum / this.#tokens);
  }
}
